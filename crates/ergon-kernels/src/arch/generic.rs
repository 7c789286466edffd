//! Portable Rust: arrays and loops. It runs everywhere and states what every other instruction set must compute.

use crate::{float, isa::Isa, simd::Simd};

/// The token of portable Rust; every CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct Generic;

/// `[f(0), f(1), ...]`, kept inlinable so that the compiler may vectorise it.
#[inline(always)]
fn lanes<T: Copy + Default, const N: usize>(f: impl Fn(usize) -> T) -> [T; N] {
    let mut out = [T::default(); N];
    for (lane, value) in out.iter_mut().enumerate() {
        *value = f(lane);
    }
    out
}

/// The tree of `reduce_add` and `reduce_max`.
#[inline(always)]
fn reduce<T: Copy>(mut v: [T; 16], f: impl Fn(T, T) -> T) -> T {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            v[lane] = f(v[lane], v[lane + half]);
        }
    }
    v[0]
}

impl Simd for Generic {
    const ISA: Isa = Isa::Generic;
    const BLOCK_TILE: usize = 1;
    const FLOAT_TILE: usize = 1;
    type I8 = [u8; 64];
    type I32 = [i32; 16];
    type F32 = [f32; 16];

    #[inline(always)]
    fn splat_i8(self, value: i8) -> [u8; 64] {
        [value as u8; 64]
    }
    #[inline(always)]
    fn load_u8(self, bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }
    #[inline(never)]
    fn load_i8(self, bytes: &[i8; 64]) -> [u8; 64] {
        lanes(|l| bytes[l] as u8)
    }
    #[inline(never)]
    fn join_32(self, low: &[u8; 32], high: &[u8; 32]) -> [u8; 64] {
        lanes(|l| if l < 32 { low[l] } else { high[l - 32] })
    }
    #[inline(never)]
    fn twice_32(self, bytes: &[u8; 32]) -> [u8; 64] {
        lanes(|l| bytes[l % 32])
    }
    #[inline(never)]
    fn twice_16(self, a: &[u8; 16], b: &[u8; 16]) -> [u8; 64] {
        lanes(|l| if l < 32 { a[l % 16] } else { b[l % 16] })
    }
    #[inline(never)]
    fn and(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        lanes(|l| a[l] & b[l])
    }
    #[inline(never)]
    fn or(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        lanes(|l| a[l] | b[l])
    }
    #[inline(never)]
    fn sub_i8(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        lanes(|l| a[l].wrapping_sub(b[l]))
    }
    #[inline(never)]
    fn shr_halves<const LO: i32, const HI: i32>(self, v: [u8; 64]) -> [u8; 64] {
        lanes(|l| v[l] >> if l < 32 { LO } else { HI })
    }
    #[inline(never)]
    fn shr_quarters<const A: i32, const B: i32>(self, v: [u8; 64]) -> [u8; 64] {
        lanes(|l| v[l] >> if l / 16 % 2 == 0 { A } else { B })
    }
    #[inline(never)]
    fn shl<const N: i32>(self, v: [u8; 64]) -> [u8; 64] {
        lanes(|l| v[l] << N)
    }
    #[inline(never)]
    fn lookup_16(self, table: &[i8; 16], index: [u8; 64]) -> [u8; 64] {
        lanes(|l| table[index[l] as usize & 15] as u8)
    }
    #[inline(never)]
    fn expand_bits(self, bits: u64) -> [u8; 64] {
        lanes(|l| if bits >> l & 1 == 1 { 0xff } else { 0 })
    }
    #[inline(never)]
    fn dot_i8(self, acc: [i32; 16], w: [u8; 64], a: [u8; 64]) -> [i32; 16] {
        let product = |k: usize| w[k] as i8 as i32 * a[k] as i8 as i32;
        lanes(|l| {
            let four = product(4 * l) + product(4 * l + 1) + product(4 * l + 2) + product(4 * l + 3);
            acc[l].wrapping_add(four)
        })
    }
    #[inline(never)]
    fn dot_u7(self, acc: [i32; 16], w: [u8; 64], a: [u8; 64]) -> [i32; 16] {
        self.dot_i8(acc, w, a)
    }
    #[inline(always)]
    fn store_u8(self, v: [u8; 64], out: &mut [u8; 64]) {
        *out = v;
    }
    #[inline(never)]
    fn repeat_4_bytes(self, bytes: [i8; 4]) -> [u8; 64] {
        lanes(|l| bytes[l % 4] as u8)
    }
    #[inline(never)]
    fn widen<const Q: usize>(self, v: [u8; 64]) -> [i32; 16] {
        lanes(|l| v[16 * Q + l] as i8 as i32)
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> [i32; 16] {
        [value; 16]
    }
    #[inline(always)]
    fn load_i32(self, values: &[i32; 16]) -> [i32; 16] {
        *values
    }
    #[inline(always)]
    fn store_i32(self, v: [i32; 16], out: &mut [i32; 16]) {
        *out = v;
    }
    #[inline(never)]
    fn widen_i8(self, values: &[i8; 16]) -> [i32; 16] {
        lanes(|l| values[l] as i32)
    }
    #[inline(never)]
    fn widen_u8(self, values: &[u8; 16]) -> [i32; 16] {
        lanes(|l| values[l] as i32)
    }
    #[inline(never)]
    fn add_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        lanes(|l| a[l].wrapping_add(b[l]))
    }
    #[inline(never)]
    fn mul_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        lanes(|l| a[l].wrapping_mul(b[l]))
    }
    #[inline(never)]
    fn mul_i16(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        // What holds here holds on instruction sets that read no more than 16 bits.
        debug_assert!(a.iter().chain(&b).all(|lane| i16::try_from(*lane).is_ok()), "{a:?} times {b:?}");
        self.mul_i32(a, b)
    }
    #[inline(never)]
    fn dot_pairs(self, acc: [i32; 16], a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        let lower = |v: i32| i32::from(v as i16);
        lanes(|l| acc[l].wrapping_add(lower(a[l]) * lower(b[l])).wrapping_add((a[l] >> 16) * (b[l] >> 16)))
    }
    #[inline(never)]
    fn max_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        lanes(|l| a[l].max(b[l]))
    }
    #[inline(never)]
    fn repeat_4_i32<const G: usize>(self, v: [i32; 16]) -> [i32; 16] {
        lanes(|l| v[4 * G + l / 4])
    }
    #[inline(never)]
    fn repeat_8_i32<const G: usize>(self, v: [i32; 16]) -> [i32; 16] {
        lanes(|l| v[2 * G + l / 8])
    }
    #[inline(never)]
    fn reduce_add_i32(self, v: [i32; 16]) -> i32 {
        reduce(v, i32::wrapping_add)
    }
    #[inline(never)]
    fn reduce_max_i32(self, v: [i32; 16]) -> i32 {
        reduce(v, i32::max)
    }
    #[inline(never)]
    fn store_i8(self, v: [i32; 16], out: &mut [i8; 16]) {
        *out = lanes(|l| v[l] as i8);
    }
    #[inline(never)]
    fn to_f32(self, v: [i32; 16]) -> [f32; 16] {
        lanes(|l| v[l] as f32)
    }
    #[inline(never)]
    fn as_f32(self, v: [i32; 16]) -> [f32; 16] {
        lanes(|l| f32::from_bits(v[l] as u32))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 16] {
        [value; 16]
    }
    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [f32; 16] {
        *values
    }
    #[inline(always)]
    fn store(self, v: [f32; 16], out: &mut [f32; 16]) {
        *out = v;
    }
    #[inline(never)]
    fn load_f32_bytes(self, bytes: &[u8; 64]) -> [f32; 16] {
        let (numbers, _) = bytes.as_chunks::<4>();
        lanes(|l| f32::from_le_bytes(numbers[l]))
    }
    #[inline(never)]
    fn load_f16_bytes(self, bytes: &[u8; 32]) -> [f32; 16] {
        let (numbers, _) = bytes.as_chunks::<2>();
        lanes(|l| float::f16_to_f32(u16::from_le_bytes(numbers[l])))
    }
    #[inline(never)]
    fn load_bf16_bytes(self, bytes: &[u8; 32]) -> [f32; 16] {
        let (numbers, _) = bytes.as_chunks::<2>();
        lanes(|l| float::bf16_to_f32(u16::from_le_bytes(numbers[l])))
    }
    #[inline(never)]
    fn halves(self, low: [u16; 8], high: [u16; 8]) -> [f32; 16] {
        lanes(|l| float::f16_to_f32(if l < 8 { low[l] } else { high[l - 8] }))
    }
    #[inline(never)]
    fn load_f8e4m3_bytes(self, bytes: &[u8; 16]) -> [f32; 16] {
        lanes(|l| float::f8e4m3_to_f32(bytes[l]))
    }
    #[inline(never)]
    fn store_f16(self, v: [f32; 16], out: &mut [u16; 16]) {
        *out = lanes(|l| float::f32_to_f16(v[l]));
    }
    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| a[l] / b[l])
    }
    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        // f32::mul_add without the instruction is a library call, some hundred times slower.
        lanes(|l| a[l] * b[l] + c[l])
    }
    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn sqrt(self, v: [f32; 16]) -> [f32; 16] {
        lanes(|l| v[l].sqrt())
    }
    #[inline(always)]
    fn abs(self, v: [f32; 16]) -> [f32; 16] {
        lanes(|l| v[l].abs())
    }
    #[inline(never)]
    fn round_even(self, v: [f32; 16]) -> [f32; 16] {
        lanes(|l| v[l].round_ties_even())
    }
    #[inline(never)]
    fn round_to_i32(self, v: [f32; 16]) -> [i32; 16] {
        lanes(|l| v[l].round_ties_even() as i32)
    }
    #[inline(never)]
    fn pow2i(self, n: [f32; 16]) -> [f32; 16] {
        lanes(|l| f32::from_bits(((n[l] as i32 + 127) as u32) << 23))
    }
    #[inline(never)]
    fn select_lt(self, a: [f32; 16], b: [f32; 16], x: [f32; 16], y: [f32; 16]) -> [f32; 16] {
        lanes(|l| if a[l] < b[l] { x[l] } else { y[l] })
    }
    #[inline(never)]
    fn as_i32(self, v: [f32; 16]) -> [i32; 16] {
        lanes(|l| v[l].to_bits() as i32)
    }
    #[inline(never)]
    fn lower_half(self, v: [f32; 16]) -> [f32; 16] {
        lanes(|l| if l < 8 { v[l] } else { 0.0 })
    }
    #[inline(never)]
    fn reduce_add(self, v: [f32; 16]) -> f32 {
        reduce(v, |a, b| a + b)
    }
    #[inline(never)]
    fn reduce_max(self, v: [f32; 16]) -> f32 {
        reduce(v, |a, b| if a > b { a } else { b })
    }
}
