//! Whether files still hold what the index says of them: those that are to be cited are read once more.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
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
    digests: RefCell<Option<HashMap<u64, u64>>>,
    known: RefCell<HashMap<u64, bool>>,
    changed: RefCell<BTreeSet<String>>,
}

impl Current {
    pub(super) fn new(entries: Vec<Entry>, limits: ReadLimits) -> Current {
        Current {
            files: entries.into_iter().map(|entry| (key(&entry.file), entry)).collect(),
            limits,
            digests: RefCell::default(),
            known: RefCell::default(),
            changed: RefCell::default(),
        }
    }
}

impl Library {
    /// Whether the file of a document holds the very bytes that were indexed. Each file is read once for this; one that does
    /// not is told among the skipped, and is indexed anew when the library is opened next.
    pub fn is_current(&self, document: &Document) -> Result<bool, DocumentsError> {
        let file = &document.source.file;
        let key = key(file);
        if let Some(known) = self.current.known.borrow().get(&key) {
            return Ok(*known);
        }
        if self.current.digests.borrow().is_none() {
            let digests = self.opened.manifest().map_err(|error| self.failed(&error))?;
            self.current.digests.replace(Some(digests));
        }
        let digest = self.current.digests.borrow().as_ref().and_then(|digests| digests.get(&key).copied());
        let is_current = self.current.files.get(&key).is_some_and(|entry| {
            read::bytes(entry, &self.current.limits)
                .is_ok_and(|raw| Some(raw.digest) == digest && raw.sha256 == document.source.sha256)
        });
        if !is_current {
            self.current.changed.borrow_mut().insert(file.clone());
            self.forget(key);
        }
        self.current.known.borrow_mut().insert(key, is_current);
        Ok(is_current)
    }

    /// Files that were found changed since the library was opened; they count for nothing.
    pub fn changed(&self) -> Vec<Skipped> {
        let reason = "it no longer holds what was indexed, so it is no evidence in this run; run again";
        let skipped = |file: &String| Skipped { file: file.clone(), reason: reason.to_string() };
        self.current.changed.borrow().iter().map(skipped).collect()
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
