//! What one source says of a claim: support, and what speaks against it.

use ergon_gate::evidence::Support;
use ergon_types::Passage;

use super::align::{self, Parsed, Row};
use super::carry;
use super::conflicts::{self, Conflict, Found};
use super::features::{self, Aligned};
use super::model::Model;
use crate::text::tokens::{Token, TokenKind, tokenize};
use crate::text::{self, Analysed, cues};

/// Most sentences of one source that are looked at.
const SENTENCES: usize = 64;
/// Part of a clause, what is in conflict apart, that a sentence must hold to speak against it.
const ABOUT: f32 = 0.7;

/// Least score of a claim that a source says word for word.
const SCORE_VERBATIM: f64 = 0.97;

/// One source's sentences laid beside a claim.
pub(super) struct Laid<'a> {
    pub(super) passages: Vec<&'a Passage>,
    sentences: Vec<Analysed>,
    rows: Vec<Row>,
    conflicts: Vec<Vec<Found>>,
    /// Quantities of the claim that stand in another's place.
    displaced: usize,
    /// The sentence that says the claim word for word, and nothing else.
    verbatim: Option<usize>,
}

impl<'a> Laid<'a> {
    /// Lays passages of one source, in the order of its text, beside a claim.
    pub(super) fn new((claim, claim_text): (&Parsed, &str), mut passages: Vec<&'a Passage>) -> Laid<'a> {
        passages.truncate(SENTENCES);
        let texts = carry::carried(&passages);
        let sentences: Vec<Analysed> = texts.iter().map(|text| text::analyse(text)).collect();
        let rows: Vec<Row> = sentences.iter().map(|sentence| align::row(claim, sentence)).collect();
        let of =
            |at: usize| conflicts::conflicts((claim, claim_text), (&sentences[at], &texts[at]), &rows[at]);
        let conflicts = (0..rows.len()).map(of).collect();
        let displaced = conflicts::displaced(claim, &sentences.iter().collect::<Vec<_>>(), &rows);
        let verbatim = passages.iter().position(|passage| is_verbatim(claim, &passage.text));
        Laid { passages, sentences, rows, conflicts, displaced, verbatim }
    }

    /// The features for the model.
    pub(super) fn features(&self, claim: &Parsed) -> Vec<f32> {
        let sentences: Vec<&Analysed> = self.sentences.iter().collect();
        let starts: Vec<usize> = self.passages.iter().map(|passage| passage.start_char).collect();
        let conflicts = self
            .rows
            .iter()
            .zip(&self.conflicts)
            .filter(|(row, found)| row.coverage >= 0.5 && !found.is_empty());
        let (conflicts, displaced) = (conflicts.count(), self.displaced);
        features::features(&Aligned {
            claim,
            sentences: &sentences,
            starts: &starts,
            rows: &self.rows,
            displaced,
            conflicts,
        })
    }
}

/// What one source says of a claim.
pub(super) struct Reading<'a> {
    pub(super) laid: Laid<'a>,
    /// Sentences that support the claim together, as indices into the passages.
    pub(super) cited: Vec<usize>,
    /// Sentences that speak against it, each with its first reason.
    pub(super) against: Vec<(usize, Conflict)>,
    /// What the gate is told.
    pub(super) support: Support,
}

