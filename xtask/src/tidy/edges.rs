//! Which crate may import which: the table of ARCHITECTURE.md as data. A crate is a wall only while nothing climbs it.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

/// Each crate and the crates of ours that it may import, tests included.
const EDGES: [(&str, &[&str]); 11] = [
    ("ergon-types", &[]),
    ("ergon-kernels", &["ergon-types"]),
    ("ergon-checkpoint", &["ergon-types"]),
    ("ergon-model", &["ergon-types", "ergon-kernels", "ergon-checkpoint"]),
    ("ergon-engine", &["ergon-types", "ergon-kernels", "ergon-checkpoint", "ergon-model"]),
    ("ergon-gate", &["ergon-types"]),
    ("ergon-world", &["ergon-types"]),
    ("ergon-agent", &["ergon-types", "ergon-gate"]),
    (
        "ergon-train",
        &["ergon-types", "ergon-kernels", "ergon-checkpoint", "ergon-model", "ergon-engine", "ergon-world"],
    ),
    (
        "ergon",
        &[
            "ergon-types",
            "ergon-kernels",
            "ergon-checkpoint",
            "ergon-model",
            "ergon-engine",
            "ergon-gate",
            "ergon-world",
            "ergon-train",
            "ergon-agent",
        ],
    ),
    ("xtask", &[]),
];

/// Where the table lies, for messages.
const TABLE: &str = "xtask/src/tidy/edges.rs";
const MAP: &str = "ARCHITECTURE.md";

/// Checks every manifest and the table in ARCHITECTURE.md against the table above.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let table: Vec<Row> = EDGES.iter().map(|(name, allowed)| Row { name, allowed }).collect();
    check_table(tree, &table)
}

struct Row<'a> {
    name: &'a str,
    allowed: &'a [&'a str],
}

fn check_table(tree: &Tree, table: &[Row]) -> Vec<Finding> {
    let manifests: Vec<Manifest> = tree.texts().filter_map(|(path, text)| manifest(path, text)).collect();
    let mut findings: Vec<_> = manifests.iter().flat_map(|m| check_manifest(m, table)).collect();
    for name in
        table.iter().flat_map(|row| row.allowed.iter().copied().chain([row.name])).collect::<BTreeSet<_>>()
    {
        if !manifests.iter().any(|manifest| manifest.name == name) {
            let what = format!("the import table names {name}, which is not in the workspace");
            findings.push(Finding::new(TABLE, 1, what, "take it out, or add the crate when it has content"));
        }
    }
    if let Some(text) = tree.text(MAP) {
        findings.extend(table.iter().filter_map(|row| check_map_row(text, row)));
    }
    findings
}

/// The `Cargo.toml` of one crate of the workspace.
struct Manifest<'a> {
    path: &'a str,
    name: &'a str,
    /// Crates of ours it depends on, with the line.
    imports: Vec<(usize, &'a str)>,
    /// Line of a `[features]` table.
    features: Option<usize>,
}

/// Reads `crates/<name>/Cargo.toml` or `xtask/Cargo.toml` line by line: our manifests are flat, one key a line.
fn manifest<'a>(path: &'a str, text: &'a str) -> Option<Manifest<'a>> {
    let name = path.strip_suffix("/Cargo.toml")?;
    let name = name.strip_prefix("crates/").or((name == "xtask").then_some(name))?;
    let (mut section, mut imports, mut features) = ("", Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            section = header.trim_end_matches(']');
            features = features.or((section == "features").then_some(index + 1));
            // `[dependencies.name]`
            imports.extend(section.rsplit_once("dependencies.").map(|(_, name)| (index + 1, name)));
        } else if section.ends_with("dependencies") {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            imports.push((index + 1, key));
        }
    }
    imports.retain(|(_, import)| *import == "ergon" || import.starts_with("ergon-"));
    Some(Manifest { path, name, imports, features })
}

