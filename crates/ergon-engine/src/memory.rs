//! What a piece of work will need, told before it starts.

use std::fmt;

use ergon_model::{AttentionConfig, Config};
use ergon_types::ByteSize;

/// Memory by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights that stay in memory.
    pub weights: u64,
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
        self.weights.saturating_add(self.kv_cache).saturating_add(self.working)
    }

    /// Whether it fits the budget.
    pub fn fits(&self) -> bool {
        self.total() <= self.budget
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| ByteSize(bytes);
        write!(
            f,
            "{} of memory are needed, the budget is {}: weights {}, KV cache {} ({} tokens), working memory {}; ",
            size(self.total()),
            size(self.budget),
            size(self.weights),
            size(self.kv_cache),
            self.kv_tokens,
            size(self.working)
        )?;
        if self.weights.saturating_add(self.working) > self.budget {
            f.write_str("take a smaller or more strongly quantised model, or raise the budget")
        } else {
            f.write_str("shorten the prompt or generate fewer tokens, or raise the budget")
        }
    }
}

/// Bytes of the buffers of a step over `rows` tokens that computes `logit_rows` rows of logits. An estimate from the
/// shapes: every part of a layer at once, which no step holds.
pub(crate) fn working_bytes(config: &Config, rows: usize, logit_rows: usize) -> u64 {
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
    let logits = (config.vocab_size as u64).saturating_mul(logit_rows as u64).saturating_mul(4);
    activations.saturating_add(logits)
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
    }
}
