//! Text to token ids and back.
//!
//! A tokenizer comes from `tokenizer.json` (a folder of the Hugging Face hub) or from the keys `tokenizer.ggml.*` of a
//! GGUF file; both are read into the same parts ([`parts`]), checked, and handed to the `tokenizers` crate for what it
//! does well: finding added tokens, normalizing, cutting into words, byte-pair merging. Scored vocabularies
//! ([`spm`]), the ids around a text, and everything from ids back to bytes are ours.

mod components;
mod config;
mod error;
mod gguf;
mod json;
mod parts;
mod pieces;
mod pre;
mod spm;
mod stream;
mod train;

pub(crate) use config::TokenizerConfig;
pub use error::TokenizerError;
pub use stream::TextDecoder;
pub use train::train_byte_level_bpe;

use crate::{Checkpoint, CheckpointKind, files};
use components::Affixes;
use error::Source;
use pieces::PieceTable;
use serde_json::Value;
use spm::SentencePieceBpe;
use std::path::Path;
use stream::LeadingSpace;
use tokenizers::{Model as _, OffsetType, PreTokenizer as _, Token};

/// A tokenizer: immutable, and the same ids for the same text as the publisher's own.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Model, normalizer, pre-tokenizer and added tokens. Its post-processor and decoder stay empty, see `components`.
    inner: tokenizers::Tokenizer,
    /// In use when the vocabulary has scores; `inner`'s model then only holds the vocabulary.
    sentence_piece: Option<SentencePieceBpe>,
    affixes: Affixes,
    leading: LeadingSpace,
    words_are_joined_by_spaces: bool,
    pieces: PieceTable,
    bos: Option<u32>,
    eos: Option<u32>,
    post_processor: Value,
    decoder: Value,
}

