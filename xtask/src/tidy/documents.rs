//! The documents a newcomer reads first must not drift: the two READMEs from each other, any of them from the tree.

use std::path::Path;

use super::Finding;
use super::source::words;
use super::tree::Tree;

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";
const MAP: &str = "ARCHITECTURE.md";
/// A map that takes longer to read than this is not read.
const MAX_MAP_LINES: usize = 350;
/// Where the binary lists its verbs as `Command::Verb(`.
const VERBS: &str = "crates/ergon/src/main.rs";
/// What a path of ours in backticks begins with.
const PATH_STARTS: [&str; 7] = ["crates/", "xtask/", "vectors/", "docs/", "fuzz/", "models/", ".ci/"];

/// All rules about documents.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = twins(tree).into_iter().collect();
    findings.extend([ENGLISH, CHINESE].iter().flat_map(|readme| verbs(tree, readme)));
    let documents = || tree.texts().filter(|(path, _)| path.ends_with(".md"));
    // The changelog speaks of the past: its paths may be gone.
    findings.extend(
        documents()
            .filter(|(path, _)| *path != "CHANGELOG.md")
            .flat_map(|(path, text)| paths(tree, path, text)),
    );
    findings.extend(documents().flat_map(|(path, text)| links(tree, path, text)));
    if let Some(lines) =
        tree.text(MAP).map(|text| text.lines().count()).filter(|lines| *lines > MAX_MAP_LINES)
    {
        let what = format!("{lines} lines, {MAX_MAP_LINES} allowed");
        findings.push(Finding::new(
            MAP,
            MAX_MAP_LINES + 1,
            what,
            "move detail to docs/ or to the code it is about",
        ));
    }
    findings
}

/// One piece of a document that must be equal in its translation.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A heading's level.
    Heading(usize),
    /// A line of a fenced block, fences included.
    Code(String),
    /// The number of cells of a table's row, and the numbers in it.
    Row(usize, Vec<String>),
}

/// The pieces of a document with their lines (from 1).
fn skeleton(text: &str) -> Vec<(usize, Piece)> {
    let mut pieces = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || in_block {
            pieces.push((index + 1, Piece::Code(line.to_owned())));
        } else if line.starts_with('#') {
            pieces.push((index + 1, Piece::Heading(line.bytes().take_while(|b| *b == b'#').count())));
        } else if line.starts_with('|') {
            pieces.push((index + 1, Piece::Row(line.matches('|').count(), numbers(line))));
        }
        in_block ^= is_fence;
    }
    pieces
}

/// Runs of digits (with points inside) in a line, sorted: languages differ in the order of words.
fn numbers(line: &str) -> Vec<String> {
    let runs = line.split(|c: char| !c.is_ascii_digit() && c != '.').map(|run| run.trim_matches('.'));
    let mut numbers: Vec<_> = runs.filter(|run| !run.is_empty()).map(str::to_owned).collect();
    numbers.sort();
    numbers
}

/// The first place at which the two READMEs differ in headings, code blocks or tables.
fn twins(tree: &Tree) -> Option<Finding> {
    let (english, chinese) = (tree.text(ENGLISH)?, tree.text(CHINESE).unwrap_or_default());
    let (left, right) = (skeleton(english), skeleton(chinese));
    let same = left.iter().zip(&right).take_while(|((_, a), (_, b))| a == b).count();
    let show = |piece: Option<&(usize, Piece)>| match piece {
        Some((line, Piece::Heading(level))) => format!("a heading of level {level} (line {line})"),
        Some((line, Piece::Code(code))) => format!("the code `{code}` (line {line})"),
        Some((line, Piece::Row(cells, numbers))) => {
            format!("a row of {} cells with the numbers {numbers:?} (line {line})", cells - 1)
        }
        None => "its end".to_owned(),
    };
    (same < left.len().max(right.len())).then(|| {
        let line = right.get(same).map_or(chinese.lines().count().max(1), |(line, _)| *line);
        let what = format!("here is {}, in {ENGLISH} {}", show(right.get(same)), show(left.get(same)));
        Finding::new(CHINESE, line, what, "keep headings, code blocks and tables equal in both")
    })
}

/// Verbs of the binary that a README does not show.
fn verbs(tree: &Tree, readme: &str) -> Vec<Finding> {
    let (Some(text), Some(main)) = (tree.text(readme), tree.text(VERBS)) else { return Vec::new() };
    let mut findings = Vec::new();
    for (at, start) in main.match_indices("Command::") {
        let name = main[at + start.len()..].split('(').next().unwrap_or_default();
        let verb = name.to_ascii_lowercase();
        let is_shown = || {
            words(text, &format!("ergon {verb}")).chain(words(text, &format!("-- {verb}"))).next().is_some()
        };
        if !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_lowercase()) && !is_shown() {
            let what = format!("the command `ergon {verb}` is not mentioned");
            findings.push(Finding::new(readme, 1, what, "say in one line what it does"));
        }
    }
    findings
}

