//! `ergon score`: what a model thinks of a given text.

use anyhow::{Context, ensure};
use ergon_checkpoint::writer::{TensorSpec, WriteError, Writer};
use ergon_types::WeightFormat;
use serde::Serialize;

use crate::{
    args::{ScoreArgs, Speculation},
    interrupt::{INTERRUPTED_STATUS, Interrupt},
    loading, output, progress, source, text_input,
};

/// Logits turned into bytes at once.
const VALUES_AT_ONCE: usize = 1 << 16;

/// The JSON of `score`.
#[derive(Serialize)]
struct Report<'a> {
    /// Tokens scored, those the tokenizer added included.
    tokens: usize,
    token_ids: &'a [u32],
    /// Mean over the predicted tokens (all but the first), nats; null for a single token.
    nll_mean: Option<f64>,
    perplexity: Option<f64>,
}

pub(crate) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let checkpoint = source::open(&args.model.model)?;
    let tokens = tokens(args, &checkpoint)?;
    ensure!(
        !tokens.is_empty(),
        "there is nothing to score: the text is empty and its tokenizer adds nothing"
    );
    let mut engine = loading::engine(&checkpoint, &args.runtime, Speculation::Off, tokens.len())?;
    let vocab = engine.model().config().vocab_size;
    let mut file =
        args.logits.as_deref().map(|path| LogitsFile::create(path, tokens.len(), vocab)).transpose()?;
    let bar = progress::items("scoring tokens", tokens.len() as u64);
    let interrupt = Interrupt::install()?;
    let score = engine.score(&tokens, |first, rows, vocab| {
        if interrupt.take() {
            // Dropped first, since the unfinished file is removed with it.
            drop(file.take());
            std::process::exit(i32::from(INTERRUPTED_STATUS));
        }
        if let Some(file) = &mut file {
            file.write(rows);
        }
        bar.set_position((first + rows.len() / vocab) as u64);
    })?;
    bar.finish_and_clear();
    if let Some(file) = file {
        file.finish()?;
    }
    let predicted = score.predicted > 0;
    let report = Report {
        tokens: score.tokens,
        token_ids: &tokens,
        nll_mean: predicted.then_some(score.nll_mean),
        perplexity: predicted.then(|| score.perplexity()),
    };
    if args.json {
        return output::write_json(&report);
    }
    output::write_stdout(&match (report.nll_mean, report.perplexity) {
        (Some(nll), Some(perplexity)) => {
            format!(
                "{} tokens, {nll:.6} nats per predicted token, perplexity {perplexity:.4}\n",
                report.tokens
            )
        }
        _ => "1 token; nothing predicts it\n".to_string(),
    })
}

fn tokens(args: &ScoreArgs, checkpoint: &ergon_checkpoint::Checkpoint) -> anyhow::Result<Vec<u32>> {
    if let Some(tokens) = &args.tokens {
        return Ok(tokens.0.clone());
    }
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => text_input::read_file(path)?,
        (None, None) => anyhow::bail!("give --tokens, --text or --file"),
    };
    Ok(loading::tokenizer(checkpoint)?.encode(&text, true)?)
}

/// The file `--logits` names. Rows are written as they come, so that no long text needs all its logits in memory.
struct LogitsFile {
    writer: Writer,
    /// The first failure; scoring cannot be stopped half way, but nothing more is written.
    failed: Option<WriteError>,
}

impl LogitsFile {
    const NAME: &str = "logits";

    fn create(path: &std::path::Path, rows: usize, vocab: usize) -> anyhow::Result<LogitsFile> {
        let spec = TensorSpec::of_format(LogitsFile::NAME, WeightFormat::F32, &[rows, vocab])
            .context("the logits are too large for a file")?;
        let writer = Writer::create(path, &[spec], &[], true).context("cannot write the logits")?;
        Ok(LogitsFile { writer, failed: None })
    }

    fn write(&mut self, rows: &[f32]) {
        for values in rows.chunks(VALUES_AT_ONCE) {
            if self.failed.is_some() {
                return;
            }
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.failed = self.writer.write(LogitsFile::NAME, &bytes).err();
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        let finished = match self.failed {
            Some(error) => Err(error),
            None => self.writer.finish(),
        };
        finished.context("cannot write the logits")
    }
}
