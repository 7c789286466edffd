//! From the parts of a tokenizer, whatever file they came from, to a tokenizer.

use super::{
    Tokenizer,
    components::{self, Decoding},
    error::{Source, TokenizerError},
    pieces::{self, MAX_TOKEN_BYTES, MAX_TOKENS, Piece, PieceTable},
    spm::SentencePieceBpe,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use tokenizers::{
    AddedToken, ModelWrapper,
    models::{
        bpe::{self, BPE},
        unigram::Unigram,
        wordlevel::WordLevel,
    },
};

/// Most merges accepted; published tokenizers have up to 600 thousand.
pub(super) const MAX_MERGES: usize = 1 << 20;
/// Bytes of all added tokens together: their search automaton takes a multiple of it.
const MAX_ADDED_BYTES: usize = 2 << 20;

/// How words are cut into tokens.
pub(super) enum ModelParts {
    /// Byte-pair encoding with a list of merges.
    Bpe {
        vocabulary: Vec<(String, u32)>,
        merges: Vec<(String, String)>,
        unknown: Option<String>,
        fuse_unknown: bool,
        byte_fallback: bool,
        ignore_merges: bool,
    },
    /// Byte-pair encoding with a score for each token; the id is the index.
    SentencePiece { tokens: Vec<String>, scores: Vec<f32>, unknown: Option<u32> },
    /// Most probable segmentation; the id is the index.
    Unigram { vocabulary: Vec<(String, f64)>, unknown: Option<usize>, byte_fallback: bool },
    /// Whole words.
    WordLevel { vocabulary: Vec<(String, u32)>, unknown: String },
}

impl ModelParts {
    fn vocabulary(&self) -> Vec<(&str, u32)> {
        match self {
            ModelParts::Bpe { vocabulary, .. } | ModelParts::WordLevel { vocabulary, .. } => {
                vocabulary.iter().map(|(token, id)| (token.as_str(), *id)).collect()
            }
            ModelParts::SentencePiece { tokens, .. } => {
                tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id as u32)).collect()
            }
            ModelParts::Unigram { vocabulary, .. } => {
                vocabulary.iter().enumerate().map(|(id, (token, _))| (token.as_str(), id as u32)).collect()
            }
        }
    }
}

/// A token that is found in the text as it stands, before anything else happens to the text.
pub(super) struct AddedPart {
    pub(super) id: u32,
    pub(super) token: AddedToken,
}

/// Everything that makes a tokenizer.
pub(super) struct Parts {
    pub(super) model: ModelParts,
    pub(super) added: Vec<AddedPart>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
}

impl Parts {
    /// Checks the parts against each other and builds the tokenizer.
    pub(super) fn build(self, source: &Source) -> Result<Tokenizer, TokenizerError> {
        components::check_normalizer(source, &self.normalizer)?;
        components::check_pre_tokenizer(source, &self.pre_tokenizer)?;
        let affixes = components::affixes(source, &self.post_processor)?;
        let decoding = components::decoding(source, &self.decoder)?;
        let vocabulary = self.model.vocabulary();
        check_vocabulary(source, &vocabulary)?;
        check_added(source, &vocabulary, &self.added)?;
        let pieces = piece_table(&vocabulary, &self.added, &decoding);
        for id in affixes.before.iter().chain(&affixes.after) {
            if pieces.get(*id).is_none() {
                return Err(
                    source.invalid(format!("the post_processor adds token {id}, which does not exist"))
                );
            }
        }
        let (model, sentence_piece) = build_model(source, self.model)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let part = |name: &str, error: serde_json::Error| source.invalid(format!("{name}: {error}"));
        if !self.normalizer.is_null() {
            let normalizer: tokenizers::NormalizerWrapper =
                serde_json::from_value(self.normalizer).map_err(|error| part("normalizer", error))?;
            inner.with_normalizer(Some(normalizer));
        }
        if !self.pre_tokenizer.is_null() {
            let pre_tokenizer: tokenizers::PreTokenizerWrapper =
                serde_json::from_value(self.pre_tokenizer).map_err(|error| part("pre_tokenizer", error))?;
            inner.with_pre_tokenizer(Some(pre_tokenizer));
        }
        add_tokens(source, &mut inner, &self.added)?;
        let known = |id: &u32| pieces.get(*id).is_some();
        Ok(Tokenizer {
            bos: self.bos.filter(known),
            eos: self.eos.filter(known),
            inner,
            sentence_piece,
            affixes,
            leading: decoding.leading,
            words_are_joined_by_spaces: decoding.join_with_spaces,
            pieces,
            post_processor: self.post_processor,
            decoder: self.decoder,
        })
    }
}

