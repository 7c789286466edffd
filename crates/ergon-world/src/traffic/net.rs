//! The road as traffic needs it: lanes by number, allowed speeds along them, where they cross and who goes first.

use std::collections::HashMap;

use crate::geometry::{OrientedBox, Point, Polyline, wrap_angle};
use crate::road::{ElementId, Lanelet, LaneletKind, RoadNetwork, SignKind};

/// Lateral acceleration at which drivers take curves.
const LATERAL_MPS2: f64 = 2.0;
/// Distance of the entries of a lane's speed profile.
const PROFILE_M: f64 = 5.0;
/// Centre lines closer than this cannot both be used.
const CLEARANCE_M: f64 = 2.9;

/// How two lanes get in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConflictKind {
    /// They cross.
    Cross,
    /// They end in the same lane.
    Merge,
    /// They start from the same lane.
    Diverge,
}

/// A stretch on which two lanes cannot both be used.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    /// The other lane.
    pub(super) other: usize,
    /// First and last station of the stretch on this lane.
    pub(super) own_m: [f64; 2],
    /// And on the other.
    pub(super) other_m: [f64; 2],
    pub(super) kind: ConflictKind,
    /// Whether those on this lane give way.
    pub(super) yields: bool,
}

/// One lanelet as traffic needs it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) id: ElementId,
    pub(super) kind: LaneletKind,
    pub(super) center: Polyline,
    pub(super) length_m: f64,
    pub(super) half_width_m: f64,
    pub(super) successors: Vec<usize>,
    pub(super) predecessors: Vec<usize>,
    pub(super) left: Option<usize>,
    pub(super) right: Option<usize>,
    /// Allowed speed by limit and curvature, every [`PROFILE_M`].
    profile_mps: Vec<f64>,
    pub(super) conflicts: Vec<Conflict>,
    /// Whether one must hold a grant to drive on it: it crosses or joins another.
    pub(super) is_junction: bool,
    /// Light that holds at its end.
    pub(super) light: Option<usize>,
    /// Where one stops on it: its stop line, or 1 m before its end.
    pub(super) stop_m: f64,
    /// 3 with a priority sign, 2 without, 1 with a yield sign, 0 with a stop sign.
    pub(super) rank: u8,
    /// Whether it just ends, so that one has to leave it sideways before.
    pub(super) dead_end: bool,
    /// Crosswalks over it: number of the walkway, first and last station.
    pub(super) crosswalks: Vec<(usize, [f64; 2])>,
    extent: [Point; 2],
}

/// A way for people on foot.
#[derive(Clone, Debug)]
pub(super) struct Walkway {
    pub(super) line: Polyline,
    pub(super) is_crosswalk: bool,
    /// Lanes it crosses, with its own stations between which it is on the lane.
    pub(super) crosses: Vec<(usize, [f64; 2])>,
    pub(super) half_width_m: f64,
}

/// All lanes, and the ways of people on foot.
#[derive(Clone, Debug, Default)]
pub(super) struct Net {
    pub(super) lanes: Vec<Lane>,
    pub(super) walkways: Vec<Walkway>,
    index: HashMap<ElementId, usize>,
}

impl Lane {
    /// Allowed speed at a station.
    pub(super) fn allowed_mps(&self, s_m: f64) -> f64 {
        let i = (s_m / PROFILE_M).max(0.0) as usize;
        self.profile_mps[i.min(self.profile_mps.len() - 1)]
    }

    /// Whether a point comes within a distance of its bounding box.
    pub(super) fn is_near(&self, point: Point, distance_m: f64) -> bool {
        let [low, high] = self.extent;
        low.x - distance_m <= point.x
            && point.x <= high.x + distance_m
            && low.y - distance_m <= point.y
            && point.y <= high.y + distance_m
    }
}

/// What a box covers of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    pub(super) s_m: [f64; 2],
    pub(super) d_m: [f64; 2],
    /// Direction of the box against the lane's.
    pub(super) turn_rad: f64,
}

