//! Activations as the dot kernels want them: as they come for float weights, and rounded to eight bits for block
//! formats, whose weights are themselves far coarser.
//!
//! Both rounded forms group 256 values, since every kernel walks a row in super-blocks of 256 weights; a row that ends
//! inside one is padded with zeros, which add exactly nothing to a product.
//!
//! - [`Act32`], for formats with a scale per 32 weights: `q = round(x 127 / max|x|)` per 32, ties to even, under the
//!   scale `d = max|x| / 127`, rounded to the 11 significant bits of a half. Rounds as llama.cpp does for Q8_0, so that
//!   results agree with it in the last bits; the exponent keeps the range of a single, so nothing overflows.
//! - [`Act256`], for formats with a scale per 256 weights: `d = -max / 127` where `max` is the value of largest
//!   magnitude with its sign, `q = round(x / d)`, ties to even. Rounds as GGUF's Q8_K.
//!
//! `q` always lies in -127..=127, on which the dot kernels rely. A group that holds NaN or an infinity gets the scale
//! NaN, so that the damage shows in the product; a group too small to be scaled (subnormal) becomes zero.

use ergon_types::WeightFormat;

use crate::{
    Cpu, Isa,
    quant::{ActivationKind, activation_kind},
    simd::{Simd, dispatch},
};

/// 256 activations rounded with a scale per 32.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Act32 {
    /// The rounded values.
    pub(crate) q: [[i8; 64]; 4],
    /// Lanes 0 to 7: the scales of the eight groups. Lanes 8 to 15: scale times the sum of the rounded values, which
    /// formats with a minimum per 32 weights multiply by it.
    pub(crate) scales: [f32; 16],
    /// -128 times the sums of 32 rounded values: [`Simd::rows`] begins with them.
    pub(crate) offsets: [i32; 8],
}

/// 256 activations rounded with one scale.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Act256 {
    /// The rounded values.
    pub(crate) q: [[i8; 64]; 4],
    /// Sums of 16 rounded values.
    pub(crate) sums_16: [i32; 16],
    /// Lanes 8 to 15: sums of 32 rounded values. Lanes 0 to 7 are zero, to meet scales that share a vector with minima.
    pub(crate) sums_32: [i32; 16],
    /// Two neighbouring sums each, of 16 bits, the first in the lower half: eight of `sums_16`.
    pub(crate) pairs_16: [i32; 8],
    /// The same of `sums_32`.
    pub(crate) pairs_32: [i32; 4],
    /// The scale.
    pub(crate) d: f32,
}

const ZERO_32: Act32 = Act32 { q: [[0; 64]; 4], scales: [0.0; 16], offsets: [0; 8] };
const ZERO_256: Act256 = Act256 {
    q: [[0; 64]; 4],
    sums_16: [0; 16],
    sums_32: [0; 16],
    pairs_16: [0; 8],
    pairs_32: [0; 4],
    d: 0.0,
};

/// One activation row in the form that is needed; the others are empty.
#[derive(Clone, Copy)]
pub(crate) struct ActRow<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) by_32: &'a [Act32],
    pub(crate) by_256: &'a [Act256],
}

/// Reusable buffers for rounded activations. They grow to the largest product seen and stay.
#[derive(Default)]
pub struct ActivationBuffer {
    by_32: Vec<Act32>,
    by_256: Vec<Act256>,
}

/// Activations `[rows, cols]`, ready for products with the weight formats they were prepared for.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    x: &'a [f32],
    rows: usize,
    cols: usize,
    by_32: &'a [Act32],
    by_256: &'a [Act256],
}

impl ActivationBuffer {
    /// Makes `x` (`[rows, cols]`, row-major) ready for products with weights of the formats `for_weights`. Float
    /// formats need nothing, so nothing is done for them.
    ///
    /// # Panics
    ///
    /// If `x` is not whole rows.
    pub fn prepare<'a>(
        &'a mut self,
        cpu: &Cpu,
        x: &'a [f32],
        cols: usize,
        for_weights: impl IntoIterator<Item = WeightFormat>,
    ) -> Activations<'a> {
        let rows = x.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, x.len(), "{} activations are no rows of {cols}", x.len());
        let (mut by_32, mut by_256) = (false, false);
        for format in for_weights {
            match activation_kind(format) {
                ActivationKind::Float => {}
                ActivationKind::By32 => by_32 = true,
                ActivationKind::By256 => by_256 = true,
            }
        }
        let supers = rows * cols.div_ceil(256);
        resize(&mut self.by_32, if by_32 { supers } else { 0 }, ZERO_32);
        resize(&mut self.by_256, if by_256 { supers } else { 0 }, ZERO_256);
        for_each_row(cpu, x, cols, &mut self.by_32, round_row_32);
        for_each_row(cpu, x, cols, &mut self.by_256, round_row_256);
        Activations { x, rows, cols, by_32: &self.by_32, by_256: &self.by_256 }
    }
}

