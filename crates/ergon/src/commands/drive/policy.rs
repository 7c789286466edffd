//! Who drives: the model, the expert that it learned from, or nobody at all.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use ergon_checkpoint::Checkpoint;
use ergon_engine::{DriverPolicy, FIRST_NOISE_SCALE, PolicyOptions};
use ergon_model::DriverConfig;
use ergon_types::{Control, Observation, Trajectory, TrajectoryPoint, VehicleState};
use ergon_world::camera::Rig;
use ergon_world::expert::{self, Expert, Solution};
use ergon_world::follow;
use ergon_world::task::{Task, describe, facts, perceived_offset_m, perception};
use ergon_world::world::World;

use super::builtin::{self, BuiltIn};
use super::record::{StageMs, ms_since};
use crate::args::{DriveArgs, PolicyChoice};
use crate::machine;

/// How long plans of the simple policies last.
const PLAN_S: f64 = 4.0;

/// So near to a solution its own controls keep the vehicle on it.
const ON_SOLUTION_M: f64 = 0.02;

/// What a policy says before it plans.
pub(super) struct Thought {
    pub(super) words: String,
    /// Metres left of the lane's centre, as it sees it.
    pub(super) offset_m: Option<f64>,
}

/// One who drives.
pub(super) enum Policy {
    Model(Box<ModelPolicy>),
    Expert(Box<ExpertPolicy>),
    ConstantVelocity,
}

pub(super) struct ModelPolicy {
    policy: DriverPolicy,
    seed: u64,
    /// Keeps what the built-in model is mapped from.
    _built_in: Option<BuiltIn>,
}

#[derive(Default)]
pub(super) struct ExpertPolicy {
    teacher: Expert,
    /// Whole motions of recorded scenarios, found before the start; `None` where none was found.
    solved: HashMap<String, Option<Solution>>,
    plan: Trajectory,
}

impl Policy {
    /// The policy of a command line.
    pub(super) fn load(args: &DriveArgs) -> anyhow::Result<Policy> {
        Ok(match args.policy {
            PolicyChoice::Model => Policy::Model(Box::new(ModelPolicy::load(args)?)),
            PolicyChoice::Expert => Policy::Expert(Box::default()),
            PolicyChoice::ConstantVelocity => Policy::ConstantVelocity,
        })
    }

    /// Whether it needs pictures.
    pub(super) fn looks(&self) -> bool {
        matches!(self, Policy::Model(_))
    }

    /// Age of the earlier pictures.
    pub(super) fn frame_gap_s(&self) -> f64 {
        match self {
            Policy::Model(model) => model.policy.config().vision.frame_gap_s,
            _ => 0.0,
        }
    }

    /// Begins an episode.
    pub(super) fn start(&mut self, seed: u64) {
        if let Policy::Model(model) = self {
            model.seed = seed;
        }
    }

    /// Looks and thinks. The world is for those who know everything; the model gets the observation and nothing else.
    pub(super) fn think(
        &mut self,
        world: &World,
        task: &Task,
        observation: Observation,
        stage_ms: &mut StageMs,
    ) -> anyhow::Result<Thought> {
        match self {
            Policy::Model(model) => model.think(&observation, stage_ms),
            Policy::Expert(expert) => {
                let start = Instant::now();
                expert.plan = expert.plan(world, task);
                stage_ms.action += ms_since(start);
                let truth = facts(world, task, Some(&expert.plan));
                let offset_m = perceived_offset_m(&perception(world, &task.route));
                Ok(Thought { words: describe(&truth, task.language), offset_m })
            }
            Policy::ConstantVelocity => Ok(Thought { words: String::new(), offset_m: None }),
        }
    }

    /// The plan with a number; the simple policies have one.
    pub(super) fn plan(
        &mut self,
        world: &World,
        number: usize,
        stage_ms: &mut StageMs,
    ) -> anyhow::Result<Option<Trajectory>> {
        let start = Instant::now();
        let plan = match self {
            Policy::Model(model) => {
                Some(model.policy.plan(model.seed, number).context("the driver cannot plan")?)
            }
            Policy::Expert(expert) => (number == 0).then(|| expert.plan.clone()),
            Policy::ConstantVelocity => (number == 0).then(|| straight_on(world)),
        };
        stage_ms.action += ms_since(start);
        Ok(plan)
    }

    /// The control that belongs to the policy's plan at this state, where it knows it better than a controller that
    /// follows the plan.
    pub(super) fn control(&self, world: &World, tick_s: f64) -> Option<Control> {
        match self {
            Policy::Expert(expert) => expert.control(world, tick_s),
            _ => None,
        }
    }
}

