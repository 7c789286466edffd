//! Names in a text: people, places, organisations, titles; how two of them can be the same.

use super::lexicon;
use super::quantities::Quantity;
use super::tokens::{Token, TokenKind};

/// A name.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Its words in lower case, without those that only join.
    pub words: Vec<String>,
    /// First letters of its words, for two words and more.
    pub initials: String,
    /// Its first token.
    pub first: usize,
    /// One past its last token.
    pub last: usize,
    /// Whether it was marked as a name or title by quotation marks, in Chinese.
    pub quoted: bool,
}

const JOINING: &[&str] =
    &["of", "the", "de", "van", "von", "der", "den", "la", "du", "da", "al", "bin", "for", "and", "&"];
const TITLES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "dr",
    "sir",
    "lord",
    "lady",
    "prof",
    "professor",
    "president",
    "king",
    "queen",
    "judge",
    "general",
    "inc",
    "ltd",
    "corp",
    "co",
];

/// The names of a text in their order. English names begin with capitals; Chinese ones are known only where marks show
/// them (《》, 「」, “”), the others are words like all words.
pub fn names(tokens: &[Token], quantities: &[Quantity]) -> Vec<Name> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let name = english(tokens, quantities, at).or_else(|| marked(tokens, at));
        at = name.as_ref().map_or(at + 1, |name| name.last);
        found.extend(name);
    }
    found
}

/// Whether a token is a word of a name by its looks.
fn is_part(tokens: &[Token], quantities: &[Quantity], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    let dated = quantities.iter().any(|quantity| (quantity.first..quantity.last).contains(&at));
    token.kind == TokenKind::Word && token.capital && !dated
}

fn english(tokens: &[Token], quantities: &[Quantity], at: usize) -> Option<Name> {
    let token = &tokens[at];
    if !is_part(tokens, quantities, at) || lexicon::is_stop(&token.text) {
        return None;
    }
    let mut last = at + 1;
    loop {
        let joined = (last..last + 2).find(|next| {
            is_part(tokens, quantities, *next)
                && tokens[last..*next].iter().all(|t| JOINING.contains(&t.text.as_str()))
        });
        // "J. Smith": the point of an initial.
        let point = tokens.get(last).is_some_and(|t| t.text == "." && tokens[last - 1].text.len() == 1)
            && is_part(tokens, quantities, last + 1);
        match joined {
            Some(next) if !tokens[next].first && last - at < 8 => last = next + 1,
            _ if point => last += 2,
            _ => break,
        }
    }
    // The first word of a sentence is a capital anyway: a name only if it goes on or is no common word.
    if token.first
        && last == at + 1
        && lexicon::is_common(&token.stem)
        && token.text.chars().nth(1).is_none_or(char::is_lowercase)
    {
        return None;
    }
    let part = |token: &&Token| {
        let text = token.text.as_str();
        token.kind == TokenKind::Word && !JOINING.contains(&text) && !TITLES.contains(&text)
    };
    let words: Vec<String> = tokens[at..last].iter().filter(part).map(|token| token.text.clone()).collect();
    let initials: String = words.iter().filter_map(|word| word.chars().next()).collect();
    (!words.is_empty()).then_some(Name { words, initials, first: at, last, quoted: false })
}

fn marked(tokens: &[Token], at: usize) -> Option<Name> {
    let close = match tokens[at].text.as_str() {
        "《" => "》",
        "「" => "」",
        "『" => "』",
        "“" => "”",
        _ => return None,
    };
    let length = tokens[at + 1..].iter().take(24).position(|token| token.text == close)?;
    let inside = &tokens[at + 1..at + 1 + length];
    let han = inside.iter().any(|token| token.kind == TokenKind::Han);
    let word: String = inside.iter().map(|token| token.text.as_str()).collect();
    (han && length > 0).then(|| Name {
        words: vec![word],
        initials: String::new(),
        first: at + 1,
        last: at + 1 + length,
        quoted: true,
    })
}
