//! Multi-head attention of equally long spans in which everything sees everything, as in the vision encoder.

use super::super::context::{Scratch, Weights, sized};
use super::attention::{self, AttentionShape, Qkv, QkvGradients};
use super::linear::{Builder, Input, Linear};
use ergon_kernels::gemm::Write;

/// Queries, keys and values of the same width as the stream; no positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    shape: AttentionShape,
    hidden: usize,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct SelfAttentionTape {
    pub(crate) x: Input,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    probabilities: Vec<f32>,
    mixed: Input,
}

impl SelfAttention {
    /// Matrices `{name}.q_proj`, `k_proj`, `v_proj` and `out_proj`.
    pub(crate) fn new(
        builder: &mut Builder,
        name: &str,
        hidden: usize,
        heads: usize,
        gain: f32,
    ) -> SelfAttention {
        let mut linear =
            |part: &str, gain| builder.linear(&format!("{name}.{part}_proj"), hidden, hidden, gain);
        let width = hidden / heads;
        SelfAttention {
            q: linear("q", 1.0),
            k: linear("k", 1.0),
            v: linear("v", 1.0),
            out: linear("out", gain),
            shape: AttentionShape { heads, k_dim: width, v_dim: width, causal: false },
            hidden,
        }
    }

    /// Adds to `stream` for the input that `tape.x` holds, spans of `span` rows.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        tape: &mut SelfAttentionTape,
        scratch: &mut Scratch,
        span: usize,
        stream: &mut [f32],
    ) {
        let len = stream.len();
        let (q, k, v) = (sized(&mut tape.q, len), sized(&mut tape.k, len), sized(&mut tape.v, len));
        self.q.forward(weights, &tape.x, q, Write::Set);
        self.k.forward(weights, &tape.x, k, Write::Set);
        self.v.forward(weights, &tape.x, v, Write::Set);
        let size = span * self.hidden;
        let per_span = self.shape.probabilities(span, span);
        let probabilities = sized(&mut tape.probabilities, len / size * per_span);
        let mixed = sized(&mut scratch.a, len);
        for (index, (p, out)) in
            probabilities.chunks_exact_mut(per_span).zip(mixed.chunks_exact_mut(size)).enumerate()
        {
            let own = index * size..(index + 1) * size;
            let qkv = Qkv { q: &q[own.clone()], k: &k[own.clone()], v: &v[own] };
            attention::forward(weights.arithmetic, self.shape, qkv, p, out, &mut scratch.attend);
        }
        tape.mixed.set(weights, mixed, self.hidden);
        self.out.forward(weights, &tape.mixed, stream, Write::Add);
    }

    /// Adds to the gradients of the weights and writes that of the input.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &SelfAttentionTape,
        d_stream: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        (span, dx): (usize, &mut [f32]),
    ) {
        let len = d_stream.len();
        let mut buffers = std::mem::take(&mut scratch.attention);
        let [d_mixed, dq, dk, dv] = &mut buffers;
        let d_mixed = sized(d_mixed, len);
        let (dq, dk, dv) = (sized(dq, len), sized(dk, len), sized(dv, len));
        let set = Some((&mut *d_mixed, Write::Set));
        self.out.backward(weights, &tape.mixed, d_stream, gradients, scratch, set);
        let size = span * self.hidden;
        let per_span = self.shape.probabilities(span, span);
        for index in 0..len / size {
            let own = index * size..(index + 1) * size;
            let qkv = Qkv { q: &tape.q[own.clone()], k: &tape.k[own.clone()], v: &tape.v[own.clone()] };
            let gradients =
                QkvGradients { q: &mut dq[own.clone()], k: &mut dk[own.clone()], v: &mut dv[own.clone()] };
            let p = &tape.probabilities[index * per_span..(index + 1) * per_span];
            let (arithmetic, shape) = (weights.arithmetic, self.shape);
            let own = &d_mixed[own];
            attention::backward(arithmetic, shape, qkv, p, own, gradients, &mut scratch.attend);
        }
        self.q.backward(weights, &tape.x, dq, gradients, scratch, Some((&mut *dx, Write::Set)));
        self.k.backward(weights, &tape.x, dk, gradients, scratch, Some((&mut *dx, Write::Add)));
        self.v.backward(weights, &tape.x, dv, gradients, scratch, Some((dx, Write::Add)));
        scratch.attention = buffers;
    }
}
