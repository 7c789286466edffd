//! Paved areas cut into quadrilaterals, which the ground is drawn from.
//!
//! Method: ear clipping (Meisters 1975), the shortest cut first, so that pieces are compact and few of them are drawn in
//! vain; then triangles that share a side are joined in pairs.

use crate::geometry::Point;

/// Longest side that replaces points of an outline.
const SIDE_MAX_M: f64 = 16.0;
/// Such a side may cut off this much.
const CHORD_ERROR_M: f64 = 0.02;
/// Points that one side can replace.
const REPLACED_MAX: usize = 64;
/// Corners of an area; outlines of more are thinned.
const CORNERS_MAX: usize = 512;
/// Twice the area of a triangle that is not worth drawing.
const SLIVER_M2: f64 = 1e-6;

/// An area in pieces that do not overlap; a piece of three corners names one of them twice. Points that are not finite are
/// left out. Of an outline that crosses itself, something near it is covered.
pub(super) fn pieces(outline: &[Point]) -> Vec<[Point; 4]> {
    let corners = corners(outline);
    let triangles = triangles(&corners);
    let quads = pairs(&triangles);
    quads.into_iter().map(|quad| quad.map(|i| corners[i])).collect()
}

/// Counter-clockwise, without points that hardly change the outline.
fn corners(outline: &[Point]) -> Vec<Point> {
    let points: Vec<Point> = outline.iter().copied().filter(|p| p.x.is_finite() && p.y.is_finite()).collect();
    let mut kept = Vec::new();
    let mut start = 0;
    while start < points.len() {
        kept.push(points[start]);
        let mut end = start + 1;
        while end + 1 < points.len() && is_side(&points[start..=end + 1]) {
            end += 1;
        }
        start = end;
    }
    if kept.len() > CORNERS_MAX {
        let stride = kept.len().div_ceil(CORNERS_MAX);
        kept = kept.into_iter().step_by(stride).collect();
    }
    let origin = kept.first().copied().unwrap_or_default();
    let double: f64 = kept.windows(2).map(|pair| (pair[0] - origin).cross(pair[1] - origin)).sum();
    if double < 0.0 {
        kept.reverse();
    }
    kept
}

/// Whether the points between the first and the last may be left out.
fn is_side(points: &[Point]) -> bool {
    let (first, last) = (points[0], points[points.len() - 1]);
    let chord = last - first;
    let length = chord.norm();
    let is_near = |p: &Point| {
        let d = *p - first;
        chord.cross(d).abs() <= CHORD_ERROR_M * length && (0.0..=length * length).contains(&chord.dot(d))
    };
    points.len() <= REPLACED_MAX && length <= SIDE_MAX_M && points[1..points.len() - 1].iter().all(is_near)
}

/// Twice the area of a triangle, positive if it turns left.
fn turn([a, b, c]: [Point; 3]) -> f64 {
    (b - a).cross(c - a)
}

/// Corners of the triangles of a polygon, by number.
fn triangles(corners: &[Point]) -> Vec<[usize; 3]> {
    let mut triangles = Vec::new();
    let mut left: Vec<usize> = (0..corners.len()).collect();
    while left.len() >= 3 {
        let Some(at) = shortest_ear(corners, &left) else { break };
        let ear = around(&left, at);
        if turn(ear.map(|i| corners[i])) > SLIVER_M2 {
            triangles.push(ear);
        }
        left.remove(at);
    }
    triangles
}

fn around(left: &[usize], at: usize) -> [usize; 3] {
    let n = left.len();
    [left[(at + n - 1) % n], left[at], left[(at + 1) % n]]
}

/// The corner whose cut is shortest of those that no other corner lies in the way of; if the outline crosses itself and
/// there is none, the first that turns left.
fn shortest_ear(corners: &[Point], left: &[usize]) -> Option<usize> {
    let mut best = None;
    let mut shortest = f64::INFINITY;
    let mut any = None;
    for at in 0..left.len() {
        let ear = around(left, at);
        let triangle = ear.map(|i| corners[i]);
        let area = turn(triangle);
        if area < -SLIVER_M2 {
            continue;
        }
        any = any.or(Some(at));
        let cut = triangle[0].distance(triangle[2]);
        let is_free =
            || area <= SLIVER_M2 || left.iter().all(|i| ear.contains(i) || !is_inside(triangle, corners[*i]));
        if cut < shortest && is_free() {
            (best, shortest) = (Some(at), cut);
        }
    }
    best.or(any)
}

