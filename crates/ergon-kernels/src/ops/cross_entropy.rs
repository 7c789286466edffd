//! Softmax and cross entropy of rows of logits, with the gradient, on the calling thread.

use super::exp::exp_fused;
use super::slices::{load_at, store_at};
use crate::{
    Isa,
    simd::{Simd, dispatch},
};

/// What [`cross_entropy`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Sum of `-ln(softmax(row)[target])` over the rows that have a target, nats.
    pub loss_sum: f64,
    /// Rows that have a target.
    pub counted: usize,
    /// Rows whose target has the largest logit (the first of equal ones).
    pub correct: usize,
}

/// The loss of rows of `classes` logits against `targets` (`None`: the row does not count), and in the place of the
/// logits its gradient times `scale`: `scale * (softmax(row) - [class = target])`, zeros in rows without a target.
///
/// # Panics
/// When `logits` is not a row for every target, or a target is no class.
pub fn cross_entropy(
    isa: Isa,
    logits: &mut [f32],
    classes: usize,
    targets: &[Option<usize>],
    scale: f32,
) -> CrossEntropy {
    assert!(classes > 0 && logits.len() == targets.len() * classes, "cross_entropy: {} logits", logits.len());
    let mut found = CrossEntropy::default();
    for (row, target) in logits.chunks_exact_mut(classes).zip(targets) {
        let Some(target) = *target else {
            row.fill(0.0);
            continue;
        };
        assert!(target < classes, "cross_entropy: target {target} of {classes} classes");
        let logit = row[target];
        let (max, sum) = softmax_scaled(isa, row, scale);
        found.counted += 1;
        found.correct += usize::from(logit >= max);
        found.loss_sum += f64::from(sum).ln() + f64::from(max) - f64::from(logit);
        row[target] -= scale;
    }
    found
}

dispatch! {
    /// `scale * softmax(row)` in place; gives back the largest element and the sum of `e^(x - largest)`.
    fn softmax_scaled(row: &mut [f32], scale: f32) -> (f32, f32) = softmax_scaled_simd;
}

#[inline(always)]
fn softmax_scaled_simd<S: Simd>(s: S, row: &mut [f32], scale: f32) -> (f32, f32) {
    let lowest = s.splat(f32::NEG_INFINITY);
    let full = row.len() / 16 * 16;
    let mut last = [f32::NEG_INFINITY; 16];
    last[..row.len() - full].copy_from_slice(&row[full..]);
    let mut max = s.max(s.load(&last), lowest);
    for at in (0..full).step_by(16) {
        max = s.max(load_at(s, row, at), max);
    }
    let max = s.reduce_max(max);
    let shift = s.splat(max);
    let last = exp_fused(s, s.sub(s.load(&last), shift));
    let mut sum = last;
    for at in (0..full).step_by(16) {
        let e = exp_fused(s, s.sub(load_at(s, row, at), shift));
        sum = s.add(sum, e);
        store_at(s, e, row, at);
    }
    let sum = s.reduce_add(sum);
    let factor = s.splat(scale / sum);
    for at in (0..full).step_by(16) {
        store_at(s, s.mul(load_at(s, row, at), factor), row, at);
    }
    if full < row.len() {
        store_at(s, s.mul(last, factor), row, full);
    }
    (max, sum)
}
