//! The action expert: noisy waypoints and a time to the velocity that leads from the waypoints to the noise.

use super::config::{ActionSizes, NetworkConfig};
use super::context::{Scratch, Weights, sized, zeroed};
use super::layers::{
    attention::{self, AttentionShape, Qkv, QkvGradients},
    linear::{Builder, Input, Linear},
    mlp::{Activation, GatedMlp, GatedMlpTape, TwoLayers, TwoLayersTape},
    norm::{Norm, NormTape},
};
use super::params::TensorKind;
use ergon_kernels::gemm::Write;
use std::ops::Range;

/// The expert's layers.
#[derive(Clone, Debug)]
pub(crate) struct ActionExpert {
    input: Linear,
    time_mlp: TwoLayers,
    positions: usize,
    layers: Vec<Layer>,
    norm: Norm,
    output: Linear,
    sizes: ActionSizes,
    shape: AttentionShape,
}

#[derive(Clone, Debug)]
struct Layer {
    norm_1: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    k_context: Linear,
    v_context: Linear,
    norm_2: Norm,
    mlp: GatedMlp,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct ActionTape {
    input: Input,
    time_mlp: TwoLayersTape,
    layers: Vec<LayerTape>,
    norm: NormTape,
    output: Input,
    stream: Vec<f32>,
    /// The decoder's output, input of all context products.
    pub(crate) context: Input,
}

#[derive(Default)]
struct LayerTape {
    norm_1: NormTape,
    x: Input,
    q: Vec<f32>,
    /// Keys and values of context and waypoints together, group after group.
    k: Vec<f32>,
    v: Vec<f32>,
    k_context: Vec<f32>,
    v_context: Vec<f32>,
    probabilities: Vec<f32>,
    mixed: Input,
    norm_2: NormTape,
    mlp: GatedMlpTape,
}

/// Which groups of waypoints belong to which rows of the context: `per_span` groups for each of `spans`.
#[derive(Clone, Copy)]
pub(crate) struct Groups<'a> {
    pub(crate) spans: &'a [Range<usize>],
    pub(crate) per_span: usize,
}

impl Groups<'_> {
    fn spans(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.spans.iter().flat_map(|span| std::iter::repeat_n(span.clone(), self.per_span)).enumerate()
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.spans.len() * self.per_span
    }
}

/// Sines, then cosines, of `2 pi t / period` with periods from 4e-3 to 4, as SmolVLA has them.
fn embed_time(t: f32, out: &mut [f32]) {
    let half = out.len() / 2;
    let (low, high) = (4e-3f64, 4.0f64);
    for i in 0..half {
        let fraction = if half > 1 { i as f64 / (half - 1) as f64 } else { 0.0 };
        let period = low * (high / low).powf(fraction);
        let angle = std::f64::consts::TAU * f64::from(t) / period;
        out[i] = angle.sin() as f32;
        out[half + i] = angle.cos() as f32;
    }
}

