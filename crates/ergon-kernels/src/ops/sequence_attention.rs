//! Attention of one short sequence, forward and backward, on the calling thread: training works on micro-batches whose
//! numbers stay in the cache of one core.
//!
//! # Plainly
//!
//! ```text
//! for each head, query i:
//!     s[j] = scale q[i] . k[j]  for the keys j that i sees          p[i, :] = softmax(s)
//!     out[i] = sum over j of p[i, j] v[j]
//! backward, given do = dout of this head:
//!     dp[i, j] = do[i] . v[j]
//!     ds[i, j] = p[i, j] (dp[i, j] - sum over l of p[i, l] dp[i, l])
//!     dv[j] = sum over i of p[i, j] do[i]
//!     dq[i] = scale sum over j of ds[i, j] k[j]
//!     dk[j] = scale sum over i of ds[i, j] q[i]
//! ```
//!
//! # What is different, and what it buys
//!
//! - Every line above but the softmax and `ds` is a product of `gemm`, with factors rounded to bfloat16 and sums in
//!   single precision; a factor is packed once per head for all products that read it.
//! - A causal mask bounds the keys of sixteen queries, and the queries of sixteen keys, and with them the products:
//!   nearly half of the work goes. Inside the last sixteen masked probabilities are zero, so products need no mask.
//! - The scale is applied where scores are read anyway, in the softmax and in `ds`.
//! - The probabilities are kept for the backward pass, rows padded to sixteen keys: at these lengths writing them costs
//!   less than computing the scores again.

use super::exp::exp_fused;
use super::slices::{dot, load_at, store_at};
use crate::{
    gemm::{
        Gemm, Operands, Output, PackedColumns, PackedRows, PackedTransposed, Source, Write, panels_by_panels,
        rows_by_panels,
    },
    simd::{Simd, dispatch},
};

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceMask {
    /// All of them.
    Full,
    /// Query `i` sees keys `0..=i + keys - queries`: queries are the last positions, and keys before the first of them
    /// are a prefix that all see.
    Causal,
}

/// Shapes of one sequence. Head `h` of a row begins at `h * k_dim` (queries and keys) or `h * v_dim` (values and
/// results); strides are numbers from a row to the next, so that heads may lie inside wider rows.
#[derive(Clone, Copy, Debug)]
pub struct SequenceAttention {
    /// Heads, each with keys and values of its own.
    pub heads: usize,
    /// Rows of `q` and `out`.
    pub queries: usize,
    /// Rows of `k` and `v`.
    pub keys: usize,
    /// Numbers in a head of a query or key.
    pub k_dim: usize,
    /// Numbers in a head of a value or result.
    pub v_dim: usize,
    /// Row stride of `q`.
    pub q_stride: usize,
    /// Row stride of `k`.
    pub k_stride: usize,
    /// Row stride of `v`.
    pub v_stride: usize,
    /// Row stride of `out`.
    pub out_stride: usize,
    /// Multiplies the scores, 1 / sqrt(k_dim) as a rule; positive.
    pub scale: f32,
    /// Which keys a query sees.
    pub mask: SequenceMask,
}

/// Causal queries, or keys, that share a bound: sixteen, as panels have it.
const BLOCK: usize = 16;

impl SequenceAttention {
    /// Dense rows, the usual scale.
    pub fn dense(
        heads: usize,
        (queries, keys): (usize, usize),
        (k_dim, v_dim): (usize, usize),
        mask: SequenceMask,
    ) -> SequenceAttention {
        let (k_stride, v_stride) = (heads * k_dim, heads * v_dim);
        SequenceAttention {
            heads,
            queries,
            keys,
            k_dim,
            v_dim,
            q_stride: k_stride,
            k_stride,
            v_stride,
            out_stride: v_stride,
            scale: 1.0 / (k_dim as f32).sqrt(),
            mask,
        }
    }

    /// Numbers that the forward pass keeps for the backward pass: `[heads, queries, keys rounded up to 16]`.
    pub fn probabilities_len(&self) -> usize {
        self.heads * self.queries * self.padded_keys()
    }

