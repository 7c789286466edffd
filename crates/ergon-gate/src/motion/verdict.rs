//! What the gate says of a plan.

use std::fmt;

/// The rules, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// All numbers of plan and scene are finite.
    Finite,
    /// Time advances from point to point, and the first point is not in the future.
    TimeOrder,
    /// The plan lasts long enough.
    Duration,
    /// The observation it was made from is fresh.
    Age,
    /// Speed, forwards and backwards.
    Speed,
    /// Acceleration along the heading.
    Acceleration,
    /// Deceleration along the heading.
    Deceleration,
    /// Acceleration across the heading.
    LateralAcceleration,
    /// Change of the acceleration along the heading.
    Jerk,
    /// Change of the acceleration across the heading.
    LateralJerk,
    /// Curvature that the steering can reach.
    Curvature,
    /// The points are a motion: distances between them agree with their speeds.
    Consistency,
    /// The plan starts where the vehicle is.
    Start,
    /// The plan does not jump away from the last one.
    Jump,
    /// The box stays on the road.
    RoadEdge,
    /// The box meets no projected box, or does so late and a stop would meet none.
    Collision,
    /// Distance to those ahead (RSS).
    RssLongitudinal,
    /// Distance to those beside (RSS).
    RssLateral,
    /// Time that those behind have when the ego vehicle moves in front of them.
    CutIn,
}

impl Rule {
    /// A short name for logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Finite => "finite",
            Rule::TimeOrder => "time_order",
            Rule::Duration => "duration",
            Rule::Age => "age",
            Rule::Speed => "speed",
            Rule::Acceleration => "acceleration",
            Rule::Deceleration => "deceleration",
            Rule::LateralAcceleration => "lateral_acceleration",
            Rule::Jerk => "jerk",
            Rule::LateralJerk => "lateral_jerk",
            Rule::Curvature => "curvature",
            Rule::Consistency => "consistency",
            Rule::Start => "start",
            Rule::Jump => "jump",
            Rule::RoadEdge => "road_edge",
            Rule::Collision => "collision",
            Rule::RssLongitudinal => "rss_longitudinal",
            Rule::RssLateral => "rss_lateral",
            Rule::CutIn => "cut_in",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One rule's worst point in a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What was found, in the rule's unit; not a number where the plan holds none.
    pub value: f64,
    /// What is allowed at most.
    pub limit: f64,
    /// When, in the plan's time.
    pub t_s: f64,
    /// The other road user, where there is one.
    pub object: Option<u32>,
}

impl Finding {
    /// `limit - value`: negative when the rule is broken.
    pub fn margin(&self) -> f64 {
        self.limit - self.value
    }

    /// Whether the rule holds. Not a number never holds.
    pub fn holds(&self) -> bool {
        self.value <= self.limit
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {:.2} (limit {:.2}) at {:.1} s", self.rule, self.value, self.limit, self.t_s)?;
        self.object.map_or(Ok(()), |id| write!(out, ", object {id}"))
    }
}

/// For every rule that was asked, its worst point.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    /// Keeps the worse of two findings of one rule: a broken one before one that holds, then the smaller margin.
    pub(crate) fn add(&mut self, finding: Finding) {
        match self.findings.iter_mut().find(|kept| kept.rule == finding.rule) {
            None => self.findings.push(finding),
            Some(kept) => {
                let worse = kept.holds() && (!finding.holds() || finding.margin() < kept.margin())
                    || !kept.holds() && !finding.holds() && finding.margin() < kept.margin();
                if worse {
                    *kept = finding;
                }
            }
        }
    }

    pub(crate) fn value(&mut self, rule: Rule, value: f64, limit: f64, t_s: f64) {
        self.add(Finding { rule, value, limit, t_s, object: None });
    }

    /// One finding per rule, in the order in which they were asked.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether every rule holds.
    pub fn is_cleared(&self) -> bool {
        self.findings.iter().all(Finding::holds)
    }

    /// The broken rules.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.holds())
    }

    /// The first broken rule, or the one of those about the motion that has the smallest margin for its limit. The rules of
    /// form hold or do not: they have no margin to speak of.
    pub fn worst(&self) -> Option<&Finding> {
        let relative = |finding: &&Finding| finding.margin() / finding.limit.abs().max(1.0);
        let of_motion = self.findings.iter().filter(|finding| finding.rule > Rule::Age);
        let tightest = of_motion.min_by(|a, b| relative(a).total_cmp(&relative(b)));
        self.broken().next().or(tightest)
    }
}
