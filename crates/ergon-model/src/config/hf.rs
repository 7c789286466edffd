//! config.json as published, and as newer versions of transformers spell it.
//!
//! Two spellings of rotary parameters are in use: `rope_theta` beside a `rope_scaling` object (published files, with
//! `type` or `rope_type`), and one `rope_parameters` object that holds both (transformers 5). Keys that a file leaves
//! out take the defaults of the configuration classes in transformers.

use ergon_checkpoint::Metadata;
use ergon_kernels::ops::RopeLayout;

use super::{
    Architecture, AttentionConfig, Config, ConfigError, GqaConfig, GroupScore, MlaConfig, MoeConfig,
    RopeConfig, RopeScaling, ScoringFunc,
};

/// DeepSeek's modeling code builds the norms of the low-rank projections with the default epsilon, whatever
/// `rms_norm_eps` says.
const LORA_NORM_EPS: f32 = 1e-6;

/// The keys of one config.json, with typed access that names what is missing.
struct Keys<'a>(&'a Metadata);

impl Keys<'_> {
    fn required(&self, key: &str) -> Result<usize, ConfigError> {
        self.0.usize(key)?.ok_or_else(|| ConfigError::Missing { key: key.to_string() })
    }

    fn usize(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        Ok(self.0.usize(key)?)
    }

    fn f64(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        Ok(self.0.f64(key)?)
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.0.bool(key)?.unwrap_or(default))
    }

    fn str(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        Ok(self.0.str(key)?)
    }

    /// A rotary parameter, in either spelling.
    fn rope(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.f64(&format!("rope_parameters.{key}"))? {
            Some(found) => Ok(Some(found)),
            None => self.f64(&format!("rope_scaling.{key}")),
        }
    }
}

pub(super) fn read(metadata: &Metadata) -> Result<Config, ConfigError> {
    let keys = Keys(metadata);
    let architecture = architecture(&keys)?;
    refuse_variants(&keys)?;
    let num_hidden_layers = keys.required("num_hidden_layers")?;
    let num_attention_heads = keys.required("num_attention_heads")?;
    let hidden_size = keys.required("hidden_size")?;
    let max_position_embeddings = keys.usize("max_position_embeddings")?.unwrap_or(2048);
    let attention = match architecture {
        Architecture::DeepseekV2 | Architecture::DeepseekV3 => AttentionConfig::Mla(mla(&keys)?),
        _ => AttentionConfig::Gqa(gqa(
            &keys,
            architecture,
            hidden_size,
            num_attention_heads,
            num_hidden_layers,
        )?),
    };
    let rope = rope(&keys, &attention, max_position_embeddings)?;
    let softmax_scale = softmax_scale(&keys, &attention, &rope)?;
    Ok(Config {
        architecture,
        vocab_size: keys.required("vocab_size")?,
        hidden_size,
        intermediate_size: keys.required("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        rms_norm_eps: keys.f64("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        max_position_embeddings,
        tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
        attention,
        softmax_scale,
        rope,
        moe: moe(&keys, architecture, num_hidden_layers)?,
        num_nextn_predict_layers: keys.usize("num_nextn_predict_layers")?.unwrap_or(0),
        weight_block_size: weight_block_size(metadata)?,
    })
}

fn architecture(keys: &Keys) -> Result<Architecture, ConfigError> {
    let model_type =
        keys.str("model_type")?.ok_or_else(|| ConfigError::Missing { key: "model_type".into() })?;
    // Mistral's decoder is Llama's; only its name differs.
    let model_type = if model_type == "mistral" { "llama" } else { model_type };
    Architecture::TABLE.iter().find(|row| row.1 == model_type).map(|row| row.0).ok_or_else(|| {
        ConfigError::Architecture {
            found: model_type.to_string(),
            supported: Architecture::supported_names(),
        }
    })
}

/// Variants that share a name with what we run but compute something else.
fn refuse_variants(keys: &Keys) -> Result<(), ConfigError> {
    let unsupported = |what: String| Err(ConfigError::Unsupported { what });
    if let Some(activation) = keys.str("hidden_act")?.filter(|name| !matches!(*name, "silu" | "swish")) {
        return unsupported(format!("hidden_act '{activation}'"));
    }
    if let Some(method) = keys.str("quantization_config.quant_method")?.filter(|method| *method != "fp8") {
        return unsupported(format!("quantization_config.quant_method '{method}'"));
    }
    if !keys.flag("use_mla", true)? {
        return unsupported("use_mla = false".into());
    }
    if keys.usize("moe_layer_freq")?.is_some_and(|freq| freq != 1) {
        return unsupported("moe_layer_freq other than 1".into());
    }
    Ok(())
}

fn gqa(
    keys: &Keys,
    architecture: Architecture,
    hidden_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
) -> Result<GqaConfig, ConfigError> {
    let qwen3 = matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe);
    let head_dim = match keys.usize("head_dim")? {
        Some(head_dim) => head_dim,
        None if qwen3 => 128,
        None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
    };
    let sliding_window = (0..num_hidden_layers.min(4096))
        .map(|layer| sliding_window(keys, architecture, layer))
        .collect::<Result<_, _>>()?;
    Ok(GqaConfig {
        num_key_value_heads: keys.usize("num_key_value_heads")?.unwrap_or(num_attention_heads),
        head_dim,
        qk_norm: qwen3,
        sliding_window,
    })
}

