//! A smooth line to drive along, with constant-time access to position, direction and curvature by station.

use crate::geometry::{Point, Polyline, wrap_angle};

/// Distance of the line's points.
const SPACING_M: f64 = 0.5;
/// The line goes straight on beyond both ends by so much.
const EXTENSION_M: f64 = 60.0;

/// Points at equal distances with direction and curvature. Stations count from the start of the line it was made from.
#[derive(Clone, Debug)]
pub struct DriveLine {
    points: Vec<Point>,
    headings: Vec<f64>,
    curvatures: Vec<f64>,
    /// Fastest speeds at which the curves, and those soon to come, can be driven.
    caps_mps: Vec<f64>,
    /// Least time from the first point to each.
    times_s: Vec<f64>,
    /// Station of the first point: negative, as the line is extended backwards.
    first_m: f64,
    length_m: f64,
}

/// The line at a station.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Place.
    pub point: Point,
    /// Direction.
    pub heading_rad: f64,
    /// Heading change per metre.
    pub curvature_per_m: f64,
}

impl DriveLine {
    /// Smooths a polyline: corners are rounded over about `rounding_m` to both sides.
    pub fn new(line: &Polyline, rounding_m: f64) -> DriveLine {
        let length_m = line.length();
        let n = ((length_m + 2.0 * EXTENSION_M) / SPACING_M).ceil() as usize;
        let (start, end) = (line.at(0.0), line.at(length_m));
        let (first, last) = (end_heading(line, true), end_heading(line, false));
        let raw: Vec<Point> = (0..=n)
            .map(|i| {
                let s = i as f64 * SPACING_M - EXTENSION_M;
                if s < 0.0 {
                    start + Point::polar(s, first)
                } else if s > length_m {
                    end + Point::polar(s - length_m, last)
                } else {
                    line.at(s)
                }
            })
            .collect();
        let half = (rounding_m / SPACING_M).round() as usize;
        let points = running_mean(&running_mean(&raw, half), half.div_ceil(2));
        let n = points.len();
        let headings: Vec<f64> =
            (0..n).map(|i| (points[(i + 1).min(n - 1)] - points[i.saturating_sub(1)]).angle()).collect();
        let bends: Vec<Point> = (0..n)
            .map(|i| {
                let (a, b) = (i.saturating_sub(1), (i + 1).min(n - 1));
                let length = points[b].distance(points[a]).max(0.1 * SPACING_M);
                Point::new(wrap_angle(headings[b] - headings[a]) / length, 0.0)
            })
            .collect();
        let curvatures: Vec<f64> = running_mean(&bends, 2).into_iter().map(|p| p.x).collect();
        let caps_mps = speed_caps(&curvatures);
        let mut time = 0.0;
        let times_s = caps_mps
            .iter()
            .map(|cap| {
                time += SPACING_M / cap;
                time
            })
            .collect();
        DriveLine { points, headings, curvatures, caps_mps, times_s, first_m: -EXTENSION_M, length_m }
    }

    /// Length of the line it was made from.
    pub fn length_m(&self) -> f64 {
        self.length_m
    }

    /// The line at a station; beyond the extensions the end itself.
    pub fn at(&self, s_m: f64) -> Spot {
        let place = ((s_m - self.first_m) / SPACING_M).clamp(0.0, (self.points.len() - 1) as f64 - 1e-6);
        let (i, part) = (place as usize, place.fract());
        let turn = wrap_angle(self.headings[i + 1] - self.headings[i]);
        Spot {
            point: self.points[i].lerp(self.points[i + 1], part),
            heading_rad: self.headings[i] + part * turn,
            curvature_per_m: self.curvatures[i] + part * (self.curvatures[i + 1] - self.curvatures[i]),
        }
    }

    /// The point at a station and an offset to the left.
    pub fn place(&self, s_m: f64, d_m: f64) -> Point {
        let spot = self.at(s_m);
        spot.point + Point::polar(d_m, spot.heading_rad).left()
    }

