//! Draws a generated road from above as SVG on standard output:
//! `cargo run -p ergon-world --example draw_road -- urban 7 > road.svg`

use std::fmt::Write as _;

use ergon_world::Rng;
use ergon_world::generate::{Layout, RoadKind, RoadOptions, roads};
use ergon_world::geometry::{OrientedBox, Point, Polyline};
use ergon_world::road::{Lanelet, LaneletKind, LineMarking, SignKind};

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "urban".to_string());
    let seed = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let Some(kind) = RoadKind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let names = RoadKind::ALL.map(RoadKind::name).join(", ");
        eprintln!("no road kind {name}: write one of {names}, then a seed");
        std::process::exit(2);
    };
    print!("{}", svg(&roads(kind, &mut Rng::new(seed), &RoadOptions::default())));
}

fn svg(layout: &Layout) -> String {
    let all = || {
        layout
            .roads
            .lanelets
            .iter()
            .flat_map(|lanelet| lanelet.left.points().iter().chain(lanelet.right.points()))
    };
    let (x0, x1) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p.x), b.max(p.x)));
    let (y0, y1) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p.y), b.max(p.y)));
    let (w, h) = (x1 - x0 + 10.0, y1 - y0 + 10.0);
    let scale = 1600.0 / w.max(h);
    let (x, y, width, height) = (x0 - 5.0, -y1 - 5.0, w * scale, h * scale);
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0}' height='{height:.0}' \
         viewBox='{x:.2} {y:.2} {w:.2} {h:.2}'><rect x='{x:.2}' y='{y:.2}' width='{w:.2}' height='{h:.2}' \
         fill='#8a9a76'/>"
    );
    for area in layout.roads.paved() {
        let _ = write!(out, "<polygon points='{}' fill='#606060'/>", path(area));
    }
    for lanelet in &layout.roads.lanelets {
        fill(&mut out, lanelet);
    }
    for lanelet in &layout.roads.lanelets {
        paint(&mut out, lanelet);
    }
    furniture(&mut out, layout);
    out.push_str("</svg>\n");
    out
}

fn path(points: &[Point]) -> String {
    points.iter().map(|p| format!("{:.2},{:.2} ", p.x, -p.y)).collect()
}

fn fill(out: &mut String, lanelet: &Lanelet) {
    let color = match lanelet.kind {
        LaneletKind::Sidewalk => "#c9c2b4",
        LaneletKind::Crosswalk => "#eeeeee80",
        LaneletKind::Parking => "#66667a",
        LaneletKind::Shoulder => "#707070",
        LaneletKind::Ramp => "#5a5f66",
        LaneletKind::Intersection => "#58585c",
        _ => "#505054",
    };
    let _ = write!(out, "<polygon points='{}' fill='{color}'/>", path(&lanelet.polygon()));
}

fn line(out: &mut String, line: &Polyline, style: &str) {
    let _ = write!(out, "<polyline points='{}' fill='none' {style}/>", path(line.points()));
}

fn paint(out: &mut String, lanelet: &Lanelet) {
    for (bound, marking) in [(&lanelet.left, lanelet.left_marking), (&lanelet.right, lanelet.right_marking)] {
        let style = match marking {
            LineMarking::Dashed => "stroke='white' stroke-width='0.2' stroke-dasharray='3 6'",
            LineMarking::BroadDashed => "stroke='white' stroke-width='0.45' stroke-dasharray='3 3'",
            LineMarking::Solid => "stroke='white' stroke-width='0.2'",
            LineMarking::BroadSolid => "stroke='white' stroke-width='0.45'",
            LineMarking::Curb | LineMarking::LoweredCurb => "stroke='#333' stroke-width='0.3'",
            LineMarking::None | LineMarking::Unknown => continue,
        };
        line(out, bound, style);
    }
    if lanelet.kind.is_for_cars() {
        line(out, &lanelet.center, "stroke='#ffd040' stroke-width='0.08'");
    }
    if let Some(stop) = lanelet.stop_line {
        line(out, &Polyline::new([stop.left, stop.right]), "stroke='white' stroke-width='0.6'");
    }
}

fn furniture(out: &mut String, layout: &Layout) {
    for spot in &layout.parking {
        let shape =
            OrientedBox { center: spot.position, heading_rad: spot.heading_rad, length_m: 4.5, width_m: 1.8 };
        let _ = write!(out, "<polygon points='{}' fill='#3060a0'/>", path(&shape.corners()));
    }
    for crosswalk in &layout.crosswalks {
        line(out, &crosswalk.path, "stroke='#20c0c0' stroke-width='0.3'");
    }
    let mut post = |at: Point, heading: f64, color: &str| {
        let tip = at + Point::polar(1.5, heading);
        let _ = write!(out, "<circle cx='{:.2}' cy='{:.2}' r='0.7' fill='{color}'/>", at.x, -at.y);
        line(out, &Polyline::new([at, tip]), &format!("stroke='{color}' stroke-width='0.3'"));
    };
    for sign in &layout.roads.signs {
        let color = match sign.kind {
            SignKind::SpeedLimit { .. } => "#e0e0ff",
            SignKind::Stop => "#d00000",
            SignKind::Yield => "#ff8800",
            SignKind::Priority => "#ffff00",
            SignKind::Other => "#888888",
        };
        post(sign.position, sign.heading_rad, color);
    }
    for light in &layout.roads.lights {
        post(light.position, light.heading_rad, "#00ff00");
    }
}
