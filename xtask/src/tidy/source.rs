//! A Rust file split into what is code, what is comment and what is literal, byte by byte.
//!
//! No parser: the rules only need to know that a brace in a string is not a brace and that a word in a comment is not
//! code. Each view keeps every byte's place and every line break, so an offset means the same in all of them.

use super::items::{self, Function};
use super::tree::Tree;

/// One Rust file in the three views, with its test parts marked.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and literals blanked.
    pub(crate) code: String,
    /// The text with everything but comments blanked.
    pub(crate) comments: String,
    /// Per line: inside an item marked `#[cfg(test)]` or `#[test]`.
    pub(crate) test_lines: Vec<bool>,
    /// The whole file is test, bench, example or fuzz code.
    pub(crate) is_test: bool,
    /// The file says `// tidy: table`: data, free of the length limit.
    pub(crate) is_table: bool,
}

impl Source {
    /// Splits one file; `path` tells whether it is a test.
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let kinds = classify(text.as_bytes());
        let code = view(text, &kinds, Kind::Code);
        let test_lines = items::test_lines(&code);
        let comments = view(text, &kinds, Kind::Comment);
        let is_table = comments.lines().take(20).any(|line| line.trim().starts_with("// tidy: table"));
        let is_test = ["tests", "benches", "examples", "fuzz_targets"]
            .iter()
            .any(|dir| path.split('/').any(|part| part == *dir));
        Source { path: path.to_owned(), text: text.to_owned(), code, comments, test_lines, is_test, is_table }
    }

    /// Lines that are neither test nor in a test file.
    pub(crate) fn product_lines(&self) -> usize {
        if self.is_test { 0 } else { self.test_lines.iter().filter(|test| !**test).count() }
    }

    /// Every function with a body that is not test code.
    pub(crate) fn product_functions(&self) -> Vec<Function> {
        let all = if self.is_test { Vec::new() } else { items::functions(&self.code) };
        all.into_iter().filter(|function| !self.is_test_line(function.line)).collect()
    }

    /// Whether line `line` (from 1) is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.get(line - 1).copied().unwrap_or(false)
    }
}

/// Every Rust file of the tree.
pub(crate) fn all(tree: &Tree) -> Vec<Source> {
    let rust = tree.texts().filter(|(path, _)| path.ends_with(".rs"));
    rust.map(|(path, text)| Source::new(path, text)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// `text` with all bytes of other kinds turned into spaces; line breaks stay.
fn view(text: &str, kinds: &[Kind], kept: Kind) -> String {
    let keep = |(byte, kind): (u8, &Kind)| if *kind == kept || byte == b'\n' { byte } else { b' ' };
    let bytes: Vec<u8> = text.bytes().zip(kinds).map(keep).collect();
    // Kinds change only at ASCII bytes, so no character is cut in half and nothing is replaced here.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn classify(bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::with_capacity(bytes.len());
    while kinds.len() < bytes.len() {
        let at = kinds.len();
        let (kind, len) = token(bytes, at);
        kinds.resize((at + len.max(1)).min(bytes.len()), kind);
    }
    kinds
}

/// The kind and length of what begins at `at`.
fn token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest[0] {
        b'/' if rest.starts_with(b"//") => {
            (Kind::Comment, rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()))
        }
        b'/' if rest.starts_with(b"/*") => (Kind::Comment, block_comment(rest)),
        b'"' => (Kind::Literal, quoted(rest, b'"')),
        b'r' | b'b' | b'c' if !after_word => match raw_string(rest) {
            Some(len) => (Kind::Literal, len),
            None => (Kind::Code, 1),
        },
        b'\'' => match char_literal(rest) {
            Some(len) => (Kind::Literal, len),
            None => (Kind::Code, 1),
        },
        _ => (Kind::Code, 1),
    }
}

/// Length of a block comment; they nest in Rust.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of a literal in `quote`s with backslash escapes, both quotes included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of `r"…"`, `r#"…"#`, `br"…"` and so on; `None` for anything else, `r#ident` included.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let r = rest.iter().position(|b| *b == b'r').filter(|at| *at <= 1)?;
    let hashes = rest[r + 1..].iter().take_while(|b| **b == b'#').count();
    let open = r + 1 + hashes;
    (rest.get(open) == Some(&b'"')).then_some(())?;
    let close = [&b"\""[..], &vec![b'#'; hashes][..]].concat();
    let end = rest[open + 1..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
}

/// Length of a character literal; `None` for a lifetime.
fn char_literal(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    let width = match *rest.get(1)? {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Part of an identifier.
pub(crate) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Offsets at which `word` stands in `text` with no identifier character on either side.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = *at > 0 && is_word(bytes[at - 1]) && is_word(word.as_bytes()[0]);
        let after = bytes.get(at + word.len()).is_some_and(|b| is_word(*b))
            && word.bytes().last().is_some_and(is_word);
        !before && !after
    })
}

/// The line (from 1) of an offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect` shows code as it is, comments as `c`, literals as `l`.
    fn check(text: &str, expect: &str) {
        let kinds = classify(text.as_bytes());
        let shown: String = text
            .bytes()
            .zip(kinds)
            .map(|(byte, kind)| match kind {
                Kind::Code => byte as char,
                Kind::Comment => 'c',
                Kind::Literal => 'l',
            })
            .collect();
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn comments_and_literals_are_told_from_code() {
        check("a // b", "a cccc");
        check("a /* b /* c */ */ d", "a ccccccccccccccc d");
        check(r#"f("{\"", '{', '\'')"#, "f(lllll, lll, llll)");
        check(r###"r#"a"b"# br"x\" r#fn"###, "llllllll llllll r#fn");
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("var\"x\"", "varlll");
        check("\"open", "lllll");
    }

    #[test]
    fn views_keep_lines_and_places() {
        let source = Source::new("a.rs", "let s = \"é\nx\"; // é\nb\n");
        assert_eq!(source.code.len(), source.text.len());
        assert_eq!(source.code.lines().count(), 3);
        assert_eq!(source.code.find(';'), source.text.find(';'));
        assert!(source.comments.contains('é'));
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe unsafe_code x.unsafe", "unsafe").collect::<Vec<_>>(), [0, 21]);
        assert_eq!(words("eprintln!(1) println!(2)", "println!").collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn tests_and_tables_are_recognised() {
        assert!(Source::new("crates/a/tests/b.rs", "").is_test);
        assert!(!Source::new("crates/a/src/contests.rs", "").is_test);
        assert!(
            Source::new("crates/a/src/b.rs", "//! Codes.\n// tidy: table (from the format's paper)\n")
                .is_table
        );
    }
}
