//! Sentences by words, and documents by key.

use std::{collections::BTreeSet, rc::Rc};

use ergon_types::{Author, Source};
use sha2::{Digest, Sha256};
use tantivy::{
    DocAddress, TantivyDocument, Term,
    collector::TopDocs,
    query::{BooleanQuery, BoostQuery, ConstScoreQuery, Occur, Query, TermQuery, TermSetQuery},
    schema::{Field, IndexRecordOption, Value},
};

use super::{Found, Library, update::key};
use crate::documents::{Document, DocumentsError, Filter, Kind, Skipped, read, sentences::cut, terms::words};

/// More words than this of a query are not looked for.
const MAX_QUERY_WORDS: usize = 64;
/// What a word in title or heading weighs beside one in the sentence.
const CONTEXT_WEIGHT: f32 = 0.35;
/// Documents kept in memory once they were read from the index.
const MAX_CACHED: usize = 4096;
/// Bytes of text in one of them from which on it is not kept.
const MAX_CACHED_BYTES: usize = 4 << 20;

impl Library {
    /// The sentences that share most with a query, best first; equal ones in the order of files and places.
    pub fn search(&self, query: &str, filter: &Filter, limit: usize) -> Result<Vec<Found>, DocumentsError> {
        let Some(query) = self.query(query, filter) else { return Ok(Vec::new()) };
        let mut found = self.run(&*query, limit).map_err(|error| self.failed(&error))?;
        found.sort_by(|a, b| {
            let place = |found: &Found| (found.document.source.file.clone(), found.sentence);
            b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b)))
        });
        Ok(found)
    }

    fn run(&self, query: &dyn Query, limit: usize) -> tantivy::Result<Vec<Found>> {
        let tops = self.searcher.search(query, &TopDocs::with_limit(limit.max(1)).order_by_score())?;
        let mut found = Vec::with_capacity(tops.len());
        for (score, address) in tops {
            let columns = self.searcher.segment_reader(address.segment_ord).fast_fields();
            let value = |name: &str| -> tantivy::Result<Option<u64>> {
                Ok(columns.column_opt::<u64>(name)?.and_then(|column| column.first(address.doc_id)))
            };
            let (Some(key), Some(sentence)) = (value("key")?, value("ordinal")?) else { continue };
            if let Some(document) = self.by_key(key)? {
                found.push(Found { document, sentence: sentence as usize, score });
            }
        }
        Ok(found)
    }

    /// The words of a query, any of which may match; nothing if it has none.
    fn query(&self, text: &str, filter: &Filter) -> Option<Box<dyn Query>> {
        let fields = self.opened.fields;
        let distinct: BTreeSet<String> = words(text).into_iter().take(4 * MAX_QUERY_WORDS).collect();
        let mut parts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for word in distinct.into_iter().take(MAX_QUERY_WORDS) {
            let term = |field: Field| -> Box<dyn Query> {
                Box::new(TermQuery::new(Term::from_field_text(field, &word), IndexRecordOption::WithFreqs))
            };
            parts.push((Occur::Should, term(fields.body)));
            parts.push((Occur::Should, Box::new(BoostQuery::new(term(fields.context), CONTEXT_WEIGHT))));
        }
        if parts.is_empty() {
            return None;
        }
        let mut query: Vec<(Occur, Box<dyn Query>)> = vec![(Occur::Must, Box::new(BooleanQuery::new(parts)))];
        let model = TermQuery::new(Term::from_field_u64(fields.model, 1), IndexRecordOption::Basic);
        match filter.author {
            Author::Unmarked => query.push((Occur::MustNot, Box::new(model))),
            Author::Model => query.push((Occur::Must, Box::new(ConstScoreQuery::new(Box::new(model), 0.0)))),
        }
        if let Some(files) = &filter.files {
            let keys = files.iter().map(|file| Term::from_field_u64(fields.key, key(file)));
            let within = ConstScoreQuery::new(Box::new(TermSetQuery::new(keys)), 0.0);
            query.push((Occur::Must, Box::new(within)));
        }
        Some(Box::new(BooleanQuery::new(query)))
    }

    /// A document by its path inside the folder.
    pub fn document(&self, file: &str) -> Result<Rc<Document>, DocumentsError> {
        let document = self.by_key(key(file)).map_err(|error| self.failed(&error))?;
        document.ok_or_else(|| DocumentsError::NoSuchDocument { file: file.to_string() })
    }

    fn by_key(&self, key: u64) -> tantivy::Result<Option<Rc<Document>>> {
        if let Some(document) = self.cache.borrow().get(&key) {
            return Ok(Some(Rc::clone(document)));
        }
        let fields = self.opened.fields;
        let term = Term::from_field_u64(fields.key, key);
        for (ordinal, segment) in self.searcher.segment_readers().iter().enumerate() {
            let Some(digests) = segment.fast_fields().column_opt::<u64>("digest")? else { continue };
            let postings =
                segment.inverted_index(fields.key)?.read_postings(&term, IndexRecordOption::Basic)?;
            let Some(mut postings) = postings else { continue };
            use tantivy::{DocSet, TERMINATED};
            while postings.doc() != TERMINATED {
                let doc = postings.doc();
                if !segment.is_deleted(doc) && digests.first(doc).is_some() {
                    let record: TantivyDocument = self.searcher.doc(DocAddress::new(ordinal as u32, doc))?;
                    return Ok(self.kept(key, self.read_record(&record)?));
                }
                postings.advance();
            }
        }
        Ok(None)
    }

    /// Keeps a document for the next time, unless it is large.
    fn kept(&self, key: u64, document: Option<Document>) -> Option<Rc<Document>> {
        let document = Rc::new(document?);
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        if document.text.len() <= MAX_CACHED_BYTES || cache.len() < 8 {
            cache.insert(key, Rc::clone(&document));
        }
        Some(document)
    }

    /// What a record says; nothing for a file without a document.
    fn read_record(&self, record: &TantivyDocument) -> tantivy::Result<Option<Document>> {
        let fields = self.opened.fields;
        let (Some(kind), Some(digest)) = (number(record, fields.kind), number(record, fields.text_digest))
        else {
            return Ok(None);
        };
        let text = text_of(record, fields.text);
        let kind = Kind::from_code(kind).filter(|_| read::head(&Sha256::digest(text.as_bytes())) == digest);
        let Some(kind) = kind else {
            return Err(tantivy::TantivyError::InternalError("a kept text is damaged".to_string()));
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let is_model = number(record, fields.author) == Some(1);
        Ok(Some(Document {
            source: Source {
                file: text_of(record, fields.file),
                sha256: text_of(record, fields.sha256),
                date: some(text_of(record, fields.date)),
                origin: some(text_of(record, fields.origin)),
                author: if is_model { Author::Model } else { Author::Unmarked },
            },
            kind,
            title: text_of(record, fields.title),
            sentences: cut(&text, kind),
            text,
        }))
    }

    /// Counts the files of the index and lists those that gave no document.
    pub(super) fn records(&mut self) -> tantivy::Result<Vec<Skipped>> {
        let fields = self.opened.fields;
        let mut unread = Vec::new();
        for (ordinal, segment) in self.searcher.segment_readers().iter().enumerate() {
            let columns = segment.fast_fields();
            let Some(digests) = columns.column_opt::<u64>("digest")? else { continue };
            let marks = columns.column_opt::<u64>("unread")?;
            for doc in segment.doc_ids_alive().filter(|doc| digests.first(*doc).is_some()) {
                self.files += 1;
                if marks.as_ref().is_some_and(|marks| marks.first(doc).is_some()) {
                    let record: TantivyDocument = self.searcher.doc(DocAddress::new(ordinal as u32, doc))?;
                    let (file, reason) = (text_of(&record, fields.file), text_of(&record, fields.reason));
                    unread.push(Skipped { file, reason });
                }
            }
        }
        Ok(unread)
    }
}

fn text_of(record: &TantivyDocument, field: Field) -> String {
    record.get_first(field).and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
}

fn number(record: &TantivyDocument, field: Field) -> Option<u64> {
    record.get_first(field).and_then(|value| value.as_u64())
}
