//! `report.html`: one file that holds everything, opens without a network, and plays the episodes back.
//!
//! The page is `report.html` beside this file with the data put in as JSON; what each field is, is said here.

use std::path::Path;

use anyhow::Context;
use ergon_gate::motion::Source;
use ergon_types::{LightColor, Trajectory};
use ergon_world::geometry::Point;
use serde_json::{Value, json};

use super::record::{Map, Tick};
use super::recording::base64;
use super::summary::{Row, Summary};

const PAGE: &str = include_str!("report.html");
/// Stands in the page where the data go.
const MARK: &str = "/*DATA*/null";

/// One episode to show.
pub(super) struct Shown<'a> {
    pub(super) row: &'a Row,
    pub(super) map: &'a Map,
    pub(super) ticks: &'a [Tick],
    /// Seconds from tick to tick.
    pub(super) tick_s: f64,
}

/// Writes the page.
pub(super) fn write(path: &Path, summary: &Summary, episodes: &[Shown]) -> anyhow::Result<()> {
    let data = json!({
        "summary": summary,
        "latencies_ms": latencies(episodes),
        "episodes": episodes.iter().map(episode).collect::<Vec<_>>(),
    });
    // A "</script>" inside a string would end the script.
    let text = data.to_string().replace("</", "<\\/");
    std::fs::write(path, PAGE.replacen(MARK, &text, 1))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Of every control step, the milliseconds of its parts: `{camera: […], vision: […], …}`.
fn latencies(episodes: &[Shown]) -> Value {
    let ticks = || episodes.iter().flat_map(|episode| episode.ticks);
    let names = ["camera", "vision", "language", "action", "gate"];
    let part =
        |index: usize| ticks().map(|tick| round(tick.stage_ms.parts()[index].1, 2)).collect::<Vec<_>>();
    Value::Object(
        names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), json!(part(index)))).collect(),
    )
}

/// `lanes`, `goals`: outlines `[x, y, x, y, …]`; `lights`: `[x, y]`; `ticks`: see [`tick`]; `row`: the row of the table.
fn episode(shown: &Shown) -> Value {
    let flat = |line: &Vec<Point>| {
        json!(line.iter().flat_map(|p| [round(p.x, 2), round(p.y, 2)]).collect::<Vec<_>>())
    };
    json!({
        "row": shown.row,
        "tick_s": shown.tick_s,
        "lanes": shown.map.lanes.iter().map(flat).collect::<Vec<_>>(),
        "goals": shown.map.goals.iter().map(flat).collect::<Vec<_>>(),
        "lights": shown.map.lights.iter().map(|p| [round(p.x, 2), round(p.y, 2)]).collect::<Vec<_>>(),
        "ticks": shown.ticks.iter().map(tick).collect::<Vec<_>>(),
    })
}

/// `ego`: `[x, y, heading, speed, acceleration]`; `actors`: `[id, kind, x, y, heading, length, width, speed]`; `lights`:
/// one letter each (r, a for red and yellow, y, g, -); `plan` and `issued`: `[x, y, …]`; `source`: proposed, last, soft or
/// hard, `candidate`: which proposed plan; `verdict`: the rule with the least margin of the first plan; `refused`: the
/// rules broken by each plan that was refused; `picture`: a JPEG in base64, where one was kept.
fn tick(tick: &Tick) -> Value {
    let ego = &tick.ego;
    let actors: Vec<Value> = tick
        .actors
        .iter()
        .map(|a| {
            json!([
                a.id,
                a.kind.to_string(),
                round(a.x_m, 2),
                round(a.y_m, 2),
                round(a.heading_rad, 3),
                round(a.length_m, 2),
                round(a.width_m, 2),
                round(a.speed_mps, 1)
            ])
        })
        .collect();
    let (source, candidate) = match tick.source {
        Source::Proposed(number) => ("proposed", Some(number)),
        Source::Last => ("last", None),
        Source::SoftStop => ("soft", None),
        Source::HardStop => ("hard", None),
    };
    let worst = tick.verdicts.first().and_then(|verdict| verdict.worst()).map(|finding| {
        json!({"rule": finding.rule.name(), "value": round(finding.value, 3), "limit": round(finding.limit, 3),
            "margin": round(finding.margin(), 3), "object": finding.object})
    });
    let refused: Vec<Value> = tick
        .verdicts
        .iter()
        .filter(|verdict| !verdict.is_cleared())
        .map(|verdict| json!(verdict.broken().map(|finding| finding.to_string()).collect::<Vec<_>>()))
        .collect();
    json!({
        "t": round(ego.t_s, 2),
        "ego": [round(ego.x_m, 3), round(ego.y_m, 3), round(ego.heading_rad, 4), round(ego.speed_mps, 2),
            round(ego.acceleration_mps2, 2)],
        "actors": actors,
        "lights": tick.lights.iter().map(|light| letter(*light)).collect::<String>(),
        "words": tick.words,
        "plan": flat(&tick.proposed),
        "issued": flat(&tick.issued),
        "source": source,
        "candidate": candidate,
        "verdict": worst,
        "refused": refused,
        "missed": tick.missed,
        "ms": round(tick.stage_ms.total(), 1),
        "picture": tick.picture.as_deref().map(base64),
    })
}

fn letter(light: LightColor) -> char {
    match light {
        LightColor::Red => 'r',
        LightColor::RedYellow => 'a',
        LightColor::Yellow => 'y',
        LightColor::Green => 'g',
        LightColor::Inactive => '-',
    }
}

/// Every second point is enough for a line on a screen.
fn flat(plan: &Trajectory) -> Vec<f64> {
    plan.points.iter().step_by(2).flat_map(|p| [round(p.x_m, 2), round(p.y_m, 2)]).collect()
}

/// Fewer digits make a page a third as large. What is no number becomes null in JSON.
fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
