//! What signals end, and what they leave.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{command, stderr, text};

/// A run that goes on for minutes, once it drives.
fn driving(policy: &str, folder: &Path, shell: Option<&str>) -> Child {
    let out = text(&folder.join("out"));
    let args = ["drive", "--policy", policy, "--episodes", "2000", "--out", &out, "--json"];
    let mut command = match shell {
        None => command(&args),
        Some(first) => {
            let mut command = Command::new("sh");
            let line = format!("{first}; exec \"$0\" \"$@\"");
            command.args(["-c", &line, env!("CARGO_BIN_EXE_ergon")]).args(args);
            command
        }
    };
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    command.env("TMPDIR", temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    while !folder.join("out/run.mcap").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "ended before it drove");
        thread::sleep(Duration::from_millis(20));
    }
    child
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// Whether these tests run under `nohup`, whose children outlive a hangup as they should.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim();
    u64::from_str_radix(ignored, 16).is_ok_and(|signals| signals & 1 == 1)
}

#[test]
fn termination_and_hangup_end_a_run_with_its_results() {
    for signal in ["-TERM", "-HUP", "-INT"] {
        if signal == "-HUP" && hangup_is_ignored() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let child = driving("constant-velocity", folder.path(), None);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}: {}", stderr(&output));
        let found = summary(&output);
        assert_eq!(found["interrupted"], true, "{signal}");
        assert!(found["episodes"].as_u64().unwrap() < 2000, "{signal}");
        let kept: Value =
            serde_json::from_slice(&fs::read(folder.path().join("out/summary.json")).unwrap()).unwrap();
        assert_eq!(kept, found);
        assert!(folder.path().join("out/report.html").exists());
    }
}

/// The files of the built-in model are gone as soon as it is loaded, so that nothing can leave them.
#[test]
fn the_built_in_model_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = driving("model", folder.path(), None);
    let left = || fs::read_dir(folder.path().join("tmp")).unwrap().count();
    assert_eq!(left(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(), 0);
}

/// `nohup` asks for a run that outlives its terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_was_ignored_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = driving("constant-velocity", folder.path(), Some("trap '' HUP"));
    send(&child, "-HUP");
    send(&child, "-HUP");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "the hangup ended it");
    send(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(summary(&output)["interrupted"], true);
}
