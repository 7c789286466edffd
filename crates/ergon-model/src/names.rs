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

/// Whether a tensor is of routed experts: weights of one or of all of a layer, or the scales of such weights.
pub fn is_routed_expert(name: &str) -> bool {
    name.contains(".mlp.experts.") || name.contains("_exps.") || routed_expert_place(name).is_some()
}

/// Whether a tensor lies behind the last layer, in the multi-token-prediction layer.
pub fn is_after_layers(name: &str, num_hidden_layers: usize) -> bool {
    ["model.layers.", "blk."].iter().any(|prefix| name.starts_with(&format!("{prefix}{num_hidden_layers}.")))
}

/// Gate, up and down of a routed expert.
const HF_EXPERT_PARTS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
const GGUF_EXPERT_PARTS: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];

/// Where a tensor that is one matrix of one routed expert belongs: layer, expert, and 0, 1, 2 for gate, up, down. `None` for
/// every other tensor.
pub fn routed_expert_place(name: &str) -> Option<(usize, usize, usize)> {
    let parts: Vec<&str> = name.split('.').collect();
    let (layer, expert, part) = match parts[..] {
        [.., "model", "layers", layer, "mlp", "experts", expert, part, "weight"] => (layer, expert, part),
        ["blk", layer, part, expert, "weight"] => (layer, expert, part),
        _ => return None,
    };
    let named = |kinds: [&str; 3]| kinds.iter().position(|kind| *kind == part);
    let part = named(HF_EXPERT_PARTS).or_else(|| named(GGUF_EXPERT_PARTS))?;
    Some((layer.parse().ok()?, expert.parse().ok()?, part))
}

/// A tensor that holds matrices of all routed experts of a layer, `[experts, rows, cols]`: a GGUF file's, or one of transformers 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertStack {
    layer: usize,
    /// Which matrices of an expert follow one another in it: 0, 1, 2 for gate, up, down.
    pub parts: &'static [usize],
    gguf: bool,
}

impl ExpertStack {
    /// What a tensor of this name is a stack of; `None` for every other tensor.
    pub fn of_name(name: &str) -> Option<ExpertStack> {
        let (layer, kind, gguf) = match name.split('.').collect::<Vec<_>>()[..] {
            ["blk", layer, kind, "weight"] => (layer, kind, true),
            ["model", "layers", layer, "mlp", "experts", kind]
            | ["model", "layers", layer, "mlp", "experts", kind, "weight"] => (layer, kind, false),
            _ => return None,
        };
        let parts: &[usize] = match (kind, gguf) {
            ("ffn_gate_exps", true) => &[0],
            ("ffn_up_exps", true) => &[1],
            ("ffn_down_exps", true) | ("down_proj", false) => &[2],
            ("ffn_gate_up_exps", true) | ("gate_up_proj", false) => &[0, 1],
            _ => return None,
        };
        Some(ExpertStack { layer: layer.parse().ok()?, parts, gguf })
    }

    /// What one matrix of one expert is called where experts are not stacked.
    pub fn matrix_name(&self, expert: usize, part: usize) -> String {
        let layer = self.layer;
        if self.gguf {
            format!("blk.{layer}.{}.{expert}.weight", GGUF_EXPERT_PARTS[part])
        } else {
            let kind = HF_EXPERT_PARTS[part];
            format!("model.layers.{layer}.mlp.experts.{expert}.{kind}.weight")
        }
    }
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

    #[test]
    fn experts_are_told_by_their_names() {
        assert_eq!(routed_expert_place("model.layers.3.mlp.experts.17.up_proj.weight"), Some((3, 17, 1)));
        for (stack, part) in [
            ("blk.3.ffn_down_exps.weight", 2),
            ("blk.3.ffn_gate_up_exps.weight", 1),
            ("model.layers.3.mlp.experts.gate_up_proj", 0),
            ("model.layers.3.mlp.experts.down_proj.weight", 2),
        ] {
            let found = ExpertStack::of_name(stack).unwrap();
            assert!(found.parts.contains(&part), "{stack}");
            assert_eq!(routed_expert_place(&found.matrix_name(17, part)), Some((3, 17, part)), "{stack}");
        }
        for name in [
            "blk.3.ffn_down.weight",
            "model.layers.3.mlp.experts.7.down_proj.weight",
            "model.layers.3.mlp.down_proj",
        ] {
            assert_eq!(ExpertStack::of_name(name), None, "{name}");
        }
        for name in [
            "blk.3.ffn_up_exps.weight",
            "blk.3.ffn_up.weight",
            "model.layers.3.mlp.experts.17.up_proj.weight_scale_inv",
            "model.layers.3.mlp.shared_experts.up_proj.weight",
            "model.layers.3.mlp.experts.down_proj",
            "lm_head.weight",
        ] {
            assert_eq!(routed_expert_place(name), None, "{name}");
        }
        assert!(
            is_routed_expert("blk.3.ffn_up_exps.weight") && !is_routed_expert("blk.3.ffn_up_shexp.weight")
        );
    }
}
