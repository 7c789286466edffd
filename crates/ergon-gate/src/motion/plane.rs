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

/// Polygons with the boxes around them: most points are far from most polygons.
pub(super) struct Areas<'a>(Vec<Area<'a>>);

/// A polygon and its least and greatest coordinates.
struct Area<'a> {
    polygon: &'a [[f64; 2]],
    low: [f64; 2],
    high: [f64; 2],
}

impl<'a> Areas<'a> {
    pub(super) fn new(polygons: &'a [Vec<[f64; 2]>]) -> Areas<'a> {
        let area = |polygon: &'a Vec<[f64; 2]>| {
            let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
            for [x, y] in polygon {
                low = [low[0].min(*x), low[1].min(*y)];
                high = [high[0].max(*x), high[1].max(*y)];
            }
            Area { polygon, low, high }
        };
        Areas(polygons.iter().map(area).collect())
    }

    /// How far a point lies outside all polygons; 0 inside any of them.
    pub(super) fn outside(&self, point: [f64; 2]) -> f64 {
        if self.0.iter().any(|area| area.to_box(point) <= 0.0 && contains(area.polygon, point)) {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for area in &self.0 {
            // What is computed may be a little less than what is true.
            if area.to_box(point) <= least + 1e-6 {
                least = least.min(distance(area.polygon, point));
            }
        }
        least
    }
}

impl Area<'_> {
    /// From a point to the box: at most as far as to the polygon.
    fn to_box(&self, point: [f64; 2]) -> f64 {
        let beyond = |k: usize| (self.low[k] - point[k]).max(point[k] - self.high[k]).max(0.0);
        beyond(0).hypot(beyond(1))
    }
}

/// The sides of a polygon, from each point's predecessor to it.
fn sides(polygon: &[[f64; 2]]) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
    let before = polygon.last().into_iter().chain(polygon);
    before.copied().zip(polygon.iter().copied())
}

fn contains(polygon: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    sides(polygon).fold(false, |inside, (a, b)| {
        inside ^ ((b[1] > y) != (a[1] > y) && x < b[0] + (y - b[1]) / (a[1] - b[1]) * (a[0] - b[0]))
    })
}

/// From a point to the nearest side.
fn distance(polygon: &[[f64; 2]], [x, y]: [f64; 2]) -> f64 {
    sides(polygon).fold(f64::INFINITY, |least: f64, (a, b)| {
        let d = [b[0] - a[0], b[1] - a[1]];
        let length = d[0] * d[0] + d[1] * d[1];
        let part = if length > 0.0 {
            (((x - a[0]) * d[0] + (y - a[1]) * d[1]) / length).clamp(0.0, 1.0)
        } else {
            0.0
        };
        least.min((a[0] + part * d[0] - x).hypot(a[1] + part * d[1] - y))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every polygon is looked at: what the boxes leave out must not matter.
    #[test]
    fn boxes_change_nothing() {
        let mut state = 7u64;
        let mut draw = |low: f64, high: f64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            low + (high - low) * (state >> 40) as f64 / (1u64 << 24) as f64
        };
        for _ in 0..50 {
            let polygons: Vec<Vec<[f64; 2]>> = (0..6)
                .map(|_| {
                    let (x, y) = (draw(-40.0, 40.0), draw(-40.0, 40.0));
                    (0..3 + draw(0.0, 5.0) as usize)
                        .map(|_| [x + draw(-9.0, 9.0), y + draw(-9.0, 9.0)])
                        .collect()
                })
                .collect();
            let areas = Areas::new(&polygons);
            for _ in 0..200 {
                let point = [draw(-60.0, 60.0), draw(-60.0, 60.0)];
                let inside = polygons.iter().any(|polygon| contains(polygon, point));
                let far =
                    polygons.iter().map(|polygon| distance(polygon, point)).fold(f64::INFINITY, f64::min);
                assert_eq!(areas.outside(point), if inside { 0.0 } else { far }, "{point:?}");
            }
        }
        assert_eq!(Areas::new(&[]).outside([0.0; 2]), f64::INFINITY);
    }
}
