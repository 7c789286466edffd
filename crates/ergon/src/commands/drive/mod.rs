//! `ergon drive`: the main job. A model that sees through cameras, is told in words what to do, thinks in a few words, and
//! drives, in traffic of its own making or in recorded scenarios; every plan passes the gate before the vehicle gets it.
//!
//! `jobs` is what to drive, `policy` who drives, `gate` what the gate is told, `run` one episode in closed loop, `record`
//! what is kept of it; `summary`, `report` and `recording` are what is told afterwards.

mod builtin;
mod gate;
mod jobs;
mod picture;
mod policy;
mod record;
mod recording;
mod report;
mod run;
mod summary;
mod variants;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use ergon_world::commonroad;

use crate::args::{DriveArgs, GateChoice};
use crate::failure::Interrupted;
use crate::interrupt::Interrupt;
use crate::{output, progress};
use jobs::Job;
use policy::Policy;
use record::StageMs;
use recording::Recording;
use run::{Driven, Settings};
use summary::{Row, Skipped};

/// Episodes whose pictures are kept for the report: more would make the page too large to open.
const PICTURED_MAX: usize = 24;
/// Control steps that are kept for the report.
const SHOWN_TICKS_MAX: usize = 30_000;

pub(crate) fn run(args: &DriveArgs) -> anyhow::Result<()> {
    let jobs = jobs::list(args)?;
    let mut policy = Policy::load(args)?;
    for folder in [&args.out, &args.solutions].into_iter().flatten() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut results = Results::start(args)?;
    let interrupt = Interrupt::install()?;
    let bar = progress::items("driving", jobs.len() as u64);
    let mut interrupted = false;
    for (index, job) in jobs.iter().enumerate() {
        bar.set_message(shortened(&job.name()));
        match drive(job, index, args, &mut policy, || {
            interrupted |= interrupt.take();
            !interrupted
        }) {
            // An episode that was broken off says nothing.
            Ok(_) if interrupted => break,
            Ok(driven) => results.add(job, driven)?,
            Err(error) => results.skip(job, &error, &bar),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    results.finish()?;
    if interrupted { Err(Interrupted.into()) } else { Ok(()) }
}

/// The end of a long path says more than its beginning.
fn shortened(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.chars().take(28).collect()
}

fn drive(
    job: &Job,
    index: usize,
    args: &DriveArgs,
    policy: &mut Policy,
    go_on: impl FnMut() -> bool,
) -> anyhow::Result<(Driven, String)> {
    let episode = job.prepare(args.instruction.as_deref())?;
    let settings = Settings {
        gate: args.gate,
        seed: args.seed.wrapping_add(index as u64),
        candidates: if args.gate == GateChoice::On { args.candidates } else { 1 },
        deadline_ms: f64::from(args.deadline_ms),
        pictures: args.out.is_some() && index < PICTURED_MAX,
    };
    let driven = run::drive(&episode, policy, &settings, go_on)?;
    Ok((driven, episode.task.text))
}

/// What has been driven so far, and where it is written.
struct Results<'a> {
    args: &'a DriveArgs,
    rows: Vec<Row>,
    shown: Vec<(usize, Driven)>,
    shown_ticks: usize,
    steps: Vec<StageMs>,
    skipped: Vec<Skipped>,
    recording: Option<Recording>,
    solutions: HashSet<String>,
}

impl<'a> Results<'a> {
    fn start(args: &'a DriveArgs) -> anyhow::Result<Results<'a>> {
        let recording = match &args.out {
            Some(folder) => Some(Recording::create(&folder.join("run.mcap"), metadata(args))?),
            None => None,
        };
        Ok(Results {
            args,
            rows: Vec::new(),
            shown: Vec::new(),
            shown_ticks: 0,
            steps: Vec::new(),
            skipped: Vec::new(),
            recording,
            solutions: HashSet::new(),
        })
    }

    fn add(&mut self, job: &Job, (driven, told): (Driven, String)) -> anyhow::Result<()> {
        let row = summary::row(&driven, &told, &driven.outcome);
        self.steps.extend(driven.ticks.iter().map(|tick| tick.stage_ms));
        if let Some(recording) = &mut self.recording {
            recording.episode(&row.name, &told, &driven.map)?;
            driven.ticks.iter().try_for_each(|tick| recording.tick(tick))?;
        }
        if let (Some(folder), Job::File(_)) = (&self.args.solutions, job) {
            self.write_solution(folder, &driven)?;
        }
        if self.args.out.is_some() && self.shown_ticks + driven.ticks.len() <= SHOWN_TICKS_MAX {
            self.shown_ticks += driven.ticks.len();
            self.shown.push((self.rows.len(), driven));
        }
        self.rows.push(row);
        Ok(())
    }

    /// One file per scenario; a second file of the same benchmark gets a number.
    fn write_solution(&mut self, folder: &Path, driven: &Driven) -> anyhow::Result<()> {
        let id = &driven.world.scenario().id;
        let safe: String =
            id.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect();
        let mut name = format!("solution_{safe}.xml");
        let mut number = 2;
        while !self.solutions.insert(name.clone()) {
            name = format!("solution_{safe}_{number}.xml");
            number += 1;
        }
        let path = folder.join(name);
        let text = commonroad::solution(driven.world.scenario(), &driven.states);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn skip(&mut self, job: &Job, error: &anyhow::Error, bar: &indicatif::ProgressBar) {
        let why = format!("{error:#}");
        bar.suspend(|| output::note(&format!("skipped {}: {why}", job.name())));
        self.skipped.push(Skipped { name: job.name(), why });
    }

    fn finish(self) -> anyhow::Result<()> {
        let skipped = self.skipped.len();
        let summary = summary::summary(self.args, self.rows, &self.steps, self.skipped);
        if let Some(recording) = self.recording {
            recording.finish()?;
        }
        if let Some(folder) = &self.args.out {
            let shown: Vec<report::Shown> = self
                .shown
                .iter()
                .map(|(row, driven)| report::Shown {
                    row: &summary.rows[*row],
                    map: &driven.map,
                    ticks: &driven.ticks,
                    tick_s: driven.tick_s,
                })
                .collect();
            report::write(&folder.join("report.html"), &summary, &shown)?;
            let path = folder.join("summary.json");
            let text = serde_json::to_string_pretty(&summary).context("cannot write the summary")?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.args.json {
            output::write_json(&summary)?;
        } else if !summary.rows.is_empty() {
            output::write_stdout(&summary.table())?;
            if let Some(folder) = &self.args.out {
                output::note(&format!("report: {}", folder.join("report.html").display()));
            }
        }
        ensure!(!summary.rows.is_empty() || skipped == 0, "none of the {skipped} scenarios could be driven");
        Ok(())
    }
}

fn metadata(args: &DriveArgs) -> BTreeMap<String, String> {
    let model = args.model.as_ref().map_or("built-in".to_owned(), |path| path.display().to_string());
    BTreeMap::from([
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("seed".to_owned(), args.seed.to_string()),
        ("model".to_owned(), model),
        ("gate".to_owned(), format!("{:?}", args.gate).to_lowercase()),
        ("instruction".to_owned(), args.instruction.clone().unwrap_or_default()),
    ])
}
