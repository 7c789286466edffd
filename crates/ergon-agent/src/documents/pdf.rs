//! The text layer of a PDF.
//!
//! The parsers of PDF files panic on some damaged ones, go as deep as a file nests, keep whatever it unfolds to, and cannot
//! be stopped from inside. So a file is read on a thread of its own: a panic ends that thread and becomes a reason, and a thread
//! that takes too long or is no longer wanted is left behind (it ends with the process, mostly earlier). Stack and memory
//! have no such border: what would use them up is looked for first, in the bytes (`raw`), in fonts and in what a page
//! draws, and a file that holds it is refused.

mod drawing;
mod fonts;
mod raw;
mod unfold;

use std::{
    collections::BTreeSet,
    fmt, panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use pdf_extract::{
    ConvertToFmt, Dictionary, Document as Pdf, Object, ObjectId, PlainTextOutput, output_doc_page,
};

use super::{READER_THREAD, ReadLimits};

/// Stack of the reading thread.
const STACK_BYTES: usize = 64 << 20;
/// How often a waiting reader looks whether the work shall end.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Reads the text layer, page by page, pages apart by an empty line. Ends soon after `stop` is set.
pub(super) fn read(bytes: Vec<u8>, limits: &ReadLimits, stop: &AtomicBool) -> Result<Text, String> {
    let (sender, receiver) = mpsc::channel();
    let (limits_there, gone) = (limits.clone(), Arc::new(AtomicBool::new(false)));
    let gone_there = Arc::clone(&gone);
    let reading =
        thread::Builder::new().name(READER_THREAD.to_string()).stack_size(STACK_BYTES).spawn(move || {
            let result = panic::catch_unwind(|| parse(bytes, &limits_there, &gone_there))
                .unwrap_or_else(|_| Err("its PDF structure is damaged".to_string()));
            // Nobody waits any more if this took too long.
            let _ = sender.send(result);
        });
    if let Err(error) = reading {
        return Err(format!("no thread to read it with: {error}"));
    }
    let begun = Instant::now();
    let result = loop {
        match receiver.recv_timeout(PAUSE) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Disconnected) => break Err("its PDF structure is damaged".to_string()),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::SeqCst) => {
                break Err("reading it was interrupted".to_string());
            }
            Err(RecvTimeoutError::Timeout) if begun.elapsed().as_secs() >= limits.pdf_seconds => {
                break Err(format!("reading it took over {} s", limits.pdf_seconds));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    gone.store(true, Ordering::SeqCst);
    result
}

/// Ends the work on a file that nobody waits for any more.
fn is_wanted(gone: &AtomicBool) -> Result<(), String> {
    if gone.load(Ordering::SeqCst) { Err("given up".to_string()) } else { Ok(()) }
}

/// What is said of a part that unfolds to more than a limit.
fn over(what: &str, limit: usize) -> String {
    let limit = if limit >= 1 << 20 { format!("{} MiB", limit >> 20) } else { format!("{limit} bytes") };
    format!("{what} of it unfolds to over {limit}, the limit")
}

fn parse(mut bytes: Vec<u8>, limits: &ReadLimits, gone: &AtomicBool) -> Result<Text, String> {
    raw::tame(&mut bytes, limits, gone)?;
    let mut pdf = Pdf::load_mem(&bytes).map_err(|error| format!("not a readable PDF: {error}"))?;
    if pdf.is_encrypted() && pdf.decrypt("").is_err() {
        return Err("the PDF is encrypted".to_string());
    }
    fill(&mut pdf, &bytes);
    drop(bytes);
    empty(&mut pdf);
    fonts::check(&pdf, limits.pdf_stream_bytes)?;
    let mut written = Written { text: String::new(), limit: limits.text_bytes, is_over: false, gone };
    let mut failed = None;
    for (page, id) in pdf.get_pages().into_iter().take(limits.pdf_pages as usize) {
        let start = written.text.len();
        // A page whose drawing makes the look at it panic would do so again.
        let looked = panic::catch_unwind(panic::AssertUnwindSafe(|| drawing::check(&pdf, id, limits)));
        let done = match looked {
            Ok(Err(reason)) => return Err(reason),
            Ok(Ok(())) => panic::catch_unwind(panic::AssertUnwindSafe(|| {
                output_doc_page(&pdf, &mut PlainTextOutput::new(&mut written), page).is_ok()
            })),
            Err(panicked) => Err(panicked),
        };
        if written.is_over {
            return Err(format!("its text is over {} MiB, the limit", limits.text_bytes >> 20));
        }
        is_wanted(gone)?;
        if !matches!(done, Ok(true)) {
            failed.get_or_insert(page);
        }
        let end = start + written.text[start..].trim_end().len();
        written.text.truncate(end);
        written.text.push_str("\n\n");
    }
    said(&pdf, written.text, failed)
}

fn said(pdf: &Pdf, mut text: String, failed: Option<u32>) -> Result<Text, String> {
    text.retain(|c| c != '\0');
    text.truncate(text.trim_end().len());
    let shown = text.trim_start();
    if shown.is_empty() {
        return Err(match failed {
            Some(page) => format!("the text of its page {page} cannot be read"),
            None => "the PDF has no text layer".to_string(),
        });
    }
    let info = info(pdf);
    let value =
        |name: &str| info.iter().find(|(key, _)| key == name).map_or(String::new(), |(_, v)| v.clone());
    Ok(Text { title: value("title"), created: value("creationdate"), text: shown.to_string(), info })
}

/// Text as it comes, until it is too much or nobody wants it any more.
struct Written<'w> {
    text: String,
    limit: usize,
    is_over: bool,
    gone: &'w AtomicBool,
}

