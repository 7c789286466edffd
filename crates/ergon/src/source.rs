//! From the word MODEL on the command line to an opened checkpoint.

use anyhow::Context;
use ergon_checkpoint::{
    Checkpoint,
    hub::{self, Hub, HubError, Progress},
};
use indicatif::ProgressBar;

use crate::progress;

/// Resolves a folder, a .gguf file or a hub id (downloading what is missing) and opens it.
pub(crate) fn open(model: &str) -> anyhow::Result<Checkpoint> {
    let mut progress = DownloadBar::default();
    let path = hub::resolve(model, &Hub::from_env(), &mut progress).map_err(|error| {
        let what = match &error {
            // These say it themselves.
            HubError::NoSuchPath { .. } | HubError::NotAnId { .. } => cannot_open(model),
            // Whoever meant a path must not be left to read about the hub alone.
            _ => format!(
                "{}: no such file or folder is here, and the hub does not give it",
                cannot_open(model)
            ),
        };
        anyhow::Error::new(error).context(what)
    })?;
    Checkpoint::open(&path).with_context(|| cannot_open(model))
}

fn cannot_open(model: &str) -> String {
    format!("cannot open model '{model}'")
}

/// One bar per downloaded file.
#[derive(Default)]
struct DownloadBar {
    bar: Option<ProgressBar>,
}

impl Progress for DownloadBar {
    fn start(&mut self, file: &str, done: u64, total: Option<u64>) {
        let bar = match total {
            Some(total) => progress::bytes(file, total),
            None => progress::spinner(file),
        };
        // Bytes of an earlier try do not count as this run's speed.
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}