    fn padded_keys(&self) -> usize {
        self.keys.next_multiple_of(16)
    }

    /// How many keys query `i` sees.
    #[inline(always)]
    fn visible(&self, i: usize) -> usize {
        match self.mask {
            SequenceMask::Full => self.keys,
            SequenceMask::Causal => i + 1 + self.keys - self.queries,
        }
    }

    /// The first query that sees key `j`.
    #[inline(always)]
    fn first_query(&self, j: usize) -> usize {
        match self.mask {
            SequenceMask::Full => 0,
            SequenceMask::Causal => (j + self.queries).saturating_sub(self.keys),
        }
    }

    fn check(&self, q: usize, k: usize, v: usize, out: usize, probabilities: usize) {
        let rows = |name: &str, len: usize, rows: usize, stride: usize, width: usize| {
            let fits = rows == 0 || width <= stride && len >= (rows - 1) * stride + width;
            assert!(fits, "attention: {len} numbers of {name} for {rows} rows of {width} every {stride}");
        };
        rows("q", q, self.queries, self.q_stride, self.heads * self.k_dim);
        rows("k", k, self.keys, self.k_stride, self.heads * self.k_dim);
        rows("v", v, self.keys, self.v_stride, self.heads * self.v_dim);
        rows("out", out, self.queries, self.out_stride, self.heads * self.v_dim);
        assert!(probabilities == self.probabilities_len(), "attention: {probabilities} probabilities");
        assert!(self.scale > 0.0, "attention: scores times {}", self.scale);
        let causal = self.mask == SequenceMask::Causal;
        assert!(!causal || self.keys >= self.queries, "attention: {} causal queries", self.queries);
    }
}

/// Memory that attention works in; it only grows.
#[derive(Default)]
pub struct SequenceScratch {
    /// Queries, `dout`, or what stands for probabilities: left factors.
    rows: PackedRows,
    /// Probabilities or `ds`, to be summed over queries.
    weights: PackedColumns,
    /// Queries, keys, values or `dout`: right factors that are summed over rows.
    columns: PackedColumns,
    /// Keys or values: right factors that are summed over a head.
    transposed: PackedTransposed,
    /// Gradients of the scores of one head, `[queries, padded keys]`.
    gradients: Vec<f32>,
}

/// `out` of the head of this file, and the probabilities for [`sequence_attention_backward`].
///
/// # Panics
/// When a slice does not fit the shape, or there are more causal queries than keys.
#[allow(clippy::too_many_arguments)] // The arguments and results of one formula.
pub fn sequence_attention(
    gemm: Gemm,
    shape: &SequenceAttention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    probabilities: &mut [f32],
    scratch: &mut SequenceScratch,
) {
    shape.check(q.len(), k.len(), v.len(), out.len(), probabilities.len());
    let padded = shape.padded_keys();
    for head in 0..shape.heads {
        let (at_k, at_v) = (head * shape.k_dim, head * shape.v_dim);
        let p = &mut probabilities[head * shape.queries * padded..][..shape.queries * padded];
        scratch.rows.pack_source(gemm, shape.query_rows(q, at_k));
        scratch.transposed.pack_source(gemm, shape.key_rows(k, at_k));
        by_heads(gemm, shape, scratch, p);
        softmax_rows(gemm.isa(), shape, p);
        scratch.rows.pack_source(gemm, shape.weight_rows(p));
        scratch.columns.pack_source(gemm, shape.value_rows(v, at_v));
        by_keys(gemm, shape, scratch, (shape.v_dim, shape.out_stride), &mut out[at_v..]);
    }
}

