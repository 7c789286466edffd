//! What must hold of every generated road, over many seeds.

use std::collections::HashSet;

use ergon_types::LightColor;
use ergon_world::Rng;
use ergon_world::generate::{JunctionControl, Layout, RoadKind, RoadOptions, Rule, roads};
use ergon_world::geometry::{OrientedBox, Point, polygon_contains, wrap_angle};
use ergon_world::road::{Lanelet, LaneletKind, LineMarking, SignKind, TrafficSign};
use ergon_world::route::{Entry, LaneGraph, Route, RouteGoal};
use ergon_world::score::is_off_road;
use ergon_world::vehicle;

const SEEDS: u64 = 60;

fn layout(kind: RoadKind, seed: u64) -> Layout {
    roads(kind, &mut Rng::new(seed), &RoadOptions::default())
}

fn plain(seed: u64) -> Layout {
    roads(RoadKind::Urban, &mut Rng::new(seed), &RoadOptions { plain: true, ..RoadOptions::default() })
}

/// Calls a check for many roads of every kind, with a name to put into messages.
fn for_all(check: impl Fn(&Layout, &str)) {
    for seed in 0..SEEDS {
        for kind in RoadKind::ALL {
            check(&layout(kind, seed), &format!("{} {seed}", kind.name()));
        }
        check(&plain(seed), &format!("plain urban {seed}"));
    }
}

fn ends(lanelet: &Lanelet, at_end: bool) -> [Point; 2] {
    [&lanelet.left, &lanelet.right].map(|line| {
        let points = line.points();
        if at_end { points[points.len() - 1] } else { points[0] }
    })
}

#[test]
fn numbers_are_finite_and_bounds_are_well_formed() {
    for_all(|layout, name| {
        for lanelet in &layout.roads.lanelets {
            let (left, right) = (lanelet.left.points(), lanelet.right.points());
            assert_eq!(left.len(), right.len(), "{name}: lanelet {}", lanelet.id);
            for p in left.iter().chain(right) {
                assert!(p.x.is_finite() && p.y.is_finite(), "{name}: lanelet {}", lanelet.id);
            }
            if lanelet.kind == LaneletKind::Crosswalk {
                continue;
            }
            // Each quad between two pairs of points is convex and turns one way: the bounds neither cross nor fold.
            for i in 1..left.len() {
                let quad = [left[i - 1], right[i - 1], right[i], left[i]];
                for k in 0..4 {
                    let (a, b, c) = (quad[k], quad[(k + 1) % 4], quad[(k + 2) % 4]);
                    assert!((b - a).cross(c - b) > 0.0, "{name}: lanelet {} folds at point {i}", lanelet.id);
                }
            }
        }
    });
}

#[test]
fn lanes_for_cars_have_a_cars_width() {
    for_all(|layout, name| {
        for lanelet in layout.roads.lanelets.iter().filter(|lanelet| lanelet.kind.is_for_cars()) {
            for (left, right) in lanelet.left.points().iter().zip(lanelet.right.points()) {
                let width = left.distance(*right);
                let least = if name.starts_with("plain") { 2.4 } else { 2.45 };
                let most = if layout.kind == RoadKind::Roundabout { 6.05 } else { 5.0 };
                assert!((least..most).contains(&width), "{name}: lanelet {} is {width} m wide", lanelet.id);
            }
        }
    });
}

#[test]
fn curvature_suits_the_road() {
    for_all(|layout, name| {
        for lanelet in layout.roads.lanelets.iter().filter(|lanelet| lanelet.kind.is_for_cars()) {
            let limit = lanelet.speed_limit_mps.expect("every lane has a limit");
            let n = (lanelet.center.length() / 2.0) as usize;
            let radius = match lanelet.kind {
                LaneletKind::Intersection => 4.0,
                LaneletKind::Country => 40.0,
                LaneletKind::Urban | LaneletKind::Ramp => 100.0,
                _ => 200.0,
            };
            for i in 1..n {
                let curvature = lanelet.center.curvature_at(2.0 * i as f64).abs();
                assert!(curvature < 1.0 / radius, "{name}: lanelet {} bends {curvature} per m", lanelet.id);
                let across = limit * limit * curvature;
                assert!(across < 4.0, "{name}: lanelet {} needs {across} m/s2 at its limit", lanelet.id);
            }
            for (i, pair) in lanelet.center.points().windows(3).enumerate() {
                let turn = wrap_angle((pair[2] - pair[1]).angle() - (pair[1] - pair[0]).angle()).abs();
                assert!(turn < 0.2, "{name}: lanelet {} has a corner of {turn} at point {i}", lanelet.id);
            }
        }
    });
}

