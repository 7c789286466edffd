//! Blocks of 256 weights under one float scale, with integer scales (and, in some, integer minima) per group of 16 or
//! 32: `w = d s[g] q` or `w = d s[g] q - dmin m[g]`.
//!
//! In plain words, the product of a weight row with an activation row rounded to `x = a p` per 256 is
//!
//! ```text
//! for each block:  sum += (d a) * (sum over g of s[g] * sum of q[i] p[i])  -  (dmin a) * (sum over g of m[g] * sum of p[i])
//! ```
//!
//! The canonical order, in which every instruction set computes it bit for bit: both brackets are exact integers; each
//! becomes the nearest float, is multiplied by its factor (`d a`, `dmin a`, rounded) and added to its running sum, block
//! by block, every operation rounded by itself, since portable Rust has no fast fused form. The result is the difference
//! of the two sums.
//!
//! Nothing overflows: |q| <= 128 and |p| <= 127, so four products are at most 65024; a lane of a step times a scale of
//! magnitude at most 32 (IQ4_XS), over four steps, 8.3 million, and 16 lanes 133 million. Q6_K: 4 * 32 * 127 * 128 * 4,
//! the same. In a panel a lane is a group: 32 * 15 * 127 = 60960 for Q4_K, more than 16 signed bits hold, so it is scaled
//! in 32, or exactly as a float; over all groups the bounds are those above.
//!
//! Departures from the plain form, and what they buy (G multiply-adds a second of a Zen 3 core with AVX2, weights in the
//! cache): `N` activation rows share one unpacking, as in `blocks_32`; sums of activations per group are made once, when
//! they are rounded; where a step's lane fits in 16 bits ([`Scaled256::NARROW`]) the scale comes with the addition of
//! neighbours (Q4_K, one row: 15 to 19); many rows go through a panel (`panel.rs`).

use std::ops::Range;

use crate::{
    Isa,
    activations::{Act256, ActRow},
    quant::{
        ActivationKind, RowFormat, WeightRow, Writer,
        panel::{PANEL_ROWS, Panel, PanelFor},
        panel_256,
        panel_tiles::{PanelTiles, TILE_ROWS},
    },
    simd::Simd,
};

/// The scales of a block, ready for vectors.
pub(crate) struct Scales<S: Simd> {
    /// Factor of the integer scales.
    pub(crate) d: f32,
    /// Factor of the integer minima.
    pub(crate) dmin: f32,
    /// Integer scales: lane `g` is group `g`.
    pub(crate) scale: S::I32,
    /// Integer minima: lane `g` is group `g` of 16, or lane `8 + g` is group `g` of 32, and then this is the same vector
    /// as `scale`. Not read without minima.
    pub(crate) min: S::I32,
}

/// A format of this family.
pub(crate) trait Scaled256: Copy + Send + Sync + 'static {
    /// The bytes of 256 weights.
    type Block: Copy + 'static;
    /// Weights that share an integer scale: 16 or 32.
    const GROUP: usize;
    /// Whether groups have a minimum.
    const MIN: bool;
    /// Whether unpacked weights can be negative.
    const SIGNED: bool;
    /// Whether four products of a weight and 127 fit in 16 signed bits: |q| <= 64.
    const NARROW: bool;
    /// Whether unpacked weights are at most 15 and never negative.
    const FOUR_BITS: bool = false;
    /// Where the 128 bytes of a block begin that [`nibbles_of_32`] unpacks to its weights with nothing else to be done, if there
    /// are such: they are turned for a panel first and unpacked then.
    const NIBBLES: Option<usize> = None;
    /// Whether a float holds the scaled products of half a block exactly: they add up to less than 2^24.
    const HALF_FITS_FLOAT: bool = false;
    /// The writer, if there is one.
    const QUANTIZE: Option<Writer<[f32; 256], Self::Block>> = None;

    /// The blocks of a row.
    fn blocks(row: &[u8]) -> &[Self::Block];
    /// The blocks of a row, to be written.
    fn blocks_mut(row: &mut [u8]) -> &mut [Self::Block];
    /// The weights of a block, one at a time.
    fn reference(block: &Self::Block, out: &mut [f32; 256]);
    /// The scales of a block.
    fn scales<S: Simd>(s: S, block: &Self::Block) -> Scales<S>;
    /// The integers of weights `64 G .. 64 G + 64` in order.
    fn weights<S: Simd, const G: usize>(s: S, block: &Self::Block) -> S::I8;
}

/// The family's arithmetic over the unpacking of one format.
#[derive(Clone, Copy)]
pub(crate) struct Blocks256<F>(pub(crate) F);

