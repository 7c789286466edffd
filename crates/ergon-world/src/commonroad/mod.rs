//! CommonRoad scenario files: reading 2018b and 2020a, writing 2020a, and solution files for the referee.
//!
//! Format: "CommonRoad: XML 2020a" of the Technical University of Munich, and what `commonroad-io` 2024.3 makes of it. Only
//! this module knows XML. Bytes from outside are hostile: every problem is a [`CommonRoadError`] with element, id and line;
//! nothing is allocated by a number that the file declares; entities and document types are refused.
//!
//! What our [`Scenario`] does not have is left out: signal states of vehicles, intersections (they follow from the
//! lanelets), environment and phantom obstacles, all planning problems but the first. Shapes of obstacles become the
//! boxes around them, uncertain values their middle.

mod element;
mod error;
mod lanelets;
mod obstacles;
mod problem;
mod shape;
mod signs;
mod solution;
mod writer;

pub use error::{CommonRoadError, Place};
pub use solution::{solution, solution_of};
pub use writer::write;

use element::{Element, Read};

use crate::road::RoadNetwork;
use crate::scenario::Scenario;

/// Obstacles in one scenario. The busiest published recordings have some hundreds at a time.
pub const OBSTACLES_MAX: usize = 5_000;
/// Length of a file: the longest published ones have some 20 MB.
pub const BYTES_MAX: usize = 128 << 20;
/// XML nodes in a file: some 1 GB of memory.
const NODES_MAX: u32 = 16_000_000;
/// Lanelets in one scenario: a large town.
const LANELETS_MAX: usize = 100_000;
/// Shortest and longest time step.
const STEP_RANGE_S: [f64; 2] = [1e-3, 10.0];

/// Version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Obstacles with roles, speed limits of lanelets.
    V2018b,
    /// Signs, lights, intersections.
    V2020a,
}

impl Version {
    /// As the files have it.
    pub fn name(self) -> &'static str {
        match self {
            Version::V2018b => "2018b",
            Version::V2020a => "2020a",
        }
    }
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The scenario with the first of its planning problems.
    pub scenario: Scenario,
    /// The format of the file.
    pub version: Version,
    /// How many planning problems the file has; only the first is in the scenario.
    pub planning_problems: usize,
    /// Ids of the others.
    pub other_problems: Vec<i64>,
}

/// Reads a scenario, with the first of its planning problems.
///
/// # Errors
/// [`CommonRoadError`]: what is wrong, where, and what to do.
pub fn read(xml: &str) -> Result<Scenario, CommonRoadError> {
    read_file(xml).map(|reading| reading.scenario)
}

/// Reads a scenario and what else is to be known of its file.
///
/// # Errors
/// [`CommonRoadError`]: what is wrong, where, and what to do.
pub fn read_file(xml: &str) -> Result<Reading, CommonRoadError> {
    if xml.len() > BYTES_MAX {
        return Err(CommonRoadError::TooMany { what: "bytes", found: xml.len(), limit: BYTES_MAX });
    }
    let options =
        roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(xml.trim_start_matches('\u{feff}'), options)
        .map_err(|error| CommonRoadError::Syntax { reason: error.to_string() })?;
    scenario(Element::root(&document))
}

fn scenario(root: Element) -> Read<Reading> {
    let version = version(root)?;
    obstacles::check_number(root)?;
    let found = root.all("lanelet").count();
    if found > LANELETS_MAX {
        return Err(CommonRoadError::TooMany { what: "lanelets", found, limit: LANELETS_MAX });
    }
    let step_s = root.number_attribute("timeStepSize", STEP_RANGE_S[0], STEP_RANGE_S[1])?;
    let id = root.attribute("benchmarkID").ok_or_else(|| root.missing("benchmarkID"))?.to_owned();
    let (problem, start, planning_problems) = problem::read(root, step_s)?;
    let mut lanelets = lanelets::read(root)?;
    let (signs, mut lights) = signs::read(root, &id, step_s, &mut lanelets)?;
    for light in &mut lights {
        light.offset_s += problem.initial.t_s;
    }
    let roads = RoadNetwork::new(lanelets, signs, lights);
    problem::check_lanelets(root, &roads)?;
    let obstacles = obstacles::read(root, start, step_s)?;
    let text = |name| root.attribute(name).unwrap_or_default().to_owned();
    Ok(Reading {
        scenario: Scenario {
            id,
            author: text("author"),
            source: text("source"),
            step_s,
            roads,
            obstacles: obstacles.standing,
            recorded: obstacles.recorded,
            problem,
        },
        version,
        planning_problems,
        other_problems: root
            .all("planningProblem")
            .skip(1)
            .flat_map(|problem| problem.id_attribute("id"))
            .collect(),
    })
}

fn version(root: Element) -> Read<Version> {
    if root.name() != "commonRoad" {
        return Err(CommonRoadError::NotCommonRoad { found: element::short(root.name()) });
    }
    match root.attribute("commonRoadVersion") {
        Some("2018b") => Ok(Version::V2018b),
        Some("2020a") => Ok(Version::V2020a),
        other => Err(CommonRoadError::Version { found: element::short(other.unwrap_or_default()) }),
    }
}
