//! Traffic signs and lights of the 2020a format.
//!
//! Signs are numbered by each country's catalogue; the country is the start of the benchmark id. The value of a speed
//! limit is in metres per second in every country, as commonroad-io's interpreter takes it. Signs and lights without a
//! position stand at the right edge of the road (the left one where people drive on the left): a speed limit at the start
//! of the lanelet, all else at its end.

use std::collections::{HashMap, HashSet};

use ergon_types::LightColor;

use super::element::{Element, Read};
use super::error::CommonRoadError;
use super::lanelets::SPEED_LIMIT_MAX_MPS;
use crate::geometry::Point;
use crate::road::{ElementId, Lanelet, SignKind, TrafficLight, TrafficSign};

/// Countries that drive on the left.
const LEFT_HAND: [&str; 21] = [
    "AUS", "CYP", "GBR", "HKG", "IDN", "IMN", "IND", "IRL", "JAM", "JEY", "JPN", "KEN", "MAC", "MLT", "MYS",
    "NPL", "NZL", "PAK", "SGP", "THA", "ZAF",
];
/// Longest cycle element: an hour at 0.01 s.
const DURATION_MAX_STEPS: f64 = 360_000.0;
/// Lanes to walk across in search of the edge of the road.
const LANES_MAX: usize = 32;

/// Lanelets as the signs and lights need them: by id, and by what refers to them.
struct Index<'l> {
    lanelets: &'l [Lanelet],
    by_id: HashMap<ElementId, usize>,
    by_sign: HashMap<ElementId, Vec<usize>>,
    by_light: HashMap<ElementId, Vec<usize>>,
    drives_left: bool,
}

impl<'l> Index<'l> {
    fn new(lanelets: &'l [Lanelet], benchmark: &str) -> Index<'l> {
        let country = benchmark.strip_prefix("C-").unwrap_or(benchmark);
        let drives_left = LEFT_HAND.iter().any(|left| country.starts_with(left));
        let (mut by_id, mut by_sign, mut by_light) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (i, lanelet) in lanelets.iter().enumerate() {
            by_id.insert(lanelet.id, i);
            for (ids, map) in [(&lanelet.signs, &mut by_sign), (&lanelet.lights, &mut by_light)] {
                for id in ids {
                    map.entry(*id).or_insert_with(Vec::new).push(i);
                }
            }
        }
        Index { lanelets, by_id, by_sign, by_light, drives_left }
    }

    /// Of the lanelets with a sign or light those where it is met first: none before them has it.
    fn first(&self, users: &[usize]) -> Vec<&'l Lanelet> {
        let all: HashSet<ElementId> = users.iter().map(|i| self.lanelets[*i].id).collect();
        let lanelets = || users.iter().map(|i| &self.lanelets[*i]);
        let first: Vec<_> =
            lanelets().filter(|lanelet| !lanelet.predecessors.iter().any(|id| all.contains(id))).collect();
        if first.is_empty() { lanelets().collect() } else { first }
    }

    /// The lanelet at the edge of the road on the side where signs stand, as far as all lead the same way.
    fn edge(&self, lanelet: &'l Lanelet) -> &'l Lanelet {
        let mut at = lanelet;
        for _ in 0..LANES_MAX {
            let next = if self.drives_left { at.adjacent_left } else { at.adjacent_right };
            match next.filter(|next| next.same_direction).and_then(|next| self.by_id.get(&next.id)) {
                Some(i) => at = &self.lanelets[*i],
                None => break,
            }
        }
        at
    }

    /// Where a sign or light stands, and the direction of travel of those it faces.
    fn place(
        &self,
        element: Element,
        users: Option<&Vec<usize>>,
        at_start: bool,
    ) -> Read<Option<(Point, f64)>> {
        let given = match element.find("position") {
            Some(position) => position.find("point").map(Element::point).transpose()?,
            None => None,
        };
        let first = users.map_or(Vec::new(), |users| self.first(users));
        let Some(lanelet) = nearest(&first, given) else {
            // Nothing refers to it: it regulates nobody, but it may stand there.
            return Ok(given.map(|point| (point, 0.0)));
        };
        let station = if at_start { 0.0 } else { lanelet.center.length() };
        let position = given.unwrap_or_else(|| {
            let edge = self.edge(lanelet);
            let bound = if self.drives_left { &edge.left } else { &edge.right };
            bound.at(if at_start { 0.0 } else { bound.length() })
        });
        Ok(Some((position, lanelet.center.heading_at(station))))
    }
}

fn nearest<'l>(lanelets: &[&'l Lanelet], point: Option<Point>) -> Option<&'l Lanelet> {
    let distance = |lanelet: &Lanelet| {
        let ends = [lanelet.center.at(0.0), lanelet.center.at(lanelet.center.length())];
        point.map_or(0.0, |point| ends[0].distance(point).min(ends[1].distance(point)))
    };
    lanelets.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// All signs and lights below the root. The lanelets get the speed limits of their signs, and lose references to signs
