//! Writes what the cameras see as PPM pictures, and says how long a picture takes:
//! `cargo run --release -p ergon-world --example render -- FOLDER [front-width front-height] [scenario.xml ...]`
//!
//! Without scenario files it draws a few roads of its own and one of each generated kind, streets also plain.

use std::path::Path;
use std::time::Instant;

use ergon_types::{ActorKind, ActorState, Frame, LightColor, VehicleState};
use ergon_world::camera::{Conditions, Daylight, Moment, Renderer, Rig, SceneIndex};
use ergon_world::generate::{self, RoadKind, RoadOptions};
use ergon_world::geometry::{Point, Polyline};
use ergon_world::road::{
    Adjacent, Lanelet, LaneletKind, LineMarking, RoadNetwork, SignKind, StopLine, TrafficLight, TrafficSign,
};
use ergon_world::scenario::Scenario;
use ergon_world::traffic::Traffic;
use ergon_world::{Rng, commonroad};

/// A road, who is on it, and a name.
struct Shot {
    name: String,
    roads: RoadNetwork,
    ego: VehicleState,
    actors: Vec<ActorState>,
    conditions: Conditions,
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let Some(folder) = words.next() else {
        eprintln!("name a folder for the pictures");
        std::process::exit(2);
    };
    let (numbers, files): (Vec<_>, Vec<_>) = words.partition(|word| word.parse::<usize>().is_ok());
    let size: Vec<usize> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    std::fs::create_dir_all(&folder)?;
    let mut all = Vec::new();
    for file in &files {
        match commonroad::read(&std::fs::read_to_string(file)?) {
            Ok(scenario) => all.push(recorded(scenario)),
            Err(error) => eprintln!("{file}: {error}"),
        }
    }
    if files.is_empty() {
        all = shots();
        all.extend(RoadKind::ALL.map(|kind| generated(kind, false)));
        all.push(generated(RoadKind::Urban, true));
    }
    for shot in all {
        show(Path::new(&folder), &shot, &size)?;
    }
    Ok(())
}

fn show(folder: &Path, shot: &Shot, size: &[usize]) -> std::io::Result<()> {
    let start = Instant::now();
    let scene = SceneIndex::new(&shot.roads);
    let build_ms = start.elapsed().as_secs_f64() * 1e3;
    let moment = Moment { conditions: &shot.conditions, ego: &shot.ego, actors: &shot.actors, t_s: 3.0 };
    let lights = |id| {
        let light = shot.roads.lights.iter().find(|light| light.id == id);
        light.map_or(LightColor::Inactive, |light| light.color_at(3.0))
    };
    let mut renderer = Renderer::new();
    let mut frame = Frame::default();
    let mut cameras = Rig::standard().cameras;
    if let [width, height] = *size {
        cameras[0] = cameras[0].resized(width, height);
    }
    let mut line = format!("{:24} scene {build_ms:6.1} ms", shot.name);
    let mut all = 0.0;
    for spec in &cameras {
        let ms = median_ms(|| renderer.render(&scene, &moment, lights, spec, &mut frame));
        write(&folder.join(format!("{}-{}.ppm", shot.name, spec.name)), &frame)?;
        line += &format!("  {} {ms:.3}", spec.name);
        all += ms;
    }
    println!("{line}  all {all:.3} ms");
    Ok(())
}

/// The start of a scenario.
fn recorded(scenario: Scenario) -> Shot {
    let traffic = Traffic::recorded(&scenario);
    Shot {
        name: scenario.id.clone(),
        ego: scenario.problem.initial,
        actors: traffic.actors().to_vec(),
        conditions: Conditions::default(),
        roads: scenario.roads,
    }
}

/// An empty generated road, seen from a third of its longest lanelet.
fn generated(kind: RoadKind, plain: bool) -> Shot {
    let options = RoadOptions { plain, ..RoadOptions::default() };
    let roads = generate::roads(kind, &mut Rng::new(3), &options).roads;
    let length = |lanelet: &&Lanelet| if lanelet.kind.is_for_cars() { lanelet.center.length() } else { 0.0 };
    let longest = roads.lanelets.iter().max_by(|a, b| length(a).total_cmp(&length(b)));
    let ego = longest.map_or(VehicleState::default(), |lanelet| {
        let s = (length(&lanelet) - 45.0).max(0.0).min(0.3 * length(&lanelet).max(90.0));
        let at = lanelet.center.at(s);
        VehicleState {
            x_m: at.x,
            y_m: at.y,
            heading_rad: lanelet.center.heading_at(s),
            ..VehicleState::default()
        }
    });
    Shot {
        name: format!("generated-{}{}", if plain { "plain-" } else { "" }, kind.name()),
        roads,
        ego,
        actors: Vec::new(),
        conditions: Conditions::default(),
    }
}

