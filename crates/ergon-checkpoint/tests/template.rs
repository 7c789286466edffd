//! Chat templates against `transformers`, with the cases of `data/make_templates.py`, and against hostile ones.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod text_support;

use ergon_checkpoint::{ChatTemplate, RenderOptions, TemplateError};
use ergon_types::{Message, Role};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path, time::Instant};
use text_support::Gguf;

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: Vec<Turn>,
    add_generation_prompt: bool,
    enable_thinking: Option<bool>,
    text: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

/// 2026-03-07 14:05:09, the moment in `make_templates.py`.
const NOW: i64 = 1_772_892_309;

fn messages(turns: &[Turn]) -> Vec<Message> {
    let role = |name: &str| match name {
        "system" => Role::System,
        "user" => Role::User,
        _ => Role::Assistant,
    };
    turns.iter().map(|turn| Message::new(role(&turn.role), turn.content.as_str())).collect()
}

fn options() -> RenderOptions {
    RenderOptions {
        bos_token: Some("<s>".to_string()),
        eos_token: Some("</s>".to_string()),
        ..RenderOptions::default()
    }
}

#[test]
fn published_shapes_render_as_transformers_renders_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/template");
    let cases: Vec<Case> =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let mut templates = BTreeMap::new();
    for case in &cases {
        let template = templates.entry(&case.template).or_insert_with(|| {
            let text = std::fs::read_to_string(folder.join(format!("{}.jinja", case.template))).unwrap();
            ChatTemplate::new(text, case.template.as_str()).unwrap()
        });
        let options = RenderOptions {
            add_generation_prompt: case.add_generation_prompt,
            enable_thinking: case.enable_thinking,
            ..options()
        };
        let rendered = template.render_at(&messages(&case.messages), &options, NOW);
        match (rendered, &case.text, &case.error) {
            (Ok(text), Some(expected), None) => assert_eq!(text, *expected, "{}", case.template),
            (Err(TemplateError::Refused { message, .. }), None, Some(expected)) => {
                assert_eq!(message, *expected)
            }
            (rendered, text, error) => panic!("{}: {rendered:?}, expected {text:?} {error:?}", case.template),
        }
    }
    assert!(templates.len() >= 7);
}

/// What it takes to be hostile, by name.
fn hostile() -> Vec<(String, String)> {
    let plain = [
        ("huge range", "{% for i in range(10**9) %}x{% endfor %}"),
        ("nested loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        ("long output", "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}"),
        ("huge string", "{{ 'a' * 10**9 }}"),
        ("large string", "{{ ('a' * 10**8) | length }}"),
        (
            "doubling string",
            "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        ),
        (
            "doubling string, joined",
            "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = [n.s, n.s] | join %}{% endfor %}",
        ),
        (
            "doubling list",
            "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s | list | length }}",
        ),
        (
            "shared list, printed",
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        ),
        (
            "shared list, as JSON",
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
        ),
        (
            "shared map, as JSON",
            "{% set n = namespace(s={}) %}{% for i in range(60) %}{% set n.s = {'a': n.s, 'b': n.s} %}{% endfor %}{{ n.s | tojson }}",
        ),
        ("macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        (
            "macros that call each other",
            "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        ),
        ("recursive loop", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
        ("includes itself", "{% include 'chat' %}"),
        ("imports itself", "{% import 'chat' as c %}{{ c.x }}"),
        ("extends itself", "{% extends 'chat' %}"),
        ("includes a file", "{% include '/etc/passwd' %}"),
        ("huge indent", "{{ 'a\nb' | indent(10**9) }}"),
        ("huge width", "{{ '%999999999d' | format(1) }}"),
        ("huge width, str.format", "{{ '{:>999999999}'.format(1) }}"),
        ("many copies, str.format", "{% set big = 'x' * 10**6 %}{{ ('{0}' * 9999).format(big) }}"),
        ("list, str.format", "{{ '{}'.format([1]) }}"),
        (
            "wide JSON",
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s] %}{% endfor %}\
          {{ ([n.s] * 9999) | tojson(indent=16) }}",
        ),
        ("wide separators", "{{ ([1] * 9999) | tojson(separators=('x' * 10**5, ':')) }}"),
        ("huge batch", "{{ [1] | batch(10**9, 'x') | list | length }}"),
        ("huge slice", "{{ [1] | slice(10**9) | list | length }}"),
        ("huge power", "{{ 10 ** 10 ** 10 }}"),
        (
            "replacement of nothing",
            "{% set n = namespace(s='aaaa') %}{% for i in range(40) %}{% set n.s = n.s.replace('', n.s) %}{% endfor %}",
        ),
        ("long complaint", "{{ raise_exception('x' * 10**6) }}"),
        ("unknown function", "{{ system('true') }}"),
        ("private attributes", "{{ messages.__class__.__mro__ }}{{ ''.__class__.x.y }}"),
        ("syntax error", "{% for %}"),
        ("unclosed", "{% if true %}"),
        ("unclosed tag", "{{ 'a"),
        ("bad directive", "{{ strftime_now('%Q') }}"),
    ];
    let mut all: Vec<(String, String)> =
        plain.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let n = 16_000;
    let nested = [
        ("parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n))),
        ("lists", format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n))),
        ("conditions", format!("{}x{}", "{% if true %}".repeat(n / 3), "{% endif %}".repeat(n / 3))),
        ("negations", format!("{{{{ {}true }}}}", "not ".repeat(n))),
        ("signs", format!("{{{{ {}1 }}}}", "-".repeat(n))),
        ("loops", format!("{}x{}", "{% for a in [1] %}".repeat(4000), "{% endfor %}".repeat(4000))),
        ("macros", format!("{}x{}", "{% macro a() %}".repeat(4000), "{% endmacro %}".repeat(4000))),
        ("choices", format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(n / 2))),
    ];
    all.extend(nested.into_iter().map(|(name, text)| (format!("deep {name}"), text)));
    all.push(("too long".to_string(), "x".repeat(600 << 10)));
    all
}

