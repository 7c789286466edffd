//! A GGUF file with the same keys as another and re-encoded tensors.
//!
//! Layout (GGUF v3): `GGUF`, u32 version, u64 tensors, u64 keys; the keys; per tensor name, u32 extents, u64 extents
//! innermost first, u32 type, u64 offset; then the data, each tensor at a multiple of the alignment. Little-endian.
//! Keys are copied byte for byte, so that whoever read the input finds everything again.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use ergon_checkpoint::{Checkpoint, PAGE_BYTES, gguf::CHECKSUMS_KEY};
use ergon_types::WeightFormat;

use super::{partial, plan::Planned};
use crate::unfinished::Unfinished;

/// Longest key or string that is copied; tokens and chat templates are far shorter.
const STRING_BYTES: u64 = 16 << 20;
/// Lists inside lists: the format allows them, nobody writes more than one level.
const LIST_DEPTH: usize = 4;
const DEFAULT_ALIGNMENT: usize = 32;
/// Letters, version, and the numbers of tensors and keys.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8;

/// Experts that are read one by one start at a page.
const PAGE_ALIGNMENT: u64 = PAGE_BYTES as u64;

/// The output file; until [`GgufFile::finish`] under a name of its own.
pub(super) struct GgufFile {
    file: BufWriter<File>,
    draft: Unfinished,
    target: PathBuf,
    alignment: u64,
    /// Bytes of data so far.
    written: u64,
    /// Checksums of the tensors so far, that of the current one, and where they go in the file.
    checksums: Vec<u32>,
    checksum: crc32fast::Hasher,
    checksums_at: Option<u64>,
}

impl GgufFile {
    /// Writes everything up to the first tensor's data. With `read_alone`, tensors start at pages and have checksums.
    pub(super) fn create(
        target: &Path,
        checkpoint: &Checkpoint,
        tensors: &[Planned<'_>],
        read_alone: bool,
    ) -> anyhow::Result<GgufFile> {
        let mut alignment =
            checkpoint.metadata().usize("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT) as u64;
        ensure!(alignment.is_power_of_two(), "general.alignment is {alignment}, expected a power of two");
        let (mut keys, mut n_keys) =
            copy_keys(&header_file(checkpoint.path())?).context("cannot copy the keys of the input")?;
        if read_alone {
            alignment = alignment.max(PAGE_ALIGNMENT);
        }
        put_key(&mut keys, "general.alignment", 4);
        keys.extend_from_slice(&(alignment as u32).to_le_bytes());
        n_keys += 1;
        let mut checksums_at = None;
        if read_alone {
            put_key(&mut keys, CHECKSUMS_KEY, 9);
            keys.extend_from_slice(&4u32.to_le_bytes());
            keys.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
            checksums_at = Some((HEAD_BYTES + keys.len()) as u64);
            keys.resize(keys.len() + 4 * tensors.len(), 0);
            n_keys += 1;
        }
        let mut head = Vec::new();
        head.extend_from_slice(b"GGUF");
        head.extend_from_slice(&3u32.to_le_bytes());
        head.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&n_keys.to_le_bytes());
        head.extend_from_slice(&keys);
        let mut offset = 0u64;
        for tensor in tensors {
            let bytes = describe(tensor, offset, &mut head)?;
            offset = offset
                .checked_add(bytes)
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .context("too large")?;
        }
        let padded = (head.len() as u64).next_multiple_of(alignment) as usize;
        head.resize(padded, 0);
        let draft = partial::name(target);
        let file = File::create_new(&draft).with_context(|| format!("cannot create {}", draft.display()))?;
        let draft = Unfinished::new(draft);
        partial::lock(&file);
        let mut output = GgufFile {
            file: BufWriter::with_capacity(1 << 20, file),
            draft,
            target: target.to_path_buf(),
            alignment,
            written: 0,
            checksums: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            checksums_at,
        };
        output.file.write_all(&head).with_context(|| output.cannot_write())?;
        Ok(output)
    }

    /// Appends bytes to the current tensor; tensors come in the order they were declared in.
    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| self.cannot_write())?;
        self.written += bytes.len() as u64;
        self.checksum.update(bytes);
        Ok(())
    }

    /// Ends the current tensor.
    pub(super) fn end_tensor(&mut self) -> anyhow::Result<()> {
        self.checksums.push(std::mem::take(&mut self.checksum).finalize());
        let padding = self.written.next_multiple_of(self.alignment) - self.written;
        self.write(&vec![0; padding as usize])?;
        self.checksum = crc32fast::Hasher::new();
        Ok(())
    }

    /// Moves the complete file to its name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if let Some(at) = self.checksums_at {
            let bytes: Vec<u8> = self.checksums.iter().flat_map(|checksum| checksum.to_le_bytes()).collect();
            let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(&bytes));
            written.with_context(|| self.cannot_write())?;
        }
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .with_context(|| self.cannot_write())?;
        std::fs::rename(self.draft.path(), &self.target).with_context(|| self.cannot_write())
    }

    fn cannot_write(&self) -> String {
        format!("cannot write {}", self.target.display())
    }
}

