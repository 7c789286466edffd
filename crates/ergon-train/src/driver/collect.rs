//! Samples from driving: an expert who knows everything says what is right at each moment, whoever drives.
//!
//! Whoever drives is the [`Pilot`]: the expert itself, disturbed now and then so that there is something to recover from,
//! or the student, so that the samples show the states the student reaches (Ross, Gordon, Bagnell: "A reduction of
//! imitation learning to no-regret online learning", 2011). A part of the samples becomes tasks by hindsight: where the
//! expert's motion leads is the goal, and that motion is right.

use ergon_model::{
    DriverConfig, ProcessorError, encode_waypoints, hint_features, patch_bytes, state_features,
    waypoints_to_trajectory,
};
use ergon_types::{GoalHint, Trajectory, VehicleState};
use ergon_world::camera::{Conditions, Eyes, Rig};
use ergon_world::episode::{self, Episode, EpisodeOptions};
use ergon_world::expert::Expert;
use ergon_world::geometry::{OrientedBox, Point, wrap_angle};
use ergon_world::task::{self, Instruction, Language, Order, Task, facts, phrase};
use ergon_world::world::World;
use ergon_world::{Rng, follow, vehicle};

use super::{Sample, Vocabulary};
use ergon_checkpoint::TokenizerError;

/// Time between samples; the student's plan is driven for as long.
pub const SAMPLE_S: f64 = 0.4;
/// Time between controls.
const CONTROL_S: f64 = 0.1;
/// How far the vehicle may stray before an episode is given up: from there nothing is to be learned.
const ASTRAY_M: f64 = 4.0;

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
}

/// Why a sample is there; kept as its `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SampleKind {
    /// The episode's task, expert driving.
    Expert = 0,
    /// The episode's task, student driving.
    Student = 1,
    /// A goal by hindsight.
    Goal = 2,
}

/// Who drives while samples are taken.
pub enum Pilot<'a> {
    /// The expert, disturbed.
    Expert,
    /// The student: from a sample (all but its labels) to normalised waypoints; a part of the episodes starts with the
    /// expert.
    Student(&'a mut dyn FnMut(&Sample) -> Vec<f32>),
}

/// What collecting needs to know of the model.
pub struct Collector<'a> {
    /// Sizes and scales.
    pub config: &'a DriverConfig,
    /// Words to tokens.
    pub vocabulary: &'a Vocabulary,
    /// Part of the samples that become goals by hindsight.
    pub goal_part: f64,
}

/// One moment, kept until it is known what happened next.
struct Moment {
    sample: Sample,
    ego: VehicleState,
    /// What the expert would drive from here.
    plan: Trajectory,
    language: Language,
    /// What it would say, the manoeuvre aside.
    truth: task::Facts,
    route_point_m: Option<[f64; 2]>,
}

