//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on the flat parameters, with a clipped gradient, a learning rate that
//! warms up, stays and falls at the end, and an exponential average of the weights.

use std::cmp::Ordering;

/// How the learning rate goes: up, level, and down at the end ("warmup-stable-decay"; Hu and others 2024, arXiv
/// 2404.06395), so that what new samples teach is learned at the full rate until late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// Updates until the highest rate.
    pub warmup_updates: u64,
    /// Updates until the lowest rate, which then stays.
    pub total_updates: u64,
    /// The last part of the updates, in which the rate falls along a half cosine.
    pub decay_part: f32,
    /// The lowest rate, as a part of the highest.
    pub final_fraction: f32,
}

impl Schedule {
    /// The rate of update `update`, the first being 0.
    pub fn rate(&self, update: u64) -> f32 {
        if update < self.warmup_updates {
            return self.peak * (update + 1) as f32 / self.warmup_updates as f32;
        }
        let span = (self.total_updates as f64 * f64::from(self.decay_part)).max(1.0);
        let left = self.total_updates.saturating_sub(update) as f64 / span;
        let cosine = (0.5 - 0.5 * (std::f64::consts::PI * left.min(1.0)).cos()) as f32;
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }
}

/// The optimiser's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the average of the gradient.
    pub beta_1: f32,
    /// Decay of the average of its square.
    pub beta_2: f32,
    /// Added to the root of the latter.
    pub epsilon: f32,
    /// Decay of matrices, times the learning rate.
    pub weight_decay: f32,
    /// A gradient whose norm is larger is scaled down to it.
    pub clip_norm: f32,
    /// Decay of the average of the weights; less while there are few updates.
    pub ema_decay: f32,
    /// Step of the router's balancing bias, per update.
    pub router_bias_step: f32,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW {
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-8,
            weight_decay: 0.02,
            clip_norm: 1.0,
            ema_decay: 0.999,
            router_bias_step: 1e-3,
        }
    }
}

/// Everything that an update changes, each array in the parameters' layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Updates done.
    pub updates: u64,
    /// The parameters in single precision.
    pub values: Vec<f32>,
    /// Their average, which is what is exported.
    pub average: Vec<f32>,
    /// Average of the gradient.
    pub first: Vec<f32>,
    /// Average of its square.
    pub second: Vec<f32>,
}

impl OptimizerState {
    /// The state before the first update.
    pub fn new(values: Vec<f32>) -> OptimizerState {
        let zeros = vec![0.0; values.len()];
        let average = values.clone();
        OptimizerState { updates: 0, average, first: zeros.clone(), second: zeros, values }
    }
}

/// The numbers of one update that are the same for every value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) rate: f32,
    /// Factor on the gradient: less than 1 when it is clipped.
    pub(crate) scale: f32,
    pub(crate) correction_1: f32,
    pub(crate) correction_2: f32,
    pub(crate) ema: f32,
}

impl AdamW {
    /// The numbers of the update that follows `updates` others.
    pub(crate) fn step(&self, updates: u64, rate: f32, norm: f32) -> Step {
        let n = updates as f64 + 1.0;
        let scale = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        // Few updates have a short memory: otherwise the average would long be mostly the first values.
        let ema = f64::from(self.ema_decay).min((1.0 + n) / (10.0 + n)) as f32;
        Step {
            rate,
            scale,
            correction_1: (1.0 / (1.0 - f64::from(self.beta_1).powf(n))) as f32,
            correction_2: (1.0 / (1.0 - f64::from(self.beta_2).powf(n))) as f32,
            ema,
        }
    }

    /// Updates values, moments and average of one stretch of parameters from its gradient.
    pub(crate) fn update(&self, step: Step, decay: bool, gradient: &[f32], own: Stretch) {
        let Stretch { values, average, first, second } = own;
        let shrink = if decay { 1.0 - step.rate * self.weight_decay } else { 1.0 };
        let moments = first.iter_mut().zip(second);
        let weights = values.iter_mut().zip(average);
        for ((gradient, (first, second)), (value, average)) in gradient.iter().zip(moments).zip(weights) {
            let g = gradient * step.scale;
            *first = self.beta_1 * *first + (1.0 - self.beta_1) * g;
            *second = self.beta_2 * *second + (1.0 - self.beta_2) * g * g;
            let root = (*second * step.correction_2).sqrt() + self.epsilon;
            *value = *value * shrink - step.rate * (*first * step.correction_1) / root;
            *average = step.ema * *average + (1.0 - step.ema) * *value;
        }
    }

    /// Moves each expert's bias up where it got fewer tokens than the mean, down where more (arXiv 2408.15664).
    pub(crate) fn balance(&self, step: Step, load: &[u64], bias: &mut [f32], average: &mut [f32]) {
        let total: u64 = load.iter().sum();
        for ((&own, bias), average) in load.iter().zip(bias.iter_mut()).zip(average) {
            // Compared in whole numbers: own < total / experts.
            *bias += match (own * load.len() as u64).cmp(&total) {
                Ordering::Less => self.router_bias_step,
                Ordering::Equal => 0.0,
                Ordering::Greater => -self.router_bias_step,
            };
            *average = step.ema * *average + (1.0 - step.ema) * *bias;
        }
    }
}

/// The same stretch of every array.
pub(crate) struct Stretch<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) average: &'a mut [f32],
    pub(crate) first: &'a mut [f32],
    pub(crate) second: &'a mut [f32],
}

/// Root of the sum of squares, summed in a fixed order.
pub(crate) fn norm(gradient: &[f32]) -> f32 {
    let blocks = gradient.chunks(4096).map(|block| {
        let mut lanes = [0.0f32; 16];
        for values in block.chunks(16) {
            lanes.iter_mut().zip(values).for_each(|(lane, g)| *lane += g * g);
        }
        f64::from(lanes.iter().sum::<f32>())
    });
    blocks.sum::<f64>().sqrt() as f32
}
