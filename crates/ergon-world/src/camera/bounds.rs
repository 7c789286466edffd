//! Which paint a lane bound carries, piece by piece.
//!
//! What a file says is drawn. Where it says nothing (all of CommonRoad 2018b) the paint follows from what lies beside the
//! bound: a lane of the same direction, a lane of the other direction, no road at all, or a junction. Lanelets that
//! share a bound describe it twice; it is drawn once.

use std::collections::HashMap;

use super::scene::Cells;
use crate::geometry::{Point, Polyline};
use crate::road::{Adjacent, Lanelet, LaneletKind, LineMarking, RoadNetwork};

/// Bounds closer than this are the same line.
const SAME_LINE_M: f64 = 0.35;
/// How far beside a bound one looks for road.
const PROBE_M: f64 = 0.6;
/// Length of a piece that is looked at as a whole.
const PIECE_M: f64 = 2.0;
/// Pieces of one bound; longer bounds get longer pieces.
const PIECES_MAX: usize = 2000;

/// How a piece of a bound looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Nothing.
    None,
    /// White or yellow, solid or dashed, broad or narrow.
    Line { yellow: bool, dashed: bool, broad: bool },
    /// A kerb stone; lowered or not.
    Kerb { lowered: bool },
}

/// A stretch of a bound that looks the same from end to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) from_m: f64,
    pub(super) to_m: f64,
    pub(super) paint: Paint,
    /// Whether the road ends here: there is no lanelet for cars beyond.
    pub(super) is_edge: bool,
}

/// Which bound of a lanelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    pub(super) fn line(self, lanelet: &Lanelet) -> &Polyline {
        match self {
            Side::Left => &lanelet.left,
            Side::Right => &lanelet.right,
        }
    }

    fn marking(self, lanelet: &Lanelet) -> LineMarking {
        match self {
            Side::Left => lanelet.left_marking,
            Side::Right => lanelet.right_marking,
        }
    }

    fn adjacent(self, lanelet: &Lanelet) -> Option<Adjacent> {
        match self {
            Side::Left => lanelet.adjacent_left,
            Side::Right => lanelet.adjacent_right,
        }
    }

    /// 1 if the outside of the lanelet is to the left of the bound, -1 if to the right.
    pub(super) fn outward(self) -> f64 {
        match self {
            Side::Left => 1.0,
            Side::Right => -1.0,
        }
    }
}

#[derive(Clone, Copy)]
struct Piece {
    lanelet: usize,
    side: Side,
    middle: Point,
    /// Unit vector.
    direction: Point,
    half_m: f64,
}

#[derive(Clone, Copy)]
struct Patch {
    lanelet: usize,
    corners: [Point; 4],
    direction: Point,
}

/// Bounds and surfaces of all lanelets by place.
pub(super) struct Neighbourhood<'a> {
    roads: &'a RoadNetwork,
    pieces: Cells<Piece>,
    patches: Cells<Patch>,
}

fn piece_length(line: &Polyline) -> f64 {
    line.length() / (line.length() / PIECE_M).ceil().clamp(1.0, PIECES_MAX as f64)
}

/// Stations of both bounds of a lanelet that belong together, at most about `spacing_m` apart.
pub(super) fn rungs(lanelet: &Lanelet, spacing_m: f64) -> Vec<[Point; 2]> {
    let (left, right) = (&lanelet.left, &lanelet.right);
    if left.points().len() == right.points().len() {
        return left.points().iter().zip(right.points()).map(|(l, r)| [*l, *r]).collect();
    }
    let n = (left.length().max(right.length()) / spacing_m).ceil().clamp(1.0, PIECES_MAX as f64);
    let at = |line: &Polyline, i: usize| line.at(line.length() * i as f64 / n);
    (0..=n as usize).map(|i| [at(left, i), at(right, i)]).collect()
}

