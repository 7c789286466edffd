//! Checks a scenario against the facts that `vectors/commonroad/expect.py` printed from commonroad-io: see there for the
//! lines.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ergon_types::{ActorState, LightColor};
use ergon_world::commonroad::Reading;
use ergon_world::geometry::{OrientedBox, Point, Polyline, wrap_angle};
use ergon_world::road::{Adjacent, Lanelet, RoadNetwork};
use ergon_world::scenario::Scenario;

/// Files have four digits and more; both sides compute in f64.
const TOLERANCE: f64 = 1e-6;

/// Every line of `expected` that does not hold, with what was found instead.
pub(crate) fn mismatches(expected: &str, reading: &Reading) -> Vec<String> {
    expected
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let found = fact(&words, reading);
            (found != Ok(())).then(|| format!("{line}: {found:?}"))
        })
        .collect()
}

type Fact = Result<(), String>;

fn numbers(words: &[&str]) -> Vec<f64> {
    words.iter().map(|word| word.parse().expect("a number in the facts")).collect()
}

fn near(found: &[f64], words: &[&str]) -> Fact {
    let expected = numbers(words);
    let is_near =
        found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < TOLERANCE);
    if is_near { Ok(()) } else { Err(format!("{found:?}")) }
}

fn same(found: &str, word: &str) -> Fact {
    if found == word { Ok(()) } else { Err(found.to_owned()) }
}

fn fact(words: &[&str], reading: &Reading) -> Fact {
    let scenario = &reading.scenario;
    match words {
        ["scenario", id, step] => same(&scenario.id, id).and(near(&[scenario.step_s], &[step])),
        ["counts", rest @ ..] => {
            let roads = &scenario.roads;
            let counts =
                [roads.lanelets.len(), scenario.obstacles.len(), scenario.recorded.len(), roads.signs.len()];
            let counts = counts.into_iter().chain([roads.lights.len(), reading.planning_problems]);
            near(&counts.map(|count| count as f64).collect::<Vec<_>>(), rest)
        }
        ["bound" | "next" | "before" | "beside" | "limit" | "stop", id, rest @ ..] => {
            let lanelet = scenario.roads.lanelet(id.parse().unwrap()).ok_or("no such lanelet")?;
            lanelet_fact(words[0], rest, lanelet)
        }
        ["box" | "inside" | "motion" | "absent", id, step, rest @ ..] => {
            let actor = actor(scenario, id.parse().unwrap(), step)?;
            actor_fact(words[0], rest, actor)
        }
        ["light", id, step, color] => {
            let light = scenario
                .roads
                .lights
                .iter()
                .find(|light| light.id.to_string() == *id)
                .ok_or("no such light")?;
            let step: f64 = step.parse().unwrap();
            // In the middle of the step: at its edges rounding decides.
            same(color_name(light.color_at((step + 0.5) * scenario.step_s)), color)
        }
        ["sign", id, rest @ ..] => {
            let sign =
                scenario.roads.signs.iter().find(|sign| sign.id.to_string() == *id).ok_or("no such sign")?;
            near(&[sign.position.x, sign.position.y], rest)
        }
        ["initial", rest @ ..] => {
            let initial = &scenario.problem.initial;
            near(&[initial.x_m, initial.y_m, initial.heading_rad, initial.speed_mps], rest)
        }
        _ => goal_fact(words, scenario),
    }
}