    /// Station and offset to the left of a point whose station is known to be near `near_m`.
    pub fn project_near(&self, point: Point, near_m: f64) -> (f64, f64) {
        let mut s = near_m;
        for _ in 0..3 {
            let spot = self.at(s);
            let ahead = (point - spot.point).dot(Point::polar(1.0, spot.heading_rad));
            s += ahead.clamp(-10.0, 10.0);
            if ahead.abs() < 0.01 {
                break;
            }
        }
        let spot = self.at(s);
        (s, Point::polar(1.0, spot.heading_rad).cross(point - spot.point))
    }

    /// Greatest speed at a station from which the curves ahead can still be driven.
    pub fn cap_mps(&self, s_m: f64) -> f64 {
        self.caps_mps[self.index(s_m)]
    }

    /// Least time between two stations.
    pub fn least_time_s(&self, from_m: f64, to_m: f64) -> f64 {
        self.times_s[self.index(to_m)] - self.times_s[self.index(from_m)]
    }

    fn index(&self, s_m: f64) -> usize {
        (((s_m - self.first_m) / SPACING_M) as usize).min(self.points.len() - 1)
    }

    /// Station and offset to the left of any point.
    pub fn project(&self, point: Point) -> (f64, f64) {
        self.project_from(point, self.first_m)
    }

    /// The same, of the part of the line from a station on: a line may come round to its start.
    pub fn project_from(&self, point: Point, from_m: f64) -> (f64, f64) {
        let nearest = (self.index(from_m)..self.points.len())
            .min_by(|a, b| self.points[*a].distance(point).total_cmp(&self.points[*b].distance(point)))
            .unwrap_or(0);
        self.project_near(point, self.first_m + nearest as f64 * SPACING_M)
    }
}

/// Speeds by curvature, by how fast the front wheels can turn, and by braking before.
fn speed_caps(curvatures: &[f64]) -> Vec<f64> {
    const LATERAL_MPS2: f64 = 8.0;
    const BRAKING_MPS2: f64 = 6.0;
    const TURNING_RADPS: f64 = 0.5;
    let n = curvatures.len();
    let mut caps: Vec<f64> = (0..n)
        .map(|i| {
            let wheel = |i: usize| crate::vehicle::steering_angle(curvatures[i]);
            let (a, b) = (i.saturating_sub(4), (i + 4).min(n - 1));
            let turning = (wheel(b) - wheel(a)).abs() / ((b - a) as f64 * SPACING_M);
            let by_curve = (LATERAL_MPS2 / curvatures[i].abs().max(1e-4)).sqrt();
            by_curve.min(TURNING_RADPS / turning.max(1e-4)).clamp(1.0, crate::vehicle::SPEED_MAX_MPS)
        })
        .collect();
    for i in (0..n.saturating_sub(1)).rev() {
        caps[i] = caps[i].min((caps[i + 1].powi(2) + 2.0 * BRAKING_MPS2 * SPACING_M).sqrt());
    }
    caps
}

/// Direction of a line's first or last two metres.
fn end_heading(line: &Polyline, first: bool) -> f64 {
    let length = line.length();
    let span = length.min(2.0);
    let (a, b) = if first { (0.0, span) } else { (length - span, length) };
    (line.at(b) - line.at(a)).angle()
}

/// Mean over `half` neighbours to both sides, fewer near the ends so that these stay where they are.
fn running_mean(points: &[Point], half: usize) -> Vec<Point> {
    let mut sums = vec![Point::default(); points.len() + 1];
    for (i, p) in points.iter().enumerate() {
        sums[i + 1] = sums[i] + *p;
    }
    (0..points.len())
        .map(|i| {
            let reach = half.min(i).min(points.len() - 1 - i);
            (sums[i + reach + 1] - sums[i - reach]) * (1.0 / (2 * reach + 1) as f64)
        })
        .collect()
}
