//! What stands beside the road: signs, lights, trees, houses, delineators.

use std::f32::consts::{FRAC_PI_2, TAU};

use ergon_types::LightColor;

use super::conditions::{Color, mix, scale};
use super::glyphs;
use super::objects::{Deck, Pen, Pose};
use super::scene::{Prop, PropKind};
use super::view::Spot;
use crate::road::SignKind;

/// Half the size of a sign's plate: a motorway's size everywhere, half as large again as in towns, so that its shape
/// can be made out at the driver's resolution.
const PLATE_M: f32 = 0.5;
const PLATE_UP_M: f32 = 2.4;
/// Radius of a signal's lamps. Real ones have 0.10 m to 0.15 m; at 40 m that is a third of a pixel of the standard front
/// camera, so these are larger, and a lit one blooms to at least [`BLOOM`] pixels.
const LAMP_M: f32 = 0.3;
/// Distance between the lamps of a signal.
const LAMP_STEP_M: f32 = 0.72;
/// Height of the lowest lamp: beside the road, over the road.
const LAMP_UP_M: [f32; 2] = [2.5, 4.6];
/// Least radius of a lit lamp in the picture. It is a part of the picture's width, so that larger pictures show the same.
const BLOOM: f32 = 1.3 / 192.0;
/// A signal repeats its lamps at the height of the eyes for who waits first in line, within this distance.
const REPEATER_M: f32 = 14.0;
/// Cosine of the widest angle from which a signal's lamps are seen (55 degrees): beyond it the visors hide them, so that
/// the signals of a crossing road are not taken for one's own. The repeaters have none.
const VISOR_COS: f32 = 0.57;
const POLE: Color = [0.45, 0.46, 0.47];

/// Draws a thing; a light shows `color`.
pub(super) fn draw(pen: &mut Pen, prop: &Prop, color: LightColor) {
    pen.go_to(prop.at);
    let pose = Pose::new(prop.at, prop.heading_rad);
    match prop.kind {
        PropKind::Sign(kind) => sign(pen, &pose, kind),
        PropKind::Light { hangs, .. } => signal(pen, &pose, hangs, color),
        PropKind::Tree { height_m, shade } => tree(pen, &pose, height_m, shade),
        PropKind::House { length_m, width_m, height_m, shade } => {
            house(pen, &pose, [length_m, width_m, height_m], shade);
        }
        PropKind::Post => post(pen, &pose),
    }
}

/// A shape on a plate that faces against the pose's direction: right and up from the plate's middle.
struct Plate<'a> {
    pose: &'a Pose,
    up_m: f32,
    /// How far in front of the pole.
    depth_m: f32,
}

impl Plate<'_> {
    fn spot(&self, [right, up]: [f32; 2]) -> Spot {
        self.pose.spot([-self.depth_m, -right, self.up_m + up])
    }

    fn polygon<const N: usize>(&self, pen: &mut Pen, corners: [[f32; 2]; N], color: Color) {
        pen.surface(&corners.map(|corner| self.spot(corner)), color, 0.4, 1.0);
        pen.done();
    }

    /// A regular polygon; `turn` is where the first corner is, from the right.
    fn regular<const N: usize>(&self, pen: &mut Pen, radius: f32, turn: f32, color: Color) {
        self.polygon(pen, ring::<N>(radius, turn), color);
    }

    /// Glyphs side by side within a width, centred.
    fn text(&self, pen: &mut Pen, text: &[u8], width: f32, height: f32, color: Color) {
        let columns = (4 * text.len()).saturating_sub(1) as f32;
        let (dx, dy) = ((width / columns).min(height / 5.0), height / 5.0);
        for (i, glyph) in text.iter().enumerate() {
            for (row, bits) in glyphs::rows(*glyph).into_iter().enumerate() {
                for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                    let x = ((4 * i + column) as f32 - 0.5 * columns) * dx;
                    let y = (2.5 - row as f32) * dy;
                    let corners = [[x, y - dy], [x + dx, y - dy], [x + dx, y], [x, y]];
                    pen.surface(&corners.map(|corner| self.spot(corner)), color, 0.4, 1.0);
                }
            }
        }
        pen.done();
    }
}

