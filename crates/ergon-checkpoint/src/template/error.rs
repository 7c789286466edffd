//! What can be wrong with a chat template.

use crate::{CheckpointError, MetadataError, TokenizerError};

/// Why a chat template cannot be loaded or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A GGUF key has the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The tokenizer's configuration, which names the special tokens, is malformed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The file that should hold the template is not what it should be.
    #[error("{source_name}: {what}")]
    Invalid {
        /// The file.
        source_name: String,
        /// What is wrong.
        what: String,
    },
    /// The template does not compile, or failed while it ran.
    #[error("the chat template of {source_name} failed: {what}")]
    Failed {
        /// The file the template is from.
        source_name: String,
        /// What happened, with the line.
        what: String,
    },
    /// The template itself refused the conversation (`raise_exception`), for instance because roles do not alternate.
    #[error("the chat template of {source_name} refuses this conversation: {message}")]
    Refused {
        /// The file the template is from.
        source_name: String,
        /// What the template says.
        message: String,
    },
    /// The template does more than any conversation of this size needs.
    #[error("the chat template of {source_name} was stopped: {what}")]
    Limit {
        /// The file the template is from.
        source_name: String,
        /// The limit it reached.
        what: &'static str,
    },
}
