//! The one table of foreign tensor names.

use ergon_checkpoint::CheckpointKind;

/// A tensor that a decoder can have, named as DeepSeek's and Hugging Face's code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    EmbedTokens,
    Norm,
    LmHead,
    InputLayernorm,
    PostAttentionLayernorm,
    QProj,
    KProj,
    VProj,
    OProj,
    QNorm,
    KNorm,
    QAProj,
    QALayernorm,
    QBProj,
    KvAProjWithMqa,
    KvALayernorm,
    KvBProj,
    KB,
    VB,
    GateProj,
    UpProj,
    DownProj,
    Router,
    ScoreCorrectionBias,
    SharedGateProj,
    SharedUpProj,
    SharedDownProj,
    ExpertsGateUp,
    ExpertsGate,
    ExpertsUp,
    ExpertsDown,
    NextnEmbedTokens,
    NextnEnorm,
    NextnHnorm,
    NextnEhProj,
    NextnHeadNorm,
    NextnHead,
}

/// Name of a part in a safetensors checkpoint and in a GGUF file, below the layer's prefix and without `.weight` or
/// `.bias`. An empty name means that this kind of file does not have the part.
const TABLE: [(Part, &str, &str); 37] = [
    (Part::EmbedTokens, "model.embed_tokens", "token_embd"),
    (Part::Norm, "model.norm", "output_norm"),
    (Part::LmHead, "lm_head", "output"),
    (Part::InputLayernorm, "input_layernorm", "attn_norm"),
    (Part::PostAttentionLayernorm, "post_attention_layernorm", "ffn_norm"),
    (Part::QProj, "self_attn.q_proj", "attn_q"),
    (Part::KProj, "self_attn.k_proj", "attn_k"),
    (Part::VProj, "self_attn.v_proj", "attn_v"),
    (Part::OProj, "self_attn.o_proj", "attn_output"),
    (Part::QNorm, "self_attn.q_norm", "attn_q_norm"),
    (Part::KNorm, "self_attn.k_norm", "attn_k_norm"),
    (Part::QAProj, "self_attn.q_a_proj", "attn_q_a"),
    (Part::QALayernorm, "self_attn.q_a_layernorm", "attn_q_a_norm"),
    (Part::QBProj, "self_attn.q_b_proj", "attn_q_b"),
    (Part::KvAProjWithMqa, "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    (Part::KvALayernorm, "self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    (Part::KvBProj, "self_attn.kv_b_proj", "attn_kv_b"),
    (Part::KB, "", "attn_k_b"),
    (Part::VB, "", "attn_v_b"),
    (Part::GateProj, "mlp.gate_proj", "ffn_gate"),
    (Part::UpProj, "mlp.up_proj", "ffn_up"),
    (Part::DownProj, "mlp.down_proj", "ffn_down"),
    (Part::Router, "mlp.gate", "ffn_gate_inp"),
    (Part::ScoreCorrectionBias, "mlp.gate.e_score_correction_bias", "exp_probs_b"),
    (Part::SharedGateProj, "mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    (Part::SharedUpProj, "mlp.shared_experts.up_proj", "ffn_up_shexp"),
    (Part::SharedDownProj, "mlp.shared_experts.down_proj", "ffn_down_shexp"),
    (Part::ExpertsGateUp, "mlp.experts.gate_up_proj", "ffn_gate_up_exps"),
    (Part::ExpertsGate, "mlp.experts.{}.gate_proj", "ffn_gate_exps"),
    (Part::ExpertsUp, "mlp.experts.{}.up_proj", "ffn_up_exps"),
    (Part::ExpertsDown, "mlp.experts.{}.down_proj", "ffn_down_exps"),
    (Part::NextnEmbedTokens, "embed_tokens", "nextn.embed_tokens"),
    (Part::NextnEnorm, "enorm", "nextn.enorm"),
    (Part::NextnHnorm, "hnorm", "nextn.hnorm"),
    (Part::NextnEhProj, "eh_proj", "nextn.eh_proj"),
    (Part::NextnHeadNorm, "shared_head.norm", "nextn.shared_head_norm"),
    (Part::NextnHead, "shared_head.head", "nextn.shared_head_head"),
];

/// How transformers 5 names the down projection of experts that are stored as one tensor.
pub(crate) const HF_STACKED_EXPERTS_DOWN: &str = "mlp.experts.down_proj";

/// Where a tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside the layers.
    Model,
    /// In layer i; multi-token-prediction layers count on after the decoder's.
    Layer(usize),
}

/// The name of a part in files of this kind, without `.weight` or `.bias`; `None` if they do not have it.
pub(crate) fn stem(kind: CheckpointKind, place: Place, part: Part) -> Option<String> {
    let (_, hf, gguf) = TABLE[part as usize];
    let (prefix, name) = match kind {
        CheckpointKind::HuggingFace => ("model.layers", hf),
        CheckpointKind::Gguf => ("blk", gguf),
    };
    if name.is_empty() {
        return None;
    }
    Some(match place {
        Place::Model => name.to_string(),
        Place::Layer(layer) => format!("{prefix}.{layer}.{name}"),
    })
}

/// Tensors that files carry and no forward pass reads: tables that are computed from the config.
pub(crate) fn is_ignorable(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq") || name.starts_with("rope_") || name.ends_with("rope_freqs.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, (part, _, _)) in TABLE.iter().enumerate() {
            assert_eq!(*part as usize, index, "{part:?}");
        }
    }

    #[test]
    fn names_are_spelt_as_published() {
        let hf = stem(CheckpointKind::HuggingFace, Place::Layer(3), Part::KvAProjWithMqa);
        assert_eq!(hf.as_deref(), Some("model.layers.3.self_attn.kv_a_proj_with_mqa"));
        let gguf = stem(CheckpointKind::Gguf, Place::Layer(3), Part::ExpertsDown);
        assert_eq!(gguf.as_deref(), Some("blk.3.ffn_down_exps"));
        assert_eq!(stem(CheckpointKind::HuggingFace, Place::Layer(0), Part::KB), None);
    }
}
