//! The header of a safetensors file (specification: README.md of the safetensors repository).
//!
//! Eight bytes of length, that many bytes of JSON, then the data. We parse it ourselves because the reference crate takes
//! the last of two entries of one name, accepts any rank, and reads a header of 100 MB into whatever that unfolds to; the
//! tests and the fuzz target check that it accepts everything accepted here.

use super::Dtype;
use crate::FormatError;
use crate::config_json::json_error;
use crate::metadata::excerpt;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt, ops::Range};

/// The largest header. The index of a 671 B model, all shards together, has 9 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;
/// The most tensors, and the most metadata entries, of one file.
const MAX_ENTRIES: usize = 1 << 18;
/// The highest rank. Weights have at most 5 dimensions (a video patch embedding).
const MAX_RANK: usize = 8;
/// The longest tensor name.
const MAX_NAME_BYTES: usize = 1024;
const LENGTH_BYTES: usize = 8;

/// A checked safetensors header.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// `__metadata__`: free texts.
    pub metadata: Vec<(String, String)>,
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<Entry>,
}

/// One tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub range: Range<usize>,
}

/// Parses and checks a whole safetensors file.
///
/// # Errors
/// Anything that breaks the format (sizes, gaps, overlaps, names given twice) or one of the limits above, named.
pub fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| FormatError::new("is too short for a safetensors file"))?;
    let declared = u64::from_le_bytes(*length);
    if declared > MAX_HEADER_BYTES {
        return Err(FormatError::new(format!(
            "declares a header of {declared} bytes, at most {MAX_HEADER_BYTES} are allowed"
        )));
    }
    let (json, data) =
        usize::try_from(declared).ok().and_then(|length| rest.split_at_checked(length)).ok_or_else(|| {
            FormatError::new(format!("declares a header of {declared} bytes, but only {} follow", rest.len()))
        })?;
    if json.first() != Some(&b'{') {
        return Err(FormatError::new("is no safetensors file: its header does not start with '{'"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let raw = HeaderSeed
        .deserialize(&mut deserializer)
        .and_then(|raw| deserializer.end().map(|()| raw))
        .map_err(json_error)?;
    let tensors = place(raw.tensors, LENGTH_BYTES + json.len(), data.len())?;
    Ok(Header { metadata: raw.metadata, tensors })
}

#[derive(Default)]
struct RawHeader {
    metadata: Vec<(String, String)>,
    tensors: Vec<RawEntry>,
}

struct RawEntry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    offsets: [u64; 2],
}

/// Checks names, sizes and that the tensors fill the data without gap or overlap, as the specification demands.
fn place(mut raw: Vec<RawEntry>, data_start: usize, data_len: usize) -> Result<Vec<Entry>, FormatError> {
    raw.sort_by_key(|entry| entry.offsets);
    let mut next = 0usize;
    let mut entries = Vec::with_capacity(raw.len());
    for RawEntry { name, dtype, shape, offsets } in raw {
        let size = stored_bytes(dtype, &shape).ok_or_else(|| {
            let (name, dtype) = (excerpt(&name), dtype.name);
            FormatError::new(format!("tensor '{name}' of {dtype} has the shape {shape:?}, which is no whole number of bytes or overflows"))
        })?;
        let wrong = |what: String| FormatError::new(format!("tensor '{}' {what}", excerpt(&name)));
        let [start, end] = offsets;
        if end.checked_sub(start) != Some(size as u64) {
            return Err(wrong(format!("needs {size} bytes, its offsets are {start} to {end}")));
        }
        if start != next as u64 {
            let what =
                if start < next as u64 { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(wrong(format!("{what}: starts at {start}, expected {next}")));
        }
        if end > data_len as u64 {
            return Err(wrong(format!(
                "ends at {end}, past the {data_len} bytes of data (is the file cut short?)"
            )));
        }
        let at = data_start + next;
        next += size;
        entries.push(Entry { name, dtype, shape, range: at..at + size });
    }
    if next != data_len {
        return Err(FormatError::new(format!(
            "{} bytes after the last tensor belong to none",
            data_len - next
        )));
    }
    Ok(entries)
}

fn stored_bytes(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
    let bits = elements.checked_mul(dtype.bits)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = RawHeader;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<RawHeader, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        let mut names = HashSet::new();
        while let Some(name) = access.next_key::<String>()? {
            if name.len() > MAX_NAME_BYTES {
                return Err(de::Error::custom(format!("the name '{}' is too long", excerpt(&name))));
            }
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format!("two entries are named '{}'", excerpt(&name))));
            }
            if names.len() > MAX_ENTRIES {
                return Err(de::Error::custom(format!("more than {MAX_ENTRIES} tensors")));
            }
            if name == "__metadata__" {
                header.metadata = access.next_value_seed(TextsSeed)?;
            } else {
                header.tensors.push(access.next_value_seed(EntrySeed { name })?);
            }
        }
        Ok(header)
    }
}

