//! Files made to hurt: each ends in exit status 1 and one to three lines, without a panic and without eating memory.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{Fixture, Numbers, Parts, assert_fails, llama_config, text, write_gguf, write_json};

/// Every command that reads a model must refuse it.
fn refused_by_all(model: &Path) {
    let model = text(model);
    assert_fails(&["score", &model, "--tokens", "1,2,3"]);
    assert_fails(&["generate", &model, "--tokens", "1,2,3", "--max-tokens", "2"]);
}

fn safetensors_with_header(path: &Path, header: &str, data: usize) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    fs::write(path, bytes).unwrap();
}

#[test]
fn broken_safetensors() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let file = fixture.path("model/model.safetensors");
    let whole = fs::read(&file).unwrap();
    for length in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        refused_by_all(&fixture.path("model"));
    }
    for header in [
        "{}".to_string(),
        "[".repeat(100_000),
        r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,16]}}"#.to_string(),
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#.to_string(),
        r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#.to_string(),
        r#"{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#.to_string(),
        format!(r#"{{"{}":{{"dtype":"F32","shape":[4],"data_offsets":[0,15]}}}}"#, "x\\u001b[31m".repeat(10_000)),
        r#"{"__metadata__":{"ergon.format":"1","ergon:a":"q8_0 99999999x99999999"},"a":{"dtype":"U8","shape":[1,34],"data_offsets":[0,34]}}"#.to_string(),
    ] {
        safetensors_with_header(&file, &header, 64);
        refused_by_all(&fixture.path("model"));
    }
    fs::write(&file, [0xff; 64]).unwrap();
    refused_by_all(&fixture.path("model"));
}

#[test]
fn broken_configs() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let file = fixture.path("model/config.json");
    for (key, value) in [
        ("hidden_size", json!(-1)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!("wide")),
        ("hidden_size", json!(1u64 << 62)),
        ("num_hidden_layers", json!(4_000_000_000u64)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(0)),
        ("head_dim", json!(63)),
        ("vocab_size", json!(u64::MAX)),
        ("rms_norm_eps", json!(null)),
        ("rope_theta", json!(-5)),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 0})),
        ("hidden_act", json!("gelu")),
        ("model_type", json!(["llama"])),
    ] {
        let mut config = llama_config();
        config[key] = value.clone();
        if value.is_null() {
            config.as_object_mut().unwrap().remove("num_hidden_layers");
        }
        write_json(&file, &config);
        refused_by_all(&fixture.path("model"));
    }
    for text in ["", "null", "[]", "{", "{\"a\":1e999}", &"{\"a\":".repeat(50_000)] {
        fs::write(&file, text).unwrap();
        refused_by_all(&fixture.path("model"));
    }
}

#[test]
fn broken_gguf() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let file = fixture.path("model.gguf");
    write_gguf(&file, 3);
    let whole = fs::read(&file).unwrap();
    for length in [0, 3, 8, 24, 40, 200, whole.len() / 2] {
        fs::write(&file, &whole[..length]).unwrap();
        refused_by_all(&file);
    }
    let head = |version: u32, tensors: u64, keys: u64| {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&tensors.to_le_bytes());
        bytes.extend_from_slice(&keys.to_le_bytes());
        bytes
    };
    for bytes in
        [head(3, u64::MAX, 0), head(3, 0, u64::MAX), head(1, 0, 0), head(77, 1, 1), head(3, 1 << 40, 1 << 40)]
    {
        fs::write(&file, bytes).unwrap();
        refused_by_all(&file);
    }
}

/// One byte of the header changed, many times: any outcome but a crash or a flood of text.
#[test]
fn bent_gguf_headers_do_not_crash() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let file = fixture.path("model.gguf");
    write_gguf(&file, 3);
    let whole = fs::read(&file).unwrap();
    let mut numbers = Numbers(7);
    for _ in 0..40 {
        let mut bent = whole.clone();
        let at = ((numbers.next() + 1.0) / 2.0 * 1500.0) as usize;
        bent[at] ^= 1 << ((numbers.next() + 1.0) * 4.0) as u32;
        fs::write(&file, &bent).unwrap();
        let output =
            crate::support::ergon(&["generate", &text(&file), "--tokens", "1,2", "--max-tokens", "1"]);
        let said = crate::support::stderr(&output);
        assert!(matches!(output.status.code(), Some(0 | 1)), "byte {at}: {:?} {said}", output.status);
        assert!(!said.contains("internal error") && said.lines().count() <= 4, "byte {at}: {said}");
    }
}

#[test]
fn broken_tokenizers() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let file = fixture.path("model/tokenizer.json");
    let good: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut no_model = good.clone();
    no_model.as_object_mut().unwrap().remove("model");
    let mut huge_id = good.clone();
    huge_id["added_tokens"][0]["id"] = json!(4_000_000_000u64);
    let mut bad_merges = good.clone();
    bad_merges["model"]["merges"] = json!(["nothing here"]);
    let mut regex = good;
    regex["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false});
    for value in [no_model, bad_merges, regex, json!({}), json!([1, 2])] {
        write_json(&file, &value);
        assert_fails(&["generate", &model, "--prompt", "Hi", "--max-tokens", "2"]);
        assert_fails(&["score", &model, "--text", "Hi"]);
    }
    // Any outcome but a crash.
    write_json(&file, &huge_id);
    let output = crate::support::ergon(&["score", &model, "--text", "Hi"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", crate::support::stderr(&output));
    fs::write(&file, "[".repeat(1_000_000)).unwrap();
    assert_fails(&["generate", &model, "--prompt", "Hi"]);
}

#[test]
fn templates_that_never_end() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    for template in [
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10000000000 }}",
        "{% if %}",
        "{{ raise_exception('no') }}",
        "{{ messages | nosuchfilter }}",
    ] {
        write_json(&fixture.path("model/tokenizer_config.json"), &json!({"chat_template": template}));
        assert_fails(&["generate", &model, "--prompt", "Hi", "--max-tokens", "2"]);
    }
}

/// 1 GiB of address space must do for all of the above; a few of the greediest are tried under that limit.
#[test]
fn declared_sizes_cost_no_memory() {
    let fixture = Fixture::new(Parts::ALL);
    write_json(
        &fixture.path("model/tokenizer_config.json"),
        &json!({"chat_template": "{{ 'x' * 100000000000 }}"}),
    );
    let gguf = fixture.path("bomb.gguf");
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
    bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
    fs::write(&gguf, bytes).unwrap();
    for model in [fixture.model(), text(&gguf)] {
        let mut shell = Command::new("sh");
        let line = format!(
            "ulimit -v 1048576; exec '{}' generate '{model}' --prompt Hi",
            env!("CARGO_BIN_EXE_ergon")
        );
        let output = shell.arg0("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", crate::support::stderr(&output));
    }
}
