//! Weight formats: one file each, with the byte layout, a slow and readable reading of it (`reference`), the writer if
//! there is one, and the unpacking into vectors. A new format is a file, a line in [`with_format!`] and one in
//! `ergon-types`.
//!
//! Three families share their arithmetic, so a format file only unpacks:
//!
//! | family | scales | activations | formats |
//! |---|---|---|---|
//! | [`floats`] | none, or FP8's in a tensor of their own | as they come | F32 F16 BF16 F8_E4M3 |
//! | [`blocks_32`] | a float per 32 weights | [`Act32`](crate::activations::Act32) | Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 |
//! | [`blocks_256`] | small integers per 16 or 32 under a float per 256 | [`Act256`](crate::activations::Act256) | Q2_K to Q6_K, IQ4_XS |
//!
//! Both block families walk a row in super-blocks of 256 weights, in four steps of 64, in storage order. For many
//! activation rows they unpack sixteen weight rows side by side first ([`panel`]), which matrix tiles multiply where there
//! are some ([`panel_tiles`]).

use std::ops::Range;

use ergon_types::WeightFormat;

use crate::{
    Cpu, Isa, MatrixError, MatrixRef,
    activations::ActRow,
    simd::{Simd, dispatch},
};

use panel::{PANEL_ROWS, Panel, PanelFor};
use panel_tiles::{PanelTiles, TILE_ROWS};

pub(crate) mod blocks_256;
pub(crate) mod blocks_32;
pub(crate) mod floats;
pub(crate) mod panel;
pub(crate) mod panel_256;
pub(crate) mod panel_32;
pub(crate) mod panel_tiles;
mod search;

pub(crate) mod bf16;
pub(crate) mod fp16;
pub(crate) mod fp32;
pub(crate) mod fp8_e4m3;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod mxfp4;
pub(crate) mod q2_k;
pub(crate) mod q3_k;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;

/// What a family of formats gives the drivers in `matmul*.rs`.
pub(crate) trait RowFormat: Copy + Send + Sync + 'static {
    /// The form of activations it multiplies with.
    const ACTIVATIONS: ActivationKind;

    /// Products of one weight row with `N` activation rows. Each is computed by the same operations in the same order
    /// whatever `N` is.
    fn dot<S: Simd, const N: usize>(self, s: S, w: WeightRow, x: [ActRow; N]) -> [f32; N];

    /// Unpacks sixteen rows side by side.
    #[inline(always)]
    fn pack<S: Simd>(self, _: S, _: &[WeightRow; PANEL_ROWS], _: PanelFor, _: &mut Panel) {
        unreachable!("{:?} formats have no panels", Self::ACTIVATIONS)
    }

    /// Products of the rows of `P` panels, one in each lane, with `N` activation rows: the same bits as
    /// [`RowFormat::dot`].
    #[inline(always)]
    fn panel_dot<S: Simd, const P: usize, const N: usize>(
        self,
        _: S,
        _: [&Panel; P],
        _: [ActRow; N],
    ) -> [[S::F32; N]; P] {
        unreachable!("{:?} formats have no panels", Self::ACTIVATIONS)
    }

    /// Steps of four weights that matrix tiles multiply at a time: a group, whose sums are scaled.
    const GROUP_STEPS: usize = 0;

    /// [`RowFormat::panel_dot`] of sixteen activation rows on matrix tiles.
    #[inline(always)]
    fn tile_dot<S: Simd>(
        self,
        _: S,
        _: &mut PanelTiles,
        _: &Panel,
        _: &[ActRow; TILE_ROWS],
    ) -> [S::F32; TILE_ROWS] {
        unreachable!("{:?} formats have no panels", Self::ACTIVATIONS)
    }

    /// The weights `cols` of a row, exactly as `reference` reads them; `cols` starts at a multiple of 256.
    fn dequantize<S: Simd>(self, s: S, w: WeightRow, cols: Range<usize>, out: &mut [f32]);

    /// The weights of a row, one at a time and plainly: the oracle of everything else. FP8 scales are not applied.
    fn reference(self, row: &[u8], out: &mut [f32]);

    /// Whether there is a writer.
    const CAN_QUANTIZE: bool;

    /// Writes a row; does nothing without a writer.
    fn quantize(self, x: &[f32], row: &mut [u8]);
}

/// Rounds the weights of a block and writes its bytes.
pub(crate) type Writer<Weights, Block> = fn(&Weights, &mut Block);

/// One row of a weight matrix.
#[derive(Clone, Copy)]
pub(crate) struct WeightRow<'a> {
    /// As stored.
    pub(crate) bytes: &'a [u8],
    /// FP8: a factor for every `scale_cols` weights; else empty.
    pub(crate) scales: &'a [f32],
    pub(crate) scale_cols: usize,
}

impl<'a> WeightRow<'a> {
    /// Row `row` of `matrix`.
    #[inline(always)]
    pub(crate) fn of(matrix: &MatrixRef<'a>, row: usize) -> Self {
        let bytes = matrix.row(row);
        match matrix.scales() {
            None => WeightRow { bytes, scales: &[], scale_cols: usize::MAX },
            Some(scales) => WeightRow { bytes, scales: scales.row(row), scale_cols: scales.block_cols },
        }
    }
}

/// The forms of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivationKind {
    /// Singles.
    Float,
    /// [`crate::activations::Act32`].
    By32,
    /// [`crate::activations::Act256`].
    By256,
}

