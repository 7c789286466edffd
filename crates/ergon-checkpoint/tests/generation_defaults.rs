//! Generation settings: where they come from, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod text_support;

use ergon_checkpoint::{GenerationDefaults, GenerationError};
use text_support::{Gguf, folder, gguf, open, strs};

fn read(files: &[(&str, &str)]) -> Result<GenerationDefaults, GenerationError> {
    let folder = folder(files);
    GenerationDefaults::from_checkpoint(&open(folder.path()))
}

#[test]
fn generation_config_comes_first_and_config_fills_the_rest() {
    let defaults = read(&[
        (
            "generation_config.json",
            r#"{"bos_token_id":1,"eos_token_id":[151645,151643,151645],"do_sample":true,"temperature":0.6,"top_k":20,
                "top_p":0.95,"min_p":0,"transformers_version":"4.51.0","repetition_penalty":1.1,"max_length":null}"#,
        ),
        ("config.json", r#"{"bos_token_id":7,"eos_token_id":8,"temperature":1.5}"#),
    ]);
    let expected = GenerationDefaults {
        bos_token_id: Some(1),
        eos_token_ids: vec![151645, 151643],
        temperature: Some(0.6),
        top_p: Some(0.95),
        top_k: Some(20),
        min_p: Some(0.0),
        repetition_penalty: Some(1.1),
    };
    assert_eq!(defaults.unwrap(), expected);

    let defaults = read(&[
        ("generation_config.json", r#"{"temperature":0.3}"#),
        ("config.json", r#"{"bos_token_id":0,"eos_token_id":[1,2]}"#),
    ])
    .unwrap();
    assert_eq!((defaults.bos_token_id, defaults.eos_token_ids), (Some(0), vec![1, 2]));
    assert_eq!(defaults.temperature, Some(0.3));
    assert_eq!(read(&[]).unwrap(), GenerationDefaults::default());
}

#[test]
fn no_sampling_is_temperature_zero_and_none_is_none() {
    let defaults = read(&[(
        "generation_config.json",
        r#"{"do_sample":false,"temperature":1.0,"bos_token_id":null,"eos_token_id":-1,"top_k":-1}"#,
    )])
    .unwrap();
    assert_eq!((defaults.temperature, defaults.bos_token_id, defaults.top_k), (Some(0.0), None, Some(0)));
    assert!(defaults.eos_token_ids.is_empty());
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (json, message) in [
        (r#"{"temperature":-1}"#, "'temperature' is -1"),
        (r#"{"temperature":1e999}"#, "generation_config.json"),
        (r#"{"temperature":NaN}"#, "generation_config.json"),
        (r#"{"temperature":"hot"}"#, "temperature"),
        (r#"{"top_p":0}"#, "top_p"),
        (r#"{"top_p":1.5}"#, "top_p"),
        (r#"{"min_p":2}"#, "min_p"),
        (r#"{"top_k":-3}"#, "top_k"),
        (r#"{"top_k":1.5}"#, "top_k"),
        (r#"{"repetition_penalty":0}"#, "repetition_penalty"),
        (r#"{"eos_token_id":"</s>"}"#, "eos_token_id"),
        (r#"{"eos_token_id":[1,"x"]}"#, "eos_token_id"),
        (r#"{"eos_token_id":99999999999}"#, "eos_token_id"),
        (r#"{"bos_token_id":1.5}"#, "bos_token_id"),
        (r#"{"do_sample":"maybe"}"#, "do_sample"),
        ("[]", "generation_config.json"),
        ("", "generation_config.json"),
    ] {
        let error = read(&[("generation_config.json", json)]).expect_err(json).to_string();
        assert!(error.contains(message) && error.lines().count() <= 3, "{json}: {error}");
    }
    let many = format!(r#"{{"eos_token_id":[{}]}}"#, vec!["1"; 100].join(","));
    assert!(read(&[("generation_config.json", &many)]).is_err());
}

#[test]
fn a_gguf_file_names_its_tokens_and_settings() {
    let file = gguf(&[
        ("tokenizer.ggml.tokens", strs(&["<s>", "</s>", "<|im_end|>", "<|endoftext|>", "a"])),
        ("tokenizer.ggml.token_type", Gguf::I32s(vec![3, 3, 3, 1, 1])),
        ("tokenizer.ggml.bos_token_id", Gguf::U32(0)),
        ("tokenizer.ggml.eos_token_id", Gguf::U32(1)),
        ("tokenizer.ggml.eot_token_id", Gguf::U32(1)),
        ("general.sampling.temp", Gguf::F32(0.7)),
        ("general.sampling.top_k", Gguf::U32(40)),
    ]);
    let defaults = GenerationDefaults::from_checkpoint(&open(file.path())).unwrap();
    assert_eq!(defaults.bos_token_id, Some(0));
    // The end of a turn is known by its text if it is a control token.
    assert_eq!(defaults.eos_token_ids, [1, 2]);
    assert_eq!((defaults.temperature, defaults.top_k), (Some(0.7), Some(40)));
    let file = gguf(&[("general.sampling.temp", Gguf::F32(f32::NAN))]);
    assert!(GenerationDefaults::from_checkpoint(&open(file.path())).is_err());
}