impl<'a> Activations<'a> {
    /// Number of activation rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row in one form.
    #[inline(always)]
    pub(crate) fn row(&self, kind: ActivationKind, row: usize) -> ActRow<'a> {
        let supers = self.cols.div_ceil(256);
        let mut out = ActRow { x: &[], by_32: &[], by_256: &[] };
        match kind {
            ActivationKind::Float => out.x = &self.x[row * self.cols..][..self.cols],
            ActivationKind::By32 => out.by_32 = &self.by_32[row * supers..][..supers],
            ActivationKind::By256 => out.by_256 = &self.by_256[row * supers..][..supers],
        }
        out
    }

    /// Whether the form that weights of this kind need was prepared.
    pub(crate) fn holds(&self, kind: ActivationKind) -> bool {
        let supers = self.rows * self.cols.div_ceil(256);
        match kind {
            ActivationKind::Float => true,
            ActivationKind::By32 => self.by_32.len() == supers,
            ActivationKind::By256 => self.by_256.len() == supers,
        }
    }
}

/// Appends a row rounded with a scale per 32, for use beside other work of a thread.
pub(crate) fn round_row(isa: Isa, x: &[f32], out: &mut Vec<Act32>) {
    let first = out.len();
    out.resize(first + x.len().div_ceil(256), ZERO_32);
    round_row_32(isa, x, &mut out[first..]);
}

/// Sets the length without touching what is already there; every element is overwritten afterwards.
fn resize<T: Copy>(buffer: &mut Vec<T>, len: usize, zero: T) {
    buffer.truncate(len);
    buffer.resize(len, zero);
}

/// Runs `round` for each row of `x`, on several threads if there is enough to do.
fn for_each_row<T: Send>(cpu: &Cpu, x: &[f32], cols: usize, out: &mut [T], round: fn(Isa, &[f32], &mut [T])) {
    /// Rounding costs about 0.1 ns a value; below this many values a row is done before another thread is awake.
    const PARALLEL_VALUES: usize = 1 << 16;
    if out.is_empty() {
        return;
    }
    let supers = cols.div_ceil(256);
    if x.len() < PARALLEL_VALUES || cpu.pool.threads() == 1 {
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(supers)) {
            round(cpu.isa, x, out);
        }
        return;
    }
    let rows_per_task = (PARALLEL_VALUES / 8 / cols).max(1);
    let tasks = (x.len() / cols).div_ceil(rows_per_task);
    let out = crate::shared::SharedSlice::new(out);
    cpu.pool.run(tasks, |task| {
        let start = task * rows_per_task * cols;
        let x = &x[start..x.len().min(start + rows_per_task * cols)];
        let first = task * rows_per_task * supers;
        // SAFETY: tasks own disjoint ranges of rows, and each index is run by one thread.
        let out = unsafe { out.range_mut(first..first + x.len() / cols * supers) };
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(supers)) {
            round(cpu.isa, x, out);
        }
    });
}

dispatch! {
    /// Rounds one row with a scale per 32.
    fn round_row_32(x: &[f32], out: &mut [Act32]) = round_row_32_simd;
}
dispatch! {
    /// Rounds one row with a scale per 256.
    fn round_row_256(x: &[f32], out: &mut [Act256]) = round_row_256_simd;
}

#[inline(always)]
fn round_row_32_simd<S: Simd>(s: S, x: &[f32], out: &mut [Act32]) {
    let (full, rest) = x.as_chunks::<256>();
    for (x, out) in full.iter().zip(out.iter_mut()) {
        round_32(s, x, out);
    }
    if let (false, Some(last)) = (rest.is_empty(), out.last_mut()) {
        let mut padded = [0.0; 256];
        padded[..rest.len()].copy_from_slice(rest);
        round_32(s, &padded, last);
    }
}

#[inline(always)]
fn round_row_256_simd<S: Simd>(s: S, x: &[f32], out: &mut [Act256]) {
    let (full, rest) = x.as_chunks::<256>();
    for (x, out) in full.iter().zip(out.iter_mut()) {
        round_256(s, x, out);
    }
    if let (false, Some(last)) = (rest.is_empty(), out.last_mut()) {
        let mut padded = [0.0; 256];
        padded[..rest.len()].copy_from_slice(rest);
        round_256(s, &padded, last);
    }
}

const INFINITY_BITS: i32 = 0x7f80_0000;

