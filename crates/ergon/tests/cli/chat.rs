//! `ergon chat` with a pipe for a terminal: each line is a turn.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::support::{Fixture, Parts, command, stderr, stdout, text};

fn chat(fixture: &Fixture, args: &[&str], input: &str) -> Output {
    let model = fixture.model();
    let all = [&["chat", &model, "--max-tokens", "6", "--temperature", "0"][..], args].concat();
    let mut child =
        command(&all).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses at once does not read what it is told.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn each_line_gets_an_answer() {
    let fixture = Fixture::new(Parts::ALL);
    let saved = fixture.path("talk.json");
    let output =
        chat(&fixture, &[], &format!("Hi\n\nand\\\nmore\n/save {}\n/exit\nnot read\n", text(&saved)));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("tokens/s"), "{}", stderr(&output));
    let talk: Value = serde_json::from_slice(&fs::read(saved).unwrap()).unwrap();
    let messages = talk["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(messages[2]["content"], "and\nmore");
    let answer = messages[1]["content"].as_str().unwrap();
    assert!(stdout(&output).starts_with(answer), "{:?} {answer:?}", stdout(&output));
}

/// The second turn must see the first: what the cache holds is a shortcut, not another conversation.
#[test]
fn a_conversation_is_the_same_when_told_again() {
    let fixture = Fixture::new(Parts::ALL);
    let talk = |input: &str, name: &str| -> Value {
        let saved = fixture.path(name);
        let output = chat(&fixture, &["--system", "be brief"], &format!("{input}/save {}\n", text(&saved)));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&fs::read(saved).unwrap()).unwrap()
    };
    let straight = talk("one\ntwo\n", "a.json");
    assert_eq!(straight["messages"].as_array().unwrap().len(), 5);
    // A detour that is forgotten again leaves no trace; nor does asking twice.
    assert_eq!(talk("other\n/clear\none\ntwo\n", "b.json"), straight);
    assert_eq!(talk("one\n/retry\ntwo\n/retry\n", "c.json"), straight);
}

#[test]
fn commands_of_the_conversation_answer() {
    let fixture = Fixture::new(Parts::ALL);
    let output =
        chat(&fixture, &[], "/help\n/nonsense\n/system be kind\n/system\n/think off\n/save /no/such/dir/x\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("/clear") && said.contains("nonsense") && said.contains("be kind"), "{said}");
    assert!(said.contains("/no/such/dir/x"), "{said}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_model_without_a_template_cannot_chat() {
    let fixture = Fixture::new(Parts { tokenizer: true, template: false });
    let output = chat(&fixture, &[], "Hi\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("template"), "{}", stderr(&output));
}
