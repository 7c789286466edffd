//! Samples from driving: an expert who knows everything says what is right at each moment, whoever drives.
//!
//! Whoever drives is the [`Pilot`]: the expert itself, disturbed now and then so that there is something to recover from,
//! or the student, so that the samples show the states the student reaches (Ross, Gordon, Bagnell: "A reduction of
//! imitation learning to no-regret online learning", 2011). At a part of the moments the expert is asked for something
//! else than what is being done, as `asked` has it: the same picture under other words needs another motion, so the words
//! have to be read.

use ergon_checkpoint::TokenizerError;
use ergon_engine::PolicyError;
use ergon_model::{
    DriverConfig, ProcessorError, encode_waypoints, hint_features, patch_bytes, state_features,
};
use ergon_types::{GoalHint, Observation, Trajectory, VehicleState};
use ergon_world::camera::{Conditions, Eyes, Rig};
use ergon_world::episode::{Episode, EpisodeOptions};
use ergon_world::expert::Expert;
use ergon_world::geometry::{OrientedBox, Point, wrap_angle};
use ergon_world::task::{self, Order, Task, facts};
use ergon_world::world::World;
use ergon_world::{Rng, follow, vehicle};

use super::asked::{Asked, Start};
use super::turning::turning_features;
use super::{Sample, Vocabulary};

/// Time between samples; the student's plan is driven for as long.
pub const SAMPLE_S: f64 = 0.4;
/// Time between controls.
const CONTROL_S: f64 = 0.1;
/// How far the vehicle may stray before an episode is given up: from there nothing is to be learned.
const ASTRAY_M: f64 = 4.0;
/// A student that stands this long where the expert would drive ...
const STUCK_S: f64 = 4.0;
/// ... is driven on by it for this long.
const HELP_S: f64 = 3.0;
/// Part of the moments of standing that are kept: they are alike.
const STANDING_PART: f64 = 0.4;
/// How much a sample counts where the expert brakes harder than in comfort, or does not creep on: mistakes there end in
/// collisions, and few moments teach anything about them.
const BRAKES_WEIGHT: f32 = 3.0;
/// Braking that is harder than in comfort, over the first second.
const BRAKES_MPS2: f64 = 2.8;
/// Who is slower than the first and faster than the second, and within a second slower than that, stops where others creep on.
const CREEPING_MPS: [f64; 2] = [2.5, 0.2];
/// Part of the hints to a goal that name a point of the route, too.
const ROUTE_POINT_PART: f64 = 0.8;

/// Samples that cannot be taken: the configuration does not fit the world.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Words that do not go through the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Cameras that are not the model's.
    #[error(transparent)]
    Pictures(#[from] ProcessorError),
    /// The student cannot drive.
    #[error(transparent)]
    Student(#[from] PolicyError),
}

/// Why a sample is there; kept as its `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SampleKind {
    /// The episode's task, expert driving.
    Expert = 0,
    /// The episode's task, student driving.
    Student = 1,
    /// A goal that could be reached from here.
    Goal = 2,
    /// Other words.
    Words = 3,
}

/// Who drives while samples are taken.
pub enum Pilot<'a> {
    /// The expert, disturbed.
    Expert,
    /// The student: from what it sees to a motion; a part of the episodes starts with the expert.
    Student(&'a mut dyn FnMut(&Observation) -> Result<Trajectory, PolicyError>),
}

/// What collecting needs to know of the model.
pub struct Collector<'a> {
    /// Sizes and scales.
    pub config: &'a DriverConfig,
    /// Words to tokens.
    pub vocabulary: &'a Vocabulary,
}

/// How a drive goes, beside the world.
struct Drive {
    expert: Expert,
    disturbance: Disturbance,
    /// Until then the expert drives.
    expert_until_s: f64,
    stands_s: f64,
}

