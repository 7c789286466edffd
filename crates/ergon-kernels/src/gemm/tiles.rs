//! The products on matrix tiles (AMX): `tdpbf16ps` multiplies 16 x 32 by 32 x 16 bfloat16 and adds to 16 x 16 singles.
//!
//! # Plainly
//!
//! ```text
//! for 32 columns, for 32 rows:
//!     c[2][2] = bias, the old values, or zero                          four tiles, tmm0 to tmm3
//!     for 16 words (32 numbers) of the depth:
//!         c[i][j] += a[i] b[j]                                         two tiles of a, two of b, tmm4 to tmm7
//! ```
//!
//! # What is different, and what it buys
//!
//! - The layout is that of `vdpbf16ps`: sixteen lines of a panel are a tile of `b`, sixteen rows of a line a tile of
//!   `a`. Nothing is packed anew.
//! - Two by two tiles of sums need four loads for four products, and a product takes as long as two loads.
//! - What is added to is where the sums begin, so that no pass over the result follows. A tile that reaches beyond the
//!   result goes through a square on the stack, with the same numbers in the same order.
//! - The last lines of a depth that is no multiple of sixteen are copied in front of zeros: what `a` holds there then
//!   does not matter, as long as it is finite.
//! - For the weight gradient `a` comes in panels, which are tiles of `a` with rows and columns exchanged: squares of
//!   16 x 16 words are turned by AVX-512, [`CHUNK`] of them at a time, for all columns.
//!
//! How tiles are asked for, configured and moved is in `arch/amx.rs`.