/// Chains that are deep in the syntax tree but mean something simple: they may work or fail, but not crash.
fn chains() -> Vec<String> {
    let n = 490;
    // As many such tags as a template may hold.
    let full = |tag: String| tag.repeat((120 << 10) / tag.len());
    vec![
        full(format!("{{{{ 'a'{} }}}}", "~'a'".repeat(n))),
        full(format!("{{{{ 1{} }}}}", "+1".repeat(n))),
        full(format!("{{{{ [1]{} }}}}", "+[1]".repeat(n / 2))),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}x".repeat(8000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(n)),
        format!("{{{{ 'a'{} }}}}", "~'a'".repeat(n)),
        format!("{{{{ 1{} }}}}", " and 1".repeat(n)),
        format!("{{{{ 1{} }}}}", " or 1".repeat(n)),
        format!("{{{{ 'a'{} }}}}", "|trim".repeat(n)),
        format!("{{{{ x{} }}}}", ".a".repeat(n)),
        format!("{{{{ x{} }}}}", "[0]".repeat(n)),
        format!("{{{{ x{} }}}}", "()".repeat(n)),
        format!("{{{{ 1{} }}}}", "**1".repeat(n)),
        format!("{{{{ 1{} }}}}", "<1".repeat(n)),
        format!("{{{{ 1{} }}}}", " is defined".repeat(n / 3)),
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}".to_string(),
        "{% set n = namespace() %}{% set n.n = n %}{{ n == n }}{{ [n, n] | sort }}{{ n | string }}".to_string(),
        "{% set n = namespace() %}{% set n.n = n %}{{ n | tojson }}".to_string(),
        "{% set n = namespace() %}{% set n.n = [n] %}{{ n.n | unique | list }}{{ n.n < [n] }}{{ n in n.n }}".to_string(),
        "{% set n = namespace() %}{% set n.n = n %}{{ n | pprint }}{{ n | urlencode }}{{ n | items | list }}".to_string(),
        "{% set a = namespace(s=[1]) %}{% for i in range(60) %}{% set a.s = [a.s, a.s] %}{% endfor %}\
         {% set b = namespace(s=[1]) %}{% for i in range(60) %}{% set b.s = [b.s, b.s] %}{% endfor %}{{ a.s == b.s }}"
            .to_string(),
        "{% set a = namespace(s=[1]) %}{% for i in range(60) %}{% set a.s = [a.s, a.s] %}{% endfor %}{{ [a.s, a.s] | sort | length }}".to_string(),
        "{% set a = namespace(s=[1]) %}{% for i in range(60) %}{% set a.s = [a.s, a.s] %}{% endfor %}{{ [a.s, a.s] | unique | list | length }}".to_string(),
        "{% set a = namespace(s=[]) %}{% for i in range(90000) %}{% set a.s = [a.s] %}{% endfor %}{{ a.s == 1 }}".to_string(),
        "{% set a = namespace(s=[]) %}{% for i in range(90000) %}{% set a.s = [a.s] %}{% endfor %}{{ a.s }}".to_string(),
        "{% set a = namespace(s={}) %}{% for i in range(90000) %}{% set a.s = {'a': a.s} %}{% endfor %}{{ a.s == a.s }}".to_string(),
        "{% set a = namespace(s=[], t=[]) %}{% for i in range(38000) %}{% set a.s = [a.s] %}{% set a.t = [a.t] %}{% endfor %}{{ a.s == a.t }}".to_string(),
        "{% set a = namespace(s=[], t=[]) %}{% for i in range(32000) %}{% set a.s = [a.s] %}{% set a.t = [a.t] %}{% endfor %}{{ [a.s, a.t] | sort | length }}".to_string(),
        "{% set a = namespace(s={}, t={}) %}{% for i in range(28000) %}{% set a.s = {'a': a.s} %}{% set a.t = {'a': a.t} %}{% endfor %}{{ a.s < a.t }}".to_string(),
        "{% set a = namespace(s={}, t={}) %}{% for i in range(28000) %}{% set a.s = {'a': a.s} %}{% set a.t = {'a': a.t} %}{% endfor %}{{ a.s == a.t }}".to_string(),
        "{% set a = namespace(s={}) %}{% for i in range(60000) %}{% set a.s = {'a': a.s} %}{% endfor %}{{ a.s }}".to_string(),
        "{% set a = namespace(s={}) %}{% for i in range(60000) %}{% set a.s = {'a': a.s} %}{% endfor %}{{ {a.s: 1} }}{{ a.s | pprint }}".to_string(),
        "{% set a = namespace(s=[]) %}{% for i in range(99999) %}{% for j in range(99999) %}{% set a.s = [a.s] %}{% endfor %}{% endfor %}".to_string(),
        "{% set a = namespace(s=[]) %}{% for i in range(60000) %}{% set a.s = [a.s] %}{% endfor %}{{ a.s | unique | list }}{{ a.s in [a.s] }}".to_string(),
        "{% set a = namespace(s='x') %}{% for i in range(90000) %}{% set a.s = [a.s] + [1] %}{% endfor %}{{ a.s | length }}".to_string(),
    ]
}

