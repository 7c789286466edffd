//! The engine over tiny random models: the same tokens whatever the circumstances, and clear refusals.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod tiny;

use ergon_engine::{
    ConstraintCompiler, Engine, EngineError, EngineOptions, Grammar, SamplingParams, SequenceId,
    SequenceRequest,
};
use ergon_types::FinishReason;
use tiny::{CONTEXT, EOS, VOCAB, options};

fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 31 + seed * 17 + i * i % 7) % 250).collect()
}

fn sampled(seed: u64) -> SamplingParams {
    SamplingParams {
        temperature: 0.8,
        top_p: 0.95,
        repetition_penalty: 1.1,
        seed,
        ..SamplingParams::default()
    }
}

fn request(seed: u32, prompt_len: usize, new: usize) -> SequenceRequest {
    let sampling = if seed.is_multiple_of(2) { SamplingParams::default() } else { sampled(u64::from(seed)) };
    SequenceRequest {
        prompt: prompt(seed, prompt_len),
        sampling,
        max_new_tokens: new,
        ..SequenceRequest::default()
    }
}

/// Runs all to their ends; the tokens of each and how it ended.
fn run(engine: &mut Engine, requests: &[SequenceRequest]) -> Vec<(Vec<u32>, FinishReason)> {
    let ids: Vec<SequenceId> = requests.iter().map(|r| engine.add(r.clone()).unwrap()).collect();
    let mut results = vec![(Vec::new(), None); ids.len()];
    while !engine.is_idle() {
        for output in engine.step().unwrap() {
            let result = &mut results[ids.iter().position(|&id| id == output.id).unwrap()];
            result.0.extend(output.token_ids);
            result.1 = output.finish.map(Result::unwrap).or(result.1);
        }
    }
    results.into_iter().map(|(tokens, finish)| (tokens, finish.unwrap())).collect()
}

fn requests() -> Vec<SequenceRequest> {
    [(0, 40), (1, 3), (2, 97), (3, 1), (4, 12), (5, 64)].map(|(seed, len)| request(seed, len, 24)).to_vec()
}

fn check_invariance(tiny: &tiny::Tiny) {
    let plain = EngineOptions { threads: 1, speculative: false, kept_states: 0, ..options() };
    let alone: Vec<_> = requests()
        .iter()
        .flat_map(|r| run(&mut tiny.engine(plain.clone()), std::slice::from_ref(r)))
        .collect();
    for (tokens, finish) in &alone {
        assert_eq!((tokens.len(), *finish), (24, FinishReason::Length));
    }
    for chunk in [1, 7, 512] {
        for threads in [1, 2] {
            let options = EngineOptions { prefill_chunk_tokens: chunk, threads, ..options() };
            let together = run(&mut tiny.engine(options), &requests());
            assert_eq!(together, alone, "chunk {chunk}, {threads} threads");
        }
    }
}

#[test]
fn company_chunks_and_threads_do_not_change_tokens() {
    check_invariance(&tiny::llama());
}

#[test]
fn company_chunks_and_threads_do_not_change_tokens_with_latent_attention() {
    check_invariance(&tiny::deepseek_v3());
}

#[test]
fn drafts_do_not_change_tokens() {
    let tiny = tiny::deepseek_v3();
    let requests: Vec<_> = (0..4).map(|seed| request(seed, 20 + seed as usize, 150)).collect();
    let plain = run(&mut tiny.engine(EngineOptions { speculative: false, ..options() }), &requests);
    let mut engine = tiny.engine(options());
    let drafted = run(&mut engine, &requests);
    assert_eq!(drafted, plain);
    let stats = engine.speculation_stats();
    assert!(stats.drafted >= 24, "{stats:?}");
    assert!(stats.accepted > 0 && stats.accepted < stats.drafted, "{stats:?}");
}

#[test]
fn drafts_stop_where_plain_decoding_stops() {
    let tiny = tiny::deepseek_v3();
    for new in 1..40 {
        for stop in [7, 33, 120] {
            let mut request = request(new, 9, new as usize + 20);
            request.stop_token_ids = vec![stop, stop + 1, stop + 2, EOS];
            let plain = EngineOptions { speculative: false, ..options() };
            let requests = [request];
            assert_eq!(run(&mut tiny.engine(options()), &requests), run(&mut tiny.engine(plain), &requests));
        }
    }
}

