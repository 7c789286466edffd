//! Rows of one tensor from their stored format into another, a bounded piece at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use ergon_checkpoint::Tensor;
use ergon_kernels::{Cpu, MatrixError, MatrixRef, dequantize_row, quantize};
use ergon_types::WeightFormat;

/// Weights that one task decodes and encodes: 1 MiB as f32, so that memory stays bounded by the threads.
const TASK_WEIGHTS: usize = 1 << 18;
/// Bytes of a copied tensor handed on at once.
const COPY_BYTES: usize = 4 << 20;

/// What one task works with; reused from piece to piece.
#[derive(Default)]
struct Slot {
    weights: Vec<f32>,
    bytes: Vec<u8>,
    failed: Option<MatrixError>,
}

/// Encodes tensors, reusing its buffers.
pub(super) struct Encoder<'a> {
    cpu: &'a Cpu,
    slots: Vec<Mutex<Slot>>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(cpu: &'a Cpu) -> Encoder<'a> {
        Encoder { cpu, slots: (0..cpu.pool.threads()).map(|_| Mutex::default()).collect() }
    }

    /// Hands the tensor's rows in `format` to `sink`, in order. `scales` are the block scales of an FP8 tensor and the
    /// extents of their blocks.
    pub(super) fn encode(
        &mut self,
        source: &Tensor,
        scales: Option<(&[f32], [usize; 2])>,
        format: WeightFormat,
        mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let matrix = matrix(source, scales)?;
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let row_bytes = format.row_bytes(cols).context("the plan chose a format whose blocks fit")?;
        let task_rows = (TASK_WEIGHTS / cols.max(1)).max(1);
        let mut first = 0;
        while first < rows {
            let piece = (rows - first).min(task_rows * self.slots.len());
            let tasks = piece.div_ceil(task_rows);
            self.cpu.pool.run(tasks, |task| {
                let start = first + task * task_rows;
                let n = task_rows.min(first + piece - start);
                lock(&self.slots[task]).fill(self.cpu, matrix, start..start + n, format, row_bytes);
            });
            for slot in &self.slots[..tasks] {
                let slot = lock(slot);
                if let Some(error) = &slot.failed {
                    anyhow::bail!("tensor '{}' cannot be written as {format}: {error}", source.name);
                }
                sink(&slot.bytes)?;
            }
            first += piece;
        }
        Ok(())
    }
}

impl Slot {
    fn fill(
        &mut self,
        cpu: &Cpu,
        matrix: MatrixRef<'_>,
        rows: std::ops::Range<usize>,
        format: WeightFormat,
        row_bytes: usize,
    ) {
        let cols = matrix.cols();
        self.weights.resize(rows.len() * cols, 0.0);
        self.bytes.resize(rows.len() * row_bytes, 0);
        for (row, out) in rows.zip(self.weights.chunks_exact_mut(cols)) {
            dequantize_row(cpu, matrix, row, out);
        }
        self.failed = quantize(format, cols, &self.weights, &mut self.bytes).err();
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tensor as one matrix; stacked experts lie below each other.
fn matrix<'t>(source: &'t Tensor, scales: Option<(&'t [f32], [usize; 2])>) -> anyhow::Result<MatrixRef<'t>> {
    let format = source.format.context("a tensor without a weight format is copied")?;
    let cols = source.shape.last().copied().unwrap_or(1);
    let rows = source.elements().checked_div(cols).unwrap_or(0);
    let in_tensor = || format!("tensor '{}'", source.name);
    let matrix = MatrixRef::new(format, rows, cols, &source.data).with_context(in_tensor)?;
    match scales {
        None => Ok(matrix),
        Some((scales, block)) => {
            ensure!(source.shape.len() == 2, "tensor '{}' has block scales but is no matrix", source.name);
            matrix.with_block_scales(scales, block).with_context(in_tensor)
        }
    }
}

/// Hands the tensor's bytes to `sink` as they are.
pub(super) fn copy(source: &Tensor, mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    source.data.chunks(COPY_BYTES).try_for_each(&mut sink)
}
