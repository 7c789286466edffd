//! What can go wrong with the folder as a whole. A single bad file is no error: it is skipped and listed.

use std::path::PathBuf;

/// Why a folder of documents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The folder cannot be read.
    #[error("cannot read the folder of documents {}: {reason}; name an existing folder", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The place named for the index cannot be written, or holds what is none of ours.
    #[error("cannot keep the index in {}: {reason}; name a new or an empty folder that can be written", path.display())]
    Place {
        /// Where the index was to be kept.
        path: PathBuf,
        /// What the system says, or what lies there.
        reason: String,
    },
    /// The index failed while it was used, and was no damage that a rebuild cures.
    #[error("the index in {place} failed: {reason}; delete that folder and run again")]
    Index {
        /// Where the index lies.
        place: String,
        /// What failed.
        reason: String,
    },
    /// A file that a claim names is not among the documents.
    #[error("'{file}' is not among the documents; name files by their path inside the folder, with '/'")]
    NoSuchDocument {
        /// The name as given.
        file: String,
    },
    /// Whoever called wanted to stop.
    #[error("interrupted; what was indexed so far is kept")]
    Interrupted,
}
