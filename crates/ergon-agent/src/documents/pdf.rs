//! The text layer of a PDF.
//!
//! The parsers of PDF files panic on some damaged ones, and cannot be bounded in time from inside. So a file is read on a
//! thread of its own: a panic ends that thread and becomes a reason, a thread that takes too long is left behind (it ends
//! with the process), and its own stack keeps deep nesting away from ours. A compressed stream can still unfold to more
//! memory than the limits say while it is read; only the text that comes out is bounded.

use std::{
    panic,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use pdf_extract::{Document as Pdf, Object, PlainTextOutput, output_doc_page};

use super::{READER_THREAD, ReadLimits};

/// Stack of the reading thread.
const STACK_BYTES: usize = 64 << 20;

/// What a PDF says.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) title: String,
    /// `D:YYYYMMDD…` as the file states it.
    pub(super) created: String,
    /// `Creator`, `Producer` or another entry that marks a model's work, as `(name, value)`.
    pub(super) info: Vec<(String, String)>,
}

/// Reads the text layer, page by page, pages apart by an empty line.
pub(super) fn read(bytes: Vec<u8>, limits: &ReadLimits) -> Result<Text, String> {
    let (sender, receiver) = mpsc::channel();
    let limits_there = limits.clone();
    let reading =
        thread::Builder::new().name(READER_THREAD.to_string()).stack_size(STACK_BYTES).spawn(move || {
            let result = panic::catch_unwind(|| parse(&bytes, &limits_there))
                .unwrap_or_else(|_| Err("its PDF structure is damaged".to_string()));
            // Nobody waits any more if this took too long.
            let _ = sender.send(result);
        });
    if let Err(error) = reading {
        return Err(format!("no thread to read it with: {error}"));
    }
    match receiver.recv_timeout(Duration::from_secs(limits.pdf_seconds)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(format!("reading it took over {} s", limits.pdf_seconds)),
        Err(RecvTimeoutError::Disconnected) => Err("its PDF structure is damaged".to_string()),
    }
}

fn parse(bytes: &[u8], limits: &ReadLimits) -> Result<Text, String> {
    let mut pdf = Pdf::load_mem(bytes).map_err(|error| format!("not a readable PDF: {error}"))?;
    if pdf.is_encrypted() && pdf.decrypt("").is_err() {
        return Err("the PDF is encrypted".to_string());
    }
    let mut text = String::new();
    let mut failed = None;
    for page in pdf.get_pages().into_keys().take(limits.pdf_pages as usize) {
        let mut piece = String::new();
        let done = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            output_doc_page(&pdf, &mut PlainTextOutput::new(&mut piece), page)
        }));
        if !matches!(done, Ok(Ok(()))) {
            failed.get_or_insert(page);
        }
        text.push_str(piece.trim_end());
        text.push_str("\n\n");
        if text.len() > limits.text_bytes {
            break;
        }
    }
    text.retain(|c| c != '\0');
    text.truncate(text.trim_end().len());
    let shown = text.trim_start();
    if shown.is_empty() {
        return Err(match failed {
            Some(page) => format!("the text of its page {page} cannot be read"),
            None => "the PDF has no text layer".to_string(),
        });
    }
    let info = info(&pdf);
    let value =
        |name: &str| info.iter().find(|(key, _)| key == name).map_or(String::new(), |(_, v)| v.clone());
    Ok(Text { title: value("title"), created: value("creationdate"), text: shown.to_string(), info })
}

/// The document's own information, names in lower case.
fn info(pdf: &Pdf) -> Vec<(String, String)> {
    let Some(info) = pdf.trailer.get(b"Info").ok().and_then(|object| dictionary(pdf, object)) else {
        return Vec::new();
    };
    info.iter()
        .take(50)
        .filter_map(|(name, value)| {
            let Object::String(bytes, _) = value else { return None };
            Some((String::from_utf8_lossy(name).to_ascii_lowercase(), string(bytes)))
        })
        .collect()
}

fn dictionary<'p>(pdf: &'p Pdf, object: &'p Object) -> Option<&'p pdf_extract::Dictionary> {
    match object {
        Object::Dictionary(dictionary) => Some(dictionary),
        Object::Reference(id) => pdf.get_dictionary(*id).ok(),
        _ => None,
    }
}

/// A PDF string: UTF-16 with its mark, else taken as UTF-8.
fn string(bytes: &[u8]) -> String {
    let text = match bytes.strip_prefix(b"\xfe\xff") {
        Some(rest) => encoding_rs::UTF_16BE.decode_without_bom_handling(rest).0.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.chars().take(1000).collect()
}
