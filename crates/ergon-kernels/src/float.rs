//! Small float formats, one number at a time: the readable statement of what the vector conversions compute.

/// IEEE half to single; exact. NaN stays NaN (made quiet), as `vcvtph2ps` does.
#[inline]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let magnitude = bits as u32 & 0x7fff;
    let single = if magnitude >= 0x7c00 {
        let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
        0x7f80_0000 | (magnitude & 0x3ff) << 13 | quiet
    } else if magnitude >= 0x0400 {
        (magnitude << 13) + ((127 - 15) << 23)
    } else {
        // Subnormal: magnitude units of 2^-24; both factors and the product are exact singles.
        (magnitude as f32 * f32::from_bits((127 - 24) << 23)).to_bits()
    };
    f32::from_bits(sign | single)
}

/// Single to IEEE half, rounded to nearest even; overflow gives infinity, NaN a quiet NaN.
#[inline]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | (magnitude >> 13 & 0x1ff) as u16;
    }
    // 65520 is halfway between the largest half and the next power of two.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Subnormal half: adding 0.5 leaves units of 2^-24 in the last place, so the sum rounds as the half must.
        let sum = f32::from_bits(magnitude) + 0.5;
        return sign | (sum.to_bits() - 0x3f00_0000) as u16;
    }
    let rounded = magnitude + 0x0fff + (magnitude >> 13 & 1);
    sign | ((rounded >> 13) - ((127 - 15) << 10)) as u16
}

/// bfloat16 to single; exact.
#[inline]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// Single to bfloat16, rounded to nearest even; NaN is made quiet.
#[inline]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x0040;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// OCP 8-bit float e4m3 ("fn": no infinities, all ones is NaN) to single; exact.
#[inline]
pub fn f8e4m3_to_f32(bits: u8) -> f32 {
    let sign = (bits as u32 & 0x80) << 24;
    let magnitude = bits as u32 & 0x7f;
    if magnitude == 0x7f {
        return f32::from_bits(sign | 0x7fc0_0000);
    }
    // As half bits the number has the right mantissa and an exponent 8 too small (biases 7 and 15).
    let eighth = f16_to_f32((magnitude << 7) as u16);
    f32::from_bits(sign | (eighth * 256.0).to_bits())
}

/// The little-endian half at `at`, as a single.
#[inline(always)]
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
