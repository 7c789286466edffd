//! Claims checked against the sentences of sources: verdict, score, reasons in words, citations.
//!
//! Each source is read by itself (`source.rs`): the claim's words, names and quantities are laid beside its sentences, a
//! fitted model makes a probability of what is found, and rules look for what says otherwise. Copies count once. The gate
//! (`ergon_gate::evidence`) decides; this module only says in words what it decided and why.

pub mod align;
mod carry;
pub mod conflicts;
pub mod features;
pub mod model;
mod reasons;
mod source;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use ergon_gate::Cleared;
use ergon_gate::evidence::{EvidenceLimits, Features, judge};
use ergon_types::{Author, Citation, Claim, Passage, Source, Verdict};

use crate::copies::{Alarm, Copies};
use align::Parsed;
use model::Model;
use source::{Laid, Reading};

/// The features that a source's passages, in the order of its text, give for a claim: what the model is fitted on.
pub fn measure(claim: &str, passages: &[&Passage]) -> Vec<f32> {
    let parsed = Parsed::new(claim);
    Laid::new((&parsed, claim), passages.to_vec()).features(&parsed)
}

/// What the check of a claim came to.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The claim.
    pub claim: Claim,
    /// What the sources say of it.
    pub verdict: Verdict,
    /// Calibrated probability that the sources support it, from 0 to 1.
    pub score: f32,
    /// Why, in words, the weightiest first.
    pub reasons: Vec<String>,
    /// Sentences that support it, one source for each group.
    pub citations: Vec<Citation>,
    /// Sentences that speak against it, one source for each group.
    pub opposing: Vec<Citation>,
    /// Near-copies that differ in a value which these sentences hold.
    pub alarms: Vec<Alarm>,
    /// The claim as the gate cleared it; only where the verdict is `Supported`.
    pub cleared: Option<Cleared<Claim>>,
}

/// Most that the score can be where a source says otherwise: of such claims in WiCE's development split about one in five is
/// supported, and their sources were never asked for the contrary.
const SCORE_REFUTED: f64 = 0.1;
/// Most that it can be where sources disagree.
const SCORE_CONTRADICTED: f64 = 0.5;

/// Checks a claim against passages: the retrieved sentences of some sources, those of one source in the order of its text.
/// `Passage::source` is an index into `sources`, and `copies` groups the sources by the same index; a passage whose source
/// is not there is left out. Sources marked `Author::Model` are never evidence.
pub fn check(
    claim: &Claim,
    sources: &[Source],
    passages: &[Passage],
    copies: &Copies,
    limits: &EvidenceLimits,
) -> Checked {
    check_with(&model::SHIPPED, claim, sources, passages, copies, limits)
}

