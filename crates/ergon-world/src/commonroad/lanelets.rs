//! Lanelets: bounds, neighbours, kinds, stop lines and references to what regulates them.

use std::collections::HashSet;

use super::element::{Element, Read};
use super::error::CommonRoadError;
use crate::geometry::{Point, Polyline};
use crate::road::{Adjacent, Lanelet, LaneletKind, LineMarking, StopLine};

/// Fastest speed limit that is taken for one, metres per second.
pub(super) const SPEED_LIMIT_MAX_MPS: f64 = 150.0;

/// All lanelets below the root, each reference to another lanelet checked.
pub(super) fn read(root: Element) -> Read<Vec<Lanelet>> {
    let mut lanelets = Vec::new();
    let mut ids = HashSet::new();
    for element in root.all("lanelet") {
        let lanelet = lanelet(element)?;
        if !ids.insert(lanelet.id) {
            return Err(CommonRoadError::DuplicateId { place: element.place(), id: lanelet.id });
        }
        lanelets.push(lanelet);
    }
    if lanelets.is_empty() {
        return Err(CommonRoadError::NoRoad);
    }
    for element in root.all("lanelet") {
        check_references(element, &ids)?;
    }
    Ok(lanelets)
}

fn check_references(element: Element, ids: &HashSet<i64>) -> Read<()> {
    let own = element.id_attribute("id")?;
    for name in ["predecessor", "successor", "adjacentLeft", "adjacentRight"] {
        for reference in element.all(name) {
            let id = reference.id_attribute("ref")?;
            if id == own && name.starts_with("adjacent") {
                return Err(CommonRoadError::SelfReference { place: reference.place() });
            }
            if !ids.contains(&id) {
                return Err(CommonRoadError::UnknownLanelet { place: reference.place(), id });
            }
        }
    }
    Ok(())
}

fn lanelet(element: Element) -> Read<Lanelet> {
    let id = element.id_attribute("id")?;
    let (left, right) = (element.need("leftBound")?, element.need("rightBound")?);
    let mut lanelet = between(id, left, right)?;
    lanelet.left_marking = marking(left);
    lanelet.right_marking = marking(right);
    lanelet.predecessors = references(element, "predecessor")?;
    lanelet.successors = references(element, "successor")?;
    lanelet.adjacent_left = adjacent(element, "adjacentLeft")?;
    lanelet.adjacent_right = adjacent(element, "adjacentRight")?;
    lanelet.kind = kind(element);
    lanelet.speed_limit_mps = speed_limit(element)?;
    lanelet.signs = references(element, "trafficSignRef")?;
    lanelet.lights = references(element, "trafficLightRef")?;
    if let Some(line) = element.find("stopLine") {
        lanelet.stop_line = Some(stop_line(line, &lanelet)?);
        // Signs and lights at the stop line regulate the lanelet, whether or not it names them too.
        for id in references(line, "trafficSignRef")? {
            add(&mut lanelet.signs, id);
        }
        for id in references(line, "trafficLightRef")? {
            add(&mut lanelet.lights, id);
        }
    }
    Ok(lanelet)
}

fn add(ids: &mut Vec<i64>, id: i64) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// The lanelet between two bounds. Their points face each other in pairs; files repeat a point on one side where only
/// the other goes on, so the centre is made before repeated points are dropped.
fn between(id: i64, left: Element, right: Element) -> Read<Lanelet> {
    let line = |points: &[Point], element: Element| {
        let line = Polyline::try_new(points.iter().copied());
        line.ok_or_else(|| CommonRoadError::NoLine { place: element.place() })
    };
    let points = [left.points()?, right.points()?];
    let no_line = || CommonRoadError::NoLine { place: right.place() };
    let mut lanelet =
        Lanelet::try_new(id, line(&points[0], left)?, line(&points[1], right)?).ok_or_else(no_line)?;
    if points[0].len() == points[1].len() {
        let pairs = points[0].iter().zip(&points[1]);
        lanelet.center = Polyline::try_new(pairs.map(|(l, r)| l.lerp(*r, 0.5))).ok_or_else(no_line)?;
    }
    Ok(lanelet)
}