#[test]
fn kept_states_do_not_change_tokens() {
    for tiny in [tiny::llama(), tiny::deepseek_v3()] {
        let mut engine = tiny.engine(options());
        let first = request(0, 50, 20);
        let answer = run(&mut engine, std::slice::from_ref(&first)).remove(0).0;
        let mut second = first.clone();
        second.prompt.extend(&answer);
        second.prompt.extend([1, 2, 3]);
        second.sampling = sampled(9);
        let fresh = run(&mut tiny.engine(options()), std::slice::from_ref(&second));
        let id = engine.add(second.clone()).unwrap();
        assert!(engine.reused_tokens(id).unwrap() >= 50);
        engine.cancel(id).unwrap();
        assert_eq!(run(&mut engine, &[second]), fresh);
        // The very same prompt again: all but its last token is there.
        let id = engine.add(first.clone()).unwrap();
        assert_eq!(engine.reused_tokens(id).unwrap(), 49);
        engine.cancel(id).unwrap();
        assert_eq!(run(&mut engine, &[first]).remove(0).0, answer);
    }
}

#[test]
fn grammars_hold_with_and_without_drafts() {
    let tiny = tiny::deepseek_v3();
    let compiler = ConstraintCompiler::new(&tiny.tokenizer(), VOCAB, &[EOS]).unwrap();
    let pattern = Grammar::Regex(r"date: [0-9]{4}-[0-9]{2} (yes|no), [a-z]{5,40}\.".into());
    let requests: Vec<_> = (0..6)
        .map(|seed| SequenceRequest {
            constraint: Some(compiler.compile(&pattern).unwrap()),
            stop_token_ids: vec![EOS],
            ..request(seed, 11, 100)
        })
        .collect();
    let plain = run(&mut tiny.engine(EngineOptions { speculative: false, ..options() }), &requests);
    for (tokens, finish) in &plain {
        assert_eq!(*finish, FinishReason::Stop);
        let text: String = tokens.iter().filter(|&&t| t < 256).map(|&t| char::from(t as u8)).collect();
        let (date, rest) = text.strip_prefix("date: ").unwrap().split_once(' ').unwrap();
        assert!(date.len() == 7 && date.as_bytes()[4] == b'-', "{text}");
        let (word, tail) = rest.split_once(", ").unwrap();
        assert!(
            ["yes", "no"].contains(&word) && tail.ends_with('.') && (6..=41).contains(&tail.len()),
            "{text}"
        );
    }
    assert_eq!(run(&mut tiny.engine(options()), &requests), plain);
}

