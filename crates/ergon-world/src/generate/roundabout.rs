//! A roundabout: one lane round, three or four arms, those who enter give way.

use super::builder::Builder;
use super::conflict::overlap;
use super::junction::slow_down;
use super::spine::{Curvature, Station, beside, spine, turn};
use super::street::{Profile, street};
use super::{Conflict, Junction, JunctionControl, RoadOptions, Rule};
use crate::Rng;
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, LaneletKind, LineMarking, SignKind};
use std::f64::consts::{PI, TAU};

/// Distance of points on the ring and in its mouths.
const STEP_M: f64 = 0.8;

/// Width of the sidewalks.
const SIDEWALK_M: f64 = 2.0;

// Widths of single-lane roundabouts by NCHRP Report 672, "Roundabouts: An Informational Guide", sections 6.4.2 and 6.4.3: a
// car's corners sweep over more than its width in a bend.
/// The lane round.
const RING_LANE_M: [f64; 2] = [4.8, 6.0];
/// The mouths, where a way in or out begins to bend.
const MOUTH_M: [f64; 2] = [4.2, 5.0];
/// A street's lane widens into its mouth over so much, on the side of the kerb.
const FLARE_M: f64 = 15.0;

/// The ring.
struct Ring {
    /// Radius of the lane's middle.
    radius_m: f64,
    lane_m: f64,
    /// From an arm's direction to where its entry joins the ring and, mirrored, to where its exit leaves.
    reach_rad: f64,
    /// Width of the mouths.
    mouth_m: f64,
}

/// An arm's lanelets.
struct Arm {
    angle_rad: f64,
    incoming: ElementId,
    /// Where the street widens before the approach, and narrows behind the way out.
    flares: [ElementId; 2],
    /// From the yield line to the ring, and from the ring to where the street narrows.
    merge: ElementId,
    leave: ElementId,
}

impl Ring {
    fn at(&self, angle_rad: f64) -> Station {
        Station::new(Point::polar(self.radius_m, angle_rad), angle_rad + 0.5 * PI)
    }

    /// Distances of a way's left and right edge from its line, at stations from a street of a width to the ring: the lane
    /// widens on the side of the kerb before it bends, on the other side only as the ways in and out part.
    fn edges<'a>(&self, from_street: impl Iterator<Item = &'a Station>, street_m: f64) -> Vec<[f64; 2]> {
        let mut way_m: Vec<f64> = Vec::new();
        let mut last: Option<Point> = None;
        for station in from_street {
            let step_m = last.map_or(0.0, |last| last.distance(station.point));
            way_m.push(way_m.last().unwrap_or(&0.0) + step_m);
            last = Some(station.point);
        }
        let smooth = |part: f64| {
            let u = part.clamp(0.0, 1.0);
            u * u * (3.0 - 2.0 * u)
        };
        let (street, ring, kerb) =
            (0.5 * street_m, 0.5 * self.lane_m, self.mouth_m.max(street_m) - 0.5 * street_m);
        let bend_m = (way_m.last().unwrap_or(&0.0) - FLARE_M).max(1.0);
        let edge = |s_m: f64| {
            let (flared, bent) = (smooth(s_m / FLARE_M), smooth((s_m - FLARE_M) / bend_m));
            [street + (ring - street) * bent, street + (kerb - street) * flared + (ring - kerb) * bent]
        };
        way_m.into_iter().map(edge).collect()
    }

    /// The ring from one angle counter-clockwise to another.
    fn arc(&self, builder: &mut Builder, from_rad: f64, to_rad: f64, limit: f64) -> ElementId {
        let sweep = (to_rad - from_rad).rem_euclid(TAU);
        let n = (sweep * self.radius_m / STEP_M).ceil().max(2.0) as usize;
        // The last point from the same angle as the next arc's first, so that the two are equal.
        let angle = |i: usize| if i == n { to_rad } else { from_rad + sweep * i as f64 / n as f64 };
        let line: Vec<Station> = (0..=n).map(|i| self.at(angle(i))).collect();
        let half = 0.5 * self.lane_m;
        let id = builder.add(
            beside(&line, |_| half),
            beside(&line, |_| -half),
            LaneletKind::Intersection,
            Some(limit),
        );
        builder.lanelet_mut(id).left_marking = LineMarking::Curb;
        id
    }
}

