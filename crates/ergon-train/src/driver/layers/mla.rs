//! Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) in its expanded form, causal, and its gradient.

use super::super::config::DecoderSizes;
use super::super::context::{Scratch, Weights, sized, zeroed};
use super::attention::{self, AttentionShape, Qkv, QkvGradients};
use super::linear::{Builder, Input, Linear};
use super::norm::{Norm, NormTape};
use ergon_kernels::gemm::Write;
use std::ops::Range;

/// Keys and values come from one latent; each head's key ends in a rotated part that all heads share.
#[derive(Clone, Debug)]
pub(crate) struct LatentAttention {
    q: Linear,
    kv_a: Linear,
    latent_norm: Norm,
    kv_b: Linear,
    out: Linear,
    sizes: Widths,
    shape: AttentionShape,
}

#[derive(Clone, Copy, Debug)]
struct Widths {
    heads: usize,
    rank: usize,
    nope: usize,
    rope: usize,
    v: usize,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct LatentTape {
    pub(crate) x: Input,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    latent: Input,
    latent_norm: NormTape,
    probabilities: Vec<f32>,
    mixed: Input,
}

/// The spans of a batch and the angles of their positions.
pub(crate) struct Positions<'a> {
    /// Rows of each sequence.
    pub(crate) spans: &'a [Range<usize>],
    /// Cosine and sine of position and pair, `[positions, rope / 2]` each.
    pub(crate) rotary: &'a Rotary,
}

/// Cosines and sines of the rotary embedding.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// Angles of positions `0..positions`.
    pub(crate) fn new(width: usize, theta: f32, positions: usize) -> Rotary {
        let half = width / 2;
        let angles = (0..positions).flat_map(|position| {
            (0..half).map(move |i| {
                let frequency = 1.0 / theta.powf((2 * i) as f32 / width as f32);
                frequency * position as f32
            })
        });
        let (cos, sin) = angles.map(|angle: f32| (angle.cos(), angle.sin())).unzip();
        Rotary { half, cos, sin }
    }

    /// Turns neighbouring pairs of `x` by the angles of a position, or back.
    fn turn(&self, x: &mut [f32], position: usize, back: bool) {
        let at = position * self.half..(position + 1) * self.half;
        let angles = self.cos[at.clone()].iter().zip(&self.sin[at]);
        for (pair, (&cos, &sin)) in x.chunks_exact_mut(2).zip(angles) {
            let sin = if back { -sin } else { sin };
            (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
        }
    }
}

impl LatentAttention {
    /// Tensors under `{name}`, as DeepSeek-V3 names them.
    pub(crate) fn new(
        builder: &mut Builder,
        name: &str,
        sizes: &DecoderSizes,
        eps: f32,
        gain: f32,
    ) -> LatentAttention {
        let widths = Widths {
            heads: sizes.heads,
            rank: sizes.kv_lora_rank,
            nope: sizes.nope,
            rope: sizes.rope,
            v: sizes.v_head,
        };
        let Widths { heads, rank, nope, rope, v } = widths;
        let hidden = sizes.hidden;
        LatentAttention {
            q: builder.linear(&format!("{name}.q_proj"), heads * (nope + rope), hidden, 1.0),
            kv_a: builder.linear(&format!("{name}.kv_a_proj_with_mqa"), rank + rope, hidden, 1.0),
            latent_norm: builder.norm(&format!("{name}.kv_a_layernorm"), rank, eps),
            kv_b: builder.linear(&format!("{name}.kv_b_proj"), heads * (nope + v), rank, 1.0),
            out: builder.linear(&format!("{name}.o_proj"), hidden, heads * v, gain),
            sizes: widths,
            shape: AttentionShape { heads, k_dim: nope + rope, v_dim: v, causal: true },
        }
    }

