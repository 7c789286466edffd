//! A folder of documents: read, cut into sentences with exact places, and indexed so that claims find them.
//!
//! Everything in a document is untrusted text. Nothing in it is followed, run or fetched, and whatever cannot be read is
//! listed with a reason and left out.

mod decode;
mod error;
mod html;
mod index;
mod instructions;
mod kind;
mod marks;
mod passages;
mod pdf;
mod read;
mod sentences;
mod terms;
mod walk;

use ergon_types::Source;

pub use error::DocumentsError;
pub use index::{Found, Library, LibraryOptions, Place, Progress, Size, Updated};
pub use instructions::instructs;
pub use kind::Kind;
pub use marks::{Marks, MarksReader};
pub use passages::{Filter, Retrieved, retrieve};
pub use sentences::{Cut, cut};
pub use terms::words;

/// Name of the thread that reads documents in formats whose parsers may panic on hostile files. Such a panic is caught and
/// becomes a [`Skipped`]; a panic hook may stay quiet for this thread.
pub const READER_THREAD: &str = "ergon-document-reader";

/// A document as it was read: its text and where its sentences lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What a citation names.
    pub source: Source,
    /// How it was read.
    pub kind: Kind,
    /// Its title, or nothing.
    pub title: String,
    /// Its text; character offsets count the code points of this.
    pub text: String,
    /// Its sentences, in order.
    pub sentences: Vec<Cut>,
}

impl Document {
    /// The characters of a sentence, unchanged.
    pub fn sentence(&self, index: usize) -> &str {
        self.sentences.get(index).and_then(|cut| self.text.get(cut.start..cut.end)).unwrap_or("")
    }

    /// Line (from 1) on which the character at `start_char` stands.
    pub fn line_of(&self, start_char: usize) -> usize {
        1 + self.text.chars().take(start_char).filter(|c| *c == '\n').count()
    }
}

/// A file that gives no document, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Path relative to the folder of documents, with `/`.
    pub file: String,
    /// Why it was left out.
    pub reason: String,
}

/// What a single document may be.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    /// Bytes of a file; larger ones are skipped.
    pub file_bytes: u64,
    /// Pages of a PDF; those after it are not read.
    pub pdf_pages: u32,
    /// Bytes of text taken from a file that holds more than text. Of HTML the rest is not read, a PDF is skipped.
    pub text_bytes: usize,
    /// Bytes that a stream of a PDF may unfold to; a file with a larger one is skipped.
    pub pdf_stream_bytes: usize,
    /// Bytes that the drawing of a page of a PDF may unfold to, with the forms it draws; a file with a larger one is skipped.
    pub pdf_page_bytes: usize,
    /// Seconds after which a PDF is given up.
    pub pdf_seconds: u64,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits {
            file_bytes: 64 << 20,
            pdf_pages: 5_000,
            text_bytes: 32 << 20,
            pdf_stream_bytes: 64 << 20,
            pdf_page_bytes: 16 << 20,
            pdf_seconds: 60,
        }
    }
}