impl Collector<'_> {
    /// Drives the episode of a seed and gives its samples. `options` narrows the choice of episodes.
    ///
    /// # Errors
    /// The words do not go through the tokenizer, the cameras do not fit the model, or the student cannot drive.
    pub fn episode(
        &self,
        seed: u64,
        options: &EpisodeOptions,
        pilot: &mut Pilot,
    ) -> Result<Vec<Sample>, CollectError> {
        let mut rng = Rng::new(seed).split(0x5a3);
        let start = Start::new(seed, options, &mut rng);
        let Episode { world, task, .. } = &start.episode;
        let mut world = world.clone();
        let mut order = Order::new(task);
        let conditions = Conditions::from_seed(rng.next_u64());
        let mut eyes = Eyes::new(Rig::standard(), &world, conditions, self.config.vision.frame_gap_s);
        let student = matches!(pilot, Pilot::Student(_));
        let mut drive = Drive {
            expert: Expert::new(),
            disturbance: Disturbance::new(&mut rng, student),
            expert_until_s: if rng.chance(0.5) { 0.0 } else { rng.range(0.0, 8.0) },
            stands_s: 0.0,
        };
        drive.disturbance.displace(&mut world, &mut rng);
        let mut samples = Vec::new();
        while world.t_s() + 1e-9 < start.until_s && !is_over(&world, order.task()) {
            eyes.look(&world);
            let seen = task::perception(&world, &order.task().route);
            order.update(world.ego(), task::perceived_offset_m(&seen));
            let asked = start.ask(&world, order.task(), &mut rng);
            let (right, chosen) = self.decide(&mut drive, &world, &eyes, (&start, &order), &asked, pilot)?;
            if drive.stands_s < 1.0 || rng.chance(STANDING_PART) {
                samples.push(self.sample(&world, &eyes, &asked, &right, &seen, &mut rng)?);
            }
            for _ in 0..(SAMPLE_S / CONTROL_S).round() as usize {
                let control = drive.disturbance.apply(follow::control(world.ego(), &chosen), world.t_s());
                world.hold(control, CONTROL_S);
            }
        }
        Ok(samples)
    }

    /// The motion that is right for what is asked, and the one that is driven.
    fn decide(
        &self,
        drive: &mut Drive,
        world: &World,
        eyes: &Eyes,
        (start, order): (&Start, &Order),
        asked: &Asked,
        pilot: &mut Pilot,
    ) -> Result<(Trajectory, Trajectory), CollectError> {
        let t_s = world.t_s();
        drive.stands_s = if world.ego().speed_mps < 0.15 { drive.stands_s + SAMPLE_S } else { 0.0 };
        let expert = &mut drive.expert;
        let right = expert.plan_to(world, &asked.task, asked.goal.as_ref()).trajectory;
        let own = |expert: &mut Expert, right: &Trajectory| match asked.kind {
            SampleKind::Expert => right.clone(),
            _ => expert.plan(world, order.task()).trajectory,
        };
        let Pilot::Student(predict) = pilot else {
            let chosen = own(expert, &right);
            return Ok((right, chosen));
        };
        if drive.stands_s >= STUCK_S && t_s >= drive.expert_until_s {
            let would = own(expert, &right);
            let way_m = would.points.last().map_or(0.0, |p| {
                Point::new(p.x_m, p.y_m).distance(Point::new(world.ego().x_m, world.ego().y_m))
            });
            drive.stands_s = 0.0;
            if way_m > 3.0 {
                drive.expert_until_s = t_s + HELP_S;
            }
        }
        if t_s < drive.expert_until_s {
            let chosen = own(expert, &right);
            return Ok((right, chosen));
        }
        Ok((right, predict(&eyes.observe(world, &start.told(world, order.task())))?))
    }

    fn sample(
        &self,
        world: &World,
        eyes: &Eyes,
        Asked { told, goal, kind, .. }: &Asked,
        right: &Trajectory,
        seen: &[f32],
        rng: &mut Rng,
    ) -> Result<Sample, CollectError> {
        let ego = world.ego();
        let mut pixels = Vec::new();
        patch_bytes(&self.config.vision, eyes.frames(), eyes.earlier_frames(), &mut pixels)?;
        let mut hint: GoalHint = told.hint_to(world, goal.as_ref());
        if goal.is_some() {
            hint.route_point_m = hint.route_point_m.filter(|_| rng.chance(ROUTE_POINT_PART));
        }
        let truth = facts(world, told, Some(right));
        let (waypoints, valid) = self.waypoints(ego, right);
        Ok(Sample {
            pixels,
            state: [&state_features(ego)[..], &turning_features(ego)].concat(),
            hint: hint_features(&hint, ego.speed_mps).to_vec(),
            instruction: self.vocabulary.encode(&told.text)?,
            reasoning: self.vocabulary.encode(&task::describe(&truth, told.language))?,
            waypoints,
            valid,
            perception: seen.to_vec(),
            weight: weight(*kind, ego, right),
            kind: *kind as u8,
        })
    }

    /// A motion as normalised waypoints, and which of them it reaches.
    fn waypoints(&self, ego: &VehicleState, motion: &Trajectory) -> (Vec<f32>, Vec<bool>) {
        let action = &self.config.action;
        let times = (1..=action.horizon).map(|k| ego.t_s + k as f64 * action.step_s);
        let (mut positions, mut valid) = (Vec::new(), Vec::new());
        for t_s in times {
            let place = place_at(motion, t_s);
            valid.push(place.is_some());
            positions.push(place.unwrap_or([ego.x_m, ego.y_m]));
        }
        (encode_waypoints(action, ego, &positions), valid)
    }
}

