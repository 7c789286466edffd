//! Buffers that a forward pass writes and the next one reuses.

use ergon_kernels::ActivationBuffer;

use crate::guess::GuessScratch;
use crate::router::{Choice, RouterScratch};

/// Buffers of a forward pass: they grow to the largest step seen and are then reused. One scratch serves any number of
/// sequences, one step at a time; it carries nothing from step to step.
#[derive(Default)]
pub struct Scratch {
    /// `[rows, hidden_size]`, the residual stream.
    pub(crate) hidden: Vec<f32>,
    pub(crate) rotations: RotationBuffers,
    pub(crate) step: StepScratch,
}

/// Cosine and sine for the position of each row, `[rows, rotary dim / 2]`.
#[derive(Default)]
pub(crate) struct RotationBuffers {
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
}

/// Buffers used inside a layer.
#[derive(Default)]
pub(crate) struct StepScratch {
    /// `[rows, hidden_size]`, input of a part, normalised.
    pub(crate) normed: Vec<f32>,
    /// `[rows, hidden_size]`, output of a part.
    pub(crate) output: Vec<f32>,
    pub(crate) activations: ActivationBuffer,
    pub(crate) attention: AttentionScratch,
    pub(crate) mlp: MlpScratch,
    pub(crate) moe: MoeScratch,
    pub(crate) guess: GuessScratch,
}

/// Buffers of an attention part.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    /// `[rows, heads, head width]`
    pub(crate) q: Vec<f32>,
    /// `[rows, key heads, head width]`; for latent attention `[rows, kv_lora_rank + rope]` before the norm
    pub(crate) k: Vec<f32>,
    /// `[rows, value heads, head width]`
    pub(crate) v: Vec<f32>,
    /// `[rows, heads, value width]`, what the heads have read
    pub(crate) mixed: Vec<f32>,
    /// `[rows, q_lora_rank]`
    pub(crate) q_low_rank: Vec<f32>,
    /// `[rows, kv_lora_rank + rope]`
    pub(crate) latent: Vec<f32>,
    pub(crate) activations: ActivationBuffer,
    pub(crate) mla: MlaScratch,
}

/// Buffers of latent attention over one span.
#[derive(Default)]
pub(crate) struct MlaScratch {
    /// `[rows, heads, key width]` of the formula in use
    pub(crate) queries: Vec<f32>,
    /// `[heads, rows, ...]`, products of each head with its own matrix
    pub(crate) per_head: Vec<f32>,
    /// `[rows, heads, ...]`, what the heads have read
    pub(crate) mixed: Vec<f32>,
    /// For each head, its row of every token
    pub(crate) head_rows: Vec<u32>,
    pub(crate) activations: ActivationBuffer,
    /// `[positions, kv_lora_rank]`, the cache in single precision
    pub(crate) latent: Vec<f32>,
    /// `[positions, qk_rope_head_dim]`
    pub(crate) rotary: Vec<f32>,
    /// `[positions, some heads, nope + rope]`
    pub(crate) keys: Vec<f32>,
    /// `[positions, some heads, v_head_dim]`
    pub(crate) values: Vec<f32>,
}

/// Buffers of a dense feed-forward part.
#[derive(Default)]
pub(crate) struct MlpScratch {
    /// `[rows, intermediate_size]`
    pub(crate) gate: Vec<f32>,
    /// `[rows, intermediate_size]`
    pub(crate) up: Vec<f32>,
    /// `[rows, intermediate_size]`, silu(gate) * up
    pub(crate) inner: Vec<f32>,
    pub(crate) activations: ActivationBuffer,
}

/// Buffers of routing.
#[derive(Default)]
pub(crate) struct RoutingScratch {
    /// `[rows, n_routed_experts]`
    pub(crate) logits: Vec<f32>,
    pub(crate) router: RouterScratch,
    /// `[rows, num_experts_per_tok]`
    pub(crate) choices: Vec<Choice>,
}

/// Buffers of routed experts. A visit is one token at one expert; visits are sorted by expert.
#[derive(Default)]
pub(crate) struct MoeScratch {
    pub(crate) routing: RoutingScratch,
    /// First visit of each expert, and one past the last.
    pub(crate) first_visit: Vec<usize>,
    /// Token of each visit.
    pub(crate) visit_token: Vec<u32>,
    /// Visit of each choice, in the order of `choices`.
    pub(crate) choice_visit: Vec<usize>,
    /// The router's weight of each choice, in the same order.
    pub(crate) choice_weight: Vec<f32>,
    /// 0, 1, 2, ... : a visit's own row.
    pub(crate) visit_row: Vec<u32>,
    /// `[visits, moe_intermediate_size]`
    pub(crate) gate: Vec<f32>,
    /// `[visits, moe_intermediate_size]`
    pub(crate) up: Vec<f32>,
    /// `[visits, moe_intermediate_size]`, silu(gate) * up
    pub(crate) inner: Vec<f32>,
    /// `[visits, hidden_size]`
    pub(crate) down: Vec<f32>,
    pub(crate) activations: ActivationBuffer,
    pub(crate) shared: MlpScratch,
    /// `[rows, hidden_size]`, output of the shared experts.
    pub(crate) shared_output: Vec<f32>,
}

/// The first `len` values of a buffer, which grows if it has to. What they hold is left over and must be overwritten.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
