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
//! - blocks of 32 have eight running sums of products a row (and eight of minima); they are gone through one after the
//!   other, each a pass over its blocks, which lie together, so that a tile of activations keeps one of them in registers.
//!
//! Unpacking and turning sixteen rows costs as much as seven to ten activation rows, so few rows take the other way.
//! Asking for the next sixteen rows while a panel is multiplied was tried and bought nothing.

use crate::simd::Simd;

/// Weight rows of a panel.
pub(crate) const PANEL_ROWS: usize = 16;

/// A number for each row of a panel.
pub(crate) type Lanes<T> = [T; PANEL_ROWS];

/// Four weights of each row.
pub(crate) type Step = [u8; 4 * PANEL_ROWS];

/// Sixteen rows, unpacked by their family.
#[derive(Default)]
pub(crate) struct Panel {
    /// Whole super-blocks of 256 weights. Blocks of 256 lie in their order; of blocks of 32, first the first of each
    /// super-block, then the second of each, since that is how they are added up.
    pub(crate) weights: Vec<Step>,
    /// A factor for each block, then, if there are minima, one for each block's minimum.
    pub(crate) factors: Vec<[Lanes<f32>; 2]>,
    /// The integer scale and minimum of each group of a block of 256.
    pub(crate) scales: Vec<[Lanes<i32>; 2]>,
}

impl Panel {
    /// Makes room. What is there from another panel is overwritten: missing rows are copies of the first.
    pub(crate) fn resize(&mut self, supers: usize, factors: usize, scales: usize) {
        self.weights.resize(64 * supers, [0; 64]);
        self.factors.resize(factors, [[0.0; 16]; 2]);
        self.scales.resize(scales, [[0; 16]; 2]);
    }
}

/// 64 weights of each row to sixteen steps.
#[inline(always)]
pub(crate) fn turn_64<S: Simd>(s: S, rows: &[[u8; 64]; PANEL_ROWS]) -> [Step; 16] {
    let mut steps = [[0; 64]; 16];
    s.transpose_16(rows, &mut steps);
    steps
}

/// The activations that meet group `g` of a block, `K` steps of four.
#[inline(always)]
pub(crate) fn group<const K: usize>(q: &[[i8; 64]; 4], g: usize) -> &[[i8; 4]; K] {
    &q.as_flattened().as_chunks::<4>().0.as_chunks::<K>().0[g]
}