use super::Write;
use super::kernel::{Line, Operands, Output, Packed};
use crate::arch::{
    Amx,
    amx::{SIDE, Tiles, WHOLE, load, store, zero},
};
use core::arch::asm;
use core::arch::x86_64::{
    _mm512_loadu_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use core::mem::MaybeUninit;

/// Squares of a row panel that are turned at once: two panels of them are 32 KiB.
const CHUNK: usize = 16;

/// Bytes of panels that are multiplied with all rows before the next are looked at, and how many panels at most.
const GROUP_BYTES: usize = 32 << 10;
const MAX_GROUP: usize = 8;

/// Sixteen lines: a tile of `b`, a turned tile of `a`, or, as singles, of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Square([Line; SIDE]);

static EMPTY: Square = Square([Line([0; 16]); SIDE]);

/// `c += a b`.
macro_rules! multiply {
    ($c:literal, $a:literal, $b:literal) => {
        asm!(
            concat!("tdpbf16ps tmm", $c, ", tmm", $a, ", tmm", $b),
            options(nostack, nomem, preserves_flags),
        )
    };
}

/// The tile of sums in row `i` and column `j` of the two by two.
macro_rules! sums {
    ($with:ident, $i:expr, $j:expr, $($rest:expr),* $(,)?) => {
        match ($i, $j) {
            (0, 0) => $with!(0, $($rest),*),
            (0, _) => $with!(1, $($rest),*),
            (_, 0) => $with!(2, $($rest),*),
            _ => $with!(3, $($rest),*),
        }
    };
}

/// Where the tiles of one factor lie along the depth.
#[derive(Clone, Copy)]
struct Strip {
    /// The first tile.
    at: *const Line,
    /// Bytes from a row of a tile to the next.
    row: usize,
    /// Lines from a tile to the next.
    step: usize,
}

/// Tiles of sums += `a` by `b` over `steps` tiles of the depth, then over the last, incomplete one if there is one.
///
/// # Safety
/// Tiles must be configured and the strips readable for `steps` tiles, those of `a` for one more with `tail`.
unsafe fn accumulate<const ROWS: usize, const BLOCKS: usize>(
    a: [Strip; 2],
    b: [Strip; 2],
    steps: usize,
    tail: Option<&[Square; 2]>,
) {
    let tails = usize::from(tail.is_some());
    for step in 0..steps + tails {
        let last = tail.filter(|_| step == steps);
        let b_at = |j: usize| last.map_or(b[j].at.wrapping_add(step * b[j].step), |tail| tail[j].0.as_ptr());
        let a_at = |i: usize| a[i].at.wrapping_add(step * a[i].step);
        // SAFETY: the caller promises the strips, and a tail is whole squares.
        unsafe {
            load!(6, b_at(0), 64_usize);
            load!(4, a_at(0), a[0].row);
            multiply!(0, 4, 6);
            if BLOCKS > 1 {
                load!(7, b_at(1), 64_usize);
                multiply!(1, 4, 7);
            }
            if ROWS > 1 {
                load!(5, a_at(1), a[1].row);
                multiply!(2, 5, 6);
                if BLOCKS > 1 {
                    multiply!(3, 5, 7);
                }
            }
        }
    }
}

/// Up to two by two tiles of a result.
struct Corner<'o, 'c> {
    out: &'o mut Output<'c>,
    row: usize,
    rows: usize,
    block: usize,
}

impl Corner<'_, '_> {
    /// The numbers of tile `(i, j)`: its place in the result if all of it is there, and how much of it is.
    fn place(&mut self, i: usize, j: usize) -> (Option<*mut f32>, usize, usize) {
        let (row, col) = (self.row + SIDE * i, SIDE * (self.block + j));
        let (rows, cols) = (SIDE.min(self.rows - row), SIDE.min(self.out.cols - col));
        let inside = rows == SIDE && cols == SIDE;
        (inside.then(|| self.out.c[row * self.out.stride + col..].as_mut_ptr()), rows, cols)
    }

    /// Numbers of tile `(i, j)` before the product.
    fn begin(&mut self, i: usize, j: usize, add: bool) -> Square {
        let (row, col) = (self.row + SIDE * i, SIDE * (self.block + j));
        let (_, rows, cols) = self.place(i, j);
        let mut square = EMPTY;
        for (r, line) in square.0.iter_mut().enumerate().take(rows) {
            for (lane, word) in line.0.iter_mut().enumerate().take(cols) {
                let bias = self.out.bias.map_or(0.0, |bias| bias[col + lane]);
                let old = if add { self.out.c[(row + r) * self.out.stride + col + lane] } else { 0.0 };
                *word = (old + bias).to_bits();
            }
        }
        square
    }

    /// Fetches the lines that will be written while their sums are computed: written one after the other, each would
    /// wait for its own.
    fn expect<const ROWS: usize, const BLOCKS: usize>(&mut self) {
        let col = SIDE * self.block;
        let cols = (SIDE * BLOCKS).min(self.out.cols - col);
        for row in self.row..self.rows.min(self.row + SIDE * ROWS) {
            let line = &self.out.c[row * self.out.stride + col..][..cols];
            for part in line.chunks(SIDE) {
                // SAFETY: a prefetch reads and writes nothing; every CPU with tiles has the instruction.
                unsafe {
                    asm!("prefetchw [{}]", in(reg) part.as_ptr(), options(nostack, readonly, preserves_flags))
                };
            }
        }
    }

    /// Sums begin as what they are added to.
    ///
    /// # Safety
    /// Tiles must be configured.
    unsafe fn load<const ROWS: usize, const BLOCKS: usize>(&mut self, add: bool) {
        let stride = self.out.stride * 4;
        for i in 0..ROWS {
            for j in 0..BLOCKS {
                let (place, ..) = self.place(i, j);
                let bias = self.out.bias.map(|bias| &bias[SIDE * (self.block + j)..]);
                // SAFETY: a whole tile of the result, a line of the bias that is read sixteen times, or a square.
                unsafe {
                    match (place, bias) {
                        (Some(c), None) if add => sums!(load, i, j, c, stride),
                        (Some(_), Some(bias)) if !add => sums!(load, i, j, bias.as_ptr(), 0_usize),
                        (_, None) if !add => sums!(zero, i, j,),
                        _ => {
                            let square = self.begin(i, j, add);
                            sums!(load, i, j, square.0.as_ptr(), 64_usize);
                        }
                    }
                }
            }
        }
    }

    /// Sums go where they belong.
    ///
    /// # Safety
    /// Tiles must be configured.
    unsafe fn store<const ROWS: usize, const BLOCKS: usize>(&mut self) {
        let stride = self.out.stride * 4;
        for i in 0..ROWS {
            for j in 0..BLOCKS {
                let (place, rows, cols) = self.place(i, j);
                if let Some(c) = place {
                    // SAFETY: a whole tile of the result.
                    unsafe { sums!(store, i, j, c, stride) };
                    continue;
                }
                let mut square = EMPTY;
                // SAFETY: a square.
                unsafe { sums!(store, i, j, square.0.as_mut_ptr(), 64_usize) };
                let (row, col) = (self.row + SIDE * i, SIDE * (self.block + j));
                for (r, line) in square.0.iter().enumerate().take(rows) {
                    let c = &mut self.out.c[(row + r) * self.out.stride + col..][..cols];
                    for (c, &word) in c.iter_mut().zip(&line.0) {
                        *c = f32::from_bits(word);
                    }
                }
            }
        }
    }

    /// # Safety
    /// That of [`accumulate`].
    unsafe fn product<const ROWS: usize, const BLOCKS: usize>(
        &mut self,
        a: [Strip; 2],
        b: [Strip; 2],
        (steps, tail): (usize, Option<&[Square; 2]>),
        add: bool,
    ) {
        if !add {
            self.expect::<ROWS, BLOCKS>();
        }
        // SAFETY: as the caller promises.
        unsafe {
            self.load::<ROWS, BLOCKS>(add);
            accumulate::<ROWS, BLOCKS>(a, b, steps, tail);
            self.store::<ROWS, BLOCKS>();
        }
    }

    /// As many tiles as the result has here.
    ///
    /// # Safety
    /// That of [`accumulate`].
    unsafe fn products(
        &mut self,
        a: [Strip; 2],
        b: [Strip; 2],
        depth: (usize, Option<&[Square; 2]>),
        add: bool,
    ) {
        let (rows, blocks) = (self.rows - self.row > SIDE, self.out.cols > SIDE * (self.block + 1));
        // SAFETY: as the caller promises.
        unsafe {
            match (rows, blocks) {
                (true, true) => self.product::<2, 2>(a, b, depth, add),
                (true, false) => self.product::<2, 1>(a, b, depth, add),
                (false, true) => self.product::<1, 2>(a, b, depth, add),
                (false, false) => self.product::<1, 1>(a, b, depth, add),
            }
        }
    }
}

/// The tiles of this thread.
fn tiles() -> Tiles {
    let amx = Amx::new().expect("this arithmetic is given out only where there are tiles");
    // SAFETY: they live for one product, which calls no other.
    unsafe { Tiles::new(amx, &WHOLE) }
}

/// The strips of two panels from line `first` on; the second is the first again where there is no other.
fn panels(b: Packed<'_>, block: usize, blocks: usize, first: usize) -> [Strip; 2] {
    [block, (block + 1).min(blocks - 1)].map(|block| Strip {
        at: b.lines[block * b.stride + first..].as_ptr(),
        row: 64,
        step: SIDE,
    })
}

/// Copies the last lines of two panels, those that are no whole tile, to the front of squares of zeros.
fn tails(b: Packed<'_>, block: usize, blocks: usize, to: &mut [Square; 2]) {
    let rest = b.depth % SIDE;
    for (block, square) in [block, (block + 1).min(blocks - 1)].into_iter().zip(to) {
        let lines = &b.lines[block * b.stride + b.depth - rest..][..rest];
        for (to, &line) in square.0.iter_mut().zip(lines) {
            *to = line;
        }
    }
}

/// `c (+)= a b`, `a` in rows, which are padded to sixteen.
///
/// # Safety
/// The operands must fit each other and the output, as `kernel::check` finds out.
pub(super) unsafe fn rows_by_panels(operands: Operands<'_>, mut out: Output<'_>) {
    let Operands { a, b, rows } = operands;
    let (blocks, add) = (out.cols.div_ceil(SIDE), out.write == Write::Add);
    if rows == 0 || a.depth == 0 {
        return nothing(rows, &mut out);
    }
    let _tiles = tiles();
    // Panels of a group stay in the first cache beside the rows of `a`, which come from the second once per group.
    let group = (GROUP_BYTES / (64 * b.depth)).clamp(2, MAX_GROUP) & !1;
    let mut last = [const { MaybeUninit::<[Square; 2]>::uninit() }; MAX_GROUP / 2];
    for first in (0..blocks).step_by(group) {
        let pairs = (first..blocks.min(first + group)).step_by(2);
        if b.depth % SIDE > 0 {
            pairs
                .clone()
                .zip(&mut last)
                .for_each(|(block, last)| tails(b, block, blocks, last.write([EMPTY; 2])));
        }
        for row in (0..rows).step_by(2 * SIDE) {
            let second = if rows - row > SIDE { row + SIDE } else { row };
            let a = [row, second].map(|row| Strip {
                at: a.lines[row * a.stride..].as_ptr(),
                row: a.stride * 64,
                step: 1,
            });
            for (block, last) in pairs.clone().zip(&last) {
                // SAFETY: written above, for each pair of the group.
                let tail = (b.depth % SIDE > 0).then(|| unsafe { last.assume_init_ref() });
                let mut corner = Corner { out: &mut out, row, rows, block };
                // SAFETY: `a` holds whole lines of sixteen rows, `b` panels of `depth` lines.
                unsafe { corner.products(a, panels(b, block, blocks, 0), (b.depth / SIDE, tail), add) };
            }
        }
    }
}

/// `c (+)= a^T b`, both in panels.
///
/// # Safety
/// The operands must fit each other and the output, as `kernel::check` finds out.
pub(super) unsafe fn panels_by_panels(operands: Operands<'_>, mut out: Output<'_>) {
    let Operands { a, b, rows } = operands;
    let (blocks, mut add) = (out.cols.div_ceil(SIDE), out.write == Write::Add);
    if rows == 0 || a.depth == 0 {
        return nothing(rows, &mut out);
    }
    let _tiles = tiles();
    let mut turned = [const { MaybeUninit::<[Square; CHUNK]>::uninit() }; 2];
    let mut last = const { MaybeUninit::<[Square; 2]>::uninit() };
    let squares = a.depth.div_ceil(SIDE);
    for first in (0..squares).step_by(CHUNK) {
        let here = CHUNK.min(squares - first);
        let whole = here.min(a.depth / SIDE - first);
        for row in (0..rows).step_by(2 * SIDE) {
            let halves = if rows - row > SIDE { 2 } else { 1 };
            for (half, turned) in turned.iter_mut().enumerate().take(halves) {
                let panel = &a.lines[(row / SIDE + half) * a.stride..][..a.depth];
                let squares = turned.as_mut_ptr().cast::<Square>();
                for (n, lines) in panel[first * SIDE..].chunks(SIDE).take(CHUNK).enumerate() {
                    // SAFETY: whoever has tiles has AVX-512; there are `CHUNK` squares.
                    unsafe { turn(lines, squares.add(n)) };
                }
            }
            let strips = [0, halves - 1].map(|half| Strip {
                at: turned[half].as_ptr().cast::<Line>(),
                row: 64,
                step: SIDE,
            });
            for block in (0..blocks).step_by(2) {
                let tail = (whole < here).then(|| {
                    let last = last.write([EMPTY; 2]);
                    tails(b, block, blocks, last);
                    &*last
                });
                let mut corner = Corner { out: &mut out, row, rows, block };
                // SAFETY: `here` squares of `turned` were written, `b` panels of `depth` lines.
                unsafe {
                    let b = panels(b, block, blocks, first * SIDE);
                    corner.products(strips, b, (whole, tail), add);
                }
            }
        }
        add = true;
        out.bias = None;
    }
}

/// A sum of no products.
fn nothing(rows: usize, out: &mut Output<'_>) {
    for row in out.c.chunks_mut(out.stride).take(rows) {
        for (col, c) in row[..out.cols].iter_mut().enumerate() {
            let old = if out.write == Write::Add { *c } else { 0.0 };
            *c = old + out.bias.map_or(0.0, |bias| bias[col]);
        }
    }
}

/// Rows of words to columns; rows that are missing are zero.
///
/// # Safety
/// `out` must be a place for a square.
#[target_feature(enable = "avx512f")]
unsafe fn turn(lines: &[Line], out: *mut Square) {
    let mut padded;
    let rows = match lines.first_chunk::<SIDE>() {
        Some(lines) => lines,
        None => {
            padded = EMPTY.0;
            padded[..lines.len()].copy_from_slice(lines);
            &padded
        }
    };
    // SAFETY: a line is 64 bytes.
    let load = |row: usize| unsafe { _mm512_loadu_si512(rows[row].0.as_ptr().cast()) };
    // Four rows at a time: within each lane of four words, words of one column come together.
    let fours = [0, 4, 8, 12].map(|first| {
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|row| load(first + row));
        let (low, high) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (low2, high2) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        [
            _mm512_unpacklo_epi64(low, low2),
            _mm512_unpackhi_epi64(low, low2),
            _mm512_unpacklo_epi64(high, high2),
            _mm512_unpackhi_epi64(high, high2),
        ]
    });
    // Number `word` of each four holds column `4 lane + word` of its rows in lane `lane`: lanes to rows.
    for word in 0..4 {
        let [a, b, c, d] = fours.map(|four| four[word]);
        let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
        let columns = [
            _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
            _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
            _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
            _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
        ];
        for (lane, column) in columns.into_iter().enumerate() {
            // SAFETY: a line is 64 bytes, and there are sixteen.
            unsafe { _mm512_storeu_si512(out.cast::<Line>().add(4 * lane + word).cast(), column) };
        }
    }
}

