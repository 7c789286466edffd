//! Blocks of 32 weights under a float scale, some with a minimum: `w = d q` or `w = d q + m`.
//!
//! In plain words, the product of a weight row with an activation row rounded to `x = a p` per 32 is
//!
//! ```text
//! for each block j of 32:  sum += (d[j] a[j]) * (sum of q[i] p[i])  +  m[j] * (a[j] * sum of p[i])
//! ```
//!
//! The canonical order, in which every instruction set computes it bit for bit: 16 running sums. A super-block is eight
//! blocks. The sum over block `j` of a super-block is an exact integer (below 2^24), becomes a float, is multiplied by the
//! scale of the block (`d a`, rounded) and added to running sum `j`; the product `m (a sum p)` is added to running sum
//! `8 + j`. Product and sum are rounded one after the other, since portable Rust has no fast fused form. At the end of the
//! row the 16 sums are added in the tree of `Simd::reduce_add`.
//!
//! Departures from the plain form, and what they buy (G multiply-adds a second of a Zen 3 core with AVX2, weights in the
//! cache):
//! - the eight scales of a super-block are converted and multiplied as one vector, and so are its eight sums, with the
//!   minima in the upper half: turning the sums into one vector costs less than converting all of their lanes;
//! - the unpacked 64 weights are used for `N` activation rows before the next 64 are unpacked: unpacking is most of the
//!   work for one activation row and a quarter of it for four;
//! - a row that ends inside a super-block is continued with zero blocks, which add exactly 0: no second loop;
//! - many rows go through a panel (`panel.rs`).

use std::ops::Range;

use crate::{
    Isa,
    activations::{Act32, ActRow},
    quant::{
        ActivationKind, RowFormat, WeightRow, Writer,
        panel::{PANEL_ROWS, Panel, PanelFor},
        panel_32,
        panel_tiles::{PanelTiles, TILE_ROWS},
    },
    simd::Simd,
};

/// A format of this family.
pub(crate) trait Scaled32: Copy + Send + Sync + 'static {
    /// The bytes of 32 weights.
    type Block: Copy + 'static;
    /// A block of zeros.
    const ZERO: Self::Block;
    /// Whether blocks have a minimum.
    const MIN: bool;
    /// Whether unpacked weights can be negative.
    const SIGNED: bool;
    /// Whether unpacked weights are at most 15 and never negative.
    const FOUR_BITS: bool = false;
    /// The writer, if there is one.
    const QUANTIZE: Option<Writer<[f32; 32], Self::Block>> = None;

    /// The blocks of a row.
    fn blocks(row: &[u8]) -> &[Self::Block];
    /// The blocks of a row, to be written.
    fn blocks_mut(row: &mut [u8]) -> &mut [Self::Block];
    /// The weights of a block, one at a time.
    fn reference(block: &Self::Block, out: &mut [f32; 32]);
    /// Lanes 0 to 7: scales; lanes 8 to 15: minima, or zeros.
    fn scales<S: Simd>(s: S, blocks: &[Self::Block; 8]) -> S::F32;
    /// The 64 integers of two blocks in order.
    fn weights<S: Simd>(s: S, a: &Self::Block, b: &Self::Block) -> S::I8;
}

/// The family's arithmetic over the unpacking of one format.
#[derive(Clone, Copy)]
pub(crate) struct Blocks32<F>(pub(crate) F);

impl<F: Scaled32> RowFormat for Blocks32<F> {
    const ACTIVATIONS: ActivationKind = ActivationKind::By32;
    const CAN_QUANTIZE: bool = F::QUANTIZE.is_some();

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(self, s: S, w: WeightRow, x: [ActRow; N]) -> [f32; N] {
        let (supers, rest) = F::blocks(w.bytes).as_chunks::<8>();
        let mut acc = [s.zero(); N];
        for (index, blocks) in supers.iter().enumerate() {
            super_block::<S, F, N>(s, blocks, &activations(&x, index), &mut acc);
        }
        if !rest.is_empty() {
            let blocks = padded::<F>(rest);
            super_block::<S, F, N>(s, &blocks, &activations(&x, supers.len()), &mut acc);
        }
        let mut sums = [0.0; N];
        for n in 0..N {
            sums[n] = s.reduce_add(acc[n]);
        }
        sums
    }