impl ActionExpert {
    pub(crate) fn new(builder: &mut Builder, config: &NetworkConfig) -> ActionExpert {
        let (sizes, eps) = (config.action.clone(), config.rms_norm_eps);
        let (hidden, context) = (sizes.hidden, config.decoder.hidden);
        let gain = 1.0 / (2.0 * sizes.layers as f32).sqrt();
        let prefix = "action_expert";
        let input =
            builder.linear_with_bias(&format!("{prefix}.action_in_proj"), hidden, sizes.action_dim, 1.0);
        let time_mlp = TwoLayers::new(
            builder,
            [&format!("{prefix}.action_time_mlp_in"), &format!("{prefix}.action_time_mlp_out")],
            [2 * hidden, hidden, hidden],
            Activation::Silu,
        );
        let positions = builder.layout.add(
            format!("{prefix}.position_embedding.weight"),
            &[sizes.horizon, hidden],
            TensorKind::Table,
            0.3,
        );
        let layers = (0..sizes.layers)
            .map(|index| {
                let name = format!("{prefix}.layers.{index}");
                let norm_1 = builder.norm(&format!("{name}.input_layernorm"), hidden, eps);
                let mut linear = |part: &str, inputs, gain| {
                    builder.linear(&format!("{name}.self_attn.{part}_proj"), hidden, inputs, gain)
                };
                Layer {
                    norm_1,
                    q: linear("q", hidden, 1.0),
                    k: linear("k", hidden, 1.0),
                    v: linear("v", hidden, 1.0),
                    out: linear("o", hidden, gain),
                    k_context: linear("k_ctx", context, 1.0),
                    v_context: linear("v_ctx", context, 1.0),
                    norm_2: builder.norm(&format!("{name}.post_attention_layernorm"), hidden, eps),
                    mlp: builder.gated_mlp(&format!("{name}.mlp"), hidden, sizes.intermediate, gain),
                }
            })
            .collect();
        let norm = builder.norm(&format!("{prefix}.norm"), hidden, eps);
        let output =
            builder.linear_with_bias(&format!("{prefix}.action_out_proj"), sizes.action_dim, hidden, 0.3);
        let width = hidden / sizes.heads;
        let shape = AttentionShape { heads: sizes.heads, k_dim: width, v_dim: width, causal: false };
        ActionExpert { input, time_mlp, positions, layers, norm, output, sizes, shape }
    }

    /// Projects the context, `tape.context`, for all layers; to be called before [`ActionExpert::forward`].
    pub(crate) fn set_context(&self, weights: &Weights, context: &[f32], cols: usize, tape: &mut ActionTape) {
        tape.context.set(weights, context, cols);
        tape.layers.resize_with(self.layers.len(), LayerTape::default);
        let len = tape.context.rows() * self.sizes.hidden;
        for (layer, own) in self.layers.iter().zip(&mut tape.layers) {
            layer.k_context.forward(weights, &tape.context, sized(&mut own.k_context, len), Write::Set);
            layer.v_context.forward(weights, &tape.context, sized(&mut own.v_context, len), Write::Set);
        }
    }

