//! The small parts of a `tokenizer.json` (normalizer, pre-tokenizer, post-processor, decoder): what is accepted, and
//! what they mean for us.
//!
//! The `tokenizers` crate trusts these parts: a post-processor that names a token it does not define, a `Strip` decoder
//! that takes more than there is, or a precompiled map that is none make it panic, and a chain of replacements makes it
//! grow text without end. So normalizers and pre-tokenizers are checked against a list before the crate sees them, and
//! post-processing and decoding, which are simple, are done by us from the same description.

use super::{
    error::{Source, TokenizerError},
    stream::LeadingSpace,
};
use serde_json::Value;

const NORMALIZERS: [&str; 13] = [
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "StripAccents",
    "Strip",
    "Nmt",
    "Replace",
    "Prepend",
    "BertNormalizer",
    "ByteLevel",
    "Sequence",
];
const PRE_TOKENIZERS: [&str; 11] = [
    "ByteLevel",
    "Split",
    "Digits",
    "Punctuation",
    "Whitespace",
    "WhitespaceSplit",
    "Metaspace",
    "BertPreTokenizer",
    "UnicodeScripts",
    "CharDelimiterSplit",
    "Sequence",
];
/// Parts in one chain; published tokenizers have at most a dozen.
const MAX_COMPONENTS: usize = 64;
/// Longest pattern, in bytes; the longest published one has about a thousand.
const MAX_PATTERN_BYTES: usize = 16 << 10;
/// How many times longer a normalizer may make a text. Spaces become three bytes in SentencePiece's tokenizers.
const MAX_GROWTH: usize = 1 << 10;
/// Special tokens put around a text.
const MAX_AFFIX: usize = 256;

fn kind<'v>(source: &Source, section: &str, value: &'v Value) -> Result<&'v str, TokenizerError> {
    value
        .get("type")
        .and_then(Value::as_str)
        .ok_or_else(|| source.invalid(format!("a part of '{section}' has no \"type\"")))
}

/// The parts of a chain in order, nested `Sequence`s opened.
fn flatten<'v>(
    source: &Source,
    section: &str,
    list_key: &str,
    value: &'v Value,
) -> Result<Vec<&'v Value>, TokenizerError> {
    let mut flat = Vec::new();
    let mut waiting = if value.is_null() { vec![] } else { vec![value] };
    while let Some(part) = waiting.pop() {
        if flat.len() + waiting.len() > MAX_COMPONENTS {
            return Err(source.invalid(format!("'{section}' has more than {MAX_COMPONENTS} parts")));
        }
        if kind(source, section, part)? != "Sequence" {
            flat.push(part);
            continue;
        }
        let list = part
            .get(list_key)
            .and_then(Value::as_array)
            .ok_or_else(|| source.invalid(format!("a Sequence in '{section}' has no list \"{list_key}\"")))?;
        if list.len() > MAX_COMPONENTS {
            return Err(source.invalid(format!("'{section}' has more than {MAX_COMPONENTS} parts")));
        }
        waiting.extend(list.iter().rev());
    }
    Ok(flat)
}

/// Text of `pattern`: `{"String": …}` or `{"Regex": …}`; the flag says which.
fn pattern<'v>(source: &Source, section: &str, part: &'v Value) -> Result<(&'v str, bool), TokenizerError> {
    let pattern = part.get("pattern");
    let text = |key| pattern.and_then(|p| p.get(key)).and_then(Value::as_str);
    let (text, is_regex) = match (text("String"), text("Regex")) {
        (Some(text), None) => (text, false),
        (None, Some(text)) => (text, true),
        _ => return Err(source.invalid(format!("a pattern in '{section}' is neither a String nor a Regex"))),
    };
    if text.len() > MAX_PATTERN_BYTES {
        return Err(
            source.invalid(format!("a pattern in '{section}' is longer than {MAX_PATTERN_BYTES} bytes"))
        );
    }
    Ok((text, is_regex))
}

fn check_listed(source: &Source, section: &str, part: &Value, listed: &[&str]) -> Result<(), TokenizerError> {
    let kind = kind(source, section, part)?;
    if listed.contains(&kind) { Ok(()) } else { Err(source.unsupported(format!("{section} '{kind}'"))) }
}

/// Refuses normalizers that are unknown, unsafe to load, or that could blow a text up.
pub(super) fn check_normalizer(source: &Source, value: &Value) -> Result<(), TokenizerError> {
    let mut growth = 1usize;
    for part in flatten(source, "normalizer", "normalizers", value)? {
        check_listed(source, "normalizer", part, &NORMALIZERS)?;
        let text = |key| part.get(key).and_then(Value::as_str).unwrap_or_default();
        let factor = match kind(source, "normalizer", part)? {
            "Replace" => {
                let (pattern, is_regex) = pattern(source, "normalizer", part)?;
                let shortest_match = if is_regex { 1 } else { pattern.len().max(1) };
                // One more for a regex, which can match the empty string beside every character.
                text("content").len().div_ceil(shortest_match) + usize::from(is_regex)
            }
            "Prepend" => 1 + text("prepend").len(),
            // The worst compatibility decomposition (U+FDFA) has 18 characters.
            "NFKC" | "NFKD" => 18,
            _ => 1,
        };
        growth = growth.saturating_mul(factor.max(1));
    }
    if growth > MAX_GROWTH {
        return Err(source.invalid(format!("the normalizer could make a text {growth} times longer")));
    }
    Ok(())
}

