//! Rows of a JSONL file: statements or questions with names, and where to look for each.

use std::{collections::HashMap, fs::File, io::Read, path::Path};

use anyhow::{Context, bail, ensure};
use ergon_agent::documents::Library;
use serde_json::Value;

/// The largest file of rows.
const MAX_BYTES: u64 = 256 << 20;
/// The longest statement or question: of what is longer, the check reads the beginning only.
const MAX_TEXT_BYTES: usize = ergon_agent::text::LONGEST;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) files: Option<Vec<String>>,
}

/// Reads all rows; the first bad one is an error with file and line. `name` is the key of the text.
pub(crate) fn read_rows(path: &Path, name: &str, docs: &Path, library: &Library) -> anyhow::Result<Vec<Row>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(cannot)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "{} is over {} MiB; split it", path.display(), MAX_BYTES >> 20);
    let mut rows = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| index == 0).unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = || format!("{} line {}", path.display(), index + 1);
        let row = row(line, name, index + 1, docs, library).with_context(place)?;
        if let Some(before) = lines.insert(row.id.clone(), index + 1) {
            bail!("{}: the id '{}' was used in line {before} already", place(), row.id);
        }
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "{} holds no row; one is {{\"id\": \"1\", \"{name}\": \"…\"}}", path.display());
    Ok(rows)
}

fn row(line: &[u8], name: &str, number: usize, docs: &Path, library: &Library) -> anyhow::Result<Row> {
    let value: Value = serde_json::from_slice(line).context("no JSON object")?;
    let Value::Object(entries) = value else { bail!("no JSON object, but {}", kind(&value)) };
    let id = match entries.get("id") {
        None | Some(Value::Null) => number.to_string(),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(other) => bail!("\"id\" must be a text or a number, and is {}", kind(other)),
    };
    let text = match entries.get(name) {
        Some(Value::String(text)) => checked_text(text, name)?,
        Some(other) => bail!("\"{name}\" must be a text, and is {}", kind(other)),
        None => bail!("\"{name}\" is missing"),
    };
    let files = match entries.get("docs") {
        None | Some(Value::Null) => None,
        Some(Value::Array(files)) => Some(
            files
                .iter()
                .map(|file| match file {
                    Value::String(file) => named(file, docs, library),
                    other => bail!("\"docs\" must hold names of files, and holds {}", kind(other)),
                })
                .collect::<anyhow::Result<Vec<_>>>()?,
        ),
        Some(other) => bail!("\"docs\" must be a list of names of files, and is {}", kind(other)),
    };
    Ok(Row { id, text, files })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A statement or question that says something and is not too long.
pub(crate) fn checked_text(text: &str, name: &str) -> anyhow::Result<String> {
    ensure!(text.chars().any(char::is_alphanumeric), "the {name} is empty");
    ensure!(
        text.len() <= MAX_TEXT_BYTES,
        "the {name} has {} bytes, and at most {MAX_TEXT_BYTES} are read; split it into single statements",
        text.len()
    );
    Ok(text.trim().to_string())
}

/// The name of a document as the index knows it; names that begin with the folder are taken too.
fn named(file: &str, docs: &Path, library: &Library) -> anyhow::Result<String> {
    let plain = file.trim_start_matches("./").replace('\\', "/");
    let inside = Path::new(file).strip_prefix(docs).ok().map(|path| path.to_string_lossy().into_owned());
    for name in [Some(plain.clone()), inside].into_iter().flatten() {
        if library.document(&name).is_ok() {
            return Ok(name);
        }
    }
    // A file that was skipped is told as such; the row is no worse for naming it.
    if library.skipped().iter().any(|skipped| skipped.file == plain) {
        return Ok(plain);
    }
    library.document(&plain)?;
    Ok(plain)
}
