//! The plan that was proposed first, driven a little differently: slower on the same path, a little to a side, a bit more or
//! less bent, and at last faster. Where the gate refuses what the driver would do, it mostly refuses a bit of it; a bit
//! less is better than a stop, and in front of somebody who comes across, to be gone is better than to stand.

use ergon_types::{Trajectory, TrajectoryPoint};
use ergon_world::geometry::{Point, wrap_angle};

/// How a plan is changed.
struct Variant {
    /// What is left of the speed that the plan would gain.
    eager: f64,
    /// Braking from now on, where the plan does not brake harder.
    braking_mps2: f64,
    /// Acceleration for the next seconds on top of the plan's.
    gain_mps2: f64,
    /// Metres to the left.
    left_m: f64,
    /// Curvature to the left on top of the plan's, over the next metres.
    bend_per_m: f64,
}

const AS_PLANNED: Variant =
    Variant { eager: 1.0, braking_mps2: 0.0, gain_mps2: 0.0, left_m: 0.0, bend_per_m: 0.0 };

/// No faster than now, braking or not, and to a side.
const fn braked(braking_mps2: f64, left_m: f64) -> Variant {
    Variant { eager: 0.0, braking_mps2, left_m, ..AS_PLANNED }
}

/// With the speeds of the plan, but to a side, or faster, or both.
const fn faster(gain_mps2: f64, left_m: f64) -> Variant {
    Variant { gain_mps2, left_m, ..AS_PLANNED }
}

/// In another bend.
const fn bent(eager: f64, braking_mps2: f64, bend_per_m: f64) -> Variant {
    Variant { eager, braking_mps2, bend_per_m, ..AS_PLANNED }
}

/// Those that brake keep their acceleration across within this, and brake for bends in time where that is still possible.
const ACROSS_MPS2: f64 = 3.5;
/// How hard it is braked for a bend, and sped up behind it.
const BEND_BRAKING_MPS2: f64 = 3.5;

/// Mildest first.
const VARIANTS: [Variant; 29] = [
    Variant { eager: 0.4, ..AS_PLANNED },
    faster(0.0, 0.35),
    faster(0.0, -0.35),
    braked(0.7, 0.0),
    braked(1.5, 0.0),
    braked(1.0, 0.35),
    braked(1.0, -0.35),
    braked(2.5, 0.0),
    braked(2.5, 0.35),
    braked(2.5, -0.35),
    braked(4.0, 0.0),
    braked(4.0, 0.35),
    braked(4.0, -0.35),
    bent(0.4, 0.0, 0.02),
    bent(0.4, 0.0, -0.02),
    bent(0.0, 0.7, 0.05),
    bent(0.0, 0.7, -0.05),
    braked(6.0, 0.0),
    braked(8.0, 0.0),
    faster(1.5, 0.0),
    faster(3.0, 0.0),
    faster(0.0, 0.8),
    faster(0.0, -0.8),
    braked(2.5, 0.8),
    braked(2.5, -0.8),
    braked(6.0, 0.8),
    braked(6.0, -0.8),
    faster(3.0, 0.8),
    faster(3.0, -0.8),
];
/// It is sped up for so long ...
const GAIN_S: f64 = 2.0;
/// ... and bent so far.
const BENT_M: f64 = 10.0;
/// The step aside is done after this time.
const ASIDE_S: f64 = 1.8;

/// Variant `number` of a plan as the vehicle would drive it; `None` when there are no more.
pub(super) fn variant(plan: &Trajectory, number: usize) -> Option<Trajectory> {
    let Variant { eager, braking_mps2, gain_mps2, left_m, bend_per_m } = VARIANTS.get(number)?;
    let first = plan.points.first()?;
    let mut way_m = vec![0.0];
    for pair in plan.points.windows(2) {
        let step = (pair[1].x_m - pair[0].x_m).hypot(pair[1].y_m - pair[0].y_m);
        way_m.push(way_m[way_m.len() - 1] + step);
    }
    let v_0 = first.speed_mps;
    let across_mps2 = if *braking_mps2 > 0.0 { ACROSS_MPS2 } else { f64::INFINITY };
    let bends = bend_speeds(&plan.points, &way_m, across_mps2);
    let (mut s, mut v) = (0.0, v_0);
    let mut points = Vec::with_capacity(plan.points.len());
    for (i, planned) in plan.points.iter().enumerate() {
        let dt = if i == 0 { 0.0 } else { planned.t_s - plan.points[i - 1].t_s };
        let (before, t) = (v, planned.t_s - first.t_s);
        let gained = planned.speed_mps - v_0;
        let kept = v_0 + if gained > 0.0 { eager * gained } else { gained } + gain_mps2 * t.min(GAIN_S);
        let most = if *braking_mps2 > 0.0 { v_0 - braking_mps2 * t } else { f64::INFINITY };
        let here = way_m.partition_point(|way| *way < s + before * dt).min(bends.len() - 1);
        let bend = bends[here].min(bends[here.saturating_sub(1)]);
        v = kept.min(most).min(bend.max(before - BEND_BRAKING_MPS2 * dt)).max(0.0);
        s += 0.5 * (before + v) * dt;
        let place = at(&plan.points, &way_m, s);
        let u = (t / ASIDE_S).min(1.0);
        let bent_m = s.min(BENT_M);
        let aside_m = left_m * u * u * (3.0 - 2.0 * u) + bend_per_m * bent_m * (s - 0.5 * bent_m);
        let aside = Point::polar(aside_m, place.heading_rad).left();
        let slope = if u < 1.0 { 6.0 * left_m * u * (1.0 - u) / ASIDE_S / v.max(1.0) } else { 0.0 };
        points.push(TrajectoryPoint {
            t_s: planned.t_s,
            x_m: place.x_m + aside.x,
            y_m: place.y_m + aside.y,
            heading_rad: place.heading_rad + slope.clamp(-0.2, 0.2) + bend_per_m * bent_m,
            speed_mps: v,
            acceleration_mps2: if dt > 0.0 { (v - before) / dt } else { planned.acceleration_mps2 },
            curvature_per_m: place.curvature_per_m + if s < BENT_M { *bend_per_m } else { 0.0 },
        });
    }
    Some(Trajectory { points })
}

