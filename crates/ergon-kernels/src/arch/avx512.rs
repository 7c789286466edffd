//! AVX-512 with VNNI: one register per logical vector.

use core::arch::x86_64::*;

use super::Avx2;
use crate::{
    isa::Isa,
    simd::{Simd, Step},
};

/// Proof that the CPU has AVX-512 F, BW, VL, DQ and VNNI, and AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if the CPU has the instructions. The answer is cached: this costs a load.
    #[inline]
    pub(crate) fn new() -> Option<Avx512> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Avx512(()))
    }
}

/// Intrinsics in the body of a method.
macro_rules! intrinsics {
    ($body:expr) => {{
        // SAFETY: `self` proves that the CPU has every instruction set used in this file, and the pointers read or
        // written come from references to arrays of exactly the width of the access, or the mask of the access is
        // the length of the slice; no access needs alignment.
        unsafe { $body }
    }};
}

/// Lane numbers for `vpermd`: lane `l` takes lane `start + l / group`.
const fn repeat_index(start: usize, group: usize) -> [i32; 16] {
    let mut index = [0; 16];
    let mut lane = 0;
    while lane < 16 {
        index[lane] = (start + lane / group) as i32;
        lane += 1;
    }
    index
}

/// `a` in the lower half, `b` in the upper half.
const fn halves_of(a: i32, b: i32) -> [i32; 16] {
    [a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b]
}

/// `a` in the first and third quarter, `b` in the others.
const fn quarters_of(a: i32, b: i32) -> [i32; 16] {
    [a, a, a, a, b, b, b, b, a, a, a, a, b, b, b, b]
}

impl Avx512 {
    /// For what has no shorter way with wide registers.
    #[inline(always)]
    fn avx2(self) -> Avx2 {
        // `new` looks for AVX2 too.
        Avx2(())
    }

