//! Lines with a direction in each point, along which roads are laid out.

use crate::Rng;
use crate::geometry::{Point, wrap_angle};

/// A point of a line with the line's direction.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Station {
    pub(super) point: Point,
    pub(super) heading_rad: f64,
}

impl Station {
    pub(super) fn new(point: Point, heading_rad: f64) -> Station {
        Station { point, heading_rad }
    }

    /// The point at a distance to the left.
    pub(super) fn beside(&self, d_m: f64) -> Point {
        self.point + Point::polar(d_m, self.heading_rad).left()
    }

    /// The station a distance ahead in a straight line.
    pub(super) fn ahead(&self, s_m: f64) -> Station {
        Station { point: self.point + Point::polar(s_m, self.heading_rad), ..*self }
    }
}

/// Curvature along a line: linear between knots, so that bends begin and end as clothoids.
#[derive(Clone, Debug, Default)]
pub(super) struct Curvature {
    /// Station and curvature.
    pub(super) knots: Vec<[f64; 2]>,
}

/// What bends a line may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bends {
    /// Least and greatest radius.
    pub(super) radius_m: [f64; 2],
    /// Least and greatest length of the constant part of a bend, and of the straight between bends.
    pub(super) length_m: [f64; 2],
    /// How far the direction may leave the first one, so that roads do not come back on themselves.
    pub(super) turn_max_rad: f64,
}

impl Curvature {
    pub(super) fn at(&self, s_m: f64) -> f64 {
        let after = self.knots.partition_point(|[s, _]| *s <= s_m);
        match (after.checked_sub(1).and_then(|i| self.knots.get(i)), self.knots.get(after)) {
            (Some([s0, k0]), Some([s1, k1])) => k0 + (k1 - k0) * (s_m - s0) / (s1 - s0),
            (Some([_, k]), None) | (None, Some([_, k])) => *k,
            (None, None) => 0.0,
        }
    }

    /// Straights and bends in turn, up to a length.
    pub(super) fn random(rng: &mut Rng, length_m: f64, bends: Bends) -> Curvature {
        let mut knots = vec![[0.0, 0.0]];
        let (mut s, mut heading) = (0.0, 0.0);
        if rng.chance(0.7) {
            s += rng.range(0.0, 0.5 * bends.length_m[1]);
        }
        while s < length_m {
            let radius = rng.range(bends.radius_m[0], bends.radius_m[1]);
            // A clothoid's length is between R/9 and R in the practice of road building; long radii need little.
            let ramp = (radius / 4.0).clamp(15.0, 120.0);
            let arc = rng.range(bends.length_m[0], bends.length_m[1]);
            let mut turn = (ramp + arc) / radius;
            let left = rng.chance(0.5);
            let room = if left { bends.turn_max_rad - heading } else { bends.turn_max_rad + heading };
            let left = if room < turn { !left } else { left };
            turn = turn.min(bends.turn_max_rad);
            let k = if left { 1.0 / radius } else { -1.0 / radius };
            let arc = (turn * radius - ramp).max(1.0);
            knots.push([s + 0.01, 0.0]);
            knots.push([s + ramp, k]);
            knots.push([s + ramp + arc, k]);
            knots.push([s + 2.0 * ramp + arc, 0.0]);
            s += 2.0 * ramp + arc;
            heading += k * (ramp + arc);
            if rng.chance(0.5) {
                s += rng.range(bends.length_m[0], bends.length_m[1]);
            }
        }
        Curvature { knots }
    }

    /// Straight within a distance of given stations, as streets are at junctions.
    pub(super) fn straightened(&self, at_m: &[f64], within_m: f64, length_m: f64) -> Curvature {
        let blend_m = 20.0;
        let n = (length_m / 5.0).ceil() as usize;
        let knot = |i: usize| {
            let s = length_m * i as f64 / n as f64;
            let distance = at_m.iter().map(|at| (s - at).abs()).fold(f64::INFINITY, f64::min);
            [s, self.at(s) * ((distance - within_m) / blend_m).clamp(0.0, 1.0)]
        };
        Curvature { knots: (0..=n).map(knot).collect() }
    }
}

