//! The cache on disk, laid out as the hub's own Python client does it, so that both share what they download:
//! `models--OWNER--NAME/` with `refs/REVISION` (a commit), `blobs/TAG` and `snapshots/COMMIT/FILE` (links to blobs).

use super::select::{self, Selection};
use super::{HubError, HubId};
use crate::{gguf, safetensors};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One model in the cache.
pub(super) struct Repo {
    root: PathBuf,
}

/// A model that is in the cache as a whole.
pub(super) struct Cached {
    /// The folder or file to open.
    pub(super) path: PathBuf,
    /// Whether everything one would download is there; weights that another program fetched may lack a tokenizer.
    pub(super) whole: bool,
}

impl Repo {
    pub(super) fn new(cache: &Path, id: &HubId) -> Repo {
        Repo { root: cache.join(format!("models--{}--{}", id.owner, id.name)) }
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit a revision was when it was last fetched; a commit stands for itself.
    fn commit(&self, revision: &str) -> Option<String> {
        if let Ok(text) = fs::read_to_string(self.root.join("refs").join(revision)) {
            let commit = text.trim();
            let plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return plain.then(|| commit.to_string());
        }
        let full = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        full.then(|| revision.to_string())
    }

    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        fs::write(&path, commit).map_err(|reason| HubError::Io { path, reason })
    }

    /// What is in the cache for this id, if it can be loaded from there.
    pub(super) fn find(&self, id: &HubId) -> Option<Cached> {
        let folder = self.snapshot(&self.commit(id.revision())?);
        let mut names = Vec::new();
        list(&folder, "", &mut names);
        match select::select(&names, id.quant.as_deref()).ok()? {
            Selection::Gguf(parts) => {
                let first = folder.join(parts.first()?);
                (gguf::parts_of(&first).len() == parts.len()).then_some(Cached { path: first, whole: true })
            }
            Selection::Folder { weights, .. } => {
                if weights == select::INDEX {
                    let shards = safetensors::shard_names(&folder.join(&weights)).ok()?;
                    if !shards.iter().all(|shard| names.contains(shard)) {
                        return None;
                    }
                }
                Some(Cached { path: folder, whole: select::has_tokenizer(&names) })
            }
        }
    }

    /// Puts a blob into a snapshot under its file name.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        if path.exists() {
            return Ok(());
        }
        make_parent(&path)?;
        // Relative, so that the cache can be moved: up from the file's folders, the commit and "snapshots".
        let mut target = PathBuf::new();
        for _ in 0..file.split('/').count() + 1 {
            target.push("..");
        }
        target.push("blobs");
        target.push(etag);
        // A dangling link of an earlier time would be in the way.
        let _ = fs::remove_file(&path);
        link_file(&target, &path, &self.blob(etag)).map_err(|reason| HubError::Io { path, reason })
    }
}

#[cfg(unix)]
fn link_file(relative: &Path, path: &Path, _blob: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

/// Elsewhere links need special rights; a second name for the same bytes does as well.
#[cfg(not(unix))]
fn link_file(_relative: &Path, path: &Path, blob: &Path) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(|_| ()))
}

pub(super) fn make_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(folder) => {
            fs::create_dir_all(folder).map_err(|reason| HubError::Io { path: folder.to_path_buf(), reason })
        }
        None => Ok(()),
    }
}

/// Names of the files below a folder, with `/`, as the hub lists them. Two levels are all that models use; links whose
/// blob is gone are left out.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_file() => names.push(name),
            Ok(found) if found.is_dir() && prefix.is_empty() => {
                list(&entry.path(), &format!("{name}/"), names)
            }
            _ => {}
        }
    }
}
