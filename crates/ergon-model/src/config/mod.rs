//! What a checkpoint says about itself, in one vocabulary.
//!
//! Hyper-parameters keep the names of DeepSeek's and Hugging Face's config.json. `hf` reads that file, `gguf` reads the
//! keys of a GGUF header; both end in a [`Config`] that has been checked for everything the forward pass relies on.

mod checks;
mod driver;
mod gguf;
mod hf;

pub use driver::{
    ActionConfig, CameraConfig, DRIVER_MODEL_TYPE, DriverConfig, MAX_INSTRUCTION_TOKENS,
    MAX_REASONING_TOKENS, VisionConfig,
};

use ergon_checkpoint::{Checkpoint, CheckpointKind, MetadataError};
use ergon_kernels::ops::RopeLayout;
use thiserror::Error;

/// The model families that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2, 3, SmolLM2, Mistral and others of the same build.
    Llama,
    /// Qwen2: Llama with biases on q, k and v.
    Qwen2,
    /// Qwen3: Llama with a norm on each query and key head.
    Qwen3,
    /// Qwen3 with routed experts.
    Qwen3Moe,
    /// DeepSeek V2, V2-Lite, V2.5.
    DeepseekV2,
    /// DeepSeek V3, V3.1, R1.
    DeepseekV3,
}

impl Architecture {
    /// Every architecture with its `model_type` in config.json and its GGUF name.
    const TABLE: [(Architecture, &'static str, &'static str); 6] = [
        (Architecture::Llama, "llama", "llama"),
        (Architecture::Qwen2, "qwen2", "qwen2"),
        (Architecture::Qwen3, "qwen3", "qwen3"),
        (Architecture::Qwen3Moe, "qwen3_moe", "qwen3moe"),
        (Architecture::DeepseekV2, "deepseek_v2", "deepseek2"),
        (Architecture::DeepseekV3, "deepseek_v3", "deepseek2"),
    ];

    fn row(self) -> (Architecture, &'static str, &'static str) {
        Self::TABLE[self as usize]
    }

    /// The name in config.json, e.g. `deepseek_v3`.
    pub fn model_type(self) -> &'static str {
        self.row().1
    }

    /// The value of `general.architecture` in a GGUF file, e.g. `deepseek2`.
    pub fn gguf_name(self) -> &'static str {
        self.row().2
    }

    fn supported_names() -> String {
        Self::TABLE.iter().map(|row| row.1).collect::<Vec<_>>().join(", ")
    }
}

/// A configuration that cannot be run.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ConfigError {
    /// A key has the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A key that nothing can stand in for is not there.
    #[error("the config has no '{key}'")]
    Missing {
        /// The key.
        key: String,
    },
    /// The architecture is not one of ours.
    #[error("architecture '{found}' is not supported (supported: {supported})")]
    Architecture {
        /// What the file says.
        found: String,
        /// What it could say.
        supported: String,
    },
    /// A driver where a language model is wanted.
    #[error(
        "'{found}' is no language model: it drives. Run it with `ergon drive`; `generate` and `score` want one that writes"
    )]
    NotLanguage {
        /// What the file says.
        found: String,
    },
    /// A value that contradicts another, or lies outside what is possible.
    #[error("'{key}' is {found}, {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What would be possible.
        expected: String,
    },
    /// A variant that is published but not implemented here.
    #[error("{what} is not supported")]
    Unsupported {
        /// The variant.
        what: String,
    },
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the dense feed-forward part.
    pub intermediate_size: usize,
    /// Decoder layers, without multi-token-prediction layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f32,
    /// Context length.
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// How attention is built.
    pub attention: AttentionConfig,
    /// Factor on query-key products, YaRN's correction included.
    pub softmax_scale: f32,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Routed experts, if any layer has them.
    pub moe: Option<MoeConfig>,
    /// Multi-token-prediction layers stored after the decoder layers.
    pub num_nextn_predict_layers: usize,
    /// Rows and columns of the blocks that share one scale in FP8 weights.
    pub weight_block_size: [usize; 2],
}

