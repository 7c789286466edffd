//! What a piece of work will need, told before it starts.

use std::fmt;

use ergon_checkpoint::Checkpoint;
use ergon_model::{
    AttentionConfig, Config, HEADS_PER_EXPANSION, KvFormat, Model, ModelError, ModelSummary, is_after_layers,
    is_routed_expert, kv_bytes_per_token,
};
use ergon_types::ByteSize;

use crate::engine::EngineOptions;
use crate::error::EngineError;
use crate::residency::buffer_bytes;

/// What an engine takes besides all that is counted one by one: stacks of threads, what the allocator keeps of freed
/// memory, pages of headers and small tensors.
pub(crate) const SLACK_BYTES: u64 = 24 << 20;

/// Memory by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeed {
    /// What the process held before the model came, and slack.
    pub process: u64,
    /// Weights that stay in memory: all of them, or all but the routed experts.
    pub weights: u64,
    /// The smallest cache of routed experts that a step can be computed with; 0 if they all stay in memory. A larger one
    /// gets what the other kinds leave of the budget.
    pub expert_cache: u64,
    /// KV caches of running sequences, the new one included.
    pub kv_cache: u64,
    /// Tokens for which the new sequence needs a KV cache.
    pub kv_tokens: usize,
    /// Buffers of a step: activations and logits.
    pub working: u64,
    /// What there is.
    pub budget: u64,
}

impl MemoryNeed {
    /// The sum of all kinds.
    pub fn total(&self) -> u64 {
        [self.process, self.weights, self.expert_cache, self.kv_cache, self.working]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Whether it fits the budget.
    pub fn fits(&self) -> bool {
        self.total() <= self.budget
    }

    pub(crate) fn check(self) -> Result<(), EngineError> {
        if self.fits() { Ok(()) } else { Err(EngineError::Memory(self)) }
    }

    /// What the budget leaves for a cache of routed experts, the smallest one included.
    pub(crate) fn room_for_experts(&self) -> u64 {
        self.budget.saturating_sub(self.total() - self.expert_cache)
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| ByteSize(bytes);
        write!(f, "{} of memory are needed, the budget is {}: ", size(self.total()), size(self.budget))?;
        if self.expert_cache > 0 {
            let (weights, cache) = (size(self.weights), size(self.expert_cache));
            write!(f, "weights without routed experts {weights}, smallest expert cache {cache}")?;
        } else {
            write!(f, "weights {}", size(self.weights))?;
        }
        let (kv, tokens) = (size(self.kv_cache), self.kv_tokens);
        write!(f, ", KV cache {kv} ({tokens} tokens), working memory {}", size(self.working))?;
        if self.process > 0 {
            write!(f, ", the program itself {}", size(self.process))?;
        }
        if self.total() - self.kv_cache > self.budget {
            f.write_str("; take a smaller or more strongly quantised model, or raise the budget")
        } else {
            f.write_str("; shorten the prompt or generate fewer tokens, or raise the budget")
        }
    }
}

/// Tokens of context that a model must have room for if all its weights are to stay in memory.
const COMFORTABLE_TOKENS: usize = 4096;
/// What is kept about a routed expert that is not in memory: where its matrices are, their names, its visits.
const BYTES_PER_EXPERT: u64 = 1 << 10;
/// Where experts are read, pieces of a prompt are not made shorter than this.
const LEAST_CHUNK_TOKENS: usize = 64;

/// Sequences for which there is to be memory at the same time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequences {
    pub(crate) count: usize,
    /// Tokens of all of them, prompt and output.
    pub(crate) tokens: usize,
    pub(crate) longest: usize,
}

impl Sequences {
    pub(crate) fn one(tokens: usize) -> Sequences {
        Sequences { count: 1, tokens, longest: tokens }
    }

    pub(crate) fn and(self, tokens: usize) -> Sequences {
        Sequences {
            count: self.count + 1,
            tokens: self.tokens.saturating_add(tokens),
            longest: self.longest.max(tokens),
        }
    }
}

/// How a model is to use a budget, known from its headers.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    config: Config,
    budget: u64,
    expected_tokens: usize,
    process: u64,
    /// Weights but the routed experts.
    resident: u64,
    routed: u64,
    /// Whether routed experts are read when they are visited.
    streams: bool,
    /// Routed experts in all layers, and the memory that one of them takes.
    experts: u64,
    expert: u64,
    kv_format: KvFormat,
    kv_per_token: u64,
    /// The most prompt tokens of a step.
    chunk: usize,
}

