//! Rounding factors to bfloat16 and laying them out for the tiles of `kernel.rs`.
//!
//! With `q` numbers to a word (two where the CPU multiplies bfloat16, else one), a matrix `x[rows, cols]` becomes
//!
//! ```text
//! PackedRows     word[row, p]         = x[row, q p .. q p + q]                    rows padded to a multiple of 16
//! PackedColumns  word[block, p, lane] = x[q p .. q p + q, 16 block + lane]        summed along rows
//! PackedWeight   by output            = PackedColumns of w;  by input             = PackedColumns of w^T
//! ```
//!
//! and whatever lies beyond the matrix is zero, so that it adds nothing to a sum. The transposition for the last goes
//! through rows: sixteen of them, packed, are squares of 16 x 16 words.

use super::{
    Gemm, Words,
    kernel::{Line, MAX_TILE_ROWS, Packed},
};
use crate::simd::{Simd, dispatch};

/// A line of zeros.
const ZEROS: Line = Line([0; 16]);

/// Rows of numbers (`x` or `dy`), for [`forward`](super::forward) and [`input_gradient`](super::input_gradient).
///
/// The memory is reused by the next `pack`, and only grows.
#[derive(Default)]
pub struct PackedRows {
    lines: Vec<Line>,
    shape: (usize, usize),
    packed_as: Option<Words>,
}

impl PackedRows {
    /// Rounds and packs `x`, dense rows of `cols` numbers.
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub fn pack(&mut self, gemm: Gemm, x: &[f32], cols: usize) {
        self.pack_source(gemm, Source::dense(x, cols));
    }

    /// Rounds and packs the rows of `x` that `list` names, in its order; a row may come more than once.
    ///
    /// # Panics
    /// When the list names a row that `x` does not have.
    pub fn gather(&mut self, gemm: Gemm, x: &[f32], cols: usize, list: &[usize]) {
        self.pack_source(gemm, Source::listed(x, cols, list));
    }

    pub(crate) fn pack_source(&mut self, gemm: Gemm, source: Source<'_>) {
        self.shape = (source.rows, source.cols);
        self.packed_as = Some(gemm.words);
        let stride = self.stride(gemm.words);
        self.lines.resize(source.rows.next_multiple_of(MAX_TILE_ROWS) * stride, ZEROS);
        let (lines, padding) = self.lines.split_at_mut(source.rows * stride);
        padding.fill(ZEROS);
        if !lines.is_empty() {
            rows_to_lines(gemm, source, lines, stride);
        }
    }

    fn stride(&self, words: Words) -> usize {
        self.shape.1.div_ceil(16 * words.per_word())
    }

    /// Rows packed.
    pub fn rows(&self) -> usize {
        self.shape.0
    }

    /// Numbers per row.
    pub fn cols(&self) -> usize {
        self.shape.1
    }

    pub(crate) fn rows_of(&self, gemm: Gemm) -> Packed<'_> {
        check_words(self.packed_as, gemm);
        let depth = self.shape.1.div_ceil(gemm.words.per_word());
        Packed { lines: &self.lines, stride: self.stride(gemm.words), depth }
    }
}

/// Rows of numbers (`x` or `dy`) laid out to be summed over the rows, for [`weight_gradient`](super::weight_gradient).
///
/// The memory is reused by the next `pack`, and only grows.
#[derive(Default)]
pub struct PackedColumns {
    lines: Vec<Line>,
    shape: (usize, usize),
    packed_as: Option<Words>,
}

impl PackedColumns {
    /// Rounds and packs `x`, dense rows of `cols` numbers.
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub fn pack(&mut self, gemm: Gemm, x: &[f32], cols: usize) {
        self.pack_source(gemm, Source::dense(x, cols));
    }

    /// Rounds and packs the rows of `x` that `list` names, in its order; a row may come more than once.
    ///
    /// # Panics
    /// When the list names a row that `x` does not have.
    pub fn gather(&mut self, gemm: Gemm, x: &[f32], cols: usize, list: &[usize]) {
        self.pack_source(gemm, Source::listed(x, cols, list));
    }

