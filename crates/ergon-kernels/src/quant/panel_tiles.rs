//! Panels on matrix tiles (AMX): the products of integers of sixteen weight rows with sixteen activation rows.
//!
//! # Plainly
//!
//! ```text
//! for each group of the row (16 or 32 weights):
//!     a = the group of sixteen activation rows        a tile: a row for an activation row
//!     b = the group of the panel                      a tile: a row for four weights of all sixteen rows
//!     sums[16 activation rows, 16 weight rows] = a b  a tile
//! ```
//!
//! The sums are exact integers, and `panel_32` and `panel_256` scale and add them as those of vectors: the same bits.
//!
//! # What is different, and what it buys
//!
//! By the count of instructions; no time was taken yet. For a group of 32 a product of tiles takes 16 cycles, one of vectors
//! (`vpdpbusd`, two a cycle) 64; the scaling takes 16 (Q4_K) to 32 (Q8_0), which vectors do while tiles multiply.
//!
//! - A panel is a tile as it lies; its weights are bytes with a sign (`tdpbssd`), with nothing to be taken away as vectors need
//!   it. Fewer than sixteen rows take a whole tile, which is filled up with copies of the first.
//! - Products run [`AHEAD`] groups before their scaling, so that tiles and vectors work at the same time, and no vector is
//!   loaded from a line that a tile has not yet written.
//! - Activation rows that lie equally far apart are read where they are; others, those of an expert's tokens, are copied
//!   side by side, a super-block at a time.

#[cfg(target_arch = "x86_64")]
use core::arch::asm;

use super::panel::{Lanes, group};
use crate::Isa;
#[cfg(target_arch = "x86_64")]
use crate::arch::{
    Amx,
    amx::{Configuration, SIDE, Tiles, WHOLE, load, store, zero},
};
use crate::simd::Step;

/// Activation rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Groups that are multiplied before the first of them is scaled, and places for their sums.
const AHEAD: usize = 2;
const RING: usize = 4;

/// Sums of sixteen activation rows; a lane is a weight row.
pub(crate) type Sums = [Lanes<i32>; TILE_ROWS];

/// The tiles of this thread, in the shape of a group.
pub(crate) struct PanelTiles {
    /// Steps of four weights of a group.
    steps: usize,
    /// A super-block of sixteen activation rows that are not equally far apart.
    copied: [[[i8; 64]; 4]; TILE_ROWS],
    sums: Ring,
    #[cfg(target_arch = "x86_64")]
    _tiles: Tiles,
    #[cfg(not(target_arch = "x86_64"))]
    none: std::convert::Infallible,
}

impl PanelTiles {
    /// Tiles for groups of `steps` steps of four weights, if `isa` has some.
    pub(crate) fn new(isa: Isa, steps: usize) -> Option<PanelTiles> {
        #[cfg(target_arch = "x86_64")]
        {
            /// Two tiles of sums, two of activations (which are numbers 4 and 5), two of weights (6 and 7).
            const fn shapes(steps: usize) -> Configuration {
                let (sums, a, b) = ([SIDE as u8, 64], [SIDE as u8, 4 * steps as u8], [steps as u8, 64]);
                Configuration::new([sums, sums, sums, sums, a, a, b, b])
            }
            static OF_16: Configuration = shapes(4);
            static OF_32: Configuration = shapes(8);
            let amx = if isa == Isa::Amx { Amx::new()? } else { return None };
            let configuration = match steps {
                4 => &OF_16,
                8 => &OF_32,
                _ => unreachable!("groups are of 16 or 32 weights"),
            };
            let copied = [[[0; 64]; 4]; TILE_ROWS];
            let sums = Ring([[[0; 16]; TILE_ROWS]; RING]);
            // SAFETY: they live for one task of a product, which calls no other.
            let tiles = unsafe { Tiles::new(amx, configuration) };
            Some(PanelTiles { steps, copied, sums, _tiles: tiles })
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (isa, steps);
            None
        }
    }

