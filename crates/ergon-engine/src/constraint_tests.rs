use super::*;
use crate::rng;
use crate::sampler::{Sampler, SamplingParams};

const EOS: u32 = 256;

/// All bytes, an end token, and a few tokens of several bytes that cross the borders of JSON's own tokens.
fn vocabulary() -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    words.push(b"\xff<[256]>".to_vec());
    for word in
        ["{\"", "\":", "\", \"", "true", "name", "12", "\"}", "}\n", "  ", "ab", "\",", "é", "null", "]}"]
    {
        words.push(word.as_bytes().to_vec());
    }
    words.push(Vec::new());
    words.push(vec![b'x'; MAX_TOKEN_BYTES + 1]);
    words
}

fn compiler() -> ConstraintCompiler {
    ConstraintCompiler::from_words(vocabulary(), &[EOS]).unwrap()
}

/// Random text along the grammar: the text, and whether the grammar ended within `limit` tokens.
fn wander(compiler: &ConstraintCompiler, grammar: &Grammar, seed: u64, limit: u64) -> (Vec<u8>, bool) {
    let words = vocabulary();
    let mut constraint = compiler.compile(grammar).unwrap();
    let params = SamplingParams { temperature: 1.0, seed, ..SamplingParams::default() };
    let mut sampler = Sampler::default();
    let mut text = Vec::new();
    for step in 0..limit {
        let mut logits: Vec<f32> = (0..words.len())
            .map(|i| rng::uniform(seed ^ 0xabcd, step * 1000 + i as u64) as f32 * 6.0)
            .collect();
        // Without a pull towards ends, random strings and arrays would seldom close.
        for end in [b'"', b'}', b']', b'0'] {
            logits[usize::from(end)] += 4.0;
        }
        logits[EOS as usize] += 6.0;
        let mask = constraint.mask().unwrap();
        let token = sampler.sample(&params, &mut logits, &[], Some(mask), step).unwrap();
        if token == EOS {
            return (text, true);
        }
        text.extend_from_slice(&words[token as usize]);
        constraint.accept(token).unwrap();
        if constraint.is_finished() {
            return (text, true);
        }
    }
    (text, false)
}

#[test]
fn random_walks_match_the_schema() {
    let schema = r#"{
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
            "inner": {"type": "object", "properties": {"ok": {"type": "boolean"}},
                      "required": ["ok"], "additionalProperties": false}
        },
        "required": ["name", "age", "inner"],
        "additionalProperties": false
    }"#;
    let compiler = compiler();
    for seed in 0..25 {
        let (text, ended) = wander(&compiler, &Grammar::JsonSchema(schema.into()), seed, 2000);
        assert!(ended, "{}", String::from_utf8_lossy(&text));
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let name = value["name"].as_str().unwrap();
        assert!(name.chars().count() <= 12);
        assert!(value["age"].as_u64().unwrap() <= 150);
        assert!(value["inner"]["ok"].is_boolean());
        for tag in value.get("tags").and_then(|t| t.as_array()).into_iter().flatten() {
            assert!(tag == "a" || tag == "b");
        }
        for key in value.as_object().unwrap().keys() {
            assert!(["name", "age", "tags", "inner"].contains(&key.as_str()), "{key}");
        }
    }
}

#[test]
fn random_walks_are_json_objects() {
    let compiler = compiler();
    let mut ended = 0;
    for seed in 0..25 {
        let (text, done) = wander(&compiler, &Grammar::JsonObject, seed, 1500);
        if done {
            ended += 1;
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert!(value.is_object());
        }
    }
    assert!(ended >= 10, "only {ended} of 25 ended");
}

#[test]
fn random_walks_match_the_regex() {
    let compiler = compiler();
    for seed in 0..40 {
        let pattern = r"(\+[0-9]{2} )?[0-9]{3}-[0-9]{2,4}/(ab|true|é+)";
        let (text, ended) = wander(&compiler, &Grammar::Regex(pattern.into()), seed, 400);
        let text = String::from_utf8(text).unwrap();
        assert!(ended, "{text}");
        let rest = if text.starts_with('+') { &text[4..] } else { &text[..] };
        let (number, tail) = rest.split_once('/').unwrap();
        let (a, b) = number.split_once('-').unwrap();
        assert!(
            a.len() == 3
                && (2..=4).contains(&b.len())
                && (a.to_owned() + b).bytes().all(|c| c.is_ascii_digit())
        );
        assert!(
            tail == "ab" || tail == "true" || (!tail.is_empty() && tail.chars().all(|c| c == 'é')),
            "{text}"
        );
    }
}

