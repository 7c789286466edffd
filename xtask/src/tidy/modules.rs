//! Dead files: a `.rs` file that no `mod` leads to is not compiled, so nothing tells when it rots.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::items::{self, ModuleFile};
use super::source::{Source, line_of};
use super::tree::Tree;

/// Finds unreachable files, and marks files that only test code reaches (`#[cfg(test)] mod tests;`) as tests.
pub(crate) fn check(tree: &Tree, sources: &mut [Source]) -> Vec<Finding> {
    let places: BTreeMap<String, usize> =
        sources.iter().enumerate().map(|(i, s)| (s.path.clone(), i)).collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<String> = places.keys().filter(|path| is_root(path)).cloned().collect();
    while let Some(path) = open.pop() {
        let Some(&index) = places.get(&path).filter(|_| seen.insert(path.clone())) else { continue };
        for (child, is_test) in children(tree, &sources[index]) {
            if let Some(&child_index) = places.get(&child) {
                sources[child_index].is_test |= is_test;
                open.push(child);
            }
        }
    }
    let dead = places.keys().filter(|path| !seen.contains(*path));
    dead.map(|path| Finding::new(path, 1, "no `mod` leads to this file", "declare it or delete it")).collect()
}

/// Files that cargo itself starts from.
fn is_root(path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (above, folder_name) = folder.rsplit_once('/').unwrap_or(("", folder));
    let above_name = above.rsplit('/').next().unwrap_or("");
    let targets = ["tests", "benches", "examples", "fuzz_targets"];
    match (folder_name, file) {
        ("src", "lib.rs" | "main.rs") | (_, "build.rs") => true,
        (name, _) if targets.contains(&name) => true,
        ("bin", _) => above_name == "src",
        (_, "main.rs") => targets.contains(&above_name) || above_name == "bin",
        _ => false,
    }
}

/// Files that `source` declares with `mod` or pulls in with `include!`, and whether only tests do.
fn children(tree: &Tree, source: &Source) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for module in items::module_files(&source.code) {
        let is_test = source.is_test_line(line_of(&source.code, module.offset));
        let candidates = candidates(source, &module);
        found.extend(candidates.into_iter().filter(|path| tree.has(path)).map(|path| (path, is_test)));
    }
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for (at, _) in source.code.match_indices("include!(") {
        let name = source.text[at..].split('"').nth(1).unwrap_or_default();
        found.push((normal(&format!("{folder}/{name}")), source.is_test));
    }
    found
}

/// Where the file of `mod name;` may lie.
fn candidates(source: &Source, module: &ModuleFile) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    if let Some(path) = path_attribute(source, module.offset) {
        return vec![normal(&format!("{folder}/{path}"))];
    }
    let own = file.trim_end_matches(".rs");
    let is_folder_owner = is_root(&source.path) || own == "mod";
    let mut base = if is_folder_owner { folder.to_owned() } else { format!("{folder}/{own}") };
    for outer in &module.inside {
        base = format!("{base}/{outer}");
    }
    let name = &module.name;
    vec![format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]
}

/// The value of `#[path = "…"]` directly before the module at `offset`.
fn path_attribute(source: &Source, offset: usize) -> Option<&str> {
    let before = source.code[..offset].rfind([';', '}', '{']).map_or(0, |at| at + 1);
    let attribute = source.code[before..offset].find("#[path")?;
    source.text[before + attribute..offset].split('"').nth(1)
}

/// `a/b/../c` as `a/c`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    /// Paths of dead files, and of files that count as test.
    fn dead_and_tests(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let tree = Tree::of(files);
        let mut sources = source::all(&tree);
        let dead = check(&tree, &mut sources).into_iter().map(|finding| finding.path).collect();
        (dead, sources.into_iter().filter(|s| s.is_test).map(|s| s.path).collect())
    }

    #[test]
    fn a_file_without_a_declaration_is_dead() {
        let files = [
            ("a/src/lib.rs", "mod b;\n// mod d;\n"),
            ("a/src/b.rs", "mod c;"),
            ("a/src/b/c.rs", ""),
            ("a/src/d.rs", ""),
        ];
        assert_eq!(dead_and_tests(&files).0, ["a/src/d.rs"]);
    }

    #[test]
    fn cargo_targets_inline_modules_paths_and_includes_are_followed() {
        let files = [
            ("a/src/lib.rs", "mod x {\n    mod y;\n}\n#[path = \"odd/z.rs\"]\nmod z;\ninclude!(\"w.rs\");\n"),
            ("a/src/x/y.rs", ""),
            ("a/src/odd/z.rs", ""),
            ("a/src/w.rs", ""),
            ("a/tests/it.rs", "mod common;"),
            ("a/tests/common/mod.rs", ""),
            ("a/tests/big/main.rs", ""),
            ("fuzz/fuzz_targets/f.rs", ""),
        ];
        assert_eq!(dead_and_tests(&files).0, [""; 0]);
    }

    #[test]
    fn a_module_of_tests_is_a_test() {
        let files = [
            ("a/src/lib.rs", "#[cfg(test)]\nmod tests;\nmod b;\n"),
            ("a/src/tests.rs", ""),
            ("a/src/b.rs", ""),
        ];
        assert_eq!(dead_and_tests(&files), (vec![], vec!["a/src/tests.rs".to_owned()]));
    }

    #[test]
    fn paths_are_normalised() {
        assert_eq!(normal("a/b/../c/./d.rs"), "a/c/d.rs");
    }
}
