//! The words of a text as the index knows them: English stemmed, Chinese in pairs of characters, numbers without separators.

use rust_stemmers::{Algorithm, Stemmer};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Words too common to find anything by.
const COMMON: [&str; 48] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "by", "with", "from", "and", "or", "but", "is",
    "are", "was", "were", "be", "been", "being", "has", "have", "had", "do", "does", "did", "it", "its",
    "this", "that", "these", "those", "as", "which", "who", "what", "when", "where", "how", "why", "will",
    "would", "there", "can", "than", "s",
];
/// Chinese characters too common to find anything by, when they stand alone.
const COMMON_CHINESE: [char; 10] = ['的', '了', '是', '在', '和', '与', '及', '也', '吗', '呢'];
/// Longer words are cut: no word that means anything is.
const MAX_WORD_BYTES: usize = 64;

/// The words of a text, in order.
pub fn words(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut found = Vec::new();
    let mut word = String::new();
    let mut run: Vec<char> = Vec::new();
    let mut characters = text.nfkd().filter(|c| !is_combining_mark(*c)).peekable();
    while let Some(c) = characters.next() {
        if is_chinese(c) {
            end_word(&mut word, &stemmer, &mut found);
            run.push(c);
            continue;
        }
        end_run(&mut run, &mut found);
        let inside_number = word.ends_with(|d: char| d.is_ascii_digit())
            && characters.peek().is_some_and(char::is_ascii_digit);
        match c {
            c if c.is_alphanumeric() => word.extend(c.to_lowercase()),
            ',' if inside_number => {}
            '.' if inside_number => word.push('.'),
            '\'' | '’' if word.ends_with(char::is_alphabetic) => end_word(&mut word, &stemmer, &mut found),
            _ => end_word(&mut word, &stemmer, &mut found),
        }
    }
    end_word(&mut word, &stemmer, &mut found);
    end_run(&mut run, &mut found);
    found
}

/// Characters that are written without spaces between words.
fn is_chinese(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}'
        | '\u{3040}'..='\u{30ff}')
}

fn end_word(word: &mut String, stemmer: &Stemmer, found: &mut Vec<String>) {
    if word.is_empty() {
        return;
    }
    let whole = std::mem::take(word);
    let end = (0..=whole.len().min(MAX_WORD_BYTES)).rev().find(|end| whole.is_char_boundary(*end));
    let cut = &whole[..end.unwrap_or(0)];
    if !COMMON.contains(&cut) {
        found.push(stemmer.stem(cut).into_owned());
    }
}

/// A run of Chinese characters as its pairs; one that stands alone as itself.
fn end_run(run: &mut Vec<char>, found: &mut Vec<String>) {
    match run.as_slice() {
        [] => {}
        [single] if COMMON_CHINESE.contains(single) => {}
        [single] => found.push(single.to_string()),
        many => found.extend(many.windows(2).map(|pair| pair.iter().collect::<String>())),
    }
    run.clear();
}

/// [`words`] as the index calls it.
#[derive(Clone, Default)]
pub(super) struct Words;

/// The words of one text, handed out one by one.
pub(super) struct WordStream {
    words: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream {
        WordStream { words: words(text).into_iter(), token: Token::default() }
    }
}

impl TokenStream for WordStream {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text = word;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_stemmed_and_numbers_are_plain() {
        assert_eq!(
            words("The Cafés' 1,200 sales grew 3.5% in 2024."),
            ["cafe", "1200", "sale", "grew", "3.5", "2024"]
        );
    }

    #[test]
    fn chinese_comes_in_pairs() {
        assert_eq!(words("公司成立于１９９９年的"), ["公司", "司成", "成立", "立于", "1999", "年的"]);
        assert_eq!(words("是 X 厂"), ["x", "厂"]);
    }
}