/// The speed at each point with which no bend from there on asks for more than an acceleration across, if it is not faster
/// before; behind a bend it grows as gently as it is braked for one.
fn bend_speeds(points: &[TrajectoryPoint], way_m: &[f64], across_mps2: f64) -> Vec<f64> {
    let mut speeds: Vec<f64> =
        points.iter().map(|p| (across_mps2 / p.curvature_per_m.abs().max(1e-6)).sqrt()).collect();
    for i in (1..speeds.len()).rev() {
        let before = (speeds[i].powi(2) + 2.0 * BEND_BRAKING_MPS2 * (way_m[i] - way_m[i - 1])).sqrt();
        speeds[i - 1] = speeds[i - 1].min(before);
    }
    for i in 1..speeds.len() {
        let after = (speeds[i - 1].powi(2) + 2.0 * BEND_BRAKING_MPS2 * (way_m[i] - way_m[i - 1])).sqrt();
        speeds[i] = speeds[i].min(after);
    }
    speeds
}

/// The path after a way; straight on beyond its end.
fn at(points: &[TrajectoryPoint], way_m: &[f64], s_m: f64) -> TrajectoryPoint {
    let (last, length_m) = (&points[points.len() - 1], way_m[way_m.len() - 1]);
    if s_m > length_m {
        let on = Point::polar(s_m - length_m, last.heading_rad);
        return TrajectoryPoint { x_m: last.x_m + on.x, y_m: last.y_m + on.y, curvature_per_m: 0.0, ..*last };
    }
    let after = way_m.partition_point(|way| *way <= s_m).min(points.len() - 1);
    let before = after.saturating_sub(1);
    let (a, b) = (&points[before], &points[after]);
    let length = way_m[after] - way_m[before];
    let part = if length > 1e-9 { ((s_m - way_m[before]) / length).clamp(0.0, 1.0) } else { 0.0 };
    let mix = |a: f64, b: f64| a + part * (b - a);
    TrajectoryPoint {
        x_m: mix(a.x_m, b.x_m),
        y_m: mix(a.y_m, b.y_m),
        heading_rad: a.heading_rad + part * wrap_angle(b.heading_rad - a.heading_rad),
        curvature_per_m: mix(a.curvature_per_m, b.curvature_per_m),
        ..*a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_PI_2;

    /// 20 m/s along x.
    fn plan() -> Trajectory {
        let point = |i: usize| {
            let t_s = 5.0 + 0.1 * i as f64;
            TrajectoryPoint { t_s, x_m: 2.0 * i as f64, speed_mps: 20.0, ..TrajectoryPoint::default() }
        };
        Trajectory { points: (0..=40).map(point).collect() }
    }

    #[test]
    fn every_variant_starts_where_the_plan_does_and_brakes_as_it_says() {
        let plan = plan();
        let variants: Vec<Trajectory> = (0..).map_while(|number| variant(&plan, number)).collect();
        assert_eq!(variants.len(), VARIANTS.len());
        for (driven, variant) in variants.iter().zip(&VARIANTS) {
            let Variant { braking_mps2, gain_mps2, left_m, bend_per_m, .. } = variant;
            let (first, last) = (&driven.points[0], &driven.points[40]);
            assert_eq!((first.t_s, first.x_m, first.y_m, first.speed_mps), (5.0, 0.0, 0.0, 20.0));
            assert!((last.speed_mps - (20.0 - 4.0 * braking_mps2).max(0.0) - 2.0 * gain_mps2).abs() < 1e-6);
            let way_m = if *braking_mps2 > 5.0 { 200.0 / braking_mps2 } else { 80.0 - 8.0 * braking_mps2 };
            let way_m = way_m + 6.0 * gain_mps2;
            assert!((last.x_m - way_m).abs() < 0.5, "{} m, not {way_m}", last.x_m);
            let bent_m = bend_per_m * 10.0 * (last.x_m - 5.0);
            let slack_m = if bent_m == 0.0 { 1e-9 } else { 0.05 * bent_m.abs() };
            assert!((last.y_m - left_m - bent_m).abs() < slack_m, "{} m aside", last.y_m);
        }
    }

    #[test]
    fn a_variant_in_another_bend_begins_on_its_arc() {
        let number = VARIANTS.iter().position(|variant| variant.bend_per_m > 0.0).expect("one to the left");
        let driven = variant(&plan(), number).expect("a variant");
        let bend = VARIANTS[number].bend_per_m;
        let at = driven.points[4];
        assert!((at.x_m - 8.0).abs() < 1e-9 && (at.y_m - 0.5 * bend * 64.0).abs() < 1e-9, "{at:?}");
        assert!((at.heading_rad - 8.0 * bend).abs() < 1e-9 && (at.curvature_per_m - bend).abs() < 1e-9);
        assert_eq!(driven.points[40].curvature_per_m, 0.0);
    }

    #[test]
    fn a_plan_that_starts_off_starts_off_more_slowly_and_keeps_to_its_bend() {
        let point = |i: usize| {
            let t = 0.1 * i as f64;
            let (way, heading_rad) = (t * t, 0.05 * t * t);
            let (sin, cos) = heading_rad.sin_cos();
            TrajectoryPoint {
                t_s: t,
                x_m: sin / 0.05,
                y_m: (1.0 - cos) / 0.05,
                heading_rad,
                speed_mps: 2.0 * t,
                acceleration_mps2: 2.0,
                curvature_per_m: if way > 0.0 { 0.05 } else { 0.0 },
            }
        };
        let plan = Trajectory { points: (0..=40).map(point).collect() };
        let slower = variant(&plan, 0).expect("a variant");
        let last = slower.points[40];
        assert!((last.speed_mps - 0.4 * 8.0).abs() < 1e-9);
        let off_m = last.x_m.hypot(last.y_m - 20.0) - 20.0;
        assert!(off_m.abs() < 0.02, "{off_m} m off the circle");
        assert!((last.heading_rad - (last.x_m / 20.0).asin()).abs() < 2e-3);
    }

    /// 20 m straight on, a quarter of a circle of 8 m, and straight on, at 10 m/s.
    #[test]
    fn bends_are_braked_for_and_left_gently() {
        let number = VARIANTS.iter().position(|variant| variant.braking_mps2 > 0.0).expect("one that brakes");
        let point = |i: usize| {
            let way = i as f64;
            let turned = ((way - 20.0) / 8.0).clamp(0.0, FRAC_PI_2);
            let (sin, cos) = turned.sin_cos();
            let (before, behind) = (way.min(20.0), (way - 20.0 - 8.0 * FRAC_PI_2).max(0.0));
            TrajectoryPoint {
                t_s: 0.1 * way,
                x_m: before + 8.0 * sin,
                y_m: 8.0 * (1.0 - cos) + behind,
                heading_rad: turned,
                speed_mps: 10.0,
                acceleration_mps2: 0.0,
                curvature_per_m: if turned > 0.0 && turned < FRAC_PI_2 { 0.125 } else { 0.0 },
            }
        };
        let plan = Trajectory { points: (0..=60).map(point).collect() };
        let slower = variant(&plan, number).expect("a variant");
        for pair in slower.points.windows(2) {
            let gained = (pair[1].speed_mps - pair[0].speed_mps) / 0.1;
            assert!(gained.abs() < 2.0 * BEND_BRAKING_MPS2, "{gained} m/s2 at {} s", pair[0].t_s);
            let across = pair[1].speed_mps.powi(2) * pair[1].curvature_per_m;
            assert!(across < 3.7, "{across} m/s2 across at {} s", pair[1].t_s);
        }
        let last = slower.points[60];
        assert!(last.speed_mps > 5.0 && (last.x_m - 28.0).abs() < 0.1, "{last:?}");
    }

    #[test]
    fn a_plan_that_stands_or_is_empty_gives_no_trouble() {
        let mut standing = plan();
        standing.points.iter_mut().for_each(|p| (p.x_m, p.speed_mps) = (3.0, 0.0));
        let variant_1 = variant(&standing, 1).expect("a variant");
        assert!(variant_1.points.iter().all(|p| p.x_m == 3.0 && p.y_m.is_finite()));
        assert_eq!(variant(&Trajectory::default(), 0), None);
        assert_eq!(variant(&standing, VARIANTS.len()), None);
    }
}
