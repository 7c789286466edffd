//! IQ4_XS: 256 weights of 4 bits through the table of IQ4_NL, signed scales of 6 bits per 32, under a half:
//! `w = d (s[g] - 32) table[q]`. 136 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..4 | bits `2 g` and `2 g + 1` of this 16-bit number are the upper two bits of `s[g]` |
//! | 4..8 | lower four bits: byte `i` holds `s[2 i]` in its lower and `s[2 i + 1]` in its upper half |
//! | 8..136 | `q`: of each 32 weights, byte `i` of 16 holds weight `i` in its lower and `16 + i` in its upper four bits |

use crate::{
    float,
    quant::{
        blocks_32::{bytes_at, nibble, nibbles_of_two},
        blocks_256::{Scaled256, Scales, blocks_of},
        iq4_nl::LEVELS,
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Iq4Xs;

/// The eight scales, less 32, continued with zeros.
#[inline(always)]
fn group_scales(block: &[u8; 136]) -> [i8; 16] {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let mut scales = [0; 16];
    for (g, scale) in scales[..8].iter_mut().enumerate() {
        let low = block[4 + g / 2] >> (4 * (g % 2)) & 15;
        *scale = (low | ((high >> (2 * g) & 3) as u8) << 4) as i8 - 32;
    }
    scales
}

impl Scaled256 for Iq4Xs {
    blocks_of!(136);
    const GROUP: usize = 32;
    const MIN: bool = false;
    const SIGNED: bool = true;
    const NARROW: bool = false;

    fn reference(block: &[u8; 136], out: &mut [f32; 256]) {
        let d = float::f16_at(block, 0);
        let scales = group_scales(block);
        for (i, w) in out.iter_mut().enumerate() {
            let level = LEVELS[nibble(&block[8 + i / 32 * 16..], i % 32) as usize];
            *w = d * scales[i / 32] as f32 * level as f32;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 136]) -> Scales<S> {
        let scale = s.widen_i8(&group_scales(block));
        Scales { d: s.half_at(block, 0), dmin: 0.0, scale, min: s.splat_i32(0) }
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 136]) -> S::I8 {
        let q = nibbles_of_two(s, bytes_at(block, 8 + 32 * G), bytes_at(block, 24 + 32 * G));
        s.lookup_16(&LEVELS, q)
    }
}
