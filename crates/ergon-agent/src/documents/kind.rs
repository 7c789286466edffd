//! How a file is read, told from its name.

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain text, and whatever is text and has no other name here.
    Text,
    /// Markdown: headings, lists, tables and fenced code end a sentence.
    Markdown,
    /// HTML: its text without markup.
    Html,
    /// PDF: its text layer.
    Pdf,
    /// Rows of values: one row is one sentence.
    Table,
    /// Source code: a comment is prose, any other line is one sentence.
    Code,
}

/// Endings of source code.
const CODE: [&str; 45] = [
    "rs", "py", "c", "h", "cc", "cpp", "hpp", "cxx", "java", "kt", "go", "js", "mjs", "ts", "tsx", "jsx",
    "rb", "php", "cs", "swift", "scala", "sh", "bash", "zsh", "ps1", "sql", "lua", "pl", "r", "jl", "m",
    "hs", "ml", "ex", "erl", "clj", "dart", "zig", "toml", "yaml", "yml", "ini", "cfg", "proto", "css",
];

impl Kind {
    /// The kind that a file's name says; `Text` for names that say nothing.
    pub fn of(file: &str) -> Kind {
        let ending = file.rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase());
        match ending.as_str() {
            "md" | "markdown" | "mdx" => Kind::Markdown,
            "html" | "htm" | "xhtml" => Kind::Html,
            "pdf" => Kind::Pdf,
            "csv" | "tsv" => Kind::Table,
            other if CODE.contains(&other) => Kind::Code,
            _ => Kind::Text,
        }
    }

    /// Whether the text is the file's own, so that offsets can be checked in any editor.
    pub fn keeps_text(self) -> bool {
        !matches!(self, Kind::Html | Kind::Pdf)
    }

    pub(super) fn code(self) -> u64 {
        match self {
            Kind::Text => 0,
            Kind::Markdown => 1,
            Kind::Html => 2,
            Kind::Pdf => 3,
            Kind::Table => 4,
            Kind::Code => 5,
        }
    }

    pub(super) fn from_code(code: u64) -> Option<Kind> {
        [Kind::Text, Kind::Markdown, Kind::Html, Kind::Pdf, Kind::Table, Kind::Code]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}
