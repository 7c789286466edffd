//! Points, polylines and boxes in the plane.

use std::f64::consts::{PI, TAU};

/// A point or vector, metres.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Point {
    /// East, or forward.
    pub x: f64,
    /// North, or left.
    pub y: f64,
}

impl Point {
    /// A point.
    pub const fn new(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    /// A vector of a length in a direction.
    pub fn polar(length: f64, angle_rad: f64) -> Point {
        Point::new(length * angle_rad.cos(), length * angle_rad.sin())
    }

    /// Scalar product.
    pub fn dot(self, other: Point) -> f64 {
        self.x * other.x + self.y * other.y
    }

    /// The z component of the vector product: positive if `other` is to the left.
    pub fn cross(self, other: Point) -> f64 {
        self.x * other.y - self.y * other.x
    }

    /// Length.
    pub fn norm(self) -> f64 {
        self.dot(self).sqrt()
    }

    /// Distance to a point.
    pub fn distance(self, other: Point) -> f64 {
        (self - other).norm()
    }

    /// Direction from the x axis.
    pub fn angle(self) -> f64 {
        self.y.atan2(self.x)
    }

    /// Turned a right angle to the left.
    pub fn left(self) -> Point {
        Point::new(-self.y, self.x)
    }

    /// The point `part` of the way to `other`.
    pub fn lerp(self, other: Point, part: f64) -> Point {
        self + (other - self) * part
    }

    /// Seen from a frame at `origin` that looks along `heading_rad`.
    pub fn to_frame(self, origin: Point, heading_rad: f64) -> Point {
        let (sin, cos) = heading_rad.sin_cos();
        let d = self - origin;
        Point::new(d.x * cos + d.y * sin, d.y * cos - d.x * sin)
    }

    /// From such a frame back to the world.
    pub fn from_frame(self, origin: Point, heading_rad: f64) -> Point {
        let (sin, cos) = heading_rad.sin_cos();
        origin + Point::new(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }
}

impl std::ops::Add for Point {
    type Output = Point;
    fn add(self, other: Point) -> Point {
        Point::new(self.x + other.x, self.y + other.y)
    }
}

impl std::ops::Sub for Point {
    type Output = Point;
    fn sub(self, other: Point) -> Point {
        Point::new(self.x - other.x, self.y - other.y)
    }
}

impl std::ops::Mul<f64> for Point {
    type Output = Point;
    fn mul(self, factor: f64) -> Point {
        Point::new(self.x * factor, self.y * factor)
    }
}

/// The angle turned into `(-pi, pi]`.
pub fn wrap_angle(angle_rad: f64) -> f64 {
    let wrapped = angle_rad.rem_euclid(TAU);
    if wrapped > PI { wrapped - TAU } else { wrapped }
}

/// A line through points, with the length from its start known at each of them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Polyline {
    points: Vec<Point>,
    /// Length from the start to each point.
    stations: Vec<f64>,
}

/// Where a point lies beside a line.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Projection {
    /// Length along the line to the foot; before the start and beyond the end it is extrapolated.
    pub s_m: f64,
    /// Distance to the left of the line; negative to the right.
    pub d_m: f64,
    /// Direction of the line there.
    pub heading_rad: f64,
}

impl Polyline {
    /// A line through at least two points; a point on top of the one before is left out.
    ///
    /// # Panics
    /// If fewer than two different points are left: readers of files use [`Polyline::try_new`].
    pub fn new(points: impl IntoIterator<Item = Point>) -> Polyline {
        Polyline::try_new(points).expect("a line needs two different points")
    }

    /// As [`Polyline::new`], but `None` if fewer than two different points are left.
    pub fn try_new(points: impl IntoIterator<Item = Point>) -> Option<Polyline> {
        let mut line = Polyline::default();
        for point in points {
            let station = match (line.points.last(), line.stations.last()) {
                (Some(last), Some(station)) => {
                    let length = last.distance(point);
                    if length < 1e-9 {
                        continue;
                    }
                    station + length
                }
                _ => 0.0,
            };
            line.points.push(point);
            line.stations.push(station);
        }
        (line.points.len() >= 2).then_some(line)
    }

    /// Its points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Length from the start to each point.
    pub fn stations(&self) -> &[f64] {
        &self.stations
    }

    /// Whole length.
    pub fn length(&self) -> f64 {
        *self.stations.last().expect("two points at least")
    }

    /// The segment on which a station lies; the first or last one beyond the ends.
    fn segment(&self, s_m: f64) -> usize {
        self.stations.partition_point(|station| *station <= s_m).clamp(1, self.points.len() - 1) - 1
    }

    /// The point at a station; extrapolated along the first and last segment.
    pub fn at(&self, s_m: f64) -> Point {
        let i = self.segment(s_m);
        let part = (s_m - self.stations[i]) / (self.stations[i + 1] - self.stations[i]);
        self.points[i].lerp(self.points[i + 1], part)
    }

    /// Direction at a station, turned smoothly from segment to segment.
    pub fn heading_at(&self, s_m: f64) -> f64 {
        let i = self.segment(s_m);
        let direction = |i: usize| (self.points[i + 1] - self.points[i]).angle();
        let middle = |i: usize| 0.5 * (self.stations[i] + self.stations[i + 1]);
        let other = if s_m < middle(i) { i.checked_sub(1) } else { Some(i + 1) };
        match other.filter(|other| other + 1 < self.points.len()) {
            None => direction(i),
            Some(other) => {
                let part = ((s_m - middle(i)) / (middle(other) - middle(i))).clamp(0.0, 1.0);
                direction(i) + part * wrap_angle(direction(other) - direction(i))
            }
        }
    }