impl MemoryPlan {
    /// The plan for a model that has not been loaded.
    ///
    /// # Errors
    /// The checkpoint cannot be run.
    pub fn of_checkpoint(checkpoint: &Checkpoint, options: &EngineOptions) -> Result<MemoryPlan, ModelError> {
        let model = Model::load(checkpoint)?;
        let summary = ModelSummary::of_model(checkpoint, &model);
        Ok(MemoryPlan::new(&model, &summary, checkpoint, options))
    }

    pub(crate) fn new(
        model: &Model,
        summary: &ModelSummary,
        checkpoint: &Checkpoint,
        options: &EngineOptions,
    ) -> MemoryPlan {
        let config = model.config();
        let drafts = usize::from(options.speculative && model.has_mtp());
        let kv_format = options.kv_format.unwrap_or_else(|| summary.default_kv_format());
        let bytes = |counts: &dyn Fn(&str) -> bool| -> u64 {
            let tensors = checkpoint.tensors().filter(|tensor| counts(&tensor.name));
            tensors.map(|tensor| tensor.data.len() as u64).sum()
        };
        let after = config.num_hidden_layers;
        let of_drafts = |name: &str| is_after_layers(name, after);
        // Scales of FP8 matrices are taken into memory when the matrices are bound.
        let scales = bytes(&|name| is_expert_scale(name) && !of_drafts(name));
        let mut places = model.expert_places();
        places.retain(|place| place.layer < after);
        let mut plan = MemoryPlan {
            config: config.clone(),
            experts: places.len() as u64,
            budget: options.memory_budget_bytes.unwrap_or(u64::MAX),
            expected_tokens: options.expected_tokens,
            process: options.process_bytes.saturating_add(SLACK_BYTES),
            resident: summary.bytes_resident.saturating_add(scales),
            routed: summary.bytes_routed_experts.saturating_sub(scales),
            streams: false,
            expert: buffer_bytes(&places),
            kv_format,
            kv_per_token: kv_bytes_per_token(config, kv_format, drafts) as u64,
            chunk: options.prefill_chunk_tokens.max(1),
        };
        plan.streams = plan.routed > 0 && !plan.need_for(plan.comfortable_tokens()).fits();
        if plan.streams {
            plan.process = plan.process.saturating_add(plan.experts * BYTES_PER_EXPERT);
            plan.resident = plan.resident.saturating_sub(bytes(&of_drafts));
            plan.kv_per_token = kv_bytes_per_token(config, kv_format, 0) as u64;
        }
        plan
    }

    /// What sequences need, of which a new one has `new_tokens`. Where experts are read, a prompt is in the shortest pieces.
    pub(crate) fn need(&self, all: Sequences, new_tokens: usize) -> MemoryNeed {
        let chunk = if self.streams { self.chunk.min(LEAST_CHUNK_TOKENS) } else { self.chunk };
        MemoryNeed { kv_tokens: new_tokens, ..self.need_in_steps_of(chunk, all) }
    }

    /// What sequences need whose steps compute so many tokens of prompts.
    pub(crate) fn need_in_steps_of(&self, prompt_tokens: usize, all: Sequences) -> MemoryNeed {
        let top_k = self.config.moe.as_ref().map_or(0, |moe| moe.num_experts_per_tok) as u64;
        let rows = prompt_tokens + all.count;
        MemoryNeed {
            process: self.process,
            weights: if self.streams { self.resident } else { self.resident.saturating_add(self.routed) },
            expert_cache: if self.streams { top_k.saturating_mul(self.expert) } else { 0 },
            kv_cache: (all.tokens as u64).saturating_mul(self.kv_per_token),
            kv_tokens: all.tokens,
            working: working_bytes(&self.config, rows, 1 + all.count, all.longest),
            budget: self.budget,
        }
    }

    /// Tokens of prompts that a step computes. Where experts are read, every piece of a prompt reads those that are not in
    /// memory: longer pieces do so less often, but their buffers leave room for fewer experts.
    /// `kept_bytes` are those of kept prefixes.
    pub(crate) fn chunk(&self, all: Sequences, kept_bytes: u64) -> usize {
        if !self.streams {
            return self.chunk;
        }
        let reads_per_token = |&chunk: &usize| {
            let mut need = self.need_in_steps_of(chunk, all);
            need.kv_cache = need.kv_cache.saturating_add(kept_bytes);
            let in_memory = self.experts_in_memory(&need).unwrap_or(self.experts);
            if need.fits() { (self.experts - in_memory) as f64 / chunk as f64 } else { f64::INFINITY }
        };
        let halves = std::iter::successors(Some(self.chunk), |chunk| Some(chunk / 2));
        let chunks = halves.take_while(|&chunk| chunk == self.chunk || chunk >= LEAST_CHUNK_TOKENS);
        chunks
            .min_by(|a, b| reads_per_token(a).total_cmp(&reads_per_token(b)))
            .filter(|chunk| reads_per_token(chunk).is_finite())
            .unwrap_or(self.chunk.min(LEAST_CHUNK_TOKENS))
    }

