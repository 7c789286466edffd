//! Routed experts that do not all fit the memory budget: the same tokens at every budget, and what a bad disk or file costs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod tiny;

use std::io::{Seek, SeekFrom, Write};

use ergon_checkpoint::Checkpoint;
use ergon_engine::{
    Engine, EngineError, EngineOptions, MemoryPlan, SamplingParams, SequenceError, SequenceId,
    SequenceRequest,
};
use tiny::{Tiny, deepseek_v3_of, options};

/// Layers of the model; the first is dense, the others have eight experts each, of which a token visits two.
const LAYERS: usize = 4;
const EXPERTS: usize = 3 * 8;

fn request(seed: u32, prompt_len: u32, new: usize) -> SequenceRequest {
    SequenceRequest {
        prompt: (0..prompt_len).map(|i| (i * 31 + seed * 17 + i * i % 7) % 250).collect(),
        sampling: SamplingParams {
            temperature: (seed % 2) as f32,
            seed: u64::from(seed),
            ..SamplingParams::default()
        },
        max_new_tokens: new,
        ..SequenceRequest::default()
    }
}

fn requests() -> Vec<SequenceRequest> {
    [(0, 40), (1, 3), (2, 97), (3, 1), (4, 12), (5, 64)].map(|(seed, len)| request(seed, len, 24)).to_vec()
}

type Outcome = Result<Vec<u32>, SequenceError>;

/// Runs all to their ends.
fn run(engine: &mut Engine, requests: &[SequenceRequest]) -> Vec<Outcome> {
    let ids: Vec<SequenceId> = requests.iter().map(|r| engine.add(r.clone()).unwrap()).collect();
    let mut outcomes: Vec<Outcome> = vec![Ok(Vec::new()); ids.len()];
    while !engine.is_idle() {
        for output in engine.step().unwrap() {
            let outcome = &mut outcomes[ids.iter().position(|&id| id == output.id).unwrap()];
            if let Ok(tokens) = outcome {
                tokens.extend(output.token_ids);
            }
            if let Some(Err(error)) = output.finish {
                *outcome = Err(error);
            }
        }
    }
    outcomes
}

fn with_budget(bytes: u64) -> EngineOptions {
    EngineOptions { memory_budget_bytes: Some(bytes), ..options() }
}

/// What a sequence of so many tokens needs at least, experts being read.
fn least_bytes(checkpoint: &Checkpoint, tokens: usize) -> u64 {
    let plan = MemoryPlan::of_checkpoint(checkpoint, &with_budget(1)).unwrap();
    assert!(plan.streams());
    plan.need_for(tokens).total()
}

/// The largest budget at which not all experts stay in memory.
fn most_bytes(checkpoint: &Checkpoint) -> u64 {
    let everything = MemoryPlan::of_checkpoint(checkpoint, &with_budget(u64::MAX)).unwrap();
    assert!(!everything.streams());
    everything.need_for(everything.comfortable_tokens()).total() - 1
}

#[test]
fn every_budget_gives_the_same_tokens() {
    for experts_alone in [false, true] {
        let tiny = deepseek_v3_of(LAYERS, experts_alone);
        let expected = run(&mut tiny.engine(options()), &requests());
        let mut capacities = Vec::new();
        for more in [0, 1, 3, 9] {
            for (request, expected) in requests().iter().zip(&expected) {
                let tokens = request.prompt.len() + request.max_new_tokens;
                let bytes = least_bytes(&tiny.checkpoint, tokens) + more * 28 * 1024;
                let mut engine = tiny.engine(with_budget(bytes));
                let found = run(&mut engine, std::slice::from_ref(request));
                assert_eq!(found[0], *expected, "{more} more, {} tokens", request.prompt.len());
                capacities.push(engine.expert_cache().unwrap().in_memory);
            }
        }
        capacities.sort_unstable();
        assert!(capacities[0] < 4 && capacities[capacities.len() - 1] > 8, "{capacities:?}");
        let together = least_bytes(&tiny.checkpoint, 420) + (100 << 10);
        let mut engine = tiny.engine(with_budget(together));
        assert_eq!(run(&mut engine, &requests()), expected);
        let report = engine.expert_cache().unwrap();
        assert_eq!(report.total, EXPERTS);
        assert!(report.stats.visits > 300 && report.stats.hits > 0, "{report:?}");
        assert!(report.stats.disk_bytes + report.stats.page_cache_bytes > 0, "{report:?}");
    }
}