#[test]
fn neighbours_share_their_bound_and_know_each_other() {
    for_all(|layout, name| {
        let reversed = |points: &[Point]| points.iter().rev().copied().collect::<Vec<_>>();
        for lanelet in &layout.roads.lanelets {
            if let Some(left) = lanelet.adjacent_left {
                let other = layout.roads.lanelet(left.id).expect("neighbours exist");
                let (back, shared) = match left.same_direction {
                    true => (other.adjacent_right, other.right.points().to_vec()),
                    false => (other.adjacent_left, reversed(other.left.points())),
                };
                assert_eq!(
                    back.map(|back| (back.id, back.same_direction)),
                    Some((lanelet.id, left.same_direction))
                );
                assert_eq!(lanelet.left.points(), shared, "{name}: lanelets {} and {}", lanelet.id, other.id);
            }
            if let Some(right) = lanelet.adjacent_right {
                let other = layout.roads.lanelet(right.id).expect("neighbours exist");
                let back = if right.same_direction { other.adjacent_left } else { other.adjacent_right };
                assert_eq!(back.map(|back| back.id), Some(lanelet.id), "{name}: lanelet {}", lanelet.id);
            }
        }
    });
}

#[test]
fn successors_start_where_predecessors_end() {
    for_all(|layout, name| {
        for lanelet in &layout.roads.lanelets {
            let center = &lanelet.center;
            for id in &lanelet.successors {
                let next = layout.roads.lanelet(*id).expect("successors exist");
                assert!(next.predecessors.contains(&lanelet.id), "{name}: {} -> {id}", lanelet.id);
                for (a, b) in ends(lanelet, true).into_iter().zip(ends(next, false)) {
                    assert!(
                        a.distance(b) < 0.01,
                        "{name}: {} -> {id} leaves a gap of {} m",
                        lanelet.id,
                        a.distance(b)
                    );
                }
                let kink = wrap_angle(next.center.heading_at(0.0) - center.heading_at(center.length())).abs();
                assert!(kink < 0.12, "{name}: {} -> {id} has a kink of {kink}", lanelet.id);
            }
        }
    });
}

#[test]
fn every_entry_reaches_an_exit_and_every_exit_is_reached() {
    for_all(|layout, name| {
        let graph = LaneGraph::new(&layout.roads);
        let mut reached = HashSet::new();
        assert!(!layout.entries.is_empty());
        for entry in &layout.entries {
            let routes = layout.routes_from(&graph, *entry);
            assert!(!routes.is_empty(), "{name}: entry {entry} leads nowhere");
            for (exit, route) in routes {
                reached.insert(exit);
                assert!(route.legs.iter().any(|leg| leg.lanelet == exit));
                check_route(layout, &route, &format!("{name}: {entry} -> {exit}"));
            }
        }
        for exit in &layout.exits {
            assert!(reached.contains(exit), "{name}: nobody gets to exit {exit}");
        }
    });
}

/// The line of a route is smooth, stays in the road, and its legs follow each other along it.
fn check_route(layout: &Layout, route: &Route, name: &str) {
    assert!(route.start_m <= route.goal_m[0] + 10.0, "{name}");
    assert!(route.goal_m[1] <= route.center.length() + 0.1 && route.goal_m[0] <= route.goal_m[1], "{name}");
    for pair in route.legs.windows(2) {
        assert!(pair[0].start_m <= pair[1].start_m + 1e-9, "{name}: legs out of order");
    }
    let ids: HashSet<_> = route.lanelets().collect();
    let shapes: Vec<_> =
        ids.iter().map(|id| layout.roads.lanelet(*id).expect("legs exist").polygon()).collect();
    let length = route.center.length();
    for i in 1..(length / 3.0) as usize {
        let s = 3.0 * i as f64;
        let at = route.center.at(s);
        assert!(shapes.iter().any(|shape| polygon_contains(shape, at)), "{name}: leaves the road at {s} m");
        let leg = route.leg_at(s);
        let own = layout.roads.lanelet(leg.lanelet).expect("legs exist");
        let d = own.center.project(at).d_m.abs();
        assert!(d < 3.0, "{name}: {d} m beside its leg at {s} m");
    }
}

