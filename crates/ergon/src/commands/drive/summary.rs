//! How a run went: a row per episode and the sums, as a table for people and as JSON for programs.

use ergon_world::score::{CollisionKind, Miss, Outcome};
use ergon_world::task::{agreement, describe, facts, read_back};
use ergon_world::world::World;
use serde::Serialize;

use super::run::Driven;
use crate::args::{DriveArgs, GateChoice, PolicyChoice};

/// One episode.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Benchmark id of a scenario, kind of road and seed of a generated episode.
    pub(super) name: String,
    pub(super) source: String,
    pub(super) author: String,
    /// What the driver was told.
    pub(super) instruction: String,
    /// The scenario's goal; of a generated episode, its task.
    pub(super) goal_reached: bool,
    /// What kept the goal from being reached, and what else went wrong.
    pub(super) reasons: Vec<String>,
    /// Whether the words were followed; null where they ask for nothing that can be judged.
    pub(super) instruction_obeyed: Option<bool>,
    pub(super) collision: bool,
    pub(super) collision_at_fault: bool,
    /// Hit from behind by recorded traffic, which cannot react.
    pub(super) hit_from_behind: bool,
    pub(super) off_road: bool,
    pub(super) red_lights: usize,
    /// Signed, left positive.
    pub(super) lane_changes: i32,
    /// Control steps at which the first plan was not what was driven.
    pub(super) gate_interventions: usize,
    pub(super) deadline_misses: usize,
    pub(super) duration_s: f64,
    pub(super) distance_m: f64,
    pub(super) comfortable: bool,
    /// Claims of the driver's words that agree with the scene, and all that could be judged.
    pub(super) reasoning_right: usize,
    pub(super) reasoning_claims: usize,
    /// The same, part by part.
    pub(super) reasoning_parts: WordCheck,
    /// `[t_s, x_m, y_m, heading_rad, speed_mps]` at every control step.
    pub(super) trajectory: Vec<[f64; 5]>,
}

/// Milliseconds of a control step.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// The parts of a control step.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LatencyParts {
    pub(super) camera: Latency,
    pub(super) vision: Latency,
    pub(super) language: Latency,
    pub(super) action: Latency,
    pub(super) gate: Latency,
}

/// A job that could not be driven.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) name: String,
    pub(super) why: String,
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) version: &'static str,
    pub(super) policy: &'static str,
    pub(super) gate: &'static str,
    pub(super) seed: u64,
    /// Whether Ctrl-C or another signal ended the run early: all else tells of what was driven until then.
    pub(super) interrupted: bool,
    pub(super) episodes: usize,
    pub(super) goal_reached: usize,
    pub(super) collisions: usize,
    pub(super) collisions_at_fault: usize,
    pub(super) hit_from_behind: usize,
    pub(super) off_road: usize,
    pub(super) red_lights: usize,
    pub(super) instructions_obeyed: usize,
    pub(super) instructions_judged: usize,
    pub(super) reasoning_right: usize,
    pub(super) reasoning_claims: usize,
    /// The same, part by part.
    pub(super) reasoning_parts: WordCheck,
    pub(super) gate_interventions: usize,
    pub(super) deadline_misses: usize,
    pub(super) latency_ms: Latency,
    pub(super) latency_parts_ms: LatencyParts,
    pub(super) skipped: Vec<Skipped>,
    pub(super) rows: Vec<Row>,
}

/// What words claim about one part of the scene.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Claims {
    pub(super) right: usize,
    pub(super) claims: usize,
}

/// Counts how often words agree with the scene they speak of, part by part.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct WordCheck {
    pub(super) manoeuvre: Claims,
    pub(super) lead: Claims,
    pub(super) light: Claims,
    pub(super) lane: Claims,
}

impl WordCheck {
    /// Compares the words of a step with the truth at that step, for a driver who drives `plan`.
    pub(super) fn look(
        &mut self,
        world: &World,
        task: &ergon_world::task::Task,
        words: &str,
        plan: &ergon_types::Trajectory,
    ) {
        let truth = facts(world, task, Some(plan));
        let found = agreement(&read_back(words), &read_back(&describe(&truth, task.language)));
        for (part, found) in self.parts_mut().into_iter().zip(found.parts) {
            part.claims += usize::from(found.is_some());
            part.right += usize::from(found == Some(true));
        }
    }

