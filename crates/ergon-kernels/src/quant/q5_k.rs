//! Q5_K: 256 weights of 5 bits, scales and minima of 6 bits per 32, under two halves: `w = d s[g] q - dmin m[g]`.
//! 176 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | `d`, `dmin`, `s` and `m` as in Q4_K |
//! | 16..48 | bit `g` of byte `i` is the fifth bit of weight `32 g + i` |
//! | 48..176 | lower four bits: of each 64 weights, byte `i` of 32 holds weight `i` in its lower, `32 + i` in its upper half |

use crate::{
    float,
    quant::{
        Writer,
        blocks_32::bytes_at,
        blocks_256::{Scaled256, Scales, blocks_of, nibbles_of_32, scales_and_minima},
        q4_k::{head, write_head},
        search,
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q5K;

impl Scaled256 for Q5K {
    blocks_of!(176);
    const GROUP: usize = 32;
    const MIN: bool = true;
    const SIGNED: bool = false;
    const NARROW: bool = true;
    const QUANTIZE: Option<Writer<[f32; 256], [u8; 176]>> = Some(quantize);

    fn reference(block: &[u8; 176], out: &mut [f32; 256]) {
        let (d, dmin) = (float::f16_at(block, 0), float::f16_at(block, 2));
        let packed = scales_and_minima(bytes_at(block, 4));
        for (i, w) in out.iter_mut().enumerate() {
            let (scale, min) = (packed[i / 32] as f32, packed[8 + i / 32] as f32);
            let low = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            let fifth = block[16 + i % 32] >> (i / 32) & 1;
            *w = d * scale * (low | fifth << 4) as f32 - dmin * min;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 176]) -> Scales<S> {
        head(s, bytes_at(block, 0))
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 176]) -> S::I8 {
        let fifth = s.twice_32(bytes_at(block, 16));
        let fifth = match G {
            0 => s.shr_halves::<0, 1>(fifth),
            1 => s.shr_halves::<2, 3>(fifth),
            2 => s.shr_halves::<4, 5>(fifth),
            _ => s.shr_halves::<6, 7>(fifth),
        };
        let fifth = s.shl::<4>(s.and(fifth, s.splat_i8(1)));
        s.or(nibbles_of_32(s, bytes_at(block, 48 + 32 * G)), fifth)
    }
}

/// As Q4_K's, with 31 steps for 15.
fn quantize(x: &[f32; 256], block: &mut [u8; 176]) {
    let (groups, _) = x.as_chunks::<32>();
    let found = std::array::from_fn(|g| search::scale_and_min(&groups[g], 31));
    let factors = write_head(&found, &mut block[..16]);
    block[16..].fill(0);
    for (g, x) in groups.iter().enumerate() {
        let q = search::round_group(x, factors[g], 31);
        for (i, q) in q.iter().enumerate() {
            block[16 + i] |= (q >> 4) << g;
            block[48 + g / 2 * 32 + i] |= (q & 15) << (4 * (g % 2));
        }
    }
}