impl Collector<'_> {
    /// Drives the episode of a seed and gives its samples. `options` narrows the choice of episodes.
    ///
    /// # Errors
    /// The words do not go through the tokenizer, or the cameras do not fit the model: both are mistakes of the
    /// configuration.
    pub fn episode(
        &self,
        seed: u64,
        options: &EpisodeOptions,
        pilot: &mut Pilot,
    ) -> Result<Vec<Sample>, CollectError> {
        let episode = episode::generate(seed, options);
        let mut rng = Rng::new(seed).split(0x5a3);
        let (moments, driven) = self.drive(&episode, pilot, &mut rng)?;
        let by_hindsight = matches!(pilot, Pilot::Expert);
        let roads = &episode.world.scenario().roads;
        let mut samples = Vec::with_capacity(moments.len());
        for moment in moments {
            let goal = if rng.chance(self.goal_part) {
                self.goal(&moment, by_hindsight.then_some(&driven[..]), roads, &mut rng)?
            } else {
                None
            };
            samples.push(goal.unwrap_or(moment.sample));
        }
        Ok(samples)
    }

    /// Drives, and keeps a moment every [`SAMPLE_S`] and the states every [`CONTROL_S`].
    fn drive(
        &self,
        episode: &Episode,
        pilot: &mut Pilot,
        rng: &mut Rng,
    ) -> Result<(Vec<Moment>, Vec<VehicleState>), CollectError> {
        let mut world = episode.world.clone();
        let mut expert = Expert::new();
        let mut order = Order::new(&episode.task);
        let conditions = Conditions::from_seed(rng.next_u64());
        let mut eyes = Eyes::new(Rig::standard(), &world, conditions, self.config.vision.frame_gap_s);
        let disturbance = Disturbance::new(rng, matches!(pilot, Pilot::Student(_)));
        disturbance.displace(&mut world, rng);
        let expert_first_s = if rng.chance(0.5) { 0.0 } else { rng.range(0.0, 8.0) };
        let per_sample = (SAMPLE_S / CONTROL_S).round() as usize;
        let (mut moments, mut driven) = (Vec::new(), vec![*world.ego()]);
        while world.t_s() + 1e-9 < episode.task.duration_s && !is_over(&world, order.task()) {
            eyes.look(&world);
            let seen = task::perception(&world, &order.task().route);
            order.update(world.ego(), task::perceived_offset_m(&seen));
            let plan = expert.plan(&world, order.task()).trajectory;
            let moment = self.moment(&world, &eyes, order.task(), plan, &seen)?;
            let chosen = match pilot {
                Pilot::Student(predict) if world.t_s() >= expert_first_s => {
                    let waypoints = predict(&moment.sample);
                    waypoints_to_trajectory(&self.config.action, world.ego(), &waypoints)
                }
                _ => moment.plan.clone(),
            };
            moments.push(moment);
            for _ in 0..per_sample {
                let control = disturbance.apply(follow::control(world.ego(), &chosen), world.t_s());
                for _ in 0..(CONTROL_S / vehicle::STEP_S).round() as usize {
                    world.step(control);
                }
                driven.push(*world.ego());
            }
        }
        Ok((moments, driven))
    }

    fn moment(
        &self,
        world: &World,
        eyes: &Eyes,
        task: &Task,
        plan: Trajectory,
        seen: &[f32],
    ) -> Result<Moment, CollectError> {
        let ego = *world.ego();
        let mut pixels = Vec::new();
        patch_bytes(&self.config.vision, eyes.frames(), eyes.earlier_frames(), &mut pixels)?;
        let hint = task.hint(world);
        let truth = facts(world, task, Some(&plan));
        let (waypoints, valid) = self.waypoints(&ego, &plan);
        let sample = Sample {
            pixels,
            state: state_features(&ego).to_vec(),
            hint: hint_features(&hint, ego.speed_mps).to_vec(),
            instruction: self.vocabulary.encode(&task.text)?,
            reasoning: self.vocabulary.encode(&task::describe(&truth, task.language))?,
            waypoints,
            valid,
            perception: seen.to_vec(),
            weight: 1.0,
            kind: SampleKind::Expert as u8,
        };
        Ok(Moment { sample, ego, plan, language: task.language, truth, route_point_m: hint.route_point_m })
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

    /// The moment as a task to be somewhere: within the expert's plan, or, where the expert drove, within what it drove.
    fn goal(
        &self,
        moment: &Moment,
        driven: Option<&[VehicleState]>,
        roads: &ergon_world::road::RoadNetwork,
        rng: &mut Rng,
    ) -> Result<Option<Sample>, CollectError> {
        let now = (moment.ego.t_s / CONTROL_S).round() as usize;
        let far = driven.filter(|driven| rng.chance(0.6) && now + 60 < driven.len());
        let (state, steps) = match far {
            Some(driven) => {
                let steps = 10 + rng.below((driven.len() - now - 11).min(140));
                (driven[now + steps], steps)
            }
            None => {
                let last = moment.plan.points.len().saturating_sub(1);
                if last < 4 {
                    return Ok(None);
                }
                let steps = 3 + rng.below(last - 3);
                (state_of(&moment.plan, steps), steps)
            }
        };
        let mut motion = moment.plan.clone();
        if let Some(driven) = far {
            motion.points = driven[now..].iter().take(41).map(follow::point_of).collect();
        }
        let hint = self.hint(moment, &state, steps, roads, rng);
        let (waypoints, valid) = self.waypoints(&moment.ego, &motion);
        let text = phrase(Instruction::ReachGoal, moment.language, rng);
        Ok(Some(Sample {
            hint: hint_features(&hint, moment.ego.speed_mps).to_vec(),
            instruction: self.vocabulary.encode(&text)?,
            reasoning: self.vocabulary.encode(&task::describe(&moment.truth, moment.language))?,
            waypoints,
            valid,
            kind: SampleKind::Goal as u8,
            ..moment.sample.clone()
        }))
    }

    /// What the navigation says of a goal cut around `state`, which is reached `steps` time steps from now.
    fn hint(
        &self,
        moment: &Moment,
        state: &VehicleState,
        steps: usize,
        roads: &ergon_world::road::RoadNetwork,
        rng: &mut Rng,
    ) -> GoalHint {
        let goal = task::goal_from_future(roads, state, steps, &task::random_shape(rng));
        let origin = Point::new(moment.ego.x_m, moment.ego.y_m);
        let center = goal.regions.first().and_then(|region| region.center(roads));
        GoalHint {
            position_m: center.map(|center| {
                let p = center.to_frame(origin, moment.ego.heading_rad);
                [p.x, p.y]
            }),
            route_point_m: moment.route_point_m.filter(|_| rng.chance(0.7)),
            time_window_s: Some(goal.steps.map(|step| step as f64 * CONTROL_S)),
            speed_range_mps: goal.speed_mps,
            heading_rad: goal.heading_rad.map(|[low, high]| {
                let middle = low + 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
                wrap_angle(middle - moment.ego.heading_rad)
            }),
        }
    }
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

/// A point of a motion as a state.
fn state_of(plan: &Trajectory, index: usize) -> VehicleState {
    let p = &plan.points[index];
    VehicleState {
        t_s: p.t_s,
        x_m: p.x_m,
        y_m: p.y_m,
        heading_rad: p.heading_rad,
        speed_mps: p.speed_mps,
        acceleration_mps2: p.acceleration_mps2,
        steering_angle_rad: 0.0,
    }
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
        Disturbance { pushed: rng.chance(if student { 0.2 } else { 0.35 }), spells }
    }

    fn displace(&self, world: &mut World, rng: &mut Rng) {
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
