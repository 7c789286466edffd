//! Road users: vehicles with windows, wheels and lamps, riders and people.

use ergon_types::{ActorKind, ActorState};

use super::conditions::{Color, scale};
use super::objects::{Deck, Pen, Pose};

const GLASS: Color = [0.10, 0.13, 0.17];
const TYRE: Color = [0.06, 0.06, 0.065];
const SKIN: Color = [0.72, 0.55, 0.44];
/// Braking harder than this lights the brake lamps.
const BRAKE_MPS2: f64 = -0.5;

/// Paint of vehicles, by id.
const PAINT: [Color; 12] = [
    [0.80, 0.80, 0.82],
    [0.15, 0.15, 0.17],
    [0.62, 0.10, 0.10],
    [0.12, 0.22, 0.50],
    [0.90, 0.90, 0.88],
    [0.48, 0.50, 0.53],
    [0.16, 0.38, 0.22],
    [0.78, 0.58, 0.12],
    [0.30, 0.52, 0.70],
    [0.45, 0.30, 0.20],
    [0.80, 0.35, 0.12],
    [0.35, 0.18, 0.40],
];

/// Height of an actor above the road, metres, from its kind and length.
pub fn height_m(kind: ActorKind, length_m: f64) -> f64 {
    match kind {
        ActorKind::Car => 1.45,
        ActorKind::Truck if length_m < 7.0 => 2.6,
        ActorKind::Truck => 3.6,
        ActorKind::Bus => 3.1,
        ActorKind::Motorcycle | ActorKind::Bicycle | ActorKind::Pedestrian => 1.75,
        ActorKind::Obstacle => 1.0,
    }
}

fn paint_of(id: u32) -> Color {
    let mixed = id.wrapping_mul(0x9e37_79b1) >> 8;
    scale(PAINT[mixed as usize % PAINT.len()], 0.85 + 0.3 * (mixed >> 12 & 7) as f32 / 7.0)
}

/// An actor with its size as the drawing code wants it.
struct Body<'a> {
    actor: &'a ActorState,
    pose: Pose,
    half_length: f32,
    half_width: f32,
    color: Color,
}

/// Draws an actor at a place relative to the scene's origin.
pub(super) fn draw(pen: &mut Pen, actor: &ActorState, at: [f32; 2]) {
    let pose = Pose::new(at, actor.heading_rad as f32);
    let body = Body {
        actor,
        pose,
        half_length: 0.5 * actor.length_m as f32,
        half_width: 0.5 * actor.width_m as f32,
        color: paint_of(actor.id),
    };
    pen.go_to(at);
    let grown =
        Deck::middle([-body.half_length - 0.08, body.half_length + 0.08], body.half_width + 0.1, 0.01);
    pen.shadow(&pose, grown);
    match actor.kind {
        ActorKind::Car => car(pen, &body),
        ActorKind::Truck => truck(pen, &body),
        ActorKind::Bus => bus(pen, &body),
        ActorKind::Motorcycle => rider(pen, &body, 0.2),
        ActorKind::Bicycle => rider(pen, &body, 0.06),
        ActorKind::Pedestrian => person(pen, &body),
        ActorKind::Obstacle => barrier(pen, &body),
    }
}

fn car(pen: &mut Pen, body: &Body) {
    let (l, w) = (body.half_length, body.half_width);
    chassis(pen, body, 0.3);
    wheels(pen, body, 0.32, [0.6 * l, -0.6 * l]);
    // Bonnet and boot are a little lower than the sill of the windows.
    let sill = Deck::middle([-l, l], w, 0.3);
    pen.solid(&body.pose, sill, Deck::middle([-0.98 * l, 0.94 * l], 0.97 * w, 0.85), body.color, body.color);
    pen.done();
    let cabin = Deck::middle([-0.86 * l, 0.48 * l], 0.93 * w, 0.85);
    let roof = Deck::middle([-0.58 * l, 0.12 * l], 0.76 * w, height_m(ActorKind::Car, 0.0) as f32);
    pen.solid(&body.pose, cabin, roof, GLASS, scale(body.color, 0.95));
    pen.done();
    lamps(pen, body, [0.58, 0.76]);
    plate(pen, body);
}

