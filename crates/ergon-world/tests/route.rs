//! Routes through networks that leave links out, as files in the wild do.

use ergon_world::Rng;
use ergon_world::generate::{RoadKind, RoadOptions, roads};
use ergon_world::geometry::{OrientedBox, Point, Polyline};
use ergon_world::road::{Lanelet, LaneletKind, RoadNetwork};
use ergon_world::route::{Entry, LaneGraph, Route, RouteGoal, lane_line};
use ergon_world::scenario::Region;

/// A straight lane piece along x, 3 m wide.
fn piece(id: i64, [x0, x1]: [f64; 2], right_y: f64) -> Lanelet {
    let line = |y: f64| {
        let n = ((x1 - x0) / 10.0).ceil() as usize;
        Polyline::new((0..=n).map(|i| Point::new(x0 + (x1 - x0) * i as f64 / n as f64, y)))
    };
    let mut lanelet = Lanelet::new(id, line(right_y + 3.0), line(right_y));
    lanelet.kind = LaneletKind::Highway;
    lanelet
}

/// Two lanes of two pieces each, and an oncoming lane; not a single link is declared, and one is declared to nothing.
fn bare() -> RoadNetwork {
    let mut first = piece(1, [0.0, 200.0], 0.0);
    first.successors.push(99);
    let oncoming = {
        let lane = piece(5, [0.0, 400.0], 6.0);
        let back = |line: &Polyline| Polyline::new(line.points().iter().rev().copied());
        Lanelet::new(5, back(&lane.right), back(&lane.left))
    };
    let lanelets = vec![
        first,
        piece(2, [200.0, 400.0], 0.0),
        piece(3, [0.0, 200.0], 3.0),
        piece(4, [200.0, 400.0], 3.0),
        oncoming,
    ];
    RoadNetwork::new(lanelets, Vec::new(), Vec::new())
}

#[test]
fn missing_links_are_found_where_lanelets_touch() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    assert_eq!(graph.links(1).successors, [2]);
    assert_eq!(graph.links(2).predecessors, [1]);
    assert_eq!(graph.links(1).left, [3]);
    assert_eq!(graph.links(3).right, [1]);
    assert!(graph.links(1).right.is_empty() && graph.links(1).oncoming_left.is_empty());
    assert_eq!(graph.links(3).oncoming_left, [5]);
    let mut beside = graph.links(5).oncoming_left.clone();
    beside.sort_unstable();
    assert_eq!(beside, [3, 4]);
    assert!(graph.links(77).successors.is_empty() && graph.index_of(77).is_none());
}

#[test]
fn a_route_changes_lanes_where_it_must() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    let shape =
        OrientedBox { center: Point::new(350.0, 4.5), heading_rad: 0.0, length_m: 20.0, width_m: 2.0 };
    let goal = RouteGoal::region(&roads, &Region::Rectangle(shape), Some([-0.1, 0.1]));
    assert_eq!(goal.lanelets.len(), 1);
    assert_eq!(goal.lanelets[0].0, 4);
    let route = Route::find(&roads, &graph, Point::new(20.0, 1.4), 0.05, &goal).expect("there is a way");
    assert_eq!(route.legs.iter().filter(|leg| leg.entry == Entry::FromRight).count(), 1);
    assert!(route.legs.iter().all(|leg| leg.entry != Entry::FromLeft));
    assert!((route.center.at(route.start_m).x - 20.0).abs() < 0.5);
    let [from, to] = route.goal_m.map(|s| route.center.at(s));
    assert!((from.x - 340.0).abs() < 2.0 && (to.x - 360.0).abs() < 2.0, "{from:?} {to:?}");
    assert!((from.y - 4.5).abs() < 1e-6);
    let corridor = route.corridor(&roads, &graph, route.start_m);
    let lanes: Vec<_> = corridor.lanes.iter().map(|lane| (lane.lanelet, lane.same_direction)).collect();
    assert_eq!(lanes, [(5, false), (3, true), (1, true)]);
    assert_eq!(corridor.own, 2);
    let edges: Vec<_> =
        corridor.lanes.iter().map(|lane| (lane.left_m.round(), lane.right_m.round())).collect();
    assert_eq!(edges, [(8.0, 5.0), (5.0, 2.0), (2.0, -2.0)]);
    let [right, left] = corridor.drivable();
    assert!((right + 1.5).abs() < 1e-6 && (left - 4.5).abs() < 1e-6);
}

