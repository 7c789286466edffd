//! A loaded model and the sequences over it.

use std::collections::BTreeMap;
use std::fmt;

use ergon_checkpoint::Checkpoint;
use ergon_kernels::{Cpu, Isa};
use ergon_model::{
    AttentionConfig, Input, KvFormat, LogitsWanted, Model, ModelSummary, Phase, Scratch, Segment,
};
use ergon_types::FinishReason;

use crate::error::{EngineError, SequenceError};
use crate::memory::{MemoryNeed, working_bytes};
use crate::observer::{TokenObserver, Unobserved};
use crate::prefix::PrefixCache;
use crate::sampler::Sampler;
use crate::schedule::{Demand, share};
use crate::sequence::{Sequence, SequenceRequest};
use crate::speculative::Speculation;

/// New tokens for which KV cache is reserved at once; the model reserves more as it is needed, so that a generous limit
/// on new tokens costs nothing.
const RESERVE_TOKENS: usize = 1024;

/// How an engine runs.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads for the kernels, the caller's included; at least 1.
    pub threads: usize,
    /// Instruction set; `None` takes the best one of this machine.
    pub isa: Option<Isa>,
    /// Precision of the KV cache; `None` takes f16 for models in block formats and f32 for all others.
    pub kv_format: Option<KvFormat>,
    /// Prompt tokens computed in one step, over all sequences.
    pub prefill_chunk_tokens: usize,
    /// Work that would need more memory than this is refused before it starts.
    pub memory_budget_bytes: Option<u64>,
    /// Use the model's multi-token-prediction layer where it makes decoding faster. The output is the same.
    pub speculative: bool,
    /// Sequences that may run at the same time.
    pub max_sequences: usize,
    /// KV caches of finished sequences that are kept for prompts with the same beginning.
    pub kept_states: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            isa: None,
            kv_format: None,
            prefill_chunk_tokens: 512,
            memory_budget_bytes: None,
            speculative: true,
            max_sequences: 64,
            kept_states: 1,
        }
    }
}

/// Names a sequence of one engine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a step has done for one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// The sequence.
    pub id: SequenceId,
    /// Its new tokens; a stop token, if one ended it, is the last.
    pub token_ids: Vec<u32>,
    /// Set when the sequence has ended and is gone from the engine: how, or what went wrong with it alone.
    pub finish: Option<Result<FinishReason, SequenceError>>,
}

/// A loaded model and the sequences over it. Every call does its work on the calling thread and the threads of the
/// pool, and returns.
///
/// The tokens of a sequence depend on its request alone: not on its company, the chunk size, the number of threads,
/// kept states or speculation.
pub struct Engine {
    pub(crate) model: Model,
    pub(crate) cpu: Cpu,
    pub(crate) scratch: Scratch,
    pub(crate) logits: Vec<f32>,
    pub(crate) options: EngineOptions,
    pub(crate) kv_format: KvFormat,
    pub(crate) speculation: Speculation,
    pub(crate) sequences: BTreeMap<SequenceId, Sequence>,
    summary: ModelSummary,
    kv_bytes_per_token: u64,
    sampler: Sampler,
    prefixes: PrefixCache,
    next_id: u64,
    turn: usize,
}