    /// Curvature at a station, from the directions 2 m before and after.
    pub fn curvature_at(&self, s_m: f64) -> f64 {
        wrap_angle(self.heading_at(s_m + 2.0) - self.heading_at(s_m - 2.0)) / 4.0
    }

    /// The nearest foot of a point on the line.
    pub fn project(&self, point: Point) -> Projection {
        let mut best = (f64::INFINITY, 0, 0.0);
        let last = self.points.len() - 2;
        for i in 0..=last {
            let (a, b) = (self.points[i], self.points[i + 1]);
            let along = (point - a).dot(b - a) / (b - a).dot(b - a);
            let low = if i == 0 { f64::NEG_INFINITY } else { 0.0 };
            let high = if i == last { f64::INFINITY } else { 1.0 };
            let along = along.clamp(low, high);
            let distance = a.lerp(b, along).distance(point);
            if distance < best.0 {
                best = (distance, i, along);
            }
        }
        let (_, i, along) = best;
        let (a, b) = (self.points[i], self.points[i + 1]);
        let length = self.stations[i + 1] - self.stations[i];
        let side = (b - a).cross(point - a.lerp(b, along));
        Projection {
            s_m: self.stations[i] + along * length,
            d_m: best.0.copysign(side),
            heading_rad: (b - a).angle(),
        }
    }

    /// The line moved to its left by a distance.
    pub fn offset(&self, d_m: f64) -> Polyline {
        Polyline::new(
            self.points
                .iter()
                .zip(&self.stations)
                .map(|(point, s)| *point + Point::polar(d_m, self.heading_at(*s)).left()),
        )
    }

    /// Points at equal distances of about `spacing_m`, both ends kept.
    pub fn resample(&self, spacing_m: f64) -> Polyline {
        let n = (self.length() / spacing_m).ceil().max(1.0) as usize;
        Polyline::new((0..=n).map(|i| self.at(self.length() * i as f64 / n as f64)))
    }
}

/// A rectangle with a direction.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct OrientedBox {
    /// Its centre.
    pub center: Point,
    /// Direction of its length.
    pub heading_rad: f64,
    /// Extent along the heading.
    pub length_m: f64,
    /// Extent across the heading.
    pub width_m: f64,
}

impl OrientedBox {
    /// Front left, front right, rear right, rear left.
    pub fn corners(&self) -> [Point; 4] {
        let (l, w) = (0.5 * self.length_m, 0.5 * self.width_m);
        [(l, w), (l, -w), (-l, -w), (-l, w)]
            .map(|(x, y)| Point::new(x, y).from_frame(self.center, self.heading_rad))
    }

    /// Whether two boxes share a point (separating axes).
    pub fn intersects(&self, other: &OrientedBox) -> bool {
        self.gap(other) <= 0.0
    }

    /// The largest gap between the boxes along any of their axes: positive if they are apart (then a lower bound of
    /// their distance), negative if they overlap.
    pub fn gap(&self, other: &OrientedBox) -> f64 {
        let d = other.center - self.center;
        let axes = [self.heading_rad, other.heading_rad].map(|heading| {
            let along = Point::polar(1.0, heading);
            [along, along.left()]
        });
        let reach = |of: &OrientedBox, axis: Point| {
            let along = Point::polar(1.0, of.heading_rad);
            0.5 * (of.length_m * along.dot(axis).abs() + of.width_m * along.left().dot(axis).abs())
        };
        axes.iter()
            .flatten()
            .map(|axis| d.dot(*axis).abs() - reach(self, *axis) - reach(other, *axis))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether a point lies inside.
    pub fn contains(&self, point: Point) -> bool {
        let p = point.to_frame(self.center, self.heading_rad);
        p.x.abs() <= 0.5 * self.length_m && p.y.abs() <= 0.5 * self.width_m
    }
}

/// Whether a point lies inside a polygon (even-odd rule).
pub fn polygon_contains(polygon: &[Point], point: Point) -> bool {
    let mut inside = false;
    let mut previous = match polygon.last() {
        Some(last) => *last,
        None => return false,
    };
    for corner in polygon {
        if (corner.y > point.y) != (previous.y > point.y) {
            let x = corner.x + (point.y - corner.y) / (previous.y - corner.y) * (previous.x - corner.x);
            inside ^= point.x < x;
        }
        previous = *corner;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_finds_station_and_side() {
        let line = Polyline::new([Point::new(0.0, 0.0), Point::new(10.0, 0.0), Point::new(10.0, 10.0)]);
        let p = line.project(Point::new(4.0, 1.0));
        assert!((p.s_m - 4.0).abs() < 1e-12 && (p.d_m - 1.0).abs() < 1e-12);
        let p = line.project(Point::new(12.0, 5.0));
        assert!((p.s_m - 15.0).abs() < 1e-12 && (p.d_m + 2.0).abs() < 1e-12);
        let p = line.project(Point::new(-3.0, -1.0));
        assert!((p.s_m + 3.0).abs() < 1e-12 && (p.d_m + 1.0).abs() < 1e-12);
    }

    #[test]
    fn boxes_touch_only_when_they_do() {
        let a = OrientedBox { length_m: 4.0, width_m: 2.0, ..OrientedBox::default() };
        let turned = |x, heading_rad| OrientedBox { center: Point::new(x, 0.0), heading_rad, ..a };
        assert!(a.intersects(&turned(3.9, 0.0)));
        assert!(!a.intersects(&turned(4.1, 0.0)));
        assert!(!a.intersects(&turned(3.1, PI / 2.0)));
        assert!(a.intersects(&turned(2.9, PI / 2.0)));
    }

    #[test]
    fn angles_wrap() {
        assert!((wrap_angle(3.0 * PI) - PI).abs() < 1e-12);
        assert!((wrap_angle(-PI) - PI).abs() < 1e-12);
    }
}
