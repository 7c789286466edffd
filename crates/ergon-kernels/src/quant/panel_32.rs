//! Panels of blocks of 32 weights: sixteen rows of [`blocks_32`](super::blocks_32) side by side, see [`panel`](super::panel).
//!
//! The eight running sums lie in memory while a row is gone through from front to back; with a pass for each of them, so
//! that it stays in a register, AVX2 is as fast, and AVX-512 slower (Q8_0, 512 rows, rounding them included: 168, front to
//! back 176).

use crate::{
    activations::{Act32, ActRow},
    quant::{
        WeightRow,
        blocks_32::{Scaled32, padded},
        panel::{Lanes, PANEL_ROWS, PanelFor, group, turn_64},
        panel_tiles::{PanelTiles, Rounded, Steps, TILE_ROWS, TileProducts},
    },
    simd::{Simd, Step},
};

/// Steps of a block.
pub(super) const STEPS: usize = 8;

/// A super-block of each of sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Super {
    /// Weights `4 k .. 4 k + 4`.
    weights: [Step; 64],
    /// The scale of each block.
    scales: [Lanes<f32>; 8],
    /// The minimum of each block, or zeros.
    minima: [Lanes<f32>; 8],
}

const ZERO: Super =
    Super { weights: [Step([0; 64]); 64], scales: [[0.0; PANEL_ROWS]; 8], minima: [[0.0; PANEL_ROWS]; 8] };

/// See [`RowFormat::pack`](super::RowFormat::pack).
#[inline(always)]
pub(super) fn pack<S: Simd, F: Scaled32>(
    s: S,
    rows: &[WeightRow; PANEL_ROWS],
    purpose: PanelFor,
    panel: &mut Vec<Super>,
) {
    let blocks = rows.map(|row| F::blocks(row.bytes).as_chunks::<8>());
    let (full, rest) = blocks[0];
    panel.resize(full.len() + usize::from(!rest.is_empty()), ZERO);
    for (index, out) in panel.iter_mut().enumerate() {
        if index == full.len() {
            let last = blocks.map(|(_, rest)| padded::<F>(rest));
            pack_super::<S, F>(s, |r| &last[r], purpose, out);
            return;
        }
        for (row, (full, _)) in rows.iter().zip(&blocks) {
            s.prefetch_at(&full[index], PANEL_ROWS * row.bytes.len());
        }
        pack_super::<S, F>(s, |r| &blocks[r].0[index], purpose, out);
    }
}

/// A super-block of sixteen rows, whose blocks `of` gives.
#[inline(always)]
fn pack_super<'a, S: Simd, F: Scaled32>(
    s: S,
    of: impl Fn(usize) -> &'a [F::Block; 8],
    purpose: PanelFor,
    out: &mut Super,
) {
    for r in 0..PANEL_ROWS {
        let mut scales = [0.0; 16];
        s.store(F::scales(s, of(r)), &mut scales);
        for j in 0..8 {
            (out.scales[j][r], out.minima[j][r]) = (scales[j], scales[8 + j]);
        }
    }
    for (pair, steps) in out.weights.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let mut unpacked = [s.splat_i8(0); PANEL_ROWS];
        for (r, unpacked) in unpacked.iter_mut().enumerate() {
            let blocks = of(r);
            *unpacked = F::weights(s, &blocks[2 * pair], &blocks[2 * pair + 1]);
        }
        *steps = turn_64(s, F::SIGNED, purpose, unpacked);
    }
}

