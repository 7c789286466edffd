//! Q6_K: 256 weights of 6 bits, signed scales of 8 bits per 16, under a half: `w = d s[g] (q - 32)`. 210 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..128 | lower four bits: of each 128 weights, byte `i` of 64 holds weight `i` in its lower, `64 + i` in its upper half |
//! | 128..192 | upper two bits: of each 128 weights, byte `i` of 32 holds those of `i`, `32 + i`, `64 + i`, `96 + i` |
//! | 192..208 | `s`, signed bytes |
//! | 208..210 | `d`, half |

use crate::{
    float,
    quant::{
        Writer,
        blocks_32::bytes_at,
        blocks_256::{Scaled256, Scales, blocks_of},
        search,
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q6K;

impl Scaled256 for Q6K {
    blocks_of!(210);
    const GROUP: usize = 16;
    const MIN: bool = false;
    const SIGNED: bool = true;
    const NARROW: bool = true;
    const QUANTIZE: Option<Writer<[f32; 256], [u8; 210]>> = Some(quantize);

    fn reference(block: &[u8; 210], out: &mut [f32; 256]) {
        let d = float::f16_at(block, 208);
        for (i, w) in out.iter_mut().enumerate() {
            let low = block[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
            let high = block[128 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
            let scale = block[192 + i / 16] as i8 as f32;
            *w = d * scale * ((low | high << 4) as f32 - 32.0);
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 210]) -> Scales<S> {
        let bytes: &[u8; 16] = bytes_at(block, 192);
        let scale = s.widen_i8(&bytes.map(|b| b as i8));
        Scales { d: s.half_at(block, 208), dmin: 0.0, scale, min: s.splat_i32(0) }
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 210]) -> S::I8 {
        let low = s.load_u8(bytes_at(block, 64 * (G / 2)));
        let high = s.twice_32(bytes_at(block, 128 + 32 * (G / 2)));
        let (low, high) = if G.is_multiple_of(2) {
            (low, s.shr_halves::<0, 2>(high))
        } else {
            (s.shr_halves::<4, 4>(low), s.shr_halves::<4, 6>(high))
        };
        let high = s.shl::<4>(s.and(high, s.splat_i8(3)));
        s.sub_i8(s.or(s.and(low, s.splat_i8(15)), high), s.splat_i8(32))
    }
}

/// Scale of each group by least squares ([`search::symmetric_scale`]), rounded to 8 bits; then the weights are rounded
/// again under the scales that a reader will see.
fn quantize(x: &[f32; 256], block: &mut [u8; 210]) {
    let (groups, _) = x.as_chunks::<16>();
    let found: [f32; 16] = std::array::from_fn(|g| search::symmetric_scale(&groups[g], 32));
    let top = found.iter().fold(0.0, |top: f32, v| if v.abs() > top.abs() { *v } else { top });
    // The scale of largest magnitude becomes -128, the end of the range that reaches further.
    let d = float::f32_to_f16(top / -128.0);
    let unit = float::f16_to_f32(d);
    block.fill(0);
    block[208..].copy_from_slice(&d.to_le_bytes());
    for (g, x) in groups.iter().enumerate() {
        let scale = if unit == 0.0 { 0 } else { (found[g] / unit).round().min(127.0) as i8 };
        block[192 + g] = scale as u8;
        let factor = unit * scale as f32;
        let inverse = if factor == 0.0 { 0.0 } else { 1.0 / factor };
        for (k, v) in x.iter().enumerate() {
            let i = 16 * g + k;
            // The cast saturates, and makes zero of NaN.
            let q = (((v * inverse).round() as i8).clamp(-32, 31) + 32) as u8;
            block[i / 128 * 64 + i % 64] |= (q & 15) << (i / 64 % 2 * 4);
            block[128 + i / 128 * 32 + i % 32] |= (q >> 4) << (i / 32 % 4 * 2);
        }
    }
}