/// and lights that the file does not have and to signs that are marked as virtual, which nobody sees.
pub(super) fn read(
    root: Element,
    benchmark: &str,
    step_s: f64,
    lanelets: &mut [Lanelet],
) -> Read<(Vec<TrafficSign>, Vec<TrafficLight>)> {
    let index = Index::new(lanelets, benchmark);
    let (mut signs, mut limits, mut ids) = (Vec::new(), HashMap::new(), HashSet::new());
    for element in root.all("trafficSign") {
        let sign = sign(element, &index)?;
        take(&mut ids, element, sign.as_ref().map_or(element.id_attribute("id"), |sign| Ok(sign.id))?)?;
        let Some(sign) = sign else { continue };
        if let SignKind::SpeedLimit { speed_mps } = sign.kind {
            limits.insert(sign.id, speed_mps);
            if element.find("virtual").is_some_and(|word| word.text() == "true") {
                continue;
            }
        }
        signs.push(sign);
    }
    let (mut lights, mut light_ids) = (Vec::new(), HashSet::new());
    for element in root.all("trafficLight") {
        let light = light(element, &index, step_s)?;
        take(&mut light_ids, element, element.id_attribute("id")?)?;
        lights.extend(light);
    }
    let standing: HashSet<ElementId> = signs.iter().map(|sign| sign.id).collect();
    let shown: HashSet<ElementId> = lights.iter().map(|light| light.id).collect();
    for lanelet in lanelets {
        let lowest = lanelet.signs.iter().filter_map(|id| limits.get(id)).copied().min_by(f64::total_cmp);
        lanelet.speed_limit_mps = lowest.or(lanelet.speed_limit_mps);
        lanelet.signs.retain(|id| standing.contains(id));
        lanelet.lights.retain(|id| shown.contains(id));
    }
    Ok((signs, lights))
}

fn take(ids: &mut HashSet<ElementId>, element: Element, id: ElementId) -> Read<()> {
    if ids.insert(id) { Ok(()) } else { Err(CommonRoadError::DuplicateId { place: element.place(), id }) }
}

/// A sign; `None` if it has no position and no lanelet refers to it. Of several elements the one that limits or gives
/// the right of way counts.
fn sign(element: Element, index: &Index) -> Read<Option<TrafficSign>> {
    let id = element.id_attribute("id")?;
    let mut found: Option<(SignKind, String)> = None;
    for part in element.all("trafficSignElement") {
        let code = part.need("trafficSignID")?.text();
        let kind = kind(part, code)?;
        let known = !matches!(kind, SignKind::Other);
        if found.as_ref().is_none_or(|(before, _)| known && matches!(before, SignKind::Other)) {
            found = Some((kind, super::element::short(code)));
        }
    }
    let (kind, code) = found.ok_or_else(|| element.missing("trafficSignElement"))?;
    let at_start = matches!(kind, SignKind::SpeedLimit { .. });
    let place = index.place(element, index.by_sign.get(&id), at_start)?;
    Ok(place.map(|(position, heading_rad)| TrafficSign { id, kind, code, position, heading_rad }))
}

/// What a number of a catalogue says; the numbers are those that commonroad-io lists.
fn kind(element: Element, code: &str) -> Read<SignKind> {
    Ok(match code {
        "274" | "R2-1" | "r301" | "3.24" | "R15" | "C43" | "B14" | "\u{3a1}-32" | "B31" | "R4-1" => {
            match element.find("additionalValue") {
                Some(value) => SignKind::SpeedLimit { speed_mps: value.number(0.0, SPEED_LIMIT_MAX_MPS)? },
                None => SignKind::Other,
            }
        }
        "206" | "R1-1" | "R1-3" | "r2" => SignKind::Stop,
        "205" | "R1-2" | "r1" => SignKind::Yield,
        "306" | "301" => SignKind::Priority,
        _ => SignKind::Other,
    })
}

/// A light; `None` if it has no position and no lanelet refers to it.
fn light(element: Element, index: &Index, step_s: f64) -> Read<Option<TrafficLight>> {
    let id = element.id_attribute("id")?;
    let active = element.find("active").is_none_or(|word| word.text() != "false");
    let (mut cycle, mut whole_steps) = (Vec::new(), 0.0);
    let mut offset_steps = 0.0;
    if let Some(list) = element.find("cycle").filter(|_| active) {
        for part in list.all("cycleElement") {
            let steps = part.need("duration")?.number(0.0, DURATION_MAX_STEPS)?;
            cycle.push((color(part.need("color")?)?, steps * step_s));
            whole_steps += steps;
        }
        if let Some(offset) = list.find("timeOffset") {
            offset_steps = offset.number(-DURATION_MAX_STEPS, DURATION_MAX_STEPS)?;
        }
    }
    // The file says when the cycle begins, we say how far it is at time 0.
    let begun = if whole_steps > 0.0 { (-offset_steps).rem_euclid(whole_steps) } else { 0.0 };
    let place = index.place(element, index.by_light.get(&id), false)?;
    Ok(place.map(|(position, heading_rad)| TrafficLight {
        id,
        position,
        heading_rad,
        cycle,
        offset_s: begun * step_s,
    }))
}

fn color(element: Element) -> Read<LightColor> {
    Ok(match element.text() {
        "red" => LightColor::Red,
        "redYellow" => LightColor::RedYellow,
        "yellow" => LightColor::Yellow,
        "green" => LightColor::Green,
        "inactive" => LightColor::Inactive,
        other => return Err(element.wrong_word(other, "red, redYellow, yellow, green, inactive")),
    })
}
