//! Gives the teacher goals by hindsight on generated roads and prints which it reaches: `cargo run --release -p
//! ergon-world --example teacher_goals -- FIRST_SEED COUNT`.

use std::collections::BTreeMap;
use std::time::Instant;

use ergon_types::VehicleState;
use ergon_world::episode::{self, EpisodeOptions};
use ergon_world::expert::Expert;
use ergon_world::score::Referee;
use ergon_world::task::{self, Instruction, Task};
use ergon_world::world::World;
use ergon_world::{Rng, follow};

/// Control periods between plans.
const PERIODS: usize = 4;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (first, count) = (args.next().unwrap_or(0), args.next().unwrap_or(50));
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let (mut plans, start) = (0, Instant::now());
    for seed in first..first + count {
        let mut rng = Rng::new(seed).split(0x90a1);
        let episode = episode::generate(seed, &EpisodeOptions::default());
        let steps = 15 + rng.below(100);
        // Where a teacher without a goal gets, or a bit nearer or farther.
        let mut world = episode.world.clone();
        let end = drive(&mut world, &episode.task, &mut Expert::new(), steps);
        let roads = &world.scenario().roads;
        let later = steps + rng.below(10);
        let goal = task::goal_from_future(roads, &end, later, &task::random_shape(&mut rng));
        let mut world = episode.world.clone();
        let goal_task = Task { instruction: Instruction::ReachGoal, ..episode.task.clone() };
        let mut referee = Referee::new(&world, &goal_task);
        let mut reached = false;
        let mut expert = Expert::new();
        while world.t_s() < later as f64 * follow::CONTROL_S + 0.8 {
            let plan = expert.plan_to(&world, &goal_task, Some(&goal));
            plans += 1;
            for _ in 0..PERIODS {
                step(&mut world, &plan.trajectory);
                referee.look(&world);
                let now = (world.t_s() / follow::CONTROL_S).round() as usize;
                reached |= goal.reached(now, world.ego(), &world.scenario().roads);
            }
        }
        let outcome = referee.outcome();
        let end = match outcome.collisions.first() {
            Some(hit) => format!("collision {:?}", hit.kind),
            None if outcome.off_road_s > 0.3 => "off road".to_owned(),
            None if !reached => "missed".to_owned(),
            None => "reached".to_owned(),
        };
        if end != "reached" {
            println!("{seed} {} {:?} steps {later}: {end}", episode.kind.name(), episode.task.instruction);
        }
        *ends.entry(end).or_default() += 1;
    }
    println!(
        "{ends:#?}\n{:.1} ms a plan, driving included",
        start.elapsed().as_secs_f64() * 1e3 / f64::from(plans)
    );
}

/// Drives without a goal for some control periods.
fn drive(world: &mut World, task: &Task, expert: &mut Expert, steps: usize) -> VehicleState {
    let mut plan = expert.plan(world, task);
    for k in 0..steps {
        if k > 0 && k % PERIODS == 0 {
            plan = expert.plan(world, task);
        }
        step(world, &plan.trajectory);
    }
    *world.ego()
}

fn step(world: &mut World, plan: &ergon_types::Trajectory) {
    let control = follow::control(world.ego(), plan);
    world.hold(control, follow::CONTROL_S);
}