    /// The sums of a group, `a b`, with one of two sets of tiles.
    ///
    /// # Safety
    /// The address `a` must be readable for `4 K` bytes at each of sixteen places `stride` bytes apart, and the tiles those for `K`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    #[inline(always)]
    unsafe fn multiply<const K: usize>(&mut self, group: usize, (a, stride): (usize, usize), b: &[Step; K]) {
        let sums = &mut self.sums.0[group % RING];
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! multiply {
                ($c:literal, $a:literal, $b:literal) => {{
                    load!($b, b.as_ptr(), 64_usize);
                    load!($a, a, stride);
                    zero!($c,);
                    asm!(
                        concat!("tdpbssd tmm", $c, ", tmm", $a, ", tmm", $b),
                        options(nostack, nomem, preserves_flags),
                    );
                    store!($c, sums.as_mut_ptr(), 64_usize);
                }};
            }
            // SAFETY: tiles are configured while `self` lives, `b` is `K` rows of 64 bytes, `sums` sixteen of them, and `a` is
            // as the caller promises.
            unsafe {
                if group % 2 == 1 {
                    multiply!(1, 5, 7);
                } else {
                    multiply!(0, 4, 6);
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.none {}
    }
}

/// See [`crate::measure_byte_peak`]: whole tiles of zeros, into four tiles of sums, so that none waits for another.
#[cfg(target_arch = "x86_64")]
pub(crate) fn peak(amx: Amx, rounds: usize) -> u64 {
    // SAFETY: they live for this measurement, which calls nobody.
    let _tiles = unsafe { Tiles::new(amx, &WHOLE) };
    for _ in 0..rounds {
        // SAFETY: tiles are configured, and their shapes fit each other.
        unsafe {
            asm!(
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm5, tmm6",
                "tdpbssd tmm2, tmm4, tmm7",
                "tdpbssd tmm3, tmm5, tmm7",
                options(nostack, nomem, preserves_flags),
            );
        }
    }
    (rounds * 4 * SIDE * SIDE * 64 * 2) as u64
}

/// What tiles read of a super-block of sixteen weight rows.
pub(crate) trait Steps {
    fn steps(&self) -> &[Step; 64];
}

/// What tiles read of 256 rounded activations.
pub(crate) trait Rounded {
    fn q(&self) -> &[[i8; 64]; 4];
}

/// The sums of groups of `K` steps, one group after the other.
pub(crate) struct TileProducts<'a, W, A, const K: usize> {
    tiles: &'a mut PanelTiles,
    panel: &'a [W],
    rows: [&'a [A]; TILE_ROWS],
    /// Bytes from one activation row to the next, if they are equally far apart.
    stride: Option<usize>,
    multiplied: usize,
    taken: usize,
}

#[repr(C, align(64))]
struct Ring([Sums; RING]);

impl<'a, W: Steps, A: Rounded, const K: usize> TileProducts<'a, W, A, K> {
    /// Rows are as long as the panel. Begins with the first groups.
    #[inline(always)]
    pub(crate) fn new(tiles: &'a mut PanelTiles, panel: &'a [W], rows: [&'a [A]; TILE_ROWS]) -> Self {
        assert!(tiles.steps == K && rows.iter().all(|row| row.len() == panel.len()), "of one shape");
        let stride = stride(&rows);
        let mut products = TileProducts { tiles, panel, rows, stride, multiplied: 0, taken: 0 };
        for _ in 0..AHEAD {
            products.multiply();
        }
        products
    }

    /// The sums of the next group.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> &Sums {
        self.multiply();
        self.taken += 1;
        &self.tiles.sums.0[(self.taken - 1) % RING]
    }

    /// Multiplies one more group, if there is one.
    #[inline(always)]
    fn multiply(&mut self) {
        let (index, g) = (self.multiplied / (64 / K), self.multiplied % (64 / K));
        let Some(weights) = self.panel.get(index) else { return };
        let b: &[Step; K] = &weights.steps().as_chunks().0[g];
        let (a, stride) = match self.stride {
            // It leads to other rows, so it is no longer a reference to this one.
            Some(stride) => (group::<K>(self.rows[0][index].q(), g).as_ptr().expose_provenance(), stride),
            None => {
                if g == 0 {
                    for (row, copy) in self.rows.iter().zip(&mut self.tiles.copied) {
                        *copy = *row[index].q();
                    }
                }
                let copied = self.tiles.copied.as_ptr().expose_provenance();
                (copied + 4 * K * g, size_of_val(&self.tiles.copied[0]))
            }
        };
        // SAFETY: group `g` of super-block `index` of each row, which `new` found to be `stride` apart, or of each copy; `new`
        // compared `K`.
        unsafe { self.tiles.multiply(self.multiplied, (a, stride), b) };
        self.multiplied += 1;
    }
}

/// Bytes from one row to the next, if they all lie equally far apart in this order.
#[inline(always)]
fn stride<A>(rows: &[&[A]; TILE_ROWS]) -> Option<usize> {
    let at = |n: usize| rows[n].as_ptr().addr();
    let stride = at(1).checked_sub(at(0))?;
    (2..TILE_ROWS).all(|n| at(n).wrapping_sub(at(n - 1)) == stride).then_some(stride)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActivationBuffer, Cpu, MatmulJob, MatrixRef, RowSet,
        cases::{self, Random},
        matmul_jobs,
    };
    use ergon_types::WeightFormat;

    /// On a processor without tiles with those of `arch/amx_emulated.rs`; nothing is compared where there is no AVX-512.
    #[test]
    fn tiles_give_the_bits_of_vectors() {
        let cpus = [Isa::Avx512, Isa::Amx].map(|isa| Cpu::with_isa(isa, 2));
        let [Ok(vectors), Ok(tiles)] = cpus else { return };
        // In order, out of order with repetitions, and one row over and over.
        let lists =
            [(0..37).collect(), (0..37).map(|i| 7 * i % 20).collect(), vec![3; 21], vec![5, 4, 3, 2, 1]];
        for format in WeightFormat::ALL {
            for cols in [32, 256, 288, 1280].into_iter().filter(|cols| format.row_bytes(*cols).is_some()) {
                let (rows, n) = (39, 37);
                let weights = cases::weights(format, rows, cols, cols as u64);
                let x = Random::new(7).normals(n * cols);
                let weight = MatrixRef::new(format, rows, cols, &weights).expect("a matrix");
                for list in
                    std::iter::once(RowSet::All).chain(lists.iter().map(|list: &Vec<u32>| RowSet::List(list)))
                {
                    let selected = if let RowSet::List(list) = list { list.len() } else { n };
                    let [mut want, mut got] =
                        [vec![f32::NAN; selected * rows], vec![f32::NAN; selected * rows]];
                    for (cpu, y) in [(&vectors, &mut want), (&tiles, &mut got)] {
                        let mut buffer = ActivationBuffer::default();
                        let x = buffer.prepare(cpu, &x, cols, [format]);
                        matmul_jobs(cpu, &mut [MatmulJob { weight, x, x_rows: list, y }]);
                    }
                    let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                    assert!(
                        bits(&want) == bits(&got) && want.iter().all(|y| y.is_finite()),
                        "{format} {cols} {list:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn rows_that_are_equally_far_apart_are_found() {
        let all: Vec<u32> = (0..200).collect();
        let rows = |first: usize, step: usize| std::array::from_fn(|n| &all[first + step * n..][..3]);
        assert_eq!(stride(&rows(4, 5)), Some(20));
        assert_eq!(stride(&rows(0, 0)), Some(0), "one row sixteen times");
        let mut other = rows(4, 5);
        other[15] = &all[4..7];
        assert_eq!(stride(&other), None);
        let backwards = std::array::from_fn(|n| &all[100 - 5 * n..][..3]);
        assert_eq!(stride(&backwards), None);
    }
}
