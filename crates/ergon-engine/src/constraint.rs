//! Output that follows a grammar: JSON schema, any JSON object, or a regular expression.
//!
//! `llguidance` walks the grammar byte by byte over a prefix tree of the vocabulary and says which tokens may come
//! next; the sampler masks all others. A [`ConstraintCompiler`] holds the prefix tree of one tokenizer (built once), a
//! [`Constraint`] the position of one sequence in its grammar.

use std::sync::Arc;

use ergon_checkpoint::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use thiserror::Error;
use toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};

use crate::sampler::TokenMask;

/// Largest grammar source that is compiled, in bytes.
pub const MAX_GRAMMAR_BYTES: usize = 1 << 20;
/// Bytes of a token above which it is left out of the prefix tree (`toktrie` stores depths in 10 bits).
const MAX_TOKEN_BYTES: usize = 1000;
/// Tokens that the prefix tree can tell apart (`toktrie` stores ids in 24 bits).
const MAX_VOCAB: usize = (1 << 24) - 2;
/// Longest piece of an error of the grammar compiler that is passed on.
const MAX_ERROR_CHARS: usize = 300;
/// White space between the tokens of JSON is limited to this many characters, or a model could write it for ever.
const MAX_JSON_SPACE: usize = 64;

/// What the output must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A JSON document that matches this JSON schema (the text of the schema). Keywords that cannot be enforced are
    /// refused.
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// Text that matches this regular expression (Rust syntax, no look-around) from beginning to end.
    Regex(String),
}

/// A grammar that cannot be followed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConstraintError {
    /// The vocabulary cannot be used for constrained output.
    #[error("constrained output is not possible with this tokenizer: {reason}")]
    Vocabulary {
        /// Why.
        reason: String,
    },
    /// The source is longer than [`MAX_GRAMMAR_BYTES`].
    #[error("the {what} has {bytes} bytes, at most {MAX_GRAMMAR_BYTES} are accepted")]
    TooLarge {
        /// JSON schema or regular expression.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The source is wrong, not supported, or too complex.
    #[error("cannot use the {what}: {reason}")]
    Grammar {
        /// JSON schema or regular expression.
        what: &'static str,
        /// First line of what the compiler says.
        reason: String,
    },
    /// The grammar could not be followed to its end.
    #[error("constrained output failed: {reason}")]
    Failed {
        /// First line of what the parser says.
        reason: String,
    },
}

impl Grammar {
    fn name(&self) -> &'static str {
        match self {
            Grammar::JsonSchema(_) => "JSON schema",
            Grammar::JsonObject => "JSON grammar",
            Grammar::Regex(_) => "regular expression",
        }
    }

    fn source_len(&self) -> usize {
        match self {
            Grammar::JsonSchema(source) | Grammar::Regex(source) => source.len(),
            Grammar::JsonObject => 0,
        }
    }
}

/// Compiles grammars against one tokenizer.
pub struct ConstraintCompiler {
    factory: ParserFactory,
}

impl ConstraintCompiler {
    /// Builds the prefix tree (about a second for 150 000 tokens in a debug build, a tenth of that optimised).
    /// `vocab_size` is the width of the model's logits, which may be padded past the tokenizer's vocabulary;
    /// `eos_ids` are the tokens that end an output.
    pub fn new(
        tokenizer: &Tokenizer,
        vocab_size: usize,
        eos_ids: &[u32],
    ) -> Result<ConstraintCompiler, ConstraintError> {
        let special = |id: u32| {
            let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            word.extend_from_slice(format!("<[{id}]>").as_bytes());
            word
        };
        if vocab_size > MAX_VOCAB {
            let reason = format!("its {vocab_size} tokens are more than {MAX_VOCAB}");
            return Err(ConstraintError::Vocabulary { reason });
        }
        let words = (0..vocab_size as u32)
            .map(|id| {
                if tokenizer.is_special(id) {
                    special(id)
                } else {
                    tokenizer.token_bytes(id).unwrap_or_default()
                }
            })
            .collect();
        ConstraintCompiler::from_words(words, eos_ids)
    }

