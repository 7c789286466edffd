//! A cursor over the bytes of a GGUF header: every read is checked against what is left.

use crate::FormatError;
use crate::metadata::{MetaList, MetaValue, ScalarKind, excerpt};

/// The longest text value in bytes. Chat templates, the longest there are, have some tens of kilobytes.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// The longest list. The largest published vocabularies have about 600 000 merges.
const MAX_LIST_LEN: usize = 1 << 22;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], FormatError> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..count).ok_or_else(|| {
            let left = left.len();
            FormatError::new(format!("the file ends inside {what}: {count} bytes expected, {left} left"))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FormatError> {
        let mut raw = [0; N];
        raw.copy_from_slice(self.take(N, what)?);
        Ok(raw)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A text with its length in front.
    pub(super) fn text(&mut self, max_bytes: usize, what: &str) -> Result<&'a str, FormatError> {
        let declared = self.u64(what)?;
        let length =
            usize::try_from(declared).ok().filter(|&length| length <= max_bytes).ok_or_else(|| {
                FormatError::new(format!("{what} declares {declared} bytes, at most {max_bytes} are allowed"))
            })?;
        let raw = self.take(length, what)?;
        std::str::from_utf8(raw).map_err(|_| FormatError::new(format!("{what} is not UTF-8")))
    }

    /// The value of the key `key`.
    pub(super) fn value(&mut self, key: &str) -> Result<MetaValue, FormatError> {
        let what = format!("the value of '{}'", excerpt(key));
        match self.u32(&what)? {
            TYPE_TEXT => Ok(MetaValue::Str(self.text(MAX_TEXT_BYTES, &what)?.to_string())),
            TYPE_LIST => Ok(MetaValue::List(self.list(&what)?)),
            id => {
                let kind = scalar_kind(id)
                    .ok_or_else(|| FormatError::new(format!("{what} has the unknown type {id}")))?;
                let raw = self.take(kind.bytes(), &what)?;
                check_bools(kind, raw, &what)?;
                Ok(kind.read(raw))
            }
        }
    }

    fn list(&mut self, what: &str) -> Result<MetaList, FormatError> {
        let element = self.u32(what)?;
        let declared = self.u64(what)?;
        let length =
            usize::try_from(declared).ok().filter(|&length| length <= MAX_LIST_LEN).ok_or_else(|| {
                FormatError::new(format!(
                    "{what} declares {declared} elements, at most {MAX_LIST_LEN} are allowed"
                ))
            })?;
        match element {
            TYPE_TEXT => self.texts(length, what),
            TYPE_LIST => Err(FormatError::new(format!("{what} is a list of lists, which no model uses"))),
            id => {
                let kind = scalar_kind(id)
                    .ok_or_else(|| FormatError::new(format!("{what} is a list of the unknown type {id}")))?;
                // No overflow: the length is at most 2^22 and an element at most 8 bytes.
                let raw = self.take(length * kind.bytes(), what)?;
                check_bools(kind, raw, what)?;
                Ok(MetaList::scalars(kind, raw.to_vec()))
            }
        }
    }

    fn texts(&mut self, length: usize, what: &str) -> Result<MetaList, FormatError> {
        // Each text takes at least its 8 length bytes, so the file itself bounds how far these grow.
        let (mut text, mut ends) = (String::new(), Vec::new());
        for _ in 0..length {
            text.push_str(self.text(MAX_TEXT_BYTES, what)?);
            ends.push(text.len());
        }
        Ok(MetaList::texts(text, ends))
    }
}

const TYPE_TEXT: u32 = 8;
const TYPE_LIST: u32 = 9;

/// The value types of the GGUF specification that have a fixed size.
fn scalar_kind(id: u32) -> Option<ScalarKind> {
    Some(match id {
        0 => ScalarKind::U8,
        1 => ScalarKind::I8,
        2 => ScalarKind::U16,
        3 => ScalarKind::I16,
        4 => ScalarKind::U32,
        5 => ScalarKind::I32,
        6 => ScalarKind::F32,
        7 => ScalarKind::Bool,
        10 => ScalarKind::U64,
        11 => ScalarKind::I64,
        12 => ScalarKind::F64,
        _ => return None,
    })
}

/// The specification allows 0 and 1 only.
fn check_bools(kind: ScalarKind, raw: &[u8], what: &str) -> Result<(), FormatError> {
    match raw.iter().find(|&&byte| kind == ScalarKind::Bool && byte > 1) {
        Some(byte) => {
            Err(FormatError::new(format!("{what} is the truth value {byte}, only 0 and 1 are allowed")))
        }
        None => Ok(()),
    }
}
