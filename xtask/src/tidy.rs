//! `cargo xtask tidy`: rules of the house that neither the compiler nor clippy checks, read from the files as text.
//!
//! Each rule is a function from the tree (or its parsed sources) to findings; it holds no state and opens no file, so
//! that its tests run on a few lines of text. A rule exists because a review would otherwise have to remember it.

mod documents;
mod edges;
mod items;
mod modules;
mod sizes;
mod source;
mod text;
mod tree;
mod unsafe_code;
mod words;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use tree::Tree;

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1; 1 also stands for the file as a whole.
    line: usize,
    what: String,
    fix: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}; {}", self.path, self.line, self.what, self.fix)
    }
}

/// Checks every rule on the tree under `root`, prints findings and the size figures; failure when a rule is broken.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let tree = Tree::from_git(root)?;
    let (findings, figures) = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {figures}");
    println!("tidy: {} findings", findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All rules over one tree; findings sorted by place.
fn check(tree: &Tree) -> (Vec<Finding>, sizes::Figures) {
    let mut sources = source::all(tree);
    let mut findings = modules::check(tree, &mut sources);
    let figures = sizes::figures(&sources);
    findings.extend(sizes::check(&sources, &figures));
    findings.extend(edges::check(tree));
    findings.extend(unsafe_code::check(&sources));
    findings.extend(words::check(tree, &sources));
    findings.extend(text::check(tree));
    findings.extend(documents::check(tree));
    findings.sort();
    (findings, figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest tree that keeps every rule; each rule's own tests then break one thing.
    #[test]
    fn a_clean_tree_has_no_findings() {
        let tree =
            Tree::of(&[("crates/ergon-types/src/lib.rs", "//! Nouns.\n\nfn one() -> u8 {\n    1\n}\n")]);
        let mut sources = source::all(&tree);
        let mut findings = modules::check(&tree, &mut sources);
        findings.extend(sizes::check(&sources, &sizes::figures(&sources)));
        findings.extend(unsafe_code::check(&sources));
        findings.extend(words::check(&tree, &sources));
        findings.extend(text::check(&tree));
        assert_eq!(findings, []);
    }

    #[test]
    fn a_finding_names_place_fault_and_remedy() {
        let finding = Finding::new("a/b.rs", 7, "tab", "use spaces");
        assert_eq!(finding.to_string(), "a/b.rs:7: tab; use spaces");
    }

    #[test]
    fn findings_come_sorted_by_place() {
        let tree = Tree::of(&[("b.md", "x \n"), ("a.md", "x\n\ty \n")]);
        let (findings, _) = check(&tree);
        let places: Vec<_> =
            findings.iter().filter(|f| f.path.ends_with(".md")).map(|f| (&*f.path, f.line)).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
}
