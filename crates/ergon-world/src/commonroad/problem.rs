//! Planning problems: where the vehicle starts and what it is to reach.

use ergon_types::VehicleState;

use super::element::{ANGLE_MAX_RAD, Element, Read};
use super::error::CommonRoadError;
use super::obstacles::{ACCELERATION_MAX_MPS2, SPEED_MAX_MPS, middle_of};
use super::shape::regions;
use crate::road::RoadNetwork;
use crate::scenario::{Goal, PlanningProblem, Region};

/// Yaw rates: twice as fast as a skidding car turns.
const YAW_RATE_MAX_RADPS: f64 = 10.0;
/// Alternatives of one goal.
const GOALS_MAX: usize = 1_000;

/// The first planning problem below the root, its time step at the start, and how many there are. Time steps of the
/// goals count from the start; the state's `t_s` is the time of the start in the file.
pub(super) fn read(root: Element, step_s: f64) -> Read<(PlanningProblem, i64, usize)> {
    let element = root.find("planningProblem").ok_or(CommonRoadError::NoProblem)?;
    let (initial, yaw_rate, start) = initial(element.need("initialState")?, step_s)?;
    let mut goals = Vec::new();
    for goal_state in element.all("goalState") {
        if goals.len() == GOALS_MAX {
            let found = element.all("goalState").count();
            return Err(CommonRoadError::TooMany { what: "goal states", found, limit: GOALS_MAX });
        }
        goals.push(goal(goal_state, start)?);
    }
    if goals.is_empty() {
        return Err(element.missing("goalState"));
    }
    let problem =
        PlanningProblem { id: element.id_attribute("id")?, initial, initial_yaw_rate_radps: yaw_rate, goals };
    Ok((problem, start, root.all("planningProblem").count()))
}

fn initial(element: Element, step_s: f64) -> Read<(VehicleState, f64, i64)> {
    let optional = |name, limit| element.find(name).map_or(Ok(0.0), |value| value.middle(limit));
    let position = middle_of(element.need("position")?)?;
    let start = element.need("time")?.steps()?[0];
    if start < 0 {
        element.within(start as f64, 0.0, super::element::STEP_MAX as f64)?;
    }
    let state = VehicleState {
        t_s: start as f64 * step_s,
        x_m: position.x,
        y_m: position.y,
        heading_rad: element.need("orientation")?.middle(ANGLE_MAX_RAD)?,
        speed_mps: element.need("velocity")?.middle(SPEED_MAX_MPS)?,
        acceleration_mps2: optional("acceleration", ACCELERATION_MAX_MPS2)?,
        steering_angle_rad: 0.0,
    };
    Ok((state, optional("yawRate", YAW_RATE_MAX_RADPS)?, start))
}

fn goal(element: Element, start: i64) -> Read<Goal> {
    let time = element.need("time")?;
    let [first, last] = time.steps()?;
    if last < start {
        return Err(CommonRoadError::GoalBeforeStart { place: time.place(), last, start });
    }
    let interval = |name, limit: f64, turns| {
        element.find(name).map(|value| value.interval(-limit, limit, turns)).transpose()
    };
    Ok(Goal {
        steps: [(first - start).max(0) as usize, (last - start) as usize],
        regions: element.find("position").map_or(Ok(Vec::new()), goal_regions)?,
        heading_rad: interval("orientation", ANGLE_MAX_RAD, true)?,
        speed_mps: interval("velocity", SPEED_MAX_MPS, false)?,
    })
}

fn goal_regions(position: Element) -> Read<Vec<Region>> {
    let mut found = regions(position)?;
    let ids = position.all("lanelet").map(|lanelet| lanelet.id_attribute("ref")).collect::<Read<Vec<_>>>()?;
    if !ids.is_empty() {
        found.push(Region::Lanelets(ids));
    }
    if found.is_empty() { Err(position.missing("rectangle")) } else { Ok(found) }
}

/// Checks the lanelets that the first problem's goals name.
pub(super) fn check_lanelets(root: Element, roads: &RoadNetwork) -> Read<()> {
    let goals = root.find("planningProblem").into_iter().flat_map(|problem| problem.all("goalState"));
    for lanelet in goals.filter_map(|goal| goal.find("position")).flat_map(|position| position.all("lanelet"))
    {
        let id = lanelet.id_attribute("ref")?;
        if roads.lanelet(id).is_none() {
            return Err(CommonRoadError::UnknownLanelet { place: lanelet.place(), id });
        }
    }
    Ok(())
}