fn truck(pen: &mut Pen, body: &Body) {
    let (l, w) = (body.half_length, body.half_width);
    let height = height_m(ActorKind::Truck, body.actor.length_m) as f32;
    chassis(pen, body, 0.9);
    wheels(pen, body, 0.48, [0.75 * l, -0.6 * l]);
    let cab = (2.0 * l * 0.28).clamp(1.2, 2.3);
    let load = Deck::middle([-l, l - cab - 0.15], w, 0.85);
    let front = Deck::middle([l - cab, l], 0.97 * w, 0.5);
    let windows = front.raised(1.55);
    let top = Deck::middle([l - cab, l - 0.12], 0.93 * w, (height - 0.5).min(2.8));
    let cover = [0.62, 0.64, 0.63].map(|grey| grey * (0.8 + 0.4 * body.color[0]));
    // The part nearer to the eye comes last.
    let joint = body.pose.spot([l - cab, 0.0, 0.0]);
    let is_cab_nearer = pen.is_seen_from(joint, body.pose.forward);
    let draw_load = |pen: &mut Pen| {
        pen.solid(&body.pose, load, load.raised(height), cover, scale(cover, 0.9));
        pen.done();
    };
    if is_cab_nearer {
        draw_load(pen);
    }
    pen.solid(&body.pose, front, windows, body.color, body.color);
    pen.solid(&body.pose, windows, top, GLASS, body.color);
    pen.done();
    if !is_cab_nearer {
        draw_load(pen);
    }
    lamps(pen, body, [0.88, 1.12]);
}

fn bus(pen: &mut Pen, body: &Body) {
    let (l, w) = (body.half_length, body.half_width);
    let height = height_m(ActorKind::Bus, body.actor.length_m) as f32;
    chassis(pen, body, 0.35);
    wheels(pen, body, 0.48, [0.6 * l, -0.5 * l]);
    let deck = Deck::middle([-l, l], w, 0.35);
    pen.solid(&body.pose, deck, deck.raised(1.25), body.color, body.color);
    pen.solid(&body.pose, deck.raised(1.25), deck.raised(2.4), GLASS, GLASS);
    pen.solid(&body.pose, deck.raised(2.4), deck.raised(height), body.color, scale(body.color, 0.95));
    pen.done();
    lamps(pen, body, [0.8, 1.05]);
}

/// What is seen below the body.
fn chassis(pen: &mut Pen, body: &Body, up: f32) {
    let deck =
        Deck::middle([-0.93 * body.half_length, 0.93 * body.half_length], 0.85 * body.half_width, 0.08);
    pen.block(&body.pose, deck, up - 0.08, [0.05; 3]);
}

fn wheels(pen: &mut Pen, body: &Body, radius: f32, axles: [f32; 2]) {
    for sign in [1.0f32, -1.0] {
        let left = [0.0, -1.0, 1.0].map(|k| sign * (body.half_width - 0.12 + 0.13 * k));
        for axle in axles {
            let deck =
                Deck::new([axle - radius, axle + radius], [left[1].min(left[2]), left[1].max(left[2])], 0.02);
            pen.block(&body.pose, deck, 1.7 * radius, TYRE);
        }
    }
}

/// Tail lamps and headlights between two heights.
fn lamps(pen: &mut Pen, body: &Body, [low, high]: [f32; 2]) {
    let is_braking = body.actor.acceleration_mps2 < BRAKE_MPS2;
    let dark = pen.light.darkness;
    let back = [-body.pose.forward[0], -body.pose.forward[1]];
    let rear = body.pose.spot([-body.half_length, 0.0, low]);
    let is_rear = pen.is_seen_from(rear, back);
    let end = if is_rear { -body.half_length - 0.02 } else { body.half_length + 0.02 };
    if !is_rear && !pen.is_seen_from(body.pose.spot([body.half_length, 0.0, low]), body.pose.forward) {
        return;
    }
    let color = match (is_rear, is_braking) {
        (true, true) => [1.0, 0.10, 0.06],
        (true, false) => [0.42 + 0.3 * dark, 0.04, 0.04],
        (false, _) => [0.80 + 0.2 * dark, 0.80 + 0.2 * dark, 0.72 + 0.2 * dark],
    };
    let w = body.half_width;
    for [a, b] in [[0.55 * w, 0.95 * w], [-0.95 * w, -0.55 * w]] {
        let corners = [[a, low], [b, low], [b, high], [a, high]].map(|[y, z]| body.pose.spot([end, y, z]));
        pen.glow(&corners, color);
        pen.done();
        let middle = body.pose.spot([end, 0.5 * (a + b), 0.5 * (low + high)]);
        if is_rear && is_braking {
            pen.lamp(middle, 0.16, 0.75, color, 0.9);
        } else if dark > 0.3 {
            pen.lamp(middle, 0.14, 0.6, color, 0.8 * dark);
        }
    }
    if is_rear && is_braking && body.actor.kind == ActorKind::Car {
        let spots = [[0.3, 0.95], [-0.3, 0.95], [-0.3, 1.03], [0.3, 1.03]];
        let at = -0.84 * body.half_length;
        pen.glow(&spots.map(|[y, z]| body.pose.spot([at, y * w, z])), color);
        pen.done();
    }
}

