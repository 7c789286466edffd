//! The follower and the smoother: how near they stay, how smoothly they drive, how they stop.

use std::time::Instant;

use ergon_types::{Control, Trajectory, VehicleState};
use ergon_world::geometry::Point;
use ergon_world::{Rng, follow, vehicle};

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
fn noisy_waypoints_become_a_smooth_motion() {
    let smoother = follow::Smoother::new(16, 0.25, 0.15);
    let mut rng = Rng::new(5);
    for speed in [0.0, 2.0, 8.0, 20.0, 33.0] {
        let start = VehicleState { speed_mps: speed, ..VehicleState::default() };
        let truth = driven(&start, winding(speed), 4.1);
        let waypoints: Vec<Point> = (1..=16)
            .map(|k| {
                let t = k as f64 * 2.5;
                let (a, b) = (truth.points[t as usize], truth.points[(t as usize + 1).min(40)]);
                let exact = Point::new(a.x_m, a.y_m).lerp(Point::new(b.x_m, b.y_m), t.fract());
                exact + Point::new(0.1 * rng.normal(), 0.1 * rng.normal())
            })
            .collect();
        let plan = smoother.trajectory(&start, &waypoints);
        let real = follow::rollout(&start, &plan, 4.0);
        let worst = gap(&truth, &real, 0);
        assert!(worst < 0.9, "{worst} m at {speed} m/s");
        let jerk =
            real.points.windows(2).map(|p| (p[1].acceleration_mps2 - p[0].acceleration_mps2).abs() / 0.1);
        let jerk = jerk.skip(2).fold(0.0, f64::max);
        assert!(jerk < 12.0, "jerk {jerk} at {speed} m/s");
    }
}

#[test]
fn waypoints_at_one_place_mean_standing() {
    let smoother = follow::Smoother::new(16, 0.25, 0.15);
    let start = VehicleState { heading_rad: 1.0, ..VehicleState::default() };
    let mut rng = Rng::new(9);
    let waypoints: Vec<Point> =
        (0..16).map(|_| Point::new(0.02 * rng.normal(), 0.02 * rng.normal())).collect();
    let real = follow::rollout(&start, &smoother.trajectory(&start, &waypoints), 4.0);
    let last = real.points[40];
    assert!(last.x_m.hypot(last.y_m) < 0.05 && last.speed_mps == 0.0, "{last:?}");
}

#[test]
fn absurd_waypoints_stay_finite() {
    let smoother = follow::Smoother::new(16, 0.25, 0.15);
    for scale in [0.0, 1e3, 1e9, f64::NAN, f64::INFINITY] {
        let start = VehicleState { speed_mps: 10.0, ..VehicleState::default() };
        let waypoints: Vec<Point> =
            (0..16).map(|k| Point::new(scale * (k as f64).sin(), scale * (k as f64 * 7.0).cos())).collect();
        let real = follow::rollout(&start, &smoother.trajectory(&start, &waypoints), 4.0);
        assert!(
            real.points.iter().all(|p| p.x_m.is_finite() && p.heading_rad.is_finite() && p.speed_mps >= 0.0)
        );
    }
    let real = follow::rollout(
        &VehicleState { speed_mps: 5.0, ..VehicleState::default() },
        &Trajectory::default(),
        4.0,
    );
    assert_eq!(real.points[40].speed_mps, 0.0);
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
