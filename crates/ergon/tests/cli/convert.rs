//! `ergon convert`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ergon_model::routed_expert_place;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use crate::support::{
    Fixture, HIDDEN, LAYERS, Parts, VOCAB, assert_fails, ergon, json_of, read_logits, stderr, text, vectors,
    write_gguf,
};

const TOKENS: &str = "1,50,60,15,20,25,7,8";

fn logits(fixture: &Fixture, model: &str) -> Vec<f32> {
    let out = text(&fixture.path("out.safetensors"));
    json_of(&["score", model, "--tokens", TOKENS, "--logits", &out, "--json"]);
    read_logits(&fixture.path("out.safetensors")).1
}

/// Root mean square of the difference over the standard deviation of the first.
fn relative_error(exact: &[f32], other: &[f32]) -> f64 {
    assert_eq!(exact.len(), other.len());
    let mean = exact.iter().map(|&x| x as f64).sum::<f64>() / exact.len() as f64;
    let spread: f64 = exact.iter().map(|&x| (x as f64 - mean).powi(2)).sum();
    let difference: f64 = exact.iter().zip(other).map(|(&a, &b)| (a as f64 - b as f64).powi(2)).sum();
    (difference / spread).sqrt()
}

#[test]
fn the_result_runs_and_answers_nearly_the_same() {
    let fixture = Fixture::new(Parts::ALL);
    let exact = logits(&fixture, &fixture.model());
    for (format, bound) in [("f32", 0.0), ("bf16", 0.02), ("q8_0", 0.03), ("q6_k", 0.1), ("q4_k", 0.3)] {
        let out = text(&fixture.path(format));
        let report = json_of(&["convert", &fixture.model(), &out, "--quant", format, "--json"]);
        let encoded = if format == "f32" { 0 } else { 2 + LAYERS * 7 };
        assert_eq!(report["matrices_encoded"], encoded, "{report}");
        assert_eq!(report["fallbacks"], json!({}), "{report}");
        let error = relative_error(&exact, &logits(&fixture, &out));
        assert!(error <= bound, "{format}: {error}");
        // Tokenizer and template came along.
        let answer = json_of(&["generate", &out, "--prompt", "Hi", "--max-tokens", "2", "--json"]);
        assert_eq!(answer["prompt_tokens"], 5);
    }
}

