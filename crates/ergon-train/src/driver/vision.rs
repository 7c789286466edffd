//! Patches of all cameras to image tokens: a stem over cells of patches and patches, layers in which all patches see each other, a merge of neighbours, a
//! projection into the decoder.

use super::config::{NetworkConfig, VisionSizes};
use super::context::{Scratch, Weights, sized, zeroed};
use super::layers::{
    linear::{Builder, Input, Linear},
    mlp::{Activation, ActiveLinear, ActiveLinearTape, GatedMlp, GatedMlpTape, TwoLayers, TwoLayersTape},
    norm::{Norm, NormTape},
    self_attention::{SelfAttention, SelfAttentionTape},
};
use super::params::TensorKind;
use ergon_kernels::gemm::Write;

/// The encoder's layers.
#[derive(Clone, Debug)]
pub(crate) struct Vision {
    cells: ActiveLinear,
    stem: TwoLayers,
    positions: usize,
    layers: Vec<Layer>,
    post_norm: Norm,
    projector: Linear,
    /// For each image token, its patches.
    merged: Vec<Vec<usize>>,
    sizes: VisionSizes,
}

#[derive(Clone, Debug)]
struct Layer {
    norm_1: Norm,
    attention: SelfAttention,
    norm_2: Norm,
    mlp: GatedMlp,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct VisionTape {
    cells: ActiveLinearTape,
    stem: TwoLayersTape,
    layers: Vec<LayerTape>,
    post_norm: NormTape,
    merged: Input,
    stream: Vec<f32>,
}

#[derive(Default)]
struct LayerTape {
    norm_1: NormTape,
    attention: SelfAttentionTape,
    norm_2: NormTape,
    mlp: GatedMlpTape,
}

impl Vision {
    pub(crate) fn new(builder: &mut Builder, config: &NetworkConfig) -> Vision {
        let (sizes, eps) = (config.vision.clone(), config.rms_norm_eps);
        let hidden = sizes.hidden;
        let gain = 1.0 / (2.0 * sizes.layers as f32).sqrt();
        let prefix = "vision_model.embeddings";
        let cells = ActiveLinear::new(
            builder,
            &format!("{prefix}.cell_in"),
            [sizes.cell_values, sizes.cell_channels],
            Activation::GeluTanh,
        );
        let stem = TwoLayers::new(
            builder,
            [&format!("{prefix}.patch_in"), &format!("{prefix}.patch_out")],
            [sizes.cells() * sizes.cell_channels, sizes.stem, hidden],
            Activation::GeluTanh,
        );
        let positions = builder.layout.add(
            format!("{prefix}.position_embedding.weight"),
            &[sizes.patches(), hidden],
            TensorKind::Table,
            0.3,
        );
        let layers = (0..sizes.layers)
            .map(|index| {
                let name = format!("vision_model.encoder.layers.{index}");
                Layer {
                    norm_1: builder.norm(&format!("{name}.layer_norm1"), hidden, eps),
                    attention: SelfAttention::new(
                        builder,
                        &format!("{name}.self_attn"),
                        hidden,
                        sizes.heads,
                        gain,
                    ),
                    norm_2: builder.norm(&format!("{name}.layer_norm2"), hidden, eps),
                    mlp: builder.gated_mlp(&format!("{name}.mlp"), hidden, sizes.intermediate, gain),
                }
            })
            .collect();
        let post_norm = builder.norm("vision_model.post_layernorm", hidden, eps);
        let inputs = hidden * sizes.merge * sizes.merge;
        let projector = builder.linear("multi_modal_projector.linear", config.decoder.hidden, inputs, 1.0);
        let merged = merged_patches(&sizes);
        Vision { cells, stem, positions, layers, post_norm, projector, merged, sizes }
    }