    /// Adds to `stream` for the input that `tape.x` holds.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        tape: &mut LatentTape,
        scratch: &mut Scratch,
        positions: &Positions,
        stream: &mut [f32],
    ) {
        let Widths { heads, nope, rope, v, .. } = self.sizes;
        let n = tape.x.rows();
        let (k_width, v_width) = (heads * (nope + rope), heads * v);
        let q = sized(&mut tape.q, n * k_width);
        self.q.forward(weights, &tape.x, q, Write::Set);
        for span in positions.spans {
            for (position, row) in span.clone().enumerate() {
                for head in q[row * k_width..(row + 1) * k_width].chunks_exact_mut(nope + rope) {
                    positions.rotary.turn(&mut head[nope..], position, false);
                }
            }
        }
        self.expand(weights, tape, scratch, positions);
        let q = &tape.q[..n * k_width];
        let mixed = sized(&mut scratch.a, n * v_width);
        let needed: usize =
            positions.spans.iter().map(|span| self.shape.probabilities(span.len(), span.len())).sum();
        let mut rest = sized(&mut tape.probabilities, needed);
        for span in positions.spans {
            let (p, after) = rest.split_at_mut(self.shape.probabilities(span.len(), span.len()));
            rest = after;
            let (ks, vs) = (scaled(span, k_width), scaled(span, v_width));
            let qkv = Qkv { q: &q[ks.clone()], k: &tape.k[ks], v: &tape.v[vs.clone()] };
            let own = &mut mixed[vs];
            attention::forward(weights.arithmetic, self.shape, qkv, p, own, &mut scratch.attend);
        }
        tape.mixed.set(weights, mixed, v_width);
        self.out.forward(weights, &tape.mixed, stream, Write::Add);
    }

    /// Keys and values of all heads, from the latents.
    fn expand(&self, weights: &Weights, tape: &mut LatentTape, scratch: &mut Scratch, positions: &Positions) {
        let Widths { heads, rank, nope, rope, v } = self.sizes;
        let n = tape.x.rows();
        let joint = sized(&mut scratch.a, n * (rank + rope));
        self.kv_a.forward(weights, &tape.x, joint, Write::Set);
        let latents = sized(&mut scratch.b, n * rank);
        for (joint, latent) in joint.chunks_exact(rank + rope).zip(latents.chunks_exact_mut(rank)) {
            latent.copy_from_slice(&joint[..rank]);
        }
        let normed = sized(&mut scratch.c, n * rank);
        self.latent_norm.forward(weights, latents, &mut tape.latent_norm, normed);
        tape.latent.set(weights, normed, rank);
        let expanded = sized(&mut scratch.d, n * heads * (nope + v));
        self.kv_b.forward(weights, &tape.latent, expanded, Write::Set);
        let k = sized(&mut tape.k, n * heads * (nope + rope));
        let values = sized(&mut tape.v, n * heads * v);
        for span in positions.spans {
            for (position, row) in span.clone().enumerate() {
                let shared = &mut joint[row * (rank + rope) + rank..][..rope];
                positions.rotary.turn(shared, position, false);
                for head in 0..heads {
                    let (key, value) =
                        expanded[(row * heads + head) * (nope + v)..][..nope + v].split_at(nope);
                    let own = &mut k[(row * heads + head) * (nope + rope)..][..nope + rope];
                    own[..nope].copy_from_slice(key);
                    own[nope..].copy_from_slice(shared);
                    values[(row * heads + head) * v..][..v].copy_from_slice(value);
                }
            }
        }
    }

    /// Adds to the gradients of the weights and writes that of the input.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &LatentTape,
        d_stream: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        (positions, dx): (&Positions, &mut [f32]),
    ) {
        let Widths { heads, nope, rope, v, .. } = self.sizes;
        let n = tape.x.rows();
        let (k_width, v_width) = (heads * (nope + rope), heads * v);
        let mut buffers = std::mem::take(&mut scratch.attention);
        let [d_mixed, dq, dk, dv] = &mut buffers;
        let d_mixed = sized(d_mixed, n * v_width);
        let set = Some((&mut *d_mixed, Write::Set));
        self.out.backward(weights, &tape.mixed, d_stream, gradients, scratch, set);
        let (dq, dk, dv) = (sized(dq, n * k_width), sized(dk, n * k_width), sized(dv, n * v_width));
        let mut at = 0;
        for span in positions.spans {
            let p = &tape.probabilities[at..at + self.shape.probabilities(span.len(), span.len())];
            at += p.len();
            let (ks, vs) = (scaled(span, k_width), scaled(span, v_width));
            let qkv = Qkv { q: &tape.q[ks.clone()], k: &tape.k[ks.clone()], v: &tape.v[vs.clone()] };
            let own = QkvGradients { q: &mut dq[ks.clone()], k: &mut dk[ks], v: &mut dv[vs.clone()] };
            let (arithmetic, d_mixed) = (weights.arithmetic, &d_mixed[vs]);
            attention::backward(arithmetic, self.shape, qkv, p, d_mixed, own, &mut scratch.attend);
        }
        for span in positions.spans {
            for (position, row) in span.clone().enumerate() {
                for head in dq[row * k_width..(row + 1) * k_width].chunks_exact_mut(nope + rope) {
                    positions.rotary.turn(&mut head[nope..], position, true);
                }
            }
        }
        self.q.backward(weights, &tape.x, dq, gradients, scratch, Some((&mut *dx, Write::Set)));
        self.contract(weights, tape, (dk, dv), gradients, scratch, (positions, dx));
        scratch.attention = buffers;
    }

    /// The way of [`LatentAttention::expand`] back; adds to `dx`.
    fn contract(
        &self,
        weights: &Weights,
        tape: &LatentTape,
        (dk, dv): (&[f32], &[f32]),
        gradients: &mut [f32],
        scratch: &mut Scratch,
        (positions, dx): (&Positions, &mut [f32]),
    ) {
        let Widths { heads, rank, nope, rope, v } = self.sizes;
        let n = tape.x.rows();
        let mut buffers = std::mem::take(&mut scratch.latent);
        let [d_joint, d_expanded, d_normed, d_latent] = &mut buffers;
        let d_joint = zeroed(d_joint, n * (rank + rope));
        let d_expanded = sized(d_expanded, n * heads * (nope + v));
        for span in positions.spans {
            for (position, row) in span.clone().enumerate() {
                let shared = &mut d_joint[row * (rank + rope) + rank..][..rope];
                for head in 0..heads {
                    let own = &dk[(row * heads + head) * (nope + rope)..][..nope + rope];
                    let joined = &mut d_expanded[(row * heads + head) * (nope + v)..][..nope + v];
                    joined[..nope].copy_from_slice(&own[..nope]);
                    joined[nope..].copy_from_slice(&dv[(row * heads + head) * v..][..v]);
                    shared.iter_mut().zip(&own[nope..]).for_each(|(sum, d)| *sum += d);
                }
                positions.rotary.turn(shared, position, true);
            }
        }
        let d_normed = sized(d_normed, n * rank);
        let set = Some((&mut *d_normed, Write::Set));
        self.kv_b.backward(weights, &tape.latent, d_expanded, gradients, scratch, set);
        let d_latent = zeroed(d_latent, n * rank);
        self.latent_norm.backward(weights, &tape.latent_norm, d_normed, gradients, d_latent);
        for (joint, latent) in d_joint.chunks_exact_mut(rank + rope).zip(d_latent.chunks_exact(rank)) {
            joint[..rank].copy_from_slice(latent);
        }
        self.kv_a.backward(weights, &tape.x, d_joint, gradients, scratch, Some((dx, Write::Add)));
        scratch.latent = buffers;
    }
}

fn scaled(span: &Range<usize>, width: usize) -> Range<usize> {
    span.start * width..span.end * width
}