fn render(text: &str) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(text, "a stranger")?;
    template.render(&[Message::new(Role::User, "hello")], &options())
}

#[test]
fn a_hostile_template_ends_in_a_short_error_soon() {
    for (name, text) in hostile() {
        let start = Instant::now();
        let error = render(&text).err().unwrap_or_else(|| panic!("'{name}' was rendered"));
        let message = error.to_string();
        assert!(message.len() < 700 && message.lines().count() <= 3, "{name}: {message}");
        assert!(start.elapsed().as_secs_f64() < 8.0, "{name} took {:?}", start.elapsed());
        println!("{name}: {:?}: {message}", start.elapsed());
    }
    assert_memory_is_bounded();
}

#[test]
fn a_deep_template_does_not_crash() {
    for text in chains() {
        let start = Instant::now();
        let outcome = render(&text).map(|text| text.len());
        println!("{}: {:?}: {outcome:?}", text.chars().take(60).collect::<String>(), start.elapsed());
        assert!(start.elapsed().as_secs_f64() < 8.0, "{text:.60} took {:?}", start.elapsed());
    }
    assert_memory_is_bounded();
}

/// The peak of this process so far, where the system tells.
fn assert_memory_is_bounded() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap();
    println!("peak {} MiB", kib >> 10);
    assert!(kib < 700 << 10, "peak of {} MiB", kib >> 10);
}

