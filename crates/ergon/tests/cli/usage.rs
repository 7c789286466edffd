//! The command line itself: exit statuses, help, pipes that close.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use crate::support::{Fixture, Parts, assert_fails, command, ergon, stderr, stdout, text};

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
        &["drive", "--solutions", "never-made"],
    ] {
        let output = ergon(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn numbers_that_nothing_could_hold_are_refused_with_their_range() {
    let most = "18446744073709551615";
    let ask = ["ask", "--docs", ".", "q", "--endpoint", "http://127.0.0.1:9", "--endpoint-model", "m"];
    for (command, flag, number, range) in [
        (&["drive"][..], "--episodes", most, "1 to 1000000"),
        (&["drive"], "--episodes", "100000000000", "1 to 1000000"),
        (&["drive"], "--candidates", most, "1 to 1000"),
        (&["bench", "m"], "--repeat", most, "1 to 100000"),
        (&["bench", "m"], "--repeat", "1000000000000", "1 to 100000"),
        (&["bench", "m"], "--batch", most, "1 to 4096"),
        (&["bench", "m"], "--chunk", most, "1 to 1000000"),
        (&ask, "--endpoint-timeout", "9223372036854775807", "1 to 86400"),
    ] {
        let output = ergon(&[command, &[flag, number]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?} {flag} {number}: {said}");
        assert!(said.contains(flag) && said.contains(range), "{said}");
    }
}

/// Whoever meant a folder reads that it is not there, and not of the hub alone.
#[test]
fn a_mistyped_folder_is_told_from_a_model_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().to_str().unwrap();
    let output = command(&["inspect", "models/x"])
        .envs([("HF_HUB_CACHE", cache), ("HF_HUB_OFFLINE", "1")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no such file or folder"), "{}", stderr(&output));
    let said = assert_fails(&["inspect", "https://huggingface.co/Qwen/Qwen3-0.6B"]);
    assert!(said.contains("address") && said.contains("owner/name"), "{said}");
}

#[test]
fn wrong_folders_of_a_training_are_named_with_their_flag() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (out, file) = (text(&folder.path().join("out")), text(&file));
    let said = assert_fails(&["train", "driver", "--from", "/no/such/driver", "--out", &out]);
    assert!(said.contains("--from /no/such/driver") && said.contains("give the folder"), "{said}");
    assert!(!folder.path().join("out").exists());
    let said = assert_fails(&["train", "driver", "--out", &file]);
    assert!(said.contains("--out") && said.contains("give a folder"), "{said}");
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
