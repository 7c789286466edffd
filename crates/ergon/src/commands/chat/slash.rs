//! Commands typed into a conversation: lines that start with `/`.

/// What `/help` prints.
pub(super) const HELP: &str = "\
/help            this text
/clear           forget the conversation, keep the instructions
/system [TEXT]   show or replace the standing instructions (forgets the conversation)
/retry           answer the last question again
/think on|off    ask a reasoning model to think, or not to
/save FILE       write the conversation as JSON
/exit            leave (also Ctrl-D, or Ctrl-C twice)

Enter sends. A line ending in \\, Alt-Enter, or a block between two \"\"\" makes a message of several lines.
Ctrl-C stops an answer; what was said so far stays in the conversation.
";

/// Every command, for completion.
pub(super) const NAMES: [&str; 7] = ["/help", "/clear", "/system", "/retry", "/think", "/save", "/exit"];

/// A command of the person to the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slash {
    Help,
    Clear,
    /// `None` shows the instructions.
    System(Option<String>),
    Retry,
    Think(bool),
    Save(String),
    Exit,
    /// Nothing we know, or wrong words after it: what to tell the person.
    Wrong(String),
}

/// Reads a line as a command; `None` if it is a message to the model.
pub(super) fn parse(line: &str) -> Option<Slash> {
    let line = line.trim();
    // A path or a comment in a pasted message is no command: only a slash and letters are.
    let word = line.split_whitespace().next()?;
    let name = word.strip_prefix('/')?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let rest = line[word.len()..].trim();
    Some(match (name, rest) {
        ("help", _) => Slash::Help,
        ("clear", "") => Slash::Clear,
        ("system", "") => Slash::System(None),
        ("system", text) => Slash::System(Some(text.to_string())),
        ("retry", "") => Slash::Retry,
        ("think", "on") => Slash::Think(true),
        ("think", "off") => Slash::Think(false),
        ("think", _) => Slash::Wrong("write /think on or /think off".to_string()),
        ("save", "") => Slash::Wrong("write /save and a file name".to_string()),
        ("save", file) => Slash::Save(file.to_string()),
        ("exit" | "quit" | "bye", "") => Slash::Exit,
        _ => Slash::Wrong(format!("no such command: {line}; /help lists them")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(parse(" /exit "), Some(Slash::Exit));
        assert_eq!(parse("/system be brief"), Some(Slash::System(Some("be brief".to_string()))));
        assert_eq!(parse("/think off"), Some(Slash::Think(false)));
        assert_eq!(parse("/etc/passwd is a file"), None);
        assert_eq!(parse("what is 1/2"), None);
        assert_eq!(parse("// a comment"), None);
        assert!(matches!(parse("/nonsense"), Some(Slash::Wrong(_))));
        assert!(matches!(parse("/save"), Some(Slash::Wrong(_))));
    }
}
