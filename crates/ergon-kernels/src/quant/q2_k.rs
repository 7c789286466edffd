//! Q2_K: 256 weights of 2 bits, scales and minima of 4 bits per 16, under two halves:
//! `w = d s[g] q - dmin m[g]`. 84 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | group `g`: `s` in the lower, `m` in the upper four bits |
//! | 16..80 | `q`: of each 128 weights, byte `i` of 32 holds weights `i`, `32 + i`, `64 + i`, `96 + i` from the lowest bits up |
//! | 80..82 | `d`, half |
//! | 82..84 | `dmin`, half |

use crate::{
    float,
    quant::{
        blocks_32::bytes_at,
        blocks_256::{Scaled256, Scales, blocks_of},
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q2K;

/// The 2-bit numbers `64 G .. 64 G + 64` of a block, also the lower bits of Q3_K; upper bits of each byte unspecified.
#[inline(always)]
pub(super) fn two_bits<S: Simd, const G: usize>(s: S, bytes: &[u8; 64]) -> S::I8 {
    let packed = s.twice_32(bytes_at(bytes, 32 * (G / 2)));
    let shifted =
        if G.is_multiple_of(2) { s.shr_halves::<0, 2>(packed) } else { s.shr_halves::<4, 6>(packed) };
    s.and(shifted, s.splat_i8(3))
}

/// The plain reading of [`two_bits`].
pub(super) fn two_bits_of(bytes: &[u8], weight: usize) -> u8 {
    bytes[weight / 128 * 32 + weight % 32] >> (weight % 128 / 32 * 2) & 3
}

impl Scaled256 for Q2K {
    blocks_of!(84);
    const GROUP: usize = 16;
    const MIN: bool = true;
    const SIGNED: bool = false;
    const NARROW: bool = true;
    const HALF_FITS_FLOAT: bool = true;
    const FOUR_BITS: bool = true;

    fn reference(block: &[u8; 84], out: &mut [f32; 256]) {
        let (d, dmin) = (float::f16_at(block, 80), float::f16_at(block, 82));
        for (i, w) in out.iter_mut().enumerate() {
            let packed = block[i / 16];
            let (scale, min) = ((packed & 15) as f32, (packed >> 4) as f32);
            *w = d * scale * two_bits_of(&block[16..], i) as f32 - dmin * min;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 84]) -> Scales<S> {
        let packed: &[u8; 16] = bytes_at(block, 0);
        let (mut scale, mut min) = (*packed, *packed);
        for g in 0..16 {
            scale[g] &= 15;
            min[g] >>= 4;
        }
        Scales {
            d: s.half_at(block, 80),
            dmin: s.half_at(block, 82),
            scale: s.widen_u8(&scale),
            min: s.widen_u8(&min),
        }
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 84]) -> S::I8 {
        two_bits::<S, G>(s, bytes_at(block, 16))
    }
}
