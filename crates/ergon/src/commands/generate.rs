//! `ergon generate`: one completion.

use std::{io, path::Path, time::Instant};

use anyhow::{Context, bail, ensure};
use ergon_engine::{Completion, Generation, GenerationRequest, Grammar, Prompt};
use ergon_types::{FinishReason, Message, Role};
use serde::{Serialize, de::IgnoredAny};

use crate::{
    args::{GenerateArgs, OutputArgs},
    failure::Interrupted,
    interrupt::Interrupt,
    loading::{self, TextParts},
    memory_report::RunMemory,
    output::{self, Dim},
    progress, source,
    stream::Stream,
    text_input,
};

/// The JSON of `generate`.
#[derive(Serialize)]
struct Report<'a> {
    /// Null if the model has no tokenizer.
    text: Option<&'a str>,
    reasoning: Option<&'a str>,
    token_ids: &'a [u32],
    finish_reason: String,
    prompt_tokens: usize,
    seed: u64,
    timings: Timings,
    memory: RunMemory,
}

#[derive(Serialize)]
struct Timings {
    /// Opening the checkpoint, binding the weights, building the tokenizer.
    load_s: f64,
    prefill_tokens_per_s: Option<f64>,
    /// Null if there was no token after the first.
    decode_tokens_per_s: Option<f64>,
}

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let checkpoint = source::open(&args.model.model)?;
    let parts = match args.tokens {
        Some(_) => TextParts::load_for_tokens(&checkpoint)?,
        None => TextParts::load(&checkpoint, !args.raw)?,
    };
    let request = request(args, &parts)?;
    let tokens = parts.tools().count_tokens(&request.prompt)?.saturating_add(args.max_tokens);
    let engine = loading::engine(&checkpoint, &args.runtime, args.reasoning.speculative, tokens)?;
    let mut generation = Generation::new(engine, parts.tools(), &parts.defaults);
    let load_s = start.elapsed().as_secs_f64();

    let interrupt = Interrupt::install()?;
    let streams = !args.json && parts.tokenizer.is_some() && (args.stream || output::stdout_is_terminal());
    let completion = if streams {
        stream(&mut generation, &request, &interrupt)?
    } else {
        let spinner = progress::spinner("generating");
        let completion = generation.run(&request, || interrupt.take(), |_| ());
        spinner.finish_and_clear();
        completion?
    };
    let report = Report {
        text: parts.tokenizer.is_some().then_some(completion.text.as_str()),
        reasoning: completion.reasoning.as_deref(),
        token_ids: &completion.token_ids,
        finish_reason: completion.finish_reason.to_string(),
        prompt_tokens: completion.usage.prompt_tokens,
        seed: args.sampling.seed,
        timings: Timings {
            load_s,
            prefill_tokens_per_s: completion.timings.prefill_tokens_per_s(),
            decode_tokens_per_s: completion.timings.decode_tokens_per_s(),
        },
        memory: RunMemory::of(
            generation.engine(),
            completion.usage.prompt_tokens.saturating_add(args.max_tokens),
        ),
    };
    if args.json {
        output::write_json(&report)?;
    } else if !streams {
        output::write_stdout(&format!("{}\n", plain(&report)))?;
    }
    if !args.json {
        note_speed(&report);
    }
    ensure!(completion.finish_reason != FinishReason::Cancelled, Interrupted);
    Ok(())
}

/// The answer as it is, or the token ids of a model that has no words.
fn plain(report: &Report<'_>) -> String {
    match report.text {
        Some(text) => text.to_string(),
        None => report.token_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    }
}

fn note_speed(report: &Report<'_>) {
    let speed =
        report.timings.decode_tokens_per_s.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
    let line = format!(
        "[{} prompt tokens, {} new{speed}, {}, seed {}]",
        report.prompt_tokens,
        report.token_ids.len(),
        report.finish_reason,
        report.seed
    );
    output::write_stderr(&format!("{}\n", Dim::new(output::stderr_is_terminal()).paint(&line)));
}

fn stream(
    generation: &mut Generation<'_>,
    request: &GenerationRequest,
    interrupt: &Interrupt,
) -> anyhow::Result<Completion> {
    // The loop asks whether to stop between showing events; both look at the same stream.
    let stream = std::cell::RefCell::new(Stream::new());
    let completion = generation.run(
        request,
        || interrupt.take() || stream.borrow().has_failed(),
        |event| stream.borrow_mut().show(event),
    )?;
    stream.into_inner().finish()?;
    Ok(completion)
}

fn request(args: &GenerateArgs, parts: &TextParts) -> anyhow::Result<GenerationRequest> {
    let mut request = GenerationRequest::new(prompt(args, parts)?);
    request.sampling = loading::sampling(&args.sampling, &parts.defaults);
    request.max_new_tokens = Some(args.max_tokens);
    request.stop = args.output.stop.clone();
    request.grammar = grammar(&args.output)?;
    request.stop_at_eos = !args.ignore_eos;
    request.reasoning_budget = args.reasoning.reasoning_budget;
    Ok(request)
}

fn prompt(args: &GenerateArgs, parts: &TextParts) -> anyhow::Result<Prompt> {
    if let Some(tokens) = &args.tokens {
        return Ok(Prompt::Tokens(tokens.0.clone()));
    }
    let text = match args.prompt.as_deref() {
        Some("-") => {
            text_input::read(io::stdin().lock()).context("cannot read the prompt from standard input")?
        }
        Some(text) => text.to_string(),
        None => bail!("give --prompt or --tokens"),
    };
    if args.raw {
        return Ok(Prompt::Text(text));
    }
    if parts.template.is_none() {
        ensure!(
            args.system.is_none(),
            "--system needs a chat template and this model has none; put it into the prompt"
        );
        output::note("this model has no chat template: the prompt is continued as it stands, as with --raw");
        return Ok(Prompt::Text(text));
    }
    let system = args.system.iter().map(|system| Message::new(Role::System, system.as_str()));
    let messages = system.chain([Message::new(Role::User, text)]).collect();
    Ok(Prompt::Chat { messages, enable_thinking: args.reasoning.no_think.then_some(false) })
}

/// The schema itself, or what is in the file of that name; JSON in either case, since what is wrong with it is best told
/// where it stands.
fn json_schema(schema: &str) -> anyhow::Result<String> {
    let is_text = schema.trim_start().starts_with('{');
    let text = if is_text {
        schema.to_string()
    } else {
        text_input::read_file(Path::new(schema)).context("cannot take the schema")?
    };
    let place = if is_text { "its text" } else { schema };
    serde_json::from_str::<IgnoredAny>(&text).with_context(|| {
        format!("--json-schema: {place} is no JSON; give a schema, or a file that holds one")
    })?;
    Ok(text)
}

fn grammar(args: &OutputArgs) -> anyhow::Result<Option<Grammar>> {
    if let Some(schema) = &args.json_schema {
        return Ok(Some(Grammar::JsonSchema(json_schema(schema)?)));
    }
    if let Some(pattern) = &args.regex {
        return Ok(Some(Grammar::Regex(pattern.clone())));
    }
    Ok(args.json_object.then_some(Grammar::JsonObject))
}
