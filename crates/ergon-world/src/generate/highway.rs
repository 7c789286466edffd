//! Highways: one carriageway with ramps, and mostly the other one as scenery with its own traffic.

use super::RoadOptions;
use super::builder::{Builder, Lane, Section};
use super::spine::{Bends, Curvature, Station, beside, spine};
use crate::Rng;
use crate::geometry::Point;
use crate::road::{ElementId, LaneletKind, LineMarking, SignKind};

/// Distance of points along a highway.
const STEP_M: f64 = 4.0;
/// Length of a ramp beside the carriageway.
const RAMP_M: f64 = 180.0;

/// Up to this width the tip between carriageway and ramp is paved.
const TIP_M: f64 = 3.0;

/// Where an extra lane runs on the right.
#[derive(Clone, Copy, Debug)]
struct Zone {
    /// First and last station, as numbers of points.
    span: [usize; 2],
    /// A ramp leads onto it.
    on: bool,
    /// A ramp leads off it.
    off: bool,
}

/// What the carriageway looks like.
struct Plan {
    lanes: usize,
    lane_m: f64,
    /// Width of the shoulder, if there is one.
    shoulder_m: Option<f64>,
    speed_limit_mps: f64,
    /// Longest section.
    section_m: f64,
    zones: Vec<Zone>,
    /// Length of the parts of ramps that are made, in points.
    ramp: usize,
}

/// A motorway. Returns the usual speeds.
pub(super) fn highway(builder: &mut Builder, rng: &mut Rng, options: &RoadOptions) -> [f64; 2] {
    let limits = [60.0, 80.0, 100.0, 120.0, 130.0];
    let speed_limit_mps = options.speed_limit_mps.unwrap_or(limits[rng.below(limits.len())] / 3.6);
    let length_m = options.length_m.unwrap_or_else(|| rng.range(700.0, 1600.0)).max(100.0);
    // At the limit, 1.2 m/s2 across at most.
    let radius = (speed_limit_mps * speed_limit_mps / 1.2).max(250.0);
    let bends = Bends { radius_m: [radius, 4.0 * radius], length_m: [80.0, 400.0], turn_max_rad: 1.2 };
    let spine = lay_out(rng, length_m, bends);
    let zones = zones(rng, spine.len() - 1);
    let plan = Plan {
        lanes: options.lanes.unwrap_or_else(|| [2, 2, 3, 3, 4, 5][rng.below(6)]).clamp(1, 8),
        lane_m: rng.range(3.4, 3.75),
        shoulder_m: rng.chance(0.6).then(|| rng.range(2.5, 3.0)),
        speed_limit_mps,
        section_m: rng.range(200.0, 350.0),
        zones,
        ramp: (RAMP_M / STEP_M) as usize,
    };
    carriageway(builder, &spine, &plan);
    if rng.chance(0.6) {
        let median_m = rng.range(3.0, 8.0);
        other_carriageway(builder, &spine, &plan, median_m);
    }
    [(0.7 * speed_limit_mps).min(22.0), speed_limit_mps * 1.05]
}

/// A short stretch of a wide urban freeway. Returns the usual speeds.
pub(super) fn dense_highway(builder: &mut Builder, rng: &mut Rng, options: &RoadOptions) -> [f64; 2] {
    // 55 or 65 mph.
    let speed_limit_mps = options.speed_limit_mps.unwrap_or(if rng.chance(0.7) { 29.06 } else { 24.59 });
    let length_m = options.length_m.unwrap_or_else(|| rng.range(200.0, 700.0)).max(100.0);
    let bends = Bends { radius_m: [700.0, 2500.0], length_m: [80.0, 300.0], turn_max_rad: 0.8 };
    let spine = lay_out(rng, length_m, bends);
    let last = spine.len() - 1;
    let ramp = (60.0 / STEP_M) as usize;
    let mut zones = Vec::new();
    // An auxiliary lane from an on-ramp to the next off-ramp, as on US-101.
    if last > 2 * ramp + 25 && rng.chance(0.6) {
        let first = ramp + rng.below(last - 2 * ramp - 24);
        let end = (first + 20 + rng.below(50)).min(last - ramp);
        let (on, off) = [(true, true), (true, false), (false, true)][rng.below(3)];
        zones.push(Zone { span: [first, end], on, off });
    }
    let plan = Plan {
        lanes: options.lanes.unwrap_or(5 + rng.below(2)).clamp(1, 8),
        lane_m: rng.range(3.5, 3.75),
        shoulder_m: rng.chance(0.5).then(|| rng.range(2.5, 3.0)),
        speed_limit_mps,
        section_m: rng.range(60.0, 250.0),
        zones,
        ramp,
    };
    carriageway(builder, &spine, &plan);
    if rng.chance(0.4) {
        other_carriageway(builder, &spine, &plan, 3.0);
    }
    [5.0, 20.0]
}

