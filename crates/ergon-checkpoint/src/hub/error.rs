//! Why a model could not be fetched.

use std::path::PathBuf;

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Looks like a path, and nothing is there.
    #[error("{text}: no such file or folder")]
    NoSuchPath {
        /// The text as given.
        text: String,
    },
    /// Neither a path that exists nor a hub id.
    #[error("'{text}' is neither an existing path nor a hub id (owner/name[@revision][:quant]): {why}")]
    NotAnId {
        /// The text as given.
        text: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The hub could not be reached, or the connection broke and did not come back.
    #[error("{url}: {reason}{hint}")]
    Network {
        /// What was asked for.
        url: String,
        /// What the network said.
        reason: String,
        /// What to do about it, starting with a separator; may be empty.
        hint: &'static str,
    },
    /// The hub asks for a login, or for terms to be accepted.
    #[error(
        "{id}: access refused (status {status}); if the model is gated or private, accept its terms at {page} and set HF_TOKEN to a token that may read it; if not, check the spelling"
    )]
    Refused {
        /// The model.
        id: String,
        /// The HTTP status, 401 or 403.
        status: u16,
        /// Where the terms are.
        page: String,
    },
    /// There is no such model, revision or file.
    #[error("{id}: the hub has no {what}")]
    NotFound {
        /// The model.
        id: String,
        /// What is not there.
        what: String,
    },
    /// The hub answered with something else.
    #[error("{url}: {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What was wrong with the answer.
        what: String,
    },
    /// The model has nothing we can load, or several things to choose from.
    #[error("{id}: {what}")]
    Choice {
        /// The model.
        id: String,
        /// What was found and how to choose.
        what: String,
    },
    /// A downloaded file is not the file that was announced. It has been removed.
    #[error(
        "{file}: the checksum of the download is {found}, the hub announced {expected}; the file was removed, try again"
    )]
    Checksum {
        /// The file's name in the repository.
        file: String,
        /// SHA-256 announced.
        expected: String,
        /// SHA-256 of what came.
        found: String,
    },
    /// Working offline was asked for and the model is not in the cache.
    #[error("{id}: is not complete in the cache {}, and HF_HUB_OFFLINE forbids the network", cache.display())]
    Offline {
        /// The model.
        id: String,
        /// The cache that was looked in.
        cache: PathBuf,
    },
    /// Another process is downloading the same file.
    #[error("{file}: another process is downloading it; wait for it to finish")]
    Busy {
        /// The file's name in the repository.
        file: String,
    },
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason the operating system gave.
        reason: std::io::Error,
    },
}

impl HubError {
    /// Whether a cached copy is a fair answer: the network or the hub failed, not the request.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, HubError::Network { .. } | HubError::Answer { .. })
    }
}
