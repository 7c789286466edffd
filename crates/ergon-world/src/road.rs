//! Roads: lanelets (a stretch of one lane between two bounds), signs and lights. The vocabulary is CommonRoad's; files
//! are read into this, and generated roads are made of it.

use std::collections::HashMap;

use ergon_types::LightColor;

use crate::geometry::{Point, Polyline, polygon_contains};

/// Number of a lanelet, sign or light in its file.
pub type ElementId = i64;

/// How the line at a bound is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LineMarking {
    /// Dashes: may be crossed.
    Dashed,
    /// Solid: edge of the road or no crossing.
    Solid,
    /// Broad dashes, as at ramps.
    BroadDashed,
    /// Broad solid.
    BroadSolid,
    /// A kerb stone.
    Curb,
    /// A kerb stone that may be driven over.
    LoweredCurb,
    /// Nothing is painted.
    None,
    /// The file does not say.
    #[default]
    Unknown,
}

/// What a lanelet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LaneletKind {
    /// A street in a town.
    Urban,
    /// A road outside.
    Country,
    /// A motorway.
    Highway,
    /// Leads on or off.
    Ramp,
    /// Stops and breakdowns.
    Shoulder,
    /// Buses.
    BusLane,
    /// Bicycles.
    BicycleLane,
    /// Persons on foot beside the road.
    Sidewalk,
    /// Persons on foot across the road.
    Crosswalk,
    /// Inside a junction.
    Intersection,
    /// Parked cars.
    Parking,
    /// The file does not say.
    #[default]
    Unknown,
}

impl LaneletKind {
    /// Whether motor vehicles drive here.
    pub fn is_for_cars(self) -> bool {
        !matches!(
            self,
            LaneletKind::BicycleLane | LaneletKind::Sidewalk | LaneletKind::Crosswalk | LaneletKind::Parking
        )
    }
}

/// The lanelet beside a lanelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacent {
    /// Its id.
    pub id: ElementId,
    /// Whether it leads the same way.
    pub same_direction: bool,
}

/// A line at which vehicles stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopLine {
    /// Its left end.
    pub left: Point,
    /// Its right end.
    pub right: Point,
}

/// A stretch of one lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Lanelet {
    /// Its id.
    pub id: ElementId,
    /// Left bound, in driving direction.
    pub left: Polyline,
    /// Right bound.
    pub right: Polyline,
    /// Half-way between the bounds.
    pub center: Polyline,
    /// Lanelets that lead into it.
    pub predecessors: Vec<ElementId>,
    /// Lanelets it leads into.
    pub successors: Vec<ElementId>,
    /// To its left.
    pub adjacent_left: Option<Adjacent>,
    /// To its right.
    pub adjacent_right: Option<Adjacent>,
    /// What it is for.
    pub kind: LaneletKind,
    /// Paint on the left bound.
    pub left_marking: LineMarking,
    /// Paint on the right bound.
    pub right_marking: LineMarking,
    /// Where to stop.
    pub stop_line: Option<StopLine>,
    /// Allowed speed.
    pub speed_limit_mps: Option<f64>,
    /// Signs that hold here.
    pub signs: Vec<ElementId>,
    /// Lights that hold here.
    pub lights: Vec<ElementId>,
}

impl Lanelet {
    /// A lanelet between two bounds, with everything else absent. Bounds of different length or number of points get
    /// their centre from points at equal parts of their lengths.
    ///
    /// # Panics
    /// If the bounds run so that all of their centre is one point: readers of files use [`Lanelet::try_new`].
    pub fn new(id: ElementId, left: Polyline, right: Polyline) -> Lanelet {
        Lanelet::try_new(id, left, right).expect("the centre of a lanelet is a line")
    }

    /// As [`Lanelet::new`], but `None` if all of the centre is one point.
    pub fn try_new(id: ElementId, left: Polyline, right: Polyline) -> Option<Lanelet> {
        let center = center_line(&left, &right)?;
        Some(Lanelet {
            id,
            left,
            right,
            center,
            predecessors: Vec::new(),
            successors: Vec::new(),
            adjacent_left: None,
            adjacent_right: None,
            kind: LaneletKind::Unknown,
            left_marking: LineMarking::Unknown,
            right_marking: LineMarking::Unknown,
            stop_line: None,
            speed_limit_mps: None,
            signs: Vec::new(),
            lights: Vec::new(),
        })
    }

    /// Its outline: along the left bound, back along the right.
    pub fn polygon(&self) -> Vec<Point> {
        self.left.points().iter().chain(self.right.points().iter().rev()).copied().collect()
    }

    /// Width at a station of the centre line.
    pub fn width_at(&self, s_m: f64) -> f64 {
        let part = (s_m / self.center.length()).clamp(0.0, 1.0);
        self.left.at(part * self.left.length()).distance(self.right.at(part * self.right.length()))
    }
}

fn center_line(left: &Polyline, right: &Polyline) -> Option<Polyline> {
    if left.points().len() == right.points().len() {
        return Polyline::try_new(left.points().iter().zip(right.points()).map(|(l, r)| l.lerp(*r, 0.5)));
    }
    let n = left.points().len().max(right.points().len()) - 1;
    Polyline::try_new((0..=n).map(|i| {
        let part = i as f64 / n as f64;
        left.at(part * left.length()).lerp(right.at(part * right.length()), 0.5)
    }))
}

/// What a sign says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SignKind {
    /// Allowed speed.
    SpeedLimit {
        /// In metres per second.
        speed_mps: f64,
    },
    /// Stop and give way.
    Stop,
    /// Give way.
    Yield,
    /// This road goes first.
    Priority,
    /// Anything else.
    Other,
}

