//! One episode in closed loop: look, think, propose, check, drive, every control period until the task is over.

use std::time::Instant;

use ergon_gate::Cleared;
use ergon_gate::motion::{Decision, Source, Supervisor};
use ergon_types::{Control, Frame, Observation, Trajectory, VehicleState};
use ergon_world::camera::{CameraSpec, Conditions, Eyes, Rig};
use ergon_world::episode::Episode;
use ergon_world::geometry::Point;
use ergon_world::scenario::Region;
use ergon_world::score::{Outcome, Referee};
use ergon_world::task::{self, Guide, Order};
use ergon_world::world::World;

use super::gate::{self, Tracker};
use super::picture;
use super::policy::Policy;
use super::record::{Map, StageMs, Tick, ms_since};
use super::summary::WordCheck;
use super::variants;
use crate::args::GateChoice;

/// Control period of worlds without a time step of their own.
const TICK_S: f64 = 0.1;
/// Steps longer than this are cut, so that the vehicle does not drive blindly.
const TICK_MAX_S: f64 = 0.3;
/// A picture for people every so many control steps.
const PICTURE_EVERY: usize = 2;
/// Size of that picture.
const PICTURE_SIZE: [usize; 2] = [384, 192];
/// How far ahead a plan is rolled out for the gate.
const ROLLOUT_S: f64 = 4.0;

/// How to drive.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) gate: GateChoice,
    pub(super) seed: u64,
    /// Most plans at one step.
    pub(super) candidates: usize,
    /// Milliseconds after which a step has missed its deadline; 0 for never.
    pub(super) deadline_ms: f64,
    /// Whether pictures for people are kept.
    pub(super) pictures: bool,
}

/// An episode that was driven.
pub(super) struct Driven {
    pub(super) ticks: Vec<Tick>,
    /// The world at the end.
    pub(super) world: World,
    /// State of the ego vehicle at every control step, the end included.
    pub(super) states: Vec<VehicleState>,
    pub(super) map: Map,
    pub(super) tick_s: f64,
    pub(super) deadline_misses: usize,
    /// How often the driver's words agreed with the scene.
    pub(super) words: WordCheck,
    pub(super) outcome: Outcome,
}

impl Driven {
    /// Control steps at which the first plan was not what was driven.
    pub(super) fn interventions(&self) -> usize {
        self.ticks.iter().filter(|tick| tick.source != Source::Proposed(0)).count()
    }
}

/// Drives an episode until its time is over, its goal is reached, the road ends or something is hit. `go_on` is asked after
/// every step.
pub(super) fn drive(
    episode: &Episode,
    policy: &mut Policy,
    settings: &Settings,
    mut go_on: impl FnMut() -> bool,
) -> anyhow::Result<Driven> {
    policy.start(settings.seed);
    let mut running = Loop::start(episode, policy, settings)?;
    while running.world.t_s() + 1e-9 < episode.task.duration_s {
        running.step()?;
        if running.is_over() || !go_on() {
            break;
        }
    }
    Ok(running.finish())
}

/// An episode that is being driven.
struct Loop<'a> {
    policy: &'a mut Policy,
    settings: &'a Settings,
    world: World,
    tick_s: f64,
    eyes: Eyes,
    /// The camera of the pictures for people.
    large: CameraSpec,
    order: Order,
    /// Says the way to a goal.
    guide: Option<Guide>,
    tracker: Tracker,
    supervisor: Supervisor,
    /// What the vehicle was given last.
    motion: Option<Cleared<Trajectory>>,
    ticks: Vec<Tick>,
    states: Vec<VehicleState>,
    deadline_misses: usize,
    words: WordCheck,
    referee: Referee,
}

