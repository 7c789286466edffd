//! Choosing a place for the index, opening it there, and mending it.

use std::path::{Path, PathBuf};

use super::{
    LibraryOptions, Place, Progress, Updated,
    home::{self, FOLDER, LOCK, STAMPS},
    stamps,
    store::{self, Lock, Opened},
    update::{self, Outcome, Plan},
};
use crate::documents::{DocumentsError, Skipped, walk::Entry};

/// A folder's files, about to be opened.
pub(super) struct Opening<'o> {
    pub(super) entries: Vec<Entry>,
    pub(super) options: &'o LibraryOptions,
}

/// The index, where it lies, the files that cannot be read now, and what was changed.
type Ready = (Place, Opened, Vec<Skipped>, Updated);

impl Opening<'_> {
    /// Opens the index in `home`, or where it can be kept instead.
    pub(super) fn open(
        &self,
        home: PathBuf,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Ready, DocumentsError> {
        let mut homes = vec![home];
        homes.extend(self.options.fallback.clone().filter(|_| self.options.home.is_none()));
        for home in homes {
            match home::prepare(&home, self.options.home.is_some()) {
                Ok(()) => return self.on_disk(&home, report),
                // A place that was asked for is not silently another one.
                Err(unfit) if self.options.home.is_some() => {
                    return Err(DocumentsError::Place { path: home, reason: unfit.to_string() });
                }
                Err(unfit) => report(Progress::Elsewhere { why: unfit.to_string() }),
            }
        }
        self.in_memory(report)
    }

    fn on_disk(&self, home: &Path, report: &mut dyn FnMut(Progress)) -> Result<Ready, DocumentsError> {
        let folder = home.join(FOLDER);
        let failed = |reason: String| DocumentsError::Index { place: folder.display().to_string(), reason };
        let place = Place::Folder(folder.clone());
        if let Some(opened) = self.unchanged(home, &folder) {
            return Ok((place, opened, Vec::new(), Updated::default()));
        }
        let _lock = self.lock(home, report)?;
        // Only the holder of the lock may say that what it sees is damage and no change under way.
        let begun = folder.exists();
        let opened = match opened_here(home, &folder) {
            Ok(opened) => opened,
            Err(why) => {
                if begun {
                    report(Progress::Rebuilding { why });
                }
                let opened = store::begin(&folder).map_err(&failed)?;
                home::renew_mark(home).map_err(&failed)?;
                opened
            }
        };
        let manifest = opened.manifest().map_err(|error| failed(error.to_string()))?;
        let stamps_file = home.join(STAMPS);
        let mut stamps = stamps::read(&stamps_file);
        let plan = Plan::new(&self.entries, &manifest, &stamps);
        let mut updated = Updated::default();
        let outcome =
            update::update(&opened, &plan, &manifest, &mut stamps, self.options, report, &mut updated);
        // Stamps spare work next time, no more: a full disk shows where it matters.
        let _ = stamps::write(&stamps_file, &stamps);
        match outcome.map_err(|error| failed(error.to_string()))? {
            Outcome::Stopped => Err(DocumentsError::Interrupted),
            Outcome::Done(unread) => {
                opened.reader.reload().map_err(|error| failed(error.to_string()))?;
                Ok((place, opened, unread, updated))
            }
        }
    }

    /// The index if it is whole and says what the folder says; needs no lock.
    fn unchanged(&self, home: &Path, folder: &Path) -> Option<Opened> {
        let opened = opened_here(home, folder).ok()?;
        let manifest = opened.manifest().ok()?;
        let stamps = stamps::read(&home.join(STAMPS));
        Plan::new(&self.entries, &manifest, &stamps).is_empty().then_some(opened)
    }

    fn lock(&self, home: &Path, report: &mut dyn FnMut(Progress)) -> Result<Lock, DocumentsError> {
        match store::lock(&home.join(LOCK), &self.options.stop, &mut || report(Progress::Waiting)) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(DocumentsError::Interrupted),
            Err(error) => Err(DocumentsError::Place { path: home.to_path_buf(), reason: error.to_string() }),
        }
    }

    fn in_memory(&self, report: &mut dyn FnMut(Progress)) -> Result<Ready, DocumentsError> {
        let failed = |reason: String| DocumentsError::Index { place: "memory".to_string(), reason };
        let opened = store::in_memory().map_err(failed)?;
        let (manifest, mut stamps) = Default::default();
        let plan = Plan::new(&self.entries, &manifest, &stamps);
        let mut updated = Updated::default();
        let outcome =
            update::update(&opened, &plan, &manifest, &mut stamps, self.options, report, &mut updated)
                .map_err(|error| failed(error.to_string()))?;
        match outcome {
            Outcome::Stopped => Err(DocumentsError::Interrupted),
            Outcome::Done(unread) => {
                opened.reader.reload().map_err(|error| failed(error.to_string()))?;
                Ok((Place::Memory, opened, unread, updated))
            }
        }
    }
}

/// Opens the index if it is whole and was built in this folder.
fn opened_here(home: &Path, folder: &Path) -> Result<Opened, String> {
    match home::is_made_here(home) {
        true => store::open(folder),
        false => Err("it was not built in this folder".to_string()),
    }
}