impl<'a> Neighbourhood<'a> {
    pub(super) fn new(roads: &'a RoadNetwork) -> Neighbourhood<'a> {
        let (mut pieces, mut patches) = (Cells::new(4.0), Cells::new(8.0));
        for (index, lanelet) in roads.lanelets.iter().enumerate() {
            if lanelet.kind == LaneletKind::Crosswalk {
                continue;
            }
            for side in [Side::Left, Side::Right] {
                let line = side.line(lanelet);
                for piece in pieces_of(line, index, side) {
                    pieces.insert(piece.middle, piece.half_m, piece);
                }
            }
            if lanelet.kind.is_for_cars() {
                for pair in rungs(lanelet, 4.0).windows(2) {
                    let [[a, b], [c, d]] = [pair[0], pair[1]];
                    let middle = a.lerp(d, 0.5);
                    let reach = [a, b, c, d].iter().map(|p| p.distance(middle)).fold(0.0, f64::max);
                    let along = c.lerp(d, 0.5) - a.lerp(b, 0.5);
                    let direction = along * (1.0 / along.norm().max(1e-9));
                    patches.insert(middle, reach, Patch { lanelet: index, corners: [a, b, d, c], direction });
                }
            }
        }
        Neighbourhood { roads, pieces, patches }
    }

    /// Whether a point lies on a lanelet for cars other than `except`.
    pub(super) fn is_road(&self, point: Point, except: usize) -> bool {
        self.patches_at(point).any(|patch| patch.lanelet != except)
    }

    fn patches_at(&self, point: Point) -> impl Iterator<Item = &Patch> {
        let here = self.patches.at(point);
        here.filter(move |patch| crate::geometry::polygon_contains(&patch.corners, point))
    }

    /// Whether a lanelet for cars lies within a distance (tried in eight directions).
    pub(super) fn is_road_within(&self, point: Point, distance_m: f64) -> bool {
        let around = |i: u32| point + Point::polar(distance_m, f64::from(i) * std::f64::consts::FRAC_PI_4);
        self.patches_at(point).next().is_some() || (0..8).any(|i| self.patches_at(around(i)).next().is_some())
    }

    /// Whether a lane crosses another one's bound here.
    fn is_crossed(&self, point: Point, direction: Point) -> bool {
        let aside = direction.left() * PROBE_M;
        let crosses = |p: Point| self.patches_at(p).any(|patch| patch.direction.cross(direction).abs() > 0.5);
        crosses(point + aside) || crosses(point - aside)
    }

    /// Other bounds that lie on a piece: whether theirs, seen along the piece, is the bound of a lanelet on the other
    /// side, and whether it leads the same way.
    fn others(&self, piece: Piece) -> impl Iterator<Item = (&Piece, bool, bool)> {
        self.pieces.at(piece.middle).filter_map(move |other| {
            if other.lanelet == piece.lanelet && other.side == piece.side {
                return None;
            }
            let d = piece.middle - other.middle;
            let (along, beside) = (other.direction.dot(d).abs(), other.direction.cross(d).abs());
            let parallel = piece.direction.dot(other.direction);
            let on_it = beside < SAME_LINE_M && along < other.half_m + 0.05 && parallel.abs() > 0.9;
            on_it.then_some((other, (piece.side == other.side) != (parallel > 0.0), parallel > 0.0))
        })
    }

    /// What is drawn of a bound, from its start to its end.
    pub(super) fn runs(&self, index: usize, side: Side) -> Vec<Run> {
        let lanelet = &self.roads.lanelets[index];
        let line = side.line(lanelet);
        let mut runs: Vec<Run> = Vec::new();
        let mut from_m = 0.0;
        for piece in pieces_of(line, index, side) {
            let to_m = from_m + 2.0 * piece.half_m;
            let (paint, is_edge) = self.paint(piece);
            match runs.last_mut() {
                Some(run) if run.paint == paint && run.is_edge == is_edge => run.to_m = to_m,
                _ => runs.push(Run { from_m, to_m, paint, is_edge }),
            }
            from_m = to_m;
        }
        runs
    }

    fn paint(&self, piece: Piece) -> (Paint, bool) {
        let lanelet = &self.roads.lanelets[piece.lanelet];
        let outside = piece.middle + piece.direction.left() * (PROBE_M * piece.side.outward());
        let is_edge = lanelet.kind.is_for_cars() && !self.is_road(outside, piece.lanelet);
        let marking = piece.side.marking(lanelet);
        let rank = |lanelet: usize, marking: LineMarking| {
            let says = match marking {
                LineMarking::Unknown => 0,
                LineMarking::None => 1,
                _ => 2,
            };
            (says, usize::MAX - lanelet)
        };
        let own = rank(piece.lanelet, marking);
        let is_drawn_by_other = self.others(piece).any(|(other, ..)| {
            let marking = other.side.marking(&self.roads.lanelets[other.lanelet]);
            other.lanelet != piece.lanelet && rank(other.lanelet, marking) > own
        });
        if is_drawn_by_other {
            return (Paint::None, is_edge);
        }
        let line = |dashed, broad| Paint::Line { yellow: false, dashed, broad };
        let paint = match marking {
            LineMarking::Dashed => line(true, false),
            LineMarking::Solid => line(false, false),
            LineMarking::BroadDashed => line(true, true),
            LineMarking::BroadSolid => line(false, true),
            LineMarking::Curb => Paint::Kerb { lowered: false },
            LineMarking::LoweredCurb => Paint::Kerb { lowered: true },
            LineMarking::None => Paint::None,
            LineMarking::Unknown => self.sensible(piece, is_edge),
        };
        (paint, is_edge)
    }

    /// Paint where the file does not say.
    fn sensible(&self, piece: Piece, is_edge: bool) -> Paint {
        let lanelet = &self.roads.lanelets[piece.lanelet];
        let white = |dashed| Paint::Line { yellow: false, dashed, broad: false };
        match lanelet.kind {
            LaneletKind::Sidewalk | LaneletKind::Crosswalk => return Paint::None,
            LaneletKind::Parking | LaneletKind::BicycleLane => return white(false),
            _ => {}
        }
        let mut neighbours = self.others(piece).filter(|(_, is_beyond, _)| *is_beyond);
        let beside = neighbours.next().map(|(other, _, same_direction)| (other.lanelet, same_direction));
        let declared = piece.side.adjacent(lanelet).map(|adjacent| (usize::MAX, adjacent.same_direction));
        match beside.or(declared) {
            _ if self.is_crossed(piece.middle, piece.direction) => Paint::None,
            Some((_, true)) => white(true),
            Some((other, false)) => {
                let is_alone = |l: &Lanelet| {
                    [l.adjacent_left, l.adjacent_right].iter().flatten().all(|a| !a.same_direction)
                };
                let dashed = is_alone(lanelet) && self.roads.lanelets.get(other).is_none_or(is_alone);
                Paint::Line { yellow: true, dashed, broad: false }
            }
            None if is_edge => white(false),
            None => Paint::None,
        }
    }
}

fn pieces_of(line: &Polyline, lanelet: usize, side: Side) -> impl Iterator<Item = Piece> {
    let length = piece_length(line);
    let n = (line.length() / length).round() as usize;
    (0..n).map(move |i| {
        let (a, b) = (line.at(i as f64 * length), line.at((i + 1) as f64 * length));
        let direction = (b - a) * (1.0 / a.distance(b).max(1e-9));
        Piece { lanelet, side, middle: a.lerp(b, 0.5), direction, half_m: 0.5 * length }
    })
}

/// How far along its lane each lanelet starts, so that dashes run on from one lanelet to the next: the first predecessor's
/// start and length, and so on; a circle starts anywhere.
pub(super) fn phases(roads: &RoadNetwork) -> Vec<f64> {
    let index: HashMap<_, _> =
        roads.lanelets.iter().enumerate().map(|(i, lanelet)| (lanelet.id, i)).collect();
    let before = |i: usize| {
        let lanelet = &roads.lanelets[i];
        lanelet.predecessors.iter().find_map(|id| index.get(id).copied()).filter(|before| *before != i)
    };
    let mut phases: Vec<Option<f64>> = vec![None; roads.lanelets.len()];
    let mut chain = Vec::new();
    for start in 0..roads.lanelets.len() {
        let mut at = start;
        chain.clear();
        let mut phase = loop {
            if let Some(phase) = phases[at] {
                break phase + roads.lanelets[at].center.length();
            }
            chain.push(at);
            phases[at] = Some(0.0);
            match before(at) {
                Some(next) => at = next,
                None => break 0.0,
            }
        };
        for i in chain.iter().rev() {
            phases[*i] = Some(phase);
            phase += roads.lanelets[*i].center.length();
        }
        chain.clear();
    }
    phases.into_iter().map(|phase| phase.unwrap_or(0.0)).collect()
}
