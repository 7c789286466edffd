//! Weights that are floats: each is turned into a single (exactly) and multiplied with the activation as it comes.
//!
//! In plain words `sum over i of w[i] x[i]`; with FP8 scales `sum over blocks b of scale[b] * (sum over i in b of ...)`.
//!
//! The canonical order: two vectors of 16 running sums, `even` and `odd`. Weights `16 k .. 16 k + 16` go to `even` if
//! `k` is even, else to `odd`, lane by lane, by fused multiply-add where the instruction set has one (all but portable
//! Rust, whose results therefore differ in the last places). A tail shorter than 16 is continued with zeros. Then
//! `even + odd`, and the tree of `Simd::reduce_add`. With FP8 scales this is done per scale block, and the 16 sums times
//! the scale are added, fused, to 16 totals.
//!
//! Departures from the plain form, and what they buy: 32 running sums instead of one hide the latency of the
//! multiply-add (two vectors suffice to outrun memory) and lose less precision; converted weights serve `N` activation
//! rows at once, which matters where conversion is dear (FP8).

use std::ops::Range;

use crate::{
    activations::ActRow,
    quant::{ActivationKind, RowFormat, WeightRow},
    simd::Simd,
};

/// A format of this family.
pub(crate) trait Float: Copy + Send + Sync + 'static {
    /// Bytes of one weight.
    const BYTES: usize;
    /// The bytes of 16 weights.
    type Sixteen: Copy + AsMut<[u8]> + 'static;
    /// Sixteen zeros.
    const ZERO: Self::Sixteen;
    /// Whether `write` works.
    const CAN_WRITE: bool;

    /// Whole sixteens of a row, and the bytes left over.
    fn sixteens(row: &[u8]) -> (&[Self::Sixteen], &[u8]);
    /// Sixteen weights as singles; exact.
    fn load<S: Simd>(s: S, bytes: &Self::Sixteen) -> S::F32;
    /// One weight as a single; exact. `bytes` holds `BYTES`.
    fn read(bytes: &[u8]) -> f32;
    /// One weight, rounded to nearest even. `bytes` holds `BYTES`.
    fn write(value: f32, bytes: &mut [u8]);
}

/// The family's arithmetic over the conversion of one format.
#[derive(Clone, Copy)]
pub(crate) struct Floats<F>(pub(crate) F);

impl<F: Float> RowFormat for Floats<F> {
    const ACTIVATIONS: ActivationKind = ActivationKind::Float;
    const CAN_QUANTIZE: bool = F::CAN_WRITE;

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(self, s: S, w: WeightRow, x: [ActRow; N]) -> [f32; N] {
        let mut rows = [x[0].x; N];
        for n in 1..N {
            rows[n] = x[n].x;
        }
        let total = if w.scales.is_empty() {
            partial_sums::<S, F, N>(s, w.bytes, &rows)
        } else {
            scaled_sums::<S, F, N>(s, w, &rows)
        };
        let mut sums = [0.0; N];
        for n in 0..N {
            sums[n] = s.reduce_add(total[n]);
        }
        sums
    }

    #[inline(always)]
    fn dequantize<S: Simd>(self, s: S, w: WeightRow, cols: Range<usize>, out: &mut [f32]) {
        let bytes = &w.bytes[cols.start * F::BYTES..cols.end * F::BYTES];
        let (full, rest) = F::sixteens(bytes);
        let (chunks, tail) = out.as_chunks_mut::<16>();
        for (bytes, out) in full.iter().zip(chunks) {
            s.store(F::load(s, bytes), out);
        }
        if !tail.is_empty() {
            s.store_partial(F::load(s, &padded::<F>(rest)), tail);
        }
        if !w.scales.is_empty() {
            apply_scales(w, cols, out);
        }
    }

    fn reference(self, row: &[u8], out: &mut [f32]) {
        for (bytes, out) in row.chunks_exact(F::BYTES).zip(out) {
            *out = F::read(bytes);
        }
    }

