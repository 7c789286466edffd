//! The tile that all three products share, and the loops around it.
//!
//! # Plainly
//!
//! ```text
//! for row in 0..rows, col in 0..cols:
//!     c[row, col] = sum over p in 0..depth of a[row, p] * b[p, col]        (+ bias[col], + the old c[row, col])
//! ```
//!
//! # What is different, and what it buys
//!
//! - Sixteen columns are one vector; `b` is packed as panels `[block of 16 columns][p][16]`, so that a vector is one
//!   aligned line and a panel is read from front to back, as the prefetcher likes it.
//! - A tile of `ROWS x BLOCKS` sums stays in registers over the whole depth: per step it loads `BLOCKS` lines of `b`
//!   and broadcasts `ROWS` words of `a` for `ROWS * BLOCKS` multiplications. 8 x 3 leaves 8 of the 32 registers of
//!   AVX-512 for the operands and has four times the sums that the latency of a multiply-add asks for.
//! - A word is a pair of bfloat16 along the depth where the CPU multiplies those (`vdpbf16ps`, twice the work of a
//!   fused multiply-add), else one single.
//! - Column groups are the outer loop and row tiles the inner one: the panels of a group (at most 48 columns) stay in
//!   the first or second cache while `a` streams past once per group.
//! - `a` is padded to whole tiles, so that there is one tile per number of blocks and no code for the last rows; what
//!   the padding computes is not stored.

#[cfg(target_arch = "x86_64")]
use super::Words;
#[cfg(target_arch = "x86_64")]
use super::tiles;
use super::{Gemm, Write};
use crate::{
    isa::Isa,
    simd::{Simd, dispatch},
};

/// Sixteen words: a cache line, a vector of AVX-512.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(super) [u32; 16]);

/// Rows of the tallest tile; packed rows are padded to a multiple of it.
pub(super) const MAX_TILE_ROWS: usize = 16;

/// Packed numbers of one factor.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    /// Rows: `stride` lines each. Panels: `stride` lines each, one line per step of the depth.
    pub(super) lines: &'a [Line],
    /// Lines from a row or panel to the next.
    pub(super) stride: usize,
    /// Words along the summed dimension.
    pub(super) depth: usize,
}

impl Packed<'_> {
    /// From row or panel `n` on.
    pub(crate) fn skip(self, n: usize) -> Self {
        Packed { lines: &self.lines[n * self.stride..], ..self }
    }

    /// Panels without the first `words` of the depth.
    pub(crate) fn deeper(self, words: usize) -> Self {
        Packed { lines: &self.lines[words..], depth: self.depth - words, ..self }
    }

    /// The first `words` of the depth.
    pub(crate) fn shallow(self, words: usize) -> Self {
        Packed { depth: self.depth.min(words), ..self }
    }

    /// Lines that `panels` panels take.
    fn lines_of(&self, panels: usize) -> usize {
        panels.checked_sub(1).map_or(0, |before| before * self.stride + self.depth)
    }
}

/// Both factors.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) a: Packed<'a>,
    pub(crate) b: Packed<'a>,
    /// Rows of the result.
    pub(crate) rows: usize,
}

/// Where the product goes.
pub(crate) struct Output<'a> {
    /// `[rows, cols]`.
    pub(crate) c: &'a mut [f32],
    pub(crate) cols: usize,
    /// Numbers from a row to the next.
    pub(crate) stride: usize,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) write: Write,
}

/// Whether the CPU has `vdpbf16ps`.
pub(super) fn has_bf16_dot() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// One way of multiplying words.
trait Multiply: Copy {
    type S: Simd;
    fn simd(self) -> Self::S;
    /// `acc[l] += a * b[l]` for words `a` and `b[l]`; the lanes of `b` are words, whatever their type says.
    fn multiply_add(
        self,
        acc: <Self::S as Simd>::F32,
        a: u32,
        b: <Self::S as Simd>::F32,
    ) -> <Self::S as Simd>::F32;
}

/// Words that are singles.
#[derive(Clone, Copy)]
struct Singles<S>(S);

impl<S: Simd> Multiply for Singles<S> {
    type S = S;
    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
    #[inline(always)]
    fn multiply_add(self, acc: S::F32, a: u32, b: S::F32) -> S::F32 {
        self.0.mul_add(self.0.splat(f32::from_bits(a)), b, acc)
    }
}

