//! A road cut into small flat pieces and things that stand beside it, found by place. Made once per scenario.

use std::collections::HashMap;

use super::bounds::{Neighbourhood, Paint, Run, Side, phases, rungs};
use super::view::View;
use super::{paved, roadside};
use crate::geometry::{Point, Polyline};
use crate::road::{ElementId, Lanelet, LaneletKind, RoadNetwork, SignKind};

/// Longest piece, if the bound is straight.
const PIECE_MAX_M: f64 = 16.0;
/// A piece may cut off this much of a bend.
const CHORD_ERROR_M: f64 = 0.02;
/// Pieces of one stretch; what is longer gets longer pieces.
const PIECES_MAX: f64 = 4000.0;
/// Pieces are found by squares of this size.
const CELL_M: f64 = 16.0;
/// Width of a line, and of a broad one (German RMS: 0.15 m and 0.30 m on motorways).
const LINE_M: f64 = 0.15;
const BROAD_LINE_M: f64 = 0.3;
/// Extent of a stop line along the lane.
const STOP_LINE_M: f64 = 0.5;
/// A stripe of a crosswalk, and the gap to the next.
const STRIPE_M: f64 = 0.5;
/// Height of a kerb stone, and of one that may be driven over.
const KERB_M: f32 = 0.14;
const LOWERED_KERB_M: f32 = 0.04;

/// What the ground is covered with; later ones lie on earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Gravel,
    Pavement,
    Parking,
    Asphalt,
    RedAsphalt,
    White,
    Yellow,
    KerbFace,
    KerbTop,
}

impl Layer {
    pub(super) const COUNT: usize = 9;
}

/// A flat piece between two edges, all relative to the scene's origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) layer: Layer,
    /// Start and end of one edge, end and start of the other.
    pub(super) corners: [[f32; 2]; 4],
    /// How high each of the two edges lies.
    pub(super) heights: [f32; 2],
}

/// Something that stands beside the road.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PropKind {
    Sign(SignKind),
    /// `hangs` over the road instead of standing on a pole.
    Light {
        id: ElementId,
        hangs: bool,
    },
    Tree {
        height_m: f32,
        shade: f32,
    },
    House {
        length_m: f32,
        width_m: f32,
        height_m: f32,
        shade: f32,
    },
    /// A delineator.
    Post,
}

/// A thing and its place, relative to the scene's origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prop {
    pub(super) at: [f32; 2],
    pub(super) heading_rad: f32,
    pub(super) kind: PropKind,
}

/// Everything within a square, and the circle that holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    middle: [f32; 2],
    radius_m: f32,
    pieces: Vec<Piece>,
    props: Vec<Prop>,
}

/// A road prepared for drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SceneIndex {
    /// Everything else is relative to this, so that single precision is enough.
    pub(super) origin: Point,
    cells: Vec<Cell>,
}

impl SceneIndex {
    /// Cuts up a road. Coordinates that are not finite are left out.
    pub fn new(roads: &RoadNetwork) -> SceneIndex {
        let is_finite = |p: &Point| p.x.is_finite() && p.y.is_finite();
        let mut starts = roads.lanelets.iter().map(|lanelet| lanelet.left.points()[0]);
        let origin = starts.find(is_finite).unwrap_or_default();
        let mut builder = Builder { origin, pieces: Vec::new(), props: Vec::new() };
        let near = Neighbourhood::new(roads);
        let phases = phases(roads);
        roads.paved().iter().for_each(|outline| builder.paved(outline));
        for (index, lanelet) in roads.lanelets.iter().enumerate() {
            builder.surface(lanelet);
            if lanelet.kind == LaneletKind::Crosswalk {
                continue;
            }
            for side in [Side::Left, Side::Right] {
                for run in near.runs(index, side) {
                    builder.bound(lanelet, side, run, phases[index]);
                    if run.is_edge {
                        builder.props.extend(roadside::along(&near, lanelet, side, run, origin));
                    }
                }
            }
            builder.stop_line(lanelet);
        }
        builder.posts(roads, &near);
        SceneIndex { origin, cells: builder.into_cells() }
    }

