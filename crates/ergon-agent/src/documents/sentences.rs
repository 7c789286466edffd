//! Text to sentences with exact places, in English and Chinese.
//!
//! First into blocks, by lines: paragraphs, list items, headings, rows, lines of code. Then a paragraph into sentences, by
//! punctuation. A sentence is a piece of the text as it stands, line ends inside it included; nothing is rewritten.

use std::ops::Range;

use super::{Kind, marks::front_matter};

mod blocks;
mod ends;

/// No sentence is longer, in characters; a longer one is cut where a clause or a word ends.
const MAX_CHARS: usize = 1_000;

/// Where a sentence lies in its document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// First character, counted in Unicode code points.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// The sentence that heads this one: the heading above it, the first row of its table.
    pub heading: Option<usize>,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Sentences end inside it.
    Prose,
    /// One sentence as a whole.
    Line,
    /// One sentence, which heads what follows.
    Heading,
}

/// The sentences of a text, in order and apart from one another.
pub fn cut(text: &str, kind: Kind) -> Vec<Cut> {
    let skip = match kind {
        Kind::Text | Kind::Markdown => front_matter(text).map_or(0, |range| range.end),
        _ => 0,
    };
    let mut cuts = Vec::new();
    let mut heading = None;
    // Characters are counted once, along with the sentences.
    let mut counted = (0, 0);
    for (range, block) in blocks::blocks(text, kind, skip) {
        let pieces = match block {
            Block::Prose => ends::sentences(text, range),
            Block::Line | Block::Heading => vec![range],
        };
        let first = cuts.len();
        for piece in pieces.into_iter().flat_map(|piece| short_pieces(text, piece)) {
            let Some(piece) = trimmed(text, piece) else { continue };
            let start_char = counted.1 + text[counted.0..piece.start].chars().count();
            let end_char = start_char + text[piece.clone()].chars().count();
            counted = (piece.end, end_char);
            cuts.push(Cut { start: piece.start, end: piece.end, start_char, end_char, heading });
        }
        if block == Block::Heading && cuts.len() > first {
            heading = Some(first);
        }
    }
    cuts
}

/// The range without white space at its ends; nothing if it holds neither letter nor digit.
fn trimmed(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let piece = &text[range.clone()];
    if !piece.chars().any(char::is_alphanumeric) {
        return None;
    }
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let start = range.start + (piece.len() - piece.trim_start_matches(blank).len());
    Some(start..start + piece.trim_matches(blank).len())
}

/// A range cut so that no piece has more than [`MAX_CHARS`] characters.
fn short_pieces(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = range.start;
    while let Some((limit, _)) = text[start..range.end].char_indices().nth(MAX_CHARS) {
        let head = &text[start..start + limit];
        let half = head.len() / 2;
        let after = |at: usize| text[start + at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let ends = [&[';', '；', '\n'][..], &[',', '，', '、'], &[' ', '\t']];
        let end =
            ends.iter().find_map(|marks| head.rfind(*marks).filter(|at| *at >= half)).map_or(limit, after);
        pieces.push(start..start + end);
        start += end;
    }
    pieces.push(start..range.end);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, kind: Kind) -> Vec<&str> {
        let cuts = cut(text, kind);
        for pair in cuts.windows(2) {
            assert!(pair[0].end <= pair[1].start);
        }
        let characters: Vec<char> = text.chars().collect();
        for cut in &cuts {
            let by_chars: String = characters[cut.start_char..cut.end_char].iter().collect();
            assert_eq!(by_chars, text[cut.start..cut.end], "offsets in characters and in bytes agree");
        }
        cuts.iter().map(|cut| &text[cut.start..cut.end]).collect()
    }

    #[test]
    fn english() {
        let text = "Dr. J. K. Smith of Acme Inc. paid $3.5 million (ca. 4.1 per cent) on Jan. 5. The U.S. Senate met at \
                    9 a.m. in Washington, D.C. It ended. \"Go!\" he said. Is it No. 7? No. The end.[12] See e.g. Fig. 3.";
        assert_eq!(
            texts(text, Kind::Text),
            [
                "Dr. J. K. Smith of Acme Inc. paid $3.5 million (ca. 4.1 per cent) on Jan. 5.",
                "The U.S. Senate met at 9 a.m. in Washington, D.C.",
                "It ended.",
                "\"Go!\" he said.",
                "Is it No. 7?",
                "No.",
                "The end.[12]",
                "See e.g. Fig. 3.",
            ]
        );
    }

    #[test]
    fn chinese() {
        assert_eq!(
            texts("\u{feff}公司成立于1999年。“好！”他说；增长3.5%？是的。没有句号\n\n第二段。", Kind::Text),
            ["公司成立于1999年。", "“好！”他说；", "增长3.5%？", "是的。", "没有句号", "第二段。"]
        );
    }

    #[test]
    fn lines_of_a_text_join_where_they_were_wrapped() {
        let text = "This sentence was wrapped by an editor somewhere\r\nand goes on here. Next one\r\nStands alone\r\n- item one\r\n- item two\r\n";
        assert_eq!(
            texts(text, Kind::Text),
            [
                "This sentence was wrapped by an editor somewhere\r\nand goes on here.",
                "Next one",
                "Stands alone",
                "item one",
                "item two"
            ]
        );
    }

    #[test]
    fn markdown() {
        let text = "---\ntitle: x\n---\n# Head\nOne. Two\nlines.\n* a\n  b\n\n| k | v |\n|---|---|\n| a | 1 |\n```\nlet x = 1.5;\ny\n```\n";
        let cuts = cut(text, Kind::Markdown);
        assert_eq!(
            texts(text, Kind::Markdown),
            ["Head", "One.", "Two\nlines.", "a\n  b", "| k | v |", "| a | 1 |", "let x = 1.5;", "y"]
        );
        assert_eq!((cuts[0].heading, cuts[1].heading), (None, Some(0)));
    }

    #[test]
    fn tables_and_code() {
        let text = "name,value\n\"a, b\nc\",1\nd,2\n";
        assert_eq!(texts(text, Kind::Table), ["name,value", "\"a, b\nc\",1", "d,2"]);
        assert_eq!(cut(text, Kind::Table)[2].heading, Some(0));
        let code = "// Waits ten seconds. Then\n// gives up.\nconst WAIT: u64 = 10;\n\n}\n";
        assert_eq!(
            texts(code, Kind::Code),
            ["// Waits ten seconds.", "Then\n// gives up.", "const WAIT: u64 = 10;"]
        );
    }

    #[test]
    fn nothing_is_endless() {
        for text in [
            "a".repeat(50_000),
            "词".repeat(50_000),
            "a, b ".repeat(20_000),
            format!("\"{}", "x,\n".repeat(9_999)),
        ] {
            for kind in [Kind::Text, Kind::Markdown, Kind::Html, Kind::Table, Kind::Code] {
                assert!(texts(&text, kind).iter().all(|piece| piece.chars().count() <= MAX_CHARS));
            }
        }
    }

    #[test]
    fn odd_texts_do_no_harm() {
        for text in [
            "",
            ".",
            "。。。",
            "\u{feff}",
            "---\n---",
            "...",
            "a.\u{301} b",
            "#",
            "|",
            "```",
            "-",
            "1.",
            "\"\n\"\"",
        ] {
            for kind in [Kind::Text, Kind::Markdown, Kind::Html, Kind::Pdf, Kind::Table, Kind::Code] {
                texts(text, kind);
            }
        }
    }
}