impl<F: Scaled256> RowFormat for Blocks256<F> {
    const ACTIVATIONS: ActivationKind = ActivationKind::By256;
    const CAN_QUANTIZE: bool = F::QUANTIZE.is_some();

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(self, s: S, w: WeightRow, x: [ActRow; N]) -> [f32; N] {
        let mut sums = [[0.0; 2]; N];
        for (index, block) in F::blocks(w.bytes).iter().enumerate() {
            block_dot::<S, F, N>(s, block, &activations(&x, index), &mut sums);
        }
        let mut out = [0.0; N];
        for n in 0..N {
            out[n] = sums[n][0] - sums[n][1];
        }
        out
    }

    #[inline(always)]
    fn pack<S: Simd>(self, s: S, rows: &[WeightRow; PANEL_ROWS], purpose: PanelFor, panel: &mut Panel) {
        panel_256::pack::<S, F>(s, rows, purpose, &mut panel.by_256);
    }

    #[inline(always)]
    fn panel_dot<S: Simd, const P: usize, const N: usize>(
        self,
        s: S,
        panels: [&Panel; P],
        x: [ActRow; N],
    ) -> [[S::F32; N]; P] {
        panel_256::dot::<S, F, P, N>(s, panels.map(|panel| &panel.by_256[..]), x)
    }

    const GROUP_STEPS: usize = F::GROUP / 4;

    #[inline(always)]
    fn tile_dot<S: Simd>(
        self,
        s: S,
        tiles: &mut PanelTiles,
        panel: &Panel,
        x: &[ActRow; TILE_ROWS],
    ) -> [S::F32; TILE_ROWS] {
        match F::GROUP {
            16 => panel_256::tile_dot::<S, F, 4>(s, tiles, &panel.by_256, x),
            _ => panel_256::tile_dot::<S, F, 8>(s, tiles, &panel.by_256, x),
        }
    }

    #[inline(always)]
    fn dequantize<S: Simd>(self, s: S, w: WeightRow, cols: Range<usize>, out: &mut [f32]) {
        let blocks = &F::blocks(w.bytes)[cols.start / 256..cols.end / 256];
        if S::ISA == Isa::Generic {
            return read::<F>(blocks, out);
        }
        for (block, out) in blocks.iter().zip(out.as_chunks_mut().0) {
            dequantize_block::<S, F>(s, block, out);
        }
    }

    fn reference(self, row: &[u8], out: &mut [f32]) {
        read::<F>(F::blocks(row), out);
    }

    fn quantize(self, x: &[f32], row: &mut [u8]) {
        let Some(write) = F::QUANTIZE else { return };
        let (x, _) = x.as_chunks::<256>();
        for (x, block) in x.iter().zip(F::blocks_mut(row)) {
            write(x, block);
        }
    }
}

/// Blocks read one weight at a time.
fn read<F: Scaled256>(blocks: &[F::Block], out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.as_chunks_mut().0) {
        F::reference(block, out);
    }
}

/// Block `index` of each activation row.
#[inline(always)]
fn activations<'a, const N: usize>(x: &[ActRow<'a>; N], index: usize) -> [&'a Act256; N] {
    let mut out = [&x[0].by_256[index]; N];
    for n in 1..N {
        out[n] = &x[n].by_256[index];
    }
    out
}

/// Adds a block to the sums of products and of minima.
#[inline(always)]
fn block_dot<S: Simd, F: Scaled256, const N: usize>(
    s: S,
    block: &F::Block,
    x: &[&Act256; N],
    sums: &mut [[f32; 2]; N],
) {
    s.prefetch_behind(block);
    let mut scales = F::scales(s, block);
    if F::NARROW {
        scales.scale = s.scales_i16(scales.scale);
    }
    let mut products = [s.splat_i32(0); N];
    step::<S, F, N, 0>(s, block, scales.scale, x, &mut products);
    step::<S, F, N, 1>(s, block, scales.scale, x, &mut products);
    step::<S, F, N, 2>(s, block, scales.scale, x, &mut products);
    step::<S, F, N, 3>(s, block, scales.scale, x, &mut products);
    for n in 0..N {
        let a = x[n].d;
        if F::MIN {
            let activation_sums = if F::GROUP == 16 { &x[n].sums_16 } else { &x[n].sums_32 };
            let minima = s.mul_i16(s.load_i32(activation_sums), scales.min);
            let [product, min] = s.reduce_add_i32_2(products[n], minima);
            sums[n][0] += product as f32 * (scales.d * a);
            sums[n][1] += min as f32 * (scales.dmin * a);
        } else {
            sums[n][0] += s.reduce_add_i32(products[n]) as f32 * (scales.d * a);
        }
    }
}