fn ring<const N: usize>(radius: f32, turn: f32) -> [[f32; 2]; N] {
    std::array::from_fn(|i| {
        let (sin, cos) = (turn + TAU * i as f32 / N as f32).sin_cos();
        [radius * cos, radius * sin]
    })
}

fn sign(pen: &mut Pen, pose: &Pose, kind: SignKind) {
    pen.block(pose, Deck::middle([-0.04, 0.04], 0.04, 0.0), PLATE_UP_M, POLE);
    let plate = Plate { pose, up_m: PLATE_UP_M, depth_m: 0.06 };
    let back = [-pose.forward[0], -pose.forward[1]];
    if !pen.is_seen_from(plate.spot([0.0; 2]), back) {
        return plate.regular::<12>(pen, PLATE_M, 0.0, [0.5; 3]);
    }
    let (red, white, black) = ([0.85, 0.08, 0.08], [0.95; 3], [0.05; 3]);
    match kind {
        SignKind::SpeedLimit { speed_mps } => {
            plate.regular::<14>(pen, PLATE_M, 0.0, red);
            plate.regular::<14>(pen, 0.76 * PLATE_M, 0.0, white);
            let mut digits = [0; 3];
            let text = decimal((speed_mps * 3.6).round(), &mut digits);
            plate.text(pen, text, 1.15 * PLATE_M, 0.72 * PLATE_M, black);
        }
        SignKind::Stop => {
            plate.regular::<8>(pen, 1.1 * PLATE_M, TAU / 16.0, white);
            plate.regular::<8>(pen, 1.02 * PLATE_M, TAU / 16.0, red);
            plate.text(pen, b"STOP", 1.6 * PLATE_M, 0.6 * PLATE_M, white);
        }
        SignKind::Yield => {
            plate.regular::<3>(pen, 1.25 * PLATE_M, -FRAC_PI_2, red);
            plate.regular::<3>(pen, 0.72 * PLATE_M, -FRAC_PI_2, white);
        }
        SignKind::Priority => {
            plate.regular::<4>(pen, 1.15 * PLATE_M, 0.0, white);
            plate.regular::<4>(pen, 0.85 * PLATE_M, 0.0, [0.98, 0.76, 0.05]);
        }
        SignKind::Other => {
            plate.regular::<4>(pen, 1.2 * PLATE_M, TAU / 8.0, white);
            plate.regular::<4>(pen, 1.08 * PLATE_M, TAU / 8.0, [0.10, 0.28, 0.72]);
        }
    }
}

/// Digits of a whole number of at most three digits.
fn decimal(value: f64, digits: &mut [u8; 3]) -> &[u8] {
    let value = value.clamp(0.0, 999.0) as u32;
    for (place, digit) in [100, 10, 1].into_iter().zip(digits.iter_mut()) {
        *digit = b'0' + (value / place % 10) as u8;
    }
    let first = if value >= 100 {
        0
    } else if value >= 10 {
        1
    } else {
        2
    };
    &digits[first..]
}

fn signal(pen: &mut Pen, pose: &Pose, hangs: bool, color: LightColor) {
    let low = LAMP_UP_M[usize::from(hangs)];
    let half = 0.5 * LAMP_STEP_M;
    if hangs {
        pen.block(pose, Deck::middle([0.1, 0.2], 0.06, low + 2.5 * LAMP_STEP_M), 0.5, POLE);
    } else {
        pen.block(pose, Deck::middle([0.0, 0.14], 0.07, 0.0), low, POLE);
    }
    let housing = Deck::middle([0.0, 0.3], half, low - half);
    pen.block(pose, housing, 3.0 * LAMP_STEP_M, [0.07, 0.08, 0.08]);
    let [ahead, left] = pen.view.beside(pose.at[0], pose.at[1]);
    lamps(pen, pose, [low, LAMP_STEP_M, LAMP_M], VISOR_COS, color);
    if !hangs && ahead.hypot(left) < REPEATER_M {
        let deck = Deck::middle([-0.05, 0.1], 0.16, 1.05);
        pen.block(pose, deck, 0.84, [0.07, 0.08, 0.08]);
        lamps(pen, pose, [1.19, 0.28, 0.11], 0.0, color);
    }
}

