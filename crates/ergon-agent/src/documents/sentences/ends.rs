//! Where sentences end inside a paragraph.

use std::ops::Range;

/// Abbreviations that a name or a word follows: never the end of a sentence.
const BEFORE_A_NAME: [&str; 44] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "gen", "sen", "rep", "gov", "lt", "col", "capt", "cpt", "sgt",
    "maj", "rev", "hon", "mt", "messrs", "mme", "vs", "cf", "viz", "approx", "ca", "est", "e.g", "i.e", "eg",
    "ie", "esp", "incl", "dept", "univ", "assn", "pres", "supt", "adm", "cmdr", "fr", "ft", "resp", "dipl",
];
/// Abbreviations that a number follows.
const BEFORE_A_NUMBER: [&str; 32] = [
    "no", "nos", "nr", "p", "pp", "vol", "vols", "fig", "figs", "sec", "ch", "chap", "art", "eq", "tab",
    "ed", "ver", "v", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
    "c", "para",
];
/// Abbreviations that may or may not end a sentence: the next word decides.
const MAY_END: [&str; 16] = [
    "inc", "ltd", "co", "corp", "llc", "plc", "jr", "sr", "etc", "al", "bros", "dist", "ave", "blvd", "rd",
    "esq",
];
/// Words that begin sentences far more often than they follow an abbreviation inside one.
const STARTERS: [&str; 60] = [
    "The",
    "A",
    "An",
    "In",
    "On",
    "At",
    "It",
    "Its",
    "He",
    "She",
    "His",
    "Her",
    "They",
    "Their",
    "We",
    "Our",
    "I",
    "You",
    "Your",
    "This",
    "That",
    "These",
    "Those",
    "There",
    "Here",
    "When",
    "While",
    "After",
    "Before",
    "As",
    "If",
    "For",
    "From",
    "By",
    "With",
    "Since",
    "During",
    "Although",
    "However",
    "But",
    "And",
    "Or",
    "So",
    "Then",
    "Such",
    "Some",
    "Many",
    "Most",
    "Both",
    "All",
    "Each",
    "Other",
    "Another",
    "One",
    "To",
    "What",
    "Who",
    "How",
    "According",
    "See",
];
/// Characters that close what a sentence ends in.
const CLOSERS: [char; 15] =
    ['"', '\'', ')', ']', '}', '”', '’', '»', '」', '』', '）', '】', '》', '〉', '*'];

/// The sentences of a paragraph, as ranges that touch one another.
pub(super) fn sentences(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let block = &text[range.clone()];
    let mut found = Vec::new();
    let mut start = 0;
    let mut passed = 0;
    for (at, c) in block.char_indices() {
        if at < passed {
            continue;
        }
        let end = match c {
            '。' | '！' | '？' | '；' | '．' | '｡' => {
                Some(closed(block, at)).filter(|end| !is_said(block, *end))
            }
            '.' | '!' | '?' => closed_if_end(block, start, at, c),
            _ => None,
        };
        if let Some(end) = end {
            found.push(range.start + start..range.start + end);
            (start, passed) = (end, end);
        }
    }
    if start < block.len() {
        found.push(range.start + start..range.end);
    }
    found
}

/// The end after the mark at `at`, with further marks, closing quotes and brackets, and notes like `[12]`.
fn closed(block: &str, at: usize) -> usize {
    let is_mark = |c: char| ".!?。！？；．｡…".contains(c);
    let mut end = at;
    let mut rest = &block[at..];
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            c if is_mark(c) || CLOSERS.contains(&c) => c.len_utf8(),
            '[' => note(rest).unwrap_or(0),
            _ => 0,
        };
        if taken == 0 {
            break;
        }
        end += taken;
        rest = &rest[taken..];
    }
    end
}

/// Whether a quotation that ends at `end` goes on with who said it.
fn is_said(block: &str, end: usize) -> bool {
    let quoted = block[..end].ends_with(['”', '"', '」', '』', '’']);
    quoted && block[end..].chars().take(5).any(|c| "说道问喊答叫".contains(c))
}

/// Length of a note `[12]` or `[a]`.
fn note(text: &str) -> Option<usize> {
    let length = text.find(']').filter(|end| (2..=5).contains(end))?;
    text[1..length].bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(length + 1)
}

/// Where the sentence ends whose last mark is `mark` at `at`, if it ends there.
fn closed_if_end(block: &str, start: usize, at: usize, mark: char) -> Option<usize> {
    let end = closed(block, at);
    let rest = &block[end..];
    let Some(next) = rest.chars().next() else { return Some(end) };
    let is_chinese = |c: char| ('\u{2e80}'..='\u{9fff}').contains(&c);
    if !next.is_whitespace() {
        return (mark != '.' && is_chinese(next)).then_some(end);
    }
    let following = rest.trim_start();
    let first = following.chars().find(|c| c.is_alphanumeric() || is_chinese(*c));
    match first {
        Some(first) if first.is_lowercase() => None,
        _ if mark != '.' => Some(end),
        _ => ends_after_word(&block[start..at], following).then_some(end),
    }
}

/// Whether a full stop between `before` and `following` ends a sentence, by the words around it.
fn ends_after_word(before: &str, following: &str) -> bool {
    let word_start = before
        .char_indices()
        .rev()
        .find(|(_, c)| !(c.is_alphanumeric() || *c == '.' || *c == '-'))
        .map_or(0, |(at, c)| at + c.len_utf8());
    let word = &before[word_start..];
    let lower = word.to_lowercase();
    if BEFORE_A_NAME.contains(&lower.as_str()) {
        return false;
    }
    let next_is_number = following.starts_with(|c: char| c.is_ascii_digit());
    if BEFORE_A_NUMBER.contains(&lower.as_str()) && next_is_number {
        return false;
    }
    // `1.` at the head of a paragraph numbers it.
    if word_start == 0
        && !word.is_empty()
        && word.len() <= 3
        && word.bytes().all(|byte| byte.is_ascii_digit())
    {
        return false;
    }
    let is_initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let is_acronym = word.contains('.') && word.chars().any(char::is_alphabetic);
    if is_initial || is_acronym || MAY_END.contains(&lower.as_str()) {
        let next: String = following
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .chars()
            .take_while(|c| c.is_alphabetic())
            .collect();
        return STARTERS.contains(&next.as_str());
    }
    true
}