/// How the rows of `a` lie.
const ROW_MAJOR: bool = true;
/// `a` is panels too: neighbouring rows are neighbouring words.
const PANELS: bool = false;

/// `c (+)= a b` for rows by panels: the forward product and the input gradient.
pub(crate) fn rows_by_panels(gemm: Gemm, operands: Operands<'_>, out: Output<'_>) {
    product::<ROW_MAJOR>(gemm, operands, out);
}

/// `c += a^T b` for panels by panels: the weight gradient.
pub(crate) fn panels_by_panels(gemm: Gemm, operands: Operands<'_>, out: Output<'_>) {
    product::<PANELS>(gemm, operands, out);
}

fn product<const LAYOUT: bool>(gemm: Gemm, operands: Operands<'_>, out: Output<'_>) {
    check::<LAYOUT>(&operands, &out);
    match gemm.words {
        #[cfg(target_arch = "x86_64")]
        Words::Pairs => pairs::product::<LAYOUT>(operands, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: checked above.
        Words::Tiles if LAYOUT == ROW_MAJOR => unsafe { tiles::rows_by_panels(operands, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Words::Tiles => unsafe { tiles::panels_by_panels(operands, out) },
        _ if LAYOUT == ROW_MAJOR => singles_rows(gemm.isa, operands, out),
        _ => singles_panels(gemm.isa, operands, out),
    }
}

/// Everything the pointers of [`tile`] rely on.
fn check<const LAYOUT: bool>(operands: &Operands<'_>, out: &Output<'_>) {
    let Operands { a, b, rows } = *operands;
    let padded = rows.next_multiple_of(MAX_TILE_ROWS);
    if LAYOUT == ROW_MAJOR {
        assert!(a.depth <= a.stride * 16 && padded * a.stride <= a.lines.len(), "rows too short");
    } else {
        assert!(a.depth <= a.stride && a.lines_of(rows.div_ceil(16)) <= a.lines.len(), "panels too short");
    }
    assert!(a.depth == b.depth, "factors of depth {} and {}", a.depth, b.depth);
    assert!(b.depth <= b.stride && b.lines_of(out.cols.div_ceil(16)) <= b.lines.len(), "panels too short");
    let needed = rows.checked_sub(1).map_or(0, |before| before * out.stride + out.cols);
    assert!(
        out.cols <= out.stride && needed <= out.c.len(),
        "no [{rows}, {}]: {} numbers",
        out.cols,
        out.c.len()
    );
    assert!(out.bias.is_none_or(|bias| bias.len() == out.cols), "bias too short");
}

dispatch! {
    fn singles_rows(operands: Operands<'_>, out: Output<'_>) = singles_rows_simd;
}
dispatch! {
    fn singles_panels(operands: Operands<'_>, out: Output<'_>) = singles_panels_simd;
}

#[inline(always)]
fn singles_rows_simd<S: Simd>(s: S, operands: Operands<'_>, out: Output<'_>) {
    groups::<_, ROW_MAJOR>(Singles(s), operands, out);
}

#[inline(always)]
fn singles_panels_simd<S: Simd>(s: S, operands: Operands<'_>, out: Output<'_>) {
    groups::<_, PANELS>(Singles(s), operands, out);
}

/// Column groups of as many blocks as a tile holds, and what remains.
#[inline(always)]
fn groups<M: Multiply, const LAYOUT: bool>(m: M, operands: Operands<'_>, mut out: Output<'_>) {
    let blocks = out.cols.div_ceil(16);
    if <M::S as Simd>::ISA != Isa::Avx512 {
        // 4 x 16 sums: eight registers of AVX2, sixteen of NEON.
        for block in 0..blocks {
            row_tiles::<M, LAYOUT, 4, 1>(m, operands, &mut out, block);
        }
        return;
    }
    let mut block = 0;
    while block < blocks {
        // Four are two and two: three and one would wait for the latency of the one.
        block += match blocks - block {
            1 => row_tiles::<M, LAYOUT, 8, 1>(m, operands, &mut out, block),
            2 | 4 => row_tiles::<M, LAYOUT, 8, 2>(m, operands, &mut out, block),
            _ => row_tiles::<M, LAYOUT, 8, 3>(m, operands, &mut out, block),
        };
    }
}

/// All row tiles of the column group that begins at `block`; gives back how many blocks it has.
#[inline(always)]
fn row_tiles<M: Multiply, const LAYOUT: bool, const ROWS: usize, const BLOCKS: usize>(
    m: M,
    operands: Operands<'_>,
    out: &mut Output<'_>,
    block: usize,
) -> usize {
    let Operands { a, b, rows } = operands;
    let b_at = b.lines[block * b.stride..].as_ptr();
    for row in (0..rows).step_by(ROWS) {
        let a_at = if LAYOUT == ROW_MAJOR {
            a.lines[row * a.stride..].as_ptr().cast::<u32>()
        } else {
            a.lines[row / 16 * a.stride..].as_ptr().cast::<u32>().wrapping_add(row % 16)
        };
        // SAFETY: `check` proved that `a` holds ROWS rows from `row` (padding included) and `b` BLOCKS panels from
        // `block`, each of `depth` words or lines.
        let sums =
            unsafe { tile::<M, LAYOUT, ROWS, BLOCKS>(m, a_at, a.stride * 16, b_at, b.stride, a.depth) };
        store(m.simd(), &sums, out, (row, rows), block);
    }
    BLOCKS
}

/// `ROWS x 16 BLOCKS` sums over the whole depth.
///
/// # Safety
/// `a` must be readable at `ROWS` rows (`row_stride` words apart, or neighbouring words of lines) of `depth` words,
/// `b` at `BLOCKS` panels `panel_stride` lines apart of `depth` lines.
#[inline(always)]
unsafe fn tile<M: Multiply, const LAYOUT: bool, const ROWS: usize, const BLOCKS: usize>(
    m: M,
    a: *const u32,
    row_stride: usize,
    b: *const Line,
    panel_stride: usize,
    depth: usize,
) -> [[<M::S as Simd>::F32; BLOCKS]; ROWS] {
    let s = m.simd();
    let mut sums = [[s.zero(); BLOCKS]; ROWS];
    for p in 0..depth {
        let mut lines = [s.zero(); BLOCKS];
        for (block, line) in lines.iter_mut().enumerate() {
            // SAFETY: within the panel, as the caller promises; a line is 16 floats wide and any bits are a float.
            *line = s.load(unsafe { &*b.add(block * panel_stride + p).cast::<[f32; 16]>() });
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let at = if LAYOUT == ROW_MAJOR { row * row_stride + p } else { 16 * p + row };
            // SAFETY: within the row, as the caller promises.
            let word = unsafe { *a.add(at) };
            for (sum, &line) in sums.iter_mut().zip(&lines) {
                *sum = m.multiply_add(*sum, word, line);
            }
        }
    }
    sums
}

/// Writes a tile but for what lies outside the result.
///
/// A tile that lies inside is written by loops whose bounds the compiler knows, so that its sums never leave the
/// registers; the general way indexes them, through memory.
#[inline(always)]
fn store<S: Simd, const ROWS: usize, const BLOCKS: usize>(
    s: S,
    sums: &[[S::F32; BLOCKS]; ROWS],
    out: &mut Output<'_>,
    (row, rows): (usize, usize),
    block: usize,
) {
    let inside = row + ROWS <= rows && (block + BLOCKS) * 16 <= out.cols;
    if !inside || out.bias.is_some() {
        store_edge(s, sums, out, (row, rows), block);
        return;
    }
    let add = out.write == Write::Add;
    for (r, sums) in sums.iter().enumerate() {
        let (vectors, _) = out.c[(row + r) * out.stride + block * 16..][..BLOCKS * 16].as_chunks_mut::<16>();
        for (index, &sum) in sums.iter().enumerate() {
            let sum = if add { s.add(s.load(&vectors[index]), sum) } else { sum };
            s.store(sum, &mut vectors[index]);
        }
    }
}

/// [`store`] with a bias, or beyond the last row or column.
#[inline(always)]
fn store_edge<S: Simd, const ROWS: usize, const BLOCKS: usize>(
    s: S,
    sums: &[[S::F32; BLOCKS]; ROWS],
    out: &mut Output<'_>,
    (row, rows): (usize, usize),
    block: usize,
) {
    let first = block * 16;
    let lines = out.c[row * out.stride..].chunks_mut(out.stride).take(rows - row);
    for (sums, c) in sums.iter().zip(lines) {
        let c = &mut c[..out.cols];
        for (index, &sum) in sums.iter().enumerate() {
            let at = first + 16 * index;
            if let Some(c) = c[at..].first_chunk_mut::<16>() {
                let bias = out.bias.and_then(|bias| bias[at..].first_chunk::<16>());
                let sum = bias.map_or(sum, |bias| s.add(sum, s.load(bias)));
                s.store(if out.write == Write::Add { s.add(s.load(c), sum) } else { sum }, c);
            } else {
                let bias = out.bias.map_or(s.zero(), |bias| s.load_partial(&bias[at..]));
                let sum = s.add(sum, bias);
                let old = s.load_partial(&c[at..]);
                s.store_partial(if out.write == Write::Add { s.add(old, sum) } else { sum }, &mut c[at..]);
            }
        }
    }
}

/// See [`super::measure_peak`].
pub(super) fn peak(gemm: Gemm, rounds: usize) -> u64 {
    match gemm.words {
        #[cfg(target_arch = "x86_64")]
        Words::Pairs => 2 * pairs::peak(rounds),
        #[cfg(target_arch = "x86_64")]
        Words::Tiles => tiles::peak(rounds),
        _ => peak_singles(gemm.isa, rounds),
    }
}

dispatch! {
    fn peak_singles(rounds: usize) -> u64 = peak_singles_simd;
}

#[inline(always)]
fn peak_singles_simd<S: Simd>(s: S, rounds: usize) -> u64 {
    peak_with(Singles(s), rounds)
}

/// Twelve sums (six where a vector is several registers), more than any latency needs; words that stay the same;
/// operations counted as if words were singles.
#[inline(always)]
fn peak_with<M: Multiply>(m: M, rounds: usize) -> u64 {
    let s = m.simd();
    let mut sums = [s.zero(); 12];
    let used = if <M::S as Simd>::ISA == Isa::Avx512 { 12 } else { 6 };
    let (a, b) = std::hint::black_box((0x3f80_3f80, [1.0; 16]));
    let b = s.load(&b);
    for _ in 0..rounds {
        for sum in sums.iter_mut().take(used) {
            *sum = m.multiply_add(*sum, a, b);
        }
    }
    for &sum in &sums {
        let mut lanes = [0.0; 16];
        s.store(sum, &mut lanes);
        std::hint::black_box(&lanes);
    }
    (rounds * used * 16 * 2) as u64
}

/// AVX-512 with `avx512_bf16`.
#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::{Multiply, Operands, Output, groups, has_bf16_dot, peak_with};
    use crate::arch::Avx512;
    use core::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32};

    /// Words that are pairs of bfloat16. A value exists only where the CPU multiplies them.
    #[derive(Clone, Copy)]
    struct Pairs(Avx512);

    impl Multiply for Pairs {
        type S = Avx512;
        #[inline(always)]
        fn simd(self) -> Avx512 {
            self.0
        }
        #[inline(always)]
        fn multiply_add(self, acc: __m512, a: u32, b: __m512) -> __m512 {
            // SAFETY: `self` proves that the CPU has `avx512_bf16`; the three vector types are 64 bytes without
            // invalid values.
            unsafe {
                let a = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(a.cast_signed()));
                let b = std::mem::transmute::<__m512, __m512bh>(b);
                _mm512_dpbf16_ps(acc, a, b)
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512dq,avx512bf16,avx2,fma,f16c")]
    fn peak_bf16(m: Pairs, rounds: usize) -> u64 {
        peak_with(m, rounds)
    }

    pub(super) fn peak(rounds: usize) -> u64 {
        // SAFETY: the token proves that the CPU has every feature of the callee.
        unsafe { peak_bf16(token(), rounds) }
    }

    /// # Panics
    /// When the CPU does not multiply bfloat16, for which nothing would have been packed then.
    fn token() -> Pairs {
        assert!(has_bf16_dot(), "packed for a CPU that multiplies bfloat16");
        Pairs(Avx512::new().expect("a CPU with avx512_bf16 has the rest"))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512dq,avx512bf16,avx2,fma,f16c")]
    fn product_bf16<const LAYOUT: bool>(m: Pairs, operands: Operands<'_>, out: Output<'_>) {
        groups::<Pairs, LAYOUT>(m, operands, out);
    }

    pub(super) fn product<const LAYOUT: bool>(operands: Operands<'_>, out: Output<'_>) {
        // SAFETY: the token proves that the CPU has every feature of the callee.
        unsafe { product_bf16::<LAYOUT>(token(), operands, out) }
    }
}
