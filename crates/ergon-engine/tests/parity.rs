//! What a checkpoint must compute: the golden vectors of transformers and llama.cpp.
//!
//! `cargo test -p ergon-engine --test parity -- --nocapture` prints the table of errors.

#![allow(clippy::unwrap_used)] // Helpers of tests.

mod common;

use common::{Case, Runner, cases, deviation, log_softmax, mean_kl, report};
use ergon_checkpoint::{Checkpoint, Tokenizer};
use ergon_engine::{Engine, EngineOptions, SamplingParams, SequenceRequest};
use ergon_kernels::Cpu;
use ergon_model::{KvFormat, Phase};

/// Largest error of a logit against transformers, in standard deviations of the logits.
fn logit_bound(format: &str) -> f32 {
    match format {
        "f32" => 2e-3,
        _ => 3e-2,
    }
}

/// Largest mean divergence from llama.cpp, in nats.
///
/// Of files with a joint `kv_b` llama.cpp always expands keys and values. Absorbed decoding rounds other numbers to eight
/// bits, and 27 layers of random routers turn that into a flipped expert now and then: 5e-4 to 1.1e-3 was seen over
/// seeds, where the expanded formula is at 2e-15 to 1e-4.
fn kl_bound(case: &Case, what: &str) -> f64 {
    let absorbed_joint = what == "decode" && case.name.contains("-fused-");
    match case.format.as_str() {
        "Q8_0" if absorbed_joint => 3e-3,
        "F32" | "F16" | "BF16" | "Q8_0" => 1e-3,
        _ => 5e-3,
    }
}

/// Compares one result with the oracle's; returns a line for the table, or what is wrong.
fn compare(case: &Case, what: &str, actual: &[f32], expected: &[f32]) -> Result<String, String> {
    let worst = deviation(actual, expected, case.vocab());
    let line = if case.is_gguf() {
        let (kl, bound) = (mean_kl(actual, expected, case.vocab()), kl_bound(case, what));
        let line = format!("{what}: mean KL {kl:.1e} (bound {bound:.0e}), largest error {worst}");
        if kl.is_nan() || kl >= bound {
            return Err(line);
        }
        line
    } else {
        let bound = logit_bound(&case.format);
        let line = format!("{what}: {worst} (bound {bound:.0e})");
        if worst.error > bound {
            return Err(line);
        }
        line
    };
    Ok(line)
}

/// All results of one case, each against its oracle.
fn check(case: &Case) -> Vec<Result<String, String>> {
    let (model, cpu) = (case.open(), Cpu::new(1));
    let mut runner = Runner::new(&model, &cpu);
    let whole = runner.logits(&case.tokens, case.tokens.len(), Phase::Prefill);
    let stepwise = runner.logits(&case.tokens, 1, Phase::Decode);
    let mut results = vec![
        compare(case, "prefill", &whole, &case.logits),
        compare(case, "decode", &stepwise, &case.logits),
    ];
    if let Some(expected) = &case.mtp_logits {
        for phase in [Phase::Prefill, Phase::Decode] {
            let actual = runner.draft_logits(&case.tokens, case.tokens.len(), phase);
            results.push(compare(case, &format!("multi-token prediction, {phase:?}"), &actual, expected));
        }
    }
    results
}

#[test]
fn logits_are_those_of_the_reference_implementations() {
    let mut failures = Vec::new();
    for case in cases() {
        for result in check(&case) {
            match result {
                Ok(line) => println!("{:30} {line}", case.name),
                Err(line) => {
                    println!("{:30} WRONG {line}", case.name);
                    failures.push(format!("{}: {line}", case.name));
                }
            }
        }
    }
    report(&failures);
}

/// What `ergon score` reports: the engine as it is set up by default, with its own choice of threads, chunks and KV cache.
#[test]
fn scores_with_default_options_are_within_the_same_bounds() {
    let mut failures = Vec::new();
    for case in cases() {
        let mut engine =
            Engine::load(&Checkpoint::open(&case.checkpoint).unwrap(), &EngineOptions::default()).unwrap();
        let mut logits = vec![0.0; case.logits.len()];
        let score = engine.score(&case.tokens, |first, rows, vocab| {
            logits[first * vocab..][..rows.len()].copy_from_slice(rows);
        });
        let score = score.unwrap();
        match compare(&case, "score", &logits, &case.logits) {
            Ok(line) => println!("{:30} {line}", case.name),
            Err(line) => failures.push(format!("{}: {line}", case.name)),
        }
        let expected = mean_loss(&case);
        if (score.nll_mean - expected).abs() > 0.02 {
            failures.push(format!("{}: mean loss {} instead of {expected}", case.name, score.nll_mean));
        }
    }
    report(&failures);
}