    /// Writes the velocities for noisy waypoints `x`, both `[groups, horizon, action_dim]`, at one time per group.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        (x, times): (&[f32], &[f32]),
        groups: Groups,
        tape: &mut ActionTape,
        scratch: &mut Scratch,
        velocity: &mut [f32],
    ) {
        let (hidden, horizon) = (self.sizes.hidden, self.sizes.horizon);
        let rows = groups.len() * horizon;
        tape.input.set(weights, x, self.sizes.action_dim);
        let embedded = sized(&mut scratch.a, rows * hidden);
        self.input.forward(weights, &tape.input, embedded, Write::Set);
        let joined = sized(&mut scratch.b, rows * 2 * hidden);
        let time = sized(&mut scratch.c, hidden);
        for (group, &t) in times.iter().enumerate() {
            embed_time(t, time);
            for row in group * horizon..(group + 1) * horizon {
                let own = &mut joined[row * 2 * hidden..][..2 * hidden];
                own[..hidden].copy_from_slice(&embedded[row * hidden..][..hidden]);
                own[hidden..].copy_from_slice(time);
            }
        }
        tape.time_mlp.first.x.set(weights, joined, 2 * hidden);
        let mut stream = std::mem::take(&mut tape.stream);
        let s = sized(&mut stream, rows * hidden);
        self.time_mlp.forward(weights, &mut tape.time_mlp, scratch, s);
        let positions = weights.vector(self.positions, horizon * hidden);
        for group in s.chunks_exact_mut(horizon * hidden) {
            group.iter_mut().zip(positions).for_each(|(x, position)| *x += position);
        }
        let mut normed = std::mem::take(&mut scratch.normed);
        let y = sized(&mut normed, rows * hidden);
        for (layer, own) in self.layers.iter().zip(&mut tape.layers) {
            layer.norm_1.forward(weights, s, &mut own.norm_1, y);
            own.x.set(weights, y, hidden);
            self.attend(weights, layer, groups, own, scratch, s);
            layer.norm_2.forward(weights, s, &mut own.norm_2, y);
            own.mlp.x.set(weights, y, hidden);
            layer.mlp.forward(weights, &mut own.mlp, scratch, s, Write::Add);
        }
        self.norm.forward(weights, s, &mut tape.norm, y);
        tape.output.set(weights, y, hidden);
        self.output.forward(weights, &tape.output, velocity, Write::Set);
        scratch.normed = normed;
        tape.stream = stream;
    }

    fn attend(
        &self,
        weights: &Weights,
        layer: &Layer,
        groups: Groups,
        tape: &mut LayerTape,
        scratch: &mut Scratch,
        stream: &mut [f32],
    ) {
        let (hidden, size) = (self.sizes.hidden, self.sizes.horizon * self.sizes.hidden);
        let len = groups.len() * size;
        let q = sized(&mut tape.q, len);
        layer.q.forward(weights, &tape.x, q, Write::Set);
        let (own_k, own_v) = (sized(&mut scratch.a, len), sized(&mut scratch.b, len));
        layer.k.forward(weights, &tape.x, own_k, Write::Set);
        layer.v.forward(weights, &tape.x, own_v, Write::Set);
        let mixed = sized(&mut scratch.c, len);
        let keys: usize = groups.spans().map(|(_, span)| span.len() + self.sizes.horizon).sum();
        let mut k = sized(&mut tape.k, keys * hidden);
        let mut v = sized(&mut tape.v, keys * hidden);
        let horizon = self.sizes.horizon;
        let needed =
            groups.spans().map(|(_, span)| self.shape.probabilities(horizon, span.len() + horizon)).sum();
        let mut p = sized(&mut tape.probabilities, needed);
        for (group, span) in groups.spans() {
            let all = span.len() * hidden + size;
            let (key, value, probabilities);
            (key, k) = k.split_at_mut(all);
            (value, v) = v.split_at_mut(all);
            (probabilities, p) = p.split_at_mut(self.shape.probabilities(self.sizes.horizon, all / hidden));
            let context = span.start * hidden..span.end * hidden;
            let own = group * size..(group + 1) * size;
            key[..context.len()].copy_from_slice(&tape.k_context[context.clone()]);
            key[context.len()..].copy_from_slice(&own_k[own.clone()]);
            value[..context.len()].copy_from_slice(&tape.v_context[context.clone()]);
            value[context.len()..].copy_from_slice(&own_v[own.clone()]);
            let qkv = Qkv { q: &q[own.clone()], k: key, v: value };
            let (arithmetic, out) = (weights.arithmetic, &mut mixed[own]);
            attention::forward(arithmetic, self.shape, qkv, probabilities, out, &mut scratch.attend);
        }
        tape.mixed.set(weights, mixed, hidden);
        layer.out.forward(weights, &tape.mixed, stream, Write::Add);
    }

    /// Adds to the gradients of the weights and to that of the context.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        groups: Groups,
        tape: &mut ActionTape,
        d_velocity: &[f32],
        gradients: &mut [f32],
        (scratch, d_context): (&mut Scratch, &mut [f32]),
    ) {
        let (hidden, horizon) = (self.sizes.hidden, self.sizes.horizon);
        let rows = groups.len() * horizon;
        let mut normed = std::mem::take(&mut scratch.normed);
        let mut stream = std::mem::take(&mut tape.stream);
        let dy = sized(&mut normed, rows * hidden);
        let set = Some((&mut *dy, Write::Set));
        self.output.backward(weights, &tape.output, d_velocity, gradients, scratch, set);
        let dx = zeroed(&mut stream, rows * hidden);
        self.norm.backward(weights, &tape.norm, dy, gradients, dx);
        for (layer, own) in self.layers.iter().zip(&mut tape.layers).rev() {
            let set = (&mut *dy, Write::Set);
            layer.mlp.backward(weights, &own.mlp, dx, gradients, scratch, set);
            layer.norm_2.backward(weights, &own.norm_2, dy, gradients, dx);
            let place = Place { layer, groups, context: &tape.context };
            self.attend_backward(weights, place, own, dx, gradients, (scratch, d_context, dy));
            layer.norm_1.backward(weights, &own.norm_1, dy, gradients, dx);
        }
        let d_positions = &mut gradients[self.positions..][..horizon * hidden];
        for group in dx.chunks_exact(horizon * hidden) {
            d_positions.iter_mut().zip(group).for_each(|(sum, d)| *sum += d);
        }
        let mut d_joined = std::mem::take(&mut scratch.b);
        let joined = sized(&mut d_joined, rows * 2 * hidden);
        self.time_mlp.backward(weights, &tape.time_mlp, dx, gradients, scratch, Some(joined));
        for (row, joined) in dy.chunks_exact_mut(hidden).zip(joined.chunks_exact(2 * hidden)) {
            row.copy_from_slice(&joined[..hidden]);
        }
        scratch.b = d_joined;
        self.input.backward(weights, &tape.input, dy, gradients, scratch, None);
        scratch.normed = normed;
        tape.stream = stream;
    }

    fn attend_backward(
        &self,
        weights: &Weights,
        place: Place,
        tape: &mut LayerTape,
        d_stream: &[f32],
        gradients: &mut [f32],
        (scratch, d_context, dx): (&mut Scratch, &mut [f32], &mut [f32]),
    ) {
        let Place { layer, groups, context } = place;
        let (hidden, size) = (self.sizes.hidden, self.sizes.horizon * self.sizes.hidden);
        let len = groups.len() * size;
        let mut buffers = std::mem::take(&mut scratch.attention);
        let mut more = std::mem::take(&mut scratch.latent);
        let [d_mixed, dq, dk, dv] = &mut buffers;
        let [dk_own, dv_own, dk_context, dv_context] = &mut more;
        let d_mixed = sized(d_mixed, len);
        let set = Some((&mut *d_mixed, Write::Set));
        layer.out.backward(weights, &tape.mixed, d_stream, gradients, scratch, set);
        let dq = sized(dq, len);
        let (dk_own, dv_own) = (sized(dk_own, len), sized(dv_own, len));
        let context_len = context.rows() * hidden;
        let (dk_context, dv_context) = (zeroed(dk_context, context_len), zeroed(dv_context, context_len));
        let (mut at, mut at_p) = (0, 0);
        for (group, span) in groups.spans() {
            let all = span.len() * hidden + size;
            let n_p = self.shape.probabilities(self.sizes.horizon, all / hidden);
            let own = group * size..(group + 1) * size;
            let (dk, dv) = (sized(dk, all), sized(dv, all));
            let qkv = Qkv { q: &tape.q[own.clone()], k: &tape.k[at..at + all], v: &tape.v[at..at + all] };
            let into = QkvGradients { q: &mut dq[own.clone()], k: &mut *dk, v: &mut *dv };
            let p = &tape.probabilities[at_p..at_p + n_p];
            let (arithmetic, d_out) = (weights.arithmetic, &d_mixed[own.clone()]);
            attention::backward(arithmetic, self.shape, qkv, p, d_out, into, &mut scratch.attend);
            let context = span.start * hidden..span.end * hidden;
            dk_own[own.clone()].copy_from_slice(&dk[context.len()..]);
            dv_own[own].copy_from_slice(&dv[context.len()..]);
            add(&mut dk_context[context.clone()], dk);
            add(&mut dv_context[context], dv);
            (at, at_p) = (at + all, at_p + n_p);
        }
        layer.q.backward(weights, &tape.x, dq, gradients, scratch, Some((&mut *dx, Write::Set)));
        layer.k.backward(weights, &tape.x, dk_own, gradients, scratch, Some((&mut *dx, Write::Add)));
        layer.v.backward(weights, &tape.x, dv_own, gradients, scratch, Some((dx, Write::Add)));
        let sum = Some((&mut *d_context, Write::Add));
        layer.k_context.backward(weights, context, dk_context, gradients, scratch, sum);
        let sum = Some((d_context, Write::Add));
        layer.v_context.backward(weights, context, dv_context, gradients, scratch, sum);
        (scratch.attention, scratch.latent) = (buffers, more);
    }
}

/// Which layer, over what.
struct Place<'a> {
    layer: &'a Layer,
    groups: Groups<'a>,
    context: &'a Input,
}

/// Adds the first values of `y` to `x`.
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
