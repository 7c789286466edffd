//! The referee: whose fault a collision is, what was missing at the goal, whether words were followed.

use ergon_types::{ActorKind, ActorState, VehicleState};
use ergon_world::geometry::{OrientedBox, Point, Polyline};
use ergon_world::road::{Adjacent, Lanelet, LaneletKind, RoadNetwork};
use ergon_world::scenario::{Goal, PlanningProblem, Region, Scenario};
use ergon_world::score::{CollisionKind, Miss, Outcome, Recorder, Referee, collision_kind};
use ergon_world::task::{Instruction, Side, Task, Turn};
use ergon_world::traffic::Traffic;
use ergon_world::world::World;
use std::sync::Arc;

/// Three lanes of 3.5 m, 500 m long, the left one with number 1.
fn road() -> RoadNetwork {
    let line = |y: f64| Polyline::new([Point::new(0.0, y), Point::new(500.0, y)]);
    let lanes = (0..3).map(|i| {
        let top = 10.5 - 3.5 * f64::from(i);
        let mut lanelet = Lanelet::new(i64::from(i) + 1, line(top), line(top - 3.5));
        lanelet.kind = LaneletKind::Highway;
        lanelet.speed_limit_mps = Some(20.0);
        let beside = |id: i32| Adjacent { id: i64::from(id), same_direction: true };
        lanelet.adjacent_left = (i > 0).then(|| beside(i));
        lanelet.adjacent_right = (i < 2).then(|| beside(i + 2));
        lanelet
    });
    RoadNetwork::new(lanes.collect(), Vec::new(), Vec::new())
}

fn world(obstacles: Vec<ActorState>, goals: Vec<Goal>) -> World {
    let initial = VehicleState { x_m: 50.0, y_m: 5.25, speed_mps: 10.0, ..VehicleState::default() };
    let scenario = Scenario {
        step_s: 0.1,
        roads: road(),
        obstacles,
        problem: PlanningProblem { id: 1, initial, initial_yaw_rate_radps: 0.0, goals },
        ..Scenario::default()
    };
    let traffic = Traffic::recorded(&scenario);
    World::new(Arc::new(scenario), traffic)
}

fn actor(x_m: f64, y_m: f64, speed_mps: f64) -> ActorState {
    ActorState {
        id: 7,
        kind: ActorKind::Car,
        x_m,
        y_m,
        heading_rad: 0.0,
        speed_mps,
        acceleration_mps2: 0.0,
        length_m: 4.5,
        width_m: 1.8,
    }
}

/// Carries the ego vehicle along `states` of x, y, speed and heading, one each tenth of a second.
fn run(world: &World, instruction: Instruction, states: impl Iterator<Item = [f64; 4]>) -> Outcome {
    let mut world = world.clone();
    let task = Task { instruction, duration_s: 10.0, ..Task::default() };
    let mut referee = Referee::new(&world, &task);
    for [x_m, y_m, speed_mps, heading_rad] in states {
        for _ in 0..10 {
            world.step(Default::default());
        }
        world.displace(VehicleState { x_m, y_m, speed_mps, heading_rad, ..*world.ego() });
        referee.look(&world);
    }
    referee.outcome()
}

fn straight(n: usize) -> impl Iterator<Item = [f64; 4]> {
    (1..=n).map(|k| [50.0 + k as f64, 5.25, 10.0, 0.0])
}

#[test]
fn fault_goes_by_who_moves_and_where_it_hits() {
    let ego = |speed_mps| VehicleState { speed_mps, ..VehicleState::default() };
    let cases = [
        (ego(0.0), actor(-4.0, 0.0, 5.0), CollisionKind::EgoStood),
        (ego(10.0), actor(4.0, 0.0, 0.0), CollisionKind::OtherStood),
        (ego(10.0), actor(4.2, 0.0, 5.0), CollisionKind::Front),
        (ego(5.0), actor(-4.2, 0.0, 9.0), CollisionKind::Rear),
        (ego(10.0), ActorState { length_m: 2.0, ..actor(0.0, 1.6, 10.0) }, CollisionKind::Side),
    ];
    for (ego, other, kind) in cases {
        assert_eq!(collision_kind(&ego, &other), kind, "{other:?}");
    }
}

