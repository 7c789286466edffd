//! The index on disk: opened if it is whole, its files removed and begun anew if it is not.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, directory::MmapDirectory};

use super::{
    home,
    schema::{self, Fields, VERSION},
};
use crate::documents::READER_THREAD;

/// How often a taken lock is asked for again.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// An index that was found whole.
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) reader: IndexReader,
    pub(super) fields: Fields,
}

impl Opened {
    pub(super) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Of each file that is in the index, by key: the digest of its bytes.
    pub(super) fn manifest(&self) -> tantivy::Result<HashMap<u64, u64>> {
        let mut files = HashMap::new();
        for segment in self.searcher().segment_readers() {
            let columns = segment.fast_fields();
            let (Some(keys), Some(digests)) =
                (columns.column_opt::<u64>("key")?, columns.column_opt::<u64>("digest")?)
            else {
                continue;
            };
            for doc in segment.doc_ids_alive() {
                if let (Some(key), Some(digest)) = (keys.first(doc), digests.first(doc)) {
                    files.insert(key, digest);
                }
            }
        }
        Ok(files)
    }
}

/// Opens what lies in `folder`, checks every byte of it against its checksums, and says what is wrong with it if anything is.
pub(super) fn open(folder: &Path) -> Result<Opened, String> {
    // The library panics on some damaged files; the thread's name keeps the panic hook quiet.
    thread::scope(|scope| {
        let opening = thread::Builder::new()
            .name(READER_THREAD.to_string())
            .spawn_scoped(scope, || checked(folder))
            .map_err(|error| error.to_string())?;
        opening.join().unwrap_or_else(|_| Err("its files are damaged".to_string()))
    })
}

fn checked(folder: &Path) -> Result<Opened, String> {
    let told = |error: tantivy::TantivyError| error.to_string();
    let directory = MmapDirectory::open(folder).map_err(|error| error.to_string())?;
    let mut index = Index::open(directory).map_err(told)?;
    let (schema, fields) = schema::schema();
    if index.schema() != schema || index.load_metas().map_err(told)?.payload.as_deref() != Some(VERSION) {
        return Err("it is of another version or was never finished".to_string());
    }
    if let Some(damaged) = index.validate_checksum().map_err(told)?.iter().next() {
        return Err(format!("{} is damaged", damaged.display()));
    }
    index.set_tokenizers(schema::tokenizers());
    reading(index, fields).map_err(told)
}

fn reading(index: Index, fields: Fields) -> tantivy::Result<Opened> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    Ok(Opened { index, reader, fields })
}

/// Removes the files of an index from `folder`, and no others.
fn clear(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(home::is_index_file) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Begins an empty index in `folder`, in place of one that lies there.
pub(super) fn begin(folder: &Path) -> Result<Opened, String> {
    clear(folder).and_then(|()| fs::create_dir_all(folder)).map_err(|error| error.to_string())?;
    let told = |error: tantivy::TantivyError| error.to_string();
    let (schema, fields) = schema::schema();
    let builder = Index::builder().schema(schema).tokenizers(schema::tokenizers());
    let index = builder.create_in_dir(folder).map_err(told)?;
    reading(index, fields).map_err(told)
}

/// An empty index in memory.
pub(super) fn in_memory() -> Result<Opened, String> {
    let told = |error: tantivy::TantivyError| error.to_string();
    let (schema, fields) = schema::schema();
    let index =
        Index::builder().schema(schema).tokenizers(schema::tokenizers()).create_in_ram().map_err(told)?;
    reading(index, fields).map_err(told)
}

/// The right to change the index; the system takes it back when the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

/// Waits for the lock; nothing if `stop` is set meanwhile. `waiting` is called once if another process has it.
pub(super) fn lock(path: &Path, stop: &AtomicBool, waiting: &mut dyn FnMut()) -> io::Result<Option<Lock>> {
    let file = home::options(File::options().create(true).truncate(false).write(true)).open(path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => {
                if stop.load(Ordering::SeqCst) {
                    return Ok(None);
                }
                if !std::mem::replace(&mut told, true) {
                    waiting();
                }
                thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Bytes of all files in `folder`.
pub(super) fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
