//! Gated MLPs, MLPs with one activation between two products, and their gradients.

use super::super::context::{Scratch, Weights, sized};
use super::linear::{Builder, Input, Linear};
use ergon_kernels::{gemm::Write, ops};

/// `down(silu(gate(x)) * up(x))`
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    width: usize,
    hidden: usize,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct GatedMlpTape {
    pub(crate) x: Input,
    gate: Vec<f32>,
    up: Vec<f32>,
    mixed: Input,
}

impl Builder {
    /// `{name}.gate_proj`, `up_proj` and `down_proj`; `gain` is that of the last, which writes into the residual stream.
    pub(crate) fn gated_mlp(&mut self, name: &str, hidden: usize, width: usize, gain: f32) -> GatedMlp {
        GatedMlp {
            gate: self.linear(&format!("{name}.gate_proj"), width, hidden, 1.0),
            up: self.linear(&format!("{name}.up_proj"), width, hidden, 1.0),
            down: self.linear(&format!("{name}.down_proj"), hidden, width, gain),
            width,
            hidden,
        }
    }
}

impl GatedMlp {
    /// Writes or adds `y[n, hidden]` for the input that `tape.x` holds.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        tape: &mut GatedMlpTape,
        scratch: &mut Scratch,
        y: &mut [f32],
        write: Write,
    ) {
        let n = tape.x.rows();
        let gate = sized(&mut tape.gate, n * self.width);
        let up = sized(&mut tape.up, n * self.width);
        self.gate.forward(weights, &tape.x, gate, Write::Set);
        self.up.forward(weights, &tape.x, up, Write::Set);
        let mixed = sized(&mut scratch.f, n * self.width);
        ops::swiglu_forward(weights.arithmetic.isa(), gate, up, mixed);
        tape.mixed.set(weights, mixed, self.width);
        self.down.forward(weights, &tape.mixed, y, write);
    }

    /// Adds to the gradients of the weights; writes or adds that of the input.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &GatedMlpTape,
        dy: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        (dx, write): (&mut [f32], Write),
    ) {
        let n = dy.len() / self.hidden;
        let mut d_mixed = std::mem::take(&mut scratch.f);
        let own = sized(&mut d_mixed, n * self.width);
        self.down.backward(weights, &tape.mixed, dy, gradients, scratch, Some((own, Write::Set)));
        let (mut gate, mut up) = (std::mem::take(&mut scratch.d), std::mem::take(&mut scratch.e));
        let (d_gate, d_up) = (sized(&mut gate, own.len()), sized(&mut up, own.len()));
        let (old_gate, old_up) = (&tape.gate[..own.len()], &tape.up[..own.len()]);
        ops::swiglu_backward(weights.arithmetic.isa(), old_gate, old_up, own, d_gate, d_up);
        self.gate.backward(weights, &tape.x, d_gate, gradients, scratch, Some((&mut *dx, write)));
        self.up.backward(weights, &tape.x, d_up, gradients, scratch, Some((dx, Write::Add)));
        (scratch.d, scratch.e, scratch.f) = (gate, up, d_mixed);
    }
}

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    GeluTanh,
}

/// `activation(linear(x))`, with a bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveLinear {
    linear: Linear,
    activation: Activation,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct ActiveLinearTape {
    pub(crate) x: Input,
    sums: Vec<f32>,
}

impl ActiveLinear {
    /// `sizes` are inputs and outputs.
    pub(crate) fn new(
        builder: &mut Builder,
        name: &str,
        [inputs, outputs]: [usize; 2],
        activation: Activation,
    ) -> ActiveLinear {
        ActiveLinear { linear: builder.linear_with_bias(name, outputs, inputs, 1.0), activation }
    }

    /// Values of the result for the input that `tape.x` holds.
    pub(crate) fn values(&self, tape: &ActiveLinearTape) -> usize {
        tape.x.rows() * self.linear.outputs()
    }

    /// Writes `y[n, outputs]` for the input that `tape.x` holds.
    pub(crate) fn forward(&self, weights: &Weights, tape: &mut ActiveLinearTape, y: &mut [f32]) {
        let sums = sized(&mut tape.sums, y.len());
        self.linear.forward(weights, &tape.x, sums, Write::Set);
        match self.activation {
            Activation::Silu => ops::silu_forward(weights.arithmetic.isa(), sums, y),
            Activation::GeluTanh => ops::gelu_forward(weights.arithmetic.isa(), sums, y),
        }
    }

    /// Adds to the gradients of the weights; writes that of the input, if wanted.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &ActiveLinearTape,
        dy: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        dx: Option<&mut [f32]>,
    ) {
        let mut d_sums = std::mem::take(&mut scratch.f);
        let (sums, own) = (&tape.sums[..dy.len()], sized(&mut d_sums, dy.len()));
        match self.activation {
            Activation::Silu => ops::silu_backward(weights.arithmetic.isa(), sums, dy, own),
            Activation::GeluTanh => ops::gelu_backward(weights.arithmetic.isa(), sums, dy, own),
        }
        let dx = dx.map(|dx| (dx, Write::Set));
        self.linear.backward(weights, &tape.x, own, gradients, scratch, dx);
        scratch.f = d_sums;
    }
}

/// `out(activation(in(x)))`, both with biases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwoLayers {
    first: ActiveLinear,
    second: Linear,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct TwoLayersTape {
    /// Holds the input.
    pub(crate) first: ActiveLinearTape,
    active: Input,
}

impl TwoLayers {
    /// `sizes` are inputs, middle and outputs.
    pub(crate) fn new(
        builder: &mut Builder,
        names: [&str; 2],
        sizes: [usize; 3],
        activation: Activation,
    ) -> TwoLayers {
        let [inputs, middle, outputs] = sizes;
        TwoLayers {
            first: ActiveLinear::new(builder, names[0], [inputs, middle], activation),
            second: builder.linear_with_bias(names[1], outputs, middle, 1.0),
        }
    }

    /// Writes `y[n, outputs]` for the input that `tape.first.x` holds.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        tape: &mut TwoLayersTape,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let active = sized(&mut scratch.f, self.first.values(&tape.first));
        self.first.forward(weights, &mut tape.first, active);
        tape.active.set(weights, active, self.first.linear.outputs());
        self.second.forward(weights, &tape.active, y, Write::Set);
    }

    /// Adds to the gradients of the weights; writes that of the input, if wanted.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &TwoLayersTape,
        dy: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        dx: Option<&mut [f32]>,
    ) {
        let mut d_active = std::mem::take(&mut scratch.e);
        let own = sized(&mut d_active, self.first.values(&tape.first));
        let set = Some((&mut *own, Write::Set));
        self.second.backward(weights, &tape.active, dy, gradients, scratch, set);
        self.first.backward(weights, &tape.first, own, gradients, scratch, dx);
        scratch.e = d_active;
    }
}
