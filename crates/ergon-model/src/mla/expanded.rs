//! Attention over keys and values expanded from the latents, a few heads at a time.

use std::ops::Range;

use ergon_kernels::ops::{self, AttentionShape, KeyValues, KvSlice};
use ergon_kernels::{
    Activations, MatmulJob, MatrixRef, RowSet, TransposedJob, matmul_jobs, matmul_transposed,
};

use super::{SpanContext, interleave_heads};
use crate::scratch::{MlaScratch, sized};
use crate::weights::KvB;

/// Expanded keys and values are held for this many heads at once, which bounds memory at long contexts.
const HEADS_PER_EXPANSION: usize = 8;

impl KvB {
    /// Writes `out` `[rows, heads, v_head_dim]` for queries `q` `[rows, heads, nope + rope]` of one span.
    pub(super) fn attend_expanded(
        &self,
        context: &SpanContext,
        q: &[f32],
        scratch: &mut MlaScratch,
        out: &mut [f32],
    ) {
        let SpanContext { cpu, mla, heads, scale, span, .. } = *context;
        let (k_dim, v_dim) = (mla.qk_head_dim(), mla.v_head_dim);
        let MlaScratch { queries, per_head, mixed, activations, latent, rotary, keys, values, .. } = scratch;
        let len = read_cache(context, latent, rotary);
        let latents = activations.prepare(cpu, latent, mla.kv_lora_rank, [self.values(mla).matrix.format()]);
        for first in (0..heads).step_by(HEADS_PER_EXPANSION) {
            let group = first..heads.min(first + HEADS_PER_EXPANSION);
            let n = group.len();
            let keys = sized(keys, len * n * k_dim);
            let values = sized(values, len * n * v_dim);
            self.expand_values(context, group.clone(), latents, per_head, (&mut *keys, &mut *values));
            if let KvB::Split { k_b, .. } = self {
                expand_split_keys(context, k_b.view(), group.clone(), latent, per_head, keys);
            }
            fill_rotary(rotary, mla.qk_rope_head_dim, keys, k_dim, n);

            let queries = sized(queries, span.rows.len() * n * k_dim);
            for (row, own) in q.chunks_exact(heads * k_dim).zip(queries.chunks_exact_mut(n * k_dim)) {
                own.copy_from_slice(&row[group.start * k_dim..group.end * k_dim]);
            }
            let (k, v) = (KvSlice::F32(keys), KvSlice::F32(values));
            let kv = KeyValues { k, v, k_row_stride: n * k_dim, v_row_stride: n * v_dim };
            let shape = AttentionShape { n_heads: n, n_kv_heads: n, k_dim, v_dim, scale };
            let mixed = sized(mixed, span.rows.len() * n * v_dim);
            ops::attention(cpu, &shape, queries, &context.attention_rows(kv), mixed);
            for (own, row) in mixed.chunks_exact(n * v_dim).zip(out.chunks_exact_mut(heads * v_dim)) {
                row[group.start * v_dim..group.end * v_dim].copy_from_slice(own);
            }
        }
    }

    /// Values `[len, group, v_head_dim]` of a group of heads; of a joint matrix also the position-free part of the keys
    /// `[len, group, nope + rope]`, whose rows stand before the value rows.
    fn expand_values(
        &self,
        context: &SpanContext,
        group: Range<usize>,
        latents: Activations,
        per_head: &mut Vec<f32>,
        (keys, values): (&mut [f32], &mut [f32]),
    ) {
        let (n, len, k_dim, v_dim) =
            (group.len(), latents.rows(), context.mla.qk_head_dim(), context.mla.v_head_dim);
        let rows = self.values(context.mla);
        let per_head = sized(per_head, n * len * rows.head_rows);
        let mut jobs: Vec<MatmulJob> = per_head
            .chunks_exact_mut(len * rows.head_rows)
            .zip(group)
            .map(|(y, head)| {
                let weight = rows.matrix.row_range(head * rows.head_rows..(head + 1) * rows.head_rows);
                MatmulJob { weight, x: latents, x_rows: RowSet::All, y }
            })
            .collect();
        matmul_jobs(context.cpu, &mut jobs);
        for (in_group, head) in per_head.chunks_exact(len * rows.head_rows).enumerate() {
            for (position, expanded) in head.chunks_exact(rows.head_rows).enumerate() {
                let (key, value) = expanded.split_at(rows.skipped);
                let place = position * n + in_group;
                keys[place * k_dim..][..key.len()].copy_from_slice(key);
                values[place * v_dim..][..v_dim].copy_from_slice(value);
            }
        }
    }
}

/// Reads a span's cache in single precision: `latent` `[len, kv_lora_rank]` and `rotary` `[len, qk_rope_head_dim]`.
fn read_cache(context: &SpanContext, latent: &mut Vec<f32>, rotary: &mut Vec<f32>) -> usize {
    let len = context.span.positions().end;
    latent.clear();
    rotary.clear();
    let mut row = vec![0.0; context.mla.cache_width()];
    for position in 0..len {
        context.cache.read_k(position, &mut row);
        let (own_latent, own_rotary) = row.split_at(context.mla.kv_lora_rank);
        latent.extend_from_slice(own_latent);
        rotary.extend_from_slice(own_rotary);
    }
    len
}

/// The position-free part of the keys from a `k_b` that is stored transposed.
fn expand_split_keys(
    context: &SpanContext,
    k_b: MatrixRef,
    group: Range<usize>,
    latent: &[f32],
    per_head: &mut Vec<f32>,
    keys: &mut [f32],
) {
    let (mla, n) = (context.mla, group.len());
    let (rank, nope) = (mla.kv_lora_rank, mla.qk_nope_head_dim);
    let len = latent.len() / rank;
    let per_head = sized(per_head, n * len * nope);
    let mut jobs: Vec<TransposedJob> = per_head
        .chunks_exact_mut(len * nope)
        .zip(group)
        .map(|(y, head)| TransposedJob {
            weight: k_b.row_range(head * rank..(head + 1) * rank),
            x: latent,
            x_stride: rank,
            y,
            y_stride: nope,
            n: len,
        })
        .collect();
    matmul_transposed(context.cpu, &mut jobs);
    interleave_heads(per_head, n, nope, keys, mla.qk_head_dim());
}

/// Copies each position's rotary key behind the position-free part of every head's key.
fn fill_rotary(rotary: &[f32], rope_dim: usize, keys: &mut [f32], k_dim: usize, heads: usize) {
    for (rotary, keys) in rotary.chunks_exact(rope_dim).zip(keys.chunks_exact_mut(heads * k_dim)) {
        for key in keys.chunks_exact_mut(k_dim) {
            key[k_dim - rope_dim..].copy_from_slice(rotary);
        }
    }
}
