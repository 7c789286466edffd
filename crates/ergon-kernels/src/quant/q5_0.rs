//! Q5_0: 32 weights of 5 bits under a half, `w = d (q - 16)`. 22 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..6 | bit `i` of this 32-bit number is the fifth bit of weight `i` |
//! | 6..22 | lower four bits: byte `i` holds weight `i` in its lower and weight `16 + i` in its upper half |

use crate::{
    float,
    quant::blocks_32::{Scaled32, blocks_of, bytes_at, half_bits, nibble, nibbles_of_two},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q5_0;

/// Bit 4 of 64 weights, from the fifth bits of two blocks.
#[inline(always)]
pub(super) fn fifth_bits<S: Simd>(s: S, a: &[u8; 4], b: &[u8; 4]) -> S::I8 {
    let bits = u32::from_le_bytes(*a) as u64 | (u32::from_le_bytes(*b) as u64) << 32;
    s.and(s.expand_bits(bits), s.splat_i8(16))
}

/// The plain reading of [`fifth_bits`] for one weight.
pub(super) fn fifth_bit(bytes: &[u8; 4], weight: usize) -> u8 {
    (u32::from_le_bytes(*bytes) >> weight & 1) as u8 * 16
}

impl Scaled32 for Q5_0 {
    blocks_of!(22);
    const MIN: bool = false;
    const SIGNED: bool = true;

    fn reference(block: &[u8; 22], out: &mut [f32; 32]) {
        let d = float::f16_at(block, 0);
        for (i, w) in out.iter_mut().enumerate() {
            let q = nibble(&block[6..], i) | fifth_bit(bytes_at(block, 2), i);
            *w = d * (q as f32 - 16.0);
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 22]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), [0; 8])
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 22], b: &[u8; 22]) -> S::I8 {
        let low = nibbles_of_two(s, bytes_at(a, 6), bytes_at(b, 6));
        let high = fifth_bits(s, bytes_at(a, 2), bytes_at(b, 2));
        s.sub_i8(s.or(low, high), s.splat_i8(16))
    }
}
