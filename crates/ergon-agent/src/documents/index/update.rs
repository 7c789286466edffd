//! Bringing an index up to date with its folder.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
};

use ergon_types::Author;
use sha2::{Digest, Sha256};
use tantivy::{IndexWriter, TantivyDocument, Term};

use super::{
    LibraryOptions, Progress, Updated,
    schema::{Fields, VERSION},
    stamps::{self, Stamps},
    store::Opened,
};
use crate::documents::{Document, Skipped, read, walk::Entry};

/// Memory in which the writer gathers postings before it writes a segment.
const WRITER_BYTES: usize = 96 << 20;
/// Text after which what was read so far is made to last: what a kill can cost.
const COMMIT_BYTES: usize = 16 << 20;

/// What has to be done.
pub(super) struct Plan<'e> {
    /// Files that may hold other bytes than they did, or that are new altogether.
    look_at: Vec<&'e Entry>,
    /// Keys of files that are gone.
    gone: Vec<u64>,
}

/// Key of a file.
pub(super) fn key(file: &str) -> u64 {
    read::head(&Sha256::digest(file.as_bytes()))
}

impl<'e> Plan<'e> {
    /// Compares the folder with the index.
    pub(super) fn new(entries: &'e [Entry], manifest: &HashMap<u64, u64>, stamps: &Stamps) -> Plan<'e> {
        let is_known = |entry: &&Entry| {
            let key = key(&entry.file);
            matches!((manifest.get(&key), stamps.get(&key)), (Some(indexed), Some((stamp, digest)))
                if indexed == digest && *stamp == stamps::stamp(entry))
        };
        let here: HashSet<u64> = entries.iter().map(|entry| key(&entry.file)).collect();
        Plan {
            look_at: entries.iter().filter(|entry| !is_known(entry)).collect(),
            gone: manifest.keys().filter(|key| !here.contains(key)).copied().collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.look_at.is_empty() && self.gone.is_empty()
    }
}

/// What came of an update.
pub(super) enum Outcome {
    /// The index says what the folder says, but for these files.
    Done(Vec<Skipped>),
    /// Stopped on request; what was read so far is kept.
    Stopped,
}

/// Carries a plan out. `stamps` gets the files as they were found.
pub(super) fn update(
    opened: &Opened,
    plan: &Plan,
    manifest: &HashMap<u64, u64>,
    stamps: &mut Stamps,
    options: &LibraryOptions,
    report: &mut dyn FnMut(Progress),
    updated: &mut Updated,
) -> tantivy::Result<Outcome> {
    let mut work = Work { opened, manifest, options, writer: None, pending: 0, skipped: Vec::new(), updated };
    for key in &plan.gone {
        work.writer()?.delete_term(Term::from_field_u64(opened.fields.key, *key));
        stamps.remove(key);
        work.updated.removed += 1;
    }
    let total = plan.look_at.len();
    for (done, entry) in plan.look_at.iter().enumerate() {
        if options.stop.load(Ordering::SeqCst) {
            break;
        }
        if let Some(digest) = work.file(entry)? {
            match stamps::is_settled(entry, options.now_ns) {
                true => stamps.insert(key(&entry.file), (stamps::stamp(entry), digest)),
                false => stamps.remove(&key(&entry.file)),
            };
        }
        report(Progress::Reading { done: done + 1, total });
    }
    work.commit()?;
    if options.stop.load(Ordering::SeqCst) {
        return Ok(Outcome::Stopped);
    }
    if let Some(writer) = work.writer.take() {
        writer.wait_merging_threads()?;
    }
    Ok(Outcome::Done(work.skipped))
}

struct Work<'w> {
    opened: &'w Opened,
    manifest: &'w HashMap<u64, u64>,
    options: &'w LibraryOptions,
    /// Made when the first change comes: opening a folder in which nothing changed writes nothing.
    writer: Option<IndexWriter>,
    /// Bytes of text since the last commit.
    pending: usize,
    skipped: Vec<Skipped>,
    updated: &'w mut Updated,
}

impl Work<'_> {
    fn writer(&mut self) -> tantivy::Result<&mut IndexWriter> {
        if self.writer.is_none() {
            self.writer = Some(self.opened.index.writer_with_num_threads(1, WRITER_BYTES)?);
        }
        self.writer.as_mut().ok_or(tantivy::TantivyError::Poisoned)
    }

