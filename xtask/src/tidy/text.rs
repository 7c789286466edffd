//! White space and size of files: what makes diffs noisy and clones slow.

use super::Finding;
use super::tree::Tree;

/// A file larger than this belongs to a download, not into the history, unless it is a golden vector or a model.
const MAX_BLOB_BYTES: u64 = 4 << 20;
const BLOB_HOMES: [&str; 2] = ["vectors/", "models/"];

/// Trailing white space, tabs, a missing last line break, big blobs.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = tree.texts().flat_map(|(path, text)| white_space(path, text)).collect();
    findings.extend(tree.files.iter().filter_map(|(path, file)| blob(path, file.bytes)));
    findings
}

fn white_space(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::new(path, index + 1, "white space at the end of the line", "delete it"));
        } else if line.contains('\t') {
            findings.push(Finding::new(path, index + 1, "a tab", "use spaces (in a string: `\\t`)"));
        }
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        let last = text.lines().count();
        findings.push(Finding::new(
            path,
            last,
            "the file does not end with one line break",
            "end it with exactly one",
        ));
    }
    findings
}

fn blob(path: &str, bytes: u64) -> Option<Finding> {
    let is_home = BLOB_HOMES.iter().any(|home| path.starts_with(home));
    (bytes > MAX_BLOB_BYTES && !is_home).then(|| {
        let what = format!("a file of {bytes} bytes, {MAX_BLOB_BYTES} allowed");
        Finding::new(path, 1, what, "make it by a script, or shrink it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a.md", text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn white_space_is_found_on_its_line() {
        assert_eq!(lines("a\n  b\n"), []);
        assert_eq!(lines("a\nb \n\tc\nd\r\n"), [2, 3, 4]);
        assert_eq!(lines("a"), [1]);
        assert_eq!(lines("a\n\n"), [1 + 1]);
    }

    #[test]
    fn big_blobs_are_found_outside_their_homes() {
        assert_eq!(blob("docs/film.mp4", MAX_BLOB_BYTES), None);
        assert!(blob("docs/film.mp4", MAX_BLOB_BYTES + 1).is_some());
        assert_eq!(blob("vectors/v.safetensors", MAX_BLOB_BYTES + 1), None);
    }
}
