//! Where the person's messages come from: a line editor on a terminal, plain lines from a pipe.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustyline::{
    Behavior, Cmd, Config, Context, Editor, Helper, KeyCode, KeyEvent, Modifiers,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::{multiline, slash};
use crate::{output, text_input::MAX_TEXT_BYTES};

const PROMPT: &str = "> ";
/// Messages kept across runs.
const HISTORY_ENTRIES: usize = 1000;

/// What came from the person.
pub(super) enum Typed {
    Message(String),
    /// Ctrl-C at an empty or half-typed prompt.
    Interrupted,
    End,
}

/// The source of messages.
pub(super) enum Input {
    Terminal(Box<Terminal>),
    Pipe,
}

/// A line editor and the file of its history.
pub(super) struct Terminal {
    editor: Editor<Keys, FileHistory>,
    history: Option<PathBuf>,
}

impl Input {
    /// A line editor if standard input is a terminal; messages are then kept in `history`.
    pub(super) fn open(history: Option<PathBuf>) -> anyhow::Result<Input> {
        if !io::stdin().is_terminal() {
            return Ok(Input::Pipe);
        }
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .max_history_size(HISTORY_ENTRIES)
            .and_then(|builder| builder.history_ignore_dups(true))
            .context("cannot set up line editing")?
            .history_ignore_space(true)
            .build();
        let mut editor: Editor<Keys, FileHistory> =
            Editor::with_config(config).context("cannot set up line editing on this terminal")?;
        editor.set_helper(Some(Keys));
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        if let Some(file) = &history {
            // A first run has none yet; an unreadable one is no reason not to talk.
            let _ = editor.load_history(file);
        }
        Ok(Input::Terminal(Box::new(Terminal { editor, history })))
    }

    /// The next message, several lines joined.
    pub(super) fn next(&mut self) -> anyhow::Result<Typed> {
        match self {
            Input::Terminal(terminal) => terminal.next(),
            Input::Pipe => next_from_pipe(&mut io::stdin().lock()),
        }
    }
}

impl Terminal {
    fn next(&mut self) -> anyhow::Result<Typed> {
        match self.editor.readline(PROMPT) {
            Ok(typed) => {
                self.remember(&typed);
                Ok(Typed::Message(multiline::message(&typed)))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }

    /// Adds to the history and its file at once, so that nothing is lost if the process is killed.
    fn remember(&mut self, typed: &str) {
        let added = self.editor.add_history_entry(typed).unwrap_or(false);
        let Some(file) = self.history.as_deref().filter(|_| added) else { return };
        if let Err(error) = make_folder(file).and_then(|()| Ok(self.editor.append_history(file)?)) {
            output::note(&format!("cannot keep the history in {}: {error}", file.display()));
            self.history = None;
        }
    }
}

fn make_folder(file: &Path) -> anyhow::Result<()> {
    Ok(fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?)
}

fn next_from_pipe(input: &mut impl BufRead) -> anyhow::Result<Typed> {
    let mut typed = String::new();
    loop {
        let read = input.read_line(&mut typed).context("cannot read standard input as UTF-8 text")?;
        if read == 0 {
            // A block left open at the end is a message all the same.
            let message = multiline::message(&typed);
            return Ok(if message.is_empty() { Typed::End } else { Typed::Message(message) });
        }
        anyhow::ensure!(typed.len() <= MAX_TEXT_BYTES, "a message on standard input is longer than 16 MiB");
        if !multiline::goes_on(typed.trim_end_matches(['\n', '\r'])) {
            return Ok(Typed::Message(multiline::message(&typed)));
        }
    }
}

/// Completion of `/commands`, and Enter going on where a message does.
struct Keys;

impl Helper for Keys {}
impl Highlighter for Keys {}

impl Hinter for Keys {
    type Hint = String;
}

impl Completer for Keys {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let names = if typed.starts_with('/') { slash::NAMES.as_slice() } else { &[] };
        Ok((0, names.iter().filter(|name| name.starts_with(typed)).map(|name| format!("{name} ")).collect()))
    }
}

impl Validator for Keys {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = multiline::goes_on(context.input());
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut input = text.as_bytes();
        let mut messages = Vec::new();
        while let Typed::Message(message) = next_from_pipe(&mut input).unwrap() {
            messages.push(message);
        }
        messages
    }

    #[test]
    fn each_line_of_a_pipe_is_a_message() {
        assert_eq!(messages("a\nb\\\nc\n\"\"\"d\n\ne\"\"\"\n"), ["a", "b\nc", "d\n\ne"]);
        assert_eq!(messages("\"\"\"open\n"), ["open"]);
    }
}
