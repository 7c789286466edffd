//! A typed, order-keeping view of a model's configuration.

use crate::FormatError;
use std::{borrow::Cow, collections::HashMap, collections::hash_map::Entry, fmt};

/// One value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// JSON `true`/`false`, GGUF bool.
    Bool(bool),
    /// A negative integer.
    Int(i64),
    /// A non-negative integer.
    Uint(u64),
    /// A number with a fraction or exponent, or a GGUF float.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    List(MetaList),
    /// JSON `null`. An object inside a JSON list also leaves a `Null` in the list (see [`Metadata`]).
    Null,
}

impl From<i64> for MetaValue {
    /// Zero and above become `Uint`, so that a number has one spelling whatever type the file stored it in.
    fn from(value: i64) -> MetaValue {
        u64::try_from(value).map_or(MetaValue::Int(value), MetaValue::Uint)
    }
}

impl fmt::Display for MetaValue {
    /// A few words for error messages: the kind and, where it is short, the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetaValue::Bool(value) => write!(f, "{value}"),
            MetaValue::Int(value) => write!(f, "{value}"),
            MetaValue::Uint(value) => write!(f, "{value}"),
            MetaValue::Float(value) => write!(f, "{value}"),
            MetaValue::Str(text) => write!(f, "the text '{}'", excerpt(text)),
            MetaValue::List(list) => write!(f, "a list of {}", list.len()),
            MetaValue::Null => f.write_str("null"),
        }
    }
}

/// Characters of a text from a file that an error message shows; the names of tensors fit.
const SHOWN_CHARS: usize = 100;

/// The beginning of a text from a file, with control characters made visible: error messages stay short and on one line
/// whatever the file says.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_CHARS && !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(SHOWN_CHARS).map(visible).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    Cow::Owned(short)
}

/// The number types a GGUF list is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl ScalarKind {
    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            ScalarKind::U8 | ScalarKind::I8 | ScalarKind::Bool => 1,
            ScalarKind::U16 | ScalarKind::I16 => 2,
            ScalarKind::U32 | ScalarKind::I32 | ScalarKind::F32 => 4,
            ScalarKind::U64 | ScalarKind::I64 | ScalarKind::F64 => 8,
        }
    }

    /// The number in `raw`, little-endian; `raw` has [`ScalarKind::bytes`] bytes.
    pub(crate) fn read(self, raw: &[u8]) -> MetaValue {
        let mut wide = [0u8; 8];
        let n = raw.len().min(8);
        wide[..n].copy_from_slice(&raw[..n]);
        let bits = u64::from_le_bytes(wide);
        match self {
            ScalarKind::Bool => MetaValue::Bool(bits != 0),
            ScalarKind::U8 | ScalarKind::U16 | ScalarKind::U32 | ScalarKind::U64 => MetaValue::Uint(bits),
            ScalarKind::I8 => i64::from(bits as i8).into(),
            ScalarKind::I16 => i64::from(bits as i16).into(),
            ScalarKind::I32 => i64::from(bits as i32).into(),
            ScalarKind::I64 => (bits as i64).into(),
            ScalarKind::F32 => MetaValue::Float(f64::from(f32::from_bits(bits as u32))),
            ScalarKind::F64 => MetaValue::Float(f64::from_bits(bits)),
        }
    }
}

/// A list of values in a compact form: a vocabulary of 150 000 words is two allocations, not 150 000.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaList(ListData);

#[derive(Clone, Debug, PartialEq)]
enum ListData {
    Mixed(Vec<MetaValue>),
    Texts { text: String, ends: Vec<usize> },
    Scalars { kind: ScalarKind, bytes: Vec<u8> },
}

impl MetaList {
    pub(crate) fn mixed(values: Vec<MetaValue>) -> MetaList {
        MetaList(ListData::Mixed(values))
    }

    /// All texts one after the other, and where each ends.
    pub(crate) fn texts(text: String, ends: Vec<usize>) -> MetaList {
        MetaList(ListData::Texts { text, ends })
    }