    /// In the order of [`ergon_world::task::Agreement::parts`].
    fn parts_mut(&mut self) -> [&mut Claims; 4] {
        [&mut self.manoeuvre, &mut self.lead, &mut self.light, &mut self.lane]
    }

    /// In the same order.
    fn parts(&self) -> [Claims; 4] {
        [self.manoeuvre, self.lead, self.light, self.lane]
    }

    /// Claims that are right, and all, of all parts together.
    fn all(&self) -> Claims {
        let mut all = Claims::default();
        for part in self.parts() {
            all.add(part);
        }
        all
    }

    /// Adds what another counted.
    fn add(&mut self, other: &WordCheck) {
        for (part, other) in self.parts_mut().into_iter().zip(other.parts()) {
            part.add(other);
        }
    }
}

impl Claims {
    fn add(&mut self, other: Claims) {
        self.right += other.right;
        self.claims += other.claims;
    }
}

pub(super) fn row(driven: &Driven, instruction: &str, outcome: &Outcome) -> Row {
    let scenario = driven.world.scenario();
    let off_road = outcome.off_road_s > 0.3;
    let done = match (&outcome.goal, outcome.obeyed) {
        (Some(goal), _) => goal.reached_at_s.is_some(),
        (None, Some(obeyed)) => obeyed && !off_road,
        (None, None) => outcome.progress_m > 20.0 && !off_road,
    };
    let words = driven.words.all();
    let judged = |s: &ergon_types::VehicleState| [s.t_s, s.x_m, s.y_m, s.heading_rad, s.speed_mps];
    Row {
        name: scenario.id.clone(),
        source: scenario.source.clone(),
        author: scenario.author.clone(),
        instruction: instruction.to_owned(),
        goal_reached: done,
        reasons: reasons(outcome, done, off_road),
        instruction_obeyed: outcome.obeyed,
        collision: !outcome.collisions.is_empty(),
        collision_at_fault: outcome.collisions_at_fault() > 0,
        hit_from_behind: outcome.collisions.iter().any(|collision| collision.kind == CollisionKind::Rear),
        off_road,
        red_lights: outcome.red_lights_s.len(),
        lane_changes: outcome.net_lane_changes(),
        gate_interventions: driven.interventions(),
        deadline_misses: driven.deadline_misses,
        duration_s: outcome.duration_s,
        distance_m: outcome.progress_m,
        comfortable: outcome.comfortable,
        reasoning_right: words.right,
        reasoning_claims: words.claims,
        reasoning_parts: driven.words,
        trajectory: driven.states.iter().map(judged).collect(),
    }
}

fn reasons(outcome: &Outcome, done: bool, off_road: bool) -> Vec<String> {
    let mut reasons = Vec::new();
    if let (Some(goal), false) = (&outcome.goal, done) {
        reasons.push(match goal.miss {
            Some(Miss::Position) => match goal.distance_m {
                Some(distance) => format!("position of the goal missed by {distance:.1} m"),
                None => "position of the goal missed".to_owned(),
            },
            Some(Miss::Heading) => format!("heading at the goal off by {:.2} rad", goal.heading_off_rad),
            Some(Miss::Speed) => format!("speed at the goal off by {:.1} m/s", goal.speed_off_mps),
            Some(Miss::TimeWindow) | None => "not in the goal's time window".to_owned(),
        });
    } else if !done {
        reasons.push("instruction not carried out".to_owned());
    }
    for collision in &outcome.collisions {
        let how = match collision.kind {
            CollisionKind::EgoStood => "hit while standing",
            CollisionKind::OtherStood => "hit something standing",
            CollisionKind::Front => "hit with the front",
            CollisionKind::Rear => "hit from behind",
            CollisionKind::Side => "hit at the side",
        };
        reasons.push(format!("{how} ({}) at {:.1} s", collision.actor.kind, collision.t_s));
    }
    if off_road {
        reasons.push(format!("off the road for {:.1} s", outcome.off_road_s));
    }
    if !outcome.red_lights_s.is_empty() {
        reasons.push("ran a red light".to_owned());
    }
    reasons
}

