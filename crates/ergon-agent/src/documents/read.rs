//! A file to a [`Document`].

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::atomic::AtomicBool,
};

use ergon_types::Source;
use sha2::{Digest, Sha256};

use super::{
    Document, Kind, Marks, MarksReader, ReadLimits, decode::decode, html, marks, pdf, sentences::cut,
    walk::Entry,
};

/// The largest sidecar that is read, in bytes.
const MAX_SIDECAR_BYTES: u64 = 64 << 10;

/// The bytes of a file and of what describes it.
pub(super) struct Raw {
    pub(super) bytes: Vec<u8>,
    sidecars: Vec<(bool, Vec<u8>)>,
    pub(super) sha256: String,
    /// Changes when any of the bytes do.
    pub(super) digest: u64,
}

/// Reads a file's bytes, or says why not. Nothing of this depends on what the bytes mean.
pub(super) fn bytes(entry: &Entry, limits: &ReadLimits) -> Result<Raw, String> {
    if entry.traits.bytes > limits.file_bytes {
        let mib = entry.traits.bytes >> 20;
        return Err(format!("{mib} MiB, over the limit of {} MiB", limits.file_bytes >> 20));
    }
    let bytes =
        bounded(&entry.path, limits.file_bytes).map_err(|error| format!("cannot be read: {error}"))?;
    let mut sidecars = Vec::new();
    for (path, _) in &entry.sidecars {
        let content = bounded(path, MAX_SIDECAR_BYTES)
            .map_err(|error| format!("{} beside it cannot be read: {error}", path.display()))?;
        sidecars.push((path.extension().is_some_and(|ending| ending == "json"), content));
    }
    let file_hash = Sha256::digest(&bytes);
    let mut all = Sha256::new();
    all.update(file_hash);
    for (_, content) in &sidecars {
        all.update(Sha256::digest(content));
    }
    let sha256 = file_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Raw { bytes, sidecars, sha256, digest: head(&all.finalize()) })
}

/// A file's bytes, if there are at most `limit` of them.
fn bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("over {limit} bytes")));
    }
    Ok(bytes)
}

/// The first eight bytes of a hash as a number.
pub(super) fn head(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What the bytes say, or why they say nothing. The same bytes, name and time give the same document, unless `stop` is set
/// meanwhile.
pub(super) fn document(
    entry: &Entry,
    raw: Raw,
    limits: &ReadLimits,
    sidecar: Option<MarksReader>,
    stop: &AtomicBool,
) -> Result<Document, String> {
    let kind = Kind::of(&entry.file);
    let mut marks = Marks::default();
    for (is_json, content) in &raw.sidecars {
        match (is_json, sidecar) {
            (true, Some(read)) => {
                let entries = read(content).ok_or("the .ergon.json beside it is no JSON object")?;
                entries.iter().for_each(|(name, value)| marks.take(name, value));
            }
            (true, None) => {}
            (false, _) => marks.lines(&String::from_utf8_lossy(content)),
        }
    }
    let text = match kind {
        Kind::Pdf => {
            let pdf = pdf::read(raw.bytes, limits, stop)?;
            pdf.info.iter().for_each(|(name, value)| marks.take(name, value));
            marks.take("creationdate", &pdf.created);
            marks.take("title", &pdf.title);
            pdf.text
        }
        Kind::Html => {
            let page = html::read(&decode(raw.bytes)?, limits.text_bytes);
            page.meta.iter().for_each(|(name, value)| marks.take(name, value));
            marks.take("title", &page.title.split_whitespace().collect::<Vec<_>>().join(" "));
            page.text
        }
        _ => decode(raw.bytes)?,
    };
    marks.of_text(&text);
    if !text.chars().any(char::is_alphanumeric) {
        return Err("it holds no text".to_string());
    }
    let date = marks
        .date
        .unwrap_or_else(|| marks::date_of_seconds(entry.traits.modified_ns.div_euclid(1_000_000_000)));
    Ok(Document {
        source: Source {
            file: entry.file.clone(),
            sha256: raw.sha256,
            date: Some(date),
            origin: marks.origin,
            author: marks.author,
        },
        kind,
        title: marks.title.unwrap_or_default(),
        sentences: cut(&text, kind),
        text,
    })
}