fn lanelet_fact(kind: &str, rest: &[&str], lanelet: &Lanelet) -> Fact {
    let ends = |line: &Polyline| {
        let (first, last) = (line.points()[0], line.points()[line.points().len() - 1]);
        [line.length(), first.x, first.y, last.x, last.y]
    };
    let list = |ids: &[i64]| {
        let mut ids = ids.to_vec();
        ids.sort();
        if ids.is_empty() {
            "-".to_owned()
        } else {
            ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
        }
    };
    match (kind, rest) {
        ("bound", ["left", rest @ ..]) => near(&ends(&lanelet.left), rest),
        ("bound", ["right", rest @ ..]) => near(&ends(&lanelet.right), rest),
        ("next", [ids]) => same(&list(&lanelet.successors), ids),
        ("before", [ids]) => same(&list(&lanelet.predecessors), ids),
        ("beside", [side, id, direction]) => {
            let neighbour = if *side == "left" { lanelet.adjacent_left } else { lanelet.adjacent_right };
            let (found, way) = match neighbour {
                Some(Adjacent { id, same_direction: true }) => (id.to_string(), "same"),
                Some(Adjacent { id, same_direction: false }) => (id.to_string(), "opposite"),
                None => ("-".to_owned(), "-"),
            };
            same(&found, id).and(same(way, direction))
        }
        ("limit", ["-"]) if lanelet.speed_limit_mps.is_none() => Ok(()),
        ("limit", [limit]) => near(&[lanelet.speed_limit_mps.ok_or("no limit")?], &[limit]),
        ("stop", rest) => {
            let line = lanelet.stop_line.ok_or("no stop line")?;
            near(&[line.left.x, line.left.y, line.right.x, line.right.y], rest)
        }
        _ => Err("not a fact".to_owned()),
    }
}

fn actor(scenario: &Scenario, id: u32, step: &str) -> Result<Option<ActorState>, String> {
    if step == "-" {
        return Ok(scenario.obstacles.iter().find(|obstacle| obstacle.id == id).copied());
    }
    let actor = scenario.recorded.iter().find(|actor| actor.id == id).ok_or("no such actor")?;
    Ok(actor.at(step.parse::<f64>().unwrap() * scenario.step_s, scenario.step_s))
}

fn actor_fact(kind: &str, rest: &[&str], actor: Option<ActorState>) -> Fact {
    let actor = match (kind, actor) {
        ("absent", None) => return Ok(()),
        ("absent", Some(_)) => return Err("present".to_owned()),
        (_, actor) => actor.ok_or("absent")?,
    };
    let shape = OrientedBox {
        center: Point::new(actor.x_m, actor.y_m),
        heading_rad: actor.heading_rad,
        length_m: actor.length_m,
        width_m: actor.width_m,
    };
    let expected = numbers(rest);
    match kind {
        "motion" => {
            let turn = wrap_angle(actor.heading_rad - expected[0]);
            near(&[expected[0] + turn, actor.speed_mps], rest)
        }
        "inside" => {
            let wider = OrientedBox {
                length_m: shape.length_m + TOLERANCE,
                width_m: shape.width_m + TOLERANCE,
                ..shape
            };
            if wider.contains(Point::new(expected[0], expected[1])) {
                Ok(())
            } else {
                Err(format!("{shape:?}"))
            }
        }
        _ => {
            let corners = shape.corners();
            let least = |of: fn(&Point) -> f64| corners.iter().map(of).fold(f64::INFINITY, f64::min);
            let greatest = |of: fn(&Point) -> f64| corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
            near(&[least(|p| p.x), least(|p| p.y), greatest(|p| p.x), greatest(|p| p.y)], rest)
        }
    }
}

fn goal_fact(words: &[&str], scenario: &Scenario) -> Fact {
    let goal = words
        .get(1)
        .and_then(|i| scenario.problem.goals.get(i.parse::<usize>().ok()?))
        .ok_or("no such goal")?;
    match words {
        ["time", _, rest @ ..] => near(&goal.steps.map(|step| step as f64), rest),
        ["speed", _, rest @ ..] => near(&goal.speed_mps.ok_or("no speed")?, rest),
        ["heading", _, rest @ ..] => near(&goal.heading_rad.ok_or("no heading")?, rest),
        ["goal", _, x, y, inside] => {
            let point = numbers(&[x, y]);
            let found = contains(goal, Point::new(point[0], point[1]), &scenario.roads);
            same(if found { "1" } else { "0" }, inside)
        }
        _ => Err("not a fact".to_owned()),
    }
}

fn contains(goal: &ergon_world::scenario::Goal, point: Point, roads: &RoadNetwork) -> bool {
    goal.regions.iter().any(|region| region.contains(point, roads))
}

fn color_name(color: LightColor) -> &'static str {
    match color {
        LightColor::Red => "red",
        LightColor::RedYellow => "redYellow",
        LightColor::Yellow => "yellow",
        LightColor::Green => "green",
        LightColor::Inactive => "inactive",
    }
}
