//! Where the ego vehicle may be, and when: the edges of the road in a grid, and the boxes of everyone else by time step.

use crate::geometry::{OrientedBox, Point, polygon_contains};
use crate::road::RoadNetwork;
use crate::scenario::Scenario;

/// Parts of lanelet outlines beyond which no lanelet lies, in a grid of cells.
#[derive(Clone, Debug)]
pub struct Edges {
    segments: Vec<[Point; 2]>,
    low: Point,
    cell_m: f64,
    columns: usize,
    rows: usize,
    /// For each cell where its part of `members` begins; one more than cells.
    begins: Vec<u32>,
    members: Vec<u32>,
}

/// An outline is looked at in pieces of this length ...
const PIECE_M: f64 = 0.5;
/// ... and probed at this distance to both sides: the drivability checker refuses gaps of 3 mm.
const PROBE_M: f64 = 0.0005;
/// Cells in the grid at most.
const CELLS_MAX: f64 = 400_000.0;

impl Edges {
    /// The edges of the union of all lanelets.
    pub fn new(roads: &RoadNetwork) -> Edges {
        let outlines: Vec<Outline> =
            roads.lanelets.iter().map(|lanelet| Outline::new(lanelet.polygon())).collect();
        let index = OutlineIndex::new(&outlines);
        let mut segments = Vec::new();
        for outline in &outlines {
            let corners = &outline.corners;
            for (i, a) in corners.iter().enumerate() {
                let b = corners[(i + 1) % corners.len()];
                let length = a.distance(b);
                if length < 1e-6 {
                    continue;
                }
                let pieces = (length / PIECE_M).ceil() as usize;
                let side = (b - *a).left() * (PROBE_M / length);
                let mut open: Option<Point> = None;
                for piece in 0..pieces {
                    let middle = a.lerp(b, (piece as f64 + 0.5) / pieces as f64);
                    let inside = [middle + side, middle - side].iter().all(|p| index.contains(*p));
                    let start = a.lerp(b, piece as f64 / pieces as f64);
                    match (inside, open) {
                        (false, None) => open = Some(start),
                        (true, Some(from)) => {
                            segments.push([from, start]);
                            open = None;
                        }
                        _ => {}
                    }
                }
                segments.extend(open.map(|from| [from, b]));
            }
        }
        Edges::index(segments)
    }

    fn index(segments: Vec<[Point; 2]>) -> Edges {
        let (mut low, mut high) = (Point::new(0.0, 0.0), Point::new(1.0, 1.0));
        for (i, p) in segments.iter().flatten().enumerate() {
            low = if i == 0 { *p } else { Point::new(low.x.min(p.x), low.y.min(p.y)) };
            high = if i == 0 { *p } else { Point::new(high.x.max(p.x), high.y.max(p.y)) };
        }
        let area = (high.x - low.x + 1.0) * (high.y - low.y + 1.0);
        let cell_m = 5.0_f64.max((area / CELLS_MAX).sqrt());
        let columns = ((high.x - low.x) / cell_m) as usize + 1;
        let rows = ((high.y - low.y) / cell_m) as usize + 1;
        let mut edges = Edges {
            segments,
            low,
            cell_m,
            columns,
            rows,
            begins: vec![0; columns * rows + 1],
            members: Vec::new(),
        };
        let mut cells: Vec<(u32, u32)> = Vec::new();
        for (i, [a, b]) in edges.segments.iter().enumerate() {
            let from = Point::new(a.x.min(b.x), a.y.min(b.y));
            let to = Point::new(a.x.max(b.x), a.y.max(b.y));
            edges.visit(from, to, |cell| cells.push((cell as u32, i as u32)));
        }
        cells.sort_unstable();
        for (cell, _) in &cells {
            edges.begins[*cell as usize + 1] += 1;
        }
        for cell in 0..columns * rows {
            edges.begins[cell + 1] += edges.begins[cell];
        }
        edges.members = cells.into_iter().map(|(_, segment)| segment).collect();
        edges
    }

    /// Its parts.
    pub fn segments(&self) -> &[[Point; 2]] {
        &self.segments
    }

    /// Calls for every cell that an upright rectangle touches.
    fn visit(&self, low: Point, high: Point, mut call: impl FnMut(usize)) {
        let cell = |value: f64, origin: f64, cells: usize| {
            ((value - origin) / self.cell_m).floor().clamp(-1.0, cells as f64) as isize
        };
        let columns = cell(low.x, self.low.x, self.columns)..=cell(high.x, self.low.x, self.columns);
        for row in cell(low.y, self.low.y, self.rows)..=cell(high.y, self.low.y, self.rows) {
            for column in columns.clone() {
                if (0..self.rows as isize).contains(&row) && (0..self.columns as isize).contains(&column) {
                    call(row as usize * self.columns + column as usize);
                }
            }
        }
    }

    /// Whether an edge runs through a box.
    pub fn cross(&self, shape: &OrientedBox) -> bool {
        let (sin, cos) = shape.heading_rad.sin_cos();
        let (l, w) = (0.5 * shape.length_m, 0.5 * shape.width_m);
        let reach = Point::new(l * cos.abs() + w * sin.abs(), l * sin.abs() + w * cos.abs());
        let mut hit = false;
        self.visit(shape.center - reach, shape.center + reach, |cell| {
            let members = self.begins[cell] as usize..self.begins[cell + 1] as usize;
            hit = hit
                || self.members[members].iter().any(|i| {
                    let [a, b] = self.segments[*i as usize].map(|p| {
                        let d = p - shape.center;
                        Point::new(d.x * cos + d.y * sin, d.y * cos - d.x * sin)
                    });
                    segment_in_box(a, b, l, w)
                });
        });
        hit
    }
}

