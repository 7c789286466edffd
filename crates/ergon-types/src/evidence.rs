//! Claims, the documents that speak about them, and what a check came to.

/// Who wrote a document, as far as it is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Nothing says that a model wrote it.
    #[default]
    Unmarked,
    /// Marked as written by a model: it may be shown, and is never evidence.
    Model,
}

/// A document, as a citation names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path relative to the folder of documents, with `/`.
    pub file: String,
    /// SHA-256 of the file's bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Date that the document itself states or its file bears, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Where the document says it comes from: an address, a publisher.
    pub origin: Option<String>,
    /// Who wrote it.
    pub author: Author,
}

/// A sentence of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Index of its document in the list of sources that goes with it.
    pub source: usize,
    /// First character of the sentence in the document's text, counted in Unicode code points.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// The characters between, unchanged.
    pub text: String,
}

/// A statement to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the claim in its list.
    pub id: String,
    /// The statement, one or more sentences.
    pub text: String,
}

/// What the documents say about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one source says so, and nothing speaks against it.
    Supported,
    /// Sources say otherwise.
    Refuted,
    /// Too little holds for either.
    NotEnough,
    /// Independent sources disagree.
    Contradicted,
}

/// A quotation with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// Document it is taken from.
    pub source: Source,
    /// First character of the quotation in the document's text, in Unicode code points.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// The characters between, unchanged.
    pub cited_text: String,
    /// Sources with the same number are copies of one another and count once.
    pub group: usize,
}
