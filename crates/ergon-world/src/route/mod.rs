//! Ways through a road network: which lanelet follows which, which lies beside which, the shortest way from a pose to a
//! goal with its lane changes, the line along it, and the lanes beside that line.
//!
//! Files in the wild leave links out. [`LaneGraph`] takes what the network declares, makes it symmetric, and fills a gap
//! only where two lanelets touch: an end that meets a start, or bounds that run along each other.

use std::collections::HashMap;

use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, Lanelet, LaneletKind, LineMarking, RoadNetwork};
use crate::scenario::{Goal, Region};

mod line;
mod links;

pub use links::{LaneGraph, Links};

/// What a lane change costs in the search, in metres of detour.
const CHANGE_COST_M: f64 = 30.0;
/// What crossing a solid line costs in addition.
const SOLID_COST_M: f64 = 100.0;
/// How long a lane change takes.
const CHANGE_S: f64 = 3.5;
/// Shortest and longest way of a lane change.
const CHANGE_M: [f64; 2] = [25.0, 90.0];
/// How far the line of a route reaches back behind its start.
const BEHIND_M: f64 = 30.0;
/// How far the line of a route reaches on behind its goal.
const BEYOND_M: f64 = 150.0;

/// How a leg of a route is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Entry {
    /// Straight on from the lanelet before, or the route starts here.
    #[default]
    Ahead,
    /// By a lane change to the left.
    FromRight,
    /// By a lane change to the right.
    FromLeft,
}

/// The part of a route on one lanelet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leg {
    /// The lanelet.
    pub lanelet: ElementId,
    /// How it is entered.
    pub entry: Entry,
    /// Station of the route where this leg starts; for a lane change, the middle of the change.
    pub start_m: f64,
    /// Station of the lanelet's centre line that corresponds to `start_m`.
    pub from_m: f64,
}

/// A way through the network: its legs and the line along them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// One after the other; a little before the start and after the goal is included.
    pub legs: Vec<Leg>,
    /// The line along the route, lane changes as smooth transitions. It begins up to 30 m behind the start and goes on up
    /// to 150 m beyond the goal where there is road.
    pub center: Polyline,
    /// Station of the start.
    pub start_m: f64,
    /// Stations between which the line lies in the goal (a guess of one point where the line misses the goal region).
    pub goal_m: [f64; 2],
}

/// Lanelets in which a goal lies, each with the stations of its centre line between which it does.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RouteGoal {
    /// Lanelet, first and last station.
    pub lanelets: Vec<(ElementId, [f64; 2])>,
}

/// One lane across the road at a station of a route; offsets are to the left of the route's line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorridorLane {
    /// The lanelet.
    pub lanelet: ElementId,
    /// Whether it leads the way the route does.
    pub same_direction: bool,
    /// What it is for.
    pub kind: LaneletKind,
    /// Offset of the lane's edge on the left of the route.
    pub left_m: f64,
    /// Offset of the lane's edge on the right of the route.
    pub right_m: f64,
}

/// The lanes across the road at a station of a route.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Corridor {
    /// From left to right.
    pub lanes: Vec<CorridorLane>,
    /// Which of them the route uses here.
    pub own: usize,
}

impl RouteGoal {
    /// The goal of driving to a lanelet: anywhere on it.
    pub fn lanelet(roads: &RoadNetwork, id: ElementId) -> RouteGoal {
        let all = |lanelet: &Lanelet| (id, [0.0, lanelet.center.length()]);
        RouteGoal { lanelets: roads.lanelet(id).map(all).into_iter().collect() }
    }

