//! What a driver would say about the scene, in short fixed sentences, and what such a sentence claims.

use ergon_types::{ActorKind, LightColor, Trajectory};

use super::{Instruction, Language, Side, Surroundings, Task, Turn, lane_beside, surroundings};
use crate::geometry::{Point, wrap_angle};
use crate::world::World;

/// What the vehicle is doing or about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manoeuvre {
    /// Along the lane at a steady speed.
    KeepLane,
    /// To the lane on the left.
    ChangeLeft,
    /// To the lane on the right.
    ChangeRight,
    /// Left at a junction.
    TurnLeft,
    /// Right at a junction.
    TurnRight,
    /// Straight through a junction.
    GoStraight,
    /// To standstill, or waiting.
    Stop,
    /// Notably slower.
    SlowDown,
    /// Notably faster.
    SpeedUp,
    /// At the pace of the one ahead.
    Follow,
    /// To standstill at the right edge.
    PullOver,
}

/// How far away something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DistanceBucket {
    /// Less than 15 m of free road.
    Close,
    /// Less than 40 m.
    Middle,
    /// Less than 80 m.
    Far,
}

/// How something moves against the ego vehicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Motion {
    /// It stands.
    Stopped,
    /// Slower by more than 1.5 m/s.
    Slower,
    /// About the same.
    Steady,
    /// Faster by more than 1.5 m/s.
    Faster,
}

/// The vehicle ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// What it is.
    pub kind: ActorKind,
    /// How far it is.
    pub distance: DistanceBucket,
    /// How it moves.
    pub motion: Motion,
}

/// What there is to say. An absent part is not there, not known, or not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// What is being done.
    pub manoeuvre: Option<Manoeuvre>,
    /// The next vehicle in the lane within 80 m.
    pub lead: Option<Lead>,
    /// The light that holds ahead; red and yellow counts as red.
    pub light: Option<LightColor>,
    /// Number of the own lane, 1 at the left, and of all lanes this way; a shoulder counts only for one who is on it.
    pub lane: Option<(u8, u8)>,
    /// A person on foot or a cyclist ahead.
    pub vulnerable: Option<ActorKind>,
    /// Whether the lane on the manoeuvre's or the instruction's side is free.
    pub gap: Option<(Side, bool)>,
}

/// How far a spoken sentence agrees with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Claims made or due.
    pub claims: usize,
    /// Those that are right.
    pub right: usize,
    /// By part: manoeuvre, lead vehicle, light, lane. `None` where neither speaks of it.
    pub parts: [Option<bool>; 4],
}

/// The truth about the world at this moment, for a driver who is about to drive `plan` (without one: what the task says).
pub fn facts(world: &World, task: &Task, plan: Option<&Trajectory>) -> Facts {
    let Some(seen) = surroundings(world, &task.route) else {
        return Facts { manoeuvre: Some(from_task(world, task, None)), ..Facts::default() };
    };
    let speed_mps = world.ego().speed_mps;
    let manoeuvre = manoeuvre(world, task, &seen, plan);
    let lead = seen.lead.filter(|lead| lead.gap_m < 80.0).map(|lead| Lead {
        kind: lead.actor.kind,
        distance: match lead.gap_m {
            gap if gap < 15.0 => DistanceBucket::Close,
            gap if gap < 40.0 => DistanceBucket::Middle,
            _ => DistanceBucket::Far,
        },
        motion: match lead.speed_mps - speed_mps {
            _ if lead.speed_mps.abs() < 0.3 => Motion::Stopped,
            d if d < -1.5 => Motion::Slower,
            d if d > 1.5 => Motion::Faster,
            _ => Motion::Steady,
        },
    });
    let side = match (manoeuvre, task.instruction) {
        (Manoeuvre::ChangeLeft, _) => Some(Side::Left),
        (Manoeuvre::ChangeRight, _) => Some(Side::Right),
        (Manoeuvre::KeepLane | Manoeuvre::Follow | Manoeuvre::SlowDown, Instruction::ChangeLane(side)) => {
            Some(side)
        }
        _ => None,
    };
    let gap = side
        .filter(|side| has_lane(world, &seen, *side))
        .map(|side| (side, seen.beside(side).is_free(speed_mps)));
    Facts {
        manoeuvre: Some(manoeuvre),
        lead,
        light: seen.light.map(|(color, _)| match color {
            LightColor::RedYellow => LightColor::Red,
            other => other,
        }),
        lane: Some((seen.lane.0 as u8 + 1, seen.lane.1 as u8)),
        vulnerable: seen.vulnerable.map(|(kind, _)| kind),
        gap,
    }
}

