//! The keys of a GGUF header, as llama.cpp's converter writes them.
//!
//! Facts that differ from config.json: Llama's query and key rows are permuted so that rotary pairs are adjacent;
//! `block_count` includes multi-token-prediction layers; `deepseek2` covers V2 and V3, told apart by the router's
//! gating function; YaRN's `mscale_all_dim` is stored as `rope.scaling.yarn_log_multiplier` = 0.1 x mscale_all_dim.

use ergon_checkpoint::{Checkpoint, Metadata};
use ergon_kernels::ops::RopeLayout;

use super::{
    Architecture, AttentionConfig, Config, ConfigError, GqaConfig, GroupScore, MlaConfig, MoeConfig,
    RopeConfig, RopeScaling, ScoringFunc, hf::yarn_mscale,
};

/// GLM-4.7-Flash reuses the name `deepseek2`, has this many layers (with and without its extra one), scores with a
/// sigmoid, and older files do not say so.
const SIGMOID_BY_LAYER_COUNT: [usize; 2] = [47, 48];

/// Keys below the architecture's prefix.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn required(&self, name: &str) -> Result<usize, ConfigError> {
        self.usize(name)?.ok_or_else(|| ConfigError::Missing { key: self.key(name) })
    }

    fn usize(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        Ok(self.metadata.usize(&self.key(name))?)
    }

    fn f64(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        Ok(self.metadata.f64(&self.key(name))?)
    }

    /// A count that some converters write once and some per layer; all layers must agree.
    fn uniform(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let key = self.key(name);
        let Ok(Some(list)) = self.metadata.list_usize(&key) else { return self.usize(name) };
        let first = list.first().copied();
        if list.iter().any(|count| Some(*count) != first) {
            return Err(ConfigError::Unsupported { what: format!("'{key}' that differs between layers") });
        }
        Ok(first)
    }
}

