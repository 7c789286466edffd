//! Multi-head latent attention (DeepSeek V2, arXiv 2405.04434, section 2.1).
//!
//! A token's keys and values are one latent of `kv_lora_rank` values, shared by all heads, and one rotary key. Two
//! formulas give the same result up to rounding:
//!
//! ```text
//! expanded (prefill):  k = [W_k latent, k_pe]   v = W_v latent    out = softmax(q k) v
//! absorbed (decode):   q' = [W_k^T q_nope, q_pe]                  out = W_v (softmax(q' [latent, k_pe]) latent)
//! ```
//!
//! The absorbed one attends over the cache itself: few bytes for a token, but more operations for many.

mod absorbed;
mod expanded;

pub use expanded::HEADS_PER_EXPANSION;

use ergon_kernels::ops::{self, AttentionRow, KeyValues};
use ergon_kernels::{Activations, Cpu};
use ergon_types::WeightFormat;

use self::expanded::attend_expanded;
use crate::config::MlaConfig;
use crate::decoder::{LayerStep, Phase, Span, Step};
use crate::mlp::linear;
use crate::rope::rotate_heads;
use crate::scratch::{AttentionScratch, sized};
use crate::state::LayerCache;
use crate::weights::{KvB, MlaQuery, MlaWeights};

/// What attention over one span works on.
#[derive(Clone, Copy)]
struct SpanContext<'a> {
    cpu: &'a Cpu,
    mla: &'a MlaConfig,
    heads: usize,
    scale: f32,
    span: &'a Span,
    cache: &'a LayerCache,
}

impl SpanContext<'_> {
    /// Each row of the span sees its sequence up to its own position.
    fn attention_rows<'k>(&self, kv: KeyValues<'k>) -> Vec<AttentionRow<'k>> {
        self.span.positions().map(|position| AttentionRow { kv, visible: 0..position + 1 }).collect()
    }
}

impl MlaWeights {
    /// Formats of the matrices that multiply the input.
    pub(crate) fn input_formats(&self) -> [WeightFormat; 2] {
        let q = match &self.q {
            MlaQuery::Full(q) => q,
            MlaQuery::LowRank { a, .. } => a,
        };
        [q.weight.format(), self.kv_a_proj_with_mqa.weight.format()]
    }

    /// Appends the latents of the step's rows to the caches, and writes the part's output `[rows, hidden_size]` for the
    /// input `x` `[rows, hidden_size]`.
    pub(crate) fn forward(
        &self,
        mla: &MlaConfig,
        run: LayerStep,
        x: Activations,
        scratch: &mut AttentionScratch,
        output: &mut [f32],
    ) {
        let LayerStep { step, mut caches, .. } = run;
        let heads = step.config.num_attention_heads;
        self.project(mla, step, x, scratch);
        let width = mla.cache_width();
        for (span, cache) in step.spans.iter().zip(caches.iter_mut()) {
            cache.append(&scratch.latent[span.rows.start * width..span.rows.end * width], &[]);
        }
        let (q_width, out_width) = (heads * mla.qk_head_dim(), heads * mla.v_head_dim);
        let AttentionScratch { q, mixed, activations, mla: buffers, .. } = scratch;
        let mixed = sized(mixed, x.rows() * out_width);
        for (span, cache) in step.spans.iter().zip(&caches) {
            let q = &q[span.rows.start * q_width..span.rows.end * q_width];
            let out = &mut mixed[span.rows.start * out_width..span.rows.end * out_width];
            let context =
                SpanContext { cpu: step.cpu, mla, heads, scale: step.config.softmax_scale, span, cache };
            match (&self.kv_b, span.phase) {
                (KvB::Joint(joint), Phase::Prefill) => attend_expanded(&context, joint, q, buffers, out),
                // Stored for the absorbed formula; llama.cpp too uses it for prompts then.
                _ => self.kv_b.attend_absorbed(&context, q, buffers, out),
            }
        }
        let inner = activations.prepare(step.cpu, mixed, out_width, [self.o_proj.weight.format()]);
        linear(step.cpu, &self.o_proj, inner, output);
    }

    /// Fills `scratch.q` `[rows, heads, nope + rope]` and `scratch.latent` `[rows, kv_lora_rank + rope]`, rotated, the
    /// latent normalised (never its rotary part).
    fn project(&self, mla: &MlaConfig, step: &Step, x: Activations, scratch: &mut AttentionScratch) {
        let (cpu, config) = (step.cpu, step.config);
        let (rows, head_dim, width) = (x.rows(), mla.qk_head_dim(), mla.cache_width());
        let row_width = config.num_attention_heads * head_dim;
        let AttentionScratch { q, q_low_rank, latent, k, activations, .. } = scratch;
        let q = sized(q, rows * row_width);
        match &self.q {
            MlaQuery::Full(full) => linear(cpu, full, x, q),
            MlaQuery::LowRank { a, norm, b } => {
                let low = sized(q_low_rank, rows * norm.len());
                linear(cpu, a, x, low);
                ops::rms_norm_in_place(cpu, low, norm, mla.lora_norm_eps);
                let low = activations.prepare(cpu, low, norm.len(), [b.weight.format()]);
                linear(cpu, b, low, q);
            }
        }
        rotate_heads(&config.rope, step.rotations, q, row_width, head_dim, mla.qk_nope_head_dim);

        let raw = sized(k, rows * width);
        linear(cpu, &self.kv_a_proj_with_mqa, x, raw);
        rotate_heads(&config.rope, step.rotations, raw, width, width, mla.kv_lora_rank);
        let latent = sized(latent, rows * width);
        for (raw, out) in raw.chunks_exact(width).zip(latent.chunks_exact_mut(width)) {
            let (latent, rotary) = out.split_at_mut(mla.kv_lora_rank);
            ops::rms_norm(cpu, &raw[..mla.kv_lora_rank], &self.kv_a_layernorm, mla.lora_norm_eps, latent);
            rotary.copy_from_slice(&raw[mla.kv_lora_rank..]);
        }
    }
}

/// `[heads, rows, width]` to the first `width` of each `[rows, heads, out_width]`.
fn interleave_heads(per_head: &[f32], heads: usize, width: usize, out: &mut [f32], out_width: usize) {
    let rows = per_head.len() / (heads * width);
    for (head, values) in per_head.chunks_exact(rows * width).enumerate() {
        for (row, values) in values.chunks_exact(width).enumerate() {
            let start = (row * heads + head) * out_width;
            out[start..start + width].copy_from_slice(values);
        }
    }
}