#[test]
fn lane_changes_reach_the_neighbour_lane() {
    for seed in 0..SEEDS {
        let options = RoadOptions { lanes: Some(3), length_m: Some(600.0), ..RoadOptions::default() };
        let layout = roads(RoadKind::Highway, &mut Rng::new(seed), &options);
        let graph = LaneGraph::new(&layout.roads);
        let from = layout.roads.lanelet(layout.entries[0]).expect("exists");
        let goal = RouteGoal::lanelet(&layout.roads, layout.exits[layout.exits.len().min(3) - 1]);
        let (start, heading) = (from.center.at(5.0), from.center.heading_at(5.0));
        let Some(route) = Route::find(&layout.roads, &graph, start, heading, &goal) else { continue };
        let changes = route.legs.iter().filter(|leg| leg.entry == Entry::FromLeft).count();
        let before = route.corridor(&layout.roads, &graph, route.start_m);
        assert_eq!(
            before.own,
            before.lanes.iter().filter(|lane| !lane.same_direction).count(),
            "seed {seed}"
        );
        assert!(before.left().is_none() && before.right().is_some());
        let own = before.lanes[before.own];
        assert!(own.left_m > 1.5 && own.right_m < -1.5, "seed {seed}: {own:?}");
        let [right, left] = before.drivable();
        assert!(
            (left - own.left_m).abs() < 1e-9 && right < -7.5,
            "seed {seed}: drivable from {right} to {left}"
        );
        if changes > 0 {
            let change = route.next_change(route.start_m).expect("there is one");
            assert_eq!(change.entry, Entry::FromLeft);
            // At its middle the line is on the line between the two lanes.
            let to = layout.roads.lanelet(change.lanelet).expect("exists");
            let d = to.center.project(route.center.at(change.start_m)).d_m;
            assert!((1.4..2.2).contains(&d), "seed {seed}: {d} m from the lane at mid-change");
        }
    }
}

#[test]
fn lights_never_give_conflicting_greens() {
    let mut seen = 0;
    for seed in 0..SEEDS {
        let options = RoadOptions { control: Some(JunctionControl::Lights), ..RoadOptions::default() };
        let layout = roads(RoadKind::Urban, &mut Rng::new(seed), &options);
        let color = |inside: i64, t: f64| {
            let inside = layout.roads.lanelet(inside).expect("exists");
            let before = layout.roads.lanelet(inside.predecessors[0]).expect("exists");
            let light = layout
                .roads
                .lights
                .iter()
                .find(|light| before.lights.contains(&light.id))
                .expect("has a light");
            light.color_at(t)
        };
        let moves = |color| matches!(color, LightColor::Green | LightColor::Yellow);
        for conflict in &layout.conflicts {
            assert_ne!(conflict.rule, Rule::Sign);
            for t in (0..400).map(|i| 0.5 * f64::from(i)) {
                let both = moves(color(conflict.yielding, t)) && moves(color(conflict.priority, t));
                assert!(!both || conflict.rule == Rule::LeftTurn, "seed {seed}: {conflict:?} at {t} s");
            }
            seen += 1;
        }
        for light in &layout.roads.lights {
            let whole: f64 = light.cycle.iter().map(|(_, s)| s).sum();
            assert!(light.cycle.iter().all(|(_, s)| *s > 0.0) && whole > 20.0);
        }
    }
    assert!(seen > 500, "only {seen} conflicts");
}

#[test]
fn crossing_ways_are_listed_with_who_goes_first() {
    for_all(|layout, name| {
        for junction in &layout.junctions {
            let pairs: HashSet<_> = layout
                .conflicts
                .iter()
                .flat_map(|conflict| {
                    [(conflict.yielding, conflict.priority), (conflict.priority, conflict.yielding)]
                })
                .collect();
            for (i, a) in junction.inside.iter().enumerate() {
                for b in &junction.inside[i + 1..] {
                    let (a, b) = (
                        layout.roads.lanelet(*a).expect("exists"),
                        layout.roads.lanelet(*b).expect("exists"),
                    );
                    let related = a.predecessors == b.predecessors
                        || a.successors.contains(&b.id)
                        || b.successors.contains(&a.id);
                    let middle =
                        |lanelet: &Lanelet, part: f64| lanelet.center.at(part * lanelet.center.length());
                    let cross = (1..40).any(|i| {
                        b.center.project(middle(a, f64::from(i) / 40.0)).d_m.abs() < 0.3
                            && polygon_contains(&b.polygon(), middle(a, f64::from(i) / 40.0))
                    });
                    assert!(
                        related || !cross || pairs.contains(&(a.id, b.id)),
                        "{name}: {} and {}",
                        a.id,
                        b.id
                    );
                }
            }
        }
        for conflict in &layout.conflicts {
            let length = |id| layout.roads.lanelet(id).expect("exists").center.length();
            assert!(conflict.yielding_m[0] <= conflict.yielding_m[1]);
            assert!(conflict.yielding_m[1] <= length(conflict.yielding) + 1e-6);
            assert!(conflict.priority_m[1] <= length(conflict.priority) + 1e-6);
        }
    });
}