fn check_vocabulary(source: &Source, vocabulary: &[(&str, u32)]) -> Result<(), TokenizerError> {
    if vocabulary.is_empty() {
        return Err(source.invalid("the vocabulary is empty"));
    }
    let mut by_id = HashMap::with_capacity(vocabulary.len());
    let mut by_token = HashMap::with_capacity(vocabulary.len());
    for (token, id) in vocabulary {
        check_token(source, token, *id)?;
        if let Some(other) = by_id.insert(*id, *token) {
            return Err(source.invalid(format!("id {id} stands for both '{other}' and '{token}'")));
        }
        if let Some(other) = by_token.insert(*token, *id) {
            return Err(source.invalid(format!("token '{token}' has both id {other} and id {id}")));
        }
    }
    Ok(())
}

fn check_token(source: &Source, token: &str, id: u32) -> Result<(), TokenizerError> {
    if id as usize >= MAX_TOKENS {
        return Err(source.invalid(format!("token id {id} is beyond the most accepted, {MAX_TOKENS}")));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(
            source.invalid(format!("token {id} is {} bytes long, more than {MAX_TOKEN_BYTES}", token.len()))
        );
    }
    Ok(())
}

fn check_added(
    source: &Source,
    vocabulary: &[(&str, u32)],
    added: &[AddedPart],
) -> Result<(), TokenizerError> {
    let tokens: HashMap<&str, u32> = vocabulary.iter().copied().collect();
    let ids: HashSet<u32> = vocabulary.iter().map(|(_, id)| *id).collect();
    let mut total = 0;
    for AddedPart { id, token } in added {
        check_token(source, &token.content, *id)?;
        if token.content.is_empty() {
            return Err(source.invalid(format!("added token {id} is empty")));
        }
        match tokens.get(token.content.as_str()) {
            Some(own) if own != id => {
                let content = &token.content;
                return Err(
                    source.invalid(format!("added token '{content}' has id {id}, in the vocabulary {own}"))
                );
            }
            None if ids.contains(id) => {
                let content = &token.content;
                return Err(
                    source.invalid(format!("added token '{content}' takes id {id} from another token"))
                );
            }
            _ => {}
        }
        total += token.content.len();
    }
    if total > MAX_ADDED_BYTES {
        return Err(
            source.invalid(format!("the added tokens are {total} bytes long, more than {MAX_ADDED_BYTES}"))
        );
    }
    // The crate's matcher panics when a match that eats the spaces to its right has eaten a token that starts with
    // space and itself eats to its left: the cut would end before it starts.
    let eats_right = added.iter().any(|part| part.token.rstrip);
    let starts_with_space = |part: &AddedPart| part.token.content.starts_with(char::is_whitespace);
    if eats_right && added.iter().any(|part| part.token.lstrip && starts_with_space(part)) {
        return Err(
            source.invalid("added tokens that strip spaces to their right meet one that starts with space")
        );
    }
    Ok(())
}

fn piece_table(vocabulary: &[(&str, u32)], added: &[AddedPart], decoding: &Decoding) -> PieceTable {
    let mut all = Vec::with_capacity(vocabulary.len() + added.len());
    for (token, id) in vocabulary {
        let bytes = match pieces::byte_token(token).filter(|_| decoding.byte_fallback) {
            Some(byte) => vec![byte],
            None if decoding.byte_level => pieces::byte_level_bytes(token),
            None => replace_in(token, decoding).into_bytes(),
        };
        all.push(Piece { id: *id, bytes, special: false });
    }
    for AddedPart { id, token } in added {
        // Special tokens are shown as written; other added tokens (runs of `▁`, say) are text like any other, but not
        // in the byte-level alphabet, in which an added "é" would be a stray byte.
        let text = if token.special { token.content.clone() } else { replace_in(&token.content, decoding) };
        all.push(Piece { id: *id, bytes: text.into_bytes(), special: token.special });
    }
    PieceTable::new(all)
}

fn replace_in(token: &str, decoding: &Decoding) -> String {
    decoding.replacements.iter().fold(token.to_string(), |text, (from, to)| text.replace(from.as_str(), to))
}

