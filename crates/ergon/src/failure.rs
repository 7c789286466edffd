//! How a failed command ends: one to three lines on standard error and exit status 1.

use std::{any::Any, panic::PanicHookInfo, process::ExitCode};

use ergon_agent::documents::READER_THREAD;

use crate::{interrupt::INTERRUPTED_STATUS, output};

/// No line of an error is longer than this many characters: names inside hostile files can be megabytes.
const LINE_CHARS: usize = 400;

/// A run stopped by Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Prints what went wrong, unless nothing did, and gives the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<output::OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    if error.is::<Interrupted>() {
        return ExitCode::from(INTERRUPTED_STATUS);
    }
    output::write_stderr(&format!("{}\n", describe(error)));
    ExitCode::FAILURE
}

/// What failed on the first line, why on the second.
fn describe(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = one_line(&cause.to_string());
        // An error that quotes its source in its own text must not say it twice.
        if !text.is_empty() && !parts.iter().any(|said| said.contains(&text)) {
            parts.push(text);
        }
    }
    let what = parts.first().map_or("unknown failure", String::as_str);
    let mut lines = format!("error: {}", shorten(what));
    if parts.len() > 1 {
        lines.push_str("\n  cause: ");
        lines.push_str(&shorten(&parts[1..].join(": ")));
    }
    lines
}

fn one_line(text: &str) -> String {
    output::printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shorten(text: &str) -> String {
    let length = text.chars().count();
    if length <= LINE_CHARS {
        return text.to_string();
    }
    // What to do about it stands at the end of our messages: keep both ends.
    let head: String = text.chars().take(LINE_CHARS / 2).collect();
    let tail: String = text.chars().skip(length - LINE_CHARS / 2).collect();
    format!("{head} … {tail}")
}

/// Replaces the standard panic message, which is written for programmers, by one line that asks for a report.
/// A panic is a defect of ours whatever the input was; it still ends with exit status 1.
pub(crate) fn panic_hook(info: &PanicHookInfo<'_>) {
    // Parsers of foreign formats run on this thread, where a panic is caught and becomes "this file is damaged".
    if std::thread::current().name() == Some(READER_THREAD) {
        return;
    }
    let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
    let message = shorten(&one_line(payload_text(info.payload())));
    output::write_stderr(&format!(
        "error: internal error{place}: {message}\n  please report it: this is a defect\n"
    ));
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload.downcast_ref::<&str>().copied().unwrap_or("no message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_chain_is_told_once_and_in_two_lines() {
        let error =
            anyhow!("no such file").context("cannot open x: no such file").context("cannot load model 'm'");
        assert_eq!(describe(&error), "error: cannot load model 'm'\n  cause: cannot open x: no such file");
    }

    #[test]
    fn hostile_text_is_cut_and_cleaned() {
        let error = anyhow!("{}\n\u{1b}[31m{}", "a".repeat(100_000), "end");
        let text = describe(&error);
        assert!(text.len() < 1000 && text.lines().count() == 1 && !text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("end"));
    }
}