    pub(crate) fn pack_source(&mut self, gemm: Gemm, source: Source<'_>) {
        self.shape = (source.rows, source.cols);
        self.packed_as = Some(gemm.words);
        let depth = source.rows.div_ceil(gemm.words.per_word());
        self.lines.resize(source.cols.div_ceil(16) * depth, ZEROS);
        columns_to_lines(gemm, source, &mut self.lines, depth);
    }

    /// Rows packed.
    pub fn rows(&self) -> usize {
        self.shape.0
    }

    /// Numbers per row.
    pub fn cols(&self) -> usize {
        self.shape.1
    }

    pub(crate) fn panels(&self, gemm: Gemm) -> Packed<'_> {
        check_words(self.packed_as, gemm);
        let depth = self.shape.0.div_ceil(gemm.words.per_word());
        Packed { lines: &self.lines, stride: depth, depth }
    }
}

/// Rows of numbers laid out as [`PackedColumns`] of their transpose.
#[derive(Default)]
pub(crate) struct PackedTransposed {
    lines: Vec<Line>,
    shape: (usize, usize),
    packed_as: Option<Words>,
}

impl PackedTransposed {
    pub(crate) fn pack_source(&mut self, gemm: Gemm, source: Source<'_>) {
        self.shape = (source.rows, source.cols);
        self.packed_as = Some(gemm.words);
        let depth = source.cols.div_ceil(gemm.words.per_word());
        self.lines.resize(source.rows.div_ceil(16) * depth, ZEROS);
        if depth > 0 {
            transposed_to_lines(gemm, source, &mut self.lines, depth);
        }
    }

    pub(crate) fn panels(&self, gemm: Gemm) -> Packed<'_> {
        check_words(self.packed_as, gemm);
        let depth = self.shape.1.div_ceil(gemm.words.per_word());
        Packed { lines: &self.lines, stride: depth, depth }
    }
}

/// A weight `w[n, k]` (n outputs, k inputs) for [`forward`](super::forward) and
/// [`input_gradient`](super::input_gradient). Packed anew when the master weight has changed; the memory is reused.
#[derive(Default)]
pub struct PackedWeight {
    by_input: PackedTransposed,
    by_output: PackedColumns,
}

impl PackedWeight {
    /// Rounds and packs `w`, `n` dense rows of `k` numbers.
    ///
    /// # Panics
    /// When `w` is not of that shape.
    pub fn pack(&mut self, gemm: Gemm, w: &[f32], n: usize, k: usize) {
        assert!(w.len() == n * k, "a weight [{n}, {k}] of {} numbers", w.len());
        self.by_output.pack_source(gemm, Source::dense(w, k));
        self.by_input.pack_source(gemm, Source::dense(w, k));
    }

    /// `(n, k)`: outputs and inputs.
    pub fn shape(&self) -> (usize, usize) {
        self.by_output.shape
    }

    /// Panels of outputs, summed over inputs.
    pub(super) fn by_input(&self, gemm: Gemm) -> Packed<'_> {
        self.by_input.panels(gemm)
    }

    /// Panels of inputs, summed over outputs.
    pub(super) fn by_output(&self, gemm: Gemm) -> Packed<'_> {
        self.by_output.panels(gemm)
    }
}

fn check_words(packed_as: Option<Words>, gemm: Gemm) {
    assert!(packed_as == Some(gemm.words), "packed as {packed_as:?}, multiplied as {:?}", gemm.words);
}

/// Rows to pack: `rows` of them, `stride` numbers apart, or those of a list.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
    pub(crate) list: Option<&'a [usize]>,
}

impl<'a> Source<'a> {
    /// All of `x`, dense rows.
    fn dense(x: &'a [f32], cols: usize) -> Source<'a> {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} numbers are no rows of {cols}", x.len());
        Source { x, rows: x.len() / cols, cols, stride: cols, list: None }
    }

