//! A decoder's tensors, bound to their places once: a missing tensor, a wrong shape and a tensor without a place are
//! errors here, so that the forward pass has nothing left to check.

use ergon_checkpoint::Checkpoint;

use crate::binder::Binder;
use crate::config::{AttentionConfig, Config, GqaConfig, GroupScore, MlaConfig, MoeConfig};
use crate::error::ModelError;
use crate::matrix::Matrix;
use crate::names::{Part, Place};

/// A matrix with an optional bias on its outputs, `[rows]`.
pub(crate) struct Linear {
    pub(crate) weight: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Everything a decoder multiplies with.
pub(crate) struct Weights {
    /// `[vocab_size, hidden_size]`
    pub(crate) embed_tokens: Matrix,
    pub(crate) layers: Vec<LayerWeights>,
    /// `[hidden_size]`
    pub(crate) norm: Vec<f32>,
    /// `[vocab_size, hidden_size]`
    pub(crate) lm_head: Matrix,
    pub(crate) nextn: Option<NextnWeights>,
}

/// One transformer layer.
pub(crate) struct LayerWeights {
    /// `[hidden_size]`
    pub(crate) input_layernorm: Vec<f32>,
    pub(crate) attention: AttentionWeights,
    /// `[hidden_size]`
    pub(crate) post_attention_layernorm: Vec<f32>,
    pub(crate) feed_forward: FeedForwardWeights,
}

pub(crate) enum AttentionWeights {
    Gqa(Box<GqaWeights>),
    Mla(Box<MlaWeights>),
}

/// Grouped-query attention.
pub(crate) struct GqaWeights {
    /// `[num_attention_heads * head_dim, hidden_size]`
    pub(crate) q_proj: Linear,
    /// `[num_key_value_heads * head_dim, hidden_size]`
    pub(crate) k_proj: Linear,
    /// `[num_key_value_heads * head_dim, hidden_size]`
    pub(crate) v_proj: Linear,
    /// `[hidden_size, num_attention_heads * head_dim]`
    pub(crate) o_proj: Linear,
    /// `[head_dim]`, queries and keys
    pub(crate) qk_norm: Option<(Vec<f32>, Vec<f32>)>,
}

/// Multi-head latent attention.
pub(crate) struct MlaWeights {
    pub(crate) q: MlaQuery,
    /// `[kv_lora_rank + qk_rope_head_dim, hidden_size]`
    pub(crate) kv_a_proj_with_mqa: Linear,
    /// `[kv_lora_rank]`
    pub(crate) kv_a_layernorm: Vec<f32>,
    pub(crate) kv_b: KvB,
    /// `[hidden_size, num_attention_heads * v_head_dim]`
    pub(crate) o_proj: Linear,
}

/// The query projection.
pub(crate) enum MlaQuery {
    /// `[num_attention_heads * qk_head_dim, hidden_size]`
    Full(Linear),
    /// `a` `[q_lora_rank, hidden_size]`, `norm` `[q_lora_rank]`, `b` `[num_attention_heads * qk_head_dim, q_lora_rank]`
    LowRank { a: Linear, norm: Vec<f32>, b: Linear },
}

/// The up-projection of the latent to keys and values.
pub(crate) enum KvB {
    /// As published: for each head `qk_nope_head_dim` rows of keys, then `v_head_dim` rows of values, `kv_lora_rank`
    /// columns.
    Joint(Matrix),
    /// As newer GGUF files store it: `k_b` transposed, for each head `kv_lora_rank` rows of `qk_nope_head_dim`; `v_b`
    /// for each head `v_head_dim` rows of `kv_lora_rank`.
    Split { k_b: Matrix, v_b: Matrix },
}

pub(crate) enum FeedForwardWeights {
    Dense(MlpWeights),
    Moe(MoeWeights),
}

/// A gated feed-forward part.
pub(crate) struct MlpWeights {
    /// `[intermediate_size, hidden_size]`
    pub(crate) gate_proj: Linear,
    /// `[intermediate_size, hidden_size]`
    pub(crate) up_proj: Linear,
    /// `[hidden_size, intermediate_size]`
    pub(crate) down_proj: Linear,
}

/// Routed and shared experts.
pub(crate) struct MoeWeights {
    /// `[n_routed_experts, hidden_size]`
    pub(crate) router: Matrix,
    /// `[n_routed_experts]`, added for selection only
    pub(crate) e_score_correction_bias: Option<Vec<f32>>,
    pub(crate) experts: Vec<Expert>,
    pub(crate) shared_experts: Option<MlpWeights>,
}

/// One routed expert: gate and up `[moe_intermediate_size, hidden_size]`, down the other way round.
pub(crate) struct Expert {
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

/// The multi-token-prediction layer.
pub(crate) struct NextnWeights {
    /// `[vocab_size, hidden_size]`
    pub(crate) embed_tokens: Matrix,
    /// `[hidden_size]`, on the embedding
    pub(crate) enorm: Vec<f32>,
    /// `[hidden_size]`, on the decoder's last hidden state
    pub(crate) hnorm: Vec<f32>,
    /// `[hidden_size, 2 * hidden_size]`
    pub(crate) eh_proj: Matrix,
    pub(crate) layer: LayerWeights,
    /// `[hidden_size]`
    pub(crate) head_norm: Vec<f32>,
    /// `[vocab_size, hidden_size]`
    pub(crate) head: Matrix,
}

impl Weights {
    /// Binds every tensor of the checkpoint.
    pub(crate) fn bind(checkpoint: &Checkpoint, config: &Config) -> Result<Weights, ModelError> {
        let binder = Binder::new(checkpoint, config);
        let weights = Weights::bind_with(&binder, config)?;
        binder.finish()?;
        Ok(weights)
    }

