//! An answer on its way to the person: the answer to standard output, thoughts to standard error, dimmed on a terminal.

use ergon_engine::Event;
use indicatif::ProgressBar;

use crate::{
    output::{self, Dim},
    progress,
};

/// Prints the events of one generation as they come.
pub(crate) struct Stream {
    on_terminal: bool,
    dim: Dim,
    /// Thoughts were printed and no answer yet: a gap is due between them.
    after_reasoning: bool,
    /// Turns until the first word: reading a long prompt takes a while.
    waiting: ProgressBar,
    failed: Option<anyhow::Error>,
}

impl Stream {
    pub(crate) fn new() -> Stream {
        Stream {
            on_terminal: output::stdout_is_terminal(),
            dim: Dim::new(output::stderr_is_terminal()),
            after_reasoning: false,
            waiting: progress::spinner("reading the prompt"),
            failed: None,
        }
    }

    /// Prints an event. A failure is kept for [`Stream::finish`]; see [`Stream::has_failed`].
    pub(crate) fn show(&mut self, event: &Event) {
        self.waiting.finish_and_clear();
        match event {
            Event::Reasoning(text) => {
                self.after_reasoning = true;
                output::write_stderr(&self.dim.paint(&output::printable(text)));
            }
            Event::Text(text) => {
                if std::mem::take(&mut self.after_reasoning) {
                    output::write_stderr("\n\n");
                }
                self.write(text);
            }
            Event::Finished(_) | Event::Failed(_) => {}
        }
    }

    /// Whether there is nobody left to print for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends the answer with a newline.
    ///
    /// # Errors
    /// Standard output was closed or broke at any time.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.waiting.finish_and_clear();
        if self.after_reasoning {
            output::write_stderr("\n");
        }
        self.write("\n");
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let written = if self.on_terminal {
            output::write_stdout(&output::printable(text))
        } else {
            output::write_stdout(text)
        };
        self.failed = written.err();
    }
}
