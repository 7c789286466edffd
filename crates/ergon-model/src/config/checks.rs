//! What the forward pass relies on, checked once.

use super::{AttentionConfig, Config, ConfigError, GqaConfig, MlaConfig, MoeConfig, RopeConfig, RopeScaling};

/// No dimension of a published model comes near; far below where products of two overflow.
const MAX_DIM: usize = 1 << 24;
/// Layers are held in lists; every published model has fewer than 200.
const MAX_LAYERS: usize = 4096;

pub(super) fn value(key: &'static str, found: impl ToString, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, found: found.to_string(), expected: expected.into() }
}

fn dimension(key: &'static str, found: usize) -> Result<(), ConfigError> {
    if (1..=MAX_DIM).contains(&found) {
        Ok(())
    } else {
        Err(value(key, found, format!("expected 1 to {MAX_DIM}")))
    }
}

pub(super) fn positive(key: &'static str, found: f64) -> Result<(), ConfigError> {
    if found.is_finite() && found > 0.0 {
        Ok(())
    } else {
        Err(value(key, found, "expected a positive number"))
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        dimension("vocab_size", self.vocab_size)?;
        dimension("hidden_size", self.hidden_size)?;
        dimension("intermediate_size", self.intermediate_size)?;
        dimension("num_attention_heads", self.num_attention_heads)?;
        dimension("max_position_embeddings", self.max_position_embeddings.min(MAX_DIM))?;
        if self.num_hidden_layers == 0 || self.num_hidden_layers > MAX_LAYERS {
            return Err(value(
                "num_hidden_layers",
                self.num_hidden_layers,
                format!("expected 1 to {MAX_LAYERS}"),
            ));
        }
        if self.num_nextn_predict_layers > 1 {
            let what = format!("{} multi-token-prediction layers (1 is)", self.num_nextn_predict_layers);
            return Err(ConfigError::Unsupported { what });
        }
        positive("rms_norm_eps", f64::from(self.rms_norm_eps))?;
        dimension("weight_block_size", self.weight_block_size[0])?;
        dimension("weight_block_size", self.weight_block_size[1])?;
        self.rope.check()?;
        match &self.attention {
            AttentionConfig::Gqa(gqa) => gqa.check(self)?,
            AttentionConfig::Mla(mla) => mla.check(self)?,
        }
        self.moe.as_ref().map_or(Ok(()), MoeConfig::check)
    }
}

impl GqaConfig {
    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        dimension("head_dim", self.head_dim)?;
        dimension("num_key_value_heads", self.num_key_value_heads)?;
        dimension(
            "num_attention_heads x head_dim",
            config.num_attention_heads.saturating_mul(self.head_dim),
        )?;
        if !config.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let heads = config.num_attention_heads;
            return Err(value(
                "num_key_value_heads",
                self.num_key_value_heads,
                format!("expected a divisor of {heads}"),
            ));
        }
        if config.rope.dim > self.head_dim {
            return Err(value(
                "rotary dimension",
                config.rope.dim,
                format!("expected at most {}", self.head_dim),
            ));
        }
        Ok(())
    }
}

impl MlaConfig {
    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        dimension("kv_lora_rank", self.kv_lora_rank)?;
        dimension("qk_nope_head_dim", self.qk_nope_head_dim)?;
        dimension("v_head_dim", self.v_head_dim)?;
        dimension("q_lora_rank", self.q_lora_rank.unwrap_or(1))?;
        let head_dim = self.qk_nope_head_dim + self.v_head_dim + self.qk_rope_head_dim;
        dimension(
            "num_attention_heads x head dimensions",
            config.num_attention_heads.saturating_mul(head_dim),
        )
    }
}

impl MoeConfig {
    fn check(&self) -> Result<(), ConfigError> {
        dimension("n_routed_experts", self.n_routed_experts)?;
        dimension("moe_intermediate_size", self.moe_intermediate_size)?;
        dimension(
            "n_shared_experts",
            self.n_shared_experts.saturating_mul(self.moe_intermediate_size).max(1),
        )?;
        if !(1..=self.n_routed_experts).contains(&self.num_experts_per_tok) {
            let expected = format!("expected 1 to {}", self.n_routed_experts);
            return Err(value("num_experts_per_tok", self.num_experts_per_tok, expected));
        }
        if self.n_group == 0 || !self.n_routed_experts.is_multiple_of(self.n_group) {
            let expected = format!("expected a divisor of the {} experts", self.n_routed_experts);
            return Err(value("n_group", self.n_group, expected));
        }
        if !(1..=self.n_group).contains(&self.topk_group) {
            return Err(value("topk_group", self.topk_group, format!("expected 1 to {}", self.n_group)));
        }
        let reachable = self.n_routed_experts / self.n_group * self.topk_group;
        if reachable < self.num_experts_per_tok {
            let expected = format!("expected at most the {reachable} experts of {} groups", self.topk_group);
            return Err(value("num_experts_per_tok", self.num_experts_per_tok, expected));
        }
        if !self.routed_scaling_factor.is_finite() {
            return Err(value("routed_scaling_factor", self.routed_scaling_factor, "expected a number"));
        }
        Ok(())
    }
}

impl RopeConfig {
    fn check(&self) -> Result<(), ConfigError> {
        positive("rope_theta", self.theta)?;
        dimension("rotary dimension", self.dim)?;
        if !self.dim.is_multiple_of(2) {
            return Err(value("rotary dimension", self.dim, "expected an even number"));
        }
        match self.scaling {
            RopeScaling::Default => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                positive("rope_scaling.high_freq_factor", high_freq_factor)?;
                positive("rope_scaling.original_max_position_embeddings", original_max_position_embeddings)?;
                if high_freq_factor <= low_freq_factor {
                    let expected = format!("expected more than low_freq_factor {low_freq_factor}");
                    return Err(value("rope_scaling.high_freq_factor", high_freq_factor, expected));
                }
                Ok(())
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.original_max_position_embeddings", original_max_position_embeddings)?;
                positive("rope_scaling.beta_fast", beta_fast)?;
                positive("rope_scaling.beta_slow", beta_slow)?;
                positive("rope_scaling.attention_factor", attention_factor)
            }
        }
    }
}