/// What the words ask for, as far as it is not done yet.
fn from_task(world: &World, task: &Task, seen: Option<&Surroundings>) -> Manoeuvre {
    let turning = |turn| match turn {
        Turn::Left => Manoeuvre::TurnLeft,
        Turn::Right => Manoeuvre::TurnRight,
        Turn::Straight => Manoeuvre::GoStraight,
    };
    match task.instruction {
        Instruction::ChangeLane(Side::Left) => Manoeuvre::ChangeLeft,
        Instruction::ChangeLane(Side::Right) => Manoeuvre::ChangeRight,
        Instruction::Turn(turn) => turning(turn),
        Instruction::Stop => Manoeuvre::Stop,
        Instruction::PullOver => Manoeuvre::PullOver,
        Instruction::SlowDown => Manoeuvre::SlowDown,
        Instruction::SpeedUp => Manoeuvre::SpeedUp,
        Instruction::Follow(_) => Manoeuvre::Follow,
        Instruction::SetSpeed { kmh } => match f64::from(kmh) / 3.6 - world.ego().speed_mps {
            d if d < -1.5 => Manoeuvre::SlowDown,
            d if d > 1.5 => Manoeuvre::SpeedUp,
            _ => Manoeuvre::KeepLane,
        },
        Instruction::FollowRoute | Instruction::KeepLane | Instruction::ReachGoal => {
            seen.and_then(|seen| upcoming_turn(world, task, seen)).map_or(Manoeuvre::KeepLane, turning)
        }
    }
}

/// The turn on the route within 40 m, if the lane forks there.
fn upcoming_turn(world: &World, task: &Task, seen: &Surroundings) -> Option<Turn> {
    let roads = &world.scenario().roads;
    for (id, start_m) in &seen.path.lanelets {
        let lanelet = roads.lanelet(*id)?;
        let inside = (*start_m - 40.0..*start_m + lanelet.center.length()).contains(&seen.s_m);
        let forks = lanelet
            .predecessors
            .iter()
            .filter_map(|id| roads.lanelet(*id))
            .any(|before| before.successors.len() > 1);
        if !inside || !forks || !task.route.contains(id) {
            continue;
        }
        let bend =
            wrap_angle(lanelet.center.heading_at(lanelet.center.length()) - lanelet.center.heading_at(0.0));
        return Some(match bend {
            b if b > 0.6 => Turn::Left,
            b if b < -0.6 => Turn::Right,
            _ => Turn::Straight,
        });
    }
    None
}

/// Whether there is a lane to change to; a shoulder is none.
fn has_lane(world: &World, seen: &Surroundings, side: Side) -> bool {
    lane_beside(&world.scenario().roads, seen.lanelet, side).is_some()
}

/// What the plan does over its length. Speed changes count against the present speed, sideways motion against the lane.
fn manoeuvre(world: &World, task: &Task, seen: &Surroundings, plan: Option<&Trajectory>) -> Manoeuvre {
    let asked = from_task(world, task, Some(seen));
    let Some(last) = plan.and_then(|plan| plan.points.last()) else { return asked };
    let now_mps = world.ego().speed_mps;
    let gained_mps = last.speed_mps - now_mps;
    if last.speed_mps < 0.5 && (gained_mps < -0.3 || now_mps < 0.5) {
        return if asked == Manoeuvre::PullOver { asked } else { Manoeuvre::Stop };
    }
    let end_m = seen.path.line.project(Point::new(last.x_m, last.y_m)).d_m;
    let width_m = world.scenario().roads.lanelet(seen.lanelet).map_or(3.5, |lanelet| lanelet.width_at(0.0));
    let moves = end_m.abs() > 0.4 * width_m && (end_m - seen.offset_m).abs() > 0.5;
    let turns = matches!(asked, Manoeuvre::TurnLeft | Manoeuvre::TurnRight | Manoeuvre::GoStraight);
    if turns && upcoming_turn(world, task, seen).is_some() {
        return asked;
    }
    if moves && end_m > 0.0 && (has_lane(world, seen, Side::Left) || asked == Manoeuvre::ChangeLeft) {
        return Manoeuvre::ChangeLeft;
    }
    if asked == Manoeuvre::PullOver {
        return asked;
    }
    if moves && end_m < 0.0 && (has_lane(world, seen, Side::Right) || asked == Manoeuvre::ChangeRight) {
        return Manoeuvre::ChangeRight;
    }
    let clear = 0.1 * now_mps + 1.0;
    if gained_mps < -clear {
        return Manoeuvre::SlowDown;
    }
    if gained_mps > clear {
        return Manoeuvre::SpeedUp;
    }
    let held =
        seen.lead.is_some_and(|lead| lead.gap_m < 6.0 + 2.2 * now_mps && lead.speed_mps < now_mps + 1.5);
    if held { Manoeuvre::Follow } else { Manoeuvre::KeepLane }
}