/// What a box covers of a lane, by its corners against the centre line at its middle; `None` if it lies beside it.
pub(super) fn cover(lane: &Lane, shape: &OrientedBox) -> Option<Cover> {
    let reach = 0.5 * shape.length_m.hypot(shape.width_m) + lane.half_width_m;
    if !lane.is_near(shape.center, reach) {
        return None;
    }
    let foot = lane.center.project(shape.center);
    if foot.d_m.abs() > reach || foot.s_m < -reach || foot.s_m > lane.length_m + reach {
        return None;
    }
    let (sin, cos) = (shape.heading_rad - foot.heading_rad).sin_cos();
    let along = 0.5 * (shape.length_m * cos.abs() + shape.width_m * sin.abs());
    let across = 0.5 * (shape.length_m * sin.abs() + shape.width_m * cos.abs());
    let inside = foot.d_m.abs() - across < lane.half_width_m
        && foot.s_m + along > 0.0
        && foot.s_m - along < lane.length_m;
    inside.then_some(Cover {
        s_m: [foot.s_m - along, foot.s_m + along],
        d_m: [foot.d_m - across, foot.d_m + across],
        turn_rad: wrap_angle(shape.heading_rad - foot.heading_rad),
    })
}

impl Net {
    /// The lanes of a network.
    pub(super) fn new(roads: &RoadNetwork) -> Net {
        let driven: Vec<&Lanelet> = roads
            .lanelets
            .iter()
            .filter(|lanelet| lanelet.kind.is_for_cars() || lanelet.kind == LaneletKind::BicycleLane)
            .collect();
        let index: HashMap<ElementId, usize> =
            driven.iter().enumerate().map(|(i, lanelet)| (lanelet.id, i)).collect();
        let mut lanes: Vec<Lane> = driven.iter().map(|lanelet| lane(roads, lanelet, &index)).collect();
        inherit_ranks(&mut lanes);
        find_conflicts(&mut lanes, roads);
        let mut net = Net { lanes, walkways: Vec::new(), index };
        net.add_walkways(roads);
        net
    }

