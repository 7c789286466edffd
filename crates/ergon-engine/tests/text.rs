//! The text layer over tiny random models. Where a text is needed, a grammar makes the model write it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod tiny;

use std::sync::atomic::{AtomicBool, Ordering};

use ergon_checkpoint::{ChatTemplate, GenerationDefaults, Tokenizer};
use ergon_engine::{
    Completion, Event, Generation, GenerationError, GenerationRequest, Grammar, Prompt, SamplingParams,
    TextTools,
};
use ergon_types::{FinishReason, Message, Role};
use tiny::{EOS, THINK_CLOSE, THINK_OPEN, Tiny, options};

struct Fixture {
    tiny: Tiny,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

/// `opening`: what the template puts behind the last turn.
fn fixture(tiny: Tiny, opening: &str) -> Fixture {
    let source =
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}\
                  [assistant]OPENING{% endif %}"
            .replace("OPENING", opening);
    let tokenizer = tiny.tokenizer();
    Fixture { tiny, tokenizer, template: ChatTemplate::new(source, "test").unwrap() }
}

impl Fixture {
    fn generation(&self) -> Generation<'_> {
        let tools = TextTools { tokenizer: Some(&self.tokenizer), template: Some(&self.template) };
        let defaults = GenerationDefaults { eos_token_ids: vec![EOS], ..GenerationDefaults::default() };
        Generation::new(self.tiny.engine(options()), tools, &defaults)
    }

    /// The completion, after checking that the events add up to it.
    fn run(&self, request: &GenerationRequest) -> Completion {
        run(&mut self.generation(), request)
    }
}

fn run(generation: &mut Generation<'_>, request: &GenerationRequest) -> Completion {
    let (mut text, mut reasoning) = (String::new(), String::new());
    let completion = generation.run(
        request,
        || false,
        |event| match event {
            Event::Text(piece) => text.push_str(piece),
            Event::Reasoning(piece) => reasoning.push_str(piece),
            Event::Finished(_) | Event::Failed(_) => {}
        },
    );
    let completion = completion.unwrap();
    assert_eq!(completion.text, text);
    assert_eq!(completion.reasoning.clone().unwrap_or_default(), reasoning);
    assert_eq!(completion.usage.completion_tokens, completion.token_ids.len());
    completion
}

fn text(prompt: &str) -> GenerationRequest {
    GenerationRequest { max_new_tokens: Some(60), ..GenerationRequest::new(Prompt::Text(prompt.into())) }
}

fn writes(prompt: &str, pattern: &str) -> GenerationRequest {
    GenerationRequest { grammar: Some(Grammar::Regex(pattern.into())), ..text(prompt) }
}

fn chat(content: &str) -> GenerationRequest {
    let messages = vec![Message::new(Role::User, content)];
    GenerationRequest {
        max_new_tokens: Some(60),
        ..GenerationRequest::new(Prompt::Chat { messages, enable_thinking: None })
    }
}

#[test]
fn thoughts_and_answer_are_told_apart() {
    let fixture = fixture(tiny::llama(), "");
    let out = fixture.run(&writes("Q", r"<think>\nhm, 1</think>\n\nIt is 2\."));
    assert_eq!((out.text.as_str(), out.reasoning.as_deref()), ("It is 2.", Some("hm, 1")));
    assert_eq!(out.finish_reason, FinishReason::Stop);
    assert!(out.usage.reasoning_tokens >= 6);

    let whole = GenerationRequest {
        separate_reasoning: false,
        ..writes("Q", r"<think>\nhm, 1</think>\n\nIt is 2\.")
    };
    let out = fixture.run(&whole);
    assert_eq!((out.text.as_str(), out.reasoning), ("<think>\nhm, 1</think>\n\nIt is 2.", None));

    let out = fixture.run(&writes("Q", r" no thoughts"));
    assert_eq!((out.text.as_str(), out.reasoning), (" no thoughts", None));
}

