//! `ergon drive`, with the policies that need no trained model where the model is not what is tested.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{assert_fails, ergon, json_of, stderr, stdout};

/// A scenario of our own making.
fn scenario(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/commonroad").join(name);
    path.to_str().expect("a path of text").to_owned()
}

/// Two runs, without what a clock decides.
fn without_clock(mut summary: Value) -> Value {
    for key in ["latency_ms", "latency_parts_ms", "deadline_misses"] {
        summary.as_object_mut().expect("an object").remove(key);
    }
    summary
}

#[test]
fn the_fixed_fields_are_there() {
    let found = json_of(&["drive", "--policy", "expert", "--episodes", "2", "--seed", "3", "--json"]);
    assert_eq!((&found["episodes"], &found["interrupted"]), (&2.into(), &false.into()));
    for key in [
        "goal_reached",
        "collisions",
        "collisions_at_fault",
        "off_road",
        "gate_interventions",
        "deadline_misses",
    ] {
        assert!(found[key].is_u64(), "{key}: {found}");
    }
    for key in ["p50", "p99", "max"] {
        assert!(found["latency_ms"][key].as_f64().expect("a number") > 0.0);
    }
    for row in found["rows"].as_array().expect("rows") {
        assert!(row["lane_changes"].is_i64());
        let trajectory = row["trajectory"].as_array().expect("a list");
        assert!(trajectory.len() > 50, "{} states", trajectory.len());
        assert!(trajectory.iter().all(|state| state.as_array().is_some_and(|values| values.len() == 5)));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let args = ["drive", "--episodes", "1", "--seed", "2", "--deadline-ms", "0", "--json"];
    let first = without_clock(json_of(&args));
    assert_eq!(first, without_clock(json_of(&args)));
    let threads = [&args[..], &["--threads", "1"]].concat();
    assert_eq!(first, without_clock(json_of(&threads)));
    let other = ["drive", "--episodes", "1", "--seed", "7", "--deadline-ms", "0", "--json"];
    assert_ne!(first["rows"], json_of(&other)["rows"]);
}

#[test]
fn the_expert_changes_lanes_as_it_is_told() {
    // Seeds in which there is room on both sides before the episode ends, and neither lane ends before it.
    let run = |text: &str| {
        let args = [
            "drive",
            "--policy",
            "expert",
            "--episodes",
            "3",
            "--seed",
            "11",
            "--instruction",
            text,
            "--json",
        ];
        json_of(&args)["rows"].as_array().expect("rows").clone()
    };
    let (left, right) = (run("take the left lane"), run("向右变道"));
    for (left, right) in left.iter().zip(&right) {
        assert_eq!((&left["lane_changes"], &right["lane_changes"]), (&1.into(), &(-1).into()));
        assert!(left["instruction_obeyed"] == true && right["instruction_obeyed"] == true);
        assert_eq!(left["trajectory"][0], right["trajectory"][0], "one seed gives one world");
    }
}

#[test]
fn a_run_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let out = path("out").to_str().expect("text").to_owned();
    let output = ergon(&["drive", "--policy", "expert", "--episodes", "1", "--out", &out]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("of 1 reached the goal"), "{}", stdout(&output));
    let page = fs::read_to_string(path("out").join("report.html")).expect("a page");
    assert!(page.contains("\"ticks\":") && !page.contains("/*DATA*/"), "the data are in the page");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page is self-contained");
    let summary = fs::read(path("out").join("summary.json")).expect("a summary");
    let summary: Value = serde_json::from_slice(&summary).expect("JSON");
    assert_eq!(summary["episodes"], 1);
    let recording = fs::read(path("out").join("run.mcap")).expect("a recording");
    let mut topics = std::collections::BTreeSet::new();
    for message in mcap::MessageStream::new(&recording).expect("a recording that reads") {
        let message = message.expect("a message");
        assert!(serde_json::from_slice::<Value>(&message.data).is_ok());
        topics.insert(message.channel.topic.clone());
    }
    for topic in
        ["/camera/front", "/tf", "/scene", "/plan", "/plan/checked", "/words", "/gate", "/cmd", "/timing"]
    {
        assert!(topics.contains(topic), "{topic}: {topics:?}");
    }
}

#[test]
fn broken_scenarios_are_named_and_the_others_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(scenario("ours-2018b.xml")).expect("text");
    fs::write(folder.path().join("good.xml"), &text).expect("written");
    fs::write(folder.path().join("cut.xml"), &text[..text.len() / 2]).expect("written");
    fs::write(folder.path().join("nan.xml"), text.replacen("<x>", "<x>NaN", 1)).expect("written");
    let solutions = folder.path().join("solutions");
    let args = |extra: &[&str]| {
        let folder = folder.path().to_str().expect("text").to_owned();
        let mut all = vec!["drive".to_owned(), "--policy".to_owned(), "constant-velocity".to_owned()];
        all.extend(["--scenario".to_owned(), folder]);
        all.extend(extra.iter().map(|text| (*text).to_owned()));
        all
    };
    let with = args(&["--json", "--solutions", solutions.to_str().expect("text")]);
    let found = json_of(&with.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(found["episodes"], 1);
    let skipped: Vec<&str> =
        found["skipped"].as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert!(
        skipped.len() == 2 && skipped[0].contains("cut.xml") && skipped[1].contains("nan.xml"),
        "{skipped:?}"
    );
    let written: Vec<_> = fs::read_dir(&solutions).expect("solutions").collect();
    assert_eq!(written.len(), 1);
}

/// A disk that is full, here a limit on the size of files, costs what does not fit and nothing of what was driven.
#[cfg(target_os = "linux")]
#[test]
fn a_recording_that_cannot_be_written_costs_no_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("text");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ergon")])
        .args(["drive", "--policy", "constant-velocity", "--episodes", "2", "--out", out, "--json"])
        .output()
        .expect("a shell");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run.mcap") && said.contains("File too large"), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("the summary");
    assert_eq!(found["episodes"], 2);
    let kept = fs::read(folder.path().join("summary.json")).expect("the summary");
    assert_eq!(serde_json::from_slice::<Value>(&kept).expect("JSON"), found);
}

#[test]
fn unknown_words_are_remarked_on_once() {
    let remarks = |words: &str| {
        let args = ["drive", "--policy", "constant-velocity", "--episodes", "2", "--json", "--instruction"];
        let output = ergon(&[&args[..], &[words]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(found["rows"][0]["instruction"], words, "the driver is told the words as they are");
        stderr(&output).matches("none of the known instructions").count()
    };
    assert_eq!(remarks("fly to the moon"), 1);
    assert_eq!(remarks("take the left lane"), 0);
}

#[test]
fn what_cannot_be_driven_fails_clearly() {
    assert!(assert_fails(&["drive", "--scenario", "/no/such/file.xml"]).contains("/no/such/file.xml"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    assert!(assert_fails(&["drive", "--scenario", path]).contains("no .xml file"));
    let other_cameras = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/driver");
    let said = assert_fails(&["drive", "--episodes", "1", "--model", other_cameras.to_str().expect("text")]);
    assert!(said.contains("cameras"), "{said}");
}
