//! Scenarios as CommonRoad 2020a files, which `commonroad-io` 2024.3 reads and whose numbers our reader reads back equal.
//!
//! What may come back different: bounds whose points do not face each other in pairs get points in between (the format
//! pairs them); signs and lights face whoever comes along the lanelet that refers to them, for the format has no headings;
//! durations of lights are rounded to whole time steps; a goal whose regions are shapes and lanelets becomes
//! two goals. A sign or light that no lanelet refers to is left out, because commonroad-io refuses it. The speed limit of
//! a lanelet that none of its signs gives is written as a virtual sign, which the reader turns back into the limit.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use ergon_types::{ActorKind, ActorState, LightColor};

use crate::geometry::{Point, Polyline};
use crate::road::{
    Adjacent, ElementId, Lanelet, LaneletKind, LineMarking, SignKind, TrafficLight, TrafficSign,
};
use crate::scenario::{Goal, RecordedActor, Region, Scenario};

/// The scenario as a 2020a file.
pub fn write(scenario: &Scenario) -> String {
    let mut xml =
        Xml { text: String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"), open: Vec::new() };
    let header = format!(
        "commonRoad timeStepSize=\"{}\" commonRoadVersion=\"2020a\" benchmarkID=\"{}\" author=\"{}\" affiliation=\"\" \
         source=\"{}\"",
        scenario.step_s,
        escaped(&scenario.id),
        escaped(&scenario.author),
        escaped(&scenario.source)
    );
    xml.inside(&header, |xml| {
        xml.inside("location", |xml| {
            // The format's way to say that the place is not known.
            xml.leaf("geoNameId", "-999");
            xml.leaf("gpsLatitude", "999");
            xml.leaf("gpsLongitude", "999");
        });
        xml.empty("scenarioTags");
        Writer::new(scenario).body(xml);
    });
    xml.text
}

/// Text for an attribute or element.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// XML under construction.
struct Xml {
    text: String,
    open: Vec<String>,
}

impl Xml {
    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.open.len()));
    }

    /// An element with what `content` writes into it; `head` is its name and attributes.
    fn inside(&mut self, head: &str, content: impl FnOnce(&mut Xml)) {
        self.indent();
        let _ = writeln!(self.text, "<{head}>");
        self.open.push(head.split(' ').next().unwrap_or_default().to_owned());
        content(self);
        let name = self.open.pop().unwrap_or_default();
        self.indent();
        let _ = writeln!(self.text, "</{name}>");
    }

    fn leaf(&mut self, name: &str, value: impl std::fmt::Display) {
        self.indent();
        let _ = writeln!(self.text, "<{name}>{value}</{name}>");
    }

    fn empty(&mut self, head: &str) {
        self.indent();
        let _ = writeln!(self.text, "<{head}/>");
    }

    fn point(&mut self, name: &str, point: Point) {
        self.indent();
        let _ = writeln!(self.text, "<{name}><x>{}</x><y>{}</y></{name}>", point.x, point.y);
    }

    fn position(&mut self, point: Point) {
        self.inside("position", |xml| xml.point("point", point));
    }

    fn exact(&mut self, name: &str, value: impl std::fmt::Display) {
        self.indent();
        let _ = writeln!(self.text, "<{name}><exact>{value}</exact></{name}>");
    }

    fn interval<T: std::fmt::Display>(&mut self, name: &str, [start, end]: [T; 2]) {
        self.indent();
        let ends = format!("<intervalStart>{start}</intervalStart><intervalEnd>{end}</intervalEnd>");
        let _ = writeln!(self.text, "<{name}>{ends}</{name}>");
    }
}

struct Writer<'s> {
    scenario: &'s Scenario,
    /// Time step of the start in the file.
    start: i64,
    /// Virtual signs for limits that no sign gives: id by the limit's bits.
    limit_signs: BTreeMap<u64, ElementId>,
    /// What some lanelet refers to.
    referred: HashSet<ElementId>,
}