#[test]
fn the_packed_file_says_what_it_is() {
    let fixture = Fixture::new(Parts::ALL);
    let out = fixture.path("packed");
    json_of(&["convert", &fixture.model(), &text(&out), "--quant", "q8_0", "--json"]);
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!(header["__metadata__"]["ergon.format"], "1");
    assert_eq!(header["__metadata__"]["ergon:lm_head.weight"], format!("q8_0 {VOCAB}x{HIDDEN}"));
    assert_eq!(header["lm_head.weight"]["shape"], json!([VOCAB, HIDDEN / 32 * 34]));
    assert_eq!(header["model.norm.weight"]["dtype"], "F32");
    let found = json_of(&["inspect", &text(&out), "--json"]);
    assert!(found["weight_formats"]["q8_0"].as_u64().unwrap() > 0, "{found}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let fixture = Fixture::new(Parts::ALL);
    let model = fixture.model();
    let out = text(&fixture.path("out"));
    json_of(&["convert", &model, &out, "--quant", "q8_0", "--json"]);
    let said = assert_fails(&["convert", &model, &out, "--quant", "q4_0"]);
    assert!(said.contains("--force"), "{said}");
    json_of(&["convert", &model, &out, "--quant", "q4_0", "--force", "--json"]);
    assert!(json_of(&["inspect", &out, "--json"])["weight_formats"]["q4_0"].is_u64());
    // Neither the input itself nor somebody's files are replaced, whatever is forced.
    assert_fails(&["convert", &model, &model, "--quant", "q8_0", "--force"]);
    fs::create_dir(fixture.path("papers")).unwrap();
    fs::write(fixture.path("papers/thesis.tex"), "text").unwrap();
    let papers = text(&fixture.path("papers"));
    assert_fails(&["convert", &model, &papers, "--quant", "q8_0", "--force"]);
    // A collection of models is no converted model either.
    fs::write(fixture.path("papers/q.gguf"), "weights").unwrap();
    let said = assert_fails(&["convert", &model, &papers, "--quant", "q8_0", "--force"]);
    assert!(said.contains("'q.gguf'"), "{said}");
    assert!(fixture.path("papers/thesis.tex").exists() && fixture.path("papers/q.gguf").exists());
    let names: Vec<_> =
        fs::read_dir(fixture.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no drafts are left: {names:?}");
}

/// The folder around the input is not replaced, nor one that the input's links lead to.
#[test]
fn the_input_is_not_overwritten_by_way_of_its_folder() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let refused = |input: &Path, out: &Path| {
        let said = assert_fails(&["convert", &text(input), &text(out), "--quant", "q8_0", "--force"]);
        assert!(said.contains("cannot be overwritten"), "{said}");
    };
    let folder = fixture.path("gguf");
    fs::create_dir(&folder).unwrap();
    write_gguf(&folder.join("model.gguf"), 3);
    refused(&folder.join("model.gguf"), &folder);
    refused(&folder, &folder.join("model.gguf"));
    refused(&folder, &folder);
    assert!(folder.join("model.gguf").exists());
    #[cfg(unix)]
    {
        let view = fixture.path("view");
        fs::create_dir(&view).unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::os::unix::fs::symlink(fixture.path("model").join(name), view.join(name)).unwrap();
        }
        refused(&view, &fixture.path("model"));
    }
    assert!(fixture.path("model/model.safetensors").exists());
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    for (out, left) in [("out", ".out.partial-4194305"), ("out.gguf", ".out.gguf.partial-4194305")] {
        fs::create_dir(fixture.path(left)).unwrap();
        fs::write(fixture.path(left).join("model.safetensors"), "half of it").unwrap();
        let input = if out == "out" { fixture.path("model") } else { fixture.path("in.gguf") };
        write_gguf(&fixture.path("in.gguf"), 3);
        let output = ergon(&["convert", &text(&input), &text(&fixture.path(out)), "--quant", "q8_0"]);
        assert!(stderr(&output).contains(left), "{}", stderr(&output));
        assert!(!fixture.path(left).exists() && fixture.path(out).exists(), "{out}");
    }
}

#[test]
fn a_gguf_model_stays_one() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let input = fixture.path("in.gguf");
    write_gguf(&input, 3);
    let exact = logits(&fixture, &text(&input));
    for (out, format, bound) in [("out.gguf", "q8_0", 0.03), ("folder", "q4_k", 0.3)] {
        let out = text(&fixture.path(out));
        json_of(&["convert", &text(&input), &out, "--quant", format, "--json"]);
        let error = relative_error(&exact, &logits(&fixture, &out));
        assert!(error > 0.0 && error <= bound, "{format}: {error}");
    }
    let again = text(&fixture.path("again.gguf"));
    json_of(&["convert", &text(&fixture.path("out.gguf")), &again, "--quant", "q8_0", "--json"]);
    assert_eq!(fs::read(&again).unwrap(), fs::read(fixture.path("out.gguf")).unwrap());
}

/// Experts, FP8 with block scales, a multi-token-prediction layer, GGUF's three-dimensional tensors: in f32 nothing of
/// them may be lost, and in 8 bits little.
#[test]
fn every_kind_of_checkpoint_survives() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    for (name, q8_0_bound) in [
        ("deepseek_v3-fp8-mtp", 0.05),
        ("deepseek_v2-q_lora-groups", 0.05),
        ("qwen3_moe-bf16", 0.05),
        ("llama-sharded", 0.05),
        ("gguf-deepseek2-v3-split-q4_k_m/model.gguf", 0.1),
        ("gguf-qwen3moe-q4_k_m/model.gguf", 0.1),
    ] {
        let model = text(&vectors(name));
        let exact = logits(&fixture, &model);
        for (format, bound) in [("f32", if name.contains("gguf") { 0.1 } else { 1e-4 }), ("q8_0", q8_0_bound)]
        {
            let out = text(&fixture.path("survivor"));
            json_of(&["convert", &model, &out, "--quant", format, "--force", "--json"]);
            let error = relative_error(&exact, &logits(&fixture, &out));
            assert!(error <= bound, "{name} {format}: {error}");
        }
    }
}

