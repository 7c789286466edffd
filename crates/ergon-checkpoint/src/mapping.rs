//! Memory-mapped files and shared views of them. The only file of this crate with `unsafe`.
#![allow(unsafe_code)]

use crate::{CheckpointError, files};
use std::{fs::File, io, ops::Deref, ops::Range, path::Path, sync::Arc};

/// The bytes of one file (mapped) or of a buffer in memory.
#[derive(Debug)]
enum Mapping {
    File(memmap2::Mmap),
    Memory(Vec<u8>),
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Mapping::File(map) => map,
            Mapping::Memory(bytes) => bytes,
        }
    }
}

/// A shared view of some bytes of a mapped file: cheap to clone, keeps the mapping alive, copies nothing.
///
/// The start has no particular alignment.
#[derive(Clone)]
pub struct TensorBytes {
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

impl TensorBytes {
    /// Maps a whole regular file for reading.
    pub(crate) fn open(path: &Path) -> Result<TensorBytes, CheckpointError> {
        let file = files::open_regular(path)?;
        let io_error = |reason| CheckpointError::io(path, reason);
        if file.metadata().map_err(io_error)?.len() == 0 {
            return Err(CheckpointError::not_a_model(path, "is empty"));
        }
        TensorBytes::map(&file).map_err(io_error)
    }

    fn map(file: &File) -> io::Result<TensorBytes> {
        // SAFETY: the map is private and read-only. If another process shortens or rewrites the file while it is
        // mapped, reads give changed bytes or the process is killed by SIGBUS; no Rust code ever writes through it.
        // Every loader that maps weights accepts this, and the weights of a model in use are not edited in place.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
        let range = 0..map.len();
        Ok(TensorBytes { mapping: Arc::new(Mapping::File(map)), range })
    }

    /// Takes over bytes that are already in memory.
    pub fn from_vec(bytes: Vec<u8>) -> TensorBytes {
        let range = 0..bytes.len();
        TensorBytes { mapping: Arc::new(Mapping::Memory(bytes)), range }
    }

    /// The part `range` (bytes, relative to this view); `None` if it does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> Option<TensorBytes> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        Some(TensorBytes { mapping: Arc::clone(&self.mapping), range: start..end })
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping[self.range.clone()]
    }
}

impl std::fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorBytes({} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_inside() {
        let bytes = TensorBytes::from_vec((0..10).collect());
        let part = bytes.slice(2..8).and_then(|part| part.slice(1..3)).unwrap();
        assert_eq!(&part[..], [3, 4]);
        assert!(part.slice(1..3).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "the case that must be refused")]
        let reversed = part.slice(2..1);
        assert!(reversed.is_none());
        assert!(bytes.slice(0..usize::MAX).is_none());
    }
}