impl Engine {
    /// Binds the weights of a checkpoint and starts the threads.
    ///
    /// # Errors
    /// The checkpoint cannot be run, the instruction set is not there, or the weights alone exceed the memory budget.
    pub fn load(checkpoint: &Checkpoint, options: &EngineOptions) -> Result<Engine, EngineError> {
        let cpu = match options.isa {
            Some(isa) => Cpu::with_isa(isa, options.threads.max(1))?,
            None => Cpu::new(options.threads.max(1)),
        };
        let model = Model::load(checkpoint)?;
        let summary = ModelSummary::of_model(checkpoint, &model);
        let kv_format = options.kv_format.unwrap_or_else(|| summary.default_kv_format());
        let speculation = Speculation::new(options.speculative && model.has_mtp());
        let kv_bytes_per_token = model.new_state(kv_format, 1, speculation.is_enabled())?.bytes() as u64;
        let engine = Engine {
            speculation,
            kv_bytes_per_token,
            options: options.clone(),
            prefixes: PrefixCache::new(options.kept_states),
            model,
            cpu,
            summary,
            kv_format,
            scratch: Scratch::default(),
            logits: Vec::new(),
            sampler: Sampler::default(),
            sequences: BTreeMap::new(),
            next_id: 0,
            turn: 0,
        };
        engine.check_memory(0)?;
        Ok(engine)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Precision of the KV cache.
    pub fn kv_format(&self) -> KvFormat {
        self.kv_format
    }

    /// What the engine was loaded with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Tokens that fit the model's context.
    pub fn context_length(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// Whether any sequence is running.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// What a new sequence of `tokens` tokens (prompt and output) would need beside everything that is running.
    /// The budget is `u64::MAX` if none was given.
    pub fn memory_need(&self, tokens: usize) -> MemoryNeed {
        let running: usize = self.sequences.values().map(|s| s.prompt_len + s.limit).sum();
        let in_tokens = |n: usize| (n as u64).saturating_mul(self.kv_bytes_per_token);
        let rows = self.options.prefill_chunk_tokens.max(1) + self.sequences.len();
        let logit_rows = 1 + self.sequences.len();
        MemoryNeed {
            weights: self.summary.bytes_resident.saturating_add(self.summary.bytes_routed_experts),
            kv_cache: in_tokens(running).saturating_add(in_tokens(tokens)),
            kv_tokens: tokens,
            working: working_bytes(self.model.config(), rows, logit_rows),
            budget: self.options.memory_budget_bytes.unwrap_or(u64::MAX),
        }
    }

    /// The longest sequence (prompt and output) that the memory budget and the context have room for now.
    pub fn affordable_tokens(&self) -> usize {
        let need = self.memory_need(0);
        let left = need.budget.saturating_sub(need.total()) / self.kv_bytes_per_token.max(1);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.context_length())
    }

    fn check_memory(&self, tokens: usize) -> Result<(), EngineError> {
        let need = self.memory_need(tokens);
        if need.fits() { Ok(()) } else { Err(EngineError::Memory(need)) }
    }

    /// Starts a sequence.
    ///
    /// # Errors
    /// An empty prompt, tokens outside the vocabulary, parameters out of range, a prompt that leaves no room in the
    /// context, no free slot, or more memory than the budget has.
    pub fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, EngineError> {
        request.sampling.validate()?;
        self.check_tokens(&request.prompt)?;
        if self.sequences.len() >= self.options.max_sequences.max(1) {
            return Err(EngineError::NoFreeSlot { slots: self.options.max_sequences.max(1) });
        }
        let context_length = self.context_length();
        let prompt_len = request.prompt.len();
        if prompt_len >= context_length {
            return Err(EngineError::ContextExceeded { tokens: prompt_len, context_length });
        }
        let limit = request.max_new_tokens.min(context_length - prompt_len);
        self.check_memory(prompt_len + limit)?;
        let reserve = prompt_len + limit.min(RESERVE_TOKENS);
        let state = match self.prefixes.take(&request.prompt) {
            Some(mut state) => {
                state.reserve(reserve)?;
                state
            }
            None => self.model.new_state(self.kv_format, reserve, self.speculation.is_enabled())?,
        };
        self.forget_prefixes_over_budget(prompt_len + limit);
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let constrained = request.constraint.is_some() && !request.constraint_waits;
        let sequence = Sequence {
            id,
            tokens: request.prompt.clone(),
            prompt_len,
            reused: state.len(),
            state,
            request,
            limit,
            constrained,
            drafts: Vec::new(),
        };
        self.sequences.insert(id, sequence);
        Ok(id)
    }

    /// Prompt tokens of a running sequence that need no computation because a kept state had them.
    ///
    /// # Errors
    /// The sequence is not running.
    pub fn reused_tokens(&self, id: SequenceId) -> Result<usize, EngineError> {
        self.sequences.get(&id).map(|s| s.reused).ok_or(EngineError::UnknownSequence(id))
    }

    /// Ends a sequence before its time.
    ///
    /// # Errors
    /// The sequence is not running.
    pub fn cancel(&mut self, id: SequenceId) -> Result<(), EngineError> {
        let sequence = self.sequences.remove(&id).ok_or(EngineError::UnknownSequence(id))?;
        self.keep_prefix(sequence);
        Ok(())
    }

    /// Computes one step: a chunk of prompts, and one token (with drafts: a few) of every generating sequence.
    /// Outputs come in the order in which the sequences were added; nothing is returned while only prompts are read.
    ///
    /// # Errors
    /// The forward pass failed; all sequences are gone then.
    pub fn step(&mut self) -> Result<Vec<StepOutput>, EngineError> {
        self.step_with(&mut Unobserved)
    }

    /// As [`Engine::step`], with an observer that sees tokens as they are chosen.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn step_with(&mut self, observer: &mut dyn TokenObserver) -> Result<Vec<StepOutput>, EngineError> {
        let outputs = self.run_step(observer);
        if outputs.is_err() {
            // Their states may have been left half way.
            self.sequences.clear();
        }
        outputs
    }

