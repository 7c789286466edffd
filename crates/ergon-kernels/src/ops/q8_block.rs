//! Blocks of 8-bit integers with a scale, for the key and value cache.

use crate::float::bf16_to_f32;

/// 32 values of a row as integers times a scale: `ggml`'s `block_q8_0`, but that the scale is a bfloat16, which has the
/// range of singles: in half precision the scales of small values would be rounded to few digits.
///
/// With the largest magnitude of the 32 values `m`, a value is off by at most `m / 252`: half a step, of which 127 reach
/// from 0 to `m`, rounded up to the next bfloat16 (`2^-7` of it). Where `m` is below `1.5e-36` all 32 are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Q8Block {
    /// bfloat16, as bits; without a sign.
    pub scale: u16,
    /// From -127 to 127.
    pub values: [i8; 32],
}

impl Q8Block {
    /// Values in a block.
    pub const VALUES: usize = 32;
}

/// Adding and taking away 1.5 2^23 rounds to a whole number, ties to even, everywhere in the same way.
const ROUNDER: f32 = 12_582_912.0;
/// No number, as a bfloat16.
const NAN: u16 = 0x7fc0;

/// Rows of singles to blocks. Where one of a block's values is no number or infinite, all of them read as such.
///
/// # Panics
/// When `x` is not as long as the blocks.
pub fn f32_to_q8(x: &[f32], out: &mut [Q8Block]) {
    assert!(x.len() == out.len() * Q8Block::VALUES, "f32_to_q8: {} values to {} blocks", x.len(), out.len());
    for (x, block) in x.as_chunks::<{ Q8Block::VALUES }>().0.iter().zip(out) {
        let finite = x.iter().all(|x| x.is_finite());
        let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        // Up, so that 127 steps reach.
        let up = |scale: f32| (scale.to_bits().saturating_add(0xffff) >> 16) as u16;
        block.scale = if finite { up(largest / 127.0) } else { NAN };
        let scale = bf16_to_f32(block.scale);
        let inverse = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
        for (value, &x) in block.values.iter_mut().zip(x) {
            let rounded = (x * inverse + ROUNDER) - ROUNDER;
            *value = rounded.clamp(-127.0, 127.0) as i8;
        }
    }
}

/// Singles of blocks; exact.
///
/// # Panics
/// When `out` is not as long as the blocks.
pub fn q8_to_f32(x: &[Q8Block], out: &mut [f32]) {
    assert!(out.len() == x.len() * Q8Block::VALUES, "q8_to_f32: {} blocks to {} values", x.len(), out.len());
    for (block, out) in x.iter().zip(out.as_chunks_mut::<{ Q8Block::VALUES }>().0) {
        let scale = bf16_to_f32(block.scale);
        for (out, &value) in out.iter_mut().zip(&block.values) {
            *out = f32::from(value) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(x: &[f32; 32]) -> [f32; 32] {
        let mut block = [Q8Block::default()];
        f32_to_q8(x, &mut block);
        let mut back = [0.0; 32];
        q8_to_f32(&block, &mut back);
        back
    }

    #[test]
    fn values_are_off_by_half_a_step_at_most() {
        for seed in 0..200u32 {
            let size = 10f32.powi(seed as i32 % 41 - 20);
            let x: [f32; 32] = std::array::from_fn(|i| {
                size * (((i as u32 * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            });
            let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (x, back) in x.iter().zip(there_and_back(&x)) {
                let bound = largest / 252.0;
                assert!((x - back).abs() <= bound, "{x} became {back}, largest {largest}");
            }
        }
    }

    #[test]
    fn zeros_stay_and_what_is_no_number_shows() {
        assert_eq!(there_and_back(&[0.0; 32]), [0.0; 32]);
        assert_eq!(there_and_back(&[f32::MIN_POSITIVE; 32]), [0.0; 32]);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[7] = odd;
            assert!(there_and_back(&x).iter().all(|x| x.is_nan()), "{odd}");
        }
    }
}
