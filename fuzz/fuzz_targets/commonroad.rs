//! Any text as a CommonRoad file: an error that says what to do, or a scenario whose numbers are finite, that can be written
//! and read back with the same road users and goals, and that has a solution file.
#![no_main]

use ergon_world::commonroad::{CommonRoadError, read, solution, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let scenario = match read(text) {
        Ok(scenario) => scenario,
        Err(error) => {
            assert!(error.to_string().contains("; "), "says what to do: {error}");
            return;
        }
    };
    let states = scenario.recorded.iter().flat_map(|actor| &actor.states).chain(&scenario.obstacles);
    for state in states {
        let numbers =
            [state.x_m, state.y_m, state.heading_rad, state.speed_mps, state.length_m, state.width_m];
        assert!(numbers.iter().all(|number| number.is_finite()), "{state:?}");
    }
    for lanelet in &scenario.roads.lanelets {
        assert!(lanelet.center.length() > 0.0 && lanelet.center.length().is_finite());
    }
    assert!(solution(&scenario, &[scenario.problem.initial]).contains("ksTrajectory"));
    match read(&write(&scenario)) {
        Ok(back) => {
            let kept = |s: &ergon_world::scenario::Scenario| {
                (s.recorded.len(), s.obstacles.len(), s.roads.lanelets.len())
            };
            assert_eq!(kept(&back), kept(&scenario));
            assert!(back.problem.goals.len() >= scenario.problem.goals.len());
        }
        // Values at the edge of what is allowed may leave it when a box is put around them.
        Err(CommonRoadError::Absurd { .. } | CommonRoadError::NoLine { .. }) => {}
        Err(error) => panic!("what was written is refused: {error}"),
    }
});
