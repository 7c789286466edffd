//! Q4_1: 32 weights of 4 bits under a half and above another, `w = d q + m`. 20 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..4 | `m`, half |
//! | 4..20 | `q`: byte `i` holds weight `i` in its lower and weight `16 + i` in its upper four bits |

use crate::{
    float,
    quant::blocks_32::{Scaled32, blocks_of, bytes_at, half_bits, nibble, nibbles_of_two},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q4_1;

impl Scaled32 for Q4_1 {
    blocks_of!(20);
    const MIN: bool = true;
    const SIGNED: bool = false;
    const FOUR_BITS: bool = true;

    fn reference(block: &[u8; 20], out: &mut [f32; 32]) {
        let (d, m) = (float::f16_at(block, 0), float::f16_at(block, 2));
        for (i, w) in out.iter_mut().enumerate() {
            *w = d * nibble(&block[4..], i) as f32 + m;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 20]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), half_bits!(blocks, 2))
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 20], b: &[u8; 20]) -> S::I8 {
        nibbles_of_two(s, bytes_at(a, 4), bytes_at(b, 4))
    }
}