    fn commit(&mut self) -> tantivy::Result<()> {
        if let Some(writer) = &mut self.writer {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(VERSION);
            prepared.commit()?;
        }
        self.pending = 0;
        Ok(())
    }

    /// Takes one file in; gives the digest of its bytes if they could be read.
    fn file(&mut self, entry: &Entry) -> tantivy::Result<Option<u64>> {
        let key = key(&entry.file);
        let raw = match read::bytes(entry, &self.options.limits) {
            Ok(raw) => raw,
            Err(reason) => {
                // Nothing is known of its bytes now, so nothing of them may be cited.
                if self.manifest.contains_key(&key) {
                    let term = Term::from_field_u64(self.opened.fields.key, key);
                    self.writer()?.delete_term(term);
                }
                self.skipped.push(Skipped { file: entry.file.clone(), reason });
                return Ok(None);
            }
        };
        let digest = raw.digest;
        if self.manifest.get(&key) == Some(&digest) {
            return Ok(Some(digest));
        }
        let bytes = raw.bytes.len();
        let read = read::document(entry, raw, &self.options.limits, self.options.sidecar, &self.options.stop);
        if read.is_err() && self.options.stop.load(Ordering::SeqCst) {
            // It may have been given up, which says nothing about the file.
            return Ok(None);
        }
        let fields = self.opened.fields;
        let writer = self.writer()?;
        writer.delete_term(Term::from_field_u64(fields.key, key));
        match read {
            Ok(document) => {
                add(writer, &fields, key, digest, &document)?;
                self.pending += document.text.len();
                self.updated.sentences += document.sentences.len();
            }
            Err(reason) => add_skipped(writer, &fields, key, digest, &entry.file, &reason)?,
        }
        self.updated.read += 1;
        self.updated.bytes += bytes as u64;
        if self.pending >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(Some(digest))
    }
}

fn add(
    writer: &IndexWriter,
    fields: &Fields,
    key: u64,
    digest: u64,
    document: &Document,
) -> tantivy::Result<()> {
    let source = &document.source;
    let is_model = source.author == Author::Model;
    let mut record = TantivyDocument::default();
    record.add_u64(fields.key, key);
    record.add_u64(fields.digest, digest);
    record.add_text(fields.file, &source.file);
    record.add_text(fields.sha256, &source.sha256);
    record.add_text(fields.date, source.date.as_deref().unwrap_or(""));
    record.add_text(fields.origin, source.origin.as_deref().unwrap_or(""));
    record.add_text(fields.title, &document.title);
    record.add_u64(fields.author, u64::from(is_model));
    record.add_u64(fields.kind, document.kind.code());
    record.add_text(fields.text, &document.text);
    record.add_u64(fields.text_digest, read::head(&Sha256::digest(document.text.as_bytes())));
    writer.add_document(record)?;
    let stem = source.file.rsplit('/').next().unwrap_or("");
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    for (ordinal, cut) in document.sentences.iter().enumerate() {
        let mut sentence = TantivyDocument::default();
        sentence.add_u64(fields.key, key);
        sentence.add_u64(fields.ordinal, ordinal as u64);
        sentence.add_text(fields.body, document.sentence(ordinal));
        let heading = cut.heading.map_or("", |heading| document.sentence(heading));
        sentence.add_text(fields.context, format!("{stem} {} {heading}", document.title));
        if is_model {
            sentence.add_u64(fields.model, 1);
        }
        writer.add_document(sentence)?;
    }
    Ok(())
}

fn add_skipped(
    writer: &IndexWriter,
    fields: &Fields,
    key: u64,
    digest: u64,
    file: &str,
    reason: &str,
) -> tantivy::Result<()> {
    let mut record = TantivyDocument::default();
    record.add_u64(fields.key, key);
    record.add_u64(fields.digest, digest);
    record.add_u64(fields.unread, 1);
    record.add_text(fields.file, file);
    record.add_text(fields.reason, reason);
    writer.add_document(record)?;
    Ok(())
}