/// Routed experts come apart and side by side in a folder; in a `.gguf` file they stay stacked, as others read them.
#[test]
fn experts_are_laid_out_to_be_read_one_by_one() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    for (name, stacks) in [
        ("deepseek_v3", None),
        ("gguf-deepseek2-lite-fused-q8_0/model.gguf", Some("blk.1.ffn_gate_exps.weight")),
        ("gguf-qwen3moe-q4_k_m/model.gguf", Some("blk.0.ffn_down_exps.weight")),
    ] {
        let input = text(&vectors(name));
        let folder = fixture.path(&name.replace(['/', '.'], "-"));
        json_of(&["convert", &input, &text(&folder), "--quant", "q8_0", "--json"]);
        let bytes = fs::read(if stacks.is_some() {
            folder.join("model.gguf")
        } else {
            folder.join("model.safetensors")
        })
        .unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let Some(stack) = stacks else {
            assert!(holds("ergon.crc32:model.layers.1.mlp.experts.0.gate_proj.weight"));
            continue;
        };
        assert!(holds("ergon.crc32") && holds(&stack.replace("_exps", ".2")) && !holds(stack), "{name}");
        let file = text(&fixture.path("stacked.gguf"));
        json_of(&["convert", &input, &file, "--quant", "q8_0", "--force", "--json"]);
        assert!(
            fs::read(&file).unwrap().windows(stack.len()).any(|window| window == stack.as_bytes()),
            "{name}"
        );
        assert_eq!(logits(&fixture, &file), logits(&fixture, &text(&folder)), "{name}");
        // Taken apart once, they stay so.
        let again = text(&fixture.path("again"));
        json_of(&["convert", &text(&folder), &again, "--quant", "q8_0", "--force", "--json"]);
        assert_eq!(fs::read(fixture.path("again/model.gguf")).unwrap(), bytes, "{name}");
    }
}

/// The experts of each layer in two tensors, as transformers 5 keeps them.
fn stack_experts(from: &Path, to: &Path) {
    let bytes = fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut stacked: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut names: Vec<&str> = tensors.names();
    // By layer, then by the expert's number, gate before up.
    names.sort_by_key(|name| routed_expert_place(name));
    for name in names {
        let tensor = tensors.tensor(name).unwrap();
        let (dtype, mut shape) = (tensor.dtype(), tensor.shape().to_vec());
        let Some((layer, expert, part)) = routed_expert_place(name) else {
            stacked.insert(name.to_string(), (dtype, shape, tensor.data().to_vec()));
            continue;
        };
        let kind = if part == 2 { "down_proj" } else { "gate_up_proj" };
        if part < 2 {
            shape[0] *= 2;
        }
        shape.insert(0, expert + 1);
        let stack = stacked.entry(format!("model.layers.{layer}.mlp.experts.{kind}")).or_insert((
            dtype,
            vec![],
            vec![],
        ));
        stack.1 = shape;
        stack.2.extend_from_slice(tensor.data());
    }
    fs::create_dir(to).unwrap();
    fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
    let views = stacked
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, &to.join("model.safetensors")).unwrap();
}

#[test]
fn stacks_of_transformers_come_apart_too() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    for name in ["qwen3_moe-norm", "deepseek_v3"] {
        let (plain, stacked) = (vectors(name), fixture.path(&format!("{name}-stacked")));
        stack_experts(&plain, &stacked);
        assert_eq!(logits(&fixture, &text(&plain)), logits(&fixture, &text(&stacked)), "{name}");
        let convert = |from: &Path, to: &str| {
            let to = fixture.path(&format!("{name}-{to}"));
            json_of(&["convert", &text(from), &text(&to), "--quant", "bf16", "--json"]);
            fs::read(to.join("model.safetensors")).unwrap()
        };
        assert!(convert(&plain, "a") == convert(&stacked, "b"), "{name}");
    }
}
