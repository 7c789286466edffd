//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Why a checkpoint cannot be used. Every message names the file and the thing in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason the operating system gave.
        reason: std::io::Error,
    },
    /// The path is there but is nothing a model can be read from.
    #[error("{}: {what}", path.display())]
    NotAModel {
        /// The file or folder.
        path: PathBuf,
        /// What it is or lacks, and what was expected.
        what: String,
    },
    /// The content breaks its own format.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: FormatError,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: &Path, reason: std::io::Error) -> CheckpointError {
        CheckpointError::Io { path: path.to_path_buf(), reason }
    }

    pub(crate) fn not_a_model(path: &Path, what: impl Into<String>) -> CheckpointError {
        CheckpointError::NotAModel { path: path.to_path_buf(), what: what.into() }
    }

    pub(crate) fn format(path: &Path, reason: FormatError) -> CheckpointError {
        CheckpointError::Format { path: path.to_path_buf(), reason }
    }
}

/// What is wrong inside a file whose bytes have been read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct FormatError {
    what: String,
}

impl FormatError {
    pub(crate) fn new(what: impl Into<String>) -> FormatError {
        FormatError { what: what.into() }
    }
}
