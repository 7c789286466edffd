//! Q4_0: 32 weights of 4 bits under a half, `w = d (q - 8)`. 18 bytes:
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
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q4_0;

impl Scaled32 for Q4_0 {
    blocks_of!(18);
    const MIN: bool = false;
    const SIGNED: bool = true;
    const QUANTIZE: Option<Writer<[f32; 32], [u8; 18]>> = Some(quantize);

    fn reference(block: &[u8; 18], out: &mut [f32; 32]) {
        let d = float::f16_at(block, 0);
        for (i, w) in out.iter_mut().enumerate() {
            *w = d * (nibble(&block[2..], i) as f32 - 8.0);
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 18]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), [0; 8])
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 18], b: &[u8; 18]) -> S::I8 {
        s.sub_i8(nibbles_of_two(s, bytes_at(a, 2), bytes_at(b, 2)), s.splat_i8(8))
    }
}

/// As GGUF's reference writer: the value of largest magnitude (the first of equals) becomes exactly -8, the others round
/// half up.
fn quantize(x: &[f32; 32], block: &mut [u8; 18]) {
    let max = x.iter().fold(0.0, |max: f32, v| if v.abs() > max.abs() { *v } else { max });
    let d = max / -8.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&float::f32_to_f16(d).to_le_bytes());
    // The cast saturates, and makes zero of NaN.
    let q = |v: f32| ((v * id + 8.5) as u8).min(15);
    for i in 0..16 {
        block[2 + i] = q(x[i]) | q(x[16 + i]) << 4;
    }
}
