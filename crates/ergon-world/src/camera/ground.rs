//! Sky and ground of a picture: the layers of the road, blended once over the verge.

use super::conditions::{Color, Light, mix, scale};
use super::raster::{Canvas, Coverage};
use super::scene::{Layer, Piece};
use super::view::View;
use crate::rng::Rng;

/// Side of the square of random values that textures the ground.
const TEXTURE: usize = 64;
/// Metres per value, fine and coarse; not in a simple ratio, so that no repetition shows.
const GRAIN_M: [f32; 2] = [0.37, 4.3];

/// Buffers for the ground, and its texture.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    layers: [Coverage; Layer::COUNT],
    /// First row that each layer touches, and one past the last.
    rows: [[usize; 2]; Layer::COUNT],
    /// `[TEXTURE, TEXTURE]`, from -1 to 1.
    texture: Vec<f32>,
}

/// A row of the ground.
struct Row {
    /// Ahead of the camera.
    ahead_m: f32,
    /// Place in the scene of column 0, and the step to the next.
    start: [f32; 2],
    step: [f32; 2],
    haze: f32,
    /// How strongly each grain shows: less where a pixel covers many values.
    grain: [f32; 2],
}

impl Ground {
    pub(super) fn new() -> Ground {
        let mut rng = Rng::new(0x6a09_e667);
        let texture = (0..TEXTURE * TEXTURE).map(|_| rng.range(-1.0, 1.0) as f32).collect();
        Ground { layers: Default::default(), rows: [[usize::MAX, 0]; Layer::COUNT], texture }
    }

    pub(super) fn reset(&mut self, width: usize, height: usize) {
        for layer in &mut self.layers {
            layer.reset(width, height);
        }
        self.rows = [[usize::MAX, 0]; Layer::COUNT];
    }

    /// Adds a piece of the road.
    pub(super) fn add(&mut self, piece: &Piece, view: &View) {
        let [a, b, c, d] = piece.corners;
        let [near, far] = piece.heights;
        let corners = [[a[0], a[1], near], [b[0], b[1], near], [c[0], c[1], far], [d[0], d[1], far]];
        let Some(outline) = view.outline(&corners) else { return };
        let layer = piece.layer as usize;
        let area = self.layers[layer].add(outline.points());
        if !area.is_empty() {
            let rows = &mut self.rows[layer];
            *rows = [rows[0].min(area.low[1]), rows[1].max(area.high[1])];
        }
    }

    /// Paints sky and ground over the whole picture.
    pub(super) fn paint(&mut self, view: &View, light: &Light, range_m: f32, canvas: &mut Canvas) {
        let (width, height) = (canvas.width, canvas.height);
        for y in 0..height {
            let below = y as f32 + 0.5 - view.horizon();
            if below <= 0.0 {
                let color = sky(light, -below / view.focal[1]);
                canvas.color[y * width..(y + 1) * width].fill(color);
                // What stands above the road's plane (kerbs at the horizon) is lost in the sky.
                (0..Layer::COUNT).for_each(|layer| self.clear(layer, y));
            } else {
                let row = Row::new(view, light, y, range_m);
                self.paint_row(y, &row, view, light, &mut canvas.color[y * width..(y + 1) * width]);
            }
        }
    }

    fn is_touched(&self, layer: usize, y: usize) -> bool {
        (self.rows[layer][0]..self.rows[layer][1]).contains(&y)
    }

    fn clear(&mut self, layer: usize, y: usize) {
        if self.is_touched(layer, y) {
            self.layers[layer].row(y).fill(0.0);
        }
    }

    fn paint_row(&mut self, y: usize, row: &Row, view: &View, light: &Light, pixels: &mut [Color]) {
        let albedo = albedos(light, row.ahead_m);
        self.verge(row, light, pixels);
        for (layer, (color, grain)) in albedo.iter().enumerate() {
            if !self.is_touched(layer, y) {
                continue;
            }
            let mut sum = 0.0;
            let cells = self.layers[layer].row(y);
            for (pixel, cell) in pixels.iter_mut().zip(cells.iter_mut()) {
                sum += *cell;
                let part = sum.clamp(0.0, 1.0);
                // The texture of what lies below shows through, weaker.
                let texture = 1.0 + grain * (pixel[1] / VERGE[1] - 1.0).clamp(-0.5, 0.5);
                *pixel = mix(*pixel, scale(*color, texture), part);
            }
            cells.fill(0.0);
        }
        let sun = light.sun * 0.9;
        let base = light.ambient.map(|ambient| ambient + sun);
        let haze = scale(light.haze, row.haze);
        for (x, pixel) in pixels.iter_mut().enumerate() {
            let boost = if light.darkness > 0.0 {
                let at = [0, 1].map(|k| row.start[k] + row.step[k] * x as f32);
                let [forward, left] = view.beside_ego(at[0], at[1]);
                light.headlights(forward - 2.0, left)
            } else {
                0.0
            };
            *pixel = [0, 1, 2].map(|i| pixel[i] * (base[i] + boost) * (1.0 - row.haze) + haze[i]);
        }
    }