#[test]
fn a_long_conversation_stays_within_the_limits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/template");
    for name in ["deepseek-v2", "deepseek-r1", "qwen3", "llama3", "smollm2", "mistral"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        let template = ChatTemplate::new(text, name).unwrap();
        let role = |turn: usize| if turn.is_multiple_of(2) { Role::User } else { Role::Assistant };
        let turns: Vec<Message> =
            (0..2001).map(|turn| Message::new(role(turn), "word ".repeat(200))).collect();
        assert!(template.render(&turns, &options()).unwrap().len() > 2000 * 999, "{name}");
        let one = [Message::new(Role::User, "long text ".repeat(1 << 19))];
        assert!(template.render(&one, &options()).unwrap().len() > 5 << 20, "{name}");
    }
}

#[test]
fn a_deep_template_does_not_crash_with_a_long_conversation_either() {
    let make = |n: usize, level: &str| {
        format!(
            "{{% set a = namespace(s=[], t=[]) %}}{{% for i in range({n}) %}}{{% for j in range({n}) %}}\
             {{% set a.s = {level} %}}{}{{% endfor %}}{{% endfor %}}{{{{ a.s == a.t }}}}{{{{ a.s }}}}",
            format!("{{% set a.t = {level} %}}").replace("a.s", "a.t")
        )
    };
    let one = [Message::new(Role::User, "long text ".repeat(1 << 21))];
    for (n, level) in [(400, "[a.s]"), (350, "{'k': a.s}"), (900, "[a.s]")] {
        let outcome = ChatTemplate::new(make(n, level), "a stranger").unwrap().render(&one, &options());
        println!("{n} {level}: {:?}", outcome.map(|text| text.len()));
    }
}

#[test]
fn templates_are_found_where_publishers_put_them() {
    let rendered = |files: &[(&str, &str)]| {
        let folder = text_support::folder(files);
        let template = ChatTemplate::from_checkpoint(&text_support::open(folder.path()))?;
        template
            .map(|template| template.render(&[Message::new(Role::User, "x")], &RenderOptions::default()))
            .transpose()
    };
    let config = (
        "tokenizer_config.json",
        r#"{"chat_template":"config {{ bos_token }}","bos_token":{"content":"<b>"}}"#,
    );
    let jinja = ("chat_template.jinja", "file {{ bos_token }}");
    let old = ("chat_template.json", r#"{"chat_template":"old"}"#);
    assert_eq!(rendered(&[]).unwrap(), None);
    assert_eq!(rendered(&[old]).unwrap().as_deref(), Some("old"));
    assert_eq!(rendered(&[old, config]).unwrap().as_deref(), Some("config <b>"));
    assert_eq!(rendered(&[old, config, jinja]).unwrap().as_deref(), Some("file <b>"));
    let named = |entries: &str| {
        let config = format!(r#"{{"chat_template":[{entries}]}}"#);
        rendered(&[("tokenizer_config.json", &config)])
    };
    let (default, tools) = (r#"{"name":"default","template":"d"}"#, r#"{"name":"tool_use","template":"t"}"#);
    assert_eq!(named(&format!("{tools},{default}")).unwrap().as_deref(), Some("d"));
    assert_eq!(named(tools).unwrap().as_deref(), Some("t"));
    assert!(named(&format!("{tools},{tools}")).unwrap_err().to_string().contains("none named 'default'"));
    assert!(named("7").is_err());
    assert!(rendered(&[("tokenizer_config.json", r#"{"chat_template":7}"#)]).is_err());
    assert!(rendered(&[("chat_template.json", "{")]).is_err());

    let file = text_support::gguf(&[
        ("tokenizer.chat_template", Gguf::Str("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")),
        ("tokenizer.ggml.tokens", text_support::strs(&["<s>", "</s>"])),
        ("tokenizer.ggml.bos_token_id", Gguf::U32(0)),
        ("tokenizer.ggml.eos_token_id", Gguf::U32(1)),
    ]);
    let template = ChatTemplate::from_checkpoint(&text_support::open(file.path())).unwrap().unwrap();
    let messages = [Message { role: Role::Assistant, content: "x".into(), reasoning: Some("secret".into()) }];
    assert_eq!(template.render(&messages, &RenderOptions::default()).unwrap(), "<s>x</s>");
    assert_eq!(template.special_token("eos_token"), Some("</s>"));
}
