//! `ergon score`.

use std::fs;

use crate::support::{BOS, Fixture, Parts, VOCAB, assert_fails, json_of, read_logits, text};

/// Mean negative log-likelihood of each token given those before it, in f64 from the definition.
fn nll_mean(tokens: &[u32], logits: &[f32]) -> f64 {
    let rows = logits.chunks_exact(VOCAB);
    let nll = rows.zip(&tokens[1..]).map(|(row, &token)| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let sum: f64 = row.iter().map(|&x| (x as f64 - max).exp()).sum();
        max + sum.ln() - row[token as usize] as f64
    });
    nll.sum::<f64>() / (tokens.len() - 1) as f64
}

#[test]
fn logits_and_likelihood_agree() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let out = text(&fixture.path("out.safetensors"));
    let found = json_of(&["score", &fixture.model(), "--tokens", "5,100,42,7", "--logits", &out, "--json"]);
    let (shape, logits) = read_logits(&fixture.path("out.safetensors"));
    assert_eq!(shape, [4, VOCAB]);
    let expected = nll_mean(&[5, 100, 42, 7], &logits);
    let nll = found["nll_mean"].as_f64().unwrap();
    assert!((nll - expected).abs() < 1e-4, "{nll} {expected}");
    assert!((found["perplexity"].as_f64().unwrap() - nll.exp()).abs() < 1e-6 * nll.exp());
    assert_eq!(found["tokens"], 4);
    assert_eq!(found["token_ids"], serde_json::json!([5, 100, 42, 7]));
}

#[test]
fn a_single_token_is_predicted_by_nothing() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let out = text(&fixture.path("out.safetensors"));
    let found = json_of(&["score", &fixture.model(), "--tokens", "9", "--logits", &out, "--json"]);
    assert!(found["nll_mean"].is_null() && found["perplexity"].is_null(), "{found}");
    assert_eq!(read_logits(&fixture.path("out.safetensors")).0, [1, VOCAB]);
}

#[test]
fn a_text_begins_with_what_its_tokenizer_adds() {
    let fixture = Fixture::new(Parts::ALL);
    let found = json_of(&["score", &fixture.model(), "--text", "Hi", "--json"]);
    assert_eq!(found["token_ids"], serde_json::json!([BOS, 72, 105]));
    fs::write(fixture.path("hi.txt"), "Hi").unwrap();
    let from_file = json_of(&["score", &fixture.model(), "--file", &text(&fixture.path("hi.txt")), "--json"]);
    assert_eq!(found, from_file);
}

#[test]
fn chunks_and_threads_change_nothing() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let tokens: Vec<String> = (0..40).map(|i| (i * 37 % 250).to_string()).collect();
    let tokens = tokens.join(",");
    let out = fixture.path("out.safetensors");
    let mut all = Vec::new();
    for (chunk, threads) in [("64", "1"), ("7", "2"), ("1", "2")] {
        let out = text(&out);
        let model = fixture.model();
        json_of(&[
            "score",
            &model,
            "--tokens",
            &tokens,
            "--logits",
            &out,
            "--chunk",
            chunk,
            "--threads",
            threads,
            "--json",
        ]);
        all.push(read_logits(&fixture.path("out.safetensors")).1);
    }
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&all[0]), bits(&all[1]));
    assert_eq!(bits(&all[0]), bits(&all[2]));
}

#[test]
fn what_cannot_be_scored_is_told() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let model = fixture.model();
    let said = assert_fails(&["score", &model, "--tokens", "1,99999"]);
    assert!(said.contains("99999"), "{said}");
    let said = assert_fails(&["score", &model, "--text", "a"]);
    assert!(said.contains("tokenizer"), "{said}");
    assert_fails(&["score", &model, "--file", "/no/such/file"]);
    assert_fails(&["score", &model, "--tokens", "1,2", "--logits", "/no/such/folder/out.safetensors"]);
    let long: Vec<String> = (0..600).map(|_| "1".to_string()).collect();
    assert_fails(&["score", &model, "--tokens", &long.join(",")]);
}
