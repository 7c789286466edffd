//! Collects lanelets and what belongs to them.

use super::spine::{Station, beside, turn};
use super::{Conflict, Crosswalk, Junction, Layout, ParkingSpot, RoadKind};
use crate::geometry::{Point, Polyline};
use crate::road::{
    Adjacent, ElementId, Lanelet, LaneletKind, LineMarking, RoadNetwork, SignKind, StopLine, TrafficLight,
    TrafficSign,
};

/// Ids of lanelets count from 1, those of signs and lights from here.
const FIRST_SIGN: ElementId = 10_001;
const FIRST_LIGHT: ElementId = 20_001;

#[derive(Default)]
pub(super) struct Builder {
    pub(super) lanelets: Vec<Lanelet>,
    pub(super) signs: Vec<TrafficSign>,
    pub(super) lights: Vec<TrafficLight>,
    pub(super) entries: Vec<ElementId>,
    pub(super) exits: Vec<ElementId>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) crosswalks: Vec<Crosswalk>,
    pub(super) parking: Vec<ParkingSpot>,
    pub(super) junctions: Vec<Junction>,
    /// Outlines of the insides of junctions.
    pub(super) paved: Vec<Vec<Point>>,
}

/// A lane of a cross-section.
#[derive(Clone, Copy)]
pub(super) struct Lane {
    pub(super) kind: LaneletKind,
    /// Whether it leads the way the spine does.
    pub(super) forward: bool,
}

/// A stretch of road with the same lanes throughout, lanes from left to right.
pub(super) struct Section<'a> {
    pub(super) spine: &'a [Station],
    /// `[lanes + 1][stations]`: how far to the left of the spine each line between lanes is.
    pub(super) lines: Vec<Vec<f64>>,
    /// Paint on each of these lines.
    pub(super) markings: Vec<LineMarking>,
    pub(super) lanes: Vec<Lane>,
    pub(super) speed_limit_mps: f64,
}

impl Builder {
    pub(super) fn lanelet(&self, id: ElementId) -> &Lanelet {
        &self.lanelets[id as usize - 1]
    }

    pub(super) fn lanelet_mut(&mut self, id: ElementId) -> &mut Lanelet {
        &mut self.lanelets[id as usize - 1]
    }

    /// Adds a lanelet between two rows of points.
    pub(super) fn add(
        &mut self,
        left: Vec<Point>,
        right: Vec<Point>,
        kind: LaneletKind,
        limit: Option<f64>,
    ) -> ElementId {
        let id = self.lanelets.len() as ElementId + 1;
        let mut lanelet = Lanelet::new(id, Polyline::new(left), Polyline::new(right));
        lanelet.kind = kind;
        lanelet.speed_limit_mps = limit;
        lanelet.left_marking = LineMarking::None;
        lanelet.right_marking = LineMarking::None;
        self.lanelets.push(lanelet);
        id
    }

    /// Adds the lanelets of a section and links neighbours.
    ///
    /// # Returns
    /// Their ids, from left to right.
    pub(super) fn section(&mut self, section: &Section) -> Vec<ElementId> {
        let lines: Vec<Vec<Point>> =
            section.lines.iter().map(|offsets| beside(section.spine, |i| offsets[i])).collect();
        let mut ids = Vec::new();
        for (k, lane) in section.lanes.iter().enumerate() {
            let (mut left, mut right) = (lines[k].clone(), lines[k + 1].clone());
            let mut paint = [section.markings[k], section.markings[k + 1]];
            if !lane.forward {
                (left, right) = (right.into_iter().rev().collect(), left.into_iter().rev().collect());
                paint.reverse();
            }
            let id = self.add(left, right, lane.kind, Some(section.speed_limit_mps));
            [self.lanelet_mut(id).left_marking, self.lanelet_mut(id).right_marking] = paint;
            ids.push(id);
        }
        for k in 1..ids.len() {
            self.put_beside((ids[k - 1], section.lanes[k - 1].forward), (ids[k], section.lanes[k].forward));
        }
        ids
    }

