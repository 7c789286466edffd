//! A short answer to a question out of each document, by the kind of answer that the question asks for.

use super::wording::{CUES, Kind, kind};
use crate::text::quantities::{Quantity, Value};
use crate::text::tokens::{Token, TokenKind};
use crate::text::{Analysed, Term, analyse, lexicon};

/// A short answer, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The characters, unchanged.
    pub text: String,
    /// First character in the document, counted in Unicode code points.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// How well its surroundings fit the question; more is better, on no fixed scale.
    pub score: f32,
}

/// Least part of the question's own names and words that a document must hold to be asked at all.
const ABOUT: f32 = 0.5;
/// Longest beginning of a document that is read, in bytes.
const READ: usize = 64 * 1024;

/// For each document its best short answer, or none where the document does not speak about what is asked. The question's
/// wording alone decides what is looked for; nothing else is known of the right answer. Linear in the documents' lengths.
pub fn extract(question: &str, documents: &[&str]) -> Vec<Option<Answer>> {
    let asked = analyse(question);
    let kind = kind(question);
    documents.iter().map(|text| best(&asked, kind, text)).collect()
}

/// Pieces of a document that are looked at one by one, as byte ranges: sentences, roughly, none very long.
fn pieces(text: &str) -> Vec<std::ops::Range<usize>> {
    let end = (0..=READ.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, c) in text[..end].char_indices() {
        let sentence = c.is_whitespace() && matches!(before, '.' | '!' | '?') && at - start > 60;
        if sentence || matches!(c, '。' | '\n') || at - start > 1500 {
            pieces.push(start..at + c.len_utf8());
            start = at + c.len_utf8();
        }
        before = c;
    }
    pieces.push(start..end);
    pieces
}

fn best(asked: &Analysed, kind: Kind, text: &str) -> Option<Answer> {
    let pieces = pieces(text);
    let analysed: Vec<Analysed> = pieces.iter().map(|range| analyse(&text[range.clone()])).collect();
    let tells = |term: &Term| lexicon::information_asked(&term.key);
    let total: f32 = asked.terms.iter().map(tells).sum();
    let part = |piece: &Analysed| -> f32 {
        let has = |key: &str| piece.terms.iter().any(|other| other.key == key);
        asked.terms.iter().filter(|term| has(&term.key)).map(tells).sum::<f32>() / total.max(0.1)
    };
    let parts: Vec<f32> = analysed.iter().map(part).collect();
    let has = |key: &str| analysed.iter().any(|piece| piece.terms.iter().any(|term| term.key == key));
    let names: Vec<_> = asked.terms.iter().filter(|term| term.in_name).collect();
    let held = names.iter().filter(|term| has(&term.key)).count() as f32;
    if !names.is_empty() && held / (names.len() as f32) < ABOUT {
        return None;
    }
    let cues = cues(asked);
    let mut found: Option<(f32, std::ops::Range<usize>)> = None;
    for (at, (range, piece)) in pieces.iter().zip(&analysed).enumerate() {
        let early = 0.4 / (1.0 + at as f32);
        for (first, last) in spans(piece, kind, asked) {
            let score = parts[at] + early + near(piece, &cues, kind, first, last);
            if found.as_ref().is_none_or(|(best, _)| score > *best) {
                let span = piece.tokens[first].start..piece.tokens[last - 1].end;
                found = Some((score, range.start + span.start..range.start + span.end));
            }
        }
    }
    let (score, span) = found?;
    let answer = text.get(span.clone())?;
    let start_char = text[..span.start].chars().count();
    let end_char = start_char + answer.chars().count();
    Some(Answer { text: answer.to_string(), start_char, end_char, score })
}

/// Words beside which the answer is expected.
fn cues(asked: &Analysed) -> Vec<&'static str> {
    let has = |word: &str| asked.tokens.iter().any(|token| token.text == word);
    CUES.iter().filter(|(word, _)| has(word)).flat_map(|(_, cues)| cues.iter().copied()).collect()
}

/// How near the expected words stand, the nearer the better; dates and names mostly follow them.
fn near(piece: &Analysed, cues: &[&str], kind: Kind, first: usize, last: usize) -> f32 {
    let of = |(at, token): (usize, &Token)| {
        if !cues.contains(&token.text.as_str()) {
            return 0.0;
        }
        let (distance, side) = if at < first {
            (first - at, 1.0)
        } else if at >= last {
            (at + 1 - last, if kind == Kind::Number { 1.0 } else { 0.5 })
        } else {
            return 0.0;
        };
        side * 1.6 / (1.0 + distance as f32).sqrt()
    };
    piece.tokens.iter().enumerate().map(of).fold(0.0, f32::max)
}

