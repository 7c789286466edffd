//! The follower: how near it stays, how smoothly it drives, how it stops.

use std::time::Instant;

use ergon_types::{Control, Trajectory, TrajectoryPoint, VehicleState};
use ergon_world::{follow, vehicle};

/// What the vehicle really drives under controls that change with time.
fn driven(start: &VehicleState, control: impl Fn(f64) -> Control, seconds: f64) -> Trajectory {
    let mut state = *start;
    let mut points = vec![follow::point_of(&state)];
    for _ in 0..(seconds / 0.1).round() as usize {
        state = vehicle::step(&state, control(state.t_s), 0.1);
        points.push(follow::point_of(&state));
    }
    Trajectory { points }
}

fn gap(a: &Trajectory, b: &Trajectory, from: usize) -> f64 {
    let pairs = a.points.iter().zip(&b.points).skip(from);
    pairs.map(|(a, b)| (a.x_m - b.x_m).hypot(a.y_m - b.y_m)).fold(0.0, f64::max)
}

fn winding(speed: f64) -> impl Fn(f64) -> Control {
    let swing = 0.6 / (1.0 + speed);
    move |t: f64| Control {
        acceleration_mps2: 0.8 * (0.9 * t).sin(),
        steering_rate_radps: swing * (1.3 * t).cos(),
    }
}

#[test]
fn a_drivable_motion_is_driven_exactly() {
    for speed in [0.5, 3.0, 10.0, 20.0, 35.0] {
        let start = VehicleState { speed_mps: speed, ..VehicleState::default() };
        let plan = driven(&start, winding(speed), 4.0);
        let real = follow::rollout(&start, &plan, 4.0);
        assert_eq!(real.points.len(), 41);
        let worst = gap(&plan, &real, 0);
        assert!(worst < 0.05, "{worst} m at {speed} m/s");
    }
}

#[test]
fn an_offset_fades() {
    for speed in [3.0, 10.0, 20.0, 35.0] {
        let start = VehicleState { speed_mps: speed, ..VehicleState::default() };
        let plan = driven(&start, |_| Control::default(), 8.0);
        let off = VehicleState { y_m: 0.8, x_m: -1.0, heading_rad: 0.03, ..start };
        let real = follow::rollout(&off, &plan, 8.0);
        let left = gap(&plan, &real, 60);
        assert!(left < 0.12, "{left} m left at {speed} m/s");
        let over = real.points.iter().map(|p| p.y_m).fold(f64::INFINITY, f64::min);
        assert!(over > -0.25, "swings {over} m to the other side at {speed} m/s");
    }
}

#[test]
fn it_stops_without_creeping_or_turning_the_wheels() {
    let start = VehicleState { speed_mps: 8.0, ..VehicleState::default() };
    let brake =
        |t: f64| Control { acceleration_mps2: if t < 4.0 { -2.0 } else { 0.0 }, steering_rate_radps: 0.0 };
    let plan = driven(&start, brake, 8.0);
    let off = VehicleState { y_m: 0.3, ..start };
    let real = follow::rollout(&off, &plan, 8.0);
    let (a, b) = (real.points[50], real.points[80]);
    assert_eq!((a.speed_mps, b.speed_mps), (0.0, 0.0));
    assert_eq!((a.x_m, a.y_m, a.curvature_per_m), (b.x_m, b.y_m, b.curvature_per_m));
    assert!((b.x_m - 16.0).abs() < 0.4, "stands at {}", b.x_m);
}

#[test]
fn a_motion_without_points_means_braking() {
    let start = VehicleState { speed_mps: 5.0, ..VehicleState::default() };
    assert_eq!(follow::rollout(&start, &Trajectory::default(), 4.0).points[40].speed_mps, 0.0);
}

