//! The teacher on generated roads: what it must not do.

use ergon_types::{LightColor, VehicleState};
use ergon_world::episode::{Episode, EpisodeOptions, generate, with_goal};
use ergon_world::expert::Expert;
use ergon_world::generate::RoadKind;
use ergon_world::geometry::{OrientedBox, Point};
use ergon_world::scenario::{Goal, Region};
use ergon_world::task::{Instruction, lane_path, surroundings};
use ergon_world::{Rng, vehicle};

fn empty(seed: u64, kind: RoadKind, instruction: Instruction) -> Episode {
    let options = EpisodeOptions {
        kind: Some(kind),
        instruction: Some(instruction),
        density: Some(0.0),
        calm: true,
        ..EpisodeOptions::default()
    };
    generate(seed, &options)
}

#[test]
fn where_all_lanes_end_it_drives_on() {
    for seed in 0..6 {
        let Episode { mut world, task, .. } = empty(seed, RoadKind::Highway, Instruction::KeepLane);
        let seen = surroundings(&world, &task.route).expect("on a lane");
        let path = lane_path(&world.scenario().roads, seen.lanelet, 0.0, &task.route, [0.0, 5000.0]);
        let line = path.expect("a lane").line;
        let s_m = line.length() - 70.0;
        let (at, heading_rad) = (line.at(s_m), line.heading_at(s_m));
        world.displace(VehicleState { x_m: at.x, y_m: at.y, heading_rad, speed_mps: 20.0, ..*world.ego() });
        let plan = Expert::new().plan(&world, &task).trajectory;
        let last = plan.points.last().expect("a plan");
        assert!(last.speed_mps > 14.0, "seed {seed}: {} m/s at the end", last.speed_mps);
    }
}

#[test]
fn a_goal_behind_a_red_light_waits() {
    let mut tried = 0;
    for seed in 0..40 {
        let mut episode = empty(seed, RoadKind::Urban, Instruction::Turn(ergon_world::task::Turn::Straight));
        // Until the light is red and near enough.
        for _ in 0..600 {
            let seen = surroundings(&episode.world, &episode.task.route);
            let light = seen.as_ref().and_then(|seen| seen.light);
            if let Some((LightColor::Red, gap_m)) = light.filter(|(_, gap_m)| (15.0..70.0).contains(gap_m)) {
                let seen = seen.expect("on a lane");
                let front_m = seen.s_m + 0.5 * vehicle::LENGTH_M;
                let beyond_m = front_m + gap_m + 15.0;
                if beyond_m > seen.path.line.length() {
                    break;
                }
                tried += 1;
                let speed_mps = episode.world.ego().speed_mps.max(8.0);
                let after_s = (gap_m + 15.0) / speed_mps;
                let step = ((episode.world.t_s() + after_s) * 10.0).round() as usize;
                let region = Region::Rectangle(OrientedBox {
                    center: seen.path.line.at(beyond_m),
                    heading_rad: seen.path.line.heading_at(beyond_m),
                    length_m: 6.0,
                    width_m: 3.0,
                });
                let goal = Goal { steps: [step, step + 5], regions: vec![region], ..Goal::default() };
                let task = with_goal(&episode, goal.clone(), &mut Rng::new(seed)).task;
                let plan = Expert::new().plan_to(&episode.world, &task, Some(&goal)).trajectory;
                let last = plan.points.last().expect("a plan");
                let end_m = seen.path.line.project(Point::new(last.x_m, last.y_m)).s_m;
                let past_m = end_m + 0.5 * vehicle::LENGTH_M - front_m - gap_m;
                assert!(past_m < 1.5, "seed {seed}: {past_m:.1} m past the line at {gap_m:.1} m");
                break;
            }
            episode.world.step(Default::default());
        }
    }
    assert!(tried >= 5, "{tried} red lights");
}