#[test]
fn scores_are_the_same_too() {
    let tiny = deepseek_v3_of(LAYERS, true);
    let tokens: Vec<u32> = request(2, 200, 0).prompt;
    let whole = tiny.engine(options()).score(&tokens, |_, _, _| ()).unwrap();
    let bytes = least_bytes(&tiny.checkpoint, tokens.len()) + (1 << 20);
    let read = tiny.engine(with_budget(bytes)).score(&tokens, |_, _, _| ()).unwrap();
    assert_eq!(whole, read);
}

#[test]
fn too_small_a_budget_is_refused_by_kind() {
    let tiny = deepseek_v3_of(LAYERS, false);
    let least = least_bytes(&tiny.checkpoint, 0);
    assert!(Engine::load(&tiny.checkpoint, &with_budget(least)).is_ok());
    let Err(error) = Engine::load(&tiny.checkpoint, &with_budget(least - 1)) else { panic!("it fits") };
    assert!(matches!(error, EngineError::Memory(_)));
    let said = error.to_string();
    for part in ["weights without routed experts", "smallest expert cache", "KV cache", "working memory"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let mut engine = tiny.engine(with_budget(least_bytes(&tiny.checkpoint, 100)));
    assert!(matches!(engine.add(request(0, 100, 100)), Err(EngineError::Memory(_))));
    assert!(run(&mut engine, &[request(0, 50, 50)])[0].is_ok());
}

#[test]
fn a_longer_sequence_takes_its_memory_from_the_experts_and_gives_it_back() {
    let tiny = deepseek_v3_of(LAYERS, false);
    let bytes = least_bytes(&tiny.checkpoint, 550) + 4 * 28 * 1024;
    let mut engine = tiny.engine(EngineOptions { kept_states: 0, ..with_budget(bytes) });
    let in_memory = |engine: &Engine| engine.expert_cache().unwrap().in_memory;
    let idle = in_memory(&engine);
    let id = engine.add(request(0, 50, 500)).unwrap();
    let busy = in_memory(&engine);
    assert!(busy < idle, "{busy} of {idle}");
    engine.cancel(id).unwrap();
    assert_eq!(in_memory(&engine), idle);
}

#[test]
fn buffers_for_long_pieces_of_a_prompt_go_to_the_experts_afterwards() {
    let tiny = deepseek_v3_of(LAYERS, false);
    let tokens = 420;
    let chunk = |bytes| {
        let plan = MemoryPlan::of_checkpoint(&tiny.checkpoint, &with_budget(bytes)).unwrap();
        plan.chunk_tokens(tokens)
    };
    let bytes = least_bytes(&tiny.checkpoint, tokens) + 4 * 28 * 1024;
    assert!(chunk(bytes) < chunk(most_bytes(&tiny.checkpoint)));
    let mut engine = tiny.engine(with_budget(bytes));
    let in_memory = |engine: &Engine| engine.expert_cache().unwrap().in_memory;
    engine.add(request(0, 400, 20)).unwrap();
    engine.step().unwrap();
    assert_eq!(engine.options().prefill_chunk_tokens, chunk(bytes));
    let reading = in_memory(&engine);
    let mut writing = 0;
    while !engine.is_idle() {
        engine.step().unwrap();
        if !engine.is_idle() {
            writing = writing.max(in_memory(&engine));
        }
    }
    assert!(reading < writing, "{reading} experts while reading, {writing} while writing");
}

#[test]
fn a_sequence_that_is_known_to_be_long_has_the_experts_read() {
    let tiny = deepseek_v3_of(LAYERS, false);
    let folder = tiny.weights().parent().unwrap().to_path_buf();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["max_position_embeddings"] = 8192.into();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let budget = with_budget(most_bytes(&checkpoint) + 1);
    let long: usize = 4096 + 500;
    let mut surprised = Engine::load(&checkpoint, &budget).unwrap();
    assert!(surprised.expert_cache().is_none());
    assert!(matches!(surprised.add(request(0, long as u32 - 10, 10)), Err(EngineError::Memory(_))));
    let mut told = Engine::load(&checkpoint, &EngineOptions { expected_tokens: long, ..budget }).unwrap();
    assert!(told.expert_cache().is_some());
    told.add(request(0, long as u32 - 10, 10)).unwrap();
}

#[test]
fn engines_over_the_same_file_do_not_disturb_each_other() {
    let tiny = deepseek_v3_of(LAYERS, true);
    let expected = run(&mut tiny.engine(options()), &requests());
    let bytes = least_bytes(&tiny.checkpoint, 420) + (50 << 10);
    std::thread::scope(|scope| {
        let other = || {
            let checkpoint = Checkpoint::open(tiny.weights().parent().unwrap()).unwrap();
            let mut engine = Engine::load(&checkpoint, &with_budget(bytes)).unwrap();
            run(&mut engine, &requests())
        };
        let others: Vec<_> = (0..3).map(|_| scope.spawn(other)).collect();
        for other in others {
            assert_eq!(other.join().unwrap(), expected);
        }
    });
}

/// Flips a bit in the middle of an expert of the last layer.
fn damage(tiny: &Tiny, expert: usize) -> String {
    let name = format!("model.layers.{}.mlp.experts.{expert}.up_proj.weight", LAYERS - 1);
    let bytes = tiny.checkpoint.tensor(&name).unwrap().data.to_vec();
    let file = std::fs::read(tiny.weights()).unwrap();
    let at = file.windows(bytes.len()).position(|window| window == bytes).unwrap() + bytes.len() / 2;
    let mut file = std::fs::OpenOptions::new().write(true).open(tiny.weights()).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[bytes[bytes.len() / 2] ^ 1]).unwrap();
    name
}