    /// Grass with its texture.
    fn verge(&self, row: &Row, light: &Light, pixels: &mut [Color]) {
        let tint = light.ground_tint[1];
        let color =
            mix(VERGE, if tint > 0.0 { [0.42, 0.38, 0.24] } else { [0.20, 0.36, 0.13] }, tint.abs() * 0.7);
        if row.grain == [0.0; 2] {
            return pixels.fill(color);
        }
        for (x, pixel) in pixels.iter_mut().enumerate() {
            let at = [0, 1].map(|k| row.start[k] + row.step[k] * x as f32);
            let mut texture = 1.0;
            for (grain, strength) in GRAIN_M.iter().zip(row.grain) {
                if strength > 0.0 {
                    texture += strength * self.texture_at(at.map(|v| v / grain));
                }
            }
            *pixel = scale(color, texture);
        }
    }

    /// Bilinear.
    fn texture_at(&self, at: [f32; 2]) -> f32 {
        let floor = at.map(f32::floor);
        let part = [at[0] - floor[0], at[1] - floor[1]];
        let mask = TEXTURE as i32 - 1;
        let cell = floor.map(|v| v as i32);
        let value = |dx: i32, dy: i32| {
            let (x, y) = (cell[0].wrapping_add(dx) & mask, cell[1].wrapping_add(dy) & mask);
            self.texture[y as usize * TEXTURE + x as usize]
        };
        let along = |dy: i32| value(0, dy) + part[0] * (value(1, dy) - value(0, dy));
        along(0) + part[1] * (along(1) - along(0))
    }
}

const VERGE: Color = [0.30, 0.38, 0.18];

impl Row {
    fn new(view: &View, light: &Light, y: usize, range_m: f32) -> Row {
        let [sin, cos] = view.pitch;
        let down = (y as f32 + 0.5 - view.middle[1]) / view.focal[1];
        let reach = (view.eye[2] / (sin + down * cos).max(1e-6)).min(1e5);
        let ahead_m = reach * (cos - down * sin);
        let across = reach / view.focal[0];
        let forward = view.forward;
        // Column u lies (middle - u) * across to the left.
        let left = (view.middle[0] - 0.5) * across;
        let start = [
            view.eye[0] + forward[0] * ahead_m - forward[1] * left,
            view.eye[1] + forward[1] * ahead_m + forward[0] * left,
        ];
        let step = [forward[1] * across, -forward[0] * across];
        // Metres of road per row.
        let depth = ahead_m * ahead_m / (view.focal[1] * view.eye[2]);
        let grain = [0, 1].map(|k| [0.16, 0.20][k] * (2.0 - depth.max(across) / GRAIN_M[k]).clamp(0.0, 1.0));
        let beyond = ((ahead_m / range_m - 0.6) / 0.4).clamp(0.0, 1.0) * 0.8;
        Row { ahead_m, start, step, haze: light.haze_at(ahead_m).max(beyond), grain }
    }
}

/// Colour of each layer, and how much of the ground's texture it shows.
fn albedos(light: &Light, ahead_m: f32) -> [(Color, f32); Layer::COUNT] {
    let shade = 1.0 + 0.22 * light.ground_tint[0];
    // Water darkens the road nearby and mirrors the sky far ahead.
    let mirror = light.wet * (0.1 + 0.35 * (ahead_m / 40.0).min(1.0));
    let road = |color: Color| mix(scale(color, shade * (1.0 - 0.35 * light.wet)), light.sky_horizon, mirror);
    // Paint sends headlights back.
    let paint = 1.0 + 0.5 * light.darkness;
    [
        (scale([0.47, 0.44, 0.38], shade), 0.8),
        (road([0.58, 0.57, 0.55]), 0.15),
        (road([0.42, 0.42, 0.45]), 0.2),
        (road([0.34, 0.34, 0.355]), 0.25),
        (road([0.50, 0.25, 0.21]), 0.2),
        (scale([0.93, 0.93, 0.92], paint), 0.0),
        (scale([0.95, 0.74, 0.13], paint), 0.0),
        (scale([0.50, 0.50, 0.50], shade), 0.0),
        ([0.74, 0.73, 0.71], 0.0),
    ]
}

/// Colour of the sky at a tangent of the elevation; a dark strip of far land just above the horizon.
fn sky(light: &Light, elevation: f32) -> Color {
    let clear = mix(light.sky_horizon, light.sky_top, (elevation * 2.2).min(1.0).sqrt());
    let land = (1.0 - elevation / 0.03).clamp(0.0, 1.0) * 0.35;
    mix(clear, mix(scale(light.haze, 0.55), [0.25, 0.30, 0.25], 0.3 * (1.0 - light.darkness)), land)
}
