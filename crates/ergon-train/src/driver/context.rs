//! What every layer gets: the parameters, the arithmetic, and buffers to work in.

use ergon_kernels::{
    Cpu, Isa,
    gemm::{Gemm, PackedColumns, PackedRows, PackedWeight},
};
use std::sync::{Mutex, PoisonError};

use super::layers::attention::AttentionScratch;

/// How products with weights are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Factors rounded to bfloat16, single-precision sums.
    Bf16(Gemm),
    /// Plain single precision: the oracle of the tests, slow.
    Singles(Isa),
}

impl Arithmetic {
    /// The instruction set of everything that is no product with weights.
    pub fn isa(self) -> Isa {
        match self {
            Arithmetic::Bf16(gemm) => gemm.isa(),
            Arithmetic::Singles(isa) => isa,
        }
    }
}

/// Where a matrix lies in the flat array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixPlace {
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// The parameters of one forward or backward pass: the flat array, and the matrices packed for products.
pub struct Weights {
    pub(crate) values: Vec<f32>,
    pub(crate) packed: Vec<PackedWeight>,
    pub(crate) arithmetic: Arithmetic,
}

impl Weights {
    pub(crate) fn new(arithmetic: Arithmetic) -> Weights {
        Weights { values: Vec::new(), packed: Vec::new(), arithmetic }
    }

    /// Takes new values, `[layout.len()]`.
    pub(crate) fn set(&mut self, values: &[f32], matrices: &[MatrixPlace]) {
        self.values.clear();
        self.values.extend_from_slice(values);
        if let Arithmetic::Bf16(gemm) = self.arithmetic {
            self.packed.resize_with(matrices.len(), PackedWeight::default);
            for (packed, place) in self.packed.iter_mut().zip(matrices) {
                let own = &values[place.offset..place.offset + place.rows * place.cols];
                packed.pack(gemm, own, place.rows, place.cols);
            }
        }
    }

    /// As [`Weights::set`], on all threads.
    pub(crate) fn set_on(&mut self, cpu: &Cpu, values: &[f32], matrices: &[MatrixPlace]) {
        let Arithmetic::Bf16(gemm) = self.arithmetic else {
            return self.set(values, matrices);
        };
        self.values.clear();
        self.values.extend_from_slice(values);
        self.packed.resize_with(matrices.len(), PackedWeight::default);
        let tasks: Vec<_> = self.packed.iter_mut().map(Mutex::new).collect();
        cpu.pool.run(tasks.len(), |index| {
            let MatrixPlace { offset, rows, cols } = matrices[index];
            let mut packed = tasks[index].lock().unwrap_or_else(PoisonError::into_inner);
            packed.pack(gemm, &values[offset..offset + rows * cols], rows, cols);
        });
    }

    pub(crate) fn vector(&self, offset: usize, len: usize) -> &[f32] {
        &self.values[offset..offset + len]
    }
}

/// Buffers that layers share; they grow to the largest layer and are reused.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) dy_rows: PackedRows,
    pub(crate) dy_columns: PackedColumns,
    /// Gradient of a normalised input.
    pub(crate) normed: Vec<f32>,
    /// For one layer's inner results in the forward pass.
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) c: Vec<f32>,
    pub(crate) d: Vec<f32>,
    pub(crate) e: Vec<f32>,
    /// Inside of MLPs.
    pub(crate) f: Vec<f32>,
    /// Gradients inside of attention.
    pub(crate) attention: [Vec<f32>; 4],
    /// What attention itself works in.
    pub(crate) attend: AttentionScratch,
    /// Gradients around the latents, or of routed tokens.
    pub(crate) latent: [Vec<f32>; 4],
}

/// The first `n` values of a buffer that grows as needed. What they hold is whatever was there.
pub(crate) fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// As [`sized`], all zero.
pub(crate) fn zeroed(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    let values = sized(buffer, n);
    values.fill(0.0);
    values
}