/// A traffic sign.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSign {
    /// Its id.
    pub id: ElementId,
    /// What it says.
    pub kind: SignKind,
    /// Its number in the country's catalogue, as the file has it.
    pub code: String,
    /// Where it stands.
    pub position: Point,
    /// Direction of travel of those it faces.
    pub heading_rad: f64,
}

/// A traffic light that repeats its cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficLight {
    /// Its id.
    pub id: ElementId,
    /// Where it stands.
    pub position: Point,
    /// Direction of travel of those it faces.
    pub heading_rad: f64,
    /// What it shows, and for how many seconds.
    pub cycle: Vec<(LightColor, f64)>,
    /// How far into the cycle it is at time 0.
    pub offset_s: f64,
}

impl TrafficLight {
    /// What it shows at a time.
    pub fn color_at(&self, t_s: f64) -> LightColor {
        let whole: f64 = self.cycle.iter().map(|(_, duration)| duration).sum();
        if whole <= 0.0 {
            return LightColor::Inactive;
        }
        let mut rest = (t_s + self.offset_s).rem_euclid(whole);
        for (color, duration) in &self.cycle {
            if rest < *duration {
                return *color;
            }
            rest -= duration;
        }
        self.cycle[0].0
    }
}

/// All lanelets of a scenario with what stands beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoadNetwork {
    /// In the order of the file.
    pub lanelets: Vec<Lanelet>,
    /// Signs.
    pub signs: Vec<TrafficSign>,
    /// Lights.
    pub lights: Vec<TrafficLight>,
    paved: Vec<Vec<Point>>,
    /// Bounding box of each paved area.
    paved_extents: Vec<[Point; 2]>,
    index: HashMap<ElementId, usize>,
    /// Bounding box of each lanelet: least and greatest corner.
    extents: Vec<[Point; 2]>,
}

impl RoadNetwork {
    /// A network; where an id stands twice the first lanelet keeps it (readers refuse such files).
    pub fn new(lanelets: Vec<Lanelet>, signs: Vec<TrafficSign>, lights: Vec<TrafficLight>) -> RoadNetwork {
        let mut index = HashMap::new();
        for (i, lanelet) in lanelets.iter().enumerate() {
            index.entry(lanelet.id).or_insert(i);
        }
        let points = |lanelet: &Lanelet| extent(lanelet.left.points().iter().chain(lanelet.right.points()));
        let extents = lanelets.iter().map(points).collect();
        RoadNetwork { lanelets, signs, lights, index, extents, ..RoadNetwork::default() }
    }

    /// Says what is paved beside the lanelets.
    pub fn set_paved(&mut self, outlines: Vec<Vec<Point>>) {
        self.paved_extents = outlines.iter().map(|outline| extent(outline.iter())).collect();
        self.paved = outlines;
    }

    /// Outlines of paved areas that reach beyond the lanelets, as the inside of a junction does. Files have none.
    pub fn paved(&self) -> &[Vec<Point>] {
        &self.paved
    }

    /// The lanelet with an id.
    pub fn lanelet(&self, id: ElementId) -> Option<&Lanelet> {
        self.index.get(&id).map(|i| &self.lanelets[*i])
    }

    /// The lanelets in which a point lies, in the order of the file.
    pub fn lanelets_at(&self, point: Point) -> impl Iterator<Item = &Lanelet> {
        self.lanelets.iter().zip(&self.extents).filter_map(move |(lanelet, extent)| {
            (within(extent, point) && polygon_contains(&lanelet.polygon(), point)).then_some(lanelet)
        })
    }

    /// Whether cars drive at a point: in a lane for cars (parking is none), or elsewhere on a paved area.
    pub fn is_road(&self, point: Point) -> bool {
        let mut paved = self.paved.iter().zip(&self.paved_extents);
        self.lanelets_at(point).any(|lanelet| lanelet.kind.is_for_cars())
            || paved.any(|(outline, extent)| within(extent, point) && polygon_contains(outline, point))
    }

    /// The lanelet a vehicle most likely uses: of those its position lies in, the one closest in direction.
    pub fn lanelet_for(&self, point: Point, heading_rad: f64) -> Option<&Lanelet> {
        let turn = |lanelet: &Lanelet| {
            let foot = lanelet.center.project(point);
            crate::geometry::wrap_angle(lanelet.center.heading_at(foot.s_m) - heading_rad).abs()
        };
        self.lanelets_at(point).min_by(|a, b| turn(a).total_cmp(&turn(b)))
    }

    /// The lanelets whose bounding boxes come within a distance of a point.
    pub fn lanelets_near(&self, point: Point, distance_m: f64) -> impl Iterator<Item = &Lanelet> {
        self.lanelets.iter().zip(&self.extents).filter_map(move |(lanelet, [low, high])| {
            let dx = (low.x - point.x).max(point.x - high.x).max(0.0);
            let dy = (low.y - point.y).max(point.y - high.y).max(0.0);
            (dx * dx + dy * dy <= distance_m * distance_m).then_some(lanelet)
        })
    }
}

fn within([low, high]: &[Point; 2], point: Point) -> bool {
    low.x <= point.x && point.x <= high.x && low.y <= point.y && point.y <= high.y
}

/// Least and greatest corner.
fn extent<'a>(points: impl Iterator<Item = &'a Point>) -> [Point; 2] {
    let (mut low, mut high) =
        (Point::new(f64::INFINITY, f64::INFINITY), Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY));
    for p in points {
        low = Point::new(low.x.min(p.x), low.y.min(p.y));
        high = Point::new(high.x.max(p.x), high.y.max(p.y));
    }
    [low, high]
}