fn lay_out(rng: &mut Rng, length_m: f64, bends: Bends) -> Vec<Station> {
    let curvature = Curvature::random(rng, length_m, bends);
    let start = Station::new(Point::default(), rng.range(-3.1, 3.1));
    spine(start, length_m, STEP_M, &curvature)
}

/// Ramps that do not get in each other's way.
fn zones(rng: &mut Rng, last: usize) -> Vec<Zone> {
    let points = |m: f64| (m / STEP_M) as usize;
    let (ramp, mut zones) = (points(RAMP_M), Vec::new());
    let mut next = ramp + points(rng.range(20.0, 200.0));
    loop {
        let length = points(rng.range(160.0, 260.0));
        if next + length + ramp + 2 > last || !rng.chance(0.85) {
            return zones;
        }
        let weave = rng.chance(0.2);
        let on = weave || rng.chance(0.5);
        zones.push(Zone { span: [next, next + length], on, off: weave || !on });
        // Room for the ramp off this zone and the ramp onto the next.
        next += length + 2 * ramp + points(rng.range(60.0, 300.0));
    }
}

/// The borders between sections and whether each section has an extra lane or a shoulder.
fn sections(plan: &Plan, last: usize) -> Vec<([usize; 2], bool, bool)> {
    let mut parts = Vec::new();
    let mut from = 0;
    let plain = |from: usize, to: usize, shoulder: bool| {
        if to <= from {
            return Vec::new();
        }
        let n = ((to - from) as f64 * STEP_M / plan.section_m).ceil().max(1.0) as usize;
        (0..n)
            .map(|i| ([from + (to - from) * i / n, from + (to - from) * (i + 1) / n], false, shoulder))
            .collect()
    };
    for zone in &plan.zones {
        let lead = if zone.on { plan.ramp.min(zone.span[0] - from) } else { 0 };
        parts.extend(plain(from, zone.span[0] - lead, true));
        parts.extend(plain(zone.span[0] - lead, zone.span[0], false));
        parts.push((zone.span, true, false));
        let trail = if zone.off { plan.ramp.min(last - zone.span[1]) } else { 0 };
        parts.extend(plain(zone.span[1], zone.span[1] + trail, false));
        from = zone.span[1] + trail;
    }
    parts.extend(plain(from, last, true));
    parts
}

fn carriageway(builder: &mut Builder, spine: &[Station], plan: &Plan) {
    let last = spine.len() - 1;
    let mut before: Vec<ElementId> = Vec::new();
    let mut shoulder_before = None;
    for (span, extra, shoulder) in sections(plan, last) {
        let part = &spine[span[0]..=span[1]];
        let mut ids = cross_section(builder, part, plan, extra, shoulder);
        let shoulder_id = ids.pop_if(|_| shoulder && plan.shoulder_m.is_some());
        let extra_id = ids.pop_if(|_| extra);
        if before.is_empty() {
            builder.entries.extend(&ids);
            let post = part[1].beside(1.0);
            builder.sign(
                SignKind::SpeedLimit { speed_mps: plan.speed_limit_mps },
                post,
                part[1].heading_rad,
                &ids,
            );
        }
        before.iter().zip(&ids).for_each(|(from, to)| builder.link(*from, *to));
        if let (Some(from), Some(to)) = (shoulder_before, shoulder_id) {
            builder.link(from, to);
        }
        if let Some(extra_id) = extra_id {
            let zone = plan.zones.iter().find(|zone| zone.span == span);
            ramps(builder, spine, plan, zone, extra_id);
        }
        (before, shoulder_before) = (ids, shoulder_id);
    }
    builder.exits.extend(before);
}