/// The gradients of [`sequence_attention`]: `dq`, `dk`, `dv` are set where their heads lie, in the layout of `q`, `k`, `v`;
/// `dout` has the layout of `out`.
///
/// # Panics
/// When a slice does not fit the shape.
#[allow(clippy::too_many_arguments)]
pub fn sequence_attention_backward(
    gemm: Gemm,
    shape: &SequenceAttention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    probabilities: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    scratch: &mut SequenceScratch,
) {
    shape.check(q.len(), k.len(), v.len(), dout.len(), probabilities.len());
    shape.check(dq.len(), dk.len(), dv.len(), dout.len(), probabilities.len());
    let padded = shape.padded_keys();
    let mut ds = std::mem::take(&mut scratch.gradients);
    ds.resize(shape.queries * padded, 0.0);
    for head in 0..shape.heads {
        let (at_k, at_v) = (head * shape.k_dim, head * shape.v_dim);
        let p = &probabilities[head * shape.queries * padded..][..shape.queries * padded];
        scratch.rows.pack_source(gemm, shape.result_rows(dout, at_v));
        scratch.transposed.pack_source(gemm, shape.value_rows(v, at_v));
        by_heads(gemm, shape, scratch, &mut ds);
        score_gradients(gemm.isa(), shape, p, &mut ds);

        scratch.weights.pack_source(gemm, shape.weight_rows(p));
        scratch.columns.pack_source(gemm, shape.result_rows(dout, at_v));
        by_queries(gemm, shape, scratch, (shape.v_dim, shape.v_stride), &mut dv[at_v..]);

        scratch.rows.pack_source(gemm, shape.weight_rows(&ds));
        scratch.columns.pack_source(gemm, shape.key_rows(k, at_k));
        by_keys(gemm, shape, scratch, (shape.k_dim, shape.q_stride), &mut dq[at_k..]);

        scratch.weights.pack_source(gemm, shape.weight_rows(&ds));
        scratch.columns.pack_source(gemm, shape.query_rows(q, at_k));
        by_queries(gemm, shape, scratch, (shape.k_dim, shape.k_stride), &mut dk[at_k..]);
    }
    scratch.gradients = ds;
}

/// What a head reads and writes, as rows.
impl SequenceAttention {
    fn query_rows<'a>(&self, q: &'a [f32], at: usize) -> Source<'a> {
        Source { x: &q[at..], rows: self.queries, cols: self.k_dim, stride: self.q_stride, list: None }
    }

    fn key_rows<'a>(&self, k: &'a [f32], at: usize) -> Source<'a> {
        Source { x: &k[at..], rows: self.keys, cols: self.k_dim, stride: self.k_stride, list: None }
    }

    fn value_rows<'a>(&self, v: &'a [f32], at: usize) -> Source<'a> {
        Source { x: &v[at..], rows: self.keys, cols: self.v_dim, stride: self.v_stride, list: None }
    }

    fn result_rows<'a>(&self, out: &'a [f32], at: usize) -> Source<'a> {
        Source { x: &out[at..], rows: self.queries, cols: self.v_dim, stride: self.out_stride, list: None }
    }

    fn weight_rows<'a>(&self, p: &'a [f32]) -> Source<'a> {
        Source { x: p, rows: self.queries, cols: self.keys, stride: self.padded_keys(), list: None }
    }

    /// Queries to take at once: all, where a mask leaves nothing out.
    fn block(&self, len: usize) -> usize {
        match self.mask {
            SequenceMask::Full => len.max(1),
            SequenceMask::Causal => BLOCK,
        }
    }
}

/// `out[i, j] = sum over d of rows[i, d] transposed[d, j]`, as far as sixteen queries see.
fn by_heads(gemm: Gemm, shape: &SequenceAttention, scratch: &SequenceScratch, out: &mut [f32]) {
    let (a, b) = (scratch.rows.rows_of(gemm), scratch.transposed.panels(gemm));
    let padded = shape.padded_keys();
    let block = shape.block(shape.queries);
    for first in (0..shape.queries).step_by(block) {
        let rows = block.min(shape.queries - first);
        let cols = shape.visible(first + rows - 1).next_multiple_of(16);
        let c = &mut out[first * padded..];
        let output = Output { c, cols, stride: padded, bias: None, write: Write::Set };
        rows_by_panels(gemm, Operands { a: a.skip(first), b, rows }, output);
    }
}

