//! The vision encoder: patches of all cameras to the tokens that the decoder reads.
//!
//! A patch is read in cells of a few pixels, each by the same matrix, so that a lamp of two pixels looks alike wherever it
//! is (a convolution as wide as its stride; that convolutions in front help such encoders is known: Xiao et al., "Early
//! Convolutions Help Transformers See Better", 2021, arXiv 2106.14881). Two more matrices make one vector of the cells, each
//! after a GELU. The patch gets its learned position, and then attends, layer by layer, to the patches of every camera. In
//! the end neighbouring patches are merged (as Qwen2-VL does, arXiv 2409.12191), which makes
//! a quarter as many tokens of four times the width, and projected to the decoder's width.

use ergon_kernels::{ActivationBuffer, Cpu, ops};

use crate::binder::Binder;
use crate::block::{BlockKv, BlockNames, BlockScratch, BlockShape, BlockWeights, bare, biased, norm};
use crate::config::VisionConfig;
use crate::error::ModelError;
use crate::mlp::linear;
use crate::scratch::sized;
use crate::weights::Linear;

const NAMES: BlockNames = BlockNames { norm1: "layer_norm1", out: "out_proj", norm2: "layer_norm2" };

/// The encoder's weights.
pub(crate) struct VisionEncoder {
    config: VisionConfig,
    /// `[stem_channels, cell_len]` with bias
    cell_in: Linear,
    /// `[stem_size, stem_len]` with bias
    patch_in: Linear,
    /// `[hidden_size, stem_size]` with bias
    patch_out: Linear,
    /// `[num_patches, hidden_size]`
    positions: Vec<f32>,
    layers: Vec<BlockWeights>,
    /// `[hidden_size]`
    post_layernorm: Vec<f32>,
    /// `[text hidden size, merged patches * hidden_size]`
    projector: Linear,
}

/// Buffers of one pass.
#[derive(Default)]
pub(crate) struct VisionScratch {
    /// `[patches, cells_of_patch, stem_channels]`, then `[patches, stem_size]`
    stem: Vec<f32>,
    /// The same after the GELU.
    activated: Vec<f32>,
    /// `[patches, hidden_size]`
    hidden: Vec<f32>,
    /// `[patches, hidden_size]`
    normed: Vec<f32>,
    /// `[tokens, merged patches * hidden_size]`
    merged: Vec<f32>,
    kv: BlockKv,
    block: BlockScratch,
    activations: ActivationBuffer,
}

impl VisionEncoder {
    pub(crate) fn bind(
        binder: &Binder,
        config: &VisionConfig,
        text_hidden: usize,
    ) -> Result<VisionEncoder, ModelError> {
        let (hidden, stem) = (config.hidden_size, config.stem_size);
        let embeddings = |part: &str| format!("vision_model.embeddings.{part}");
        let layer = |index: usize| {
            let stem = format!("vision_model.encoder.layers.{index}");
            BlockWeights::bind(binder, &stem, shape(config), &NAMES)
        };
        let merged = hidden * config.merged_patches();
        Ok(VisionEncoder {
            config: config.clone(),
            cell_in: biased(binder, &embeddings("cell_in"), config.stem_channels, config.cell_len())?,
            patch_in: biased(binder, &embeddings("patch_in"), stem, config.stem_len())?,
            patch_out: biased(binder, &embeddings("patch_out"), hidden, stem)?,
            positions: binder
                .whole_floats(&embeddings("position_embedding.weight"), &[config.num_patches(), hidden])?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            post_layernorm: norm(binder, "vision_model.post_layernorm", hidden)?,
            projector: bare(binder, "multi_modal_projector.linear", text_hidden, merged)?,
        })
    }

    /// Writes the image tokens `[num_tokens, text hidden size]` of the patches `[num_patches, patch_len]`.
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        patches: &[f32],
        scratch: &mut VisionScratch,
        tokens: &mut [f32],
    ) {
        let config = &self.config;
        let (count, width) = (config.num_patches(), config.hidden_size);
        let VisionScratch { stem, activated, hidden, normed, merged, kv, block, activations } = scratch;
        let mut stage = |layer: &Linear, (x, x_width): (&[f32], usize), out: &mut [f32]| {
            linear(cpu, layer, activations.prepare(cpu, x, x_width, [layer.weight.format()]), out);
        };
        let cell_values = sized(stem, count * config.stem_len());
        stage(&self.cell_in, (patches, config.cell_len()), cell_values);
        let active_cells = sized(activated, cell_values.len());
        ops::gelu_forward(cpu.isa, cell_values, active_cells);
        let patch_values = sized(stem, count * config.stem_size);
        stage(&self.patch_in, (active_cells, config.stem_len()), patch_values);
        let active_patches = sized(activated, patch_values.len());
        ops::gelu_forward(cpu.isa, patch_values, active_patches);
        let hidden = sized(hidden, count * width);
        stage(&self.patch_out, (active_patches, config.stem_size), hidden);
        ops::add_in_place(cpu, hidden, &self.positions);

        for layer in &self.layers {
            layer.forward(cpu, shape(config), 0, hidden, kv, block);
        }
        let normed = sized(normed, hidden.len());
        ops::rms_norm(cpu, hidden, &self.post_layernorm, config.rms_norm_eps, normed);
        let merged = sized(merged, hidden.len());
        merge(config, normed, merged);
        let merged_width = width * config.merged_patches();
        let x = activations.prepare(cpu, merged, merged_width, [self.projector.weight.format()]);
        linear(cpu, &self.projector, x, tokens);
    }
}

fn shape(config: &VisionConfig) -> BlockShape {
    BlockShape {
        hidden: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        eps: config.rms_norm_eps,
    }
}

/// Puts the patches `[num_patches, hidden]` of each group of neighbours side by side: cameras in order, groups row by
/// row, within a group the patches row by row.
fn merge(config: &VisionConfig, patches: &[f32], merged: &mut [f32]) {
    let (width, side) = (config.hidden_size, config.spatial_merge_size);
    let mut out = merged.chunks_exact_mut(width);
    let mut first = 0;
    for camera in &config.cameras {
        let (columns, rows) = camera.patch_grid(config.patch_size);
        for (group_row, group_column) in
            (0..rows / side).flat_map(|row| (0..columns / side).map(move |column| (row, column)))
        {
            for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
                let patch = first + (group_row * side + row) * columns + group_column * side + column;
                if let Some(out) = out.next() {
                    out.copy_from_slice(&patches[patch * width..(patch + 1) * width]);
                }
            }
        }
        first += columns * rows;
    }
}
