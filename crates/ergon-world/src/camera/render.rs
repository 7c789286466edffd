//! Puts a picture together: ground, things from back to front, weather.

use ergon_types::{ActorState, Frame, LightColor, VehicleState};

use super::conditions::{Conditions, Light};
use super::ground::Ground;
use super::objects::Pen;
use super::order::{Item, Order};
use super::raster::Canvas;
use super::rig::CameraSpec;
use super::scene::{Prop, PropKind, SceneIndex};
use super::view::View;
use super::{posts, vehicles, weather};
use crate::geometry::{OrientedBox, Point};
use crate::road::ElementId;

/// How far a camera sees, per pixel of width: what is farther is smaller than a pixel.
const RANGE_M_PER_PIXEL: f64 = 0.9;
const RANGE_M: [f64; 2] = [90.0, 250.0];

/// What is to be seen at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Light and weather.
    pub conditions: &'a Conditions,
    /// Whose cameras look; not drawn itself.
    pub ego: &'a VehicleState,
    /// Everyone else.
    pub actors: &'a [ActorState],
    /// Time: rain and noise change with it.
    pub t_s: f64,
}

/// Draws pictures. It keeps its buffers: after the first picture of each size none are allocated.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// Buffers of each size that was drawn.
    surfaces: Vec<(Ground, Canvas)>,
    order: Order,
    props: Vec<Prop>,
}

impl Default for Renderer {
    fn default() -> Renderer {
        Renderer::new()
    }
}

impl Renderer {
    /// Without buffers yet.
    pub fn new() -> Renderer {
        Renderer { surfaces: Vec::new(), order: Order::default(), props: Vec::new() }
    }

    /// Draws what a camera sees into `out`, which takes the camera's size. `light_color` says what each light shows.
    /// The same input gives the same bytes.
    pub fn render(
        &mut self,
        scene: &SceneIndex,
        moment: &Moment,
        light_color: impl Fn(ElementId) -> LightColor,
        spec: &CameraSpec,
        out: &mut Frame,
    ) {
        let (width, height) = (spec.width, spec.height);
        (out.width, out.height) = (width, height);
        out.rgb.resize(width * height * 3, 0);
        if width == 0 || height == 0 {
            return;
        }
        let light = Light::of(moment.conditions);
        let view = View::new(spec, moment.ego, scene.origin);
        let range_m = (RANGE_M_PER_PIXEL * width as f64).clamp(RANGE_M[0], RANGE_M[1]);
        let k = self.surface(width, height);
        let (ground, canvas) = &mut self.surfaces[k];
        ground.reset(width, height);
        canvas.reset(width, height);
        self.props.clear();
        for (pieces, props) in scene.visible(view, range_m as f32) {
            pieces.iter().for_each(|piece| ground.add(piece, &view));
            self.props.extend_from_slice(props);
        }
        ground.paint(&view, &light, range_m as f32, canvas);
        collect(&mut self.order.items, &view, &self.props, moment.actors, scene.origin, range_m);
        let mut pen = Pen::new(canvas, &view, &light);
        let eye = Point::new(f64::from(view.eye[0]), f64::from(view.eye[1]));
        for item in self.order.back_to_front(eye) {
            match self.props.get(item.what) {
                Some(prop) => {
                    let color = match prop.kind {
                        PropKind::Light { id, .. } => light_color(id),
                        _ => LightColor::Inactive,
                    };
                    posts::draw(&mut pen, prop, color);
                }
                None => {
                    let actor = &moment.actors[item.what - self.props.len()];
                    vehicles::draw(&mut pen, actor, [item.shape.center.x as f32, item.shape.center.y as f32]);
                }
            }
        }
        let seed = weather::picture_seed(moment.conditions, moment.t_s, spec.yaw_rad);
        weather::rain(canvas, &light, light.wet, seed);
        weather::develop(canvas, moment.conditions, seed, &mut out.rgb);
    }

    /// The buffers of a size.
    fn surface(&mut self, width: usize, height: usize) -> usize {
        let fits = |(_, canvas): &(Ground, Canvas)| (canvas.width, canvas.height) == (width, height);
        self.surfaces.iter().position(fits).unwrap_or_else(|| {
            self.surfaces.push((Ground::new(), Canvas::default()));
            self.surfaces.len() - 1
        })
    }
}

/// All that may be seen: props by their number, actors by theirs plus the number of props.
fn collect(
    items: &mut Vec<Item>,
    view: &View,
    props: &[Prop],
    actors: &[ActorState],
    origin: Point,
    range_m: f64,
) {
    items.clear();
    let mut push = |what: usize, shape: OrientedBox| {
        let center = shape.center;
        let radius = 0.5 * shape.length_m.hypot(shape.width_m);
        if view.sees(center.x as f32, center.y as f32, radius as f32, range_m as f32) {
            let [ahead, left] = view.beside(center.x as f32, center.y as f32).map(f64::from);
            let columns = columns(view, &shape);
            items.push(Item { what, shape, columns, distance_m: ahead.hypot(left) });
        }
    };
    for (what, prop) in props.iter().enumerate() {
        let (length_m, width_m) = match prop.kind {
            PropKind::House { length_m, width_m, .. } => (f64::from(length_m), f64::from(width_m)),
            PropKind::Tree { height_m, .. } => (0.6 * f64::from(height_m), 0.6 * f64::from(height_m)),
            _ => (0.6, 1.2),
        };
        let center = Point::new(f64::from(prop.at[0]), f64::from(prop.at[1]));
        push(what, OrientedBox { center, heading_rad: f64::from(prop.heading_rad), length_m, width_m });
    }
    for (k, actor) in actors.iter().enumerate() {
        let center = Point::new(actor.x_m, actor.y_m) - origin;
        let size = actor.length_m + actor.width_m + actor.heading_rad;
        if center.x.is_finite() && center.y.is_finite() && size.is_finite() {
            let (length_m, width_m) = (actor.length_m, actor.width_m);
            push(props.len() + k, OrientedBox { center, heading_rad: actor.heading_rad, length_m, width_m });
        }
    }
}

/// Columns between which a thing lies, with a margin; the whole width if part of it is beside or behind the camera.
fn columns(view: &View, shape: &OrientedBox) -> [f32; 2] {
    let mut columns = [f32::INFINITY, f32::NEG_INFINITY];
    for corner in shape.corners() {
        let spot = [corner.x as f32, corner.y as f32, view.eye[2]];
        match view.project(spot) {
            Some(([u, _], _)) => columns = [columns[0].min(u - 2.0), columns[1].max(u + 2.0)],
            None => return [f32::NEG_INFINITY, f32::INFINITY],
        }
    }
    columns
}
