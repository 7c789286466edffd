//! Q3_K: 256 weights of 3 bits, signed scales of 6 bits per 16, under a half: `w = d (s[g] - 32) (q - 4)`. 110 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | bit `j` of byte `i` is the third bit of weight `32 j + i` |
//! | 32..96 | lower two bits: of each 128 weights, byte `i` of 32 holds weights `i`, `32 + i`, `64 + i`, `96 + i` |
//! | 96..104 | byte `i`: lower four bits of `s[i]` and, above, of `s[8 + i]` |
//! | 104..108 | byte `i`: upper two bits of `s[i]`, `s[4 + i]`, `s[8 + i]`, `s[12 + i]` from the lowest bits up |
//! | 108..110 | `d`, half |

use crate::{
    float,
    quant::{
        blocks_32::bytes_at,
        blocks_256::{Scaled256, Scales, blocks_of},
        q2_k::{two_bits, two_bits_of},
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q3K;

/// The 16 scales, less 32.
#[inline(always)]
fn group_scales(packed: &[u8; 12]) -> [i8; 16] {
    let mut scales = [0; 16];
    for (g, scale) in scales.iter_mut().enumerate() {
        let low = packed[g % 8] >> (4 * (g / 8)) & 15;
        let high = packed[8 + g % 4] >> (2 * (g / 4)) & 3;
        *scale = (low | high << 4) as i8 - 32;
    }
    scales
}

impl Scaled256 for Q3K {
    blocks_of!(110);
    const GROUP: usize = 16;
    const MIN: bool = false;
    const SIGNED: bool = true;
    const NARROW: bool = true;
    const HALF_FITS_FLOAT: bool = true;

    fn reference(block: &[u8; 110], out: &mut [f32; 256]) {
        let d = float::f16_at(block, 108);
        let scales = group_scales(bytes_at(block, 96));
        for (i, w) in out.iter_mut().enumerate() {
            let third = block[i % 32] >> (i / 32) & 1;
            let q = two_bits_of(&block[32..], i) | third << 2;
            *w = d * scales[i / 16] as f32 * (q as f32 - 4.0);
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 110]) -> Scales<S> {
        let scale = s.widen_i8(&group_scales(bytes_at(block, 96)));
        Scales { d: s.half_at(block, 108), dmin: 0.0, scale, min: s.splat_i32(0) }
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 110]) -> S::I8 {
        let low = two_bits::<S, G>(s, bytes_at(block, 32));
        let third = s.twice_32(bytes_at(block, 0));
        let third = match G {
            0 => s.shr_halves::<0, 1>(third),
            1 => s.shr_halves::<2, 3>(third),
            2 => s.shr_halves::<4, 5>(third),
            _ => s.shr_halves::<6, 7>(third),
        };
        let third = s.shl::<2>(s.and(third, s.splat_i8(1)));
        s.sub_i8(s.or(low, third), s.splat_i8(4))
    }
}
