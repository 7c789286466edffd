//! Where a model keeps its chat template.

use super::{MAX_TEMPLATE_BYTES, TemplateError};
use crate::{Checkpoint, CheckpointKind, Metadata, tokenizer::TokenizerConfig};
use serde_json::Value;

/// A template and what belongs to it.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) source_name: String,
    pub(super) tokens: Vec<(String, String)>,
}

pub(super) fn find(checkpoint: &Checkpoint) -> Result<Option<Found>, TemplateError> {
    if checkpoint.kind() == CheckpointKind::Gguf {
        return in_gguf(checkpoint);
    }
    let config = TokenizerConfig::from_checkpoint(checkpoint)?;
    let tokens = config.roles().map(|(role, token)| (role.to_string(), token.to_string())).collect();
    let name = |file: &str| checkpoint.path().join(file).display().to_string();
    let found = |text: String, file: &str, tokens| Some(Found { text, source_name: name(file), tokens });
    // One byte more than compiles, so that a template that is too long is called that and not a file that is.
    let limit = MAX_TEMPLATE_BYTES as u64 + 1;
    if let Some(bytes) = checkpoint.side_file("chat_template.jinja", limit)? {
        let text = String::from_utf8(bytes).map_err(|_| TemplateError::Invalid {
            source_name: name("chat_template.jinja"),
            what: "is no UTF-8 text".to_string(),
        })?;
        return Ok(found(text, "chat_template.jinja", tokens));
    }
    if let Some(text) = pick(&name("tokenizer_config.json"), config.chat_template())? {
        return Ok(found(text, "tokenizer_config.json", tokens));
    }
    let Some(bytes) = checkpoint.side_file("chat_template.json", 4 * limit)? else {
        return Ok(None);
    };
    let file = name("chat_template.json");
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| TemplateError::Invalid { source_name: file.clone(), what: error.to_string() })?;
    Ok(pick(&file, value.get("chat_template"))?.and_then(|text| found(text, "chat_template.json", tokens)))
}

/// A template as a string, or a list of `{"name": …, "template": …}` of which the one named `default` is taken.
fn pick(source_name: &str, value: Option<&Value>) -> Result<Option<String>, TemplateError> {
    let invalid =
        |what: &str| TemplateError::Invalid { source_name: source_name.to_string(), what: what.to_string() };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(list)) => {
            let entry = |entry: &Value| {
                Some((entry.get("name")?.as_str()?.to_string(), entry.get("template")?.as_str()?.to_string()))
            };
            let entries: Option<Vec<(String, String)>> = list.iter().map(entry).collect();
            let entries =
                entries.ok_or_else(|| invalid("'chat_template' lists an entry without name and template"))?;
            let only_one = entries.len() == 1;
            let default = entries.into_iter().find(|(name, _)| only_one || name == "default");
            default
                .map(|(_, text)| Some(text))
                .ok_or_else(|| invalid("'chat_template' lists several templates but none named 'default'"))
        }
        Some(_) => Err(invalid("'chat_template' is neither a text nor a list of templates")),
    }
}

fn in_gguf(checkpoint: &Checkpoint) -> Result<Option<Found>, TemplateError> {
    let metadata = checkpoint.metadata();
    let Some(text) = metadata.str("tokenizer.chat_template")? else {
        return Ok(None);
    };
    let mut tokens = Vec::new();
    for (role, key) in
        [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
    {
        tokens.extend(token_of(metadata, key)?.map(|token| (role.to_string(), token)));
    }
    let source_name = checkpoint.path().display().to_string();
    Ok(Some(Found { text: text.to_string(), source_name, tokens }))
}

/// Text of the token that a GGUF file names by id; an id past the vocabulary names none, as `u32::MAX` is meant to.
fn token_of(metadata: &Metadata, key: &str) -> Result<Option<String>, TemplateError> {
    let Some(id) = metadata.usize(&format!("tokenizer.ggml.{key}_token_id"))? else {
        return Ok(None);
    };
    let tokens = metadata.list_str("tokenizer.ggml.tokens")?;
    Ok(tokens.and_then(|tokens| tokens.get(id).map(|token| token.to_string())))
}
