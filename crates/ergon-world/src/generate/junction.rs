//! A junction of three or four arms: the ways through it, stop lines, signs or lights, crosswalks and corners.

use super::builder::Builder;
use super::conflict::{Movement, Turn, conflicts};
use super::spine::{Station, beside, turn};
use super::street::Profile;
use super::{Crosswalk, Junction, JunctionControl};
use crate::Rng;
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, LaneletKind, LineMarking, SignKind, TrafficLight};
use ergon_types::LightColor;
use std::f64::consts::PI;

/// Distance of points inside a junction.
const STEP_M: f64 = 0.8;
/// A crosswalk lies this far beyond the stop line, near and far edge.
const CROSSWALK_M: [f64; 2] = [1.0, 4.0];
/// Duration of yellow, of red for everyone, and of the red-yellow within it.
const CLEARANCE_S: [f64; 3] = [3.0, 2.0, 1.0];

/// A road that leads to a junction.
pub(super) struct Arm {
    /// Lanelets that lead in, from the middle of the road outwards.
    pub(super) incoming: Vec<ElementId>,
    /// Lanelets that lead out, from the middle of the road outwards.
    pub(super) outgoing: Vec<ElementId>,
    /// Middle of the road where these lanelets meet the junction; looks outwards.
    pub(super) mouth: Station,
    pub(super) profile: Profile,
    /// It belongs to the road that goes first.
    pub(super) major: bool,
}

/// Joins arms, which are in counter-clockwise order.
pub(super) fn junction(
    builder: &mut Builder,
    rng: &mut Rng,
    center: Point,
    arms: &[Arm],
    control: JunctionControl,
) {
    let phases: Vec<Option<usize>> = match control {
        JunctionControl::Lights => {
            // Either both arms of a road at once, left turns giving way, or one arm after the other.
            let split = rng.chance(0.3);
            arms.iter()
                .enumerate()
                .map(|(i, arm)| Some(if split { i } else { usize::from(!arm.major) }))
                .collect()
        }
        _ => vec![None; arms.len()],
    };
    let movements = movements(builder, rng, arms, &phases);
    let found = conflicts(&movements, &builder.lanelets);
    builder.conflicts.extend(found);
    let plain = arms.iter().any(|arm| arm.profile.plain);
    let lights = match control {
        JunctionControl::Lights => lights(builder, rng, center, arms, &phases),
        _ => {
            // Files of simulated traffic mostly do not say who goes first.
            if !plain || rng.chance(0.5) {
                put_up_signs(builder, arms, control);
            }
            vec![None; arms.len()]
        }
    };
    if plain {
        for movement in &movements {
            let lanelet = builder.lanelet_mut(movement.lanelet);
            (lanelet.left_marking, lanelet.right_marking) = (LineMarking::Unknown, LineMarking::Unknown);
        }
    } else {
        for (arm, light) in arms.iter().zip(&lights) {
            // Persons crossing the road that goes first would have to be seen in time: only with lights.
            if light.is_some() || !arm.major || rng.chance(0.4) {
                crosswalk(builder, arm, &movements, *light);
            }
        }
        let mut outline = Vec::new();
        for (i, arm) in arms.iter().enumerate() {
            outline.extend(corner(builder, arm, &arms[(i + 1) % arms.len()]));
        }
        builder.paved.push(outline);
    }
    builder.junctions.push(Junction {
        center,
        control,
        incoming: arms.iter().flat_map(|arm| &arm.incoming).copied().collect(),
        inside: movements.iter().map(|movement| movement.lanelet).collect(),
        outgoing: arms.iter().flat_map(|arm| &arm.outgoing).copied().collect(),
    });
}

/// Which way it is from one arm into another.
fn turn_between(from: &Arm, to: &Arm) -> Turn {
    let angle = wrap_angle(to.mouth.heading_rad - from.mouth.heading_rad - PI);
    match angle {
        angle if angle > 0.7 => Turn::Left,
        angle if angle < -0.7 => Turn::Right,
        _ => Turn::Straight,
    }
}

/// Adds the lanelets inside a junction.
fn movements(builder: &mut Builder, rng: &mut Rng, arms: &[Arm], phases: &[Option<usize>]) -> Vec<Movement> {
    let mut movements = Vec::new();
    for (i, from) in arms.iter().enumerate() {
        let n = from.incoming.len();
        let ways: Vec<(Turn, &Arm)> = arms
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .map(|(_, to)| (turn_between(from, to), to))
            .collect();
        let has_left = ways.iter().any(|(turn, _)| *turn == Turn::Left);
        let left_only = n >= 3 && has_left && rng.chance(0.5);
        for (turn, to) in ways {
            let pairs: Vec<(usize, usize)> = match turn {
                Turn::Left => vec![(0, 0)],
                Turn::Right => vec![(n - 1, to.outgoing.len() - 1)],
                Turn::Straight => {
                    (usize::from(left_only)..n.min(to.outgoing.len())).map(|lane| (lane, lane)).collect()
                }
            };
            for (lane, out) in pairs {
                let limit = from.profile.speed_limit_mps.min(to.profile.speed_limit_mps);
                let lanelet = builder.connect(from.incoming[lane], to.outgoing[out], STEP_M, limit);
                slow_down(builder, lanelet, limit);
                movements.push(Movement { lanelet, arm: i, turn, major: from.major, phase: phases[i] });
            }
        }
    }
    movements
}

