//! A model of our own engine as the one who proposes: random weights, held by the grammar to lines that name spans.

use crate::{
    models::{Parts, llama_config, tiny_llama, write_json},
    support::{folder, json_of, text},
};

#[test]
fn a_model_without_sense_names_spans_that_exist_and_states_nothing() {
    let docs = folder(&[("acme.txt", "Acme Corporation was founded in 1999.\n\nAcme employs 12 people.\n")]);
    let models = tempfile::tempdir().unwrap();
    let mut named = 0;
    for seed in 0..4 {
        let model = models.path().join(seed.to_string());
        tiny_llama(&model, seed, Parts::ALL);
        // Room for the prompt: the tokenizer has a token for every byte.
        let mut config = llama_config();
        config["max_position_embeddings"] = 8192.into();
        write_json(&model.join("config.json"), &config);
        let found = json_of(&[
            "ask",
            "--docs",
            text(docs.path()),
            "When was Acme Corporation founded?",
            "--model",
            text(&model),
            "--max-tokens",
            "96",
            "--threads",
            "2",
            "--unverified",
            "show",
            "--json",
        ]);
        for claim in found["claims"].as_array().unwrap() {
            assert!(
                claim["text"].as_str().unwrap().starts_with("Acme"),
                "only pasted text can hold: {found:#}"
            );
            named += 1;
        }
        for unverified in found["unverified"].as_array().unwrap() {
            let reasons = unverified["reasons"].to_string();
            assert!(!reasons.contains("does not exist") && !reasons.contains("names no span"), "{found:#}");
            named += 1;
        }
        assert!(found["verdict"] != "contradicted");
    }
    assert!(named > 0, "no reply named a span");
}
