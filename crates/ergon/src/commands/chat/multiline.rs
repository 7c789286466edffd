//! Messages of several lines: a line that ends in a backslash goes on, and so does everything between two `"""`.

const FENCE: &str = "\"\"\"";

/// Whether what was typed so far still goes on in the next line.
pub(super) fn goes_on(typed: &str) -> bool {
    let fences = typed.matches(FENCE).count();
    if fences % 2 == 1 {
        return true;
    }
    fences == 0 && typed.ends_with('\\')
}

/// The message that was meant: fences and continuation backslashes removed.
pub(super) fn message(typed: &str) -> String {
    if typed.contains(FENCE) {
        return typed.replace(FENCE, "").trim().to_string();
    }
    typed.replace("\\\n", "\n").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_continues_a_line() {
        assert!(goes_on("one\\"));
        assert!(!goes_on("one\\\ntwo"));
        assert_eq!(message("one\\\ntwo\n"), "one\ntwo");
    }

    #[test]
    fn fences_hold_a_block_together() {
        assert!(goes_on("\"\"\"a"));
        assert!(goes_on("\"\"\"a\\\nb\\"));
        assert!(!goes_on("\"\"\"\na\\\n\"\"\""));
        assert_eq!(message("\"\"\"\na\\\nb\n\"\"\""), "a\\\nb");
    }
}
