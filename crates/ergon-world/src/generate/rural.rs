//! Rural roads: one lane each way, bends, slower where the bends are sharp.

use super::RoadOptions;
use super::builder::{Builder, Lane, Section};
use super::spine::{Bends, Curvature, Station, spine};
use crate::Rng;
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, LaneletKind, LineMarking, SignKind};

/// Distance of points.
const STEP_M: f64 = 2.0;

/// A rural road. Returns the usual speeds.
pub(super) fn rural(builder: &mut Builder, rng: &mut Rng, options: &RoadOptions) -> [f64; 2] {
    let base = options.speed_limit_mps.unwrap_or([70.0, 80.0, 100.0][rng.below(3)] / 3.6);
    let length_m = options.length_m.unwrap_or_else(|| rng.range(500.0, 1200.0)).max(100.0);
    let sharp = base * base / rng.range(3.0, 6.0);
    let bends =
        Bends { radius_m: [sharp.max(50.0), 4.0 * sharp], length_m: [20.0, 150.0], turn_max_rad: 1.3 };
    let curvature = Curvature::random(rng, length_m, bends);
    let start = Station::new(Point::default(), rng.range(-3.1, 3.1));
    let spine = spine(start, length_m, STEP_M, &curvature);
    let lane_m = rng.range(3.0, 3.6);
    let narrow = lane_m < 3.15 && rng.chance(0.5);
    let last = spine.len() - 1;
    let n = (length_m / rng.range(120.0, 220.0)).ceil().max(1.0) as usize;
    let (mut before, mut limit_before): (Option<[ElementId; 2]>, [f64; 2]) = (None, [0.0; 2]);
    for i in 0..n {
        let part = &spine[last * i / n..=last * (i + 1) / n];
        let limit = limit_for(part, base);
        let middle = match limit < base - 0.1 {
            _ if narrow => LineMarking::None,
            true => LineMarking::Solid,
            false => LineMarking::Dashed,
        };
        let ids = builder.section(&Section {
            spine: part,
            lines: [lane_m, 0.0, -lane_m].iter().map(|d| vec![*d; part.len()]).collect(),
            markings: vec![LineMarking::Solid, middle, LineMarking::Solid],
            lanes: [false, true]
                .iter()
                .map(|forward| Lane { kind: LaneletKind::Country, forward: *forward })
                .collect(),
            speed_limit_mps: limit,
        });
        let [back, forth] = [ids[0], ids[1]];
        match before {
            None => {
                builder.entries.push(forth);
                builder.exits.push(back);
            }
            Some([back_before, forth_before]) => {
                builder.link(forth_before, forth);
                builder.link(back, back_before);
            }
        }
        let speed = SignKind::SpeedLimit { speed_mps: limit };
        if (limit - limit_before[1]).abs() > 0.1 {
            let at = part[1];
            builder.sign(speed, at.beside(-lane_m - 1.2), at.heading_rad, &[forth]);
        }
        let at = part[part.len() - 2];
        builder.sign(
            speed,
            at.beside(lane_m + 1.2),
            wrap_angle(at.heading_rad + std::f64::consts::PI),
            &[back],
        );
        (before, limit_before) = (Some([back, forth]), [limit, limit]);
    }
    if let Some([back, forth]) = before {
        builder.entries.push(back);
        builder.exits.push(forth);
    }
    [0.75 * base.min(22.0), base]
}

/// The limit for a part of the road: 2.5 m/s2 across at most, whole tens of km/h.
fn limit_for(part: &[Station], base: f64) -> f64 {
    let curvature = part
        .windows(2)
        .map(|pair| {
            wrap_angle(pair[1].heading_rad - pair[0].heading_rad).abs()
                / pair[0].point.distance(pair[1].point)
        })
        .fold(1e-6, f64::max);
    let speed_kmh = 3.6 * (2.5 / curvature).sqrt();
    ((speed_kmh / 10.0).floor().max(3.0) * 10.0 / 3.6).min(base)
}
