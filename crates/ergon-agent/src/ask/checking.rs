//! Claims checked against a folder: each gets its sentences, all of them share one grouping of the documents involved.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
};

use ergon_gate::evidence::EvidenceLimits;
use ergon_types::{Author, Citation, Claim, Passage, Source};

use crate::{
    copies::{Alarm, Copies},
    documents::{Document, DocumentsError, Filter, Library, Retrieved, retrieve},
    verify::{Checked, check},
};

/// Claims whose documents are grouped together, and the bytes of text at which fewer are.
const TOGETHER: usize = 256;
const TOGETHER_BYTES: usize = 64 << 20;
/// Sentences by models that are told beside a claim.
const MODEL_WRITTEN: usize = 3;

/// A claim, and where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be checked.
    pub claim: Claim,
    /// Only in these files.
    pub files: Option<Vec<String>>,
}

/// Two copies of one source that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One of them, and what it says.
    pub first: Source,
    /// The other.
    pub second: Source,
    /// What the first says.
    pub first_value: String,
    /// What the second says.
    pub second_value: String,
}

/// What a claim came to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The check.
    pub checked: Checked,
    /// Its alarms, with the documents they are about.
    pub alarms: Vec<Warning>,
    /// Sentences about it that a model wrote; they count for nothing.
    pub model_written: Vec<Citation>,
}

/// Checks claims in their order. `told` is called with the number of those done.
pub fn examine(
    library: &Library,
    requests: &[Request],
    limits: &EvidenceLimits,
    stop: &AtomicBool,
    told: &mut dyn FnMut(usize),
) -> Result<Vec<Examined>, DocumentsError> {
    let mut examined = Vec::with_capacity(requests.len());
    let (mut rest, mut groups) = (requests.iter(), 0);
    while examined.len() < requests.len() {
        let mut bundle = Bundle::default();
        let mut taken = Vec::new();
        for request in rest.by_ref() {
            if stop.load(Ordering::SeqCst) {
                return Err(DocumentsError::Interrupted);
            }
            let filter = Filter { files: request.files.clone(), author: Author::Unmarked };
            taken.push((request, bundle.take(&retrieve(library, &request.claim.text, &filter)?)));
            if taken.len() >= TOGETHER || bundle.bytes > TOGETHER_BYTES {
                break;
            }
        }
        let copies = bundle.copies();
        for (request, passages) in taken {
            let mut one = bundle.check(&request.claim, &passages, &copies, limits);
            one.shift_groups(groups);
            one.model_written = model_written(library, &request.claim.text, request.files.clone())?;
            examined.push(one);
            told(examined.len());
        }
        groups += bundle.documents.len();
    }
    Ok(examined)
}

/// Sentences about a text that a model wrote: to be shown, never to be counted.
pub(super) fn model_written(
    library: &Library,
    text: &str,
    files: Option<Vec<String>>,
) -> Result<Vec<Citation>, DocumentsError> {
    let mut found = Vec::new();
    for one in library.search(text, &Filter { files, author: Author::Model }, MODEL_WRITTEN)? {
        if library.is_current(&one.document)? {
            found.push(one);
        }
    }
    let citation = |found: &crate::documents::Found| {
        let cut = found.document.sentences.get(found.sentence)?;
        Some(Citation {
            source: found.document.source.clone(),
            start_char: cut.start_char,
            end_char: cut.end_char,
            cited_text: found.document.sentence(found.sentence).to_string(),
            group: 0,
        })
    };
    Ok(found.iter().filter_map(citation).collect())
}

/// Documents that speak about some claims, as one list.
#[derive(Default)]
pub(super) struct Bundle {
    documents: Vec<Rc<Document>>,
    sources: Vec<Source>,
    by_file: HashMap<String, usize>,
    bytes: usize,
}

impl Bundle {
    /// Takes the documents of some passages in, and gives the passages with their places in this list.
    pub(super) fn take(&mut self, retrieved: &Retrieved) -> Vec<Passage> {
        let places: Vec<usize> = retrieved.documents.iter().map(|document| self.place(document)).collect();
        let moved = |passage: &Passage| Passage { source: places[passage.source], ..passage.clone() };
        retrieved.passages.iter().filter(|passage| passage.source < places.len()).map(moved).collect()
    }

    fn place(&mut self, document: &Rc<Document>) -> usize {
        if let Some(place) = self.by_file.get(&document.source.file) {
            return *place;
        }
        self.bytes += document.text.len();
        self.documents.push(Rc::clone(document));
        self.sources.push(document.source.clone());
        self.by_file.insert(document.source.file.clone(), self.sources.len() - 1);
        self.sources.len() - 1
    }

    /// Which of the documents are copies of one another.
    pub(super) fn copies(&self) -> Copies {
        let texts: Vec<&str> = self.documents.iter().map(|document| document.text.as_str()).collect();
        Copies::find(&texts)
    }

    /// Passages of this list as citations.
    pub(super) fn named(&self, passages: &[Passage], copies: &Copies) -> Vec<Citation> {
        let citation = |passage: &Passage| {
            Some(Citation {
                source: self.sources.get(passage.source)?.clone(),
                start_char: passage.start_char,
                end_char: passage.end_char,
                cited_text: passage.text.clone(),
                group: copies.group(passage.source),
            })
        };
        passages.iter().filter_map(citation).collect()
    }

    /// Checks a claim against passages of this list.
    pub(super) fn check(
        &self,
        claim: &Claim,
        passages: &[Passage],
        copies: &Copies,
        limits: &EvidenceLimits,
    ) -> Examined {
        let checked = check(claim, &self.sources, passages, copies, limits);
        let warning = |alarm: &Alarm| {
            Some(Warning {
                first: self.sources.get(alarm.first)?.clone(),
                second: self.sources.get(alarm.second)?.clone(),
                first_value: alarm.first_value.clone(),
                second_value: alarm.second_value.clone(),
            })
        };
        let alarms = checked.alarms.iter().filter_map(warning).collect();
        Examined { checked, alarms, model_written: Vec::new() }
    }
}

impl Examined {
    /// Moves group numbers, so that those of another list stay apart.
    fn shift_groups(&mut self, by: usize) {
        let citations = self.checked.citations.iter_mut().chain(&mut self.checked.opposing);
        citations.for_each(|citation| citation.group += by);
    }
}
