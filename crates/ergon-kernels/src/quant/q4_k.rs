//! Q4_K: 256 weights of 4 bits, scales and minima of 6 bits per 32, under two halves: `w = d s[g] q - dmin m[g]`.
//! 144 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `d`, half |
//! | 2..4 | `dmin`, half |
//! | 4..16 | `s` and `m`, packed as [`scales_and_minima`] tells |
//! | 16..144 | `q`: of each 64 weights, byte `i` of 32 holds weight `i` in its lower and `32 + i` in its upper four bits |

use crate::{
    float,
    quant::{
        Writer,
        blocks_32::bytes_at,
        blocks_256::{
            Scaled256, Scales, blocks_of, nibbles_of_32, pack_scales_and_minima, scales_and_minima,
        },
        search,
    },
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Q4K;

/// `d`, `dmin` and the packed scales at the start of a block of Q4_K or Q5_K.
#[inline(always)]
pub(super) fn head<S: Simd>(s: S, head: &[u8; 16]) -> Scales<S> {
    // Scales are lanes 0 to 7 and minima lanes 8 to 15 of one vector, which serves as both.
    let both = s.widen_u8(&scales_and_minima(bytes_at(head, 4)));
    Scales { d: s.half_at(head, 0), dmin: s.half_at(head, 2), scale: both, min: both }
}

/// Writes what [`head`] reads and returns the factor and the offset of each group as a reader will see them.
pub(super) fn write_head(groups: &[search::Group; 8], head: &mut [u8]) -> [(f32, f32); 8] {
    let top = |of: fn(&search::Group) -> f32| groups.iter().map(of).fold(0.0, f32::max);
    let d = float::f32_to_f16(top(|g| g.scale) / 63.0);
    let dmin = float::f32_to_f16(top(|g| g.min) / 63.0);
    let (d_read, dmin_read) = (float::f16_to_f32(d), float::f16_to_f32(dmin));
    let steps = |value: f32, unit: f32| if unit > 0.0 { (value / unit).round().min(63.0) as u8 } else { 0 };
    let scales = std::array::from_fn(|g| steps(groups[g].scale, d_read));
    let minima = std::array::from_fn(|g| steps(groups[g].min, dmin_read));
    head[..2].copy_from_slice(&d.to_le_bytes());
    head[2..4].copy_from_slice(&dmin.to_le_bytes());
    head[4..16].copy_from_slice(&pack_scales_and_minima(&scales, &minima));
    std::array::from_fn(|g| (d_read * scales[g] as f32, dmin_read * minima[g] as f32))
}

impl Scaled256 for Q4K {
    blocks_of!(144);
    const GROUP: usize = 32;
    const MIN: bool = true;
    const SIGNED: bool = false;
    const NARROW: bool = true;
    const NIBBLES: Option<usize> = Some(16);
    const HALF_FITS_FLOAT: bool = true;
    const FOUR_BITS: bool = true;
    const QUANTIZE: Option<Writer<[f32; 256], [u8; 144]>> = Some(quantize);

    fn reference(block: &[u8; 144], out: &mut [f32; 256]) {
        let (d, dmin) = (float::f16_at(block, 0), float::f16_at(block, 2));
        let packed = scales_and_minima(bytes_at(block, 4));
        for (i, w) in out.iter_mut().enumerate() {
            let (scale, min) = (packed[i / 32] as f32, packed[8 + i / 32] as f32);
            let q = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            *w = d * scale * q as f32 - dmin * min;
        }
    }

    #[inline(always)]
    fn scales<S: Simd>(s: S, block: &[u8; 144]) -> Scales<S> {
        head(s, bytes_at(block, 0))
    }

    #[inline(always)]
    fn weights<S: Simd, const G: usize>(s: S, block: &[u8; 144]) -> S::I8 {
        nibbles_of_32(s, bytes_at(block, 16 + 32 * G))
    }
}

/// Scale and minimum of each group by least squares ([`search::scale_and_min`]), rounded to 6 bits; then the weights are
/// rounded again under the scales that a reader will see.
fn quantize(x: &[f32; 256], block: &mut [u8; 144]) {
    let (groups, _) = x.as_chunks::<32>();
    let found = std::array::from_fn(|g| search::scale_and_min(&groups[g], 15));
    let factors = write_head(&found, &mut block[..16]);
    block[16..].fill(0);
    for (g, x) in groups.iter().enumerate() {
        let q = search::round_group(x, factors[g], 15);
        for (i, q) in q.iter().enumerate() {
            block[16 + g / 2 * 32 + i] |= q << (4 * (g % 2));
        }
    }
}
