//! Which of the students is given out: the one that does most tasks on roads that nobody was trained on.
//!
//! Losses cannot tell: what counts is what happens when the plans are driven. So the students of the last rounds and
//! the last of all, or the driver that the run started from, the last student and the mean of both, drive the same held-out
//! episodes, judged by the world's referee; as samples are driven, without the bounds of comfort.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ergon_engine::{DriverPolicy, PolicyError};
use ergon_kernels::Cpu;
use ergon_world::camera::{Conditions, Eyes, Rig};
use ergon_world::episode::{self, EpisodeOptions};
use ergon_world::score::{LOOK_S, Referee};
use ergon_world::task::{Order, perceived_offset_m, road_ends};
use ergon_world::{Rng, follow};

use super::collect::SAMPLE_S;
use super::rounds::RoundsError;

/// A student and how it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The folder of its model.
    pub folder: PathBuf,
    /// Held-out episodes whose task it did, without a fault.
    pub successes: usize,
    /// Held-out episodes that it drove.
    pub episodes: usize,
}

/// Drives the held-out episodes with a student, `load` making one for each thread. `None` if asked to stop.
pub(super) fn judge(
    folder: &Path,
    (seed, episodes): (u64, usize),
    cpu: &Cpu,
    stop: &AtomicBool,
    load: &(dyn Fn(&Path) -> Result<DriverPolicy, RoundsError> + Sync),
    tell: &(dyn Fn(usize) + Sync),
) -> Result<Option<Candidate>, RoundsError> {
    let (next, done, successes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = Mutex::new(None);
    let work = || -> Result<(), RoundsError> {
        let mut policy = load(folder)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= episodes || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Far from the seeds of the rounds, and from those that people try.
            let seed = Rng::new(seed).split(0x5e1e).split(number as u64).next_u64() | 1 << 63;
            successes.fetch_add(usize::from(succeeds(&mut policy, seed)?), Ordering::Relaxed);
            tell(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    cpu.pool.run(cpu.pool.threads(), |_| {
        if let Err(error) = work() {
            next.store(episodes, Ordering::Relaxed);
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let successes = successes.into_inner();
    let candidate = Candidate { folder: folder.to_path_buf(), successes, episodes };
    Ok((!stop.load(Ordering::Relaxed)).then_some(candidate))
}

/// Whether the task of an episode is done by the student alone, without a gate.
fn succeeds(policy: &mut DriverPolicy, seed: u64) -> Result<bool, PolicyError> {
    let episode = episode::generate(seed, &EpisodeOptions::default());
    let mut world = episode.world.clone();
    let mut order = Order::new(&episode.task);
    let gap_s = policy.config().vision.frame_gap_s;
    let mut eyes = Eyes::new(Rig::standard(), &world, Conditions::from_seed(seed), gap_s);
    let mut referee = Referee::new(&world, &episode.task);
    while world.t_s() + 1e-9 < episode.task.duration_s && !road_ends(&world, &order.task().route) {
        eyes.look(&world);
        let observation = eyes.observe(&world, order.task());
        policy.see(&observation)?;
        let thought = policy.think(&observation)?;
        let plan = policy.plan(seed, 0)?;
        order.update(world.ego(), perceived_offset_m(&thought.perception));
        for _ in 0..(SAMPLE_S / LOOK_S).round() as usize {
            let control = follow::control(world.ego(), &plan);
            world.hold(control, LOOK_S);
            referee.look(&world);
        }
        if !referee.outcome().collisions.is_empty() {
            break;
        }
    }
    Ok(referee.outcome().success())
}
