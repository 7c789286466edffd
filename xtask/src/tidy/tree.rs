//! The files of the workspace as the rules see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Files longer than this are never read as text.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Endings of the files that are read as text.
const TEXT_ENDINGS: [&str; 8] = [".rs", ".toml", ".md", ".py", ".sh", ".yml", ".ci/run", ".gitignore"];

/// One file: its size, and its text when it is a text file of ours.
pub(crate) struct File {
    pub(crate) bytes: u64,
    pub(crate) text: Option<String>,
}

/// Every file of the workspace by its path from the root, with forward slashes.
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, File>,
}

impl Tree {
    /// Files that git tracks or would track: what is ignored (builds, downloads) is nobody's business here.
    pub(crate) fn from_git(root: &Path) -> Result<Tree> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("cannot start git to list the files: install git")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8: rename it")?;
        let mut files = BTreeMap::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            if let Some(file) = read(root, path)? {
                files.insert(path.to_owned(), file);
            }
        }
        Ok(Tree { files })
    }

    /// A tree made of literals, for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let file = |text: &str| File { bytes: text.len() as u64, text: Some(text.to_owned()) };
        Tree { files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect() }
    }

    /// The text of one file, if it is there and is text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// Paths and texts of all text files.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, file)| Some((path.as_str(), file.text.as_deref()?)))
    }

    /// Whether `path` is a file, or a folder that holds one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(found, _)| found.starts_with(&folder))
    }
}

/// `None` for a file that git still lists but that is gone from the disk.
fn read(root: &Path, path: &str) -> Result<Option<File>> {
    let Ok(metadata) = fs::symlink_metadata(root.join(path)) else { return Ok(None) };
    let bytes = metadata.len();
    let is_text =
        metadata.is_file() && bytes <= MAX_TEXT_BYTES && TEXT_ENDINGS.iter().any(|end| path.ends_with(end));
    let text = match is_text {
        true => Some(
            fs::read_to_string(root.join(path))
                .with_context(|| format!("cannot read {path} as UTF-8 text"))?,
        ),
        false => None,
    };
    Ok(Some(File { bytes, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_finds_files_and_folders() {
        let tree = Tree::of(&[("a/b/c.rs", ""), ("ab.rs", "")]);
        assert!(tree.has("a/b/c.rs") && tree.has("a/b") && tree.has("a/"));
        assert!(!tree.has("a/c") && !tree.has("b"));
    }
}
