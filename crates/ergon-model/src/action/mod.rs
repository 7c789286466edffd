//! The action expert: flow matching (Lipman et al. 2022, arXiv 2210.02747) as pi0 (arXiv 2410.24164) and SmolVLA
//! (arXiv 2506.01844) use it.
//!
//! A plan is a point `x` `[horizon, 2]`. At time t = 1 it is noise, at t = 0 a plan; the expert knows the velocity
//! between (`noise - action`), and a few Euler steps follow it back. The expert's layers read the whole of what the
//! decoder saw and thought: those keys and values are computed once for each control step, whatever the number of Euler
//! steps and of plans.

mod approach;
mod waypoints;

pub use waypoints::{encode_waypoints, waypoints_to_goal, waypoints_to_trajectory};

use ergon_kernels::{ActivationBuffer, Cpu, matmul_jobs, ops};

use crate::binder::Binder;
use crate::block::{BlockKv, BlockNames, BlockScratch, BlockShape, BlockWeights, bare, biased, norm};
use crate::config::ActionConfig;
use crate::error::ModelError;
use crate::mlp::{job, linear};
use crate::scratch::sized;
use crate::weights::Linear;

const NAMES: BlockNames =
    BlockNames { norm1: "input_layernorm", out: "o_proj", norm2: "post_attention_layernorm" };
/// Shortest and longest period of the time embedding (pi0 and SmolVLA).
const PERIODS: (f64, f64) = (4e-3, 4.0);

/// One layer and its projections of the context.
struct ExpertLayer {
    block: BlockWeights,
    /// `[hidden_size, text hidden size]`
    k_ctx_proj: Linear,
    /// `[hidden_size, text hidden size]`
    v_ctx_proj: Linear,
}

/// The expert's weights.
pub(crate) struct ActionExpert {
    config: ActionConfig,
    text_hidden: usize,
    /// `[hidden_size, action_dim]` with bias
    action_in_proj: Linear,
    /// `[hidden_size, 2 * hidden_size]` with bias
    action_time_mlp_in: Linear,
    /// `[hidden_size, hidden_size]` with bias
    action_time_mlp_out: Linear,
    /// `[horizon, hidden_size]`
    positions: Vec<f32>,
    layers: Vec<ExpertLayer>,
    /// `[hidden_size]`
    norm: Vec<f32>,
    /// `[action_dim, hidden_size]` with bias
    action_out_proj: Linear,
    /// `[num_inference_steps, hidden_size]`: the time embeddings of the Euler steps, which are always the same.
    step_times: Vec<f32>,
}

/// What one control step keeps for the expert, and its buffers.
#[derive(Default)]
pub(crate) struct ActionScratch {
    /// For each layer, keys and values of the context and of the waypoints.
    kv: Vec<BlockKv>,
    /// Rows of the context in `kv`.
    context: usize,
    /// `[horizon, hidden_size]`
    embedded: Vec<f32>,
    /// `[horizon, 2 * hidden_size]`
    joined: Vec<f32>,
    /// `[horizon, hidden_size]`
    inner: Vec<f32>,
    /// `[horizon, hidden_size]`
    activated: Vec<f32>,
    /// `[horizon, hidden_size]`, the residual stream
    hidden: Vec<f32>,
    /// `[hidden_size]`
    time: Vec<f32>,
    /// `[horizon, action_dim]`
    velocity: Vec<f32>,
    block: BlockScratch,
    activations: ActivationBuffer,
}

impl ActionScratch {
    /// Whether a context has been read in this control step.
    pub(crate) fn is_ready(&self) -> bool {
        self.context > 0
    }

    /// The context is no longer that of the control step.
    pub(crate) fn forget(&mut self) {
        self.context = 0;
    }
}

impl ActionExpert {
    pub(crate) fn bind(
        binder: &Binder,
        config: &ActionConfig,
        text_hidden: usize,
    ) -> Result<ActionExpert, ModelError> {
        let hidden = config.hidden_size;
        let name = |part: &str| format!("action_expert.{part}");
        let layer = |index: usize| -> Result<ExpertLayer, ModelError> {
            let stem = name(&format!("layers.{index}"));
            let context = |part: &str| bare(binder, &format!("{stem}.self_attn.{part}"), hidden, text_hidden);
            Ok(ExpertLayer {
                block: BlockWeights::bind(binder, &stem, shape(config), &NAMES)?,
                k_ctx_proj: context("k_ctx_proj")?,
                v_ctx_proj: context("v_ctx_proj")?,
            })
        };
        let steps = config.num_inference_steps;
        let mut step_times = vec![0.0; steps * hidden];
        for (step, out) in step_times.chunks_exact_mut(hidden).enumerate() {
            time_embedding(flow_time(step, steps), out);
        }
        Ok(ActionExpert {
            config: config.clone(),
            text_hidden,
            action_in_proj: biased(binder, &name("action_in_proj"), hidden, config.action_dim)?,
            action_time_mlp_in: biased(binder, &name("action_time_mlp_in"), hidden, 2 * hidden)?,
            action_time_mlp_out: biased(binder, &name("action_time_mlp_out"), hidden, hidden)?,
            positions: binder.whole_floats(&name("position_embedding.weight"), &[config.horizon, hidden])?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            norm: norm(binder, &name("norm"), hidden)?,
            action_out_proj: biased(binder, &name("action_out_proj"), config.action_dim, hidden)?,
            step_times,
        })
    }