/// Appends a tensor's description to the head; gives the bytes of its data.
fn describe(tensor: &Planned<'_>, offset: u64, head: &mut Vec<u8>) -> anyhow::Result<u64> {
    let source = &tensor.source;
    let id = tensor.format().map_or_else(|| other_type_id(source.dtype_name), type_id);
    let (Some(id), Some(bytes)) = (id, tensor.bytes()) else {
        bail!("tensor '{}' of type {} cannot be written to a GGUF file", source.name, source.dtype_name);
    };
    head.extend_from_slice(&(source.name.len() as u64).to_le_bytes());
    head.extend_from_slice(source.name.as_bytes());
    head.extend_from_slice(&(source.shape.len() as u32).to_le_bytes());
    for extent in source.shape.iter().rev() {
        head.extend_from_slice(&(*extent as u64).to_le_bytes());
    }
    head.extend_from_slice(&id.to_le_bytes());
    head.extend_from_slice(&offset.to_le_bytes());
    Ok(bytes)
}

/// Numbers of the types in a GGUF file (`enum ggml_type`).
fn type_id(format: WeightFormat) -> Option<u32> {
    Some(match format {
        WeightFormat::F32 => 0,
        WeightFormat::F16 => 1,
        WeightFormat::Q4_0 => 2,
        WeightFormat::Q4_1 => 3,
        WeightFormat::Q5_0 => 6,
        WeightFormat::Q5_1 => 7,
        WeightFormat::Q8_0 => 8,
        WeightFormat::Q2K => 10,
        WeightFormat::Q3K => 11,
        WeightFormat::Q4K => 12,
        WeightFormat::Q5K => 13,
        WeightFormat::Q6K => 14,
        WeightFormat::Iq4Nl => 20,
        WeightFormat::Iq4Xs => 23,
        WeightFormat::Bf16 => 30,
        WeightFormat::Mxfp4 => 39,
        _ => return None,
    })
}

fn other_type_id(dtype_name: &str) -> Option<u32> {
    ["I8", "I16", "I32", "I64", "F64"]
        .iter()
        .position(|name| *name == dtype_name)
        .map(|index| 24 + index as u32)
}

/// The file with the header: the one named, or the first GGUF file of a folder.
fn header_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let first = files.filter(|file| super::has_gguf_extension(file)).min();
    first.with_context(|| format!("{} holds no GGUF file", path.display()))
}

/// Name and type of a key; its value follows.
fn put_key(keys: &mut Vec<u8>, name: &str, kind: u32) {
    keys.extend_from_slice(&(name.len() as u64).to_le_bytes());
    keys.extend_from_slice(name.as_bytes());
    keys.extend_from_slice(&kind.to_le_bytes());
}

