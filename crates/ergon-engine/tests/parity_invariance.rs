//! What must not change a result by a single bit: how a prompt is cut, what else runs, how many threads there are, and
//! which vector instructions compute.
//!
//! Latent attention has one formula for prompts and one for single tokens; each is held to this by itself, and
//! `parity.rs` holds both to the oracle.

#![allow(clippy::unwrap_used)] // Helpers of tests.

mod common;

use common::{Case, Runner, cases, deviation, mean_kl, report, same_bits};
use ergon_kernels::{Cpu, Isa};
use ergon_model::{Input, LogitsWanted, Model, Phase, Segment};

/// Runs `check` on every case; it returns what was compared and how that went.
fn for_every_case(check: impl Fn(&Case, &Model) -> Vec<(String, Result<(), String>)>) {
    let mut failures = Vec::new();
    for case in cases() {
        let model = case.open();
        for (what, result) in check(&case, &model) {
            if let Err(error) = result {
                failures.push(format!("{}, {what}: {error}", case.name));
            }
        }
    }
    report(&failures);
}

#[test]
fn chunks_and_the_cache_do_not_matter() {
    for_every_case(|case, model| {
        let cpu = Cpu::new(1);
        let mut runner = Runner::new(model, &cpu);
        let (tokens, vocab) = (&case.tokens, case.vocab());
        let mut results = Vec::new();
        for phase in [Phase::Prefill, Phase::Decode] {
            let whole = runner.logits(tokens, tokens.len(), phase);
            for chunk in [1, 7, 16] {
                let actual = runner.logits(tokens, chunk, phase);
                results.push((format!("{phase:?} in chunks of {chunk}"), same_bits(&actual, &whole, vocab)));
            }
            if model.has_mtp() {
                let whole = runner.draft_logits(tokens, tokens.len(), phase);
                for chunk in [1, 7] {
                    let actual = runner.draft_logits(tokens, chunk, phase);
                    results.push((
                        format!("{phase:?} drafts in chunks of {chunk}"),
                        same_bits(&actual, &whole, vocab),
                    ));
                }
            }
            // Every position from scratch, without what was cached before it.
            for end in [1, 2, tokens.len() / 2] {
                let actual = runner.logits(&tokens[..end], end, phase);
                results.push((
                    format!("{phase:?} of {end} tokens"),
                    same_bits(&actual, &whole[..end * vocab], vocab),
                ));
            }
            // Going back and reading on again.
            let mut state = runner.state(tokens.len());
            runner.extend(&mut state, tokens, tokens.len(), phase);
            let back = tokens.len() / 3;
            state.truncate(back);
            let actual = runner.extend(&mut state, &tokens[back..], 5, phase);
            results.push((
                format!("{phase:?} after truncation"),
                same_bits(&actual, &whole[back * vocab..], vocab),
            ));
        }
        results
    });
}

#[test]
fn company_does_not_matter() {
    for_every_case(|case, model| {
        let cpu = Cpu::new(1);
        let mut runner = Runner::new(model, &cpu);
        let (tokens, vocab) = (&case.tokens, case.vocab());
        let other: Vec<u32> = tokens.iter().rev().copied().collect();
        let alone = runner.logits(tokens, tokens.len(), Phase::Prefill);
        let alone_decoded = runner.logits(tokens, 1, Phase::Decode);
        let start = tokens.len() / 2;

        // A prompt, half of another prompt, and a single token of a third sequence, in one step.
        let mut states = [runner.state(tokens.len()), runner.state(tokens.len()), runner.state(tokens.len())];
        runner.extend(&mut states[1], &other[..start], start, Phase::Prefill);
        runner.extend(&mut states[2], &tokens[..start], 1, Phase::Decode);
        let [first, second, third] = &mut states;
        let mut segments = [
            Segment {
                input: Input::Tokens(&other[start..]),
                state: second,
                phase: Phase::Prefill,
                logits: LogitsWanted::None,
            },
            Segment {
                input: Input::Tokens(tokens),
                state: first,
                phase: Phase::Prefill,
                logits: LogitsWanted::All,
            },
            Segment {
                input: Input::Tokens(&tokens[start..=start]),
                state: third,
                phase: Phase::Decode,
                logits: LogitsWanted::Last,
            },
        ];
        let mut logits = Vec::new();
        model.forward(&cpu, &mut segments, &mut runner.scratch, &mut logits).unwrap();
        let (prompt, decoded) = logits.split_at(tokens.len() * vocab);
        vec![
            ("a prompt beside others".to_owned(), same_bits(prompt, &alone, vocab)),
            (
                "a token beside prompts".to_owned(),
                same_bits(decoded, &alone_decoded[start * vocab..(start + 1) * vocab], vocab),
            ),
        ]
    });
}

#[test]
fn threads_do_not_matter() {
    for_every_case(|case, model| {
        let (one, tokens) = (Cpu::new(1), &case.tokens);
        let mut results = Vec::new();
        for (phase, chunk) in [(Phase::Prefill, tokens.len()), (Phase::Decode, 1)] {
            let expected = Runner::new(model, &one).logits(tokens, chunk, phase);
            for threads in [2, 3] {
                let cpu = Cpu::new(threads);
                let actual = Runner::new(model, &cpu).logits(tokens, chunk, phase);
                results.push((
                    format!("{phase:?} on {threads} threads"),
                    same_bits(&actual, &expected, case.vocab()),
                ));
            }
        }
        results
    });
}

/// AVX2, AVX-512 and NEON fuse multiplication and addition in the same order, so they agree to the bit. The portable
/// code cannot fuse: there only integer arithmetic is identical, and results stay within the bounds of parity.
#[test]
fn instruction_sets_do_not_matter() {
    for_every_case(|case, model| {
        let best = Cpu::new(1);
        let expected = Runner::new(model, &best).logits(&case.tokens, case.tokens.len(), Phase::Prefill);
        let mut results = Vec::new();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 1).unwrap();
            let actual = Runner::new(model, &cpu).logits(&case.tokens, case.tokens.len(), Phase::Prefill);
            let vocab = case.vocab();
            let result = if isa != Isa::Generic {
                same_bits(&actual, &expected, vocab)
            } else if case.is_gguf() {
                let kl = mean_kl(&actual, &expected, vocab);
                if kl < 1e-3 {
                    Ok(())
                } else {
                    Err(format!("mean KL {kl:.1e} from the best instruction set"))
                }
            } else {
                let worst = deviation(&actual, &expected, vocab);
                if worst.error <= 2e-3 { Ok(()) } else { Err(worst.to_string()) }
            };
            results.push((isa.name().to_owned(), result));
        }
        results
    });
}
