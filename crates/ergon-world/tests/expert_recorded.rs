//! The expert on recorded traffic, on roads made by hand: it changes lanes, waits, meets windows, and says why it cannot.

use ergon_types::{ActorKind, ActorState, VehicleState};
use ergon_world::expert::{self, Obstruction};
use ergon_world::geometry::{OrientedBox, Point, Polyline};
use ergon_world::road::{Adjacent, Lanelet, RoadNetwork};
use ergon_world::scenario::{Goal, PlanningProblem, RecordedActor, Region, Scenario};
use ergon_world::vehicle;

/// A straight road of `lanes` lanes, 300 m long; lane 1 is centred on the x axis, the others lie to its left.
fn road(lanes: i64) -> RoadNetwork {
    let line = |y: f64| Polyline::new((0..=30).map(|i| Point::new(i as f64 * 10.0 - 20.0, y)));
    let lanelets = (1..=lanes)
        .map(|id| {
            let right = (id - 1) as f64 * 3.5 - 1.75;
            let mut lanelet = Lanelet::new(id, line(right + 3.5), line(right));
            let beside = |id| Adjacent { id, same_direction: true };
            lanelet.adjacent_left = (id < lanes).then(|| beside(id + 1));
            lanelet.adjacent_right = (id > 1).then(|| beside(id - 1));
            lanelet
        })
        .collect();
    RoadNetwork::new(lanelets, Vec::new(), Vec::new())
}

fn car(id: u32, x_m: f64, y_m: f64, speed_mps: f64) -> ActorState {
    let kind = ActorKind::Car;
    ActorState {
        id,
        kind,
        x_m,
        y_m,
        heading_rad: 0.0,
        speed_mps,
        acceleration_mps2: 0.0,
        length_m: 4.5,
        width_m: 1.8,
    }
}

fn moving(first: ActorState, steps: usize) -> RecordedActor {
    let states = (0..=steps)
        .map(|step| ActorState { x_m: first.x_m + first.speed_mps * 0.1 * step as f64, ..first })
        .collect();
    RecordedActor { id: first.id, kind: first.kind, length_m: 4.5, width_m: 1.8, first_step: 0, states }
}

fn scenario(lanes: i64, speed_mps: f64, goal: Goal) -> Scenario {
    let initial = VehicleState { speed_mps, ..VehicleState::default() };
    Scenario {
        id: "made by hand".to_owned(),
        step_s: 0.1,
        roads: road(lanes),
        problem: PlanningProblem { id: 1, initial, goals: vec![goal], ..PlanningProblem::default() },
        ..Scenario::default()
    }
}

fn area(x: f64, y: f64, length_m: f64) -> Vec<Region> {
    vec![Region::Rectangle(OrientedBox {
        center: Point::new(x, y),
        heading_rad: 0.0,
        length_m,
        width_m: 2.0,
    })]
}

/// Everything that a solution promises, checked anew.
fn check(scenario: &Scenario, solution: &expert::Solution) {
    let states = &solution.states;
    assert_eq!(states.len(), solution.controls.len() + 1);
    for (step, pair) in states.windows(2).enumerate() {
        let again = vehicle::step(&pair[0], solution.controls[step], scenario.step_s);
        assert_eq!(again, pair[1], "step {step} is not what the vehicle does");
    }
    for (step, state) in states.iter().enumerate() {
        assert!(state.x_m.is_finite() && state.y_m.is_finite() && state.speed_mps.is_finite());
        let own = vehicle::footprint(state);
        for corner in own.corners() {
            assert!(scenario.roads.lanelets_at(corner).next().is_some(), "off the road at step {step}");
        }
        let others =
            scenario.recorded.iter().filter_map(|actor| actor.states.get(step)).chain(&scenario.obstacles);
        for other in others {
            let shape = OrientedBox {
                center: Point::new(other.x_m, other.y_m),
                heading_rad: other.heading_rad,
                length_m: other.length_m,
                width_m: other.width_m,
            };
            assert!(!own.intersects(&shape), "hits {} at step {step}", other.id);
        }
    }
    let last = states.len() - 1;
    assert!(scenario.problem.goals.iter().any(|goal| goal.reached(last, &states[last], &scenario.roads)));
}