/// Llama files have no window; Mistral's `sliding_window` holds for every layer; Qwen's only when
/// `use_sliding_window` is set, and for the layers that `layer_types` names, or else from layer `max_window_layers` on
/// (Qwen3-MoE: every layer).
fn sliding_window(
    keys: &Keys,
    architecture: Architecture,
    layer: usize,
) -> Result<Option<usize>, ConfigError> {
    let Some(window) = keys.usize("sliding_window")?.filter(|window| *window > 0) else { return Ok(None) };
    let active = match architecture {
        Architecture::Llama => keys.str("model_type")? == Some("mistral"),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            keys.flag("use_sliding_window", false)?
                && match keys.0.list_str("layer_types")? {
                    Some(types) => types.get(layer) == Some(&"sliding_attention"),
                    None => layer >= keys.usize("max_window_layers")?.unwrap_or(28),
                }
        }
        _ => keys.flag("use_sliding_window", false)?,
    };
    Ok(active.then_some(window))
}

fn mla(keys: &Keys) -> Result<MlaConfig, ConfigError> {
    Ok(MlaConfig {
        q_lora_rank: keys.usize("q_lora_rank")?,
        kv_lora_rank: keys.required("kv_lora_rank")?,
        qk_nope_head_dim: keys.required("qk_nope_head_dim")?,
        qk_rope_head_dim: keys.required("qk_rope_head_dim")?,
        v_head_dim: keys.required("v_head_dim")?,
        lora_norm_eps: LORA_NORM_EPS,
    })
}

fn rope(keys: &Keys, attention: &AttentionConfig, max_positions: usize) -> Result<RopeConfig, ConfigError> {
    let theta = match keys.f64("rope_parameters.rope_theta")? {
        Some(theta) => theta,
        None => keys.f64("rope_theta")?.unwrap_or(10_000.0),
    };
    let (dim, layout) = match attention {
        AttentionConfig::Mla(mla) => {
            let interleaved = keys.flag("rope_interleave", true)?;
            (mla.qk_rope_head_dim, if interleaved { RopeLayout::Interleaved } else { RopeLayout::Half })
        }
        AttentionConfig::Gqa(gqa) => {
            let partial = match keys.rope("partial_rotary_factor")? {
                Some(partial) => partial,
                None => keys.f64("partial_rotary_factor")?.unwrap_or(1.0),
            };
            ((gqa.head_dim as f64 * partial) as usize, RopeLayout::Half)
        }
    };
    Ok(RopeConfig { theta, dim, layout, scaling: rope_scaling(keys, max_positions)? })
}

