//! The language decoder's layers over packed sequences of different lengths.

use super::config::NetworkConfig;
use super::context::{Scratch, Weights, sized};
use super::layers::{
    linear::Builder,
    mla::{LatentAttention, LatentTape, Positions},
    mlp::{GatedMlp, GatedMlpTape},
    moe::{Experts, ExpertsTape},
    norm::{Norm, NormTape},
};
use ergon_kernels::gemm::Write;

/// Layers and the final norm.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    layers: Vec<Layer>,
    norm: Norm,
    hidden: usize,
}

#[derive(Clone, Debug)]
struct Layer {
    norm_1: Norm,
    attention: LatentAttention,
    norm_2: Norm,
    mlp: Mlp,
}

#[derive(Clone, Debug)]
enum Mlp {
    Dense(GatedMlp),
    Experts(Experts),
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct DecoderTape {
    layers: Vec<LayerTape>,
    norm: NormTape,
}

#[derive(Default)]
struct LayerTape {
    norm_1: NormTape,
    attention: LatentTape,
    norm_2: NormTape,
    mlp: GatedMlpTape,
    experts: ExpertsTape,
}

impl Decoder {
    pub(crate) fn new(builder: &mut Builder, config: &NetworkConfig) -> Decoder {
        let (sizes, eps) = (&config.decoder, config.rms_norm_eps);
        let gain = 1.0 / (2.0 * sizes.layers as f32).sqrt();
        let layers = (0..sizes.layers)
            .map(|index| {
                let name = format!("language_model.model.layers.{index}");
                let mlp = format!("{name}.mlp");
                Layer {
                    norm_1: builder.norm(&format!("{name}.input_layernorm"), sizes.hidden, eps),
                    attention: LatentAttention::new(builder, &format!("{name}.self_attn"), sizes, eps, gain),
                    norm_2: builder.norm(&format!("{name}.post_attention_layernorm"), sizes.hidden, eps),
                    mlp: if index < sizes.dense_layers {
                        Mlp::Dense(builder.gated_mlp(&mlp, sizes.hidden, sizes.intermediate, gain))
                    } else {
                        Mlp::Experts(Experts::new(builder, &mlp, sizes, gain))
                    },
                }
            })
            .collect();
        let norm = builder.norm("language_model.model.norm", sizes.hidden, eps);
        Decoder { layers, norm, hidden: sizes.hidden }
    }

    /// The layers with experts.
    pub(crate) fn experts(&self) -> impl Iterator<Item = &Experts> {
        self.layers.iter().filter_map(|layer| match &layer.mlp {
            Mlp::Experts(experts) => Some(experts),
            Mlp::Dense(_) => None,
        })
    }

    /// Adds the tokens that each expert of each layer got in the last forward pass.
    pub(crate) fn add_loads(&self, tape: &DecoderTape, loads: &mut [Vec<u64>]) {
        let with_experts = self.layers.iter().zip(&tape.layers).filter_map(|(layer, tape)| {
            if let Mlp::Experts(experts) = &layer.mlp { Some((experts, &tape.experts)) } else { None }
        });
        for ((experts, tape), load) in with_experts.zip(loads) {
            experts.add_load(tape, load);
        }
    }

    /// Runs the layers over `stream` `[rows, hidden]` in place and writes the normalised result to `out`.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        positions: &Positions,
        tape: &mut DecoderTape,
        scratch: &mut Scratch,
        (stream, out): (&mut [f32], &mut [f32]),
    ) {
        tape.layers.resize_with(self.layers.len(), LayerTape::default);
        let mut normed = std::mem::take(&mut scratch.normed);
        let y = sized(&mut normed, stream.len());
        for (layer, tape) in self.layers.iter().zip(&mut tape.layers) {
            layer.norm_1.forward(weights, stream, &mut tape.norm_1, y);
            tape.attention.x.set(weights, y, self.hidden);
            layer.attention.forward(weights, &mut tape.attention, scratch, positions, stream);
            layer.norm_2.forward(weights, stream, &mut tape.norm_2, y);
            match &layer.mlp {
                Mlp::Dense(mlp) => {
                    tape.mlp.x.set(weights, y, self.hidden);
                    mlp.forward(weights, &mut tape.mlp, scratch, stream, Write::Add);
                }
                Mlp::Experts(experts) => experts.forward(weights, y, &mut tape.experts, scratch, stream),
            }
        }
        self.norm.forward(weights, stream, &mut tape.norm, out);
        scratch.normed = normed;
    }

    /// Adds to the gradients of the weights; `d_stream`, zero at first, becomes the gradient of the first stream.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        positions: &Positions,
        tape: &mut DecoderTape,
        gradients: &mut [f32],
        scratch: &mut Scratch,
        (d_out, d_stream): (&[f32], &mut [f32]),
    ) {
        self.norm.backward(weights, &tape.norm, d_out, gradients, d_stream);
        let mut normed = std::mem::take(&mut scratch.normed);
        let dy = sized(&mut normed, d_stream.len());
        for (layer, tape) in self.layers.iter().zip(&mut tape.layers).rev() {
            match &layer.mlp {
                Mlp::Dense(mlp) => {
                    let set = (&mut *dy, Write::Set);
                    mlp.backward(weights, &tape.mlp, d_stream, gradients, scratch, set);
                }
                Mlp::Experts(experts) => {
                    experts.backward(weights, &tape.experts, d_stream, gradients, scratch, dy);
                }
            }
            layer.norm_2.backward(weights, &tape.norm_2, dy, gradients, d_stream);
            let own = (positions, &mut *dy);
            layer.attention.backward(weights, &tape.attention, d_stream, gradients, scratch, own);
            layer.norm_1.backward(weights, &tape.norm_1, dy, gradients, d_stream);
        }
        scratch.normed = normed;
    }
}
