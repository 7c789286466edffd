//! One abstraction over instruction sets. Algorithms are written once, over [`Simd`]; a file under `arch/` is only a
//! thin wrapper of one instruction set.
//!
//! The logical widths are the same everywhere: 64 bytes, 16 integers, 16 floats. AVX-512 holds one of them in a
//! register, AVX2 in two, NEON in four, and portable Rust in an array. Since lane numbers mean the same thing
//! everywhere, an algorithm that adds lanes in a fixed order gives the same bits on every instruction set, except where
//! it uses [`Simd::mul_add`], which rounds once where the hardware can and twice where it cannot.
//!
//! A token (a value of a type that implements `Simd`) exists only on a CPU that has the instruction set, so safe code
//! cannot run AVX-512 by accident. Every method is `#[inline(always)]`: it becomes vector instructions only after it
//! has been inlined into a function compiled for the instruction set, which is what [`dispatch!`] makes.

use crate::isa::Isa;

/// Four weights of each of sixteen rows, a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Step(pub(crate) [u8; 64]);

/// An instruction set as a value: three vector types of fixed logical width and the operations the kernels need.
///
/// Lane `l` of a 64-byte vector is byte `l` in memory. "Unspecified bits" are bits that differ between instruction
/// sets: the caller must mask them away.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// The name of this instruction set.
    const ISA: Isa;
    /// How many activation rows share one unpacking of block-quantised weights: 1, 2 or 4, as registers allow.
    const BLOCK_TILE: usize;
    /// The same for float weights, where each activation row keeps two vectors of sums.
    const FLOAT_TILE: usize;
    /// How many activation rows share a panel's weights while those are in a register: 4 or 8.
    const PANEL_TILE: usize = 4;
    /// Whether panels scale sums of products as floats where those hold them exactly.
    const SCALES_AS_FLOATS: bool = false;
    /// 64 bytes, signed or unsigned as the operation says.
    type I8: Copy;
    /// 16 integers of 32 bits; arithmetic wraps.
    type I32: Copy;
    /// 16 singles.
    type F32: Copy;

    // ---- 64 bytes -------------------------------------------------------------------------------------------------

    /// 64 copies of one byte.
    fn splat_i8(self, value: i8) -> Self::I8;
    /// 64 bytes as they lie in memory.
    fn load_u8(self, bytes: &[u8; 64]) -> Self::I8;
    /// 64 signed bytes as they lie in memory.
    fn load_i8(self, bytes: &[i8; 64]) -> Self::I8;
    /// `[low, high]`.
    fn join_32(self, low: &[u8; 32], high: &[u8; 32]) -> Self::I8;
    /// `[bytes, bytes]`.
    fn twice_32(self, bytes: &[u8; 32]) -> Self::I8;
    /// `[a, a, b, b]`.
    fn twice_16(self, a: &[u8; 16], b: &[u8; 16]) -> Self::I8;
    /// Bitwise and.
    fn and(self, a: Self::I8, b: Self::I8) -> Self::I8;
    /// Bitwise or.
    fn or(self, a: Self::I8, b: Self::I8) -> Self::I8;
    /// Wrapping difference of bytes.
    fn sub_i8(self, a: Self::I8, b: Self::I8) -> Self::I8;
    /// Bytes 0..32 shifted right by `LO`, bytes 32..64 by `HI` (0 to 7). The upper `LO` or `HI` bits of each byte are
    /// unspecified.
    fn shr_halves<const LO: i32, const HI: i32>(self, v: Self::I8) -> Self::I8;
    /// The four 16-byte quarters shifted right by `A, B, A, B` (0 to 7). The upper bits of each byte are unspecified.
    fn shr_quarters<const A: i32, const B: i32>(self, v: Self::I8) -> Self::I8;
    /// Each byte shifted left by `N` (0 to 7). The lower `N` bits of each byte are unspecified.
    fn shl<const N: i32>(self, v: Self::I8) -> Self::I8;
    /// `table[index]` for each byte; an index is 0 to 15.
    fn lookup_16(self, table: &[i8; 16], index: Self::I8) -> Self::I8;
    /// Byte `l` is 0xff where bit `l` is set, else 0.
    fn expand_bits(self, bits: u64) -> Self::I8;
    /// `acc[l] += sum over i in 0..4 of w[4l+i] * a[4l+i]`, both signed, exact.
    ///
    /// `a` must lie in -127..=127 (activations do by construction); `w` may be any byte. The bound keeps AVX2's 16-bit
    /// sums of two products exact: 2 * 128 * 127 = 32512.
    fn dot_i8(self, acc: Self::I32, w: Self::I8, a: Self::I8) -> Self::I32;
    /// As [`Simd::dot_i8`] with `w` in 0..=127.
    fn dot_u7(self, acc: Self::I32, w: Self::I8, a: Self::I8) -> Self::I32;
    /// 64 bytes to memory.
    fn store_u8(self, v: Self::I8, out: &mut [u8; 64]);
    /// Four bytes, sixteen times.
    fn repeat_4_bytes(self, bytes: [i8; 4]) -> Self::I8;
    /// Bytes `16 Q .. 16 Q + 16`, sign-extended.
    fn widen<const Q: usize>(self, v: Self::I8) -> Self::I32;

    // ---- 16 integers ----------------------------------------------------------------------------------------------

    /// 16 copies of one integer.
    fn splat_i32(self, value: i32) -> Self::I32;
    /// 16 integers from memory.
    fn load_i32(self, values: &[i32; 16]) -> Self::I32;
    /// 16 integers to memory.
    fn store_i32(self, v: Self::I32, out: &mut [i32; 16]);
    /// 16 signed bytes, widened.
    fn widen_i8(self, values: &[i8; 16]) -> Self::I32;
    /// 16 unsigned bytes, widened.
    fn widen_u8(self, values: &[u8; 16]) -> Self::I32;
    /// Wrapping sum.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Wrapping product, lower 32 bits.
    fn mul_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Product of integers that both fit in 16 signed bits; one instruction where `mul_i32` is two.
    fn mul_i16(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `acc[l]` plus the products of the lower and of the upper halves of lanes `l`, 16 signed bits each.
    fn dot_pairs(self, acc: Self::I32, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The larger.
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Lane `l` becomes lane `4 G + l / 4`; `G` is 0 to 3.
    fn repeat_4_i32<const G: usize>(self, v: Self::I32) -> Self::I32;
    /// Lane `l` becomes lane `2 G + l / 8`; `G` is 0 to 3.
    fn repeat_8_i32<const G: usize>(self, v: Self::I32) -> Self::I32;
    /// Wrapping sum of all lanes.
    fn reduce_add_i32(self, v: Self::I32) -> i32;
    /// The largest lane.
    fn reduce_max_i32(self, v: Self::I32) -> i32;
    /// The lower eight bits of each lane.
    fn store_i8(self, v: Self::I32, out: &mut [i8; 16]);
    /// Nearest single; exact below 2^24.
    fn to_f32(self, v: Self::I32) -> Self::F32;
    /// The lanes read as singles.
    fn as_f32(self, v: Self::I32) -> Self::F32;

    // ---- 16 singles -----------------------------------------------------------------------------------------------

    /// 16 copies of one number.
    fn splat(self, value: f32) -> Self::F32;
    /// 16 numbers from memory.
    fn load(self, values: &[f32; 16]) -> Self::F32;
    /// 16 numbers to memory.
    fn store(self, v: Self::F32, out: &mut [f32; 16]);
    /// 16 little-endian singles at any alignment.
    fn load_f32_bytes(self, bytes: &[u8; 64]) -> Self::F32;
    /// 16 little-endian halves at any alignment; exact.
    fn load_f16_bytes(self, bytes: &[u8; 32]) -> Self::F32;
    /// 16 little-endian bfloat16 at any alignment; exact.
    fn load_bf16_bytes(self, bytes: &[u8; 32]) -> Self::F32;
    /// 16 halves `[low, high]` that were picked from scattered places; exact.
    fn halves(self, low: [u16; 8], high: [u16; 8]) -> Self::F32;
    /// 16 OCP e4m3 numbers (no infinities, 0x7f and 0xff are NaN); exact.
    fn load_f8e4m3_bytes(self, bytes: &[u8; 16]) -> Self::F32;
    /// 16 halves to memory, rounded to nearest even.
    fn store_f16(self, v: Self::F32, out: &mut [u16; 16]);
    /// Sum.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Difference.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Product.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Quotient.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once except on `Generic`, which has no such instruction and rounds twice.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`, hence `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`, hence `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Square root, correctly rounded.
    fn sqrt(self, v: Self::F32) -> Self::F32;
    /// The number without its sign.
    fn abs(self, v: Self::F32) -> Self::F32;
    /// The nearest bfloat16, ties to even; NaN stays NaN.
    #[inline(always)]
    fn round_bf16(self, v: Self::F32) -> Self::F32 {
        let mut lanes = [0.0; 16];
        self.store(v, &mut lanes);
        for lane in &mut lanes {
            *lane = crate::float::bf16_to_f32(crate::float::f32_to_bf16(*lane));
        }
        self.load(&lanes)
    }
    /// Nearest integer, ties to even.
    fn round_even(self, v: Self::F32) -> Self::F32;
    /// Nearest integer, ties to even; lanes beyond ±2^31 and NaN give unspecified integers.
    fn round_to_i32(self, v: Self::F32) -> Self::I32;
    /// `2^n` for integral lanes `n` in -126..=127.
    fn pow2i(self, n: Self::F32) -> Self::F32;
    /// `if a < b { x } else { y }`, lane by lane.
    fn select_lt(self, a: Self::F32, b: Self::F32, x: Self::F32, y: Self::F32) -> Self::F32;
    /// The lanes read as integers.
    fn as_i32(self, v: Self::F32) -> Self::I32;
    /// Lanes 8 to 15 become zero.
    fn lower_half(self, v: Self::F32) -> Self::F32;
    /// Sum of all lanes in a fixed tree: lane `l` takes lane `l + 8`, then `l + 4`, `l + 2`, `l + 1`.
    fn reduce_add(self, v: Self::F32) -> f32;
    /// Four times [`Simd::reduce_add`], the same bits in fewer instructions.
    #[inline(always)]
    fn reduce_add_4(self, v: [Self::F32; 4]) -> [f32; 4] {
        [self.reduce_add(v[0]), self.reduce_add(v[1]), self.reduce_add(v[2]), self.reduce_add(v[3])]
    }
    /// The largest lane by [`Simd::max`], in the tree of [`Simd::reduce_add`].
    fn reduce_max(self, v: Self::F32) -> f32;

    /// Asks for the cache line at an address that will be read or written soon. Any address will do: nothing is read,
    /// nothing faults.
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}

    // ---- made of the above, and made anew where an instruction set has a shorter way --------------------------------

    /// Integers of 16 signed bits in the form in which [`Simd::dot_u7_scaled`] takes them; it goes through
    /// [`Simd::repeat_4_i32`] and [`Simd::repeat_8_i32`] as it is.
    #[inline(always)]
    fn scales_i16(self, v: Self::I32) -> Self::I32 {
        v
    }
    /// The little-endian half at `at`; exact.
    #[inline(always)]
    fn half_at(self, bytes: &[u8], at: usize) -> f32 {
        crate::float::f16_at(bytes, at)
    }
    /// `scale * dot_u7(0, w, a)` for sums of products that fit in 16 signed bits.
    #[inline(always)]
    fn dot_u7_scaled(self, w: Self::I8, a: Self::I8, scale: Self::I32) -> Self::I32 {
        self.mul_i16(self.dot_u7(self.splat_i32(0), w, a), scale)
    }
    /// `scale * dot_i8(0, w, a)` for sums of products that fit in 16 signed bits.
    #[inline(always)]
    fn dot_i8_scaled(self, w: Self::I8, a: Self::I8, scale: Self::I32) -> Self::I32 {
        self.mul_i16(self.dot_i8(self.splat_i32(0), w, a), scale)
    }
    /// Lane `2 g + h` is the wrapping sum of lanes `8 h .. 8 h + 8` of `v[g]`; lanes 8 to 15 are zero.
    #[inline(always)]
    fn sums_of_8(self, v: [Self::I32; 4]) -> Self::I32 {
        let (mut lanes, mut sums) = ([0; 16], [0_i32; 16]);
        for (v, sums) in v.into_iter().zip(sums.as_chunks_mut::<2>().0) {
            self.store_i32(v, &mut lanes);
            for (eight, sum) in lanes.as_chunks::<8>().0.iter().zip(sums) {
                *sum = eight.iter().fold(0, |sum, lane| sum.wrapping_add(*lane));
            }
        }
        self.load_i32(&sums)
    }
    /// Integers to memory, which fit in 16 signed bits; of others the lower bits.
    #[inline(always)]
    fn store_i16(self, v: Self::I32, out: &mut [i16; 16]) {
        let mut lanes = [0; 16];
        self.store_i32(v, &mut lanes);
        *out = lanes.map(|lane| lane as i16);
    }
    /// Bytes side by side in 16 bits each, as [`Simd::dot_pairs`] takes them: `(a[i], b[i])` in the lower and upper half of a
    /// lane, in an order that [`Simd::in_order`] undoes.
    #[inline(always)]
    fn pairs(self, a: &[i8; 32], b: &[i8; 32]) -> [Self::I32; 2] {
        let mut pairs = [[0; 16]; 2];
        for (i, pair) in pairs.as_flattened_mut().iter_mut().enumerate() {
            *pair = i32::from(a[i]) & 0xffff | i32::from(b[i]) << 16;
        }
        [self.load_i32(&pairs[0]), self.load_i32(&pairs[1])]
    }
    /// Lanes in the order of [`Simd::pairs`] as they were before.
    #[inline(always)]
    fn in_order(self, v: [Self::F32; 2]) -> [Self::F32; 2] {
        v
    }
    /// [`Simd::reduce_add_i32`] of both.
    #[inline(always)]
    fn reduce_add_i32_2(self, a: Self::I32, b: Self::I32) -> [i32; 2] {
        [self.reduce_add_i32(a), self.reduce_add_i32(b)]
    }
    /// Rows of 16 times four bytes become columns: bytes `4 r .. 4 r + 4` of `out[k]` are bytes `4 k .. 4 k + 4` of
    /// `rows[r]`.
    #[inline(always)]
    fn transpose_16(self, rows: [Self::I8; 16], out: &mut [Step; 16]) {
        for (r, v) in rows.into_iter().enumerate() {
            let mut row = [0; 64];
            self.store_u8(v, &mut row);
            for (four, out) in row.as_chunks::<4>().0.iter().zip(out.iter_mut()) {
                out.0.as_chunks_mut::<4>().0[r] = *four;
            }
        }
    }
    /// The same for integers: lane `r` of `out[k]` is lane `k` of `rows[r]`.
    #[inline(always)]
    fn transpose_i32(self, rows: [Self::I32; 16], out: &mut [[i32; 16]; 16]) {
        for (r, v) in rows.into_iter().enumerate() {
            let mut row = [0; 16];
            self.store_i32(v, &mut row);
            for (value, out) in row.into_iter().zip(out.iter_mut()) {
                out[r] = value;
            }
        }
    }
    /// `P` times sixteen rows, transposed as by [`Simd::transpose_16`] (through [`Simd::signed_for_rows`] before, if `signed`),
    /// times `N` others: lane `r` of result `[p][n]` is the sum over `k` of bytes `4 r .. 4 r + 4` of `w[p][k]` times
    /// `a[n][k]`, as [`Simd::dot_i8`] multiplies if `signed`, else as [`Simd::dot_u7`]. `_offsets` are -128 times the sum of
    /// each `a[n]`, for those that multiply signed `w` as `w + 128`.
    #[inline(always)]
    fn rows<const P: usize, const N: usize, const K: usize>(
        self,
        signed: bool,
        w: [&[Step; K]; P],
        a: [&[[i8; 4]; K]; N],
        _offsets: [i32; N],
    ) -> [[Self::I32; N]; P] {
        let mut sums = [[self.splat_i32(0); N]; P];
        for (w, sums) in w.into_iter().zip(&mut sums) {
            for k in 0..K {
                let w = self.load_u8(&w[k].0);
                for n in 0..N {
                    let a = self.repeat_4_bytes(a[n][k]);
                    sums[n] = if signed { self.dot_i8(sums[n], w, a) } else { self.dot_u7(sums[n], w, a) };
                }
            }
        }
        sums
    }
    /// Weights with a sign in the form in which [`Simd::rows`] takes them.
    #[inline(always)]
    fn signed_for_rows(self, v: Self::I8) -> Self::I8 {
        v
    }
    /// As [`Simd::rows`] with `w` in 0..=15 and at most eight steps, each lane times that of `scale[p]`.
    #[inline(always)]
    fn rows_u4_scaled<const P: usize, const N: usize, const K: usize>(
        self,
        w: [&[Step; K]; P],
        a: [&[[i8; 4]; K]; N],
        scale: [Self::I32; P],
    ) -> [[Self::I32; N]; P] {
        const { assert!(K <= 8) };
        let mut sums = self.rows(false, w, a, [0; N]);
        for p in 0..P {
            for sum in &mut sums[p] {
                // Up to 32 * 15 * 127 = 60960, too large for `mul_i16`.
                *sum = self.mul_i32(*sum, scale[p]);
            }
        }
        sums
    }

    /// Asks for what lies some way behind `here`, as much as `here` is long. Weights are read once and in order, but
    /// with several activation rows per weight the processor looks too few weights ahead by itself.
    #[inline(always)]
    fn prefetch_behind<T>(self, here: &T) {
        /// Bytes that are fetched from memory while the kernels work through as many.
        const DISTANCE: usize = 4096;
        self.prefetch_at(here, DISTANCE);
    }
    /// Asks for as much as `here` is long, so many bytes behind it.
    #[inline(always)]
    fn prefetch_at<T>(self, here: &T, distance: usize) {
        let start = std::ptr::from_ref(here).cast::<u8>();
        for line in 0..size_of::<T>().div_ceil(64) {
            self.prefetch(start.wrapping_add(distance + 64 * line));
        }
    }

    /// Sixteen zeros.
    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }

    /// Up to 16 numbers; the lanes beyond `values` are zero.
    #[inline(always)]
    fn load_partial(self, values: &[f32]) -> Self::F32 {
        let mut lanes = [0.0; 16];
        lanes[..values.len()].copy_from_slice(values);
        self.load(&lanes)
    }

    /// The first `out.len()` (at most 16) lanes to memory.
    #[inline(always)]
    fn store_partial(self, v: Self::F32, out: &mut [f32]) {
        let mut lanes = [0.0; 16];
        self.store(v, &mut lanes);
        let n = out.len();
        out.copy_from_slice(&lanes[..n]);
    }

    /// 16 halves given by their bits; exact.
    #[inline(always)]
    fn load_f16(self, bits: &[u16; 16]) -> Self::F32 {
        // SAFETY: the reference covers 32 initialised bytes, and bytes need no alignment.
        let bytes = unsafe { &*bits.as_ptr().cast::<[u8; 32]>() };
        self.load_f16_bytes(bytes)
    }
}

