//! `tokenizer_config.json`: roles of tokens and a few switches.

use super::{
    error::{Source, TokenizerError},
    json::Small,
};
use crate::{Checkpoint, CheckpointError};
use serde_json::Value;

/// Largest such file read. Published ones stay below 2 MB, most of it the list of added tokens and the chat template.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// The part of `tokenizer_config.json` (and of the older `special_tokens_map.json`) that is used.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerConfig {
    /// Role (`bos_token`, `eos_token`, `pad_token`, …) and token.
    tokens: Vec<(String, String)>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    chat_template: Option<Value>,
}

impl TokenizerConfig {
    /// Reads the files beside the weights; none is an empty configuration.
    pub(crate) fn from_checkpoint(checkpoint: &Checkpoint) -> Result<TokenizerConfig, TokenizerError> {
        TokenizerConfig::read(|name| {
            let path = checkpoint.path().join(name).display().to_string();
            Ok(checkpoint.side_file(name, MAX_FILE_BYTES)?.map(|bytes| (Source(path), bytes)))
        })
    }

    /// Reads the files that `open` finds by name.
    pub(super) fn read(
        open: impl Fn(&str) -> Result<Option<(Source, Vec<u8>)>, CheckpointError>,
    ) -> Result<TokenizerConfig, TokenizerError> {
        let mut config = TokenizerConfig::default();
        if let Some((source, bytes)) = open("tokenizer_config.json")? {
            let value = parse(&source, &bytes)?;
            config.take_tokens(&value);
            config.add_bos = switch(&source, &value, "add_bos_token")?;
            config.add_eos = switch(&source, &value, "add_eos_token")?;
            config.chat_template = value.get("chat_template").cloned();
        }
        if let Some((source, bytes)) = open("special_tokens_map.json")? {
            config.take_tokens(&parse(&source, &bytes)?);
        }
        Ok(config)
    }

    fn take_tokens(&mut self, value: &Value) {
        let object = value.as_object().into_iter().flatten();
        for (role, token) in object.filter(|(role, _)| role.ends_with("_token")) {
            if let Some(text) = token_text(token).filter(|_| self.token(role).is_none()) {
                self.tokens.push((role.clone(), text.to_string()));
            }
        }
    }

    /// The token of a role such as `bos_token`.
    pub(crate) fn token(&self, role: &str) -> Option<&str> {
        self.tokens.iter().find(|(name, _)| name == role).map(|(_, token)| token.as_str())
    }

    /// Roles and their tokens, as a chat template sees them.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tokens.iter().map(|(role, token)| (role.as_str(), token.as_str()))
    }

    /// The key `chat_template` as it stands.
    pub(crate) fn chat_template(&self) -> Option<&Value> {
        self.chat_template.as_ref()
    }

    pub(super) fn role_tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|(_, token)| token.as_str())
    }
}

fn parse(source: &Source, bytes: &[u8]) -> Result<Value, TokenizerError> {
    let value = match serde_json::from_slice::<Small>(bytes) {
        Ok(Small(value)) => value,
        Err(error) => return Err(source.invalid(error.to_string())),
    };
    if value.is_object() { Ok(value) } else { Err(source.invalid("is no JSON object")) }
}

fn switch(source: &Source, value: &Value, key: &str) -> Result<Option<bool>, TokenizerError> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(source.invalid(format!("'{key}' is neither true nor false"))),
    }
}

/// A token as a plain string or as `{"content": …}`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).filter(|text| !text.is_empty())
}