    #[inline(always)]
    fn pack<S: Simd>(self, s: S, rows: &[WeightRow; PANEL_ROWS], purpose: PanelFor, panel: &mut Panel) {
        panel_32::pack::<S, F>(s, rows, purpose, &mut panel.by_32);
    }

    #[inline(always)]
    fn panel_dot<S: Simd, const P: usize, const N: usize>(
        self,
        s: S,
        panels: [&Panel; P],
        x: [ActRow; N],
    ) -> [[S::F32; N]; P] {
        panel_32::dot::<S, F, P, N>(s, panels.map(|panel| &panel.by_32[..]), x)
    }

    const GROUP_STEPS: usize = panel_32::STEPS;

    #[inline(always)]
    fn tile_dot<S: Simd>(
        self,
        s: S,
        tiles: &mut PanelTiles,
        panel: &Panel,
        x: &[ActRow; TILE_ROWS],
    ) -> [S::F32; TILE_ROWS] {
        panel_32::tile_dot::<S, F>(s, tiles, &panel.by_32, x)
    }

    #[inline(always)]
    fn dequantize<S: Simd>(self, s: S, w: WeightRow, cols: Range<usize>, out: &mut [f32]) {
        let blocks = &F::blocks(w.bytes)[cols.start / 32..cols.end / 32];
        if S::ISA == Isa::Generic {
            return read::<F>(blocks, out);
        }
        let (supers, rest) = blocks.as_chunks::<8>();
        let (full, tail) = out.as_chunks_mut::<256>();
        for (blocks, out) in supers.iter().zip(full) {
            dequantize_super::<S, F>(s, blocks, out);
        }
        if !rest.is_empty() {
            let mut last = [0.0; 256];
            dequantize_super::<S, F>(s, &padded::<F>(rest), &mut last);
            tail.copy_from_slice(&last[..tail.len()]);
        }
    }

    fn reference(self, row: &[u8], out: &mut [f32]) {
        read::<F>(F::blocks(row), out);
    }

    fn quantize(self, x: &[f32], row: &mut [u8]) {
        let Some(write) = F::QUANTIZE else { return };
        let (x, _) = x.as_chunks::<32>();
        for (x, block) in x.iter().zip(F::blocks_mut(row)) {
            write(x, block);
        }
    }
}

/// Blocks read one weight at a time.
fn read<F: Scaled32>(blocks: &[F::Block], out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.as_chunks_mut().0) {
        F::reference(block, out);
    }
}

/// Fewer than eight blocks, continued with zero blocks.
#[inline(always)]
pub(super) fn padded<F: Scaled32>(rest: &[F::Block]) -> [F::Block; 8] {
    let mut blocks = [F::ZERO; 8];
    blocks[..rest.len()].copy_from_slice(rest);
    blocks
}

/// Super-block `index` of each activation row.
#[inline(always)]
fn activations<'a, const N: usize>(x: &[ActRow<'a>; N], index: usize) -> [&'a Act32; N] {
    let mut out = [&x[0].by_32[index]; N];
    for n in 1..N {
        out[n] = &x[n].by_32[index];
    }
    out
}

#[inline(always)]
fn super_block<S: Simd, F: Scaled32, const N: usize>(
    s: S,
    blocks: &[F::Block; 8],
    x: &[&Act32; N],
    acc: &mut [S::F32; N],
) {
    s.prefetch_behind(blocks);
    let weight_scales = F::scales(s, blocks);
    let mut steps = [[s.splat_i32(0); 4]; N];
    step::<S, F, N, 0>(s, blocks, x, &mut steps);
    step::<S, F, N, 1>(s, blocks, x, &mut steps);
    step::<S, F, N, 2>(s, blocks, x, &mut steps);
    step::<S, F, N, 3>(s, blocks, x, &mut steps);
    for n in 0..N {
        let scales = s.mul(weight_scales, s.load(&x[n].scales));
        let sums = s.sums_of_8(steps[n]);
        acc[n] = if F::MIN {
            let sums =
                s.add_i32(sums, s.load_i32(const { &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] }));
            s.add(acc[n], s.mul(s.to_f32(sums), scales))
        } else {
            // There may be an infinity in the upper half.
            s.add(acc[n], s.mul(s.to_f32(sums), s.lower_half(scales)))
        };
    }
}

