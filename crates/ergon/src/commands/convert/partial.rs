//! What is written goes under a name of its own beside OUT, `.OUT.partial-PID`, until it is complete. Whoever writes it
//! holds a lock on it, by which others tell it from what a run that was killed has left.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process,
};

use crate::{output, unfinished};

/// A name beside `target` that no other run uses.
pub(super) fn name(target: &Path) -> PathBuf {
    let mut name = prefix(target);
    name.push(process::id().to_string());
    target.with_file_name(name)
}

/// Marks an open file or folder as being written, as long as it stays open.
pub(super) fn lock(file: &File) {
    // On systems without such locks, nothing is taken for left behind either.
    let _ = file.try_lock();
}

/// Removes what runs that wrote to `target` and were killed have left: it may be as large as the model.
pub(super) fn remove_left_behind(target: &Path) {
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // A folder that cannot be listed is told of when it is written to.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let prefix = prefix(target);
    for entry in entries.flatten().filter(|entry| is_partial(&entry.file_name(), &prefix)) {
        let path = entry.path();
        let ours = entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir());
        if ours && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            unfinished::remove(&path);
            output::note(&format!("removed {}, which a run that was killed had left", path.display()));
        }
    }
}

/// Whether a name is the prefix and a number.
fn is_partial(name: &OsStr, prefix: &OsStr) -> bool {
    let number = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".partial-");
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [".out.partial-1", ".out.partial-2", ".out.partial-x", ".other.partial-1"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("weights"), "w").unwrap();
        }
        fs::write(path(".out.partial-3"), "w").unwrap();
        let held = File::open(path(".out.partial-2")).unwrap();
        lock(&held);
        remove_left_behind(&path("out"));
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".other.partial-1", ".out.partial-2", ".out.partial-x"]);
    }
}