/// Loads the added tokens and sees to it that each got the id it was declared with.
fn add_tokens(
    source: &Source,
    inner: &mut tokenizers::Tokenizer,
    added: &[AddedPart],
) -> Result<(), TokenizerError> {
    let mut in_order: Vec<&AddedPart> = added.iter().collect();
    in_order.sort_by_key(|part| part.id);
    let tokens: Vec<AddedToken> = in_order.iter().map(|part| part.token.clone()).collect();
    inner.add_tokens(&tokens);
    for AddedPart { id, token } in in_order {
        if inner.token_to_id(&token.content) != Some(*id) {
            let got = inner.token_to_id(&token.content).unwrap_or_default();
            let content = &token.content;
            return Err(source.invalid(format!(
                "added token '{content}' has id {id}, but the ids before it leave it {got}: the list has a gap"
            )));
        }
        if token.normalized {
            let mut text = tokenizers::NormalizedString::from(token.content.as_str());
            if let Some(normalizer) = inner.get_normalizer() {
                tokenizers::Normalizer::normalize(normalizer, &mut text)
                    .map_err(|error| source.invalid(format!("normalizer: {error}")))?;
            }
            if text.get().is_empty() {
                return Err(source.invalid(format!("added token {id} is empty once normalized")));
            }
        }
    }
    Ok(())
}

fn build_model(
    source: &Source,
    model: ModelParts,
) -> Result<(ModelWrapper, Option<SentencePieceBpe>), TokenizerError> {
    let failed = |error: tokenizers::Error| source.invalid(format!("model: {error}"));
    Ok(match model {
        ModelParts::Bpe { vocabulary, merges, unknown, fuse_unknown, byte_fallback, ignore_merges } => {
            let model =
                build_bpe(source, vocabulary, merges, unknown, fuse_unknown, byte_fallback, ignore_merges)?;
            (ModelWrapper::from(model), None)
        }
        ModelParts::SentencePiece { tokens, scores, unknown } => {
            let segmenter = SentencePieceBpe::new(source, &tokens, scores, unknown)?;
            let unknown = unknown.and_then(|id| tokens.get(id as usize)).cloned();
            let vocabulary = tokens.into_iter().zip(0u32..).collect();
            // Holds the vocabulary only: the segmenter does the cutting.
            let model = build_bpe(source, vocabulary, vec![], unknown, true, true, false)?;
            (ModelWrapper::from(model), Some(segmenter))
        }
        ModelParts::Unigram { vocabulary, unknown, byte_fallback } => {
            if unknown.is_none() {
                return Err(source.invalid("the Unigram model has no unknown token"));
            }
            (ModelWrapper::from(Unigram::from(vocabulary, unknown, byte_fallback).map_err(failed)?), None)
        }
        ModelParts::WordLevel { vocabulary, unknown } => {
            let vocabulary: bpe::Vocab = vocabulary.into_iter().collect();
            let model = WordLevel::builder().vocab(vocabulary).unk_token(unknown).build().map_err(failed)?;
            (ModelWrapper::from(model), None)
        }
    })
}

/// A BPE model of the `tokenizers` crate; every merge must join two tokens into a third.
pub(super) fn build_bpe(
    source: &Source,
    vocabulary: Vec<(String, u32)>,
    merges: Vec<(String, String)>,
    unknown: Option<String>,
    fuse_unknown: bool,
    byte_fallback: bool,
    ignore_merges: bool,
) -> Result<BPE, TokenizerError> {
    let vocabulary: bpe::Vocab = vocabulary.into_iter().collect();
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .fuse_unk(fuse_unknown)
        .byte_fallback(byte_fallback)
        .ignore_merges(ignore_merges);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(|error| source.invalid(format!("merges: {error}")))
}

/// The affixes of a tokenizer that puts `bos` before and `eos` after a text, as a `TemplateProcessing` description.
pub(super) fn template(bos: Option<(&str, u32)>, eos: Option<(&str, u32)>) -> Value {
    let special = |token: &Option<(&str, u32)>| {
        token.map(|(name, _)| serde_json::json!({"SpecialToken": {"id": name, "type_id": 0}}))
    };
    let text = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    let single: Vec<Value> = special(&bos).into_iter().chain([text("A")]).chain(special(&eos)).collect();
    let pair: Vec<Value> =
        single.iter().cloned().chain(special(&bos)).chain([text("B")]).chain(special(&eos)).collect();
    let mut tokens = serde_json::Map::new();
    for (name, id) in bos.into_iter().chain(eos) {
        tokens.insert(name.to_string(), serde_json::json!({"id": name, "ids": [id], "tokens": [name]}));
    }
    serde_json::json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
    })
}
