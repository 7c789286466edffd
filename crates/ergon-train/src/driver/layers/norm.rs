//! Root-mean-square normalisation and its gradient.

use super::super::context::Weights;
use super::super::params::TensorKind;
use super::linear::Builder;
use ergon_kernels::{
    gemm::Write,
    ops::{rms_norm_backward, rms_norm_forward},
};

/// `y = x / sqrt(mean(x^2) + eps) * weight`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    weight: usize,
    width: usize,
    eps: f32,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct NormTape {
    x: Vec<f32>,
    factors: Vec<f32>,
}

impl Builder {
    /// A norm `{name}.weight`.
    pub(crate) fn norm(&mut self, name: &str, width: usize, eps: f32) -> Norm {
        let weight = self.layout.add(format!("{name}.weight"), &[width], TensorKind::Vector, 1.0);
        Norm { weight, width, eps }
    }
}

impl Norm {
    /// Writes `y` for rows `x`, both `[n, width]`.
    pub(crate) fn forward(&self, weights: &Weights, x: &[f32], tape: &mut NormTape, y: &mut [f32]) {
        let weight = weights.vector(self.weight, self.width);
        tape.x.clear();
        tape.x.extend_from_slice(x);
        tape.factors.resize(x.len() / self.width, 0.0);
        let isa = weights.arithmetic.isa();
        rms_norm_forward(isa, x, weight, self.eps, y, &mut tape.factors);
    }

    /// Adds to the gradients of the weight and of `x`.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &NormTape,
        dy: &[f32],
        gradients: &mut [f32],
        dx: &mut [f32],
    ) {
        let weight = weights.vector(self.weight, self.width);
        let d_weight = &mut gradients[self.weight..self.weight + self.width];
        let isa = weights.arithmetic.isa();
        rms_norm_backward(isa, &tape.x, weight, &tape.factors, dy, dx, Write::Add, d_weight);
    }
}