    /// The lanelets whose centre lines pass through a region; if none does, the one closest to the region's middle.
    /// With a heading interval (counter-clockwise from the first to the second) only lanelets that lead that way count,
    /// as long as there are any.
    pub fn region(roads: &RoadNetwork, region: &Region, heading_rad: Option<[f64; 2]>) -> RouteGoal {
        let fits = |lanelet: &Lanelet, s: f64| match heading_rad {
            None => true,
            Some([low, high]) => {
                let middle = low + 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
                let reach = 0.5 * (high - low).rem_euclid(std::f64::consts::TAU) + 0.4;
                wrap_angle(lanelet.center.heading_at(s) - middle).abs() <= reach
            }
        };
        let found: Vec<_> = roads
            .lanelets
            .iter()
            .filter(|lanelet| lanelet.kind.is_for_cars())
            .filter_map(|lanelet| Some((lanelet, stations_inside(roads, region, lanelet)?)))
            .collect();
        let fitting: Vec<_> =
            found.iter().filter(|(lanelet, [a, b])| fits(lanelet, 0.5 * (a + b))).cloned().collect();
        let chosen = if fitting.is_empty() { found } else { fitting };
        if !chosen.is_empty() {
            return RouteGoal {
                lanelets: chosen.into_iter().map(|(lanelet, span)| (lanelet.id, span)).collect(),
            };
        }
        let Some(middle) = region.center(roads) else { return RouteGoal::default() };
        let distance = |lanelet: &Lanelet| {
            let s = lanelet.center.project(middle).s_m.clamp(0.0, lanelet.center.length());
            let wrong_way = if fits(lanelet, s) { 0.0 } else { 20.0 };
            (lanelet.center.at(s).distance(middle) + wrong_way, s)
        };
        let nearest = roads
            .lanelets
            .iter()
            .filter(|lanelet| lanelet.kind.is_for_cars())
            .map(|lanelet| (lanelet.id, distance(lanelet)))
            .min_by(|a, b| a.1.0.total_cmp(&b.1.0));
        RouteGoal { lanelets: nearest.map(|(id, (_, s))| (id, [s, s])).into_iter().collect() }
    }
}

/// First and last station of a lanelet's centre line inside a region.
fn stations_inside(roads: &RoadNetwork, region: &Region, lanelet: &Lanelet) -> Option<[f64; 2]> {
    let length = lanelet.center.length();
    if let Region::Lanelets(ids) = region {
        return ids.contains(&lanelet.id).then_some([0.0, length]);
    }
    let n = (length / 1.0).ceil().max(1.0) as usize;
    let mut stations = (0..=n).map(|i| length * i as f64 / n as f64).filter(|s| {
        let point = lanelet.center.at(*s);
        region.contains(point, roads)
    });
    let first = stations.next()?;
    Some([first, stations.next_back().unwrap_or(first)])
}

/// Where the search stands with one lanelet.
#[derive(Clone, Copy)]
struct Reached {
    cost_m: f64,
    /// Station at which it is entered.
    at_m: f64,
    entry: Entry,
    from: Option<usize>,
    done: bool,
}

impl Route {
    /// The way from a pose into the first region of a goal that one leads to.
    pub fn to_goal(roads: &RoadNetwork, position: Point, heading_rad: f64, goal: &Goal) -> Option<Route> {
        let graph = LaneGraph::new(roads);
        goal.regions.iter().find_map(|region| {
            let target = RouteGoal::region(roads, region, goal.heading_rad);
            Route::find(roads, &graph, position, heading_rad, &target)
        })
    }

    /// The cheapest way from a pose to a goal: length plus 30 m for each lane change (more where there is little room
    /// for it or the line between is solid). `None` if no way exists or no lanelet is near the pose.
    pub fn find(
        roads: &RoadNetwork,
        graph: &LaneGraph,
        position: Point,
        heading_rad: f64,
        goal: &RouteGoal,
    ) -> Option<Route> {
        let mut reached: Vec<Option<Reached>> = vec![None; roads.lanelets.len()];
        for (i, cost_m) in starts(roads, position, heading_rad) {
            let at_m =
                roads.lanelets[i].center.project(position).s_m.clamp(0.0, roads.lanelets[i].center.length());
            reached[i] = Some(Reached { cost_m, at_m, entry: Entry::Ahead, from: None, done: false });
        }
        let mut best: Option<(f64, usize, [f64; 2])> = None;
        while let Some(i) = cheapest(&reached) {
            let node = reached[i].as_mut()?;
            node.done = true;
            let node = *node;
            if best.is_some_and(|(cost, ..)| cost <= node.cost_m) {
                break;
            }
            let goal_here = goal.lanelets.iter().find(|(id, _)| *id == roads.lanelets[i].id);
            // A goal a little behind counts: the vehicle may stand in it already, or change lanes more quickly.
            let slack = if node.entry == Entry::Ahead { 5.0 } else { CHANGE_M[1] };
            if let Some((_, span)) = goal_here.filter(|(_, span)| span[1] >= node.at_m - slack) {
                let cost = node.cost_m + (span[0] - node.at_m).max(0.0);
                if best.is_none_or(|(least, ..)| cost < least) {
                    best = Some((cost, i, *span));
                }
            }
            expand(roads, graph, &mut reached, i, node);
        }
        let (_, last, span) = best?;
        let mut path = Vec::new();
        let mut next = Some(last);
        while let Some(i) = next {
            let node = reached[i]?;
            path.push(line::Hop { lanelet: i, at_m: node.at_m, entry: node.entry });
            next = node.from;
        }
        path.reverse();
        let mut route = line::build(roads, graph, &path, span);
        route.extend_goal(goal);
        Some(route)
    }

