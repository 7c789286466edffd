//! What can go wrong in the engine.

use ergon_kernels::IsaError;
use ergon_model::{ForwardError, ModelError};
use thiserror::Error;

use crate::constraint::ConstraintError;
use crate::engine::SequenceId;
use crate::memory::MemoryNeed;
use crate::sampler::SamplingError;

/// An engine that cannot be loaded, a request that cannot be taken, or a step that failed for everyone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The checkpoint cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The instruction set that was asked for is not there.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The threads that read routed experts cannot be started.
    #[error(
        "no thread can be started to read experts ({reason}); allow more threads, or raise the memory budget"
    )]
    Readers {
        /// The reason the operating system gave.
        reason: std::io::Error,
    },
    /// The forward pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// There is nothing to go on from.
    #[error("the prompt has no tokens; give at least one (a start token will do)")]
    EmptyPrompt,
    /// A token id that the model does not have.
    #[error(
        "token {index} of the prompt is {token}, but the model's vocabulary has only {vocab_size} tokens"
    )]
    TokenOutOfRange {
        /// Place in the prompt.
        index: usize,
        /// The id.
        token: u32,
        /// Ids below this are valid.
        vocab_size: usize,
    },
    /// The prompt leaves no room in the context.
    #[error(
        "{tokens} tokens do not fit: the model's context holds {context_length} with at least one to generate"
    )]
    ContextExceeded {
        /// Tokens of the prompt.
        tokens: usize,
        /// `max_position_embeddings`.
        context_length: usize,
    },
    /// The work would not fit the memory budget.
    #[error("{0}")]
    Memory(MemoryNeed),
    /// Every slot is taken.
    #[error("all {slots} sequence slots are busy; wait for one to finish or raise max_sequences")]
    NoFreeSlot {
        /// `EngineOptions::max_sequences`.
        slots: usize,
    },
    /// The engine has no such running sequence.
    #[error("sequence {0} is not running")]
    UnknownSequence(SequenceId),
    /// A score that is no number.
    #[error("the model gave logits that are no numbers at position {position}: its weights are damaged")]
    ScoreNotFinite {
        /// Position of the token that was to be predicted.
        position: usize,
    },
}

/// What ended one sequence; the others go on.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SequenceError {
    /// The logits cannot be sampled from.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The grammar cannot be followed.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Weights that it needs cannot be read.
    #[error("{reason}")]
    Weights {
        /// File, tensor and reason.
        reason: String,
    },
}
