//! Panels of blocks of 256 weights: sixteen rows of [`blocks_256`](super::blocks_256) side by side, see [`panel`](super::panel).

use crate::{
    activations::{Act256, ActRow},
    quant::{
        WeightRow,
        blocks_32::bytes_at,
        blocks_256::Scaled256,
        panel::{Lanes, PANEL_ROWS, PanelFor, group, turn_64},
        panel_tiles::{PanelTiles, Rounded, Steps, TILE_ROWS, TileProducts},
    },
    simd::{Simd, Step},
};

/// A block of each of sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// Weights `4 k .. 4 k + 4`.
    weights: [Step; 64],
    /// The integer scale of each group; there are eight groups of 32.
    scales: [Lanes<i32>; 16],
    /// The integer minima of two neighbouring groups each, of 16 bits, the first in the lower half; there are four pairs of
    /// groups of 32. Not read without minima.
    minima: [Lanes<i32>; 8],
    /// Factor of the integer scales.
    d: Lanes<f32>,
    /// Factor of the integer minima.
    dmin: Lanes<f32>,
}

const ZERO: Block = Block {
    weights: [Step([0; 64]); 64],
    scales: [[0; PANEL_ROWS]; 16],
    minima: [[0; PANEL_ROWS]; 8],
    d: [0.0; PANEL_ROWS],
    dmin: [0.0; PANEL_ROWS],
};

/// See [`RowFormat::pack`](super::RowFormat::pack).
#[inline(always)]
pub(super) fn pack<S: Simd, F: Scaled256>(
    s: S,
    rows: &[WeightRow; PANEL_ROWS],
    purpose: PanelFor,
    panel: &mut Vec<Block>,
) {
    panel.resize(F::blocks(rows[0].bytes).len(), ZERO);
    for (index, out) in panel.iter_mut().enumerate() {
        let (mut scale, mut min) = ([s.splat_i32(0); PANEL_ROWS], [s.splat_i32(0); PANEL_ROWS]);
        for (r, row) in rows.iter().enumerate() {
            let block = &F::blocks(row.bytes)[index];
            s.prefetch_at(block, PANEL_ROWS * row.bytes.len());
            let scales = F::scales(s, block);
            (scale[r], min[r]) = (scales.scale, scales.min);
            (out.d[r], out.dmin[r]) = (scales.d, scales.dmin);
        }
        s.transpose_i32(scale, &mut out.scales);
        if F::MIN {
            let mut columns = [[0; PANEL_ROWS]; 16];
            if F::GROUP == 16 {
                s.transpose_i32(min, &mut columns);
            } else {
                columns[..8].copy_from_slice(&out.scales[8..]);
            }
            for (pair, [first, second]) in out.minima.iter_mut().zip(columns.as_chunks().0) {
                // Vectors by hand: as a loop over lanes this becomes scattered stores.
                let second = s.mul_i32(s.load_i32(second), s.splat_i32(1 << 16));
                s.store_i32(s.add_i32(s.load_i32(first), second), pair);
            }
        }
        if let Some(at) = F::NIBBLES {
            pack_nibbles(s, rows, size_of::<F::Block>() * index + at, out);
        } else {
            pack_step::<S, F, 0>(s, rows, index, purpose, out);
            pack_step::<S, F, 1>(s, rows, index, purpose, out);
            pack_step::<S, F, 2>(s, rows, index, purpose, out);
            pack_step::<S, F, 3>(s, rows, index, purpose, out);
        }
    }
}

