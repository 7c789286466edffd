//! `ergon generate`.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    BOS, Fixture, Parts, VOCAB, assert_fails, command, ergon, json_of, llama_config, read_logits, stderr,
    stdout, text, vectors, write_json,
};

fn ids(found: &Value) -> Vec<u64> {
    found["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn the_fixed_fields_are_there() {
    let fixture = Fixture::new(Parts::ALL);
    let found = json_of(&[
        "generate",
        &fixture.model(),
        "--prompt",
        "Hi",
        "--max-tokens",
        "8",
        "--temperature",
        "0",
        "--memory",
        "1GiB",
        "--threads",
        "2",
        "--json",
    ]);
    assert!(found["text"].is_string(), "{found}");
    assert!(found["reasoning"].is_null() || found["reasoning"].is_string());
    assert!(ids(&found).len() <= 8);
    assert!(["stop", "length"].contains(&found["finish_reason"].as_str().unwrap()));
    // <s>, the seven bytes of <|user|> as one special token, two bytes, <|assistant|>.
    assert_eq!(found["prompt_tokens"], 5);
    assert_eq!(found["memory"]["budget_bytes"], 1u64 << 30);
    assert!(found["memory"]["peak_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(found["timings"]["load_s"].as_f64().unwrap() >= 0.0);
    assert!(found["timings"]["prefill_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(found["timings"]["decode_tokens_per_s"].as_f64().unwrap() > 0.0);
}

/// Greedy decoding is the argmax of what `score` says, token after token.
#[test]
fn greedy_follows_the_scores() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let model = fixture.model();
    let found = json_of(&[
        "generate",
        &model,
        "--tokens",
        "1,2,3",
        "--max-tokens",
        "6",
        "--temperature",
        "0",
        "--json",
    ]);
    let mut tokens: Vec<u64> = vec![1, 2, 3];
    let out = text(&fixture.path("out.safetensors"));
    for chosen in ids(&found) {
        let line = tokens.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        json_of(&["score", &model, "--tokens", &line, "--logits", &out, "--json"]);
        let (_, logits) = read_logits(&fixture.path("out.safetensors"));
        let last = &logits[logits.len() - VOCAB..];
        let best = (0..VOCAB).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
        assert_eq!(best as u64, chosen);
        tokens.push(chosen);
    }
    assert!(found["text"].is_null(), "no tokenizer, no text: {found}");
}

#[test]
fn a_seed_fixes_the_answer() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let run = |seed: &str| {
        ids(&json_of(&[
            "generate",
            &model,
            "--prompt",
            "Hi",
            "--max-tokens",
            "16",
            "--temperature",
            "2",
            "--seed",
            seed,
            "--json",
        ]))
    };
    assert_eq!(run("3"), run("3"));
    assert_ne!(run("3"), run("4"));
}

#[test]
fn raw_leaves_the_template_out() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let raw = json_of(&["generate", &model, "--prompt", "Hi", "--raw", "--max-tokens", "4", "--json"]);
    assert_eq!(raw["prompt_tokens"], 3);
    let line = format!("{BOS},72,105");
    let same = json_of(&["generate", &model, "--tokens", &line, "--max-tokens", "4", "--json"]);
    assert_eq!(raw["token_ids"], same["token_ids"]);
}

#[test]
fn without_a_template_the_prompt_is_continued() {
    let fixture = Fixture::new(Parts { tokenizer: true, template: false });
    let output = ergon(&["generate", &fixture.model(), "--prompt", "Hi", "--max-tokens", "4", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("template"), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["prompt_tokens"], 3);
}

#[test]
fn grammars_bind_the_answer() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let found = json_of(&["generate", &model, "--prompt", "Hi", "--regex", "[ab]{3}c", "--json"]);
    let answer = found["text"].as_str().unwrap();
    assert!(answer.len() == 4 && answer.ends_with('c'), "{answer:?}");
    assert_eq!(found["finish_reason"], "stop");
    let schema = json!({"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"],
                        "additionalProperties": false});
    let found =
        json_of(&["generate", &model, "--prompt", "Hi", "--json-schema", &schema.to_string(), "--json"]);
    let answer: Value = serde_json::from_str(found["text"].as_str().unwrap()).unwrap();
    assert!(answer["n"] == 1 || answer["n"] == 22, "{answer}");
    assert_fails(&["generate", &model, "--prompt", "Hi", "--regex", "(", "--json"]);
    assert_fails(&["generate", &model, "--prompt", "Hi", "--json-schema", "/no/such/schema.json", "--json"]);
    let said = assert_fails(&["generate", &model, "--prompt", "Hi", "--json-schema", "{", "--json"]);
    assert!(said.contains("--json-schema") && said.contains("line 1 column 1"), "{said}");
}

#[test]
fn stop_strings_end_the_answer_before_themselves() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let args = |stop: &str| {
        json_of(&["generate", &model, "--prompt", "Hi", "--regex", "abcdef", "--stop", stop, "--json"])
    };
    assert_eq!(args("cd")["text"], "ab");
    assert_eq!(args("cd")["finish_reason"], "stop");
    assert_eq!(args("zz")["text"], "abcdef");
}