/// The sums over rows and steps.
pub(super) fn summary(
    args: &DriveArgs,
    rows: Vec<Row>,
    steps: &[super::record::StageMs],
    skipped: Vec<Skipped>,
    interrupted: bool,
) -> Summary {
    let mut words = WordCheck::default();
    for row in &rows {
        words.add(&row.reasoning_parts);
    }
    let all_words = words.all();
    let count = |holds: fn(&Row) -> bool| rows.iter().filter(|row| holds(row)).count();
    let part = |of: fn(&super::record::StageMs) -> f64| latency(steps.iter().map(of).collect());
    Summary {
        version: env!("CARGO_PKG_VERSION"),
        policy: match args.policy {
            PolicyChoice::Model => "model",
            PolicyChoice::Expert => "expert",
            PolicyChoice::ConstantVelocity => "constant-velocity",
        },
        gate: if args.gate == GateChoice::On { "on" } else { "off" },
        seed: args.seed,
        interrupted,
        episodes: rows.len(),
        goal_reached: count(|row| row.goal_reached),
        collisions: count(|row| row.collision),
        collisions_at_fault: count(|row| row.collision_at_fault),
        hit_from_behind: count(|row| row.hit_from_behind),
        off_road: count(|row| row.off_road),
        red_lights: rows.iter().map(|row| row.red_lights).sum(),
        instructions_obeyed: count(|row| row.instruction_obeyed == Some(true)),
        instructions_judged: count(|row| row.instruction_obeyed.is_some()),
        reasoning_right: all_words.right,
        reasoning_claims: all_words.claims,
        reasoning_parts: words,
        gate_interventions: rows.iter().map(|row| row.gate_interventions).sum(),
        deadline_misses: rows.iter().map(|row| row.deadline_misses).sum(),
        latency_ms: part(|ms| ms.total()),
        latency_parts_ms: LatencyParts {
            camera: part(|ms| ms.camera),
            vision: part(|ms| ms.vision),
            language: part(|ms| ms.language),
            action: part(|ms| ms.action),
            gate: part(|ms| ms.gate),
        },
        skipped,
        rows,
    }
}

fn latency(mut values: Vec<f64>) -> Latency {
    values.sort_by(f64::total_cmp);
    let at =
        |part: f64| values.get(((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1)));
    let value = |part| at(part).copied().unwrap_or(0.0);
    Latency { p50: value(0.5), p99: value(0.99), max: value(1.0) }
}

impl Summary {
    /// The table that a person reads.
    pub(super) fn table(&self) -> String {
        let name_width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(7).clamp(7, 24);
        let mut text = format!("{:<name_width$}  goal  collision     gate  time    told\n", "episode");
        for row in &self.rows {
            let collision = match (row.collision, row.collision_at_fault) {
                (false, _) => "none",
                (true, true) => "at fault",
                (true, false) => "not at fault",
            };
            let goal = if row.goal_reached { "yes" } else { "no" };
            text += &format!(
                "{:<name_width$}  {goal:<4}  {collision:<12}  {:>4}  {:>5.1} s {}\n",
                row.name, row.gate_interventions, row.duration_s, row.instruction
            );
            for reason in &row.reasons {
                text += &format!("{:<name_width$}    {reason}\n", "");
            }
        }
        let ms = &self.latency_ms;
        text += &format!(
            "\n{} of {} reached the goal; {} collisions, {} at fault; {} off the road; the gate stepped in {} times\n\
             control step: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {} deadline misses\n",
            self.goal_reached,
            self.episodes,
            self.collisions,
            self.collisions_at_fault,
            self.off_road,
            self.gate_interventions,
            ms.p50,
            ms.p99,
            ms.max,
            self.deadline_misses
        );
        if !self.skipped.is_empty() {
            text += &format!("{} skipped\n", self.skipped.len());
        }
        if self.interrupted {
            text += "interrupted: the rest was not driven\n";
        }
        text
    }
}
