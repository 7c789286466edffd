//! AVX2 with FMA and F16C: two registers per logical vector.

use core::arch::x86_64::*;

use crate::isa::Isa;
use crate::simd::{Simd, Step};

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(super) ());

impl Avx2 {
    /// The token, if the CPU has the instructions. The answer is cached: this costs a load.
    #[inline]
    pub(crate) fn new() -> Option<Avx2> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (has && is_x86_feature_detected!("f16c")).then_some(Avx2(()))
    }
}

/// Intrinsics in the body of a method.
macro_rules! intrinsics {
    ($body:expr) => {{
        // SAFETY: `self` proves that the CPU has every instruction set used in this file, and the pointers read or
        // written stay inside references to arrays of the width of the logical vector; no access needs alignment.
        unsafe { $body }
    }};
}

/// The same operation on both registers.
macro_rules! both {
    ($op:expr, $a:expr) => {
        intrinsics!([$op($a[0]), $op($a[1])])
    };
    ($op:expr, $a:expr, $b:expr) => {
        intrinsics!([$op($a[0], $b[0]), $op($a[1], $b[1])])
    };
}

type Ints = [__m256i; 2];
type Floats = [__m256; 2];

impl Avx2 {
    /// 32 bytes.
    #[inline(always)]
    fn load_32(self, bytes: &[u8; 32]) -> __m256i {
        intrinsics!(_mm256_loadu_si256(bytes.as_ptr().cast()))
    }

    /// 16 bytes, twice.
    #[inline(always)]
    fn load_16_twice(self, bytes: &[u8; 16]) -> __m256i {
        intrinsics!(_mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast())))
    }

    /// Byte `l` is 0xff where bit `l` is set.
    #[inline(always)]
    fn expand_32_bits(self, bits: u32) -> __m256i {
        // Every byte gets the byte of `bits` that holds its bit, then keeps that bit alone.
        intrinsics!({
            let byte_of_lane =
                _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let bit_of_lane = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), byte_of_lane);
            _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of_lane), bit_of_lane)
        })
    }

    /// 16 bits to 32-bit sums: `u7 * i8` products whose sum of two fits in 16 bits, then pairs of those.
    #[inline(always)]
    fn dot_32(self, acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        intrinsics!({
            let pairs = _mm256_maddubs_epi16(unsigned, signed);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    /// Half of `load_f8e4m3_bytes`.
    #[inline(always)]
    fn f8_halves(self, bytes: &[u8; 16]) -> __m256i {
        intrinsics!({
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()));
            let magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
            let sign = _mm256_slli_epi16::<8>(_mm256_sub_epi16(wide, magnitude));
            let nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
            let nan = _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00));
            _mm256_or_si256(_mm256_or_si256(sign, _mm256_slli_epi16::<7>(magnitude)), nan)
        })
    }

    /// 16 halves, widened.
    #[inline(always)]
    fn widen_halves(self, halves: __m256i) -> Floats {
        intrinsics!([
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
        ])
    }

    /// Lane `a` four times, then lane `b` four times.
    #[inline(always)]
    fn pick(self, v: __m256i, [a, b]: [i32; 2]) -> __m256i {
        intrinsics!(_mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(a, a, a, a, b, b, b, b)))
    }

    /// Eight halves, widened.
    #[inline(always)]
    fn eight_halves(self, bits: [u16; 8]) -> __m256 {
        let [a, b, c, d, e, f, g, h] = bits.map(|bits| bits as i16);
        intrinsics!(_mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h)))
    }
}

impl Avx2 {
    /// Sums of neighbours, twice over: each half holds its part of four registers' sums.
    #[inline(always)]
    fn quarter_sums(self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        intrinsics!(_mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d)))
    }

    /// Columns of four rows: the first halves hold columns 0 to 3, the second 4 to 7.
    #[inline(always)]
    fn transpose_4(self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
        intrinsics!({
            let (low, low_2) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (high, high_2) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(low, low_2),
                _mm256_unpackhi_epi64(low, low_2),
                _mm256_unpacklo_epi64(high, high_2),
                _mm256_unpackhi_epi64(high, high_2),
            ]
        })
    }

    /// `round_bf16` of one register.
    #[inline(always)]
    fn round_8(self, v: __m256) -> __m256 {
        intrinsics!({
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v);
            let up = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), nan);
            _mm256_and_ps(up, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32.cast_signed())))
        })
    }
}