/// A roundabout with its arms. Returns the usual speeds.
pub(super) fn roundabout(builder: &mut Builder, rng: &mut Rng, options: &RoadOptions) -> [f64; 2] {
    let limit = options.speed_limit_mps.unwrap_or([30.0, 50.0][rng.below(2)] / 3.6);
    let count = 3 + rng.below(2);
    let ring = Ring {
        radius_m: rng.range(15.0, 21.0),
        lane_m: rng.range(RING_LANE_M[0], RING_LANE_M[1]),
        reach_rad: rng.range(0.55, 0.62),
        mouth_m: rng.range(MOUTH_M[0], MOUTH_M[1]),
    };
    let first = rng.range(-3.1, 3.1);
    let profile = Profile {
        lanes: 1,
        lane_m: rng.range(3.1, 3.5),
        parking: [false; 2],
        sidewalk_m: SIDEWALK_M,
        speed_limit_mps: limit,
        plain: false,
    };
    let mut arms = Vec::new();
    for k in 0..count {
        let angle = first + TAU * k as f64 / count as f64 + rng.range(-0.1, 0.1);
        arms.push(arm(builder, rng, &ring, &profile, wrap_angle(angle)));
    }
    close_ring(builder, &ring, &arms, limit);
    [0.7 * limit, limit]
}

/// A street that leads to the ring, and the lanelets that join it with the ring.
fn arm(builder: &mut Builder, rng: &mut Rng, ring: &Ring, profile: &Profile, angle_rad: f64) -> Arm {
    let outwards = Station::new(Point::default(), angle_rad);
    let join = ring.at(angle_rad + ring.reach_rad);
    // Where the tangent of the ring at the joint meets the lane, and as far again outwards, so that an
    // arc fits between; before it the lane widens.
    let local = join.point.to_frame(Point::default(), angle_rad);
    let back = (local.y - 0.5 * profile.lane_m) / ring.reach_rad.cos();
    let begin_m = local.x + back * ring.reach_rad.sin() + back + FLARE_M;
    let bend = rng.range(-1.0, 1.0) / 200.0;
    let curvature = Curvature { knots: vec![[20.0, 0.0], [45.0, bend]] };
    let line = spine(outwards.ahead(begin_m), rng.range(80.0, 140.0), 2.0, &curvature);
    let street = street(builder, rng, &line, profile);
    let (incoming, outgoing) = (street.backward[0], street.forward[0]);
    builder.entries.push(incoming);
    builder.exits.push(outgoing);

    let (merge, approach, widens) = entry(builder, ring, incoming, join, profile.speed_limit_mps);
    let (start, width) = builder.pose(outgoing, false);
    let off = ring.at(angle_rad - ring.reach_rad);
    let line = turn(off, start, STEP_M);
    let edges = ring.edges(line.iter().rev(), width).into_iter().rev().collect::<Vec<_>>();
    let straight = flare_stations(line.iter().rev());
    let bend = line.len() - straight;
    let leave = mouth_lanelet(builder, &line[..=bend], &edges[..=bend], profile.speed_limit_mps);
    let narrows = lanelet(builder, &line[bend..], &edges[bend..], profile.speed_limit_mps);
    builder.link(leave, narrows);
    builder.link(narrows, outgoing);
    let sign_at = builder.pose(approach, true).0;
    let post = sign_at.beside(-0.5 * ring.lane_m - 0.6);
    builder.sign(SignKind::Yield, post, sign_at.heading_rad, &[approach]);
    Arm { angle_rad, incoming: approach, flares: [widens, narrows], merge, leave }
}

/// Stations of a way from a street at which it is still straight.
fn flare_stations<'a>(mut from_street: impl Iterator<Item = &'a Station>) -> usize {
    let Some(start) = from_street.next() else { return 0 };
    from_street.take_while(|station| station.point.distance(start.point) < FLARE_M + 1e-6).count()
}

