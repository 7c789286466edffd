//! Kills and company while indexing.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::support::{command, json_of, text};

const FILES: usize = 1_500;
const CLAIM: &str = "Company 700 was founded in 1700.";

fn write(folder: &Path) {
    for number in 0..FILES {
        let filler = format!("It makes parts number {number} for machines of many kinds. ").repeat(20);
        let page = format!("Company {number} was founded in {}. {filler}", 1_000 + number);
        fs::write(folder.join(format!("{number}.txt")), page).unwrap();
    }
}

fn start(folder: &Path) -> Child {
    let args = ["verify", "--docs", text(folder), "--claim", CLAIM, "--json"];
    command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_kill_at_any_moment_costs_nothing_but_time() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path());
    write(other.path());
    let args = |folder: &Path| json_of(&["verify", "--docs", text(folder), "--claim", CLAIM, "--json"]);
    let expected = args(other.path());
    assert_eq!(expected["claims"][0]["verdict"], "supported", "{expected:#}");
    let mut killed = 0;
    for round in 0..16 {
        if round % 4 == 3 {
            // Changes in between, so that there is something to do again.
            fs::write(folder.path().join("0.txt"), format!("Round {round}.")).unwrap();
        }
        let mut child = start(folder.path());
        thread::sleep(Duration::from_millis(5 + 40 * round));
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed >= 4, "only {killed} of 16 were still running");
    fs::write(folder.path().join("0.txt"), fs::read(other.path().join("0.txt")).unwrap()).unwrap();
    assert_eq!(args(folder.path()), expected);
    assert_eq!(args(folder.path()), expected);
}

#[test]
fn processes_on_one_folder_do_not_break_one_another() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let children: Vec<Child> = (0..4).map(|_| start(folder.path())).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
}
