//! One motion into a goal: its polynomials, what it costs, and where the vehicle is on it.

use ergon_types::{Trajectory, TrajectoryPoint, VehicleState};

use super::{ASIDE_S, MOTION_S, STEP_S, Way};
use crate::geometry::{OrientedBox, Point, wrap_angle};
use crate::task::Side;
use crate::vehicle;

/// A motion on a way.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) way: usize,
    pub(super) arrival_s: f64,
    /// Coefficients of the station's polynomial, and what the detour is half-way.
    pub(super) along: [f64; 4],
    pub(super) detour_m: f64,
    /// Move aside, and what is added half-way to the goal.
    pub(super) aside_s: f64,
    pub(super) across: [f64; 6],
    pub(super) swerve_m: f64,
    pub(super) cost: f64,
}

/// How a motion ends.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) arrival_s: f64,
    pub(super) way_m: f64,
    pub(super) speed_mps: f64,
    pub(super) offset_m: f64,
    /// Direction against the lane's.
    pub(super) turn_rad: f64,
}

impl Candidate {
    pub(super) fn new(
        index: usize,
        way: &Way,
        v: f64,
        end: End,
        [detour, swerve_m, part]: [f64; 3],
    ) -> Candidate {
        let End { arrival_s: t, way_m, speed_mps: end_mps, .. } = end;
        let c2 = 3.0 * way_m / (t * t) - (2.0 * v + end_mps) / t;
        let c3 = (v + end_mps) / (t * t) - 2.0 * way_m / (t * t * t);
        let aside = (end.offset_m - way.at[1]).abs();
        let usual = ASIDE_S[0] + (ASIDE_S[1] - ASIDE_S[0]) * (aside / 3.5).min(2.0) * (0.5 + 0.5 * part);
        let turns = end.turn_rad.abs() > 0.01;
        let aside_s = if turns { t } else { (t * part).min(usual).max(ASIDE_S[0].min(t)) };
        let end_u = if turns { end_mps * end.turn_rad.clamp(-0.8, 0.8).sin() } else { 0.0 };
        let start = [way.at[1], way.across[0], way.across[1]];
        let across = if turns && part < 1.0 {
            turning(start, end_u, aside_s)
        } else {
            quintic(start, [end.offset_m, end_u], aside_s)
        };
        Candidate {
            way: index,
            arrival_s: t,
            along: [way.at[0], v, c2, c3],
            // The detour 16 h u^2 (1 - u)^2 begins with the acceleration 32 h / t^2.
            detour_m: detour * t * t / 32.0,
            aside_s,
            across,
            swerve_m,
            cost: 0.0,
        }
    }

    /// With its cost; `None` if the vehicle cannot drive it.
    pub(super) fn judged(mut self, way: &Way, cost: f64, [brake, push, side]: [f64; 3]) -> Option<Candidate> {
        const SAMPLES: usize = 14;
        let dt = self.arrival_s / SAMPLES as f64;
        // Shortly before the goal an error is no reason to give up.
        let (brake, push, side) =
            if self.arrival_s < 0.7 { (-12.0, 12.0, 20.0) } else { (brake, push, side) };
        let mut sum = 0.0;
        for k in 0..=SAMPLES {
            let t = k as f64 * dt;
            let [s, v, a] = self.station(t);
            let [_, u, w] = self.offset(t);
            let bend = way.line.at(s).curvature_per_m;
            let across = w + v * v * bend;
            let possible = v > -0.3
                && (brake..=push.min(vehicle::engine_limit(v.max(0.0)))).contains(&a)
                && across.abs() < side
                && (u.abs() < 0.6 * v.max(0.5) || self.arrival_s < 0.7);
            if !possible {
                return None;
            }
            sum += (a * a + 0.6 * w * w) * dt;
        }
        self.cost = way.cost + sum + cost;
        Some(self)
    }

    /// A smooth bump of height 1 half-way to the goal, with its derivatives.
    pub(super) fn half_way(&self, t: f64) -> [f64; 3] {
        let u = (t / self.arrival_s).min(1.0);
        let bend = if u < 1.0 { 32.0 - 192.0 * u + 192.0 * u * u } else { 0.0 };
        [
            16.0 * u * u * (1.0 - u) * (1.0 - u),
            32.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / self.arrival_s,
            bend / (self.arrival_s * self.arrival_s),
        ]
    }

    /// Station, speed and acceleration along the way.
    pub(super) fn station(&self, t: f64) -> [f64; 3] {
        let at = |t: f64| {
            let [c0, c1, c2, c3] = self.along;
            let [bump, slope, bend] = self.half_way(t).map(|x| self.detour_m * x);
            [
                c0 + t * (c1 + t * (c2 + t * c3)) + bump,
                c1 + t * (2.0 * c2 + 3.0 * t * c3) + slope,
                2.0 * c2 + 6.0 * t * c3 + bend,
            ]
        };
        if t <= self.arrival_s {
            return at(t);
        }
        let [s, v, _] = at(self.arrival_s);
        [s + v.max(0.0) * (t - self.arrival_s), v.max(0.0), 0.0]
    }

