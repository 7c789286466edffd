//! A street between junctions: lanes each way, parking places, sidewalks.

use super::ParkingSpot;
use super::builder::{Builder, Lane, Section};
use super::spine::{Station, beside};
use crate::Rng;
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, LaneletKind, LineMarking};

/// Width of a parking place beside the road.
const PARKING_M: f64 = 2.3;
/// Length of a parking place.
const PLACE_M: f64 = 6.2;
/// No parking within this distance of a junction.
const CLEAR_M: f64 = 14.0;
/// Length over which the kerb swings out to where parking begins.
const SWING_M: f64 = 3.0;

/// What a street looks like across.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    /// Lanes per direction.
    pub(super) lanes: usize,
    pub(super) lane_m: f64,
    /// Parking places on the left and right.
    pub(super) parking: [bool; 2],
    pub(super) sidewalk_m: f64,
    pub(super) speed_limit_mps: f64,
    /// See [`RoadOptions::plain`](super::RoadOptions::plain).
    pub(super) plain: bool,
}

impl Profile {
    /// From the middle of the road to the kerb.
    pub(super) fn half_m(&self) -> f64 {
        self.lanes as f64 * self.lane_m
    }
}

/// The lanelets of a street; of each direction from the middle of the road outwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Street {
    pub(super) forward: Vec<ElementId>,
    pub(super) backward: Vec<ElementId>,
}

/// Adds a street along a spine.
pub(super) fn street(builder: &mut Builder, rng: &mut Rng, spine: &[Station], profile: &Profile) -> Street {
    let n = profile.lanes;
    let mut markings = vec![LineMarking::Dashed; 2 * n + 1];
    markings[n] = if n == 1 { LineMarking::Dashed } else { LineMarking::Solid };
    let edge = |parking: bool| if parking { LineMarking::Solid } else { LineMarking::Curb };
    (markings[0], markings[2 * n]) = (edge(profile.parking[0]), edge(profile.parking[1]));
    let mut kind = LaneletKind::Urban;
    if profile.plain {
        markings.fill(LineMarking::Unknown);
        kind = LaneletKind::Country;
    }
    let offsets = (0..=2 * n).map(|k| (n as f64 - k as f64) * profile.lane_m);
    let lines = offsets.map(|d| vec![d; spine.len()]).collect();
    let lanes = (0..2 * n).map(|k| Lane { kind, forward: k >= n }).collect();
    let ids =
        builder.section(&Section { spine, lines, markings, lanes, speed_limit_mps: profile.speed_limit_mps });
    if !profile.plain {
        for on_left in [true, false] {
            side(builder, rng, spine, profile, on_left);
        }
    }
    Street { forward: ids[n..].to_vec(), backward: ids[..n].iter().rev().copied().collect() }
}

/// Length along a spine up to each station.
fn lengths(spine: &[Station]) -> Vec<f64> {
    let mut s = 0.0;
    let steps = spine.windows(2).map(|pair| pair[0].point.distance(pair[1].point));
    std::iter::once(0.0)
        .chain(steps.map(|step| {
            s += step;
            s
        }))
        .collect()
}

/// Parking places and sidewalk of one side.
fn side(builder: &mut Builder, rng: &mut Rng, spine: &[Station], profile: &Profile, on_left: bool) {
    let lengths = lengths(spine);
    let whole = lengths[lengths.len() - 1];
    let parking = profile.parking[usize::from(!on_left)] && whole > 2.0 * CLEAR_M + 2.0 * PLACE_M;
    let sign = if on_left { 1.0 } else { -1.0 };
    // How far the kerb swings out at each station.
    let swing: Vec<f64> = lengths
        .iter()
        .map(|s| {
            let part = ((s.min(whole - s) - CLEAR_M + SWING_M) / SWING_M).clamp(0.0, 1.0);
            if parking { PARKING_M * part } else { 0.0 }
        })
        .collect();
    if parking {
        parking_lane(builder, spine, &swing, profile, sign);
        parking_places(builder, rng, spine, &lengths, profile, on_left);
    }
    let inner = beside(spine, |i| sign * (profile.half_m() + swing[i]));
    let outer = beside(spine, |i| sign * (profile.half_m() + swing[i] + profile.sidewalk_m));
    // A sidewalk leads the way the road beside it does: its left is towards the road.
    let id = add_beside(builder, inner, outer, LaneletKind::Sidewalk, on_left);
    builder.lanelet_mut(id).left_marking = LineMarking::Curb;
}

/// Adds a lanelet that leads the way of the lanes beside it; its points are in the order of the spine.
fn add_beside(
    builder: &mut Builder,
    mut inner: Vec<Point>,
    mut outer: Vec<Point>,
    kind: LaneletKind,
    on_left: bool,
) -> ElementId {
    if on_left {
        inner.reverse();
        outer.reverse();
    }
    builder.add(inner, outer, kind, None)
}

/// The strip of parking places on one side, with the tapers at its ends.
fn parking_lane(builder: &mut Builder, spine: &[Station], swing: &[f64], profile: &Profile, sign: f64) {
    let first = swing.partition_point(|d| *d <= 0.0).saturating_sub(1);
    let end = swing.iter().rposition(|d| *d > 0.0).map_or(swing.len(), |last| (last + 2).min(swing.len()));
    let part = &spine[first..end];
    let inner = beside(part, |_| sign * profile.half_m());
    // The tips keep a width, so that the strip is a proper lanelet.
    let outer = beside(part, |i| sign * (profile.half_m() + swing[first + i].max(0.05)));
    let id = add_beside(builder, inner, outer, LaneletKind::Parking, sign > 0.0);
    builder.lanelet_mut(id).left_marking = LineMarking::Solid;
    builder.lanelet_mut(id).right_marking = LineMarking::Curb;
}

/// The places on one side.
fn parking_places(
    builder: &mut Builder,
    rng: &mut Rng,
    spine: &[Station],
    lengths: &[f64],
    profile: &Profile,
    on_left: bool,
) {
    let whole = lengths[lengths.len() - 1];
    let (sign, turn) = if on_left { (1.0, std::f64::consts::PI) } else { (-1.0, 0.0) };
    let mut s = CLEAR_M + 0.5 * PLACE_M + rng.range(0.0, 1.0);
    while s + 0.5 * PLACE_M < whole - CLEAR_M {
        let i = lengths.partition_point(|length| *length < s).min(spine.len() - 1);
        builder.parking.push(ParkingSpot {
            position: spine[i].ahead(s - lengths[i]).beside(sign * (profile.half_m() + 0.5 * PARKING_M)),
            heading_rad: wrap_angle(spine[i].heading_rad + turn),
        });
        s += PLACE_M;
    }
}
