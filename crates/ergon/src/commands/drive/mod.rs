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
use std::path::Path;
use std::{fs, mem};

use anyhow::{Context, ensure};
use ergon_world::{commonroad, task};

use crate::args::{DriveArgs, GateChoice};
use crate::failure::Interrupted;
use crate::interrupt::Interrupt;
use crate::{output, progress};
use jobs::Job;
use policy::Policy;
use record::StageMs;
use recording::Recording;
use run::{Driven, Settings};
use summary::{Row, Skipped, Summary};

/// The page in the folder of `--out`.
const REPORT: &str = "report.html";
/// Episodes whose pictures are kept for the report: more would make the page too large to open.
const PICTURED_MAX: usize = 24;
/// Control steps that are kept for the report.
const SHOWN_TICKS_MAX: usize = 30_000;

pub(crate) fn run(args: &DriveArgs) -> anyhow::Result<()> {
    let jobs = jobs::list(args)?;
    args.instruction.as_deref().into_iter().for_each(remark_on_words);
    // Before the model, whose files are to be removed whenever a signal comes.
    let interrupt = Interrupt::install()?;
    let mut policy = Policy::load(args)?;
    for folder in [&args.out, &args.solutions].into_iter().flatten() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut results = Results::start(args)?;
    let bar = progress::items("driving", jobs.len() as u64);
    let mut interrupted = interrupt.take();
    for (index, job) in jobs.iter().enumerate() {
        if interrupted {
            break;
        }
        bar.set_message(shortened(&job.name()));
        match drive(job, index, args, &mut policy, || {
            interrupted |= interrupt.take();
            !interrupted
        }) {
            // An episode that was broken off says nothing.
            Ok(_) if interrupted => break,
            Ok(driven) => results.add(job, driven, &bar),
            Err(error) => results.skip(job, &error, &bar),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    results.finish(interrupted)?;
    if interrupted { Err(Interrupted.into()) } else { Ok(()) }
}

/// Instructions that everybody knows, as examples.
const KNOWN_WORDS: [&str; 3] = ["take the left lane", "turn right at the junction", "slow down to 30"];

/// Words that we do not know are no mistake: the driver reads them as they are. But the run is then about something else.
fn remark_on_words(text: &str) {
    if task::parse(text).is_none() {
        let known = KNOWN_WORDS.map(|words| format!("\"{words}\"")).join(", ");
        output::note(&format!(
            "\"{text}\" is none of the known instructions: the driver is told these words, and the run is set up and \
             judged as for \"drive on\". Known are for instance {known}"
        ));
    }
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
    /// The first file that could not be written.
    failed: Option<anyhow::Error>,
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
            failed: None,
        })
    }

    /// Takes an episode in. What was driven counts even if it cannot be written.
    fn add(&mut self, job: &Job, (driven, told): (Driven, String), bar: &indicatif::ProgressBar) {
        let row = summary::row(&driven, &told, &driven.outcome);
        self.steps.extend(driven.ticks.iter().map(|tick| tick.stage_ms));
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.add(&row.name, &told, &driven)
        {
            self.recording = None;
            self.fail(error, bar);
        }
        if let (Some(folder), Job::File(_)) = (&self.args.solutions, job)
            && let Err(error) = self.write_solution(folder, &driven)
        {
            self.fail(error, bar);
        }
        if self.args.out.is_some() && self.shown_ticks + driven.ticks.len() <= SHOWN_TICKS_MAX {
            self.shown_ticks += driven.ticks.len();
            self.shown.push((self.rows.len(), driven));
        }
        self.rows.push(row);
    }

    /// Keeps the first failure for the end of the run.
    fn fail(&mut self, error: anyhow::Error, bar: &indicatif::ProgressBar) {
        bar.suspend(|| output::note(&format!("{error:#}; the run goes on without it")));
        self.failed.get_or_insert(error);
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

    /// Tells what came of the run, in files and on standard output. A file that cannot be written costs neither the
    /// others nor the summary.
    fn finish(mut self, interrupted: bool) -> anyhow::Result<()> {
        let (rows, skipped) = (mem::take(&mut self.rows), mem::take(&mut self.skipped));
        let summary = summary::summary(self.args, rows, &self.steps, skipped, interrupted);
        let mut written = self.failed.take().map_or(Ok(()), Err);
        if let Some(folder) = &self.args.out {
            written = written.and(write_summary(folder, &summary));
            written = written.and(self.recording.take().map_or(Ok(()), Recording::finish));
            written = written.and(self.write_report(folder, &summary));
        }
        let for_people = !self.args.json && !summary.rows.is_empty();
        let told = match (self.args.json, for_people) {
            (true, _) => output::write_json(&summary),
            (_, true) => output::write_stdout(&summary.table()),
            _ => Ok(()),
        };
        written.and(told)?;
        if let Some(folder) = self.args.out.as_ref().filter(|_| for_people) {
            output::note(&format!("report: {}", folder.join(REPORT).display()));
        }
        let skipped = summary.skipped.len();
        let some = interrupted || skipped == 0 || !summary.rows.is_empty();
        ensure!(some, "none of the {skipped} scenarios could be driven");
        Ok(())
    }

    fn write_report(&self, folder: &Path, summary: &Summary) -> anyhow::Result<()> {
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
        report::write(&folder.join(REPORT), summary, &shown)
    }
}

fn write_summary(folder: &Path, summary: &Summary) -> anyhow::Result<()> {
    let path = folder.join("summary.json");
    let text = serde_json::to_string_pretty(summary).context("cannot write the summary")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_known() {
        for words in KNOWN_WORDS {
            let (instruction, _) = task::parse(words).expect("known words");
            assert_ne!(instruction, task::Instruction::FollowRoute, "{words}");
        }
    }
}
