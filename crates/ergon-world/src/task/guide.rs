//! The navigation's voice on the way to a goal: which lane to take and which way to turn, said in the words that people
//! use. It knows the lanes and where the goal is, and nobody else on the road.
//!
//! A goal a hundred metres ahead and one lane aside looks to a driver as one straight ahead: what tells them apart is the
//! map. So the map says it in words, which a driver understands anyway.

use super::{Instruction, Side, Task, Turn};
use crate::geometry::{Point, wrap_angle};
use crate::road::ElementId;
use crate::route::{Entry, LaneGraph, Route, RouteGoal};
use crate::scenario::Goal;
use crate::world::World;

/// A fork is announced when it is no farther than this.
const ANNOUNCED_M: f64 = 40.0;
/// The way is looked at so far behind a fork.
const BEHIND_FORK_M: f64 = 30.0;
/// A way that leads off by more than this is a turn.
const TURN_RAD: f64 = 0.6;

/// Knows the way to the goal of a world.
#[derive(Clone, Debug)]
pub struct Guide {
    graph: LaneGraph,
    goal: RouteGoal,
}

impl Guide {
    /// The guide to the first goal of a world; `None` if that names no place.
    pub fn new(world: &World) -> Option<Guide> {
        Guide::to(world, world.scenario().problem.goals.first()?)
    }

    /// The guide to a goal on the roads of a world; `None` if that names no place.
    pub fn to(world: &World, goal: &Goal) -> Option<Guide> {
        let roads = &world.scenario().roads;
        let region = goal.regions.first()?;
        Some(Guide { graph: LaneGraph::new(roads), goal: RouteGoal::region(roads, region, goal.heading_rad) })
    }

    /// A task to reach the goal, with the words for what is to be done now: the task as it is while that is to drive on.
    /// Other tasks are left as they are.
    pub fn advise(&self, world: &World, task: &Task) -> Task {
        let advice = (task.instruction == Instruction::ReachGoal).then(|| self.advice(world)).flatten();
        advice.map_or_else(|| task.clone(), |instruction| task.told(instruction))
    }