/// Scale and its reciprocal from the largest magnitude, given as bits: among numbers without a sign the order of the
/// bits is the order of the numbers, with infinity and then NaN above all.
#[inline(always)]
fn scale_of(magnitude_bits: i32, of_magnitude: impl Fn(f32) -> (f32, f32)) -> (f32, f32) {
    if magnitude_bits >= INFINITY_BITS {
        return (f32::NAN, 0.0);
    }
    let (scale, reciprocal) = of_magnitude(f32::from_bits(magnitude_bits as u32));
    // Zero, or so near it that the reciprocal overflows.
    if reciprocal.is_finite() { (scale, reciprocal) } else { (0.0, 0.0) }
}

#[inline(always)]
fn round_32<S: Simd>(s: S, x: &[f32; 256], out: &mut Act32) {
    let (groups, _) = x.as_chunks::<32>();
    let (q, _) = out.q.as_flattened_mut().as_chunks_mut::<32>();
    for (group, (x, q)) in groups.iter().zip(q).enumerate() {
        let (x, _) = x.as_chunks::<16>();
        let (q, _) = q.as_chunks_mut::<16>();
        let (a, b) = (s.load(&x[0]), s.load(&x[1]));
        let bits = s.max_i32(s.as_i32(s.abs(a)), s.as_i32(s.abs(b)));
        let (d, id) = scale_of(s.reduce_max_i32(bits), |max| (to_11_bits(max / 127.0), 127.0 / max));
        if id == 0.0 {
            *q.as_flattened_mut().first_chunk_mut::<32>().expect("q is 32 long") = [0; 32];
            (out.scales[group], out.scales[group + 8], out.offsets[group]) = (d, d, 0);
            continue;
        }
        let id = s.splat(id);
        let a = s.round_to_i32(s.mul(a, id));
        let b = s.round_to_i32(s.mul(b, id));
        s.store_i8(a, &mut q[0]);
        s.store_i8(b, &mut q[1]);
        out.scales[group] = d;
        let sum = s.reduce_add_i32(s.add_i32(a, b));
        out.offsets[group] = -128 * sum;
        out.scales[group + 8] = d * sum as f32;
    }
}

/// The nearest number with 11 significant bits, ties to even.
#[inline(always)]
fn to_11_bits(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff)
}

/// The largest magnitude as bits, and the value that has it with its sign; the first of equals.
#[inline(always)]
fn signed_max<S: Simd>(s: S, x: &[f32; 256]) -> (i32, f32) {
    let (lanes, _) = x.as_chunks::<16>();
    let mut bits = s.splat_i32(0);
    let mut high = s.load(&lanes[0]);
    let mut low = high;
    for x in lanes {
        let x = s.load(x);
        bits = s.max_i32(bits, s.as_i32(s.abs(x)));
        (high, low) = (s.max(high, x), s.min(low, x));
    }
    let bits = s.reduce_max_i32(bits);
    let magnitude = f32::from_bits(bits as u32);
    let (high, low) = (s.reduce_max(high), s.reduce_max(s.sub(s.zero(), low)));
    let value = match (high == magnitude, low == magnitude) {
        (true, false) => magnitude,
        (false, true) => -magnitude,
        // Both signs occur, or there is a NaN, whose value nobody will ask for.
        _ => x.iter().find(|x| x.abs() == magnitude).copied().unwrap_or(0.0),
    };
    (bits, value)
}

#[inline(always)]
fn round_256<S: Simd>(s: S, x: &[f32; 256], out: &mut Act256) {
    let (bits, max) = signed_max(s, x);
    let (d, id) = scale_of(bits, |_| {
        let id = -127.0 / max;
        (1.0 / id, id)
    });
    if id == 0.0 {
        *out = Act256 { d, ..ZERO_256 };
        return;
    }
    out.d = d;
    let id = s.splat(id);
    let (lanes, _) = x.as_chunks::<16>();
    let (q, _) = out.q.as_flattened_mut().as_chunks_mut::<16>();
    for (group, (x, q)) in lanes.iter().zip(q).enumerate() {
        let rounded = s.round_to_i32(s.mul(s.load(x), id));
        s.store_i8(rounded, q);
        out.sums_16[group] = s.reduce_add_i32(rounded);
    }
    for pair in 0..8 {
        out.sums_32[8 + pair] = out.sums_16[2 * pair] + out.sums_16[2 * pair + 1];
    }
    pair_up(&out.sums_16, &mut out.pairs_16);
    pair_up(&out.sums_32[8..], &mut out.pairs_32);
}

/// Neighbouring sums of at most 32 rounded values (hence below 2^12) side by side.
#[inline(always)]
fn pair_up(sums: &[i32], pairs: &mut [i32]) {
    for ([first, second], pair) in sums.as_chunks().0.iter().zip(pairs) {
        *pair = first & 0xffff | second << 16;
    }
}
