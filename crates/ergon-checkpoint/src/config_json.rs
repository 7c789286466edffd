//! `config.json` to [`Metadata`]: a JSON object flattened to dotted paths, within fixed limits.

use crate::metadata::excerpt;
use crate::{FormatError, MetaList, MetaValue, Metadata};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::{cell::Cell, collections::HashMap, fmt};

/// The largest `config.json` that is read. Published ones have a few kilobytes.
pub(crate) const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// The most values a configuration may hold; the largest published ones (label tables) have some tens of thousands.
const MAX_VALUES: usize = 1 << 17;
/// The longest dotted path, in bytes. Without a bound, one long outer key would be repeated for every inner one.
const MAX_PATH_BYTES: usize = 256;

/// Reads a configuration from the bytes of a JSON file. A key given twice keeps its last value, as in Python.
///
/// # Errors
/// Not JSON, no object at the top, nested deeper than 128, more values or longer keys than any real configuration has.
pub fn parse_config(bytes: &[u8]) -> Result<Metadata, FormatError> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let root = NodeSeed { left: &left }
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root))
        .map_err(json_error)?;
    let Node::Object(fields) = root else {
        return Err(FormatError::new("the top level is no JSON object"));
    };
    let mut metadata = Metadata::new("config.json");
    flatten(fields, "", &mut metadata)?;
    Ok(metadata)
}

/// A short message for a JSON error: line and column, but never a long piece of the file.
pub(crate) fn json_error(error: serde_json::Error) -> FormatError {
    FormatError::new(format!("not valid JSON: {}", shorten(&error.to_string())))
}

/// `serde_json` quotes the offending text in full; keep the beginning and the position at the end.
fn shorten(message: &str) -> String {
    let clean =
        |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>();
    let total = message.chars().count();
    if total <= 200 {
        return clean(message);
    }
    let head: String = message.chars().take(120).collect();
    let tail: String = message.chars().skip(total - 60).collect();
    format!("{}…{}", clean(&head), clean(&tail))
}

/// JSON as parsed, before it is flattened.
enum Node {
    Leaf(MetaValue),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

fn flatten(fields: Vec<(String, Node)>, prefix: &str, into: &mut Metadata) -> Result<(), FormatError> {
    for (key, node) in fields {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        if path.len() > MAX_PATH_BYTES {
            let key = excerpt(&path);
            return Err(FormatError::new(format!("the key '{key}' is longer than {MAX_PATH_BYTES} bytes")));
        }
        match node {
            Node::Leaf(value) => into.insert(path, value)?,
            Node::Object(fields) => flatten(fields, &path, into)?,
            Node::List(nodes) => {
                let list = flatten_list(nodes, &path, into)?;
                into.insert(path, MetaValue::List(list))?;
            }
        }
    }
    Ok(())
}

fn flatten_list(nodes: Vec<Node>, path: &str, into: &mut Metadata) -> Result<MetaList, FormatError> {
    let mut values = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        values.push(match node {
            Node::Leaf(value) => value,
            Node::List(inner) => MetaValue::List(flatten_list(inner, &format!("{path}.{index}"), into)?),
            Node::Object(fields) => {
                flatten(fields, &format!("{path}.{index}"), into)?;
                MetaValue::Null
            }
        });
    }
    Ok(MetaList::mixed(values))
}

#[derive(Clone, Copy)]
struct NodeSeed<'a> {
    left: &'a Cell<usize>,
}

impl NodeSeed<'_> {
    fn count<E: de::Error>(self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(format!("more than {MAX_VALUES} values"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(MetaValue::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(MetaValue::Uint(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(MetaValue::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(MetaValue::Str(value.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(MetaValue::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some(key) = access.next_key::<String>()? {
            let node = access.next_value_seed(self)?;
            match places.get(&key) {
                Some(&at) => fields[at].1 = node,
                None => {
                    places.insert(key.clone(), fields.len());
                    fields.push((key, node));
                }
            }
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattens_in_the_order_of_the_file() {
        let text = br#"{"b": 1, "a": {"x": -2, "y": [1, 2.5, {"z": "w"}]}, "n": null, "b": true}"#;
        let metadata = parse_config(text).unwrap();
        let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["b", "a.x", "a.y.2.z", "a.y", "n"]);
        assert_eq!(metadata.bool("b"), Ok(Some(true)));
        assert_eq!(metadata.str("a.y.2.z"), Ok(Some("w")));
        assert!(metadata.has_prefix("a."));
        assert!(!metadata.has_prefix("n."));
    }

    #[test]
    fn integers_past_the_doubles_stay_exact() {
        let metadata = parse_config(br#"{"m": 9007199254740993, "big": 18446744073709551615}"#).unwrap();
        assert_eq!(metadata.get("m"), Some(&MetaValue::Uint(9_007_199_254_740_993)));
        assert_eq!(metadata.get("big"), Some(&MetaValue::Uint(u64::MAX)));
    }

    #[test]
    fn refuses_what_no_configuration_looks_like() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_VALUES));
        let long = format!("{{\"{}\":{{\"b\":1}}}}", "k".repeat(MAX_PATH_BYTES));
        let collide = r#"{"a.b": 1, "a": {"b": 2}}"#;
        for text in
            ["", "[]", "3", "{", "{\"a\": NaN}", "{\"a\": 1e999}", "{} x", &deep, &wide, &long, collide]
        {
            let message = parse_config(text.as_bytes()).unwrap_err().to_string();
            assert!(message.len() < 300, "{message}");
        }
    }
}