impl Simd for Avx2 {
    const ISA: Isa = Isa::Avx2;
    const BLOCK_TILE: usize = 4;
    const FLOAT_TILE: usize = 2;
    type I8 = Ints;
    type I32 = Ints;
    type F32 = Floats;

    #[inline(always)]
    fn splat_i8(self, value: i8) -> Ints {
        intrinsics!([_mm256_set1_epi8(value); 2])
    }
    #[inline(always)]
    fn load_u8(self, bytes: &[u8; 64]) -> Ints {
        let pointer = bytes.as_ptr().cast::<__m256i>();
        intrinsics!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }
    #[inline(always)]
    fn load_i8(self, bytes: &[i8; 64]) -> Ints {
        let pointer = bytes.as_ptr().cast::<__m256i>();
        intrinsics!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }
    #[inline(always)]
    fn join_32(self, low: &[u8; 32], high: &[u8; 32]) -> Ints {
        [self.load_32(low), self.load_32(high)]
    }
    #[inline(always)]
    fn twice_32(self, bytes: &[u8; 32]) -> Ints {
        [self.load_32(bytes); 2]
    }
    #[inline(always)]
    fn twice_16(self, a: &[u8; 16], b: &[u8; 16]) -> Ints {
        [self.load_16_twice(a), self.load_16_twice(b)]
    }
    #[inline(always)]
    fn and(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn or(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn sub_i8(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_sub_epi8, a, b)
    }
    #[inline(always)]
    fn shr_halves<const LO: i32, const HI: i32>(self, v: Ints) -> Ints {
        intrinsics!([_mm256_srli_epi16::<LO>(v[0]), _mm256_srli_epi16::<HI>(v[1])])
    }
    #[inline(always)]
    fn shr_quarters<const A: i32, const B: i32>(self, v: Ints) -> Ints {
        let count = intrinsics!([_mm256_setr_epi32(A, A, A, A, B, B, B, B); 2]);
        both!(_mm256_srlv_epi32, v, count)
    }
    #[inline(always)]
    fn shl<const N: i32>(self, v: Ints) -> Ints {
        both!(_mm256_slli_epi16::<N>, v)
    }
    #[inline(always)]
    fn lookup_16(self, table: &[i8; 16], index: Ints) -> Ints {
        let table = intrinsics!(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())));
        both!(_mm256_shuffle_epi8, [table; 2], index)
    }
    #[inline(always)]
    fn expand_bits(self, bits: u64) -> Ints {
        [self.expand_32_bits(bits as u32), self.expand_32_bits((bits >> 32) as u32)]
    }
    #[inline(always)]
    fn dot_i8(self, acc: Ints, w: Ints, a: Ints) -> Ints {
        // vpmaddubsw takes unsigned times signed, so the sign of `w` moves to `a`, which cannot be -128.
        let signed = both!(_mm256_sign_epi8, a, w);
        self.dot_u7(acc, both!(_mm256_abs_epi8, w), signed)
    }
    #[inline(always)]
    fn dot_u7(self, acc: Ints, w: Ints, a: Ints) -> Ints {
        [self.dot_32(acc[0], w[0], a[0]), self.dot_32(acc[1], w[1], a[1])]
    }
    #[inline(always)]
    fn store_u8(self, v: Ints, out: &mut [u8; 64]) {
        let pointer = out.as_mut_ptr().cast::<__m256i>();
        intrinsics!({
            _mm256_storeu_si256(pointer, v[0]);
            _mm256_storeu_si256(pointer.add(1), v[1]);
        })
    }
    #[inline(always)]
    fn repeat_4_bytes(self, bytes: [i8; 4]) -> Ints {
        self.splat_i32(i32::from_le_bytes(bytes.map(|byte| byte as u8)))
    }
    #[inline(always)]
    fn widen<const Q: usize>(self, v: Ints) -> Ints {
        intrinsics!({
            let half = v[Q / 2];
            let sixteen = match Q % 2 {
                0 => _mm256_castsi256_si128(half),
                _ => _mm256_extracti128_si256::<1>(half),
            };
            [_mm256_cvtepi8_epi32(sixteen), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(sixteen, sixteen))]
        })
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Ints {
        intrinsics!([_mm256_set1_epi32(value); 2])
    }
    #[inline(always)]
    fn load_i32(self, values: &[i32; 16]) -> Ints {
        let pointer = values.as_ptr().cast::<__m256i>();
        intrinsics!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }
    #[inline(always)]
    fn store_i32(self, v: Ints, out: &mut [i32; 16]) {
        let pointer = out.as_mut_ptr().cast::<__m256i>();
        intrinsics!({
            _mm256_storeu_si256(pointer, v[0]);
            _mm256_storeu_si256(pointer.add(1), v[1]);
        })
    }
    #[inline(always)]
    fn widen_i8(self, values: &[i8; 16]) -> Ints {
        intrinsics!({
            let bytes = _mm_loadu_si128(values.as_ptr().cast());
            [_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))]
        })
    }
    #[inline(always)]
    fn widen_u8(self, values: &[u8; 16]) -> Ints {
        intrinsics!({
            let bytes = _mm_loadu_si128(values.as_ptr().cast());
            [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes))]
        })
    }
    #[inline(always)]
    fn add_i32(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn mul_i32(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_mullo_epi32, a, b)
    }
    #[inline(always)]
    fn mul_i16(self, a: Ints, b: Ints) -> Ints {
        // vpmaddwd adds the product of the upper halves; those of `b` are cleared, so it adds zero.
        both!(_mm256_madd_epi16, a, self.and(b, self.splat_i32(0xffff)))
    }
    #[inline(always)]
    fn dot_pairs(self, acc: Ints, a: Ints, b: Ints) -> Ints {
        self.add_i32(acc, both!(_mm256_madd_epi16, a, b))
    }
    #[inline(always)]
    fn max_i32(self, a: Ints, b: Ints) -> Ints {
        both!(_mm256_max_epi32, a, b)
    }
    #[inline(always)]
    fn repeat_4_i32<const G: usize>(self, v: Ints) -> Ints {
        let first = 4 * (G % 2) as i32;
        [self.pick(v[G / 2], [first, first + 1]), self.pick(v[G / 2], [first + 2, first + 3])]
    }
    #[inline(always)]
    fn repeat_8_i32<const G: usize>(self, v: Ints) -> Ints {
        let first = 2 * G as i32;
        [self.pick(v[0], [first; 2]), self.pick(v[0], [first + 1; 2])]
    }
    #[inline(always)]
    fn reduce_add_i32(self, v: Ints) -> i32 {
        intrinsics!({
            let eight = _mm256_add_epi32(v[0], v[1]);
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        })
    }
    #[inline(always)]
    fn reduce_max_i32(self, v: Ints) -> i32 {
        intrinsics!({
            let eight = _mm256_max_epi32(v[0], v[1]);
            let four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32::<1>(two)))
        })
    }
    #[inline(always)]
    fn store_i8(self, v: Ints, out: &mut [i8; 16]) {
        intrinsics!({
            // The lowest byte of each lane to the bottom of its 128 bits, then the four groups of four in order.
            let low_bytes = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
            ));
            let a = _mm256_shuffle_epi8(v[0], low_bytes);
            let b = _mm256_shuffle_epi8(v[1], low_bytes);
            let low = _mm_unpacklo_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let high = _mm_unpacklo_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256::<1>(b));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_unpacklo_epi64(low, high))
        })
    }
    #[inline(always)]
    fn to_f32(self, v: Ints) -> Floats {
        both!(_mm256_cvtepi32_ps, v)
    }
    #[inline(always)]
    fn as_f32(self, v: Ints) -> Floats {
        both!(_mm256_castsi256_ps, v)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        intrinsics!([_mm256_set1_ps(value); 2])
    }
    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> Floats {
        intrinsics!([_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))])
    }
    #[inline(always)]
    fn store(self, v: Floats, out: &mut [f32; 16]) {
        intrinsics!({
            _mm256_storeu_ps(out.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), v[1]);
        })
    }
    #[inline(always)]
    fn load_f32_bytes(self, bytes: &[u8; 64]) -> Floats {
        let pointer = bytes.as_ptr().cast::<f32>();
        intrinsics!([_mm256_loadu_ps(pointer), _mm256_loadu_ps(pointer.add(8))])
    }
    #[inline(always)]
    fn load_f16_bytes(self, bytes: &[u8; 32]) -> Floats {
        let pointer = bytes.as_ptr().cast::<__m128i>();
        intrinsics!([
            _mm256_cvtph_ps(_mm_loadu_si128(pointer)),
            _mm256_cvtph_ps(_mm_loadu_si128(pointer.add(1)))
        ])
    }
    #[inline(always)]
    fn load_bf16_bytes(self, bytes: &[u8; 32]) -> Floats {
        let pointer = bytes.as_ptr().cast::<__m128i>();
        let wide = intrinsics!([
            _mm256_cvtepu16_epi32(_mm_loadu_si128(pointer)),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(pointer.add(1))),
        ]);
        self.as_f32(both!(_mm256_slli_epi32::<16>, wide))
    }
    #[inline(always)]
    fn halves(self, low: [u16; 8], high: [u16; 8]) -> Floats {
        [self.eight_halves(low), self.eight_halves(high)]
    }
    #[inline(always)]
    fn load_f8e4m3_bytes(self, bytes: &[u8; 16]) -> Floats {
        // As half bits the number has the right mantissa and an exponent 8 too small, see `float::f8e4m3_to_f32`.
        self.mul(self.widen_halves(self.f8_halves(bytes)), self.splat(256.0))
    }
    #[inline(always)]
    fn half_at(self, bytes: &[u8], at: usize) -> f32 {
        let bits = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        intrinsics!(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))))
    }
    #[inline(always)]
    fn store_f16(self, v: Floats, out: &mut [u16; 16]) {
        let pointer = out.as_mut_ptr().cast::<__m128i>();
        intrinsics!({
            _mm_storeu_si128(pointer, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(pointer.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
        })
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Floats, b: Floats, c: Floats) -> Floats {
        intrinsics!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }
    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Floats, b: Floats) -> Floats {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn sqrt(self, v: Floats) -> Floats {
        both!(_mm256_sqrt_ps, v)
    }
    #[inline(always)]
    fn abs(self, v: Floats) -> Floats {
        both!(_mm256_andnot_ps, self.splat(-0.0), v)
    }
    #[inline(always)]
    fn round_bf16(self, v: Floats) -> Floats {
        [self.round_8(v[0]), self.round_8(v[1])]
    }
    #[inline(always)]
    fn round_even(self, v: Floats) -> Floats {
        both!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>, v)
    }
    #[inline(always)]
    fn round_to_i32(self, v: Floats) -> Ints {
        both!(_mm256_cvtps_epi32, v)
    }
    #[inline(always)]
    fn pow2i(self, n: Floats) -> Floats {
        let exponent = self.add_i32(self.round_to_i32(n), self.splat_i32(127));
        self.as_f32(both!(_mm256_slli_epi32::<23>, exponent))
    }
    #[inline(always)]
    fn select_lt(self, a: Floats, b: Floats, x: Floats, y: Floats) -> Floats {
        let less = both!(_mm256_cmp_ps::<_CMP_LT_OQ>, a, b);
        intrinsics!([_mm256_blendv_ps(y[0], x[0], less[0]), _mm256_blendv_ps(y[1], x[1], less[1])])
    }
    #[inline(always)]
    fn as_i32(self, v: Floats) -> Ints {
        both!(_mm256_castps_si256, v)
    }
    #[inline(always)]
    fn lower_half(self, v: Floats) -> Floats {
        [v[0], self.zero()[0]]
    }
    #[inline(always)]
    fn reduce_add(self, v: Floats) -> f32 {
        intrinsics!({
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
    #[inline(always)]
    fn reduce_add_4(self, v: [Floats; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        intrinsics!({
            let (a, b) = (_mm256_add_ps(v[0][0], v[0][1]), _mm256_add_ps(v[1][0], v[1][1]));
            let (c, d) = (_mm256_add_ps(v[2][0], v[2][1]), _mm256_add_ps(v[3][0], v[3][1]));
            let ab =
                _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
            let cd =
                _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
            // Per half: [a a c c] and [b b d d], then [a c ..] and [b d ..].
            let two = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let one = _mm256_add_ps(_mm256_permute_ps::<0x88>(two), _mm256_permute_ps::<0xdd>(two));
            let (ac, bd) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
            _mm_storeu_ps(sums.as_mut_ptr(), _mm_unpacklo_ps(ac, bd));
        });
        sums
    }
    #[inline(always)]
    fn scales_i16(self, v: Ints) -> Ints {
        // Twice in each lane, for vpmaddwd.
        let low = intrinsics!([_mm256_set1_epi32(0xffff); 2]);
        let high = both!(_mm256_slli_epi32::<16>, v);
        self.or(self.and(v, low), high)
    }
    #[inline(always)]
    fn dot_u7_scaled(self, w: Ints, a: Ints, scale: Ints) -> Ints {
        let pairs = both!(_mm256_maddubs_epi16, w, a);
        both!(_mm256_madd_epi16, pairs, scale)
    }
    #[inline(always)]
    fn dot_i8_scaled(self, w: Ints, a: Ints, scale: Ints) -> Ints {
        let signed = both!(_mm256_sign_epi8, a, w);
        self.dot_u7_scaled(both!(_mm256_abs_epi8, w), signed, scale)
    }
    #[inline(always)]
    fn sums_of_8(self, v: [Ints; 4]) -> Ints {
        let low = self.quarter_sums(v[0][0], v[0][1], v[1][0], v[1][1]);
        let high = self.quarter_sums(v[2][0], v[2][1], v[3][0], v[3][1]);
        let first = intrinsics!(_mm256_permute2x128_si256::<0x20>(low, high));
        let second = intrinsics!(_mm256_permute2x128_si256::<0x31>(low, high));
        [intrinsics!(_mm256_add_epi32(first, second)), self.splat_i32(0)[0]]
    }
    #[inline(always)]
    fn reduce_add_i32_2(self, a: Ints, b: Ints) -> [i32; 2] {
        intrinsics!({
            let four = _mm256_hadd_epi32(_mm256_add_epi32(a[0], a[1]), _mm256_add_epi32(b[0], b[1]));
            let two = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
            let one = _mm_hadd_epi32(two, two);
            [_mm_cvtsi128_si32(one), _mm_extract_epi32::<1>(one)]
        })
    }
    #[inline(always)]
    fn transpose_16(self, rows: [Ints; 16], out: &mut [Step; 16]) {
        for quarter in 0..4 {
            let (r, half) = (quarter / 2, quarter % 2);
            let mut v = [self.splat_i32(0)[0]; 8];
            for i in 0..8 {
                v[i] = rows[8 * r + i][half];
            }
            let top = self.transpose_4(v[0], v[1], v[2], v[3]);
            let bottom = self.transpose_4(v[4], v[5], v[6], v[7]);
            for i in 0..4 {
                let first = out[8 * half + i].0[32 * r..].as_mut_ptr().cast();
                let second = out[8 * half + 4 + i].0[32 * r..].as_mut_ptr().cast();
                intrinsics!({
                    _mm256_storeu_si256(first, _mm256_permute2x128_si256::<0x20>(top[i], bottom[i]));
                    _mm256_storeu_si256(second, _mm256_permute2x128_si256::<0x31>(top[i], bottom[i]));
                });
            }
        }
    }
    #[inline(always)]
    fn rows_u4_scaled<const P: usize, const N: usize, const K: usize>(
        self,
        w: [&[Step; K]; P],
        a: [&[[i8; 4]; K]; N],
        scale: [Ints; P],
    ) -> [[Ints; N]; P] {
        // Eight sums of two products are at most 8 * 2 * 15 * 127 = 30480 and fit in 16 bits; scaling makes them 32.
        const { assert!(K <= 8) };
        let mut sums = [[self.splat_i32(0); N]; P];
        for p in 0..P {
            for k in 0..K {
                let w = self.load_u8(&w[p][k].0);
                for n in 0..N {
                    let pairs = both!(_mm256_maddubs_epi16, w, self.repeat_4_bytes(a[n][k]));
                    sums[p][n] = both!(_mm256_add_epi16, sums[p][n], pairs);
                }
            }
            for sum in &mut sums[p] {
                *sum = both!(_mm256_madd_epi16, *sum, self.scales_i16(scale[p]));
            }
        }
        sums
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch of an address that cannot be read does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn reduce_max(self, v: Floats) -> f32 {
        intrinsics!({
            let eight = _mm256_max_ps(v[0], v[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
}