/// Three lamps from green at the bottom to red at the top: height of the lowest, distances, radius; seen as far from aside
/// as the cosine says.
fn lamps(
    pen: &mut Pen,
    pose: &Pose,
    [low_m, step_m, radius_m]: [f32; 3],
    widest_cos: f32,
    color: LightColor,
) {
    if pen.facing_cos(pose.at, [-pose.forward[0], -pose.forward[1]]) < widest_cos {
        return;
    }
    let lit = match color {
        LightColor::Red => [true, false, false],
        LightColor::RedYellow => [true, true, false],
        LightColor::Yellow => [false, true, false],
        LightColor::Green => [false, false, true],
        LightColor::Inactive => [false; 3],
    };
    let colors = [[1.0, 0.08, 0.05], [1.0, 0.78, 0.05], [0.05, 0.95, 0.45]];
    let bloom = BLOOM * 2.0 * pen.view.middle[0] * (radius_m / LAMP_M).min(1.0);
    // Dark lamps first: a lit one blooms over its neighbours.
    for wanted in [false, true] {
        for (i, color) in colors.into_iter().enumerate().filter(|(i, _)| lit[*i] == wanted) {
            let spot = pose.spot([-0.06, 0.0, low_m + step_m * (2 - i) as f32]);
            if wanted {
                pen.lamp(spot, radius_m * 1.15, bloom, color, 1.0);
            } else {
                pen.lamp(spot, radius_m * 0.8, 0.0, scale(color, 0.12), 1.0);
            }
        }
    }
}

fn tree(pen: &mut Pen, pose: &Pose, height_m: f32, shade: f32) {
    pen.block(pose, Deck::middle([-0.15, 0.15], 0.15, 0.0), 0.45 * height_m, [0.30, 0.22, 0.15]);
    // Two discs that face the camera, the lit one above.
    let forward = pen.view.forward;
    let facing = Pose { at: pose.at, forward };
    let green = mix([0.16, 0.30, 0.11], [0.34, 0.33, 0.12], pen.light.ground_tint[1].max(0.0) * 0.6);
    let radius = 0.3 * height_m;
    for (up, aside, size, bright) in [(0.55, 0.0, 1.0, 0.75), (0.68, 0.18, 0.75, 1.05)] {
        let corners: [Spot; 12] = ring::<12>(radius * size, 0.0)
            .map(|[x, y]| facing.spot([0.0, x + aside * radius, up * height_m + 1.1 * y]));
        pen.surface(&corners, scale(green, shade * bright), 0.3, 1.0);
        pen.done();
    }
}

fn house(pen: &mut Pen, pose: &Pose, [length, width, height]: [f32; 3], shade: f32) {
    let deck = Deck::middle([-0.5 * length, 0.5 * length], 0.5 * width, 0.0);
    let wall = scale(mix([0.80, 0.72, 0.60], [0.62, 0.52, 0.48], shade - 0.6), shade);
    let floors = (height / 2.8).floor().clamp(1.0, 4.0);
    let floor = height / floors;
    for k in 0..floors as usize {
        let up = floor * k as f32;
        let bands = [0.0, 0.35, 0.75, 1.0].map(|part| deck.raised(up + part * floor));
        for (i, color) in [wall, scale(wall, 0.55), wall].into_iter().enumerate() {
            pen.solid(pose, bands[i], bands[i + 1], color, color);
        }
    }
    pen.done();
    let ridge = Deck::middle([-0.5 * length, 0.5 * length], 0.05, height + 0.3 * width);
    pen.solid(pose, deck.raised(height), ridge, [0.42, 0.22, 0.17], [0.42, 0.22, 0.17]);
    pen.done();
}

fn post(pen: &mut Pen, pose: &Pose) {
    let deck = Deck::middle([-0.06, 0.06], 0.06, 0.0);
    pen.block(pose, deck, 0.68, [0.92; 3]);
    pen.block(pose, deck.raised(0.68), 0.2, [0.08; 3]);
    pen.block(pose, deck.raised(0.88), 0.1, [0.92; 3]);
}
