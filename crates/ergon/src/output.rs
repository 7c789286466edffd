//! What reaches standard output and standard error: results on the first, everything else on the second.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

/// The reader of our standard output has gone (`ergon … | head`). No failure: `main` ends quietly with status 0.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct OutputClosed;

/// Writes text to standard output and flushes it.
pub(crate) fn write_stdout(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Writes a value as one JSON object and a newline to standard output.
pub(crate) fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write the result as JSON")?;
    text.push('\n');
    write_stdout(&text)
}

/// Writes text to standard error; a closed standard error is nothing to fail over.
pub(crate) fn write_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to tell.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// A remark on standard error, on a line of its own.
pub(crate) fn note(text: &str) {
    write_stderr(&format!("{}\n", printable(text)));
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Text from a model or a file made safe for a terminal: control characters other than newline and tab become `\u{fffd}`,
/// so that no file can move the cursor or retitle the window.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Escape codes for text that stands back; empty where the stream is no terminal.
#[derive(Clone, Copy)]
pub(crate) struct Dim {
    on: bool,
}

impl Dim {
    /// Dims only if the stream is a terminal.
    pub(crate) fn new(is_terminal: bool) -> Dim {
        Dim { on: is_terminal }
    }

    /// `text` between the codes.
    pub(crate) fn paint(self, text: &str) -> String {
        if self.on { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tb\n"), "a\u{fffd}[2J\tb\n");
    }
}