    /// The lane a vehicle is on, `length_m` ahead or as far as there is road: for a goal that names no place. `None` if
    /// no lanelet is near the pose.
    pub fn ahead(
        roads: &RoadNetwork,
        graph: &LaneGraph,
        position: Point,
        heading_rad: f64,
        length_m: f64,
    ) -> Option<Route> {
        let best = starts(roads, position, heading_rad).into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let (lanelet, _) = best?;
        let center = &roads.lanelets[lanelet].center;
        let at_m = center.project(position).s_m.clamp(0.0, center.length());
        let mut path = vec![line::Hop { lanelet, at_m, entry: Entry::Ahead }];
        let rest = length_m - (center.length() - at_m);
        let chain = line::chain_ahead(roads, graph, lanelet, rest, &[]);
        let end = chain.last().map_or(center.length().min(at_m + length_m), |(_, to_m)| *to_m);
        path.extend(chain.iter().map(|(lanelet, _)| line::Hop {
            lanelet: *lanelet,
            at_m: 0.0,
            entry: Entry::Ahead,
        }));
        Some(line::build(roads, graph, &path, [end, end]))
    }

    /// A goal region may go on in the lanelets that follow.
    fn extend_goal(&mut self, goal: &RouteGoal) {
        for (i, leg) in self.legs.iter().enumerate() {
            let joined = (leg.start_m - self.goal_m[1]).abs() < 1.5 && leg.entry == Entry::Ahead && i > 0;
            let span = goal.lanelets.iter().find(|(id, [from, _])| *id == leg.lanelet && *from < 1.5);
            if let Some((_, [_, to])) = span.filter(|_| joined) {
                self.goal_m[1] = (leg.start_m + to - leg.from_m).min(self.center.length());
            }
        }
    }

    /// The way through lanelets that lead into each other, from the start of the first to the end of the last. Lanelets
    /// that do not exist are left out; `None` if nothing is left.
    pub fn through(roads: &RoadNetwork, graph: &LaneGraph, ids: &[ElementId]) -> Option<Route> {
        let path: Vec<line::Hop> = ids
            .iter()
            .filter_map(|id| graph.index_of(*id))
            .map(|lanelet| line::Hop { lanelet, at_m: 0.0, entry: Entry::Ahead })
            .collect();
        let end = roads.lanelets[path.last()?.lanelet].center.length();
        Some(line::build(roads, graph, &path, [end, end]))
    }

    /// The leg at a station.
    pub fn leg_at(&self, s_m: f64) -> &Leg {
        let after = self.legs.partition_point(|leg| leg.start_m <= s_m);
        &self.legs[after.saturating_sub(1)]
    }

    /// The lanelets of the legs.
    pub fn lanelets(&self) -> impl Iterator<Item = ElementId> + '_ {
        self.legs.iter().map(|leg| leg.lanelet)
    }

    /// The next lane change after a station: where its middle is and to which side it goes.
    pub fn next_change(&self, s_m: f64) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.start_m > s_m && leg.entry != Entry::Ahead)
    }

    /// The lanes across the road at a station, oncoming ones included.
    pub fn corridor(&self, roads: &RoadNetwork, graph: &LaneGraph, s_m: f64) -> Corridor {
        let at = self.center.at(s_m);
        let Some(own) = roads.lanelet(self.leg_at(s_m).lanelet) else { return Corridor::default() };
        let mut lanes: Vec<CorridorLane> = Vec::new();
        let (left, right) = (beside(roads, graph, own, at, true), beside(roads, graph, own, at, false));
        lanes.extend(left.iter().rev().map(|(lanelet, same)| corridor_lane(lanelet, *same, at)));
        lanes.push(corridor_lane(own, true, at));
        lanes.extend(right.iter().map(|(lanelet, same)| corridor_lane(lanelet, *same, at)));
        Corridor { own: left.len(), lanes }
    }
}