    /// The rows of `x` that `list` names.
    fn listed(x: &'a [f32], cols: usize, list: &'a [usize]) -> Source<'a> {
        assert!(cols > 0, "rows of no numbers");
        Source { x, rows: list.len(), cols, stride: cols, list: Some(list) }
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &'a [f32] {
        let row = match self.list {
            Some(list) => list[index],
            None => index,
        };
        &self.x[row * self.stride..][..self.cols]
    }
}

/// One way of making words of numbers.
trait Round: Copy {
    /// Numbers to a word.
    const PER_WORD: usize;
    /// The line of `16 * PER_WORD` neighbours along the summed dimension; missing ones are zero.
    fn along(self, numbers: &[f32]) -> Line;
    /// The line whose word `l` holds element `l` of `PER_WORD` rows; missing ones are zero.
    fn across(self, rows: [&[f32]; 2]) -> Line;
}

/// Words that are singles.
#[derive(Clone, Copy)]
struct Singles<S>(S);

impl<S: Simd> Singles<S> {
    #[inline(always)]
    fn line(self, numbers: &[f32]) -> Line {
        let s = self.0;
        let v = match numbers.first_chunk::<16>() {
            Some(numbers) => s.load(numbers),
            None => s.load_partial(numbers),
        };
        let mut rounded = [0.0; 16];
        s.store(s.round_bf16(v), &mut rounded);
        Line(rounded.map(f32::to_bits))
    }
}

impl<S: Simd> Round for Singles<S> {
    const PER_WORD: usize = 1;
    #[inline(always)]
    fn along(self, numbers: &[f32]) -> Line {
        self.line(numbers)
    }
    #[inline(always)]
    fn across(self, rows: [&[f32]; 2]) -> Line {
        self.line(rows[0])
    }
}

#[inline(always)]
fn rows_with<R: Round>(r: R, source: Source<'_>, lines: &mut [Line], stride: usize) {
    for (row, lines) in lines.chunks_exact_mut(stride).enumerate() {
        for (line, numbers) in lines.iter_mut().zip(source.row(row).chunks(16 * R::PER_WORD)) {
            *line = r.along(numbers);
        }
    }
}

#[inline(always)]
fn columns_with<R: Round>(r: R, source: Source<'_>, lines: &mut [Line], depth: usize) {
    let rows = source.rows;
    for p in 0..depth {
        let first = source.row(R::PER_WORD * p);
        let second = if R::PER_WORD * p + 1 < rows { source.row(R::PER_WORD * p + 1) } else { &[] };
        let mut chunks = second.chunks(16);
        for (block, numbers) in first.chunks(16).enumerate() {
            lines[block * depth + p] = r.across([numbers, chunks.next().unwrap_or(&[])]);
        }
    }
}

#[inline(always)]
fn transposed_with<R: Round>(r: R, source: Source<'_>, lines: &mut [Line], depth: usize) {
    let (rows, per_line) = (source.rows, 16 * R::PER_WORD);
    for (block, panel) in lines.chunks_exact_mut(depth).enumerate() {
        for (index, out) in panel.chunks_mut(16).enumerate() {
            let mut square = [ZEROS; 16];
            for (lane, line) in square.iter_mut().enumerate().take(rows - 16 * block) {
                let row = source.row(16 * block + lane);
                *line = r.along(&row[index * per_line..row.len().min((index + 1) * per_line)]);
            }
            for (word, line) in out.iter_mut().enumerate() {
                *line = Line(std::array::from_fn(|lane| square[lane].0[word]));
            }
        }
    }
}