fn median_ms(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..51)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn write(path: &Path, frame: &Frame) -> std::io::Result<()> {
    let mut bytes = format!("P6 {} {} 255\n", frame.width, frame.height).into_bytes();
    bytes.extend_from_slice(&frame.rgb);
    std::fs::write(path, bytes)
}

/// A lane from `from` to `to` of a curve, between two distances to its left.
fn lane(id: i64, curve: &Polyline, [right, left]: [f64; 2], kind: LaneletKind) -> Lanelet {
    Lanelet { kind, ..Lanelet::new(id, curve.offset(left), curve.offset(right)) }
}

fn curve(length_m: f64, curvature_per_m: f64) -> Polyline {
    let mut at = (Point::default(), 0.0);
    let mut points = vec![at.0];
    for _ in 0..(length_m / 2.0) as usize {
        at = (at.0 + Point::polar(2.0, at.1), at.1 + 2.0 * curvature_per_m);
        points.push(at.0);
    }
    Polyline::new(points)
}

/// Three lanes and a shoulder one way; markings unknown as in 2018b files, or given.
fn highway(curvature_per_m: f64, given: bool) -> RoadNetwork {
    let curve = curve(900.0, curvature_per_m);
    let mut lanes: Vec<_> = (0..3i64)
        .map(|k| {
            let right = 3.6 * k as f64;
            lane(k + 1, &curve, [right, right + 3.6], LaneletKind::Highway)
        })
        .collect();
    for (k, lane) in lanes.iter_mut().enumerate() {
        lane.adjacent_left = (k < 2).then_some(Adjacent { id: k as i64 + 2, same_direction: true });
        lane.adjacent_right = (k > 0).then_some(Adjacent { id: k as i64, same_direction: true });
        if given {
            lane.left_marking = if k < 2 { LineMarking::Dashed } else { LineMarking::Solid };
            lane.right_marking = if k > 0 { LineMarking::Dashed } else { LineMarking::BroadDashed };
        }
    }
    if given {
        lanes.push(lane(9, &curve, [-3.0, 0.0], LaneletKind::Ramp));
    }
    let sign = |id, x, kind| TrafficSign {
        id,
        kind,
        code: String::new(),
        position: curve.offset(-5.0).at(x),
        heading_rad: curve.heading_at(x),
    };
    let signs = vec![
        sign(50, 130.0, SignKind::SpeedLimit { speed_mps: 100.0 / 3.6 }),
        sign(51, 170.0, SignKind::Other),
    ];
    RoadNetwork::new(lanes, signs, vec![])
}

/// Two streets of two lanes that cross at the origin, with lights, stop lines, kerbs and a crosswalk.
fn junction() -> RoadNetwork {
    let (mut lanelets, mut lights, mut signs) = (Vec::new(), Vec::new(), Vec::new());
    for arm in 0..4i64 {
        let angle = arm as f64 * std::f64::consts::FRAC_PI_2;
        let turned = |x: f64, y: f64| Point::new(x, y).from_frame(Point::default(), angle);
        let line = |points: [(f64, f64); 2]| Polyline::new(points.map(|(x, y)| turned(x, y)));
        let mut entry =
            Lanelet::new(10 + arm, line([(-120.0, 0.0), (-9.0, 0.0)]), line([(-120.0, -3.5), (-9.0, -3.5)]));
        let mut exit =
            Lanelet::new(20 + arm, line([(9.0, 0.0), (120.0, 0.0)]), line([(9.0, -3.5), (120.0, -3.5)]));
        let mut through =
            Lanelet::new(30 + arm, line([(-9.0, 0.0), (9.0, 0.0)]), line([(-9.0, -3.5), (9.0, -3.5)]));
        entry.stop_line = Some(StopLine { left: turned(-9.5, 0.0), right: turned(-9.5, -3.5) });
        for lanelet in [&mut entry, &mut exit] {
            lanelet.kind = LaneletKind::Urban;
            lanelet.right_marking = LineMarking::Curb;
        }
        through.kind = LaneletKind::Intersection;
        lanelets.extend([entry, exit, through]);
        let cycle = vec![
            (LightColor::Red, 10.0),
            (LightColor::RedYellow, 1.0),
            (LightColor::Green, 10.0),
            (LightColor::Yellow, 3.0),
        ];
        let offset_s = [8.0, 0.0, 18.0, 12.0][arm as usize];
        lights.push(TrafficLight {
            id: 40 + arm,
            position: turned(-9.0, -4.3),
            heading_rad: angle,
            cycle,
            offset_s,
        });
        let kind = [
            SignKind::Stop,
            SignKind::Yield,
            SignKind::Priority,
            SignKind::SpeedLimit { speed_mps: 50.0 / 3.6 },
        ][arm as usize];
        signs.push(TrafficSign {
            id: 60 + arm,
            kind,
            code: String::new(),
            position: turned(-22.0, -4.5),
            heading_rad: angle,
        });
    }
    let walk = |y: f64, id| {
        let line = |x: f64| Polyline::new([Point::new(x, y), Point::new(x, -y)]);
        Lanelet { kind: LaneletKind::Crosswalk, ..Lanelet::new(id, line(11.0), line(14.0)) }
    };
    lanelets.push(walk(-3.5, 80));
    RoadNetwork::new(lanelets, signs, lights)
}