impl Tokenizer {
    /// The tokenizer of a model: `tokenizer.json` beside the weights, or the one inside a GGUF file.
    ///
    /// # Errors
    /// When there is none, when it cannot be read or contradicts itself, or when it is of a kind not implemented.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Tokenizer, TokenizerError> {
        let path = checkpoint.path();
        let embedded = checkpoint.metadata().get("tokenizer.ggml.model").is_some();
        if checkpoint.kind() == CheckpointKind::Gguf && (embedded || !beside(checkpoint)?) {
            return gguf::read(&Source(path.display().to_string()), checkpoint.metadata());
        }
        let source = Source(path.join("tokenizer.json").display().to_string());
        let Some(bytes) = checkpoint.side_file("tokenizer.json", json::MAX_FILE_BYTES)? else {
            return Err(missing(checkpoint)?);
        };
        json::read(&source, &bytes, &TokenizerConfig::from_checkpoint(checkpoint)?)
    }

    /// The tokenizer in a `tokenizer.json`, together with a `tokenizer_config.json` in the same folder if there is one.
    ///
    /// # Errors
    /// As [`Tokenizer::from_checkpoint`].
    pub fn from_file(path: &Path) -> Result<Tokenizer, TokenizerError> {
        let bytes = files::read_limited(path, json::MAX_FILE_BYTES)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = TokenizerConfig::read(|name| {
            let path = folder.join(name);
            let found = files::exists(&path)?;
            let bytes = if found { Some(files::read_limited(&path, config::MAX_FILE_BYTES)?) } else { None };
            Ok(bytes.map(|bytes| (Source(path.display().to_string()), bytes)))
        })?;
        json::read(&Source(path.display().to_string()), &bytes, &config)
    }

    /// Ids of a text. Special tokens written in the text are recognised; `add_special` also puts those around it that
    /// the model expects (usually a beginning-of-sequence token). A rendered chat template has them already.
    ///
    /// # Errors
    /// When a character is neither in the vocabulary nor has an unknown token to stand for it in a model that needs one.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Encode { what: error.to_string() };
        let mut words =
            self.inner.get_added_vocabulary().extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words).map_err(failed)?;
        }
        words
            .tokenize(|word| match &self.sentence_piece {
                // Only the ids are looked at afterwards.
                Some(model) => {
                    let token = |id| Token::new(id, String::new(), (0, 0));
                    Ok(model.segment(word.get()).into_iter().map(token).collect())
                }
                None => self.inner.get_model().tokenize(word.get()),
            })
            .map_err(failed)?;
        let encoding = words.into_encoding(None, 0, OffsetType::None).map_err(failed)?;
        let ids = encoding.get_ids();
        if !add_special {
            return Ok(ids.to_vec());
        }
        Ok([&self.affixes.before[..], ids, &self.affixes.after[..]].concat())
    }

    /// Text of ids. `skip_special` leaves out special tokens such as `</s>`. Ids that do not exist add nothing, bytes
    /// that are no text come out as U+FFFD.
    ///
    /// # Errors
    /// None today; the signature leaves room for tokenizers that cannot decode everything.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let mut decoder = TextDecoder::new(self, skip_special);
        let mut text = String::new();
        for id in ids {
            text.push_str(&decoder.push(*id));
        }
        text.push_str(&decoder.finish());
        Ok(text)
    }

    /// One past the highest id. A model may have more rows than that, but not fewer.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The id of a token written as in the vocabulary (`Ġhello`, `▁hello`, `<s>`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, written as in the vocabulary.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether a token is no text of its own (`<s>`, `<|im_end|>`).
    pub fn is_special(&self, id: u32) -> bool {
        self.pieces.is_special(id)
    }

    /// The bytes a token stands for in the middle of a text: a byte-level or SentencePiece token decoded, an added token
    /// as written. They need not be whole characters. `None` if there is no such token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.pieces.get(id).map(<[u8]>::to_vec)
    }

    /// The beginning-of-sequence token, if the tokenizer's files name one.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-sequence token, if the tokenizer's files name one. Models may stop at others too, see
    /// [`crate::GenerationDefaults::eos_token_ids`].
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos
    }

    /// Whether `encode(…, true)` starts with [`Tokenizer::bos_token_id`].
    pub fn adds_bos(&self) -> bool {
        self.bos.is_some() && self.affixes.before.first().copied() == self.bos
    }

    /// The tokenizer as the text of a `tokenizer.json`. A scored vocabulary becomes a list of merges, the nearest that
    /// the format has; only runs of one character can come out differently.
    ///
    /// # Errors
    /// When the vocabulary has gaps, which the `tokenizers` crate writes as a broken file.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let source = Source("tokenizer.json".to_string());
        let vocabulary = self.inner.get_model().get_vocab();
        if vocabulary.values().any(|id| *id as usize >= vocabulary.len()) {
            return Err(source.unsupported("writing a vocabulary with gaps"));
        }
        let inner = match &self.sentence_piece {
            None => serde_json::to_value(&self.inner),
            Some(model) => {
                let vocabulary = model.vocabulary().collect();
                let bpe = parts::build_bpe(
                    &source,
                    vocabulary,
                    model.merges(),
                    model.unknown_token(),
                    true,
                    true,
                    false,
                )?;
                serde_json::to_value(self.inner.clone().with_model(bpe))
            }
        };
        let mut json = inner.map_err(|error| source.invalid(error.to_string()))?;
        json["post_processor"] = self.post_processor.clone();
        json["decoder"] = self.decoder.clone();
        serde_json::to_string(&json).map_err(|error| source.invalid(error.to_string()))
    }
}

/// Whether the model's folder, if it has one, holds a `tokenizer.json`.
fn beside(checkpoint: &Checkpoint) -> Result<bool, TokenizerError> {
    let path = checkpoint.path();
    Ok(path.is_dir() && files::exists(&path.join("tokenizer.json"))?)
}

/// Says what a folder without `tokenizer.json` has instead.
fn missing(checkpoint: &Checkpoint) -> Result<TokenizerError, TokenizerError> {
    let path = checkpoint.path();
    let has = |name: &str| files::exists(&path.join(name));
    let what = if has("tokenizer.model")? {
        "has tokenizer.model but no tokenizer.json; convert it once with transformers: \
         AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    } else if has("vocab.json")? && has("merges.txt")? {
        "has vocab.json and merges.txt but no tokenizer.json; convert them once with transformers: \
         AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    } else {
        "has no tokenizer.json; copy it from where the model was published"
    };
    Ok(TokenizerError::Missing { model: path.display().to_string(), what: what.to_string() })
}
