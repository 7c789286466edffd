//! A mixture of experts as DeepSeek-V3 has it, and its gradient: sigmoid scores, selection by score plus a balancing bias,
//! weights that are the chosen scores divided by their sum, and a shared expert that every token visits.

use super::super::config::DecoderSizes;
use super::super::context::{Scratch, Weights, sized, zeroed};
use super::super::params::TensorKind;
use super::linear::Builder;
use super::mlp::{GatedMlp, GatedMlpTape};
use ergon_kernels::{gemm::Write, ops};

/// Router, routed experts and shared expert of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    /// Offset of `[experts, hidden]`; logits are computed in single precision.
    router: usize,
    /// Offset of `[experts]`.
    pub(crate) bias: usize,
    experts: Vec<GatedMlp>,
    shared: Option<GatedMlp>,
    hidden: usize,
    per_token: usize,
    scaling: f32,
}

/// What the gradient needs.
#[derive(Default)]
pub(crate) struct ExpertsTape {
    /// Input of all experts, `[n, hidden]`.
    x: Vec<f32>,
    shared: GatedMlpTape,
    /// `[n, experts]`
    scores: Vec<f32>,
    experts: Vec<ExpertTape>,
}

#[derive(Default)]
struct ExpertTape {
    mlp: GatedMlpTape,
    /// The tokens that visit the expert.
    rows: Vec<usize>,
    /// With which weight each of them.
    factors: Vec<f32>,
    out: Vec<f32>,
}

impl Experts {
    /// Tensors under `{name}`, as DeepSeek-V3 names them.
    pub(crate) fn new(builder: &mut Builder, name: &str, sizes: &DecoderSizes, gain: f32) -> Experts {
        let (hidden, width, n) = (sizes.hidden, sizes.moe_intermediate, sizes.experts);
        let initial = 1.0 / (hidden as f32).sqrt();
        let gate = format!("{name}.gate");
        let router = builder.layout.add(format!("{gate}.weight"), &[n, hidden], TensorKind::Matrix, initial);
        let bias =
            builder.layout.add(format!("{gate}.e_score_correction_bias"), &[n], TensorKind::RouterBias, 0.0);
        let mut expert = |part: String, width| builder.gated_mlp(&part, hidden, width, gain);
        Experts {
            router,
            bias,
            experts: (0..n).map(|e| expert(format!("{name}.experts.{e}"), width)).collect(),
            shared: (sizes.shared_experts > 0)
                .then(|| expert(format!("{name}.shared_experts"), width * sizes.shared_experts)),
            hidden,
            per_token: sizes.experts_per_token,
            scaling: sizes.routed_scaling,
        }
    }

    /// Number of routed experts.
    pub(crate) fn len(&self) -> usize {
        self.experts.len()
    }

    /// Adds to `stream` for inputs `x`, `[n, hidden]` both.
    pub(crate) fn forward(
        &self,
        weights: &Weights,
        x: &[f32],
        tape: &mut ExpertsTape,
        scratch: &mut Scratch,
        stream: &mut [f32],
    ) {
        tape.x.clear();
        tape.x.extend_from_slice(x);
        self.route(weights, tape);
        if let Some(shared) = &self.shared {
            tape.shared.x.set(weights, x, self.hidden);
            shared.forward(weights, &mut tape.shared, scratch, stream, Write::Add);
        }
        for (expert, own) in self.experts.iter().zip(&mut tape.experts) {
            if own.rows.is_empty() {
                continue;
            }
            own.mlp.x.gather(weights, x, self.hidden, &own.rows);
            let out = sized(&mut own.out, own.rows.len() * self.hidden);
            expert.forward(weights, &mut own.mlp, scratch, out, Write::Set);
            let isa = weights.arithmetic.isa();
            ops::scatter_add_weighted(isa, out, self.hidden, &own.rows, &own.factors, stream);
        }
    }

    /// Which token visits which experts, and with which weight.
    fn route(&self, weights: &Weights, tape: &mut ExpertsTape) {
        let n_experts = self.len();
        let router = weights.vector(self.router, n_experts * self.hidden);
        let bias = weights.vector(self.bias, n_experts);
        tape.experts.resize_with(n_experts, ExpertTape::default);
        for expert in &mut tape.experts {
            expert.rows.clear();
            expert.factors.clear();
        }
        let n = tape.x.len() / self.hidden;
        let scores = sized(&mut tape.scores, n * n_experts);
        let rows = tape.x.chunks_exact(self.hidden).zip(scores.chunks_exact_mut(n_experts));
        for (row, (x, scores)) in rows.enumerate() {
            for (score, router) in scores.iter_mut().zip(router.chunks_exact(self.hidden)) {
                *score = sigmoid(router.iter().zip(x).map(|(w, x)| w * x).sum());
            }
            let mut taken = 0u64;
            let mut sum = 0.0;
            for _ in 0..self.per_token {
                let best = best_of(scores, bias, taken);
                taken |= 1 << best;
                sum += scores[best];
            }
            for (expert, tape) in tape.experts.iter_mut().enumerate() {
                if taken >> expert & 1 == 1 {
                    tape.rows.push(row);
                    tape.factors.push(scores[expert] * self.scaling / (sum + 1e-20));
                }
            }
        }
    }

