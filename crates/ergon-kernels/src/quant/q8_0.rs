//! Q8_0: 32 weights of 8 bits under a half, `w = d q`. 34 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..34 | `q`, signed bytes in order |

use crate::{
    float,
    quant::{
        Writer,
        blocks_32::{Scaled32, blocks_of, bytes_at, half_bits},
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q8_0;

impl Scaled32 for Q8_0 {
    blocks_of!(34);
    const MIN: bool = false;
    const SIGNED: bool = true;
    const QUANTIZE: Option<Writer<[f32; 32], [u8; 34]>> = Some(quantize);

    fn reference(block: &[u8; 34], out: &mut [f32; 32]) {
        let d = float::f16_at(block, 0);
        for (w, q) in out.iter_mut().zip(&block[2..]) {
            *w = d * (*q as i8) as f32;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 34]; 8]) -> S::F32 {
        s.halves(half_bits!(blocks, 0), [0; 8])
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 34], b: &[u8; 34]) -> S::I8 {
        s.join_32(bytes_at(a, 2), bytes_at(b, 2))
    }
}

/// As GGUF's reference writer: the largest magnitude becomes 127, the others round half away from zero.
fn quantize(x: &[f32; 32], block: &mut [u8; 34]) {
    let max = x.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    let d = max / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&float::f32_to_f16(d).to_le_bytes());
    for (q, v) in block[2..].iter_mut().zip(x) {
        // The cast saturates, and makes zero of NaN.
        *q = (v * id).round() as i8 as u8;
    }
}