pub(super) fn read(checkpoint: &Checkpoint) -> Result<Config, ConfigError> {
    let metadata = checkpoint.metadata();
    let name = metadata
        .str("general.architecture")?
        .ok_or_else(|| ConfigError::Missing { key: "general.architecture".into() })?;
    let keys = Keys { metadata, prefix: name };
    let architecture = architecture(&keys, name)?;
    let block_count = keys.required("block_count")?;
    let num_nextn_predict_layers = keys.usize("nextn_predict_layers")?.unwrap_or(0);
    let num_hidden_layers = block_count.saturating_sub(num_nextn_predict_layers);
    let num_attention_heads = keys
        .uniform("attention.head_count")?
        .ok_or(ConfigError::Missing { key: keys.key("attention.head_count") })?;
    let hidden_size = keys.required("embedding_length")?;
    let rms_norm_eps = keys.f64("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6) as f32;
    let attention = if architecture.gguf_name() == "deepseek2" {
        AttentionConfig::Mla(mla(&keys, rms_norm_eps)?)
    } else {
        let head_dim = match keys.usize("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        };
        AttentionConfig::Gqa(GqaConfig {
            num_key_value_heads: keys.uniform("attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
            sliding_window: vec![None; num_hidden_layers.min(4096)],
        })
    };
    let max_position_embeddings = keys.usize("context_length")?.unwrap_or(2048);
    let rope = rope(&keys, &attention, architecture, max_position_embeddings)?;
    Ok(Config {
        architecture,
        vocab_size: vocab_size(checkpoint, &keys)?,
        hidden_size,
        // A model whose every layer is routed has no dense width; any positive number stands in.
        intermediate_size: keys.uniform("feed_forward_length")?.filter(|width| *width > 0).unwrap_or(1),
        num_hidden_layers,
        num_attention_heads,
        rms_norm_eps,
        max_position_embeddings,
        tie_word_embeddings: checkpoint.tensor("output.weight").is_none(),
        softmax_scale: softmax_scale(&keys, &attention, &rope)?,
        attention,
        rope,
        moe: moe(&keys, architecture, num_hidden_layers, block_count)?,
        num_nextn_predict_layers,
        weight_block_size: [128, 128],
    })
}

fn architecture(keys: &Keys, name: &str) -> Result<Architecture, ConfigError> {
    let found = Architecture::TABLE.iter().find(|row| row.2 == name).map(|row| row.0).ok_or_else(|| {
        ConfigError::Architecture { found: name.to_string(), supported: Architecture::supported_names() }
    })?;
    if found == Architecture::Llama && keys.usize("expert_count")?.unwrap_or(0) > 0 {
        return Err(ConfigError::Unsupported { what: "a Llama with experts (Mixtral)".into() });
    }
    if found == Architecture::DeepseekV2 && sigmoid(keys)? {
        return Ok(Architecture::DeepseekV3);
    }
    Ok(found)
}

/// `expert_gating_func`: 1 softmax, 2 sigmoid; absent means softmax.
fn sigmoid(keys: &Keys) -> Result<bool, ConfigError> {
    match keys.usize("expert_gating_func")? {
        Some(1) => Ok(false),
        Some(2) => Ok(true),
        None | Some(0) => Ok(SIGMOID_BY_LAYER_COUNT.contains(&keys.required("block_count")?)),
        Some(other) => Err(ConfigError::Unsupported { what: format!("expert_gating_func {other}") }),
    }
}

fn vocab_size(checkpoint: &Checkpoint, keys: &Keys) -> Result<usize, ConfigError> {
    match checkpoint.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first()) {
        Some(rows) => Ok(*rows),
        None => keys.required("vocab_size"),
    }
}

/// New files give head widths in `*_length_mla`; old ones in `key_length` and `value_length`.
fn mla(keys: &Keys, rms_norm_eps: f32) -> Result<MlaConfig, ConfigError> {
    let qk_rope_head_dim = keys.required("rope.dimension_count")?;
    let width = |new: &str, old: &str| -> Result<usize, ConfigError> {
        keys.usize(new)?.map_or_else(|| keys.required(old), Ok)
    };
    let qk_head_dim = width("attention.key_length_mla", "attention.key_length")?;
    Ok(MlaConfig {
        q_lora_rank: keys.usize("attention.q_lora_rank")?.filter(|rank| *rank > 0),
        kv_lora_rank: keys.required("attention.kv_lora_rank")?,
        qk_nope_head_dim: qk_head_dim.saturating_sub(qk_rope_head_dim),
        qk_rope_head_dim,
        v_head_dim: width("attention.value_length_mla", "attention.value_length")?,
        lora_norm_eps: rms_norm_eps,
    })
}

fn rope(
    keys: &Keys,
    attention: &AttentionConfig,
    architecture: Architecture,
    max_positions: usize,
) -> Result<RopeConfig, ConfigError> {
    let (dim, layout) = match attention {
        AttentionConfig::Mla(mla) => (mla.qk_rope_head_dim, RopeLayout::Interleaved),
        AttentionConfig::Gqa(gqa) => {
            let layout =
                if architecture == Architecture::Llama { RopeLayout::Interleaved } else { RopeLayout::Half };
            (keys.usize("rope.dimension_count")?.unwrap_or(gqa.head_dim), layout)
        }
    };
    let theta = keys.f64("rope.freq_base")?.unwrap_or(10_000.0);
    Ok(RopeConfig { theta, dim, layout, scaling: rope_scaling(keys, attention, max_positions)? })
}

fn rope_scaling(
    keys: &Keys,
    attention: &AttentionConfig,
    max_positions: usize,
) -> Result<RopeScaling, ConfigError> {
    let factor = keys.f64("rope.scaling.factor")?.unwrap_or(1.0);
    match keys.metadata.str(&keys.key("rope.scaling.type"))?.unwrap_or("none") {
        "none" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear { factor }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: keys
                .f64("rope.scaling.original_context_length")?
                .unwrap_or(max_positions as f64),
            beta_fast: keys.f64("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.f64("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention_factor: match attention {
                // mscale equals mscale_all_dim in every published file, so the ratio is 1.
                AttentionConfig::Mla(_) => 1.0,
                AttentionConfig::Gqa(_) => {
                    yarn_mscale(factor, 1.0) * keys.f64("rope.scaling.attn_factor")?.unwrap_or(1.0)
                }
            },
            truncate: true,
        }),
        other => Err(ConfigError::Unsupported { what: format!("rope scaling '{other}'") }),
    }
}

fn softmax_scale(keys: &Keys, attention: &AttentionConfig, rope: &RopeConfig) -> Result<f32, ConfigError> {
    let AttentionConfig::Mla(mla) = attention else {
        let AttentionConfig::Gqa(gqa) = attention else { unreachable!("attention is one of two kinds") };
        return Ok((gqa.head_dim as f64).powf(-0.5) as f32);
    };
    let mut scale = (mla.qk_head_dim() as f64).powf(-0.5);
    if let RopeScaling::Yarn { factor, .. } = rope.scaling {
        let log_multiplier = keys.f64("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        scale *= yarn_mscale(factor, log_multiplier / 0.1).powi(2);
    }
    Ok(scale as f32)
}

fn moe(
    keys: &Keys,
    architecture: Architecture,
    num_hidden_layers: usize,
    block_count: usize,
) -> Result<Option<MoeConfig>, ConfigError> {
    let Some(n_routed_experts) = keys.usize("expert_count")?.filter(|count| *count > 0) else {
        return Ok(None);
    };
    let num_experts_per_tok = keys.required("expert_used_count")?;
    let moe_intermediate_size = match keys.usize("expert_feed_forward_length")? {
        Some(width) => width,
        None => keys.required("feed_forward_length")? / num_experts_per_tok.max(1),
    };
    let deepseek = architecture.gguf_name() == "deepseek2";
    let sigmoid = deepseek && architecture == Architecture::DeepseekV3;
    let normalised = keys.metadata.bool(&keys.key("expert_weights_norm"))?;
    let leading_dense = keys.usize("leading_dense_block_count")?.unwrap_or(0);
    debug_assert!(num_hidden_layers <= block_count);
    Ok(Some(MoeConfig {
        n_routed_experts,
        num_experts_per_tok,
        moe_intermediate_size,
        n_shared_experts: keys.usize("expert_shared_count")?.unwrap_or(0),
        scoring_func: if sigmoid { ScoringFunc::Sigmoid } else { ScoringFunc::Softmax },
        norm_topk_prob: normalised.unwrap_or(!deepseek),
        routed_scaling_factor: keys.f64("expert_weights_scale")?.filter(|scale| *scale != 0.0).unwrap_or(1.0)
            as f32,
        n_group: keys.usize("expert_group_count")?.filter(|groups| *groups > 0).unwrap_or(1),
        topk_group: keys.usize("expert_group_used_count")?.filter(|groups| *groups > 0).unwrap_or(1),
        group_score: if sigmoid { GroupScore::Top2Sum } else { GroupScore::Max },
        is_moe_layer: (0..num_hidden_layers.min(4096)).map(|layer| layer >= leading_dense).collect(),
    }))
}
