//! A question from search to outcome.

use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
};

use ergon_gate::{Cleared, evidence::EvidenceLimits};
use ergon_types::{Author, Citation, Claim, Verdict};

use super::{
    checking::{Bundle, Examined, model_written},
    model::{self, Span, Statement, Writer, WriterError},
    reformulate, sentences,
};
use crate::answers::{DocumentAnswer, decide, normal};
use crate::documents::{Document, DocumentsError, Filter, Library, Retrieved, retrieve, words};

/// Searches that one question may cause.
const MAX_SEARCHES: usize = 8;
/// Times a model is asked about one question.
const MAX_TURNS: usize = 3;
/// Spans that a model is shown.
const MAX_SPANS: usize = 48;
/// Claims that are shown.
const MAX_SHOWN: usize = 6;
/// Part of the question's words that a claim and its spans must hold to be about it.
const ABOUT: f64 = 0.34;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At least one claim passed the gate, and none is disputed.
    Answered,
    /// Too little holds.
    Abstained,
    /// Sources disagree, or copies of one source do.
    Contradicted,
}

/// A claim that is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The claim as the gate cleared it; nothing if sources disagree, and then it is shown as that.
    pub cleared: Option<Cleared<Claim>>,
    /// What the check found.
    pub examined: Examined,
    /// The characters that answer, if a sentence was found by them.
    pub answer: Option<String>,
}

/// What was proposed and did not pass.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The proposal.
    pub text: String,
    /// Why it did not pass.
    pub reasons: Vec<String>,
    /// The spans that it named.
    pub named: Vec<Citation>,
}

/// The answer to a question, or what there is instead.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What came of it.
    pub outcome: Outcome,
    /// Facts first, then what sources disagree on.
    pub claims: Vec<Shown>,
    /// What did not pass.
    pub unverified: Vec<Unverified>,
    /// What is not known, in words.
    pub missing: Vec<String>,
    /// What was searched for.
    pub searched: Vec<String>,
    /// Sentences about the question that a model wrote.
    pub model_written: Vec<Citation>,
}

/// Why a question has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The documents failed.
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    /// The model failed.
    #[error(transparent)]
    Writer(#[from] WriterError),
}

/// What is asked of whom.
pub struct Question<'q> {
    /// The question.
    pub text: &'q str,
    /// Only in these files.
    pub files: Option<Vec<String>>,
    /// The documents.
    pub library: &'q Library,
    /// What a claim must hold to be shown.
    pub limits: &'q EvidenceLimits,
    /// Set when the work shall end.
    pub stop: &'q AtomicBool,
}

/// A claim on its way to the gate.
struct Proposal {
    text: String,
    answer: Option<String>,
    /// The spans that must support it; all others may only speak against it or along.
    cited: Retrieved,
    /// Why it needs no check any more.
    refused: Option<String>,
}

/// Answers a question from the documents; `writer` proposes if there is one.
///
/// # Errors
/// The documents or the model failed. That the documents say too little is no error.
pub fn ask(question: &Question, writer: Option<&mut dyn Writer>) -> Result<Answered, AskError> {
    let mut search = Search { question, searched: Vec::new(), found: Vec::new() };
    let (proposals, mut missing) = match writer {
        Some(writer) => search.with_model(writer)?,
        None => (search.without_model()?, Vec::new()),
    };
    let (claims, unverified) = search.check(proposals)?;
    let outcome = match claims.as_slice() {
        claims if claims.iter().any(|shown| shown.examined.checked.verdict == Verdict::Contradicted) => {
            Outcome::Contradicted
        }
        [] => Outcome::Abstained,
        _ => Outcome::Answered,
    };
    if outcome == Outcome::Abstained {
        missing.splice(0..0, search.missing(&unverified));
    }
    let model_written = model_written(question.library, question.text, question.files.clone())?;
    Ok(Answered { outcome, claims, unverified, missing, searched: search.searched, model_written })
}

