//! Lines to blocks: what a line break ends, and what it only wraps.

use std::ops::Range;

use super::{Block, Kind};

/// A row of a table whose quotes never close ends after so many bytes.
const MAX_QUOTED_BYTES: usize = 8 << 10;
/// A line of plain text narrower than this was not wrapped: it ends where its writer ended it. Chinese characters are two wide.
const WRAP_COLUMNS: usize = 45;

/// The blocks of a text from byte `skip` on.
pub(super) fn blocks(text: &str, kind: Kind, skip: usize) -> Vec<(Range<usize>, Block)> {
    match kind {
        Kind::Table => rows(text),
        Kind::Code => code(text),
        _ => Paragraphs { text, kind, open: None, fenced: false, found: Vec::new() }.all(skip),
    }
}

/// Lines with their places, without line ends.
fn lines(text: &str, skip: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = skip;
    text[skip..].split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        start..start + line.trim_end_matches(['\n', '\r']).len()
    })
}

fn rows(text: &str) -> Vec<(Range<usize>, Block)> {
    let mut found: Vec<(Range<usize>, Block)> = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for line in lines(text, 0) {
        let quotes = text[line.clone()].bytes().filter(|byte| *byte == b'"').count();
        quoted ^= quotes % 2 == 1;
        if quoted && line.end - start < MAX_QUOTED_BYTES {
            continue;
        }
        quoted = false;
        let block = if found.is_empty() { Block::Heading } else { Block::Line };
        found.push((start..line.end, block));
        start = line.end;
    }
    if start < text.len() {
        found.push((start..text.len(), Block::Line));
    }
    found
}

fn code(text: &str) -> Vec<(Range<usize>, Block)> {
    let mut found: Vec<(Range<usize>, Block)> = Vec::new();
    let mut goes_on = false;
    for line in lines(text, 0) {
        let content = text[line.clone()].trim_start();
        let is_comment = ["//", "#", "--", "*", "/*", ";;", "%"].iter().any(|mark| content.starts_with(mark));
        match found.last_mut() {
            Some((range, Block::Prose)) if is_comment && goes_on => range.end = line.end,
            _ => found.push((line, if is_comment { Block::Prose } else { Block::Line })),
        }
        goes_on = is_comment;
    }
    found
}

/// Lines of text, Markdown or an extracted page, joined to paragraphs.
struct Paragraphs<'t> {
    text: &'t str,
    kind: Kind,
    /// The paragraph being read, and its last line.
    open: Option<(Range<usize>, Range<usize>)>,
    /// Inside fenced code.
    fenced: bool,
    found: Vec<(Range<usize>, Block)>,
}

impl Paragraphs<'_> {
    fn all(mut self, skip: usize) -> Vec<(Range<usize>, Block)> {
        for line in lines(self.text, skip) {
            self.line(line);
        }
        self.close();
        self.found
    }

    fn close(&mut self) {
        if let Some((range, _)) = self.open.take() {
            self.found.push((range, Block::Prose));
        }
    }

    fn line(&mut self, line: Range<usize>) {
        let content = self.text[line.clone()].trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let is_markdown = self.kind == Kind::Markdown;
        if is_markdown && (content.starts_with("```") || content.starts_with("~~~")) {
            self.close();
            self.fenced = !self.fenced;
        } else if self.fenced {
            self.found.push((line, Block::Line));
        } else if content.is_empty() {
            self.close();
        } else if let Some(level) = heading(content).filter(|_| is_markdown) {
            self.close();
            let start = line.end - self.text[line.clone()].trim_start().len();
            self.found.push((start + level..line.end, Block::Heading));
        } else if is_markdown && content.starts_with('|') {
            self.close();
            self.found.push((line, Block::Line));
        } else {
            self.paragraph(line);
        }
    }

    /// A line of running text: it goes on with the paragraph or begins one.
    fn paragraph(&mut self, line: Range<usize>) {
        let text = &self.text[line.clone()];
        let marker = list_marker(text);
        match &mut self.open {
            Some((range, last)) if marker.is_none() && !breaks(self.text, self.kind, last, &line) => {
                range.end = line.end;
                *last = line;
            }
            _ => {
                self.close();
                let start = line.start + marker.unwrap_or(0);
                self.open = Some((start..line.end, line));
            }
        }
    }
}

/// Number of `#` of a Markdown heading.
fn heading(content: &str) -> Option<usize> {
    let level = content.bytes().take_while(|byte| *byte == b'#').count();
    ((1..=6).contains(&level) && content[level..].starts_with([' ', '\t'])).then_some(level)
}

/// Bytes of white space and list marker before an item's text.
fn list_marker(line: &str) -> Option<usize> {
    let content = line.trim_start();
    let indent = line.len() - content.len();
    let marker = match content.chars().next()? {
        c @ ('-' | '*' | '+' | '•' | '·' | '▪') => c.len_utf8(),
        '0'..='9' => {
            let digits = content.bytes().take_while(u8::is_ascii_digit).count();
            let rest = &content[digits..];
            if digits > 3 || !rest.starts_with(['.', ')']) {
                return None;
            }
            digits + 1
        }
        _ => return None,
    };
    content[marker..].starts_with([' ', '\t']).then_some(indent + marker)
}

/// Whether the line break between two lines of running text ends a sentence.
fn breaks(text: &str, kind: Kind, last: &Range<usize>, next: &Range<usize>) -> bool {
    let (last, next) = (&text[last.clone()], &text[next.clone()]);
    match kind {
        // Line breaks of a page are meant; white space was joined when it was read.
        Kind::Html => true,
        Kind::Markdown => last.ends_with("  ") || last.ends_with('\\'),
        _ => {
            let begins_anew = next.trim_start().chars().next().is_some_and(|c| !c.is_lowercase());
            begins_anew && columns(last.trim()) < WRAP_COLUMNS
        }
    }
}

fn columns(line: &str) -> usize {
    line.chars().take(WRAP_COLUMNS).map(|c| if c >= '\u{2e80}' { 2 } else { 1 }).sum()
}
