//! What the driver is asked while samples are taken: which episodes, and at single moments something else than what is
//! being done there.

use ergon_types::ActorKind;
use ergon_world::Rng;
use ergon_world::episode::{self, Episode, EpisodeOptions};
use ergon_world::generate::RoadKind;
use ergon_world::geometry::Point;
use ergon_world::scenario::Goal;
use ergon_world::task::{
    Family, Guide, Instruction, Language, Side, Task, Turn, goal_ahead, lane_beside, phrase, surroundings,
};
use ergon_world::vehicle;
use ergon_world::world::World;

use super::collect::SampleKind;

/// Part of the episodes whose instruction is drawn from all, and not by what roads usually ask.
const CHOSEN_PART: f64 = 0.4;
/// Part of the other episodes that are on streets, besides those that the seed puts there: lights and turns are rare elsewhere.
const STREETS_PART: f64 = 0.35;
/// Part of these that are roundabouts, where it is hardest to say who is ahead.
const ROUND_PART: f64 = 0.35;
/// Part of all episodes whose streets, if they are on some, are plain ones.
const PLAIN_PART: f64 = 0.4;
/// Part of all episodes with someone ahead who is rarely met, or hard to see, and part with more of those all around.
const LEAD_PART: f64 = 0.1;
const OTHERS_PART: f64 = 0.12;
/// Part of the episodes with an instruction from all, on roads with lanes, that have a car ahead and not a truck, unless it is to be
/// followed.
const CAR_PART: f64 = 0.5;
/// Part of the moments on the way to a goal in which the navigation says what comes next, as it does when the runtime drives.
const GUIDED_PART: f64 = 0.6;
/// Part of the other episodes whose task is to be somewhere in time.
const GOAL_EPISODES_PART: f64 = 0.5;
/// Part of the moments that are given a goal, and part of those that are given other words.
const GOAL_PART: f64 = 0.2;
const WORDS_PART: f64 = 0.35;
/// Longest time to a goal.
const GOAL_S: f64 = 14.0;

/// What is asked at a moment.
pub(super) struct Asked {
    pub(super) task: Task,
    /// The words that are said and what else the navigation says.
    pub(super) told: Task,
    pub(super) goal: Option<Goal>,
    pub(super) kind: SampleKind,
}

/// An episode as samples are taken from it.
pub(super) struct Start {
    pub(super) episode: Episode,
    /// When it is left.
    pub(super) until_s: f64,
    /// The ways that the junction ahead offers.
    turns: Vec<Task>,
    /// Knows the way, where the task is to reach a goal.
    guide: Option<Guide>,
}

impl Start {
    /// The episode of a seed; `options` says what is not left to chance.
    pub(super) fn new(seed: u64, options: &EpisodeOptions, rng: &mut Rng) -> Start {
        let mut options = options.clone();
        options.plain |= rng.chance(PLAIN_PART);
        if rng.chance(OTHERS_PART) {
            options.others = options.others.or(Some(rng.range(1.5, 3.0)));
        }
        if rng.chance(LEAD_PART) && options.lead.is_none() {
            meet(&mut options, rng);
        }
        if options.instruction.is_none() && options.text.is_none() && rng.chance(CHOSEN_PART) {
            let instruction = any_instruction(rng);
            options.instruction = Some(instruction);
            if instruction == Instruction::SpeedUp {
                // Where there are lanes somebody slower is put ahead.
                options.kind = options.kind.or(Some(RoadKind::Rural));
            } else if instruction.family() == Family::Lanes && rng.chance(CAR_PART) {
                options.lead = options.lead.or(Some(ActorKind::Car));
            }
            let dense = rng.chance(0.4);
            options.kind = options.kind.or(dense.then_some(RoadKind::DenseHighway));
        } else {
            let street = if rng.chance(ROUND_PART) { RoadKind::Roundabout } else { RoadKind::Urban };
            options.kind = options.kind.or(rng.chance(STREETS_PART).then_some(street));
            if options.density.is_none() && rng.chance(0.2) {
                options.density = Some(rng.range(0.3, 1.6));
            }
        }
        let mut episode = episode::generate(seed, &options);
        let (mut turns, mut guide) = (Vec::new(), None);
        if matches!(episode.task.instruction, Instruction::Turn(_)) {
            turns = episode::turns(seed, &options);
            // What was drawn need not be among the ways that this junction has.
            let offered = turns.iter().any(|turn| turn.instruction == episode.task.instruction);
            if !offered && let Some(turn) = turns.first() {
                episode.task = turn.clone();
            }
        } else if options.instruction.is_none() && rng.chance(GOAL_EPISODES_PART) {
            let longest_s = GOAL_S.min(episode.task.duration_s);
            let goal = goal_ahead(&episode.world, &episode.task.route, longest_s, rng);
            if let Some(goal) = goal {
                episode = episode::with_goal(&episode, goal, rng);
                guide = Guide::new(&episode.world);
            }
        }
        let duration_s = episode.task.duration_s;
        let until_s = if rng.chance(0.5) { duration_s } else { duration_s.min(rng.range(8.0, 20.0)) };
        Start { episode, until_s, turns, guide }
    }

    /// A task as the driver hears it when the runtime drives: on the way to a goal the navigation says what comes next.
    pub(super) fn told(&self, world: &World, now: &Task) -> Task {
        self.guide.as_ref().map_or_else(|| now.clone(), |guide| guide.advise(world, now))
    }

