//! Rows picked from a matrix and added back into one, and sums over rows, on the calling thread.

use super::slices::{dot, load_at, store_at};
use crate::{
    Isa,
    simd::{Simd, dispatch},
};

/// `out[i, :] = table[list[i], :]`: an embedding.
///
/// # Panics
/// When `out` is not a row for each entry, or an entry is no row of `table`.
pub fn gather_rows(table: &[f32], cols: usize, list: &[usize], out: &mut [f32]) {
    assert!(cols > 0 && out.len() == list.len() * cols, "gather_rows: {} numbers", out.len());
    for (&row, out) in list.iter().zip(out.chunks_exact_mut(cols)) {
        out.copy_from_slice(&table[row * cols..(row + 1) * cols]);
    }
}

/// `out[list[i], :] += x[i, :]`: the gradient of [`gather_rows`], in the order of the list.
///
/// # Panics
/// When `x` is not a row for each entry, or an entry is no row of `out`.
pub fn scatter_add_rows(isa: Isa, x: &[f32], cols: usize, list: &[usize], out: &mut [f32]) {
    assert!(cols > 0 && x.len() == list.len() * cols, "scatter_add_rows: {} numbers", x.len());
    scatter_add(isa, x, cols, list, out);
}

/// `out[list[i], :] += weights[i] x[i, :]`: the results of one expert, brought back to their tokens.
///
/// # Panics
/// When `x` and `weights` do not fit the list, or an entry is no row of `out`.
pub fn scatter_add_weighted(
    isa: Isa,
    x: &[f32],
    cols: usize,
    list: &[usize],
    weights: &[f32],
    out: &mut [f32],
) {
    assert!(cols > 0 && x.len() == list.len() * cols, "scatter_add_weighted: {} numbers", x.len());
    assert!(weights.len() == list.len(), "scatter_add_weighted: {} weights", weights.len());
    scatter_weighted(isa, x, cols, list, weights, out);
}

/// The gradients of [`scatter_add_weighted`]: `dx[i, :] = weights[i] dout[list[i], :]` and
/// `dweights[i] = sum over c of x[i, c] dout[list[i], c]`, both set.
///
/// # Panics
/// When lengths do not fit, or an entry is no row of `dout`.
#[allow(clippy::too_many_arguments)] // The arguments and results of one formula.
pub fn scatter_add_weighted_backward(
    isa: Isa,
    x: &[f32],
    cols: usize,
    list: &[usize],
    weights: &[f32],
    dout: &[f32],
    dx: &mut [f32],
    dweights: &mut [f32],
) {
    let n = list.len();
    assert!(
        cols > 0 && x.len() == n * cols && dx.len() == n * cols,
        "scatter_add_weighted_backward: {n} rows"
    );
    assert!(weights.len() == n && dweights.len() == n, "scatter_add_weighted_backward: {n} weights");
    gather_weighted(isa, x, cols, list, weights, dout, dx, dweights);
}

/// `out[c] += sum over r of x[r, c]`, rows in order: the gradient of a bias.
///
/// # Panics
/// When `x` is not whole rows of `out`.
pub fn add_column_sums(isa: Isa, x: &[f32], out: &mut [f32]) {
    assert!(!out.is_empty() && x.len().is_multiple_of(out.len()), "add_column_sums: {} numbers", x.len());
    column_sums(isa, x, out);
}

dispatch! {
    fn scatter_add(x: &[f32], cols: usize, list: &[usize], out: &mut [f32]) = scatter_add_simd;
}
dispatch! {
    fn scatter_weighted(
        x: &[f32], cols: usize, list: &[usize], weights: &[f32], out: &mut [f32],
    ) = scatter_weighted_simd;
}
dispatch! {
    fn gather_weighted(
        x: &[f32], cols: usize, list: &[usize], weights: &[f32], dout: &[f32], dx: &mut [f32], dweights: &mut [f32],
    ) = gather_weighted_simd;
}
dispatch! {
    fn column_sums(x: &[f32], out: &mut [f32]) = column_sums_simd;
}

#[inline(always)]
fn scatter_add_simd<S: Simd>(s: S, x: &[f32], cols: usize, list: &[usize], out: &mut [f32]) {
    for (&row, x) in list.iter().zip(x.chunks_exact(cols)) {
        let out = &mut out[row * cols..(row + 1) * cols];
        for at in (0..cols).step_by(16) {
            store_at(s, s.add(load_at(s, out, at), load_at(s, x, at)), out, at);
        }
    }
}

#[inline(always)]
fn scatter_weighted_simd<S: Simd>(
    s: S,
    x: &[f32],
    cols: usize,
    list: &[usize],
    weights: &[f32],
    out: &mut [f32],
) {
    for ((&row, x), &weight) in list.iter().zip(x.chunks_exact(cols)).zip(weights) {
        let (weight, out) = (s.splat(weight), &mut out[row * cols..(row + 1) * cols]);
        for at in (0..cols).step_by(16) {
            store_at(s, s.mul_add(weight, load_at(s, x, at), load_at(s, out, at)), out, at);
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn gather_weighted_simd<S: Simd>(
    s: S,
    x: &[f32],
    cols: usize,
    list: &[usize],
    weights: &[f32],
    dout: &[f32],
    dx: &mut [f32],
    dweights: &mut [f32],
) {
    let rows = x.chunks_exact(cols).zip(dx.chunks_exact_mut(cols)).zip(list);
    for (((x, dx), &row), (&weight, dweight)) in rows.zip(weights.iter().zip(dweights)) {
        let (weight, dout) = (s.splat(weight), &dout[row * cols..(row + 1) * cols]);
        *dweight = dot(s, x, dout);
        for at in (0..cols).step_by(16) {
            store_at(s, s.mul(weight, load_at(s, dout, at)), dx, at);
        }
    }
}

#[inline(always)]
fn column_sums_simd<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    for row in x.chunks_exact(out.len()) {
        for at in (0..out.len()).step_by(16) {
            store_at(s, s.add(load_at(s, out, at), load_at(s, row, at)), out, at);
        }
    }
}