    /// Number of a lanelet.
    pub(super) fn lane_of(&self, id: ElementId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    fn add_walkways(&mut self, roads: &RoadNetwork) {
        for lanelet in &roads.lanelets {
            let is_crosswalk = lanelet.kind == LaneletKind::Crosswalk;
            if !is_crosswalk && lanelet.kind != LaneletKind::Sidewalk {
                continue;
            }
            let number = self.walkways.len();
            let line = lanelet.center.clone();
            let half_width_m = 0.5 * lanelet.width_at(0.5 * line.length());
            let mut crosses = Vec::new();
            for (i, lane) in self.lanes.iter_mut().enumerate().filter(|_| is_crosswalk) {
                if let Some([own_m, across_m]) = crossing(lane, &line, half_width_m) {
                    lane.crosswalks.push((number, own_m));
                    crosses.push((i, across_m));
                }
            }
            self.walkways.push(Walkway { line, is_crosswalk, crosses, half_width_m });
        }
    }
}

/// Stations of a lane that a crosswalk covers, and those of the crosswalk that lie on the lane.
fn crossing(lane: &Lane, line: &Polyline, half_width_m: f64) -> Option<[[f64; 2]; 2]> {
    let n = line.length().ceil() as usize * 2;
    let mut own_m = [f64::INFINITY, f64::NEG_INFINITY];
    let mut across_m = own_m;
    for i in 0..=n {
        let s_m = line.length() * i as f64 / n as f64;
        let point = line.at(s_m);
        if !lane.is_near(point, 1.0) {
            continue;
        }
        let foot = lane.center.project(point);
        if foot.d_m.abs() > lane.half_width_m || foot.s_m < 0.0 || foot.s_m > lane.length_m {
            continue;
        }
        own_m = [own_m[0].min(foot.s_m - half_width_m), own_m[1].max(foot.s_m + half_width_m)];
        across_m = [across_m[0].min(s_m), across_m[1].max(s_m)];
    }
    (own_m[0] <= own_m[1]).then_some([own_m, across_m])
}

fn lane(roads: &RoadNetwork, lanelet: &Lanelet, index: &HashMap<ElementId, usize>) -> Lane {
    let numbers = |ids: &[ElementId]| ids.iter().filter_map(|id| index.get(id).copied()).collect::<Vec<_>>();
    let beside = |adjacent: Option<crate::road::Adjacent>| {
        let adjacent = adjacent.filter(|adjacent| adjacent.same_direction)?;
        let other = roads.lanelet(adjacent.id)?;
        let open =
            other.kind.is_for_cars() && lanelet.kind.is_for_cars() && other.kind != LaneletKind::Shoulder;
        index.get(&adjacent.id).copied().filter(|_| open)
    };
    let center = lanelet.center.clone();
    let length_m = center.length();
    let n = (length_m / PROFILE_M).ceil().max(1.0) as usize;
    let limit_mps = lanelet.speed_limit_mps.unwrap_or(match lanelet.kind {
        LaneletKind::Highway => 33.3,
        LaneletKind::Country | LaneletKind::Ramp => 25.0,
        _ => 13.9,
    });
    let profile_mps = (0..=n).map(|i| {
        let curvature = center.curvature_at(i as f64 * length_m / n as f64).abs();
        limit_mps.min((LATERAL_MPS2 / curvature.max(1e-6)).sqrt()).max(2.5)
    });
    let stop = lanelet.stop_line.map(|line| center.project(line.left.lerp(line.right, 0.5)).s_m);
    let light = lanelet.lights.first().and_then(|id| roads.lights.iter().position(|light| light.id == *id));
    let corners = lanelet.left.points().iter().chain(lanelet.right.points());
    let extent = corners.fold(
        [Point::new(f64::INFINITY, f64::INFINITY), Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY)],
        |[low, high], p| {
            [Point::new(low.x.min(p.x), low.y.min(p.y)), Point::new(high.x.max(p.x), high.y.max(p.y))]
        },
    );
    Lane {
        id: lanelet.id,
        kind: lanelet.kind,
        length_m,
        half_width_m: 0.5 * lanelet.width_at(0.5 * length_m),
        successors: numbers(&lanelet.successors),
        predecessors: numbers(&lanelet.predecessors),
        left: beside(lanelet.adjacent_left),
        right: beside(lanelet.adjacent_right),
        profile_mps: profile_mps.collect(),
        conflicts: Vec::new(),
        is_junction: false,
        light,
        stop_m: stop.unwrap_or(length_m - 1.0).clamp(0.0, length_m),
        rank: rank(roads, lanelet),
        dead_end: false,
        crosswalks: Vec::new(),
        extent,
        center,
    }
}

fn rank(roads: &RoadNetwork, lanelet: &Lanelet) -> u8 {
    let signs = lanelet.signs.iter().filter_map(|id| roads.signs.iter().find(|sign| sign.id == *id));
    let ranks = signs.filter_map(|sign| match sign.kind {
        SignKind::Stop => Some(0),
        SignKind::Yield => Some(1),
        SignKind::Priority => Some(3),
        _ => None,
    });
    ranks.min().unwrap_or(if lanelet.kind == LaneletKind::Ramp { 1 } else { 2 })
}

/// Signs stand before a junction and hold for the lanes inside.
fn inherit_ranks(lanes: &mut [Lane]) {
    let ranks: Vec<u8> = lanes.iter().map(|lane| lane.rank).collect();
    for lane in lanes.iter_mut().filter(|lane| lane.rank == 2) {
        if let Some(rank) = lane.predecessors.iter().map(|i| ranks[*i]).find(|rank| *rank != 2) {
            lane.rank = rank;
        }
    }
}

