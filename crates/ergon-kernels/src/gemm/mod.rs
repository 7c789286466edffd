//! Matrix products for training: bfloat16 factors, single-precision sums, one thread.
//!
//! A linear layer `y = x w^T` needs three products, and each of its matrices takes part in two of them:
//!
//! ```text
//! forward          y[m, n]  = sum over k of  x[m, k] w[n, k]          (+ bias[n])
//! input gradient   dx[m, k] = sum over n of dy[m, n] w[n, k]
//! weight gradient  dw[n, k] += sum over m of dy[m, n] x[m, k]
//! ```
//!
//! Every factor is rounded to bfloat16 (to nearest, ties to even) when it is packed; products and sums are in single
//! precision. [`PackedWeight`] holds a weight for the first two, [`PackedRows`] rows of `x` or `dy` for the first two,
//! [`PackedColumns`] the same numbers laid out for the third. Packing costs one pass over the numbers; whoever needs a
//! packed matrix twice keeps it. Rows may be gathered by a list while they are packed, which is how a mixture of
//! experts multiplies the tokens of one expert; the results are then dense rows in the order of the list, and
//! `ops::scatter_add_weighted` brings them back.
//!
//! # Errors of rounding, and what instruction sets share
//!
//! The rounded factors are the same numbers everywhere, but that AVX-512 with `avx512_bf16` takes numbers below 2^-126
//! for zero. Sums differ in order and fusing: an element that sums `d` products differs between two instruction sets by
//! at most `2 (d + 2) 2^-24` times the sum of the magnitudes of its products, of the bias and of what it is added to,
//! beside numbers below 2^-126. On one machine an element depends on its row and its column alone, not on the rows
//! beside it.
//!
//! Matrix tiles sum the even and the odd ones of 32 products apart and add both to what was there before; numbers below
//! 2^-126 are zero in all of that.

mod kernel;
mod pack;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub(crate) use kernel::{Operands, Output, panels_by_panels, rows_by_panels};
pub use pack::{PackedColumns, PackedRows, PackedWeight};
pub(crate) use pack::{PackedTransposed, Source};

use crate::isa::Isa;

/// Which arithmetic multiplies packed matrices; everything packed under one must be multiplied under the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    isa: Isa,
    words: Words,
}

/// What a 32-bit word of a packed matrix holds, and what multiplies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// Two bfloat16 that are neighbours along the summed dimension, the first in the lower half: `vdpbf16ps`.
    Pairs,
    /// The same for matrix tiles: `tdpbf16ps`.
    Tiles,
    /// One single whose value is a bfloat16: fused multiplication and addition.
    Singles,
}

impl Words {
    /// Numbers along the summed dimension per word.
    const fn per_word(self) -> usize {
        match self {
            Words::Pairs | Words::Tiles => 2,
            Words::Singles => 1,
        }
    }
}

impl Gemm {
    /// The fastest arithmetic of `isa` on this CPU: matrix tiles (AMX), else `vdpbf16ps` where there is AVX-512 with
    /// `avx512_bf16`, else singles.
    pub fn new(isa: Isa) -> Gemm {
        *Gemm::available(isa).last().expect("singles are always there")
    }

    /// What `isa` can do on this CPU, slowest first.
    pub fn available(isa: Isa) -> Vec<Gemm> {
        let mut all = vec![Gemm { isa, words: Words::Singles }];
        if isa.has_avx512() && kernel::has_bf16_dot() {
            all.push(Gemm { isa, words: Words::Pairs });
            if isa == Isa::Amx && isa.is_available() {
                all.push(Gemm { isa, words: Words::Tiles });
            }
        }
        all
    }

    /// The instruction set.
    pub const fn isa(self) -> Isa {
        self.isa
    }

    /// Numbers along the summed dimension per word.
    pub(crate) const fn per_word(self) -> usize {
        self.words.per_word()
    }

    /// How it multiplies.
    pub const fn name(self) -> &'static str {
        match self.words {
            Words::Singles => "singles",
            Words::Pairs => "pairs of bfloat16",
            Words::Tiles => "tiles of bfloat16",
        }
    }
}

/// What becomes of the numbers that lie where a product is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// They are replaced.
    Set,
    /// The product is added to them.
    Add,
}

/// `y[m, n] (+)= x[m, k] w[n, k]^T (+ bias[n])`; f32 `y`, row-major.
///
/// # Panics
/// When shapes do not fit, or the arguments were packed for another arithmetic.
pub fn forward(
    gemm: Gemm,
    x: &PackedRows,
    w: &PackedWeight,
    bias: Option<&[f32]>,
    y: &mut [f32],
    write: Write,
) {
    let (n, k) = w.shape();
    assert!(x.cols() == k, "forward: rows of {} by a weight [{n}, {k}]", x.cols());
    assert!(y.len() == x.rows() * n, "forward: {} rows of {n} into {} numbers", x.rows(), y.len());
    assert!(bias.is_none_or(|bias| bias.len() == n), "forward: the bias is not of length {n}");
    let out = Output { c: y, cols: n, stride: n, bias, write };
    kernel::rows_by_panels(gemm, Operands { a: x.rows_of(gemm), b: w.by_input(gemm), rows: x.rows() }, out);
}

/// `dx[m, k] (+)= dy[m, n] w[n, k]`; f32 `dx`, row-major.
///
/// # Panics
/// When shapes do not fit, or the arguments were packed for another arithmetic.
pub fn input_gradient(gemm: Gemm, dy: &PackedRows, w: &PackedWeight, dx: &mut [f32], write: Write) {
    let (n, k) = w.shape();
    assert!(dy.cols() == n, "input_gradient: rows of {} by a weight [{n}, {k}]", dy.cols());
    assert!(dx.len() == dy.rows() * k, "input_gradient: {} rows of {k} into {} numbers", dy.rows(), dx.len());
    let out = Output { c: dx, cols: k, stride: k, bias: None, write };
    kernel::rows_by_panels(
        gemm,
        Operands { a: dy.rows_of(gemm), b: w.by_output(gemm), rows: dy.rows() },
        out,
    );
}

/// `dw[n, k] += dy[m, n]^T x[m, k]`; f32 `dw`, row-major.
///
/// # Panics
/// When shapes do not fit, or the arguments were packed for another arithmetic.
pub fn weight_gradient(gemm: Gemm, dy: &PackedColumns, x: &PackedColumns, dw: &mut [f32]) {
    let (n, k) = (dy.cols(), x.cols());
    assert!(dy.rows() == x.rows(), "weight_gradient: {} and {} rows", dy.rows(), x.rows());
    assert!(dw.len() == n * k, "weight_gradient: [{n}, {k}] into {} numbers", dw.len());
    let out = Output { c: dw, cols: k, stride: k, bias: None, write: Write::Add };
    kernel::panels_by_panels(gemm, Operands { a: dy.panels(gemm), b: x.panels(gemm), rows: n }, out);
}

/// Multiplies and adds in registers alone, as many times as a tile of the products could, and gives back how many
/// floating-point operations that were: what a benchmark divides by. `rounds` is the depth of the tile.
pub fn measure_peak(gemm: Gemm, rounds: usize) -> u64 {
    kernel::peak(gemm, rounds)
}