    /// Little-endian numbers one after the other.
    pub(crate) fn scalars(kind: ScalarKind, bytes: Vec<u8>) -> MetaList {
        MetaList(ListData::Scalars { kind, bytes })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            ListData::Mixed(values) => values.len(),
            ListData::Texts { ends, .. } => ends.len(),
            ListData::Scalars { kind, bytes } => bytes.len() / kind.bytes(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<Cow<'_, MetaValue>> {
        match &self.0 {
            ListData::Mixed(values) => values.get(index).map(Cow::Borrowed),
            ListData::Texts { .. } => {
                self.text(index).map(|text| Cow::Owned(MetaValue::Str(text.to_string())))
            }
            ListData::Scalars { kind, bytes } => {
                bytes.chunks_exact(kind.bytes()).nth(index).map(|raw| Cow::Owned(kind.read(raw)))
            }
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, MetaValue>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The text at `index`, if a text stands there.
    fn text(&self, index: usize) -> Option<&str> {
        match &self.0 {
            ListData::Mixed(values) => match values.get(index)? {
                MetaValue::Str(text) => Some(text),
                _ => None,
            },
            ListData::Texts { text, ends } => {
                let end = *ends.get(index)?;
                let start = if index == 0 { 0 } else { ends[index - 1] };
                text.get(start..end)
            }
            ListData::Scalars { .. } => None,
        }
    }
}

/// A configuration key that is there but is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: '{key}' is {found}, expected {expected}")]
pub struct MetadataError {
    /// The file the key is from.
    pub file: String,
    /// The key, dotted.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Keys and values of `config.json` or of a GGUF header, in the order of the file.
///
/// Nested JSON objects are flattened to dotted paths (`rope_scaling.factor`), objects inside a list to
/// `list.<index>.key`. The typed getters return `Ok(None)` for an absent key or a JSON `null`.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    file: String,
    entries: Vec<(String, MetaValue)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// An empty configuration; `file` names it in error messages.
    pub(crate) fn new(file: impl Into<String>) -> Metadata {
        Metadata { file: file.into(), ..Metadata::default() }
    }

    /// Says which file this is from.
    pub(crate) fn set_file(&mut self, file: String) {
        self.file = file;
    }

    /// Adds a key at the end; an error if it is there already.
    pub(crate) fn insert(&mut self, key: String, value: MetaValue) -> Result<(), FormatError> {
        match self.index.entry(key.clone()) {
            Entry::Occupied(_) => Err(FormatError::new(format!("the key '{}' appears twice", excerpt(&key)))),
            Entry::Vacant(slot) => {
                slot.insert(self.entries.len());
                self.entries.push((key, value));
                Ok(())
            }
        }
    }

    /// The value as stored.
    pub fn get(&self, key: &str) -> Option<&MetaValue> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether any key starts with `prefix`; `has_prefix("rope_scaling.")` asks for a non-empty nested object.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.starts_with(prefix))
    }

    /// The nested object `name` (`text_config`) with keys of its own; empty if there is none. Error messages name the file
    /// and the object.
    pub fn nested(&self, name: &str) -> Metadata {
        let prefix = format!("{name}.");
        let mut nested = Metadata::new(format!("{}, {name}", self.file));
        for (key, value) in &self.entries {
            if let Some(key) = key.strip_prefix(&prefix) {
                nested.index.insert(key.to_string(), nested.entries.len());
                nested.entries.push((key.to_string(), value.clone()));
            }
        }
        nested
    }

    /// A truth value.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.typed(key, "true or false", as_bool)
    }

    /// A non-negative integer; a number like `4096.0` counts as one.
    ///
    /// # Errors
    /// The key holds something else, or a number that is negative, fractional or past `usize`.
    pub fn usize(&self, key: &str) -> Result<Option<usize>, MetadataError> {
        self.typed(key, "a non-negative integer", as_usize)
    }

    /// A finite number.
    ///
    /// # Errors
    /// The key holds something else, or an infinity or NaN.
    pub fn f64(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        self.typed(key, "a finite number", as_f64)
    }

    /// A text.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        match self.get(key) {
            None | Some(MetaValue::Null) => Ok(None),
            Some(MetaValue::Str(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(key, other.to_string(), "a text")),
        }
    }

    /// A list of non-negative integers.
    ///
    /// # Errors
    /// The key holds no list, or an element is something else.
    pub fn list_usize(&self, key: &str) -> Result<Option<Vec<usize>>, MetadataError> {
        self.list(key, "a list of non-negative integers", as_usize)
    }

    /// A list of integers.
    ///
    /// # Errors
    /// The key holds no list, or an element is something else.
    pub fn list_i64(&self, key: &str) -> Result<Option<Vec<i64>>, MetadataError> {
        self.list(key, "a list of integers", as_i64)
    }

    /// A list of finite numbers.
    ///
    /// # Errors
    /// The key holds no list, or an element is something else.
    pub fn list_f64(&self, key: &str) -> Result<Option<Vec<f64>>, MetadataError> {
        self.list(key, "a list of finite numbers", as_f64)
    }

    /// A list of truth values.
    ///
    /// # Errors
    /// The key holds no list, or an element is something else.
    pub fn list_bool(&self, key: &str) -> Result<Option<Vec<bool>>, MetadataError> {
        self.list(key, "a list of true or false", as_bool)
    }

    /// A list of texts, borrowed.
    ///
    /// # Errors
    /// The key holds no list, or an element is something else.
    pub fn list_str(&self, key: &str) -> Result<Option<Vec<&str>>, MetadataError> {
        const EXPECTED: &str = "a list of texts";
        let Some(list) = self.list_value(key, EXPECTED)? else { return Ok(None) };
        let mut texts = Vec::with_capacity(list.len());
        for index in 0..list.len() {
            match list.text(index) {
                Some(text) => texts.push(text),
                None => return Err(self.element_error(key, list, index, EXPECTED)),
            }
        }
        Ok(Some(texts))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: fn(&MetaValue) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        match self.get(key) {
            None | Some(MetaValue::Null) => Ok(None),
            Some(value) => match convert(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(self.error(key, value.to_string(), expected)),
            },
        }
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: fn(&MetaValue) -> Option<T>,
    ) -> Result<Option<Vec<T>>, MetadataError> {
        let Some(list) = self.list_value(key, expected)? else { return Ok(None) };
        let mut values = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match convert(&value) {
                Some(converted) => values.push(converted),
                None => return Err(self.element_error(key, list, index, expected)),
            }
        }
        Ok(Some(values))
    }

    fn list_value(&self, key: &str, expected: &'static str) -> Result<Option<&MetaList>, MetadataError> {
        match self.get(key) {
            None | Some(MetaValue::Null) => Ok(None),
            Some(MetaValue::List(list)) => Ok(Some(list)),
            Some(other) => Err(self.error(key, other.to_string(), expected)),
        }
    }

    fn element_error(
        &self,
        key: &str,
        list: &MetaList,
        index: usize,
        expected: &'static str,
    ) -> MetadataError {
        let found = list.get(index).map(|value| value.to_string()).unwrap_or_default();
        self.error(key, format!("a list with {found} at index {index}"), expected)
    }

    fn error(&self, key: &str, found: String, expected: &'static str) -> MetadataError {
        MetadataError { file: self.file.clone(), key: key.to_string(), found, expected }
    }
}