/// Whether a point lies in a triangle that turns left, or on its border, but is none of its corners.
fn is_inside(triangle: [Point; 3], point: Point) -> bool {
    let [a, b, c] = triangle;
    let inside = [[a, b, point], [b, c, point], [c, a, point]].iter().all(|part| turn(*part) >= 0.0);
    inside && triangle.iter().all(|corner| *corner != point)
}

/// Triangles joined in pairs where they share a side; others name their last corner twice.
fn pairs(triangles: &[[usize; 3]]) -> Vec<[usize; 4]> {
    let mut is_used = vec![false; triangles.len()];
    let mut quads = Vec::new();
    for (i, triangle) in triangles.iter().enumerate() {
        if is_used[i] {
            continue;
        }
        let joined = (i + 1..triangles.len()).filter(|j| !is_used[*j]).find_map(|j| {
            let other = triangles[j];
            // The corner that the other one lacks goes first; its opposite between the two that they share.
            let k = (0..3).find(|k| {
                !other.contains(&triangle[*k])
                    && other.contains(&triangle[(k + 1) % 3])
                    && other.contains(&triangle[(k + 2) % 3])
            })?;
            let opposite = other.into_iter().find(|corner| !triangle.contains(corner))?;
            Some((j, [triangle[k], triangle[(k + 1) % 3], opposite, triangle[(k + 2) % 3]]))
        });
        quads.push(match joined {
            Some((j, quad)) => {
                is_used[j] = true;
                quad
            }
            None => [triangle[0], triangle[1], triangle[2], triangle[2]],
        });
    }
    quads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::polygon_contains;

    fn covers(pieces: &[[Point; 4]], point: Point) -> usize {
        pieces.iter().filter(|piece| polygon_contains(&piece[..], point)).count()
    }

    /// A cross with rounded inner corners, as a junction of four arms is.
    fn cross() -> Vec<Point> {
        let corner = |k: usize| {
            let arc = (0..=12).map(|i| {
                let angle = f64::from(i) * std::f64::consts::FRAC_PI_2 / 12.0;
                Point::new(12.0, 12.0) - Point::polar(8.0, std::f64::consts::FRAC_PI_2 - angle)
            });
            arc.map(move |p| p.from_frame(Point::default(), k as f64 * std::f64::consts::FRAC_PI_2))
                .collect::<Vec<_>>()
        };
        (0..4).flat_map(corner).collect()
    }

    #[test]
    fn pieces_cover_the_inside_once_and_the_outside_not_at_all() {
        let mut clockwise = cross();
        clockwise.reverse();
        for outline in [cross(), clockwise] {
            let pieces = pieces(&outline);
            assert!(pieces.len() <= 30, "{} pieces", pieces.len());
            for i in 0..60 {
                for j in 0..60 {
                    let point = Point::new(-14.9 + 0.5 * f64::from(i), -14.8 + 0.5 * f64::from(j));
                    let far = |d: f64| {
                        (0..8).all(|k| {
                            let near = point + Point::polar(d, f64::from(k) * std::f64::consts::FRAC_PI_4);
                            polygon_contains(&outline, near) == polygon_contains(&outline, point)
                        })
                    };
                    if far(0.05) {
                        let expected = usize::from(polygon_contains(&outline, point));
                        assert_eq!(covers(&pieces, point), expected, "{point:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_outlines_end() {
        let p = Point::new;
        let bow = vec![p(0.0, 0.0), p(4.0, 4.0), p(4.0, 0.0), p(0.0, 4.0)];
        let flat = vec![p(0.0, 0.0), p(1.0, 0.0), p(2.0, 0.0), p(0.5, 0.0)];
        let twice = vec![p(0.0, 0.0), p(0.0, 0.0), p(3.0, 0.0), p(3.0, 3.0), p(3.0, 3.0)];
        let holed = vec![p(0.0, 0.0), p(f64::NAN, 1.0), p(5.0, 0.0), p(f64::INFINITY, 2.0), p(5.0, 5.0)];
        let long: Vec<Point> =
            (0..5000).map(|i| Point::polar(30.0 + f64::from(i % 7), f64::from(i))).collect();
        assert!(!pieces(&bow).is_empty());
        assert!(pieces(&flat).is_empty() && pieces(&[]).is_empty());
        assert_eq!(pieces(&twice).len(), 1);
        assert_eq!(pieces(&holed).len(), 1);
        assert!(pieces(&long).iter().flatten().all(|corner| corner.norm() < 40.0));
    }
}
