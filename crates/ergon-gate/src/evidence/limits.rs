//! The limits of the evidence gate, with the reasons of their defaults.

/// What a claim must hold to be shown as a fact. Every field says which way is tighter; tightening one never clears a claim
/// that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceLimits {
    /// Least calibrated probability that the spans support the claim. The default is the point at which, cross-validated on
    /// the development split of WiCE, at least 85 of 100 claims called supported are (`docs/evidence.md`). Tighter: more.
    pub score_min: f64,
    /// Least part of the claim's information that the spans hold, from 0 to 1. Overlap can only refuse. Tighter: more.
    pub overlap_min: f64,
    /// Least part of the claim's neighbouring words that stand near each other in a span too, from 0 to 1: a heap of the same
    /// words is no support. Tighter: more.
    pub binding_min: f64,
    /// Most numbers, dates and amounts of the claim that no span holds. Tighter: less.
    pub quantities_missing_max: f64,
    /// Most names of the claim that no span holds. Tighter: less.
    pub names_missing_max: f64,
    /// Most places where a span says otherwise: another number, a negation, an opposite, swapped roles. Tighter: less.
    pub conflicts_max: f64,
    /// Most independent groups of sources that speak against the claim. Tighter: less.
    pub opposing_max: f64,
    /// Least number of independent groups of sources that support it. Tighter: more.
    pub groups_min: f64,
}

impl Default for EvidenceLimits {
    fn default() -> EvidenceLimits {
        EvidenceLimits {
            score_min: 0.72,
            overlap_min: 0.5,
            binding_min: 0.25,
            quantities_missing_max: 0.0,
            names_missing_max: 0.0,
            conflicts_max: 0.0,
            opposing_max: 0.0,
            groups_min: 1.0,
        }
    }
}

/// A limit that is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the limit {name} is {value}; it must be a number from {low} to {high}")]
pub struct EvidenceLimitsError {
    /// The field.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Least value.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
}

impl EvidenceLimits {
    /// Checks that every limit is one.
    ///
    /// # Errors
    /// Names the first field that is outside its range or not a number.
    pub fn validate(&self) -> Result<(), EvidenceLimitsError> {
        let most = f64::from(u32::MAX);
        let fields = [
            ("score_min", self.score_min, 0.0, 1.0),
            ("overlap_min", self.overlap_min, 0.0, 1.0),
            ("binding_min", self.binding_min, 0.0, 1.0),
            ("quantities_missing_max", self.quantities_missing_max, 0.0, most),
            ("names_missing_max", self.names_missing_max, 0.0, most),
            ("conflicts_max", self.conflicts_max, 0.0, most),
            ("opposing_max", self.opposing_max, 0.0, most),
            ("groups_min", self.groups_min, 1.0, most),
        ];
        let bad = fields.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value));
        bad.map_or(Ok(()), |(name, value, low, high)| Err(EvidenceLimitsError { name, value, low, high }))
    }
}