fn rope_type<'a>(keys: &'a Keys) -> Result<&'a str, ConfigError> {
    for key in
        ["rope_parameters.rope_type", "rope_parameters.type", "rope_scaling.rope_type", "rope_scaling.type"]
    {
        if let Some(found) = keys.str(key)? {
            return Ok(found);
        }
    }
    Ok("default")
}

fn rope_scaling(keys: &Keys, max_positions: usize) -> Result<RopeScaling, ConfigError> {
    let required = |key: &str| -> Result<f64, ConfigError> {
        keys.rope(key)?.ok_or_else(|| ConfigError::Missing { key: format!("rope_scaling.{key}") })
    };
    let original = match keys.rope("original_max_position_embeddings")? {
        Some(original) => original,
        None => max_positions as f64,
    };
    match rope_type(keys)? {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear { factor: required("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: required("factor")?,
            low_freq_factor: required("low_freq_factor")?,
            high_freq_factor: required("high_freq_factor")?,
            original_max_position_embeddings: original,
        }),
        "yarn" => {
            let factor = match keys.rope("factor")? {
                Some(factor) => factor,
                None => max_positions as f64 / original,
            };
            Ok(RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast: keys.rope("beta_fast")?.filter(|beta| *beta != 0.0).unwrap_or(32.0),
                beta_slow: keys.rope("beta_slow")?.filter(|beta| *beta != 0.0).unwrap_or(1.0),
                attention_factor: yarn_attention_factor(keys, factor)?,
                truncate: match keys.0.bool("rope_parameters.truncate")? {
                    Some(truncate) => truncate,
                    None => keys.flag("rope_scaling.truncate", true)?,
                },
            })
        }
        other => Err(ConfigError::Unsupported { what: format!("rope type '{other}'") }),
    }
}

/// YaRN's temperature, as a factor on cosine and sine: 0.1 m ln(factor) + 1.
pub(super) fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

fn yarn_attention_factor(keys: &Keys, factor: f64) -> Result<f64, ConfigError> {
    if let Some(given) = keys.rope("attention_factor")? {
        return Ok(given);
    }
    let nonzero =
        |key| -> Result<Option<f64>, ConfigError> { Ok(keys.rope(key)?.filter(|value| *value != 0.0)) };
    Ok(match (nonzero("mscale")?, nonzero("mscale_all_dim")?) {
        (Some(mscale), Some(all_dim)) => yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim),
        _ => yarn_mscale(factor, 1.0),
    })
}

/// 1/sqrt(head), and for latent attention under YaRN times the square of its temperature for all dimensions.
fn softmax_scale(keys: &Keys, attention: &AttentionConfig, rope: &RopeConfig) -> Result<f32, ConfigError> {
    let (head_dim, latent) = match attention {
        AttentionConfig::Gqa(gqa) => (gqa.head_dim, false),
        AttentionConfig::Mla(mla) => (mla.qk_head_dim(), true),
    };
    let mut scale = (head_dim as f64).powf(-0.5);
    if let RopeScaling::Yarn { factor, .. } = rope.scaling
        && latent
    {
        let all_dim = keys.rope("mscale_all_dim")?.unwrap_or(0.0);
        scale *= yarn_mscale(factor, all_dim).powi(2);
    }
    Ok(scale as f32)
}

fn moe(
    keys: &Keys,
    architecture: Architecture,
    num_hidden_layers: usize,
) -> Result<Option<MoeConfig>, ConfigError> {
    match architecture {
        Architecture::Qwen3Moe => qwen_moe(keys, num_hidden_layers).map(Some),
        Architecture::DeepseekV2 | Architecture::DeepseekV3 => {
            deepseek_moe(keys, architecture, num_hidden_layers)
        }
        _ => Ok(None),
    }
}

