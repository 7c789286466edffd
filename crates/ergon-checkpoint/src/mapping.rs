//! Memory-mapped files and shared views of them. The only file of this crate with `unsafe`.
#![allow(unsafe_code)]

use crate::{
    CheckpointError, files,
    weight_file::{Extent, PAGE_BYTES, WeightFile},
};
use std::{
    io,
    ops::{Deref, DerefMut, Range},
    path::Path,
    sync::Arc,
};

/// The bytes of one file (mapped) or of a buffer in memory.
#[derive(Debug)]
enum Mapping {
    File { map: memmap2::Mmap, file: Arc<WeightFile> },
    Memory(Vec<u8>),
    Pages(PageBuffer),
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Mapping::File { map, .. } => map,
            Mapping::Memory(bytes) => bytes,
            Mapping::Pages(bytes) => bytes,
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
        let file = WeightFile::new(path, file).map_err(io_error)?;
        if file.is_empty() {
            return Err(CheckpointError::not_a_model(path, "is empty"));
        }
        TensorBytes::map(file).map_err(io_error)
    }

    fn map(file: WeightFile) -> io::Result<TensorBytes> {
        // SAFETY: the map is private and read-only. If another process shortens or rewrites the file while it is
        // mapped, reads give changed bytes or the process is killed by SIGBUS; no Rust code ever writes through it.
        // Every loader that maps weights accepts this, and the weights of a model in use are not edited in place.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file.file())? };
        let range = 0..map.len();
        Ok(TensorBytes { mapping: Arc::new(Mapping::File { map, file: Arc::new(file) }), range })
    }

    /// Where these bytes lie in their file; `None` if they are in memory already.
    pub fn extent(&self) -> Option<Extent> {
        match &*self.mapping {
            Mapping::File { map, file } => {
                let whole = TensorBytes { mapping: Arc::clone(&self.mapping), range: 0..map.len() };
                Some(Extent::new(Arc::clone(file), whole, self.range.start as u64, self.range.len()))
            }
            Mapping::Memory(_) | Mapping::Pages(_) => None,
        }
    }

    /// The same bytes in memory of their own, read past the page cache where the system can.
    ///
    /// # Errors
    /// They cannot be read, or memory is refused.
    pub fn to_memory(&self) -> Result<TensorBytes, CheckpointError> {
        let Some(extent) = self.extent() else { return Ok(self.clone()) };
        let (pages, range) = extent.to_memory()?;
        Ok(TensorBytes { mapping: Arc::new(Mapping::Pages(pages)), range })
    }

    /// Whether the page cache holds all pages of `range` (bytes, relative to this view); false where the system does not tell.
    pub(crate) fn in_page_cache(&self, range: Range<usize>) -> bool {
        #[cfg(target_os = "linux")]
        if let (Mapping::File { map, .. }, Some(part)) = (&*self.mapping, self.slice(range))
            && !part.is_empty()
        {
            // The map starts at a page.
            let first = part.range.start / PAGE_BYTES * PAGE_BYTES;
            let mut pages = vec![0u8; (part.range.end - first).div_ceil(PAGE_BYTES)];
            let start = map[first..].as_ptr().cast_mut().cast();
            // SAFETY: the pages lie inside the map, which this view keeps alive, and there is a byte for each of them. The
            // call reads no page and changes none.
            let told = unsafe { libc::mincore(start, part.range.end - first, pages.as_mut_ptr()) };
            return told == 0 && pages.iter().all(|page| page & 1 == 1);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
        false
    }

    /// Whether both are views of the same mapping.
    pub(crate) fn shares_mapping(&self, other: &TensorBytes) -> bool {
        Arc::ptr_eq(&self.mapping, &other.mapping)
    }

    /// Gives back what of the whole mapped file is in memory on our account. It is read again when it is touched.
    pub(crate) fn forget_pages(&self) {
        #[cfg(unix)]
        if let Mapping::File { map, .. } = &*self.mapping {
            // SAFETY: dropping pages of a private file mapping that is never written through loses nothing: the next
            // touch reads the same bytes from the file again.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
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

/// Whether `mincore` tells the truth about a file. Of files that belong to somebody else, Linux calls every page present, so
/// that nobody learns what others read.
pub(crate) fn shows_page_cache(file: &std::fs::File) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        // SAFETY: the call takes nothing, changes nothing and cannot fail.
        let user = unsafe { libc::geteuid() };
        file.metadata().is_ok_and(|found| user == 0 || found.uid() == user)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// Zeroed memory straight from the system: whole pages, which take room only once they are written, and all go back when
/// it is dropped. (An allocator keeps what is freed, so that a budget could not be kept to the byte.)
#[derive(Debug)]
pub struct PageBuffer(memmap2::MmapMut);

impl PageBuffer {
    /// At least `bytes`, in whole pages; at least one.
    ///
    /// # Errors
    /// The system has no room.
    pub fn new(bytes: usize) -> io::Result<PageBuffer> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE_BYTES);
        memmap2::MmapMut::map_anon(bytes.ok_or(io::ErrorKind::OutOfMemory)?).map(PageBuffer)
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Gives memory that was freed back to the system where the allocator would keep it for later (glibc's does); elsewhere
/// nothing happens.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes the allocator's own locks and touches no memory in use.
    unsafe {
        libc::malloc_trim(0);
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
