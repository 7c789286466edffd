//! Who is where on the lanes around the ego vehicle: the view from which facts and perception targets are taken.

use ergon_types::{ActorKind, ActorState, LightColor, VehicleState};

use super::Side;
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, Lanelet, LaneletKind, RoadNetwork};
use crate::vehicle;
use crate::world::World;

/// How far ahead lanes are looked at.
const AHEAD_M: f64 = 120.0;
/// How far back.
const BEHIND_M: f64 = 60.0;

/// One lane followed over its lanelets.
#[derive(Clone, Debug, PartialEq)]
pub struct LanePath {
    /// Its centre line.
    pub line: Polyline,
    /// Its lanelets with the station of their start on `line`.
    pub lanelets: Vec<(ElementId, f64)>,
}

impl LanePath {
    /// The lanelet at a station, with the station of its start; `None` before the first.
    pub fn lanelet_at(&self, s_m: f64) -> Option<(ElementId, f64)> {
        self.lanelets.iter().rev().find(|(_, start_m)| *start_m <= s_m).copied()
    }
}

/// Another road user in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Who.
    pub actor: ActorState,
    /// Free length between the boxes along the lane; negative where they are side by side.
    pub gap_m: f64,
    /// Its speed along the lane.
    pub speed_mps: f64,
}

/// The lane beside the ego vehicle's.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Beside {
    /// Whether there is one for cars in the same direction.
    pub exists: bool,
    /// The next one ahead of or abreast with the ego vehicle's centre.
    pub front: Option<Neighbour>,
    /// The next one behind it.
    pub rear: Option<Neighbour>,
}

impl Beside {
    /// Whether a vehicle with this speed could move over now: 4 m and half a second to the one in front, and to the one
    /// behind as well, plus what closing in eats up in three seconds.
    pub fn is_free(&self, speed_mps: f64) -> bool {
        self.exists && self.in_the_way(speed_mps).next().is_none()
    }

    /// Those of the two that do not leave room for a vehicle with this speed.
    pub fn in_the_way(&self, speed_mps: f64) -> impl Iterator<Item = Neighbour> {
        let front = self.front.filter(|n| {
            n.gap_m <= 4.0 + 0.5 * speed_mps.min(20.0) + 3.0 * (speed_mps - n.speed_mps).max(0.0)
        });
        let rear = self.rear.filter(|n| {
            n.gap_m <= 4.0 + 0.5 * n.speed_mps.min(20.0) + 3.0 * (n.speed_mps - speed_mps).max(0.0)
        });
        front.into_iter().chain(rear)
    }
}

/// The lanes around the ego vehicle with who is on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The lanelet under the ego vehicle.
    pub lanelet: ElementId,
    /// Its lane ahead and behind.
    pub path: LanePath,
    /// Station of the ego vehicle's centre on the path.
    pub s_m: f64,
    /// Metres left of the centre line.
    pub offset_m: f64,
    /// Heading against the lane's.
    pub heading_error_rad: f64,
    /// Number of its lane, 0 at the left, and how many lead this way.
    pub lane: (usize, usize),
    /// Who is next ahead in the lane, within 120 m.
    pub lead: Option<Neighbour>,
    /// Who is next behind in the lane, within 60 m.
    pub rear: Option<Neighbour>,
    /// The lane to the left.
    pub left: Beside,
    /// The lane to the right.
    pub right: Beside,
    /// The next active light on the path with the free length to where one stops for it, within 80 m.
    pub light: Option<(LightColor, f64)>,
    /// The nearest person on foot or cyclist ahead within 40 m and 6 m of the lane's centre.
    pub vulnerable: Option<(ActorKind, f64)>,
}

impl Surroundings {
    /// The lane on a side.
    pub fn beside(&self, side: Side) -> &Beside {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }
}

/// The lane beside a lanelet that leads the same way and is open to cars.
pub fn neighbour(roads: &RoadNetwork, id: ElementId, side: Side) -> Option<&Lanelet> {
    let lanelet = roads.lanelet(id)?;
    let adjacent = match side {
        Side::Left => lanelet.adjacent_left,
        Side::Right => lanelet.adjacent_right,
    };
    let beside = roads.lanelet(adjacent.filter(|beside| beside.same_direction)?.id)?;
    beside.kind.is_for_cars().then_some(beside)
}

/// The lane beside a lanelet for those who drive on: no shoulder.
pub fn lane_beside(roads: &RoadNetwork, id: ElementId, side: Side) -> Option<&Lanelet> {
    neighbour(roads, id, side).filter(|beside| beside.kind != LaneletKind::Shoulder)
}

/// Number of a lanelet's lane counted from the left (0 first), and how many lead this way. A shoulder counts only for one who is
/// on it.
pub fn lane_position(roads: &RoadNetwork, id: ElementId) -> (usize, usize) {
    let count = |side| {
        let mut at = id;
        // A file may have lanes in a ring.
        (0..12).find(|_| match lane_beside(roads, at, side) {
            Some(beside) => {
                at = beside.id;
                false
            }
            None => true,
        })
    };
    let (left, right) = (count(Side::Left).unwrap_or(0), count(Side::Right).unwrap_or(0));
    (left, left + 1 + right)
}

