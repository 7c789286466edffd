//! Everything of a decoder layer that is not a product with weights.
//!
//! Results depend on the arguments only: never on the number of threads, on how rows are cut into tasks, or
//! on the rows beside a row. Lanes are added in a fixed order and, except in [`attention`](fn@attention), nothing is fused,
//! so every instruction set gives the same bits; `attention` does fuse where the hardware can, and
//! `Isa::Generic` then differs within the bounds its tests state.
//!
//! What training adds runs on the calling thread, takes an [`Isa`](crate::Isa) or a [`Gemm`](crate::gemm::Gemm), and fuses
//! freely: its results are the same on one machine, and within the bounds of `tests/backward_*.rs` on another.

mod adamw;
mod attention;
mod attention_blocks;
mod attention_query;
mod attention_tile;
mod cross_entropy;
mod elementwise;
mod exp;
mod gates;
mod half;
mod norm;
mod norm_training;
mod q8_block;
mod rope;
mod rows;
mod sequence_attention;
mod slices;
mod softmax;
mod weighted_rows;

pub use adamw::{AdamW, adamw_step, sum_of_squares};
pub use attention::{AttentionRow, AttentionShape, KeyValues, KvSlice, attention};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use elementwise::{add_in_place, axpy, sigmoid_in_place, swiglu};
pub use gates::{gelu_backward, gelu_forward, silu_backward, silu_forward, swiglu_backward, swiglu_forward};
pub use half::{f16_to_f32, f32_to_f16};
pub use norm::{rms_norm, rms_norm_in_place};
pub use norm_training::{rms_norm_backward, rms_norm_forward};
pub use q8_block::{Q8Block, f32_to_q8, q8_to_f32};
pub use rope::{RopeLayout, rope_backward_in_place, rope_in_place};
pub use rows::{
    add_column_sums, gather_rows, scatter_add_rows, scatter_add_weighted, scatter_add_weighted_backward,
};
pub use sequence_attention::{
    SequenceAttention, SequenceMask, SequenceScratch, sequence_attention, sequence_attention_backward,
};
pub use softmax::softmax_in_place;
pub use weighted_rows::sum_weighted_rows;

use crate::{Cpu, shared::SharedSlice};

/// Below this many elements one thread is done before another has joined in.
const PARALLEL_FROM: usize = 1 << 15;
/// Elements per task: long enough to hide the handing out, short enough to balance.
const PIECE: usize = 1 << 13;

/// Runs `work(first, piece)` over all of `data`, in pieces of whole rows of `row` elements, on several
/// threads if there is enough to do; `first` is the index in `data` of the piece's first element.
fn for_each_piece(cpu: &Cpu, data: &mut [f32], row: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if data.len() < PARALLEL_FROM {
        work(0, data);
        return;
    }
    let (len, piece) = (data.len(), row * (PIECE / row).max(1));
    let data = SharedSlice::new(data);
    cpu.pool.run(len.div_ceil(piece), |task| {
        let first = task * piece;
        // SAFETY: tasks run once each, and their ranges do not overlap.
        work(first, unsafe { data.range_mut(first..len.min(first + piece)) });
    });
}
