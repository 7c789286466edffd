//! Words that must not stay in the sources, each with what to write instead.

use super::Finding;
use super::source::{Source, line_of, words};
use super::tree::Tree;

/// Where a word is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Code,
    Comments,
}

/// Which files a ban holds for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every Rust file, tests included.
    Everywhere,
    /// Library crates (`crates/ergon-*`), tests aside.
    Libraries,
    /// Library crates without those that own files (checkpoints of models; samples and states of a training), tests aside.
    LibrariesWithoutFiles,
    /// Library crates without the checkpoint crate, which alone knows the JSON of model folders; tests aside.
    LibrariesWithoutCheckpoint,
    /// Library crates without the thread pool, which must know that a thread is already inside it; tests aside.
    LibrariesWithoutPool,
    /// Library crates without the hub download, tests aside.
    LibrariesWithoutHub,
}

impl Scope {
    fn covers(self, source: &Source) -> bool {
        let path = source.path.as_str();
        let is_library = path.starts_with("crates/ergon-");
        match self {
            Scope::Everywhere => true,
            Scope::Libraries => is_library,
            Scope::LibrariesWithoutFiles => {
                is_library && !FILE_OWNERS.iter().any(|owner| path.starts_with(owner))
            }
            Scope::LibrariesWithoutCheckpoint => is_library && !path.starts_with("crates/ergon-checkpoint/"),
            Scope::LibrariesWithoutPool => is_library && path != "crates/ergon-kernels/src/pool.rs",
            Scope::LibrariesWithoutHub => is_library && !path.starts_with("crates/ergon-checkpoint/src/hub"),
        }
    }
}

/// Libraries that open files. Training writes gigabytes of samples and a state that survives a kill: to hand either over as
/// bytes would need the memory that the files save. The documents module reads a user's folder and keeps an index beside it.
const FILE_OWNERS: [&str; 3] =
    ["crates/ergon-checkpoint/", "crates/ergon-train/", "crates/ergon-agent/src/documents/"];

struct Ban {
    word: &'static str,
    view: View,
    scope: Scope,
    instead: &'static str,
}

const fn ban(word: &'static str, view: View, scope: Scope, instead: &'static str) -> Ban {
    Ban { word, view, scope, instead }
}

const RETURN_ERROR: &str = "finish it, or return an error that says what is missing";
const TO_CALLER: &str = "return the text or an event; only the binary prints";
const AS_ARGUMENT: &str = "take it as an argument: no behaviour of a library hangs on the environment";
const FILES: &str = "take bytes or a Checkpoint: only ergon-checkpoint, ergon-train, the agent's documents and the binary open files";
const ISSUE: &str = "do it now, or open an issue and say in words what is missing";

const BANS: [Ban; 20] = [
    ban("todo!", View::Code, Scope::Everywhere, RETURN_ERROR),
    ban("unimplemented!", View::Code, Scope::Everywhere, RETURN_ERROR),
    ban("dbg!", View::Code, Scope::Everywhere, "delete it"),
    ban("static mut", View::Code, Scope::Everywhere, "pass the state as an argument"),
    ban("lazy_static!", View::Code, Scope::Everywhere, "pass the state as an argument"),
    ban("thread_local!", View::Code, Scope::LibrariesWithoutPool, "pass the state as an argument"),
    ban("println!", View::Code, Scope::Libraries, TO_CALLER),
    ban("print!", View::Code, Scope::Libraries, TO_CALLER),
    ban("eprintln!", View::Code, Scope::Libraries, TO_CALLER),
    ban("eprint!", View::Code, Scope::Libraries, TO_CALLER),
    ban("env::var", View::Code, Scope::LibrariesWithoutHub, AS_ARGUMENT),
    ban("env::var_os", View::Code, Scope::LibrariesWithoutHub, AS_ARGUMENT),
    ban("fs::", View::Code, Scope::LibrariesWithoutFiles, FILES),
    ban("std::fs;", View::Code, Scope::LibrariesWithoutFiles, FILES),
    ban("File::open", View::Code, Scope::LibrariesWithoutFiles, FILES),
    ban(
        "serde_json",
        View::Code,
        Scope::LibrariesWithoutCheckpoint,
        "JSON is for files (ergon-checkpoint) and `--json` (the binary)",
    ),
    ban("anyhow", View::Code, Scope::Libraries, "return an error type with fields; anyhow is for the binary"),
    ban("FIXME", View::Comments, Scope::Everywhere, ISSUE),
    ban("XXX", View::Comments, Scope::Everywhere, ISSUE),
    ban("TODO", View::Comments, Scope::Everywhere, ISSUE),
];

/// Every banned word, and every Cargo feature tested for in code.
pub(crate) fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<_> =
        sources.iter().flat_map(|source| BANS.iter().flat_map(|ban| uses(source, ban))).collect();
    findings.extend(sources.iter().flat_map(feature_switches));
    findings.extend(
        tree.texts().filter(|(path, _)| path.ends_with(".py")).flat_map(|(path, text)| python(path, text)),
    );
    findings
}

