//! A streaming writer of safetensors files.
//!
//! All tensors are declared first, so the header and every offset are known before the first weight is computed; then
//! their bytes come in any order, in pieces of any size. The file appears under its name only when it is complete.
//!
//! Alignment: the header is padded with spaces (which the format allows) so that the data starts at a multiple of 64
//! bytes, and the tensors are laid out by falling power of two in their length. Every tensor whose length is a multiple
//! of 64 therefore starts at one, and any other starts at least at the largest power of two dividing its length, hence
//! aligned for its elements. No padding between tensors is needed, which the format would forbid.
//!
//! Tensors that are read one by one from the disk ([`TensorSpec::read_alone`]: routed experts) come first, in the order in
//! which they were declared, from a multiple of a page on; the header names their checksums. The others keep their alignment
//! where those are multiples of 64 bytes together, as all matrices of published models are.

use crate::safetensors::{Dtype, packed};
use crate::weight_file::PAGE_BYTES;
use ergon_types::WeightFormat;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Where the data starts and long tensors start: a cache line, and the width of the widest vector register.
const ALIGNMENT: u64 = 64;

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    name: String,
    dtype: Dtype,
    stored_shape: Vec<usize>,
    bytes: u64,
    packed: Option<String>,
    read_alone: bool,
}

impl TensorSpec {
    /// A tensor of `shape` (outermost first) stored as the safetensors type `dtype`, e.g. `I64`. `None` if the type is
    /// unknown or the size is no whole number of bytes or overflows.
    pub fn of_dtype(name: &str, dtype: &str, shape: &[usize]) -> Option<TensorSpec> {
        TensorSpec::stored(name, Dtype::from_name(dtype)?, shape.to_vec(), None)
    }

    /// A tensor of `shape` (outermost first) in one of our formats: float formats under their safetensors type, block
    /// formats in our packed form. `None` if the last extent is no whole number of blocks or the size overflows.
    pub fn of_format(name: &str, format: WeightFormat, shape: &[usize]) -> Option<TensorSpec> {
        match Dtype::of_format(format) {
            Some(dtype) => TensorSpec::stored(name, dtype, shape.to_vec(), None),
            None => {
                let stored = packed::stored_shape(format, shape)?;
                let dtype = Dtype::from_name("U8")?;
                TensorSpec::stored(name, dtype, stored, Some(packed::describe(format, shape)))
            }
        }
    }

    fn stored(
        name: &str,
        dtype: Dtype,
        stored_shape: Vec<usize>,
        packed: Option<String>,
    ) -> Option<TensorSpec> {
        let elements =
            stored_shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
        let bits = elements.checked_mul(dtype.bits)?;
        let bytes = bits.is_multiple_of(8).then_some(bits / 8)? as u64;
        Some(TensorSpec { name: name.to_string(), dtype, stored_shape, bytes, packed, read_alone: false })
    }

    /// The same tensor, to be read by itself while the model runs: beside those that were declared before and after it, and
    /// with a checksum.
    pub fn read_alone(self) -> TensorSpec {
        TensorSpec { read_alone: true, ..self }
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes it takes in the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The target exists and overwriting was not asked for.
    #[error("{}: exists already; ask for overwriting or choose another name", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason the operating system gave.
        reason: io::Error,
    },
    /// Two tensors were declared with one name, or under the name the format reserves.
    #[error("the tensor name '{name}' is declared twice or reserved")]
    Name {
        /// The name.
        name: String,
    },
    /// Bytes came for a tensor that was not declared, or more or fewer than declared.
    #[error("tensor '{name}': {given} bytes were given, {declared} declared")]
    Length {
        /// The tensor.
        name: String,
        /// Bytes given so far.
        given: u64,
        /// Bytes declared; 0 if the tensor was not.
        declared: u64,
    },
}

/// Where a tensor goes and how much of it is there.
#[derive(Debug)]
struct Slot {
    start: u64,
    bytes: u64,
    given: u64,
    checksum: Option<crc32fast::Hasher>,
}

/// A safetensors file being written; nothing appears under its final name before [`Writer::finish`], and a writer that is
/// dropped earlier leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
    at: u64,
    slots: HashMap<String, Slot>,
    /// What the header tells, in the order of the file; it is written once more when the checksums are known.
    order: Vec<TensorSpec>,
    metadata: Vec<(String, String)>,
    overwrite: bool,
}

