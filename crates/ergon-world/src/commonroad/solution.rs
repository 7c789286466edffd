//! CommonRoad solution files: the motion of the ego vehicle as the referee wants it, for the kinematic single-track model
//! of the BMW 320i (`KS2`).
//!
//! The referee (`valid_solution` of commonroad-drivability-checker 2025.4) wants the first state to be the planning
//! problem's, some state to reach the goal, and nothing to be touched in any state: so the motion ends with the first
//! state that reaches the goal, but has two states at least. A state's position is the centre of the vehicle's box.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use ergon_types::VehicleState;

use super::Version;
use super::writer::escaped;
use crate::scenario::Scenario;

/// Tolerance in finding the state of a time step.
const TIME_TOLERANCE_S: f64 = 1e-6;

/// As [`solution_of`], for a 2020a scenario: right for everything but the benchmark's name of older files, which the
/// referee does not look at.
pub fn solution(scenario: &Scenario, states: &[VehicleState]) -> String {
    solution_of(scenario, Version::V2020a, states)
}

/// The solution file of a motion, cost function `SA1`.
///
/// `states` are in order of time from the start on, `t_s` 0 and later, at the scenario's time step or any part of it:
/// those at whole time steps are written, up to the first that reaches a goal or to the first step that is missing.
pub fn solution_of(scenario: &Scenario, version: Version, states: &[VehicleState]) -> String {
    let (problem, step_s) = (&scenario.problem, scenario.step_s);
    let start = (problem.initial.t_s / step_s).round() as i64;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let (id, version) = (escaped(&scenario.id), version.name());
    let _ = writeln!(xml, "<CommonRoadSolution benchmark_id=\"KS2:SA1:{id}:{version}\">");
    let _ = writeln!(xml, "  <ksTrajectory planningProblem=\"{}\">", problem.id);
    // The first heading must be the problem's as a number: the referee compares them without turns.
    let turns =
        states.first().map_or(0.0, |first| ((problem.initial.heading_rad - first.heading_rad) / TAU).round());
    let mut rest = states.iter();
    for step in 0.. {
        let time_s = step as f64 * step_s;
        let Some(state) = rest.find(|state| state.t_s > time_s - TIME_TOLERANCE_S) else {
            break;
        };
        if state.t_s > time_s + TIME_TOLERANCE_S {
            break;
        }
        let first_turns = if step == 0 { turns } else { 0.0 };
        push(&mut xml, state, state.heading_rad + first_turns * TAU, start + step as i64);
        // One state alone makes the referee's feasibility check fail.
        if step > 0 && problem.goals.iter().any(|goal| goal.reached(step, state, &scenario.roads)) {
            break;
        }
    }
    xml.push_str("  </ksTrajectory>\n</CommonRoadSolution>\n");
    xml
}

fn push(xml: &mut String, state: &VehicleState, heading_rad: f64, step: i64) {
    let VehicleState { x_m, y_m, speed_mps, steering_angle_rad, .. } = state;
    let _ = writeln!(
        xml,
        "    <ksState><x>{x_m}</x><y>{y_m}</y><steeringAngle>{steering_angle_rad}</steeringAngle>\
         <velocity>{speed_mps}</velocity><orientation>{heading_rad}</orientation><time>{step}</time></ksState>"
    );
}