/// Weights `64 G .. 64 G + 64`.
#[inline(always)]
fn step<S: Simd, F: Scaled256, const N: usize, const G: usize>(
    s: S,
    block: &F::Block,
    scales: S::I32,
    x: &[&Act256; N],
    sums: &mut [S::I32; N],
) {
    let w = F::weights::<S, G>(s, block);
    let scale = if F::GROUP == 16 { s.repeat_4_i32::<G>(scales) } else { s.repeat_8_i32::<G>(scales) };
    for n in 0..N {
        let q = s.load_i8(&x[n].q[G]);
        let zero = s.splat_i32(0);
        let scaled = match (F::SIGNED, F::NARROW) {
            (false, true) => s.dot_u7_scaled(w, q, scale),
            (true, true) => s.dot_i8_scaled(w, q, scale),
            (false, false) => s.mul_i32(s.dot_u7(zero, w, q), scale),
            (true, false) => s.mul_i32(s.dot_i8(zero, w, q), scale),
        };
        sums[n] = s.add_i32(sums[n], scaled);
    }
}

#[inline(always)]
fn dequantize_block<S: Simd, F: Scaled256>(s: S, block: &F::Block, out: &mut [f32; 256]) {
    let scales = F::scales(s, block);
    let (mut factor, mut offset) = ([0.0; 16], [0.0; 16]);
    s.store(s.mul(s.splat(scales.d), s.to_f32(scales.scale)), &mut factor);
    s.store(s.mul(s.splat(scales.dmin), s.to_f32(scales.min)), &mut offset);
    dequantize_step::<S, F, 0>(s, block, &factor, &offset, out);
    dequantize_step::<S, F, 1>(s, block, &factor, &offset, out);
    dequantize_step::<S, F, 2>(s, block, &factor, &offset, out);
    dequantize_step::<S, F, 3>(s, block, &factor, &offset, out);
}

#[inline(always)]
fn dequantize_step<S: Simd, F: Scaled256, const G: usize>(
    s: S,
    block: &F::Block,
    factor: &[f32; 16],
    offset: &[f32; 16],
    out: &mut [f32; 256],
) {
    let w = F::weights::<S, G>(s, block);
    let quarters = [s.widen::<0>(w), s.widen::<1>(w), s.widen::<2>(w), s.widen::<3>(w)];
    let (out, _) = out.as_chunks_mut::<16>();
    for (quarter, w) in quarters.into_iter().enumerate() {
        let sixteen = 4 * G + quarter;
        let (group, min) = if F::GROUP == 16 { (sixteen, sixteen) } else { (sixteen / 2, 8 + sixteen / 2) };
        let mut v = s.mul(s.splat(factor[group]), s.to_f32(w));
        if F::MIN {
            v = s.sub(v, s.splat(offset[min]));
        }
        s.store(v, &mut out[sixteen]);
    }
}

/// The parts of [`Scaled256`] that only depend on the size of a block.
macro_rules! blocks_of {
    ($bytes:literal) => {
        type Block = [u8; $bytes];

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

/// 64 4-bit numbers: the lower halves of 32 bytes, then the upper halves.
#[inline(always)]
pub(crate) fn nibbles_of_32<S: Simd>(s: S, bytes: &[u8; 32]) -> S::I8 {
    s.and(s.shr_halves::<0, 4>(s.twice_32(bytes)), s.splat_i8(15))
}

/// Eight 6-bit scales, then eight 6-bit minima, from the 12 bytes in which Q4_K and Q5_K pack them: scale `g` below 4
/// is the lower six bits of byte `g`, minimum `g` those of byte `4 + g`; from 4 on, the lower four bits of scale and
/// minimum share byte `4 + g`, and their upper two are the upper two of bytes `g - 4` and `g`.
#[inline(always)]
pub(crate) fn scales_and_minima(packed: &[u8; 12]) -> [u8; 16] {
    // Four bytes at a time in a register.
    let word = |at: usize| u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    let words = [
        a & 0x3f3f_3f3f,
        c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030,
        b & 0x3f3f_3f3f,
        c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030,
    ];
    let mut out = [0; 16];
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *out = word.to_le_bytes();
    }
    out
}

/// Inverse of [`scales_and_minima`].
pub(crate) fn pack_scales_and_minima(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for g in 0..4 {
        packed[g] = scales[g] | scales[g + 4] >> 4 << 6;
        packed[g + 4] = minima[g] | minima[g + 4] >> 4 << 6;
        packed[g + 8] = scales[g + 4] & 15 | minima[g + 4] << 4;
    }
    packed
}