/// How attention is built.
#[derive(Clone, Debug, PartialEq)]
pub enum AttentionConfig {
    /// Grouped-query attention (multi-head when the head counts are equal).
    Gqa(GqaConfig),
    /// Multi-head latent attention (DeepSeek V2, section 2.1, arXiv 2405.04434).
    Mla(MlaConfig),
}

/// Grouped-query attention.
#[derive(Clone, Debug, PartialEq)]
pub struct GqaConfig {
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether each query and key head passes a norm before the rotation (Qwen3).
    pub qk_norm: bool,
    /// For each layer, how many positions back it sees; `None` is all.
    pub sliding_window: Vec<Option<usize>>,
}

/// Multi-head latent attention.
#[derive(Clone, Debug, PartialEq)]
pub struct MlaConfig {
    /// Rank of the query projection; `None` is a full projection (V2-Lite).
    pub q_lora_rank: Option<usize>,
    /// Width of the latent that is cached.
    pub kv_lora_rank: usize,
    /// Width of the part of a query head without position.
    pub qk_nope_head_dim: usize,
    /// Width of the rotary part, whose key is shared by all heads.
    pub qk_rope_head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// Epsilon of the norms on the low-rank projections.
    pub lora_norm_eps: f32,
}

impl MlaConfig {
    /// Width of a query head.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Values cached per position.
    pub fn cache_width(&self) -> usize {
        self.kv_lora_rank + self.qk_rope_head_dim
    }
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies (`rope_theta`).
    pub theta: f64,
    /// How many values of a head are rotated.
    pub dim: usize,
    /// Which values form a pair.
    pub layout: RopeLayout,
    /// Extension beyond the trained context.
    pub scaling: RopeScaling,
}

/// Extension beyond the trained context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, a ramp between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of the pre-training.
        original_max_position_embeddings: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// Context length of the pre-training.
        original_max_position_embeddings: f64,
        /// Rotations over the original context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// Factor on cosine and sine.
        attention_factor: f64,
        /// Whether the borders of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

/// How a router scores experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoringFunc {
    /// Softmax over all experts (V2, Qwen3).
    Softmax,
    /// Sigmoid of each (V3).
    Sigmoid,
}

/// How a router scores a group of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// The best expert of the group (V2, `group_limited_greedy`).
    Max,
    /// The sum of the two best (V3, `noaux_tc`).
    Top2Sum,
}

/// Routed experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeConfig {
    /// Experts per layer.
    pub n_routed_experts: usize,
    /// Experts each token visits.
    pub num_experts_per_tok: usize,
    /// Width of one expert.
    pub moe_intermediate_size: usize,
    /// Shared experts; they are stored as one feed-forward part of `n_shared_experts * moe_intermediate_size`.
    pub n_shared_experts: usize,
    /// Scores.
    pub scoring_func: ScoringFunc,
    /// Whether the weights of the chosen experts are normalised to sum 1.
    pub norm_topk_prob: bool,
    /// Factor on the weights, after normalisation.
    pub routed_scaling_factor: f32,
    /// Groups of experts; 1 is no grouping.
    pub n_group: usize,
    /// Groups each token may choose from.
    pub topk_group: usize,
    /// Score of a group.
    pub group_score: GroupScore,
    /// Whether layer i has experts.
    pub is_moe_layer: Vec<bool>,
}

impl Config {
    /// Reads the configuration of a checkpoint and checks it.
    ///
    /// # Errors
    /// A key is missing, has the wrong type or an impossible value, or names a variant that does not run here.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Config, ConfigError> {
        let config = match checkpoint.kind() {
            CheckpointKind::HuggingFace if DriverConfig::is_driver(checkpoint) => {
                return Err(ConfigError::NotLanguage { found: DRIVER_MODEL_TYPE.to_string() });
            }
            CheckpointKind::HuggingFace => hf::read(checkpoint.metadata())?,
            CheckpointKind::Gguf => gguf::read(checkpoint)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Whether layer `layer` has routed experts. Multi-token-prediction layers have them when any layer does.
    pub fn is_moe_layer(&self, layer: usize) -> bool {
        self.moe.as_ref().is_some_and(|moe| moe.is_moe_layer.get(layer).copied().unwrap_or(true))
    }
}