#[test]
fn a_standing_car_is_hit_at_fault_and_from_behind_not() {
    let hit = run(&world(vec![actor(75.0, 5.25, 0.0)], Vec::new()), Instruction::FollowRoute, straight(30));
    assert_eq!(hit.collisions.len(), 1);
    assert!(hit.collisions[0].at_fault && !hit.success());
    let struck =
        run(&world(vec![actor(49.0, 5.25, 14.0)], Vec::new()), Instruction::FollowRoute, straight(30));
    assert_eq!(struck.collisions_at_fault(), 0);
    assert_eq!(struck.collisions[0].kind, CollisionKind::Rear);
}

#[test]
fn a_side_is_at_fault_only_out_of_the_lane() {
    let other = ActorState { length_m: 2.0, ..actor(60.0, 6.9, 10.0) };
    let inside = run(&world(vec![other], Vec::new()), Instruction::FollowRoute, straight(1));
    assert_eq!(inside.collisions.len(), 0, "1.65 m apart they pass");
    let beside = ActorState { length_m: 2.0, ..actor(51.0, 6.9, 10.0) };
    let inside = run(&world(vec![beside], Vec::new()), Instruction::FollowRoute, straight(1));
    assert_eq!(inside.collisions.len(), 1);
    assert!(!inside.collisions[0].at_fault);
    let astride = (1..=1).map(|_| [51.0, 6.6, 10.0, 0.0]);
    let beyond = ActorState { length_m: 2.0, ..actor(51.0, 8.2, 10.0) };
    let out = run(&world(vec![beyond], Vec::new()), Instruction::FollowRoute, astride);
    assert!(out.collisions[0].at_fault);
}

#[test]
fn lane_changes_have_a_sign_and_obey() {
    let to =
        |y: f64| (1..=40).map(move |k| [50.0 + k as f64, 5.25 + (y - 5.25) * (k as f64 / 40.0), 10.0, 0.0]);
    let empty = world(Vec::new(), Vec::new());
    let left = run(&empty, Instruction::ChangeLane(Side::Left), to(8.75));
    assert_eq!((left.net_lane_changes(), left.obeyed), (1, Some(true)));
    let wrong = run(&empty, Instruction::ChangeLane(Side::Left), to(1.75));
    assert_eq!((wrong.net_lane_changes(), wrong.obeyed), (-1, Some(false)));
    // Back when the change was long done, because the new lane ends, and at once.
    let back_after = |held: usize| {
        let lanes = std::iter::repeat_n(8.75, held).chain(std::iter::repeat_n(5.25, 10));
        let run = |k: f64, y| [50.0 + k, y, 10.0, 0.0];
        std::iter::once(run(0.0, 5.25))
            .chain(lanes.enumerate().map(move |(k, y)| run(0.5 * (k + 1) as f64, y)))
    };
    assert_eq!(run(&empty, Instruction::ChangeLane(Side::Left), back_after(60)).obeyed, Some(true));
    assert_eq!(run(&empty, Instruction::ChangeLane(Side::Left), back_after(20)).obeyed, Some(false));
    let kept = run(&empty, Instruction::KeepLane, straight(40));
    assert_eq!((kept.lane_changes.len(), kept.obeyed), (0, Some(true)));
}

