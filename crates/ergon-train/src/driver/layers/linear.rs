//! A product with a weight, with or without a bias, and its gradients.

use super::super::context::{Arithmetic, MatrixPlace, Scratch, Weights};
use super::super::params::{Layout, TensorKind};
use ergon_kernels::{
    gemm::{self, PackedColumns, PackedRows, Write},
    ops,
};

/// The input of one or more linear layers: packed for the forward product, and kept for the weight gradient.
#[derive(Default)]
pub(crate) struct Input {
    rows: PackedRows,
    columns: PackedColumns,
    singles: Vec<f32>,
    n: usize,
}

impl Input {
    /// Takes `x`, dense rows of `cols` values.
    pub(crate) fn set(&mut self, weights: &Weights, x: &[f32], cols: usize) {
        self.n = x.len() / cols;
        match weights.arithmetic {
            Arithmetic::Bf16(gemm) => {
                self.rows.pack(gemm, x, cols);
                self.columns.pack(gemm, x, cols);
            }
            Arithmetic::Singles(_) => {
                self.singles.clear();
                self.singles.extend_from_slice(x);
            }
        }
    }

    /// Takes the rows of `x` that `list` names.
    pub(crate) fn gather(&mut self, weights: &Weights, x: &[f32], cols: usize, list: &[usize]) {
        self.n = list.len();
        match weights.arithmetic {
            Arithmetic::Bf16(gemm) => {
                self.rows.gather(gemm, x, cols, list);
                self.columns.gather(gemm, x, cols, list);
            }
            Arithmetic::Singles(_) => {
                self.singles.clear();
                for row in list {
                    self.singles.extend_from_slice(&x[row * cols..(row + 1) * cols]);
                }
            }
        }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.n
    }
}

/// The gradient of a linear layer's output, packed for both of its uses.
fn pack_gradient(weights: &Weights, scratch: &mut Scratch, dy: &[f32], cols: usize) {
    if let Arithmetic::Bf16(gemm) = weights.arithmetic {
        scratch.dy_rows.pack(gemm, dy, cols);
        scratch.dy_columns.pack(gemm, dy, cols);
    }
}

/// `y = x w^T (+ bias)`, `w` `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    place: MatrixPlace,
    bias: Option<usize>,
    packed: usize,
}

/// Names tensors and finds their places while a network is built.
pub(crate) struct Builder {
    pub(crate) layout: Layout,
    pub(crate) matrices: Vec<MatrixPlace>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { layout: Layout::default(), matrices: Vec::new() }
    }

    /// A matrix `{name}.weight` whose first values have standard deviation `gain / sqrt(inputs)`.
    pub(crate) fn linear(&mut self, name: &str, outputs: usize, inputs: usize, gain: f32) -> Linear {
        let initial = gain / (inputs as f32).sqrt();
        let shape = [outputs, inputs];
        let offset = self.layout.add(format!("{name}.weight"), &shape, TensorKind::Matrix, initial);
        let place = MatrixPlace { offset, rows: outputs, cols: inputs };
        self.matrices.push(place);
        Linear { place, bias: None, packed: self.matrices.len() - 1 }
    }

    /// As [`Builder::linear`], with a `{name}.bias` that starts at zero.
    pub(crate) fn linear_with_bias(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: usize,
        gain: f32,
    ) -> Linear {
        let linear = self.linear(name, outputs, inputs, gain);
        let bias = self.layout.add(format!("{name}.bias"), &[outputs], TensorKind::Vector, 0.0);
        Linear { bias: Some(bias), ..linear }
    }
}

impl Linear {
    /// Width of the result.
    pub(crate) fn outputs(&self) -> usize {
        self.place.rows
    }

    /// `y[n, outputs] (+)= x w^T (+ bias)`
    pub(crate) fn forward(&self, weights: &Weights, x: &Input, y: &mut [f32], write: Write) {
        let bias = self.bias.map(|bias| weights.vector(bias, self.outputs()));
        match weights.arithmetic {
            Arithmetic::Bf16(gemm) => {
                gemm::forward(gemm, &x.rows, &weights.packed[self.packed], bias, y, write);
            }
            Arithmetic::Singles(_) => {
                plain_forward(&x.singles, self.matrix(weights), self.place, bias, y, write);
            }
        }
    }

    fn matrix<'a>(&self, weights: &'a Weights) -> &'a [f32] {
        weights.vector(self.place.offset, self.place.rows * self.place.cols)
    }

    /// Adds to the gradients of weight and bias, and writes or adds the gradient of the input, if wanted.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        x: &Input,
        dy: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        dx: Option<(&mut [f32], Write)>,
    ) {
        if let Some(bias) = self.bias {
            let own = &mut gradients[bias..bias + self.outputs()];
            ops::add_column_sums(weights.arithmetic.isa(), dy, own);
        }
        pack_gradient(weights, scratch, dy, self.outputs());
        let MatrixPlace { offset, rows, cols } = self.place;
        let dw = &mut gradients[offset..offset + rows * cols];
        match weights.arithmetic {
            Arithmetic::Bf16(gemm) => {
                gemm::weight_gradient(gemm, &scratch.dy_columns, &x.columns, dw);
                if let Some((dx, write)) = dx {
                    gemm::input_gradient(gemm, &scratch.dy_rows, &weights.packed[self.packed], dx, write);
                }
            }
            Arithmetic::Singles(_) => {
                plain_weight_gradient(&x.singles, dy, self.place, dw);
                if let Some((dx, write)) = dx {
                    plain_input_gradient(dy, self.matrix(weights), self.place, dx, write);
                }
            }
        }
    }
}

fn plain_forward(
    x: &[f32],
    w: &[f32],
    place: MatrixPlace,
    bias: Option<&[f32]>,
    y: &mut [f32],
    write: Write,
) {
    for (x, y) in x.chunks_exact(place.cols).zip(y.chunks_exact_mut(place.rows)) {
        for (output, (w, y)) in w.chunks_exact(place.cols).zip(y).enumerate() {
            let sum: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
            let sum = sum + bias.map_or(0.0, |bias| bias[output]);
            *y = if write == Write::Add { *y + sum } else { sum };
        }
    }
}

fn plain_input_gradient(dy: &[f32], w: &[f32], place: MatrixPlace, dx: &mut [f32], write: Write) {
    if write == Write::Set {
        dx.fill(0.0);
    }
    for (dy, dx) in dy.chunks_exact(place.rows).zip(dx.chunks_exact_mut(place.cols)) {
        for (dy, w) in dy.iter().zip(w.chunks_exact(place.cols)) {
            dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += dy * w);
        }
    }
}

fn plain_weight_gradient(x: &[f32], dy: &[f32], place: MatrixPlace, dw: &mut [f32]) {
    for (x, dy) in x.chunks_exact(place.cols).zip(dy.chunks_exact(place.rows)) {
        for (dy, dw) in dy.iter().zip(dw.chunks_exact_mut(place.cols)) {
            dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += dy * x);
        }
    }
}
