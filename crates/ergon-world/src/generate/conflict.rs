//! Whose traffic meets inside a junction, and who goes first.

use super::{Conflict, Rule};
use crate::geometry::Polyline;
use crate::road::{ElementId, Lanelet};

/// Centre lines closer than this leave no room for two cars side by side.
const NEAR_M: f64 = 2.4;

/// Which way a lanelet leads through a junction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Left,
    Straight,
    Right,
}

/// A way through a junction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Movement {
    pub(super) lanelet: ElementId,
    /// Arm it comes from.
    pub(super) arm: usize,
    pub(super) turn: Turn,
    /// It comes from the road that goes first.
    pub(super) major: bool,
    /// Phase of the lights in which it runs, if there are lights.
    pub(super) phase: Option<usize>,
}

/// Pairs of movements from different arms that come close to each other.
pub(super) fn conflicts(movements: &[Movement], lanelets: &[Lanelet]) -> Vec<Conflict> {
    let center = |movement: &Movement| &lanelets[movement.lanelet as usize - 1].center;
    let mut found = Vec::new();
    for (i, a) in movements.iter().enumerate() {
        for b in movements[i + 1..].iter().filter(|b| b.arm != a.arm) {
            let Some([a_m, b_m]) = overlap(center(a), center(b)) else { continue };
            let (a_yields, rule) = who_yields(a, b);
            let (yielding, priority, yielding_m, priority_m) = match a_yields {
                true => (a.lanelet, b.lanelet, a_m, b_m),
                false => (b.lanelet, a.lanelet, b_m, a_m),
            };
            found.push(Conflict { yielding, priority, yielding_m, priority_m, rule });
        }
    }
    found
}

/// Whether the first of two movements yields, and why.
fn who_yields(a: &Movement, b: &Movement) -> (bool, Rule) {
    if a.phase != b.phase {
        return (a.lanelet > b.lanelet, Rule::Lights);
    }
    if a.phase.is_none() && a.major != b.major {
        return (b.major, Rule::Sign);
    }
    match (a.turn == Turn::Left, b.turn == Turn::Left) {
        (true, false) => (true, Rule::LeftTurn),
        (false, true) => (false, Rule::LeftTurn),
        // Two that meet on equal terms: a fixed order, so that they do not wait for each other.
        _ => (a.lanelet > b.lanelet, Rule::LeftTurn),
    }
}

/// Stations of each line between which the two are too close for two cars.
pub(super) fn overlap(a: &Polyline, b: &Polyline) -> Option<[[f64; 2]; 2]> {
    let (a, b) = (a.resample(0.7), b.resample(0.7));
    let mut spans: [Option<[f64; 2]>; 2] = [None, None];
    for (p, s) in a.points().iter().zip(a.stations()) {
        for (q, t) in b.points().iter().zip(b.stations()) {
            if (*p - *q).dot(*p - *q) > NEAR_M * NEAR_M {
                continue;
            }
            for (span, at) in spans.iter_mut().zip([*s, *t]) {
                let [low, high] = span.unwrap_or([at, at]);
                *span = Some([low.min(at), high.max(at)]);
            }
        }
    }
    match spans {
        [Some(a), Some(b)] => Some([a, b]),
        _ => None,
    }
}