#[test]
fn stops_speeds_and_edges_are_judged() {
    let empty = world(Vec::new(), Vec::new());
    let braking = |y: f64| {
        (1..=60).map(move |k| {
            let v = (10.0 - 0.25 * k as f64).max(0.0);
            [50.0 + k as f64 * 0.5, y, v, 0.0]
        })
    };
    assert_eq!(run(&empty, Instruction::Stop, braking(5.25)).obeyed, Some(true));
    assert_eq!(run(&empty, Instruction::Stop, straight(60)).obeyed, Some(false));
    assert_eq!(run(&empty, Instruction::PullOver, braking(5.25)).obeyed, Some(false));
    assert_eq!(run(&empty, Instruction::PullOver, braking(1.2)).obeyed, Some(true));
    assert_eq!(run(&empty, Instruction::SetSpeed { kmh: 36 }, straight(40)).obeyed, Some(true));
    assert_eq!(run(&empty, Instruction::SetSpeed { kmh: 60 }, straight(40)).obeyed, Some(false));
    assert_eq!(run(&empty, Instruction::SlowDown, straight(40)).obeyed, Some(false));
    assert_eq!(run(&empty, Instruction::SpeedUp, straight(40)).obeyed, Some(false));
    // To 19.4 of the 20 m/s that are allowed is as far as one may go, and who starts there cannot go farther, but can keep it.
    let sped_up = |first_mps: f64, gain_mps: f64| {
        let mut start = empty.clone();
        start.displace(VehicleState { speed_mps: first_mps, ..*empty.ego() });
        let mps = move |k: i32| (first_mps + gain_mps * f64::from(k)).min(19.4);
        let states = (1..60).map(move |k| [50.0 + 1.9 * f64::from(k), 5.25, mps(k), 0.0]);
        run(&start, Instruction::SpeedUp, states).obeyed
    };
    assert_eq!(sped_up(18.5, 0.1), Some(true));
    assert_eq!(sped_up(19.3, 0.1), None);
    assert_eq!(sped_up(19.3, -0.1), Some(false));
    let off = run(&empty, Instruction::FollowRoute, (1..=20).map(|k| [50.0 + k as f64, 0.2, 10.0, 0.0]));
    assert!((off.off_road_s - 2.0).abs() < 1e-9, "{}", off.off_road_s);
}

#[test]
fn a_speed_that_was_kept_counts_whatever_comes_later() {
    let empty = world(Vec::new(), Vec::new());
    // From 10 m/s to another speed for some looks, and at a third at the end.
    let drive = |instruction, mps: f64, looks: usize, last_mps: f64| {
        let speeds = std::iter::repeat_n(mps, looks).chain(std::iter::repeat_n(last_mps, 30));
        run(&empty, instruction, speeds.enumerate().map(|(k, v)| [50.0 + k as f64, 5.25, v, 0.0])).obeyed
    };
    let set = Instruction::SetSpeed { kmh: 54 };
    assert_eq!(drive(set, 15.0, 52, 6.0), Some(true));
    assert_eq!(drive(set, 15.0, 40, 6.0), Some(false));
    assert_eq!(drive(Instruction::SpeedUp, 15.0, 52, 6.0), Some(true));
    assert_eq!(drive(Instruction::SpeedUp, 15.0, 40, 6.0), Some(false));
    // To be slow on the way, as at a light, is not what was asked for.
    assert_eq!(drive(Instruction::SlowDown, 6.0, 52, 12.0), Some(false));
    assert_eq!(drive(Instruction::SlowDown, 12.0, 52, 6.0), Some(true));
}

#[test]
fn who_finds_no_gap_in_the_lane_beside_is_not_judged() {
    // Cars beside the whole way, or but for some of it.
    let queue = |without: std::ops::Range<i32>| {
        let cars = (0..20).filter(|k| !without.contains(k));
        let car = |k: i32| ActorState { id: 10 + k as u32, ..actor(40.0 + 8.0 * f64::from(k), 8.75, 10.0) };
        world(cars.map(car).collect(), Vec::new())
    };
    let left = Instruction::ChangeLane(Side::Left);
    assert_eq!(run(&queue(0..0), left, straight(80)).obeyed, None);
    assert_eq!(run(&queue(3..12), left, straight(80)).obeyed, Some(false));
    // There are gaps on the other side, and none is needed to stay.
    assert_eq!(run(&queue(0..0), Instruction::ChangeLane(Side::Right), straight(80)).obeyed, Some(false));
    let to_the_right = (1..=40).map(|k| [50.0 + k as f64, 5.25 - 3.5 * (k as f64 / 40.0), 10.0, 0.0]);
    assert_eq!(run(&queue(0..0), left, to_the_right).obeyed, Some(false));
}