/// Weights in the lower and upper halves of the 128 bytes at `at`: turned as they are, and taken apart then, which is half of
/// the turning.
#[inline(always)]
fn pack_nibbles<S: Simd>(s: S, rows: &[WeightRow; PANEL_ROWS], at: usize, out: &mut Block) {
    let mut turned = [Step([0; 64]); 16];
    for (half, steps) in out.weights.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut bytes = [s.splat_i8(0); PANEL_ROWS];
        for (row, bytes) in rows.iter().zip(&mut bytes) {
            *bytes = s.load_u8(bytes_at(row.bytes, at + 64 * half));
        }
        s.transpose_16(bytes, &mut turned);
        for (eight, steps) in turned.as_chunks::<8>().0.iter().zip(steps.as_chunks_mut::<16>().0) {
            for k in 0..8 {
                let both = s.load_u8(&eight[k].0);
                s.store_u8(s.and(both, s.splat_i8(15)), &mut steps[k].0);
                s.store_u8(s.and(s.shr_halves::<4, 4>(both), s.splat_i8(15)), &mut steps[8 + k].0);
            }
        }
    }
}

/// Weights `64 G .. 64 G + 64` of block `index`.
#[inline(always)]
fn pack_step<S: Simd, F: Scaled256, const G: usize>(
    s: S,
    rows: &[WeightRow; PANEL_ROWS],
    index: usize,
    purpose: PanelFor,
    out: &mut Block,
) {
    let mut unpacked = [s.splat_i8(0); PANEL_ROWS];
    for (row, unpacked) in rows.iter().zip(&mut unpacked) {
        *unpacked = F::weights::<S, G>(s, &F::blocks(row.bytes)[index]);
    }
    out.weights.as_chunks_mut::<16>().0[G] = turn_64(s, F::SIGNED, purpose, unpacked);
}

/// See [`RowFormat::panel_dot`](super::RowFormat::panel_dot).
#[inline(always)]
pub(super) fn dot<S: Simd, F: Scaled256, const P: usize, const N: usize>(
    s: S,
    mut panels: [&[Block]; P],
    x: [ActRow; N],
) -> [[S::F32; N]; P] {
    // Slices of one length, which is checked here and not at every block.
    let blocks = panels[0].len();
    for panel in &mut panels {
        *panel = &panel[..blocks];
    }
    let rows = rows_of(&x, blocks);
    let (mut sums, mut minima) = ([[s.zero(); N]; P], [[s.zero(); N]; P]);
    for index in 0..blocks {
        let (mut w, mut x) = ([&panels[0][index]; P], [&rows[0][index]; N]);
        for p in 1..P {
            w[p] = &panels[p][index];
        }
        for n in 1..N {
            x[n] = &rows[n][index];
        }
        let products = match F::GROUP {
            16 => products::<S, F, P, N, 4>(s, w, x),
            _ => products::<S, F, P, N, 8>(s, w, x),
        };
        for p in 0..P {
            for n in 0..N {
                add_block::<S, F>(s, products[p][n], w[p], x[n], (&mut sums[p][n], &mut minima[p][n]));
            }
        }
    }
    for p in 0..P {
        for n in 0..N {
            sums[p][n] = s.sub(sums[p][n], minima[p][n]);
        }
    }
    sums
}

/// The activation rows, as long as a panel.
#[inline(always)]
fn rows_of<'a, const N: usize>(x: &[ActRow<'a>; N], blocks: usize) -> [&'a [Act256]; N] {
    let mut rows = [&x[0].by_256[..blocks]; N];
    for n in 1..N {
        rows[n] = &x[n].by_256[..blocks];
    }
    rows
}

/// Adds the brackets of a block, of which the first is given, times their factors to their running sums.
#[inline(always)]
fn add_block<S: Simd, F: Scaled256>(
    s: S,
    product: S::F32,
    w: &Block,
    x: &Act256,
    (sum, minima): (&mut S::F32, &mut S::F32),
) {
    let factor = s.mul(s.load(&w.d), s.splat(x.d));
    *sum = s.add(*sum, s.mul(product, factor));
    if F::MIN {
        let factor = s.mul(s.load(&w.dmin), s.splat(x.d));
        *minima = s.add(*minima, s.mul(s.to_f32(minima_of::<S, F>(s, w, x)), factor));
    }
}

