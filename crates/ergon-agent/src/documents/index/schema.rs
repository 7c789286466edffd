//! What the index holds. Two sorts of entries: one record a file, with its text, and one entry a sentence, which is found by
//! its words and leads to the record. Both carry the key of their file and are written and deleted together.

use tantivy::{
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions},
    tokenizer::TokenizerManager,
};

use crate::documents::terms::Words;

/// Goes with every commit: an index of another version is built again. Raise it when reading, cutting or fields change.
pub(super) const VERSION: &str = "ergon documents 2";
const TOKENIZER: &str = "ergon";

/// The fields by name.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// Words of a sentence.
    pub(super) body: Field,
    /// Words of what stands over it: file name, title, heading.
    pub(super) context: Field,
    /// Key of the file.
    pub(super) key: Field,
    /// Set on sentences that a model wrote.
    pub(super) model: Field,
    /// Number of a sentence in its document.
    pub(super) ordinal: Field,
    /// Digest of the file's bytes, on records.
    pub(super) digest: Field,
    /// Set on records of files that give no document.
    pub(super) unread: Field,
    pub(super) file: Field,
    pub(super) sha256: Field,
    pub(super) date: Field,
    pub(super) origin: Field,
    pub(super) title: Field,
    pub(super) author: Field,
    pub(super) kind: Field,
    pub(super) text: Field,
    /// Digest of the text, which must come out of the index as it went in.
    pub(super) text_digest: Field,
    /// Why a file gives no document.
    pub(super) reason: Field,
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing =
        TextFieldIndexing::default().set_tokenizer(TOKENIZER).set_index_option(IndexRecordOption::WithFreqs);
    let words = TextOptions::default().set_indexing_options(indexing);
    let kept = TextOptions::default().set_stored();
    let fields = Fields {
        body: schema.add_text_field("body", words.clone()),
        context: schema.add_text_field("context", words),
        key: schema.add_u64_field("key", INDEXED | FAST),
        model: schema.add_u64_field("model", INDEXED),
        ordinal: schema.add_u64_field("ordinal", FAST),
        digest: schema.add_u64_field("digest", FAST),
        unread: schema.add_u64_field("unread", FAST),
        file: schema.add_text_field("file", kept.clone()),
        sha256: schema.add_text_field("sha256", kept.clone()),
        date: schema.add_text_field("date", kept.clone()),
        origin: schema.add_text_field("origin", kept.clone()),
        title: schema.add_text_field("title", kept.clone()),
        author: schema.add_u64_field("author", STORED),
        kind: schema.add_u64_field("kind", STORED),
        text: schema.add_text_field("text", kept.clone()),
        text_digest: schema.add_u64_field("text_digest", STORED),
        reason: schema.add_text_field("reason", kept),
    };
    (schema.build(), fields)
}

pub(super) fn tokenizers() -> TokenizerManager {
    let manager = TokenizerManager::default();
    manager.register(TOKENIZER, Words);
    manager
}