    /// Computes the keys and values of the context `[rows, text hidden size]`: the decoder's final states.
    pub(crate) fn read_context(&self, cpu: &Cpu, states: &[f32], scratch: &mut ActionScratch) {
        let ActionScratch { kv, context, activations, .. } = scratch;
        *context = states.len() / self.text_hidden;
        kv.resize_with(self.layers.len(), BlockKv::default);
        let len = *context * self.config.hidden_size;
        let linears = || self.layers.iter().flat_map(|layer| [&layer.k_ctx_proj, &layer.v_ctx_proj]);
        let x = activations.prepare(cpu, states, self.text_hidden, linears().map(|l| l.weight.format()));
        let outputs = kv.iter_mut().flat_map(|kv| [&mut kv.k, &mut kv.v]);
        let mut jobs: Vec<_> =
            linears().zip(outputs).map(|(linear, out)| job(linear, x, sized(out, len))).collect();
        matmul_jobs(cpu, &mut jobs);
    }

    /// Follows the flow from the noise in `x` `[horizon, action_dim]` to a plan, written there.
    pub(crate) fn denoise(&self, cpu: &Cpu, x: &mut [f32], scratch: &mut ActionScratch) {
        let steps = self.config.num_inference_steps;
        let mut velocity = std::mem::take(&mut scratch.velocity);
        velocity.resize(x.len(), 0.0);
        for time in self.step_times.chunks_exact(self.config.hidden_size) {
            self.velocity_at(cpu, x, time, scratch, &mut velocity);
            for (x, v) in x.iter_mut().zip(&velocity) {
                *x -= v / steps as f32;
            }
        }
        scratch.velocity = velocity;
    }

    /// The velocity `[horizon, action_dim]` at `x` and time `t`.
    pub(crate) fn velocity(
        &self,
        cpu: &Cpu,
        x: &[f32],
        t: f64,
        scratch: &mut ActionScratch,
        out: &mut [f32],
    ) {
        let mut time = std::mem::take(&mut scratch.time);
        time.resize(self.config.hidden_size, 0.0);
        time_embedding(t, &mut time);
        self.velocity_at(cpu, x, &time, scratch, out);
        scratch.time = time;
    }

    fn velocity_at(&self, cpu: &Cpu, x: &[f32], time: &[f32], scratch: &mut ActionScratch, out: &mut [f32]) {
        self.embed(cpu, x, time, scratch);
        let ActionScratch { kv, context, hidden, inner, block, activations, .. } = scratch;
        for (layer, kv) in self.layers.iter().zip(kv) {
            layer.block.forward(cpu, shape(&self.config), *context, hidden, kv, block);
        }
        let normed = sized(inner, hidden.len());
        ops::rms_norm(cpu, hidden, &self.norm, self.config.rms_norm_eps, normed);
        let formats = [self.action_out_proj.weight.format()];
        let x = activations.prepare(cpu, normed, self.config.hidden_size, formats);
        linear(cpu, &self.action_out_proj, x, out);
    }

    /// Fills `scratch.hidden` with the embedded waypoints at a time.
    fn embed(&self, cpu: &Cpu, x: &[f32], time: &[f32], scratch: &mut ActionScratch) {
        let ActionScratch { embedded, joined, inner, activated, hidden, activations, .. } = scratch;
        let width = self.config.hidden_size;
        let len = self.config.horizon * width;
        let embedded = sized(embedded, len);
        let formats = [self.action_in_proj.weight.format()];
        let input = activations.prepare(cpu, x, self.config.action_dim, formats);
        linear(cpu, &self.action_in_proj, input, embedded);

        let joined = sized(joined, 2 * len);
        for (action, out) in embedded.chunks_exact(width).zip(joined.chunks_exact_mut(2 * width)) {
            out[..width].copy_from_slice(action);
            out[width..].copy_from_slice(time);
        }
        let inner = sized(inner, len);
        let formats = [self.action_time_mlp_in.weight.format()];
        let input = activations.prepare(cpu, joined, 2 * width, formats);
        linear(cpu, &self.action_time_mlp_in, input, inner);
        let activated = sized(activated, len);
        ops::silu_forward(cpu.isa, inner, activated);
        hidden.resize(len, 0.0);
        let formats = [self.action_time_mlp_out.weight.format()];
        let input = activations.prepare(cpu, activated, width, formats);
        linear(cpu, &self.action_time_mlp_out, input, hidden);
        ops::add_in_place(cpu, hidden, &self.positions);
    }
}

fn shape(config: &ActionConfig) -> BlockShape {
    BlockShape {
        hidden: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        eps: config.rms_norm_eps,
    }
}

/// The time of an Euler step: from 1 down, in equal parts.
fn flow_time(step: usize, steps: usize) -> f64 {
    1.0 - step as f64 / steps as f64
}

/// `out` = sines, then cosines, of `2 pi t / period`, the periods geometric from 0.004 to 4; the angles in double
/// precision, as LeRobot's SmolVLA has them.
///
/// A trainer embeds its random times with this too.
///
/// # Panics
/// If `out` has an odd length.
pub fn time_embedding(t: f64, out: &mut [f32]) {
    assert!(out.len().is_multiple_of(2), "sines and cosines in equal number");
    let half = out.len() / 2;
    let (sines, cosines) = out.split_at_mut(half);
    for (index, (sin, cos)) in sines.iter_mut().zip(cosines).enumerate() {
        let fraction = if half > 1 { index as f64 / (half - 1) as f64 } else { 0.0 };
        let period = PERIODS.0 * (PERIODS.1 / PERIODS.0).powf(fraction);
        let angle = std::f64::consts::TAU * t / period;
        *sin = angle.sin() as f32;
        *cos = angle.cos() as f32;
    }
}