/// The first bracket as the nearest float; `K` steps of four weights are a group.
#[inline(always)]
fn products<S: Simd, F: Scaled256, const P: usize, const N: usize, const K: usize>(
    s: S,
    w: [&Block; P],
    x: [&Act256; N],
) -> [[S::F32; N]; P] {
    let mut floats = [[s.zero(); N]; P];
    if S::SCALES_AS_FLOATS && F::HALF_FITS_FLOAT {
        // Both halves are exact, so their sum is what the nearest to the exact whole is.
        for g in 0..32 / K {
            add_as_floats::<S, F, P, N, K>(s, w, x, g, &mut floats);
        }
        let first = floats;
        floats = [[s.zero(); N]; P];
        for g in 32 / K..64 / K {
            add_as_floats::<S, F, P, N, K>(s, w, x, g, &mut floats);
        }
        for p in 0..P {
            for n in 0..N {
                floats[p][n] = s.add(first[p][n], floats[p][n]);
            }
        }
        return floats;
    }
    let mut sums = [[s.splat_i32(0); N]; P];
    for g in 0..64 / K {
        let scaled = scaled_products::<S, F, P, N, K>(s, w, x, g);
        for p in 0..P {
            for n in 0..N {
                sums[p][n] = s.add_i32(sums[p][n], scaled[p][n]);
            }
        }
    }
    for p in 0..P {
        for n in 0..N {
            floats[p][n] = s.to_f32(sums[p][n]);
        }
    }
    floats
}

/// Adds the scaled products of group `g` to `sums`, which hold them exactly.
#[inline(always)]
fn add_as_floats<S: Simd, F: Scaled256, const P: usize, const N: usize, const K: usize>(
    s: S,
    w: [&Block; P],
    x: [&Act256; N],
    g: usize,
    sums: &mut [[S::F32; N]; P],
) {
    let products = group_products::<S, F, P, N, K>(s, w, x, g);
    for p in 0..P {
        let scale = s.to_f32(s.load_i32(&w[p].scales[g]));
        for n in 0..N {
            sums[p][n] = s.mul_add(s.to_f32(products[p][n]), scale, sums[p][n]);
        }
    }
}

/// The products of group `g`.
#[inline(always)]
fn group_products<S: Simd, F: Scaled256, const P: usize, const N: usize, const K: usize>(
    s: S,
    w: [&Block; P],
    x: [&Act256; N],
    g: usize,
) -> [[S::I32; N]; P] {
    let mut offsets = [0; N];
    for n in 0..N {
        offsets[n] = -128 * if K == 4 { x[n].sums_16[g] } else { x[n].sums_32[8 + g] };
    }
    s.rows(F::SIGNED, group_weights::<P, K>(w, g), group_activations::<N, K>(x, g), offsets)
}

/// The same, times the group's scales.
#[inline(always)]
fn scaled_products<S: Simd, F: Scaled256, const P: usize, const N: usize, const K: usize>(
    s: S,
    w: [&Block; P],
    x: [&Act256; N],
    g: usize,
) -> [[S::I32; N]; P] {
    let mut scale = [s.splat_i32(0); P];
    for p in 0..P {
        scale[p] = s.load_i32(&w[p].scales[g]);
    }
    if F::FOUR_BITS {
        return s.rows_u4_scaled(group_weights::<P, K>(w, g), group_activations::<N, K>(x, g), scale);
    }
    let mut sums = group_products::<S, F, P, N, K>(s, w, x, g);
    for p in 0..P {
        for sum in &mut sums[p] {
            *sum = s.mul_i32(*sum, scale[p]);
        }
    }
    sums
}

#[inline(always)]
fn group_weights<const P: usize, const K: usize>(w: [&Block; P], g: usize) -> [&[Step; K]; P] {
    let mut steps = [&[Step([0; 64]); K]; P];
    for p in 0..P {
        steps[p] = &w[p].weights.as_chunks().0[g];
    }
    steps
}