#[test]
fn plain_output_is_the_text_and_a_newline() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    for stream in [&["--stream"][..], &[]] {
        let args = [&["generate", &model, "--prompt", "Hi", "--regex", "abc"][..], stream].concat();
        let output = ergon(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), "abc\n");
        assert!(stderr(&output).contains("seed 0"), "{}", stderr(&output));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    assert_fails(&["generate", &model, "--prompt", "Hi", "--memory", "1KiB"]);
    assert_fails(&["generate", &model, "--tokens", "70000"]);
    assert_fails(&["generate", &model, "--prompt", &"long ".repeat(200)]);
    assert_fails(&["generate", &model, "--prompt", "Hi", "--speculative", "on"]);
}

/// Drafts by the model's own layer change how long it takes and nothing else.
#[test]
fn speculation_changes_no_token() {
    let model = text(&vectors("deepseek_v3-mtp"));
    for sampling in [["--temperature", "0"], ["--temperature", "1"]] {
        let run = |mode: &str| {
            let args =
                ["generate", &model, "--tokens", "1,2,3", "--max-tokens", "48", "--ignore-eos", "--json"];
            ids(&json_of(&[&args[..], &sampling, &["--speculative", mode]].concat()))
        };
        let plain = run("off");
        assert_eq!(plain.len(), 48);
        assert_eq!(plain, run("on"));
    }
}

/// Ctrl-C ends a generation after what was written so far.
#[test]
fn an_interrupt_ends_in_130() {
    let fixture = Fixture::new(Parts::ALL);
    let mut config = llama_config();
    config["max_position_embeddings"] = json!(1_000_000);
    write_json(&fixture.path("model/config.json"), &config);
    let model = fixture.model();
    let args = ["generate", &model, "--prompt", "Hi", "--ignore-eos", "--stream", "--max-tokens", "900000"];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1]).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(rest.last(), Some(&b'\n'));
    assert!(stderr(&output).contains("cancelled"), "{}", stderr(&output));
}

/// A cache of blocks takes 17/32 of the memory of halves; a model whose heads are no whole blocks is told so.
#[test]
fn a_cache_of_blocks_is_smaller() {
    let fixture = Fixture::new(Parts::ALL);
    let kv_bytes = |format: &str| {
        let model = fixture.model();
        let args = ["generate", &model, "--prompt", "Hi", "--max-tokens", "3", "--kv", format, "--json"];
        json_of(&args)["memory"]["kv_cache_bytes"].as_u64().unwrap()
    };
    assert_eq!(kv_bytes("q8") * 32, kv_bytes("f16") * 17);
    let model = text(&vectors("llama-head_dim"));
    let said = assert_fails(&["generate", &model, "--tokens", "1,2", "--kv", "q8"]);
    assert!(said.contains("stores 32 values together") && said.contains("use f16 or f32"), "{said}");
}