/// The lanelets of one section of the carriageway, from left to right.
fn cross_section(
    builder: &mut Builder,
    part: &[Station],
    plan: &Plan,
    extra: bool,
    shoulder: bool,
) -> Vec<ElementId> {
    let mut offsets: Vec<f64> = (0..=plan.lanes).map(|k| -(k as f64) * plan.lane_m).collect();
    let mut markings = vec![LineMarking::Dashed; plan.lanes + 1];
    (markings[0], markings[plan.lanes]) = (LineMarking::Solid, LineMarking::Solid);
    let mut lanes = vec![Lane { kind: LaneletKind::Highway, forward: true }; plan.lanes];
    let edge = offsets[plan.lanes];
    if extra {
        offsets.push(edge - plan.lane_m);
        markings[plan.lanes] = LineMarking::BroadDashed;
        markings.push(LineMarking::Solid);
        lanes.push(Lane { kind: LaneletKind::Ramp, forward: true });
    } else if let Some(width) = plan.shoulder_m.filter(|_| shoulder) {
        offsets.push(edge - width);
        markings.push(LineMarking::None);
        lanes.push(Lane { kind: LaneletKind::Shoulder, forward: true });
    }
    let lines = offsets.iter().map(|d| vec![*d; part.len()]).collect();
    builder.section(&Section { spine: part, lines, markings, lanes, speed_limit_mps: plan.speed_limit_mps })
}

/// The ramps onto and off an extra lane.
fn ramps(builder: &mut Builder, spine: &[Station], plan: &Plan, zone: Option<&Zone>, extra: ElementId) {
    let Some(zone) = zone else { return };
    let limit = plan.speed_limit_mps.min(22.3);
    if zone.on {
        let part = &spine[zone.span[0] - plan.ramp.min(zone.span[0])..=zone.span[0]];
        let id = ramp(builder, part, plan, limit, |part| 1.0 - part);
        builder.link(id, extra);
        builder.entries.push(id);
    }
    if zone.off {
        let part = &spine[zone.span[1]..=(zone.span[1] + plan.ramp).min(spine.len() - 1)];
        let id = ramp(builder, part, plan, limit, |part| part);
        builder.link(extra, id);
        builder.exits.push(id);
    }
}

/// One ramp beside a part of the carriageway; `away` says how far along the ramp, from the carriageway, a part is.
fn ramp(
    builder: &mut Builder,
    part: &[Station],
    plan: &Plan,
    limit: f64,
    away: impl Fn(f64) -> f64,
) -> ElementId {
    let last = (part.len() - 1) as f64;
    let length_m = last * STEP_M;
    // A constant curvature: 25 m aside after 180 m, and clear of the carriageway at the end of a short one.
    let aside = (25.0 * (length_m / RAMP_M).powi(2)).max(6.0);
    let edge = -(plan.lanes as f64) * plan.lane_m;
    let gap = |i: usize| edge - aside * away(i as f64 / last).powi(2);
    let left = beside(part, gap);
    let right = beside(part, |i| gap(i) - plan.lane_m);
    // The tip between carriageway and ramp is paved as long as it is narrow.
    let narrow: Vec<usize> = (0..part.len()).filter(|i| edge - gap(*i) < TIP_M).collect();
    if narrow.len() >= 2 {
        let outer = narrow.iter().rev().map(|i| left[*i]);
        builder.paved.push(narrow.iter().map(|i| part[*i].beside(edge)).chain(outer).collect());
    }
    let id = builder.add(left, right, LaneletKind::Ramp, Some(limit));
    builder.lanelet_mut(id).left_marking = LineMarking::Solid;
    builder.lanelet_mut(id).right_marking = LineMarking::Solid;
    id
}

/// The carriageway of the other direction, beyond the median.
fn other_carriageway(builder: &mut Builder, spine: &[Station], plan: &Plan, median_m: f64) {
    let last = spine.len() - 1;
    let n = (last as f64 * STEP_M / 300.0).ceil().max(1.0) as usize;
    let mut before: Vec<ElementId> = Vec::new();
    for i in 0..n {
        let part = &spine[last * i / n..=last * (i + 1) / n];
        let offsets = (0..=plan.lanes).rev().map(|k| median_m + k as f64 * plan.lane_m);
        let lines = offsets.map(|d| vec![d; part.len()]).collect();
        let mut markings = vec![LineMarking::Dashed; plan.lanes + 1];
        (markings[0], markings[plan.lanes]) = (LineMarking::Solid, LineMarking::Solid);
        let lanes = vec![Lane { kind: LaneletKind::Highway, forward: false }; plan.lanes];
        let ids = builder.section(&Section {
            spine: part,
            lines,
            markings,
            lanes,
            speed_limit_mps: plan.speed_limit_mps,
        });
        if before.is_empty() {
            builder.exits.extend(&ids);
        }
        before.iter().zip(&ids).for_each(|(to, from)| builder.link(*from, *to));
        before = ids;
    }
    builder.entries.extend(before);
}
