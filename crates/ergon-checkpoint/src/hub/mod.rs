//! Models by their hub id: downloaded once, kept in the usual cache, used offline afterwards.

mod cache;
mod client;
mod download;
mod error;
mod id;
mod select;

pub use error::HubError;
pub use id::HubId;

use crate::safetensors;
use cache::Repo;
use client::Client;
use select::Selection;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Told how a download goes. Files come one after the other.
pub trait Progress {
    /// A file begins: `done` bytes are here from an earlier try, `total` in all, if the hub says.
    fn start(&mut self, file: &str, done: u64, total: Option<u64>);
    /// `done` bytes of the current file are here. Fewer than before if it had to start again.
    fn advance(&mut self, done: u64);
    /// The current file is complete.
    fn finish(&mut self);
}

/// A [`Progress`] that shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _file: &str, _done: u64, _total: Option<u64>) {}
    fn advance(&mut self, _done: u64) {}
    fn finish(&mut self) {}
}

/// Where models come from and where they are kept.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
    proxy: Option<ureq::Proxy>,
}

impl fmt::Debug for Hub {
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub at `endpoint` (e.g. `https://huggingface.co`) with its cache in a folder; no token, no proxy.
    pub fn new(endpoint: &str, cache: &Path) -> Hub {
        let endpoint = endpoint.trim_end_matches('/').to_string();
        Hub { endpoint, cache: cache.to_path_buf(), token: None, offline: false, proxy: None }
    }

    /// The hub as its own tools are configured. The environment is read here and nowhere else: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN` (else the file `token` in `HF_HOME`), `HF_HUB_OFFLINE`, and
    /// the usual `HTTPS_PROXY`/`NO_PROXY`.
    pub fn from_env() -> Hub {
        let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user_cache = || match var("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir().unwrap_or_default().join(".cache"),
        };
        let home = var("HF_HOME").map_or_else(|| user_cache().join("huggingface"), PathBuf::from);
        let cache = var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        let stored = || std::fs::read_to_string(home.join("token")).ok();
        let token = var("HF_TOKEN").or_else(stored).map(|token| token.trim().to_string());
        let offline =
            var("HF_HUB_OFFLINE").is_some_and(|value| !["0", "no", "off", "false"].contains(&value.as_str()));
        Hub {
            token: token.filter(|token| !token.is_empty()),
            offline,
            proxy: ureq::Proxy::try_from_env(),
            ..Hub::new(&endpoint, &cache)
        }
    }

    /// The same hub with a token for gated and private models. It is sent to the endpoint only.
    pub fn with_token(mut self, token: &str) -> Hub {
        self.token = Some(token.to_string());
        self
    }

    /// The same hub, never touching the network.
    pub fn offline(mut self) -> Hub {
        self.offline = true;
        self
    }

    /// Downloads what is missing and returns the folder or `.gguf` file to open.
    ///
    /// A revision that is complete in the cache is used without asking the hub, so a branch stays at the commit it was
    /// first fetched at. If the hub cannot be reached, weights that are there without all their companions still do.
    ///
    /// # Errors
    /// The model, revision or quantisation does not exist or is gated, the network or the disk fails, or a checksum
    /// differs.
    pub fn fetch(&self, id: &HubId, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let repo = Repo::new(&self.cache, id);
        let cached = repo.find(id);
        if let Some(cached) = &cached
            && (cached.whole || self.offline)
        {
            return Ok(cached.path.clone());
        }
        if self.offline {
            return Err(HubError::Offline { id: id.to_string(), cache: self.cache.clone() });
        }
        match (self.download(id, &repo, progress), cached) {
            (Err(error), Some(cached)) if error.is_outage() => Ok(cached.path),
            (outcome, _) => outcome,
        }
    }

    fn download(&self, id: &HubId, repo: &Repo, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let client = Client::new(&self.endpoint, self.token.as_deref(), self.proxy.clone(), id);
        let info = client.info()?;
        let choice = |what| HubError::Choice { id: id.to_string(), what };
        let selection = select::select(&info.files, id.quant.as_deref()).map_err(choice)?;
        let commit = info.commit.as_str();
        let folder = repo.snapshot(commit);
        let mut get = |file: &str| download::fetch_file(&client, repo, commit, file, progress);
        let path = match &selection {
            Selection::Gguf(parts) => {
                for part in parts {
                    get(part)?;
                }
                folder.join(parts.first().map(String::as_str).unwrap_or_default())
            }
            // The weights last: a snapshot that has them has its companions too.
            Selection::Folder { companions, weights } => {
                for file in companions {
                    get(file)?;
                }
                get(weights)?;
                if weights == select::INDEX {
                    let shards = safetensors::shard_names(&folder.join(weights));
                    for shard in shards.map_err(|error| choice(error.to_string()))? {
                        get(&shard)?;
                    }
                }
                folder
            }
        };
        repo.set_commit(id.revision(), commit)?;
        Ok(path)
    }
}

/// The path of a model given by a user: an existing path as it is, else a hub id, fetched.
///
/// # Errors
/// Neither a path nor an id, or what [`Hub::fetch`] reports.
pub fn resolve(model: &str, hub: &Hub, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
    let path = Path::new(model);
    // Also a path we may not look at is a path.
    if path.try_exists().unwrap_or(true) {
        return Ok(path.to_path_buf());
    }
    let path_like = path.is_absolute() || model.starts_with(['.', '~']) || model.ends_with(".gguf");
    if path_like {
        return Err(HubError::NoSuchPath { text: model.to_string() });
    }
    hub.fetch(&model.parse()?, progress)
}