/// Candidates of a kind, as ranges of tokens.
fn spans(piece: &Analysed, kind: Kind, asked: &Analysed) -> Vec<(usize, usize)> {
    let quantity = |wanted: fn(&Value) -> bool| {
        let of = move |quantity: &&Quantity| wanted(&quantity.value);
        piece.quantities.iter().filter(of).map(|quantity| (quantity.first, quantity.last)).collect::<Vec<_>>()
    };
    let in_question =
        |words: &[String]| words.iter().all(|word| asked.tokens.iter().any(|token| token.text == *word));
    match kind {
        Kind::Date => {
            quantity(|value| matches!(value, Value::Date(date) if date.year.is_some() && !date.decade))
        }
        Kind::Number => quantity(|value| matches!(value, Value::Number { .. })),
        Kind::Name | Kind::Place => {
            let names = piece.names.iter().filter(|name| !in_question(&name.words) && !is_label(&name.words));
            names.map(|name| (name.first, place_end(piece, kind, name.last))).collect()
        }
        Kind::Listed(list) => listed(piece, list),
        Kind::Description => descriptions(piece),
    }
}

/// Capitalised words of page furniture.
fn is_label(words: &[String]) -> bool {
    const LABELS: &[&str] = &[
        "wikipedia",
        "category",
        "categories",
        "references",
        "external",
        "links",
        "edit",
        "see",
        "archived",
        "retrieved",
        "jump",
    ];
    words.iter().any(|word| LABELS.contains(&word.as_str()))
}

/// A place goes on behind a comma: `Hamlin, West Virginia`.
fn place_end(piece: &Analysed, kind: Kind, last: usize) -> usize {
    let comma = piece.tokens.get(last).is_some_and(|token| token.text == ",");
    let next =
        piece.names.iter().find(|name| name.first == last + 1).filter(|_| comma && kind == Kind::Place);
    next.map_or(last, |name| name.last)
}

fn listed(piece: &Analysed, list: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for at in 0..piece.tokens.len() {
        for length in [3, 2, 1] {
            let Some(tokens) = piece.tokens.get(at..at + length) else { continue };
            let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
            let hit = list.contains(&words.join(" ").as_str())
                || (length == 3 && list.contains(&words.concat().as_str()));
            if hit {
                found.push((at, at + length));
                break;
            }
        }
    }
    found
}

/// What follows "is a", up to the next preposition, verb or mark.
fn descriptions(piece: &Analysed) -> Vec<(usize, usize)> {
    let text = |at: usize| piece.tokens.get(at).map(|token| token.text.as_str()).unwrap_or_default();
    let mut found = Vec::new();
    for at in 0..piece.tokens.len() {
        let is =
            matches!(text(at), "is" | "was" | "are" | "were") && matches!(text(at + 1), "a" | "an" | "the");
        if !is {
            continue;
        }
        let stops = |token: &Token| {
            token.kind == TokenKind::Mark && token.text != "-" || lexicon::is_stop(&token.text)
        };
        let length = piece.tokens[at + 2..].iter().take(6).position(stops).unwrap_or(6);
        let last = (at + 2 + length).min(piece.tokens.len());
        // Where and when somebody was it is said before what it was.
        let first = (at + 2..last).find(|at| !piece.tokens[*at].capital).unwrap_or(at + 2);
        if first < last {
            found.push((first, last));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_numbers_names_and_lists() {
        let text = "Otto Bauer (born 2 July 1829) was a Swiss painter. The town of Broken Bow had 3,559 people at the 2010 census. \
            The film Two Colours was directed by Mahesh Bhatt. Ann Lee is a former ice hockey player.";
        let one = |question: &str| extract(question, &[text])[0].clone().map(|answer| answer.text);
        assert_eq!(one("When was Otto Bauer born?").as_deref(), Some("2 July 1829"));
        assert_eq!(one("What is the population of Broken Bow?").as_deref(), Some("3,559"));
        assert_eq!(one("Who is the director of the film Two Colours?").as_deref(), Some("Mahesh Bhatt"));
        assert_eq!(one("What sport is Ann Lee associated with?").as_deref(), Some("ice hockey"));
        assert_eq!(one("When was Zebulon Quincy born?"), None);
    }

    #[test]
    fn every_answer_is_where_it_says() {
        let long = "Ärzte 👩‍🚀 von 1920, é 3 km. ".repeat(5000);
        for text in ["", "该桥于1931年通车。", "é 👩‍🚀 Anna 5", long.as_str()] {
            for question in ["When was it opened?", "Who?", "How many km?", "", "What is it?"] {
                if let Some(answer) = extract(question, &[text])[0].clone() {
                    let found: String = text
                        .chars()
                        .skip(answer.start_char)
                        .take(answer.end_char - answer.start_char)
                        .collect();
                    assert_eq!(found, answer.text);
                }
            }
        }
    }
}