impl Corridor {
    /// The lane on the left that leads the same way.
    pub fn left(&self) -> Option<&CorridorLane> {
        self.own.checked_sub(1).map(|i| &self.lanes[i]).filter(|lane| lane.same_direction)
    }

    /// The lane on the right that leads the same way.
    pub fn right(&self) -> Option<&CorridorLane> {
        self.lanes.get(self.own + 1).filter(|lane| lane.same_direction)
    }

    /// Offsets of the right and left end of the lanes for cars that lead the same way and are joined to the route's own
    /// lane; shoulders do not count.
    pub fn drivable(&self) -> [f64; 2] {
        let Some(own) = self.lanes.get(self.own) else { return [0.0, 0.0] };
        let usable = |lane: &&CorridorLane| {
            lane.same_direction && lane.kind.is_for_cars() && lane.kind != LaneletKind::Shoulder
        };
        let left = self.lanes[..self.own].iter().rev().take_while(usable).last();
        let right = self.lanes[self.own + 1..].iter().take_while(usable).last();
        [right.unwrap_or(own).right_m, left.unwrap_or(own).left_m]
    }
}

/// Lanelets beside one at a point, from near to far.
fn beside<'a>(
    roads: &'a RoadNetwork,
    graph: &LaneGraph,
    own: &'a Lanelet,
    at: Point,
    to_left: bool,
) -> Vec<(&'a Lanelet, bool)> {
    let mut found: Vec<(&Lanelet, bool)> = Vec::new();
    let (mut current, mut same) = (own, true);
    while found.len() < 8 {
        let links = graph.links(current.id);
        // On an oncoming lanelet, left and right are seen from its own direction.
        let side = to_left == same;
        let along = if side { &links.left } else { &links.right };
        let against = if side { &links.oncoming_left } else { &links.oncoming_right };
        let options = along.iter().map(|id| (*id, same)).chain(against.iter().map(|id| (*id, !same)));
        let next = options
            .filter_map(|(id, same)| Some((roads.lanelet(id)?, same)))
            .find(|(lanelet, _)| {
                let s = lanelet.center.project(at).s_m;
                (-1.0..=lanelet.center.length() + 1.0).contains(&s) && lanelet.id != own.id
            })
            .filter(|(lanelet, _)| found.iter().all(|(known, _)| known.id != lanelet.id));
        let Some(next) = next else { break };
        found.push(next);
        (current, same) = next;
    }
    found
}

fn corridor_lane(lanelet: &Lanelet, same_direction: bool, at: Point) -> CorridorLane {
    let (left, right) = (lanelet.left.project(at).d_m, lanelet.right.project(at).d_m);
    // A bound on whose right the point lies is on the point's left, seen along the lanelet.
    let (left_m, right_m) = if same_direction { (-left, -right) } else { (right, left) };
    CorridorLane { lanelet: lanelet.id, same_direction, kind: lanelet.kind, left_m, right_m }
}

/// Lanelets a vehicle at a pose may be on, each with a cost that says how well it fits.
fn starts(roads: &RoadNetwork, position: Point, heading_rad: f64) -> Vec<(usize, f64)> {
    let fit = |lanelet: &Lanelet| {
        let foot = lanelet.center.project(position);
        let s = foot.s_m.clamp(0.0, lanelet.center.length());
        let turn = wrap_angle(lanelet.center.heading_at(s) - heading_rad).abs();
        (lanelet.center.at(s).distance(position), turn)
    };
    let cars = || roads.lanelets.iter().enumerate().filter(|(_, lanelet)| lanelet.kind.is_for_cars());
    let inside: Vec<(usize, f64)> = cars()
        .filter(|(_, lanelet)| crate::geometry::polygon_contains(&lanelet.polygon(), position))
        .map(|(i, lanelet)| (i, fit(lanelet)))
        .filter(|(_, (_, turn))| *turn < 1.0)
        .map(|(i, (distance, turn))| (i, 2.0 * distance + 20.0 * turn))
        .collect();
    if !inside.is_empty() {
        return inside;
    }
    let nearest = cars().map(|(i, lanelet)| (i, fit(lanelet))).map(|(i, (distance, turn))| {
        let wrong_way = if turn < 1.6 { 0.0 } else { 30.0 };
        (i, 2.0 * distance + 20.0 * turn + wrong_way)
    });
    nearest.min_by(|a, b| a.1.total_cmp(&b.1)).into_iter().collect()
}