impl<'a> Reading<'a> {
    /// Reads the passages of one source. `group` and `by_model` are passed on to the gate.
    pub(super) fn new(
        (claim, claim_text): (&Parsed, &str),
        passages: Vec<&'a Passage>,
        (group, by_model): (usize, bool),
        model: &Model<'_>,
    ) -> Reading<'a> {
        let laid = Laid::new((claim, claim_text), passages);
        let (cited, _) = align::cover(claim, &laid.rows, 3);
        let support = Support {
            group,
            by_model,
            overlap: 0.0,
            binding: 0.0,
            quantities_missing: 0,
            names_missing: 0,
            conflicts: 0,
            score: 0.0,
        };
        let mut reading = Reading { laid, cited, against: Vec::new(), support };
        reading.weigh(claim, model);
        if let Some(sentence) = reading.laid.verbatim {
            reading.quote(sentence);
        }
        reading.oppose(claim);
        reading
    }

    fn weigh(&mut self, claim: &Parsed, model: &Model<'_>) {
        let features = self.laid.features(claim);
        let all: Vec<usize> = (0..claim.items()).collect();
        let quantities = 0..claim.text.quantities.len();
        let base = claim.text.terms.len();
        let held = |item: usize| self.laid.rows.iter().any(|row| row.held[item] > 0.0);
        let names = claim.text.names.iter().filter(|name| {
            self.laid.sentences.iter().all(|sentence| features::name_in(name, sentence) < 0.5)
        });
        let names_missing = names.count() + if claim.text.is_han() { self.han_missing(claim) } else { 0 };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.support.overlap = f64::from(align::best_sets(claim, &self.laid.rows, &all)[2]).min(1.0);
        self.support.binding =
            f64::from(if base > 1 { features::pairs(claim, &self.laid.rows, 0.0) } else { 1.0 });
        self.support.quantities_missing = count(quantities.filter(|at| !held(base + at)).count());
        self.support.names_missing = count(names_missing);
        self.support.conflicts = count(self.conflicts_cited(claim) + self.laid.displaced);
        self.support.score = f64::from(model.probability(&features)).clamp(0.0, 1.0);
    }

    /// A source that says the claim word for word supports it, whatever else its words may mean elsewhere on the page.
    fn quote(&mut self, sentence: usize) {
        self.cited = vec![sentence];
        let Support { group, by_model, score, .. } = self.support;
        self.support = Support {
            group,
            by_model,
            overlap: 1.0,
            binding: 1.0,
            quantities_missing: 0,
            names_missing: 0,
            conflicts: 0,
            score: score.max(SCORE_VERBATIM),
        };
    }

    /// Stretches of a Chinese claim that the one sentence nearest to it has not. Chinese names have no capitals, so each such
    /// stretch may be one.
    fn han_missing(&self, claim: &Parsed) -> usize {
        let stretches = |row: &Row| {
            let missing: Vec<bool> =
                row.held[..claim.text.terms.len()].iter().map(|held| *held == 0.0).collect();
            missing.iter().enumerate().filter(|(at, gone)| **gone && (*at == 0 || !missing[at - 1])).count()
        };
        self.laid.rows.iter().map(stretches).min().unwrap_or(claim.text.terms.len())
    }

    /// Conflicts in the cited sentences. Another number counts only where no cited sentence has the claim's own, undisturbed.
    fn conflicts_cited(&self, claim: &Parsed) -> usize {
        let undisturbed = |item: usize, at: &usize| {
            self.laid.rows[*at].held[item] > 0.0
                && !self.laid.conflicts[*at].iter().any(|found| found.items.contains(&item))
        };
        let counts = |at: usize, found: &Found| match found.conflict {
            Conflict::Quantity { .. } | Conflict::Name { .. } => {
                !found.items.iter().any(|item| self.cited.iter().any(|other| undisturbed(*item, other)))
            }
            _ => self.laid.rows[at].coverage >= 0.5 || claim.clauses.len() == 1,
        };
        self.cited
            .iter()
            .flat_map(|at| self.laid.conflicts[*at].iter().filter(|found| counts(*at, found)))
            .count()
    }

    /// Finds the sentences that speak against the claim: about the same, with a conflict, and no sentence of the same source
    /// that says what the claim says as fully.
    fn oppose(&mut self, claim: &Parsed) {
        let clean =
            self.laid.rows.iter().zip(&self.laid.conflicts).filter(|(_, conflicts)| conflicts.is_empty());
        let best = clean.map(|(row, _)| row.coverage).fold(0.0, f32::max);
        let best = if self.laid.verbatim.is_some() { 1.0 } else { best };
        for (at, found) in self.laid.conflicts.iter().enumerate() {
            let against = found.iter().find(|found| {
                let about = about(claim, &self.laid.rows[at], &found.items);
                found.conflict.refutes() && about >= ABOUT && best < 0.95 * about
            });
            self.against.extend(against.map(|found| (at, found.conflict.clone())));
        }
    }

    /// Whether the text around the cited sentences denies something nowhere else denied; for the reasons only.
    pub(super) fn is_denied(&self) -> bool {
        self.cited.iter().any(|at| {
            (0..self.laid.sentences[*at].tokens.len())
                .any(|t| cues::is_negation(&self.laid.sentences[*at].tokens, t))
        })
    }
}

/// Whether a sentence is the claim word for word, marks aside.
fn is_verbatim(claim: &Parsed, sentence: &str) -> bool {
    let words = |tokens: &[Token]| -> Vec<String> {
        tokens.iter().filter(|token| token.kind != TokenKind::Mark).map(|token| token.text.clone()).collect()
    };
    // Signs that change a number are marks too: they must be the same.
    let signs =
        |tokens: &[Token]| tokens.iter().filter(|token| "-%$€£¥+".contains(token.text.as_str())).count();
    let tokens = tokenize(text::cut(sentence));
    sentence.len() <= text::LONGEST
        && claim.items() > 0
        && words(&claim.text.tokens) == words(&tokens)
        && signs(&claim.text.tokens) == signs(&tokens)
}

/// How much of the claim, or of the clause that is in conflict, a sentence holds beside the conflict itself.
fn about(claim: &Parsed, row: &Row, apart: &[usize]) -> f32 {
    let rest = |items: &[usize]| -> f32 {
        let others: Vec<usize> = items.iter().copied().filter(|item| !apart.contains(item)).collect();
        let held = others.iter().filter(|item| row.held[**item] > 0.0).count();
        if held < 2 && others.len() > held { 0.0 } else { claim.part(others.iter().copied(), &row.held) }
    };
    let whole: Vec<usize> = (0..claim.items()).collect();
    let clause = claim
        .clauses
        .iter()
        .filter(|clause| clause.len() > 3 && apart.iter().any(|item| clause.contains(item)));
    clause.map(|clause| 0.95 * rest(clause)).fold(rest(&whole), f32::max)
}
