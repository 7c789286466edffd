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
//! form, and what those of AVX-512 bought on a core of an Emerald Rapids Xeon, whose `vpdpbusd` do 350 (512 rows, in the
//! caches):
//!
//! - AVX2 sums weights of at most four bits in 16 bits over a group, which halves the instructions (`rows_u4_scaled`);
//! - AVX-512 multiplies bytes with a sign as `w + 128` without one, which they become when they are unpacked, and begins with
//!   what that is too much (`rows`);
//! - AVX-512 takes two panels and eight activation rows a tile: sixteen sums, so that none waits for another, and ten loads
//!   for sixteen products (Q4_K 159 to 173, Q6_K 113 to 172, Q8_0 158 to 204);
//! - minima are multiplied two groups at a time (`dot_pairs`; Q4_K 173 to 196), and the numbers of a block lie in arrays of
//!   known length, so that nothing is checked inside (196 to 212);
//! - where a float holds the scaled sums of half a block exactly, AVX-512 scales them as floats: a conversion and a fused
//!   multiply-add for a product of integers, which is two instructions, and a sum (212 to 217, eight rows 79 to 86);
//! - the cache lines of the results are asked for before a tile is computed: its stores would wait for them, and all later
//!   stores in turn for those (experts' products in a model, 105 to 165);
//! - a step of weights is a cache line: loads across two lines take twice as long (Q4_0, Zen 5: 221 to 244);
//! - sixteen rows are turned in registers, their integer scales too, and blocks are not copied first (Zen 5, eight rows:
//!   Q8_0 83 to 126, Q4_K 112 to 133);
//! - 4-bit weights that lie as Q4_K's are turned as bytes and taken apart then (eight rows 86 to 105, 64 rows 200 to 211;
//!   AVX2, 16 rows: 68 to 76).
//!
//! That makes 60 to 65 % of the peak. What is left is mostly the scaling: for a block of 32 eight `vpdpbusd` and four other
//! instructions (Q8_0), and the order of the sums is not ours to choose. Unpacking and turning sixteen rows costs as much as
//! seven to ten activation rows, with AVX-512 as four that go the other way, so few rows take the other way: fewer than five
//! (in the caches four are faster through panels, Q4_K 64 for 42; from memory that is so for Q4_K only), without AVX-512
//! fewer than eight (Q4_K 57 for 40 then, Q4_0 34 for 30, Q8_0 36 for 37, Q6_K 30 for 34).
//! While sixteen rows are unpacked the next sixteen are asked for: they come from sixteen places, which the processor does
//! not foresee (eight sequences of a dense model, tokens a second: Q4_K 117 to 184, Q8_0 108 to 133).

use crate::{
    quant::{panel_32, panel_256},
    simd::{Simd, Step},
};

/// Weight rows of a panel.
pub(crate) const PANEL_ROWS: usize = 16;

/// A number for each row of a panel.
pub(crate) type Lanes<T> = [T; PANEL_ROWS];

/// Sixteen rows, unpacked by their family; the other family's list is not read.
#[derive(Default)]
pub(crate) struct Panel {
    pub(crate) by_32: Vec<panel_32::Super>,
    pub(crate) by_256: Vec<panel_256::Block>,
}

/// What a panel's weights are multiplied with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PanelFor {
    /// [`Simd::rows`].
    Vectors,
    /// Matrix tiles, which take bytes with a sign as they are.
    Tiles,
}

/// 64 weights of each row to sixteen steps; `signed` says whether they can be negative.
#[inline(always)]
pub(crate) fn turn_64<S: Simd>(
    s: S,
    signed: bool,
    purpose: PanelFor,
    mut rows: [S::I8; PANEL_ROWS],
) -> [Step; 16] {
    if signed && purpose == PanelFor::Vectors {
        for row in &mut rows {
            *row = s.signed_for_rows(*row);
        }
    }
    let mut steps = [Step([0; 64]); 16];
    s.transpose_16(rows, &mut steps);
    steps
}

/// The activations that meet group `g` of a block, `K` steps of four.
#[inline(always)]
pub(crate) fn group<const K: usize>(q: &[[i8; 64]; 4], g: usize) -> &[[i8; 4]; K] {
    &q.as_flattened().as_chunks::<4>().0.as_chunks::<K>().0[g]
}
