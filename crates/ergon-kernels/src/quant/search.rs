//! Searching scales: what the writers of K-quants and IQ4_NL share.
//!
//! Rounding to the grid that just covers the values is not the best that can be done: a somewhat finer grid that clips
//! the extremes often has less error in sum. The search tries a handful of grids; for each it rounds the values, then
//! solves for the scale (and minimum) with the least squared error under that rounding, which is a linear problem, and
//! keeps the best. Errors are weighted by magnitude, since large weights meet large activations more often than not;
//! the idea is that of GGUF's K-quants, the grids and weights are our own.
//!
//! Loops run over whole groups without branches, and sums in eight lanes, so that the compiler makes vectors of them.

/// A scale and the minimum below zero of a group: `w = scale * q - min`, both at least zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) scale: f32,
    pub(super) min: f32,
}

/// A group of values and how much an error of each weighs.
struct Weighted<const N: usize> {
    /// Finite: damaged values, which no search could please, count as zero.
    x: [f32; N],
    /// The root mean square of the group plus the magnitude of the value.
    weight: [f32; N],
    /// The value of largest magnitude, the first of equals.
    extreme: f32,
}

impl<const N: usize> Weighted<N> {
    fn new(x: &[f32; N]) -> Self {
        let x = x.map(|v| if v.is_finite() { v } else { 0.0 });
        let extreme = x.iter().fold(0.0, |max: f32, v| if v.abs() > max.abs() { *v } else { max });
        let rms = (sum(|i| x[i] * x[i], N) / N as f64).sqrt() as f32;
        let weight = x.map(|v| (rms + v.abs()).min(f32::MAX));
        Weighted { x, weight, extreme }
    }
}

/// `f(0) + f(1) + ...` up to `n`, a multiple of eight, in eight lanes.
#[inline(always)]
fn sum(f: impl Fn(usize) -> f32, n: usize) -> f64 {
    let mut lanes = [0.0_f32; 8];
    for start in (0..n).step_by(8) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    lanes.iter().map(|lane| *lane as f64).sum()
}

/// Nearest integer, ties to even, for magnitudes below 2^22: adding 1.5 * 2^23 leaves no room for a fraction.
#[inline(always)]
fn round(v: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    v + MAGIC - MAGIC
}

/// The best found scale and minimum for levels `0..=levels`. A group that is all positive still has minimum zero, since
/// the formats store minima without a sign.
pub(super) fn scale_and_min<const N: usize>(x: &[f32; N], levels: u8) -> Group {
    let group = Weighted::new(x);
    let low = group.x.iter().fold(0.0, |low: f32, v| low.min(*v));
    let high = group.x.iter().fold(low, |high: f32, v| high.max(*v));
    let range = high - low;
    // Zero, subnormal, or too wide for a single.
    if !(f32::MIN_POSITIVE..f32::INFINITY).contains(&range) {
        return Group { scale: 0.0, min: -low };
    }
    let levels = levels as f32;
    let mut best = Group { scale: range / levels, min: -low };
    let mut best_error = error_of(&group, best, levels);
    // From half a level wider than the range to 1.5 levels narrower.
    for step in -5..=15 {
        let trial = Group { scale: range / (levels + 0.1 * step as f32), min: -low };
        // The second fit follows the values that the first moved to another level.
        let fitted = fit(&group, fit(&group, trial, levels), levels);
        let error = error_of(&group, fitted, levels);
        if error < best_error {
            (best, best_error) = (fitted, error);
        }
    }
    best
}

/// The levels of a group, as floats, under a given scale and minimum.
#[inline(always)]
fn levels_of<const N: usize>(x: &[f32; N], scale: f32, min: f32, levels: f32) -> [f32; N] {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // `max` makes zero of NaN.
    x.map(|v| round(((v + min) * inverse).max(0.0).min(levels)))
}

/// The levels of a group under the scale and minimum that a reader will see.
pub(super) fn round_group<const N: usize>(x: &[f32; N], (scale, min): (f32, f32), levels: u8) -> [u8; N] {
    levels_of(x, scale, min, levels as f32).map(|q| q as u8)
}