impl fmt::Write for Written<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.is_over |= self.text.len() + text.len() > self.limit;
        if self.is_over || self.gone.load(Ordering::SeqCst) {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

impl<'w, 'b> ConvertToFmt for &'b mut Written<'w> {
    type Writer = &'b mut Written<'w>;

    fn convert(self) -> Self::Writer {
        self
    }
}

/// Gives streams their data whose length was taken out of the bytes.
fn fill(pdf: &mut Pdf, bytes: &[u8]) {
    if pdf.was_encrypted() {
        return;
    }
    let begin = raw::find(bytes, 0, b"%PDF-").unwrap_or(0);
    for object in pdf.objects.values_mut() {
        let Object::Stream(stream) = object else { continue };
        let (true, Some(start)) = (stream.content.is_empty(), stream.start_position) else { continue };
        let from = begin.saturating_add(start);
        if let Some(data) = raw::data_end(bytes, from).and_then(|to| bytes.get(from..to)) {
            stream.set_content(data.to_vec());
        }
    }
}

/// Empties streams that hold no text and that the library would unfold nevertheless, images first of all.
fn empty(pdf: &mut Pdf) {
    let mut unread: BTreeSet<ObjectId> = BTreeSet::new();
    for object in pdf.objects.values() {
        visit(object, &mut |key, value| {
            if let (b"ICCBased" | b"FontFile2", Ok(id)) = (key, value.as_reference()) {
                unread.insert(id);
            }
        });
    }
    for (id, object) in &mut pdf.objects {
        let Object::Stream(stream) = object else { continue };
        let says = |key: &[u8], name: &[u8]| {
            stream.dict.get(key).and_then(Object::as_name).is_ok_and(|found| found == name)
        };
        if unread.contains(id)
            || says(b"Subtype", b"Image")
            || says(b"Type", b"EmbeddedFile")
            || stream.dict.has(b"FunctionType")
        {
            stream.dict.remove(b"Filter");
            stream.set_content(Vec::new());
        }
    }
}

/// Every entry of the dictionaries in an object; of arrays that begin with a name, what follows it under that name.
fn visit(object: &Object, told: &mut dyn FnMut(&[u8], &Object)) {
    let dictionary = match object {
        Object::Dictionary(dictionary) => dictionary,
        Object::Stream(stream) => &stream.dict,
        Object::Array(items) => {
            let name = items.first().and_then(|first| first.as_name().ok()).unwrap_or(b"");
            for item in items {
                told(name, item);
                visit(item, told);
            }
            return;
        }
        _ => return,
    };
    for (key, value) in dictionary {
        told(key, value);
        visit(value, told);
    }
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

fn dictionary<'p>(pdf: &'p Pdf, object: &'p Object) -> Option<&'p Dictionary> {
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
