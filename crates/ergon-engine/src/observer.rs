//! Who looks at tokens as they are chosen, and may have a say.

use crate::engine::SequenceId;

/// What is to happen after a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// End the sequence here, as with a stop token.
    Stop,
    /// Go on with these tokens, whatever the model would say. Forced tokens are observed and counted as others are.
    Force(Vec<u32>),
    /// The grammar of the request takes effect from the next token on.
    Constrain,
}

/// Sees every new token in order, one by one, before the next one of that sequence is chosen. This is how text (stop
/// strings, reasoning) steers tokens without the engine knowing about text. Stop tokens are not shown.
pub trait TokenObserver {
    /// Sequence `id` has gone on by `token`.
    fn token(&mut self, id: SequenceId, token: u32) -> Verdict;
}

/// Lets everything pass.
pub struct Unobserved;

impl TokenObserver for Unobserved {
    fn token(&mut self, _: SequenceId, _: u32) -> Verdict {
        Verdict::Continue
    }
}
