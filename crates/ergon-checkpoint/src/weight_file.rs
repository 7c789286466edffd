//! Reading parts of a weight file into memory of our own, past the page cache where the system can.
//!
//! A mapped file lends its bytes for as long as the kernel cares to keep them: how much of it is in memory, and when a
//! touch waits for the disk, is not ours to say. Whoever must keep to a budget reads instead. Three ways, in this order:
//!
//! 1. what the page cache holds already is copied from it: another process may have put it there. (`mincore` tells; a read
//!    with `RWF_NOWAIT` would set off reading into the page cache);
//! 2. `O_DIRECT`: from the disk into our buffer, and the page cache stays as it is;
//! 3. a plain read where the file system has no `O_DIRECT`, after which the kernel is told to drop those pages.

use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use crate::{CheckpointError, TensorBytes, files, mapping::PageBuffer};

/// Buffers, offsets and lengths of direct reads are multiples of this: a page, and at least the block of any disk we know.
pub const PAGE_BYTES: usize = 4096;

/// A file of weights that is open for reads at any place, from any thread.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: File,
    /// The same file opened past the page cache; `None` if the system refuses.
    direct: OnceLock<Option<File>>,
    /// Whether the system tells us what the page cache holds of it.
    shows_page_cache: bool,
    /// Length and time of the last change when it was opened.
    version: (u64, Option<SystemTime>),
}

/// Where the bytes of a read came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The page cache had all of them.
    PageCache,
    /// The disk had to be asked.
    Disk,
}

/// A range of bytes of a weight file.
#[derive(Clone, Debug)]
pub struct Extent {
    file: Arc<WeightFile>,
    /// The whole file, mapped.
    map: TensorBytes,
    start: u64,
    len: usize,
}

impl WeightFile {
    /// Takes over an open regular file.
    pub(crate) fn new(path: &Path, file: File) -> io::Result<WeightFile> {
        let version = version(&file)?;
        let shows_page_cache = crate::mapping::shows_page_cache(&file);
        Ok(WeightFile { path: path.to_path_buf(), file, direct: OnceLock::new(), shows_page_cache, version })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.version.0
    }

    /// Whether it had no bytes when it was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Drops what the page cache holds of the file, as far as no one has it mapped. A file that was just written goes to the
    /// disk first.
    pub fn forget_page_cache(&self) {
        // Without it, pages that are not on the disk yet stay.
        let _ = self.file.sync_data();
        drop_cached(&self.file, 0, self.len());
    }

