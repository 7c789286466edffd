//! A street through a town: a chain of junctions with side streets.

use super::builder::Builder;
use super::junction::{Arm, junction};
use super::spine::{Bends, Curvature, Station, spine};
use super::street::{Profile, Street, street};
use super::{JunctionControl, RoadOptions};
use crate::Rng;
use crate::geometry::{Point, wrap_angle};
use crate::road::SignKind;
use std::f64::consts::PI;

/// Distance of points along streets.
const STEP_M: f64 = 2.0;
/// From the kerb of the crossing street to the stop line, and where roads are plain.
const SETBACK_M: [f64; 2] = [8.0, 11.0];
const PLAIN_SETBACK_M: [f64; 2] = [5.2, 9.0];
/// Width of lanes, and where roads are plain.
const LANE_M: [f64; 2] = [3.0, 3.5];
const PLAIN_LANE_M: [f64; 2] = [2.45, 3.2];

/// A junction before it is built.
struct Plan {
    /// Its middle, as a number of points of the main street.
    at: usize,
    /// Side streets on the left and right.
    sides: [bool; 2],
    side: Profile,
    /// From the kerb of the crossing street to the stop line.
    setback_m: f64,
    control: JunctionControl,
}

/// A main street with side streets. Returns the usual speeds.
pub(super) fn urban(builder: &mut Builder, rng: &mut Rng, options: &RoadOptions) -> [f64; 2] {
    let limits = [30.0, 50.0, 50.0, 60.0];
    let speed_limit_mps = options.speed_limit_mps.unwrap_or(limits[rng.below(limits.len())] / 3.6);
    let lanes = options.lanes.unwrap_or_else(|| [1, 1, 2, 2, 3][rng.below(5)]).clamp(1, 4);
    let main = Profile { lanes, speed_limit_mps, ..profile(rng, options) };
    let (plans, spine) = plan(rng, options, &main);
    let mut from = 0;
    let mut behind: Option<(Street, Station)> = None;
    for (k, plan) in plans.iter().enumerate() {
        let away = away(plan, &spine);
        let before = street(builder, rng, &spine[from..=plan.at - away], &main);
        if k == 0 {
            enter(builder, &before.forward, &before.backward, &spine[1], &main);
        }
        if let Some((street, mouth)) = behind.take() {
            close(builder, rng, &plans[k - 1], &spine, [(street, mouth), (before.clone(), mouth)], &main);
        }
        from = plan.at + away;
        behind = Some((before, spine[plan.at - away]));
    }
    let rest = street(builder, rng, &spine[from..], &main);
    let last = spine[spine.len() - 2];
    let turned = Station::new(last.point, wrap_angle(last.heading_rad + PI));
    enter(builder, &rest.backward, &rest.forward, &turned, &main);
    if let (Some((street, mouth)), Some(plan)) = (behind, plans.last()) {
        close(builder, rng, plan, &spine, [(street, mouth), (rest, mouth)], &main);
    }
    [0.7 * speed_limit_mps, speed_limit_mps]
}

fn profile(rng: &mut Rng, options: &RoadOptions) -> Profile {
    let plain = options.plain;
    let [narrowest_m, widest_m] = if plain { PLAIN_LANE_M } else { LANE_M };
    Profile {
        lanes: 1,
        lane_m: rng.range(narrowest_m, widest_m),
        parking: if plain { [false; 2] } else { [rng.chance(0.5), rng.chance(0.5)] },
        sidewalk_m: if plain { 0.0 } else { rng.range(1.8, 3.0) },
        speed_limit_mps: 30.0 / 3.6,
        plain,
    }
}

/// Where the junctions are, and the line of the main street.
fn plan(rng: &mut Rng, options: &RoadOptions, main: &Profile) -> (Vec<Plan>, Vec<Station>) {
    let count = options.junctions.unwrap_or_else(|| 2 + rng.below(3)).clamp(1, 12);
    let mut s = rng.range(90.0, 150.0);
    let mut middles = Vec::new();
    for _ in 0..count {
        middles.push(s);
        s += rng.range(120.0, 200.0);
    }
    let length_m = s - rng.range(20.0, 50.0);
    let bends = Bends { radius_m: [200.0, 600.0], length_m: [30.0, 100.0], turn_max_rad: 0.9 };
    let curvature = Curvature::random(rng, length_m, bends).straightened(&middles, 30.0, length_m);
    let start = Station::new(Point::default(), rng.range(-3.1, 3.1));
    let spine = spine(start, length_m, STEP_M, &curvature);
    let step_m = length_m / (spine.len() - 1) as f64;
    let plans =
        middles.iter().map(|s| junction_plan(rng, options, main, (s / step_m).round() as usize)).collect();
    (plans, spine)
}