/// See [`super::measure_peak`]: four sums, which is as many as the products have.
pub(super) fn peak(rounds: usize) -> u64 {
    let _tiles = tiles();
    // SAFETY: tiles are configured, and squares are whole tiles.
    unsafe {
        load!(4, EMPTY.0.as_ptr(), 64_usize);
        load!(6, EMPTY.0.as_ptr(), 64_usize);
        for _ in 0..rounds {
            multiply!(0, 4, 6);
            multiply!(1, 4, 6);
            multiply!(2, 4, 6);
            multiply!(3, 4, 6);
        }
    }
    (rounds * 4 * SIDE * SIDE * SIDE * 2 * 2) as u64
}

#[cfg(test)]
mod tests {
    use crate::{
        Isa,
        cases::Random,
        float::{bf16_to_f32, f32_to_bf16},
        gemm::{
            Gemm, PackedColumns, PackedRows, PackedWeight, Write, forward, input_gradient, weight_gradient,
        },
    };

    /// `c[i, j] = sum of a(i, p) b(p, j)` of rounded factors in f64, against what tiles made of it.
    fn check(
        got: &[f32],
        cols: usize,
        depth: usize,
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) {
        let rounded = |x: f32| f64::from(bf16_to_f32(f32_to_bf16(x)));
        for (i, got) in got.iter().enumerate() {
            let products = (0..depth).map(|p| rounded(a(i / cols, p)) * rounded(b(p, i % cols)));
            let (sum, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
            let bound = (depth + 2) as f64 * 2f64.powi(-24) * size + 1e-37;
            assert!((f64::from(*got) - sum).abs() <= bound, "[{i}] is {got}, not {sum}");
        }
    }

    /// On a processor without tiles with those of `arch/amx_emulated.rs`, if it rounds to bfloat16; `tests/gemm.rs` has more where
    /// there are some.
    #[test]
    fn tiles_multiply() {
        let Some(gemm) = Isa::Amx.is_available().then(|| Gemm::new(Isa::Amx)) else { return };
        if gemm.name() != "tiles of bfloat16" {
            return;
        }
        for (m, n, k) in [(1, 1, 1), (3, 17, 5), (16, 16, 32), (33, 48, 47), (40, 33, 530)] {
            let mut random = Random::new((m * n + k) as u64);
            let (x, w, dy) = (random.normals(m * k), random.normals(n * k), random.normals(m * n));
            let (mut rows, mut gradients, mut weight) =
                (PackedRows::default(), PackedRows::default(), PackedWeight::default());
            rows.pack(gemm, &x, k);
            gradients.pack(gemm, &dy, n);
            weight.pack(gemm, &w, n, k);
            let mut y = vec![f32::NAN; m * n];
            forward(gemm, &rows, &weight, None, &mut y, Write::Set);
            check(&y, n, k, |i, p| x[i * k + p], |p, j| w[j * k + p]);
            let mut dx = vec![f32::NAN; m * k];
            input_gradient(gemm, &gradients, &weight, &mut dx, Write::Set);
            check(&dx, k, n, |i, p| dy[i * n + p], |p, j| w[p * k + j]);
            let (mut columns, mut gradients) = (PackedColumns::default(), PackedColumns::default());
            columns.pack(gemm, &x, k);
            gradients.pack(gemm, &dy, n);
            let mut dw = vec![0.0; n * k];
            weight_gradient(gemm, &gradients, &columns, &mut dw);
            check(&dw, k, m, |i, p| dy[p * n + i], |p, j| x[p * k + j]);
        }
    }
}