/// Least squares for scale and minimum under the rounding that `trial` gives.
fn fit<const N: usize>(group: &Weighted<N>, trial: Group, levels: f32) -> Group {
    let q = levels_of(&group.x, trial.scale, trial.min, levels);
    let (x, weight) = (&group.x, &group.weight);
    let w = sum(|i| weight[i], N);
    let wq = sum(|i| weight[i] * q[i], N);
    let wqq = sum(|i| weight[i] * q[i] * q[i], N);
    let wx = sum(|i| weight[i] * x[i], N);
    let wqx = sum(|i| weight[i] * q[i] * x[i], N);
    let determinant = w * wqq - wq * wq;
    if determinant <= 0.0 {
        return trial;
    }
    let min = (wq * wqx - wqq * wx) / determinant;
    if min >= 0.0 {
        let scale = (w * wqx - wq * wx) / determinant;
        return Group { scale: scale.max(0.0) as f32, min: min as f32 };
    }
    // The minimum must not be negative: the best scale for zero instead.
    Group { scale: (wqx / wqq).max(0.0) as f32, min: 0.0 }
}

/// The weighted squared error of a group when read back.
fn error_of<const N: usize>(group: &Weighted<N>, found: Group, levels: f32) -> f64 {
    let q = levels_of(&group.x, found.scale, found.min, levels);
    let error = |i: usize| found.scale * q[i] - found.min - group.x[i];
    sum(|i| group.weight[i] * error(i) * error(i), N)
}

/// Keeps the scale with the least error: with the best scale `wqx / wqq` for a rounding, the weighted squared error is
/// the constant sum of `w x^2` less `wqx^2 / wqq`.
#[derive(Default)]
struct BestScale {
    scale: f32,
    gain: f64,
}

impl BestScale {
    fn offer<const N: usize>(&mut self, group: &Weighted<N>, q: &[f32; N]) {
        let wqx = sum(|i| group.weight[i] * q[i] * group.x[i], N);
        let wqq = sum(|i| group.weight[i] * q[i] * q[i], N);
        let gain = wqx * wqx / wqq;
        // Not so if the gain is NaN.
        if gain > self.gain {
            *self = BestScale { scale: (wqx / wqq) as f32, gain };
        }
    }
}

/// The best found scale (of either sign) for levels `-n..n`: a negative scale lets the one level more on the negative
/// side serve a positive extreme.
pub(super) fn symmetric_scale<const N: usize>(x: &[f32; N], n: u8) -> f32 {
    let group = Weighted::new(x);
    let (n, mut best) = (n as f32, BestScale::default());
    for step in -9..=9 {
        let inverse = -(n + 0.1 * step as f32) / group.extreme;
        best.offer(&group, &group.x.map(|v| round((v * inverse).max(-n).min(n - 1.0))));
    }
    best.scale
}

/// The level nearest to `v`, the first of equals.
pub(super) fn nearest_level(v: f32, levels: &[i8; 16]) -> u8 {
    // Levels rise, so the answer is the number of midpoints below v.
    levels.windows(2).filter(|pair| v > (pair[0] as f32 + pair[1] as f32) * 0.5).count() as u8
}

/// The best found scale (of either sign) for a table of rising levels.
pub(super) fn table_scale<const N: usize>(x: &[f32; N], levels: &[i8; 16]) -> f32 {
    let group = Weighted::new(x);
    let levels = levels.map(f32::from);
    let mut best = BestScale::default();
    // The extreme lands on, or some way beside, the lowest or (with the opposite sign) the highest level.
    for end in [levels[0], levels[15]] {
        for step in -7..=7 {
            let inverse = end * (1.0 + 0.02 * step as f32) / group.extreme;
            let mut q = [levels[0]; N];
            for pair in levels.windows(2) {
                let (middle, rise) = ((pair[0] + pair[1]) * 0.5, pair[1] - pair[0]);
                for (q, v) in q.iter_mut().zip(&group.x) {
                    *q += if v * inverse > middle { rise } else { 0.0 };
                }
            }
            best.offer(&group, &q);
        }
    }
    best.scale
}