impl ModelPolicy {
    fn load(args: &DriveArgs) -> anyhow::Result<ModelPolicy> {
        let options = PolicyOptions {
            threads: args.threads.unwrap_or_else(machine::physical_cores),
            isa: args.isa,
            first_noise_scale: FIRST_NOISE_SCALE,
            approaches_goal: true,
        };
        let (policy, built_in) = match &args.model {
            Some(path) => {
                let checkpoint =
                    Checkpoint::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                let policy = DriverPolicy::load(&checkpoint, &options)
                    .with_context(|| format!("{} cannot drive", path.display()))?;
                (policy, None)
            }
            None => {
                let built_in = builtin::open()?;
                let policy = DriverPolicy::load(&built_in.checkpoint, &options)
                    .context("the built-in driver cannot be loaded")?;
                built_in.remove_folder();
                (policy, Some(built_in))
            }
        };
        check_cameras(policy.config())?;
        Ok(ModelPolicy { policy, seed: 0, _built_in: built_in })
    }

    fn think(&mut self, observation: &Observation, stage_ms: &mut StageMs) -> anyhow::Result<Thought> {
        let start = Instant::now();
        self.policy.see(observation).context("the driver cannot see")?;
        stage_ms.vision = ms_since(start);
        let start = Instant::now();
        let thought = self.policy.think(observation).context("the driver cannot think")?;
        stage_ms.language = ms_since(start);
        let offset_m = perceived_offset_m(&thought.perception);
        Ok(Thought { words: thought.reasoning, offset_m })
    }
}

/// A model sees through the vehicle's cameras or not at all.
fn check_cameras(config: &DriverConfig) -> anyhow::Result<()> {
    let has: Vec<String> =
        Rig::standard().cameras.iter().map(|c| format!("{} {}x{}", c.name, c.width, c.height)).collect();
    let wants: Vec<String> =
        config.vision.cameras.iter().map(|c| format!("{} {}x{}", c.name, c.width, c.height)).collect();
    ensure!(
        has == wants,
        "the model wants the cameras {}, the vehicle has {}; give a model for these cameras",
        wants.join(", "),
        has.join(", ")
    );
    Ok(())
}

impl ExpertPolicy {
    fn plan(&mut self, world: &World, task: &Task) -> Trajectory {
        if world.traffic().is_reactive() {
            return self.teacher.plan(world, task).trajectory;
        }
        let scenario = world.scenario();
        let solved = self.solved.entry(scenario.id.clone()).or_insert_with(|| expert::solve(scenario).ok());
        match solved {
            Some(solution) => rest(&solution.states, world.t_s()),
            None => self.teacher.plan(world, task).trajectory,
        }
    }

    /// What the solution does now, while the vehicle is where the solution is.
    fn control(&self, world: &World, tick_s: f64) -> Option<Control> {
        let scenario = world.scenario();
        if (tick_s - scenario.step_s).abs() > 1e-9 {
            return None;
        }
        let solution = self.solved.get(&scenario.id)?.as_ref()?;
        let step = (world.t_s() / scenario.step_s).round() as usize;
        let (state, control) = (solution.states.get(step)?, solution.controls.get(step)?);
        let ego = world.ego();
        let off_m = (state.x_m - ego.x_m).hypot(state.y_m - ego.y_m);
        (off_m < ON_SOLUTION_M && (state.t_s - ego.t_s).abs() < 1e-6).then_some(*control)
    }
}

/// What is left of a whole motion, and straight on after its end so that a plan is always long enough.
fn rest(states: &[VehicleState], t_s: f64) -> Trajectory {
    let whole = states.iter().map(follow::point_of);
    let mut points: Vec<TrajectoryPoint> = whole.filter(|p| p.t_s > t_s - 1e-6).collect();
    if let Some(last) = states.last().map(follow::point_of) {
        let way = last.speed_mps * PLAN_S;
        points.push(TrajectoryPoint {
            t_s: last.t_s + PLAN_S,
            x_m: last.x_m + way * last.heading_rad.cos(),
            y_m: last.y_m + way * last.heading_rad.sin(),
            acceleration_mps2: 0.0,
            curvature_per_m: 0.0,
            ..last
        });
    }
    Trajectory { points }
}

fn straight_on(world: &World) -> Trajectory {
    let ego = world.ego();
    let point = |i: u32| {
        let t = f64::from(i) * 0.1;
        TrajectoryPoint {
            t_s: ego.t_s + t,
            x_m: ego.x_m + ego.speed_mps * t * ego.heading_rad.cos(),
            y_m: ego.y_m + ego.speed_mps * t * ego.heading_rad.sin(),
            heading_rad: ego.heading_rad,
            speed_mps: ego.speed_mps,
            acceleration_mps2: 0.0,
            curvature_per_m: 0.0,
        }
    };
    Trajectory { points: (0..=40).map(point).collect() }
}
