//! Frequencies of the rotary position embedding, and cosine and sine for a position.
//!
//! The arithmetic is single precision in the order of transformers' `modeling_rope_utils`, since angles at high
//! positions amplify the last bit of a frequency.

use std::f64::consts::PI;

use ergon_kernels::ops::rope_in_place;

use crate::config::{RopeConfig, RopeScaling};

/// Frequencies of one model.
pub(crate) struct RopeTable {
    /// `[dim / 2]`
    inv_freq: Vec<f32>,
    /// Factor on cosine and sine.
    attention_factor: f32,
}

impl RopeTable {
    /// `factors` `[dim / 2]`, if given, divide the frequencies (GGUF files carry Llama 3's scaling this way).
    pub(crate) fn new(config: &RopeConfig, factors: Option<&[f32]>) -> RopeTable {
        let mut inv_freq = scaled_frequencies(config);
        for (frequency, factor) in inv_freq.iter_mut().zip(factors.unwrap_or_default()) {
            *frequency /= factor;
        }
        let attention_factor = match config.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        };
        RopeTable { inv_freq, attention_factor }
    }

    /// Values written by [`RopeTable::fill`] for one position, for cosine and for sine.
    pub(crate) fn width(&self) -> usize {
        self.inv_freq.len()
    }

    /// Cosine and sine `[dim / 2]` of a position.
    pub(crate) fn fill(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((frequency, cos), sin) in self.inv_freq.iter().zip(cos).zip(sin) {
            let angle = frequency * position as f32;
            *cos = angle.cos() * self.attention_factor;
            *sin = angle.sin() * self.attention_factor;
        }
    }
}

/// Cosine and sine of the rows of a step, `[rows, dim / 2]` each.
#[derive(Clone, Copy)]
pub(crate) struct Rotations<'a> {
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

/// Rotates `rope.dim` values, from `offset` on, of every head of every row. A row of `x` takes `row_width` values, of
/// which heads take `head_dim` each.
pub(crate) fn rotate_heads(
    rope: &RopeConfig,
    rotations: Rotations,
    x: &mut [f32],
    row_width: usize,
    head_dim: usize,
    offset: usize,
) {
    let half = rope.dim / 2;
    let angles = rotations.cos.chunks_exact(half).zip(rotations.sin.chunks_exact(half));
    for (row, (cos, sin)) in x.chunks_exact_mut(row_width).zip(angles) {
        for head in row.chunks_exact_mut(head_dim) {
            rope_in_place(rope.layout, &mut head[offset..offset + rope.dim], cos, sin);
        }
    }
}

fn base_frequencies(config: &RopeConfig) -> Vec<f32> {
    let dim = config.dim as f32;
    (0..config.dim / 2).map(|i| 1.0 / (config.theta as f32).powf((2 * i) as f32 / dim)).collect()
}

fn scaled_frequencies(config: &RopeConfig) -> Vec<f32> {
    let base = base_frequencies(config);
    match config.scaling {
        RopeScaling::Default => base,
        RopeScaling::Linear { factor } => base.into_iter().map(|f| f / factor as f32).collect(),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => base
            .into_iter()
            .map(|f| llama3(f, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings))
            .collect(),
        RopeScaling::Yarn { .. } => yarn(config, &base),
    }
}

/// Llama 3.1: short wavelengths stay, long ones are stretched, the band between is interpolated.
fn llama3(frequency: f32, factor: f64, low: f64, high: f64, original: f64) -> f32 {
    let wavelength = 2.0 * PI / f64::from(frequency);
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor as f32
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        ((1.0 - smooth) * f64::from(frequency) / factor + smooth * f64::from(frequency)) as f32
    }
}

/// YaRN, "NTK-by-parts": frequencies that turn more than `beta_fast` times over the original context stay, those that
/// turn less than `beta_slow` times are divided by the factor, with a linear ramp over the dimensions between.
fn yarn(config: &RopeConfig, base: &[f32]) -> Vec<f32> {
    let RopeScaling::Yarn {
        factor, original_max_position_embeddings, beta_fast, beta_slow, truncate, ..
    } = config.scaling
    else {
        unreachable!("called for YaRN only")
    };
    let dim = config.dim as f64;
    let dimension_of = |rotations: f64| {
        dim * (original_max_position_embeddings / (rotations * 2.0 * PI)).ln() / (2.0 * config.theta.ln())
    };
    let (mut low, mut high) = (dimension_of(beta_fast), dimension_of(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    base.iter()
        .enumerate()
        .map(|(i, frequency)| {
            let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let keep = 1.0 - ramp;
            frequency / factor as f32 * (1.0 - keep) + frequency * keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergon_kernels::ops::RopeLayout;

    fn table(scaling: RopeScaling) -> RopeTable {
        RopeTable::new(&RopeConfig { theta: 10_000.0, dim: 64, layout: RopeLayout::Half, scaling }, None)
    }

    #[test]
    fn yarn_keeps_fast_frequencies_and_divides_slow_ones() {
        let plain = table(RopeScaling::Default);
        let yarn = table(RopeScaling::Yarn {
            factor: 40.0,
            original_max_position_embeddings: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
            truncate: true,
        });
        // The borders for these values are dimensions 10 and 23 (DeepSeek-V2's correction range).
        assert_eq!(yarn.inv_freq[..=10], plain.inv_freq[..=10]);
        assert!((23..32).all(|i| (yarn.inv_freq[i] * 40.0 / plain.inv_freq[i] - 1.0).abs() < 1e-6));
        assert!((11..23).all(|i| yarn.inv_freq[i] < plain.inv_freq[i]));
    }

    #[test]
    fn linear_scaling_is_a_division_of_positions() {
        let (plain, linear) = (table(RopeScaling::Default), table(RopeScaling::Linear { factor: 4.0 }));
        let at = |table: &RopeTable, position| {
            let (mut cos, mut sin) = (vec![0.0; 32], vec![0.0; 32]);
            table.fill(position, &mut cos, &mut sin);
            cos
        };
        assert_eq!(at(&plain, 5), at(&linear, 20));
    }
}