/// How much a sample counts.
fn weight(kind: SampleKind, ego: &VehicleState, right: &Trajectory) -> f32 {
    let after_1_s = right.points.iter().find(|p| p.t_s >= ego.t_s + 1.0 - 1e-6);
    let [most_mps, least_mps] = CREEPING_MPS;
    let creeps = (least_mps..most_mps).contains(&ego.speed_mps);
    let brakes = after_1_s
        .is_some_and(|p| p.speed_mps < ego.speed_mps - BRAKES_MPS2 || creeps && p.speed_mps < least_mps);
    // To be somewhere in time takes braking without danger.
    if brakes && kind != SampleKind::Goal { BRAKES_WEIGHT } else { 1.0 }
}

/// Where a motion is at a time, if it goes on for so long.
fn place_at(motion: &Trajectory, t_s: f64) -> Option<[f64; 2]> {
    let points = &motion.points;
    let after = points.partition_point(|p| p.t_s < t_s - 1e-6);
    let b = points.get(after)?;
    let a = points[after.saturating_sub(1)];
    let part = if b.t_s > a.t_s { ((t_s - a.t_s) / (b.t_s - a.t_s)).clamp(0.0, 1.0) } else { 1.0 };
    Some([a.x_m + part * (b.x_m - a.x_m), a.y_m + part * (b.y_m - a.y_m)])
}

/// Whether there is nothing more to learn: the road ends, the vehicle hit someone, or it strayed too far from any lane.
fn is_over(world: &World, task: &Task) -> bool {
    let own = vehicle::footprint(world.ego());
    let hit = world.actors().iter().any(|actor| {
        let other = OrientedBox {
            center: Point::new(actor.x_m, actor.y_m),
            heading_rad: actor.heading_rad,
            length_m: actor.length_m,
            width_m: actor.width_m,
        };
        own.gap(&other) < -0.1
    });
    let roads = &world.scenario().roads;
    let near = roads
        .lanelets_near(own.center, ASTRAY_M)
        .filter(|lanelet| lanelet.kind.is_for_cars())
        .any(|lanelet| lanelet.center.project(own.center).d_m.abs() < ASTRAY_M);
    hit || !near || task::road_ends(world, &task.route)
}

