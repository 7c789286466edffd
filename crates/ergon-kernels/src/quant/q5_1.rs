//! Q5_1: 32 weights of 5 bits under a half and above another, `w = d q + m`. 24 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..4 | `m`, half |
//! | 4..8 | bit `i` of this 32-bit number is the fifth bit of weight `i` |
//! | 8..24 | lower four bits: byte `i` holds weight `i` in its lower and weight `16 + i` in its upper half |

use crate::{
    float,
    quant::{
        blocks_32::{Scaled32, blocks_of, bytes_at, half_bits, nibble, nibbles_of_two},
        q5_0::{fifth_bit, fifth_bits},
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q5_1;

impl Scaled32 for Q5_1 {
    blocks_of!(24);
    const MIN: bool = true;
    const SIGNED: bool = false;

    fn reference(block: &[u8; 24], out: &mut [f32; 32]) {
        let (d, m) = (float::f16_at(block, 0), float::f16_at(block, 2));
        for (i, w) in out.iter_mut().enumerate() {
            let q = nibble(&block[8..], i) | fifth_bit(bytes_at(block, 4), i);
            *w = d * q as f32 + m;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 24]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), half_bits!(blocks, 2))
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 24], b: &[u8; 24]) -> S::I8 {
        let low = nibbles_of_two(s, bytes_at(a, 8), bytes_at(b, 8));
        s.or(low, fifth_bits(s, bytes_at(a, 4), bytes_at(b, 4)))
    }
}