/// The keys of a GGUF file as they are stored, without those that would no longer be true, and their number.
fn copy_keys(path: &Path) -> anyhow::Result<(Vec<u8>, u64)> {
    let mut input = BufReader::new(File::open(path)?);
    ensure!(&read::<4>(&mut input)? == b"GGUF", "not a GGUF file");
    let version = u32::from_le_bytes(read(&mut input)?);
    ensure!((2..=3).contains(&version), "GGUF version {version} cannot be copied, only 2 and 3");
    let _tensors = u64::from_le_bytes(read(&mut input)?);
    let n_keys = u64::from_le_bytes(read(&mut input)?);
    let mut keys = Vec::new();
    let mut kept = 0;
    for _ in 0..n_keys {
        let start = keys.len();
        copy_string(&mut input, &mut keys)?;
        let name = keys[start + 8..].to_vec();
        let kind = copy_u32(&mut input, &mut keys)?;
        copy_value(&mut input, &mut keys, kind, LIST_DEPTH)?;
        // The file type names the format of the input's matrices, the split keys its division into files.
        if name == b"general.file_type"
            || name == b"general.alignment"
            || name == CHECKSUMS_KEY.as_bytes()
            || name.starts_with(b"split.")
        {
            keys.truncate(start);
        } else {
            kept += 1;
        }
    }
    Ok((keys, kept))
}

fn copy_value(input: &mut impl Read, keys: &mut Vec<u8>, kind: u32, depth: usize) -> anyhow::Result<()> {
    match kind {
        0 | 1 | 7 => copy(input, keys, 1),
        2 | 3 => copy(input, keys, 2),
        4..=6 => copy(input, keys, 4),
        10..=12 => copy(input, keys, 8),
        8 => copy_string(input, keys),
        9 => {
            ensure!(depth > 0, "lists are nested too deeply");
            let item = copy_u32(input, keys)?;
            let count = copy_u64(input, keys)?;
            (0..count).try_for_each(|_| copy_value(input, keys, item, depth - 1))
        }
        other => bail!("unknown value type {other}"),
    }
}

fn copy_string(input: &mut impl Read, keys: &mut Vec<u8>) -> anyhow::Result<()> {
    let length = copy_u64(input, keys)?;
    ensure!(length <= STRING_BYTES, "a string of {length} bytes");
    copy(input, keys, length)
}

fn copy_u32(input: &mut impl Read, keys: &mut Vec<u8>) -> anyhow::Result<u32> {
    let bytes = read(input)?;
    keys.extend_from_slice(&bytes);
    Ok(u32::from_le_bytes(bytes))
}

fn copy_u64(input: &mut impl Read, keys: &mut Vec<u8>) -> anyhow::Result<u64> {
    let bytes = read(input)?;
    keys.extend_from_slice(&bytes);
    Ok(u64::from_le_bytes(bytes))
}

/// Copies exactly `length` bytes; what the file does not have is never allocated.
fn copy(input: &mut impl Read, keys: &mut Vec<u8>, length: u64) -> anyhow::Result<()> {
    let copied = io::copy(&mut input.take(length), keys)?;
    ensure!(copied == length, "the file ends within its keys");
    Ok(())
}

fn read<const N: usize>(input: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).context("the file ends within its header")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    fn file(keys: &[Vec<u8>], declared: u64) -> tempfile::NamedTempFile {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend_from_slice(&0u64.to_le_bytes());
        bytes.extend_from_slice(&declared.to_le_bytes());
        bytes.extend(keys.concat());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn keys_are_copied_as_they_are() {
        let mut list = 8u32.to_le_bytes().to_vec();
        list.extend_from_slice(&2u64.to_le_bytes());
        list.extend(key("a", 0, &[])[..9].iter());
        list.extend(key("bc", 0, &[])[..10].iter());
        let kept = [key("x.flag", 7, &[1]), key("x.list", 9, &list)];
        let dropped = key("general.file_type", 4, &7u32.to_le_bytes());
        let file = file(&[kept[0].clone(), dropped, kept[1].clone()], 3);
        assert_eq!(copy_keys(file.path()).unwrap(), (kept.concat(), 2));
    }

    #[test]
    fn declared_sizes_are_not_believed() {
        let huge = key("x", 8, &u64::MAX.to_le_bytes());
        let mut list = 0u32.to_le_bytes().to_vec();
        list.extend_from_slice(&u64::MAX.to_le_bytes());
        for (keys, declared) in [(vec![huge], 1), (vec![], u64::MAX), (vec![key("x", 9, &list)], 1)] {
            assert!(copy_keys(file(&keys, declared).path()).is_err());
        }
    }
}