/// The point half-way between the outermost bounds of all lanes beside a lanelet that lead its way.
pub fn road_center(roads: &RoadNetwork, id: ElementId, part: f64) -> Option<Point> {
    let end = |side| {
        let mut lanelet = roads.lanelet(id)?;
        for _ in 0..12 {
            match neighbour(roads, lanelet.id, side) {
                Some(beside) => lanelet = beside,
                None => break,
            }
        }
        let bound = if side == Side::Left { &lanelet.left } else { &lanelet.right };
        Some(bound.at(part * bound.length()))
    };
    Some(end(Side::Left)?.lerp(end(Side::Right)?, 0.5))
}

/// The successor on the way: one in `prefer` if any, else the one that bends least.
fn next_lanelet<'a>(roads: &'a RoadNetwork, lanelet: &Lanelet, prefer: &[ElementId]) -> Option<&'a Lanelet> {
    let known = || lanelet.successors.iter().filter_map(|id| roads.lanelet(*id));
    known().find(|next| prefer.contains(&next.id)).or_else(|| {
        let bend = |next: &&Lanelet| {
            let end = next.center.heading_at(next.center.length());
            (wrap_angle(end - next.center.heading_at(0.0)).abs() * 1e6) as i64
        };
        known().min_by_key(bend)
    })
}

/// The lane of a lanelet over `ahead_m` and `behind_m` from a station of it; successors in `prefer` go first.
pub fn lane_path(
    roads: &RoadNetwork,
    id: ElementId,
    s_m: f64,
    prefer: &[ElementId],
    [behind_m, ahead_m]: [f64; 2],
) -> Option<LanePath> {
    let first = roads.lanelet(id)?;
    let mut chain = vec![first];
    let mut known_m = first.center.length() - s_m;
    while known_m < ahead_m && chain.len() < 64 {
        let Some(next) = next_lanelet(roads, chain[chain.len() - 1], prefer) else { break };
        known_m += next.center.length();
        chain.push(next);
    }
    let mut known_m = s_m;
    while known_m < behind_m && chain.len() < 128 {
        let options = &chain[0].predecessors;
        let before = options.iter().find(|id| prefer.contains(id)).or(options.first());
        let Some(before) = before.and_then(|id| roads.lanelet(*id)) else { break };
        known_m += before.center.length();
        chain.insert(0, before);
    }
    let mut lanelets = Vec::with_capacity(chain.len());
    let mut station_m = 0.0;
    for lanelet in &chain {
        lanelets.push((lanelet.id, station_m));
        station_m += lanelet.center.length();
    }
    let points = chain.iter().flat_map(|lanelet| lanelet.center.points().iter().copied());
    Some(LanePath { line: Polyline::new(points), lanelets })
}

/// Who stands or moves in the lane: next ahead and next behind of station `s_m`.
fn in_lane(path: &LanePath, s_m: f64, actors: &[ActorState], ego: &VehicleState) -> [Option<Neighbour>; 2] {
    let mut found: [Option<Neighbour>; 2] = [None, None];
    for actor in actors {
        let at = Point::new(actor.x_m, actor.y_m);
        if at.distance(Point::new(ego.x_m, ego.y_m)) > AHEAD_M + 10.0 {
            continue;
        }
        let foot = path.line.project(at);
        let (sin, cos) = (actor.heading_rad - foot.heading_rad).sin_cos();
        let across = 0.5 * (actor.width_m * cos.abs() + actor.length_m * sin.abs());
        let along = 0.5 * (actor.length_m * cos.abs() + actor.width_m * sin.abs());
        // In the way of a car that keeps to the middle of the lane.
        let beyond = foot.s_m < -along || foot.s_m > path.line.length() + along;
        if foot.d_m.abs() - across > 0.5 * vehicle::WIDTH_M + 0.2 || beyond {
            continue;
        }
        let ahead = foot.s_m >= s_m;
        let gap_m = (foot.s_m - s_m).abs() - along - 0.5 * vehicle::LENGTH_M;
        let slot = &mut found[usize::from(!ahead)];
        let reach = if ahead { AHEAD_M } else { BEHIND_M };
        if gap_m < reach && slot.is_none_or(|other| gap_m < other.gap_m) {
            *slot = Some(Neighbour { actor: *actor, gap_m, speed_mps: actor.speed_mps * cos });
        }
    }
    found
}

fn beside(world: &World, id: ElementId, side: Side, prefer: &[ElementId]) -> Beside {
    let roads = &world.scenario().roads;
    let Some(lanelet) = neighbour(roads, id, side) else { return Beside::default() };
    let ego = world.ego();
    let s_m = lanelet.center.project(Point::new(ego.x_m, ego.y_m)).s_m;
    let Some(path) = lane_path(roads, lanelet.id, s_m, prefer, [BEHIND_M, AHEAD_M]) else {
        return Beside::default();
    };
    let s_m = path.line.project(Point::new(ego.x_m, ego.y_m)).s_m;
    let [front, rear] = in_lane(&path, s_m, world.actors(), ego);
    Beside { exists: true, front, rear }
}

