//! What can be wrong with a tokenizer.

use crate::{CheckpointError, MetadataError};

/// Why a tokenizer cannot be loaded, or why it cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model comes without a tokenizer that can be read.
    #[error("{model}: {what}")]
    Missing {
        /// The model's folder or file.
        model: String,
        /// What was looked for, and what would help.
        what: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A configuration key has the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The tokenizer contradicts itself, breaks its format or exceeds a limit.
    #[error("{source_name}: {what}")]
    Invalid {
        /// The file the tokenizer is from.
        source_name: String,
        /// What is wrong.
        what: String,
    },
    /// A part of the tokenizer is of a kind that is not implemented.
    #[error("{source_name}: {what} is not supported")]
    Unsupported {
        /// The file the tokenizer is from.
        source_name: String,
        /// The part and its kind.
        what: String,
    },
    /// The text could not be turned into tokens.
    #[error("the tokenizer failed on this text: {what}")]
    Encode {
        /// What the tokenizer reported.
        what: String,
    },
}

/// Names the file that a complaint is about, so that the parsers below need not carry it.
#[derive(Clone, Debug)]
pub(super) struct Source(pub(super) String);

impl Source {
    pub(super) fn invalid(&self, what: impl Into<String>) -> TokenizerError {
        TokenizerError::Invalid { source_name: self.0.clone(), what: what.into() }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>) -> TokenizerError {
        TokenizerError::Unsupported { source_name: self.0.clone(), what: what.into() }
    }
}
