//! The different answers of some documents, and what speaks for and against each.

use std::collections::BTreeSet;

use super::DocumentAnswer;
use crate::copies::Copies;
use crate::text::tokens::{TokenKind, tokenize};

/// An answer, who backs it, and what speaks for and against showing it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The answer as its first document writes it.
    pub answer: String,
    /// Documents that back it, as indices.
    pub documents: Vec<usize>,
    /// Measures, as many as [`FEATURES`].
    pub features: Vec<f32>,
}

/// Names of a candidate's measures.
pub const FEATURES: &[&str] = &[
    // Documents and groups of copies that back it.
    "documents",
    "groups",
    // Of these documents, how many are copies of one with another answer; whether all are; how many back those answers.
    "altered",
    "altered_all",
    "twins",
    "before_twins",
    // Copies with the same answer.
    "copies",
    // Whether its documents hold it word by word, how often, and near their beginnings; whether others hold it.
    "literal",
    "occurrences",
    "in_head",
    "elsewhere",
    // Words shared with the nearest other answer, words of its own, words of the question in it.
    "similar",
    "words",
    "asked",
    // Whether it has the looks of a value that somebody put there.
    "placeholder",
    // Other answers that its documents hold too: of all, and of the copies they differ from.
    "others_inside",
    "twins_inside",
];

/// An answer as it is compared: words in lower case without marks and articles, numbers without grouping.
pub fn normal(answer: &str) -> String {
    let words =
        tokenize(answer).into_iter().filter(|token| token.kind != TokenKind::Mark).map(|token| token.text);
    words.filter(|word| !matches!(word.as_str(), "the" | "a" | "an")).collect::<Vec<_>>().join(" ")
}

/// Texts with spaces around, so that a word is found only whole.
fn padded(text: &str) -> String {
    format!(" {} ", normal(text))
}

struct Context {
    copies: Copies,
    texts: Vec<String>,
    answers: Vec<Option<String>>,
    keys: Vec<String>,
    question: String,
}

/// The different answers in the order of their first documents, with their measures.
pub fn candidates(question: &str, documents: &[DocumentAnswer<'_>]) -> Vec<Candidate> {
    let texts: Vec<&str> = documents.iter().map(|document| document.text).collect();
    let answer =
        |document: &DocumentAnswer<'_>| document.answer.map(normal).filter(|answer| !answer.is_empty());
    let mut context = Context {
        copies: Copies::find(&texts),
        texts: texts.iter().map(|text| padded(text)).collect(),
        answers: documents.iter().map(answer).collect(),
        keys: Vec::new(),
        question: padded(question),
    };
    let mut found: Vec<Candidate> = Vec::new();
    for (at, answer) in context.answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        match context.keys.iter().position(|known| known == answer) {
            Some(known) => found[known].documents.push(at),
            None => {
                let written = documents[at].answer.unwrap_or_default().to_string();
                found.push(Candidate { answer: written, documents: vec![at], features: Vec::new() });
                context.keys.push(answer.clone());
            }
        }
    }
    for (at, candidate) in found.iter_mut().enumerate() {
        candidate.features = measures(&context, at, &candidate.documents);
    }
    found
}

fn flag(value: bool) -> f32 {
    f32::from(u8::from(value))
}

/// The measures of one answer.
fn measures(context: &Context, at: usize, documents: &[usize]) -> Vec<f32> {
    let key = &context.keys[at];
    let backs = |document: usize| documents.contains(&document);
    let groups: BTreeSet<usize> = documents.iter().map(|document| context.copies.group(*document)).collect();
    let twins = twins(context, documents);
    let altered: BTreeSet<usize> = twins.iter().map(|(own, _)| *own).collect();
    let backing = |answer: &String| context.answers.iter().flatten().filter(|other| *other == answer).count();
    let of_twins =
        twins.iter().filter_map(|(_, twin)| context.answers[*twin].as_ref()).map(backing).max().unwrap_or(0);
    let copies = context.copies.pairs().iter().filter(|(a, b)| backs(*a) && backs(*b)).count();
    let whole = format!(" {key} ");
    let holds = |document: usize| context.texts[document].contains(&whole);
    let head = |document: usize| context.texts[document].find(&whole).is_some_and(|place| place < 160);
    let count =
        |test: &dyn Fn(usize) -> bool| documents.iter().filter(|document| test(**document)).count() as f32;
    let occurrences: usize =
        documents.iter().map(|document| context.texts[*document].matches(&whole).count()).sum();
    let elsewhere = (0..context.texts.len()).filter(|document| !backs(*document) && holds(*document)).count();
    let words: Vec<&str> = key.split(' ').collect();
    let inside = |document: usize, other: &String| context.texts[document].contains(&format!(" {other} "));
    let others = context.keys.iter().filter(|other| *other != key);
    let others_inside =
        others.filter(|other| documents.iter().any(|document| inside(*document, other))).count();
    let twin_inside =
        |(own, twin): &&(usize, usize)| context.answers[*twin].as_ref().is_some_and(|key| inside(*own, key));
    let asked = words.iter().filter(|word| context.question.contains(&format!(" {word} "))).count();
    let n = documents.len() as f32;
    vec![
        n,
        groups.len() as f32,
        altered.len() as f32,
        flag(altered.len() == documents.len()),
        of_twins as f32,
        n - of_twins as f32,
        copies as f32,
        count(&holds) / n,
        occurrences as f32 / n,
        count(&head) / n,
        elsewhere as f32,
        similar(context, key, &words),
        words.len() as f32,
        asked as f32 / words.len() as f32,
        flag(is_placeholder(key)),
        others_inside as f32,
        twins.iter().filter(twin_inside).count() as f32,
    ]
}

/// Pairs of a document among these and a near-copy of it with another answer.
fn twins(context: &Context, documents: &[usize]) -> Vec<(usize, usize)> {
    let backs = |document: &usize| documents.contains(document);
    let pairs = context.copies.pairs().iter().filter_map(|(a, b)| match (backs(a), backs(b)) {
        (true, false) => Some((*a, *b)),
        (false, true) => Some((*b, *a)),
        _ => None,
    });
    pairs.filter(|(_, twin)| context.answers[*twin].is_some()).collect()
}

/// Largest part of the shorter of two answers' words that both have.
fn similar(context: &Context, key: &str, words: &[&str]) -> f32 {
    let shared = |other: &String| {
        let theirs: Vec<&str> = other.split(' ').collect();
        let both = theirs.iter().filter(|word| words.contains(word)).count();
        both as f32 / theirs.len().min(words.len()).max(1) as f32
    };
    context.keys.iter().filter(|other| *other != key).map(shared).fold(0.0, f32::max)
}

/// Values that people write when they need one: 10,000 and 12,345, the first of January, a year that ends in 50 or 00.
fn is_placeholder(key: &str) -> bool {
    let word = key.split(' ').next().unwrap_or_default();
    let digits: Vec<u8> = word.bytes().filter(u8::is_ascii_digit).collect();
    let counting = digits.len() >= 4 && digits.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let round = word.parse::<f64>().is_ok_and(|number| {
        let step = if number < 2100.0 { 50.0 } else { 500.0 };
        number >= 1000.0 && number % step == 0.0
    });
    round || counting || key.starts_with("january 1 ")
}
