//! The line along a route.

use super::{BEHIND_M, BEYOND_M, Entry, LaneGraph, Leg, Route, change_length};
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, RoadNetwork};

/// Distance of the points of a transition.
const SPACING_M: f64 = 1.0;

/// A lanelet of a path, by its place in the network's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) lanelet: usize,
    /// Station at which it is entered; for a lane change, about where the change is over.
    pub(super) at_m: f64,
    pub(super) entry: Entry,
}

/// Points with the length so far.
#[derive(Default)]
struct Trace {
    points: Vec<Point>,
    length_m: f64,
}

impl Trace {
    /// Adds a point unless it is on top of the last one.
    fn push(&mut self, point: Point) {
        match self.points.last() {
            Some(last) => {
                let step = last.distance(point);
                if step > 0.05 {
                    self.length_m += step;
                    self.points.push(point);
                }
            }
            None => self.points.push(point),
        }
    }

    /// Adds the part of a line between two stations.
    fn push_part(&mut self, line: &Polyline, from_m: f64, to_m: f64) {
        if to_m <= from_m {
            return;
        }
        self.push(line.at(from_m));
        let inner = line.points().iter().zip(line.stations());
        for (point, _) in inner.filter(|(_, s)| **s > from_m + 1e-6 && **s < to_m - 1e-6) {
            self.push(*point);
        }
        self.push(line.at(to_m));
    }
}

/// The route along a path; the goal lies between two stations of its last lanelet.
pub(super) fn build(roads: &RoadNetwork, graph: &LaneGraph, path: &[Hop], goal: [f64; 2]) -> Route {
    let first = path[0];
    let mut trace = Trace::default();
    let mut legs = Vec::new();
    for (i, from_m) in chain_back(roads, graph, first.lanelet, BEHIND_M - first.at_m) {
        let lanelet = &roads.lanelets[i];
        legs.push(Leg { lanelet: lanelet.id, entry: Entry::Ahead, start_m: trace.length_m, from_m });
        trace.push_part(&lanelet.center, from_m, lanelet.center.length());
    }
    let from_m = (first.at_m - BEHIND_M).max(0.0);
    let id = roads.lanelets[first.lanelet].id;
    legs.push(Leg { lanelet: id, entry: Entry::Ahead, start_m: trace.length_m, from_m });
    trace.push_part(&roads.lanelets[first.lanelet].center, from_m, first.at_m);
    let start_m = trace.length_m;

    let mut i = 0;
    while i < path.len() {
        let changes = path[i + 1..].iter().take_while(|hop| hop.entry != Entry::Ahead).count();
        let run = &path[i..=i + changes];
        if i > 0 {
            let lanelet = roads.lanelets[run[0].lanelet].id;
            legs.push(Leg { lanelet, entry: Entry::Ahead, start_m: trace.length_m, from_m: run[0].at_m });
        }
        let goal_here = (i + changes + 1 == path.len()).then_some(goal[0]);
        push_run(roads, run, goal_here, &mut trace, &mut legs);
        i += changes + 1;
    }
    // Where the last lanelet is entered by a lane change, the line is in it from the middle of the change.
    let goal_m =
        legs.last().map_or(goal, |leg| goal.map(|s| (leg.start_m + s - leg.from_m).max(leg.start_m)));
    let last = path[path.len() - 1].lanelet;
    let left = roads.lanelets[last].center.length() - goal[1];
    for (i, to_m) in chain_ahead(roads, graph, last, BEYOND_M - left, &[]) {
        let lanelet = &roads.lanelets[i];
        legs.push(Leg { lanelet: lanelet.id, entry: Entry::Ahead, start_m: trace.length_m, from_m: 0.0 });
        trace.push_part(&lanelet.center, 0.0, to_m);
    }
    // A lanelet of a few centimetres leaves no line of its own.
    let center = match trace.points.len() {
        0 | 1 => roads.lanelets[last].center.clone(),
        _ => Polyline::new(trace.points),
    };
    Route { legs, center, start_m, goal_m }
}