    /// Pieces and props of the cells that can be seen.
    pub(super) fn visible(&self, view: View, range_m: f32) -> impl Iterator<Item = (&[Piece], &[Prop])> {
        let seen = move |cell: &&Cell| view.sees(cell.middle[0], cell.middle[1], cell.radius_m, range_m);
        self.cells.iter().filter(seen).map(|cell| (&cell.pieces[..], &cell.props[..]))
    }
}

struct Builder {
    origin: Point,
    pieces: Vec<Piece>,
    props: Vec<Prop>,
}

/// Length of dashes and gaps (German RMS: motorways 6 m and 12 m, country roads 4 m and 8 m, towns 3 m and 6 m; broad
/// dashes 6 m and 6 m, in towns 3 m and 3 m).
fn dashes(lanelet: &Lanelet, broad: bool) -> [f64; 2] {
    let is_fast = lanelet.speed_limit_mps.is_none_or(|limit| limit > 23.0);
    let dash = match lanelet.kind {
        LaneletKind::Highway | LaneletKind::Ramp | LaneletKind::Shoulder => 6.0,
        LaneletKind::Country => 4.0,
        LaneletKind::Unknown if is_fast => 6.0,
        _ => 3.0,
    };
    if broad { [dash, dash] } else { [dash, 2.0 * dash] }
}

impl Builder {
    fn surface(&mut self, lanelet: &Lanelet) {
        let layer = match lanelet.kind {
            LaneletKind::Crosswalk => return self.crosswalk(lanelet),
            LaneletKind::Sidewalk => Layer::Pavement,
            LaneletKind::Parking => Layer::Parking,
            LaneletKind::BicycleLane => Layer::RedAsphalt,
            _ => Layer::Asphalt,
        };
        self.ribbon(&rungs(lanelet, 2.0), layer, [0.0; 2]);
    }

    /// Asphalt between the lanelets. Its layer counts no place twice, so it may lie on the same ground as they do.
    fn paved(&mut self, outline: &[Point]) {
        for piece in paved::pieces(outline) {
            let corners = piece.map(|corner| self.local(corner));
            self.pieces.push(Piece { layer: Layer::Asphalt, corners, heights: [0.0; 2] });
        }
    }

    /// Stripes across the direction of walking.
    fn crosswalk(&mut self, lanelet: &Lanelet) {
        let length = lanelet.center.length();
        let n = (length / (2.0 * STRIPE_M)).floor().min(PIECES_MAX) as usize;
        let rung = |s: f64| {
            [&lanelet.left, &lanelet.right].map(|line| line.at((s / length).min(1.0) * line.length()))
        };
        let first = 0.5 * (length - (2 * n) as f64 * STRIPE_M + STRIPE_M);
        for i in 0..n {
            let start = first + 2.0 * STRIPE_M * i as f64;
            self.ribbon(&[rung(start), rung(start + STRIPE_M)], Layer::White, [0.0; 2]);
        }
    }

    fn stop_line(&mut self, lanelet: &Lanelet) {
        let Some(line) = lanelet.stop_line else { return };
        let across = line.right - line.left;
        if across.norm() > 1e-3 {
            // Driving direction is to the left of the vector from the left end to the right end.
            let back = across.left() * (-STOP_LINE_M / across.norm());
            self.ribbon(
                &[[line.left, line.left + back], [line.right, line.right + back]],
                Layer::White,
                [0.0; 2],
            );
        }
    }