#[test]
fn a_damaged_expert_ends_only_the_sequences_that_visit_it() {
    let requests: Vec<_> = (0..12).map(|seed| request(seed * 2, 1, 2)).collect();
    let healthy = deepseek_v3_of(LAYERS, true);
    let expected = run(&mut healthy.engine(options()), &requests);
    let mut split = 0;
    for expert in 0..8 {
        let tiny = deepseek_v3_of(LAYERS, true);
        let name = damage(&tiny, expert);
        let checkpoint = Checkpoint::open(tiny.weights().parent().unwrap()).unwrap();
        let budget = with_budget(most_bytes(&checkpoint));
        let found = run(&mut Engine::load(&checkpoint, &budget).unwrap(), &requests);
        for (found, expected) in found.iter().zip(&expected) {
            match found {
                Ok(_) => assert_eq!(found, expected),
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(&name) && said.contains("model.safetensors"), "{said}");
                    assert!(said.contains("checksum"), "{said}");
                }
            }
        }
        let failed = found.iter().filter(|outcome| outcome.is_err()).count();
        split += usize::from(failed > 0 && failed < found.len());
    }
    assert!(split > 0, "no expert was visited by some sequences and not by others");
}

#[test]
fn a_file_that_changes_under_us_is_named() {
    let tiny = deepseek_v3_of(LAYERS, false);
    let mut engine = tiny.engine(with_budget(least_bytes(&tiny.checkpoint, 100)));
    assert!(run(&mut engine, &[request(0, 10, 10)])[0].is_ok());
    std::fs::OpenOptions::new().append(true).open(tiny.weights()).unwrap().write_all(b"more").unwrap();
    let error = run(&mut engine, &[request(1, 60, 10)])[0].clone().unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("changed"), "{error}");
    assert!(error.contains("mlp.experts."), "{error}");
}
