//! Reading `tokenizer.json`, the file of the `tokenizers` library, and what `tokenizer_config.json` adds to it.
//!
//! The file is read straight into the parts of a tokenizer with a limit on each, not through the library's own reader,
//! which builds three copies of the vocabulary on the way and panics on some malformed parts.

use super::{
    Tokenizer,
    config::TokenizerConfig,
    error::{Source, TokenizerError},
    parts::{AddedPart, MAX_MERGES, ModelParts, Parts, template},
    pieces::MAX_TOKENS,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::{cell::Cell, fmt, marker::PhantomData};
use tokenizers::AddedToken;

/// Largest `tokenizer.json` read; the largest published ones have about 35 MB.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;
/// Most added tokens accepted; published tokenizers have up to a few thousand.
const MAX_ADDED: usize = 1 << 15;
/// JSON values in one of the small parts.
const MAX_SMALL_NODES: usize = 400_000;

/// Builds a tokenizer from the text of a `tokenizer.json` and what stands beside it.
pub(super) fn read(
    source: &Source,
    json: &[u8],
    config: &TokenizerConfig,
) -> Result<Tokenizer, TokenizerError> {
    let file: File = serde_json::from_slice(json).map_err(|error| source.invalid(error.to_string()))?;
    let mut parts = Parts {
        model: file.model.into_parts(source)?,
        added: file
            .added_tokens
            .unwrap_or_default()
            .0
            .into_iter()
            .map(|entry| AddedPart { id: entry.id, token: entry.token })
            .collect(),
        normalizer: file.normalizer.0,
        pre_tokenizer: file.pre_tokenizer.0,
        post_processor: file.post_processor.0,
        decoder: file.decoder.0,
        bos: None,
        eos: None,
    };
    apply_config(source, &mut parts, config)?;
    parts.build(source)
}

/// What `transformers` does with `tokenizer_config.json` after loading the file: tokens that have a role there become
/// special, and explicit `add_bos_token`/`add_eos_token` replace the post-processor (DeepSeek's files rely on it).
fn apply_config(source: &Source, parts: &mut Parts, config: &TokenizerConfig) -> Result<(), TokenizerError> {
    let vocabulary = match &parts.model {
        ModelParts::Bpe { vocabulary, .. } | ModelParts::WordLevel { vocabulary, .. } => {
            vocabulary.as_slice()
        }
        _ => &[],
    };
    let mut missing = Vec::new();
    for content in config.role_tokens() {
        match parts.added.iter_mut().find(|part| part.token.content == content) {
            Some(part) => part.token.special = true,
            None => {
                let found = vocabulary.iter().find(|(token, _)| token == content);
                missing.extend(
                    found.map(|(_, id)| AddedPart { id: *id, token: AddedToken::from(content, true) }),
                );
            }
        }
    }
    missing.dedup_by_key(|part| part.id);
    parts.added.extend(missing);
    let id_of = |content: &str| {
        let added = parts.added.iter().find(|part| part.token.content == content).map(|part| part.id);
        added.or_else(|| vocabulary.iter().find(|(token, _)| token == content).map(|(_, id)| *id))
    };
    let role = |name: &str| config.token(name).and_then(|token| Some((token.to_string(), id_of(token)?)));
    let (bos, eos) = (role("bos_token"), role("eos_token"));
    if config.add_bos.is_some() || config.add_eos.is_some() {
        let wanted = |add: Option<bool>, token: &Option<(String, u32)>, what: &str| match (add, token) {
            (Some(true), None) if config.token(what).is_some() => Err(source
                .invalid(format!("tokenizer_config.json adds the {what}, which is not in the vocabulary"))),
            (Some(true), token) => Ok(token.clone()),
            _ => Ok(None),
        };
        let (before, after) =
            (wanted(config.add_bos, &bos, "bos_token")?, wanted(config.add_eos, &eos, "eos_token")?);
        let as_ref = |token: &'_ Option<(String, u32)>| token.as_ref().map(|(name, id)| (name.clone(), *id));
        let (before, after) = (as_ref(&before), as_ref(&after));
        parts.post_processor = template(
            before.as_ref().map(|(name, id)| (name.as_str(), *id)),
            after.as_ref().map(|(name, id)| (name.as_str(), *id)),
        );
    }
    parts.bos = bos.map(|(_, id)| id);
    parts.eos = eos.map(|(_, id)| id);
    Ok(())
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Option<Limited<AddedEntry, MAX_ADDED>>,
    #[serde(default)]
    normalizer: Small,
    #[serde(default)]
    pre_tokenizer: Small,
    #[serde(default)]
    post_processor: Small,
    #[serde(default)]
    decoder: Small,
    model: Model,
}

#[derive(Deserialize)]
struct AddedEntry {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocabulary,
    merges: Option<Limited<Merge, MAX_MERGES>>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

impl Model {
    fn into_parts(self, source: &Source) -> Result<ModelParts, TokenizerError> {
        let unused = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        if !unused(&self.continuing_subword_prefix) || !unused(&self.end_of_word_suffix) {
            return Err(source.unsupported("a model with a subword prefix or an end-of-word suffix"));
        }
        if self.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(source.unsupported("a model with dropout, which makes its output random,"));
        }
        // Files older than the "type" key are told apart by what they hold, as the library does.
        let kind = match (&self.kind, &self.vocab, &self.merges) {
            (Some(kind), ..) => kind.as_str(),
            (None, Vocabulary::Scored(_), _) => "Unigram",
            (None, _, Some(_)) => "BPE",
            (None, _, None) => "WordLevel",
        };
        match (kind, self.vocab) {
            ("BPE", Vocabulary::Ids(vocabulary)) => Ok(ModelParts::Bpe {
                vocabulary,
                merges: self.merges.unwrap_or_default().0.into_iter().map(|Merge(a, b)| (a, b)).collect(),
                unknown: self.unk_token,
                fuse_unknown: self.fuse_unk.unwrap_or(false),
                byte_fallback: self.byte_fallback.unwrap_or(false),
                ignore_merges: self.ignore_merges.unwrap_or(false),
            }),
            ("WordLevel", Vocabulary::Ids(vocabulary)) => {
                let unknown = self.unk_token.unwrap_or_else(|| "<unk>".to_string());
                Ok(ModelParts::WordLevel { vocabulary, unknown })
            }
            ("Unigram", Vocabulary::Scored(vocabulary)) => Ok(ModelParts::Unigram {
                vocabulary,
                unknown: self.unk_id,
                byte_fallback: self.byte_fallback.unwrap_or(false),
            }),
            ("BPE" | "WordLevel" | "Unigram", _) => {
                Err(source.invalid(format!("the vocabulary of a {kind} model has the wrong shape")))
            }
            _ => Err(source.unsupported(format!("tokenizer model '{kind}'"))),
        }
    }
}

/// `{"token": id}` or `[["token", score]]`.
enum Vocabulary {
    Ids(Vec<(String, u32)>),
    Scored(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vocabulary, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vocabulary;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map of tokens to ids or a list of [token, score]")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    push_limited(&mut all, entry, MAX_TOKENS, "tokens")?;
                }
                Ok(Vocabulary::Ids(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocabulary, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    push_limited(&mut all, entry, MAX_TOKENS, "tokens")?;
                }
                Ok(Vocabulary::Scored(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn push_limited<T, E: serde::de::Error>(
    all: &mut Vec<T>,
    item: T,
    limit: usize,
    what: &str,
) -> Result<(), E> {
    if all.len() == limit {
        return Err(E::custom(format!("more than {limit} {what}")));
    }
    all.push(item);
    Ok(())
}

/// A list of at most `LIMIT` elements.
struct Limited<T, const LIMIT: usize>(Vec<T>);

impl<T, const LIMIT: usize> Default for Limited<T, LIMIT> {
    fn default() -> Self {
        Limited(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Deserialize<'de> for Limited<T, LIMIT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const LIMIT: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for Reader<T, LIMIT> {
            type Value = Limited<T, LIMIT>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a list of at most {LIMIT}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = seq.next_element()? {
                    push_limited(&mut all, item, LIMIT, "entries")?;
                }
                Ok(Limited(all))
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// `["a", "b"]`, or `"a b"` in older files.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merge, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge: two tokens in a list, or in one string with a space between")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                match text.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => Ok(Merge(a.to_string(), b.to_string())),
                    _ => Err(E::custom(format!("merge '{text}' is not two tokens with one space between"))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                match (seq.next_element()?, seq.next_element()?, seq.next_element::<String>()?) {
                    (Some(a), Some(b), None) => Ok(Merge(a, b)),
                    _ => Err(A::Error::custom("a merge is not a list of two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A JSON value of at most [`MAX_SMALL_NODES`] nodes: a list of a million numbers takes thirty times the memory of its
/// text, so the limit on the file does not limit this.
#[derive(Default)]
pub(super) struct Small(pub(super) Value);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Small, D::Error> {
        let left = Cell::new(MAX_SMALL_NODES);
        Node { left: &left }.deserialize(deserializer).map(Small)
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("more values than such a part may have"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
