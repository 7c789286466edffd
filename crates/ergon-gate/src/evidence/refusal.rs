//! Why a claim is not shown as a fact.

use std::fmt;

/// The rules, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The claim says something.
    Content,
    /// A source that no model wrote speaks about it.
    Source,
    /// All numbers of the features are finite.
    Finite,
    /// The spans hold enough of what the claim says.
    Overlap,
    /// Every number, date and amount is in a span.
    Quantities,
    /// Every name is in a span.
    Names,
    /// No span says otherwise.
    Conflicts,
    /// Words that belong together in the claim stand together in a span.
    Binding,
    /// The calibrated probability is high enough.
    Score,
    /// Enough independent groups of sources support it.
    Groups,
    /// No independent group speaks against it.
    Opposing,
}

impl Rule {
    /// A short name for logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Content => "content",
            Rule::Source => "source",
            Rule::Finite => "finite",
            Rule::Overlap => "overlap",
            Rule::Quantities => "quantities",
            Rule::Names => "names",
            Rule::Conflicts => "conflicts",
            Rule::Binding => "binding",
            Rule::Score => "score",
            Rule::Groups => "groups",
            Rule::Opposing => "opposing",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A rule that is broken, and by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What was found.
    pub value: f64,
    /// What is demanded: at least or at most, as the rule says.
    pub limit: f64,
}

/// A claim that was not cleared.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The broken rules of the span set that broke the fewest; at least one.
    pub why: Vec<Finding>,
}

impl Refused {
    /// Whether a rule is among the broken ones.
    pub fn breaks(&self, rule: Rule) -> bool {
        self.why.iter().any(|finding| finding.rule == rule)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.why.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(out, "{comma}{} {:.2} (limit {:.2})", finding.rule, finding.value, finding.limit)?;
        }
        Ok(())
    }
}
