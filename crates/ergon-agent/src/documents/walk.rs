//! The files of a folder, found without following a link out of it or around in it.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{DocumentsError, Skipped};

/// Endings of files that describe the file beside them.
const SIDECARS: [&str; 2] = [".ergon.json", ".meta"];

/// A file that may be a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Path relative to the folder, with `/`.
    pub(super) file: String,
    pub(super) path: PathBuf,
    pub(super) traits: Traits,
    /// Files beside it that describe it.
    pub(super) sidecars: Vec<(PathBuf, Traits)>,
}

/// What the system says of a file without reading it. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) bytes: u64,
    pub(super) modified_ns: i64,
    /// When the system last changed anything about it, which no program can set; 0 where it does not say.
    pub(super) changed_ns: i64,
    /// Its number in the file system, another one after it was replaced; 0 where there is none.
    pub(super) number: u64,
}

/// The files below `root`, sorted by name, and what was left out. Names that begin with a point are left out silently, and
/// so are the folders and files of `except`.
pub(super) fn walk(root: &Path, except: &[PathBuf]) -> Result<(Vec<Entry>, Vec<Skipped>), DocumentsError> {
    let folder =
        |reason: io::Error| DocumentsError::Folder { path: root.to_path_buf(), reason: reason.to_string() };
    let root = fs::canonicalize(root).map_err(folder)?;
    let mut walk = Walk {
        except: except.iter().filter_map(|path| fs::canonicalize(path).ok()).collect(),
        seen: HashSet::from([root.clone()]),
        found: Vec::new(),
        skipped: Vec::new(),
        open: Vec::new(),
        links: Vec::new(),
        root: root.clone(),
    };
    walk.folder(&root, "").map_err(folder)?;
    // Links come last, so that a file is known by its own name where it has one inside the folder.
    loop {
        while let Some((path, name)) = walk.open.pop() {
            if let Err(error) = walk.folder(&path, &name) {
                walk.skip(&name, format!("the folder cannot be read: {error}"));
            }
        }
        let Some((path, name)) = walk.links.pop() else { break };
        walk.link(&path, &name);
    }
    Ok(walk.finish())
}

struct Walk {
    root: PathBuf,
    except: Vec<PathBuf>,
    /// Real paths of folders, and of files that links led to.
    seen: HashSet<PathBuf>,
    found: Vec<Entry>,
    skipped: Vec<Skipped>,
    open: Vec<(PathBuf, String)>,
    links: Vec<(PathBuf, String)>,
}

impl Walk {
    fn skip(&mut self, file: &str, reason: String) {
        self.skipped.push(Skipped { file: file.to_string(), reason });
    }

    fn folder(&mut self, path: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || self.except.contains(&entry.path()) {
                continue;
            }
            let file = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => self.links.push((entry.path(), file)),
                Ok(kind) if kind.is_dir() => {
                    if self.seen.insert(entry.path()) {
                        self.open.push((entry.path(), file));
                    }
                }
                Ok(_) => self.file(&entry.path(), file),
                Err(error) => self.skip(&file, format!("cannot be looked at: {error}")),
            }
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, file: &str) {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return self.skip(file, format!("a link that leads nowhere: {error}")),
        };
        if !real.starts_with(&self.root) {
            return self.skip(file, "a link that leads out of the folder".to_string());
        }
        if self.found.iter().any(|entry| entry.path == real) || !self.seen.insert(real.clone()) {
            return;
        }
        if real.is_dir() {
            self.open.push((real, file.to_string()));
        } else {
            self.file(&real, file.to_string());
        }
    }

    fn file(&mut self, path: &Path, file: String) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => self.found.push(Entry {
                file,
                path: path.to_path_buf(),
                traits: Traits::of(&metadata),
                sidecars: Vec::new(),
            }),
            Ok(_) => self.skip(&file, "not a regular file".to_string()),
            Err(error) => self.skip(&file, format!("cannot be looked at: {error}")),
        }
    }

    /// Gives each sidecar to its file, and sorts.
    fn finish(mut self) -> (Vec<Entry>, Vec<Skipped>) {
        self.found.sort_by(|a, b| a.file.cmp(&b.file));
        let place = |name: &str, found: &[Entry]| found.binary_search_by(|e| e.file.as_str().cmp(name)).ok();
        let mut owners: Vec<(usize, usize)> = Vec::new();
        for (index, entry) in self.found.iter().enumerate() {
            let owner = SIDECARS
                .iter()
                .find_map(|ending| entry.file.strip_suffix(ending))
                .and_then(|name| place(name, &self.found));
            owners.extend(owner.map(|owner| (index, owner)));
        }
        for (index, owner) in &owners {
            let sidecar = &self.found[*index];
            let sidecar = (sidecar.path.clone(), sidecar.traits);
            self.found[*owner].sidecars.push(sidecar);
        }
        let sidecars: HashSet<usize> = owners.into_iter().map(|(index, _)| index).collect();
        let mut index = 0;
        self.found.retain(|_| {
            index += 1;
            !sidecars.contains(&(index - 1))
        });
        self.skipped.sort_by(|a, b| a.file.cmp(&b.file));
        (self.found, self.skipped)
    }
}

impl Traits {
    #[cfg(unix)]
    fn of(metadata: &fs::Metadata) -> Traits {
        use std::os::unix::fs::MetadataExt;
        Traits {
            bytes: metadata.len(),
            modified_ns: modified_ns(metadata),
            changed_ns: metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()),
            number: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &fs::Metadata) -> Traits {
        Traits { bytes: metadata.len(), modified_ns: modified_ns(metadata), changed_ns: 0, number: 0 }
    }
}

fn modified_ns(metadata: &fs::Metadata) -> i64 {
    let Ok(time) = metadata.modified() else { return 0 };
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
}