fn plate(pen: &mut Pen, body: &Body) {
    let end = -body.half_length - 0.02;
    let back = [-body.pose.forward[0], -body.pose.forward[1]];
    if pen.is_seen_from(body.pose.spot([end, 0.0, 0.5]), back) {
        let corners = [[0.26, 0.42], [-0.26, 0.42], [-0.26, 0.54], [0.26, 0.54]];
        pen.surface(&corners.map(|[y, z]| body.pose.spot([end, y, z])), [0.85; 3], 0.2, 1.0);
        pen.done();
    }
}

/// Motorcycle or bicycle with who rides it; `half` is half the width of its body.
fn rider(pen: &mut Pen, body: &Body, half: f32) {
    let l = body.half_length.max(0.5);
    let part = |ahead: [f32; 2], half_width: f32, up: f32| Deck::middle(ahead.map(|a| a * l), half_width, up);
    pen.block(&body.pose, part([-1.0, -0.35], 0.06, 0.0), 0.62, TYRE);
    pen.block(&body.pose, part([0.35, 1.0], 0.06, 0.0), 0.62, TYRE);
    pen.block(&body.pose, part([-0.7, 0.75], half, 0.45), 0.45, body.color);
    pen.block(&body.pose, part([-0.25, 0.15], 0.19, 0.45), 0.5, [0.14, 0.15, 0.2]);
    torso(pen, body, [-0.22, 0.12], 0.92);
    let dark = 0.3 + 0.4 * pen.light.darkness;
    let tail = body.pose.spot([-l, 0.0, 0.72]);
    let back = [-body.pose.forward[0], -body.pose.forward[1]];
    if pen.is_seen_from(tail, back) {
        let is_braking = body.actor.acceleration_mps2 < BRAKE_MPS2;
        let color = if is_braking { [1.0, 0.1, 0.06] } else { [dark + 0.15, 0.05, 0.05] };
        pen.lamp(tail, 0.08, if is_braking { 0.7 } else { 0.35 }, color, 0.9);
    }
}

/// Upper body and head.
fn torso(pen: &mut Pen, body: &Body, ahead: [f32; 2], up: f32) {
    let clothes = paint_of(body.actor.id.wrapping_add(77));
    pen.block(&body.pose, Deck::middle(ahead, 0.25, up), 0.55, clothes);
    pen.block(&body.pose, Deck::middle([-0.14, 0.10], 0.12, up + 0.55), 0.28, SKIN);
}

fn person(pen: &mut Pen, body: &Body) {
    pen.block(&body.pose, Deck::new([-0.1, 0.1], [0.03, 0.20], 0.0), 0.92, [0.14, 0.16, 0.26]);
    pen.block(&body.pose, Deck::new([-0.1, 0.1], [-0.20, -0.03], 0.0), 0.92, [0.14, 0.16, 0.26]);
    torso(pen, body, [-0.13, 0.13], 0.92);
}

/// Red and white bands.
fn barrier(pen: &mut Pen, body: &Body) {
    let deck = Deck::middle([-body.half_length, body.half_length], body.half_width, 0.0);
    for (i, color) in [[0.75, 0.12, 0.10], [0.92; 3], [0.75, 0.12, 0.10], [0.92; 3]].into_iter().enumerate() {
        let up = 0.25 * i as f32;
        pen.solid(&body.pose, deck.raised(up), deck.raised(up + 0.25), color, color);
    }
    pen.done();
}
