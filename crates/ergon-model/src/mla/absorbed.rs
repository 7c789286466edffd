//! Attention over the latents themselves: the up-projections are applied to the query and to the result.

use ergon_kernels::ops::{self, AttentionShape, KeyValues};
use ergon_kernels::{MatmulJob, MatrixRef, RowSet, TransposedJob, matmul_jobs, matmul_transposed};

use super::{SpanContext, interleave_heads};
use crate::config::MlaConfig;
use crate::matrix::Matrix;
use crate::scratch::{MlaScratch, sized};
use crate::weights::KvB;

impl KvB {
    /// Writes `out` `[rows, heads, v_head_dim]` for queries `q` `[rows, heads, nope + rope]` of one span.
    pub(super) fn attend_absorbed(
        &self,
        context: &SpanContext,
        q: &[f32],
        scratch: &mut MlaScratch,
        out: &mut [f32],
    ) {
        let SpanContext { cpu, mla, heads, scale, span, cache } = *context;
        let (rows, rank, width, v) = (span.rows.len(), mla.kv_lora_rank, mla.cache_width(), mla.v_head_dim);
        self.absorb_query(context, q, scratch);
        let MlaScratch { queries, per_head, mixed, head_rows, activations, .. } = scratch;
        let mixed = sized(mixed, rows * heads * rank);
        let kv = KeyValues { k: cache.k(), v: cache.k(), k_row_stride: width, v_row_stride: width };
        let shape = AttentionShape { n_heads: heads, n_kv_heads: 1, k_dim: width, v_dim: rank, scale };
        ops::attention(cpu, &shape, &queries[..rows * heads * width], &context.attention_rows(kv), mixed);

        let (values, head_rows_stored, skipped) = self.values(mla);
        let x = activations.prepare(cpu, mixed, rank, [values.format()]);
        let per_head = sized(per_head, rows * heads * v);
        let head_rows = rows_by_head(head_rows, rows, heads);
        let mut jobs: Vec<MatmulJob> = per_head
            .chunks_exact_mut(rows * v)
            .zip(head_rows.chunks_exact(rows))
            .enumerate()
            .map(|(head, (y, own))| {
                let start = head * head_rows_stored + skipped;
                let weight = values.row_range(start..start + v);
                MatmulJob { weight, x, x_rows: RowSet::List(own), y }
            })
            .collect();
        matmul_jobs(cpu, &mut jobs);
        interleave_heads(per_head, heads, v, out, v);
    }

    /// The matrix with the value rows of each head, the rows a head has in it, and how many stand before its values.
    fn values(&self, mla: &MlaConfig) -> (MatrixRef<'_>, usize, usize) {
        let (nope, v) = (mla.qk_nope_head_dim, mla.v_head_dim);
        match self {
            KvB::Joint(joint) => (joint.view(), nope + v, nope),
            KvB::Split { v_b, .. } => (v_b.view(), v, 0),
        }
    }

    /// Fills `scratch.queries` `[rows, heads, kv_lora_rank + rope]` = [W_k^T q_nope, q_pe].
    fn absorb_query(&self, context: &SpanContext, q: &[f32], scratch: &mut MlaScratch) {
        let SpanContext { mla, heads, span, .. } = *context;
        let (rank, width, head_dim) = (mla.kv_lora_rank, mla.cache_width(), mla.qk_head_dim());
        let rows = span.rows.len();
        sized(&mut scratch.per_head, rows * heads * rank);
        match self {
            KvB::Joint(joint) => absorb_joint(context, joint, q, scratch),
            KvB::Split { k_b, .. } => absorb_split(context, k_b, q, scratch),
        }
        let queries = sized(&mut scratch.queries, rows * heads * width);
        interleave_heads(&scratch.per_head[..rows * heads * rank], heads, rank, queries, width);
        for (query, out) in q.chunks_exact(head_dim).zip(queries.chunks_exact_mut(width)) {
            out[rank..].copy_from_slice(&query[mla.qk_nope_head_dim..]);
        }
    }
}

/// Fills `scratch.per_head` `[heads, rows, kv_lora_rank]` from the key rows of a joint matrix, used from the right.
fn absorb_joint(context: &SpanContext, joint: &Matrix, q: &[f32], scratch: &mut MlaScratch) {
    let SpanContext { cpu, mla, heads, span, .. } = *context;
    let (rows, rank, nope, head_dim) =
        (span.rows.len(), mla.kv_lora_rank, mla.qk_nope_head_dim, mla.qk_head_dim());
    let view = joint.view();
    let stride = nope + mla.v_head_dim;
    let mut jobs: Vec<TransposedJob> = scratch.per_head[..rows * heads * rank]
        .chunks_exact_mut(rows * rank)
        .enumerate()
        .map(|(head, y)| TransposedJob {
            weight: view.row_range(head * stride..head * stride + nope),
            x: &q[head * head_dim..],
            x_stride: heads * head_dim,
            y,
            y_stride: rank,
            n: rows,
        })
        .collect();
    matmul_transposed(cpu, &mut jobs);
}

/// The same from a `k_b` that is stored transposed.
fn absorb_split(context: &SpanContext, k_b: &Matrix, q: &[f32], scratch: &mut MlaScratch) {
    let SpanContext { cpu, mla, heads, span, .. } = *context;
    let (rows, rank, nope) = (span.rows.len(), mla.kv_lora_rank, mla.qk_nope_head_dim);
    let MlaScratch { per_head, queries, head_rows, activations, .. } = scratch;
    let q_nope = sized(queries, rows * heads * nope);
    for (query, out) in q.chunks_exact(mla.qk_head_dim()).zip(q_nope.chunks_exact_mut(nope)) {
        out.copy_from_slice(&query[..nope]);
    }
    let view = k_b.view();
    let x = activations.prepare(cpu, q_nope, nope, [view.format()]);
    let head_rows = rows_by_head(head_rows, rows, heads);
    let mut jobs: Vec<MatmulJob> = per_head[..rows * heads * rank]
        .chunks_exact_mut(rows * rank)
        .zip(head_rows.chunks_exact(rows))
        .enumerate()
        .map(|(head, (y, own))| {
            let weight = view.row_range(head * rank..(head + 1) * rank);
            MatmulJob { weight, x, x_rows: RowSet::List(own), y }
        })
        .collect();
    matmul_jobs(cpu, &mut jobs);
}

/// For each head, its row in `[rows, heads]` of every token.
fn rows_by_head(head_rows: &mut Vec<u32>, rows: usize, heads: usize) -> &[u32] {
    head_rows.clear();
    head_rows.extend((0..heads).flat_map(|head| (0..rows).map(move |row| (row * heads + head) as u32)));
    head_rows
}
