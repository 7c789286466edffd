//! NEON: four registers per logical vector. `DOT` says whether the CPU has `sdot`, which is asked for at run time.

use core::arch::{aarch64::*, asm};

use crate::{isa::Isa, simd::Simd};

/// Proof that the CPU has NEON (every 64-bit Arm has) and, if `DOT`, the dot product extension.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>(());

impl<const DOT: bool> Neon<DOT> {
    /// The token, if the CPU has the instructions. The answer is cached: this costs a load.
    #[inline]
    pub(crate) fn new() -> Option<Neon<DOT>> {
        (!DOT || std::arch::is_aarch64_feature_detected!("dotprod")).then_some(Neon(()))
    }
}

/// Intrinsics in the body of a method.
macro_rules! intrinsics {
    ($body:expr) => {{
        // SAFETY: NEON is part of the target, and the pointers read or written stay inside references to arrays of the
        // width of the logical vector; no access needs alignment beyond that of its element.
        #[allow(unused_unsafe)] // Intrinsics without pointers are safe where the target has the feature.
        unsafe {
            $body
        }
    }};
}

/// The same operation on all four registers.
macro_rules! each {
    ($op:expr, $a:expr) => {
        intrinsics!([$op($a[0]), $op($a[1]), $op($a[2]), $op($a[3])])
    };
    ($op:expr, $a:expr, $b:expr) => {
        intrinsics!([$op($a[0], $b[0]), $op($a[1], $b[1]), $op($a[2], $b[2]), $op($a[3], $b[3])])
    };
}

type Bytes = [int8x16_t; 4];
type Ints = [int32x4_t; 4];
type Floats = [float32x4_t; 4];

impl<const DOT: bool> Neon<DOT> {
    /// 16 bytes.
    #[inline(always)]
    fn load_16(self, bytes: &[u8], at: usize) -> int8x16_t {
        let bytes: &[u8; 16] = bytes[at..].first_chunk().expect("the caller's array is longer");
        intrinsics!(vreinterpretq_s8_u8(vld1q_u8(bytes.as_ptr())))
    }

    /// Each byte shifted right; `vshl` by a negative count shifts right, and takes 0.
    #[inline(always)]
    fn shr(self, v: int8x16_t, count: i32) -> int8x16_t {
        intrinsics!(vreinterpretq_s8_u8(vshlq_u8(vreinterpretq_u8_s8(v), vdupq_n_s8(-count as i8))))
    }

    /// 16 signed bytes, widened.
    #[inline(always)]
    fn widen_16(self, v: int8x16_t) -> Ints {
        intrinsics!({
            let (low, high) = (vmovl_s8(vget_low_s8(v)), vmovl_s8(vget_high_s8(v)));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_s16(vget_high_s16(low)),
                vmovl_s16(vget_low_s16(high)),
                vmovl_s16(vget_high_s16(high)),
            ]
        })
    }

    /// `dot_i8` for one register.
    #[inline(always)]
    fn dot_16(self, acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        if DOT {
            let mut acc = acc;
            // The intrinsic is not stable yet.
            // SAFETY: the token proves that the CPU has `sdot`, which only touches the registers named.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {acc:v}.4s, {w:v}.16b, {a:v}.16b",
                    acc = inout(vreg) acc,
                    w = in(vreg) w,
                    a = in(vreg) a,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            return acc;
        }
        intrinsics!({
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
            let high = vmull_s8(vget_high_s8(w), vget_high_s8(a));
            // Each product is exact in 16 bits; pairs, then pairs of pairs, are added in 32.
            let sums = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
            vaddq_s32(acc, sums)
        })
    }

    /// Four halves, widened by integer arithmetic (the half type's intrinsics are not stable yet).
    #[inline(always)]
    fn halves_to_f32(self, bits: uint16x4_t) -> float32x4_t {
        intrinsics!({
            let wide = vmovl_u16(bits);
            let sign = vshlq_n_u32::<16>(vandq_u32(wide, vdupq_n_u32(0x8000)));
            let magnitude = vandq_u32(wide, vdupq_n_u32(0x7fff));
            // Normal: rebias the exponent. Infinity and NaN: the exponent goes to the top, and NaN becomes quiet.
            let shifted = vshlq_n_u32::<13>(magnitude);
            let normal = vaddq_u32(shifted, vdupq_n_u32((127 - 15) << 23));
            let nan = vandq_u32(vcgtq_u32(magnitude, vdupq_n_u32(0x7c00)), vdupq_n_u32(0x0040_0000));
            let special = vorrq_u32(vorrq_u32(shifted, vdupq_n_u32(0x7f80_0000)), nan);
            // Subnormal: units of 2^-24.
            let unit = vdupq_n_f32(f32::from_bits((127 - 24) << 23));
            let small = vreinterpretq_u32_f32(vmulq_f32(vcvtq_f32_u32(magnitude), unit));
            let finite = vbslq_u32(vcgeq_u32(magnitude, vdupq_n_u32(0x0400)), normal, small);
            let all = vbslq_u32(vcgeq_u32(magnitude, vdupq_n_u32(0x7c00)), special, finite);
            vreinterpretq_f32_u32(vorrq_u32(all, sign))
        })
    }
}