    fn run_step(&mut self, observer: &mut dyn TokenObserver) -> Result<Vec<StepOutput>, EngineError> {
        if self.sequences.is_empty() {
            return Ok(Vec::new());
        }
        let grants = self.grants();
        self.draft()?;
        let only_decodes = self.sequences.values().all(|s| !s.in_prompt());
        let rows = self.forward(&grants)?;
        let outputs = self.choose(&rows, observer);
        self.finish(&outputs);
        let produced = outputs.iter().map(|output| output.token_ids.len()).sum();
        self.speculation.step_done(only_decodes, produced);
        Ok(outputs)
    }

    /// Tokens each sequence feeds in this step, in the order of ids.
    fn grants(&mut self) -> Vec<usize> {
        self.turn = self.turn.wrapping_add(1);
        let demand = |s: &Sequence| Demand { pending: s.pending(), in_prompt: s.in_prompt() };
        let demands: Vec<Demand> = self.sequences.values().map(demand).collect();
        share(&demands, self.options.prefill_chunk_tokens, self.turn)
    }

    /// One forward pass over everything; the number of logit rows of each sequence, in the order of ids.
    fn forward(&mut self, grants: &[usize]) -> Result<Vec<usize>, EngineError> {
        let mut rows = Vec::with_capacity(grants.len());
        let mut feeds: Vec<(Vec<u32>, LogitsWanted, Phase)> = Vec::with_capacity(grants.len());
        for (sequence, &grant) in self.sequences.values().zip(grants) {
            let from = sequence.state.len();
            let in_prompt = sequence.in_prompt();
            // A segment is of one phase: what follows the prompt waits for the next step.
            let end = if in_prompt { (from + grant).min(sequence.prompt_len) } else { from + grant };
            let mut tokens = sequence.tokens[from..end].to_vec();
            tokens.extend_from_slice(&sequence.drafts);
            let wanted = if end < sequence.tokens.len() {
                LogitsWanted::None
            } else if sequence.drafts.is_empty() {
                LogitsWanted::Last
            } else {
                LogitsWanted::All
            };
            rows.push(if end < sequence.tokens.len() { 0 } else { 1 + sequence.drafts.len() });
            feeds.push((tokens, wanted, if in_prompt { Phase::Prefill } else { Phase::Decode }));
        }
        let mut segments: Vec<Segment<'_>> = Vec::with_capacity(feeds.len());
        for (sequence, (tokens, wanted, phase)) in self.sequences.values_mut().zip(&feeds) {
            if !tokens.is_empty() {
                segments.push(Segment {
                    input: Input::Tokens(tokens),
                    state: &mut sequence.state,
                    phase: *phase,
                    logits: *wanted,
                });
            }
        }
        self.model.forward(&self.cpu, &mut segments, &mut self.scratch, &mut self.logits)?;
        Ok(rows)
    }

    /// Chooses the next tokens of every sequence that has logits.
    fn choose(&mut self, rows: &[usize], observer: &mut dyn TokenObserver) -> Vec<StepOutput> {
        let vocab = self.model.config().vocab_size;
        let mut outputs = Vec::new();
        let mut logits = &mut self.logits[..];
        for (sequence, &n) in self.sequences.values_mut().zip(rows) {
            if n > 0 {
                let (mine, rest) = std::mem::take(&mut logits).split_at_mut(n * vocab);
                logits = rest;
                let drafted = sequence.drafts.len();
                let (output, accepted) = sequence.choose(mine, vocab, &mut self.sampler, observer);
                self.speculation.judged(drafted, accepted);
                outputs.push(output);
            }
        }
        outputs
    }

    /// Takes out sequences that have ended.
    fn finish(&mut self, outputs: &[StepOutput]) {
        for output in outputs.iter().filter(|output| output.finish.is_some()) {
            if let Some(sequence) = self.sequences.remove(&output.id) {
                self.keep_prefix(sequence);
            }
        }
    }

    fn keep_prefix(&mut self, sequence: Sequence) {
        let reusable = match self.model.config().attention {
            AttentionConfig::Gqa(_) => sequence.state.len(),
            AttentionConfig::Mla(_) => sequence.state.len().min(sequence.prompt_len),
        };
        let mut tokens = sequence.tokens;
        tokens.truncate(reusable);
        self.prefixes.keep(tokens, sequence.state);
        self.forget_prefixes_over_budget(0);
    }

    /// Kept states are worth less than anything else that memory is for.
    fn forget_prefixes_over_budget(&mut self, new_tokens: usize) {
        let need = self.memory_need(new_tokens);
        while need.total().saturating_add(self.prefixes.bytes()) > need.budget
            && self.prefixes.forget_oldest()
        {}
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocab_size = self.model.config().vocab_size;
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            Some(index) => Err(EngineError::TokenOutOfRange { index, token: tokens[index], vocab_size }),
            None => Ok(()),
        }
    }
}
