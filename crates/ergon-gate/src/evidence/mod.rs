//! The evidence gate: which claims may be shown as facts.
//!
//! What the spans say of a claim arrives as numbers ([`Features`]); the gate holds them against [`EvidenceLimits`] and makes a
//! `Cleared<Claim>` or a refusal. It reads no text. Three properties are tested (`tests/evidence.rs`):
//!
//! - Taking away support never clears a refused claim: a claim is cleared when some group of sources passes every rule, and
//!   more groups only give more chances. What speaks against a claim can only refuse it.
//! - A copy of a source adds nothing: groups are counted, and the best member speaks for its group.
//! - Overlap alone clears nothing: it is a rule that can break, as are numbers, names, conflicts, binding and score.

mod limits;
mod refusal;

use std::collections::BTreeSet;

use ergon_types::Claim;

pub use limits::{EvidenceLimits, EvidenceLimitsError};
pub use refusal::{Finding, Refused, Rule};

use crate::Cleared;

/// What the spans of one source say of a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Support {
    /// Group of the source: copies of one another share it.
    pub group: usize,
    /// Whether the source is marked as written by a model.
    pub by_model: bool,
    /// Part of the claim's information that the spans hold, from 0 to 1.
    pub overlap: f64,
    /// Part of the claim's neighbouring words that stand near each other in a span, from 0 to 1.
    pub binding: f64,
    /// Numbers, dates and amounts of the claim that no span holds.
    pub quantities_missing: u32,
    /// Names of the claim that no span holds.
    pub names_missing: u32,
    /// Places where a span says otherwise.
    pub conflicts: u32,
    /// Calibrated probability that the spans support the claim, from 0 to 1.
    pub score: f64,
}

/// All that the gate knows of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Words that carry meaning and quantities in the claim.
    pub items: u32,
    /// One entry per source with spans about the claim.
    pub support: Vec<Support>,
    /// Groups of sources that say otherwise, as the checks before the gate found.
    pub opposing: BTreeSet<usize>,
}

/// Decides whether a claim may be shown as a fact.
///
/// # Errors
/// The broken rules of the source that breaks the fewest, or those about the claim as a whole.
pub fn judge(claim: Claim, features: &Features, limits: &EvidenceLimits) -> Result<Cleared<Claim>, Refused> {
    let refuse =
        |rule: Rule, value: f64, limit: f64| Err(Refused { why: vec![Finding { rule, value, limit }] });
    if features.items == 0 || claim.text.trim().is_empty() {
        return refuse(Rule::Content, 0.0, 1.0);
    }
    let evidence: Vec<&Support> = features.support.iter().filter(|support| !support.by_model).collect();
    let broken: Vec<(usize, Vec<Finding>)> =
        evidence.iter().map(|support| (support.group, broken(support, limits))).collect();
    let passed: BTreeSet<usize> =
        broken.iter().filter(|(_, why)| why.is_empty()).map(|(group, _)| *group).collect();
    if passed.is_empty() {
        // The source nearest to being enough is the one that says best what is missing.
        let least = broken.into_iter().map(|(_, why)| why).min_by_key(Vec::len);
        return least.map_or_else(|| refuse(Rule::Source, 0.0, 1.0), |why| Err(Refused { why }));
    }
    if (passed.len() as f64) < limits.groups_min || limits.groups_min.is_nan() {
        return refuse(Rule::Groups, passed.len() as f64, limits.groups_min);
    }
    let opposing = features.opposing.len() as f64;
    if opposing > limits.opposing_max || limits.opposing_max.is_nan() {
        return refuse(Rule::Opposing, opposing, limits.opposing_max);
    }
    Ok(Cleared::new(claim))
}

/// Whether one source's spans, taken alone, pass every rule about spans. What a model wrote never does.
pub fn passes(support: &Support, limits: &EvidenceLimits) -> bool {
    !support.by_model && broken(support, limits).is_empty()
}

/// The rules that one source's spans break. Not a number holds no rule.
fn broken(support: &Support, limits: &EvidenceLimits) -> Vec<Finding> {
    let mut why = Vec::new();
    let finite =
        [support.overlap, support.binding, support.score].iter().all(|value| (0.0..=1.0).contains(value));
    if !finite {
        why.push(Finding { rule: Rule::Finite, value: f64::NAN, limit: 1.0 });
    }
    let least = [
        (Rule::Overlap, support.overlap, limits.overlap_min),
        (Rule::Binding, support.binding, limits.binding_min),
        (Rule::Score, support.score, limits.score_min),
    ];
    let most = [
        (Rule::Quantities, f64::from(support.quantities_missing), limits.quantities_missing_max),
        (Rule::Names, f64::from(support.names_missing), limits.names_missing_max),
        (Rule::Conflicts, f64::from(support.conflicts), limits.conflicts_max),
    ];
    let holds =
        |at_least: bool, value: f64, limit: f64| if at_least { value >= limit } else { value <= limit };
    for (rules, at_least) in [(least, true), (most, false)] {
        why.extend(
            rules
                .into_iter()
                .filter(|(_, value, limit)| !holds(at_least, *value, *limit))
                .map(|(rule, value, limit)| Finding { rule, value, limit }),
        );
    }
    why.sort_by_key(|finding| finding.rule);
    why
}