#[test]
fn signs_and_stop_lines_stand_where_one_waits() {
    for_all(|layout, name| {
        for junction in &layout.junctions {
            let silent = junction.incoming.iter().all(|id| {
                let lanelet = layout.roads.lanelet(*id).expect("exists");
                lanelet.stop_line.is_none() && lanelet.lights.is_empty()
            });
            // Plain streets may say nothing about who goes first.
            if silent && name.starts_with("plain") {
                continue;
            }
            for id in &junction.incoming {
                let lanelet = layout.roads.lanelet(*id).expect("exists");
                let has =
                    |kind| layout.roads.signs.iter().any(|s| lanelet.signs.contains(&s.id) && s.kind == kind);
                let waits = match junction.control {
                    JunctionControl::Lights => !lanelet.lights.is_empty(),
                    _ => has(SignKind::Yield) || has(SignKind::Stop),
                };
                assert!(waits || has(SignKind::Priority), "{name}: lanelet {id} is told nothing");
                assert_eq!(waits, lanelet.stop_line.is_some(), "{name}: lanelet {id}");
            }
        }
    });
}

#[test]
fn the_inside_of_a_junction_is_paved() {
    for seed in 0..SEEDS {
        let layout = layout(RoadKind::Urban, seed);
        assert_eq!(layout.roads.paved().len(), layout.junctions.len());
        for (junction, outline) in layout.junctions.iter().zip(layout.roads.paved()) {
            assert!(polygon_contains(outline, junction.center), "seed {seed}");
            for id in &junction.inside {
                let center = &layout.roads.lanelet(*id).expect("exists").center;
                for i in 1..20 {
                    let at = center.at(center.length() * f64::from(i) / 20.0);
                    assert!(
                        polygon_contains(outline, at),
                        "seed {seed}: lanelet {id} leaves the paved area at {at:?}"
                    );
                }
            }
        }
    }
}

/// A car whose middle keeps to the middle of its lane has room beside every corner, all the way round.
#[test]
fn roundabouts_are_wide_enough_for_a_car() {
    for seed in 0..40 {
        let layout = layout(RoadKind::Roundabout, seed);
        let junction = &layout.junctions[0];
        for id in junction.inside.iter().chain(&junction.incoming) {
            let center = &layout.roads.lanelet(*id).unwrap().center;
            for k in 0..=20 {
                let s_m = center.length() * f64::from(k) / 20.0;
                // With 0.4 m to spare on either side and ahead.
                let car = OrientedBox {
                    center: center.at(s_m),
                    heading_rad: center.heading_at(s_m),
                    length_m: vehicle::LENGTH_M + 0.8,
                    width_m: vehicle::WIDTH_M + 0.8,
                };
                let outside = car.corners().into_iter().find(|corner| !layout.roads.is_road(*corner));
                assert!(outside.is_none(), "seed {seed}: {outside:?} of a car at {s_m:.1} m of lanelet {id}");
            }
        }
    }
}

/// Between the lanes of a junction, too.
#[test]
fn the_inside_of_a_junction_is_road() {
    let spot = |center| OrientedBox { center, heading_rad: 0.0, length_m: 0.2, width_m: 0.2 };
    let mut between = 0;
    for seed in 0..20 {
        let layout = layout(RoadKind::Urban, seed);
        let roads = &layout.roads;
        let mut bare = roads.clone();
        bare.set_paved(Vec::new());
        for (outline, junction) in roads.paved().iter().zip(&layout.junctions) {
            let places = outline
                .iter()
                .flat_map(|kerb| (1..10).map(|k| junction.center.lerp(*kerb, 0.1 * f64::from(k))));
            for place in places.filter(|place| polygon_contains(outline, *place)) {
                assert!(!is_off_road(roads, &spot(place)), "seed {seed}: {place:?} is off the road");
                between += usize::from(is_off_road(&bare, &spot(place)));
            }
        }
        assert!(is_off_road(roads, &spot(Point::new(1e5, 0.0))));
    }
    assert!(between > 50, "{between} places between lanes");
}