/// The same with another model than the shipped one: for measuring one that has not seen the claim.
pub fn check_with(
    model: &Model<'_>,
    claim: &Claim,
    sources: &[Source],
    passages: &[Passage],
    copies: &Copies,
    limits: &EvidenceLimits,
) -> Checked {
    let parsed = Parsed::new(&claim.text);
    let mut by_source: BTreeMap<usize, Vec<&Passage>> = BTreeMap::new();
    for passage in passages.iter().filter(|passage| passage.source < sources.len()) {
        by_source.entry(passage.source).or_default().push(passage);
    }
    let mut readings: Vec<(usize, Reading<'_>)> = Vec::new();
    for (at, mut passages) in by_source {
        passages.sort_by_key(|passage| passage.start_char);
        let by_model = sources[at].author == Author::Model;
        let group = copies.group(at);
        readings.push((at, Reading::new((&parsed, &claim.text), passages, (group, by_model), model)));
    }
    let sides = Sides::new(&readings, limits);
    let support: Vec<_> = readings.iter().map(|(_, reading)| reading.support.clone()).collect();
    // What is behind the longest text is not looked at, so a longer claim is not checked and cannot be cleared.
    let whole = claim.text.len() <= crate::text::LONGEST;
    let items = if whole { u32::try_from(parsed.items()).unwrap_or(u32::MAX) } else { 0 };
    let features = Features { items, support, opposing: sides.opposing() };
    let judged = judge(claim.clone(), &features, limits);
    let verdict = sides.verdict(judged.is_ok());
    let shown = |groups: &BTreeSet<usize>, for_it: bool| cite(&readings, sources, groups, for_it);
    let (citations, opposing) = match verdict {
        Verdict::NotEnough => (Vec::new(), Vec::new()),
        _ => (shown(&sides.supporting, true), shown(&sides.against, false)),
    };
    let alarms = alarms(copies, &readings);
    let reasons = reasons::reasons(verdict, &judged, &readings, &sides, (&citations, &alarms), sources);
    let score = score(&features, verdict) as f32;
    Checked {
        claim: claim.clone(),
        verdict,
        score,
        reasons,
        citations,
        opposing,
        alarms,
        cleared: judged.ok(),
    }
}

/// The groups that support a claim, and those that speak against it; a group of copies that differ may be in both.
struct Sides {
    supporting: BTreeSet<usize>,
    against: BTreeSet<usize>,
}

impl Sides {
    fn new(readings: &[(usize, Reading<'_>)], limits: &EvidenceLimits) -> Sides {
        let mut sides = Sides { supporting: BTreeSet::new(), against: BTreeSet::new() };
        let evidence = readings.iter().filter(|(_, reading)| !reading.support.by_model);
        for (_, reading) in evidence {
            if ergon_gate::evidence::passes(&reading.support, limits) {
                sides.supporting.insert(reading.support.group);
            }
            if !reading.against.is_empty() {
                sides.against.insert(reading.support.group);
            }
        }
        sides
    }

    /// Groups that count against the claim. Copies that differ among themselves count on no side while an independent group
    /// speaks for it.
    fn opposing(&self) -> BTreeSet<usize> {
        let only_mixed = self.supporting.is_subset(&self.against);
        let counts = |group: &&usize| only_mixed || !self.supporting.contains(group);
        self.against.iter().filter(counts).copied().collect()
    }

    fn verdict(&self, cleared: bool) -> Verdict {
        let independent = self.supporting.difference(&self.against).next().is_some();
        let contrary = self.against.difference(&self.supporting).next().is_some();
        let mixed = !self.supporting.is_disjoint(&self.against);
        match (independent, contrary) {
            _ if cleared => Verdict::Supported,
            (true, true) => Verdict::Contradicted,
            (false, true) => Verdict::Refuted,
            (false, false) if mixed => Verdict::Contradicted,
            _ => Verdict::NotEnough,
        }
    }
}

/// The best source's probability; held down where sources speak against the claim.
fn score(features: &Features, verdict: Verdict) -> f64 {
    let evidence = features.support.iter().filter(|support| !support.by_model);
    let best = evidence.map(|support| support.score).fold(0.0, f64::max);
    match verdict {
        Verdict::Refuted => best.min(SCORE_REFUTED),
        Verdict::Contradicted => best.min(SCORE_CONTRADICTED),
        _ => best,
    }
}

/// Citations of some groups, one source for each: for the claim the one with the best score, against it the first.
fn cite(
    readings: &[(usize, Reading<'_>)],
    sources: &[Source],
    groups: &BTreeSet<usize>,
    for_it: bool,
) -> Vec<Citation> {
    let mut citations = Vec::new();
    for group in groups {
        let of_group = readings.iter().filter(|(_, reading)| {
            let speaks = for_it || !reading.against.is_empty();
            reading.support.group == *group && !reading.support.by_model && speaks
        });
        let best = of_group.reduce(|best, next| {
            let better = for_it && rank(&next.1) > rank(&best.1);
            if better { next } else { best }
        });
        let Some((at, reading)) = best else { continue };
        let against: Vec<usize> = reading.against.iter().map(|(at, _)| *at).take(3).collect();
        for passage in if for_it { &reading.cited } else { &against } {
            let passage = reading.laid.passages[*passage];
            citations.push(Citation {
                source: sources[*at].clone(),
                start_char: passage.start_char,
                end_char: passage.end_char,
                cited_text: passage.text.clone(),
                group: *group,
            });
        }
    }
    citations
}

/// Which source of a group is cited for it: one without broken rules, then the higher score.
fn rank(reading: &Reading<'_>) -> (bool, f64) {
    let support = &reading.support;
    (support.quantities_missing + support.names_missing + support.conflicts == 0, support.score)
}

/// Alarms about values that stand in a sentence for or against the claim.
fn alarms(copies: &Copies, readings: &[(usize, Reading<'_>)]) -> Vec<Alarm> {
    let speaks = |source: usize, value: &str| {
        readings.iter().filter(|(at, _)| *at == source).any(|(_, reading)| {
            let against = reading.against.iter().map(|(at, _)| at);
            reading.cited.iter().chain(against).any(|at| reading.laid.passages[*at].text.contains(value))
        })
    };
    let touches =
        |alarm: &&Alarm| speaks(alarm.first, &alarm.first_value) || speaks(alarm.second, &alarm.second_value);
    copies.alarms().iter().filter(touches).cloned().collect()
}
