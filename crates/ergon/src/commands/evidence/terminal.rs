//! Claims as a person likes to read them: a mark, the claim, the quotations with file and line, who copies whom.

use std::fmt::Write as _;

use ergon_agent::{
    ask::{Examined, Warning},
    documents::Library,
};
use ergon_types::{Citation, Verdict};

use super::json::{line, verdict_name};
use crate::output;

/// Quotations told per side of a claim; `--json` has all.
const MAX_TOLD: usize = 5;

/// Escape codes for a few colours; none where the stream is no terminal.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours only if the stream is a terminal.
    pub(crate) fn new(is_terminal: bool) -> Paint {
        Paint { on: is_terminal }
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.code("33", text)
    }

    pub(crate) fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Supported => "1;32",
            Verdict::Refuted => "1;31",
            Verdict::NotEnough => "1;33",
            Verdict::Contradicted => "1;35",
        };
        self.code(code, text)
    }
}

/// A text being put together, line by line.
pub(crate) struct Told<'l> {
    pub(crate) text: String,
    paint: Paint,
    library: &'l Library,
}

impl<'l> Told<'l> {
    pub(crate) fn new(paint: Paint, library: &'l Library) -> Told<'l> {
        Told { text: String::new(), paint, library }
    }

    /// A line as it is; what comes from documents goes through [`clean`] before.
    pub(crate) fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{text}");
    }

    /// A claim with its mark and all that was found.
    pub(crate) fn claim(&mut self, examined: &Examined, show_id: bool) {
        let checked = &examined.checked;
        let (verdict, paint) = (checked.verdict, self.paint);
        let name = format!("{} {}", mark(verdict), verdict_name(verdict).replace('_', " "));
        let id = if show_id { format!("  {}", clean(&checked.claim.id)) } else { String::new() };
        let head =
            format!("{}  {}", paint.verdict(verdict, &name), paint.dim(&format!("{:.2}{id}", checked.score)));
        self.line(&head);
        self.line(&format!("  {}", paint.bold(&clean(&checked.claim.text))));
        self.found(examined);
    }

    /// Quotations for and against, alarms, what a model wrote, reasons.
    pub(crate) fn found(&mut self, examined: &Examined) {
        let checked = &examined.checked;
        let paint = self.paint;
        self.citations("", &checked.citations);
        self.citations(&paint.verdict(Verdict::Refuted, "against: "), &checked.opposing);
        examined.alarms.iter().take(MAX_TOLD).for_each(|alarm| self.alarm(alarm));
        if examined.alarms.len() > MAX_TOLD {
            let more = format!("! and {} more differences between copies", examined.alarms.len() - MAX_TOLD);
            self.line(&format!("    {}", self.paint.warning(&more)));
        }
        for written in &examined.model_written {
            let text = format!("by a model, no evidence: {}", self.place(written));
            self.line(&format!("    {}", paint.dim(&text)));
        }
        for reason in &checked.reasons {
            self.line(&format!("    {}", paint.dim(&format!("· {}", clean(reason)))));
        }
    }

    pub(crate) fn citations(&mut self, label: &str, citations: &[Citation]) {
        let paint = self.paint;
        for citation in citations.iter().take(MAX_TOLD) {
            self.line(&format!("    {label}“{}”", clean(&citation.cited_text)));
            let place = self.place(citation);
            self.line(&format!("      {}", paint.dim(&format!("{place} · source group {}", citation.group))));
        }
        if citations.len() > MAX_TOLD {
            self.line(&format!("      {}", paint.dim(&format!("and {} more", citations.len() - MAX_TOLD))));
        }
    }

    fn alarm(&mut self, alarm: &Warning) {
        let text = format!(
            "! copies differ: {} says {}, {} says {}",
            clean(&alarm.first.file),
            clean(&alarm.first_value),
            clean(&alarm.second.file),
            clean(&alarm.second_value)
        );
        self.line(&format!("    {}", self.paint.warning(&text)));
    }

    /// File and line, or characters where the text is extracted; and the date.
    fn place(&self, citation: &Citation) -> String {
        let file = clean(&citation.source.file);
        let place = match line(citation, self.library) {
            Some(line) => format!("{file}:{line}"),
            None => {
                format!("{file}, characters {} to {} of its text", citation.start_char, citation.end_char)
            }
        };
        match &citation.source.date {
            Some(date) => format!("{place} · {}", clean(date)),
            None => place,
        }
    }
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Supported => "✓",
        Verdict::Refuted => "✗",
        Verdict::NotEnough => "?",
        Verdict::Contradicted => "≠",
    }
}

/// Text of a document on one line, harmless to a terminal: direction marks could make it read as something else.
pub(crate) fn clean(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    output::printable(&line)
        .chars()
        .filter(|c| !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_cannot_steer_a_terminal() {
        assert_eq!(clean("a\n\u{1b}[31m b\u{202e}c"), "a \u{fffd}[31m bc");
        assert_eq!(Paint::new(false).bold("a"), "a");
    }
}
