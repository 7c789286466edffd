//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).

use super::for_each_piece;
use crate::{
    Cpu,
    simd::{Simd, dispatch},
};

/// `y[r, :] = x[r, :] / sqrt(mean(x[r, :]^2) + eps) * weight` for rows as long as `weight`, f32 throughout.
///
/// # Panics
/// When `x` and `y` differ in length or are not whole rows.
pub fn rms_norm(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == y.len(), "rms_norm: {} to {} elements", x.len(), y.len());
    check(x, weight);
    for_each_piece(cpu, y, weight.len(), |first, y| {
        y.copy_from_slice(&x[first..first + y.len()]);
        normalise(cpu.isa, weight, eps, y);
    });
}

/// [`rms_norm`] with the result in the place of the argument.
///
/// # Panics
/// When `x` is not whole rows.
pub fn rms_norm_in_place(cpu: &Cpu, x: &mut [f32], weight: &[f32], eps: f32) {
    check(x, weight);
    for_each_piece(cpu, x, weight.len(), |_, x| normalise(cpu.isa, weight, eps, x));
}

fn check(x: &[f32], weight: &[f32]) {
    let cols = weight.len();
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rms_norm: {} elements are no rows of {cols}", x.len());
}

dispatch! {
    fn normalise(weight: &[f32], eps: f32, x: &mut [f32]) = normalise_simd;
}

#[inline(always)]
fn normalise_simd<S: Simd>(s: S, weight: &[f32], eps: f32, x: &mut [f32]) {
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = sum_of_squares(s, row) / weight.len() as f32;
        let factor = s.splat(1.0 / (mean + eps).sqrt());
        let (chunks, tail) = row.as_chunks_mut::<16>();
        let (weights, weight_tail) = weight.as_chunks::<16>();
        for (x, weight) in chunks.iter_mut().zip(weights) {
            s.store(s.mul(s.mul(s.load(x), factor), s.load(weight)), x);
        }
        let scaled = s.mul(s.load_partial(tail), factor);
        s.store_partial(s.mul(scaled, s.load_partial(weight_tail)), tail);
    }
}

/// Chunk `i` of sixteen goes to accumulator `i % 4`; four of them hide the latency of the addition.
#[inline(always)]
fn sum_of_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut sums = [s.zero(); 4];
    let (quads, rest) = x.as_chunks::<64>();
    for quad in quads {
        let (chunks, _) = quad.as_chunks::<16>();
        for (sum, chunk) in sums.iter_mut().zip(chunks) {
            let x = s.load(chunk);
            *sum = s.add(*sum, s.mul(x, x));
        }
    }
    for (sum, chunk) in sums.iter_mut().zip(rest.chunks(16)) {
        let x = s.load_partial(chunk);
        *sum = s.add(*sum, s.mul(x, x));
    }
    s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}