/// `out[i, :] = sum over j of rows[i, j] columns[j, :]`, as far as sixteen queries see.
fn by_keys(
    gemm: Gemm,
    shape: &SequenceAttention,
    scratch: &SequenceScratch,
    (cols, stride): (usize, usize),
    out: &mut [f32],
) {
    let (a, b) = (scratch.rows.rows_of(gemm), scratch.columns.panels(gemm));
    let block = shape.block(shape.queries);
    for first in (0..shape.queries).step_by(block) {
        let rows = block.min(shape.queries - first);
        let depth = shape.visible(first + rows - 1).div_ceil(gemm.per_word());
        let output = Output { c: &mut out[first * stride..], cols, stride, bias: None, write: Write::Set };
        let operands = Operands { a: a.skip(first).shallow(depth), b: b.shallow(depth), rows };
        rows_by_panels(gemm, operands, output);
    }
}

/// `out[j, :] = sum over i of weights[i, j] columns[i, :]`, from the first query that sees one of sixteen keys.
fn by_queries(
    gemm: Gemm,
    shape: &SequenceAttention,
    scratch: &SequenceScratch,
    (cols, stride): (usize, usize),
    out: &mut [f32],
) {
    let (a, b) = (scratch.weights.panels(gemm), scratch.columns.panels(gemm));
    let block = shape.block(shape.keys);
    for first in (0..shape.keys).step_by(block) {
        let rows = block.min(shape.keys - first);
        let from = shape.first_query(first) / gemm.per_word();
        let output = Output { c: &mut out[first * stride..], cols, stride, bias: None, write: Write::Set };
        let operands = Operands { a: a.skip(first / 16).deeper(from), b: b.deeper(from), rows };
        panels_by_panels(gemm, operands, output);
    }
}

dispatch! {
    fn softmax_rows(shape: &SequenceAttention, p: &mut [f32]) = softmax_rows_simd;
}
dispatch! {
    fn score_gradients(shape: &SequenceAttention, p: &[f32], ds: &mut [f32]) = score_gradients_simd;
}

#[inline(always)]
fn softmax_rows_simd<S: Simd>(s: S, shape: &SequenceAttention, p: &mut [f32]) {
    for (i, row) in p.chunks_exact_mut(shape.padded_keys()).enumerate() {
        let seen = shape.visible(i);
        let width = seen.next_multiple_of(16);
        row[seen..width].fill(f32::NEG_INFINITY);
        softmax(s, &mut row[..width], shape.scale);
        row[seen..].fill(0.0);
    }
}

/// `ds` in the place of `dp`, times the scale; zero where nothing is seen, since `p` is.
#[inline(always)]
fn score_gradients_simd<S: Simd>(s: S, shape: &SequenceAttention, p: &[f32], ds: &mut [f32]) {
    let (padded, scale) = (shape.padded_keys(), s.splat(shape.scale));
    for (i, (p, ds)) in p.chunks_exact(padded).zip(ds.chunks_exact_mut(padded)).enumerate() {
        let width = shape.visible(i).next_multiple_of(16);
        let mean = s.splat(dot(s, &p[..width], &ds[..width]));
        for at in (0..width).step_by(16) {
            let scaled = s.mul(load_at(s, p, at), scale);
            store_at(s, s.mul(scaled, s.sub(load_at(s, ds, at), mean)), ds, at);
        }
        ds[width..].fill(0.0);
    }
}

/// `softmax(scale x)` of whole vectors, in place.
#[inline(always)]
fn softmax<S: Simd>(s: S, x: &mut [f32], scale: f32) {
    let (x, _) = x.as_chunks_mut::<16>();
    let mut max = s.splat(f32::NEG_INFINITY);
    for x in x.iter() {
        max = s.max(s.load(x), max);
    }
    let (scale, shift) = (s.splat(scale), s.splat(-scale * s.reduce_max(max)));
    let mut sum = s.zero();
    for x in x.iter_mut() {
        let e = exp_fused(s, s.mul_add(s.load(x), scale, shift));
        sum = s.add(sum, e);
        s.store(e, x);
    }
    let factor = s.splat(1.0 / s.reduce_add(sum));
    for x in x {
        s.store(s.mul(s.load(x), factor), x);
    }
}