/// One section of the road: from where the first lanelet is entered, over its lane changes, to the end of the last.
fn push_run(roads: &RoadNetwork, run: &[Hop], goal: Option<f64>, trace: &mut Trace, legs: &mut Vec<Leg>) {
    let line = |hop: &Hop| &roads.lanelets[hop.lanelet].center;
    let last = run[run.len() - 1];
    let end = line(&last).length();
    let changes = run.len() - 1;
    if changes == 0 {
        trace.push_part(line(&last), last.at_m, end);
        return;
    }
    // Where the section's first lanelet is entered, as a station of each of its lanelets.
    let start = line(&run[0]).at(run[0].at_m);
    let from = |k: usize| line(&run[k]).project(start).s_m.clamp(0.0, line(&run[k]).length());
    let last_from = from(changes);
    // Each change gets an equal part of the way to the goal or to the end, and no lanelet is left behind its end.
    let whole = end - last_from;
    let to_goal = goal.map_or(whole, |goal| goal - last_from);
    let mut each = (if to_goal > 10.0 { to_goal } else { whole }) / changes as f64;
    for (k, hop) in run.iter().enumerate() {
        each = each.min((line(hop).length() - from(k)) / (k + 1).min(changes) as f64);
    }
    let each = each.clamp(2.0, change_length(&roads.lanelets[last.lanelet]));
    let n = (whole / SPACING_M).ceil().max(1.0) as usize;
    let mut begun = 0;
    for i in 0..=n {
        let t = whole * i as f64 / n as f64;
        let k = ((t / each) as usize).min(changes);
        let part = if k == changes { 0.0 } else { t / each - k as f64 };
        let at_last = line(&last).at(last_from + t);
        let on = |k: usize| line(&run[k]).at(line(&run[k]).project(at_last).s_m);
        // Fifth-order step: no jump of curvature at either end.
        let blend = part * part * part * (part * (6.0 * part - 15.0) + 10.0);
        trace.push(if k == changes { at_last } else { on(k).lerp(on(k + 1), blend) });
        let passed = if part >= 0.5 { k + 1 } else { k };
        while begun < passed {
            begun += 1;
            let hop = run[begun];
            let from_m = line(&hop).project(at_last).s_m;
            let lanelet = roads.lanelets[hop.lanelet].id;
            legs.push(Leg { lanelet, entry: hop.entry, start_m: trace.length_m, from_m });
        }
    }
    // The middle of the last change can lie beyond the end of a very short section.
    for hop in &run[begun + 1..] {
        let lanelet = roads.lanelets[hop.lanelet].id;
        legs.push(Leg { lanelet, entry: hop.entry, start_m: trace.length_m, from_m: line(hop).length() });
    }
}

/// How much the direction turns from one lanelet to the middle of the next.
fn turn(roads: &RoadNetwork, from: usize, to: usize) -> f64 {
    let (from, to) = (&roads.lanelets[from].center, &roads.lanelets[to].center);
    wrap_angle(to.heading_at(to.length()) - from.heading_at(from.length())).abs()
}

/// Lanelets that follow, each with the station up to which it is needed to get `rest_m` ahead.
pub(super) fn chain_ahead(
    roads: &RoadNetwork,
    graph: &LaneGraph,
    from: usize,
    mut rest_m: f64,
    prefer: &[ElementId],
) -> Vec<(usize, f64)> {
    let mut chain: Vec<(usize, f64)> = Vec::new();
    let mut current = from;
    while rest_m > 0.0 {
        let options = graph.links(roads.lanelets[current].id).successors.iter();
        let next =
            options.filter_map(|id| Some((!prefer.contains(id), graph.index_of(*id)?))).min_by(|a, b| {
                a.0.cmp(&b.0).then(turn(roads, current, a.1).total_cmp(&turn(roads, current, b.1)))
            });
        let Some((_, next)) = next.filter(|(_, next)| *next != from && chain.iter().all(|(i, _)| i != next))
        else {
            break;
        };
        let length = roads.lanelets[next].center.length();
        chain.push((next, length.min(rest_m)));
        rest_m -= length;
        current = next;
    }
    chain
}

/// Lanelets that lead to one, in driving order, each with the station from which it is needed to get `rest_m` back.
fn chain_back(roads: &RoadNetwork, graph: &LaneGraph, to: usize, mut rest_m: f64) -> Vec<(usize, f64)> {
    let mut chain: Vec<(usize, f64)> = Vec::new();
    let mut current = to;
    while rest_m > 0.0 {
        let options = graph.links(roads.lanelets[current].id).predecessors.iter();
        let back = |i: &usize| {
            let (from, to) = (&roads.lanelets[*i].center, &roads.lanelets[current].center);
            wrap_angle(to.heading_at(0.0) - from.heading_at(0.0)).abs()
        };
        let next = options.filter_map(|id| graph.index_of(*id)).min_by(|a, b| back(a).total_cmp(&back(b)));
        let Some(next) = next.filter(|next| *next != to && chain.iter().all(|(i, _)| i != next)) else {
            break;
        };
        let length = roads.lanelets[next].center.length();
        chain.push((next, (length - rest_m).max(0.0)));
        rest_m -= length;
        current = next;
    }
    chain.reverse();
    chain
}

pub(super) fn lane_line(
    roads: &RoadNetwork,
    graph: &LaneGraph,
    lanelet: usize,
    s_m: f64,
    [behind_m, ahead_m]: [f64; 2],
    prefer: &[ElementId],
) -> Option<(Polyline, f64)> {
    let center = &roads.lanelets[lanelet].center;
    let s_m = s_m.clamp(0.0, center.length());
    let mut trace = Trace::default();
    for (i, from_m) in chain_back(roads, graph, lanelet, behind_m - s_m) {
        trace.push_part(&roads.lanelets[i].center, from_m, roads.lanelets[i].center.length());
    }
    trace.push_part(center, (s_m - behind_m).max(0.0), s_m);
    let at_m = trace.length_m;
    trace.push_part(center, s_m, center.length().min(s_m + ahead_m));
    for (i, to_m) in chain_ahead(roads, graph, lanelet, ahead_m - (center.length() - s_m), prefer) {
        trace.push_part(&roads.lanelets[i].center, 0.0, to_m);
    }
    (trace.points.len() >= 2).then(|| (Polyline::new(trace.points), at_m))
}