fn find_conflicts(lanes: &mut [Lane], roads: &RoadNetwork) {
    let samples: Vec<Vec<(f64, Point)>> = lanes
        .iter()
        .map(|lane| {
            let n = lane.length_m.ceil().max(1.0) as usize;
            let at = |i| lane.length_m * i as f64 / n as f64;
            (0..=n).map(|i| (at(i), lane.center.at(at(i)))).collect()
        })
        .collect();
    for i in 0..lanes.len() {
        for j in i + 1..lanes.len() {
            if !may_conflict(lanes, roads, i, j) {
                continue;
            }
            let Some([own_m, other_m]) = zone(&samples[i], &samples[j]) else { continue };
            let kind = kind_of(&lanes[i], &lanes[j]);
            let [first, second] = [yields(lanes, i, j), yields(lanes, j, i)];
            lanes[i].conflicts.push(Conflict { other: j, own_m, other_m, kind, yields: first });
            lanes[j].conflicts.push(Conflict {
                other: i,
                own_m: other_m,
                other_m: own_m,
                kind,
                yields: second,
            });
            for k in [i, j] {
                lanes[k].is_junction |= kind != ConflictKind::Diverge;
            }
        }
    }
}

fn may_conflict(lanes: &[Lane], roads: &RoadNetwork, i: usize, j: usize) -> bool {
    let (a, b) = (&lanes[i], &lanes[j]);
    let apart = a.extent[1].x + CLEARANCE_M < b.extent[0].x
        || b.extent[1].x + CLEARANCE_M < a.extent[0].x
        || a.extent[1].y + CLEARANCE_M < b.extent[0].y
        || b.extent[1].y + CLEARANCE_M < a.extent[0].y;
    let linked = a.successors.contains(&j) || b.successors.contains(&i);
    let adjacent = |one: &Lane, other: &Lane| {
        roads.lanelet(one.id).is_some_and(|lanelet| {
            [lanelet.adjacent_left, lanelet.adjacent_right]
                .iter()
                .flatten()
                .any(|beside| beside.id == other.id)
        })
    };
    !apart && !linked && !adjacent(a, b) && !adjacent(b, a)
}

/// Stations on two lines between which they are too close to each other.
fn zone(a: &[(f64, Point)], b: &[(f64, Point)]) -> Option<[[f64; 2]; 2]> {
    let mut zone = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
    for (s, p) in a {
        for (t, q) in b {
            let d = *p - *q;
            if d.dot(d) < CLEARANCE_M * CLEARANCE_M {
                zone[0] = [zone[0][0].min(*s), zone[0][1].max(*s)];
                zone[1] = [zone[1][0].min(*t), zone[1][1].max(*t)];
            }
        }
    }
    (zone[0][0] <= zone[0][1]).then_some(zone)
}

fn kind_of(a: &Lane, b: &Lane) -> ConflictKind {
    if a.successors.iter().any(|next| b.successors.contains(next)) {
        ConflictKind::Merge
    } else if a.predecessors.iter().any(|before| b.predecessors.contains(before)) {
        ConflictKind::Diverge
    } else {
        ConflictKind::Cross
    }
}

fn bend(lane: &Lane) -> f64 {
    wrap_angle(lane.center.heading_at(lane.length_m) - lane.center.heading_at(0.0))
}

/// Whether those on lane `i` give way to those on lane `j`: by sign; then left turns to oncoming traffic; then, where no
/// lights stand, to those from the right.
fn yields(lanes: &[Lane], i: usize, j: usize) -> bool {
    let (own, other) = (&lanes[i], &lanes[j]);
    if own.rank != other.rank {
        return own.rank < other.rank;
    }
    let angle = wrap_angle(other.center.heading_at(0.0) - own.center.heading_at(0.0));
    if angle.abs() > 2.3 {
        return bend(own) > 0.6 && bend(other) < 0.6;
    }
    let lit =
        |lane: &Lane| lane.light.is_some() || lane.predecessors.iter().any(|k| lanes[*k].light.is_some());
    !lit(own) && !lit(other) && (0.7..2.4).contains(&angle)
}
