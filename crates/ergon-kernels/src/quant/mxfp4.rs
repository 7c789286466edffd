//! MXFP4: 32 weights of e2m1 under a power of two (OCP microscaling formats). 17 bytes, as GGUF orders them:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `e`, the exponent of the scale with bias 127 |
//! | 1..17 | `q`: byte `i` holds weight `i` in its lower and weight `16 + i` in its upper four bits |
//!
//! e2m1 has halves among its values; as in GGUF the table holds doubled integers and the scale is `2^(e - 128)`.

use crate::{
    quant::{
        Writer,
        blocks_32::{Scaled32, blocks_of, bytes_at, nibble, nibbles_of_two},
    },
    simd::Simd,
};

/// Twice the values of e2m1.
const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Mxfp4;

/// `2^(e - 128)`; the lowest two are subnormal singles.
#[inline(always)]
fn half_scale(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e as u32 - 1) << 23 })
}

impl Scaled32 for Mxfp4 {
    blocks_of!(17);
    const MIN: bool = false;
    const SIGNED: bool = true;
    const QUANTIZE: Option<Writer<[f32; 32], [u8; 17]>> = Some(quantize);

    fn reference(block: &[u8; 17], out: &mut [f32; 32]) {
        let d = half_scale(block[0]);
        for (i, w) in out.iter_mut().enumerate() {
            *w = d * LEVELS[nibble(&block[1..], i) as usize] as f32;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, blocks: &[[u8; 17]; 8]) -> S::F32 {
        let mut scales = [0.0; 16];
        for (scale, block) in scales.iter_mut().zip(blocks) {
            *scale = half_scale(block[0]);
        }
        s.load(&scales)
    }

    #[inline(always)]
    fn weights<S: Simd>(s: S, a: &[u8; 17], b: &[u8; 17]) -> S::I8 {
        s.lookup_16(&LEVELS, nibbles_of_two(s, bytes_at(a, 1), bytes_at(b, 1)))
    }
}

/// As the OCP specification (section 6.3) and GGUF: the exponent of the largest magnitude, less that of the largest
/// e2m1, then each weight to the nearest level (the first of equals). Infinities clamp; NaN becomes zero.
fn quantize(x: &[f32; 32], block: &mut [u8; 17]) {
    let max = x.iter().fold(0.0, |max: f32, v| max.max(v.abs())).min(f32::MAX);
    // The exponent field of a normal single is its exponent + 127; a subnormal maximum scales as the least exponent.
    let e = ((max.to_bits() >> 23) as u8).saturating_sub(2);
    block[0] = e;
    let d = half_scale(e);
    let q = |v: f32| -> u8 {
        let error = |level: usize| (d * LEVELS[level] as f32 - v).abs();
        (0..16).fold(0, |best, level| if error(level) < error(best) { level } else { best }) as u8
    };
    for i in 0..16 {
        block[1 + i] = q(x[i]) | q(x[16 + i]) << 4;
    }
}
