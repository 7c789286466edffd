//! What comes out of a generation.

use std::time::Duration;

use ergon_types::FinishReason;

use crate::error::SequenceError;

/// Something new in a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of the model's thoughts.
    Reasoning(String),
    /// More of the answer.
    Text(String),
    /// The end, with everything in one piece.
    Finished(Box<Completion>),
    /// The end, without a result: what went wrong with this generation alone.
    Failed(SequenceError),
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The answer. Empty if the model has no tokenizer.
    pub text: String,
    /// The thoughts before it; `None` if there was no block of them.
    pub reasoning: Option<String>,
    /// All new tokens, a stop token at the end included.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens by kind.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
}

/// Counts of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were kept from an earlier generation.
    pub reused_tokens: usize,
    /// New tokens.
    pub completion_tokens: usize,
    /// Of these, tokens of reasoning, tags included.
    pub reasoning_tokens: usize,
}

/// Wall-clock times of one generation; beside others in the same engine they include waiting for those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Prompt tokens that were computed.
    pub prefill_tokens: usize,
    /// From the start to the first new token.
    pub prefill: Duration,
    /// New tokens after the step that gave the first.
    pub decode_tokens: usize,
    /// From the first new token to the end.
    pub decode: Duration,
}

impl Timings {
    /// Prompt tokens per second; `None` if nothing was computed.
    pub fn prefill_tokens_per_s(&self) -> Option<f64> {
        rate(self.prefill_tokens, self.prefill)
    }

    /// New tokens per second after the first; `None` if there were none.
    pub fn decode_tokens_per_s(&self) -> Option<f64> {
        rate(self.decode_tokens, self.decode)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}
