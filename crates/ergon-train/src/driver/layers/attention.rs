//! Softmax attention of one span and its gradient; probabilities are kept from the forward pass.

use super::super::context::{Arithmetic, sized};
use ergon_kernels::ops::{
    SequenceAttention, SequenceMask, SequenceScratch, sequence_attention, sequence_attention_backward,
};

/// Heads and widths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) k_dim: usize,
    pub(crate) v_dim: usize,
    /// Query `i` sees keys `0..=i` only.
    pub(crate) causal: bool,
}

impl AttentionShape {
    fn scale(&self) -> f32 {
        1.0 / (self.k_dim as f32).sqrt()
    }

    /// Probabilities that one span needs.
    pub(crate) fn probabilities(&self, queries: usize, keys: usize) -> usize {
        self.dense(queries, keys).probabilities_len()
    }

    fn dense(&self, queries: usize, keys: usize) -> SequenceAttention {
        let mask = if self.causal { SequenceMask::Causal } else { SequenceMask::Full };
        SequenceAttention::dense(self.heads, (queries, keys), (self.k_dim, self.v_dim), mask)
    }

    /// Queries and keys of one span.
    fn rows(&self, qkv: Qkv) -> (usize, usize) {
        let width = self.heads * self.k_dim;
        (qkv.q.len() / width, qkv.k.len() / width)
    }
}

/// Queries `[nq, heads, k_dim]`, keys `[nk, heads, k_dim]`, values `[nk, heads, v_dim]`.
#[derive(Clone, Copy)]
pub(crate) struct Qkv<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
}

/// Gradients of the same shapes; they are overwritten.
pub(crate) struct QkvGradients<'a> {
    pub(crate) q: &'a mut [f32],
    pub(crate) k: &'a mut [f32],
    pub(crate) v: &'a mut [f32],
}

/// What attention works in.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    sequence: SequenceScratch,
    row: Vec<f32>,
}

/// Writes `out` `[nq, heads, v_dim]` and the probabilities.
pub(crate) fn forward(
    arithmetic: Arithmetic,
    shape: AttentionShape,
    qkv: Qkv,
    probabilities: &mut [f32],
    out: &mut [f32],
    scratch: &mut AttentionScratch,
) {
    match arithmetic {
        Arithmetic::Bf16(gemm) => {
            let (queries, keys) = shape.rows(qkv);
            let dense = shape.dense(queries, keys);
            let Qkv { q, k, v } = qkv;
            sequence_attention(gemm, &dense, q, k, v, out, probabilities, &mut scratch.sequence);
        }
        Arithmetic::Singles(_) => plain_forward(shape, qkv, probabilities, out),
    }
}

/// Writes the gradients of queries, keys and values.
pub(crate) fn backward(
    arithmetic: Arithmetic,
    shape: AttentionShape,
    qkv: Qkv,
    probabilities: &[f32],
    d_out: &[f32],
    gradients: QkvGradients,
    scratch: &mut AttentionScratch,
) {
    match arithmetic {
        Arithmetic::Bf16(gemm) => {
            let (queries, keys) = shape.rows(qkv);
            let dense = shape.dense(queries, keys);
            let (Qkv { q, k, v }, QkvGradients { q: dq, k: dk, v: dv }) = (qkv, gradients);
            let own = &mut scratch.sequence;
            sequence_attention_backward(gemm, &dense, q, k, v, probabilities, d_out, dq, dk, dv, own);
        }
        Arithmetic::Singles(_) => {
            plain_backward(shape, qkv, probabilities, d_out, gradients, &mut scratch.row);
        }
    }
}

/// Probabilities are `[heads, nq, nk]` here.
fn plain_forward(shape: AttentionShape, qkv: Qkv, probabilities: &mut [f32], out: &mut [f32]) {
    let AttentionShape { heads, k_dim, v_dim, causal } = shape;
    let (q_width, v_width) = (heads * k_dim, heads * v_dim);
    let (nq, nk) = shape.rows(qkv);
    out.fill(0.0);
    for head in 0..heads {
        for i in 0..nq {
            let p = &mut probabilities[(head * nq + i) * nk..][..nk];
            let visible = if causal { i + 1 } else { nk };
            let q = &qkv.q[i * q_width + head * k_dim..][..k_dim];
            for (j, p) in p[..visible].iter_mut().enumerate() {
                *p = dot(q, &qkv.k[j * q_width + head * k_dim..][..k_dim]) * shape.scale();
            }
            softmax(&mut p[..visible]);
            let out = &mut out[i * v_width + head * v_dim..][..v_dim];
            for (j, &p) in p[..visible].iter().enumerate() {
                add_multiple(p, &qkv.v[j * v_width + head * v_dim..][..v_dim], out);
            }
        }
    }
}

fn plain_backward(
    shape: AttentionShape,
    qkv: Qkv,
    probabilities: &[f32],
    d_out: &[f32],
    gradients: QkvGradients,
    row: &mut Vec<f32>,
) {
    let AttentionShape { heads, k_dim, v_dim, causal } = shape;
    let (q_width, v_width) = (heads * k_dim, heads * v_dim);
    let (nq, nk) = shape.rows(qkv);
    let QkvGradients { q: dq, k: dk, v: dv } = gradients;
    dq.fill(0.0);
    dk.fill(0.0);
    dv.fill(0.0);
    let ds = sized(row, nk);
    for head in 0..heads {
        for i in 0..nq {
            let visible = if causal { i + 1 } else { nk };
            let p = &probabilities[(head * nq + i) * nk..][..visible];
            let d_out = &d_out[i * v_width + head * v_dim..][..v_dim];
            let mut mean = 0.0;
            for (j, (&p, ds)) in p.iter().zip(ds.iter_mut()).enumerate() {
                let at = j * v_width + head * v_dim;
                *ds = dot(d_out, &qkv.v[at..][..v_dim]);
                mean += p * *ds;
                add_multiple(p, d_out, &mut dv[at..][..v_dim]);
            }
            let at_q = i * q_width + head * k_dim;
            for (j, (&p, &ds)) in p.iter().zip(ds.iter()).enumerate() {
                let d_score = p * (ds - mean) * shape.scale();
                let at = j * q_width + head * k_dim;
                add_multiple(d_score, &qkv.k[at..][..k_dim], &mut dq[at_q..][..k_dim]);
                add_multiple(d_score, &qkv.q[at_q..][..k_dim], &mut dk[at..][..k_dim]);
            }
        }
    }
}

fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    let factor = 1.0 / sum;
    x.iter_mut().for_each(|x| *x *= factor);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + tail
}

fn add_multiple(factor: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}
