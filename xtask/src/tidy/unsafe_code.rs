//! `unsafe` lives where the compiler cannot do without it: the kernels, and the one file that maps a checkpoint.
//! The `unsafe_code` lint can be switched off anywhere by an attribute; this rule cannot.

use super::Finding;
use super::source::{Source, line_of, words};

/// The homes of unsafe code: a folder's path ends with a slash, a file's does not.
const HOMES: [&str; 2] = ["crates/ergon-kernels/", "crates/ergon-checkpoint/src/mapping.rs"];
/// How far above its block a `SAFETY` comment may begin: it may be an essay, and the statement may span lines.
const MAX_LINES_ABOVE: usize = 12;

/// Unsafe code outside its homes, and unsafe blocks and impls that do not say why they are sound.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    sources.iter().flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<Finding> {
    let is_home = HOMES
        .iter()
        .any(|home| source.path == *home || (home.ends_with('/') && source.path.starts_with(home)));
    let comments: Vec<&str> = source.comments.lines().collect();
    let judge = |offset| {
        let line = line_of(&source.code, offset);
        if !is_home {
            let fix = "write it in safe Rust, or put it into ergon-kernels behind a safe function";
            return Some(Finding::new(&source.path, line, "unsafe code outside its homes", fix));
        }
        let after = source.code[offset + "unsafe".len()..].trim_start();
        let needs_reason = after.starts_with('{') || after.starts_with("impl");
        (needs_reason && !has_reason(&comments, line)).then(|| {
            let fix =
                format!("say why it is sound in a `// SAFETY:` comment within {MAX_LINES_ABOVE} lines above");
            Finding::new(&source.path, line, "unsafe without a reason", fix)
        })
    };
    words(&source.code, "unsafe").filter_map(judge).collect()
}

/// Whether a comment on `line` (from 1) or shortly above it speaks of safety.
fn has_reason(comments: &[&str], line: usize) -> bool {
    let first = line.saturating_sub(MAX_LINES_ABOVE + 1);
    comments[first..line].iter().any(|comment| comment.contains("SAFETY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&[Source::new(path, text)]).into_iter().map(|finding| finding.line).collect()
    }

    const KERNEL: &str = "crates/ergon-kernels/src/a.rs";

    #[test]
    fn unsafe_outside_its_homes_is_found() {
        let text = "// SAFETY: sound.\nfn a() { unsafe { b() } }\n";
        assert_eq!(lines("crates/ergon-model/src/a.rs", text), [2]);
        assert_eq!(lines("crates/ergon-checkpoint/src/tensor.rs", text), [2]);
        assert_eq!(lines("crates/ergon-checkpoint/src/mapping.rs", text), []);
        assert_eq!(lines(KERNEL, text), []);
    }

    #[test]
    fn words_that_only_look_like_it_pass() {
        assert_eq!(
            lines("crates/ergon-model/src/a.rs", "#![deny(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";\n"),
            []
        );
    }

    #[test]
    fn a_block_without_a_reason_is_found() {
        assert_eq!(lines(KERNEL, "fn a() {\n    unsafe { b() }\n}\n"), [2]);
        assert_eq!(lines(KERNEL, "unsafe impl Send for A {}\n"), [1]);
        assert_eq!(lines(KERNEL, "// SAFETY: one owner.\nunsafe impl Send for A {}\n"), []);
        assert_eq!(
            lines(KERNEL, &format!("// SAFETY: far.\n{}unsafe {{ b() }}\n", "x();\n".repeat(12))),
            [14]
        );
        assert_eq!(lines(KERNEL, "/// # Safety\n/// `p` is valid.\nunsafe fn a(p: *const u8) {}\n"), []);
    }
}