#[rustfmt::skip]
const MANOEUVRES: &[(Manoeuvre, &str, &str)] = &[
    (Manoeuvre::ChangeLeft, "change left", "向左变道"), (Manoeuvre::ChangeRight, "change right", "向右变道"),
    (Manoeuvre::KeepLane, "keep lane", "保持车道"), (Manoeuvre::TurnLeft, "turn left", "左转"),
    (Manoeuvre::TurnRight, "turn right", "右转"), (Manoeuvre::GoStraight, "go straight", "直行"),
    (Manoeuvre::PullOver, "pull over", "靠边停车"), (Manoeuvre::SlowDown, "slow down", "减速"),
    (Manoeuvre::SpeedUp, "speed up", "加速"), (Manoeuvre::Follow, "follow", "跟车"), (Manoeuvre::Stop, "stop", "停车"),
];
#[rustfmt::skip]
const KINDS: &[(ActorKind, &str, &str)] = &[
    (ActorKind::Motorcycle, "motorcycle", "摩托车"), (ActorKind::Bicycle, "cyclist", "自行车"),
    (ActorKind::Pedestrian, "pedestrian", "行人"), (ActorKind::Obstacle, "obstacle", "障碍物"),
    (ActorKind::Truck, "truck", "卡车"), (ActorKind::Bus, "bus", "公交车"), (ActorKind::Car, "car", "轿车"),
];
const MOTIONS: &[(Motion, &str, &str)] = &[
    (Motion::Stopped, "stopped", "静止"),
    (Motion::Slower, "slower", "较慢"),
    (Motion::Steady, "steady", "同速"),
    (Motion::Faster, "faster", "较快"),
];
const DISTANCES: &[(DistanceBucket, &str, &str)] = &[
    (DistanceBucket::Close, "close", "近处"),
    (DistanceBucket::Middle, "ahead", "前方"),
    (DistanceBucket::Far, "far", "远处"),
];
const LIGHTS: &[(LightColor, &str, &str)] = &[
    (LightColor::Red, "red light", "红灯"),
    (LightColor::Yellow, "yellow light", "黄灯"),
    (LightColor::Green, "green light", "绿灯"),
];
const GAPS: &[((Side, bool), &str, &str)] = &[
    ((Side::Left, true), "left free", "左侧空"),
    ((Side::Left, false), "left taken", "左侧有车"),
    ((Side::Right, true), "right free", "右侧空"),
    ((Side::Right, false), "right taken", "右侧有车"),
];
/// More would not fit into the tokens a driver has for it.
const WORDS_MAX: usize = 12;

fn said<T: PartialEq>(
    table: &[(T, &'static str, &'static str)],
    value: &T,
    language: Language,
) -> &'static str {
    let row = table.iter().find(|row| row.0 == *value);
    row.map_or("", |row| if language == Language::English { row.1 } else { row.2 })
}

fn heard<T: Copy>(table: &[(T, &'static str, &'static str)], part: &str) -> Option<T> {
    table.iter().find(|row| part.contains(row.1) || part.contains(row.2)).map(|row| row.0)
}

