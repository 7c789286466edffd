//! The exponential function, sixteen at a time.

use crate::simd::Simd;

/// Below, e^x is under 2^-126 and counts as 0.
const LOWEST: f32 = -87.336_54;
/// Above, e^x counts as infinite (it would overflow at 88.72; nothing here needs the strip between).
const HIGHEST: f32 = 88.37;
/// ln 2 in two parts: the first has 9 significant bits, so that its product with n is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, from the constant term up: the polynomial of degree 4 with the
/// smallest largest error relative to e^r, found by the Remez exchange algorithm in 40-digit arithmetic; its
/// error is 3.1e-9 (0.05 ULP).
const POLYNOMIAL: [f32; 5] = [4.999_999_4e-1, 1.666_652_1e-1, 4.166_838_5e-2, 8.368_71e-3, 1.381_463_1e-3];

/// e^x with an error of at most 2 ULP: e^x = 2^n e^r, n = round(x / ln 2), r = x - n ln 2.
///
/// 0 below [`LOWEST`] and at minus infinity, infinity above [`HIGHEST`], NaN stays NaN. Nothing is fused, so
/// that all instruction sets give the same bits.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (low, high) = (s.splat(LOWEST), s.splat(HIGHEST));
    // The order of the operands of `min` and `max` keeps a NaN.
    let clamped = s.max(low, s.min(high, x));
    let n = s.round_even(s.mul(clamped, s.splat(std::f32::consts::LOG2_E)));
    let r = s.sub(clamped, s.mul(n, s.splat(LN2_HIGH)));
    let r = s.sub(r, s.mul(n, s.splat(LN2_LOW)));
    let mut p = s.splat(POLYNOMIAL[4]);
    for coefficient in [POLYNOMIAL[3], POLYNOMIAL[2], POLYNOMIAL[1], POLYNOMIAL[0]] {
        p = s.add(s.mul(p, r), s.splat(coefficient));
    }
    let e_r = s.add(s.add(s.mul(p, s.mul(r, r)), r), s.splat(1.0));
    let e_x = s.mul(e_r, s.pow2i(n));
    let e_x = s.select_lt(x, low, s.zero(), e_x);
    s.select_lt(high, x, s.splat(f32::INFINITY), e_x)
}

/// e^x for training, fused where the hardware can: at most 2 ULP, in two thirds of the instructions of [`exp`].
///
/// Arguments beyond [`LOWEST`] and [`HIGHEST`] count as these, so that the result is always positive and finite; NaN
/// stays NaN.
#[inline(always)]
pub(super) fn exp_fused<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.max(s.splat(LOWEST), s.min(s.splat(HIGHEST), x));
    let n = s.round_even(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    let mut p = s.splat(POLYNOMIAL[4]);
    for coefficient in [POLYNOMIAL[3], POLYNOMIAL[2], POLYNOMIAL[1], POLYNOMIAL[0]] {
        p = s.mul_add(p, r, s.splat(coefficient));
    }
    let e_r = s.add(s.mul_add(p, s.mul(r, r), r), s.splat(1.0));
    s.mul(e_r, s.pow2i(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, simd::dispatch};

    #[inline(always)]
    fn exp_slice_simd<S: Simd>(s: S, x: &[f32; 16], y: &mut [f32; 16]) {
        s.store(exp(s, s.load(x)), y);
    }
    dispatch! {
        fn exp_slice(x: &[f32; 16], y: &mut [f32; 16]) = exp_slice_simd;
    }

    #[inline(always)]
    fn exp_fused_slice_simd<S: Simd>(s: S, x: &[f32; 16], y: &mut [f32; 16]) {
        s.store(exp_fused(s, s.load(x)), y);
    }
    dispatch! {
        fn exp_fused_slice(x: &[f32; 16], y: &mut [f32; 16]) = exp_fused_slice_simd;
    }

    /// Distance in units of the last place of the right result.
    fn ulps(got: f32, right: f64) -> f64 {
        let exponent = right.log2().floor().max(-126.0);
        ((f64::from(got) - right) / (exponent - 23.0).exp2()).abs()
    }

    #[test]
    fn is_within_two_ulps() {
        const STEPS: u32 = 400_000;
        for isa in Isa::available() {
            let mut worst = (0.0, 0.0);
            for step in 0..STEPS / 16 {
                // Evenly spaced over the whole range, and densely around 0.
                let x: [f32; 16] = std::array::from_fn(|lane| {
                    let t = (step * 16 + lane as u32) as f32 / STEPS as f32;
                    if step % 2 == 0 { LOWEST + (HIGHEST - LOWEST) * t } else { (t - 0.5) * 2.0 }
                });
                let (mut y, mut fused) = ([0.0; 16], [0.0; 16]);
                exp_slice(isa, &x, &mut y);
                exp_fused_slice(isa, &x, &mut fused);
                for (x, y) in x.into_iter().zip(y).chain(x.into_iter().zip(fused)) {
                    let error = ulps(y, f64::from(x).exp());
                    worst = if error > worst.0 { (error, x) } else { worst };
                }
            }
            println!("{isa}: largest error {:.3} ULP at {}", worst.0, worst.1);
            assert!(worst.0 <= 2.0, "{isa}: {} ULP at {}", worst.0, worst.1);
        }
    }

    #[test]
    fn ends_of_the_range() {
        let inf = f32::INFINITY;
        let x = [
            -inf,
            -1e30,
            -200.0,
            -88.0,
            -87.34,
            0.0,
            -0.0,
            88.38,
            200.0,
            1e30,
            inf,
            f32::NAN,
            1.0,
            -1.0,
            1e-30,
            -1e-30,
        ];
        for isa in Isa::available() {
            let mut y = [7.0; 16];
            exp_slice(isa, &x, &mut y);
            assert_eq!(y[..11], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, inf, inf, inf, inf], "{isa}");
            assert!(y[11].is_nan(), "{isa}");
            assert_eq!(y[14..], [1.0, 1.0], "{isa}");

            exp_fused_slice(isa, &x, &mut y);
            assert!(y[..11].iter().all(|y| y.is_finite() && *y > 0.0), "{isa}: {y:?}");
            assert!(y[0] < 2e-38 && y[10] > 2e38 && y[11].is_nan(), "{isa}: {y:?}");
        }
    }
}
