//! A borrowed weight matrix: the checked door between untrusted bytes and the kernels.

use std::ops::Range;

use ergon_types::WeightFormat;

/// Why bytes are no weight matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A row must hold whole blocks.
    #[error("rows of {cols} weights do not divide into blocks of {block} as {format} needs")]
    Columns {
        /// The storage format.
        format: WeightFormat,
        /// Weights in a row.
        cols: usize,
        /// Weights in a block.
        block: usize,
    },
    /// The byte count does not match the shape.
    #[error("a {rows}x{cols} {format} matrix takes {expected} bytes, but there are {got}")]
    Bytes {
        /// The storage format.
        format: WeightFormat,
        /// Rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// What the shape needs; `usize::MAX` if it overflows.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// Block scales belong to FP8 only.
    #[error("{format} weights carry their scales inside and take no scale tensor")]
    NoScales {
        /// The storage format.
        format: WeightFormat,
    },
    /// The scale tensor does not match the shape.
    #[error("a {rows}x{cols} matrix in blocks of {block:?} takes {expected} scales, but there are {got}")]
    Scales {
        /// Rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// Rows and columns of a scale block.
        block: [usize; 2],
        /// What the shape needs.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// There is a reader for the format but no writer.
    #[error(
        "cannot quantise to {format}: choose f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0, iq4_nl or mxfp4"
    )]
    NoQuantizer {
        /// The storage format.
        format: WeightFormat,
    },
}

/// Scales of an FP8 matrix: element `(r, c)` is multiplied by `scales[(first_row + r) / rows * stride + c / cols]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockScales<'a> {
    scales: &'a [f32],
    block_rows: usize,
    pub(crate) block_cols: usize,
    /// Scales in a row of blocks.
    stride: usize,
    /// Where row 0 of the matrix lies in the scale tensor's rows; a row range moves it.
    first_row: usize,
}

impl<'a> BlockScales<'a> {
    /// The scales along one row of the matrix, one for every `block_cols` columns.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        let start = (self.first_row + row) / self.block_rows * self.stride;
        &self.scales[start..start + self.stride]
    }
}

/// A borrowed weight matrix `[rows, cols]` in its stored format; the bytes may have any alignment.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRef<'a> {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
    scales: Option<BlockScales<'a>>,
}

impl<'a> MatrixRef<'a> {
    /// Row-major `bytes` as `[rows, cols]`; fails unless the bytes are exactly what the shape needs.
    pub fn new(format: WeightFormat, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, MatrixError> {
        let block = format.block_len();
        let Some(row_bytes) = format.row_bytes(cols) else {
            return Err(MatrixError::Columns { format, cols, block });
        };
        let expected = rows.checked_mul(row_bytes);
        if expected != Some(bytes.len()) {
            let expected = expected.unwrap_or(usize::MAX);
            return Err(MatrixError::Bytes { format, rows, cols, expected, got: bytes.len() });
        }
        Ok(MatrixRef { format, rows, cols, row_bytes, bytes, scales: None })
    }

    /// Adds DeepSeek's FP8 scales (`weight_scale_inv`): element `(r, c)` is multiplied by
    /// `scales[(r / block[0]) * ceil(cols / block[1]) + c / block[1]]`. The last block of a row or column may be ragged.
    pub fn with_block_scales(mut self, scales: &'a [f32], block: [usize; 2]) -> Result<Self, MatrixError> {
        if self.format != WeightFormat::F8E4M3 {
            return Err(MatrixError::NoScales { format: self.format });
        }
        let [block_rows, block_cols] = block;
        let got = scales.len();
        let expected = match block_rows.min(block_cols) {
            0 => None,
            _ => self.rows.div_ceil(block_rows).checked_mul(self.cols.div_ceil(block_cols)),
        };
        if expected != Some(got) {
            let expected = expected.unwrap_or(usize::MAX);
            return Err(MatrixError::Scales { rows: self.rows, cols: self.cols, block, expected, got });
        }
        let stride = self.cols.div_ceil(block_cols);
        self.scales = Some(BlockScales { scales, block_rows, block_cols, stride, first_row: 0 });
        Ok(self)
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The rows `rows` as a matrix of their own; they need not be aligned to FP8 scale blocks.
    ///
    /// # Panics
    ///
    /// If the range reaches beyond the matrix.
    pub fn row_range(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows {rows:?} of a matrix of {} rows",
            self.rows
        );
        let scales = self.scales.map(|s| BlockScales { first_row: s.first_row + rows.start, ..s });
        let bytes = &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes];
        MatrixRef { rows: rows.len(), bytes, scales, ..self }
    }

    /// The stored bytes of one row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The FP8 scales, if the matrix has any.
    pub(crate) fn scales(&self) -> Option<&BlockScales<'a>> {
        self.scales.as_ref()
    }
}