/// The way from a street onto the ring: a lanelet that widens, and two that meet at the yield line.
///
/// # Returns
/// The lanelet from the line onto the ring, the one before, and the one that widens.
fn entry(
    builder: &mut Builder,
    ring: &Ring,
    incoming: ElementId,
    join: Station,
    limit: f64,
) -> (ElementId, ElementId, ElementId) {
    let (start, width) = builder.pose(incoming, true);
    let line = turn(start, join, STEP_M);
    // The line is where the entering car's front is still clear of the ring.
    let clear = ring.radius_m + 0.5 * ring.lane_m + 1.5;
    let cut = line.partition_point(|station| station.point.norm() > clear).clamp(2, line.len() - 3);
    let bend = flare_stations(line.iter()).min(cut - 1);
    let edges = ring.edges(line.iter(), width);
    let widens = lanelet(builder, &line[..=bend], &edges[..=bend], limit);
    let approach = mouth_lanelet(builder, &line[bend..=cut], &edges[bend..=cut], limit);
    let merge = mouth_lanelet(builder, &line[cut..], &edges[cut..], limit);
    builder.link(incoming, widens);
    builder.link(widens, approach);
    builder.link(approach, merge);
    builder.stop_line(approach);
    // The island between the ways in and out.
    builder.lanelet_mut(approach).left_marking = LineMarking::Curb;
    (merge, approach, widens)
}

/// A lanelet of a mouth that bends.
fn mouth_lanelet(builder: &mut Builder, line: &[Station], edges: &[[f64; 2]], limit: f64) -> ElementId {
    let id = lanelet(builder, line, edges, limit);
    slow_down(builder, id, limit);
    id
}

/// A lanelet with a kerb on its right; `edges` are the distances of its left and right edge from the line at each of its
/// stations.
fn lanelet(builder: &mut Builder, line: &[Station], edges: &[[f64; 2]], limit: f64) -> ElementId {
    let (left, right) = (beside(line, |i| edges[i][0]), beside(line, |i| -edges[i][1]));
    let id = builder.add(left, right, LaneletKind::Intersection, Some(limit));
    builder.lanelet_mut(id).right_marking = LineMarking::Curb;
    id
}

/// The sidewalk on the right of lanelets that follow each other.
fn sidewalk(builder: &mut Builder, ids: &[ElementId]) {
    let kerb = Polyline::new(ids.iter().flat_map(|id| builder.lanelet(*id).right.points().iter().copied()));
    let outer = kerb.offset(-SIDEWALK_M);
    let id = builder.add(kerb.points().to_vec(), outer.points().to_vec(), LaneletKind::Sidewalk, None);
    builder.lanelet_mut(id).left_marking = LineMarking::Curb;
}

/// The ring's lanelets, and who yields to whom.
fn close_ring(builder: &mut Builder, ring: &Ring, arms: &[Arm], limit: f64) {
    let limit = limit.min((3.0 * ring.radius_m).sqrt());
    let mut inside = Vec::new();
    // In front of each arm, from its exit to its entry; and on from there to the next arm's exit.
    let fronts: Vec<ElementId> = arms
        .iter()
        .map(|arm| ring.arc(builder, arm.angle_rad - ring.reach_rad, arm.angle_rad + ring.reach_rad, limit))
        .collect();
    for (i, arm) in arms.iter().enumerate() {
        let next = (i + 1) % arms.len();
        let to = arms[next].angle_rad - ring.reach_rad;
        let between = ring.arc(builder, arm.angle_rad + ring.reach_rad, to, limit);
        builder.lanelet_mut(between).right_marking = LineMarking::Curb;
        builder.link(fronts[i], between);
        builder.link(arm.merge, between);
        builder.link(between, fronts[next]);
        builder.link(between, arms[next].leave);
        inside.extend([fronts[i], between, arm.merge, arm.leave]);
        let ([widens, _], [_, narrows]) = (arm.flares, arms[next].flares);
        sidewalk(builder, &[widens, arm.incoming, arm.merge, between, arms[next].leave, narrows]);
        let (merge, front) = (&builder.lanelet(arm.merge).center, &builder.lanelet(fronts[i]).center);
        if let Some([yielding_m, priority_m]) = overlap(merge, front) {
            let (yielding, priority) = (arm.merge, fronts[i]);
            builder.conflicts.push(Conflict { yielding, priority, yielding_m, priority_m, rule: Rule::Sign });
        }
    }
    builder.junctions.push(Junction {
        center: Point::default(),
        control: JunctionControl::Roundabout,
        incoming: arms.iter().map(|arm| arm.incoming).collect(),
        inside,
        outgoing: arms.iter().map(|arm| arm.flares[1]).collect(),
    });
}