/// The one table of formats: evaluates an expression with `$f` bound to the format's implementation.
macro_rules! with_format {
    ($format:expr, $f:ident => $body:expr) => {{
        use $crate::quant::{blocks_32::Blocks32, blocks_256::Blocks256, floats::Floats};
        macro_rules! body {
            ($value:expr) => {{
                let $f = $value;
                $body
            }};
        }
        match $format {
            WeightFormat::F32 => body!(Floats($crate::quant::fp32::F32)),
            WeightFormat::F16 => body!(Floats($crate::quant::fp16::F16)),
            WeightFormat::Bf16 => body!(Floats($crate::quant::bf16::Bf16)),
            WeightFormat::F8E4M3 => body!(Floats($crate::quant::fp8_e4m3::F8E4M3)),
            WeightFormat::Q4_0 => body!(Blocks32($crate::quant::q4_0::Q4_0)),
            WeightFormat::Q4_1 => body!(Blocks32($crate::quant::q4_1::Q4_1)),
            WeightFormat::Q5_0 => body!(Blocks32($crate::quant::q5_0::Q5_0)),
            WeightFormat::Q5_1 => body!(Blocks32($crate::quant::q5_1::Q5_1)),
            WeightFormat::Q8_0 => body!(Blocks32($crate::quant::q8_0::Q8_0)),
            WeightFormat::Iq4Nl => body!(Blocks32($crate::quant::iq4_nl::Iq4Nl)),
            WeightFormat::Mxfp4 => body!(Blocks32($crate::quant::mxfp4::Mxfp4)),
            WeightFormat::Q2K => body!(Blocks256($crate::quant::q2_k::Q2K)),
            WeightFormat::Q3K => body!(Blocks256($crate::quant::q3_k::Q3K)),
            WeightFormat::Q4K => body!(Blocks256($crate::quant::q4_k::Q4K)),
            WeightFormat::Q5K => body!(Blocks256($crate::quant::q5_k::Q5K)),
            WeightFormat::Q6K => body!(Blocks256($crate::quant::q6_k::Q6K)),
            WeightFormat::Iq4Xs => body!(Blocks256($crate::quant::iq4_xs::Iq4Xs)),
            other => unreachable!("{other} has no kernels: add it to the table in quant/mod.rs"),
        }
    }};
}
pub(crate) use with_format;

/// The form of activations that products with `format` need.
pub(crate) fn activation_kind(format: WeightFormat) -> ActivationKind {
    fn of<F: RowFormat>(_: F) -> ActivationKind {
        F::ACTIVATIONS
    }
    with_format!(format, f => of(f))
}

/// Whether [`quantize`] can write the format.
pub fn can_quantize(format: WeightFormat) -> bool {
    fn of<F: RowFormat>(_: F) -> bool {
        F::CAN_QUANTIZE
    }
    with_format!(format, f => of(f))
}

/// Rounds `x` (rows of `cols` numbers) to `format`, row after row into `out`. Fails if the format has no writer, if
/// `cols` is no multiple of its block, or if the sizes of `x` and `out` do not fit each other.
///
/// Non-finite numbers and numbers beyond a format's range saturate or become NaN as the format allows; they never make
/// it fail.
pub fn quantize(format: WeightFormat, cols: usize, x: &[f32], out: &mut [u8]) -> Result<(), MatrixError> {
    if !can_quantize(format) {
        return Err(MatrixError::NoQuantizer { format });
    }
    let rows = x.len().checked_div(cols).unwrap_or(0);
    MatrixRef::new(format, rows, cols, out)?;
    let row_bytes = format.row_bytes(cols).unwrap_or(0);
    if rows * cols != x.len() || cols == 0 {
        return Err(MatrixError::Columns { format, cols, block: format.block_len() });
    }
    for (x, row) in x.chunks_exact(cols).zip(out.chunks_exact_mut(row_bytes)) {
        with_format!(format, f => f.quantize(x, row));
    }
    Ok(())
}

/// One row of `w` as singles, FP8 scales applied; exactly what the format's reference reading gives.
///
/// # Panics
///
/// If there is no such row or `out` is not `w.cols()` long.
pub fn dequantize_row(cpu: &Cpu, w: MatrixRef, row: usize, out: &mut [f32]) {
    assert!(row < w.rows(), "row {row} of {}", w.rows());
    assert_eq!(out.len(), w.cols(), "the output holds one row");
    dequantize_rows(cpu.isa, &w, row..row + 1, 0..w.cols(), out);
}

/// The weights `cols` of the rows `rows`, one row after the other in `out`; `cols` starts at a multiple of 256.
pub(crate) fn dequantize_rows(
    isa: Isa,
    w: &MatrixRef,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &mut [f32],
) {
    with_format!(w.format(), f => dequantize_rows_of(isa, f, w, rows, cols, out));
}

dispatch! {
    /// [`dequantize_rows`] of one format.
    fn dequantize_rows_of<F: RowFormat>(
        format: F,
        w: &MatrixRef,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
    ) = dequantize_simd;
}

#[inline(always)]
fn dequantize_simd<S: Simd, F: RowFormat>(
    s: S,
    format: F,
    w: &MatrixRef,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &mut [f32],
) {
    for (row, out) in rows.zip(out.chunks_exact_mut(cols.len().max(1))) {
        format.dequantize(s, WeightRow::of(w, row), cols.clone(), out);
    }
}

/// Reads a row of `format` one weight at a time: slow, plain, and the oracle of every kernel. FP8 scales are not part of
/// a row, so they are not applied.
///
/// # Panics
///
/// If `row` does not hold exactly `out.len()` weights.
pub fn dequantize_reference(format: WeightFormat, row: &[u8], out: &mut [f32]) {
    assert_eq!(format.row_bytes(out.len()), Some(row.len()), "bytes of {} {format} weights", out.len());
    with_format!(format, f => f.reference(row, out));
}