    /// What is to be done now; `None` for nothing but to drive on.
    fn advice(&self, world: &World) -> Option<Instruction> {
        let (roads, ego) = (&world.scenario().roads, world.ego());
        let at = Point::new(ego.x_m, ego.y_m);
        let route = Route::find(roads, &self.graph, at, ego.heading_rad, &self.goal)?;
        let here = route.leg_at(route.start_m + 0.01);
        let next = route.legs.iter().find(|leg| leg.start_m > here.start_m);
        match next.map(|leg| leg.entry) {
            Some(Entry::FromRight) => return Some(Instruction::ChangeLane(Side::Left)),
            Some(Entry::FromLeft) => return Some(Instruction::ChangeLane(Side::Right)),
            Some(Entry::Ahead) | None => {}
        }
        let forks = |id: ElementId| self.graph.links(id).successors.len() > 1;
        let behind_fork = self.graph.links(here.lanelet).predecessors.iter().any(|id| forks(*id));
        let fork_m = match next {
            _ if behind_fork => route.start_m,
            Some(next) if forks(here.lanelet) && next.start_m < route.start_m + ANNOUNCED_M => next.start_m,
            _ => return None,
        };
        let there_m = (fork_m + BEHIND_FORK_M).min(route.center.length());
        let turn_rad = wrap_angle(route.center.heading_at(there_m) - ego.heading_rad);
        if turn_rad.abs() > TURN_RAD {
            let turn = if turn_rad > 0.0 { Turn::Left } else { Turn::Right };
            return Some(Instruction::Turn(turn));
        }
        (!behind_fork).then_some(Instruction::Turn(Turn::Straight))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::episode::{self, Episode, EpisodeOptions};
    use crate::generate::RoadKind;
    use crate::scenario::{Region, Scenario};
    use crate::task::{Language, neighbour};

    /// The world of an episode with a goal and with the vehicle on a lanelet.
    fn at(episode: &Episode, goal: &Goal, lanelet: ElementId, s_m: f64) -> World {
        let mut scenario = Scenario::clone(episode.world.scenario());
        let center = &scenario.roads.lanelet(lanelet).expect("a lanelet").center;
        let (place, heading_rad) = (center.at(s_m), center.heading_at(s_m));
        scenario.problem.goals = vec![goal.clone()];
        let initial = &mut scenario.problem.initial;
        (initial.x_m, initial.y_m, initial.heading_rad) = (place.x, place.y, heading_rad);
        World::new(Arc::new(scenario), episode.world.traffic().clone())
    }

    fn lanelet_goal(id: ElementId) -> Goal {
        Goal {
            steps: [0, 200],
            regions: vec![Region::Lanelets(vec![id])],
            heading_rad: None,
            speed_mps: None,
        }
    }

    fn advised(world: &World, language: Language) -> Task {
        let task = Task {
            instruction: Instruction::ReachGoal,
            text: "reach the goal".to_owned(),
            language,
            ..Task::default()
        };
        Guide::new(world).expect("a goal with a place").advise(world, &task)
    }

    #[test]
    fn a_goal_in_the_lane_beside_is_said_until_the_vehicle_is_there() {
        let options = EpisodeOptions { kind: Some(RoadKind::Highway), ..EpisodeOptions::default() };
        let mut told = 0;
        for seed in 0..10 {
            let episode = episode::generate(seed, &options);
            let roads = &episode.world.scenario().roads;
            let ego = episode.world.ego();
            let here = roads.lanelet_for(Point::new(ego.x_m, ego.y_m), ego.heading_rad).expect("a lanelet");
            for side in [Side::Left, Side::Right] {
                let Some(beside) = neighbour(roads, here.id, side).map(|lanelet| lanelet.id) else {
                    continue;
                };
                let goal = lanelet_goal(beside);
                let before = advised(&at(&episode, &goal, here.id, 5.0), Language::English);
                assert_eq!(before.instruction, Instruction::ChangeLane(side), "seed {seed}");
                assert!(before.text.ends_with(if side == Side::Left { "left lane" } else { "right lane" }));
                let there = advised(&at(&episode, &goal, beside, 10.0), Language::English);
                assert_eq!(
                    (there.instruction, &*there.text),
                    (Instruction::ReachGoal, "reach the goal"),
                    "seed {seed}"
                );
                told += 1;
            }
        }
        assert!(told > 5, "{told}");
    }

    #[test]
    fn a_turn_is_said_before_the_junction_and_in_the_language_of_the_task() {
        let mut told = 0;
        for (turn, words) in [(Turn::Left, "在前面路口左转"), (Turn::Right, "在前面路口右转")] {
            for seed in 0..6 {
                let options = EpisodeOptions {
                    instruction: Some(Instruction::Turn(turn)),
                    ..EpisodeOptions::default()
                };
                let episode = episode::generate(seed, &options);
                let roads = &episode.world.scenario().roads;
                let [first, .., last] = *episode.task.route else { continue };
                let length_m = roads.lanelet(first).expect("a lanelet").center.length();
                let goal = lanelet_goal(last);
                let near = at(&episode, &goal, first, (length_m - 15.0).max(0.0));
                let advice = advised(&near, Language::Chinese);
                assert_eq!(
                    (advice.instruction, &*advice.text),
                    (Instruction::Turn(turn), words),
                    "seed {seed}"
                );
                told += 1;
            }
        }
        assert!(told > 4, "{told}");
    }

    #[test]
    fn other_tasks_and_goals_without_a_place_are_left_alone() {
        let episode = episode::generate(0, &EpisodeOptions::default());
        assert!(Guide::new(&episode.world).is_none());
        let here = episode.world.scenario().roads.lanelets[0].id;
        let world = at(&episode, &lanelet_goal(here), here, 1.0);
        let task = Task { instruction: Instruction::Stop, text: "stop".to_owned(), ..Task::default() };
        assert_eq!(Guide::new(&world).expect("a goal").advise(&world, &task), task);
    }
}
