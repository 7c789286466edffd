//! Solution files: what the referee accepted once must come out again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ergon_types::{Control, VehicleState};
use ergon_world::commonroad::{Version, read, solution, solution_of};
use ergon_world::geometry::{Point, wrap_angle};
use ergon_world::scenario::Scenario;
use ergon_world::vehicle;

const FILE: &str = include_str!("../../../vectors/commonroad/ours-2018b.xml");
/// Accepted by the referee: see the README beside it.
const ACCEPTED: &str = include_str!("../../../vectors/commonroad/ours-2018b.solution.xml");

/// A drive along a lanelet with constant speed, one state for each step of the simulation.
fn drive(scenario: &Scenario, lanelet: i64, duration_s: f64) -> Vec<VehicleState> {
    let center = &scenario.roads.lanelet(lanelet).unwrap().center;
    let mut ego = scenario.problem.initial;
    let mut states = vec![ego];
    for _ in 0..(duration_s * 10.0).round() as usize {
        let axle = Point::new(ego.x_m, ego.y_m) - Point::polar(vehicle::REAR_AXLE_M, ego.heading_rad);
        let aim = center.at(center.project(axle).s_m + 9.0);
        let turn = wrap_angle((aim - axle).angle() - ego.heading_rad);
        let wanted = (2.0 * vehicle::WHEELBASE_M * turn.sin() / aim.distance(axle)).atan();
        let steering_rate_radps = ((wanted - ego.steering_angle_rad) * 10.0).clamp(-0.4, 0.4);
        let control = Control { acceleration_mps2: 0.0, steering_rate_radps };
        for _ in 0..10 {
            ego = vehicle::step(&ego, control, vehicle::STEP_S);
            ego.t_s = states.len() as f64 * vehicle::STEP_S;
            states.push(ego);
        }
    }
    states
}

/// All numbers of a solution, in order, and the text between them.
fn numbers(solution: &str) -> (Vec<f64>, String) {
    let (mut numbers, mut rest) = (Vec::new(), String::new());
    for part in solution.split(['<', '>']) {
        match part.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => rest.push_str(part),
        }
    }
    (numbers, rest)
}

#[test]
fn the_accepted_drive_comes_out_again() {
    let scenario = read(FILE).unwrap();
    let written = solution_of(&scenario, Version::V2018b, &drive(&scenario, 1, 8.0));
    let ((found, text), (accepted, accepted_text)) = (numbers(&written), numbers(ACCEPTED));
    assert!(text == accepted_text && found.len() == accepted.len(), "{written}");
    // Sines differ in the last digits between machines; the drive steers against it.
    assert!(found.iter().zip(&accepted).all(|(a, b)| (a - b).abs() < 1e-6), "{written}");
}

/// The goal is open from step 35 and the vehicle there by then: nothing after it is written, whatever comes.
#[test]
fn it_ends_where_the_goal_is_reached() {
    let scenario = read(FILE).unwrap();
    let states = drive(&scenario, 1, 8.0);
    let written = solution(&scenario, &states);
    let steps = written.matches("<ksState>").count() - 1;
    let goal = &scenario.problem.goals[0];
    let reached = |step: usize| goal.reached(step, &states[10 * step], &scenario.roads);
    assert!(reached(steps) && !(0..steps).any(reached), "{steps}");
    assert!(steps < 80 && written.contains("benchmark_id=\"KS2:SA1:ZAM_Ours-1_1_T-1:2020a\""));
    assert!(written.contains(&format!("planningProblem=\"{}\"", scenario.problem.id)));
}

/// States at the scenario's own steps, and a gap after which nothing can be said.
#[test]
fn states_are_found_by_their_time() {
    let mut scenario = read(FILE).unwrap();
    scenario.problem.goals.clear();
    let states = drive(&scenario, 1, 2.0);
    let coarse: Vec<VehicleState> = states.iter().copied().step_by(10).collect();
    assert_eq!(solution(&scenario, &coarse), solution(&scenario, &states));
    assert_eq!(solution(&scenario, &states).matches("<ksState>").count(), 21);
    let with_gap = [&states[..50], &states[55..]].concat();
    assert_eq!(solution(&scenario, &with_gap).matches("<ksState>").count(), 5);
}

/// A heading of the file beyond a turn: the referee compares numbers.
#[test]
fn the_first_heading_is_the_problems_own() {
    let mut scenario = read(FILE).unwrap();
    scenario.problem.initial.heading_rad = 4.5;
    let start = VehicleState { heading_rad: wrap_angle(4.5), ..scenario.problem.initial };
    let next = VehicleState { t_s: 0.1, ..start };
    let written = solution(&scenario, &[start, next]);
    let first = numbers(&written).0[4];
    assert!((first - 4.5).abs() < 1e-12, "{written}");
}
