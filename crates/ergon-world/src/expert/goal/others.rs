//! Who may be in the way of motions into a goal, and where the road ends.

use ergon_types::VehicleState;

use super::{Candidate, Wanted, Way};
use crate::follow;
use crate::geometry::{OrientedBox, Point};
use crate::road::RoadNetwork;
use crate::score::is_off_road;
use crate::traffic::Forecast;
use crate::vehicle;
use crate::world::World;

/// Time between moments that are checked for others.
const CHECK_S: f64 = 0.2;
/// How far ahead the motion of those who react is foreseen, and of those who do not.
const FORESEEN_S: [f64; 2] = [4.4, 9.0];
/// Room to others: seconds ahead, metres ahead and behind, metres beside.
const ROOM: [[f64; 3]; 4] = [[0.6, 1.5, 0.5], [0.3, 1.0, 0.3], [0.0, 0.6, 0.2], [0.0, 0.15, 0.08]];
/// Motions that are checked for others at most.
const TRIED: usize = 1500;
/// How far ahead a motion has to stay on the road.
const ON_ROAD_S: f64 = 6.0;
/// How far ahead the vehicle is seen following it.
const FOLLOWED_S: f64 = 2.5;

/// Who may be in the way.
pub(super) struct Others<'a> {
    ego: VehicleState,
    roads: &'a RoadNetwork,
    forecasts: Vec<Forecast>,
    horizon_s: f64,
    /// Whether the edge of the road is to be heeded: not by someone who is beyond it.
    on_road: bool,
}

impl<'a> Others<'a> {
    pub(super) fn new(world: &'a World, wanted: &Wanted) -> Others<'a> {
        let latest = wanted.arrivals_s.iter().copied().fold(0.0, f64::max);
        let reacts = world.traffic().is_reactive();
        let horizon_s = (latest + 1.0).min(FORESEEN_S[usize::from(!reacts)]);
        let ego = world.ego();
        let mut forecasts = world.traffic().predict(world.scenario(), ego, None, [horizon_s, CHECK_S]);
        let at = Point::new(ego.x_m, ego.y_m);
        // Those who react keep their distance behind.
        let follows = |forecast: &Forecast| {
            let Some(state) = forecast.states.first().and_then(|state| *state) else { return false };
            let p = Point::new(state.x_m, state.y_m).to_frame(at, ego.heading_rad);
            reacts && p.x < -2.0 && p.y.abs() < 1.5
        };
        forecasts.retain(|forecast| !follows(forecast));
        let roads = &world.scenario().roads;
        Others {
            ego: *ego,
            roads,
            forecasts,
            horizon_s,
            on_road: !is_off_road(roads, &vehicle::footprint(ego)),
        }
    }

    /// The cheapest motion that keeps most room.
    pub(super) fn free(&self, ways: &[Way], candidates: &[Candidate]) -> Option<Candidate> {
        ROOM.iter().find_map(|room| {
            let fits = |candidate: &&Candidate| {
                self.meets(candidate, &ways[candidate.way], *room).is_none()
                    && self.stays(candidate, ways)
                    && self.follows(candidate, ways)
            };
            candidates.iter().take(TRIED).find(fits).copied()
        })
    }

    /// Where all meet somebody, the one that does so last, if not before `soon_s`.
    pub(super) fn latest(&self, ways: &[Way], candidates: &[Candidate], soon_s: f64) -> Option<Candidate> {
        let when =
            |c: &Candidate| self.meets(c, &ways[c.way], ROOM[ROOM.len() - 1]).unwrap_or(self.horizon_s);
        let staying = candidates.iter().filter(|c| self.stays(c, ways)).take(TRIED);
        let (when_s, best) = staying.map(|c| (when(c), c)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (when_s > soon_s).then_some(*best)
    }

    /// Whether the vehicle stays on the road when it follows a motion, as slowly as its wheels turn.
    fn follows(&self, candidate: &Candidate, ways: &[Way]) -> bool {
        let motion = candidate.trajectory(&ways[candidate.way], &self.ego);
        let driven = follow::rollout(&self.ego, &motion, candidate.arrival_s.min(FOLLOWED_S));
        let first = if self.on_road { 2 } else { 12 };
        driven.points.iter().skip(first).step_by(2).all(|p| {
            let (center, heading_rad) = (Point::new(p.x_m, p.y_m), p.heading_rad);
            let (length_m, width_m) = (vehicle::LENGTH_M, vehicle::WIDTH_M);
            !is_off_road(self.roads, &OrientedBox { center, heading_rad, length_m, width_m })
        })
    }

    /// Whether a motion stays on the road.
    fn stays(&self, candidate: &Candidate, ways: &[Way]) -> bool {
        let until_s = candidate.arrival_s.min(ON_ROAD_S);
        let n = (until_s / 0.3).ceil() as usize;
        let first = if self.on_road { 1 } else { 4 };
        (first..=n).all(|k| {
            let t = until_s * k as f64 / n as f64;
            !is_off_road(self.roads, &candidate.footprint(&ways[candidate.way], t).0)
        })
    }

    /// When a motion comes too near to somebody.
    fn meets(&self, candidate: &Candidate, way: &Way, room: [f64; 3]) -> Option<f64> {
        let [ahead_s, ahead_m, beside_m] = room;
        let until_s = (candidate.arrival_s + 0.8).min(self.horizon_s);
        (1..=(until_s / CHECK_S) as usize).find_map(|k| {
            let t = k as f64 * CHECK_S;
            let (own, v) = candidate.footprint(way, t);
            let ahead = (ahead_s * v.max(0.0)).min(10.0);
            let own = OrientedBox {
                center: own.center + Point::polar(0.5 * ahead, own.heading_rad),
                length_m: own.length_m + ahead + 2.0 * ahead_m,
                width_m: own.width_m + 2.0 * beside_m,
                ..own
            };
            let touches = self.forecasts.iter().any(|other| {
                let Some(Some(state)) = other.states.get(k) else { return false };
                let center = Point::new(state.x_m, state.y_m);
                let near = 0.5 * (own.length_m + own.width_m + state.length_m + state.width_m);
                let (heading_rad, length_m, width_m) = (state.heading_rad, state.length_m, state.width_m);
                center.distance(own.center) < near
                    && own.intersects(&OrientedBox { center, heading_rad, length_m, width_m })
            });
            touches.then_some(t)
        })
    }
}