/// `fn $name(gemm, source, lines, stride)`, which runs `$with` for the words of `gemm`.
macro_rules! packer {
    ($name:ident, $with:ident, $singles:ident, $singles_simd:ident) => {
        fn $name(gemm: Gemm, source: Source<'_>, lines: &mut [Line], stride: usize) {
            match gemm.words {
                #[cfg(target_arch = "x86_64")]
                Words::Pairs | Words::Tiles => pairs::$name(source, lines, stride),
                _ => $singles(gemm.isa, source, lines, stride),
            }
        }
        #[inline(always)]
        fn $singles_simd<S: Simd>(s: S, source: Source<'_>, lines: &mut [Line], stride: usize) {
            $with(Singles(s), source, lines, stride);
        }
        dispatch! {
            fn $singles(source: Source<'_>, lines: &mut [Line], stride: usize) = $singles_simd;
        }
    };
}
packer!(rows_to_lines, rows_with, rows_in_singles, rows_in_singles_simd);
packer!(columns_to_lines, columns_with, columns_in_singles, columns_in_singles_simd);
packer!(transposed_to_lines, transposed_with, transposed_in_singles, transposed_in_singles_simd);

/// AVX-512 with `avx512_bf16`.
#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::super::kernel::has_bf16_dot;
    use super::{Line, Round, Source, columns_with, rows_with, transposed_with};
    use crate::{arch::Avx512, simd::Simd};
    use core::arch::x86_64::{__m512, __m512i, _mm512_cvtne2ps_pbh, _mm512_permutexvar_epi16};

    /// Words that are pairs of bfloat16. A value exists only where the CPU rounds to them.
    #[derive(Clone, Copy)]
    struct Pairs(Avx512);

    /// Word `2 l` comes from element `l` of the first half, word `2 l + 1` from the second.
    const INTERLEAVE: [u16; 32] = {
        let mut index = [0; 32];
        let mut lane = 0;
        while lane < 32 {
            index[lane] = (lane / 2 + lane % 2 * 16) as u16;
            lane += 1;
        }
        index
    };

    #[inline(always)]
    fn load(s: Avx512, numbers: &[f32]) -> __m512 {
        match numbers.first_chunk::<16>() {
            Some(numbers) => s.load(numbers),
            None => s.load_partial(numbers),
        }
    }

    impl Pairs {
        /// 32 bfloat16: `first`, then `second`.
        #[inline(always)]
        fn rounded(self, first: __m512, second: __m512) -> __m512i {
            // SAFETY: `self` proves that the CPU has `avx512_bf16`; both types are 64 bytes without invalid values.
            unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
        }
    }

    impl Round for Pairs {
        const PER_WORD: usize = 2;
        #[inline(always)]
        fn along(self, numbers: &[f32]) -> Line {
            let (first, second) = numbers.split_at(numbers.len().min(16));
            let both = self.rounded(load(self.0, first), load(self.0, second));
            // SAFETY: both types are 64 bytes without invalid values.
            unsafe { std::mem::transmute::<__m512i, Line>(both) }
        }
        #[inline(always)]
        fn across(self, rows: [&[f32]; 2]) -> Line {
            let both = self.rounded(load(self.0, rows[0]), load(self.0, rows[1]));
            // SAFETY: `self` proves that the CPU has AVX-512 BW; all types are 64 bytes without invalid values.
            unsafe {
                let index = std::mem::transmute::<[u16; 32], __m512i>(INTERLEAVE);
                std::mem::transmute::<__m512i, Line>(_mm512_permutexvar_epi16(index, both))
            }
        }
    }

    /// The function `$name` of the module above, compiled for the instruction set.
    macro_rules! with_features {
        ($name:ident, $with:ident) => {
            pub(super) fn $name(source: Source<'_>, lines: &mut [Line], stride: usize) {
                #[target_feature(
                    enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512dq,avx512bf16,avx2,fma,f16c"
                )]
                fn inner(r: Pairs, source: Source<'_>, lines: &mut [Line], stride: usize) {
                    $with(r, source, lines, stride);
                }
                assert!(has_bf16_dot(), "packed for a CPU that multiplies bfloat16");
                let simd = Avx512::new().expect("a CPU with avx512_bf16 has the rest");
                // SAFETY: the lines above prove that the CPU has every feature of the callee.
                unsafe { inner(Pairs(simd), source, lines, stride) }
            }
        };
    }
    with_features!(rows_to_lines, rows_with);
    with_features!(columns_to_lines, columns_with);
    with_features!(transposed_to_lines, transposed_with);
}
