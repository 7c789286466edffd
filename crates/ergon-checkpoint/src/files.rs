//! Opening files without trusting what stands at a path.

use crate::CheckpointError;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Opens a regular file for reading. A pipe, a device or a folder is refused before it is opened, because opening a
/// pipe waits for a writer that may never come.
pub(crate) fn open_regular(path: &Path) -> Result<File, CheckpointError> {
    let found = std::fs::metadata(path).map_err(|reason| CheckpointError::io(path, reason))?;
    if found.is_dir() {
        return Err(CheckpointError::not_a_model(path, "is a folder, expected a file"));
    }
    if !found.is_file() {
        return Err(CheckpointError::not_a_model(path, "is no regular file (a pipe, socket or device)"));
    }
    File::open(path).map_err(|reason| CheckpointError::io(path, reason))
}

/// Opens a regular file so that reads go past the page cache.
#[cfg(target_os = "linux")]
pub(crate) fn open_direct(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    std::fs::OpenOptions::new().read(true).custom_flags(direct).open(path)
}

/// Whether both are the same file, whatever their names.
#[cfg(unix)]
pub(crate) fn is_same(a: &File, b: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    matches!((place(a), place(b)), (Ok(a), Ok(b)) if a == b)
}

/// Nothing is opened twice where this is not told.
#[cfg(not(unix))]
pub(crate) fn is_same(_: &File, _: &File) -> bool {
    false
}

/// Elsewhere there is no such door.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open_direct(_: &Path) -> std::io::Result<File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The whole of a file of at most `limit_bytes`.
pub(crate) fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, CheckpointError> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    // One byte past the limit tells a file that is too long from one that just fits, whatever its metadata says.
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|reason| CheckpointError::io(path, reason))?;
    if bytes.len() as u64 > limit_bytes {
        let limit = ergon_types::ByteSize(limit_bytes);
        return Err(CheckpointError::not_a_model(
            path,
            format!("is larger than {limit}, the most such a file may have"),
        ));
    }
    Ok(bytes)
}

/// Whether something stands at a path (a dangling link does not count, a file we may not read does).
pub(crate) fn exists(path: &Path) -> Result<bool, CheckpointError> {
    path.try_exists().map_err(|reason| CheckpointError::io(path, reason))
}

/// The files of a folder whose name ends in `suffix`, sorted by name.
pub(crate) fn list_with_suffix(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>, CheckpointError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|reason| CheckpointError::io(folder, reason))? {
        let entry = entry.map_err(|reason| CheckpointError::io(folder, reason))?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(suffix)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