/// The line of a curvature from a start, with points at equal distances of at most `step_m`.
pub(super) fn spine(start: Station, length_m: f64, step_m: f64, curvature: &Curvature) -> Vec<Station> {
    let n = (length_m / step_m).ceil().max(1.0) as usize;
    let parts = 4;
    let ds = length_m / (n * parts) as f64;
    let mut line = vec![start];
    let mut at = start;
    for i in 0..n {
        for j in 0..parts {
            let s = (i * parts + j) as f64 * ds;
            let middle = at.heading_rad + 0.5 * ds * curvature.at(s + 0.25 * ds);
            at.point = at.point + Point::polar(ds, middle);
            at.heading_rad += ds * curvature.at(s + 0.5 * ds);
        }
        line.push(at);
    }
    line
}

/// Points beside a line; `d_m` gives the distance to the left at each of its stations.
pub(super) fn beside(line: &[Station], d_m: impl Fn(usize) -> f64) -> Vec<Point> {
    line.iter().enumerate().map(|(i, station)| station.beside(d_m(i))).collect()
}

/// A smooth line from one pose to another, with points about `step_m` apart. Turns are arcs with straights before or
/// after where the two ends do not lie alike.
pub(super) fn turn(from: Station, to: Station, step_m: f64) -> Vec<Station> {
    let (h0, h1) = (Point::polar(1.0, from.heading_rad), Point::polar(1.0, to.heading_rad));
    let angle = wrap_angle(to.heading_rad - from.heading_rad).abs();
    let between = to.point - from.point;
    let sine = h0.cross(h1);
    let (t0, t1) = (between.cross(h1) / sine, h0.cross(between) / sine);
    let mut controls = [from.point, from.point, to.point, to.point];
    let crossing = angle > 0.25 && angle < 2.8 && t0 > 1.0 && t1 > 1.0;
    if crossing {
        let equal = t0.min(t1);
        // The handle that makes a cubic follow a circle.
        let handle = 4.0 / 3.0 * (0.25 * angle).tan() * equal / (0.5 * angle).tan();
        controls[0] = from.point + h0 * (t0 - equal);
        controls[3] = to.point - h1 * (t1 - equal);
        controls[1] = controls[0] + h0 * handle;
        controls[2] = controls[3] - h1 * handle;
    } else {
        let handle = 0.4 * between.norm();
        controls[1] = from.point + h0 * handle;
        controls[2] = to.point - h1 * handle;
    }
    let mut line = vec![from];
    push_straight(&mut line, Station::new(controls[0], from.heading_rad), step_m);
    push_cubic(&mut line, controls, step_m);
    push_straight(&mut line, to, step_m);
    line
}

fn push_straight(line: &mut Vec<Station>, to: Station, step_m: f64) {
    let Some(from) = line.last().copied() else { return };
    let length = from.point.distance(to.point);
    if length < 1e-3 {
        return;
    }
    let n = (length / step_m).ceil() as usize;
    line.extend(
        (1..=n).map(|i| Station::new(from.point.lerp(to.point, i as f64 / n as f64), to.heading_rad)),
    );
}

fn push_cubic(line: &mut Vec<Station>, [a, b, c, d]: [Point; 4], step_m: f64) {
    let length = 0.5 * (a.distance(d) + a.distance(b) + b.distance(c) + c.distance(d));
    let n = (length / step_m).ceil().max(4.0) as usize;
    for i in 1..=n {
        let t = i as f64 / n as f64;
        let u = 1.0 - t;
        let point = a * (u * u * u) + b * (3.0 * u * u * t) + c * (3.0 * u * t * t) + d * (t * t * t);
        let along = (b - a) * (u * u) + (c - b) * (2.0 * u * t) + (d - c) * (t * t);
        line.push(Station::new(point, along.angle()));
    }
}
