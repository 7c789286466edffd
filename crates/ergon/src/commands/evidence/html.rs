//! The report: one page without scripts and without a network, spans highlighted where they stand.

use std::fmt::Write as _;

use ergon_agent::{
    ask::{Examined, Warning},
    documents::Library,
};
use ergon_types::Citation;

use super::{
    generated_by,
    json::{line, verdict_name},
};

/// Characters shown before and after a span.
const CONTEXT_CHARS: usize = 300;
/// The page up to its title; nothing may be loaded or run.
const HEAD: &str = include_str!("report_head.html");

/// A page being put together. Whatever is written to it is escaped here.
pub(crate) struct Page<'l> {
    text: String,
    library: &'l Library,
}

impl<'l> Page<'l> {
    pub(crate) fn new(verb: &str, title: &str, library: &'l Library) -> Page<'l> {
        let head = HEAD.replace("{MARK}", &escape(&generated_by(verb))).replace("{TITLE}", &escape(title));
        Page { text: format!("{head}<h1>{}</h1>\n", escape(title)), library }
    }

    fn put(&mut self, html: std::fmt::Arguments) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(html);
    }

    pub(crate) fn heading(&mut self, text: &str) {
        self.put(format_args!("<h2>{}</h2>\n", escape(text)));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>\n", escape(text)));
    }

    /// A list of lines under a label; nothing if there are none.
    pub(crate) fn list(&mut self, label: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.put(format_args!("<p class=label>{}</p>\n<ul>\n", escape(label)));
        lines.iter().for_each(|line| self.put(format_args!("<li>{}</li>\n", escape(line))));
        self.put(format_args!("</ul>\n"));
    }

    /// A claim with all that was found.
    pub(crate) fn claim(&mut self, examined: &Examined) {
        let checked = &examined.checked;
        let verdict = verdict_name(checked.verdict);
        self.put(format_args!(
            "<section class=\"claim {verdict}\">\n<p class=head><span class=verdict>{}</span> <span class=score>{:.2}</span> \
             <span class=id>{}</span></p>\n<p class=text>{}</p>\n",
            verdict.replace('_', " "),
            checked.score,
            escape(&checked.claim.id),
            escape(&checked.claim.text)
        ));
        self.citations("for", &checked.citations);
        self.citations("against", &checked.opposing);
        examined.alarms.iter().for_each(|alarm| self.alarm(alarm));
        self.citations("by a model, no evidence", &examined.model_written);
        self.list("why", &checked.reasons);
        self.put(format_args!("</section>\n"));
    }

    pub(crate) fn citations(&mut self, label: &str, citations: &[Citation]) {
        for citation in citations {
            let (before, after) = self.context(citation);
            let source = &citation.source;
            let place = line(citation, self.library).map_or_else(
                || format!("characters {}–{}", citation.start_char, citation.end_char),
                |line| format!("line {line}, characters {}–{}", citation.start_char, citation.end_char),
            );
            let more: String =
                [&source.date, &source.origin].into_iter().flatten().map(|s| format!(" · {s}")).collect();
            self.put(format_args!(
                "<figure><blockquote>{}<mark>{}</mark>{}</blockquote>\n<figcaption><b>{}</b> {} · {}{} · group {}<br>\
                 <code>{}</code></figcaption></figure>\n",
                escape(&before),
                escape(&citation.cited_text),
                escape(&after),
                escape(label),
                escape(&source.file),
                place,
                escape(&more),
                citation.group,
                escape(&source.sha256)
            ));
        }
    }

    /// The characters around a citation, with marks of omission.
    fn context(&self, citation: &Citation) -> (String, String) {
        let Ok(document) = self.library.document(&citation.source.file) else { return Default::default() };
        let skipped = citation.start_char.saturating_sub(CONTEXT_CHARS);
        let before: String =
            document.text.chars().skip(skipped).take(citation.start_char - skipped).collect();
        let mut rest = document.text.chars().skip(citation.end_char);
        let after: String = rest.by_ref().take(CONTEXT_CHARS).collect();
        let before = if skipped > 0 { format!("…{before}") } else { before };
        let after = if rest.next().is_some() { format!("{after}…") } else { after };
        (before, after)
    }

    fn alarm(&mut self, alarm: &Warning) {
        self.put(format_args!(
            "<p class=alarm>copies differ: <code>{}</code> says <b>{}</b>, <code>{}</code> says <b>{}</b></p>\n",
            escape(&alarm.first.file),
            escape(&alarm.first_value),
            escape(&alarm.second.file),
            escape(&alarm.second_value)
        ));
    }

    pub(crate) fn finish(mut self) -> String {
        let skipped: Vec<String> = self
            .library
            .skipped()
            .iter()
            .map(|skipped| format!("{}: {}", skipped.file, skipped.reason))
            .collect();
        self.list("skipped files", &skipped);
        self.text.push_str("</main></body></html>\n");
        self.text
    }
}

/// Text as HTML shows it: markup and control characters lose their meaning.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_cannot_write_markup() {
        assert_eq!(escape("<script>'x'&\"\u{1b}"), "&lt;script&gt;&#39;x&#39;&amp;&quot;\u{fffd}");
        assert!(HEAD.contains("default-src 'none'") && !HEAD.contains("<script"));
    }
}