    /// Binds the decoder's tensors, whatever else the checkpoint holds.
    pub(crate) fn bind_with(binder: &Binder, config: &Config) -> Result<Weights, ModelError> {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let embed_tokens = binder.matrix(Place::Model, Part::EmbedTokens, vocab, hidden)?;
        // Only a config that says so makes the embedding the head: elsewhere a missing head is a missing tensor.
        let own_head = (!config.tie_word_embeddings)
            .then(|| binder.matrix(Place::Model, Part::LmHead, vocab, hidden))
            .transpose()?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| layer(binder, config, index))
            .collect::<Result<Vec<_>, _>>()?;
        let lm_head = own_head.unwrap_or_else(|| embed_tokens.clone());
        Ok(Weights {
            norm: binder.vector(Place::Model, Part::Norm, hidden)?,
            // Drafts visit more experts a step than they save where each may have to be read.
            nextn: if binder.leaves_experts() {
                None
            } else {
                nextn(binder, config, &embed_tokens, &lm_head)?
            },
            embed_tokens,
            layers,
            lm_head,
        })
    }
}

fn layer(binder: &Binder, config: &Config, index: usize) -> Result<LayerWeights, ModelError> {
    let place = Place::Layer(index);
    let attention = match &config.attention {
        AttentionConfig::Gqa(gqa) => {
            AttentionWeights::Gqa(Box::new(gqa_weights(binder, config, gqa, place)?))
        }
        AttentionConfig::Mla(mla) => {
            AttentionWeights::Mla(Box::new(mla_weights(binder, config, mla, place)?))
        }
    };
    let feed_forward = match &config.moe {
        Some(moe) if config.is_moe_layer(index) => {
            FeedForwardWeights::Moe(moe_weights(binder, config, moe, place)?)
        }
        _ => FeedForwardWeights::Dense(mlp_weights(
            binder,
            place,
            [Part::GateProj, Part::UpProj, Part::DownProj],
            config.hidden_size,
            config.intermediate_size,
        )?),
    };
    Ok(LayerWeights {
        input_layernorm: binder.vector(place, Part::InputLayernorm, config.hidden_size)?,
        attention,
        post_attention_layernorm: binder.vector(place, Part::PostAttentionLayernorm, config.hidden_size)?,
        feed_forward,
    })
}

fn gqa_weights(
    binder: &Binder,
    config: &Config,
    gqa: &GqaConfig,
    place: Place,
) -> Result<GqaWeights, ModelError> {
    let hidden = config.hidden_size;
    let q_width = config.num_attention_heads * gqa.head_dim;
    let kv_width = gqa.num_key_value_heads * gqa.head_dim;
    let norm = |part| binder.vector(place, part, gqa.head_dim);
    Ok(GqaWeights {
        q_proj: binder.linear(place, Part::QProj, q_width, hidden)?,
        k_proj: binder.linear(place, Part::KProj, kv_width, hidden)?,
        v_proj: binder.linear(place, Part::VProj, kv_width, hidden)?,
        o_proj: binder.linear(place, Part::OProj, hidden, q_width)?,
        qk_norm: if gqa.qk_norm { Some((norm(Part::QNorm)?, norm(Part::KNorm)?)) } else { None },
    })
}

fn mla_weights(
    binder: &Binder,
    config: &Config,
    mla: &MlaConfig,
    place: Place,
) -> Result<MlaWeights, ModelError> {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    let q_width = heads * mla.qk_head_dim();
    let q = match mla.q_lora_rank {
        None => MlaQuery::Full(binder.linear(place, Part::QProj, q_width, hidden)?),
        Some(rank) => MlaQuery::LowRank {
            a: binder.linear(place, Part::QAProj, rank, hidden)?,
            norm: binder.vector(place, Part::QALayernorm, rank)?,
            b: binder.linear(place, Part::QBProj, q_width, rank)?,
        },
    };
    Ok(MlaWeights {
        q,
        kv_a_proj_with_mqa: binder.linear(place, Part::KvAProjWithMqa, mla.cache_width(), hidden)?,
        kv_a_layernorm: binder.vector(place, Part::KvALayernorm, mla.kv_lora_rank)?,
        kv_b: kv_b(binder, mla, heads, place)?,
        o_proj: binder.linear(place, Part::OProj, hidden, heads * mla.v_head_dim)?,
    })
}

/// GGUF files come with the joint matrix, the split ones, or all three. Of all three llama.cpp reads the split ones, and
/// so do we: they may have been quantised more finely.
fn kv_b(binder: &Binder, mla: &MlaConfig, heads: usize, place: Place) -> Result<KvB, ModelError> {
    let (nope, v, rank) = (mla.qk_nope_head_dim, mla.v_head_dim, mla.kv_lora_rank);
    let k_b = binder.optional_stack(place, Part::KB, [heads, rank, nope])?;
    let v_b = binder.optional_stack(place, Part::VB, [heads, v, rank])?;
    let joint = binder.optional_matrix(place, Part::KvBProj, heads * (nope + v), rank)?;
    match (k_b, v_b, joint) {
        (Some(k_b), Some(v_b), _) => Ok(KvB::Split { k_b, v_b }),
        (_, _, Some(joint)) => Ok(KvB::Joint(joint)),
        _ => Err(binder.missing(place, Part::KvBProj)),
    }
}

fn mlp_weights(
    binder: &Binder,
    place: Place,
    [gate, up, down]: [Part; 3],
    hidden: usize,
    width: usize,
) -> Result<MlpWeights, ModelError> {
    Ok(MlpWeights {
        gate_proj: binder.linear(place, gate, width, hidden)?,
        up_proj: binder.linear(place, up, width, hidden)?,
        down_proj: binder.linear(place, down, hidden, width)?,
    })
}

fn moe_weights(
    binder: &Binder,
    config: &Config,
    moe: &MoeConfig,
    place: Place,
) -> Result<MoeWeights, ModelError> {
    let hidden = config.hidden_size;
    let shared_width = moe.n_shared_experts * moe.moe_intermediate_size;
    let shared_parts = [Part::SharedGateProj, Part::SharedUpProj, Part::SharedDownProj];
    let shared_experts = match shared_width {
        0 => None,
        width => Some(mlp_weights(binder, place, shared_parts, hidden, width)?),
    };
    Ok(MoeWeights {
        router: binder.matrix(place, Part::Router, moe.n_routed_experts, hidden)?,
        e_score_correction_bias: score_correction(binder, moe, place)?,
        experts: binder.experts(place, moe.n_routed_experts, moe.moe_intermediate_size, hidden)?,
        shared_experts,
    })
}

/// Published DeepSeek-V3 checkpoints always have it; GGUF files of models that learned none leave it out.
fn score_correction(binder: &Binder, moe: &MoeConfig, place: Place) -> Result<Option<Vec<f32>>, ModelError> {
    let found = binder.optional_vector(place, Part::ScoreCorrectionBias, moe.n_routed_experts)?;
    if found.is_none() && moe.group_score == GroupScore::Top2Sum && binder.is_hugging_face() {
        return Err(binder.missing(place, Part::ScoreCorrectionBias));
    }
    Ok(found)
}

/// The tensors decide whether there is such a layer: configs announce layers that files do not hold, and the other
/// way round. Its embedding and head are stored again in some files; in others the decoder's own stand in.
fn nextn(
    binder: &Binder,
    config: &Config,
    embed_tokens: &Matrix,
    lm_head: &Matrix,
) -> Result<Option<NextnWeights>, ModelError> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let index = config.num_hidden_layers;
    let place = Place::Layer(index);
    let Some(eh_proj) = binder.optional_matrix(place, Part::NextnEhProj, hidden, 2 * hidden)? else {
        return Ok(None);
    };
    let embed = binder.optional_matrix(place, Part::NextnEmbedTokens, vocab, hidden)?;
    let head = binder.optional_matrix(place, Part::NextnHead, vocab, hidden)?;
    Ok(Some(NextnWeights {
        embed_tokens: embed.unwrap_or_else(|| embed_tokens.clone()),
        enorm: binder.vector(place, Part::NextnEnorm, hidden)?,
        hnorm: binder.vector(place, Part::NextnHnorm, hidden)?,
        eh_proj,
        layer: layer(binder, config, index)?,
        head_norm: binder.vector(place, Part::NextnHeadNorm, hidden)?,
        head: head.unwrap_or_else(|| lm_head.clone()),
    }))
}
