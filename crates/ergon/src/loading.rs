//! From a checkpoint and the command line to an engine, its text tools and sampling parameters.

use anyhow::{Context, ensure};
use ergon_checkpoint::{ChatTemplate, Checkpoint, GenerationDefaults, Tokenizer};
use ergon_engine::{Engine, EngineOptions, SamplingParams, TextTools};
use ergon_model::KvFormat;

use crate::{
    args::{KvChoice, RuntimeArgs, SamplingArgs, Speculation},
    machine, progress,
};

/// The memory budget of a run in bytes: `--memory`, else a share of what is free; `None` where that is unknown.
pub(crate) fn memory_budget_bytes(runtime: &RuntimeArgs) -> Option<u64> {
    runtime.memory.map(|size| size.0).or_else(machine::default_memory_budget_bytes)
}

/// What the command line says about how to run a model.
pub(crate) fn engine_options(runtime: &RuntimeArgs, speculation: Speculation) -> EngineOptions {
    let defaults = EngineOptions::default();
    EngineOptions {
        threads: runtime.threads.unwrap_or_else(machine::physical_cores),
        isa: runtime.isa,
        kv_format: runtime.kv.map(|choice| match choice {
            KvChoice::F32 => KvFormat::F32,
            KvChoice::F16 => KvFormat::F16,
            KvChoice::Q8 => KvFormat::Q8,
        }),
        prefill_chunk_tokens: runtime.chunk.unwrap_or(defaults.prefill_chunk_tokens),
        memory_budget_bytes: memory_budget_bytes(runtime),
        process_bytes: machine::resident_bytes().unwrap_or(0),
        speculative: speculation != Speculation::Off,
        ..defaults
    }
}

/// Loads the model and starts the threads. `expected_tokens`: of the longest sequence to come, 0 if that is not known.
pub(crate) fn engine(
    checkpoint: &Checkpoint,
    runtime: &RuntimeArgs,
    speculation: Speculation,
    expected_tokens: usize,
) -> anyhow::Result<Engine> {
    let spinner = progress::spinner("loading the model");
    let options = EngineOptions { expected_tokens, ..engine_options(runtime, speculation) };
    let engine = Engine::load(checkpoint, &options);
    spinner.finish_and_clear();
    let engine = engine.context("cannot load the model")?;
    ensure!(
        speculation != Speculation::On || engine.model().has_mtp(),
        "--speculative on: this model has no multi-token-prediction layer to draft with, or its experts are read from the \
         disk, where drafts cost more than they save; leave the flag out"
    );
    Ok(engine)
}

/// The model's tokenizer.
pub(crate) fn tokenizer(checkpoint: &Checkpoint) -> anyhow::Result<Tokenizer> {
    Tokenizer::from_checkpoint(checkpoint).context("cannot use the model's tokenizer")
}

/// What turns text into tokens and back.
pub(crate) struct TextParts {
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) defaults: GenerationDefaults,
}

impl TextParts {
    /// Tokenizer and sampling defaults, and the chat template if it will be used.
    ///
    /// # Errors
    /// One of them is there but cannot be used, or there is no tokenizer.
    pub(crate) fn load(checkpoint: &Checkpoint, with_template: bool) -> anyhow::Result<TextParts> {
        let tokenizer = Some(tokenizer(checkpoint)?);
        let template = if with_template {
            ChatTemplate::from_checkpoint(checkpoint).context("cannot use the model's chat template")?
        } else {
            None
        };
        Ok(TextParts { tokenizer, template, defaults: defaults(checkpoint)? })
    }

    /// For prompts that are tokens already: a tokenizer that is missing or unusable is no obstacle.
    ///
    /// # Errors
    /// The generation defaults are there but cannot be read.
    pub(crate) fn load_for_tokens(checkpoint: &Checkpoint) -> anyhow::Result<TextParts> {
        let tokenizer = Tokenizer::from_checkpoint(checkpoint).ok();
        Ok(TextParts { tokenizer, template: None, defaults: defaults(checkpoint)? })
    }

    pub(crate) fn tools(&self) -> TextTools<'_> {
        TextTools { tokenizer: self.tokenizer.as_ref(), template: self.template.as_ref() }
    }
}

fn defaults(checkpoint: &Checkpoint) -> anyhow::Result<GenerationDefaults> {
    GenerationDefaults::from_checkpoint(checkpoint).context("cannot use the model's generation settings")
}

/// What the command line says, then what the model is published with, then greedy.
pub(crate) fn sampling(args: &SamplingArgs, defaults: &GenerationDefaults) -> SamplingParams {
    let published = SamplingParams::from_defaults(defaults);
    // Whoever narrows the choice wants one to be made.
    let narrows = args.top_p.is_some() || args.top_k.is_some() || args.min_p.is_some();
    let unset = if narrows && defaults.temperature.is_none() { 1.0 } else { published.temperature };
    SamplingParams {
        temperature: args.temperature.unwrap_or(unset),
        top_k: args.top_k.unwrap_or(published.top_k),
        top_p: args.top_p.unwrap_or(published.top_p),
        min_p: args.min_p.unwrap_or(published.min_p),
        repetition_penalty: args.repetition_penalty.unwrap_or(published.repetition_penalty),
        repetition_window: published.repetition_window,
        seed: args.seed,
    }
}