/// Whether a segment has a point in the box of half extents `l`, `w` around the origin.
fn segment_in_box(a: Point, b: Point, l: f64, w: f64) -> bool {
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    for (start, delta, half) in [(a.x, b.x - a.x, l), (a.y, b.y - a.y, w)] {
        if delta.abs() < 1e-12 {
            if start.abs() > half {
                return false;
            }
            continue;
        }
        let (p, q) = ((-half - start) / delta, (half - start) / delta);
        from = from.max(p.min(q));
        to = to.min(p.max(q));
    }
    from <= to
}

struct Outline {
    corners: Vec<Point>,
    low: Point,
    high: Point,
}

impl Outline {
    fn new(corners: Vec<Point>) -> Outline {
        let far = f64::INFINITY;
        let (mut low, mut high) = (Point::new(far, far), Point::new(-far, -far));
        for p in &corners {
            low = Point::new(low.x.min(p.x), low.y.min(p.y));
            high = Point::new(high.x.max(p.x), high.y.max(p.y));
        }
        Outline { corners, low, high }
    }
}

/// Finds the outlines near a point without looking at all of them: sorted by their least x.
struct OutlineIndex<'a> {
    sorted: Vec<&'a Outline>,
    /// Greatest x of the first outlines up to each.
    reach: Vec<f64>,
}

impl<'a> OutlineIndex<'a> {
    fn new(outlines: &'a [Outline]) -> OutlineIndex<'a> {
        let mut sorted: Vec<&Outline> = outlines.iter().collect();
        sorted.sort_by(|a, b| a.low.x.total_cmp(&b.low.x));
        let mut far = f64::NEG_INFINITY;
        let reach = sorted
            .iter()
            .map(|outline| {
                far = far.max(outline.high.x);
                far
            })
            .collect();
        OutlineIndex { sorted, reach }
    }

    fn contains(&self, p: Point) -> bool {
        let end = self.sorted.partition_point(|outline| outline.low.x <= p.x);
        for i in (0..end).rev() {
            if self.reach[i] < p.x {
                return false;
            }
            let outline = self.sorted[i];
            let near = p.x <= outline.high.x && outline.low.y <= p.y && p.y <= outline.high.y;
            if near && polygon_contains(&outline.corners, p) {
                return true;
            }
        }
        false
    }
}

/// A box made ready for many comparisons.
#[derive(Clone, Copy, Debug)]
pub struct FastBox {
    center: Point,
    along: Point,
    half_length: f64,
    half_width: f64,
    radius: f64,
}

impl FastBox {
    /// Of a box, longer and wider by twice the margins.
    pub fn new(shape: &OrientedBox, length_margin_m: f64, width_margin_m: f64) -> FastBox {
        let half_length = 0.5 * shape.length_m + length_margin_m;
        let half_width = 0.5 * shape.width_m + width_margin_m;
        FastBox {
            center: shape.center,
            along: Point::polar(1.0, shape.heading_rad),
            half_length,
            half_width,
            radius: half_length.hypot(half_width),
        }
    }

    /// Whether two boxes share a point (separating axes).
    pub fn intersects(&self, other: &FastBox) -> bool {
        let d = other.center - self.center;
        let reach = self.radius + other.radius;
        if d.dot(d) > reach * reach {
            return false;
        }
        let cos = self.along.dot(other.along).abs();
        let sin = self.along.cross(other.along).abs();
        d.dot(self.along).abs() <= self.half_length + other.half_length * cos + other.half_width * sin
            && d.cross(self.along).abs() <= self.half_width + other.half_length * sin + other.half_width * cos
            && d.dot(other.along).abs() <= other.half_length + self.half_length * cos + self.half_width * sin
            && d.cross(other.along).abs() <= other.half_width + self.half_length * sin + self.half_width * cos
    }
}

/// Everyone else's box at every time step.
#[derive(Clone, Debug)]
pub struct Timetable {
    boxes: Vec<FastBox>,
    /// For each step where its part of `boxes` begins; one more than steps.
    begins: Vec<usize>,
}

impl Timetable {
    /// Of a scenario's recorded and standing actors, for steps `0..steps`.
    pub fn recorded(scenario: &Scenario, steps: usize) -> Timetable {
        let mut table = Timetable { boxes: Vec::new(), begins: vec![0] };
        let shape = |actor: &ergon_types::ActorState| {
            FastBox::new(
                &OrientedBox {
                    center: Point::new(actor.x_m, actor.y_m),
                    heading_rad: actor.heading_rad,
                    length_m: actor.length_m,
                    width_m: actor.width_m,
                },
                0.0,
                0.0,
            )
        };
        for step in 0..steps {
            table.boxes.extend(scenario.obstacles.iter().map(shape));
            let moving = scenario
                .recorded
                .iter()
                .filter_map(|actor| step.checked_sub(actor.first_step).and_then(|i| actor.states.get(i)));
            table.boxes.extend(moving.map(shape));
            table.begins.push(table.boxes.len());
        }
        table
    }

    /// Whether a box touches anyone at a step; nobody is there beyond the last one.
    pub fn hit(&self, step: usize, shape: &FastBox) -> bool {
        match self.begins.get(step..step + 2) {
            Some(&[from, to]) => self.boxes[from..to].iter().any(|other| shape.intersects(other)),
            _ => false,
        }
    }
}
