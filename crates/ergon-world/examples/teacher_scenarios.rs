//! Drives CommonRoad scenarios with the teacher, planning anew every 0.4 s, and prints which goals it reaches:
//! `cargo run --release -p ergon-world --example teacher_scenarios -- SCENARIOS_DIR [NAME_CONTAINS]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ergon_world::commonroad;
use ergon_world::episode::{self, Episode};
use ergon_world::expert::Expert;
use ergon_world::follow;
use ergon_world::score::Referee;

/// Control periods between plans.
const PERIODS: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(folder) = args.next() else {
        return Err("usage: teacher_scenarios SCENARIOS_DIR [NAME_CONTAINS]".into());
    };
    let part = args.next().unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".xml") && name.contains(&part) {
            files.push(path);
        }
    }
    files.sort();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        *ends.entry(drive(file)?).or_default() += 1;
    }
    println!("{ends:#?} of {}", files.len());
    Ok(())
}

/// Drives a scenario and says how it ended.
fn drive(file: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let scenario = Arc::new(commonroad::read(&std::fs::read_to_string(file)?)?);
    let Episode { mut world, task, .. } = episode::recorded(scenario.clone());
    let mut expert = Expert::new();
    let mut referee = Referee::new(&world, &task);
    let (mut plans, mut planning_s) = (0, 0.0);
    'drive: while world.t_s() + 1e-9 < task.duration_s {
        let start = Instant::now();
        let plan = expert.plan(&world, &task);
        planning_s += start.elapsed().as_secs_f64();
        plans += 1;
        for _ in 0..PERIODS {
            let control = follow::control(world.ego(), &plan.trajectory);
            world.hold(control, follow::CONTROL_S);
            referee.look(&world);
            let outcome = referee.outcome();
            let reached = outcome.goal.is_some_and(|goal| goal.reached_at_s.is_some());
            if reached || !outcome.collisions.is_empty() || world.t_s() + 1e-9 >= task.duration_s {
                break 'drive;
            }
        }
    }
    let outcome = referee.outcome();
    let goal = outcome.goal.unwrap_or_default();
    let end = match outcome.collisions.first() {
        _ if outcome.success() => "reached".to_owned(),
        Some(hit) if goal.reached_at_s.is_none() => format!("collision {:?}", hit.kind),
        _ if outcome.off_road_s > 0.3 => "off road".to_owned(),
        _ if !outcome.red_lights_s.is_empty() => "red light".to_owned(),
        _ => goal.miss.map_or("no goal".to_owned(), |miss| format!("missed {miss:?}")),
    };
    println!(
        "{} {end}: t {:.1} of {:.1} s, {:.1} m, speed off {:.1}, heading off {:.2}, off road {:.1} s, {:.0} ms a plan",
        scenario.id,
        world.t_s(),
        task.duration_s,
        goal.distance_m.unwrap_or(-1.0),
        goal.speed_off_mps,
        goal.heading_off_rad,
        outcome.off_road_s,
        planning_s * 1e3 / f64::from(plans.max(1)),
    );
    Ok(end)
}
