//! What happens to each tensor: copied, written in another format, or folded into its neighbour.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use ergon_checkpoint::{Checkpoint, Tensor};
use ergon_model::{ExpertStack, routed_expert_place};
use ergon_types::WeightFormat;

/// Suffix of the tensor that holds the block scales of an FP8 matrix (DeepSeek-V3).
const SCALE_SUFFIX: &str = "_scale_inv";

/// One tensor of the output.
pub(super) struct Planned<'a> {
    pub(super) source: Cow<'a, Tensor>,
    /// Block scales of an FP8 source.
    pub(super) scales: Option<&'a Tensor>,
    /// The format to encode into; `None` copies the bytes.
    pub(super) encode: Option<WeightFormat>,
}

impl Planned<'_> {
    /// The format in the output; `None` for what is no weight and is copied as it is.
    pub(super) fn format(&self) -> Option<WeightFormat> {
        self.encode.or(self.source.format)
    }

    /// Bytes in the output; `None` if the rows are no whole blocks or the size overflows.
    pub(super) fn bytes(&self) -> Option<u64> {
        let Some(format) = self.format() else { return Some(self.source.data.len() as u64) };
        let cols = self.source.shape.last().copied().unwrap_or(1);
        let rows = self.source.elements().checked_div(cols).unwrap_or(0);
        u64::try_from(format.row_bytes(cols)?.checked_mul(rows)?).ok()
    }
}

/// The whole output, and what to tell about it.
pub(super) struct Plan<'a> {
    pub(super) tensors: Vec<Planned<'a>>,
    /// Matrices that the wanted format does not fit, by the format they get instead.
    pub(super) fallbacks: BTreeMap<WeightFormat, usize>,
    /// Matrices that were block-quantised already and are so a second time.
    pub(super) requantized: usize,
}

/// Plans every tensor of the checkpoint for the wanted format. With `experts_alone`, experts that are stacked in one tensor
/// become tensors of their own, and the matrices of each stand side by side, so that one read brings it.
pub(super) fn plan(
    checkpoint: &Checkpoint,
    wanted: WeightFormat,
    experts_alone: bool,
) -> anyhow::Result<Plan<'_>> {
    let tied = !checkpoint.tensors().any(|tensor| is_output(&tensor.name));
    let mut plan = Plan { tensors: Vec::new(), fallbacks: BTreeMap::new(), requantized: 0 };
    for source in checkpoint.tensors() {
        if is_folded_scale(checkpoint, source) {
            continue;
        }
        let scales = checkpoint.tensor(&format!("{}{SCALE_SUFFIX}", source.name));
        let encode = target(source, wanted, tied, &mut plan)?;
        ensure!(
            source.format != Some(WeightFormat::F8E4M3) || scales.is_some() || encode.is_none(),
            "tensor '{}' is FP8 without its '{}{SCALE_SUFFIX}'; the checkpoint is incomplete",
            source.name,
            source.name
        );
        // Scales of a stack are one tensor too; nobody publishes such files.
        let own = if experts_alone && scales.is_none() { unstacked(source)? } else { Vec::new() };
        if own.is_empty() {
            plan.tensors.push(Planned { source: Cow::Borrowed(source), scales, encode });
        }
        let owned = |tensor| Planned { source: Cow::Owned(tensor), scales: None, encode };
        plan.tensors.extend(own.into_iter().map(owned));
    }
    plan.tensors.sort_by_cached_key(|planned| {
        let place = routed_expert_place(&planned.source.name);
        (place.is_none(), place)
    });
    Ok(plan)
}

/// The experts of a stack, each as tensors of their own; none for every other tensor.
fn unstacked(tensor: &Tensor) -> anyhow::Result<Vec<Tensor>> {
    let (Some(stack), &[experts, rows, cols]) = (ExpertStack::of_name(&tensor.name), &tensor.shape[..])
    else {
        return Ok(Vec::new());
    };
    let parts = stack.parts;
    let pieces = experts * parts.len();
    ensure!(
        pieces > 0 && rows.is_multiple_of(parts.len()) && tensor.data.len().is_multiple_of(pieces),
        "tensor '{}' of shape {:?} cannot be taken apart into experts",
        tensor.name,
        tensor.shape
    );
    let bytes = tensor.data.len() / pieces;
    let piece = |index: usize| {
        let (expert, part) = (index / parts.len(), parts[index % parts.len()]);
        let data = tensor.data.slice(index * bytes..(index + 1) * bytes).context("a piece lies inside")?;
        let (name, shape) = (stack.matrix_name(expert, part), vec![rows / parts.len(), cols]);
        Ok(Tensor { name, shape, data, checksum: None, ..tensor.clone() })
    };
    (0..pieces).map(piece).collect()
}

/// Whether a tensor is the scale of an FP8 matrix, which the new format has inside.
fn is_folded_scale(checkpoint: &Checkpoint, tensor: &Tensor) -> bool {
    let matrix = tensor.name.strip_suffix(SCALE_SUFFIX).and_then(|name| checkpoint.tensor(name));
    matrix.is_some_and(|matrix| matrix.format == Some(WeightFormat::F8E4M3))
}

