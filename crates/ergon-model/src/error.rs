//! What can go wrong while a model is bound to its weights, and while it runs.

use std::path::{Path, PathBuf};

use ergon_checkpoint::CheckpointError;
use ergon_kernels::MatrixError;
use thiserror::Error;

use crate::config::ConfigError;

/// A checkpoint that cannot be run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// Weights cannot be read into memory.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration is missing something, contradicts itself or names what is not supported.
    #[error("{}", in_checkpoint(path, source))]
    Config {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A tensor that the configuration calls for is not there.
    #[error(
        "{path}: tensor '{name}' is missing; the checkpoint is incomplete or its config names another model"
    )]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Name as the checkpoint should spell it.
        name: String,
    },
    /// A tensor has another shape than the configuration calls for.
    #[error("{path}: tensor '{name}' has shape {found:?}, the config calls for {expected:?}")]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape in the file, outermost first.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that weights cannot have here.
    #[error("{path}: tensor '{name}' is stored as {dtype}, which is not supported {context}")]
    Format {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Type as the file names it.
        dtype: String,
        /// Where it was found, e.g. "for a norm".
        context: &'static str,
    },
    /// A matrix could not be formed from its bytes.
    #[error("{path}: tensor '{name}': {source}")]
    Matrix {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        source: MatrixError,
    },
    /// A small tensor (a norm, a bias, scales) holds NaN or an infinity.
    #[error("{path}: tensor '{name}' holds values that are no numbers: the file is damaged, get it again")]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The checkpoint holds tensors of the model that nothing would read: it is another variant.
    #[error(
        "{path}: {count} tensors have no place in this architecture, the first is '{first}'; this variant is not supported"
    )]
    Surplus {
        /// The checkpoint.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
}

/// A step that could not be run.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ForwardError {
    /// A token id is not in the vocabulary.
    #[error("token id {token} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Embeddings that are no whole rows.
    #[error("{values} values are no rows of the hidden size {hidden_size}; give whole rows")]
    Embeddings {
        /// How many values were given.
        values: usize,
        /// Length of a row.
        hidden_size: usize,
    },
    /// The sequence would grow past the context length of the model.
    #[error("{needed} tokens do not fit the context length of {context_length}")]
    ContextFull {
        /// Tokens after this step.
        needed: usize,
        /// `max_position_embeddings`.
        context_length: usize,
    },
    /// Keys or values that are no whole blocks of the cache.
    #[error(
        "a q8 cache stores {block} values together, a head of this model has {head_values}; use f16 or f32"
    )]
    BrokenBlocks {
        /// Keys or values of a head, or a part of them that is used alone.
        head_values: usize,
        /// Values of a block.
        block: usize,
    },
    /// Memory for a buffer was refused.
    #[error("not enough memory for {what} ({values} values)")]
    OutOfMemory {
        /// The buffer.
        what: &'static str,
        /// Its size in values.
        values: usize,
    },
    /// The weights of a routed expert cannot be had.
    #[error("{reason}")]
    Expert {
        /// File, tensor and reason.
        reason: String,
        /// The segments that visit it, rising; the others could go on without them.
        segments: Vec<usize>,
    },
    /// A stage of a control step before the one that it builds on.
    #[error("nothing has been read in this control step: see and read come before reasoning and plans")]
    NothingRead,
    /// A multi-token-prediction step ahead of the decoder.
    #[error(
        "{tokens} tokens were given to the multi-token-prediction layer, hidden states wait for {available}"
    )]
    NoHiddenStates {
        /// Tokens given.
        tokens: usize,
        /// Hidden states kept.
        available: usize,
    },
    /// A multi-token-prediction step on a model without such a layer.
    #[error("this model has no multi-token-prediction layer")]
    NoDraftLayer,
}

/// A wrong value names its file itself.
fn in_checkpoint(path: &Path, error: &ConfigError) -> String {
    match error {
        ConfigError::Metadata(error) => error.to_string(),
        other => format!("{}: {other}", path.display()),
    }
}