impl<'s> Writer<'s> {
    fn new(scenario: &'s Scenario) -> Writer<'s> {
        let roads = &scenario.roads;
        let lanelets = roads.lanelets.iter().map(|lanelet| lanelet.id);
        let beside = roads.signs.iter().map(|sign| sign.id).chain(roads.lights.iter().map(|light| light.id));
        let standing = scenario.obstacles.iter().map(|obstacle| obstacle.id.into());
        let actors = scenario.recorded.iter().map(|actor| actor.id.into());
        let taken = lanelets.chain(beside).chain(standing).chain(actors).chain([scenario.problem.id]);
        let mut free = taken.max().unwrap_or(0).max(0) + 1;
        let mut limit_signs = BTreeMap::new();
        for limit in roads.lanelets.iter().filter_map(|lanelet| unsigned_limit(lanelet, &roads.signs)) {
            limit_signs.entry(limit.to_bits()).or_insert_with(|| {
                free += 1;
                free - 1
            });
        }
        let referred =
            roads.lanelets.iter().flat_map(|lanelet| lanelet.signs.iter().chain(&lanelet.lights)).copied();
        Writer {
            scenario,
            start: (scenario.problem.initial.t_s / scenario.step_s).round() as i64,
            limit_signs,
            referred: referred.collect(),
        }
    }

    fn body(&self, xml: &mut Xml) {
        let roads = &self.scenario.roads;
        for lanelet in &roads.lanelets {
            self.lanelet(xml, lanelet);
        }
        for sign in roads.signs.iter().filter(|sign| self.referred.contains(&sign.id)) {
            let speed = match sign.kind {
                SignKind::SpeedLimit { speed_mps } => Some(speed_mps),
                _ => None,
            };
            traffic_sign(xml, sign.id, code(sign), speed, sign.position, false);
        }
        for (bits, id) in &self.limit_signs {
            let speed = f64::from_bits(*bits);
            let is_here = |lanelet: &&Lanelet| unsigned_limit(lanelet, &roads.signs) == Some(speed);
            let position =
                roads.lanelets.iter().find(is_here).map_or(Point::default(), |lanelet| lanelet.right.at(0.0));
            traffic_sign(xml, *id, "274", Some(speed), position, true);
        }
        for light in roads.lights.iter().filter(|light| self.referred.contains(&light.id)) {
            self.light(xml, light);
        }
        for obstacle in &self.scenario.obstacles {
            self.standing(xml, obstacle);
        }
        for actor in &self.scenario.recorded {
            self.moving(xml, actor);
        }
        self.problem(xml);
    }

    fn lanelet(&self, xml: &mut Xml, lanelet: &Lanelet) {
        let bounds = paired(lanelet);
        xml.inside(&format!("lanelet id=\"{}\"", lanelet.id), |xml| {
            for (name, points, marking) in [
                ("leftBound", &bounds[0], lanelet.left_marking),
                ("rightBound", &bounds[1], lanelet.right_marking),
            ] {
                xml.inside(name, |xml| {
                    points.iter().for_each(|point| xml.point("point", *point));
                    xml.leaf("lineMarking", marking_name(marking));
                });
            }
            lanelet.predecessors.iter().for_each(|id| xml.empty(&format!("predecessor ref=\"{id}\"")));
            lanelet.successors.iter().for_each(|id| xml.empty(&format!("successor ref=\"{id}\"")));
            adjacent(xml, "adjacentLeft", lanelet.adjacent_left);
            adjacent(xml, "adjacentRight", lanelet.adjacent_right);
            if let Some(line) = lanelet.stop_line {
                xml.inside("stopLine", |xml| {
                    xml.point("point", line.left);
                    xml.point("point", line.right);
                    xml.leaf("lineMarking", "solid");
                });
            }
            xml.leaf("laneletType", kind_name(lanelet.kind));
            let limit = unsigned_limit(lanelet, &self.scenario.roads.signs);
            let limit_sign = limit.and_then(|limit| self.limit_signs.get(&limit.to_bits()));
            let signs = lanelet.signs.iter().chain(limit_sign);
            signs.for_each(|id| xml.empty(&format!("trafficSignRef ref=\"{id}\"")));
            lanelet.lights.iter().for_each(|id| xml.empty(&format!("trafficLightRef ref=\"{id}\"")));
        });
    }

    fn light(&self, xml: &mut Xml, light: &TrafficLight) {
        let step_s = self.scenario.step_s;
        let steps = |duration: f64| (duration / step_s).round().max(1.0) as i64;
        // A light that is off has no cycle for us, but must have one in the file.
        let off = [(LightColor::Inactive, step_s)];
        let cycle = if light.cycle.is_empty() { &off[..] } else { &light.cycle[..] };
        let whole: i64 = cycle.iter().map(|(_, duration)| steps(*duration)).sum();
        let begun = ((light.offset_s - self.scenario.problem.initial.t_s) / step_s).round() as i64;
        xml.inside(&format!("trafficLight id=\"{}\"", light.id), |xml| {
            xml.inside("cycle", |xml| {
                for (color, duration) in cycle {
                    xml.inside("cycleElement", |xml| {
                        xml.leaf("duration", steps(*duration));
                        xml.leaf("color", color_name(*color));
                    });
                }
                xml.leaf("timeOffset", (-begun).rem_euclid(whole));
            });
            xml.position(light.position);
            xml.leaf("direction", "all");
            xml.leaf("active", !light.cycle.is_empty());
        });
    }

    fn standing(&self, xml: &mut Xml, obstacle: &ActorState) {
        xml.inside(&format!("staticObstacle id=\"{}\"", obstacle.id), |xml| {
            let name =
                if obstacle.kind == ActorKind::Car { "parkedVehicle" } else { actor_name(obstacle.kind) };
            xml.leaf("type", name);
            shape(xml, obstacle.length_m, obstacle.width_m);
            xml.inside("initialState", |xml| {
                xml.position(Point::new(obstacle.x_m, obstacle.y_m));
                xml.exact("orientation", obstacle.heading_rad);
                xml.exact("time", self.start);
            });
        });
    }

    fn moving(&self, xml: &mut Xml, actor: &RecordedActor) {
        let Some((initial, rest)) = actor.states.split_first() else {
            return;
        };
        let first = self.start + actor.first_step as i64;
        let one_size =
            actor.states.iter().all(|s| s.length_m == actor.length_m && s.width_m == actor.width_m);
        xml.inside(&format!("dynamicObstacle id=\"{}\"", actor.id), |xml| {
            xml.leaf("type", actor_name(actor.kind));
            shape(xml, actor.length_m, actor.width_m);
            xml.inside("initialState", |xml| state(xml, initial, first));
            if rest.is_empty() {
                return;
            }
            xml.inside(if one_size { "trajectory" } else { "occupancySet" }, |xml| {
                for (step, at) in (first + 1..).zip(rest) {
                    if one_size {
                        xml.inside("state", |xml| state(xml, at, step));
                    } else {
                        xml.inside("occupancy", |xml| {
                            xml.inside("shape", |xml| rectangle(xml, at));
                            xml.exact("time", step);
                        });
                    }
                }
            });
        });
    }

    fn problem(&self, xml: &mut Xml) {
        let problem = &self.scenario.problem;
        let initial = &problem.initial;
        xml.inside(&format!("planningProblem id=\"{}\"", problem.id), |xml| {
            xml.inside("initialState", |xml| {
                xml.position(Point::new(initial.x_m, initial.y_m));
                xml.exact("orientation", initial.heading_rad);
                xml.exact("time", self.start);
                xml.exact("velocity", initial.speed_mps);
                xml.exact("acceleration", initial.acceleration_mps2);
                xml.exact("yawRate", problem.initial_yaw_rate_radps);
                xml.exact("slipAngle", 0);
            });
            for goal in &problem.goals {
                let (lanelets, shapes): (Vec<_>, Vec<_>) =
                    goal.regions.iter().partition(|region| matches!(region, Region::Lanelets(_)));
                for regions in [shapes, lanelets] {
                    if !regions.is_empty() {
                        self.goal(xml, goal, &regions);
                    }
                }
                if goal.regions.is_empty() {
                    self.goal(xml, goal, &[]);
                }
            }
        });
    }

    fn goal(&self, xml: &mut Xml, goal: &Goal, regions: &[&Region]) {
        xml.inside("goalState", |xml| {
            if !regions.is_empty() {
                xml.inside("position", |xml| regions.iter().for_each(|region| goal_region(xml, region)));
            }
            if let Some([start, end]) = goal.heading_rad {
                // commonroad-io wants the end to be the greater number.
                let turns = ((start - end) / std::f64::consts::TAU).ceil().max(0.0);
                xml.interval("orientation", [start, end + turns * std::f64::consts::TAU]);
            }
            xml.interval("time", goal.steps.map(|step| self.start + step as i64));
            if let Some(speeds) = goal.speed_mps {
                xml.interval("velocity", speeds);
            }
        });
    }
}

fn goal_region(xml: &mut Xml, region: &Region) {
    match region {
        Region::Rectangle(shape) => xml.inside("rectangle", |xml| {
            xml.leaf("length", shape.length_m);
            xml.leaf("width", shape.width_m);
            xml.leaf("orientation", shape.heading_rad);
            xml.point("center", shape.center);
        }),
        Region::Circle { center, radius_m } => xml.inside("circle", |xml| {
            xml.leaf("radius", radius_m);
            xml.point("center", *center);
        }),
        Region::Polygon(corners) => {
            xml.inside("polygon", |xml| corners.iter().for_each(|corner| xml.point("point", *corner)));
        }
        Region::Lanelets(ids) => ids.iter().for_each(|id| xml.empty(&format!("lanelet ref=\"{id}\""))),
    }
}

/// The limit of a lanelet that none of its signs gives.
fn unsigned_limit(lanelet: &Lanelet, signs: &[TrafficSign]) -> Option<f64> {
    let limit = lanelet.speed_limit_mps?;
    let gives =
        |sign: &&TrafficSign| matches!(sign.kind, SignKind::SpeedLimit { speed_mps } if speed_mps == limit);
    let is_signed = signs.iter().filter(|sign| lanelet.signs.contains(&sign.id)).any(|sign| gives(&sign));
    (!is_signed).then_some(limit)
}

fn traffic_sign(
    xml: &mut Xml,
    id: ElementId,
    code: &str,
    speed: Option<f64>,
    position: Point,
    is_virtual: bool,
) {
    xml.inside(&format!("trafficSign id=\"{id}\""), |xml| {
        xml.inside("trafficSignElement", |xml| {
            xml.leaf("trafficSignID", escaped(code));
            if let Some(speed) = speed {
                xml.leaf("additionalValue", speed);
            }
        });
        xml.position(position);
        xml.leaf("virtual", is_virtual);
    });
}

/// The sign's number; for one that was made without, the German one, which commonroad-io uses for roads of no country.
fn code(sign: &TrafficSign) -> &str {
    match sign.kind {
        _ if !sign.code.is_empty() => &sign.code,
        SignKind::SpeedLimit { .. } => "274",
        SignKind::Stop => "206",
        SignKind::Yield => "205",
        SignKind::Priority => "306",
        SignKind::Other => "unknown",
    }
}

fn adjacent(xml: &mut Xml, name: &str, neighbour: Option<Adjacent>) {
    if let Some(Adjacent { id, same_direction }) = neighbour {
        let direction = if same_direction { "same" } else { "opposite" };
        xml.empty(&format!("{name} ref=\"{id}\" drivingDir=\"{direction}\""));
    }
}

fn shape(xml: &mut Xml, length_m: f64, width_m: f64) {
    xml.inside("shape", |xml| {
        xml.inside("rectangle", |xml| {
            xml.leaf("length", length_m);
            xml.leaf("width", width_m);
        });
    });
}

fn rectangle(xml: &mut Xml, at: &ActorState) {
    xml.inside("rectangle", |xml| {
        xml.leaf("length", at.length_m);
        xml.leaf("width", at.width_m);
        xml.leaf("orientation", at.heading_rad);
        xml.point("center", Point::new(at.x_m, at.y_m));
    });
}

fn state(xml: &mut Xml, at: &ActorState, step: i64) {
    xml.position(Point::new(at.x_m, at.y_m));
    xml.exact("orientation", at.heading_rad);
    xml.exact("time", step);
    xml.exact("velocity", at.speed_mps);
    xml.exact("acceleration", at.acceleration_mps2);
}

/// The points of the two bounds in pairs, as the format wants them.
fn paired(lanelet: &Lanelet) -> [Vec<Point>; 2] {
    facing(lanelet).unwrap_or_else(|| {
        // Both get points at the parts of length at which the other has one.
        let lines = [&lanelet.left, &lanelet.right];
        let parts_of =
            |line: &Polyline| -> Vec<f64> { line.stations().iter().map(|s| s / line.length()).collect() };
        let mut parts = lines.map(parts_of).concat();
        parts.sort_by(f64::total_cmp);
        parts.dedup_by(|a, b| *a - *b < 1e-9);
        lines.map(|line| parts.iter().map(|part| line.at(part * line.length())).collect())
    })
}

/// The pairs that the centre was made from, a point repeated where only the other bound goes on; `None` if it was made
/// otherwise.
fn facing(lanelet: &Lanelet) -> Option<[Vec<Point>; 2]> {
    let (left, right) = (lanelet.left.points(), lanelet.right.points());
    let (mut i, mut j) = (0, 0);
    let mut pairs = [Vec::new(), Vec::new()];
    for (k, center) in lanelet.center.points().iter().enumerate() {
        let steps: &[(usize, usize)] = if k == 0 { &[(0, 0)] } else { &[(1, 1), (1, 0), (0, 1)] };
        let is_middle = |(di, dj): &&(usize, usize)| match (left.get(i + di), right.get(j + dj)) {
            (Some(l), Some(r)) => l.lerp(*r, 0.5).distance(*center) < 1e-9,
            _ => false,
        };
        let (di, dj) = steps.iter().find(is_middle)?;
        (i, j) = (i + di, j + dj);
        pairs[0].push(left[i]);
        pairs[1].push(right[j]);
    }
    (i + 1 == left.len() && j + 1 == right.len()).then_some(pairs)
}

fn marking_name(marking: LineMarking) -> &'static str {
    match marking {
        LineMarking::Dashed => "dashed",
        LineMarking::Solid => "solid",
        LineMarking::BroadDashed => "broad_dashed",
        LineMarking::BroadSolid => "broad_solid",
        LineMarking::Curb => "curb",
        LineMarking::LoweredCurb => "lowered_curb",
        LineMarking::None => "no_marking",
        LineMarking::Unknown => "unknown",
    }
}

