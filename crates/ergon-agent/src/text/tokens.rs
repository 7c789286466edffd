//! Words, numbers and marks of a text, English and Chinese, with the bytes they stand at.

use rust_stemmers::{Algorithm, Stemmer};

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Letters of a script that separates words by spaces; an apostrophe inside belongs to it.
    Word,
    /// One character of a script that does not (Han, kana).
    Han,
    /// Digits, with grouping and decimals: one number.
    Number,
    /// Anything else that is visible, one character.
    Mark,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What it is made of.
    pub kind: TokenKind,
    /// Lower case, full-width forms and typographic apostrophes made plain; a number without grouping.
    pub text: String,
    /// Stem of a word, otherwise the same as `text`.
    pub stem: String,
    /// First byte in the text.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Whether it begins with a capital.
    pub capital: bool,
    /// Whether it begins a sentence, as far as marks tell.
    pub first: bool,
}

/// Whether words of this character's script stand without spaces.
pub fn is_han(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F)
        || c == '〇'
}

/// Full-width forms as their plain ones; typographic apostrophes and minus signs as those of the keyboard.
fn plain(c: char) -> char {
    match u32::from(c) {
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap_or(c),
        0x2018 | 0x2019 | 0x02BC => '\'',
        0x2212 => '-',
        _ => c,
    }
}

/// Combining marks that follow a letter belong to its word.
fn continues_word(c: char) -> bool {
    (c.is_alphabetic() && !is_han(c))
        || matches!(u32::from(c), 0x0300..=0x036F | 0x200C | 0x200D | 0x093E..=0x094D)
}

/// The tokens of a text in their order. Every character is in at most one; spaces are in none, except those inside a
/// number whose grouping is spaced ("1 , 200").
pub fn tokenize(text: &str) -> Vec<Token> {
    let chars: Vec<(usize, char)> = text.char_indices().map(|(at, c)| (at, plain(c))).collect();
    let byte = |index: usize| chars.get(index).map_or(text.len(), |(at, _)| *at);
    let stemmer = Stemmer::create(Algorithm::English);
    let mut tokens: Vec<Token> = Vec::new();
    let mut first = true;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at].1;
        let (kind, end, written) = if c.is_whitespace() || c.is_control() {
            first |= c == '\n' && chars.get(at + 1).is_some_and(|(_, next)| *next == '\n');
            at += 1;
            continue;
        } else if c.is_ascii_digit() {
            let (end, written) = number(&chars, at);
            (TokenKind::Number, end, written)
        } else if is_han(c) {
            (TokenKind::Han, at + 1, c.to_string())
        } else if continues_word(c) {
            let end = word_end(&chars, at);
            (TokenKind::Word, end, lower(&chars[at..end]))
        } else {
            (TokenKind::Mark, at + 1, c.to_string())
        };
        let stem = match kind {
            TokenKind::Word => stem(&stemmer, &written),
            _ => written.clone(),
        };
        let starts = matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | ':' | '•' | '|');
        let quotes = matches!(c, '"' | '“' | '”' | '\'' | '(' | '`' | '#' | '-' | '*');
        tokens.push(Token {
            kind,
            text: written,
            stem,
            start: byte(at),
            end: byte(end),
            capital: c.is_uppercase(),
            first,
        });
        first = kind == TokenKind::Mark && (starts || (first && quotes));
        at = end;
    }
    tokens
}

fn lower(chars: &[(usize, char)]) -> String {
    chars.iter().flat_map(|(_, c)| c.to_lowercase()).collect()
}

/// One past the last character of the word that begins at `at`. An apostrophe inside is kept, except that of a genitive.
fn word_end(chars: &[(usize, char)], at: usize) -> usize {
    let is = |index: usize| chars.get(index).is_some_and(|(_, c)| continues_word(*c));
    let mut end = at;
    while is(end) {
        end += 1;
        let genitive = chars.get(end + 1).is_some_and(|(_, c)| *c == 's') && !is(end + 2);
        let apostrophe = chars.get(end).is_some_and(|(_, c)| *c == '\'');
        if apostrophe && is(end + 1) && !genitive {
            end += 1;
        }
    }
    end
}

/// A number with its grouping and decimals: `1,200`, `1 , 200`, `41.3`; one past its end, and its digits.
fn number(chars: &[(usize, char)], at: usize) -> (usize, String) {
    let get = |index: usize| chars.get(index).map_or(' ', |(_, c)| *c);
    let digits = |from: usize| (from..).take_while(|index| get(*index).is_ascii_digit()).count();
    let mut written = String::new();
    let mut end = at;
    let push = |from: usize, count: usize, written: &mut String| {
        (from..from + count).for_each(|index| written.push(get(index)));
    };
    let length = digits(end);
    push(end, length, &mut written);
    end += length;
    let mut grouped = length <= 3;
    while grouped {
        let spaced = get(end) == ' ' && get(end + 1) == ',' && get(end + 2) == ' ';
        let group = if spaced { end + 3 } else { end + 1 };
        grouped = (spaced || get(end) == ',') && digits(group) == 3;
        if grouped {
            push(group, 3, &mut written);
            end = group + 3;
        }
    }
    // A second point makes it a version or an address, no decimal.
    let fraction = if get(end) == '.' { digits(end + 1) } else { 0 };
    if fraction > 0 && !(get(end + 1 + fraction) == '.' && get(end + 2 + fraction).is_ascii_digit()) {
        written.push('.');
        push(end + 1, fraction, &mut written);
        end += 1 + fraction;
    }
    (end, written)
}

/// The stem of a word in lower case: Porter's second English algorithm; a genitive's apostrophe is dropped first.
fn stem(stemmer: &Stemmer, word: &str) -> String {
    if word.is_ascii() { stemmer.stem(word).into_owned() } else { word.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokenize(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn numbers_keep_their_grouping() {
        assert_eq!(texts("1,200 or 1 , 200 or 1.2"), ["1200", "or", "1200", "or", "1.2"]);
        assert_eq!(texts("in 2019, 300 came"), ["in", "2019", ",", "300", "came"]);
        assert_eq!(texts("1,2 and 10.0.0.1"), ["1", ",", "2", "and", "10", ".", "0", ".", "0.1"]);
        assert_eq!(texts("１２３，４５６人"), ["123456", "人"]);
    }

    #[test]
    fn words_of_both_languages_and_odd_characters() {
        assert_eq!(texts("Anna's dog doesn’t bark"), ["anna", "'", "s", "dog", "doesn't", "bark"]);
        assert_eq!(texts("他说：好。"), ["他", "说", ":", "好", "。"]);
        assert_eq!(texts("cafe\u{301} 👩‍🚀 𠀀x"), ["cafe\u{301}", "👩", "\u{200d}", "🚀", "𠀀", "x"]);
        assert!(texts("").is_empty() && texts(" \n\u{0}\t").is_empty());
        let tokens = tokenize("He left. She came");
        assert!(tokens[0].first && tokens[3].first && !tokens[4].first);
    }

    #[test]
    fn every_token_is_a_slice_of_the_text() {
        for text in ["1 , 200 €", "a\u{301}'s — ﬁn “x”", "二〇二〇年３月", "👨‍👩‍👧 100%", "\u{202e}abc"]
        {
            for token in tokenize(text) {
                assert!(text.get(token.start..token.end).is_some(), "{token:?} in {text:?}");
            }
        }
    }
}