fn light_ahead(world: &World, path: &LanePath, s_m: f64) -> Option<(LightColor, f64)> {
    let roads = &world.scenario().roads;
    for (id, start_m) in &path.lanelets {
        let lanelet = roads.lanelet(*id)?;
        let stop_m = match &lanelet.stop_line {
            Some(line) => path.line.project(line.left.lerp(line.right, 0.5)).s_m,
            None => start_m + lanelet.center.length(),
        };
        let gap_m = stop_m - s_m - 0.5 * vehicle::LENGTH_M;
        if lanelet.lights.is_empty() || gap_m < -2.0 {
            continue;
        }
        let color = world.light(lanelet.lights[0]);
        return (gap_m < 80.0 && color != LightColor::Inactive).then_some((color, gap_m));
    }
    None
}

fn vulnerable_ahead(world: &World, path: &LanePath, s_m: f64) -> Option<(ActorKind, f64)> {
    let on_foot = |kind| matches!(kind, ActorKind::Pedestrian | ActorKind::Bicycle);
    let ego = Point::new(world.ego().x_m, world.ego().y_m);
    let near = world.actors().iter().filter(|actor| on_foot(actor.kind)).filter_map(|actor| {
        let at = Point::new(actor.x_m, actor.y_m);
        let foot = (at.distance(ego) < 50.0).then(|| path.line.project(at))?;
        let gap_m = foot.s_m - s_m - 0.5 * vehicle::LENGTH_M;
        let reach = if actor.kind == ActorKind::Bicycle { 3.0 } else { 6.0 };
        (foot.d_m.abs() < reach && (0.0..40.0).contains(&gap_m)).then_some((actor.kind, gap_m))
    });
    near.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The lanes around the ego vehicle; `None` where it is on no lanelet for cars. `prefer` is the route.
pub fn surroundings(world: &World, prefer: &[ElementId]) -> Option<Surroundings> {
    let roads = &world.scenario().roads;
    let ego = world.ego();
    let at = Point::new(ego.x_m, ego.y_m);
    let turn = |lanelet: &&Lanelet| {
        let foot = lanelet.center.project(at);
        let preferred = if prefer.contains(&lanelet.id) { 0.0 } else { 0.2 };
        wrap_angle(lanelet.center.heading_at(foot.s_m) - ego.heading_rad).abs() + preferred
    };
    let lanelet = roads
        .lanelets_at(at)
        .filter(|lanelet| lanelet.kind.is_for_cars())
        .min_by(|a, b| turn(a).total_cmp(&turn(b)))?;
    let s_m = lanelet.center.project(at).s_m;
    let path = lane_path(roads, lanelet.id, s_m, prefer, [BEHIND_M, AHEAD_M])?;
    let foot = path.line.project(at);
    let heading_error_rad = wrap_angle(ego.heading_rad - path.line.heading_at(foot.s_m));
    let [lead, rear] = in_lane(&path, foot.s_m, world.actors(), ego);
    Some(Surroundings {
        lanelet: lanelet.id,
        s_m: foot.s_m,
        offset_m: foot.d_m,
        heading_error_rad,
        lane: lane_position(roads, lanelet.id),
        lead,
        rear,
        left: beside(world, lanelet.id, Side::Left, prefer),
        right: beside(world, lanelet.id, Side::Right, prefer),
        light: light_ahead(world, &path, foot.s_m),
        vulnerable: vulnerable_ahead(world, &path, foot.s_m),
        path,
    })
}

/// How near its end a road is over.
const END_M: f64 = 8.0;

/// Whether nothing follows on a lane nor on any beside it in its direction.
pub fn ends_with_the_map(roads: &RoadNetwork, lanelet: &Lanelet) -> bool {
    let ends_towards = |side| {
        let lanes = std::iter::successors(Some(lanelet), |lanelet| neighbour(roads, lanelet.id, side));
        // A file may have lanes in a ring.
        lanes.take(roads.lanelets.len()).all(|lanelet| lanelet.successors.is_empty())
    };
    ends_towards(Side::Left) && ends_towards(Side::Right)
}

/// Whether a lane ends by itself, while one beside it goes on, as a shoulder does and the lane behind a ramp.
pub fn ends_beside_others(roads: &RoadNetwork, lanelet: &Lanelet) -> bool {
    lanelet.successors.is_empty() && !ends_with_the_map(roads, lanelet)
}

/// Whether the lane that the ego vehicle is in, with all beside it, leads out of the world within a few metres.
pub fn road_ends(world: &World, prefer: &[ElementId]) -> bool {
    surroundings(world, prefer).is_some_and(|seen| {
        let roads = &world.scenario().roads;
        let last = seen.path.lanelets.last().and_then(|(id, _)| roads.lanelet(*id));
        last.is_some_and(|last| ends_with_the_map(roads, last)) && seen.path.line.length() - seen.s_m < END_M
    })
}
