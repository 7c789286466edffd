//! Whether files still hold what the index says of them: those that are to be cited are read once more.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::atomic::AtomicBool,
};

use super::{
    Library, Place,
    home::{LOCK, STAMPS},
    stamps, store,
    update::key,
};
use crate::documents::{Document, DocumentsError, ReadLimits, Skipped, read, walk::Entry};

/// The files of the folder, and what was found of those that were read again.
pub(super) struct Current {
    files: HashMap<u64, Entry>,
    limits: ReadLimits,
    /// Digests in the index, of files and of what describes them; read when first needed.
    digests: OnceCell<HashMap<u64, u64>>,
    /// By name, whether a file that was read again is as it was.
    known: RefCell<BTreeMap<String, bool>>,
}

impl Current {
    pub(super) fn new(entries: Vec<Entry>, limits: ReadLimits) -> Current {
        Current {
            files: entries.into_iter().map(|entry| (key(&entry.file), entry)).collect(),
            limits,
            digests: OnceCell::new(),
            known: RefCell::default(),
        }
    }
}

impl Library {
    /// Whether the file of a document holds the very bytes that were indexed. Each file is read once for this; one that does
    /// not is told among the skipped, and is indexed anew when the library is opened next.
    pub fn is_current(&self, document: &Document) -> Result<bool, DocumentsError> {
        let file = &document.source.file;
        if let Some(known) = self.current.known.borrow().get(file) {
            return Ok(*known);
        }
        let digests = match self.current.digests.get() {
            Some(digests) => digests,
            None => {
                let digests = self.opened.manifest().map_err(|error| self.failed(&error))?;
                self.current.digests.get_or_init(|| digests)
            }
        };
        let key = key(file);
        let digest = digests.get(&key).copied();
        let is_current = self.current.files.get(&key).is_some_and(|entry| {
            read::bytes(entry, &self.current.limits)
                .is_ok_and(|raw| Some(raw.digest) == digest && raw.sha256 == document.source.sha256)
        });
        if !is_current {
            self.forget(key);
        }
        self.current.known.borrow_mut().insert(file.clone(), is_current);
        Ok(is_current)
    }

    /// Files that were found changed since the library was opened; they count for nothing.
    pub fn changed(&self) -> Vec<Skipped> {
        let reason = "it no longer holds what was indexed, so it is no evidence in this run; run again";
        let known = self.current.known.borrow();
        let changed = known.iter().filter(|(_, is_current)| !**is_current);
        changed.map(|(file, _)| Skipped { file: file.clone(), reason: reason.to_string() }).collect()
    }

    /// Takes back the stamp of a file, so that the next opening reads it. Where another process changes the index it is left
    /// to that one.
    fn forget(&self, key: u64) {
        let Place::Folder(folder) = &self.place else { return };
        let Some(home) = folder.parent() else { return };
        let at_once = AtomicBool::new(true);
        if let Ok(Some(_lock)) = store::lock(&home.join(LOCK), &at_once, &mut || ()) {
            let path: &Path = &home.join(STAMPS);
            let mut stamps = stamps::read(path);
            if stamps.remove(&key).is_some() {
                // Without it the file is noticed again, and told again.
                let _ = stamps::write(path, &stamps);
            }
        }
    }
}