fn as_bool(value: &MetaValue) -> Option<bool> {
    match value {
        MetaValue::Bool(value) => Some(*value),
        _ => None,
    }
}

fn as_usize(value: &MetaValue) -> Option<usize> {
    match value {
        MetaValue::Uint(value) => usize::try_from(*value).ok(),
        MetaValue::Float(value) => whole(*value).and_then(|value| usize::try_from(value).ok()),
        _ => None,
    }
}

fn as_i64(value: &MetaValue) -> Option<i64> {
    match value {
        MetaValue::Uint(value) => i64::try_from(*value).ok(),
        MetaValue::Int(value) => Some(*value),
        MetaValue::Float(value) => whole(*value),
        _ => None,
    }
}

fn as_f64(value: &MetaValue) -> Option<f64> {
    let number = match value {
        MetaValue::Uint(value) => *value as f64,
        MetaValue::Int(value) => *value as f64,
        MetaValue::Float(value) => *value,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// The integer a float stands for exactly; past 2^53 a float no longer names one integer.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let mut metadata = Metadata::new("config.json");
        let list = MetaList::mixed(vec![MetaValue::Uint(1), MetaValue::Int(-2), MetaValue::Float(3.0)]);
        for (key, value) in [
            ("hidden_size", MetaValue::Uint(64)),
            ("bias", MetaValue::Int(-1)),
            ("theta", MetaValue::Float(1e4)),
            ("eps", MetaValue::Float(f64::NAN)),
            ("name", MetaValue::Str("x".repeat(1000))),
            ("none", MetaValue::Null),
            ("flag", MetaValue::Bool(true)),
            ("list", MetaValue::List(list)),
            ("words", MetaValue::List(MetaList::texts("heyyou".into(), vec![3, 3, 6]))),
            ("raw", MetaValue::List(MetaList::scalars(ScalarKind::I16, vec![1, 0, 255, 255]))),
        ] {
            metadata.insert(key.into(), value).unwrap();
        }
        metadata
    }

    #[test]
    fn typed_getters_convert_what_is_exact() {
        let metadata = sample();
        assert_eq!(metadata.usize("hidden_size"), Ok(Some(64)));
        assert_eq!(metadata.usize("theta"), Ok(Some(10_000)));
        assert_eq!(metadata.f64("hidden_size"), Ok(Some(64.0)));
        assert_eq!(metadata.usize("none"), Ok(None));
        assert_eq!(metadata.str("absent"), Ok(None));
        assert_eq!(metadata.list_i64("list"), Ok(Some(vec![1, -2, 3])));
        assert_eq!(metadata.list_i64("raw"), Ok(Some(vec![1, -1])));
        assert_eq!(metadata.list_str("words"), Ok(Some(vec!["hey", "", "you"])));
    }

    #[test]
    fn wrong_types_name_file_key_and_expectation() {
        let metadata = sample();
        let message = metadata.usize("bias").unwrap_err().to_string();
        assert_eq!(message, "config.json: 'bias' is -1, expected a non-negative integer");
        assert!(metadata.f64("eps").unwrap_err().to_string().contains("NaN"));
        assert!(metadata.bool("name").unwrap_err().to_string().len() < 200);
        let message = metadata.list_usize("list").unwrap_err().to_string();
        assert!(message.contains("a list with -2 at index 1"), "{message}");
        assert!(metadata.list_str("raw").is_err());
    }

    #[test]
    fn a_key_cannot_be_inserted_twice() {
        assert!(sample().insert("flag".into(), MetaValue::Null).is_err());
    }
}