impl<'a> Loop<'a> {
    fn start(episode: &Episode, policy: &'a mut Policy, settings: &'a Settings) -> anyhow::Result<Loop<'a>> {
        let world = episode.world.clone();
        let step_s = world.scenario().step_s;
        let tick_s = if (TICK_S..=TICK_MAX_S).contains(&step_s) { step_s } else { TICK_S };
        let eyes = Eyes::new(Rig::standard(), &world, conditions(episode), policy.frame_gap_s());
        let large = eyes.rig().cameras[0].resized(PICTURE_SIZE[0], PICTURE_SIZE[1]);
        let states = vec![*world.ego()];
        let guide = if policy.looks() { Guide::new(&world) } else { None };
        let referee = Referee::new(&world, &episode.task);
        Ok(Loop {
            policy,
            settings,
            world,
            tick_s,
            eyes,
            large,
            order: Order::new(&episode.task),
            guide,
            tracker: Tracker::default(),
            supervisor: Supervisor::new(gate::limits(settings.gate, tick_s))?,
            motion: None,
            ticks: Vec::new(),
            states,
            deadline_misses: 0,
            words: WordCheck::default(),
            referee,
        })
    }

    /// One control step: from the pictures to where the vehicle is at the next.
    fn step(&mut self) -> anyhow::Result<()> {
        let mut stage_ms = StageMs::default();
        let observation = self.look(&mut stage_ms);
        let thought = self.policy.think(&self.world, self.order.task(), observation, &mut stage_ms)?;
        self.order.update(self.world.ego(), thought.offset_m);
        let (proposed, decision) = self.decide(&mut stage_ms)?;
        let missed = self.settings.deadline_ms > 0.0 && stage_ms.total() > self.settings.deadline_ms;
        self.deadline_misses += usize::from(missed);
        let (motion, source) = match self.motion.take().filter(|_| missed) {
            Some(before) => {
                self.supervisor.carried_on(&before);
                (before, Source::Last)
            }
            None => (decision.motion.clone(), decision.source),
        };
        // What nobody checks may be driven to the letter.
        let control = match self.settings.gate {
            GateChoice::Off => self.policy.control(&self.world, self.tick_s),
            GateChoice::On => None,
        };
        let control = control.unwrap_or_else(|| gate::control(self.world.ego(), &motion));
        self.words.look(&self.world, self.order.task(), &thought.words, motion.get());
        let picture = self.picture()?;
        let lights = &self.world.scenario().roads.lights;
        self.ticks.push(Tick {
            ego: *self.world.ego(),
            actors: self.world.actors().to_vec(),
            lights: lights.iter().map(|light| light.color_at(self.world.t_s())).collect(),
            words: thought.words,
            proposed,
            issued: motion.get().clone(),
            source,
            verdicts: decision.verdicts,
            control,
            stage_ms,
            missed,
            picture,
        });
        self.motion = Some(motion);
        self.advance(control);
        Ok(())
    }

    /// Takes pictures, and tells what the driver may know; nothing to one that needs no pictures, who knows everything.
    fn look(&mut self, stage_ms: &mut StageMs) -> Observation {
        if !self.policy.looks() {
            return Observation::default();
        }
        let start = Instant::now();
        self.eyes.look(&self.world);
        let task = self.order.task();
        let observation = match &self.guide {
            Some(guide) => self.eyes.observe(&self.world, &guide.advise(&self.world, task)),
            None => self.eyes.observe(&self.world, task),
        };
        stage_ms.camera = ms_since(start);
        observation
    }

    /// Plans and checks until something may be driven. Also the first plan, as the vehicle would drive it.
    fn decide(&mut self, stage_ms: &mut StageMs) -> anyhow::Result<(Trajectory, Decision)> {
        let start = Instant::now();
        let action_before = stage_ms.action;
        let Loop { policy, settings, world, tracker, supervisor, tick_s, .. } = self;
        let (objects, drivable) = (tracker.track(world, *tick_s), gate::drivable(world));
        let scene = gate::scene(world, &objects, &drivable, settings.gate);
        let mut proposed = Trajectory::default();
        let (mut failed, mut sampled) = (None, None);
        let decision = supervisor.decide(&scene, |number| {
            if sampled.is_none() && number < settings.candidates {
                match policy.plan(world, number, stage_ms) {
                    Ok(Some(plan)) => {
                        let plan = gate::rollout(world.ego(), &plan, ROLLOUT_S);
                        if number == 0 {
                            proposed = plan.clone();
                        }
                        return Some(plan);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        failed = Some(error);
                        return None;
                    }
                }
            }
            // The policy has no more plans: its first one, a little differently.
            let first = *sampled.get_or_insert(number);
            let plan = match settings.gate {
                GateChoice::On => variants::variant(&proposed, number - first)?,
                GateChoice::Off => return None,
            };
            Some(gate::rollout(world.ego(), &plan, ROLLOUT_S))
        });
        if let Some(error) = failed {
            return Err(error);
        }
        // Plans are sampled between checks: what the sampling took is not the gate's.
        stage_ms.gate = ms_since(start) - (stage_ms.action - action_before);
        Ok((proposed, decision))
    }

    /// A picture for people, when it is time for one.
    fn picture(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        if !self.settings.pictures || !self.ticks.len().is_multiple_of(PICTURE_EVERY) {
            return Ok(None);
        }
        let mut frame = Frame::default();
        self.eyes.picture(&self.world, &self.large, &mut frame);
        picture::jpeg(&frame).map(Some)
    }

    /// The world moves on by a control period.
    fn advance(&mut self, control: Control) {
        self.world.hold(control, self.tick_s);
        self.states.push(*self.world.ego());
        self.referee.look(&self.world);
    }

    /// Whether nothing more is to be seen.
    fn is_over(&self) -> bool {
        let outcome = self.referee.outcome();
        let reached = outcome.goal.is_some_and(|goal| goal.reached_at_s.is_some());
        reached
            || !outcome.collisions.is_empty()
            || (outcome.goal.is_none() && task::road_ends(&self.world, &self.order.task().route))
    }

    fn finish(self) -> Driven {
        Driven {
            map: map(&self.world),
            outcome: self.referee.outcome(),
            ticks: self.ticks,
            world: self.world,
            states: self.states,
            tick_s: self.tick_s,
            deadline_misses: self.deadline_misses,
            words: self.words,
        }
    }
}

/// Light and weather: of generated worlds from their seed; recorded ones are seen on a clear day.
fn conditions(episode: &Episode) -> Conditions {
    let scenario = episode.world.scenario();
    if !scenario.recorded.is_empty() || scenario.source != "generated" {
        return Conditions::default();
    }
    let digits = scenario.id.rsplit('-').next().and_then(|seed| seed.parse().ok());
    digits.map_or_else(Conditions::default, Conditions::from_seed)
}

fn map(world: &World) -> Map {
    let scenario = world.scenario();
    let outline = |region: &Region| match region {
        Region::Rectangle(shape) => vec![shape.corners().to_vec()],
        Region::Circle { center, radius_m } => {
            let point = |i: usize| *center + Point::polar(*radius_m, i as f64 * 0.2618);
            vec![(0..24).map(point).collect()]
        }
        Region::Polygon(corners) => vec![corners.clone()],
        Region::Lanelets(ids) => {
            ids.iter().filter_map(|id| scenario.roads.lanelet(*id)).map(|lanelet| lanelet.polygon()).collect()
        }
    };
    Map {
        lanes: scenario.roads.lanelets.iter().map(|lanelet| lanelet.polygon()).collect(),
        lights: scenario.roads.lights.iter().map(|light| light.position).collect(),
        goals: scenario.problem.goals.iter().flat_map(|goal| &goal.regions).flat_map(outline).collect(),
    }
}