#[test]
fn the_context_is_an_end_and_not_an_error() {
    for tiny in [tiny::llama(), tiny::deepseek_v3()] {
        let mut engine = tiny.engine(options());
        let long = request(0, CONTEXT - 30, usize::MAX);
        let (tokens, finish) = run(&mut engine, &[long]).remove(0);
        assert_eq!((tokens.len(), finish), (30, FinishReason::Length));
        let nothing = run(&mut engine, &[request(0, 10, 0)]).remove(0);
        assert_eq!(nothing, (vec![], FinishReason::Length));
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_work() {
    let tiny = tiny::llama();
    let mut engine = tiny.engine(EngineOptions { max_sequences: 1, ..options() });
    assert!(matches!(engine.add(request(0, 0, 4)), Err(EngineError::EmptyPrompt)));
    let outside = SequenceRequest { prompt: vec![1, VOCAB as u32], ..request(0, 1, 4) };
    assert!(matches!(engine.add(outside), Err(EngineError::TokenOutOfRange { index: 1, token: 260, .. })));
    assert!(matches!(engine.add(request(0, CONTEXT, 4)), Err(EngineError::ContextExceeded { .. })));
    let mut hot = request(0, 3, 4);
    hot.sampling.temperature = f32::NAN;
    assert!(matches!(engine.add(hot), Err(EngineError::Sampling(_))));
    let id = engine.add(request(0, 3, 4)).unwrap();
    assert!(matches!(engine.add(request(0, 3, 4)), Err(EngineError::NoFreeSlot { slots: 1 })));
    engine.cancel(id).unwrap();
    assert!(matches!(engine.cancel(id), Err(EngineError::UnknownSequence(_))));
    assert!(engine.is_idle() && engine.step().unwrap().is_empty());
}

#[test]
fn the_memory_budget_is_told_by_kind() {
    let tiny = tiny::llama();
    let need = tiny.engine(options()).memory_need(100);
    assert!(need.weights > 0 && need.kv_cache > 0 && need.working > 0);
    let budget = |bytes| EngineOptions { memory_budget_bytes: Some(bytes), kept_states: 4, ..options() };
    let mut engine = tiny.engine(budget(need.total()));
    let error = engine.add(request(0, 50, 51)).unwrap_err().to_string();
    assert!(error.contains("KV cache") && error.contains("101 tokens"), "{error}");
    assert_eq!(run(&mut engine, &[request(0, 50, 50)]).len(), 1);
    assert!(matches!(Engine::load(&tiny.checkpoint, &budget(1000)), Err(EngineError::Memory(_))));
}

#[test]
fn cancelling_one_leaves_the_others_alone() {
    let tiny = tiny::llama();
    let alone = run(&mut tiny.engine(options()), &[request(1, 20, 30)]);
    let mut engine = tiny.engine(options());
    let kept = engine.add(request(1, 20, 30)).unwrap();
    let dropped = engine.add(request(2, 300, 30)).unwrap();
    let mut tokens = Vec::new();
    for step in 0.. {
        if step == 4 {
            engine.cancel(dropped).unwrap();
        }
        tokens.extend(engine.step().unwrap().into_iter().filter(|o| o.id == kept).flat_map(|o| o.token_ids));
        if engine.is_idle() {
            break;
        }
    }
    assert_eq!(tokens, alone[0].0);
}

#[test]
fn a_score_does_not_depend_on_chunks() {
    for tiny in [tiny::llama(), tiny::deepseek_v3()] {
        let text = prompt(3, 90);
        let score = |chunk| {
            let mut rows = Vec::new();
            let mut engine = tiny.engine(EngineOptions { prefill_chunk_tokens: chunk, ..options() });
            let score = engine.score(&text, |first, logits, vocab| {
                assert_eq!(first * vocab, rows.len());
                rows.extend_from_slice(logits);
            });
            (score.unwrap(), rows)
        };
        let (whole, rows) = score(512);
        assert_eq!((whole.tokens, whole.predicted, rows.len()), (90, 89, 90 * VOCAB));
        assert!(whole.nll_mean > 0.0 && whole.perplexity().is_finite());
        for chunk in [1, 13, 64] {
            assert!(score(chunk) == (whole, rows.clone()), "chunk {chunk}");
        }
    }
    let mut engine = tiny::llama().engine(options());
    assert_eq!(engine.score(&[5], |_, _, _| {}).unwrap().nll_mean, 0.0);
    assert!(matches!(engine.score(&[], |_, _, _| {}), Err(EngineError::EmptyPrompt)));
    assert!(matches!(
        engine.score(&vec![1; CONTEXT + 1], |_, _, _| {}),
        Err(EngineError::ContextExceeded { .. })
    ));
}

/// Each of these once loaded, and computed something else than the model that was published.
#[test]
fn checkpoints_that_contradict_their_config_are_refused() {
    let refused = |tiny: &tiny::Tiny| match Engine::load(&tiny.checkpoint, &options()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let fewer_layers = tiny::llama_with(|config, _| config["num_hidden_layers"] = 1.into());
    assert!(refused(&fewer_layers).contains("model.layers.1."), "{}", refused(&fewer_layers));
    let no_head = tiny::llama_with(|_, tensors| tensors.retain(|tensor| tensor.0 != "lm_head.weight"));
    assert!(refused(&no_head).contains("'lm_head.weight' is missing"), "{}", refused(&no_head));
    let damaged = tiny::llama_with(|_, tensors| {
        let norm = tensors.iter_mut().find(|tensor| tensor.0 == "model.norm.weight").unwrap();
        norm.2[3] = f32::NAN;
    });
    assert!(refused(&damaged).contains("'model.norm.weight' holds values"), "{}", refused(&damaged));
}
