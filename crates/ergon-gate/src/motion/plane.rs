//! The little plane geometry that the rules need.

use ergon_types::TrajectoryPoint;

/// A rectangle with a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Box2 {
    pub(super) center: [f64; 2],
    /// Unit vector of its length.
    pub(super) along: [f64; 2],
    /// Half of its extents along and across.
    pub(super) half: [f64; 2],
}

impl Box2 {
    pub(super) fn new(x_m: f64, y_m: f64, heading_rad: f64, length_m: f64, width_m: f64) -> Box2 {
        let (sin, cos) = heading_rad.sin_cos();
        Box2 { center: [x_m, y_m], along: [cos, sin], half: [0.5 * length_m, 0.5 * width_m] }
    }

    pub(super) fn corners(&self) -> [[f64; 2]; 4] {
        let ([x, y], [c, s], [l, w]) = (self.center, self.along, self.half);
        [(l, w), (l, -w), (-l, -w), (-l, w)].map(|(a, b)| [x + a * c - b * s, y + a * s + b * c])
    }

    /// A point seen from the box: forward and left of its centre.
    pub(super) fn local(&self, point: [f64; 2]) -> [f64; 2] {
        let d = [point[0] - self.center[0], point[1] - self.center[1]];
        [d[0] * self.along[0] + d[1] * self.along[1], d[1] * self.along[0] - d[0] * self.along[1]]
    }

    /// Half of the extents of `other` along and across this box.
    pub(super) fn reach(&self, other: &Box2) -> [f64; 2] {
        let cos = (self.along[0] * other.along[0] + self.along[1] * other.along[1]).abs();
        let sin = (self.along[0] * other.along[1] - self.along[1] * other.along[0]).abs();
        [other.half[0] * cos + other.half[1] * sin, other.half[0] * sin + other.half[1] * cos]
    }

    /// The largest gap along the axes of both boxes: negative when they overlap, else at most their distance.
    pub(super) fn gap(&self, other: &Box2) -> f64 {
        let one_way = |a: &Box2, b: &Box2| {
            let [x, y] = a.local(b.center);
            let [along, across] = a.reach(b);
            (x.abs() - a.half[0] - along).max(y.abs() - a.half[1] - across)
        };
        one_way(self, other).max(one_way(other, self))
    }
}

/// The plan at a time, linear between points and constant beyond the ends. The plan has at least one point.
pub(super) fn at(points: &[TrajectoryPoint], t_s: f64) -> TrajectoryPoint {
    let after = points.partition_point(|point| point.t_s <= t_s);
    let (Some(before), Some(next)) = (after.checked_sub(1), points.get(after)) else {
        return points[after.min(points.len() - 1)];
    };
    let a = points[before];
    let part = (t_s - a.t_s) / (next.t_s - a.t_s);
    let mix = |a: f64, b: f64| a + part * (b - a);
    TrajectoryPoint {
        t_s,
        x_m: mix(a.x_m, next.x_m),
        y_m: mix(a.y_m, next.y_m),
        heading_rad: a.heading_rad + part * turn(a.heading_rad, next.heading_rad),
        speed_mps: mix(a.speed_mps, next.speed_mps),
        acceleration_mps2: mix(a.acceleration_mps2, next.acceleration_mps2),
        curvature_per_m: mix(a.curvature_per_m, next.curvature_per_m),
    }
}

/// The shortest turn from one heading to another.
pub(super) fn turn(from_rad: f64, to_rad: f64) -> f64 {
    let turned = (to_rad - from_rad).rem_euclid(std::f64::consts::TAU);
    if turned > std::f64::consts::PI { turned - std::f64::consts::TAU } else { turned }
}

/// How far a point lies outside all polygons; 0 inside any of them.
pub(super) fn outside(polygons: &[Vec<[f64; 2]>], point: [f64; 2]) -> f64 {
    let mut least = f64::INFINITY;
    for polygon in polygons {
        let (inside, distance) = inside_and_distance(polygon, point);
        if inside {
            return 0.0;
        }
        least = least.min(distance);
    }
    least
}

fn inside_and_distance(polygon: &[[f64; 2]], [x, y]: [f64; 2]) -> (bool, f64) {
    let (mut inside, mut least) = (false, f64::INFINITY);
    for (i, b) in polygon.iter().enumerate() {
        let a = polygon[(i + polygon.len() - 1) % polygon.len()];
        if (b[1] > y) != (a[1] > y) {
            inside ^= x < b[0] + (y - b[1]) / (a[1] - b[1]) * (a[0] - b[0]);
        }
        let d = [b[0] - a[0], b[1] - a[1]];
        let length = d[0] * d[0] + d[1] * d[1];
        let part = if length > 0.0 {
            (((x - a[0]) * d[0] + (y - a[1]) * d[1]) / length).clamp(0.0, 1.0)
        } else {
            0.0
        };
        least = least.min((a[0] + part * d[0] - x).hypot(a[1] + part * d[1] - y));
    }
    (inside, least)
}
