//! Our packed form: block-quantised weights in an ordinary safetensors file.
//!
//! safetensors has no block formats, so a packed tensor is stored as `U8` with the shape `[rows.., bytes per row]`, and
//! `__metadata__` says what it means: `"ergon.format": "1"` for the file, and for each such tensor
//! `"ergon:<name>": "q4_k 1024x4096"`, the format's name and the logical shape. Other readers see plain bytes.
//!
//! Routed experts are read from the disk again and again, so the file names a checksum of each of their tensors, whatever its
//! type: `"ergon.crc32:<name>": "1a2b3c4d"`, CRC-32 (IEEE 802.3) of its bytes in eight hexadecimal digits.

use super::{Entry, Header};
use crate::FormatError;
use crate::metadata::excerpt;
use ergon_types::WeightFormat;
use std::collections::HashMap;

pub(crate) const VERSION_KEY: &str = "ergon.format";
pub(crate) const VERSION: &str = "1";
pub(crate) const TENSOR_PREFIX: &str = "ergon:";
pub(crate) const CHECKSUM_PREFIX: &str = "ergon.crc32:";

/// What the packed tensors of a file are: by name, format and logical shape. Empty for files of other makers.
pub(super) type Packed<'a> = HashMap<&'a str, (WeightFormat, Vec<usize>)>;

pub(super) fn declarations(header: &Header) -> Result<Packed<'_>, FormatError> {
    let mut packed = Packed::new();
    match header.metadata.iter().find(|(key, _)| key == VERSION_KEY) {
        None => return Ok(packed),
        Some((_, version)) if version == VERSION => {}
        Some((_, version)) => {
            let version = excerpt(version);
            return Err(FormatError::new(format!(
                "is packed in version '{version}', this program reads version {VERSION}"
            )));
        }
    }
    for (key, value) in &header.metadata {
        if let Some(name) = key.strip_prefix(TENSOR_PREFIX) {
            let declared = parse(value).ok_or_else(|| {
                let (key, value) = (excerpt(key), excerpt(value));
                FormatError::new(format!("'{key}' is '{value}', expected something like 'q4_k 1024x4096'"))
            })?;
            packed.insert(name, declared);
        }
    }
    check_names(&packed, &header.tensors)?;
    Ok(packed)
}

/// The checksums that a file names, by tensor.
pub(super) fn checksums(header: &Header) -> Result<HashMap<&str, u32>, FormatError> {
    let checksums = parse_checksums(header)?;
    let named = header.tensors.iter().filter(|tensor| checksums.contains_key(tensor.name.as_str())).count();
    if named < checksums.len() {
        let what = format!(
            "names {} checksums ('{CHECKSUM_PREFIX}...') of tensors that are not in the file",
            checksums.len() - named
        );
        return Err(FormatError::new(what));
    }
    Ok(checksums)
}

fn parse_checksums(header: &Header) -> Result<HashMap<&str, u32>, FormatError> {
    let named =
        header.metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(CHECKSUM_PREFIX)?, value)));
    named
        .map(|(name, value)| {
            let digits = value.len() == 8 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            let checksum = digits.then(|| u32::from_str_radix(value, 16).ok()).flatten();
            checksum.map(|checksum| (name, checksum)).ok_or_else(|| {
                let (name, value) = (excerpt(name), excerpt(value));
                FormatError::new(format!(
                    "'{CHECKSUM_PREFIX}{name}' is '{value}', expected eight hexadecimal digits"
                ))
            })
        })
        .collect()
}

fn check_names(packed: &Packed<'_>, tensors: &[Entry]) -> Result<(), FormatError> {
    let mut unseen: HashMap<&str, ()> = packed.keys().map(|&name| (name, ())).collect();
    for tensor in tensors {
        unseen.remove(tensor.name.as_str());
    }
    match unseen.keys().min() {
        Some(name) => Err(FormatError::new(format!(
            "'{TENSOR_PREFIX}{}' describes a tensor that is not in the file",
            excerpt(name)
        ))),
        None => Ok(()),
    }
}

/// How a packed tensor is described.
pub(crate) fn describe(format: WeightFormat, shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{} {}", format.name(), extents.join("x"))
}

fn parse(text: &str) -> Option<(WeightFormat, Vec<usize>)> {
    let (format, shape) = text.split_once(' ')?;
    let shape = shape.split('x').map(|extent| extent.parse().ok()).collect::<Option<Vec<usize>>>()?;
    Some((WeightFormat::from_name(format)?, shape))
}

/// The shape in which a packed tensor is stored; `None` if its rows are no whole blocks.
pub(crate) fn stored_shape(format: WeightFormat, shape: &[usize]) -> Option<Vec<usize>> {
    let (&cols, outer) = shape.split_last()?;
    let mut stored = outer.to_vec();
    stored.push(format.row_bytes(cols)?);
    Some(stored)
}

/// Checks a stored tensor against its description.
pub(super) fn check(entry: &Entry, format: WeightFormat, shape: &[usize]) -> Result<(), FormatError> {
    let fits =
        entry.dtype.name == "U8" && stored_shape(format, shape).is_some_and(|stored| stored == entry.shape);
    // The stored bytes fit, but formats below a byte per weight can still have more weights than fit a usize.
    let countable = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent)).is_some();
    if fits && countable {
        return Ok(());
    }
    let (name, dtype, stored) = (excerpt(&entry.name), entry.dtype.name, &entry.shape);
    let declared = describe(format, shape);
    Err(FormatError::new(format!(
        "tensor '{name}' is stored as {dtype} {stored:?}, which is not '{declared}'"
    )))
}
