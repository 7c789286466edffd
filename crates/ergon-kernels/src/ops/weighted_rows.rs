//! Sums of weighted rows: what a token's experts give.

use super::{
    for_each_piece,
    slices::{load_at, store_at},
};
use crate::{
    Cpu,
    simd::{Simd, dispatch},
};

/// `out[r, :] = sum over j of weights[r, j] * x[list[r, j], :]` for rows of `cols` numbers: from zero, in the order of `j`,
/// each product and each sum rounded by itself.
///
/// # Panics
/// When `out` is not whole rows, `list` and `weights` are not equally many for each of them, or an entry is no row of `x`.
pub fn sum_weighted_rows(
    cpu: &Cpu,
    x: &[f32],
    cols: usize,
    list: &[usize],
    weights: &[f32],
    out: &mut [f32],
) {
    assert!(cols > 0 && out.len().is_multiple_of(cols), "sum_weighted_rows: {} numbers", out.len());
    let rows = out.len() / cols;
    let each = list.len().checked_div(rows).unwrap_or(0);
    assert!(list.len() == each * rows, "sum_weighted_rows: {} entries for {rows} rows", list.len());
    assert!(weights.len() == list.len(), "sum_weighted_rows: {} weights", weights.len());
    for_each_piece(cpu, out, cols, |first, out| {
        let own = first / cols * each..(first + out.len()) / cols * each;
        sum_weighted(cpu.isa, x, cols, each, &list[own.clone()], &weights[own], out);
    });
}

dispatch! {
    fn sum_weighted(
        x: &[f32], cols: usize, each: usize, list: &[usize], weights: &[f32], out: &mut [f32],
    ) = sum_weighted_simd;
}

#[inline(always)]
fn sum_weighted_simd<S: Simd>(
    s: S,
    x: &[f32],
    cols: usize,
    each: usize,
    list: &[usize],
    weights: &[f32],
    out: &mut [f32],
) {
    for (r, out) in out.chunks_exact_mut(cols).enumerate() {
        out.fill(0.0);
        for j in r * each..(r + 1) * each {
            let (weight, x) = (s.splat(weights[j]), &x[list[j] * cols..(list[j] + 1) * cols]);
            for at in (0..cols).step_by(16) {
                let product = s.mul(weight, load_at(s, x, at));
                store_at(s, s.add(load_at(s, out, at), product), out, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_instruction_set_sums_as_plain_code_does() {
        // Enough rows for several pieces, and rows that end inside a vector.
        let (rows, each, cols) = (800, 3, 43);
        let x: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.37).sin()).collect();
        let list: Vec<usize> = (0..rows * each).map(|i| i * 7919 % rows).collect();
        let weights: Vec<f32> = (0..rows * each).map(|i| (i as f32 * 0.11).cos()).collect();
        let mut plain = vec![0.0_f32; rows * cols];
        for (i, (&row, weight)) in list.iter().zip(&weights).enumerate() {
            for c in 0..cols {
                plain[i / each * cols + c] += weight * x[row * cols + c];
            }
        }
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2).unwrap();
            let mut out = vec![f32::NAN; rows * cols];
            sum_weighted_rows(&cpu, &x, cols, &list, &weights, &mut out);
            assert_eq!(out, plain, "{isa}");
        }
        sum_weighted_rows(&Cpu::new(1), &x, cols, &[], &[], &mut []);
    }
}