    /// Links two lanelets of which the first is on the left, seen along the spine.
    fn put_beside(
        &mut self,
        (left, left_forward): (ElementId, bool),
        (right, right_forward): (ElementId, bool),
    ) {
        let same_direction = left_forward == right_forward;
        let to = |id| Some(Adjacent { id, same_direction });
        match left_forward {
            true => self.lanelet_mut(left).adjacent_right = to(right),
            false => self.lanelet_mut(left).adjacent_left = to(right),
        }
        match right_forward {
            true => self.lanelet_mut(right).adjacent_left = to(left),
            false => self.lanelet_mut(right).adjacent_right = to(left),
        }
    }

    /// Lets one lanelet lead into another.
    pub(super) fn link(&mut self, from: ElementId, to: ElementId) {
        self.lanelet_mut(from).successors.push(to);
        self.lanelet_mut(to).predecessors.push(from);
    }

    /// The pose of a lanelet's end, or of its start, and its width there.
    pub(super) fn pose(&self, id: ElementId, at_end: bool) -> (Station, f64) {
        let lanelet = self.lanelet(id);
        let (left, right) = (lanelet.left.points(), lanelet.right.points());
        let (l, r) = match at_end {
            true => (left[left.len() - 1], right[right.len() - 1]),
            false => (left[0], right[0]),
        };
        let across = l - r;
        (Station::new(l.lerp(r, 0.5), across.angle() - 0.5 * std::f64::consts::PI), across.norm())
    }

    /// Adds a lanelet that leads from the end of one to the start of another, and links it.
    pub(super) fn connect(&mut self, from: ElementId, to: ElementId, step_m: f64, limit: f64) -> ElementId {
        let ((start, w0), (end, w1)) = (self.pose(from, true), self.pose(to, false));
        let line = turn(start, end, step_m);
        let last = line.len() - 1;
        let width = |i: usize| w0 + (w1 - w0) * i as f64 / last as f64;
        let mut left = beside(&line, |i| 0.5 * width(i));
        let mut right = beside(&line, |i| -0.5 * width(i));
        // The very points of the neighbours, not their neighbours in floating point.
        let ends = |line: &Polyline| line.points()[line.points().len() - 1];
        (left[0], right[0]) = (ends(&self.lanelet(from).left), ends(&self.lanelet(from).right));
        (left[last], right[last]) = (self.lanelet(to).left.points()[0], self.lanelet(to).right.points()[0]);
        let id = self.add(left, right, LaneletKind::Intersection, Some(limit));
        self.link(from, id);
        self.link(id, to);
        id
    }

    /// Puts a stop line across the end of a lanelet.
    pub(super) fn stop_line(&mut self, id: ElementId) {
        let lanelet = self.lanelet(id);
        let (left, right) = (lanelet.left.length(), lanelet.right.length());
        let line = StopLine { left: lanelet.left.at(left), right: lanelet.right.at(right) };
        self.lanelet_mut(id).stop_line = Some(line);
    }

    /// Puts up a sign that holds for some lanelets.
    pub(super) fn sign(
        &mut self,
        kind: SignKind,
        position: Point,
        heading_rad: f64,
        holds_for: &[ElementId],
    ) {
        let id = FIRST_SIGN + self.signs.len() as ElementId;
        // Numbers of the German catalogue (VzKat).
        let code = match kind {
            SignKind::SpeedLimit { .. } => "274",
            SignKind::Stop => "206",
            SignKind::Yield => "205",
            SignKind::Priority => "306",
            SignKind::Other => "",
        };
        self.signs.push(TrafficSign { id, kind, code: code.to_string(), position, heading_rad });
        for lanelet in holds_for {
            self.lanelet_mut(*lanelet).signs.push(id);
        }
    }

    /// Puts up a light that holds for some lanelets.
    pub(super) fn light(&mut self, mut light: TrafficLight, holds_for: &[ElementId]) -> ElementId {
        light.id = FIRST_LIGHT + self.lights.len() as ElementId;
        let id = light.id;
        self.lights.push(light);
        for lanelet in holds_for {
            self.lanelet_mut(*lanelet).lights.push(id);
        }
        id
    }

    pub(super) fn finish(self, kind: RoadKind, usual_speed_mps: [f64; 2]) -> Layout {
        let mut roads = RoadNetwork::new(self.lanelets, self.signs, self.lights);
        roads.set_paved(self.paved);
        Layout {
            roads,
            kind,
            entries: self.entries,
            exits: self.exits,
            conflicts: self.conflicts,
            crosswalks: self.crosswalks,
            parking: self.parking,
            junctions: self.junctions,
            usual_speed_mps,
        }
    }
}
