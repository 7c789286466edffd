//! What to drive: generated episodes by seed, or scenario files. A file that cannot be driven is named and left out; the
//! others run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use ergon_world::commonroad;
use ergon_world::episode::{self, Episode, EpisodeOptions};
use ergon_world::generate::RoadKind;
use ergon_world::task::Task;

use crate::args::DriveArgs;

/// Episodes of a run without arguments.
const EPISODES_DEFAULT: usize = 6;
/// Scenario files are checked before they are read whole.
const FILE_BYTES_MAX: u64 = commonroad::BYTES_MAX as u64;

/// One episode to be driven.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// A generated one.
    Generated { seed: u64 },
    /// A CommonRoad file.
    File(PathBuf),
}

impl Job {
    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Job::Generated { seed } => format!("seed {seed}"),
            Job::File(path) => path.display().to_string(),
        }
    }

    /// Reads or makes the episode.
    pub(super) fn prepare(&self, instruction: Option<&str>) -> anyhow::Result<Episode> {
        match self {
            Job::Generated { seed } => Ok(generated(*seed, instruction)),
            Job::File(path) => recorded(path, instruction),
        }
    }
}

/// The jobs of a command line, in order.
pub(super) fn list(args: &DriveArgs) -> anyhow::Result<Vec<Job>> {
    if args.scenario.is_empty() {
        let count = args.episodes.unwrap_or(EPISODES_DEFAULT);
        return Ok((0..count).map(|i| Job::Generated { seed: args.seed.wrapping_add(i as u64) }).collect());
    }
    let mut files = Vec::new();
    for path in &args.scenario {
        files.extend(scenario_files(path)?);
    }
    files.truncate(args.episodes.unwrap_or(usize::MAX));
    Ok(files.into_iter().map(Job::File).collect())
}

/// A file itself, or the `.xml` files of a folder in order of their names.
fn scenario_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let found = std::fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    if !found.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("cannot list {}", path.display()))?.path();
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) {
            files.push(file);
        }
    }
    ensure!(
        !files.is_empty(),
        "{} holds no .xml file; give CommonRoad scenarios or a folder of them",
        path.display()
    );
    files.sort();
    Ok(files)
}

/// A generated episode. Without words, kinds of road follow each other, so that a handful shows them all.
fn generated(seed: u64, instruction: Option<&str>) -> Episode {
    let kind = RoadKind::ALL[(seed % RoadKind::ALL.len() as u64) as usize];
    let options = match instruction {
        Some(text) => EpisodeOptions { text: Some(text.to_owned()), ..EpisodeOptions::default() },
        None => EpisodeOptions { kind: Some(kind), ..EpisodeOptions::default() },
    };
    episode::generate(seed, &options)
}

fn recorded(path: &Path, instruction: Option<&str>) -> anyhow::Result<Episode> {
    let cannot = || format!("cannot read {}", path.display());
    let found = std::fs::metadata(path).with_context(cannot)?;
    ensure!(found.is_file(), "{} is no file", path.display());
    ensure!(
        found.len() <= FILE_BYTES_MAX,
        "{} has {} bytes; a scenario of more than {FILE_BYTES_MAX} is not read",
        path.display(),
        found.len()
    );
    let bytes = std::fs::read(path).with_context(cannot)?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is no UTF-8 text", path.display()))?;
    let scenario = Arc::new(commonroad::read(&text).with_context(cannot)?);
    let mut episode = episode::recorded(scenario);
    // Other words replace the words and not the goal.
    if let Some(text) = instruction {
        episode.task = Task::from_text(text, episode.task.duration_s);
    }
    Ok(episode)
}
