//! IQ4_NL: 32 weights of 4 bits through a table, under a half: `w = d table[q]`. 18 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..18 | `q`: byte `i` holds weight `i` in its lower and weight `16 + i` in its upper four bits |

use crate::{
    float,
    quant::{
        Writer,
        blocks_32::{Scaled32, blocks_of, bytes_at, half_bits, nibble, nibbles_of_two},
        search,
    },
    simd::Simd,
};

/// The levels of IQ4_NL and IQ4_XS, denser near zero as weights are (GGUF's `kvalues_iq4nl`).
pub(super) const LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Iq4Nl;

impl Scaled32 for Iq4Nl {
    blocks_of!(18);
    const MIN: bool = false;
    const SIGNED: bool = true;
    const QUANTIZE: Option<Writer<[f32; 32], [u8; 18]>> = Some(quantize);

    fn reference(block: &[u8; 18], out: &mut [f32; 32]) {
        let d = float::f16_at(block, 0);
        for (i, w) in out.iter_mut().enumerate() {
            *w = d * LEVELS[nibble(&block[2..], i) as usize] as f32;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 18]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), [0; 8])
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 18], b: &[u8; 18]) -> S::I8 {
        s.lookup_16(&LEVELS, nibbles_of_two(s, bytes_at(a, 2), bytes_at(b, 2)))
    }
}

/// Searches the scale with the least weighted error, see [`search::table_scale`].
fn quantize(x: &[f32; 32], block: &mut [u8; 18]) {
    let scale = float::f32_to_f16(search::table_scale(x, &LEVELS));
    block[..2].copy_from_slice(&scale.to_le_bytes());
    let d = float::f16_to_f32(scale);
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let q = |v: f32| search::nearest_level(v * id, &LEVELS);
    for i in 0..16 {
        block[2 + i] = q(x[i]) | q(x[16 + i]) << 4;
    }
}
