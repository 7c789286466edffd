//! Solids and flat signs: what the drawings of vehicles and things beside the road are made of.

use super::conditions::{Color, Light, mix, scale};
use super::raster::Canvas;
use super::view::{Spot, View};

/// Sine and cosine of the sun's elevation.
const SUN_ELEVATION: [f32; 2] = [0.71, 0.70];
/// Corners of what is drawn as a disc.
const DISC_CORNERS: usize = 12;

/// A place with a direction: where a solid stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) at: [f32; 2],
    /// Unit vector.
    pub(super) forward: [f32; 2],
}

impl Pose {
    pub(super) fn new(at: [f32; 2], heading_rad: f32) -> Pose {
        let (sin, cos) = heading_rad.sin_cos();
        Pose { at, forward: [cos, sin] }
    }

    /// A point given ahead of the place, to its left, and up.
    pub(super) fn spot(&self, [ahead, left, up]: [f32; 3]) -> Spot {
        let [x, y] = self.forward;
        [self.at[0] + ahead * x - left * y, self.at[1] + ahead * y + left * x, up]
    }
}

/// A rectangle at a height: from and to ahead, from and to on the left, height.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deck {
    pub(super) ahead: [f32; 2],
    pub(super) left: [f32; 2],
    pub(super) up: f32,
}

impl Deck {
    pub(super) fn new(ahead: [f32; 2], left: [f32; 2], up: f32) -> Deck {
        Deck { ahead, left, up }
    }

    /// Symmetric about the direction.
    pub(super) fn middle(ahead: [f32; 2], half_width: f32, up: f32) -> Deck {
        Deck { ahead, left: [-half_width, half_width], up }
    }

    pub(super) fn raised(self, up: f32) -> Deck {
        Deck { up, ..self }
    }

    /// Rear right, front right, front left, rear left.
    fn corners(&self) -> [[f32; 3]; 4] {
        let ([a, b], [r, l]) = (self.ahead, self.left);
        [[a, r, self.up], [b, r, self.up], [b, l, self.up], [a, l, self.up]]
    }
}

/// Draws in a picture under a light.
pub(super) struct Pen<'a> {
    pub(super) canvas: &'a mut Canvas,
    pub(super) view: &'a View,
    pub(super) light: &'a Light,
    /// Part of haze, and what headlights add, for the thing that is being drawn.
    haze: f32,
    boost: f32,
}

impl<'a> Pen<'a> {
    pub(super) fn new(canvas: &'a mut Canvas, view: &'a View, light: &'a Light) -> Pen<'a> {
        Pen { canvas, view, light, haze: 0.0, boost: 0.0 }
    }

    /// Prepares for a thing at a place.
    pub(super) fn go_to(&mut self, at: [f32; 2]) {
        let [ahead, left] = self.view.beside(at[0], at[1]);
        self.haze = self.light.haze_at(ahead.hypot(left));
        let [ahead, left] = self.view.beside_ego(at[0], at[1]);
        self.boost = self.light.headlights(ahead - 2.0, left);
    }

    fn hazy(&self, color: Color) -> Color {
        mix(color, self.light.haze, self.haze)
    }

    /// A surface that shines by itself: neither shaded nor, at short distances, lost in haze.
    pub(super) fn glow(&mut self, corners: &[Spot], color: Color) {
        if let Some(outline) = self.view.outline(corners) {
            self.canvas.fill(outline.points(), mix(color, self.light.haze, 0.5 * self.haze), 1.0);
        }
    }

    /// A surface with light on it; `facing` is the cosine towards the sun.
    pub(super) fn surface(&mut self, corners: &[Spot], albedo: Color, facing: f32, opacity: f32) {
        if let Some(outline) = self.view.outline(corners) {
            let color = self.hazy(self.light.shade(albedo, facing, self.boost));
            self.canvas.fill(outline.points(), color, opacity);
        }
    }

    /// One side of a solid, corners counter-clockwise as seen from outside; hidden if seen from inside.
    fn face(&mut self, corners: &[Spot; 4], albedo: Color) {
        let minus = |a: Spot, b: Spot| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
        let (u, v) = (minus(corners[2], corners[0]), minus(corners[3], corners[1]));
        let normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        let dot = |a: Spot, b: Spot| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        if dot(minus(self.view.eye, corners[0]), normal) <= 0.0 {
            return;
        }
        let length = dot(normal, normal).sqrt().max(1e-9);
        let ([up, aside], [x, y]) = (SUN_ELEVATION, self.light.sun_direction);
        let facing = dot(normal, [aside * x, aside * y, up]) / length;
        // Less of the sky reaches what faces sideways or down.
        let sky = 0.78 + 0.22 * normal[2] / length;
        self.surface(corners, scale(albedo, sky), facing, 1.0);
    }

    /// A solid between two rectangles, without its underside. `sides` and `top` are colours.
    pub(super) fn solid(&mut self, pose: &Pose, bottom: Deck, top: Deck, sides: Color, top_color: Color) {
        let (low, high) = (bottom.corners().map(|c| pose.spot(c)), top.corners().map(|c| pose.spot(c)));
        for i in 0..4 {
            let j = (i + 1) % 4;
            self.face(&[low[i], low[j], high[j], high[i]], sides);
        }
        self.face(&high, top_color);
    }

    /// Closes what was drawn since the last time: it becomes one surface in front of all before.
    pub(super) fn done(&mut self) {
        self.canvas.flush();
    }

    /// A solid by itself, upright.
    pub(super) fn block(&mut self, pose: &Pose, deck: Deck, height_m: f32, color: Color) {
        self.solid(pose, deck, deck.raised(deck.up + height_m), color, color);
        self.done();
    }

    /// Whether a plane through a point, facing along a vector, shows its front.
    pub(super) fn is_seen_from(&self, spot: Spot, facing: [f32; 2]) -> bool {
        (self.view.eye[0] - spot[0]) * facing[0] + (self.view.eye[1] - spot[1]) * facing[1] > 0.0
    }

    /// Cosine of the angle over the ground between the unit vector along which something at a place faces and the
    /// direction of the camera; 1 if the camera stands there.
    pub(super) fn facing_cos(&self, at: [f32; 2], facing: [f32; 2]) -> f32 {
        let [x, y] = [self.view.eye[0] - at[0], self.view.eye[1] - at[1]];
        let distance = x.hypot(y);
        if distance > 0.0 { (x * facing[0] + y * facing[1]) / distance } else { 1.0 }
    }

    /// A lamp: a disc that faces the camera and never gets smaller than `pixels` in radius, as bright lights bloom.
    pub(super) fn lamp(&mut self, spot: Spot, radius_m: f32, pixels: f32, color: Color, opacity: f32) {
        let Some((middle, distance)) = self.view.project(spot) else { return };
        let radius = self.view.focal.map(|focal| (radius_m * focal / distance).max(pixels));
        let step = std::f32::consts::TAU / DISC_CORNERS as f32;
        let corners: [[f32; 2]; DISC_CORNERS] = std::array::from_fn(|i| {
            let (sin, cos) = (i as f32 * step).sin_cos();
            [middle[0] + radius[0] * cos, middle[1] + radius[1] * sin]
        });
        self.canvas.draw(&corners, mix(color, self.light.haze, 0.5 * self.haze), opacity);
    }

    /// The shadow under something.
    pub(super) fn shadow(&mut self, pose: &Pose, deck: Deck) {
        let corners = deck.corners().map(|c| pose.spot(c));
        let opacity = 0.65 * (1.0 - 0.5 * self.light.darkness);
        self.surface(&corners, [0.03; 3], 0.0, opacity);
        self.done();
    }
}