fn actor(id: u32, kind: ActorKind, [x_m, y_m, heading_rad]: [f64; 3]) -> ActorState {
    let (length_m, width_m) = match kind {
        ActorKind::Car => (4.6, 1.85),
        ActorKind::Truck => (12.0, 2.5),
        ActorKind::Bus => (11.5, 2.5),
        ActorKind::Motorcycle => (2.2, 0.8),
        ActorKind::Bicycle => (1.8, 0.6),
        ActorKind::Pedestrian => (0.4, 0.5),
        ActorKind::Obstacle => (0.6, 2.0),
    };
    let acceleration_mps2 = if id == 2 { -3.0 } else { 0.0 };
    ActorState { id, kind, x_m, y_m, heading_rad, speed_mps: 10.0, acceleration_mps2, length_m, width_m }
}

fn on_highway() -> Vec<ActorState> {
    use ActorKind::{Bus, Car, Motorcycle, Truck};
    vec![
        actor(1, Car, [125.0, 5.4, 0.0]),
        actor(2, Car, [112.0, 9.0, 0.0]),
        actor(3, Truck, [128.0, 1.8, 0.0]),
        actor(4, Car, [104.0, 1.8, 0.0]),
        actor(5, Motorcycle, [118.0, 7.2, 0.0]),
        actor(6, Bus, [80.0, 9.0, 0.0]),
        actor(7, Car, [75.0, 5.4, 0.0]),
        actor(8, Car, [165.0, 9.0, 0.0]),
        actor(9, Car, [40.0, 1.8, 0.0]),
    ]
}

fn in_town() -> Vec<ActorState> {
    use ActorKind::{Bicycle, Car, Obstacle, Pedestrian, Truck};
    use std::f64::consts::{FRAC_PI_2, PI};
    vec![
        actor(1, Car, [-13.0, -1.8, 0.0]),
        actor(2, Car, [22.0, -1.8, 0.0]),
        actor(3, Truck, [1.8, 8.0, FRAC_PI_2]),
        actor(4, Car, [-18.0, 1.8, PI]),
        actor(5, Bicycle, [-20.0, -3.0, 0.0]),
        actor(6, Pedestrian, [12.0, -1.0, FRAC_PI_2]),
        actor(7, Obstacle, [-12.0, -6.0, 0.0]),
        actor(8, Pedestrian, [-19.0, -4.6, 0.0]),
    ]
}

fn shots() -> Vec<Shot> {
    let at = |x_m, y_m, heading_rad| VehicleState { x_m, y_m, heading_rad, ..VehicleState::default() };
    let day = Conditions::default();
    let shot = |name: &str, roads, ego, actors: &[ActorState], conditions: &Conditions| Shot {
        name: name.to_owned(),
        roads,
        ego,
        actors: actors.to_vec(),
        conditions: conditions.clone(),
    };
    let (many, town) = (on_highway(), in_town());
    let mut shots = vec![
        shot("highway", highway(0.0, false), at(100.0, 5.4, 0.0), &many, &day),
        shot("bend", highway(0.002, true), at(0.0, 1.8, 0.0), &[], &day),
        shot("junction", junction(), at(-30.0, -1.75, 0.0), &town[1..], &day),
        shot("junction-50", junction(), at(-50.0, -1.75, 0.0), &[], &day),
        shot("junction-line", junction(), at(-12.5, -1.75, 0.0), &town[1..3], &day),
        shot("junction-south", junction(), at(1.75, -35.0, std::f64::consts::FRAC_PI_2), &town, &day),
    ];
    let dusk = Conditions { daylight: Daylight::Dusk, ..day.clone() };
    let night = Conditions { daylight: Daylight::Night, noise: 2.0, ..day.clone() };
    let rain = Conditions { rain: 0.8, clouds: 1.0, fog_per_m: 0.004, noise: 2.0, ..day.clone() };
    let fog = Conditions { fog_per_m: 0.015, clouds: 1.0, ..day.clone() };
    for (name, conditions) in [("dusk", dusk), ("night", night), ("rain", rain), ("fog", fog)] {
        shots.push(shot(
            &format!("highway-{name}"),
            highway(0.0, false),
            at(100.0, 5.4, 0.0),
            &many,
            &conditions,
        ));
        shots.push(shot(&format!("junction-{name}"), junction(), at(-30.0, -1.75, 0.0), &town, &conditions));
    }
    shots
}