    /// `words[id]`: the bytes of a token; empty for tokens that spell nothing, which are never chosen.
    fn from_words(mut words: Vec<Vec<u8>>, eos_ids: &[u32]) -> Result<ConstraintCompiler, ConstraintError> {
        let vocabulary = |reason: String| ConstraintError::Vocabulary { reason };
        words.iter_mut().filter(|word| word.len() > MAX_TOKEN_BYTES).for_each(Vec::clear);
        if words.iter().all(Vec::is_empty) {
            return Err(vocabulary("none of its tokens spells any text".to_string()));
        }
        let vocab_size = words.len() as u32;
        let eos: Vec<u32> = eos_ids.iter().copied().filter(|&id| id < vocab_size).collect();
        let info = TokRxInfo::new(vocab_size, eos.first().copied().unwrap_or(toktrie::INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if eos.len() > 1 {
            trie = trie.with_eos_tokens(&eos);
        }
        // Approximate: a text may be spelled in any way the vocabulary allows. The model chooses among the spellings;
        // it is not pushed towards one by forcing the tokens of the tokenizer.
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| vocabulary(short(&e.to_string())))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            // One or two kB each: at most about 100 MB for the worst grammar.
            max_lexer_states: 50_000,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(ConstraintCompiler { factory })
    }

    /// Compiles a grammar; the constraint stands at its beginning.
    /// Errors: a source that is too large, wrong, not supported or too complex.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, ConstraintError> {
        let what = grammar.name();
        let bytes = grammar.source_len();
        if bytes > MAX_GRAMMAR_BYTES {
            return Err(ConstraintError::TooLarge { what, bytes });
        }
        let wrong = |reason: String| ConstraintError::Grammar { what, reason };
        let top = match grammar {
            Grammar::JsonSchema(schema) => {
                TopLevelGrammar::from_tagged_str("json_schema", &with_bounded_space(schema))
            }
            Grammar::JsonObject => {
                TopLevelGrammar::from_tagged_str("json_schema", &with_bounded_space(r#"{"type": "object"}"#))
            }
            Grammar::Regex(pattern) => TopLevelGrammar::from_tagged_str("regex", pattern),
        };
        let top = top.map_err(|e| wrong(short(&e.to_string())))?;
        let parser = self.factory.create_parser_from_init_ext(
            llguidance::api::GrammarInit::Serialized(top),
            llguidance::Logger::new(0, 0),
            InferenceCapabilities::default(),
            self.factory.limits().clone(),
        );
        let mut constraint = Constraint { matcher: Matcher::new(parser), mask: None };
        if let Some(error) = constraint.matcher.get_error() {
            return Err(wrong(short(&error)));
        }
        // The first mask also says whether the vocabulary can begin to spell the grammar at all.
        let spellable = constraint.compute_mask();
        spellable
            .map_err(|_| wrong("the model's tokens cannot spell anything that it allows".to_string()))?;
        Ok(constraint)
    }
}

/// The schema with a bound on white space, unless it sets options of `llguidance` itself. Done on the text, so that
/// the schema needs no JSON library here; a text that is no JSON object is left for the compiler to refuse.
fn with_bounded_space(schema: &str) -> String {
    let Some(rest) = schema.trim_start().strip_prefix('{') else { return schema.to_string() };
    if schema.contains("\"x-guidance\"") {
        return schema.to_string();
    }
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!(r#"{{"x-guidance":{{"whitespace_pattern":"[ \\n\\r\\t]{{1,{MAX_JSON_SPACE}}}"}}{comma}{rest}"#)
}

/// First line, and the line that names the cause where a drawing of the place stands between; cut to a length a person
/// reads.
fn short(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = lines.next().unwrap_or("no reason given").to_string();
    if let Some(cause) = lines.find_map(|line| line.strip_prefix("error: ")) {
        line = format!("{line} {cause}");
    }
    match line.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// One sequence's position in a grammar.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    /// Mask of the present position, once computed.
    mask: Option<SimpleVob>,
}

impl Constraint {
    /// Which tokens may come next. Errors: the grammar became too complex, or no token can go on.
    pub(crate) fn mask(&mut self) -> Result<TokenMask<'_>, ConstraintError> {
        Ok(TokenMask(self.compute_mask()?.as_slice()))
    }

    /// The only token that may come next, if there is only one: it needs no forward pass to choose it.
    pub(crate) fn forced(&mut self) -> Result<Option<u32>, ConstraintError> {
        let mask = self.compute_mask()?;
        let first = mask.first_bit_set();
        Ok(first.filter(|_| mask.num_set() == 1).map(|token| token as u32))
    }

    /// Takes a step along the grammar. Errors: `token` is not allowed here.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.mask = None;
        self.matcher.consume_token(token).map_err(failed)
    }

    /// Whether the grammar has ended and nothing may follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }

    fn compute_mask(&mut self) -> Result<&SimpleVob, ConstraintError> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => self.matcher.compute_mask_or_eos().map_err(failed)?,
        };
        Ok(self.mask.insert(mask))
    }
}

fn failed(error: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Failed { reason: short(&error.to_string()) }
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