/// Refuses pre-tokenizers that are unknown or unsafe to load.
pub(super) fn check_pre_tokenizer(source: &Source, value: &Value) -> Result<(), TokenizerError> {
    for part in flatten(source, "pre_tokenizer", "pretokenizers", value)? {
        check_listed(source, "pre_tokenizer", part, &PRE_TOKENIZERS)?;
        if kind(source, "pre_tokenizer", part)? == "Split" {
            pattern(source, "pre_tokenizer", part)?;
        }
    }
    Ok(())
}

/// Ids put before and after a text when special tokens are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Affixes {
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
}

/// Reads the post-processor: what it means for a single text.
pub(super) fn affixes(source: &Source, value: &Value) -> Result<Affixes, TokenizerError> {
    let mut affixes = Affixes::default();
    for part in flatten(source, "post_processor", "processors", value)? {
        let (before, after) = match kind(source, "post_processor", part)? {
            // Only moves character offsets, which we do not use.
            "ByteLevel" => (vec![], vec![]),
            "TemplateProcessing" => template_affixes(source, part)?,
            "RobertaProcessing" | "BertProcessing" => {
                (pair_id(source, part, "cls")?, pair_id(source, part, "sep")?)
            }
            other => return Err(source.unsupported(format!("post_processor '{other}'"))),
        };
        affixes.before.splice(0..0, before);
        affixes.after.extend(after);
        if affixes.before.len() + affixes.after.len() > MAX_AFFIX {
            return Err(source.invalid(format!("the post_processor adds more than {MAX_AFFIX} tokens")));
        }
    }
    Ok(affixes)
}

fn id_value(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// `"cls": ["<s>", 0]`.
fn pair_id(source: &Source, part: &Value, key: &str) -> Result<Vec<u32>, TokenizerError> {
    let id = part.get(key).and_then(|pair| pair.get(1)).and_then(id_value);
    id.map(|id| vec![id])
        .ok_or_else(|| source.invalid(format!("the post_processor's \"{key}\" has no token id")))
}

fn template_affixes(source: &Source, part: &Value) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    let bad = |what: &str| source.invalid(format!("the post_processor's template {what}"));
    let pieces = part.get("single").and_then(Value::as_array).ok_or_else(|| bad("has no list \"single\""))?;
    let (mut before, mut after, mut seen_text) = (vec![], vec![], false);
    for piece in pieces {
        if let Some(sequence) = piece.get("Sequence") {
            if seen_text || sequence.get("id").and_then(Value::as_str) != Some("A") {
                return Err(bad("uses another text than A, or uses it twice"));
            }
            seen_text = true;
            continue;
        }
        let name = piece
            .get("SpecialToken")
            .and_then(|token| token.get("id"))
            .and_then(Value::as_str)
            .ok_or_else(|| bad("has a piece that is neither a Sequence nor a SpecialToken"))?;
        let ids = part
            .get("special_tokens")
            .and_then(|tokens| tokens.get(name))
            .and_then(|token| token.get("ids"))
            .and_then(Value::as_array)
            .ok_or_else(|| bad(&format!("names '{name}' without giving its ids")))?;
        let side = if seen_text { &mut after } else { &mut before };
        if side.len() + ids.len() > MAX_AFFIX {
            return Err(bad(&format!("adds more than {MAX_AFFIX} tokens")));
        }
        for id in ids {
            side.push(id_value(id).ok_or_else(|| bad(&format!("gives '{name}' an id that is none")))?);
        }
    }
    if !seen_text {
        return Err(bad("leaves out the text"));
    }
    Ok((before, after))
}

/// How token texts become bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoding {
    /// Tokens are written in the byte-level alphabet.
    pub(super) byte_level: bool,
    /// `<0xXX>` is a byte.
    pub(super) byte_fallback: bool,
    /// Replacements inside each token, in order.
    pub(super) replacements: Vec<(String, String)>,
    pub(super) leading: LeadingSpace,
    /// No decoder at all: tokens are words, joined by spaces.
    pub(super) join_with_spaces: bool,
}

/// Reads the decoder.
pub(super) fn decoding(source: &Source, value: &Value) -> Result<Decoding, TokenizerError> {
    let mut decoding = Decoding {
        byte_level: false,
        byte_fallback: false,
        replacements: vec![],
        leading: LeadingSpace::Keep,
        join_with_spaces: value.is_null(),
    };
    let mut fused = false;
    for part in flatten(source, "decoder", "decoders", value)? {
        let text = |key| part.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        match kind(source, "decoder", part)? {
            "ByteLevel" => decoding.byte_level = true,
            "ByteFallback" => decoding.byte_fallback = true,
            "Fuse" => fused = true,
            "Replace" => {
                let (pattern, is_regex) = pattern(source, "decoder", part)?;
                if is_regex || pattern.is_empty() || text("content").len() > 4 * pattern.len() {
                    return Err(source.unsupported("this Replace in the decoder"));
                }
                decoding.replacements.push((pattern.to_string(), text("content")));
            }
            "Strip" => {
                let count = |key| part.get(key).and_then(Value::as_u64).unwrap_or(0);
                if !fused || text("content") != " " || count("stop") != 0 || count("start") > 8 {
                    return Err(source.unsupported("this Strip in the decoder"));
                }
                decoding.leading = LeadingSpace::StripFromText(count("start") as usize);
            }
            "Metaspace" => {
                let replacement = part.get("replacement").and_then(Value::as_str).unwrap_or("▁");
                decoding.replacements.push((replacement.to_string(), " ".to_string()));
                let never = part.get("prepend_scheme").and_then(Value::as_str) == Some("never")
                    || part.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
                if !never {
                    decoding.leading = LeadingSpace::StripFromFirstToken;
                }
            }
            other => return Err(source.unsupported(format!("decoder '{other}'"))),
        }
    }
    Ok(decoding)
}