/// The facts in at most 12 words: lane, light, vehicle ahead, people, gap, and last what is done. Of the most crowded
/// scenes the gap is left out, then the lane.
pub fn describe(facts: &Facts, language: Language) -> String {
    let english = language == Language::English;
    let lane =
        facts.lane.map(|(i, n)| if english { format!("lane {i} of {n}") } else { format!("{n}道第{i}") });
    let light =
        facts.light.map(|light| said(LIGHTS, &light, language).to_owned()).filter(|text| !text.is_empty());
    let lead = facts.lead.map(|lead| {
        let kind = said(KINDS, &lead.kind, language);
        let (motion, distance) =
            (said(MOTIONS, &lead.motion, language), said(DISTANCES, &lead.distance, language));
        if english { format!("{motion} {kind} {distance}") } else { format!("{distance}{motion}{kind}") }
    });
    let people = facts.vulnerable.map(|kind| {
        let kind = said(KINDS, &kind, language);
        if english { format!("watch {kind}") } else { format!("注意{kind}") }
    });
    let gap = facts.gap.map(|gap| said(GAPS, &gap, language).to_owned());
    let last = facts.manoeuvre.map(|manoeuvre| said(MANOEUVRES, &manoeuvre, language).to_owned());
    let mut parts = [lane, light, lead, people, gap, last];
    let words = |parts: &[Option<String>; 6]| {
        parts.iter().flatten().map(|part| part.split(' ').count()).sum::<usize>()
    };
    let count =
        |parts: &[Option<String>; 6]| if english { words(parts) } else { 2 * parts.iter().flatten().count() };
    for dropped in [4, 0] {
        if count(&parts) > WORDS_MAX {
            parts[dropped] = None;
        }
    }
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(if english { ", " } else { "，" })
}

/// What a sentence claims; parts it does not speak of, or not in the words of [`describe`], are absent.
pub fn read_back(text: &str) -> Facts {
    let mut facts = Facts::default();
    for part in text.split([',', '，', '.', '。']) {
        let part = part.trim();
        let digits: Vec<u8> = part.chars().filter_map(|c| c.to_digit(10)).map(|digit| digit as u8).collect();
        if let (2, true) = (digits.len(), part.starts_with("lane ") || part.contains("道第")) {
            let chinese = part.contains('道');
            facts.lane = Some(if chinese { (digits[1], digits[0]) } else { (digits[0], digits[1]) });
        } else if let Some(light) = heard(LIGHTS, part) {
            facts.light = Some(light);
        } else if part.starts_with("watch") || part.starts_with("注意") {
            facts.vulnerable = heard(KINDS, part);
        } else if let Some(gap) = heard(GAPS, part) {
            facts.gap = Some(gap);
        } else if let (Some(kind), Some(motion), Some(distance)) =
            (heard(KINDS, part), heard(MOTIONS, part), heard(DISTANCES, part))
        {
            facts.lead = Some(Lead { kind, distance, motion });
        } else if let Some(row) = MANOEUVRES.iter().find(|row| part == row.1 || part == row.2) {
            facts.manoeuvre = Some(row.0);
        }
    }
    facts
}

/// Compares what was said with the truth. A part counts when it was said, or when it was due: [`describe`] would have
/// said it of the true facts. A lead vehicle is right when its kind is and its distance is at most one bucket off.
pub fn agreement(said: &Facts, truth: &Facts) -> Agreement {
    let due = read_back(&describe(truth, Language::English));
    let near = |a: DistanceBucket, b: DistanceBucket| (a as i32 - b as i32).abs() <= 1;
    let lead = match (said.lead, truth.lead) {
        (Some(a), Some(b)) => Some(a.kind == b.kind && near(a.distance, b.distance)),
        (None, None) => None,
        (None, Some(b)) => (b.distance != DistanceBucket::Far).then_some(false),
        (Some(a), None) => (a.distance != DistanceBucket::Far).then_some(false),
    };
    fn part<T: PartialEq + Copy>(said: Option<T>, due: Option<T>, truth: Option<T>) -> Option<bool> {
        (said.is_some() || due.is_some()).then(|| said == truth)
    }
    let parts = [
        part(said.manoeuvre, due.manoeuvre, truth.manoeuvre),
        lead,
        part(said.light, due.light, truth.light),
        part(said.lane, due.lane, truth.lane),
    ];
    Agreement {
        claims: parts.iter().flatten().count(),
        right: parts.iter().flatten().filter(|right| **right).count(),
        parts,
    }
}