fn uses<'a>(source: &'a Source, ban: &'a Ban) -> impl Iterator<Item = Finding> + 'a {
    let text = if ban.view == View::Code { &source.code } else { &source.comments };
    let skip_tests = ban.scope != Scope::Everywhere;
    let in_scope = ban.scope.covers(source);
    let lines = words(text, ban.word).filter(move |_| in_scope).map(|at| line_of(text, at));
    let kept = lines.filter(move |line| !(skip_tests && source.is_test_line(*line)));
    kept.map(|line| Finding::new(&source.path, line, format!("`{}`", ban.word), ban.instead))
}

/// `feature = "…"` in a `cfg`; `target_feature` is another word and stays allowed.
fn feature_switches(source: &Source) -> Vec<Finding> {
    let is_switch = |at: &usize| source.code[at + "feature".len()..].trim_start().starts_with('=');
    let found = words(&source.code, "feature").filter(is_switch).map(|at| line_of(&source.code, at));
    let fix = "choose at run time, or make another crate";
    found.map(|line| Finding::new(&source.path, line, "code behind a Cargo feature", fix)).collect()
}

/// The same promise-words in the comments of scripts.
fn python(path: &str, text: &str) -> Vec<Finding> {
    let comments =
        text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, line.split_once('#')?.1)));
    let bans = || BANS.iter().filter(|ban| ban.view == View::Comments);
    let hit = |(line, comment): (usize, &str)| {
        let ban = bans().find(|ban| words(comment, ban.word).next().is_some())?;
        Some(Finding::new(path, line, format!("`{}`", ban.word), ban.instead))
    };
    comments.filter_map(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)]), &[Source::new(path, text)])
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    const LIBRARY: &str = "crates/ergon-model/src/a.rs";
    const BINARY: &str = "crates/ergon/src/a.rs";

    #[test]
    fn unfinished_work_is_found_everywhere() {
        for word in [
            "todo!()",
            "unimplemented!()",
            "dbg!(x)",
            "static mut X: u8 = 0;",
            "// FIXME",
            "// XXX",
            "/// TODO: y",
        ] {
            assert_eq!(lines(BINARY, &format!("\n{word}\n")), [2], "{word}");
            assert_eq!(lines("crates/ergon/tests/a.rs", word), [1], "{word}");
        }
        assert_eq!(lines(BINARY, "let s = \"todo!() FIXME\"; // todo!\n"), []);
    }

    #[test]
    fn libraries_neither_print_nor_read_the_environment() {
        for word in
            ["println!(\"\")", "eprint!(\"\")", "let a = std::env::var(\"A\");", "use std::env::var_os;"]
        {
            assert_eq!(lines(LIBRARY, word), [1], "{word}");
            assert_eq!(lines(BINARY, word), [], "{word}");
            let in_test = format!("#[cfg(test)]\nmod tests {{\n{word}\n}}\n");
            assert_eq!(lines(LIBRARY, &in_test), [], "{word}");
        }
        assert_eq!(lines("crates/ergon-checkpoint/src/hub/cache.rs", "env::var(\"HF_HOME\")"), []);
        assert_eq!(lines("crates/ergon-checkpoint/src/a.rs", "env::var(\"HF_HOME\")"), [1]);
    }

    #[test]
    fn files_are_opened_by_their_owners_only() {
        assert_eq!(lines(LIBRARY, "use std::fs;\nstd::fs::read(p);\nlet f = File::open(p);\n"), [2, 1, 3]);
        assert_eq!(lines("crates/ergon-checkpoint/src/a.rs", "let f = File::open(p);\n"), []);
        assert_eq!(lines("crates/ergon-train/src/a.rs", "use std::fs;\nstd::fs::read(p);\n"), []);
    }

    #[test]
    fn libraries_keep_json_and_untyped_errors_out() {
        assert_eq!(lines(LIBRARY, "use serde_json::Value;\nuse anyhow::Result;\n"), [1, 2]);
        assert_eq!(
            lines("crates/ergon-checkpoint/src/a.rs", "use serde_json::Value;\nuse anyhow::Result;\n"),
            [2]
        );
        assert_eq!(lines("crates/ergon-train/src/a.rs", "use serde_json::Value;\n"), [1]);
        assert_eq!(lines(BINARY, "use serde_json::Value;\nuse anyhow::Result;\n"), []);
    }

    #[test]
    fn cargo_features_are_found_and_cpu_features_are_not() {
        assert_eq!(lines(LIBRARY, "#[cfg(feature = \"fast\")]\nfn a() {}\n"), [1]);
        assert_eq!(
            lines(LIBRARY, "#[cfg(target_feature = \"avx2\")]\n#[target_feature(enable = \"avx2\")]\n"),
            []
        );
    }

    #[test]
    fn scripts_keep_no_promises_either() {
        assert_eq!(lines("vectors/make.py", "x = 1\n# FIXME later\n"), [2]);
    }
}