#[test]
fn a_grammar_waits_for_the_end_of_reasoning() {
    for tiny in [tiny::llama(), tiny::deepseek_v3()] {
        let fixture = fixture(tiny, "<think>\n");
        let request = GenerationRequest {
            grammar: Some(Grammar::JsonSchema(
                r#"{"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"],"additionalProperties":false}"#
                    .into(),
            )),
            reasoning_budget: Some(9),
            max_new_tokens: Some(400),
            ..chat("hello")
        };
        let out = fixture.run(&request);
        assert_eq!(out.finish_reason, FinishReason::Stop, "{out:?}");
        let value: serde_json::Value = serde_json::from_str(&out.text).unwrap();
        assert!(value["a"] == 1 || value["a"] == 2);
        assert!(out.reasoning.is_some());
        assert_eq!(out.token_ids[9..13], [10, THINK_CLOSE, 10, 10], "the block is closed after 9 tokens");
    }
}

#[test]
fn the_budget_closes_the_block_and_the_answer_goes_on() {
    for tiny in [tiny::llama(), tiny::deepseek_v3()] {
        let fixture = fixture(tiny, "");
        let opened = "Q<think>\n";
        let free = fixture.run(&text(opened));
        assert!(free.reasoning.is_some());
        // How far the model thinks by itself; which tokens it chooses may differ between instruction sets.
        let thought = free.token_ids.iter().take_while(|&&token| token < 256).count();
        for budget in [1, 5, 20].into_iter().filter(|&budget| budget < thought) {
            let out = fixture.run(&GenerationRequest { reasoning_budget: Some(budget), ..text(opened) });
            assert_eq!(out.token_ids[..budget], free.token_ids[..budget]);
            assert_eq!(out.token_ids[budget..budget + 4], [10, THINK_CLOSE, 10, 10]);
            assert!(out.token_ids.len() == 60 || out.finish_reason == FinishReason::Stop);
            assert!(!out.text.is_empty());
        }
        assert!(thought > 1);
        let none = fixture.run(&GenerationRequest { reasoning_budget: Some(0), ..text(opened) });
        assert_eq!(none.usage.prompt_tokens, 3 + 4, "the block is closed in the prompt");
        assert!(!none.text.is_empty());
        // A block that the model opens itself, as a token.
        let tokens = GenerationRequest {
            grammar: None,
            reasoning_budget: Some(3),
            ..GenerationRequest::new(Prompt::Tokens(vec![5, THINK_OPEN, 10]))
        };
        let out = fixture.run(&GenerationRequest { max_new_tokens: Some(30), ..tokens });
        assert_eq!(out.token_ids[3..7], [10, THINK_CLOSE, 10, 10]);
    }
}

#[test]
fn stop_strings_end_the_answer_only() {
    let fixture = fixture(tiny::llama(), "");
    let pattern = r"<think>a END b</think>one two END three";
    let request = GenerationRequest { stop: vec!["END".into(), "xx".into()], ..writes("Q", pattern) };
    let out = fixture.run(&request);
    assert_eq!((out.text.as_str(), out.reasoning.as_deref()), ("one two ", Some("a END b")));
    assert_eq!(out.finish_reason, FinishReason::Stop);
    // The token that completed the stop string is the last one.
    assert_eq!(out.token_ids.last(), Some(&u32::from(b'D')));
    let half = GenerationRequest { stop: vec!["two ENDX".into()], ..writes("Q", pattern) };
    assert_eq!(fixture.run(&half).text, "one two END three");
}

#[test]
fn letters_of_several_tokens_come_out_whole() {
    let fixture = fixture(tiny::llama(), "");
    let mut generation = fixture.generation();
    let id = generation.start(&writes("Q", "naïve 終わり")).unwrap();
    let mut pieces = Vec::new();
    while !generation.is_idle() {
        for (of, event) in generation.step().unwrap() {
            assert_eq!(of, id);
            if let Event::Text(piece) = event {
                pieces.push(piece);
            }
        }
    }
    assert_eq!(pieces.concat(), "naïve 終わり");
    let cut = GenerationRequest { max_new_tokens: Some(7), ..writes("Q", "naïve 終わり") };
    assert_eq!(fixture.run(&cut).text, "naïve ");
}