impl Writer {
    /// Starts a file with these tensors and these `__metadata__` texts (those of the packed form are added).
    ///
    /// # Errors
    /// The target exists and `overwrite` is false or it is no regular file, a name is declared twice, or the folder cannot
    /// be written.
    pub fn create(
        path: &Path,
        tensors: &[TensorSpec],
        metadata: &[(String, String)],
        overwrite: bool,
    ) -> Result<Writer, WriteError> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists { path: path.to_path_buf() });
        }
        let mut order = tensors.to_vec();
        order.sort_by_key(|spec| {
            let alignment = spec.bytes.trailing_zeros().min(ALIGNMENT.trailing_zeros());
            (!spec.read_alone, if spec.read_alone { 0 } else { ALIGNMENT.trailing_zeros() - alignment })
        });
        let header = header(&order, metadata, |_| 0);
        let mut slots = HashMap::with_capacity(order.len());
        let mut next = header.len() as u64;
        for spec in &order {
            let checksum = spec.read_alone.then(crc32fast::Hasher::new);
            let slot = Slot { start: next, bytes: spec.bytes, given: 0, checksum };
            next += spec.bytes;
            if spec.name == "__metadata__" || slots.insert(spec.name.clone(), slot).is_some() {
                return Err(WriteError::Name { name: spec.name.clone() });
            }
        }
        let error = |reason| WriteError::Io { path: path.to_path_buf(), reason };
        let target = replaceable(path).map_err(error)?;
        let mut file = BufWriter::with_capacity(1 << 20, temporary_beside(&target).map_err(error)?);
        file.write_all(&header).map_err(error)?;
        let (at, metadata) = (header.len() as u64, metadata.to_vec());
        Ok(Writer { target, file, at, slots, order, metadata, overwrite })
    }

    /// Appends bytes to a tensor. Tensors may come in any order and may be interleaved, though whole ones are fastest.
    ///
    /// # Errors
    /// The tensor was not declared or gets more bytes than declared, or the disk refuses.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let added = bytes.len() as u64;
        let too_long = |given, declared| WriteError::Length { name: name.to_string(), given, declared };
        let slot = self.slots.get_mut(name).ok_or_else(|| too_long(added, 0))?;
        let given = slot.given.saturating_add(added);
        if given > slot.bytes {
            return Err(too_long(given, slot.bytes));
        }
        let start = slot.start + slot.given;
        let mut put = || {
            if start != self.at {
                self.file.seek(SeekFrom::Start(start))?;
            }
            self.file.write_all(bytes)
        };
        put().map_err(|reason| WriteError::Io { path: self.target.clone(), reason })?;
        self.at = start + added;
        slot.given = given;
        if let Some(checksum) = &mut slot.checksum {
            checksum.update(bytes);
        }
        Ok(())
    }

    /// Checks that every tensor is complete, brings the file to the disk and gives it its name.
    ///
    /// # Errors
    /// A tensor is not complete, the disk refuses, or the target appeared meanwhile and `overwrite` is false.
    pub fn finish(self) -> Result<(), WriteError> {
        let unfinished = self.slots.iter().filter(|(_, slot)| slot.given != slot.bytes);
        if let Some((name, slot)) = unfinished.min_by_key(|(name, _)| name.as_str()) {
            return Err(WriteError::Length { name: name.clone(), given: slot.given, declared: slot.bytes });
        }
        let Writer { target, mut file, overwrite, slots, order, metadata, .. } = self;
        let error = |reason| WriteError::Io { path: target.clone(), reason };
        if order.iter().any(|spec| spec.read_alone) {
            let checksum = |name: &str| slots[name].checksum.clone().map_or(0, crc32fast::Hasher::finalize);
            file.seek(SeekFrom::Start(0)).map_err(error)?;
            file.write_all(&header(&order, &metadata, checksum)).map_err(error)?;
        }
        let file = file.into_inner().map_err(|failed| error(failed.into_error()))?;
        file.as_file().sync_all().map_err(error)?;
        let renamed = if overwrite { file.persist(&target) } else { file.persist_noclobber(&target) };
        renamed.map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: target.clone() },
            _ => error(failed.error),
        })?;
        // The name is on the disk only when the folder is. Windows has no such call and needs none.
        if cfg!(unix) {
            File::open(folder_of(&target)).and_then(|folder| folder.sync_all()).map_err(error)?;
        }
        Ok(())
    }
}

/// Length and JSON, padded so that the data after it is aligned. It has the same length whatever the checksums are.
fn header(order: &[TensorSpec], metadata: &[(String, String)], checksum: impl Fn(&str) -> u32) -> Vec<u8> {
    let mut texts = serde_json::Map::new();
    for (key, value) in metadata {
        texts.insert(key.clone(), value.as_str().into());
    }
    if order.iter().any(|spec| spec.packed.is_some()) {
        texts.insert(packed::VERSION_KEY.to_string(), packed::VERSION.into());
    }
    let mut root = serde_json::Map::new();
    let mut offset = 0;
    for spec in order {
        if let Some(packed) = &spec.packed {
            texts.insert(format!("{}{}", packed::TENSOR_PREFIX, spec.name), packed.as_str().into());
        }
        if spec.read_alone {
            let key = format!("{}{}", packed::CHECKSUM_PREFIX, spec.name);
            texts.insert(key, format!("{:08x}", checksum(&spec.name)).into());
        }
        let end = offset + spec.bytes;
        let entry = serde_json::json!({
            "dtype": spec.dtype.name, "shape": spec.stored_shape, "data_offsets": [offset, end]
        });
        root.insert(spec.name.clone(), entry);
        offset = end;
    }
    if !texts.is_empty() {
        root.insert("__metadata__".to_string(), texts.into());
    }
    let mut json = serde_json::Value::Object(root).to_string().into_bytes();
    let alignment = if order.iter().any(|spec| spec.read_alone) { PAGE_BYTES as u64 } else { ALIGNMENT };
    let aligned = (json.len() as u64 + 8).next_multiple_of(alignment) - 8;
    json.resize(aligned as usize, b' ');
    let mut header = aligned.to_le_bytes().to_vec();
    header.extend(json);
    header
}

/// The file that a rename onto `path` may replace: the one behind a link, and never a device, a pipe or a folder. The
/// rename would put a plain file in the place of `/dev/null`.
fn replaceable(path: &Path) -> io::Result<PathBuf> {
    let Ok(found) = path.symlink_metadata() else { return Ok(path.to_path_buf()) };
    let target = if found.is_symlink() { path.canonicalize()? } else { path.to_path_buf() };
    if target.metadata()?.is_file() {
        Ok(target)
    } else {
        Err(io::Error::other("is no regular file and is not replaced; choose another name"))
    }
}

/// A hidden file in the folder of `target`, because a rename is atomic only within one file system.
fn temporary_beside(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ergon-").suffix(".part");
    // Weights are no secret: the usual rights, not those of the owner alone that temporary files get.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(target))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