fn junction_plan(rng: &mut Rng, options: &RoadOptions, main: &Profile, at: usize) -> Plan {
    let sides = [[true, true], [true, true], [true, false], [false, true]][rng.below(4)];
    let side_lanes = if main.lanes >= 2 && rng.chance(0.4) { 2 } else { 1 };
    let limit =
        if rng.chance(0.5) { main.speed_limit_mps } else { (30.0_f64 / 3.6).min(main.speed_limit_mps) };
    let side = Profile { lanes: side_lanes, speed_limit_mps: limit, ..profile(rng, options) };
    let control = options.control.filter(|control| *control != JunctionControl::Roundabout).unwrap_or({
        let lights = if main.lanes >= 2 { 0.75 } else { 0.4 };
        match rng.unit() {
            u if u < lights => JunctionControl::Lights,
            u if u < lights + 0.6 * (1.0 - lights) => JunctionControl::Yield,
            _ => JunctionControl::Stop,
        }
    });
    let [nearest_m, farthest_m] = if options.plain { PLAIN_SETBACK_M } else { SETBACK_M };
    Plan { at, sides, side, setback_m: rng.range(nearest_m, farthest_m), control }
}

/// Distance of the main street's stop lines from a junction's middle, in points.
fn away(plan: &Plan, spine: &[Station]) -> usize {
    let step_m = spine[0].point.distance(spine[1].point);
    ((plan.side.half_m() + plan.setback_m) / step_m).ceil() as usize
}

/// Lets traffic in and out at the end of a street; the post of the limit stands at its start.
fn enter(
    builder: &mut Builder,
    entries: &[crate::road::ElementId],
    exits: &[crate::road::ElementId],
    at: &Station,
    profile: &Profile,
) {
    builder.entries.extend(entries);
    builder.exits.extend(exits);
    let post = at.beside(-profile.half_m() - 0.8);
    builder.sign(SignKind::SpeedLimit { speed_mps: profile.speed_limit_mps }, post, at.heading_rad, entries);
}

/// Builds the junction between two stretches of the main street, with its side streets.
fn close(
    builder: &mut Builder,
    rng: &mut Rng,
    plan: &Plan,
    spine: &[Station],
    [(before, mouth), (after, _)]: [(Street, Station); 2],
    main: &Profile,
) {
    let center = spine[plan.at];
    let mut arms = vec![Arm {
        incoming: after.backward,
        outgoing: after.forward,
        mouth: spine[plan.at + away(plan, spine)],
        profile: *main,
        major: true,
    }];
    if plan.sides[0] {
        arms.push(side_street(builder, rng, plan, center, true, main));
    }
    arms.push(Arm {
        incoming: before.forward,
        outgoing: before.backward,
        mouth: Station::new(mouth.point, mouth.heading_rad + PI),
        profile: *main,
        major: true,
    });
    if plan.sides[1] {
        arms.push(side_street(builder, rng, plan, center, false, main));
    }
    junction(builder, rng, center.point, &arms, plan.control);
}

fn side_street(
    builder: &mut Builder,
    rng: &mut Rng,
    plan: &Plan,
    center: Station,
    on_left: bool,
    main: &Profile,
) -> Arm {
    let quarter = if on_left { 0.5 * PI } else { -0.5 * PI };
    let outwards = Station::new(center.point, center.heading_rad + quarter + rng.range(-0.12, 0.12));
    let mouth = outwards.ahead(main.half_m() + plan.setback_m);
    let length_m = rng.range(60.0, 110.0);
    let bend = rng.range(-1.0, 1.0) / 250.0;
    let curvature = Curvature { knots: vec![[25.0, 0.0], [50.0, bend]] };
    let line = spine(mouth, length_m, STEP_M, &curvature);
    let street = street(builder, rng, &line, &plan.side);
    let end = line[line.len() - 2];
    let inwards = Station::new(end.point, wrap_angle(end.heading_rad + PI));
    enter(builder, &street.backward, &street.forward, &inwards, &plan.side);
    Arm { incoming: street.backward, outgoing: street.forward, mouth, profile: plan.side, major: false }
}
