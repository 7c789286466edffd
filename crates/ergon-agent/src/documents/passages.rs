//! The sentences that a claim is checked against: found by words, ranked, and with what they need to be understood.

use std::{collections::HashMap, rc::Rc};

use ergon_types::{Author, Passage, Source};

use super::{Document, DocumentsError, Found, Library, instructs};
use crate::text::rank;

/// Sentences looked at for a claim.
const CANDIDATES: usize = 200;
/// Sentences that are kept, before what stands around them.
const BEST: usize = 20;
/// Sentences that are kept with it.
const MOST: usize = 30;
/// Words that point back to the sentence before.
const POINTS_BACK: [&str; 34] = [
    "it", "its", "he", "she", "his", "her", "they", "their", "this", "these", "that", "those", "such",
    "both", "there", "the", "该", "其", "它", "他", "她", "这", "此", "同年", "当时", "公司", "集团", "学校",
    "全市", "全县", "项目", "产品", "两者", "双方",
];

/// What is searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these files.
    pub files: Option<Vec<String>>,
    /// Only documents by this author.
    pub author: Author,
}

/// Sentences with the documents they are from.
#[derive(Clone, Debug, Default)]
pub struct Retrieved {
    /// The documents; a passage's `source` counts in this list.
    pub documents: Vec<Rc<Document>>,
    /// The sentences, best first, then what stands around them.
    pub passages: Vec<Passage>,
}

impl Retrieved {
    /// The documents as citations name them.
    pub fn sources(&self) -> Vec<Source> {
        self.documents.iter().map(|document| document.source.clone()).collect()
    }

    /// Takes a sentence in, unless it is there; gives its place.
    pub fn add(&mut self, document: &Rc<Document>, sentence: usize) -> Option<usize> {
        let cut = document.sentences.get(sentence)?;
        let is_same = |known: &Rc<Document>| known.source.file == document.source.file;
        let source = self.documents.iter().position(is_same).unwrap_or(self.documents.len());
        let is_there = |passage: &Passage| passage.source == source && passage.start_char == cut.start_char;
        if let Some(place) = self.passages.iter().position(is_there) {
            return Some(place);
        }
        if source == self.documents.len() {
            self.documents.push(Rc::clone(document));
        }
        self.passages.push(Passage {
            source,
            start_char: cut.start_char,
            end_char: cut.end_char,
            text: document.sentence(sentence).to_string(),
        });
        Some(self.passages.len() - 1)
    }
}

/// The sentences that speak most about `query`, from files that still hold what was indexed.
pub fn retrieve(library: &Library, query: &str, filter: &Filter) -> Result<Retrieved, DocumentsError> {
    let found = library.search(query, filter, CANDIDATES)?;
    let texts: Vec<&str> = found.iter().map(|found| found.document.sentence(found.sentence)).collect();
    let mut retrieved = Retrieved::default();
    let mut around: Vec<(Rc<Document>, usize)> = Vec::new();
    for index in merged(&ranked(query, &found, &texts), found.len()).into_iter().take(BEST) {
        let Some(found) = found.get(index) else { continue };
        if instructs(found.document.sentence(found.sentence)) || !library.is_current(&found.document)? {
            continue;
        }
        retrieved.add(&found.document, found.sentence);
        around.extend(context(&found.document, found.sentence).map(|at| (Rc::clone(&found.document), at)));
    }
    for (document, sentence) in around {
        if retrieved.passages.len() >= MOST {
            break;
        }
        if instructs(document.sentence(sentence)) {
            continue;
        }
        retrieved.add(&document, sentence);
    }
    Ok(retrieved)
}

/// The places of the sentences found, best first. The ranking looks at neighbours, so it gets them in the order of their
/// documents.
fn ranked(query: &str, found: &[Found], texts: &[&str]) -> Vec<usize> {
    let place = |index: usize| (&found[index].document.source.file, found[index].sentence);
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| place(*a).cmp(&place(*b)));
    let in_order: Vec<&str> = order.iter().map(|index| texts[*index]).collect();
    rank(query, &in_order).into_iter().filter_map(|(at, _)| order.get(at).copied()).collect()
}

/// Two orders made one by reciprocal ranks: the search knows the whole folder, the ranking knows the sentences.
fn merged(ranked: &[usize], found: usize) -> Vec<usize> {
    let place: HashMap<usize, usize> = ranked.iter().enumerate().map(|(at, index)| (*index, at)).collect();
    let share = |at: usize| 1.0 / (10.0 + at as f64);
    let worth = |index: usize| share(index) + 2.0 * place.get(&index).map_or(0.0, |at| share(*at));
    let mut order: Vec<usize> = (0..found).collect();
    order.sort_by(|a, b| worth(*b).total_cmp(&worth(*a)).then(a.cmp(b)));
    order
}

/// The sentence that one needs beside it: the one it points back to, or the head of its table.
fn context(document: &Document, sentence: usize) -> Option<usize> {
    let cut = document.sentences.get(sentence)?;
    if document.kind == super::Kind::Table {
        return cut.heading;
    }
    let text = document.sentence(sentence).to_lowercase();
    let points = POINTS_BACK.iter().any(|word| {
        text.strip_prefix(word)
            .is_some_and(|rest| !word.is_ascii() || rest.starts_with(|c: char| !c.is_alphanumeric()))
    });
    sentence.checked_sub(1).filter(|_| points)
}
