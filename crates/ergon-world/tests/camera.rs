//! Pictures against what projection by hand says must be in them.

use ergon_types::{ActorKind, ActorState, Frame, LightColor, VehicleState};
use ergon_world::camera::{CameraSpec, Conditions, Daylight, Moment, Renderer, Rig, SceneIndex, height_m};
use ergon_world::geometry::{Point, Polyline, polygon_contains};
use ergon_world::road::{
    Adjacent, Lanelet, LaneletKind, LineMarking, RoadNetwork, SignKind, StopLine, TrafficLight, TrafficSign,
};

const LANE_M: f64 = 3.5;

fn straight(y_m: f64, length_m: f64) -> Polyline {
    Polyline::new((0..=(length_m / 10.0) as usize).map(|i| Point::new(-100.0 + 10.0 * i as f64, y_m)))
}

/// A straight road along x from -100 m, its lanes from y = 0 to the left, with the markings of each bound from the right.
fn road(markings: &[LineMarking]) -> RoadNetwork {
    let lanes = markings.len() - 1;
    let bound = |k: usize| straight(LANE_M * k as f64, 500.0);
    let lanelets = (0..lanes).map(|k| {
        let mut lane = Lanelet::new(k as i64 + 1, bound(k + 1), bound(k));
        (lane.kind, lane.right_marking, lane.left_marking) =
            (LaneletKind::Country, markings[k], markings[k + 1]);
        lane.adjacent_left = (k + 1 < lanes).then_some(Adjacent { id: k as i64 + 2, same_direction: true });
        lane.adjacent_right = (k > 0).then_some(Adjacent { id: k as i64, same_direction: true });
        lane
    });
    RoadNetwork::new(lanelets.collect(), vec![], vec![])
}

fn ego(x_m: f64, y_m: f64) -> VehicleState {
    VehicleState { x_m, y_m, ..VehicleState::default() }
}

struct Shot<'a> {
    roads: &'a RoadNetwork,
    ego: VehicleState,
    actors: &'a [ActorState],
    conditions: Conditions,
    color: LightColor,
}