impl<const DOT: bool> Simd for Neon<DOT> {
    const ISA: Isa = Isa::Neon;
    const BLOCK_TILE: usize = 4;
    const FLOAT_TILE: usize = 2;
    type I8 = Bytes;
    type I32 = Ints;
    type F32 = Floats;

    #[inline(always)]
    fn splat_i8(self, value: i8) -> Bytes {
        intrinsics!([vdupq_n_s8(value); 4])
    }
    #[inline(always)]
    fn load_u8(self, bytes: &[u8; 64]) -> Bytes {
        [self.load_16(bytes, 0), self.load_16(bytes, 16), self.load_16(bytes, 32), self.load_16(bytes, 48)]
    }
    #[inline(always)]
    fn load_i8(self, bytes: &[i8; 64]) -> Bytes {
        let p = bytes.as_ptr();
        intrinsics!([vld1q_s8(p), vld1q_s8(p.add(16)), vld1q_s8(p.add(32)), vld1q_s8(p.add(48))])
    }
    #[inline(always)]
    fn join_32(self, low: &[u8; 32], high: &[u8; 32]) -> Bytes {
        [self.load_16(low, 0), self.load_16(low, 16), self.load_16(high, 0), self.load_16(high, 16)]
    }
    #[inline(always)]
    fn twice_32(self, bytes: &[u8; 32]) -> Bytes {
        self.join_32(bytes, bytes)
    }
    #[inline(always)]
    fn twice_16(self, a: &[u8; 16], b: &[u8; 16]) -> Bytes {
        let (a, b) = (self.load_16(a, 0), self.load_16(b, 0));
        [a, a, b, b]
    }
    #[inline(always)]
    fn and(self, a: Bytes, b: Bytes) -> Bytes {
        each!(vandq_s8, a, b)
    }
    #[inline(always)]
    fn or(self, a: Bytes, b: Bytes) -> Bytes {
        each!(vorrq_s8, a, b)
    }
    #[inline(always)]
    fn sub_i8(self, a: Bytes, b: Bytes) -> Bytes {
        each!(vsubq_s8, a, b)
    }
    #[inline(always)]
    fn shr_halves<const LO: i32, const HI: i32>(self, v: Bytes) -> Bytes {
        [self.shr(v[0], LO), self.shr(v[1], LO), self.shr(v[2], HI), self.shr(v[3], HI)]
    }
    #[inline(always)]
    fn shr_quarters<const A: i32, const B: i32>(self, v: Bytes) -> Bytes {
        [self.shr(v[0], A), self.shr(v[1], B), self.shr(v[2], A), self.shr(v[3], B)]
    }
    #[inline(always)]
    fn shl<const N: i32>(self, v: Bytes) -> Bytes {
        each!(vshlq_n_s8::<N>, v)
    }
    #[inline(always)]
    fn lookup_16(self, table: &[i8; 16], index: Bytes) -> Bytes {
        intrinsics!({
            let table = vld1q_s8(table.as_ptr());
            [
                vqtbl1q_s8(table, vreinterpretq_u8_s8(index[0])),
                vqtbl1q_s8(table, vreinterpretq_u8_s8(index[1])),
                vqtbl1q_s8(table, vreinterpretq_u8_s8(index[2])),
                vqtbl1q_s8(table, vreinterpretq_u8_s8(index[3])),
            ]
        })
    }
    #[inline(always)]
    fn expand_bits(self, bits: u64) -> Bytes {
        const BIT_OF_LANE: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        intrinsics!({
            let bit = vld1q_u8(BIT_OF_LANE.as_ptr());
            [
                vreinterpretq_s8_u8(vtstq_u8(vcombine_u8(vdup_n_u8(a), vdup_n_u8(b)), bit)),
                vreinterpretq_s8_u8(vtstq_u8(vcombine_u8(vdup_n_u8(c), vdup_n_u8(d)), bit)),
                vreinterpretq_s8_u8(vtstq_u8(vcombine_u8(vdup_n_u8(e), vdup_n_u8(f)), bit)),
                vreinterpretq_s8_u8(vtstq_u8(vcombine_u8(vdup_n_u8(g), vdup_n_u8(h)), bit)),
            ]
        })
    }
    #[inline(always)]
    fn dot_i8(self, acc: Ints, w: Bytes, a: Bytes) -> Ints {
        [
            self.dot_16(acc[0], w[0], a[0]),
            self.dot_16(acc[1], w[1], a[1]),
            self.dot_16(acc[2], w[2], a[2]),
            self.dot_16(acc[3], w[3], a[3]),
        ]
    }
    #[inline(always)]
    fn dot_u7(self, acc: Ints, w: Bytes, a: Bytes) -> Ints {
        self.dot_i8(acc, w, a)
    }
    #[inline(always)]
    fn store_u8(self, v: Bytes, out: &mut [u8; 64]) {
        for (v, out) in v.into_iter().zip(out.as_chunks_mut::<16>().0) {
            intrinsics!(vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_s8(v)));
        }
    }
    #[inline(always)]
    fn repeat_4_bytes(self, bytes: [i8; 4]) -> Bytes {
        let four = i32::from_le_bytes(bytes.map(|byte| byte as u8));
        intrinsics!([vreinterpretq_s8_s32(vdupq_n_s32(four)); 4])
    }
    #[inline(always)]
    fn widen<const Q: usize>(self, v: Bytes) -> Ints {
        self.widen_16(v[Q])
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Ints {
        intrinsics!([vdupq_n_s32(value); 4])
    }
    #[inline(always)]
    fn load_i32(self, values: &[i32; 16]) -> Ints {
        let p = values.as_ptr();
        intrinsics!([vld1q_s32(p), vld1q_s32(p.add(4)), vld1q_s32(p.add(8)), vld1q_s32(p.add(12))])
    }
    #[inline(always)]
    fn store_i32(self, v: Ints, out: &mut [i32; 16]) {
        let p = out.as_mut_ptr();
        intrinsics!({
            vst1q_s32(p, v[0]);
            vst1q_s32(p.add(4), v[1]);
            vst1q_s32(p.add(8), v[2]);
            vst1q_s32(p.add(12), v[3]);
        })
    }
    #[inline(always)]
    fn widen_i8(self, values: &[i8; 16]) -> Ints {
        self.widen_16(intrinsics!(vld1q_s8(values.as_ptr())))
    }
    #[inline(always)]
    fn widen_u8(self, values: &[u8; 16]) -> Ints {
        let mut lanes = [0; 16];
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = *value as i32;
        }
        self.load_i32(&lanes)
    }
    #[inline(always)]
    fn add_i32(self, a: Ints, b: Ints) -> Ints {
        each!(vaddq_s32, a, b)
    }
    #[inline(always)]
    fn mul_i32(self, a: Ints, b: Ints) -> Ints {
        each!(vmulq_s32, a, b)
    }
    #[inline(always)]
    fn mul_i16(self, a: Ints, b: Ints) -> Ints {
        each!(vmulq_s32, a, b)
    }
    #[inline(always)]
    fn dot_pairs(self, acc: Ints, a: Ints, b: Ints) -> Ints {
        let mut sums = acc;
        for r in 0..4 {
            intrinsics!({
                let (a, b) = (vreinterpretq_s16_s32(a[r]), vreinterpretq_s16_s32(b[r]));
                let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
                sums[r] = vaddq_s32(sums[r], vpaddq_s32(low, vmull_high_s16(a, b)));
            });
        }
        sums
    }
    #[inline(always)]
    fn max_i32(self, a: Ints, b: Ints) -> Ints {
        each!(vmaxq_s32, a, b)
    }
    #[inline(always)]
    fn repeat_4_i32<const G: usize>(self, v: Ints) -> Ints {
        intrinsics!([
            vdupq_laneq_s32::<0>(v[G]),
            vdupq_laneq_s32::<1>(v[G]),
            vdupq_laneq_s32::<2>(v[G]),
            vdupq_laneq_s32::<3>(v[G]),
        ])
    }
    #[inline(always)]
    fn repeat_8_i32<const G: usize>(self, v: Ints) -> Ints {
        let four = v[G / 2];
        let (low, high) = if G.is_multiple_of(2) {
            intrinsics!((vdupq_laneq_s32::<0>(four), vdupq_laneq_s32::<1>(four)))
        } else {
            intrinsics!((vdupq_laneq_s32::<2>(four), vdupq_laneq_s32::<3>(four)))
        };
        [low, low, high, high]
    }
    #[inline(always)]
    fn reduce_add_i32(self, v: Ints) -> i32 {
        intrinsics!(vaddvq_s32(vaddq_s32(vaddq_s32(v[0], v[2]), vaddq_s32(v[1], v[3]))))
    }
    #[inline(always)]
    fn reduce_max_i32(self, v: Ints) -> i32 {
        intrinsics!(vmaxvq_s32(vmaxq_s32(vmaxq_s32(v[0], v[2]), vmaxq_s32(v[1], v[3]))))
    }
    #[inline(always)]
    fn store_i8(self, v: Ints, out: &mut [i8; 16]) {
        intrinsics!({
            let low = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1]));
            let high = vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3]));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(vmovn_s16(low), vmovn_s16(high)))
        })
    }
    #[inline(always)]
    fn to_f32(self, v: Ints) -> Floats {
        each!(vcvtq_f32_s32, v)
    }
    #[inline(always)]
    fn as_f32(self, v: Ints) -> Floats {
        each!(vreinterpretq_f32_s32, v)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        intrinsics!([vdupq_n_f32(value); 4])
    }
    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> Floats {
        let p = values.as_ptr();
        intrinsics!([vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))])
    }
    #[inline(always)]
    fn store(self, v: Floats, out: &mut [f32; 16]) {
        let p = out.as_mut_ptr();
        intrinsics!({
            vst1q_f32(p, v[0]);
            vst1q_f32(p.add(4), v[1]);
            vst1q_f32(p.add(8), v[2]);
            vst1q_f32(p.add(12), v[3]);
        })
    }
    #[inline(always)]
    fn load_f32_bytes(self, bytes: &[u8; 64]) -> Floats {
        each!(vreinterpretq_f32_s8, self.load_u8(bytes))
    }
    #[inline(always)]
    fn load_f16_bytes(self, bytes: &[u8; 32]) -> Floats {
        let (a, b) = (self.load_16(bytes, 0), self.load_16(bytes, 16));
        let (a, b) = intrinsics!((vreinterpretq_u16_s8(a), vreinterpretq_u16_s8(b)));
        intrinsics!([
            self.halves_to_f32(vget_low_u16(a)),
            self.halves_to_f32(vget_high_u16(a)),
            self.halves_to_f32(vget_low_u16(b)),
            self.halves_to_f32(vget_high_u16(b)),
        ])
    }
    #[inline(always)]
    fn load_bf16_bytes(self, bytes: &[u8; 32]) -> Floats {
        let (a, b) = (self.load_16(bytes, 0), self.load_16(bytes, 16));
        intrinsics!({
            let (a, b) = (vreinterpretq_u16_s8(a), vreinterpretq_u16_s8(b));
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(a))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(a))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(b))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(b))),
            ]
        })
    }
    #[inline(always)]
    fn halves(self, low: [u16; 8], high: [u16; 8]) -> Floats {
        intrinsics!({
            let (low, high) = (vld1q_u16(low.as_ptr()), vld1q_u16(high.as_ptr()));
            [
                self.halves_to_f32(vget_low_u16(low)),
                self.halves_to_f32(vget_high_u16(low)),
                self.halves_to_f32(vget_low_u16(high)),
                self.halves_to_f32(vget_high_u16(high)),
            ]
        })
    }
    #[inline(always)]
    fn load_f8e4m3_bytes(self, bytes: &[u8; 16]) -> Floats {
        // As half bits the number has the right mantissa and an exponent 8 too small, see `float::f8e4m3_to_f32`.
        intrinsics!({
            let v = vld1q_u8(bytes.as_ptr());
            let magnitude = vandq_u8(v, vdupq_n_u8(0x7f));
            let sign = vandq_u8(v, vdupq_n_u8(0x80));
            let nan = vandq_u8(vceqq_u8(magnitude, vdupq_n_u8(0x7f)), vdupq_n_u8(0x7e));
            let top = vorrq_u8(sign, nan);
            let low = vorrq_u16(
                vshlq_n_u16::<7>(vmovl_u8(vget_low_u8(magnitude))),
                vshlq_n_u16::<8>(vmovl_u8(vget_low_u8(top))),
            );
            let high = vorrq_u16(
                vshlq_n_u16::<7>(vmovl_u8(vget_high_u8(magnitude))),
                vshlq_n_u16::<8>(vmovl_u8(vget_high_u8(top))),
            );
            let eighths = [
                self.halves_to_f32(vget_low_u16(low)),
                self.halves_to_f32(vget_high_u16(low)),
                self.halves_to_f32(vget_low_u16(high)),
                self.halves_to_f32(vget_high_u16(high)),
            ];
            self.mul(eighths, self.splat(256.0))
        })
    }
    #[inline(always)]
    fn store_f16(self, v: Floats, out: &mut [u16; 16]) {
        let mut lanes = [0.0; 16];
        self.store(v, &mut lanes);
        for (out, lane) in out.iter_mut().zip(lanes) {
            *out = crate::float::f32_to_f16(lane);
        }
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        each!(vaddq_f32, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Floats, b: Floats) -> Floats {
        each!(vsubq_f32, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        each!(vmulq_f32, a, b)
    }
    #[inline(always)]
    fn div(self, a: Floats, b: Floats) -> Floats {
        each!(vdivq_f32, a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Floats, b: Floats, c: Floats) -> Floats {
        // vfma takes the addend first.
        intrinsics!([
            vfmaq_f32(c[0], a[0], b[0]),
            vfmaq_f32(c[1], a[1], b[1]),
            vfmaq_f32(c[2], a[2], b[2]),
            vfmaq_f32(c[3], a[3], b[3]),
        ])
    }
    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        // vmaxq gives NaN where either is NaN; the trait promises the second.
        self.select_lt(b, a, a, b)
    }
    #[inline(always)]
    fn min(self, a: Floats, b: Floats) -> Floats {
        self.select_lt(a, b, a, b)
    }
    #[inline(always)]
    fn sqrt(self, v: Floats) -> Floats {
        each!(vsqrtq_f32, v)
    }
    #[inline(always)]
    fn abs(self, v: Floats) -> Floats {
        each!(vabsq_f32, v)
    }
    #[inline(always)]
    fn round_even(self, v: Floats) -> Floats {
        each!(vrndnq_f32, v)
    }
    #[inline(always)]
    fn round_to_i32(self, v: Floats) -> Ints {
        each!(vcvtnq_s32_f32, v)
    }
    #[inline(always)]
    fn pow2i(self, n: Floats) -> Floats {
        let exponent = self.add_i32(self.round_to_i32(n), self.splat_i32(127));
        self.as_f32(each!(vshlq_n_s32::<23>, exponent))
    }
    #[inline(always)]
    fn select_lt(self, a: Floats, b: Floats, x: Floats, y: Floats) -> Floats {
        intrinsics!([
            vbslq_f32(vcltq_f32(a[0], b[0]), x[0], y[0]),
            vbslq_f32(vcltq_f32(a[1], b[1]), x[1], y[1]),
            vbslq_f32(vcltq_f32(a[2], b[2]), x[2], y[2]),
            vbslq_f32(vcltq_f32(a[3], b[3]), x[3], y[3]),
        ])
    }
    #[inline(always)]
    fn as_i32(self, v: Floats) -> Ints {
        each!(vreinterpretq_s32_f32, v)
    }
    #[inline(always)]
    fn lower_half(self, v: Floats) -> Floats {
        let zero = self.zero();
        [v[0], v[1], zero[2], zero[3]]
    }
    #[inline(always)]
    fn reduce_add(self, v: Floats) -> f32 {
        intrinsics!({
            let four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        })
    }
    #[inline(always)]
    fn reduce_max(self, v: Floats) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(v, &mut lanes);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                let (a, b) = (lanes[lane], lanes[lane + half]);
                lanes[lane] = if a > b { a } else { b };
            }
        }
        lanes[0]
    }
    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // The intrinsic is not stable yet.
        // SAFETY: `prfm` reads no memory as far as the program can tell and never faults.
        unsafe {
            asm!("prfm pldl1keep, [{address}]", address = in(reg) address, options(nostack, preserves_flags, readonly));
        }
    }
}
