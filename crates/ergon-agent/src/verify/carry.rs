//! What a sentence that begins with a pronoun speaks of: the subject of the sentence before it.

use ergon_types::Passage;

use crate::text::tokens::TokenKind;
use crate::text::{self, lexicon};

const PRONOUNS: &[&str] =
    &["he", "she", "it", "they", "his", "her", "its", "their", "this", "these", "他", "她", "它", "该", "其"];
/// Characters that may lie between two sentences that follow each other.
const BETWEEN: usize = 3;

/// The texts of a source's sentences in the order of the document; where one begins with a pronoun and the sentence before it
/// is there too, that one's subject stands before it. Less of the sentences never gives a longer text.
pub(super) fn carried(passages: &[&Passage]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::with_capacity(passages.len());
    for (at, passage) in passages.iter().enumerate() {
        let own = text::cut(&passage.text);
        let before = at.checked_sub(1).filter(|before| {
            let end = passages[*before].end_char;
            (end..=end + BETWEEN).contains(&passage.start_char)
        });
        let subject = before.filter(|_| begins_with_pronoun(own)).and_then(|before| subject(&texts[before]));
        // The mark keeps the subject and a capital behind it from being read as one name.
        texts.push(subject.map_or_else(|| own.to_string(), |subject| format!("{subject}: {own}")));
    }
    texts
}

fn begins_with_pronoun(sentence: &str) -> bool {
    let head = sentence.char_indices().nth(24).map_or(sentence, |(end, _)| &sentence[..end]);
    let tokens = text::tokens::tokenize(head);
    tokens
        .iter()
        .find(|token| token.kind != TokenKind::Mark)
        .is_some_and(|token| PRONOUNS.contains(&token.text.as_str()))
}

/// What a sentence is about, by its beginning: its first name, or its first words up to the first that only joins.
fn subject(sentence: &str) -> Option<&str> {
    let analysed = text::analyse(sentence);
    let tokens = &analysed.tokens;
    if let Some(name) = analysed.names.first().filter(|name| name.first < 8 && !name.quoted) {
        return sentence.get(tokens[name.first].start..tokens[name.last - 1].end);
    }
    let first = analysed.terms.first()?.token;
    let joins = |token: &text::tokens::Token| match token.kind {
        TokenKind::Han => lexicon::is_han_stop(&token.text),
        TokenKind::Word => lexicon::is_stop(&token.text),
        _ => true,
    };
    let length = tokens[first..].iter().take(6).position(joins).unwrap_or(1).max(1);
    sentence.get(tokens[first].start..tokens[first + length - 1].end)
}