    fn quantize(self, x: &[f32], row: &mut [u8]) {
        for (x, bytes) in x.iter().zip(row.chunks_exact_mut(F::BYTES)) {
            F::write(*x, bytes);
        }
    }
}

/// Fewer than 16 weights, continued with zeros.
#[inline(always)]
fn padded<F: Float>(rest: &[u8]) -> F::Sixteen {
    let mut sixteen = F::ZERO;
    sixteen.as_mut()[..rest.len()].copy_from_slice(rest);
    sixteen
}

/// The 16 sums `even + odd` of each activation row.
#[inline(always)]
fn partial_sums<S: Simd, F: Float, const N: usize>(s: S, bytes: &[u8], x: &[&[f32]; N]) -> [S::F32; N] {
    let (full, rest) = F::sixteens(bytes);
    let (pairs, single) = full.as_chunks::<2>();
    let (mut even, mut odd) = ([s.zero(); N], [s.zero(); N]);
    // Rows of one length, as chunks: the loop below then needs no checks.
    let mut x_pairs = [x[0].as_chunks::<32>().0; N];
    for n in 0..N {
        x_pairs[n] = &x[n].as_chunks::<32>().0[..pairs.len()];
    }
    for (k, pair) in pairs.iter().enumerate() {
        s.prefetch_behind(pair);
        let [a, b] = pair;
        let (a, b) = (F::load(s, a), F::load(s, b));
        for n in 0..N {
            let (lanes, _) = x_pairs[n][k].as_chunks::<16>();
            even[n] = s.mul_add(a, s.load(&lanes[0]), even[n]);
            odd[n] = s.mul_add(b, s.load(&lanes[1]), odd[n]);
        }
    }
    let mut at = 32 * pairs.len();
    if let [last] = single {
        let w = F::load(s, last);
        for n in 0..N {
            even[n] = s.mul_add(w, s.load_partial(&x[n][at..at + 16]), even[n]);
        }
        at += 16;
    }
    if !rest.is_empty() {
        let w = F::load(s, &padded::<F>(rest));
        let sums = if single.is_empty() { &mut even } else { &mut odd };
        for n in 0..N {
            sums[n] = s.mul_add(w, s.load_partial(&x[n][at..]), sums[n]);
        }
    }
    for n in 0..N {
        even[n] = s.add(even[n], odd[n]);
    }
    even
}

/// The 16 totals of each activation row where blocks of columns have scales.
#[inline(always)]
fn scaled_sums<S: Simd, F: Float, const N: usize>(s: S, w: WeightRow, x: &[&[f32]; N]) -> [S::F32; N] {
    let cols = x[0].len();
    let mut total = [s.zero(); N];
    for (block, scale) in w.scales.iter().enumerate() {
        let start = block * w.scale_cols;
        let end = cols.min(start + w.scale_cols);
        let mut part = *x;
        for x in &mut part {
            *x = &x[start..end];
        }
        let sums = partial_sums::<S, F, N>(s, &w.bytes[start * F::BYTES..end * F::BYTES], &part);
        for n in 0..N {
            total[n] = s.mul_add(s.splat(*scale), sums[n], total[n]);
        }
    }
    total
}

/// Multiplies the weights `cols` of a row by their FP8 scales.
fn apply_scales(w: WeightRow, cols: Range<usize>, out: &mut [f32]) {
    let mut col = cols.start;
    let mut out = out;
    while !out.is_empty() {
        let block = col / w.scale_cols;
        let n = ((block + 1) * w.scale_cols - col).min(out.len());
        let (part, rest) = out.split_at_mut(n);
        for value in part {
            *value *= w.scales[block];
        }
        out = rest;
        col += n;
    }
}

/// The parts of [`Float`] that only depend on the size of a weight.
macro_rules! float_of {
    ($bytes:literal) => {
        const BYTES: usize = $bytes;
        type Sixteen = [u8; 16 * $bytes];
        const ZERO: Self::Sixteen = [0; 16 * $bytes];

        #[inline(always)]
        fn sixteens(row: &[u8]) -> (&[Self::Sixteen], &[u8]) {
            row.as_chunks()
        }
    };
}
pub(crate) use float_of;
