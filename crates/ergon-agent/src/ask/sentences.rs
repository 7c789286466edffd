//! Answers without a model: the sentence of a document that holds the answer, as it stands.

use std::{
    collections::{BTreeSet, HashSet},
    rc::Rc,
};

use super::reformulate::content;
use crate::{
    answers::extract,
    documents::{Cut, Document, Kind, Retrieved, instructs, words},
};

/// Sentences before and after the one that was found, in which an answer is looked for.
const AROUND: usize = 1;
/// A document of at most so many sentences is read as a whole.
const SHORT: usize = 8;
/// Proposals that are checked at most.
const MOST: usize = 12;
/// Part of the question's words that a sentence and those beside it must hold for an answer in it to count.
const COVERED: f64 = 0.6;
/// The same where nothing but the words tells that the sentence answers.
const COVERED_ALONE: f64 = 0.8;
/// Candidates that cover this much less of the question than the best are not about it.
const NEAR_BEST: f64 = 0.2;
/// Words that ask for a number or a date.
const COUNTING: [&str; 14] = [
    "when",
    "how many",
    "how much",
    "how long",
    "how old",
    "what year",
    "which year",
    "什么时候",
    "哪年",
    "哪一年",
    "何时",
    "多少",
    "几",
    "population",
];

/// A sentence with an answer in it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) document: Rc<Document>,
    /// Number of the sentence.
    pub(super) sentence: usize,
    /// The answer's own characters; nothing if the sentence as a whole is the answer.
    pub(super) answer: Option<String>,
    /// How much of the question it covers, then how well the answer stands in it.
    worth: (f64, f32),
}

/// Sentences that answer the question, surest first; each once.
pub(super) fn candidates(question: &str, found: &[Retrieved]) -> Vec<Candidate> {
    let asked = content(question);
    let counts = COUNTING.iter().any(|word| question.to_lowercase().contains(word));
    let mut windows: Vec<(Rc<Document>, usize, usize, usize)> = Vec::new();
    let mut seen = HashSet::new();
    for retrieved in found {
        for passage in &retrieved.passages {
            let document = &retrieved.documents[passage.source];
            let at = document.sentences.partition_point(|cut| cut.start_char < passage.start_char);
            if at < document.sentences.len() && seen.insert((document.source.file.clone(), at)) {
                // A row of a table says nothing about the rows beside it.
                let around = match document.kind {
                    Kind::Table => 0,
                    // A note of a few sentences is about one thing.
                    _ if document.sentences.len() <= SHORT => SHORT,
                    _ => AROUND,
                };
                let last = (at + around).min(document.sentences.len() - 1);
                windows.push((Rc::clone(document), at.saturating_sub(around), at, last));
            }
        }
    }
    let texts: Vec<&str> = windows
        .iter()
        .map(|(document, from, _, to)| {
            &document.text[document.sentences[*from].start..document.sentences[*to].end]
        })
        .collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    for ((document, from, middle, to), answer) in windows.iter().zip(extract(question, &texts)) {
        let covered = coverage(&asked, document, *from, *to);
        let (sentence, answer, score) = match answer {
            Some(answer) => {
                let start = document.sentences[*from].start_char + answer.start_char;
                let holds = |cut: &Cut| (cut.start_char..cut.end_char).contains(&start);
                let Some(sentence) = document.sentences.iter().position(holds) else { continue };
                (sentence, Some(answer.text), answer.score)
            }
            None => (*middle, None, 0.0),
        };
        let text = document.sentence(sentence);
        let is_there = |known: &Candidate| {
            known.document.source.file == document.source.file && known.sentence == sentence
        };
        let enough = match &answer {
            Some(_) => covered >= COVERED,
            None => {
                let own = coverage(&asked, document, sentence, sentence);
                own >= COVERED_ALONE && (!counts || text.chars().any(char::is_numeric))
            }
        };
        if enough && !instructs(text) && !candidates.iter().any(is_there) {
            let worth = (covered, score);
            candidates.push(Candidate { document: Rc::clone(document), sentence, answer, worth });
        }
    }
    candidates.sort_by(|a, b| b.worth.0.total_cmp(&a.worth.0).then(b.worth.1.total_cmp(&a.worth.1)));
    let best = candidates.first().map_or(0.0, |candidate| candidate.worth.0);
    candidates.retain(|candidate| candidate.worth.0 >= best - NEAR_BEST);
    candidates.truncate(MOST);
    candidates
}

/// Part of the question's words that stand in some sentences of a document or over them.
fn coverage(asked: &BTreeSet<String>, document: &Document, from: usize, to: usize) -> f64 {
    let text = &document.text[document.sentences[from].start..document.sentences[to].end];
    let heading = document.sentences[to].heading.map_or("", |heading| document.sentence(heading));
    let held: HashSet<String> = [text, heading, &document.title].into_iter().flat_map(words).collect();
    let shared = asked.iter().filter(|word| held.contains(*word)).count();
    shared as f64 / asked.len().max(1) as f64
}
