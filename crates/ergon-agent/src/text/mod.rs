//! Text as the checks need it: tokens, quantities, names, and the terms that carry a sentence, in English and Chinese.

mod common;
pub mod cues;
mod dates;
mod information;
pub mod lexicon;
pub mod names;
mod near;
mod numerals;
pub mod quantities;
mod rank;
pub mod tokens;
mod units;

pub use dates::Date;
pub use rank::rank;
pub use units::{Dimension, Unit};

use lexicon::Alike;
use names::Name;
use quantities::Quantity;
use tokens::{Token, TokenKind};

/// A word that carries meaning, or two Chinese characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Stem in lower case, or the characters.
    pub key: String,
    /// Its token; of two characters, the first.
    pub token: usize,
    /// How much it tells, from 0 to 1.
    pub information: f32,
    /// Whether a negation denies it.
    pub negated: bool,
    /// Words that can stand for it.
    pub alike: Alike,
    /// Whether it belongs to a name.
    pub in_name: bool,
}

/// A text taken apart.
#[derive(Clone, Debug, Default)]
pub struct Analysed {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its quantities.
    pub quantities: Vec<Quantity>,
    /// Its names.
    pub names: Vec<Name>,
    /// Its terms; what belongs to a quantity is in none.
    pub terms: Vec<Term>,
}

impl Analysed {
    /// Whether the text is Chinese rather than English: most of its words are.
    pub fn is_han(&self) -> bool {
        let count = |kind: TokenKind| self.tokens.iter().filter(|token| token.kind == kind).count();
        count(TokenKind::Han) > 2 * count(TokenKind::Word)
    }
}

/// Longest text that is taken apart, in bytes: a claim or a sentence. What is longer is cut at a character, so that no cost
/// grows with a file that has no sentence ends.
pub const LONGEST: usize = 2000;

/// The beginning of a text that is looked at.
pub fn cut(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Takes a claim or a sentence apart.
pub fn analyse(text: &str) -> Analysed {
    let tokens = tokens::tokenize(cut(text));
    let quantities = quantities::quantities(&tokens);
    let names = names::names(&tokens, &quantities);
    let terms = terms(&tokens, &quantities, &names);
    Analysed { tokens, quantities, names, terms }
}

/// What two Chinese characters tell: as much as an English word of WiCE's claims does on average. There is no Chinese table.
const HAN: f32 = 0.37;

fn terms(tokens: &[Token], quantities: &[Quantity], names: &[Name]) -> Vec<Term> {
    let negated = cues::negated(tokens);
    let mut taken = vec![false; tokens.len()];
    let mut named = vec![false; tokens.len()];
    quantities.iter().for_each(|quantity| taken[quantity.first..quantity.last].fill(true));
    names.iter().for_each(|name| named[name.first..name.last].fill(true));
    let is_han = |at: usize| {
        let token = tokens.get(at).filter(|token| token.kind == TokenKind::Han && !taken[at]);
        token.is_some_and(|token| !lexicon::is_han_stop(&token.text))
    };
    let mut terms = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let key = match token.kind {
            TokenKind::Word if taken[at] || lexicon::is_stop(&token.text) => continue,
            TokenKind::Word => token.stem.clone(),
            TokenKind::Han if !is_han(at) => continue,
            TokenKind::Han if is_han(at + 1) => format!("{}{}", token.text, tokens[at + 1].text),
            TokenKind::Han if at > 0 && is_han(at - 1) => continue,
            TokenKind::Han => token.text.clone(),
            TokenKind::Number | TokenKind::Mark => continue,
        };
        let information = if token.kind == TokenKind::Han { HAN } else { lexicon::information(&token.stem) };
        let alike = lexicon::alike(&key);
        terms.push(Term { key, token: at, information, negated: negated[at], alike, in_name: named[at] });
    }
    terms
}
