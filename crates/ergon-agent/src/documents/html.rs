//! The text of an HTML page: tokens of the standard's own tokenizer, no tree, so that depth costs nothing.

use std::cell::RefCell;

use html5ever::{
    buffer_queue::BufferQueue,
    tendril::StrTendril,
    tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, states::RawKind},
};

/// What a page says: its text, and what its head tells about it.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Text: blocks apart by an empty line, cells by a tab, white space as a browser shows it.
    pub(super) text: String,
    pub(super) title: String,
    /// Names and contents of `meta`, and `canonical` of `link`.
    pub(super) meta: Vec<(String, String)>,
}

/// Most entries kept of a page's head.
const MAX_META: usize = 200;

/// Reads a page. Never fails: whatever is no markup is text.
pub(super) fn read(html: &str, max_bytes: usize) -> Page {
    let sink = Sink { state: RefCell::new(State { max_bytes, ..State::default() }) };
    let tokenizer = Tokenizer::new(sink, Default::default());
    let input = BufferQueue::default();
    // A tendril holds at most 4 GiB; pieces keep far from that.
    let mut rest = html;
    while !rest.is_empty() {
        let end = (1..=rest.len().min(1 << 20)).rev().find(|end| rest.is_char_boundary(*end));
        let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
        input.push_back(StrTendril::from(piece));
        rest = after;
        // The sink asks for no script to run; feeding on is all there is.
        while !input.is_empty() {
            let _ = tokenizer.feed(&input);
        }
    }
    tokenizer.end();
    let mut page = tokenizer.sink.state.into_inner().page;
    page.text.truncate(page.text.trim_end().len());
    page
}

struct Sink {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    page: Page,
    /// Element whose content is not shown, until it ends.
    hidden: Option<String>,
    in_title: bool,
    in_pre: bool,
    /// White space to write before the next visible character.
    gap: Gap,
    max_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Cell,
    Line,
    Block,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.characters(&text),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return state.start(&tag),
            Token::TagToken(tag) => state.end(&tag.name),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn characters(&mut self, text: &str) {
        if self.in_title {
            if self.page.title.len() < 1000 {
                self.page.title.push_str(text);
            }
            return;
        }
        if self.hidden.is_some() || self.page.text.len() >= self.max_bytes {
            return;
        }
        for c in text.chars() {
            if c == '\n' && self.in_pre {
                self.gap = self.gap.max(Gap::Line);
            } else if c.is_whitespace() {
                self.gap = self.gap.max(Gap::Space);
            } else {
                self.write_gap();
                self.page.text.push(c);
            }
        }
    }

    fn write_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if self.page.text.is_empty() {
            return;
        }
        self.page.text.push_str(match gap {
            Gap::None => "",
            Gap::Space => " ",
            Gap::Cell => "\t",
            Gap::Line => "\n",
            Gap::Block => "\n\n",
        });
    }

    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        if self.hidden.is_some() {
            return TokenSinkResult::Continue;
        }
        match name {
            "script" | "style" | "noscript" | "template" | "iframe" | "svg" | "math" | "object"
            | "select" | "textarea" => {
                if tag.self_closing && matches!(name, "svg" | "math") {
                    return TokenSinkResult::Continue;
                }
                self.hidden = Some(name.to_string());
                return match name {
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    "style" | "iframe" | "noscript" => TokenSinkResult::RawData(RawKind::Rawtext),
                    _ => TokenSinkResult::Continue,
                };
            }
            "title" => {
                self.in_title = true;
                return TokenSinkResult::RawData(RawKind::Rcdata);
            }
            "meta" => {
                self.meta(attribute(tag, "name").or(attribute(tag, "property")), attribute(tag, "content"))
            }
            "link" if attribute(tag, "rel") == Some("canonical") => {
                self.meta(Some("canonical"), attribute(tag, "href"));
            }
            "pre" => self.in_pre = true,
            _ => {}
        }
        self.gap = self.gap.max(gap_of(name));
        TokenSinkResult::Continue
    }

    fn end(&mut self, name: &str) {
        if self.hidden.as_deref() == Some(name) {
            self.hidden = None;
            self.gap = self.gap.max(Gap::Space);
        }
        match name {
            "title" => self.in_title = false,
            "pre" => self.in_pre = false,
            _ => {}
        }
        self.gap = self.gap.max(gap_of(name));
    }

    fn meta(&mut self, name: Option<&str>, content: Option<&str>) {
        if let (Some(name), Some(content)) = (name, content)
            && self.page.meta.len() < MAX_META
        {
            self.page.meta.push((name.to_ascii_lowercase(), content.chars().take(1000).collect()));
        }
    }
}

fn attribute<'t>(tag: &'t Tag, name: &str) -> Option<&'t str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

/// What an element's beginning and end put between the texts beside it.
fn gap_of(name: &str) -> Gap {
    match name {
        "br" | "tr" => Gap::Line,
        "td" | "th" => Gap::Cell,
        "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "nav" | "aside" | "ul"
        | "ol" | "li" | "dl" | "dt" | "dd" | "table" | "thead" | "tbody" | "tfoot" | "caption"
        | "blockquote" | "figure" | "figcaption" | "form" | "fieldset" | "pre" | "hr" | "h1" | "h2"
        | "h3" | "h4" | "h5" | "h6" | "body" | "head" | "html" | "title" | "address" | "details"
        | "summary" | "option" => Gap::Block,
        _ => Gap::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        read(html, 1 << 20).text
    }

    #[test]
    fn the_text_is_what_a_reader_sees() {
        let page = "<html><head><title>T &amp; U</title><style>p{}</style><script>if (a<b) x('</p>');</script></head>\
                    <body><h1>Head</h1><p>One <b>bo</b>ld\n  word.&nbsp;Two &lt; 三。</p><table><tr><td>a<td>b</tr>\
                    <tr><td>c</table><!-- no --></body></html>";
        assert_eq!(text(page), "Head\n\nOne bold word. Two < 三。\n\na\tb\nc");
        assert_eq!(read(page, 100).title, "T & U");
    }

    #[test]
    fn what_is_broken_or_deep_is_still_text() {
        assert_eq!(text("a <b <c> d"), "a d");
        assert_eq!(text(&format!("{}x", "<div>".repeat(200_000))), "x");
        assert_eq!(text("<svg><text>no</text></svg>yes<script>never ends"), "yes");
    }

    #[test]
    fn the_head_is_told() {
        let page = read("<meta name=Author content='A B'><link rel=canonical href='http://x/y'>", 10);
        assert_eq!(page.meta[0], ("author".into(), "A B".into()));
        assert_eq!(page.meta[1].1, "http://x/y");
    }
}