#[test]
fn the_end_of_the_grammar_is_the_end() {
    let compiler = compiler();
    let mut constraint = compiler.compile(&Grammar::Regex("ab".into())).unwrap();
    constraint.accept(u32::from(b'a')).unwrap();
    assert!(!constraint.is_finished());
    assert_eq!(constraint.forced(), Ok(Some(u32::from(b'b'))));
    constraint.accept(u32::from(b'b')).unwrap();
    assert!(constraint.is_finished());
}

#[test]
fn a_token_off_the_grammar_is_an_error() {
    let mut constraint = compiler().compile(&Grammar::Regex("ab".into())).unwrap();
    let error = constraint.accept(u32::from(b'z')).unwrap_err().to_string();
    assert!(error.starts_with("constrained output failed") && error.lines().count() == 1, "{error}");
}

#[test]
fn white_space_in_json_is_bounded() {
    let mut constraint = compiler().compile(&Grammar::JsonSchema(r#"{"type":"object"}"#.into())).unwrap();
    constraint.accept(u32::from(b'{')).unwrap();
    let spaces = (0..200).take_while(|_| constraint.accept(u32::from(b' ')).is_ok()).count();
    assert_eq!(spaces, MAX_JSON_SPACE);
    for odd in ["{}", " { }", "true", r#"{"x-guidance":{"whitespace_flexible":false},"type":"object"}"#] {
        assert!(compiler().compile(&Grammar::JsonSchema(odd.into())).is_ok(), "{odd}");
    }
}

#[test]
fn bad_grammars_give_short_errors() {
    let compiler = compiler();
    let deep = format!("{}{}", r#"{"not":"#.repeat(5000), "1");
    let cases = [
        Grammar::JsonSchema("{".into()),
        Grammar::JsonSchema("[1, 2]".into()),
        Grammar::JsonSchema(r#"{"type": "strin"}"#.into()),
        Grammar::JsonSchema(r##"{"$ref": "#/definitions/none"}"##.into()),
        Grammar::JsonSchema(r#"{"$ref": "https://example.org/x.json"}"#.into()),
        Grammar::JsonSchema(r#"{"enum": []}"#.into()),
        Grammar::JsonSchema(deep),
        Grammar::JsonSchema("{".repeat(MAX_GRAMMAR_BYTES + 1)),
        Grammar::Regex("(".into()),
        Grammar::Regex("(?=a)b".into()),
        Grammar::Regex("(a".repeat(20_000)),
        Grammar::Regex(format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000))),
    ];
    for grammar in cases {
        let shown: String = format!("{grammar:?}").chars().take(60).collect();
        let Err(error) = compiler.compile(&grammar) else { panic!("{shown} was accepted") };
        let message = error.to_string();
        assert!(message.lines().count() == 1 && message.chars().count() < 400, "{shown}: {message}");
    }
}

#[test]
fn a_vocabulary_without_text_is_refused() {
    let none = ConstraintCompiler::from_words(vec![Vec::new(); 4], &[]);
    assert!(matches!(none, Err(ConstraintError::Vocabulary { .. })));
    let letters_only = ConstraintCompiler::from_words(vec![b"a".to_vec(), b"b".to_vec()], &[7]).unwrap();
    assert!(letters_only.compile(&Grammar::Regex("[ab]+".into())).is_ok());
    assert!(letters_only.compile(&Grammar::JsonObject).is_err());
}

#[test]
fn hard_grammars_end_in_an_error_or_in_bounded_work() {
    let compiler = compiler();
    let cases = [
        Grammar::Regex("a{1000000}{1000000}".into()),
        Grammar::Regex("(a|aa|aaa)*(a|b){500}(a*)*c".into()),
        Grammar::Regex("(.*a.{30}){9}".into()),
        Grammar::JsonSchema(r##"{"$ref": "#"}"##.into()),
        Grammar::JsonSchema(
            r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##
                .into(),
        ),
        Grammar::JsonSchema(r##"{"type": "array", "items": {"$ref": "#"}, "minItems": 100000}"##.into()),
        Grammar::JsonSchema(r#"{"type": "string", "minLength": 1000000000, "maxLength": 4000000000}"#.into()),
        Grammar::JsonSchema(r#"{"type": "array", "minItems": 1000000000}"#.into()),
        Grammar::JsonSchema(r#"{"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"}"#.into()),
    ];
    for grammar in cases {
        let start = std::time::Instant::now();
        if let Ok(mut constraint) = compiler.compile(&grammar) {
            for _ in 0..50 {
                let Ok(mask) = constraint.mask() else { break };
                let Some(token) = (0..256).find(|&t| mask.0[t as usize / 32] >> (t % 32) & 1 == 1) else {
                    break;
                };
                if constraint.accept(token).is_err() || constraint.is_finished() {
                    break;
                }
            }
        }
        assert!(start.elapsed().as_secs() < 10, "{grammar:?} took {:?}", start.elapsed());
    }
}