struct Search<'q> {
    question: &'q Question<'q>,
    searched: Vec<String>,
    found: Vec<Retrieved>,
}

impl Search<'_> {
    fn retrieve(&self, text: &str) -> Result<Retrieved, AskError> {
        if self.question.stop.load(Ordering::SeqCst) {
            return Err(DocumentsError::Interrupted.into());
        }
        let filter = Filter { files: self.question.files.clone(), author: Author::Unmarked };
        Ok(retrieve(self.question.library, text, &filter)?)
    }

    /// Searches once more, if this was not searched yet; tells whether anything new came up.
    fn search(&mut self, text: &str) -> Result<bool, AskError> {
        if self.searched.len() >= MAX_SEARCHES || self.searched.iter().any(|known| known == text) {
            return Ok(false);
        }
        let known: BTreeSet<(String, usize)> = self.found.iter().flat_map(places).collect();
        let retrieved = self.retrieve(text)?;
        let is_new = places(&retrieved).any(|place| !known.contains(&place));
        self.searched.push(text.to_string());
        self.found.push(retrieved);
        Ok(is_new)
    }

    /// Sentences that hold an answer; searched for in other words until there is one.
    fn without_model(&mut self) -> Result<Vec<Proposal>, AskError> {
        let mut searches = reformulate::plain(self.question.text);
        let mut at = 0;
        while at < searches.len() {
            let is_new = self.search(&searches[at])?;
            if is_new && !sentences::candidates(self.question.text, &self.found).is_empty() {
                break;
            }
            if at == 0 {
                let more =
                    self.found.first().and_then(|found| reformulate::with_names(self.question.text, found));
                searches.extend(more);
            }
            at += 1;
        }
        let mut proposals: Vec<Proposal> = Vec::new();
        for candidate in sentences::candidates(self.question.text, &self.found) {
            let mut cited = Retrieved::default();
            cited.add(&candidate.document, candidate.sentence);
            proposals.push(Proposal {
                text: one_line(candidate.document.sentence(candidate.sentence)),
                answer: candidate.answer,
                cited,
                refused: None,
            });
        }
        Ok(proposals)
    }

    /// Asks the model, searches what it wants searched, and asks again.
    fn with_model(&mut self, writer: &mut dyn Writer) -> Result<(Vec<Proposal>, Vec<String>), AskError> {
        for search in reformulate::plain(self.question.text).iter().take(3) {
            self.search(search)?;
        }
        let mut reply = model::Reply::default();
        let mut spans = Vec::new();
        for turn in 0..MAX_TURNS {
            if self.question.stop.load(Ordering::SeqCst) {
                return Err(DocumentsError::Interrupted.into());
            }
            spans = self.spans();
            if spans.is_empty() {
                break;
            }
            reply = model::parse(&writer.write(&model::prompt(self.question.text, &spans))?);
            let mut is_new = false;
            for search in &reply.searches {
                is_new |= self.search(search)?;
            }
            if !is_new || turn + 1 == MAX_TURNS {
                break;
            }
        }
        let proposals =
            reply.statements.iter().flat_map(|statement| self.proposals(statement, &spans)).collect();
        Ok((proposals, reply.missing))
    }

    /// The sentences that a model may name, newest search last, each once.
    fn spans(&self) -> Vec<Span> {
        let mut seen = BTreeSet::new();
        let mut spans = Vec::new();
        // Best sentences of every search first: a later search must not drown in the first.
        let longest = self.found.iter().map(|found| found.passages.len()).max().unwrap_or(0);
        for at in 0..longest {
            for found in &self.found {
                let Some(passage) = found.passages.get(at) else { continue };
                let document = &found.documents[passage.source];
                let Some(sentence) = sentence_at(document, passage.start_char) else { continue };
                if spans.len() < MAX_SPANS && seen.insert((document.source.file.clone(), sentence)) {
                    spans.push(Span { document: Rc::clone(document), sentence });
                }
            }
        }
        spans
    }

    /// A line of the model's reply as claims: its own words with the spans it names, or each span's own text.
    fn proposals(&self, statement: &Statement, spans: &[Span]) -> Vec<Proposal> {
        let mut cited = Retrieved::default();
        let mut refused = None;
        for number in &statement.spans {
            match number.checked_sub(1).and_then(|at| spans.get(at)) {
                Some(span) => {
                    cited.add(&span.document, span.sentence);
                }
                None => refused = Some(format!("it names span {number}, which does not exist")),
            }
        }
        if statement.spans.is_empty() {
            refused = Some("it names no span".to_string());
        }
        if statement.text.is_empty() {
            return cited
                .passages
                .iter()
                .map(|passage| pasted(&cited, passage.source, passage.start_char))
                .collect();
        }
        let holds = |quoted: &&str| cited.passages.iter().any(|passage| same_words(&passage.text, quoted));
        if let Some(quoted) = model::quotations(&statement.text).into_iter().find(|quoted| !holds(quoted)) {
            refused.get_or_insert(format!("the spans it names do not hold the quotation '{quoted}'"));
        }
        if !self.is_about(&statement.text, &cited) {
            refused.get_or_insert("it is not about the question".to_string());
        }
        vec![Proposal { text: statement.text.clone(), answer: None, cited, refused }]
    }

    /// Whether a claim or what it cites shares enough words with the question.
    fn is_about(&self, text: &str, cited: &Retrieved) -> bool {
        let asked = reformulate::content(self.question.text);
        let mut held: BTreeSet<String> = words(text).into_iter().collect();
        for passage in &cited.passages {
            held.extend(words(&passage.text));
            held.extend(words(&cited.documents[passage.source].title));
            held.extend(words(&cited.documents[passage.source].source.file));
        }
        let shared = asked.iter().filter(|word| held.contains(*word)).count();
        asked.is_empty() || shared as f64 >= ABOUT * asked.len() as f64
    }

    /// Puts every proposal before the gate: what passes, what sources disagree on, and the rest.
    fn check(&self, proposals: Vec<Proposal>) -> Result<(Vec<Shown>, Vec<Unverified>), AskError> {
        let mut bundle = Bundle::default();
        let mut ready = Vec::new();
        for proposal in proposals {
            let narrow = bundle.take(&proposal.cited);
            let mut around = proposal.cited.clone();
            if proposal.refused.is_none() {
                let more = self.retrieve(&proposal.text)?;
                for passage in &more.passages {
                    let document = &more.documents[passage.source];
                    sentence_at(document, passage.start_char)
                        .and_then(|sentence| around.add(document, sentence));
                }
            }
            let wide = bundle.take(&around);
            ready.push((proposal, narrow, wide));
        }
        let copies = bundle.copies();
        let (mut facts, mut disputed, mut unverified) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (proposal, narrow, wide)) in ready.into_iter().enumerate() {
            let claim = Claim { id: (index + 1).to_string(), text: proposal.text.clone() };
            let own = bundle.check(&claim, &narrow, &copies, self.question.limits);
            let all = bundle.check(&claim, &wide, &copies, self.question.limits);
            let reasons = match proposal.refused {
                Some(reason) => vec![reason],
                None if own.checked.cleared.is_none() => own.checked.reasons.clone(),
                None => {
                    let is_disputed = all.checked.verdict == Verdict::Contradicted;
                    let cleared =
                        all.checked.cleared.clone().filter(|_| all.checked.verdict == Verdict::Supported);
                    if is_disputed || cleared.is_some() {
                        let shown = Shown { cleared, examined: all, answer: proposal.answer };
                        if is_disputed {
                            disputed.push(shown)
                        } else {
                            facts.push(shown)
                        }
                        continue;
                    }
                    all.checked.reasons.clone()
                }
            };
            unverified.push(Unverified {
                text: proposal.text,
                reasons,
                named: bundle.named(&narrow, &copies),
            });
        }
        let mut shown = distinct(self.weighed(facts, &mut unverified));
        shown.extend(distinct(disputed));
        shown.truncate(MAX_SHOWN);
        Ok((shown, unverified))
    }

    /// Where facts answer differently, leaves out the answers that the policy of groups, changed copies and backing drops.
    fn weighed(&self, facts: Vec<Shown>, unverified: &mut Vec<Unverified>) -> Vec<Shown> {
        let documents: Vec<Option<Rc<Document>>> = facts
            .iter()
            .map(|shown| shown.examined.checked.citations.first())
            .map(|citation| self.question.library.document(&citation?.source.file).ok())
            .collect();
        let answers: Vec<DocumentAnswer> = facts
            .iter()
            .zip(&documents)
            .filter_map(|(shown, document)| {
                Some(DocumentAnswer {
                    text: &document.as_ref()?.text,
                    answer: Some(shown.answer.as_deref()?),
                })
            })
            .collect();
        let dropped: BTreeSet<String> = decide(self.question.text, &answers)
            .dropped
            .into_iter()
            .map(|(candidate, _)| normal(&candidate.answer))
            .collect();
        let is_dropped =
            |shown: &Shown| shown.answer.as_deref().is_some_and(|answer| dropped.contains(&normal(answer)));
        let (dropped, kept): (Vec<Shown>, Vec<Shown>) = facts.into_iter().partition(is_dropped);
        unverified.extend(dropped.into_iter().map(|shown| Unverified {
            text: shown.examined.checked.claim.text.clone(),
            reasons: vec!["other answers are better backed by independent sources".to_string()],
            named: shown.examined.checked.citations,
        }));
        kept
    }

    /// Why there is no answer, in words.
    fn missing(&self, unverified: &[Unverified]) -> Vec<String> {
        if self.found.iter().all(|found| found.passages.is_empty()) {
            return vec!["no sentence of the documents shares a word with the question".to_string()];
        }
        let absent = reformulate::not_found(self.question.text, &self.found);
        let mut missing = Vec::new();
        if !absent.is_empty() {
            missing.push(format!("nothing that was found mentions: {}", absent.join(", ")));
        }
        let documents: BTreeSet<&str> = self
            .found
            .iter()
            .flat_map(|found| found.documents.iter().map(|document| document.source.file.as_str()))
            .collect();
        missing.push(match unverified.len() {
            0 => format!("no sentence found in {} documents states an answer", documents.len()),
            count => format!(
                "{count} candidates were found in {} documents and none passed the gate",
                documents.len()
            ),
        });
        missing
    }
}