/// What goes wrong while the expert drives: a push aside at the start, and spells of a wrong hand on wheel and pedals.
struct Disturbance {
    pushed: bool,
    /// Whether the vehicle stands at the start, wherever it is.
    standing: bool,
    /// Start and end of each spell, and what is added.
    spells: Vec<([f64; 2], [f64; 2])>,
}

impl Disturbance {
    fn new(rng: &mut Rng, student: bool) -> Disturbance {
        let mut spells = Vec::new();
        // Half of the expert's episodes are undisturbed.
        if !student && rng.chance(0.5) {
            let mut t = rng.range(1.0, 5.0);
            while t < 40.0 {
                let length = rng.range(0.3, 1.0);
                spells.push(([t, t + length], [rng.range(-2.0, 1.5), rng.normal() * 0.06]));
                t += length + rng.range(2.5, 7.0);
            }
        }
        let standing = rng.chance(0.06);
        Disturbance { pushed: rng.chance(if student { 0.2 } else { 0.35 }), standing, spells }
    }

    fn displace(&self, world: &mut World, rng: &mut Rng) {
        if self.standing {
            world.displace(VehicleState { speed_mps: 0.0, ..*world.ego() });
        }
        if !self.pushed {
            return;
        }
        let ego = *world.ego();
        let (aside_m, turn_rad) = (rng.normal() * 0.5, rng.normal() * 0.03);
        let aside = Point::polar(aside_m, ego.heading_rad).left();
        world.displace(VehicleState {
            x_m: ego.x_m + aside.x,
            y_m: ego.y_m + aside.y,
            heading_rad: wrap_angle(ego.heading_rad + turn_rad),
            ..ego
        });
    }

    fn apply(&self, mut control: ergon_types::Control, t_s: f64) -> ergon_types::Control {
        for ([from, to], [acceleration, rate]) in &self.spells {
            if (*from..*to).contains(&t_s) {
                control.acceleration_mps2 += acceleration;
                control.steering_rate_radps += rate;
            }
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergon_types::TrajectoryPoint;

    #[test]
    fn hard_braking_counts_more() {
        let ego = VehicleState { t_s: 7.0, speed_mps: 12.0, ..VehicleState::default() };
        let slower_by = |lost_mps: f64| {
            let point = |k: i32| TrajectoryPoint {
                t_s: 7.0 + 0.1 * f64::from(k),
                speed_mps: 12.0 - 0.1 * f64::from(k) * lost_mps,
                ..TrajectoryPoint::default()
            };
            Trajectory { points: (0..=20).map(point).collect() }
        };
        for (kind, lost_mps, expected) in [
            (SampleKind::Student, 2.2, 1.0),
            (SampleKind::Student, 4.0, BRAKES_WEIGHT),
            (SampleKind::Goal, 4.0, 1.0),
        ] {
            assert_eq!(weight(kind, &ego, &slower_by(lost_mps)), expected, "{kind:?}, {lost_mps} m/s2");
        }
        assert_eq!(weight(SampleKind::Expert, &ego, &Trajectory::default()), 1.0);
    }

    #[test]
    fn to_stop_where_one_might_creep_counts_more() {
        let after_1_s = |first_mps: f64, then_mps: f64| {
            let ego = VehicleState { speed_mps: first_mps, ..VehicleState::default() };
            let then = TrajectoryPoint { t_s: 1.0, speed_mps: then_mps, ..TrajectoryPoint::default() };
            weight(SampleKind::Student, &ego, &Trajectory { points: vec![then] })
        };
        assert_eq!([after_1_s(1.0, 0.0), after_1_s(2.4, 0.1)], [BRAKES_WEIGHT; 2]);
        assert_eq!([after_1_s(0.0, 0.0), after_1_s(1.0, 0.6), after_1_s(2.6, 0.0)], [1.0; 3]);
    }
}