fn check_manifest(manifest: &Manifest, table: &[Row]) -> Vec<Finding> {
    let Some(row) = table.iter().find(|row| row.name == manifest.name) else {
        let what = format!("crate {} is not in the import table", manifest.name);
        return vec![Finding::new(manifest.path, 1, what, format!("add it to {TABLE} and {MAP}"))];
    };
    let forbidden = manifest.imports.iter().filter(|(_, import)| !row.allowed.contains(import));
    let mut findings: Vec<_> = forbidden
        .map(|(line, import)| {
            let what = format!("{} may not import {import}", manifest.name);
            Finding::new(
                manifest.path,
                *line,
                what,
                format!("move the code, or change {TABLE} and {MAP} with a reason"),
            )
        })
        .collect();
    if let Some(line) = manifest.features {
        let fix = "choose at run time, or make another crate";
        findings.push(Finding::new(manifest.path, line, "a Cargo feature of our own", fix));
    }
    findings
}

/// The row `| `name` | … | imports |` of ARCHITECTURE.md must say what the table says, without the `ergon-` prefix.
fn check_map_row(text: &str, row: &Row) -> Option<Finding> {
    let start = format!("| `{}` |", row.name);
    let Some((index, line)) = text.lines().enumerate().find(|(_, line)| line.starts_with(&start)) else {
        let what = format!("the crate table has no row for {}", row.name);
        return Some(Finding::new(MAP, 1, what, format!("add a row that begins with {start}")));
    };
    let cell = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    let said: BTreeSet<&str> =
        cell.split([',', ' ']).filter(|name| !name.is_empty() && *name != "-").collect();
    let meant: BTreeSet<&str> = row.allowed.iter().map(|name| name.trim_start_matches("ergon-")).collect();
    (said != meant).then(|| {
        let meant: Vec<&str> = meant.into_iter().collect();
        let fix = format!(
            "make the last cell `{}`",
            if meant.is_empty() { "-".to_owned() } else { meant.join(", ") }
        );
        Finding::new(MAP, index + 1, format!("the imports of {} differ from {TABLE}", row.name), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: (&str, &str) = ("crates/ergon-types/Cargo.toml", "[package]\n[dependencies]\n");

    fn check(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let table = [
            Row { name: "ergon-types", allowed: &[] },
            Row { name: "ergon-kernels", allowed: &["ergon-types"] },
        ];
        let findings = check_table(&Tree::of(files), &table);
        findings.into_iter().map(|finding| (finding.path, finding.line)).collect()
    }

    fn kernels(dependencies: &'static str) -> (&'static str, &'static str) {
        ("crates/ergon-kernels/Cargo.toml", dependencies)
    }

    #[test]
    fn an_allowed_edge_passes() {
        assert_eq!(
            check(&[TYPES, kernels("[dependencies]\nergon-types.workspace = true\nthiserror = \"2\"\n")]),
            []
        );
    }

    #[test]
    fn a_forbidden_edge_is_found_in_every_kind_of_table() {
        let at = |line| vec![("crates/ergon-kernels/Cargo.toml".to_owned(), line)];
        assert_eq!(check(&[TYPES, kernels("[dependencies]\nergon-model = { path = \"x\" }\n")]), at(2));
        assert_eq!(check(&[TYPES, kernels("[dev-dependencies]\n\nergon-model.workspace = true\n")]), at(3));
        assert_eq!(check(&[TYPES, kernels("[target.'cfg(unix)'.dependencies]\nergon = \"1\"\n")]), at(2));
        assert_eq!(check(&[TYPES, kernels("[dependencies.ergon-model]\npath = \"x\"\n")]), at(1));
    }

    #[test]
    fn unknown_and_missing_crates_are_found() {
        assert_eq!(check(&[TYPES]), [(TABLE.to_owned(), 1)]);
        let new = ("crates/ergon-new/Cargo.toml", "");
        assert_eq!(check(&[TYPES, kernels(""), new]), [(new.0.to_owned(), 1)]);
    }

    #[test]
    fn features_of_our_own_are_found() {
        assert_eq!(check(&[TYPES, kernels("[features]\nfast = []\n")])[0].1, 1);
    }

    #[test]
    fn the_map_must_agree() {
        let row = "| `ergon-types` | nouns | - |\n";
        let map = |kernels: &str| format!("{row}| `ergon-kernels` | maths | {kernels} |\n");
        let files = |text: &str| check(&[TYPES, kernels(""), (MAP, text)]);
        assert_eq!(files(&map("types")), []);
        assert_eq!(files(&map("types, model")), [(MAP.to_owned(), 2)]);
        assert_eq!(files(row), [(MAP.to_owned(), 1)]);
    }
}