#[test]
fn crosswalks_lie_across_what_they_cross() {
    for_all(|layout, name| {
        for crosswalk in &layout.crosswalks {
            assert!(!crosswalk.crossed.is_empty(), "{name}");
            for (id, s) in &crosswalk.crossed {
                let center = &layout.roads.lanelet(*id).expect("exists").center;
                let foot = crosswalk.path.project(center.at(*s));
                assert!(foot.d_m.abs() < 1.0, "{name}: {id} is {} m off its crosswalk at {s} m", foot.d_m);
                assert!((0.0..crosswalk.path.length()).contains(&foot.s_m), "{name}");
            }
        }
    });
}

#[test]
fn parked_cars_stand_beside_the_lanes() {
    for_all(|layout, name| {
        for (i, spot) in layout.parking.iter().enumerate() {
            for lanelet in
                layout.roads.lanelets_near(spot.position, 5.0).filter(|lanelet| lanelet.kind.is_for_cars())
            {
                let distance = [&lanelet.left, &lanelet.right]
                    .map(|line| {
                        let foot = line.project(spot.position);
                        line.at(foot.s_m.clamp(0.0, line.length())).distance(spot.position)
                    })
                    .into_iter()
                    .fold(f64::INFINITY, f64::min);
                assert!(distance > 1.0, "{name}: spot {i} is {distance} m from lanelet {}", lanelet.id);
                assert!(!polygon_contains(&lanelet.polygon(), spot.position));
            }
        }
    });
}

#[test]
fn separate_roads_do_not_run_into_each_other() {
    for_all(|layout, name| {
        let outside =
            |lanelet: &&Lanelet| lanelet.kind.is_for_cars() && lanelet.kind != LaneletKind::Intersection;
        for lanelet in layout.roads.lanelets.iter().filter(outside) {
            for i in 1..(lanelet.center.length() / 5.0) as usize {
                let at = lanelet.center.at(5.0 * i as f64);
                let others: Vec<_> = layout
                    .roads
                    .lanelets_at(at)
                    .filter(|other| other.kind != LaneletKind::Crosswalk && other.id != lanelet.id)
                    .map(|other| other.id)
                    .collect();
                assert!(
                    others.is_empty(),
                    "{name}: lanelet {} lies on {others:?} at {} m",
                    lanelet.id,
                    5 * i
                );
            }
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_roads() {
    for kind in RoadKind::ALL {
        for seed in 0..10 {
            assert_eq!(layout(kind, seed), layout(kind, seed));
            assert_ne!(layout(kind, seed), layout(kind, seed + 1000));
        }
    }
}

#[test]
fn plain_streets_have_lanes_and_nothing_beside_them() {
    let mut signed = 0;
    for seed in 0..SEEDS {
        let layout = plain(seed);
        assert!(layout.roads.paved().is_empty() && layout.parking.is_empty() && layout.crosswalks.is_empty());
        assert!(layout.roads.lanelets.iter().all(|lanelet| lanelet.kind.is_for_cars()), "seed {seed}");
        let unpainted = |lanelet: &Lanelet| {
            [lanelet.left_marking, lanelet.right_marking].iter().all(|m| *m == LineMarking::Unknown)
        };
        assert!(layout.roads.lanelets.iter().all(unpainted), "seed {seed}");
        let priority = |sign: &TrafficSign| matches!(sign.kind, SignKind::Yield | SignKind::Stop);
        signed += usize::from(layout.roads.signs.iter().any(priority));
    }
    assert!((1..SEEDS as usize).contains(&signed), "{signed} of {SEEDS} say who goes first");
}

#[test]
fn options_are_followed() {
    for seed in 0..20 {
        let options = RoadOptions {
            length_m: Some(3000.0),
            lanes: Some(4),
            speed_limit_mps: Some(30.0),
            ..RoadOptions::default()
        };
        let layout = roads(RoadKind::Highway, &mut Rng::new(seed), &options);
        let graph = LaneGraph::new(&layout.roads);
        let routes = layout.routes_from(&graph, layout.entries[0]);
        let longest = routes.iter().map(|(_, route)| route.center.length()).fold(0.0, f64::max);
        assert!((2500.0..3500.0).contains(&longest), "seed {seed}: {longest} m");
        let options = RoadOptions { junctions: Some(3), ..RoadOptions::default() };
        assert_eq!(roads(RoadKind::Urban, &mut Rng::new(seed), &options).junctions.len(), 3);
    }
}