/// Mean negative log-likelihood of every token but the first, by the oracle's logits.
fn mean_loss(case: &Case) -> f64 {
    let losses = case.logits.chunks_exact(case.vocab()).zip(&case.tokens[1..]);
    let total: f64 = losses.map(|(row, &next)| -log_softmax(row)[next as usize]).sum();
    total / (case.tokens.len() - 1) as f64
}

#[test]
fn greedy_continuations_are_identical() {
    let mut failures = Vec::new();
    for case in cases() {
        let Some((prompt, expected)) = &case.greedy else { continue };
        let checkpoint = Checkpoint::open(&case.checkpoint).unwrap();
        for speculative in [false, true] {
            let options = EngineOptions { threads: 1, speculative, ..Default::default() };
            let mut engine = Engine::load(&checkpoint, &options).unwrap();
            let actual = generate(&mut engine, prompt, expected.len());
            if &actual != expected {
                let step = actual.iter().zip(expected).take_while(|(a, e)| a == e).count();
                failures.push(format!(
                    "{} (speculative: {speculative}): step {step} gives {:?} instead of {:?}",
                    case.name,
                    actual.get(step),
                    expected.get(step),
                ));
            }
        }
    }
    report(&failures);
}

fn generate(engine: &mut Engine, prompt: &[u32], count: usize) -> Vec<u32> {
    let request = SequenceRequest {
        prompt: prompt.to_vec(),
        sampling: SamplingParams { temperature: 0.0, ..Default::default() },
        max_new_tokens: count,
        ..Default::default()
    };
    engine.add(request).unwrap();
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        for output in engine.step().unwrap() {
            tokens.extend(output.token_ids);
            if let Some(finish) = output.finish {
                finish.unwrap();
            }
        }
    }
    tokens
}

#[test]
fn tokenizers_in_gguf_files_split_text_as_llama_cpp_does() {
    let mut failures = Vec::new();
    for case in cases() {
        let Some((text, expected)) = &case.text else { continue };
        let checkpoint = Checkpoint::open(&case.checkpoint).unwrap();
        let tokenizer =
            Tokenizer::from_checkpoint(&checkpoint).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let actual = tokenizer.encode(text, true).unwrap();
        if &actual != expected {
            failures.push(format!("{}: {actual:?} instead of {expected:?}", case.name));
        }
    }
    report(&failures);
}

/// What rounding keys and values does to the next token's probabilities, beside single precision. `--nocapture` prints it.
#[test]
fn a_rounded_cache_stays_close() {
    let mut rounded = [0; 2];
    for case in cases() {
        let (model, cpu) = (case.open(), Cpu::new(1));
        let mut runner = Runner::new(&model, &cpu);
        let (tokens, vocab) = (&case.tokens, case.vocab());
        let exact = [Phase::Prefill, Phase::Decode].map(|phase| runner.logits(tokens, 1, phase));
        for (times, (format, bound)) in rounded.iter_mut().zip([(KvFormat::F16, 1e-5), (KvFormat::Q8, 1e-3)])
        {
            if let Err(error) = model.check_kv_format(format) {
                assert!(error.to_string().contains("use f16 or f32"), "{}: {error}", case.name);
                assert!(model.new_state(format, 4, false).is_err(), "{}", case.name);
                continue;
            }
            *times += 1;
            runner.kv = format;
            // Where activations are rounded to eight bits, random routers turn any difference into a flipped expert now and
            // then, as `kl_bound` says.
            let bound = if case.is_gguf() { 5e-3 } else { bound };
            for (phase, exact) in [Phase::Prefill, Phase::Decode].into_iter().zip(&exact) {
                let kl = mean_kl(&runner.logits(tokens, 1, phase), exact, vocab);
                println!("{}, {} {phase:?}: mean KL {kl:.1e} (bound {bound:.0e})", case.name, format.name());
                assert!(kl < bound, "{}, {} {phase:?}: mean KL {kl:.1e}", case.name, format.name());
            }
        }
    }
    assert!(rounded.iter().all(|times| *times > 1), "{rounded:?} models were tried");
}
