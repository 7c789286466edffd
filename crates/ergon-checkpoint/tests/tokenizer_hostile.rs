//! Tokenizers that are malformed or malicious end in an error of one to three lines: no panic, no flood of memory.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod text_support;

use ergon_checkpoint::{TextDecoder, Tokenizer, TokenizerError};
use std::path::Path;
use text_support::{Gguf, folder, gguf, open, strs};

fn load(json: &str) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, json).unwrap();
    Tokenizer::from_file(&path)
}

fn refused(what: &str, result: Result<Tokenizer, TokenizerError>, part_of_message: &str) {
    let message = match result {
        Ok(_) => panic!("{what} was accepted"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains(part_of_message), "{what}: {message}");
    assert!(message.len() < 600 && message.lines().count() <= 3, "{what}: {message}");
}

/// A small valid file with one part replaced.
fn with(part: &str, value: &str) -> String {
    let parts = [
        (
            "added_tokens",
            r#"[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#,
        ),
        ("normalizer", "null"),
        ("pre_tokenizer", "null"),
        ("post_processor", "null"),
        ("decoder", "null"),
        ("model", r#"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#),
    ];
    let fields = parts.iter().map(|(name, default)| {
        let value = if *name == part { value } else { default };
        format!("\"{name}\":{value}")
    });
    format!("{{\"version\":\"1.0\",{}}}", fields.collect::<Vec<_>>().join(","))
}

fn added(tokens: &[(u32, &str, bool, bool)]) -> String {
    let one = |(id, content, lstrip, rstrip): &(u32, &str, bool, bool)| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": true, "special": false})
    };
    serde_json::Value::Array(tokens.iter().map(one).collect()).to_string()
}

#[test]
fn the_small_file_is_fine_as_it_is() {
    let tokenizer = load(&with("", "")).unwrap();
    assert_eq!(tokenizer.encode("abb<s>a", true).unwrap(), [2, 1, 3, 0]);
    assert_eq!(tokenizer.decode(&[2, 1, 3, 0], true).unwrap(), "ab b a");
    assert_eq!(tokenizer.decode(&[], true).unwrap(), "");
}

#[test]
fn malformed_models_are_refused() {
    for (what, model, message) in [
        ("no model", "null", "invalid type"),
        ("empty vocabulary", r#"{"type":"BPE","vocab":{},"merges":[]}"#, "vocabulary is empty"),
        ("merge outside the vocabulary", r#"{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}"#, "ab"),
        ("merge of unknown tokens", r#"{"type":"BPE","vocab":{"a":0},"merges":["x y"]}"#, "x"),
        ("merge of one", r#"{"type":"BPE","vocab":{"a":0},"merges":["a"]}"#, "not two tokens"),
        ("merge of three", r#"{"type":"BPE","vocab":{"a":0},"merges":[["a","a","a"]]}"#, "two tokens"),
        (
            "prefix longer than its token",
            r#"{"type":"BPE","continuing_subword_prefix":"@@@@","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#,
            "prefix",
        ),
        ("dropout", r#"{"type":"BPE","dropout":0.5,"vocab":{"a":0},"merges":[]}"#, "dropout"),
        ("one id twice", r#"{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}"#, "stands for both"),
        ("one token twice", r#"{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}"#, "both id 0 and id 1"),
        ("negative id", r#"{"type":"BPE","vocab":{"a":-1},"merges":[]}"#, "invalid value"),
        ("huge id", r#"{"type":"BPE","vocab":{"a":4294967295},"merges":[]}"#, "beyond the most accepted"),
        ("fractional id", r#"{"type":"BPE","vocab":{"a":1.5},"merges":[]}"#, "invalid type"),
        ("unknown kind", r#"{"type":"Magic","vocab":{"a":0}}"#, "'Magic'"),
        ("wrong shape", r#"{"type":"Unigram","vocab":{"a":0}}"#, "wrong shape"),
        ("no unknown token", r#"{"type":"Unigram","vocab":[["a",-1.0]]}"#, "unknown token"),
        ("unknown token out of range", r#"{"type":"Unigram","unk_id":7,"vocab":[["a",-1.0]]}"#, "unk_id"),
    ] {
        refused(what, load(&with("model", model)), message);
    }
    let long = format!(r#"{{"type":"BPE","vocab":{{"{}":0}},"merges":[]}}"#, "a".repeat(5000));
    refused("long token", load(&with("model", &long)), "bytes long");
}

#[test]
fn malformed_small_parts_are_refused() {
    let sequence = |key: &str, part: &str, n: usize| {
        format!(r#"{{"type":"Sequence","{key}":[{}]}}"#, vec![part; n].join(","))
    };
    let grow = r#"{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaa"}"#;
    let pattern = format!(
        r#"{{"type":"Split","pattern":{{"Regex":"{}"}},"behavior":"Isolated","invert":false}}"#,
        "a".repeat(20_000)
    );
    let bomb = r#"{"type":"Split","pattern":{"Regex":"((a{1000}){1000}){1000}"},"behavior":"Isolated","invert":false}"#;
    let template = |single: &str, tokens: &str| {
        format!(r#"{{"type":"TemplateProcessing","single":{single},"pair":[],"special_tokens":{tokens}}}"#)
    };
    let text = r#"{"Sequence":{"id":"A","type_id":0}}"#;
    let many = format!("[{}]", vec!["0"; 300].join(","));
    for (what, part, value, message) in [
        ("normalizer that grows text", "normalizer", sequence("normalizers", grow, 40), "times longer"),
        ("many parts", "normalizer", sequence("normalizers", r#"{"type":"NFC"}"#, 100), "more than 64"),
        ("precompiled map", "normalizer", r#"{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#.into(), "Precompiled"),
        ("no type", "normalizer", r#"{"pattern":1}"#.into(), "no \"type\""),
        ("no object", "normalizer", "7".into(), "no \"type\""),
        ("no pattern", "normalizer", r#"{"type":"Replace","content":"x"}"#.into(), "pattern"),
        ("sequence of nothing", "pre_tokenizer", r#"{"type":"Sequence"}"#.into(), "no list"),
        ("long pattern", "pre_tokenizer", pattern, "longer than"),
        ("pattern bomb", "pre_tokenizer", bomb.into(), "pre_tokenizer"),
        ("bad pattern", "pre_tokenizer", bomb.replace("((a{1000}){1000}){1000}", "(a"), "pre_tokenizer"),
        ("zero-length chunks", "pre_tokenizer", r#"{"type":"FixedLength","length":0}"#.into(), "FixedLength"),
        ("huge list", "pre_tokenizer", format!("[{}]", vec!["0"; 500_000].join(",")), "more values"),
        ("template that names nothing", "post_processor", template(&format!(r#"[{{"SpecialToken":{{"id":"x","type_id":0}}}},{text}]"#), "{}"), "without giving its ids"),
        ("template without text", "post_processor", template("[]", "{}"), "leaves out the text"),
        ("template with text twice", "post_processor", template(&format!("[{text},{text}]"), "{}"), "twice"),
        ("template with a token that does not exist", "post_processor", template(&format!(r#"[{{"SpecialToken":{{"id":"x","type_id":0}}}},{text}]"#), r#"{"x":{"id":"x","ids":[99],"tokens":["x"]}}"#), "token 99"),
        ("template that adds many", "post_processor", template(&format!(r#"[{{"SpecialToken":{{"id":"x","type_id":0}}}},{text}]"#), &format!(r#"{{"x":{{"id":"x","ids":{many},"tokens":["x"]}}}}"#)), "more than 256"),
        ("unknown post-processor", "post_processor", r#"{"type":"Other"}"#.into(), "'Other'"),
        ("strip of the end", "decoder", r#"{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":0,"stop":3}]}"#.into(), "Strip"),
        ("word pieces", "decoder", r###"{"type":"WordPiece","prefix":"##","cleanup":true}"###.into(), "WordPiece"),
        ("decoder that grows text", "decoder", format!(r#"{{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}}"#, "b".repeat(99)), "Replace"),
        ("added token that is empty", "added_tokens", added(&[(3, "", false, false)]), "is empty"),
        ("added token with another's id", "added_tokens", added(&[(0, "zz", false, false)]), "from another token"),
        ("added token with another id", "added_tokens", added(&[(5, "a", false, false)]), "in the vocabulary 0"),
        ("added tokens with a gap", "added_tokens", added(&[(9, "zz", false, false)]), "gap"),
        ("added tokens that strip into each other", "added_tokens", added(&[(3, "x", false, true), (4, " ", true, false)]), "strip"),
        ("not a list", "added_tokens", "{}".into(), "invalid type"),
    ] {
        refused(what, load(&with(part, &value)), message);
    }
    let shrinking = with("normalizer", r#"{"type":"Strip","strip_left":true,"strip_right":true}"#)
        .replace("\"<s>\"", "\"  \"")
        .replace("\"normalized\":false", "\"normalized\":true");
    refused("added token that normalizes to nothing", load(&shrinking), "empty once normalized");
}

#[test]
fn malformed_files_are_refused() {
    for (what, json) in [
        ("empty", String::new()),
        ("cut off", with("", "").split_at(200).0.to_string()),
        ("deep", "[".repeat(100_000)),
        ("deep inside", with("normalizer", &format!("{}{}", "[".repeat(5000), "]".repeat(5000)))),
        ("not an object", "[1,2]".to_string()),
        ("two models", with("", "").replace("\"version\"", "\"model\":{\"vocab\":{}},\"version\"")),
        ("not UTF-8", String::from_utf8_lossy(&[b'"', 0xff, b'"']).into_owned()),
    ] {
        refused(what, load(&json), "tokenizer.json");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
    refused("huge", Tokenizer::from_file(&path), "larger than");
    refused("folder", Tokenizer::from_file(folder.path()), "folder");
    refused("nothing", Tokenizer::from_file(Path::new("/nonexistent/tokenizer.json")), "/nonexistent");
}

#[test]
fn a_large_hostile_file_stays_within_memory() {
    // As many tokens and merges as are accepted, and then more.
    let vocabulary: Vec<String> = (0..1_100_000).map(|id| format!("\"{id:x}\":{id}")).collect();
    let model = |n: usize, merges: usize| {
        let merges = vec!["[\"0\",\"1\"]"; merges].join(",");
        format!(r#"{{"type":"BPE","vocab":{{{}}},"merges":[{merges}]}}"#, vocabulary[..n].join(","))
    };
    refused("too many tokens", load(&with("model", &model(1_100_000, 0))), "more than 1048576 tokens");
    refused("too many merges", load(&with("model", &model(20, 1_100_000))), "more than 1048576 entries");
    let most = with("model", &model(1_000_000, 1_000_000)).replace("\"id\":3", "\"id\":1000000");
    refused("as many as accepted, but wrong", load(&most), "01");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) {
        let kib: u64 = line.trim_start_matches("VmHWM:").trim().trim_end_matches(" kB").parse().unwrap();
        println!("peak {} MiB", kib >> 10);
        assert!(kib < 900 << 10, "peak of {} MiB", kib >> 10);
    }
}

#[test]
fn a_model_without_tokenizer_says_what_is_missing() {
    let of = |files: &[(&str, &str)]| {
        let folder = folder(files);
        Tokenizer::from_checkpoint(&open(folder.path()))
    };
    refused("nothing", of(&[]), "has no tokenizer.json");
    refused("SentencePiece model", of(&[("tokenizer.model", "x")]), "tokenizer.model but no tokenizer.json");
    refused("vocabulary and merges", of(&[("vocab.json", "{}"), ("merges.txt", "")]), "merges.txt");
    let file = gguf(&[]);
    refused("bare GGUF", Tokenizer::from_checkpoint(&open(file.path())), "has no tokenizer");
}

#[test]
fn the_configuration_beside_it_decides_about_bos_and_eos() {
    let json = with("", "").replace("\"BPE\"", "\"BPE\",\"unk_token\":null");
    let ids = |config: &str| {
        let folder = folder(&[("tokenizer.json", &json), ("tokenizer_config.json", config)]);
        let tokenizer = Tokenizer::from_checkpoint(&open(folder.path())).unwrap();
        (tokenizer.encode("a", true).unwrap(), tokenizer.bos_token_id(), tokenizer.is_special(1))
    };
    assert_eq!(ids("{}"), (vec![0], None, false));
    assert_eq!(ids(r#"{"bos_token":"<s>"}"#), (vec![0], Some(3), false));
    assert_eq!(ids(r#"{"bos_token":{"content":"<s>"},"add_bos_token":true}"#), (vec![3, 0], Some(3), false));
    assert_eq!(
        ids(r#"{"bos_token":"<s>","eos_token":"b","add_bos_token":true,"add_eos_token":true}"#),
        (vec![3, 0, 1], Some(3), true)
    );
    assert_eq!(ids(r#"{"add_bos_token":true}"#), (vec![0], None, false));
    for (config, message) in [
        (r#"{"bos_token":"zz","add_bos_token":true}"#, "not in the vocabulary"),
        (r#"{"add_bos_token":"yes"}"#, "neither true nor false"),
        ("[]", "no JSON object"),
        ("{", "tokenizer_config.json"),
    ] {
        let folder = folder(&[("tokenizer.json", &json), ("tokenizer_config.json", config)]);
        refused(config, Tokenizer::from_checkpoint(&open(folder.path())), message);
    }
}

#[test]
fn malformed_gguf_vocabularies_are_refused() {
    let key = |name: &'static str| -> &'static str { name };
    let byte_level = || {
        vec![
            (key("tokenizer.ggml.model"), Gguf::Str("gpt2")),
            (key("tokenizer.ggml.pre"), Gguf::Str("qwen2")),
            (key("tokenizer.ggml.tokens"), strs(&["a", "b", "ab", "<s>"])),
            (key("tokenizer.ggml.token_type"), Gguf::I32s(vec![1, 1, 1, 3])),
            (key("tokenizer.ggml.merges"), strs(&["a b"])),
            (key("tokenizer.ggml.bos_token_id"), Gguf::U32(3)),
        ]
    };
    let scored = || {
        vec![
            (key("tokenizer.ggml.model"), Gguf::Str("llama")),
            (key("tokenizer.ggml.tokens"), strs(&["<unk>", "<s>", "</s>", "▁", "a"])),
            (key("tokenizer.ggml.token_type"), Gguf::I32s(vec![2, 3, 3, 1, 1])),
            (key("tokenizer.ggml.scores"), Gguf::F32s(vec![0.0, 0.0, 0.0, -1.0, -2.0])),
        ]
    };
    let load = |mut keys: Vec<(&'static str, Gguf)>, name: &'static str, value: Option<Gguf>| {
        keys.retain(|(key, _)| *key != name);
        keys.extend(value.map(|value| (name, value)));
        let file = gguf(&keys);
        Tokenizer::from_checkpoint(&open(file.path()))
    };
    let good = load(byte_level(), "tokenizer.ggml.add_bos_token", Some(Gguf::Bool(true))).unwrap();
    assert_eq!(good.encode("ab<s>b", true).unwrap(), [3, 2, 3, 1]);
    let good = load(scored(), "tokenizer.ggml.add_eos_token", Some(Gguf::Bool(true))).unwrap();
    assert_eq!(good.encode("a?? a", true).unwrap(), [1, 3, 4, 0, 3, 4, 2]);
    for (name, value, message) in [
        ("tokenizer.ggml.model", Some(Gguf::Str("bert")), "'bert'"),
        ("tokenizer.ggml.model", Some(Gguf::U32(1)), "tokenizer.ggml.model"),
        ("tokenizer.ggml.pre", Some(Gguf::Str("nobody-knows")), "'nobody-knows'"),
        ("tokenizer.ggml.tokens", None, "has 0 tokens"),
        ("tokenizer.ggml.tokens", Some(strs(&[])), "has 0 tokens"),
        ("tokenizer.ggml.tokens", Some(strs(&["a", "a", "ab", "<s>"])), "both id 0 and id 1"),
        ("tokenizer.ggml.tokens", Some(Gguf::I32s(vec![1])), "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.token_type", Some(Gguf::I32s(vec![1, 1])), "2 entries for 4"),
        ("tokenizer.ggml.merges", None, "tokenizer.ggml.merges"),
        ("tokenizer.ggml.merges", Some(strs(&["ab"])), "two tokens"),
        ("tokenizer.ggml.merges", Some(strs(&[""])), "two tokens"),
        ("tokenizer.ggml.merges", Some(strs(&["b a"])), "ba"),
        ("tokenizer.ggml.bos_token_id", Some(Gguf::U32(4)), "is 4, but there are 4"),
        ("tokenizer.ggml.add_eos_token", Some(Gguf::Bool(true)), "does not say"),
        ("tokenizer.ggml.add_bos_token", Some(Gguf::U32(1)), "add_bos_token"),
    ] {
        refused(name, load(byte_level(), name, value), message);
    }
    for (name, value, message) in [
        ("tokenizer.ggml.scores", None, "tokenizer.ggml.scores"),
        ("tokenizer.ggml.scores", Some(Gguf::F32s(vec![0.0])), "1 entries for 5"),
        ("tokenizer.ggml.scores", Some(Gguf::F32s(vec![f32::NAN; 5])), "scores"),
        ("tokenizer.ggml.unknown_token_id", Some(Gguf::U32(u32::MAX)), "neither the 256 byte tokens"),
    ] {
        refused(name, load(scored(), name, value), message);
    }
}

/// Random damage to valid files: whatever loads must also encode and decode.
#[test]
fn damaged_files_do_not_panic() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut loaded = 0;
    for name in ["qwen2", "llama-bpe", "spm"] {
        let original = std::fs::read(data.join(format!("{name}.json"))).unwrap();
        // The head of the file holds the small parts, where damage does most.
        let head = original.windows(7).position(|window| window == b"\"vocab\"").unwrap();
        for round in 0..600 {
            let mut bytes = original.clone();
            for _ in 0..=random(3) {
                let reach = if round % 4 == 0 { bytes.len() } else { head.min(bytes.len()) };
                if reach == 0 {
                    break;
                }
                let at = random(reach);
                match random(5) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes[at] = b"0123456789-{}[]\",:.e \\"[random(22)],
                    2 => drop(bytes.drain(at..(at + random(12)).min(reach))),
                    3 => {
                        let piece = bytes[at..(at + random(40)).min(reach)].to_vec();
                        let to = random(reach);
                        bytes.splice(to..to, piece);
                    }
                    _ => bytes.truncate(if random(8) == 0 { at } else { bytes.len() }),
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let Ok(tokenizer) = Tokenizer::from_file(&path) else { continue };
            loaded += 1;
            let ids = tokenizer.encode("Hello, 世界 <|im_end|>  it's 123\n\n é🚗", true);
            let ids = ids.unwrap_or_else(|_| (0..50).collect());
            let text = tokenizer.decode(&ids, false).unwrap();
            let mut decoder = TextDecoder::new(&tokenizer, false);
            let streamed: String = ids.iter().map(|id| decoder.push(*id)).collect();
            assert_eq!(streamed + &decoder.finish(), text);
        }
    }
    println!("{loaded} of 1800 still loaded");
    assert!(loaded > 100);
}
