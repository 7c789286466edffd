//! Sixteen weight rows side by side, for products with many activation rows.
//!
//! In plain words, with a row's numbers in groups (a block of 32, or a group of 16 or 32 of a block of 256):
//!
//! ```text
//! for each tile of N activation rows:
//!     for each group of the row:
//!         sums[16 rows, N] = 0
//!         for each k in steps of four weights of the group:
//!             sums += weights[16 rows, k..k + 4] * activations[N, k..k + 4]
//!         add sums, times scales, to the running sums of the sixteen rows
//! ```
//!
//! A lane is a weight row, so no lane is ever added to another; each result is the same operations in the same order as
//! in `RowFormat::dot`, hence the same bits. What it buys over one weight row at a time, on a Zen 3 core (AVX2, weights in
//! the cache, 64 activation rows): 24 to 74 G multiply-adds a second for Q4_K, 21 to 42 for Q8_0. Departures from the plain
//! form:
//!
//! - AVX2 sums weights of at most four bits in 16 bits over a group, which halves the instructions (`rows_u4_scaled`);
//! - AVX-512 multiplies bytes with a sign as `w + 128` without one and begins with what that is too much (`rows`), and takes
//!   eight activation rows a tile, since four sums wait for each other (Q6_K, 512 rows, on a Zen 5 core: 188 to 226);
//! - a step of weights is a cache line: loads across two lines take twice as long (Q4_0: 221 to 244);
//! - sixteen rows are turned in registers, their integer scales too, and blocks are not copied first (AVX-512, eight rows:
//!   Q8_0 83 to 126, Q4_K 112 to 133).
//!
//! With AVX-512 on a Zen 5 core, whose `vpdpbusd` do 535 at most, that makes 277 (Q4_K), 288 (Q8_0) and 328 (Q6_K) with 512
//! rows. Unpacking and turning sixteen rows costs as much as seven to ten activation rows, with AVX-512 as five that go the
//! other way, so few rows take the other way.
//! The eight running sums of blocks of 32 lie in memory while a row is gone through from front to back; with a pass for each
//! of them, so that it stays in a register, AVX2 is as fast, and AVX-512 slower (Q8_0, 512 rows, rounding them included: 168, front to back 176).
//! While sixteen rows are unpacked the next sixteen are asked for: they come from sixteen places, which the processor does
//! not foresee (eight sequences of a dense model, tokens a second: Q4_K 117 to 184, Q8_0 108 to 133).

use crate::simd::{Simd, Step};

/// Weight rows of a panel.
pub(crate) const PANEL_ROWS: usize = 16;

/// A number for each row of a panel.
pub(crate) type Lanes<T> = [T; PANEL_ROWS];

/// Numbers of each row and their companions for minima. A cache line each: a vector that lies in two costs two reads.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Pair<T>(pub(crate) [Lanes<T>; 2]);

/// Sixteen rows, unpacked by their family.
#[derive(Default)]
pub(crate) struct Panel {
    /// Whole super-blocks of 256 weights.
    pub(crate) weights: Vec<Step>,
    /// A factor for each block and, if there are minima, one for each block's minimum.
    pub(crate) factors: Vec<Pair<f32>>,
    /// The integer scale and minimum of each group of a block of 256.
    pub(crate) scales: Vec<Pair<i32>>,
}

impl Panel {
    /// Makes room. What is there from another panel is overwritten (missing rows are copies of the first), but for
    /// minima of formats that have none, which are not read.
    pub(crate) fn resize(&mut self, supers: usize, factors: usize, scales: usize) {
        self.weights.resize(64 * supers, Step([0; 64]));
        self.factors.resize(factors, Pair([[0.0; 16]; 2]));
        self.scales.resize(scales, Pair([[0; 16]; 2]));
    }
}

/// 64 weights of each row to sixteen steps.
#[inline(always)]
pub(crate) fn turn_64<S: Simd>(s: S, rows: [S::I8; PANEL_ROWS]) -> [Step; 16] {
    let mut steps = [Step([0; 64]); 16];
    s.transpose_16(rows, &mut steps);
    steps
}

/// The activations that meet group `g` of a block, `K` steps of four.
#[inline(always)]
pub(crate) fn group<const K: usize>(q: &[[i8; 64]; 4], g: usize) -> &[[i8; 4]; K] {
    &q.as_flattened().as_chunks::<4>().0.as_chunks::<K>().0[g]
}