struct TextsSeed;

impl<'de> DeserializeSeed<'de> for TextsSeed {
    type Value = Vec<(String, String)>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TextsSeed {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("__metadata__ to be an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut texts: Vec<(String, String)> = Vec::new();
        let mut keys = HashSet::new();
        while let Some((key, value)) = access.next_entry::<String, String>()? {
            if !keys.insert(key.clone()) {
                return Err(de::Error::custom(format!("__metadata__ has '{}' twice", excerpt(&key))));
            }
            if keys.len() > MAX_ENTRIES {
                return Err(de::Error::custom(format!("__metadata__ has more than {MAX_ENTRIES} entries")));
            }
            texts.push((key, value));
        }
        Ok(texts)
    }
}

struct EntrySeed {
    name: String,
}

impl<'de> DeserializeSeed<'de> for EntrySeed {
    type Value = RawEntry;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<RawEntry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed {
    type Value = RawEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor '{}' to be an object of dtype, shape and data_offsets", excerpt(&self.name))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawEntry, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        let shown = excerpt(&self.name);
        while let Some(key) = access.next_key::<String>()? {
            let given_twice = match key.as_str() {
                "dtype" => {
                    let name = access.next_value::<String>()?;
                    let known = Dtype::from_name(&name).ok_or_else(|| {
                        de::Error::custom(format!(
                            "tensor '{shown}' has the unknown dtype '{}'",
                            excerpt(&name)
                        ))
                    })?;
                    dtype.replace(known).is_some()
                }
                "shape" => {
                    let seed =
                        NumbersSeed { what: What { part: "the shape", tensor: &shown }, max: MAX_RANK };
                    shape.replace(access.next_value_seed(seed)?).is_some()
                }
                "data_offsets" => {
                    let seed = NumbersSeed { what: What { part: "data_offsets", tensor: &shown }, max: 2 };
                    offsets.replace(access.next_value_seed(seed)?).is_some()
                }
                _ => {
                    access.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if given_twice {
                return Err(de::Error::custom(format!("tensor '{shown}' has two entries '{key}'")));
            }
        }
        let missing = |what| de::Error::custom(format!("tensor '{shown}' has no {what}"));
        let dtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        let offsets = offsets.and_then(|pair: Vec<u64>| <[u64; 2]>::try_from(pair).ok());
        let offsets = offsets.ok_or_else(|| missing("data_offsets of two numbers"))?;
        let shape = shape.into_iter().map(usize::try_from).collect::<Result<Vec<usize>, _>>();
        let shape =
            shape.map_err(|_| de::Error::custom(format!("the shape of tensor '{shown}' overflows")))?;
        Ok(RawEntry { name: self.name, dtype, shape, offsets })
    }
}

/// Names a part of a tensor's entry in errors; put into words only when there is one.
#[derive(Clone, Copy)]
struct What<'a> {
    part: &'static str,
    tensor: &'a str,
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of tensor '{}'", self.part, self.tensor)
    }
}

/// A list of at most `max` non-negative integers.
struct NumbersSeed<'a> {
    what: What<'a>,
    max: usize,
}

impl<'de> DeserializeSeed<'de> for NumbersSeed<'_> {
    type Value = Vec<u64>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u64>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NumbersSeed<'_> {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a list of non-negative integers", self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<u64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = access.next_element_seed(NumberSeed { what: self.what })? {
            if numbers.len() == self.max {
                return Err(de::Error::custom(format!("{} has more than {} numbers", self.what, self.max)));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }
}

struct NumberSeed<'a> {
    what: What<'a>,
}

impl<'de> DeserializeSeed<'de> for NumberSeed<'_> {
    type Value = u64;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Visitor<'_> for NumberSeed<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a list of non-negative integers", self.what)
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }
}
