//! The vehicle model against steps of the published one (`vectors/ks_steps.csv`, made by `vectors/make_ks.py`).

use ergon_types::{Control, VehicleState};
use ergon_world::geometry::wrap_angle;
use ergon_world::vehicle;

const STEPS: &str = include_str!("../vectors/ks_steps.csv");

#[test]
fn steps_equal_the_published_model() {
    let mut worst = 0.0_f64;
    let mut rows = 0;
    for row in STEPS.lines().filter(|row| !row.starts_with('#')) {
        let v: Vec<f64> = row.split(',').map(|value| value.parse().expect("a number")).collect();
        let state = VehicleState {
            x_m: v[0],
            y_m: v[1],
            heading_rad: v[2],
            speed_mps: v[3],
            steering_angle_rad: v[4],
            ..VehicleState::default()
        };
        let control = Control { acceleration_mps2: v[5], steering_rate_radps: v[6] };
        let after = vehicle::step(&state, control, v[7]);
        for error in [
            after.x_m - v[8],
            after.y_m - v[9],
            wrap_angle(after.heading_rad - v[10]),
            after.speed_mps - v[11],
            after.steering_angle_rad - v[12],
        ] {
            worst = worst.max(error.abs());
        }
        rows += 1;
    }
    assert_eq!(rows, 400);
    assert!(worst < 2e-9, "off by {worst:e}");
}

#[test]
fn one_tenth_of_a_second_in_one_step_is_ten_of_a_hundredth() {
    let start = VehicleState { speed_mps: 12.0, steering_angle_rad: 0.05, ..VehicleState::default() };
    let control = Control { acceleration_mps2: -3.0, steering_rate_radps: 0.3 };
    let once = vehicle::step(&start, control, 0.1);
    let mut many = start;
    for _ in 0..10 {
        many = vehicle::step(&many, control, 0.01);
    }
    let error = (once.x_m - many.x_m).hypot(once.y_m - many.y_m);
    assert!(error < 1e-5, "off by {error:e} m");
}

#[test]
fn the_centre_swings_out_in_a_curve() {
    let start = VehicleState { speed_mps: 5.0, steering_angle_rad: 0.3, ..VehicleState::default() };
    let after = vehicle::step(&start, Control::default(), 0.01);
    let swing = vehicle::REAR_AXLE_M * 5.0 * vehicle::curvature(0.3) * 0.01;
    assert!((after.y_m - swing).abs() < 0.03 * swing, "{} is not {swing}", after.y_m);
}

#[test]
fn braking_ends_in_standstill() {
    let mut state = VehicleState { speed_mps: 3.0, ..VehicleState::default() };
    for _ in 0..200 {
        state = vehicle::step(&state, Control { acceleration_mps2: -8.0, steering_rate_radps: 0.0 }, 0.01);
    }
    assert_eq!(state.speed_mps, 0.0);
}