    /// Offset, speed and acceleration across the way.
    pub(super) fn offset(&self, t: f64) -> [f64; 3] {
        let [d, u, w] = self.aside(t);
        let [bump, slope, bend] = self.half_way(t).map(|x| self.swerve_m * x);
        [d + bump, u + slope, w + bend]
    }

    pub(super) fn aside(&self, t: f64) -> [f64; 3] {
        let c = &self.across;
        let at = |t: f64| {
            [
                c.iter().rev().fold(0.0, |sum, c| sum * t + c),
                (1..6).rev().fold(0.0, |sum, i| sum * t + i as f64 * c[i]),
                (2..6).rev().fold(0.0, |sum, i| sum * t + (i * (i - 1)) as f64 * c[i]),
            ]
        };
        if t < self.aside_s {
            return at(t);
        }
        // On in the direction at the end, which soon becomes the lane's.
        let [d, u, _] = at(self.aside_s);
        let rest = t - self.aside_s;
        let fade = (-rest / 0.8).exp();
        [d + 0.8 * u * (1.0 - fade), u * fade, 0.0]
    }

    /// Place, direction of motion and speed.
    pub(super) fn pose(&self, way: &Way, t: f64) -> (Point, f64, f64) {
        let [s, v, _] = self.station(t);
        let [d, u, _] = self.offset(t);
        let heading = way.line.at(s).heading_rad + (u / v.max(0.5)).clamp(-0.7, 0.7).atan();
        (way.line.place(s, d), heading, v)
    }

    /// The vehicle's box, and its speed.
    pub(super) fn footprint(&self, way: &Way, t: f64) -> (OrientedBox, f64) {
        let (center, along, v) = self.pose(way, t);
        let (s, w) = (self.station(t)[0], self.offset(t)[2]);
        let bend = way.line.at(s).curvature_per_m + w / (v * v).max(9.0);
        let heading_rad = along - drift(bend);
        (OrientedBox { center, heading_rad, length_m: vehicle::LENGTH_M, width_m: vehicle::WIDTH_M }, v)
    }

    /// As points, and to which side it changes lanes.
    pub(super) fn into_plan(self, way: &Way, ego: &VehicleState) -> (Trajectory, Option<Side>) {
        let aside_m = self.offset(self.arrival_s.max(self.aside_s))[0] - way.at[1];
        let side = if aside_m > 0.0 { Side::Left } else { Side::Right };
        (self.trajectory(way, ego), (aside_m.abs() > 1.6).then_some(side))
    }

    pub(super) fn trajectory(&self, way: &Way, ego: &VehicleState) -> Trajectory {
        let steps = (MOTION_S / STEP_S) as usize;
        let poses: Vec<(Point, f64, f64)> = (0..=steps).map(|k| self.pose(way, k as f64 * STEP_S)).collect();
        let mut points: Vec<TrajectoryPoint> = Vec::with_capacity(steps + 1);
        for k in 0..=steps {
            let (before, after) = (poses[k.saturating_sub(1)], poses[(k + 1).min(steps)]);
            let (place, heading, v) = poses[k];
            let way_m = before.0.distance(after.0);
            let bend = if way_m > 0.2 { wrap_angle(after.1 - before.1) / way_m } else { 0.0 };
            // The box turns about the rear axle, not about its centre.
            let heading_rad = heading - drift(bend);
            points.push(TrajectoryPoint {
                t_s: ego.t_s + k as f64 * STEP_S,
                x_m: place.x,
                y_m: place.y,
                heading_rad: wrap_angle(heading_rad),
                speed_mps: v.max(0.0),
                acceleration_mps2: self.station(k as f64 * STEP_S)[2],
                curvature_per_m: bend.clamp(-vehicle::TIGHTEST_BEND_PER_M, vehicle::TIGHTEST_BEND_PER_M),
            });
        }
        Trajectory { points }
    }
}

/// Angle between the direction in which the centre of the box moves and the box.
pub(super) fn drift(curvature_per_m: f64) -> f64 {
    (vehicle::REAR_AXLE_M
        * curvature_per_m.clamp(-vehicle::TIGHTEST_BEND_PER_M, vehicle::TIGHTEST_BEND_PER_M))
    .atan()
}

/// The polynomial of fifth degree from place, speed and acceleration to place and speed at a time.
pub(super) fn quintic([d, u, w]: [f64; 3], [target, end]: [f64; 2], t: f64) -> [f64; 6] {
    let h = target - (d + u * t + 0.5 * w * t * t);
    let g = (end - (u + w * t)) * t;
    let c = -w * t * t;
    [
        d,
        u,
        0.5 * w,
        (10.0 * h - 4.0 * g + 0.5 * c) / t.powi(3),
        (-15.0 * h + 7.0 * g - c) / t.powi(4),
        (6.0 * h - 3.0 * g + 0.5 * c) / t.powi(5),
    ]
}

/// The polynomial of third degree from place, speed and acceleration to a speed at a time, wherever that leads.
fn turning([d, u, w]: [f64; 3], end: f64, t: f64) -> [f64; 6] {
    [d, u, 0.5 * w, (end - u - w * t) / (3.0 * t * t), 0.0, 0.0]
}