#[test]
fn a_blocked_lane_is_left() {
    let goal = Goal { steps: [0, 100], regions: area(120.0, 0.0, 10.0), ..Goal::default() };
    let mut scenario = scenario(2, 15.0, goal);
    scenario.obstacles = vec![car(1, 60.0, 0.0, 0.0)];
    let solution = expert::solve(&scenario).expect("there is a lane beside");
    check(&scenario, &solution);
    assert!(solution.states.iter().any(|state| state.y_m > 1.7));
}

#[test]
fn behind_a_queue_it_stops() {
    let goal = Goal { steps: [100, 100], ..Goal::default() };
    let mut scenario = scenario(1, 15.0, goal);
    scenario.obstacles = vec![car(1, 70.0, 0.0, 0.0), car(2, 76.0, 0.0, 0.0)];
    let solution = expert::solve(&scenario).expect("there is room to stop");
    check(&scenario, &solution);
    assert_eq!(solution.states.len(), 101);
    assert!(solution.states[100].x_m < 66.0);
}

#[test]
fn time_window_and_speed_of_the_goal_are_met() {
    let goal = Goal {
        steps: [80, 84],
        regions: area(90.0, 3.5, 3.0),
        heading_rad: Some([-0.1, 0.1]),
        speed_mps: Some([4.0, 7.0]),
    };
    let scenario = scenario(2, 15.0, goal);
    let solution = expert::solve(&scenario).expect("90 m in 8 s are easy");
    check(&scenario, &solution);
    assert!((80..=84).contains(&(solution.states.len() - 1)));
}

#[test]
fn it_flees_from_one_who_does_not_brake() {
    let goal = Goal { steps: [60, 60], ..Goal::default() };
    let mut scenario = scenario(2, 8.0, goal);
    scenario.recorded = vec![moving(car(1, -19.0, 0.0, 20.0), 60), moving(car(2, 20.0, 0.0, 8.0), 60)];
    let solution = expert::solve(&scenario).expect("the lane beside is free");
    check(&scenario, &solution);
}

#[test]
fn the_same_scenario_gives_the_same_solution() {
    let goal = Goal { steps: [50, 60], regions: area(62.0, 3.5, 4.0), ..Goal::default() };
    let mut scenario = scenario(3, 12.0, goal);
    scenario.recorded = vec![moving(car(1, 15.0, 3.5, 11.0), 60), moving(car(2, 25.0, 0.0, 9.0), 60)];
    let once = expert::solve(&scenario).expect("there is room");
    check(&scenario, &once);
    assert_eq!(Ok(once), expert::solve(&scenario));
}

#[test]
fn what_cannot_be_done_is_named() {
    let far = Goal { steps: [0, 20], regions: area(200.0, 0.0, 4.0), ..Goal::default() };
    let unsolved = expert::solve(&scenario(1, 10.0, far)).expect_err("200 m in 2 s");
    assert_eq!(unsolved.why, Obstruction::Reach);
    let goal = Goal { steps: [0, 100], regions: area(120.0, 0.0, 10.0), ..Goal::default() };
    let mut walled = scenario(1, 10.0, goal);
    walled.obstacles = vec![car(1, 60.0, 0.0, 0.0)];
    let unsolved = expert::solve(&walled).expect_err("there is no way round");
    assert_eq!(unsolved.why, Obstruction::Traffic);
    assert!(unsolved.states.len() > 10);
    let nothing = Scenario { step_s: 0.1, roads: road(1), ..Scenario::default() };
    assert_eq!(expert::solve(&nothing).expect_err("no goal").why, Obstruction::NoGoal);
}
