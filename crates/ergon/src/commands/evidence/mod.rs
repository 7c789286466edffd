//! What `verify` and `ask` share: opening the documents, reading rows, and telling claims to a person or a program.

mod html;
mod json;
mod report;
mod rows;
mod terminal;

use std::{
    env,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ergon_agent::documents::{DocumentsError, Library, LibraryOptions, Place, Progress, ReadLimits, Skipped};
use serde_json::Value;

use crate::{args::DocumentsArgs, failure::Interrupted, interrupt::Interrupt, output, progress};

pub(super) use html::Page;
pub(super) use json::{AlarmJson, CitationJson, SkippedJson, claim_json, verdict_name};
pub(super) use report::Report;
pub(super) use rows::{Row, checked_text, read_rows};
pub(super) use terminal::{Paint, Told};

/// Skipped files that are told on standard error; `--json` lists all.
const SKIPPED_TOLD: usize = 20;

/// The mark of our own output, by which it is known should it come to lie among documents.
pub(super) fn generated_by(verb: &str) -> String {
    format!("ergon {verb} {}", env!("CARGO_PKG_VERSION"))
}

/// Opens the folder of documents with progress on standard error, and tells what was skipped.
pub(super) fn open(
    args: &DocumentsArgs,
    rows: Option<&PathBuf>,
    interrupt: &Interrupt,
) -> anyhow::Result<Library> {
    let options = LibraryOptions {
        home: args.index.clone(),
        fallback: cache_folder(&args.docs),
        except: rows.into_iter().chain(&args.html).cloned().collect(),
        limits: ReadLimits::default(),
        sidecar: Some(sidecar),
        stop: interrupt.pending_shared(),
        now_ns: now_ns(),
    };
    let bar = progress::items("reading documents", 0);
    let mut in_the_way = None;
    let library = Library::open(&args.docs, &options, &mut |what| match what {
        Progress::Waiting => output::note("another ergon is indexing these documents; waiting for it"),
        Progress::Elsewhere { why } => in_the_way = in_the_way.take().or(Some(why)),
        Progress::Rebuilding { why } => output::note(&format!("the index is built again: {why}")),
        Progress::Reading { done, total } => {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    });
    bar.finish_and_clear();
    let library = library.map_err(interrupted)?;
    if let Some(why) = in_the_way {
        output::note(&match library.place() {
            Place::Folder(folder) => {
                format!(
                    "no index can be kept in the documents' folder ({why}); it is in {}",
                    folder.display()
                )
            }
            Place::Memory => format!(
                "no index can be kept in a folder ({why}), so it was built in memory and is gone after this run"
            ),
        });
    }
    tell_skipped(&library.skipped());
    Ok(library)
}

/// Tells which files were found changed during the work: what they held when it began was not used.
pub(super) fn tell_changed(library: &Library) {
    tell_skipped(&library.changed());
}

/// An interrupted search ends as every interrupted command does.
pub(super) fn interrupted(error: DocumentsError) -> anyhow::Error {
    match error {
        DocumentsError::Interrupted => Interrupted.into(),
        error => error.into(),
    }
}

fn tell_skipped(skipped: &[Skipped]) {
    for file in skipped.iter().take(SKIPPED_TOLD) {
        output::note(&format!("skipped {}: {}", file.file.replace('\n', " "), file.reason));
    }
    if skipped.len() > SKIPPED_TOLD {
        output::note(&format!("and {} more files; --json lists them all", skipped.len() - SKIPPED_TOLD));
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Where the index is kept if the documents' own folder is read-only: one folder per path, in the user's cache.
fn cache_folder(docs: &Path) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
    let real = docs.canonicalize().ok()?;
    let name: String = real
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
        .collect();
    // The end of a long path tells more than its beginning; the number keeps paths apart.
    let tail: String = name.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    let sum = real.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Some(cache.join("ergon").join("documents").join(format!("{sum:016x}-{tail}")))
}

/// Entries of `FILE.ergon.json`: an object; values that are no strings count by their JSON.
fn sidecar(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let Value::Object(entries) = serde_json::from_slice(bytes).ok()? else { return None };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(entries.into_iter().map(|(name, value)| (name, text(value))).collect())
}
