//! Grouped-query attention: project, norm each head (Qwen3), rotate, append to the cache, attend, project back.

use ergon_kernels::ops::{self, AttentionRow, AttentionShape, KeyValues};
use ergon_kernels::{Activations, matmul_jobs};
use ergon_types::WeightFormat;

use crate::config::GqaConfig;
use crate::decoder::{LayerStep, Step};
use crate::mlp::{add_bias, job, linear};
use crate::rope::rotate_heads;
use crate::scratch::{AttentionScratch, sized};
use crate::state::LayerCache;
use crate::weights::GqaWeights;

impl GqaWeights {
    /// Formats of the matrices that multiply the input.
    pub(crate) fn input_formats(&self) -> [WeightFormat; 3] {
        [&self.q_proj, &self.k_proj, &self.v_proj].map(|linear| linear.weight.format())
    }

    /// Appends the keys and values of the step's rows to the caches, and writes the part's output
    /// `[rows, hidden_size]` for the input `x` `[rows, hidden_size]`.
    pub(crate) fn forward(
        &self,
        gqa: &GqaConfig,
        run: LayerStep,
        x: Activations,
        scratch: &mut AttentionScratch,
        output: &mut [f32],
    ) {
        let LayerStep { step, layer, mut caches } = run;
        let (cpu, config) = (step.cpu, step.config);
        let (heads, kv_heads, head_dim) = (config.num_attention_heads, gqa.num_key_value_heads, gqa.head_dim);
        let rows = x.rows();
        let q = sized(&mut scratch.q, rows * heads * head_dim);
        let k = sized(&mut scratch.k, rows * kv_heads * head_dim);
        let v = sized(&mut scratch.v, rows * kv_heads * head_dim);
        matmul_jobs(cpu, &mut [job(&self.q_proj, x, q), job(&self.k_proj, x, k), job(&self.v_proj, x, v)]);
        add_bias(&self.q_proj, q);
        add_bias(&self.k_proj, k);
        add_bias(&self.v_proj, v);
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            ops::rms_norm_in_place(cpu, q, q_norm, config.rms_norm_eps);
            ops::rms_norm_in_place(cpu, k, k_norm, config.rms_norm_eps);
        }
        rotate_heads(&config.rope, step.rotations, q, heads * head_dim, head_dim, 0);
        rotate_heads(&config.rope, step.rotations, k, kv_heads * head_dim, head_dim, 0);
        let width = kv_heads * head_dim;
        for (span, cache) in step.spans.iter().zip(caches.iter_mut()) {
            let own = span.rows.start * width..span.rows.end * width;
            cache.append(&k[own.clone()], &v[own]);
        }
        let window = gqa.sliding_window.get(layer).copied().flatten();
        let attention_rows = attention_rows(step, &caches, window, width);
        let shape = AttentionShape {
            n_heads: heads,
            n_kv_heads: kv_heads,
            k_dim: head_dim,
            v_dim: head_dim,
            scale: config.softmax_scale,
        };
        let mixed = sized(&mut scratch.mixed, rows * heads * head_dim);
        ops::attention(cpu, &shape, q, &attention_rows, mixed);
        let mixed = scratch.activations.prepare(cpu, mixed, heads * head_dim, [self.o_proj.weight.format()]);
        linear(cpu, &self.o_proj, mixed, output);
    }
}

/// What each row of the step sees: its sequence's cache up to its own position, or the window before it.
fn attention_rows<'a>(
    step: &Step,
    caches: &'a [&mut LayerCache],
    window: Option<usize>,
    width: usize,
) -> Vec<AttentionRow<'a>> {
    let mut rows = Vec::with_capacity(step.n_rows());
    for (span, cache) in step.spans.iter().zip(caches) {
        for position in span.positions() {
            let start = window.map_or(0, |window| (position + 1).saturating_sub(window));
            let kv = KeyValues { k: cache.k(), v: cache.v(), k_row_stride: width, v_row_stride: width };
            rows.push(AttentionRow { kv, visible: start..position + 1 });
        }
    }
    rows
}