fn qwen_moe(keys: &Keys, num_hidden_layers: usize) -> Result<MoeConfig, ConfigError> {
    let step = keys.usize("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        let expected = "expected at least 1".to_string();
        return Err(ConfigError::Value { key: "decoder_sparse_step", found: "0".into(), expected });
    }
    let dense = keys.0.list_usize("mlp_only_layers")?.unwrap_or_default();
    let n_routed_experts = match keys.usize("num_experts")? {
        Some(experts) => experts,
        None => keys.required("num_local_experts")?,
    };
    Ok(MoeConfig {
        n_routed_experts,
        num_experts_per_tok: keys.usize("num_experts_per_tok")?.unwrap_or(8),
        moe_intermediate_size: keys.required("moe_intermediate_size")?,
        n_shared_experts: 0,
        scoring_func: ScoringFunc::Softmax,
        norm_topk_prob: keys.flag("norm_topk_prob", false)?,
        routed_scaling_factor: 1.0,
        n_group: 1,
        topk_group: 1,
        group_score: GroupScore::Max,
        is_moe_layer: (0..num_hidden_layers.min(4096))
            .map(|layer| (layer + 1).is_multiple_of(step) && !dense.contains(&layer))
            .collect(),
    })
}

fn deepseek_moe(
    keys: &Keys,
    architecture: Architecture,
    num_hidden_layers: usize,
) -> Result<Option<MoeConfig>, ConfigError> {
    let Some(n_routed_experts) = keys.usize("n_routed_experts")? else { return Ok(None) };
    let v3 = architecture == Architecture::DeepseekV3;
    let method = keys.str("topk_method")?.unwrap_or(if v3 { "noaux_tc" } else { "greedy" });
    let (grouped, group_score) = match method {
        "greedy" => (false, GroupScore::Max),
        "group_limited_greedy" => (true, GroupScore::Max),
        "noaux_tc" => (true, GroupScore::Top2Sum),
        other => return Err(ConfigError::Unsupported { what: format!("topk_method '{other}'") }),
    };
    let scoring_func = match keys.str("scoring_func")?.unwrap_or(if v3 { "sigmoid" } else { "softmax" }) {
        "softmax" => ScoringFunc::Softmax,
        "sigmoid" => ScoringFunc::Sigmoid,
        other => return Err(ConfigError::Unsupported { what: format!("scoring_func '{other}'") }),
    };
    let first_dense = keys.usize("first_k_dense_replace")?.unwrap_or(if v3 { 3 } else { 0 });
    Ok(Some(MoeConfig {
        n_routed_experts,
        num_experts_per_tok: keys.required("num_experts_per_tok")?,
        moe_intermediate_size: keys.required("moe_intermediate_size")?,
        n_shared_experts: keys.usize("n_shared_experts")?.unwrap_or(0),
        scoring_func,
        // Every published V2 says false, and transformers does not read the key for V2.
        norm_topk_prob: v3 && keys.flag("norm_topk_prob", true)?,
        routed_scaling_factor: keys.f64("routed_scaling_factor")?.unwrap_or(1.0) as f32,
        n_group: if grouped { keys.usize("n_group")?.unwrap_or(1) } else { 1 },
        topk_group: if grouped { keys.usize("topk_group")?.unwrap_or(1) } else { 1 },
        group_score,
        is_moe_layer: (0..num_hidden_layers.min(4096)).map(|layer| layer >= first_dense).collect(),
    }))
}

fn weight_block_size(metadata: &Metadata) -> Result<[usize; 2], ConfigError> {
    match metadata.list_usize("quantization_config.weight_block_size")? {
        None => Ok([128, 128]),
        Some(sizes) => sizes.as_slice().try_into().map_err(|_| ConfigError::Value {
            key: "quantization_config.weight_block_size",
            found: format!("a list of {}", sizes.len()),
            expected: "expected two sizes".into(),
        }),
    }
}