    fn bound(&mut self, lanelet: &Lanelet, side: Side, run: Run, phase_m: f64) {
        let line = side.line(lanelet);
        let out = side.outward();
        let whole = [run.from_m, run.to_m];
        let is_kerb = matches!(run.paint, Paint::Kerb { .. });
        if run.is_edge {
            let (layer, width) = if is_kerb { (Layer::Pavement, 2.2) } else { (Layer::Gravel, 1.3) };
            self.strip(line, whole, [0.0, out * width], layer, [0.0; 2]);
            if !is_kerb {
                self.strip(line, whole, [0.0, out * 0.4], Layer::Asphalt, [0.0; 2]);
            }
        }
        match run.paint {
            Paint::None => {}
            Paint::Kerb { lowered } => {
                let height = if lowered { LOWERED_KERB_M } else { KERB_M };
                self.strip(line, whole, [0.0, 0.0], Layer::KerbFace, [0.0, height]);
                self.strip(line, whole, [0.0, out * 0.2], Layer::KerbTop, [height; 2]);
            }
            Paint::Line { yellow, dashed, broad } => {
                let layer = if yellow { Layer::Yellow } else { Layer::White };
                let half = 0.5 * if broad { BROAD_LINE_M } else { LINE_M };
                if dashed {
                    let part = line.length() / lanelet.center.length().max(1e-6);
                    self.dashes(line, whole, phase_m * part, dashes(lanelet, broad), half, layer);
                } else {
                    self.strip(line, whole, [half, -half], layer, [0.0; 2]);
                }
            }
        }
    }

    fn dashes(
        &mut self,
        line: &Polyline,
        [from, to]: [f64; 2],
        phase_m: f64,
        [dash, gap]: [f64; 2],
        half: f64,
        layer: Layer,
    ) {
        let period = dash + gap;
        let first = ((from + phase_m) / period).floor();
        let n = ((to - from) / period).ceil().min(PIECES_MAX) as usize;
        for i in 0..=n {
            let start = (first + i as f64) * period - phase_m;
            let part = [start.max(from), (start + dash).min(to)];
            if part[1] - part[0] > 0.05 {
                self.strip(line, part, [half, -half], layer, [0.0; 2]);
            }
        }
    }

    /// A band along a line, between two distances to its left.
    fn strip(
        &mut self,
        line: &Polyline,
        [from, to]: [f64; 2],
        offsets: [f64; 2],
        layer: Layer,
        heights: [f32; 2],
    ) {
        let n = ((to - from) / 2.0).ceil().clamp(1.0, PIECES_MAX);
        let rung = |i: usize| {
            let s = from + (to - from) * i as f64 / n;
            let (at, left) = (line.at(s), Point::polar(1.0, line.heading_at(s)).left());
            offsets.map(|offset| at + left * offset)
        };
        let rungs: Vec<_> = (0..=n as usize).map(rung).collect();
        self.ribbon(&rungs, layer, heights);
    }

    /// The area between two edges, in as few pieces as its bends allow.
    fn ribbon(&mut self, rungs: &[[Point; 2]], layer: Layer, heights: [f32; 2]) {
        let mut start = 0;
        while start + 1 < rungs.len() {
            let mut end = start + 1;
            while end + 1 < rungs.len() && is_straight(&rungs[start..=end + 1]) {
                end += 1;
            }
            self.quads(rungs[start], rungs[end], PIECES_MAX / rungs.len() as f64, layer, heights);
            start = end;
        }
    }

    /// The area between two rungs, in at most `pieces_max` pieces.
    fn quads(&mut self, a: [Point; 2], b: [Point; 2], pieces_max: f64, layer: Layer, heights: [f32; 2]) {
        let length = a[0].distance(b[0]).max(a[1].distance(b[1]));
        let n = (length / PIECE_MAX_M).ceil().min(pieces_max).max(1.0).floor();
        let rung = |i: usize| [0, 1].map(|k| self.local(a[k].lerp(b[k], i as f64 / n)));
        let pieces: Vec<_> = (0..n as usize)
            .map(|i| {
                let ([a, d], [b, c]) = (rung(i), rung(i + 1));
                Piece { layer, corners: [a, b, c, d], heights }
            })
            .filter(|piece| piece.corners.iter().flatten().all(|value| value.is_finite()))
            .collect();
        self.pieces.extend(pieces);
    }

    fn local(&self, point: Point) -> [f32; 2] {
        let d = point - self.origin;
        [d.x as f32, d.y as f32]
    }

