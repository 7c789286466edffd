//! The gated feed-forward part: down(silu(gate(x)) * up(x)).

use ergon_kernels::{Activations, Cpu, MatmulJob, RowSet, matmul, matmul_jobs, ops};

use crate::scratch::{MlpScratch, sized};
use crate::weights::{Linear, MlpWeights};

/// A product that writes `y` `[rows, out]` for all rows of `x`; the bias is added by [`add_bias`].
pub(crate) fn job<'a>(linear: &'a Linear, x: Activations<'a>, y: &'a mut [f32]) -> MatmulJob<'a> {
    MatmulJob { weight: linear.weight.view(), x, x_rows: RowSet::All, y }
}

/// Adds a bias, if there is one, to every row of `y`.
pub(crate) fn add_bias(linear: &Linear, y: &mut [f32]) {
    let Some(bias) = &linear.bias else { return };
    for row in y.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
    }
}

/// `y` `[rows, out]` = x w^T + bias.
pub(crate) fn linear(cpu: &Cpu, linear: &Linear, x: Activations, y: &mut [f32]) {
    matmul(cpu, linear.weight.view(), x, y);
    add_bias(linear, y);
}

impl MlpWeights {
    /// Formats of the matrices that multiply the input.
    pub(crate) fn input_formats(&self) -> [ergon_types::WeightFormat; 2] {
        [self.gate_proj.weight.format(), self.up_proj.weight.format()]
    }

    /// Writes the output `[rows, hidden_size]` for the input `x` `[rows, hidden_size]`.
    pub(crate) fn forward(&self, cpu: &Cpu, x: Activations, scratch: &mut MlpScratch, output: &mut [f32]) {
        let width = self.gate_proj.weight.rows();
        let gate = sized(&mut scratch.gate, x.rows() * width);
        let up = sized(&mut scratch.up, x.rows() * width);
        matmul_jobs(cpu, &mut [job(&self.gate_proj, x, gate), job(&self.up_proj, x, up)]);
        add_bias(&self.gate_proj, gate);
        add_bias(&self.up_proj, up);
        let inner = sized(&mut scratch.inner, gate.len());
        ops::swiglu(cpu, gate, up, inner);
        let inner = scratch.activations.prepare(cpu, inner, width, [self.down_proj.weight.format()]);
        linear(cpu, &self.down_proj, inner, output);
    }
}