/// The 64 weights of blocks `2 G` and `2 G + 1`: lanes 0 to 7 add up to the first block's sum, 8 to 15 to the second's.
#[inline(always)]
fn step<S: Simd, F: Scaled32, const N: usize, const G: usize>(
    s: S,
    blocks: &[F::Block; 8],
    x: &[&Act32; N],
    steps: &mut [[S::I32; 4]; N],
) {
    let w = F::weights(s, &blocks[2 * G], &blocks[2 * G + 1]);
    for n in 0..N {
        let q = s.load_i8(&x[n].q[G]);
        let zero = s.splat_i32(0);
        steps[n][G] = if F::SIGNED { s.dot_i8(zero, w, q) } else { s.dot_u7(zero, w, q) };
    }
}

#[inline(always)]
fn dequantize_super<S: Simd, F: Scaled32>(s: S, blocks: &[F::Block; 8], out: &mut [f32; 256]) {
    let mut scales = [0.0; 16];
    s.store(F::scales(s, blocks), &mut scales);
    let (out, _) = out.as_chunks_mut::<16>();
    for pair in 0..4 {
        let w = F::weights(s, &blocks[2 * pair], &blocks[2 * pair + 1]);
        let quarters = [s.widen::<0>(w), s.widen::<1>(w), s.widen::<2>(w), s.widen::<3>(w)];
        for (quarter, w) in quarters.into_iter().enumerate() {
            let block = 2 * pair + quarter / 2;
            let mut v = s.mul(s.splat(scales[block]), s.to_f32(w));
            if F::MIN {
                v = s.add(v, s.splat(scales[8 + block]));
            }
            s.store(v, &mut out[4 * pair + quarter]);
        }
    }
}

/// The eight numbers that `blocks` hold as halves at byte `at`, as bits.
macro_rules! half_bits {
    ($blocks:expr, $at:expr) => {{
        let b = $blocks;
        [
            u16::from_le_bytes([b[0][$at], b[0][$at + 1]]),
            u16::from_le_bytes([b[1][$at], b[1][$at + 1]]),
            u16::from_le_bytes([b[2][$at], b[2][$at + 1]]),
            u16::from_le_bytes([b[3][$at], b[3][$at + 1]]),
            u16::from_le_bytes([b[4][$at], b[4][$at + 1]]),
            u16::from_le_bytes([b[5][$at], b[5][$at + 1]]),
            u16::from_le_bytes([b[6][$at], b[6][$at + 1]]),
            u16::from_le_bytes([b[7][$at], b[7][$at + 1]]),
        ]
    }};
}
pub(crate) use half_bits;

/// The parts of [`Scaled32`] that only depend on the size of a block.
macro_rules! blocks_of {
    ($bytes:literal) => {
        type Block = [u8; $bytes];
        const ZERO: [u8; $bytes] = [0; $bytes];

        #[inline(always)]
        fn blocks(row: &[u8]) -> &[[u8; $bytes]] {
            row.as_chunks().0
        }

        fn blocks_mut(row: &mut [u8]) -> &mut [[u8; $bytes]] {
            row.as_chunks_mut().0
        }
    };
}
pub(crate) use blocks_of;

/// `N` bytes of a block from `at` on; the compiler sees that it cannot fail where both are constants.
#[inline(always)]
pub(crate) fn bytes_at<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the range lies inside the block")
}

/// The 4-bit numbers of two blocks in order: 16 bytes hold weights 0..16 in their lower and 16..32 in their upper half.
#[inline(always)]
pub(crate) fn nibbles_of_two<S: Simd>(s: S, a: &[u8; 16], b: &[u8; 16]) -> S::I8 {
    s.and(s.shr_quarters::<0, 4>(s.twice_16(a, b)), s.splat_i8(15))
}

/// The plain reading of [`nibbles_of_two`] for one block.
pub(crate) fn nibble(bytes: &[u8], weight: usize) -> u8 {
    bytes[weight % 16] >> (4 * (weight / 16)) & 15
}