/// Paths of ours in backticks that lead nowhere. `<name>`, `…` and `*` mark a pattern, which is not looked up.
fn paths(tree: &Tree, document: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let path = quoted.trim_end_matches('/');
            let is_path = PATH_STARTS.iter().any(|start| path.starts_with(start));
            let is_pattern = path.contains(['<', '*', '…', '{', ' ']);
            if is_path && !is_pattern && !tree.has(path) && !is_ignored(tree, path) {
                findings.push(gone(document, index + 1, path));
            }
        }
    }
    findings
}

/// Whether a `.gitignore` names `path`: what a build or a run makes may be spoken of. Anchored lines only.
fn is_ignored(tree: &Tree, path: &str) -> bool {
    let lists = tree.texts().filter_map(|(file, text)| Some((file.strip_suffix(".gitignore")?, text)));
    lists.flat_map(|(folder, text)| text.lines().map(move |line| (folder, line))).any(|(folder, line)| {
        line.strip_prefix('/').is_some_and(|rest| Path::new(path).starts_with(format!("{folder}{rest}")))
    })
}

/// Relative links that lead nowhere.
fn links(tree: &Tree, document: &str, text: &str) -> Vec<Finding> {
    let folder = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let is_relative = !target.is_empty() && !target.contains(':') && !target.starts_with('/');
            if is_relative && !tree.has(&resolve(&folder, target)) {
                findings.push(gone(document, index + 1, target));
            }
        }
    }
    findings
}

/// `folder` (with its slash, or empty) joined with a link that may begin with `./` or `../`.
fn resolve(folder: &str, target: &str) -> String {
    match (target.strip_prefix("../"), target.strip_prefix("./")) {
        (Some(rest), _) => {
            let above = folder
                .trim_end_matches('/')
                .rsplit_once('/')
                .map_or(String::new(), |(above, _)| format!("{above}/"));
            resolve(&above, rest)
        }
        (None, Some(rest)) => resolve(folder, rest),
        (None, None) => format!("{folder}{target}"),
    }
}

fn gone(document: &str, line: usize, path: &str) -> Finding {
    Finding::new(document, line, format!("{path} does not exist"), "name the file as it is called now")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        check(&Tree::of(files)).into_iter().map(|finding| (finding.path, finding.line)).collect()
    }

    fn twins_line(english: &str, chinese: &str) -> Option<usize> {
        twins(&Tree::of(&[(ENGLISH, english), (CHINESE, chinese)])).map(|finding| finding.line)
    }

    #[test]
    fn twins_share_headings_code_and_tables() {
        let text = "# a\n\ntext\n## b\n```sh\ncargo test\n```\n| x | 7.5 |\n";
        assert_eq!(
            twins_line(text, &text.replace("text", "文").replace("# a", "# 甲").replace('x', "乙")),
            None
        );
        assert_eq!(twins_line(text, &text.replace("## b", "### b")), Some(4));
        assert_eq!(twins_line(text, &text.replace("cargo test", "cargo build")), Some(6));
        assert_eq!(twins_line(text, &text.replace("7.5", "7.6")), Some(8));
        assert_eq!(twins_line(text, "# a\n"), Some(1));
        assert_eq!(lines(&[(ENGLISH, text)]), [(CHINESE.to_owned(), 1)]);
    }

    #[test]
    fn every_verb_is_mentioned_in_both() {
        let main = (VERBS, "match c { Command::Score(a) => a, Command::Chat(a) => a }");
        let both = "`ergon score` `cargo run -- chat`\n";
        assert_eq!(lines(&[main, (ENGLISH, both), (CHINESE, both)]), []);
        let one = "`ergon scores` `ergon chat`\n";
        assert_eq!(lines(&[main, (ENGLISH, both), (CHINESE, one)]), [(CHINESE.to_owned(), 1)]);
    }

    #[test]
    fn paths_and_links_must_lead_somewhere() {
        let file = ("crates/a/src/b.rs", "");
        let text = "`crates/a/src/b.rs` `crates/a/` `crates/<name>/c.rs` [b](crates/a/src/b.rs) [w](https://x.y/z)\n";
        assert_eq!(lines(&[file, (MAP, text)]), []);
        assert_eq!(lines(&[file, (MAP, "x\n`crates/a/src/c.rs`\n")]), [(MAP.to_owned(), 2)]);
        assert_eq!(lines(&[file, (MAP, "[c](docs/c.md)\n")]), [(MAP.to_owned(), 1)]);
        assert_eq!(
            lines(&[file, ("docs/d.md", "[b](../crates/a/src/b.rs) [a](../ARCHITECTURE.md)\n"), (MAP, "")]),
            []
        );
        let ignore = ("fuzz/.gitignore", "/corpus\n");
        assert_eq!(lines(&[ignore, (MAP, "`fuzz/corpus/a`\n`fuzz/corpora`\n")]), [(MAP.to_owned(), 2)]);
        assert_eq!(lines(&[file, ("CHANGELOG.md", "`crates/gone.rs`\n")]), []);
    }

    #[test]
    fn the_map_stays_short() {
        let long = MAX_MAP_LINES + 1;
        assert_eq!(lines(&[(MAP, &"x\n".repeat(long))]), [(MAP.to_owned(), long)]);
        assert_eq!(lines(&[(MAP, &"x\n".repeat(MAX_MAP_LINES))]), []);
    }
}