#[test]
fn rolling_out_is_cheap() {
    let start = VehicleState { speed_mps: 15.0, ..VehicleState::default() };
    let plan = driven(&start, winding(15.0), 4.0);
    let best = (0..50)
        .map(|_| {
            let begun = Instant::now();
            std::hint::black_box(follow::rollout(std::hint::black_box(&start), &plan, 4.0));
            begun.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    // 50 microseconds are promised for optimised builds; this crate is optimised in tests too.
    assert!(best < 150e-6, "{best} s");
    println!("rollout of 4 s: {:.1} us", best * 1e6);
}

const COMFORT: follow::Comfort = follow::Comfort {
    acceleration_mps2: 3.0,
    braking_mps2: 5.0,
    jerk_mps3: 10.0,
    lateral_mps2: 3.0,
    lateral_jerk_mps3: 6.0,
    curvature_per_m: 0.2,
};

#[test]
fn comfort_keeps_a_wild_motion_within_its_bounds() {
    let point = |i: usize| TrajectoryPoint {
        t_s: 0.5 * i as f64,
        x_m: 9.0 * i as f64,
        y_m: if i % 4 < 2 { 6.0 } else { -6.0 },
        speed_mps: if i % 6 < 3 { 25.0 } else { 4.0 },
        ..TrajectoryPoint::default()
    };
    let wild = Trajectory { points: (0..30).map(point).collect() };
    let state = VehicleState { speed_mps: 14.0, acceleration_mps2: -4.0, ..VehicleState::default() };
    let driven = follow::rollout_by(&state, 8.0, |state| COMFORT.limit(state, follow::control(state, &wild)));
    let (mut most, mut least) = (f64::MIN, f64::MAX);
    for pair in driven.points.windows(2) {
        let [p, q] = [&pair[0], &pair[1]];
        let (a, v) = (q.acceleration_mps2, 0.5 * (p.speed_mps + q.speed_mps));
        (most, least) = (most.max(a), least.min(a));
        assert!(a <= 0.0 || (a - p.acceleration_mps2) / 0.1 < 10.1, "jerk at {}", q.t_s);
        let lateral = q.speed_mps * q.speed_mps * q.curvature_per_m;
        assert!(lateral.abs() < 3.05, "{lateral} m/s2 across at {}", q.t_s);
        let jerk = v * v * (q.curvature_per_m - p.curvature_per_m) / 0.1 + 3.0 * v * a * q.curvature_per_m;
        // At the bound of the acceleration it is that one which decides.
        let free = lateral.abs() < 2.9;
        assert!(!free || jerk.abs() < 7.2, "{jerk} m/s3 across at {}", q.t_s);
    }
    assert!(most > 2.5 && most < 3.01 && least < -4.5 && least > -5.01, "{least} to {most}");
}

#[test]
fn comfort_never_turns_the_wheels_to_their_end() {
    // A circle of 2 m at walking pace: the wheels alone could do it.
    let point = |i: usize| {
        let turned = 0.05 * i as f64;
        TrajectoryPoint {
            t_s: 0.1 * i as f64,
            x_m: 2.0 * turned.sin(),
            y_m: 2.0 * (1.0 - turned.cos()),
            heading_rad: turned,
            speed_mps: 1.0,
            acceleration_mps2: 0.0,
            curvature_per_m: 0.5,
        }
    };
    let circle = Trajectory { points: (0..80).map(point).collect() };
    let state = VehicleState { speed_mps: 1.0, ..VehicleState::default() };
    let tightest = |points: &[TrajectoryPoint]| points.iter().map(|p| p.curvature_per_m).fold(0.0, f64::max);
    let free = follow::rollout(&state, &circle, 6.0);
    assert!(tightest(&free.points) > 0.4, "{}", tightest(&free.points));
    let driven =
        follow::rollout_by(&state, 6.0, |state| COMFORT.limit(state, follow::control(state, &circle)));
    assert!(tightest(&driven.points) < 0.2 + 1e-6, "{}", tightest(&driven.points));
}
