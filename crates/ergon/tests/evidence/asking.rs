//! `ergon ask`: without a model, and with models that fail.

use std::{fs, net::TcpListener, sync::Arc};

use crate::{
    endpoint::{Script, Server},
    support::{ergon, error_of, folder, json_of, text},
};

const ACME: &str =
    "# Acme\n\nAcme Corporation was founded in 1999 by Jane Smith in Berlin. It employs 3,559 people.\n";

#[test]
fn without_a_model_the_documents_answer() {
    let docs = folder(&[("acme.md", ACME), ("other.txt", "The river Elbe is 1,094 km long.\n")]);
    let found =
        json_of(&["ask", "--docs", text(docs.path()), "When was Acme Corporation founded?", "--json"]);
    assert_eq!(found["verdict"], "answered", "{found:#}");
    let claim = &found["claims"][0];
    assert!(claim["text"].as_str().unwrap().contains("1999"), "{found:#}");
    assert_eq!((&claim["verdict"], &claim["citations"][0]["file"]), (&"supported".into(), &"acme.md".into()));
    let nothing =
        json_of(&["ask", "--docs", text(docs.path()), "When was the Zyx Institute dissolved?", "--json"]);
    assert_eq!(nothing["verdict"], "abstained", "{nothing:#}");
    assert_eq!(nothing["claims"], serde_json::json!([]));
    assert!(
        !nothing["missing"].as_array().unwrap().is_empty()
            && !nothing["searched"].as_array().unwrap().is_empty()
    );
}

#[test]
fn sources_that_disagree_are_both_shown() {
    let docs = folder(&[
        (
            "a.txt",
            "The Karun Bridge was opened in 1931. It crosses the river near the old market and carries trams.\n",
        ),
        (
            "b.txt",
            "Visitors like this town for its views. The Karun Bridge was opened in 1947. Boats leave every hour.\n",
        ),
    ]);
    let found = json_of(&["ask", "--docs", text(docs.path()), "When was the Karun Bridge opened?", "--json"]);
    assert_eq!(found["verdict"], "contradicted", "{found:#}");
    let claim = &found["claims"][0];
    assert!(
        !claim["citations"].as_array().unwrap().is_empty()
            && !claim["opposing"].as_array().unwrap().is_empty()
    );
}

#[test]
fn a_batch_is_answered_row_by_row() {
    let docs = folder(&[("acme.md", ACME), ("b.txt", "Beta Limited was founded in 2003.\n")]);
    let rows = docs.path().join("questions.jsonl");
    fs::write(
        &rows,
        "{\"id\": \"q1\", \"question\": \"When was Acme Corporation founded?\"}\n\
         {\"id\": \"q2\", \"question\": \"When was Acme Corporation founded?\", \"docs\": [\"b.txt\"]}\n",
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("r.html");
    let found = json_of(&[
        "ask",
        "--docs",
        text(docs.path()),
        "--batch",
        text(&rows),
        "--json",
        "--html",
        text(&page),
    ]);
    let answers = found["answers"].as_array().unwrap();
    assert_eq!((&answers[0]["id"], &answers[0]["verdict"]), (&"q1".into(), &"answered".into()));
    assert_eq!((&answers[1]["id"], &answers[1]["verdict"]), (&"q2".into(), &"abstained".into()), "{found:#}");
    assert!(fs::read_to_string(page).unwrap().contains("When was Acme Corporation founded?"));
}

fn with(docs: &tempfile::TempDir, url: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["ask", "--docs", text(docs.path()), "When was Acme Corporation founded?", "--endpoint", url];
    let rest = ["--endpoint-model", "m", "--json"];
    fixed.iter().chain(&rest).chain(more).map(|part| (*part).to_string()).collect()
}

fn run(args: &[String]) -> String {
    error_of(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_model_that_fails_is_an_error() {
    let docs = folder(&[("acme.md", ACME)]);
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = run(&with(&docs, &closed, &[]));
    assert!(said.contains(&closed) && said.contains("check that the server runs"), "{said}");
    for (script, expected) in [
        (Script::Sleep, "within 1 s"),
        (Script::Endless, "within 1 s"),
        (Script::Raw("200 OK", b"<html>".to_vec()), "no JSON"),
        (Script::Raw("200 OK", b"{}".to_vec()), "no chat completion"),
        (Script::Raw("200 OK", Vec::new()), "no JSON"),
        (Script::Raw("500 Oops", b"out of \x1b[2J memory".to_vec()), "status 500"),
        (Script::Raw("302 Found", Vec::new()), "status 302"),
        (Script::Raw("200 OK", vec![b' '; 5 << 20]), "over 4194304 bytes"),
    ] {
        let server = Server::start(script.clone());
        let seconds = if matches!(script, Script::Sleep | Script::Endless) { "1" } else { "20" };
        let said = run(&with(&docs, &server.url, &["--endpoint-timeout", seconds]));
        let endless = matches!(script, Script::Endless) && said.contains("over 4194304 bytes");
        assert!(said.contains(expected) || endless, "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    assert!(run(&with(&docs, "ftp://x", &[])).contains("no address"));
}

#[test]
fn a_model_that_fails_on_one_question_costs_the_others_nothing() {
    let docs = folder(&[("acme.md", ACME)]);
    let rows = docs.path().join("questions.jsonl");
    let ask = |count: usize, fails: fn(&str) -> bool| {
        let lines = (0..count).map(|number| {
            format!(
                "{{\"id\": \"q{number}\", \"question\": \"When was Acme Corporation founded? ({number})\"}}\n"
            )
        });
        fs::write(&rows, lines.collect::<String>()).unwrap();
        let server = Server::start(Script::Depends(Arc::new(move |prompt| match fails(prompt) {
            true => Script::Raw("500 Oops", b"busy".to_vec()),
            false => Script::Say(Arc::new(|_| "MISSING: nothing".to_string())),
        })));
        let args = ["ask", "--docs", text(docs.path()), "--batch", text(&rows), "--endpoint", &server.url];
        let output = ergon(&[&args[..], &["--endpoint-model", "m", "--json"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["answers"].as_array().unwrap().clone(), String::from_utf8(output.stderr).unwrap())
    };
    let (answers, said) = ask(4, |prompt| prompt.contains("(1)"));
    let verdicts: Vec<_> = answers.iter().map(|answer| answer["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["abstained", "failed", "abstained", "abstained"]);
    assert!(answers[1]["error"].as_str().unwrap().contains("status 500"), "{answers:?}");
    assert!(said.contains("1 of 4") && said.contains("'q1'"), "{said}");
    let (answers, said) = ask(6, |_| true);
    assert!(answers[2]["error"].as_str().unwrap().contains("status 500"), "{answers:?}");
    assert!(answers[3]["error"].as_str().unwrap().contains("not asked"), "{answers:?}");
    assert!(said.contains("6 of 6"), "{said}");
}

#[test]
fn a_model_gets_text_and_no_tools_and_may_search() {
    let docs = folder(&[("acme.md", ACME), ("hq.txt", "The headquarters lie on Lindenstrasse.\n")]);
    let server = Server::say(|prompt| {
        if prompt.contains("Lindenstrasse") {
            "MISSING: nothing".to_string()
        } else {
            "SEARCH: headquarters".to_string()
        }
    });
    let args = with(&docs, &server.url, &[]);
    let found = json_of(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(found["verdict"], "abstained");
    assert!(found["searched"].as_array().unwrap().contains(&"headquarters".into()), "{found:#}");
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    for request in asked.iter() {
        let mut keys: Vec<&String> = request.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["max_tokens", "messages", "model", "stream", "temperature"]);
    }
}