/// Makes a function that runs a generic function compiled for the instruction set it is told.
///
/// ```text
/// dispatch! {
///     /// Doc comment of the function made.
///     pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 = dot_simd;
/// }
/// ```
///
/// makes `fn dot(isa: Isa, x: &[f32], y: &[f32]) -> f32`, given
/// `#[inline(always)] fn dot_simd<S: Simd>(simd: S, x: &[f32], y: &[f32]) -> f32`. One type parameter with one bound is
/// allowed, if the arguments determine it: `fn dot<F: Format>(format: F, ...) = dot_simd`. Inside the generic function
/// everything that touches vectors must be `#[inline(always)]` too; a closure is not, so loops are written out.
macro_rules! dispatch {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$param:ident : $bound:path>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:path;
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)] // The wrappers repeat the arguments of the wrapped.
        $vis fn $name $(<$param: $bound>)? (isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2 $(<$param: $bound>)? (simd: $crate::arch::Avx2, $($arg: $ty),*) $(-> $ret)? {
                $generic(simd, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512dq,avx2,fma,f16c")]
            fn avx512 $(<$param: $bound>)? (simd: $crate::arch::Avx512, $($arg: $ty),*) $(-> $ret)? {
                $generic(simd, $($arg),*)
            }
            // A function of its own, lest the callers of the fast versions swell with it.
            #[allow(clippy::too_many_arguments)]
            #[inline(never)]
            fn generic $(<$param: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
                $generic($crate::arch::Generic, $($arg),*)
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 | $crate::isa::Isa::Amx => {
                    let simd = $crate::arch::Avx512::new().expect("a Cpu only holds an instruction set it has");
                    // SAFETY: the token proves that the CPU has every feature of the callee.
                    unsafe { avx512(simd, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => {
                    let simd = $crate::arch::Avx2::new().expect("a Cpu only holds an instruction set it has");
                    // SAFETY: the token proves that the CPU has every feature of the callee.
                    unsafe { avx2(simd, $($arg),*) }
                }
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::Neon => {
                    // NEON belongs to the baseline of the target and `sdot` is assembly, so no wrapper is needed.
                    match $crate::arch::Neon::<true>::new() {
                        Some(simd) => $generic(simd, $($arg),*),
                        None => $generic($crate::arch::Neon::<false>::new().expect("NEON is baseline"), $($arg),*),
                    }
                }
                _ => generic($($arg),*),
            }
        }
    };
}
pub(crate) use dispatch;