impl<'a> Shot<'a> {
    fn new(roads: &'a RoadNetwork, ego: VehicleState) -> Shot<'a> {
        Shot { roads, ego, actors: &[], conditions: Conditions::default(), color: LightColor::Red }
    }

    fn take(&self, spec: &CameraSpec) -> Frame {
        let mut frame = Frame::default();
        let moment = Moment { conditions: &self.conditions, ego: &self.ego, actors: self.actors, t_s: 1.0 };
        Renderer::new().render(&SceneIndex::new(self.roads), &moment, |_| self.color, spec, &mut frame);
        assert_eq!(frame.rgb.len(), spec.width * spec.height * 3);
        frame
    }
}

fn camera(name: &str) -> CameraSpec {
    Rig::standard().cameras.into_iter().find(|spec| spec.name == name).expect("a camera of the standard rig")
}

/// Column and row of a point given in the ego frame, by rotation matrices.
fn project(spec: &CameraSpec, [x, y, z]: [f64; 3]) -> [f64; 2] {
    let d = [x - spec.position_m[0], y - spec.position_m[1], z - spec.position_m[2]];
    let (sin, cos) = spec.yaw_rad.sin_cos();
    let (ahead, left) = (d[0] * cos + d[1] * sin, d[1] * cos - d[0] * sin);
    let (sin, cos) = spec.pitch_rad.sin_cos();
    let (forward, up) = (ahead * cos - d[2] * sin, ahead * sin + d[2] * cos);
    let (w, h) = (spec.width as f64, spec.height as f64);
    let per_tangent = |size: f64, angle: f64| 0.5 * size / (0.5 * angle).tan();
    [
        0.5 * w - per_tangent(w, spec.hfov_rad) * left / forward,
        0.5 * h - per_tangent(h, spec.vfov_rad) * up / forward,
    ]
}

fn pixel(frame: &Frame, x: usize, y: usize) -> [f64; 3] {
    let at = (y * frame.width + x) * 3;
    [0, 1, 2].map(|i| f64::from(frame.rgb[at + i]))
}

fn luminance(frame: &Frame, x: usize, y: usize) -> f64 {
    pixel(frame, x, y).iter().sum::<f64>() / 3.0
}

/// Brightness above the darker neighbours, weighted mean of the columns within `half` of `u` in a row.
fn centre_of_line(frame: &Frame, u: f64, y: usize, half: f64) -> f64 {
    let columns = ((u - half).max(0.0) as usize)..((u + half + 1.0) as usize).min(frame.width);
    let floor = columns.clone().map(|x| luminance(frame, x, y)).fold(f64::INFINITY, f64::min);
    let (mut sum, mut weight) = (0.0, 0.0);
    for x in columns {
        let bright = (luminance(frame, x, y) - floor - 6.0).max(0.0);
        sum += bright * (x as f64 + 0.5);
        weight += bright;
    }
    assert!(weight > 10.0, "nothing bright near column {u} in row {y}");
    sum / weight
}

/// Where the ground at the middle of a row lies ahead of the ego vehicle, by bisection.
fn ahead_of_row(spec: &CameraSpec, y: usize) -> f64 {
    let (mut near, mut far) = (1.5, 2000.0);
    for _ in 0..80 {
        let middle = 0.5 * (near + far);
        if project(spec, [middle, 0.0, 0.0])[1] > y as f64 + 0.5 { near = middle } else { far = middle }
    }
    near
}

#[test]
fn a_solid_line_is_where_projection_puts_it() {
    let roads = road(&[LineMarking::None, LineMarking::Solid, LineMarking::Solid, LineMarking::None]);
    for (spec, offset) in
        [(camera("front"), 0.0), (camera("front"), 0.6), (camera("front").resized(640, 320), -0.4)]
    {
        let frame = Shot::new(&roads, ego(20.0, 1.5 * LANE_M + offset)).take(&spec);
        for y in spec.height / 2..spec.height - 1 {
            let ahead = ahead_of_row(&spec, y);
            for bound in [-0.5 * LANE_M, 0.5 * LANE_M] {
                let [u, v] = project(&spec, [ahead, bound - offset, 0.0]);
                assert!((v - y as f64 - 0.5).abs() < 1e-3);
                // A line is 0.15 m wide.
                let half = 0.12 * 0.42 * spec.width as f64 / (ahead - 0.5) + 4.0;
                if u > 2.0 * half && u < spec.width as f64 - 2.0 * half {
                    let found = centre_of_line(&frame, u, y, half);
                    assert!((found - u).abs() < 0.6, "row {y}: column {found}, not {u}");
                }
            }
        }
    }
}

#[test]
fn a_thin_line_far_ahead_still_shows() {
    let spec = camera("front");
    let marked =
        Shot::new(&road(&[LineMarking::Solid, LineMarking::Solid, LineMarking::None]), ego(0.0, 1.75))
            .take(&spec);
    let plain = Shot::new(&road(&[LineMarking::Solid, LineMarking::None, LineMarking::None]), ego(0.0, 1.75))
        .take(&spec);
    for ahead in [20.0, 40.0, 60.0] {
        let [u, v] = project(&spec, [ahead, 1.75, 0.0]);
        let more: f64 = (u as usize - 2..=u as usize + 2)
            .map(|x| luminance(&marked, x, v as usize) - luminance(&plain, x, v as usize))
            .sum();
        // 0.15 m of a lane is 0.15 * 80.6 / distance pixels of a contrast of some 130.
        let expected = 130.0 * 0.15 * 80.6 / ahead;
        assert!((0.5 * expected..1.5 * expected).contains(&more), "{ahead} m: {more}, not about {expected}");
    }
}

#[test]
fn dashes_stay_where_they_are_in_the_world() {
    let roads = road(&[LineMarking::Solid, LineMarking::Dashed, LineMarking::Solid]);
    let spec = camera("front").resized(384, 192);
    // Country roads: 4 m of paint, 8 m of gap, from the start of the road at x = -100 m.
    for start in [0.0, 1.0, 5.0, 9.5] {
        let frame = Shot::new(&roads, ego(start, 0.5 * LANE_M)).take(&spec);
        for ahead in [6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0] {
            let in_period = (start + ahead + 100.0).rem_euclid(12.0);
            let edge = in_period.min((in_period - 4.0).abs()).min(12.0 - in_period);
            if edge < 1.0 {
                continue;
            }
            let [u, v] = project(&spec, [ahead, 0.5 * LANE_M, 0.0]);
            let (u, v) = (u as usize, v as usize);
            let brightest = (u - 1..=u + 1).map(|x| luminance(&frame, x, v)).fold(0.0, f64::max);
            let contrast = brightest - luminance(&frame, u + 6, v);
            assert_eq!(contrast > 40.0, in_period < 4.0, "{start} + {ahead}: {contrast}");
        }
    }
}

#[test]
fn paint_follows_from_neighbours_where_the_file_does_not_say() {
    let mut roads = road(&[LineMarking::Unknown; 4]);
    // The leftmost lane leads the other way.
    let other = Lanelet::new(3, straight(2.0 * LANE_M, 500.0), straight(3.0 * LANE_M, 500.0));
    let turn = |line: &Polyline| Polyline::new(line.points().iter().rev().copied());
    let mut lanelets = roads.lanelets.clone();
    lanelets[2] = Lanelet {
        adjacent_left: Some(Adjacent { id: 2, same_direction: false }),
        ..Lanelet::new(3, turn(&other.left), turn(&other.right))
    };
    lanelets[1].adjacent_left = Some(Adjacent { id: 3, same_direction: false });
    roads = RoadNetwork::new(lanelets, vec![], vec![]);
    let spec = camera("front").resized(768, 384);
    let frame = Shot::new(&roads, ego(0.0, 1.5 * LANE_M)).take(&spec);
    let mut painted = [0usize; 4];
    let rows: Vec<usize> = (spec.height * 45 / 100..spec.height * 65 / 100).collect();
    for y in &rows {
        let ahead = ahead_of_row(&spec, *y);
        for (bound, count) in painted.iter_mut().enumerate() {
            let [u, _] = project(&spec, [ahead, (bound as f64 - 1.5) * LANE_M, 0.0]);
            let ([r, g, b], beside) = (pixel(&frame, u as usize, *y), luminance(&frame, u as usize + 40, *y));
            let is_yellow = r > 150.0 && g > 100.0 && b < 130.0;
            let is_white = r.min(g).min(b) > beside + 60.0;
            *count += usize::from(if bound == 2 { is_yellow } else { is_white && !is_yellow });
        }
    }
    let all = rows.len();
    assert!(painted[0] > all * 9 / 10 && painted[3] > all * 9 / 10, "edges are solid: {painted:?} of {all}");
    assert!(painted[1] > all / 10 && painted[1] < all * 8 / 10, "the middle is dashed: {painted:?} of {all}");
    assert!(painted[2] > all * 9 / 10, "oncoming traffic is behind a yellow line: {painted:?} of {all}");
}

fn lead(ahead_m: f64, y_m: f64) -> ActorState {
    ActorState {
        id: 1,
        kind: ActorKind::Car,
        x_m: ahead_m,
        y_m,
        heading_rad: 0.0,
        speed_mps: 10.0,
        acceleration_mps2: 0.0,
        length_m: 4.5,
        width_m: 1.8,
    }
}

/// First and last row and column in which two pictures differ by more than a tenth.
fn difference(a: &Frame, b: &Frame) -> Option<[[usize; 2]; 2]> {
    let mut found: Option<[[usize; 2]; 2]> = None;
    for y in 0..a.height {
        for x in 0..a.width {
            let differs = (0..3).any(|i| (pixel(a, x, y)[i] - pixel(b, x, y)[i]).abs() > 25.0);
            if differs {
                let [c, r] = found.unwrap_or([[x, x], [y, y]]);
                found = Some([[c[0].min(x), c[1].max(x)], [r[0].min(y), r[1].max(y)]]);
            }
        }
    }
    found
}

#[test]
fn a_vehicle_ahead_is_as_high_and_wide_as_projection_says() {
    let roads = road(&[LineMarking::Solid, LineMarking::Solid]);
    let spec = camera("front");
    let empty = Shot::new(&roads, ego(0.0, 1.75)).take(&spec);
    for ahead in [10.0, 20.0, 40.0, 80.0] {
        let actors = [lead(ahead, 1.75)];
        let frame = Shot { actors: &actors, ..Shot::new(&roads, ego(0.0, 1.75)) }.take(&spec);
        let [[left, right], [top, bottom]] = difference(&empty, &frame).unwrap();
        let rear = ahead - 2.25;
        let roof = project(&spec, [ahead - 0.58 * 2.25, 0.0, height_m(ActorKind::Car, 4.5)])[1];
        let ground = project(&spec, [rear, 0.0, 0.0])[1];
        let (height, expected) = ((bottom + 1 - top) as f64, ground - roof);
        assert!((height - expected).abs() <= 1.0, "{ahead} m: {height} rows, not {expected}");
        // The shadow reaches 0.1 m beyond each side.
        let across = |half: f64| project(&spec, [rear, -half, 0.5])[0] - project(&spec, [rear, half, 0.5])[0];
        let (width, least, most) = ((right + 1 - left) as f64, across(0.9) - 1.0, across(1.0) + 1.0);
        assert!((least..=most).contains(&width), "{ahead} m: {width} columns, not {least} to {most}");
    }
}

#[test]
fn brake_lights_can_be_told() {
    let roads = road(&[LineMarking::Solid, LineMarking::Solid]);
    let spec = camera("front");
    for ahead in [10.0, 20.0, 40.0] {
        let calm = [lead(ahead, 1.75)];
        let braking = [ActorState { acceleration_mps2: -2.0, ..calm[0] }];
        let red = |actors: &[ActorState]| {
            let frame = Shot { actors, ..Shot::new(&roads, ego(0.0, 1.75)) }.take(&spec);
            (0..frame.width * frame.height)
                .map(|k| pixel(&frame, k % frame.width, k / frame.width))
                .map(|[r, g, b]| (r - g.max(b) - 60.0).max(0.0))
                .sum::<f64>()
        };
        let (off, on) = (red(&calm), red(&braking));
        assert!(on > off + 120.0, "{ahead} m: {on} against {off}");
    }
}

#[test]
fn neighbours_are_seen_all_around() {
    let roads = road(&[LineMarking::Solid, LineMarking::Dashed, LineMarking::Solid]);
    let cameras = Rig::standard().cameras;
    for (x, y) in
        [(-60.0, 1.75), (-30.0, 5.25), (-8.0, 1.75), (-6.0, 5.25), (0.0, 5.25), (3.0, 5.25), (6.0, 5.25)]
    {
        let actors = [lead(x, y)];
        let at = ego(0.0, 1.75);
        let seen: usize = cameras
            .iter()
            .filter_map(|spec| {
                let with = Shot { actors: &actors, ..Shot::new(&roads, at) }.take(spec);
                let [[l, r], [t, b]] = difference(&Shot::new(&roads, at).take(spec), &with)?;
                Some((r + 1 - l) * (b + 1 - t))
            })
            .sum();
        assert!(seen >= 2, "a car at {x}, {y} covers {seen} pixels");
    }
}

fn at_a_light(distance_m: f64) -> RoadNetwork {
    let mut roads = road(&[LineMarking::Solid, LineMarking::Solid]);
    let cycle = vec![(LightColor::Red, 1.0)];
    let position = Point::new(distance_m, -1.0);
    roads.lights.push(TrafficLight { id: 5, position, heading_rad: 0.0, cycle, offset_s: 0.0 });
    roads
}

#[test]
fn the_color_of_a_light_can_be_read_at_forty_metres() {
    let spec = camera("front");
    let by_seed = (0..12).map(Conditions::from_seed).chain([Conditions::default()]);
    for conditions in by_seed {
        for distance in [15.0, 30.0, 40.0] {
            let roads = at_a_light(distance);
            let sum = |color: LightColor| {
                let shot =
                    Shot { color, conditions: conditions.clone(), ..Shot::new(&roads, ego(0.0, 1.75)) };
                let frame = shot.take(&spec);
                let [u, v] = project(&spec, [distance, -2.75, 3.2]);
                let half = (1.2 * 80.6 / distance).ceil() as usize + 1;
                let mut sum = [0.0; 3];
                for y in (v as usize).saturating_sub(half)..=v as usize + half {
                    for x in u as usize - half..=u as usize + half {
                        let [r, g, b] = pixel(&frame, x, y);
                        sum = [sum[0] + r, sum[1] + g, sum[2] + b];
                    }
                }
                sum
            };
            let (red, yellow, green, off) = (
                sum(LightColor::Red),
                sum(LightColor::Yellow),
                sum(LightColor::Green),
                sum(LightColor::Inactive),
            );
            let more = |a: [f64; 3]| [a[0] - off[0], a[1] - off[1]];
            let name =
                format!("{distance} m, {conditions:?}: {:?} {:?} {:?}", more(red), more(yellow), more(green));
            let strong = 250.0;
            assert!(more(red)[0] > strong && more(red)[1] < 0.4 * more(red)[0], "{name}");
            assert!(more(green)[1] > strong && more(green)[0] < 0.4 * more(green)[1], "{name}");
            assert!(more(yellow)[0] > strong && more(yellow)[1] > 0.5 * more(yellow)[0], "{name}");
        }
    }
}

#[test]
fn a_light_shows_nothing_to_those_behind_it() {
    let spec = camera("front");
    let mut roads = at_a_light(20.0);
    roads.lights[0].heading_rad = std::f64::consts::PI;
    let take = |color| Shot { color, ..Shot::new(&roads, ego(0.0, 1.75)) }.take(&spec);
    assert_eq!(take(LightColor::Red), take(LightColor::Green));
}

#[test]
fn a_light_is_hidden_from_a_crossing_road() {
    let spec = camera("front");
    for (turned_deg, readable) in [(-66.0, false), (-45.0, true), (45.0, true), (66.0, false)] {
        let mut roads = at_a_light(20.0);
        roads.lights[0].heading_rad = f64::to_radians(turned_deg) - (2.75f64 / 20.0).atan();
        let take = |color| Shot { color, ..Shot::new(&roads, ego(0.0, 1.75)) }.take(&spec);
        assert_eq!(take(LightColor::Red) != take(LightColor::Green), readable, "{turned_deg} degrees");
    }
}

#[test]
fn signs_differ_from_each_other() {
    let spec = camera("front");
    let limit = |kmh: f64| SignKind::SpeedLimit { speed_mps: kmh / 3.6 };
    let kinds = [
        limit(30.0),
        limit(50.0),
        limit(80.0),
        limit(120.0),
        SignKind::Stop,
        SignKind::Yield,
        SignKind::Priority,
        SignKind::Other,
    ];
    let frames = kinds.map(|kind| {
        let mut roads = road(&[LineMarking::Solid, LineMarking::Solid]);
        let position = Point::new(10.0, -1.5);
        roads.signs.push(TrafficSign { id: 1, kind, code: String::new(), position, heading_rad: 0.0 });
        Shot::new(&roads, ego(0.0, 1.75)).take(&spec)
    });
    for (i, a) in frames.iter().enumerate() {
        for (j, b) in frames.iter().enumerate().skip(i + 1) {
            assert!(difference(a, b).is_some(), "{:?} and {:?} look alike", kinds[i], kinds[j]);
        }
    }
}

#[test]
fn conditions_change_the_pixels_and_keep_the_geometry() {
    let roads = road(&[LineMarking::Solid, LineMarking::Solid]);
    let spec = camera("front");
    let plain = Shot::new(&roads, ego(0.0, 1.75)).take(&spec);
    let day = Conditions::default();
    let kinds = [
        Conditions { daylight: Daylight::Dusk, ..day.clone() },
        Conditions { daylight: Daylight::Night, ..day.clone() },
        Conditions { rain: 0.7, clouds: 1.0, seed: 4, ..day.clone() },
        Conditions { fog_per_m: 0.01, ..day.clone() },
        Conditions { exposure: 0.8, white_balance: [1.08, 1.0, 0.92], noise: 2.0, ..day.clone() },
    ];
    for conditions in kinds {
        let frame = Shot { conditions: conditions.clone(), ..Shot::new(&roads, ego(0.0, 1.75)) }.take(&spec);
        assert_ne!(frame, plain);
        for y in [55, 65, 75] {
            let [u, _] = project(&spec, [ahead_of_row(&spec, y), 1.75, 0.0]);
            let (now, before) = (centre_of_line(&frame, u, y, 4.0), centre_of_line(&plain, u, y, 4.0));
            assert!((now - before).abs() < 0.7, "{conditions:?}, row {y}: {now}, not {before}");
        }
    }
}

#[test]
fn seeds_give_all_kinds_of_conditions_and_the_same_ones_again() {
    let all: Vec<_> = (0..200).map(Conditions::from_seed).collect();
    for daylight in [Daylight::Day, Daylight::Dusk, Daylight::Night] {
        assert!(all.iter().any(|conditions| conditions.daylight == daylight));
    }
    let rainy = all.iter().filter(|conditions| conditions.rain > 0.0).count();
    assert!((20..100).contains(&rainy), "{rainy} of 200 have rain");
    assert_eq!(Conditions::from_seed(7), Conditions::from_seed(7));
}

#[test]
fn two_tenths_of_a_metre_to_the_side_can_be_seen() {
    let roads = road(&[LineMarking::Solid, LineMarking::Dashed, LineMarking::Solid]);
    let spec = camera("front");
    let take = |y: f64| Shot::new(&roads, ego(0.0, y)).take(&spec);
    let (a, b) = (take(1.75), take(1.95));
    let sum: f64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    assert!(sum / a.rgb.len() as f64 > 1.0, "mean difference {}", sum / a.rgb.len() as f64);
    for y in [60, 75, 90] {
        let u = |offset: f64| project(&spec, [ahead_of_row(&spec, y), -offset, 0.0])[0];
        let moved = centre_of_line(&b, u(1.95), y, 4.0) - centre_of_line(&a, u(1.75), y, 4.0);
        let expected = u(1.95) - u(1.75);
        assert!((moved - expected).abs() < 0.5, "row {y}: moved {moved}, not {expected}");
    }
}

#[test]
fn paved_areas_are_asphalt_beneath_what_is_painted() {
    let plain_roads = road(&[LineMarking::Solid, LineMarking::Solid]);
    let spec = camera("front").resized(384, 192);
    let eye = ego(0.0, 1.75);
    let plain = Shot::new(&plain_roads, eye).take(&spec);
    // Reaches a metre into the lane, and has a notch from the far side.
    let outline = [(5.0, 2.5), (22.0, 2.5), (22.0, 9.0), (15.0, 9.0), (12.0, 5.5), (9.0, 9.0), (5.0, 9.0)]
        .map(|(x, y)| Point::new(x, y));
    let turned: Vec<Point> = outline.iter().rev().copied().collect();
    for outline in [outline.to_vec(), turned] {
        let mut roads = plain_roads.clone();
        roads.set_paved(vec![outline.clone()]);
        let frame = Shot::new(&roads, eye).take(&spec);
        let (mut asphalt, mut same) = (0, 0);
        for y in spec.height * 45 / 100..spec.height {
            for x in 0..spec.width {
                // Where the corners of a pixel, and those of its neighbours, meet the ground.
                let ahead = |v: usize| ahead_of_row(&spec, v);
                let [near, far] = [ahead((y + 1).min(spec.height - 1)), ahead(y - 1)];
                let at = |ahead: f64, u: usize| {
                    let [middle, left] = [0.0, 1.0].map(|left| project(&spec, [ahead, left, 0.0])[0]);
                    Point::new(ahead, 1.75 + (u as f64 - middle) / (left - middle))
                };
                let corners = [at(near, x.saturating_sub(1)), at(near, x + 2), at(far, x + 2), at(far, x)];
                let at_tip = corners.iter().any(|corner| corner.distance(Point::new(12.0, 5.5)) < 2.0);
                let inside = !at_tip && corners.iter().all(|corner| polygon_contains(&outline, *corner));
                let (now, before) = (pixel(&frame, x, y), pixel(&plain, x, y));
                let painted = corners.iter().any(|corner| corner.y < 3.5 + 0.4);
                if inside && !painted {
                    let [r, g, b] = now;
                    let spread = r.max(g).max(b) - r.min(g).min(b);
                    assert!(spread < 25.0, "row {y}, column {x}, {corners:?}: {now:?} is not grey");
                    asphalt += 1;
                } else if corners.iter().all(|corner| corner.y < 3.0) {
                    assert_eq!(now, before, "row {y}, column {x}: the lane");
                    same += 1;
                } else if !at_tip && corners.iter().all(|c| c.y > 5.5 + 3.5 / 3.0 * (c.x - 12.0).abs()) {
                    assert_eq!(now, before, "row {y}, column {x}, {corners:?}: the notch");
                    same += 1;
                }
            }
        }
        assert!(asphalt > 1000 && same > 1000, "{asphalt} pixels of asphalt, {same} unchanged");
    }
}

#[test]
fn the_place_in_the_lane_can_be_read_to_a_tenth_of_a_metre() {
    let roads = road(&[LineMarking::None, LineMarking::Solid, LineMarking::Solid, LineMarking::None]);
    let spec = camera("front");
    for offset in [-0.9, -0.37, 0.0, 0.05, 0.1, 0.64] {
        let frame = Shot::new(&roads, ego(20.0, 1.5 * LANE_M + offset)).take(&spec);
        let mut errors = Vec::new();
        for y in spec.height / 2..spec.height {
            let ahead = ahead_of_row(&spec, y);
            for bound in [-0.5 * LANE_M, 0.5 * LANE_M] {
                let [u, next] = [0.0, 1.0].map(|more| project(&spec, [ahead, bound - offset + more, 0.0])[0]);
                let half = 0.15 * (u - next) + 3.0;
                if u > 2.0 * half && u < spec.width as f64 - 2.0 * half {
                    let error_m = (centre_of_line(&frame, u, y, half) - u) / (next - u);
                    assert!(ahead > 10.0 || error_m.abs() < 0.05, "{offset}: {error_m} m at {ahead} m");
                    errors.push(error_m);
                }
            }
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(mean.abs() < 0.02, "{offset}: {mean} m over {} places", errors.len());
    }
}

#[test]
fn a_stop_line_shows_from_twenty_metres() {
    let plain = road(&[LineMarking::None, LineMarking::None]);
    let spec = camera("front");
    for (distance, least) in [(5.0, 60.0), (10.0, 60.0), (15.0, 25.0), (20.0, 12.0)] {
        let mut roads = plain.clone();
        let at = |y: f64| Point::new(distance, y);
        roads.lanelets[0].stop_line = Some(StopLine { left: at(3.5), right: at(0.0) });
        let [u, v] = project(&spec, [distance - 0.25, 0.0, 0.0]).map(|value| value as usize);
        let [with, without] = [&roads, &plain].map(|roads| Shot::new(roads, ego(0.0, 1.75)).take(&spec));
        let more = |y| luminance(&with, u, y) - luminance(&without, u, y);
        let most = [v - 1, v, v + 1].map(more).into_iter().fold(0.0, f64::max);
        assert!(most > least, "{distance} m: {most}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_also_from_used_buffers() {
    let roads = at_a_light(30.0);
    let scene = SceneIndex::new(&roads);
    let conditions = Conditions { noise: 2.0, rain: 0.5, seed: 3, ..Conditions::default() };
    let actors: Vec<_> =
        (0..20).map(|i| ActorState { id: i, ..lead(8.0 * f64::from(i) - 60.0, 1.75) }).collect();
    let mut renderer = Renderer::new();
    let mut shots = |state: &VehicleState| -> Vec<Frame> {
        let moment = Moment { conditions: &conditions, ego: state, actors: &actors, t_s: 0.5 };
        let mut frame = Frame::default();
        let mut take = |spec: &CameraSpec| {
            renderer.render(&scene, &moment, |_| LightColor::Green, spec, &mut frame);
            frame.clone()
        };
        Rig::standard().cameras.iter().map(&mut take).collect()
    };
    let first = shots(&ego(0.0, 1.75));
    for x in 1..40 {
        shots(&VehicleState { heading_rad: 0.3 * f64::from(x), ..ego(f64::from(x), 1.0) });
    }
    assert_eq!(first, shots(&ego(0.0, 1.75)));
}

#[test]
fn absurd_roads_and_places_are_drawn_without_panic() {
    let huge = Lanelet::new(
        1,
        Polyline::new([Point::new(-1e9, 4.0), Point::new(1e9, 4.0)]),
        Polyline::new([Point::new(-1e9, 0.0), Point::new(1e9, 0.0)]),
    );
    let crossed = Lanelet::new(
        2,
        Polyline::new([Point::new(0.0, 0.0), Point::new(10.0, 3.0)]),
        Polyline::new([Point::new(0.0, 3.0), Point::new(10.0, 0.0)]),
    );
    let nan = Lanelet::new(
        3,
        Polyline::new([Point::new(f64::NAN, 0.0), Point::new(1.0, f64::INFINITY), Point::new(5.0, 0.0)]),
        Polyline::new([Point::new(0.0, 0.0), Point::new(1.0, 0.0)]),
    );
    let mut looped = Lanelet::new(4, straight(3.0, 50.0), straight(0.0, 50.0));
    looped.predecessors = vec![4, 5];
    let mut looped_too = Lanelet::new(5, straight(6.0, 50.0), straight(3.0, 50.0));
    looped_too.predecessors = vec![4];
    let sets = [vec![], vec![huge], vec![crossed], vec![nan], vec![looped, looped_too]];
    let mut odd = vec![lead(0.0, 0.0), lead(f64::NAN, 0.0), ActorState { length_m: 1e7, ..lead(5.0, 0.0) }];
    odd.push(ActorState { length_m: -1.0, width_m: 0.0, heading_rad: f64::INFINITY, ..lead(5.0, 0.0) });
    for lanelets in sets {
        let mut roads = RoadNetwork::new(lanelets, vec![], vec![]);
        let p = Point::new;
        let odd_area = vec![p(-1e9, -1e9), p(1e9, f64::NAN), p(1e9, 2.0), p(0.0, 1e300), p(3.0, 1.0)];
        roads.set_paved(vec![vec![], odd_area]);
        for (x, y) in [(0.0, 1.0), (1e7, -1e7), (f64::NAN, 0.0), (f64::INFINITY, 3.0)] {
            for spec in Rig::standard().cameras {
                Shot { actors: &odd, ..Shot::new(&roads, ego(x, y)) }.take(&spec);
            }
        }
    }
    let nothing = CameraSpec { width: 0, ..camera("front") };
    Shot::new(&RoadNetwork::default(), ego(0.0, 0.0)).take(&nothing);
}