    /// Writes `[samples, tokens, decoder hidden]` for pixels `[samples, patches, patch_values]`.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        pixels: &[f32],
        tape: &mut VisionTape,
        scratch: &mut Scratch,
        tokens: &mut [f32],
    ) {
        let (hidden, patches) = (self.sizes.hidden, self.sizes.patches());
        let rows = pixels.len() / self.sizes.patch_values;
        let mut stream = std::mem::take(&mut tape.stream);
        let x = sized(&mut stream, rows * hidden);
        tape.cells.x.set(weights, pixels, self.sizes.cell_values);
        let active = sized(&mut scratch.e, self.cells.values(&tape.cells));
        self.cells.forward(weights, &mut tape.cells, active);
        tape.stem.first.x.set(weights, active, self.sizes.cells() * self.sizes.cell_channels);
        self.stem.forward(weights, &mut tape.stem, scratch, x);
        let positions = weights.vector(self.positions, patches * hidden);
        for sample in x.chunks_exact_mut(patches * hidden) {
            sample.iter_mut().zip(positions).for_each(|(x, position)| *x += position);
        }
        tape.layers.resize_with(self.layers.len(), LayerTape::default);
        let mut normed = std::mem::take(&mut scratch.normed);
        let y = sized(&mut normed, rows * hidden);
        for (layer, tape) in self.layers.iter().zip(&mut tape.layers) {
            layer.norm_1.forward(weights, x, &mut tape.norm_1, y);
            tape.attention.x.set(weights, y, hidden);
            layer.attention.forward(weights, &mut tape.attention, scratch, patches, x);
            layer.norm_2.forward(weights, x, &mut tape.norm_2, y);
            tape.mlp.x.set(weights, y, hidden);
            layer.mlp.forward(weights, &mut tape.mlp, scratch, x, Write::Add);
        }
        self.post_norm.forward(weights, x, &mut tape.post_norm, y);
        let inputs = hidden * self.sizes.merge * self.sizes.merge;
        let merged = sized(&mut scratch.a, rows / patches * self.merged.len() * inputs);
        let mut out = merged.chunks_exact_mut(hidden);
        for sample in y.chunks_exact(patches * hidden) {
            for (&patch, out) in self.merged.iter().flatten().zip(&mut out) {
                out.copy_from_slice(&sample[patch * hidden..][..hidden]);
            }
        }
        tape.merged.set(weights, merged, inputs);
        self.projector.forward(weights, &tape.merged, tokens, Write::Set);
        scratch.normed = normed;
        tape.stream = stream;
    }

    /// Adds to the gradients of the weights.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &mut VisionTape,
        d_tokens: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (hidden, patches) = (self.sizes.hidden, self.sizes.patches());
        let inputs = hidden * self.sizes.merge * self.sizes.merge;
        let samples = tape.merged.rows() / self.merged.len();
        let rows = samples * patches;
        let mut d_merged = std::mem::take(&mut scratch.a);
        let own = sized(&mut d_merged, tape.merged.rows() * inputs);
        let set = Some((&mut *own, Write::Set));
        self.projector.backward(weights, &tape.merged, d_tokens, gradients, scratch, set);
        let mut normed = std::mem::take(&mut scratch.normed);
        let dy = sized(&mut normed, rows * hidden);
        let mut from = own.chunks_exact(hidden);
        for sample in dy.chunks_exact_mut(patches * hidden) {
            for (&patch, from) in self.merged.iter().flatten().zip(&mut from) {
                sample[patch * hidden..][..hidden].copy_from_slice(from);
            }
        }
        scratch.a = d_merged;
        let mut stream = std::mem::take(&mut tape.stream);
        let dx = zeroed(&mut stream, rows * hidden);
        self.post_norm.backward(weights, &tape.post_norm, dy, gradients, dx);
        for (layer, tape) in self.layers.iter().zip(&mut tape.layers).rev() {
            let set = (&mut *dy, Write::Set);
            layer.mlp.backward(weights, &tape.mlp, dx, gradients, scratch, set);
            layer.norm_2.backward(weights, &tape.norm_2, dy, gradients, dx);
            layer.attention.backward(weights, &tape.attention, dx, gradients, scratch, (patches, dy));
            layer.norm_1.backward(weights, &tape.norm_1, dy, gradients, dx);
        }
        let d_positions = &mut gradients[self.positions..][..patches * hidden];
        for sample in dx.chunks_exact(patches * hidden) {
            d_positions.iter_mut().zip(sample).for_each(|(sum, d)| *sum += d);
        }
        let mut d_cells = std::mem::take(&mut scratch.a);
        let own = sized(&mut d_cells, self.cells.values(&tape.cells));
        self.stem.backward(weights, &tape.stem, dx, gradients, scratch, Some(&mut *own));
        self.cells.backward(weights, &tape.cells, own, gradients, scratch, None);
        scratch.a = d_cells;
        scratch.normed = normed;
        tape.stream = stream;
    }
}

/// The patches of each image token: top left, top right, bottom left, bottom right for a merge of two.
fn merged_patches(sizes: &VisionSizes) -> Vec<Vec<usize>> {
    let mut tokens = Vec::new();
    let mut first = 0;
    for camera in &sizes.cameras {
        for row in (0..camera.rows).step_by(sizes.merge) {
            for column in (0..camera.columns).step_by(sizes.merge) {
                let inside = (0..sizes.merge * sizes.merge)
                    .map(|i| (row + i / sizes.merge) * camera.columns + column + i % sizes.merge);
                tokens.push(inside.map(|patch| first + patch).collect());
            }
        }
        first += camera.rows * camera.columns;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::config::CameraSizes;

    #[test]
    fn neighbours_of_one_camera_are_merged() {
        let cameras = vec![CameraSizes { columns: 4, rows: 2 }, CameraSizes { columns: 2, rows: 2 }];
        let sizes = VisionSizes {
            cameras,
            patch_values: 4,
            cell_values: 2,
            cell_channels: 2,
            stem: 4,
            hidden: 4,
            layers: 1,
            heads: 1,
            intermediate: 4,
            merge: 2,
        };
        assert_eq!(merged_patches(&sizes), [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 10, 11]]);
    }
}
