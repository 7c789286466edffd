//! Roads from a seed: highways with ramps, dense urban freeways, rural roads, chains of junctions, roundabouts.
//!
//! Everything is right-hand traffic. Neighbouring lanelets share their bound point by point, and a successor's bounds
//! start in the very points in which its predecessor's end. The same kind, options and random stream give the same roads.

use crate::Rng;
use crate::geometry::{Point, Polyline};
use crate::road::{ElementId, RoadNetwork};
use crate::route::{LaneGraph, Route, RouteGoal};

mod builder;
mod conflict;
mod highway;
mod junction;
mod roundabout;
mod rural;
mod spine;
mod street;
mod urban;

/// What kind of road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoadKind {
    /// One carriageway of 2 to 5 lanes, mostly with ramps.
    Highway,
    /// A short stretch of a wide urban freeway, 5 or 6 lanes, slow and dense, as in the US-101 recordings.
    DenseHighway,
    /// One lane each way, with bends.
    Rural,
    /// A street with 2 to 4 junctions.
    Urban,
    /// A roundabout with 3 or 4 arms.
    Roundabout,
}

impl RoadKind {
    /// All kinds.
    pub const ALL: [RoadKind; 5] =
        [RoadKind::Highway, RoadKind::DenseHighway, RoadKind::Rural, RoadKind::Urban, RoadKind::Roundabout];

    /// A short name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            RoadKind::Highway => "highway",
            RoadKind::DenseHighway => "dense",
            RoadKind::Rural => "rural",
            RoadKind::Urban => "urban",
            RoadKind::Roundabout => "roundabout",
        }
    }
}

/// Choices that are otherwise left to the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoadOptions {
    /// Length of a highway or rural road; at least 100 m are made.
    pub length_m: Option<f64>,
    /// Lanes of a highway, or of the main street per direction.
    pub lanes: Option<usize>,
    /// Allowed speed.
    pub speed_limit_mps: Option<f64>,
    /// Number of junctions of a street.
    pub junctions: Option<usize>,
    /// How the junctions of a street are ruled.
    pub control: Option<JunctionControl>,
    /// Streets without kerbs, sidewalks and parked cars, with narrow lanes that have the paint of files that do not name any,
    /// and junctions with tight corners and grass between the lanes, as in road networks made for traffic simulation (SUMO).
    pub plain: bool,
}

/// How a junction is ruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JunctionControl {
    /// Traffic lights.
    Lights,
    /// The side roads give way.
    Yield,
    /// The side roads stop and give way.
    Stop,
    /// Who enters gives way to who goes round.
    Roundabout,
}

/// Why one lanelet goes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A stop or yield sign.
    Sign,
    /// A turn to the left across or into the way of oncoming traffic.
    LeftTurn,
    /// Lights keep the two apart: neither yields, but each must find the junction clear.
    Lights,
}

/// Two lanelets inside a junction whose traffic meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conflict {
    /// Whose traffic waits (of two kept apart by lights, either one).
    pub yielding: ElementId,
    /// Whose traffic goes first.
    pub priority: ElementId,
    /// Stations of the yielding lanelet's centre line between which the two come close.
    pub yielding_m: [f64; 2],
    /// The same of the other lanelet.
    pub priority_m: [f64; 2],
    /// Why.
    pub rule: Rule,
}

/// Where persons cross the road on foot.
#[derive(Clone, Debug, PartialEq)]
pub struct Crosswalk {
    /// Its lanelet.
    pub lanelet: ElementId,
    /// From sidewalk to sidewalk; walked either way.
    pub path: Polyline,
    /// Lanelets for cars that it crosses, each with the station of its centre line.
    pub crossed: Vec<(ElementId, f64)>,
    /// Persons walk only while this light shows red to the cars; without a light they go first.
    pub light: Option<ElementId>,
}

/// A place beside the road where a car may be parked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParkingSpot {
    /// Middle of the place.
    pub position: Point,
    /// Direction of the parked car.
    pub heading_rad: f64,
}

/// A junction.
#[derive(Clone, Debug, PartialEq)]
pub struct Junction {
    /// Its middle.
    pub center: Point,
    /// How it is ruled.
    pub control: JunctionControl,
    /// Lanelets that lead in and end at a stop line.
    pub incoming: Vec<ElementId>,
    /// Lanelets inside.
    pub inside: Vec<ElementId>,
    /// Lanelets that lead out.
    pub outgoing: Vec<ElementId>,
}

/// Generated roads with what traffic needs to know about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The roads.
    pub roads: RoadNetwork,
    /// What kind they are.
    pub kind: RoadKind,
    /// Lanelets at whose start traffic enters.
    pub entries: Vec<ElementId>,
    /// Lanelets at whose end traffic leaves. Lanes that just end (acceleration lanes) are not among them.
    pub exits: Vec<ElementId>,
    /// Pairs of lanelets whose traffic meets.
    pub conflicts: Vec<Conflict>,
    /// Where persons cross.
    pub crosswalks: Vec<Crosswalk>,
    /// Where cars may be parked.
    pub parking: Vec<ParkingSpot>,
    /// Junctions.
    pub junctions: Vec<Junction>,
    /// Least and greatest speed that is usual here.
    pub usual_speed_mps: [f64; 2],
}

impl Layout {
    /// The cheapest way from the start of an entry to each exit that can be reached from it.
    pub fn routes_from(&self, graph: &LaneGraph, entry: ElementId) -> Vec<(ElementId, Route)> {
        let Some(lanelet) = self.roads.lanelet(entry) else { return Vec::new() };
        let start = lanelet.center.at(0.1_f64.min(0.5 * lanelet.center.length()));
        let heading = lanelet.center.heading_at(0.1);
        let way = |exit: &ElementId| {
            let goal = RouteGoal::lanelet(&self.roads, *exit);
            Some((*exit, Route::find(&self.roads, graph, start, heading, &goal)?))
        };
        self.exits.iter().filter_map(way).collect()
    }
}

/// Makes roads.
pub fn roads(kind: RoadKind, rng: &mut Rng, options: &RoadOptions) -> Layout {
    let mut builder = builder::Builder::default();
    let usual_speed_mps = match kind {
        RoadKind::Highway => highway::highway(&mut builder, rng, options),
        RoadKind::DenseHighway => highway::dense_highway(&mut builder, rng, options),
        RoadKind::Rural => rural::rural(&mut builder, rng, options),
        RoadKind::Urban => urban::urban(&mut builder, rng, options),
        RoadKind::Roundabout => roundabout::roundabout(&mut builder, rng, options),
    };
    builder.finish(kind, usual_speed_mps)
}
