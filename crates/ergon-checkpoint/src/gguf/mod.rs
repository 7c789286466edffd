//! GGUF, versions 2 and 3 (specification: `docs/gguf.md` of the ggml repository).
//!
//! A header of typed keys and tensor descriptions, then the aligned data. [`parse`] checks all of it on a byte slice and
//! copies the keys only; the tensors are byte ranges of the slice.

mod reader;
mod split;
mod types;

pub(crate) use split::{SUFFIX_LEN, open, part_number, part_of, parts_of};
pub use types::GgmlType;

use crate::metadata::excerpt;
use crate::{FormatError, Metadata};
use reader::Reader;
use std::{collections::HashSet, ops::Range};

const MAGIC: &[u8] = b"GGUF";
/// ggml's `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: usize = 32;
/// Key of a list that `ergon convert` adds: CRC-32 (IEEE 802.3) of each tensor's data, in the order of the tensors.
pub const CHECKSUMS_KEY: &str = "ergon.crc32";
const MAX_ALIGNMENT: usize = 64 << 10;
/// Published files have well under a hundred keys.
const MAX_KEYS: u64 = 1 << 16;
/// The largest published models have a few thousand tensors; unstacked experts would make a hundred thousand.
const MAX_TENSORS: u64 = 1 << 18;
/// The specification's bound for keys.
const MAX_KEY_BYTES: usize = (1 << 16) - 1;
/// The specification says 64; some converters went past it.
const MAX_NAME_BYTES: usize = 256;
/// All keys together. The largest published vocabularies take about 20 MB.
const MAX_KEYS_BYTES: usize = 128 << 20;

/// A checked GGUF header.
#[derive(Clone, Debug)]
pub struct Header {
    /// 2 or 3; they differ in nothing a reader of little-endian files sees.
    pub version: u32,
    /// The keys.
    pub metadata: Metadata,
    /// The tensors, in the order of the file.
    pub tensors: Vec<Entry>,
}

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ggml_type: GgmlType,
    /// Extents, outermost first (the file's `ne` reversed).
    pub shape: Vec<usize>,
    /// Where its bytes lie in the file; inside it, and disjoint from every other tensor's.
    pub range: Range<usize>,
}

/// Parses and checks a whole GGUF file.
///
/// # Errors
/// Anything that breaks the format or one of the limits above, named.
pub fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
    let mut reader = Reader::new(bytes);
    let version = preamble(&mut reader)?;
    let tensor_count = count(&mut reader, "tensors", MAX_TENSORS)?;
    let key_count = count(&mut reader, "keys", MAX_KEYS)?;
    let mut metadata = Metadata::new("GGUF header");
    for index in 0..key_count {
        let key = reader.text(MAX_KEY_BYTES, &format!("key {index}"))?;
        let value = reader.value(key)?;
        metadata.insert(key.to_string(), value)?;
        if reader.position() > MAX_KEYS_BYTES {
            return Err(FormatError::new(format!("the keys take more than {MAX_KEYS_BYTES} bytes")));
        }
    }
    let alignment = alignment(&metadata)?;
    let mut tensors = Vec::new();
    for index in 0..tensor_count {
        tensors.push(describe(&mut reader, index, alignment)?);
    }
    let data_start = reader
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| FormatError::new("the header is too long"))?;
    let tensors = place(tensors, data_start, bytes.len())?;
    check_disjoint(&tensors)?;
    Ok(Header { version, metadata, tensors })
}

fn preamble(reader: &mut Reader<'_>) -> Result<u32, FormatError> {
    if reader.take(MAGIC.len(), "the magic number")? != MAGIC {
        return Err(FormatError::new("is no GGUF file: it does not start with the letters GGUF"));
    }
    let version = reader.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(FormatError::new("GGUF version 1 is not supported; convert the model again to version 3")),
        // A small number read in the wrong byte order has its low half empty.
        _ if version & 0xffff == 0 => Err(FormatError::new(
            "is a big-endian GGUF file, which is not supported; convert it to little-endian",
        )),
        _ => Err(FormatError::new(format!(
            "GGUF version {version} is unknown; versions 2 and 3 are supported"
        ))),
    }
}

fn count(reader: &mut Reader<'_>, what: &str, max: u64) -> Result<u64, FormatError> {
    match reader.u64(&format!("the number of {what}"))? {
        count if count <= max => Ok(count),
        count => Err(FormatError::new(format!("declares {count} {what}, at most {max} are allowed"))),
    }
}

