//! The teacher on generated roads, and on a plain one: what it must not do.

use std::sync::Arc;

use ergon_types::{ActorKind, ActorState, LightColor, VehicleState};
use ergon_world::episode::{Episode, EpisodeOptions, generate, with_goal};
use ergon_world::expert::Expert;
use ergon_world::generate::RoadKind;
use ergon_world::geometry::{OrientedBox, Point, Polyline};
use ergon_world::road::{Lanelet, RoadNetwork};
use ergon_world::scenario::{Goal, PlanningProblem, RecordedActor, Region, Scenario};
use ergon_world::task::{Instruction, Task, lane_path, surroundings};
use ergon_world::traffic::Traffic;
use ergon_world::world::World;
use ergon_world::{Rng, follow, vehicle};

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

/// A straight lane, the vehicle at 12 m/s, and a person who walks across it 50 m ahead, in its middle at a time.
fn with_person_across(middle_s: f64) -> World {
    let line = |y: f64| Polyline::new([Point::new(0.0, y), Point::new(300.0, y)]);
    let mut lanelet = Lanelet::new(1, line(1.75), line(-1.75));
    lanelet.speed_limit_mps = Some(14.0);
    let state = |step: usize| ActorState {
        id: 7,
        kind: ActorKind::Pedestrian,
        x_m: 100.0,
        y_m: 1.5 * (0.1 * step as f64 - middle_s),
        heading_rad: std::f64::consts::FRAC_PI_2,
        speed_mps: 1.5,
        acceleration_mps2: 0.0,
        length_m: 0.5,
        width_m: 0.5,
    };
    let person = RecordedActor {
        id: 7,
        kind: ActorKind::Pedestrian,
        length_m: 0.5,
        width_m: 0.5,
        first_step: 0,
        states: (0..200).map(state).collect(),
    };
    let initial = VehicleState { x_m: 50.0, speed_mps: 12.0, ..VehicleState::default() };
    let scenario = Scenario {
        step_s: 0.1,
        roads: RoadNetwork::new(vec![lanelet], Vec::new(), Vec::new()),
        recorded: vec![person],
        problem: PlanningProblem { id: 1, initial, initial_yaw_rate_radps: 0.0, goals: Vec::new() },
        ..Scenario::default()
    };
    let traffic = Traffic::recorded(&scenario);
    World::new(Arc::new(scenario), traffic)
}

#[test]
fn people_who_will_be_in_the_way_are_waited_for() {
    for middle_s in [3.0, 4.0, 4.4, 4.8, 5.5] {
        let mut world = with_person_across(middle_s);
        let (mut least_gap_m, mut hardest_mps2) = (f64::INFINITY, 0.0f64);
        while world.t_s() < 12.0 {
            let plan = Expert::new().plan(&world, &Task::default()).trajectory;
            let before_mps = world.ego().speed_mps;
            world.hold(follow::control(world.ego(), &plan), 0.1);
            hardest_mps2 = hardest_mps2.max((before_mps - world.ego().speed_mps) / 0.1);
            let own = vehicle::footprint(world.ego());
            let gaps = world.actors().iter().map(|person| {
                own.gap(&OrientedBox {
                    center: Point::new(person.x_m, person.y_m),
                    heading_rad: person.heading_rad,
                    length_m: person.length_m,
                    width_m: person.width_m,
                })
            });
            least_gap_m = gaps.fold(least_gap_m, f64::min);
        }
        assert!(least_gap_m > 0.5, "{middle_s} s: a gap of {least_gap_m:.2} m");
        assert!(hardest_mps2 < 5.0, "{middle_s} s: braked by {hardest_mps2:.1} m/s2");
        assert!(world.ego().x_m > 120.0, "{middle_s} s: waits for ever, at {:.1} m", world.ego().x_m);
    }
}
