//! The command line itself: exit statuses, help, pipes that close.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use crate::support::{Fixture, Parts, assert_fails, command, ergon, stderr, stdout};

#[test]
fn a_wrong_command_line_ends_in_2() {
    for args in [
        &["nonsense"][..],
        &[],
        &["inspect"],
        &["score", "m"],
        &["score", "m", "--tokens", "1,x"],
        &["generate", "m", "--prompt", "a", "--tokens", "1"],
        &["generate", "m", "--prompt", "a", "--temperature", "-1"],
        &["generate", "m", "--prompt", "a", "--memory", "much"],
        &["convert", "a", "b", "--quant", "q1_x"],
        &["bench", "m", "--repeat", "0"],
    ] {
        let output = ergon(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_and_version_end_in_0() {
    for args in [&["--help"][..], &["--version"], &["help", "generate"], &["bench", "--help"]] {
        let output = ergon(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!stdout(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn a_model_that_is_not_there_ends_in_1() {
    let said = assert_fails(&["inspect", "./no/such/model"]);
    assert!(said.contains("no/such/model"), "{said}");
    assert_fails(&["generate", "/dev/null", "--prompt", "a"]);
    assert_fails(&["score", "/", "--text", "a"]);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let fixture = Fixture::new(Parts::ALL);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ergon"))
        .args(["inspect", &fixture.model()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn nothing_is_drawn_into_a_pipe() {
    let fixture = Fixture::new(Parts::ALL);
    let output = command(&["score", &fixture.model(), "--tokens", "1,2,3", "--json"]).output().unwrap();
    assert!(!stderr(&output).contains('\u{1b}') && !stderr(&output).contains('\r'), "{}", stderr(&output));
}
