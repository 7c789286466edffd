//! The index of a folder: kept on disk, brought up to date when it is opened, searched by words.
//!
//! A change is one commit of the search library: it is there as a whole or not at all, whenever the process dies. Whoever
//! changes the index holds a lock that the system frees when its holder ends; whoever only searches needs none. Every open
//! checks the checksum of every file, and what is damaged, or was not built in its folder, is built again from the documents. The
//! files that are cited are read again before they are.

mod current;
mod home;
mod opening;
mod schema;
mod search;
mod stamps;
mod store;
mod update;

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
};

use tantivy::Searcher;

use super::{Document, DocumentsError, MarksReader, ReadLimits, Skipped, walk::walk};
use current::Current;
use opening::Opening;
use store::Opened;

/// How a folder is opened.
#[derive(Clone, Debug)]
pub struct LibraryOptions {
    /// Folder in which the index is kept; `.ergon` inside the documents if none is named.
    pub home: Option<PathBuf>,
    /// Where to keep it if the documents' folder cannot be written; in memory if this is nothing or fails too.
    pub fallback: Option<PathBuf>,
    /// Files and folders among the documents that are none: a list of claims, a report to be written.
    pub except: Vec<PathBuf>,
    /// What a single document may be.
    pub limits: ReadLimits,
    /// Reads `FILE.ergon.json`.
    pub sidecar: Option<MarksReader>,
    /// Set when the work shall end.
    pub stop: Arc<AtomicBool>,
    /// Now, in nanoseconds since 1970: files younger than two seconds are read again next time.
    pub now_ns: i64,
}

/// What opening a folder is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process changes the index.
    Waiting,
    /// The index cannot be kept where it usually is.
    Elsewhere {
        /// What is in the way.
        why: String,
    },
    /// The index was damaged and is built again.
    Rebuilding {
        /// What was wrong.
        why: String,
    },
    /// Files looked at so far.
    Reading {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// Where an index is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this folder.
    Folder(PathBuf),
    /// In memory, since no folder could be written: it is built again by every run.
    Memory,
}

/// What opening a folder changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Files that were read.
    pub read: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Sentences in them.
    pub sentences: usize,
    /// Files that are gone.
    pub removed: usize,
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Files, with those that gave no document.
    pub files: usize,
    /// Sentences.
    pub sentences: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// A sentence that a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its document.
    pub document: Rc<Document>,
    /// Its number there.
    pub sentence: usize,
    /// BM25.
    pub score: f32,
}

/// A folder of documents, ready to be searched.
pub struct Library {
    opened: Opened,
    searcher: Searcher,
    place: Place,
    skipped: Vec<Skipped>,
    updated: Updated,
    files: usize,
    cache: RefCell<HashMap<u64, Rc<Document>>>,
    current: Current,
}

impl Library {
    /// Opens a folder and brings its index up to date.
    pub fn open(
        root: &Path,
        options: &LibraryOptions,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Library, DocumentsError> {
        let home = options.home.clone().unwrap_or_else(|| root.join(".ergon"));
        let except: Vec<PathBuf> = options.except.iter().cloned().chain([home.clone()]).collect();
        let (entries, skipped) = walk(root, &except)?;
        let opening = Opening { entries, options };
        let (place, opened, unread, updated) = opening.open(home, report)?;
        let current = Current::new(opening.entries, options.limits.clone());
        let mut library = Library {
            searcher: opened.searcher(),
            opened,
            place,
            skipped,
            updated,
            files: 0,
            cache: RefCell::default(),
            current,
        };
        library.skipped.extend(unread);
        let without_document = library.records().map_err(|error| library.failed(&error))?;
        library.skipped.extend(without_document);
        Ok(library)
    }

    /// Files that gave no document, and those that were found changed while the library was used, by name.
    pub fn skipped(&self) -> Vec<Skipped> {
        let mut skipped = self.skipped.clone();
        skipped.extend(self.changed());
        skipped.sort_by(|a, b| a.file.cmp(&b.file));
        skipped
    }

    /// Where the index is kept.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What opening it changed.
    pub fn updated(&self) -> &Updated {
        &self.updated
    }

    /// How much it holds.
    pub fn size(&self) -> Size {
        let bytes = match &self.place {
            Place::Folder(path) => store::bytes(path),
            Place::Memory => 0,
        };
        let sentences = self.searcher.num_docs().saturating_sub(self.files as u64);
        Size { files: self.files, sentences, bytes }
    }

    fn failed(&self, error: &tantivy::TantivyError) -> DocumentsError {
        DocumentsError::Index { place: self.place_name(), reason: error.to_string() }
    }

    fn place_name(&self) -> String {
        match &self.place {
            Place::Folder(path) => path.display().to_string(),
            Place::Memory => "memory".to_string(),
        }
    }
}