fn cheapest(reached: &[Option<Reached>]) -> Option<usize> {
    let open = reached
        .iter()
        .enumerate()
        .filter_map(|(i, node)| node.filter(|node| !node.done).map(|n| (i, n.cost_m)));
    open.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
}

fn expand(roads: &RoadNetwork, graph: &LaneGraph, reached: &mut [Option<Reached>], i: usize, node: Reached) {
    let lanelet = &roads.lanelets[i];
    let links = graph.links(lanelet.id);
    let left = (lanelet.center.length() - node.at_m).max(0.0);
    let mut offer = |id: ElementId, cost_m: f64, at_m: f64, entry: Entry| {
        let Some(j) = graph.index_of(id) else { return };
        if reached[j].is_none_or(|known| !known.done && cost_m < known.cost_m) {
            reached[j] = Some(Reached { cost_m, at_m, entry, from: Some(i), done: false });
        }
    };
    for id in &links.successors {
        offer(*id, node.cost_m + left, 0.0, Entry::Ahead);
    }
    let here = lanelet.center.at(node.at_m);
    let sides = [
        (&links.left, Entry::FromRight, lanelet.left_marking),
        (&links.right, Entry::FromLeft, lanelet.right_marking),
    ];
    for (ids, entry, marking) in sides {
        for id in ids {
            let Some(other) = roads.lanelet(*id).filter(|other| other.kind.is_for_cars()) else { continue };
            let at_m = other.center.project(here).s_m.clamp(0.0, other.center.length());
            let wanted = change_length(other);
            let way = wanted.min(left).min(other.center.length() - at_m);
            // A change takes its way, so that two do not fall on the same spot; a hurried one costs. Early ones are a
            // little cheaper, so that a change is not put off to the last section.
            let mut cost = CHANGE_COST_M + way + 0.01 * node.cost_m + 2.0 * (wanted - way);
            cost += match other.kind {
                LaneletKind::Intersection => 60.0,
                LaneletKind::Shoulder => 200.0,
                _ => 0.0,
            };
            if matches!(marking, LineMarking::Solid | LineMarking::BroadSolid) {
                cost += SOLID_COST_M;
            }
            offer(*id, node.cost_m + cost, at_m + way, entry);
        }
    }
}

/// The way a lane change takes at a lanelet's speed limit.
fn change_length(lanelet: &Lanelet) -> f64 {
    (CHANGE_S * lanelet.speed_limit_mps.unwrap_or(14.0)).clamp(CHANGE_M[0], CHANGE_M[1])
}

/// The line of one lane through a lanelet: `behind_m` back along predecessors, `ahead_m` on along successors, both from
/// a station of the lanelet. At a fork, lanelets in `prefer` come first, then the straightest. The line is shorter where
/// the road ends.
///
/// # Returns
/// The line, and the station on it that corresponds to `s_m` of the lanelet; `None` if there is no such lanelet.
pub fn lane_line(
    roads: &RoadNetwork,
    graph: &LaneGraph,
    id: ElementId,
    s_m: f64,
    [behind_m, ahead_m]: [f64; 2],
    prefer: &[ElementId],
) -> Option<(Polyline, f64)> {
    line::lane_line(roads, graph, graph.index_of(id)?, s_m, [behind_m, ahead_m], prefer)
}

/// The lanelets a network's index leads to.
fn index_of_ids(roads: &RoadNetwork) -> HashMap<ElementId, usize> {
    let mut index = HashMap::new();
    for (i, lanelet) in roads.lanelets.iter().enumerate() {
        index.entry(lanelet.id).or_insert(i);
    }
    index
}
