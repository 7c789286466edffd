//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on single-precision master weights, on the calling thread.

use super::slices::{load_at, store_at};
use crate::{
    Isa,
    simd::{Simd, dispatch},
};

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled decay: each step takes `rate * weight_decay` of the weight away.
    pub weight_decay: f64,
    /// Which step this is, counted from 1.
    pub step: u32,
    /// Multiplies every gradient first: one over the number of micro-batches, clipping of the norm.
    pub gradient_scale: f32,
}

/// One step. With `g = gradient_scale * gradient`:
///
/// ```text
/// mean   = beta1 mean + (1 - beta1) g              square = beta2 square + (1 - beta2) g^2
/// weight = weight (1 - rate weight_decay)
///        - rate (mean / (1 - beta1^step)) / (sqrt(square / (1 - beta2^step)) + eps)
/// ```
///
/// # Panics
/// When the lengths differ or the step is 0.
pub fn adamw_step(
    isa: Isa,
    adam: &AdamW,
    weight: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let n = weight.len();
    assert!(adam.step > 0, "adamw_step: steps are counted from 1");
    assert!(
        gradient.len() == n && mean.len() == n && square.len() == n,
        "adamw_step: lengths differ from {n}"
    );
    update(isa, adam, weight, gradient, mean, square);
}

/// `sum of x[i]^2`, in f64 over pieces of at most 4096 elements: the norm of a gradient.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    x.chunks(4096).map(|piece| f64::from(squares(isa, piece))).sum()
}

dispatch! {
    fn update(
        adam: &AdamW, weight: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32],
    ) = update_simd;
}
dispatch! {
    fn squares(x: &[f32]) -> f32 = squares_simd;
}

#[inline(always)]
fn update_simd<S: Simd>(
    s: S,
    adam: &AdamW,
    weight: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let mean_correction = 1.0 - adam.beta1.powf(f64::from(adam.step));
    let root = (1.0 - adam.beta2.powf(f64::from(adam.step))).sqrt();
    // rate m/c1 / (sqrt(v/c2) + eps) = (rate sqrt(c2)/c1) m / (sqrt(v) + eps sqrt(c2))
    let rate = s.splat((adam.rate * root / mean_correction) as f32);
    let eps = s.splat((adam.eps * root) as f32);
    let keep = s.splat((1.0 - adam.rate * adam.weight_decay) as f32);
    let (beta1, beta2) = (s.splat(adam.beta1 as f32), s.splat(adam.beta2 as f32));
    let (new1, new2) = (s.splat((1.0 - adam.beta1) as f32), s.splat((1.0 - adam.beta2) as f32));
    let scale = s.splat(adam.gradient_scale);
    for at in (0..weight.len()).step_by(16) {
        let g = s.mul(scale, load_at(s, gradient, at));
        let m = s.add(s.mul(beta1, load_at(s, mean, at)), s.mul(new1, g));
        let v = s.add(s.mul(beta2, load_at(s, square, at)), s.mul(s.mul(new2, g), g));
        let change = s.div(s.mul(rate, m), s.add(s.sqrt(v), eps));
        let w = s.sub(s.mul(keep, load_at(s, weight, at)), change);
        store_at(s, m, mean, at);
        store_at(s, v, square, at);
        store_at(s, w, weight, at);
    }
}

#[inline(always)]
fn squares_simd<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut sums = [s.zero(); 4];
    for at in (0..x.len()).step_by(64) {
        for (index, sum) in sums.iter_mut().enumerate() {
            if at + 16 * index < x.len() {
                let x = load_at(s, x, at + 16 * index);
                *sum = s.add(*sum, s.mul(x, x));
            }
        }
    }
    s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}
