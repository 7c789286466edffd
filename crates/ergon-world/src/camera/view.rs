//! A camera at one moment: from points of the scene to pixels.

use ergon_types::VehicleState;

use super::raster::Pixel;
use super::rig::CameraSpec;
use crate::geometry::Point;

/// What is nearer than this to the camera's plane is cut off.
const NEAR_M: f32 = 0.2;
/// Corners of the largest polygon that is projected, and the one more that cutting can add.
const CORNERS_MAX: usize = 16;

/// A point of the scene: relative to the scene's origin, and above the road.
pub(super) type Spot = [f32; 3];

/// Pixels of a projected polygon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    points: [Pixel; CORNERS_MAX],
    len: usize,
}

impl Outline {
    pub(super) fn points(&self) -> &[Pixel] {
        &self.points[..self.len]
    }

    fn push(&mut self, point: Pixel) {
        if self.len < CORNERS_MAX {
            self.points[self.len] = point;
            self.len += 1;
        }
    }
}

/// Position, direction and scale of a camera in the scene.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// Camera, relative to the scene's origin, and above the road.
    pub(super) eye: Spot,
    /// Horizontal direction in which it looks.
    pub(super) forward: [f32; 2],
    /// Sine and cosine of the downward pitch.
    pub(super) pitch: [f32; 2],
    /// Pixels per unit of the tangent.
    pub(super) focal: Pixel,
    /// Where the axis meets the picture.
    pub(super) middle: Pixel,
    /// Tangent and cosine of half the horizontal angle of view.
    pub(super) half_angle: [f32; 2],
    /// The ego vehicle: reference point relative to the scene's origin, and direction.
    pub(super) ego: [f32; 2],
    pub(super) ego_forward: [f32; 2],
}

impl View {
    pub(super) fn new(spec: &CameraSpec, ego: &VehicleState, origin: Point) -> View {
        let heading = ego.heading_rad;
        let reference = Point::new(ego.x_m, ego.y_m) - origin;
        let [ahead, left, up] = spec.position_m;
        let eye = Point::new(ahead, left).from_frame(reference, heading);
        let direction = Point::polar(1.0, heading + spec.yaw_rad);
        let half = 0.5 * spec.hfov_rad;
        let size = [spec.width as f64, spec.height as f64];
        let focal = [0.5 * size[0] / half.tan(), 0.5 * size[1] / (0.5 * spec.vfov_rad).tan()];
        let (sin, cos) = spec.pitch_rad.sin_cos();
        let ego_forward = Point::polar(1.0, heading);
        View {
            eye: [eye.x as f32, eye.y as f32, up as f32],
            forward: [direction.x as f32, direction.y as f32],
            pitch: [sin as f32, cos as f32],
            focal: focal.map(|f| f as f32),
            middle: size.map(|n| 0.5 * n as f32),
            half_angle: [half.tan() as f32, half.cos() as f32],
            ego: [reference.x as f32, reference.y as f32],
            ego_forward: [ego_forward.x as f32, ego_forward.y as f32],
        }
    }

    /// Ahead of the camera along its horizontal direction, and to its left.
    pub(super) fn beside(&self, x: f32, y: f32) -> [f32; 2] {
        let d = [x - self.eye[0], y - self.eye[1]];
        [d[0] * self.forward[0] + d[1] * self.forward[1], d[1] * self.forward[0] - d[0] * self.forward[1]]
    }

    /// Ahead of the ego vehicle's reference point, and to its left.
    pub(super) fn beside_ego(&self, x: f32, y: f32) -> [f32; 2] {
        let d = [x - self.ego[0], y - self.ego[1]];
        let f = self.ego_forward;
        [d[0] * f[0] + d[1] * f[1], d[1] * f[0] - d[0] * f[1]]
    }

    /// Along the camera's own axes: right, down, forward.
    pub(super) fn to_camera(self, spot: Spot) -> [f32; 3] {
        let [ahead, left] = self.beside(spot[0], spot[1]);
        let up = spot[2] - self.eye[2];
        let [sin, cos] = self.pitch;
        [-left, -(ahead * sin + up * cos), ahead * cos - up * sin]
    }

    fn to_pixel(self, [right, down, forward]: [f32; 3]) -> Pixel {
        [self.middle[0] + self.focal[0] * right / forward, self.middle[1] + self.focal[1] * down / forward]
    }

    /// The pixel of a point in front of the camera, and its distance along the axis.
    pub(super) fn project(&self, spot: Spot) -> Option<(Pixel, f32)> {
        let camera = self.to_camera(spot);
        (camera[2] > NEAR_M).then(|| (self.to_pixel(camera), camera[2]))
    }

    /// The outline of a polygon of at most 15 corners, cut off at the plane of the camera; `None` if all is behind.
    pub(super) fn outline(&self, corners: &[Spot]) -> Option<Outline> {
        let mut outline = Outline { points: [[0.0; 2]; CORNERS_MAX], len: 0 };
        let mut previous = self.to_camera(*corners.last()?);
        for corner in corners {
            let current = self.to_camera(*corner);
            let (was, is) = (previous[2] >= NEAR_M, current[2] >= NEAR_M);
            if was != is {
                let part = (NEAR_M - previous[2]) / (current[2] - previous[2]);
                outline
                    .push(self.to_pixel([0, 1, 2].map(|i| previous[i] + part * (current[i] - previous[i]))));
            }
            if is {
                outline.push(self.to_pixel(current));
            }
            previous = current;
        }
        (outline.len >= 3 && outline.points().iter().flatten().all(|value| value.is_finite()))
            .then_some(outline)
    }

    /// Row of the horizon.
    pub(super) fn horizon(&self) -> f32 {
        self.middle[1] - self.focal[1] * self.pitch[0] / self.pitch[1]
    }

    /// Whether a circle on the ground can be seen, no farther than `range_m`.
    pub(super) fn sees(&self, x: f32, y: f32, radius_m: f32, range_m: f32) -> bool {
        let [ahead, left] = self.beside(x, y);
        let [tan, cos] = self.half_angle;
        ahead > -radius_m && ahead < range_m + radius_m && left.abs() < ahead * tan + radius_m / cos + 0.5
    }
}