    /// Tokens that a plan has in view: those that are expected, and 4096 if nobody says how many.
    pub fn comfortable_tokens(&self) -> usize {
        self.expected_tokens.max(COMFORTABLE_TOKENS).min(self.config.max_position_embeddings)
    }

    /// What one sequence of `tokens` tokens needs; the room that is left goes to routed experts, if they are read.
    pub fn need_for(&self, tokens: usize) -> MemoryNeed {
        self.need(Sequences::one(tokens), tokens)
    }

    /// Whether routed experts are read as they are visited.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// Routed experts that have room beside a need; all of them if they are not read.
    pub fn experts_in_memory(&self, need: &MemoryNeed) -> Option<u64> {
        self.streams.then(|| self.experts.min(need.room_for_experts() / self.expert.max(1)))
    }

    pub(crate) fn kv_format(&self) -> KvFormat {
        self.kv_format
    }

    /// Prompt tokens of a step for one sequence of `tokens` tokens.
    pub fn chunk_tokens(&self, tokens: usize) -> usize {
        self.chunk(Sequences::one(tokens), 0)
    }
}

/// Block scales of routed experts in FP8, which are stored as tensors of their own.
fn is_expert_scale(name: &str) -> bool {
    is_routed_expert(name) && name.ends_with("_scale_inv")
}

/// Bytes of the buffers of a step over `rows` tokens that computes `logit_rows` rows of logits. An estimate from the
/// shapes: every part of a layer at once, which no step holds. `positions` are those of the longest sequence: latent
/// attention expands its cache for a few heads at a time when it reads a prompt.
pub(crate) fn working_bytes(config: &Config, rows: usize, logit_rows: usize, positions: usize) -> u64 {
    let heads = config.num_attention_heads;
    let attention = match &config.attention {
        AttentionConfig::Gqa(gqa) => (2 * heads + 2 * gqa.num_key_value_heads) * gqa.head_dim,
        AttentionConfig::Mla(mla) => {
            let per_head = 2 * mla.qk_head_dim() + 2 * mla.v_head_dim + mla.kv_lora_rank;
            heads * per_head + mla.q_lora_rank.unwrap_or(0) + 2 * mla.cache_width()
        }
    };
    let experts = config.moe.as_ref().map_or(0, |moe| {
        let routed = moe.num_experts_per_tok * (3 * moe.moe_intermediate_size + config.hidden_size);
        routed + 3 * moe.n_shared_experts * moe.moe_intermediate_size + moe.n_routed_experts
    });
    let per_row = 6 * config.hidden_size + 3 * config.intermediate_size + attention + experts;
    // Activations are kept as f32 and once more, quantised, for the products.
    let activations = (per_row as u64).saturating_mul(rows as u64).saturating_mul(5);
    let per_position = match &config.attention {
        AttentionConfig::Gqa(_) => 0,
        AttentionConfig::Mla(mla) => {
            let per_head = mla.qk_head_dim() + mla.v_head_dim;
            2 * mla.cache_width() + 2 * HEADS_PER_EXPANSION.min(heads) * per_head
        }
    };
    let expanded = (per_position as u64).saturating_mul(positions as u64).saturating_mul(4);
    let logits = (config.vocab_size as u64).saturating_mul(logit_rows as u64).saturating_mul(4);
    activations.saturating_add(expanded).saturating_add(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_every_kind_and_what_to_do() {
        let need = MemoryNeed {
            weights: 3 << 30,
            kv_cache: 2 << 30,
            kv_tokens: 9000,
            working: 1 << 20,
            budget: 4 << 30,
            ..MemoryNeed::default()
        };
        assert!(!need.fits());
        let text = need.to_string();
        for part in
            ["5.00 GiB", "4.00 GiB", "3.00 GiB", "2.00 GiB (9000 tokens)", "1.00 MiB", "shorten the prompt"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let heavy = MemoryNeed { budget: 1 << 30, ..need };
        assert!(heavy.to_string().contains("smaller"));
        assert!(MemoryNeed { budget: need.total(), ..need }.fits());
        let streamed = MemoryNeed { expert_cache: 512 << 20, ..need };
        assert!(streamed.to_string().contains("smallest expert cache 512.00 MiB"), "{streamed}");
        let roomy = MemoryNeed { budget: streamed.total() + 5, ..streamed };
        assert_eq!(roomy.room_for_experts(), (512 << 20) + 5);
    }
}