/// A bend inside a junction is taken with 3 m/s2 across at most.
pub(super) fn slow_down(builder: &mut Builder, id: ElementId, limit: f64) {
    let center = &builder.lanelet(id).center;
    let n = (center.length() / 2.0).ceil() as usize;
    let curvature =
        (1..n).map(|i| center.curvature_at(center.length() * i as f64 / n as f64).abs()).fold(1e-6, f64::max);
    builder.lanelet_mut(id).speed_limit_mps = Some(limit.min((3.0 / curvature).sqrt()));
}

/// Lights for all arms; arms of the same phase are green together, and never two phases at once.
fn lights(
    builder: &mut Builder,
    rng: &mut Rng,
    center: Point,
    arms: &[Arm],
    phases: &[Option<usize>],
) -> Vec<Option<ElementId>> {
    let [yellow_s, all_red_s, red_yellow_s] = CLEARANCE_S;
    let count = phases.iter().flatten().max().map_or(0, |last| last + 1);
    let greens: Vec<f64> = (0..count).map(|_| rng.range(8.0, 20.0).round()).collect();
    let whole: f64 = greens.iter().map(|green| green + yellow_s + all_red_s).sum();
    let base_s = rng.range(0.0, whole).round();
    let mut lights = Vec::new();
    for (arm, phase) in arms.iter().zip(phases) {
        let phase = phase.unwrap_or(0);
        let begins: f64 = greens[..phase].iter().map(|green| green + yellow_s + all_red_s).sum();
        let red_s = whole - greens[phase] - yellow_s - red_yellow_s;
        let light = TrafficLight {
            id: 0,
            position: light_position(center, arm, arms),
            heading_rad: wrap_angle(arm.mouth.heading_rad + PI),
            cycle: vec![
                (LightColor::Green, greens[phase]),
                (LightColor::Yellow, yellow_s),
                (LightColor::Red, red_s),
                (LightColor::RedYellow, red_yellow_s),
            ],
            offset_s: (base_s - begins).rem_euclid(whole),
        };
        lights.push(Some(builder.light(light, &arm.incoming)));
        for id in &arm.incoming {
            builder.stop_line(*id);
        }
    }
    lights
}

/// On the far side of the junction, to the right, where it is seen from the stop line.
fn light_position(center: Point, arm: &Arm, arms: &[Arm]) -> Point {
    let opposite = arms.iter().find(|to| turn_between(arm, to) == Turn::Straight);
    let far = match opposite {
        Some(to) => to.mouth.point.distance(center) - 1.0,
        None => {
            arms.iter().filter(|other| other.major).map(|other| other.profile.half_m()).fold(3.0, f64::max)
                + 2.0
        }
    };
    let inwards = arm.mouth.point.distance(center) + far;
    arm.mouth.ahead(-inwards).beside(arm.profile.half_m() + 1.0)
}

/// Signs of right of way, and stop lines where one waits.
fn put_up_signs(builder: &mut Builder, arms: &[Arm], control: JunctionControl) {
    for arm in arms {
        let kind = match (arm.major, control) {
            (true, _) => SignKind::Priority,
            (false, JunctionControl::Stop) => SignKind::Stop,
            (false, _) => SignKind::Yield,
        };
        let heading_rad = wrap_angle(arm.mouth.heading_rad + PI);
        let position = arm.mouth.ahead(0.5).beside(arm.profile.half_m() + 0.8);
        builder.sign(kind, position, heading_rad, &arm.incoming);
        if !arm.major {
            for id in &arm.incoming {
                builder.stop_line(*id);
            }
        }
    }
}

/// The crosswalk of an arm.
fn crosswalk(builder: &mut Builder, arm: &Arm, movements: &[Movement], light: Option<ElementId>) {
    let [near, far] = CROSSWALK_M;
    let reach = arm.profile.half_m() + 0.5 * arm.profile.sidewalk_m;
    // Seen from the junction, persons walk from left to right; the road outside is on their left.
    let across = |s: f64| vec![arm.mouth.ahead(s).beside(reach), arm.mouth.ahead(s).beside(-reach)];
    let lanelet = builder.add(across(-near), across(-far), LaneletKind::Crosswalk, None);
    let middle = 0.5 * (near + far);
    let mut crossed = Vec::new();
    for movement in movements {
        let inside = builder.lanelet(movement.lanelet);
        let from_arm = inside.predecessors.iter().any(|id| arm.incoming.contains(id));
        let to_arm = inside.successors.iter().any(|id| arm.outgoing.contains(id));
        if from_arm {
            crossed.push((movement.lanelet, middle));
        } else if to_arm {
            crossed.push((movement.lanelet, inside.center.length() - middle));
        }
    }
    builder.crosswalks.push(Crosswalk { lanelet, path: Polyline::new(across(-middle)), crossed, light });
}

/// The sidewalk round the corner between an arm and the next one counter-clockwise.
///
/// # Returns
/// Its kerb.
fn corner(builder: &mut Builder, arm: &Arm, next: &Arm) -> Vec<Point> {
    let from = arm.mouth.beside(arm.profile.half_m());
    let to = next.mouth.beside(-next.profile.half_m());
    let from = Station::new(from, arm.mouth.heading_rad + PI);
    let kerb = turn(from, Station::new(to, next.mouth.heading_rad), STEP_M);
    let last = (kerb.len() - 1) as f64;
    let [w0, w1] = [arm.profile.sidewalk_m, next.profile.sidewalk_m];
    let outer = beside(&kerb, |i| -(w0 + (w1 - w0) * i as f64 / last));
    let inner = beside(&kerb, |_| 0.0);
    let id = builder.add(inner.clone(), outer, LaneletKind::Sidewalk, None);
    builder.lanelet_mut(id).left_marking = LineMarking::Curb;
    inner
}