#[inline(always)]
fn group_activations<const N: usize, const K: usize>(x: [&Act256; N], g: usize) -> [&[[i8; 4]; K]; N] {
    let mut a = [&[[0; 4]; K]; N];
    for n in 0..N {
        a[n] = group(&x[n].q, g);
    }
    a
}

/// The second bracket.
#[inline(always)]
fn minima_of<S: Simd, F: Scaled256>(s: S, w: &Block, x: &Act256) -> S::I32 {
    let mut sum = s.splat_i32(0);
    for pair in 0..128 / F::GROUP {
        let sums = if F::GROUP == 16 { x.pairs_16[pair] } else { x.pairs_32[pair] };
        sum = s.dot_pairs(sum, s.splat_i32(sums), s.load_i32(&w.minima[pair]));
    }
    sum
}

/// See [`RowFormat::tile_dot`](super::RowFormat::tile_dot); `K` steps of four weights are a group.
#[inline(always)]
pub(super) fn tile_dot<S: Simd, F: Scaled256, const K: usize>(
    s: S,
    tiles: &mut PanelTiles,
    panel: &[Block],
    x: &[ActRow; TILE_ROWS],
) -> [S::F32; TILE_ROWS] {
    let rows = rows_of(x, panel.len());
    let mut groups = TileProducts::<_, _, K>::new(tiles, panel, rows);
    let (mut sums, mut minima) = ([s.zero(); TILE_ROWS], [s.zero(); TILE_ROWS]);
    for (index, w) in panel.iter().enumerate() {
        let products = tile_products::<S, F, K>(s, &mut groups, w);
        for n in 0..TILE_ROWS {
            add_block::<S, F>(s, products[n], w, &rows[n][index], (&mut sums[n], &mut minima[n]));
        }
    }
    for n in 0..TILE_ROWS {
        sums[n] = s.sub(sums[n], minima[n]);
    }
    sums
}

/// [`products`] of the next block.
#[inline(always)]
fn tile_products<S: Simd, F: Scaled256, const K: usize>(
    s: S,
    groups: &mut TileProducts<Block, Act256, K>,
    w: &Block,
) -> [S::F32; TILE_ROWS] {
    if F::HALF_FITS_FLOAT {
        let mut floats = tile_half::<S, F, K>(s, groups, w, 0);
        let second = tile_half::<S, F, K>(s, groups, w, 32 / K);
        for n in 0..TILE_ROWS {
            floats[n] = s.add(floats[n], second[n]);
        }
        return floats;
    }
    let mut sums = [s.splat_i32(0); TILE_ROWS];
    for g in 0..64 / K {
        let scale = s.load_i32(&w.scales[g]);
        let products = groups.take();
        for n in 0..TILE_ROWS {
            sums[n] = s.add_i32(sums[n], s.mul_i32(s.load_i32(&products[n]), scale));
        }
    }
    let mut floats = [s.zero(); TILE_ROWS];
    for n in 0..TILE_ROWS {
        floats[n] = s.to_f32(sums[n]);
    }
    floats
}

/// The scaled products of the next half of a block, from group `first` on, which floats hold exactly.
#[inline(always)]
fn tile_half<S: Simd, F: Scaled256, const K: usize>(
    s: S,
    groups: &mut TileProducts<Block, Act256, K>,
    w: &Block,
    first: usize,
) -> [S::F32; TILE_ROWS] {
    let mut floats = [s.zero(); TILE_ROWS];
    for g in first..first + 32 / K {
        let scale = s.to_f32(s.load_i32(&w.scales[g]));
        let products = groups.take();
        for n in 0..TILE_ROWS {
            floats[n] = s.mul_add(s.to_f32(s.load_i32(&products[n])), scale, floats[n]);
        }
    }
    floats
}

impl Steps for Block {
    fn steps(&self) -> &[Step; 64] {
        &self.weights
    }
}

impl Rounded for Act256 {
    fn q(&self) -> &[[i8; 64]; 4] {
        &self.q
    }
}