/// See [`RowFormat::panel_dot`](super::RowFormat::panel_dot).
#[inline(always)]
pub(super) fn dot<S: Simd, F: Scaled32, const P: usize, const N: usize>(
    s: S,
    mut panels: [&[Super]; P],
    x: [ActRow; N],
) -> [[S::F32; N]; P] {
    // Slices of one length, which is checked here and not at every super-block.
    let supers = panels[0].len();
    for panel in &mut panels {
        *panel = &panel[..supers];
    }
    let rows = rows_of(&x, supers);
    let (mut sums, mut minima) = ([[[s.zero(); N]; P]; 8], [[[s.zero(); N]; P]; 8]);
    for index in 0..supers {
        for j in 0..8 {
            let (mut w, mut a, mut offsets) = ([&[Step([0; 64]); 8]; P], [&[[0; 4]; 8]; N], [0; N]);
            for p in 0..P {
                w[p] = &panels[p][index].weights.as_chunks().0[j];
            }
            for n in 0..N {
                (a[n], offsets[n]) = (group(&rows[n][index].q, j), rows[n][index].offsets[j]);
            }
            let products = match F::FOUR_BITS {
                true => s.rows_u4_scaled(w, a, [s.splat_i32(1); P]),
                false => s.rows(F::SIGNED, w, a, offsets),
            };
            for p in 0..P {
                let w = &panels[p][index];
                let scales = (s.load(&w.scales[j]), s.load(&w.minima[j]));
                for n in 0..N {
                    let sums = (&mut sums[j][p][n], &mut minima[j][p][n]);
                    add_block::<S, F>(s, products[p][n], scales, (&rows[n][index], j), sums);
                }
            }
        }
    }
    let mut out = [[s.zero(); N]; P];
    for p in 0..P {
        for n in 0..N {
            let mut all = [s.zero(); 8];
            for j in 0..8 {
                all[j] = s.add(sums[j][p][n], minima[j][p][n]);
            }
            out[p][n] = total(s, all);
        }
    }
    out
}

/// See [`RowFormat::tile_dot`](super::RowFormat::tile_dot).
#[inline(always)]
pub(super) fn tile_dot<S: Simd, F: Scaled32>(
    s: S,
    tiles: &mut PanelTiles,
    panel: &[Super],
    x: &[ActRow; TILE_ROWS],
) -> [S::F32; TILE_ROWS] {
    let rows = rows_of(x, panel.len());
    let mut groups = TileProducts::<_, _, STEPS>::new(tiles, panel, rows);
    let (mut sums, mut minima) = ([[s.zero(); TILE_ROWS]; 8], [[s.zero(); TILE_ROWS]; 8]);
    for (index, w) in panel.iter().enumerate() {
        for j in 0..8 {
            let scales = (s.load(&w.scales[j]), s.load(&w.minima[j]));
            let products = groups.take();
            for n in 0..TILE_ROWS {
                let sums = (&mut sums[j][n], &mut minima[j][n]);
                add_block::<S, F>(s, s.load_i32(&products[n]), scales, (&rows[n][index], j), sums);
            }
        }
    }
    let mut out = [s.zero(); TILE_ROWS];
    for n in 0..TILE_ROWS {
        let mut all = [s.zero(); 8];
        for j in 0..8 {
            all[j] = s.add(sums[j][n], minima[j][n]);
        }
        out[n] = total(s, all);
    }
    out
}

/// The activation rows, as long as a panel.
#[inline(always)]
fn rows_of<'a, const N: usize>(x: &[ActRow<'a>; N], supers: usize) -> [&'a [Act32]; N] {
    let mut rows = [&x[0].by_32[..supers]; N];
    for n in 1..N {
        rows[n] = &x[n].by_32[..supers];
    }
    rows
}

/// Adds the product of integers of block `j`, times its scale, and the minimum to their running sums.
#[inline(always)]
fn add_block<S: Simd, F: Scaled32>(
    s: S,
    product: S::I32,
    (scale, min): (S::F32, S::F32),
    (x, j): (&Act32, usize),
    (sum, minima): (&mut S::F32, &mut S::F32),
) {
    let scale = s.mul(scale, s.splat(x.scales[j]));
    *sum = s.add(*sum, s.mul(s.to_f32(product), scale));
    if F::MIN {
        *minima = s.add(*minima, s.mul(min, s.splat(x.scales[8 + j])));
    }
}

/// The eight running sums in the tree of `Simd::reduce_add`.
#[inline(always)]
fn total<S: Simd>(s: S, all: [S::F32; 8]) -> S::F32 {
    let even = s.add(s.add(all[0], all[4]), s.add(all[2], all[6]));
    let odd = s.add(s.add(all[1], all[5]), s.add(all[3], all[7]));
    s.add(even, odd)
}

impl Steps for Super {
    fn steps(&self) -> &[Step; 64] {
        &self.weights
    }
}

impl Rounded for Act32 {
    fn q(&self) -> &[[i8; 64]; 4] {
        &self.q
    }
}