fn kind_name(kind: LaneletKind) -> &'static str {
    match kind {
        LaneletKind::Urban => "urban",
        LaneletKind::Country => "country",
        LaneletKind::Highway => "highway",
        LaneletKind::Ramp => "accessRamp",
        LaneletKind::Shoulder => "shoulder",
        LaneletKind::BusLane => "busLane",
        LaneletKind::BicycleLane => "bicycleLane",
        LaneletKind::Sidewalk => "sidewalk",
        LaneletKind::Crosswalk => "crosswalk",
        LaneletKind::Intersection => "intersection",
        LaneletKind::Parking => "parking",
        LaneletKind::Unknown => "unknown",
    }
}

fn actor_name(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::Obstacle => "unknown",
        ActorKind::Car => "car",
        ActorKind::Truck => "truck",
        ActorKind::Bus => "bus",
        ActorKind::Motorcycle => "motorcycle",
        ActorKind::Bicycle => "bicycle",
        ActorKind::Pedestrian => "pedestrian",
    }
}

fn color_name(color: LightColor) -> &'static str {
    match color {
        LightColor::Red => "red",
        LightColor::RedYellow => "redYellow",
        LightColor::Yellow => "yellow",
        LightColor::Green => "green",
        LightColor::Inactive => "inactive",
    }
}