    fn direct(&self) -> Option<&File> {
        let open = || {
            // Another file may have the name by now.
            let direct = files::open_direct(&self.path).ok()?;
            files::is_same(&self.file, &direct).then_some(direct)
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// Fills `buffer` from `start`, both whole pages; at the end of the file the rest of the buffer is left as it is.
    fn read(&self, start: u64, buffer: &mut [u8], wanted: usize, cached: bool) -> io::Result<ReadFrom> {
        if cached {
            read_until(&self.file, start, &mut buffer[..wanted], wanted)?;
            return Ok(ReadFrom::PageCache);
        }
        if let Some(direct) = self.direct()
            && read_until(direct, start, buffer, wanted).is_ok()
        {
            return Ok(ReadFrom::Disk);
        }
        read_until(&self.file, start, buffer, wanted)?;
        drop_cached(&self.file, start, wanted as u64);
        Ok(ReadFrom::Disk)
    }
}

impl Extent {
    pub(crate) fn new(file: Arc<WeightFile>, map: TensorBytes, start: u64, len: usize) -> Extent {
        Extent { file, map, start, len }
    }

    /// The place of its first byte in the file.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The file.
    pub fn file(&self) -> &WeightFile {
        &self.file
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "an extent is the bytes of a tensor, and none is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the bytes of `next` follow these in the same file, up to `gap` bytes later.
    pub fn is_followed_by(&self, next: &Extent, gap: u64) -> bool {
        let end = self.start + self.len as u64;
        Arc::ptr_eq(&self.file, &next.file) && (end..=end + gap).contains(&next.start)
    }

    /// Whether all bytes of `part` are among these.
    pub fn contains(&self, part: &Extent) -> bool {
        let (end, part_end) = (self.start + self.len as u64, part.start + part.len as u64);
        Arc::ptr_eq(&self.file, &part.file) && self.start <= part.start && part_end <= end
    }

    /// Both extents and what lies between, which [`Extent::is_followed_by`] has allowed.
    pub fn joined(&self, next: &Extent) -> Extent {
        let len = next.start + next.len as u64 - self.start;
        Extent { len: len as usize, ..self.clone() }
    }

    /// Bytes from the start of `self` to that of `part`, which lies inside.
    pub fn offset_of(&self, part: &Extent) -> usize {
        (part.start - self.start) as usize
    }

    /// The pages that hold it, in bytes: what a buffer needs to take it.
    pub fn page_bytes(&self) -> usize {
        let lead = (self.start % PAGE_BYTES as u64) as usize;
        (lead + self.len).next_multiple_of(PAGE_BYTES)
    }

    /// Reads the pages that hold it into `buffer` from `at` on, a whole page; where in the buffer its bytes are then, and
    /// where they came from.
    ///
    /// # Errors
    /// The file has changed since it was opened or is too short now, or the disk refuses.
    ///
    /// # Panics
    /// If the buffer has no room for [`Extent::page_bytes`] from `at` on.
    pub fn read(
        &self,
        buffer: &mut PageBuffer,
        at: usize,
    ) -> Result<(Range<usize>, ReadFrom), CheckpointError> {
        let path = self.file.path();
        let io_error = |reason| CheckpointError::io(path, reason);
        let check_version = || {
            if version(&self.file.file).map_err(io_error)? == self.file.version {
                return Ok(());
            }
            let what = "has been changed since it was opened; load the model again";
            Err(CheckpointError::not_a_model(path, what))
        };
        check_version()?;
        let lead = (self.start % PAGE_BYTES as u64) as usize;
        let pages = &mut buffer[at..at + self.page_bytes()];
        let first = self.start as usize;
        let cached = self.file.shows_page_cache && self.map.in_page_cache(first..first + self.len);
        let read = self.file.read(self.start - lead as u64, pages, lead + self.len, cached);
        // A change that came in between tells more than what it did to the read.
        check_version()?;
        let from = read.map_err(io_error)?;
        Ok((at + lead..at + lead + self.len, from))
    }

    /// Its bytes in memory of their own.
    ///
    /// # Errors
    /// As [`Extent::read`], or memory is refused.
    pub(crate) fn to_memory(&self) -> Result<(PageBuffer, Range<usize>), CheckpointError> {
        let mut buffer = PageBuffer::new(self.page_bytes())
            .map_err(|reason| CheckpointError::io(self.file.path(), reason))?;
        let (range, _) = self.read(&mut buffer, 0)?;
        Ok((buffer, range))
    }
}

fn version(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let found = file.metadata()?;
    // A file system without times leaves the length to tell a change.
    Ok((found.len(), found.modified().ok()))
}

/// Reads until `wanted` bytes are there. The buffer may be longer: a direct read asks for whole pages, and gets less of the
/// file's last one.
fn read_until(file: &File, start: u64, buffer: &mut [u8], wanted: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < wanted {
        match read_at(file, &mut buffer[filled..], start + filled as u64) {
            Ok(0) => {
                let what = format!("ends at byte {}, where weights should follow", start + filled as u64);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, start)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, start)
}

/// Asks the kernel to drop cached pages of the range. It may decline, which costs memory that it takes back when needed.
#[cfg(target_os = "linux")]
fn drop_cached(file: &File, start: u64, len: u64) {
    let _ = rustix::fs::fadvise(file, start, std::num::NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_cached(_: &File, _: u64, _: u64) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn mapped(bytes: &[u8]) -> (tempfile::TempDir, TensorBytes) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, bytes).unwrap();
        let mapped = TensorBytes::open(&path).unwrap();
        (folder, mapped)
    }

    #[test]
    fn extents_come_back_whatever_their_place() {
        let bytes: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
        let (_folder, mapped) = mapped(&bytes);
        for (start, len) in [(0, 1), (1, 4096), (4095, 2), (8192, 4096), (39_000, 1000), (39_999, 1)] {
            let extent = mapped.slice(start..start + len).unwrap().extent().unwrap();
            for cached in [true, false] {
                if !cached {
                    mapped.forget_pages();
                    extent.file().forget_page_cache();
                }
                let (buffer, range) = extent.to_memory().unwrap();
                assert_eq!(buffer[range], bytes[start..start + len], "{start} {len}");
            }
        }
    }

    #[test]
    fn neighbours_are_joined() {
        let (_folder, mapped) = mapped(&[7; 9000]);
        let extent = |start, len| mapped.slice(start..start + len).unwrap().extent().unwrap();
        let (first, second) = (extent(100, 50), extent(160, 40));
        assert!(first.is_followed_by(&second, 10) && !first.is_followed_by(&second, 9));
        assert!(!second.is_followed_by(&first, 1 << 30));
        let both = first.joined(&second);
        assert_eq!((both.len(), both.offset_of(&second)), (100, 60));
        assert!(both.contains(&second) && !first.contains(&second));
    }

    #[test]
    fn a_file_that_changed_or_ends_early_is_named() {
        let (folder, mapped) = mapped(&[1; 9000]);
        let path = folder.path().join("weights");
        let extent = mapped.extent().unwrap();
        let beyond = Extent { start: 8000, len: 2000, ..extent.clone() };
        let error = beyond.to_memory().unwrap_err().to_string();
        assert!(error.contains("weights") && error.contains("ends at byte 9000"), "{error}");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        let error = extent.to_memory().unwrap_err().to_string();
        assert!(error.contains("weights") && error.contains("changed since"), "{error}");
    }
}
