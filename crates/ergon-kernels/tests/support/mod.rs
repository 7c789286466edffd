//! Plain statements of what the kernels compute, in double precision, and comparison of bits.

#![allow(dead_code)] // Each test file uses its part.

use ergon_kernels::ops::AttentionShape;
use ergon_kernels::{
    ActivationBuffer, Cpu, MatmulJob, MatrixRef, RowSet, cases, cases::Random, dequantize_reference,
    matmul_jobs,
};
use ergon_types::WeightFormat;
use std::ops::Range;

/// The formats whose products are the same bits on every instruction set.
pub(crate) fn block_formats() -> impl Iterator<Item = WeightFormat> {
    WeightFormat::ALL.into_iter().filter(|format| format.block_len() > 1)
}

/// The formats multiplied in floats.
pub(crate) fn float_formats() -> impl Iterator<Item = WeightFormat> {
    WeightFormat::ALL.into_iter().filter(|format| format.block_len() == 1)
}

/// Activations as the products with `format` see them: rounded as `activations.rs` says, and read back.
pub(crate) fn rounded(format: WeightFormat, x: &[f32]) -> Vec<f64> {
    match format.block_len() {
        1 => x.iter().map(|x| *x as f64).collect(),
        32 => x.chunks(32).flat_map(rounded_by_32).collect(),
        _ => x.chunks(256).flat_map(rounded_by_256).collect(),
    }
}

/// `127 x / max|x|`, rounded half to even, under a scale of 11 significant bits.
fn rounded_by_32(x: &[f32]) -> Vec<f64> {
    let max = x.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    if max == 0.0 {
        return vec![0.0; x.len()];
    }
    let bits = (max / 127.0).to_bits();
    // Adding half of the 13 bits that go rounds up, except that a tie must end even.
    let tie_to_odd = bits & 0x3fff == 0x1000;
    let d = f32::from_bits((bits + if tie_to_odd { 0 } else { 0x1000 }) & !0x1fff);
    x.iter().map(|x| d as f64 * (x * (127.0 / max)).round_ties_even() as f64).collect()
}

/// `1/d = -127 / max` with the sign of the largest magnitude, rounded half to even.
fn rounded_by_256(x: &[f32]) -> Vec<f64> {
    let max = x.iter().fold(0.0, |max: f32, x| if x.abs() > max.abs() { *x } else { max });
    if max == 0.0 {
        return vec![0.0; x.len()];
    }
    let id = -127.0 / max;
    x.iter().map(|x| (1.0 / id) as f64 * (x * id).round_ties_even() as f64).collect()
}

/// A row of weights in single precision, by the plain reading.
pub(crate) fn read(format: WeightFormat, row: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; row.len() / format.block_bytes() * format.block_len()];
    dequantize_reference(format, row, &mut out);
    out
}

/// One product: weights, activations, and their shapes.
pub(crate) struct Case {
    pub(crate) format: WeightFormat,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) n: usize,
    pub(crate) weights: Vec<u8>,
    pub(crate) x: Vec<f32>,
}

impl Case {
    pub(crate) fn new(format: WeightFormat, rows: usize, cols: usize, n: usize) -> Case {
        let seed = (rows * 31 + cols * 7 + n) as u64;
        let weights = cases::weights(format, rows, cols, seed);
        Case { format, rows, cols, n, weights, x: Random::new(seed + 1).normals(n * cols) }
    }

    pub(crate) fn matrix(&self) -> MatrixRef<'_> {
        MatrixRef::new(self.format, self.rows, self.cols, &self.weights).unwrap()
    }

    pub(crate) fn product(&self, cpu: &Cpu) -> Vec<f32> {
        self.product_of(cpu, RowSet::All, self.n)
    }

    pub(crate) fn product_of(&self, cpu: &Cpu, x_rows: RowSet, selected: usize) -> Vec<f32> {
        let mut buffer = ActivationBuffer::default();
        let x = buffer.prepare(cpu, &self.x, self.cols, [self.format]);
        let mut y = vec![f32::NAN; selected * self.rows];
        matmul_jobs(cpu, &mut [MatmulJob { weight: self.matrix(), x, x_rows, y: &mut y }]);
        y
    }
}

#[track_caller]
pub(crate) fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
        assert!(same, "{what}: element {i} is {got:e}, not {want:e}");
    }
}

/// Attention of queries `q` over keys and values, each with the numbers from one position to the next.
pub(crate) fn attention_oracle(
    shape: &AttentionShape,
    q: &[f64],
    (k, k_row_stride): (&[f32], usize),
    (v, v_row_stride): (&[f32], usize),
    visible: &[Range<usize>],
) -> Vec<f64> {
    let &AttentionShape { n_heads, n_kv_heads, k_dim, v_dim, scale } = shape;
    let mut out = Vec::new();
    for (query, q) in q.chunks(k_dim).enumerate() {
        let (visible, kv_head) = (&visible[query / n_heads], query % n_heads / (n_heads / n_kv_heads));
        let score = |p: usize| {
            let k = &k[p * k_row_stride + kv_head * k_dim..][..k_dim];
            q.iter().zip(k).map(|(&q, &k)| q * f64::from(k)).sum::<f64>() * f64::from(scale)
        };
        let scores: Vec<f64> = visible.clone().map(score).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for i in 0..v_dim {
            let value = |p: usize| f64::from(v[p * v_row_stride + kv_head * v_dim + i]);
            out.push(visible.clone().zip(&scores).map(|(p, s)| (s - max).exp() / sum * value(p)).sum());
        }
    }
    out
}
