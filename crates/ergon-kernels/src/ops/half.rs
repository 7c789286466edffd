//! Singles to halves and back, for the key and value cache.

use crate::{
    isa::Isa,
    simd::{Simd, dispatch},
};

/// IEEE 754 halves (as bits) of singles, rounded to nearest, ties to even; subnormals, infinities and NaN
/// included. The result is exact in the sense that there is only one, so the fastest instruction set is taken
/// without asking.
///
/// # Panics
/// When the lengths differ.
pub fn f32_to_f16(x: &[f32], out: &mut [u16]) {
    assert!(x.len() == out.len(), "f32_to_f16: {} to {} elements", x.len(), out.len());
    convert(fastest(), x, out);
}

/// Singles of IEEE 754 halves (as bits); exact.
///
/// # Panics
/// When the lengths differ.
pub fn f16_to_f32(x: &[u16], out: &mut [f32]) {
    assert!(x.len() == out.len(), "f16_to_f32: {} to {} elements", x.len(), out.len());
    widen(fastest(), x, out);
}

fn fastest() -> Isa {
    Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Generic)
}

dispatch! {
    fn convert(x: &[f32], out: &mut [u16]) = convert_simd;
}

#[inline(always)]
fn convert_simd<S: Simd>(s: S, x: &[f32], out: &mut [u16]) {
    let ((x, x_tail), (out, out_tail)) = (x.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for (x, out) in x.iter().zip(out) {
        s.store_f16(s.load(x), out);
    }
    let mut last = [0; 16];
    s.store_f16(s.load_partial(x_tail), &mut last);
    out_tail.copy_from_slice(&last[..out_tail.len()]);
}

dispatch! {
    fn widen(x: &[u16], out: &mut [f32]) = widen_simd;
}

#[inline(always)]
fn widen_simd<S: Simd>(s: S, x: &[u16], out: &mut [f32]) {
    let ((x, x_tail), (out, out_tail)) = (x.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for (x, out) in x.iter().zip(out) {
        s.store(s.load_f16(x), out);
    }
    let (mut last, mut widened) = ([0; 16], [0.0; 16]);
    last[..x_tail.len()].copy_from_slice(x_tail);
    s.store(s.load_f16(&last), &mut widened);
    out_tail.copy_from_slice(&widened[..out_tail.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: the half nearest to `x` by comparing exact distances with all halves of its sign.
    fn nearest(x: f32, halves: &[(f64, u16)]) -> u16 {
        let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
        let magnitude = f64::from(x.abs());
        let above = halves.partition_point(|&(half, _)| half < magnitude);
        if above == 0 {
            return sign;
        }
        let ((low, low_bits), (high, high_bits)) = (halves[above - 1], halves[above.min(halves.len() - 1)]);
        let (down, up) = (magnitude - low, high - magnitude);
        sign | if down < up || (down == up && low_bits % 2 == 0) { low_bits } else { high_bits }
    }

    /// All finite halves from 0 up, and 2^16 in the place of infinity, which is where rounding takes it from.
    fn halves() -> Vec<(f64, u16)> {
        let value = |bits: u16| {
            let (exponent, fraction) = (i32::from(bits >> 10), f64::from(bits & 0x3ff));
            if exponent == 0 {
                fraction * 2f64.powi(-24)
            } else {
                (1024.0 + fraction) * 2f64.powi(exponent - 25)
            }
        };
        (0..=0x7c00).map(|bits| (value(bits), bits)).collect()
    }

    fn converted(isa: Isa, x: &[f32]) -> Vec<u16> {
        let mut out = vec![0; x.len()];
        convert(isa, x, &mut out);
        out
    }

    #[test]
    fn rounds_to_the_nearest_even_half() {
        let halves = halves();
        let mut x =
            vec![0.0, -0.0, 65504.0, 65519.99, 65520.0, 1e9, 1e-8, f32::MIN_POSITIVE, f32::from_bits(1)];
        for pair in halves.windows(2) {
            let middle = ((pair[0].0 + pair[1].0) / 2.0) as f32;
            let next = |step: i32| f32::from_bits(middle.to_bits().wrapping_add_signed(step));
            x.extend([pair[0].0 as f32, middle, next(1), next(-1)]);
        }
        x.extend(x.clone().iter().map(|x| -x));
        for isa in Isa::available() {
            for (&x, got) in x.iter().zip(converted(isa, &x)) {
                assert_eq!(got, nearest(x, &halves), "{isa}: {x:e}");
            }
        }
    }

    #[test]
    fn widening_undoes_narrowing() {
        let all: Vec<u16> = (0..=u16::MAX).filter(|bits| bits & 0x7fff <= 0x7c00).collect();
        for isa in Isa::available() {
            let mut wide = vec![0.0; all.len()];
            widen(isa, &all, &mut wide);
            assert_eq!(converted(isa, &wide), all, "{isa}");
        }
    }

    #[test]
    fn keeps_infinities_and_nan() {
        for isa in Isa::available() {
            assert_eq!(converted(isa, &[f32::INFINITY, f32::NEG_INFINITY]), [0x7c00, 0xfc00], "{isa}");
            let quiet_or_not =
                [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xff80_0001)];
            for half in converted(isa, &quiet_or_not) {
                assert!(half & 0x7c00 == 0x7c00 && half & 0x3ff != 0, "{isa}: {half:#x}");
            }
        }
    }
}
