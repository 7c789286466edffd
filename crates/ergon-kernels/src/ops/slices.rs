//! Sixteen elements of a slice from an index on, fewer where the slice ends.

use crate::simd::Simd;

/// Elements `at..at + 16`; lanes beyond the slice are zero.
#[inline(always)]
pub(super) fn load_at<S: Simd>(s: S, x: &[f32], at: usize) -> S::F32 {
    match x[at..].first_chunk::<16>() {
        Some(chunk) => s.load(chunk),
        None => s.load_partial(&x[at..]),
    }
}

/// Writes elements `at..at + 16`, as far as the slice goes.
#[inline(always)]
pub(super) fn store_at<S: Simd>(s: S, v: S::F32, x: &mut [f32], at: usize) {
    match x[at..].first_chunk_mut::<16>() {
        Some(chunk) => s.store(v, chunk),
        None => s.store_partial(v, &mut x[at..]),
    }
}

/// `sum of x[i] y[i]` over the shorter of the two, lane by lane, then the tree of `reduce_add`.
#[inline(always)]
pub(super) fn dot<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    let mut sums = [s.zero(); 2];
    for at in (0..n).step_by(32) {
        sums[0] = s.mul_add(load_at(s, x, at), load_at(s, y, at), sums[0]);
        if at + 16 < n {
            sums[1] = s.mul_add(load_at(s, x, at + 16), load_at(s, y, at + 16), sums[1]);
        }
    }
    s.reduce_add(s.add(sums[0], sums[1]))
}