fn alignment(metadata: &Metadata) -> Result<usize, FormatError> {
    let declared =
        metadata.usize("general.alignment").map_err(|error| FormatError::new(error.to_string()))?;
    match declared {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(alignment) if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT => Ok(alignment),
        Some(alignment) => Err(FormatError::new(format!(
            "'general.alignment' is {alignment}, expected a power of two up to {MAX_ALIGNMENT}"
        ))),
    }
}

/// A tensor as described in the header, before it is known where the data starts.
struct Described {
    name: String,
    ggml_type: GgmlType,
    shape: Vec<usize>,
    offset: usize,
    bytes: usize,
}

fn describe(reader: &mut Reader<'_>, index: u64, alignment: usize) -> Result<Described, FormatError> {
    let name = reader.text(MAX_NAME_BYTES, &format!("the name of tensor {index}"))?;
    let what = format!("tensor '{}'", excerpt(name));
    let dims = reader.u32(&what)?;
    if dims > MAX_DIMS {
        return Err(FormatError::new(format!(
            "{what} declares {dims} dimensions, at most {MAX_DIMS} are allowed"
        )));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let extent = reader.u64(&what)?;
        match usize::try_from(extent) {
            Ok(extent) if extent > 0 => shape.push(extent),
            _ => return Err(FormatError::new(format!("{what} has a dimension of {extent}"))),
        }
    }
    shape.reverse();
    let type_id = reader.u32(&what)?;
    let ggml_type = GgmlType::from_id(type_id)
        .ok_or_else(|| FormatError::new(format!("{what} has the unknown type {type_id}")))?;
    let bytes = stored_bytes(ggml_type, &shape, &what)?;
    let offset = reader.u64(&what)?;
    let offset =
        usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(alignment)).ok_or_else(|| {
            FormatError::new(format!("{what} starts at {offset}, no multiple of the alignment {alignment}"))
        })?;
    Ok(Described { name: name.to_string(), ggml_type, shape, offset, bytes })
}

/// Rows times bytes per row. Also checks that the number of elements fits, which for formats of less than a byte per
/// weight does not follow from the bytes fitting.
fn stored_bytes(ggml_type: GgmlType, shape: &[usize], what: &str) -> Result<usize, FormatError> {
    let (cols, outer) = shape.split_last().map_or((1, shape), |(cols, outer)| (*cols, outer));
    let overflow = || FormatError::new(format!("{what} has the shape {shape:?}, whose size overflows"));
    let rows =
        outer.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent)).ok_or_else(overflow)?;
    rows.checked_mul(cols).ok_or_else(overflow)?;
    if !cols.is_multiple_of(ggml_type.block_len) {
        let GgmlType { name, block_len, .. } = ggml_type;
        return Err(FormatError::new(format!(
            "{what} has rows of {cols}, no multiple of {name}'s blocks of {block_len}"
        )));
    }
    ggml_type.row_bytes(cols).and_then(|row| row.checked_mul(rows)).ok_or_else(overflow)
}

fn place(described: Vec<Described>, data_start: usize, file_len: usize) -> Result<Vec<Entry>, FormatError> {
    let mut names = HashSet::new();
    for tensor in &described {
        if !names.insert(tensor.name.as_str()) {
            return Err(FormatError::new(format!("two tensors are named '{}'", excerpt(&tensor.name))));
        }
    }
    let mut entries = Vec::with_capacity(described.len());
    for Described { name, ggml_type, shape, offset, bytes } in described {
        let range = data_start
            .checked_add(offset)
            .and_then(|start| Some(start..start.checked_add(bytes)?))
            .filter(|range| range.end <= file_len)
            .ok_or_else(|| {
                FormatError::new(format!(
                    "tensor '{}' needs {bytes} bytes at {offset}, past the end of the file (is it cut short?)",
                    excerpt(&name)
                ))
            })?;
        entries.push(Entry { name, ggml_type, shape, range });
    }
    Ok(entries)
}

fn check_disjoint(entries: &[Entry]) -> Result<(), FormatError> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| entry.range.start);
    for pair in order.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            let (first, second) = (excerpt(&pair[0].name), excerpt(&pair[1].name));
            return Err(FormatError::new(format!("the tensors '{first}' and '{second}' overlap")));
        }
    }
    Ok(())
}