#[test]
fn cancelling_keeps_what_there_is() {
    let fixture = fixture(tiny::llama(), "");
    let mut generation = fixture.generation();
    let stop = AtomicBool::new(false);
    let mut shown = 0;
    let request = GenerationRequest { max_new_tokens: None, stop_at_eos: false, ..text("abc") };
    let out = generation
        .run(
            &request,
            || stop.load(Ordering::Relaxed),
            |_| {
                shown += 1;
                stop.store(shown >= 3, Ordering::Relaxed);
            },
        )
        .unwrap();
    assert_eq!(out.finish_reason, FinishReason::Cancelled);
    assert!(!out.token_ids.is_empty() && out.token_ids.len() < 100);
    // The next generation is not affected, and finds the prompt still there.
    let again = run(&mut generation, &text("abc"));
    assert_eq!(again.usage.reused_tokens, 2);
    assert_eq!(again.token_ids, fixture.run(&text("abc")).token_ids);
}

#[test]
fn a_conversation_reuses_what_it_shares_and_drops_thoughts() {
    let fixture = fixture(tiny::llama(), "");
    let mut generation = fixture.generation();
    let first = GenerationRequest {
        grammar: Some(Grammar::Regex("<think>hm</think>fine".into())),
        ..chat("how are you?")
    };
    let answer = run(&mut generation, &first);
    let messages = vec![
        Message::new(Role::User, "how are you?"),
        Message { role: Role::Assistant, content: answer.text.clone(), reasoning: answer.reasoning.clone() },
        Message::new(Role::User, "good"),
    ];
    let prompt = generation.tools().render(&messages, None).unwrap();
    assert_eq!(prompt, "[user]how are you?[assistant]fine[user]good[assistant]");
    let second = GenerationRequest { prompt: Prompt::Chat { messages, enable_thinking: None }, ..chat("") };
    let warm = run(&mut generation, &second);
    assert_eq!(warm.usage.reused_tokens, "[user]how are you?[assistant]".len());
    let cold = fixture.run(&second);
    assert_eq!(cold.usage.reused_tokens, 0);
    assert_eq!(warm.token_ids, cold.token_ids);
}

#[test]
fn generations_run_side_by_side_as_alone() {
    let fixture = fixture(tiny::deepseek_v3(), "");
    let sampled = |seed| GenerationRequest {
        sampling: SamplingParams { temperature: 1.2, top_k: 40, seed, ..SamplingParams::default() },
        ..text("once upon")
    };
    let alone: Vec<Completion> = (0..4).map(|seed| fixture.run(&sampled(seed))).collect();
    let mut generation = fixture.generation();
    let ids: Vec<_> = (0..4).map(|seed| generation.start(&sampled(seed)).unwrap()).collect();
    let mut done = vec![None; 4];
    while !generation.is_idle() {
        for (id, event) in generation.step().unwrap() {
            if let Event::Finished(completion) = event {
                done[ids.iter().position(|&i| i == id).unwrap()] = Some(*completion);
            }
        }
    }
    for (alone, beside) in alone.iter().zip(done) {
        let beside = beside.unwrap();
        assert_eq!((&alone.token_ids, &alone.text), (&beside.token_ids, &beside.text));
    }
}

#[test]
fn models_without_text_tools_take_and_give_tokens() {
    let tiny = tiny::llama();
    let tools = TextTools { tokenizer: None, template: None };
    let mut generation = Generation::new(tiny.engine(options()), tools, &GenerationDefaults::default());
    let tokens = GenerationRequest {
        max_new_tokens: Some(5),
        ..GenerationRequest::new(Prompt::Tokens(vec![1, 2, 3]))
    };
    let out = run(&mut generation, &tokens);
    assert_eq!((out.text.as_str(), out.token_ids.len(), out.usage.prompt_tokens), ("", 5, 3));
    assert_eq!((out.timings.prefill_tokens, out.timings.decode_tokens), (3, 4));
    assert!(out.timings.prefill_tokens_per_s().unwrap() > 0.0);
    for request in
        [text("x"), chat("x"), GenerationRequest { grammar: Some(Grammar::JsonObject), ..tokens.clone() }]
    {
        assert!(matches!(generation.start(&request), Err(GenerationError::NoTokenizer { .. })));
    }
    let fixture = fixture(tiny::llama(), "");
    let tools = TextTools { tokenizer: Some(&fixture.tokenizer), template: None };
    let mut generation =
        Generation::new(fixture.tiny.engine(options()), tools, &GenerationDefaults::default());
    assert!(matches!(generation.start(&chat("x")), Err(GenerationError::NoTemplate)));
    let stops = GenerationRequest { stop: vec![String::new()], ..text("x") };
    assert!(matches!(generation.start(&stops), Err(GenerationError::StopStrings)));
}