#[test]
fn what_the_traffic_ahead_prevents_is_not_judged() {
    let jammed = world(vec![actor(101.0, 5.25, 0.0)], Vec::new());
    assert_eq!(run(&jammed, Instruction::SpeedUp, straight(40)).obeyed, None);
    assert_eq!(run(&jammed, Instruction::Turn(Turn::Left), straight(40)).obeyed, None);
    let free = world(Vec::new(), Vec::new());
    assert_eq!(run(&free, Instruction::Turn(Turn::Left), straight(40)).obeyed, Some(false));
    // A bend the wrong way is no queue.
    let wrong = (1..=40).map(|k| [50.0 + k as f64, 5.25, 10.0, -0.02 * k as f64]);
    assert_eq!(run(&jammed, Instruction::Turn(Turn::Left), wrong).obeyed, Some(false));
}

#[test]
fn following_wants_the_right_kind_near_enough() {
    let truck = ActorState { kind: ActorKind::Truck, ..actor(120.0, 5.25, 0.0) };
    let near = world(vec![truck], Vec::new());
    assert_eq!(run(&near, Instruction::Follow(ActorKind::Truck), straight(50)).obeyed, Some(true));
    assert_eq!(run(&near, Instruction::Follow(ActorKind::Bus), straight(50)).obeyed, Some(false));
}

#[test]
fn a_missed_goal_says_what_was_missing() {
    let shape = OrientedBox { center: Point::new(70.0, 5.25), heading_rad: 0.0, length_m: 4.0, width_m: 2.0 };
    let goal = |steps, speed_mps, heading_rad| Goal {
        steps,
        regions: vec![Region::Rectangle(shape)],
        heading_rad,
        speed_mps,
    };
    let drive = |goal: Goal| {
        run(&world(Vec::new(), vec![goal]), Instruction::ReachGoal, straight(40)).goal.expect("a goal")
    };
    let reached = drive(goal([18, 22], Some([9.0, 11.0]), Some([-0.1, 0.1])));
    assert!((reached.reached_at_s.expect("reached") - 1.8).abs() < 1e-9);
    assert_eq!(drive(goal([18, 22], Some([12.0, 14.0]), None)).miss, Some(Miss::Speed));
    assert_eq!(drive(goal([18, 22], None, Some([0.2, 0.4]))).miss, Some(Miss::Heading));
    assert_eq!(drive(goal([30, 35], None, None)).miss, Some(Miss::TimeWindow));
    let beside = run(
        &world(Vec::new(), vec![goal([18, 22], None, None)]),
        Instruction::ReachGoal,
        (1..=40).map(|k| [50.0 + k as f64, 8.75, 10.0, 0.0]),
    )
    .goal
    .expect("a goal");
    assert_eq!(beside.miss, Some(Miss::Position));
    assert!((beside.distance_m.expect("a distance") - 2.5).abs() < 1e-9, "{beside:?}");
}

#[test]
fn a_recording_replays() {
    let episode = ergon_world::episode::generate(3, &Default::default());
    let mut world = episode.world;
    let mut recorder = Recorder::new();
    let mut seen = Vec::new();
    for _ in 0..30 {
        recorder.look(&world);
        seen.push(world.actors().to_vec());
        for _ in 0..10 {
            world.step(Default::default());
        }
    }
    let scenario = recorder.finish(world.scenario());
    let mut replay = World::new(Arc::new(scenario.clone()), Traffic::recorded(&scenario));
    for before in &seen {
        for actor in before {
            let again = replay.actors().iter().find(|other| other.id == actor.id).expect("still there");
            assert!((again.x_m - actor.x_m).abs() < 1e-6 && (again.y_m - actor.y_m).abs() < 1e-6);
        }
        assert_eq!(before.len(), replay.actors().len());
        for _ in 0..10 {
            replay.step(Default::default());
        }
    }
}
