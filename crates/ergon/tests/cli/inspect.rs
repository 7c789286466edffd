//! `ergon inspect`.

use serde_json::json;

use crate::support::{
    Fixture, HIDDEN, Parts, VOCAB, assert_fails, ergon, json_of, llama_config, stdout, text, vectors,
    write_json,
};

#[test]
fn the_fixed_fields_are_there() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let found = json_of(&["inspect", &fixture.model(), "--json"]);
    assert_eq!(found["architecture"], "llama");
    assert_eq!(found["supported"], true);
    assert_eq!(found["context_length"], 512);
    assert_eq!(found["tensors"], 3 + 2 * 9);
    let layer = 2 * HIDDEN + 2 * HIDDEN * HIDDEN + 2 * HIDDEN * 128 + 3 * HIDDEN * 512;
    let parameters = 2 * VOCAB * HIDDEN + HIDDEN + 2 * layer;
    assert_eq!(found["parameters_total"], parameters);
    // An embedding is looked up, not multiplied with.
    assert_eq!(found["parameters_active"], parameters - VOCAB * HIDDEN);
    assert_eq!(found["bytes_routed_experts"], 0);
    assert!(found["bytes_resident"].as_u64().unwrap() >= parameters as u64 * 4);
    assert!(found["bytes_kv_per_token"].as_u64().unwrap() > 0);
    assert!(found["weight_formats"]["f32"].as_u64().unwrap() > 0);
}

#[test]
fn a_person_gets_a_table() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let output = ergon(&["inspect", &fixture.model()]);
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    assert!(said.contains("llama") && said.contains("context"), "{said}");
}

#[test]
fn an_unknown_architecture_is_described_and_not_supported() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let mut config = llama_config();
    config["model_type"] = json!("mamba9");
    config["architectures"] = json!(["Mamba9ForCausalLM"]);
    write_json(&fixture.path("model/config.json"), &config);
    let found = json_of(&["inspect", &fixture.model(), "--json"]);
    assert_eq!(found["supported"], false);
    assert!(found["reason"].as_str().unwrap().contains("mamba9"), "{found}");
    assert_eq!(found["tensors"], 3 + 2 * 9);
}

#[test]
fn a_budget_is_planned_without_loading() {
    let model = text(&vectors("deepseek_v3"));
    let planned = |size: &str| json_of(&["inspect", &model, "--memory", size, "--json"])["memory"].clone();
    let roomy = planned("4GiB");
    assert_eq!((&roomy["fits"], &roomy["reads_experts"]), (&json!(true), &json!(false)), "{roomy}");
    let kinds =
        ["process_bytes", "weights_bytes", "smallest_expert_cache_bytes", "kv_cache_bytes", "working_bytes"];
    let sum = |plan: &serde_json::Value| kinds.iter().map(|kind| plan[kind].as_u64().unwrap()).sum::<u64>();
    assert_eq!(roomy["needed_bytes"], sum(&roomy));
    let tight = planned("1MiB");
    assert_eq!((&tight["fits"], &tight["reads_experts"]), (&json!(false), &json!(true)), "{tight}");
    assert_eq!(tight["needed_bytes"], sum(&tight));
    assert!(tight["shortfall"].as_str().unwrap().contains("smallest expert cache"), "{tight}");
    let output = ergon(&["inspect", &model, "--memory", "4GiB", "--tokens", "100"]);
    assert!(stdout(&output).contains("for 100 tokens"), "{}", stdout(&output));
    assert_eq!(ergon(&["inspect", &model, "--tokens", "100"]).status.code(), Some(2));
}

#[test]
fn too_small_a_budget_is_refused_before_any_work() {
    let model = text(&vectors("deepseek_v3"));
    let said = assert_fails(&["generate", &model, "--tokens", "1,2,3", "--memory", "1MiB"]);
    for kind in [
        "weights without routed experts",
        "smallest expert cache",
        "KV cache",
        "working memory",
        "the program",
    ] {
        assert!(said.contains(kind), "{kind} in {said}");
    }
}
