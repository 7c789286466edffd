//! Guessing which experts the next layer will visit, so that they can be read while this one computes.
//!
//! A layer adds little to the residual stream, so the next layer's router, asked with what its input would be if this
//! layer's feed-forward part and the next layer's attention added nothing, mostly names the experts that it will name then
//! (A. Eliseev, D. Mazur, "Fast inference of mixture-of-experts language models with offloading", arXiv 2312.17238). A guess
//! decides only what is read ahead, never what is computed.

use ergon_kernels::{ActivationBuffer, Cpu, ops};

use crate::config::MoeConfig;
use crate::experts::{ExpertStore, Guess, GuessedExpert};
use crate::scratch::{RoutingScratch, sized};
use crate::weights::{FeedForwardWeights, LayerWeights};

/// Buffers of a guess.
#[derive(Default)]
pub(crate) struct GuessScratch {
    /// `[rows, hidden_size]`
    normed: Vec<f32>,
    activations: ActivationBuffer,
    routing: RoutingScratch,
}

/// What the layer `next`, with number `layer`, will probably visit after the residual stream `hidden`
/// `[rows, hidden_size]` before this layer's feed-forward part. `None` if the store has no use for it, the layer has no routed
/// experts, or there are so many rows that they visit most experts anyway.
pub(crate) fn guess(
    cpu: &Cpu,
    (moe, eps): (&MoeConfig, f32),
    (layer, next): (usize, &LayerWeights),
    store: &dyn ExpertStore,
    hidden: &[f32],
    scratch: &mut GuessScratch,
) -> Option<Guess> {
    let FeedForwardWeights::Moe(weights) = &next.feed_forward else { return None };
    let width = next.post_attention_layernorm.len();
    let rows = hidden.len() / width;
    if 2 * rows * moe.num_experts_per_tok > moe.n_routed_experts || !store.wants_guess(layer) {
        return None;
    }
    let GuessScratch { normed, activations, routing } = scratch;
    let normed = sized(normed, hidden.len());
    ops::rms_norm(cpu, hidden, &next.post_attention_layernorm, eps, normed);
    let x = activations.prepare(cpu, normed, width, [weights.router.format()]);
    weights.choose(cpu, moe, x, routing);
    let choices = &routing.choices;
    let mut experts: Vec<GuessedExpert> = Vec::with_capacity(choices.len());
    for rank in 0..moe.num_experts_per_tok {
        for choice in choices.iter().skip(rank).step_by(moe.num_experts_per_tok) {
            let expert = choice.expert as usize;
            if experts.iter().all(|guessed| guessed.expert != expert) {
                experts.push(GuessedExpert { expert, rank });
            }
        }
    }
    Some(Guess { layer, experts })
}