/// The ids that the references of a name give.
fn references(element: Element, name: &'static str) -> Read<Vec<i64>> {
    element.all(name).map(|reference| reference.id_attribute("ref")).collect()
}

fn adjacent(element: Element, name: &'static str) -> Read<Option<Adjacent>> {
    let Some(neighbour) = element.find(name) else {
        return Ok(None);
    };
    let same_direction = match neighbour.attribute("drivingDir") {
        Some("same") => true,
        Some("opposite") => false,
        Some(other) => return Err(neighbour.wrong_word(other, "same, opposite")),
        None => return Err(neighbour.missing("drivingDir")),
    };
    Ok(Some(Adjacent { id: neighbour.id_attribute("ref")?, same_direction }))
}

/// 2018b's limit of the lanelet itself. The NGSIM files say how fast in metres per second; "inf" means no limit.
fn speed_limit(element: Element) -> Read<Option<f64>> {
    match element.find("speedLimit") {
        Some(limit) if matches!(limit.text(), "inf" | "infinity" | "INF") => Ok(None),
        Some(limit) => limit.number(0.0, SPEED_LIMIT_MAX_MPS).map(Some),
        None => Ok(None),
    }
}

fn stop_line(element: Element, lanelet: &Lanelet) -> Read<StopLine> {
    let points = element.points()?;
    Ok(match points[..] {
        // Without points it is the end of the lanelet.
        [] | [_] => StopLine {
            left: lanelet.left.at(lanelet.left.length()),
            right: lanelet.right.at(lanelet.right.length()),
        },
        [a, b, ..] => {
            // The file does not say which end is which.
            let (foot_a, foot_b) = (lanelet.center.project(a).d_m, lanelet.center.project(b).d_m);
            if foot_a >= foot_b { StopLine { left: a, right: b } } else { StopLine { left: b, right: a } }
        }
    })
}

/// A word that is not known counts as unknown: later formats have more.
fn marking(bound: Element) -> LineMarking {
    match bound.find("lineMarking").map_or("", Element::text) {
        "dashed" | "dashed_dashed" => LineMarking::Dashed,
        "solid" | "solid_solid" | "solid_dashed" | "dashed_solid" => LineMarking::Solid,
        "broad_dashed" => LineMarking::BroadDashed,
        "broad_solid" => LineMarking::BroadSolid,
        "curb" => LineMarking::Curb,
        "lowered_curb" => LineMarking::LoweredCurb,
        "no_marking" => LineMarking::None,
        _ => LineMarking::Unknown,
    }
}

/// The kind that says most about who drives there, of those that the lanelet has.
fn kind(element: Element) -> LaneletKind {
    let kinds = element.all("laneletType").map(|kind| match kind.text() {
        "crosswalk" => (0, LaneletKind::Crosswalk),
        "sidewalk" => (1, LaneletKind::Sidewalk),
        "bicycleLane" => (2, LaneletKind::BicycleLane),
        "parking" => (3, LaneletKind::Parking),
        "busLane" | "busStop" | "restricted" => (4, LaneletKind::BusLane),
        "shoulder" | "border" | "restricted_area" => (5, LaneletKind::Shoulder),
        "accessRamp" | "exitRamp" => (6, LaneletKind::Ramp),
        "intersection" => (7, LaneletKind::Intersection),
        "highway" | "interstate" | "mainCarriageWay" => (8, LaneletKind::Highway),
        "urban" | "driveWay" => (9, LaneletKind::Urban),
        "country" => (10, LaneletKind::Country),
        _ => (11, LaneletKind::Unknown),
    });
    kinds.min_by_key(|(rank, _)| *rank).map_or(LaneletKind::Unknown, |(_, kind)| kind)
}