/// The format a tensor is encoded into; `None` if it is copied.
fn target(
    source: &Tensor,
    wanted: WeightFormat,
    tied: bool,
    plan: &mut Plan<'_>,
) -> anyhow::Result<Option<WeightFormat>> {
    let Some(stored) = source.format else { return Ok(None) };
    if !is_matrix(&source.name, &source.shape) {
        // Norms and biases are small and every rounding of them is felt; FP8 needs scales that we fold away.
        return Ok((stored == WeightFormat::F8E4M3).then_some(WeightFormat::Bf16));
    }
    let cols = *source.shape.last().context("a matrix has columns")?;
    let best = if is_embedding(&source.name, tied) { at_least_six_bits(wanted) } else { wanted };
    let fitting = [best, WeightFormat::Q8_0, WeightFormat::Bf16]
        .into_iter()
        .find(|format| cols % format.block_len() == 0);
    let format = fitting.context("blocks of one weight fit any row")?;
    // A fallback to bf16 gains nothing over f16, and loses bits.
    let stays =
        stored == format || (format == WeightFormat::Bf16 && wanted != format && stored == WeightFormat::F16);
    if cols % wanted.block_len() != 0 {
        *plan.fallbacks.entry(if stays { stored } else { format }).or_default() += 1;
    }
    if stays {
        return Ok(None);
    }
    if stored.block_len() > 1 {
        plan.requantized += 1;
    }
    Ok(Some(format))
}

/// Whether a tensor is a matrix of the kind that is multiplied with activations at full width: two extents, or three for
/// stacked experts. Routers are matrices too, but a token sent to the wrong expert costs more than the bytes save.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let router = name.ends_with(".mlp.gate.weight") || name.contains("ffn_gate_inp");
    let vector = name.contains("norm") || name.ends_with("bias");
    (2..=3).contains(&shape.len()) && !shape.contains(&0) && !router && !vector
}

/// The output matrix, under its Hugging Face and its GGUF name.
fn is_output(name: &str) -> bool {
    name.ends_with("lm_head.weight") || name == "output.weight"
}

/// The matrices next to the vocabulary: their errors reach every logit directly.
fn is_embedding(name: &str, tied: bool) -> bool {
    is_output(name) || (tied && (name.ends_with("embed_tokens.weight") || name == "token_embd.weight"))
}

/// The wanted format, or q6_k where it has fewer than 6 bits per weight, as is usual for output matrices.
fn at_least_six_bits(wanted: WeightFormat) -> WeightFormat {
    let bits = |format: WeightFormat| format.block_bytes() as f64 * 8.0 / format.block_len() as f64;
    if bits(wanted) < 6.0 { WeightFormat::Q6K } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergon_checkpoint::TensorBytes;

    #[test]
    fn matrices_are_told_from_what_keeps_its_precision() {
        for name in [
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.3.mlp.experts.7.gate_proj.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "blk.1.ffn_gate_shexp.weight",
            "lm_head.weight",
        ] {
            assert!(is_matrix(name, &[64, 64]), "{name}");
        }
        assert!(is_matrix("blk.1.ffn_up_exps.weight", &[8, 64, 64]));
        for name in [
            "model.layers.3.mlp.gate.weight",
            "blk.3.ffn_gate_inp.weight",
            "x.q_a_layernorm.weight",
            "x.bias",
        ] {
            assert!(!is_matrix(name, &[64, 64]), "{name}");
        }
        assert!(!is_matrix("model.norm.weight", &[64]));
        assert!(!is_matrix("lm_head.weight", &[0, 64]));
    }

    #[test]
    fn stacks_come_apart_expert_by_expert() {
        let stack = |name: &str, rows| Tensor {
            name: name.to_string(),
            format: Some(WeightFormat::F32),
            dtype_name: "F32",
            shape: vec![2, rows, 3],
            data: TensorBytes::from_vec((0..2 * rows * 12).map(|byte| byte as u8).collect()),
            checksum: None,
        };
        let fused = unstacked(&stack("blk.5.ffn_gate_up_exps.weight", 4)).unwrap();
        let found: Vec<_> = fused.iter().map(|t| (t.name.as_str(), &t.shape[..], t.data[0])).collect();
        assert_eq!(
            found,
            [
                ("blk.5.ffn_gate.0.weight", &[2, 3][..], 0),
                ("blk.5.ffn_up.0.weight", &[2, 3], 24),
                ("blk.5.ffn_gate.1.weight", &[2, 3], 48),
                ("blk.5.ffn_up.1.weight", &[2, 3], 72)
            ]
        );
        assert_eq!(unstacked(&stack("blk.5.ffn_down_exps.weight", 1)).unwrap().len(), 2);
        assert!(unstacked(&stack("blk.5.ffn_down.weight", 1)).unwrap().is_empty());
        assert!(unstacked(&stack("blk.5.ffn_gate_up_exps.weight", 3)).is_err());
    }

    #[test]
    fn matrices_next_to_the_vocabulary_keep_six_bits() {
        assert!(is_embedding("lm_head.weight", false) && is_embedding("output.weight", false));
        assert!(is_embedding("token_embd.weight", true) && !is_embedding("model.embed_tokens.weight", false));
        assert_eq!(at_least_six_bits(WeightFormat::Q4K), WeightFormat::Q6K);
        assert_eq!(at_least_six_bits(WeightFormat::Q8_0), WeightFormat::Q8_0);
    }
}