    /// Adds the number of tokens that each expert got in the last forward pass.
    pub(crate) fn add_load(&self, tape: &ExpertsTape, load: &mut [u64]) {
        for (load, expert) in load.iter_mut().zip(&tape.experts) {
            *load += expert.rows.len() as u64;
        }
    }

    /// Adds to the gradients of the weights and writes that of the input.
    pub(crate) fn backward(
        &self,
        weights: &Weights,
        tape: &ExpertsTape,
        d_stream: &[f32],
        gradients: &mut [f32],
        scratch: &mut Scratch,
        dx: &mut [f32],
    ) {
        match &self.shared {
            Some(shared) => {
                let out = (&mut *dx, Write::Set);
                shared.backward(weights, &tape.shared, d_stream, gradients, scratch, out);
            }
            None => dx.fill(0.0),
        }
        let hidden = self.hidden;
        let n = d_stream.len() / hidden;
        let mut buffers = std::mem::take(&mut scratch.latent);
        let [d_factors, d_out, d_own, d_row_factors] = &mut buffers;
        let d_factors = zeroed(d_factors, n * self.len());
        for (index, (expert, own)) in self.experts.iter().zip(&tape.experts).enumerate() {
            if own.rows.is_empty() {
                continue;
            }
            let (len, isa) = (own.rows.len() * hidden, weights.arithmetic.isa());
            let (d_out, d_own) = (sized(d_out, len), sized(d_own, len));
            let d_row_factors = sized(d_row_factors, own.rows.len());
            let (out, rows) = (&own.out[..len], &own.rows);
            ops::scatter_add_weighted_backward(
                isa,
                out,
                hidden,
                rows,
                &own.factors,
                d_stream,
                d_out,
                d_row_factors,
            );
            for (row, d) in rows.iter().zip(&*d_row_factors) {
                d_factors[row * self.len() + index] = *d;
            }
            let set = (&mut *d_own, Write::Set);
            expert.backward(weights, &own.mlp, d_out, gradients, scratch, set);
            ops::scatter_add_rows(isa, d_own, hidden, rows, dx);
        }
        self.router_backward(weights, tape, d_factors, gradients, dx);
        scratch.latent = buffers;
    }

    /// From the gradients of the weights of the chosen, `[n, experts]`, to the router and the input.
    fn router_backward(
        &self,
        weights: &Weights,
        tape: &ExpertsTape,
        d_factors: &mut [f32],
        gradients: &mut [f32],
        dx: &mut [f32],
    ) {
        let (hidden, n_experts) = (self.hidden, self.len());
        // For each token: the sum of its chosen scores, and of gradient times score.
        let n = tape.x.len() / hidden;
        let mut sums = vec![(0.0f32, 0.0f32); n];
        for (index, expert) in tape.experts.iter().enumerate() {
            for &row in &expert.rows {
                let score = tape.scores[row * n_experts + index];
                sums[row].0 += score;
                sums[row].1 += d_factors[row * n_experts + index] * score;
            }
        }
        let router = weights.vector(self.router, n_experts * hidden);
        for (index, expert) in tape.experts.iter().enumerate() {
            let own = index * hidden..(index + 1) * hidden;
            let d_router = &mut gradients[self.router..][own.clone()];
            for &row in &expert.rows {
                let (sum, mixed) = sums[row];
                let score = tape.scores[row * n_experts + index];
                let d_score = self.scaling / sum * (d_factors[row * n_experts + index] - mixed / sum);
                let d_logit = d_score * score * (1.0 - score);
                let x = &tape.x[row * hidden..][..hidden];
                d_router.iter_mut().zip(x).for_each(|(sum, x)| *sum += d_logit * x);
                let dx = &mut dx[row * hidden..][..hidden];
                dx.iter_mut().zip(&router[own.clone()]).for_each(|(sum, w)| *sum += d_logit * w);
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The expert with the highest biased score that is not taken yet; ties go to the lower one.
fn best_of(scores: &[f32], bias: &[f32], taken: u64) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (expert, (score, bias)) in scores.iter().zip(bias).enumerate() {
        let value = score + bias;
        if taken >> expert & 1 == 0 && value > best.1 {
            best = (expert, value);
        }
    }
    best.0
}
