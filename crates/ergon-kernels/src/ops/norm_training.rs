//! Root-mean-square normalisation with what its gradient needs, forward and backward, on the calling thread.
//!
//! ```text
//! forward   f = 1 / sqrt(mean(x^2) + eps),  y = x f w
//! backward  g = dy w,  dx = f (g - x f^2 mean(g x)),  dw += dy x f
//! ```

use super::slices::{dot, load_at, store_at};
use crate::{
    Isa,
    gemm::Write,
    simd::{Simd, dispatch},
};

/// `y[r, :] = x[r, :] factors[r] * weight` with `factors[r] = 1 / sqrt(mean(x[r, :]^2) + eps)`, which is kept for
/// [`rms_norm_backward`]; rows are as long as `weight`.
///
/// # Panics
/// When `x` and `y` are not the same whole rows, as many as there are `factors`.
pub fn rms_norm_forward(isa: Isa, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], factors: &mut [f32]) {
    let len = factors.len() * weight.len();
    assert!(!weight.is_empty() && x.len() == len && y.len() == len, "rms_norm_forward: {} numbers", x.len());
    forward(isa, x, weight, eps, y, factors);
}

/// The gradients of [`rms_norm_forward`]: `dx` is set or added to, `dweight` is added to. `dx` of a row is
/// `f (g - x f^2 mean(g x))` with `g = dy * weight`.
///
/// # Panics
/// When lengths do not fit.
#[allow(clippy::too_many_arguments)] // The arguments and results of one formula.
pub fn rms_norm_backward(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    factors: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
    dweight: &mut [f32],
) {
    let len = factors.len() * weight.len();
    assert!(
        !weight.is_empty() && dweight.len() == weight.len(),
        "rms_norm_backward: {} weights",
        weight.len()
    );
    assert!(x.len() == len && dy.len() == len && dx.len() == len, "rms_norm_backward: {} numbers", x.len());
    backward(isa, x, weight, factors, dy, dx, write, dweight);
}

dispatch! {
    fn forward(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], factors: &mut [f32]) = forward_simd;
}
dispatch! {
    fn backward(
        x: &[f32], weight: &[f32], factors: &[f32], dy: &[f32], dx: &mut [f32], write: Write, dweight: &mut [f32],
    ) = backward_simd;
}

#[inline(always)]
fn forward_simd<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], factors: &mut [f32]) {
    let cols = weight.len();
    let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(cols));
    for ((x, y), factor) in rows.zip(factors) {
        *factor = 1.0 / (dot(s, x, x) / cols as f32 + eps).sqrt();
        for at in (0..cols).step_by(16) {
            let scaled = s.mul(load_at(s, x, at), s.splat(*factor));
            store_at(s, s.mul(scaled, load_at(s, weight, at)), y, at);
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward_simd<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    factors: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
    dweight: &mut [f32],
) {
    let cols = weight.len();
    let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols));
    for (((x, dy), dx), &factor) in rows.zip(factors) {
        let mut sum = s.zero();
        for at in (0..cols).step_by(16) {
            let g = s.mul(load_at(s, dy, at), load_at(s, weight, at));
            sum = s.mul_add(g, load_at(s, x, at), sum);
        }
        let pull = s.splat(-factor * factor * factor * s.reduce_add(sum) / cols as f32);
        let factor = s.splat(factor);
        for at in (0..cols).step_by(16) {
            let (x, dy) = (load_at(s, x, at), load_at(s, dy, at));
            let g = s.mul(s.mul(dy, load_at(s, weight, at)), factor);
            let gradient = s.mul_add(x, pull, g);
            let old = if write == Write::Add { load_at(s, dx, at) } else { s.zero() };
            store_at(s, s.add(old, gradient), dx, at);
            store_at(s, s.mul_add(s.mul(dy, x), factor, load_at(s, dweight, at)), dweight, at);
        }
    }
}
