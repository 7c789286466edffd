//! A weight matrix: a view into a checkpoint, in its stored precision.

use std::ops::Range;
use std::sync::Arc;

use ergon_checkpoint::{Tensor, TensorBytes};
use ergon_kernels::{MatrixError, MatrixRef};
use ergon_types::WeightFormat;

use crate::experts::PartPlace;

/// Scales of an FP8 matrix, one for each block of rows and columns.
#[derive(Clone)]
struct BlockScales {
    scales: Vec<f32>,
    block: [usize; 2],
}

/// A weight matrix `[rows, cols]`; rows are outputs. Nothing is copied but FP8 scales.
#[derive(Clone)]
pub(crate) struct Matrix {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    data: TensorBytes,
    block_scales: Option<BlockScales>,
    /// The tensor it is, or is a part of.
    tensor: Arc<str>,
    /// CRC-32 of its bytes, if the file names one.
    checksum: Option<u32>,
}

impl Matrix {
    /// Binds a tensor to a shape; `data` are its bytes, wherever they are. Fails if their number does not fit.
    pub(crate) fn new(
        tensor: &Tensor,
        format: WeightFormat,
        [rows, cols]: [usize; 2],
        data: TensorBytes,
    ) -> Result<Matrix, MatrixError> {
        MatrixRef::new(format, rows, cols, &data)?;
        let (tensor, checksum) = (tensor.name.as_str().into(), tensor.checksum);
        Ok(Matrix { format, rows, cols, data, block_scales: None, tensor, checksum })
    }

    /// Adds FP8 scales: element (r, c) is multiplied by `scales[r / block[0], c / block[1]]`.
    pub(crate) fn with_block_scales(
        mut self,
        scales: Vec<f32>,
        block: [usize; 2],
    ) -> Result<Matrix, MatrixError> {
        MatrixRef::new(self.format, self.rows, self.cols, &self.data)?.with_block_scales(&scales, block)?;
        self.block_scales = Some(BlockScales { scales, block });
        Ok(self)
    }

    pub(crate) fn format(&self) -> WeightFormat {
        self.format
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Some rows as a matrix of their own, over the same bytes.
    ///
    /// # Panics
    /// If the rows are not there, or the matrix has FP8 scales (experts of FP8 files are stored one by one).
    pub(crate) fn row_slice(&self, rows: Range<usize>) -> Matrix {
        assert!(self.block_scales.is_none(), "FP8 matrices are not sliced");
        let row_bytes = self.data.len() / self.rows;
        let bytes = rows.start * row_bytes..rows.end * row_bytes;
        let data = self.data.slice(bytes).expect("rows lie inside the matrix");
        Matrix { rows: rows.len(), data, checksum: None, ..self.clone() }
    }

    /// Where its bytes are stored; `None` if they are in memory.
    pub(crate) fn place(&self) -> Option<PartPlace> {
        let extent = self.data.extent()?;
        Some(PartPlace { tensor: Arc::clone(&self.tensor), extent, checksum: self.checksum })
    }

    /// The matrix as kernels take it.
    pub(crate) fn view(&self) -> MatrixRef<'_> {
        self.view_of(&self.data)
    }

    /// The matrix as kernels take it, with its bytes at another place in memory.
    ///
    /// # Panics
    /// If `bytes` are not as many as the matrix has.
    pub(crate) fn view_of<'a>(&'a self, bytes: &'a [u8]) -> MatrixRef<'a> {
        let view = MatrixRef::new(self.format, self.rows, self.cols, bytes).expect("checked in new");
        match &self.block_scales {
            None => view,
            Some(fp8) => {
                view.with_block_scales(&fp8.scales, fp8.block).expect("checked in with_block_scales")
            }
        }
    }
}