    /// Signs and lights.
    fn posts(&mut self, roads: &RoadNetwork, near: &Neighbourhood) {
        for sign in &roads.signs {
            let (at, heading_rad) = (self.local(sign.position), sign.heading_rad as f32);
            self.props.push(Prop { at, heading_rad, kind: PropKind::Sign(sign.kind) });
        }
        for light in &roads.lights {
            let hangs = near.is_road(light.position, usize::MAX);
            let (at, heading_rad) = (self.local(light.position), light.heading_rad as f32);
            self.props.push(Prop { at, heading_rad, kind: PropKind::Light { id: light.id, hangs } });
        }
        self.props.retain(|prop| prop.at.iter().all(|v| v.is_finite()) && prop.heading_rad.is_finite());
    }

    fn into_cells(self) -> Vec<Cell> {
        let mut index: HashMap<[i32; 2], usize> = HashMap::new();
        let mut cells: Vec<Cell> = Vec::new();
        let mut cell_at = |[x, y]: [f32; 2], cells: &mut Vec<Cell>| {
            let key = [x, y].map(|v| (f64::from(v) / CELL_M).floor() as i32);
            *index.entry(key).or_insert_with(|| {
                let middle = key.map(|k| ((f64::from(k) + 0.5) * CELL_M) as f32);
                cells.push(Cell { middle, ..Cell::default() });
                cells.len() - 1
            })
        };
        let distance = |a: [f32; 2], b: [f32; 2]| ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt();
        for piece in self.pieces {
            let middle = [0, 1].map(|k| piece.corners.iter().map(|c| 0.25 * c[k]).sum());
            let at = cell_at(middle, &mut cells);
            let cell = &mut cells[at];
            let reach = piece.corners.iter().map(|corner| distance(*corner, cell.middle)).fold(0.0, f32::max);
            cell.radius_m = cell.radius_m.max(reach);
            cell.pieces.push(piece);
        }
        for prop in self.props {
            let at = cell_at(prop.at, &mut cells);
            let reach = if let PropKind::House { length_m, .. } = prop.kind { length_m } else { 4.0 };
            let cell = &mut cells[at];
            cell.radius_m = cell.radius_m.max(distance(prop.at, cell.middle) + reach);
            cell.props.push(prop);
        }
        cells
    }
}

/// Whether the rungs between the first and the last lie on the straight lines between those.
fn is_straight(rungs: &[[Point; 2]]) -> bool {
    let (first, last) = (rungs[0], rungs[rungs.len() - 1]);
    (0..2).all(|k| {
        let chord = last[k] - first[k];
        let length = chord.norm();
        length <= PIECE_MAX_M
            && rungs[1..rungs.len() - 1].iter().all(|rung| {
                let d = rung[k] - first[k];
                chord.cross(d).abs() <= CHORD_ERROR_M * length && chord.dot(d) >= 0.0
            })
    })
}

/// Things by place: each lies in all squares that its surrounding circle touches.
pub(super) struct Cells<T> {
    size_m: f64,
    squares: HashMap<[i64; 2], Vec<T>>,
    /// Too large for squares.
    everywhere: Vec<T>,
}

impl<T: Copy> Cells<T> {
    const SQUARES_MAX: i64 = 4096;

    pub(super) fn new(size_m: f64) -> Cells<T> {
        Cells { size_m, squares: HashMap::new(), everywhere: Vec::new() }
    }

    fn key(&self, point: Point) -> [i64; 2] {
        [point.x, point.y].map(|v| (v / self.size_m).floor().clamp(-1e15, 1e15) as i64)
    }

    pub(super) fn insert(&mut self, middle: Point, reach_m: f64, item: T) {
        let reach = Point::new(reach_m + 0.5, reach_m + 0.5);
        let ([x0, y0], [x1, y1]) = (self.key(middle - reach), self.key(middle + reach));
        if (x1 - x0 + 1).saturating_mul(y1 - y0 + 1) > Self::SQUARES_MAX {
            return self.everywhere.push(item);
        }
        for x in x0..=x1 {
            for y in y0..=y1 {
                self.squares.entry([x, y]).or_default().push(item);
            }
        }
    }

    /// Whatever may lie at a point, in the order of insertion.
    pub(super) fn at(&self, point: Point) -> impl Iterator<Item = &T> {
        self.everywhere.iter().chain(self.squares.get(&self.key(point)).into_iter().flatten())
    }
}
