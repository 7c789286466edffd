//! Shapes of obstacles and goal regions.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

use super::element::{ANGLE_MAX_RAD, Element, Read};
use super::error::CommonRoadError;
use crate::geometry::{OrientedBox, Point};
use crate::scenario::Region;

/// Extents: nothing on a road is longer; goal regions are whole stretches of road.
pub(super) const EXTENT_MAX_M: f64 = 1e5;
/// Least extent of an obstacle: the recordings' vehicles are never thinner than a hand.
const EXTENT_MIN_M: f64 = 1e-3;

/// All rectangles, circles and polygons below an element, in its coordinates. Other children are left out.
pub(super) fn regions(element: Element) -> Read<Vec<Region>> {
    let mut regions = Vec::new();
    for shape in element.elements() {
        match shape.name() {
            "rectangle" => regions.push(Region::Rectangle(rectangle(shape)?)),
            "circle" => regions.push(Region::Circle {
                center: center(shape)?,
                radius_m: shape.need("radius")?.number(EXTENT_MIN_M, EXTENT_MAX_M)?,
            }),
            "polygon" => {
                let corners = shape.points()?;
                if corners.len() < 3 {
                    return Err(CommonRoadError::NoLine { place: shape.place() });
                }
                regions.push(Region::Polygon(corners));
            }
            _ => {}
        }
    }
    Ok(regions)
}

fn rectangle(shape: Element) -> Read<OrientedBox> {
    let extent = |name| shape.need(name)?.number(EXTENT_MIN_M, EXTENT_MAX_M);
    let heading_rad =
        shape.find("orientation").map_or(Ok(0.0), |angle| angle.number(-ANGLE_MAX_RAD, ANGLE_MAX_RAD))?;
    Ok(OrientedBox {
        center: center(shape)?,
        heading_rad,
        length_m: extent("length")?,
        width_m: extent("width")?,
    })
}

fn center(shape: Element) -> Read<Point> {
    shape.find("center").map_or(Ok(Point::default()), Element::point)
}

/// The box that stands for a shape: a rectangle itself, turned by right angles so that its heading is as close to 0 as
/// can be; the square around a circle; the smallest rectangle around a polygon.
fn boxed(region: &Region) -> OrientedBox {
    match region {
        Region::Rectangle(shape) => upright(*shape),
        Region::Circle { center, radius_m } => OrientedBox {
            center: *center,
            heading_rad: 0.0,
            length_m: 2.0 * radius_m,
            width_m: 2.0 * radius_m,
        },
        Region::Polygon(corners) => smallest_around(corners),
        Region::Lanelets(_) => OrientedBox::default(),
    }
}

/// The box around all shapes of a group, along the axes unless there is only one.
pub(super) fn boxed_together(regions: &[Region]) -> OrientedBox {
    Body::new(regions).at(Point::default(), 0.0)
}

/// The shape of an obstacle, to be put where it is.
pub(super) struct Body {
    /// For each shape its pivot and its box.
    parts: Vec<(Point, OrientedBox)>,
}

impl Body {
    pub(super) fn new(regions: &[Region]) -> Body {
        Body { parts: regions.iter().map(|region| (pivot(region), boxed(region))).collect() }
    }

    /// The box around it at a position with a heading. As in commonroad-io, and hence for the referee, each shape turns
    /// about its own pivot and is then moved by the position.
    pub(super) fn at(&self, position: Point, heading_rad: f64) -> OrientedBox {
        let placed = |(pivot, shape): &(Point, OrientedBox)| OrientedBox {
            center: (shape.center - *pivot).from_frame(position + *pivot, heading_rad),
            heading_rad: heading_rad + shape.heading_rad,
            ..*shape
        };
        match &self.parts[..] {
            [one] => placed(one),
            parts => {
                let corners: Vec<Point> = parts.iter().flat_map(|part| placed(part).corners()).collect();
                around(&corners, heading_rad)
            }
        }
    }
}

/// The point about which a shape turns: its centre, for a polygon its centroid.
fn pivot(region: &Region) -> Point {
    match region {
        Region::Rectangle(shape) => shape.center,
        Region::Circle { center, .. } => *center,
        Region::Polygon(corners) => centroid(corners),
        Region::Lanelets(_) => Point::default(),
    }
}

fn centroid(corners: &[Point]) -> Point {
    // About the first corner, so that large coordinates do not cancel.
    let origin = corners[0];
    let (mut area, mut sum) = (0.0, Point::default());
    for pair in corners.windows(2) {
        let (a, b) = (pair[0] - origin, pair[1] - origin);
        area += a.cross(b);
        sum = sum + (a + b) * a.cross(b);
    }
    // Of no area: the middle of its extent.
    if area.abs() < 1e-12 { around(corners, 0.0).center } else { origin + sum * (1.0 / (3.0 * area)) }
}

fn upright(shape: OrientedBox) -> OrientedBox {
    let turns = (shape.heading_rad / FRAC_PI_2).round();
    let heading_rad = shape.heading_rad - turns * FRAC_PI_2;
    if turns.rem_euclid(2.0) == 1.0 {
        OrientedBox { heading_rad, length_m: shape.width_m, width_m: shape.length_m, ..shape }
    } else {
        OrientedBox { heading_rad, ..shape }
    }
}

/// The box in a direction around some points.
fn around(points: &[Point], heading_rad: f64) -> OrientedBox {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in points {
        let local = point.to_frame(Point::default(), heading_rad);
        for (i, value) in [local.x, local.y].into_iter().enumerate() {
            low[i] = low[i].min(value);
            high[i] = high[i].max(value);
        }
    }
    let middle = Point::new(0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]));
    OrientedBox {
        center: middle.from_frame(Point::default(), heading_rad),
        heading_rad,
        length_m: (high[0] - low[0]).max(EXTENT_MIN_M),
        width_m: (high[1] - low[1]).max(EXTENT_MIN_M),
    }
}

/// Of the boxes along each edge the one with the least area, with a heading between -45 and 45 degrees. Every edge of
/// the hull is an edge of the polygon or bridges a notch, so this is at most slightly larger than the least of all.
fn smallest_around(corners: &[Point]) -> OrientedBox {
    // An outline of many points has many nearly equal directions; enough of them are tried.
    let stride = corners.len().div_ceil(64);
    let mut best = around(corners, 0.0);
    for i in (0..corners.len()).step_by(stride) {
        let edge = corners[(i + 1) % corners.len()] - corners[i];
        if edge.norm() < EXTENT_MIN_M {
            continue;
        }
        let turns = ((edge.angle() + FRAC_PI_4) / FRAC_PI_2).floor();
        let candidate = around(corners, edge.angle() - turns * FRAC_PI_2);
        if candidate.length_m * candidate.width_m < best.length_m * best.width_m {
            best = candidate;
        }
    }
    best
}