#[test]
fn no_way_is_no_route() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    // Back against the traffic.
    let goal = RouteGoal::lanelet(&roads, 1);
    assert!(Route::find(&roads, &graph, Point::new(300.0, 1.5), 0.0, &goal).is_none());
    assert!(Route::find(&roads, &graph, Point::new(300.0, 1.5), 0.0, &RouteGoal::default()).is_none());
    let nothing = RoadNetwork::default();
    assert!(Route::find(&nothing, &LaneGraph::new(&nothing), Point::default(), 0.0, &goal).is_none());
}

#[test]
fn a_start_beside_the_road_takes_the_nearest_lane_of_its_direction() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    let goal = RouteGoal::lanelet(&roads, 2);
    let route = Route::find(&roads, &graph, Point::new(50.0, -2.0), 0.0, &goal).expect("there is a way");
    assert_eq!(route.leg_at(route.start_m).lanelet, 1);
    assert!(route.legs.iter().all(|leg| leg.entry == Entry::Ahead));
}

#[test]
fn without_a_place_to_go_to_the_lane_is_followed() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    let route = Route::ahead(&roads, &graph, Point::new(150.0, 4.0), 0.0, 100.0).expect("there is a lane");
    assert_eq!(route.legs.iter().map(|leg| leg.lanelet).collect::<Vec<_>>(), [3, 4]);
    assert!((route.goal_m[0] - route.start_m - 100.0).abs() < 1e-6);
    let route = Route::ahead(&roads, &graph, Point::new(150.0, 7.5), 3.1, 1000.0).expect("there is a lane");
    assert_eq!(route.legs.iter().map(|leg| leg.lanelet).collect::<Vec<_>>(), [5]);
    assert!((route.goal_m[0] - route.start_m - 150.0).abs() < 1e-6);
}

#[test]
fn a_goal_goes_on_in_the_next_lanelet() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    let shape =
        OrientedBox { center: Point::new(200.0, 1.5), heading_rad: 0.0, length_m: 60.0, width_m: 2.0 };
    let goal = RouteGoal::region(&roads, &Region::Rectangle(shape), None);
    let route = Route::find(&roads, &graph, Point::new(20.0, 1.4), 0.0, &goal).expect("there is a way");
    let [from, to] = route.goal_m.map(|s| route.center.at(s).x);
    assert!((from - 170.0).abs() < 1.5 && (to - 230.0).abs() < 1.5, "{from} {to}");
}

#[test]
fn a_goal_off_the_road_is_sought_in_the_nearest_lane() {
    let roads = bare();
    let region = Region::Circle { center: Point::new(300.0, -4.0), radius_m: 1.0 };
    let goal = RouteGoal::region(&roads, &region, None);
    assert_eq!(goal.lanelets, [(2, [100.0, 100.0])]);
}

#[test]
fn a_lane_line_goes_back_and_ahead_as_far_as_there_is_road() {
    let roads = bare();
    let graph = LaneGraph::new(&roads);
    let (line, at) = lane_line(&roads, &graph, 2, 50.0, [100.0, 100.0], &[]).expect("exists");
    assert!((line.length() - 200.0).abs() < 1e-6 && (at - 100.0).abs() < 1e-6);
    let (line, at) = lane_line(&roads, &graph, 2, 50.0, [1000.0, 1000.0], &[]).expect("exists");
    assert!((line.length() - 400.0).abs() < 1e-6 && (at - 250.0).abs() < 1e-6);
    assert!(lane_line(&roads, &graph, 9, 0.0, [1.0, 1.0], &[]).is_none());
}

#[test]
fn geometry_alone_restores_the_links_of_a_generated_highway() {
    for seed in 0..20 {
        let layout = roads(RoadKind::Highway, &mut Rng::new(seed), &RoadOptions::default());
        let declared = LaneGraph::new(&layout.roads);
        let mut lanelets = layout.roads.lanelets.clone();
        for lanelet in &mut lanelets {
            lanelet.successors.clear();
            lanelet.predecessors.clear();
            lanelet.adjacent_left = None;
            lanelet.adjacent_right = None;
        }
        let stripped = RoadNetwork::new(lanelets, Vec::new(), Vec::new());
        let found = LaneGraph::new(&stripped);
        for lanelet in &stripped.lanelets {
            let (a, b) = (declared.links(lanelet.id), found.links(lanelet.id));
            assert_eq!(
                (&a.successors, &a.left, &a.right),
                (&b.successors, &b.left, &b.right),
                "seed {seed}: {lanelet:?}"
            );
        }
    }
}