    /// Lane `r` of column `k` is lane `k` of row `r`; lanes are 32 bits.
    #[inline(always)]
    fn columns(self, mut v: [__m512i; 16]) -> [__m512i; 16] {
        intrinsics!({
            // Within each quarter (128 bits) of a row: four rows become their four columns.
            for four in v.as_chunks_mut::<4>().0 {
                let [a, b, c, d] = *four;
                let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
                let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
                *four = [
                    _mm512_unpacklo_epi64(ab, cd),
                    _mm512_unpackhi_epi64(ab, cd),
                    _mm512_unpacklo_epi64(ab_high, cd_high),
                    _mm512_unpackhi_epi64(ab_high, cd_high),
                ];
            }
            // Column `4 q + i` is quarter `q` of the `i`-th of each four.
            let mut columns = v;
            for i in 0..4 {
                let [a, b, c, d] = [v[i], v[4 + i], v[8 + i], v[12 + i]];
                let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
                let (ab_high, cd_high) =
                    (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
                columns[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
                columns[4 + i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
                columns[8 + i] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
                columns[12 + i] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
            }
            columns
        })
    }

    /// A logical vector as AVX2 holds it.
    #[inline(always)]
    fn registers(self, v: __m512i) -> [__m256i; 2] {
        intrinsics!([_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v)])
    }
}

impl Simd for Avx512 {
    const ISA: Isa = Isa::Avx512;
    const BLOCK_TILE: usize = 4;
    const FLOAT_TILE: usize = 4;
    const PANEL_TILE: usize = 8;
    const SCALES_AS_FLOATS: bool = true;
    type I8 = __m512i;
    type I32 = __m512i;
    type F32 = __m512;

    #[inline(always)]
    fn splat_i8(self, value: i8) -> __m512i {
        intrinsics!(_mm512_set1_epi8(value))
    }
    #[inline(always)]
    fn load_u8(self, bytes: &[u8; 64]) -> __m512i {
        intrinsics!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }
    #[inline(always)]
    fn load_i8(self, bytes: &[i8; 64]) -> __m512i {
        intrinsics!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }
    #[inline(always)]
    fn join_32(self, low: &[u8; 32], high: &[u8; 32]) -> __m512i {
        intrinsics!({
            let low = _mm256_loadu_si256(low.as_ptr().cast());
            let high = _mm256_loadu_si256(high.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        })
    }
    #[inline(always)]
    fn twice_32(self, bytes: &[u8; 32]) -> __m512i {
        intrinsics!(_mm512_broadcast_i64x4(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }
    #[inline(always)]
    fn twice_16(self, a: &[u8; 16], b: &[u8; 16]) -> __m512i {
        intrinsics!({
            let a = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.as_ptr().cast()));
            let b = _mm256_broadcastsi128_si256(_mm_loadu_si128(b.as_ptr().cast()));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
        })
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn sub_i8(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_sub_epi8(a, b))
    }
    #[inline(always)]
    fn shr_halves<const LO: i32, const HI: i32>(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_srlv_epi32(v, self.load_i32(const { &halves_of(LO, HI) })))
    }
    #[inline(always)]
    fn shr_quarters<const A: i32, const B: i32>(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_srlv_epi32(v, self.load_i32(const { &quarters_of(A, B) })))
    }
    #[inline(always)]
    fn shl<const N: i32>(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_sllv_epi32(v, _mm512_set1_epi32(N)))
    }
    #[inline(always)]
    fn lookup_16(self, table: &[i8; 16], index: __m512i) -> __m512i {
        intrinsics!({
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, index)
        })
    }
    #[inline(always)]
    fn expand_bits(self, bits: u64) -> __m512i {
        intrinsics!(_mm512_movm_epi8(bits))
    }
    #[inline(always)]
    fn dot_i8(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        // vpdpbusd takes unsigned times signed, so the sign of `w` moves to `a`, which cannot be -128.
        intrinsics!({
            let negative = _mm512_movepi8_mask(w);
            let signed = _mm512_mask_sub_epi8(a, negative, _mm512_setzero_si512(), a);
            _mm512_dpbusd_epi32(acc, _mm512_abs_epi8(w), signed)
        })
    }
    #[inline(always)]
    fn dot_u7(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        intrinsics!(_mm512_dpbusd_epi32(acc, w, a))
    }
    #[inline(always)]
    fn store_u8(self, v: __m512i, out: &mut [u8; 64]) {
        intrinsics!(_mm512_storeu_si512(out.as_mut_ptr().cast(), v))
    }
    #[inline(always)]
    fn repeat_4_bytes(self, bytes: [i8; 4]) -> __m512i {
        self.splat_i32(i32::from_le_bytes(bytes.map(|byte| byte as u8)))
    }
    #[inline(always)]
    fn widen<const Q: usize>(self, v: __m512i) -> __m512i {
        intrinsics!({
            let quarter = match Q {
                0 => _mm512_castsi512_si128(v),
                1 => _mm512_extracti32x4_epi32::<1>(v),
                2 => _mm512_extracti32x4_epi32::<2>(v),
                _ => _mm512_extracti32x4_epi32::<3>(v),
            };
            _mm512_cvtepi8_epi32(quarter)
        })
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> __m512i {
        intrinsics!(_mm512_set1_epi32(value))
    }
    #[inline(always)]
    fn load_i32(self, values: &[i32; 16]) -> __m512i {
        intrinsics!(_mm512_loadu_si512(values.as_ptr().cast()))
    }
    #[inline(always)]
    fn store_i32(self, v: __m512i, out: &mut [i32; 16]) {
        intrinsics!(_mm512_storeu_si512(out.as_mut_ptr().cast(), v))
    }
    #[inline(always)]
    fn widen_i8(self, values: &[i8; 16]) -> __m512i {
        intrinsics!(_mm512_cvtepi8_epi32(_mm_loadu_si128(values.as_ptr().cast())))
    }
    #[inline(always)]
    fn widen_u8(self, values: &[u8; 16]) -> __m512i {
        intrinsics!(_mm512_cvtepu8_epi32(_mm_loadu_si128(values.as_ptr().cast())))
    }
    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn mul_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn mul_i16(self, a: __m512i, b: __m512i) -> __m512i {
        // vpmaddwd adds the product of the upper halves; those of `b` are cleared, so it adds zero.
        intrinsics!(_mm512_madd_epi16(a, _mm512_and_si512(b, _mm512_set1_epi32(0xffff))))
    }
    #[inline(always)]
    fn dot_pairs(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_dpwssd_epi32(acc, a, b))
    }
    #[inline(always)]
    fn max_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_max_epi32(a, b))
    }
    #[inline(always)]
    fn repeat_4_i32<const G: usize>(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_permutexvar_epi32(self.load_i32(const { &repeat_index(4 * G, 4) }), v))
    }
    #[inline(always)]
    fn repeat_8_i32<const G: usize>(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_permutexvar_epi32(self.load_i32(const { &repeat_index(2 * G, 8) }), v))
    }
    #[inline(always)]
    fn reduce_add_i32(self, v: __m512i) -> i32 {
        intrinsics!(_mm512_reduce_add_epi32(v))
    }
    #[inline(always)]
    fn reduce_max_i32(self, v: __m512i) -> i32 {
        intrinsics!(_mm512_reduce_max_epi32(v))
    }
    #[inline(always)]
    fn store_i8(self, v: __m512i, out: &mut [i8; 16]) {
        intrinsics!(_mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v)))
    }
    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(v))
    }
    #[inline(always)]
    fn as_f32(self, v: __m512i) -> __m512 {
        intrinsics!(_mm512_castsi512_ps(v))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(value))
    }
    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        intrinsics!(_mm512_loadu_ps(values.as_ptr()))
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; 16]) {
        intrinsics!(_mm512_storeu_ps(out.as_mut_ptr(), v))
    }
    #[inline(always)]
    fn load_f32_bytes(self, bytes: &[u8; 64]) -> __m512 {
        intrinsics!(_mm512_loadu_ps(bytes.as_ptr().cast()))
    }
    #[inline(always)]
    fn load_f16_bytes(self, bytes: &[u8; 32]) -> __m512 {
        intrinsics!(_mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }
    #[inline(always)]
    fn load_bf16_bytes(self, bytes: &[u8; 32]) -> __m512 {
        intrinsics!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        })
    }
    #[inline(always)]
    fn halves(self, low: [u16; 8], high: [u16; 8]) -> __m512 {
        let [a, b, c, d, e, f, g, h] = low.map(|bits| bits as i16);
        let [i, j, k, l, m, n, o, p] = high.map(|bits| bits as i16);
        intrinsics!(_mm512_cvtph_ps(_mm256_setr_epi16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)))
    }
    #[inline(always)]
    fn load_f8e4m3_bytes(self, bytes: &[u8; 16]) -> __m512 {
        // As half bits the number has the right mantissa and an exponent 8 too small, see `float::f8e4m3_to_f32`.
        intrinsics!({
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()));
            let magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
            let sign = _mm256_slli_epi16::<8>(_mm256_sub_epi16(wide, magnitude));
            let nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7f));
            let half = _mm256_or_si256(sign, _mm256_slli_epi16::<7>(magnitude));
            let half = _mm256_mask_mov_epi16(half, nan, _mm256_or_si256(sign, _mm256_set1_epi16(0x7e00)));
            _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0))
        })
    }
    #[inline(always)]
    fn half_at(self, bytes: &[u8], at: usize) -> f32 {
        self.avx2().half_at(bytes, at)
    }
    #[inline(always)]
    fn store_f16(self, v: __m512, out: &mut [u16; 16]) {
        intrinsics!({
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), halves)
        })
    }
    #[inline(always)]
    fn load_partial(self, values: &[f32]) -> __m512 {
        assert!(values.len() <= 16, "at most one vector");
        // Lanes outside the mask are not read.
        intrinsics!(_mm512_maskz_loadu_ps(((1_u32 << values.len()) - 1) as u16, values.as_ptr()))
    }
    #[inline(always)]
    fn store_partial(self, v: __m512, out: &mut [f32]) {
        assert!(out.len() <= 16, "at most one vector");
        // Lanes outside the mask are not written.
        intrinsics!(_mm512_mask_storeu_ps(out.as_mut_ptr(), ((1_u32 << out.len()) - 1) as u16, v))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, v: __m512) -> __m512 {
        intrinsics!(_mm512_sqrt_ps(v))
    }
    #[inline(always)]
    fn abs(self, v: __m512) -> __m512 {
        intrinsics!(_mm512_andnot_ps(_mm512_set1_ps(-0.0), v))
    }
    #[inline(always)]
    fn round_bf16(self, v: __m512) -> __m512 {
        intrinsics!({
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let up = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v), quiet);
            _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(0xffff_0000_u32.cast_signed())))
        })
    }
    #[inline(always)]
    fn round_even(self, v: __m512) -> __m512 {
        intrinsics!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v))
    }
    #[inline(always)]
    fn round_to_i32(self, v: __m512) -> __m512i {
        intrinsics!(_mm512_cvtps_epi32(v))
    }
    #[inline(always)]
    fn pow2i(self, n: __m512) -> __m512 {
        intrinsics!({
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        })
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        intrinsics!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x))
    }
    #[inline(always)]
    fn as_i32(self, v: __m512) -> __m512i {
        intrinsics!(_mm512_castps_si512(v))
    }
    #[inline(always)]
    fn lower_half(self, v: __m512) -> __m512 {
        intrinsics!(_mm512_maskz_mov_ps(0xff, v))
    }
    #[inline(always)]
    fn reduce_add(self, v: __m512) -> f32 {
        intrinsics!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
    #[inline(always)]
    fn reduce_add_4(self, v: [__m512; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        intrinsics!({
            // Quarters (128 bits) of each: 0 + 2 and 1 + 3, then the two sums, which leaves one quarter per vector.
            let [a, b, c, d] = v;
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let four =
                _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0x4e>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0xb1>(two));
            let first_of_quarters = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let packed = _mm512_permutexvar_ps(first_of_quarters, one);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(packed));
        });
        sums
    }
    #[inline(always)]
    fn sums_of_8(self, v: [__m512i; 4]) -> __m512i {
        let [a, b, c, d] = v;
        let sums = self.avx2().sums_of_8([
            self.registers(a),
            self.registers(b),
            self.registers(c),
            self.registers(d),
        ]);
        intrinsics!(_mm512_zextsi256_si512(sums[0]))
    }
    #[inline(always)]
    fn reduce_add_i32_2(self, a: __m512i, b: __m512i) -> [i32; 2] {
        self.avx2().reduce_add_i32_2(self.registers(a), self.registers(b))
    }
    #[inline(always)]
    fn store_i16(self, v: __m512i, out: &mut [i16; 16]) {
        intrinsics!(_mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(v)))
    }
    #[inline(always)]
    fn pairs(self, a: &[i8; 32], b: &[i8; 32]) -> [__m512i; 2] {
        // Interleaved within halves: bytes 0 to 7 and 16 to 23 in the first, the others in the second.
        intrinsics!({
            let (a, b) = (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast()));
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            [_mm512_cvtepi8_epi16(low), _mm512_cvtepi8_epi16(high)]
        })
    }
    #[inline(always)]
    fn in_order(self, [a, b]: [__m512; 2]) -> [__m512; 2] {
        intrinsics!([_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b)])
    }
    #[inline(always)]
    fn transpose_16(self, rows: [__m512i; 16], out: &mut [Step; 16]) {
        for (column, out) in self.columns(rows).into_iter().zip(out) {
            self.store_u8(column, &mut out.0);
        }
    }
    #[inline(always)]
    fn transpose_i32(self, rows: [__m512i; 16], out: &mut [[i32; 16]; 16]) {
        for (column, out) in self.columns(rows).into_iter().zip(out) {
            self.store_i32(column, out);
        }
    }
    #[inline(always)]
    fn signed_for_rows(self, v: __m512i) -> __m512i {
        intrinsics!(_mm512_xor_si512(v, self.splat_i8(-128)))
    }
    #[inline(always)]
    fn rows<const P: usize, const N: usize, const K: usize>(
        self,
        signed: bool,
        w: [&[Step; K]; P],
        a: [&[[i8; 4]; K]; N],
        offsets: [i32; N],
    ) -> [[__m512i; N]; P] {
        // vpdpbusd takes unsigned times signed. Signed w: (w + 128) a, less 128 times the sum of a. Nothing saturates or
        // overflows: eight steps of (w + 128) a are at most 32 * 255 * 127 = 1036320.
        let mut products = [[self.splat_i32(0); N]; P];
        if signed {
            for products in &mut products {
                for n in 0..N {
                    products[n] = self.splat_i32(offsets[n]);
                }
            }
        }
        for k in 0..K {
            for n in 0..N {
                let a = self.repeat_4_bytes(a[n][k]);
                for p in 0..P {
                    let w = self.load_u8(&w[p][k].0);
                    products[p][n] = intrinsics!(_mm512_dpbusd_epi32(products[p][n], w, a));
                }
            }
        }
        products
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch of an address that cannot be read does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn reduce_max(self, v: __m512) -> f32 {
        intrinsics!({
            let eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
}