/// A span's own text as a claim.
fn pasted(cited: &Retrieved, source: usize, start_char: usize) -> Proposal {
    let document = &cited.documents[source];
    let mut own = Retrieved::default();
    let sentence = sentence_at(document, start_char).unwrap_or(0);
    own.add(document, sentence);
    Proposal { text: one_line(document.sentence(sentence)), answer: None, cited: own, refused: None }
}

fn sentence_at(document: &Document, start_char: usize) -> Option<usize> {
    document.sentences.binary_search_by_key(&start_char, |cut| cut.start_char).ok()
}

fn places(retrieved: &Retrieved) -> impl Iterator<Item = (String, usize)> + '_ {
    let file = |source: usize| retrieved.documents[source].source.file.clone();
    retrieved.passages.iter().map(move |passage| (file(passage.source), passage.start_char))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a text holds a quotation, white space aside.
fn same_words(text: &str, quoted: &str) -> bool {
    one_line(text).contains(&one_line(quoted))
}

/// Claims without those that say the same, by answer or by words.
fn distinct(claims: Vec<Shown>) -> Vec<Shown> {
    let mut seen = BTreeSet::new();
    let key = |shown: &Shown| {
        let text = shown.answer.as_deref().unwrap_or(&shown.examined.checked.claim.text);
        words(text).join(" ")
    };
    claims.into_iter().filter(|shown| seen.insert(key(shown))).collect()
}