    /// What is asked now: the task as it stands, a goal, or other words.
    pub(super) fn ask(&self, world: &World, now: &Task, rng: &mut Rng) -> Asked {
        let draw = rng.unit();
        let words = |instruction, rng: &mut Rng| {
            let language = Language::either(rng);
            let text = phrase(instruction, language, rng);
            Task { instruction, text, language, ..now.clone() }
        };
        if draw < GOAL_PART {
            let goal = goal_ahead(world, &now.route, GOAL_S, rng);
            if let Some(goal) = goal {
                let task = words(Instruction::ReachGoal, rng);
                let guide = Guide::to(world, &goal).filter(|_| rng.chance(GUIDED_PART));
                let told = guide.map_or_else(|| task.clone(), |guide| guide.advise(world, &task));
                return Asked { task, told, goal: Some(goal), kind: SampleKind::Goal };
            }
        } else if draw < GOAL_PART + WORDS_PART {
            if let Some(task) = self.turn(world, rng) {
                return Asked { told: task.clone(), task, goal: None, kind: SampleKind::Words };
            }
            if let Some(instruction) = possible(world, now, rng) {
                let task = words(instruction, rng);
                return Asked { told: task.clone(), task, goal: None, kind: SampleKind::Words };
            }
        }
        let goal = match now.instruction {
            Instruction::ReachGoal => world.scenario().problem.goals.first().cloned(),
            _ => None,
        };
        let told = if rng.chance(GUIDED_PART) { self.told(world, now) } else { now.clone() };
        Asked { task: now.clone(), told, goal, kind: SampleKind::Expert }
    }

    /// One of the ways at the junction, while the vehicle is before it.
    fn turn(&self, world: &World, rng: &mut Rng) -> Option<Task> {
        let first = *self.turns.first()?.route.first()?;
        let lanelet = world.scenario().roads.lanelet(first)?;
        let at = Point::new(world.ego().x_m, world.ego().y_m);
        let left_m = lanelet.center.length() - lanelet.center.project(at).s_m - 0.5 * vehicle::LENGTH_M;
        let before = lanelet.center.project(at).d_m.abs() < 3.0 && left_m > 1.0;
        (before && rng.chance(0.7)).then(|| self.turns[rng.below(self.turns.len())].clone())
    }
}

/// Puts someone ahead who is rarely met; a cyclist not on a motorway, unless an instruction asks for lanes.
fn meet(options: &mut EpisodeOptions, rng: &mut Rng) {
    let kinds = [
        ActorKind::Motorcycle,
        ActorKind::Motorcycle,
        ActorKind::Motorcycle,
        ActorKind::Bicycle,
        ActorKind::Bicycle,
        ActorKind::Truck,
        ActorKind::Truck,
        ActorKind::Bus,
    ];
    let kind = kinds[rng.below(kinds.len())];
    options.lead = Some(kind);
    if kind == ActorKind::Bicycle {
        let roads = [RoadKind::Urban, RoadKind::Urban, RoadKind::Roundabout, RoadKind::Rural];
        options.kind = options.kind.or(Some(roads[rng.below(roads.len())]));
    }
}

/// Any instruction, those that are hardest to tell apart most often.
fn any_instruction(rng: &mut Rng) -> Instruction {
    match rng.below(24) {
        0..=2 => Instruction::ChangeLane(Side::Left),
        3..=5 => Instruction::ChangeLane(Side::Right),
        6 | 7 => Instruction::Turn(Turn::Left),
        8 | 9 => Instruction::Turn(Turn::Right),
        10 => Instruction::Turn(Turn::Straight),
        11..=14 => Instruction::PullOver,
        15 => Instruction::Stop,
        16 => Instruction::SlowDown,
        17..=18 => Instruction::SpeedUp,
        19 => Instruction::KeepLane,
        20 => Instruction::Follow(ActorKind::Truck),
        _ => Instruction::SetSpeed { kmh: 10 * (2 + rng.below(10) as u32) },
    }
}

/// An instruction that can be carried out here.
fn possible(world: &World, now: &Task, rng: &mut Rng) -> Option<Instruction> {
    let roads = &world.scenario().roads;
    let seen = surroundings(world, &now.route)?;
    let has = |side| lane_beside(roads, seen.lanelet, side).is_some();
    let limit_mps = roads.lanelet(seen.lanelet).and_then(|l| l.speed_limit_mps).unwrap_or(14.0);
    let mut options = vec![
        Instruction::Stop,
        Instruction::PullOver,
        Instruction::PullOver,
        Instruction::SlowDown,
        Instruction::SpeedUp,
        Instruction::KeepLane,
        Instruction::FollowRoute,
        Instruction::SetSpeed { kmh: 10 * ((rng.range(0.25, 1.0) * limit_mps * 0.36).round() as u32).max(1) },
    ];
    for side in [Side::Left, Side::Right].into_iter().filter(|side| has(*side)) {
        options.extend([Instruction::ChangeLane(side); 3]);
    }
    if let Some(lead) = seen.lead.filter(|lead| matches!(lead.actor.kind, ActorKind::Truck | ActorKind::Car))
    {
        options.push(Instruction::Follow(lead.actor.kind));
    }
    Some(options[rng.below(options.len())])
}
