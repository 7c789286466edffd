//! `ergon inspect`.

use serde_json::json;

use crate::support::{Fixture, HIDDEN, Parts, VOCAB, ergon, json_of, llama_config, stdout, write_json};

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
