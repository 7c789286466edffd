//! Attention over keys and values expanded from the latents, a few heads at a time.

use std::ops::Range;

use ergon_kernels::ops::{self, AttentionShape, KeyValues, KvSlice};
use ergon_kernels::{Activations, MatmulJob, RowSet, matmul_jobs};

use super::SpanContext;
use crate::matrix::Matrix;
use crate::scratch::{MlaScratch, sized};

/// Expanded keys and values are held for this many heads at once, which bounds memory at long contexts.
pub const HEADS_PER_EXPANSION: usize = 8;

/// Writes `out` `[rows, heads, v_head_dim]` for queries `q` `[rows, heads, nope + rope]` of one span. `kv_b` holds, for
/// each head, its key rows and then its value rows.
pub(super) fn attend_expanded(
    context: &SpanContext,
    kv_b: &Matrix,
    q: &[f32],
    scratch: &mut MlaScratch,
    out: &mut [f32],
) {
    let SpanContext { cpu, mla, heads, scale, span, .. } = *context;
    let (k_dim, v_dim) = (mla.qk_head_dim(), mla.v_head_dim);
    let MlaScratch { queries, per_head, mixed, activations, latent, rotary, keys, values, .. } = scratch;
    let len = read_cache(context, latent, rotary);
    let latents = activations.prepare(cpu, latent, mla.kv_lora_rank, [kv_b.format()]);
    for first in (0..heads).step_by(HEADS_PER_EXPANSION) {
        let group = first..heads.min(first + HEADS_PER_EXPANSION);
        let n = group.len();
        let keys = sized(keys, len * n * k_dim);
        let values = sized(values, len * n * v_dim);
        expand(context, kv_b, group.clone(), latents, per_head, (&mut *keys, &mut *values));
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

/// Position-free keys `[len, group, nope + rope]` (the last `rope` of each are left) and values `[len, group, v_head_dim]`
/// of a group of heads.
fn expand(
    context: &SpanContext,
    kv_b: &Matrix,
    group: Range<usize>,
    latents: Activations,
    per_head: &mut Vec<f32>,
    (keys, values): (&mut [f32], &mut [f32]),
) {
    let mla = context.mla;
    let (n, len, k_dim, v_dim) = (group.len(), latents.rows(), mla.qk_head_dim(), mla.v_head_dim);
    let head_rows = mla.qk_nope_head_dim + v_dim;
    let view = kv_b.view();
    let per_head = sized(per_head, n * len * head_rows);
    let mut jobs: Vec<MatmulJob> = per_head
        .chunks_exact_mut(len * head_rows)
        .zip(group)
        .map(|(y, head)| {
            let weight = view.row_range(head * head_rows..(head + 1) * head_rows);
            MatmulJob { weight, x: latents, x_rows: RowSet::All, y }
        })
        .collect();
    matmul_jobs(context.cpu, &mut jobs);
    for (in_group, head) in per_head.chunks_exact(len * head_rows).enumerate() {
        for (position, expanded) in head.chunks_exact(head_rows).enumerate() {
            let (key, value) = expanded.split_at(mla.qk_nope_head_dim);
            let place = position * n + in_group;
            keys[place * k_dim..][..key.len()].copy_from_slice(key);
            values[place * v_dim..][..v_dim].copy_from_slice(value);
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

/// Copies each position's rotary key behind the position-free part of every head's key.
fn fill_rotary(rotary: &[f32], rope_dim: usize, keys: &mut [f32], k_dim: usize, heads: usize) {
    for (rotary, keys) in rotary.chunks_exact(rope_dim).zip(keys.chunks_exact_mut(heads * k_dim)) {
        for key in keys.chunks_exact_mut(k_dim) {
            key[k_dim - rope_dim..].copy_from_slice(rotary);
        }
    }
}
