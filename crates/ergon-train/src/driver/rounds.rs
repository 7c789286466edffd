//! From nothing, or from a driver, to a better one: rounds of collecting and training in one folder, which can be stopped at
//! any time and go on.
//!
//! Round 0 learns from the expert who drives, unless there is a driver to start from; every further round adds what the
//! student meets while it drives itself. Data are collected in small files of a few episodes each that appear whole or not
//! at all, so a stopped run loses at most one; every episode's seed follows from the run's seed, the round and its number,
//! so the files do not depend on when they were made or on how many threads made them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ergon_checkpoint::{Checkpoint, CheckpointError};
use ergon_engine::{DriverPolicy, FIRST_NOISE_SCALE, PolicyError, PolicyOptions};
use ergon_kernels::Cpu;
use ergon_model::DriverConfig;
use ergon_types::Observation;
use ergon_world::Rng;
use ergon_world::episode::EpisodeOptions;

use super::select::{self, Candidate};
use super::{
    CollectError, Collector, DRIVER_CONFIG, ImportError, LossWeights, Network, NetworkConfig, Pilot,
    SampleKind, SampleStore, Schedule, ShardWriter, StoreError, TrainConfig, TrainError, Trainer,
    UpdateReport, Vocabulary, checkpoint, driver_config, export, import, network_config,
};

/// Episodes in one file of samples.
const EPISODES_PER_FILE: u64 = 8;
/// Episodes that students are chosen by, on seeds of no round.
const HELD_OUT: u64 = 120;
/// Students of earlier rounds that are looked at beside the last one.
const EARLIER: usize = 2;
/// Noisy copies of each sample's waypoints: they cost little beside the picture.
const GROUPS: usize = 4;
/// Part of the updates in which the learning rate falls.
const DECAY_PART: f32 = 0.6;
/// The driver that a run started from, in its folder.
const START: &str = "start";
/// The mean of that and the last student.
const MEAN: &str = "mean";
/// Says with which seed and scale a run was begun, in its folder.
const BEGUN: &str = "begun";
/// Says after how many updates the student in the folder `model` was chosen.
const CHOSEN: &str = "chosen";
/// Updates between two checkpoints.
const CHECKPOINT_UPDATES: u64 = 400;

/// One round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Episodes that are driven and kept; with none, the round goes on with what is there.
    pub episodes: u64,
    /// Updates after them.
    pub updates: u64,
    /// How much the words count in the loss.
    pub text: f32,
    /// How much the perceived numbers count in the loss. Their mean has no noise in it, unlike the action's, and it is
    /// what teaches the eye.
    pub perception: f32,
    /// How much what lights show counts among them, as [`LossWeights::lights`].
    pub lights: Option<f32>,
}

/// The rounds from nothing.
pub const ROUNDS: [Round; 7] = [
    Round { episodes: 2400, updates: 3000, text: 0.3, perception: 5.0, lights: None },
    Round { episodes: 480, updates: 1800, text: 0.3, perception: 5.0, lights: None },
    Round { episodes: 480, updates: 863, text: 0.3, perception: 5.0, lights: None },
    Round { episodes: 0, updates: 1337, text: 0.3, perception: 5.0, lights: Some(4.0) },
    Round { episodes: 480, updates: 2400, text: 0.3, perception: 5.0, lights: Some(4.0) },
    Round { episodes: 480, updates: 2600, text: 0.3, perception: 5.0, lights: Some(4.0) },
    Round { episodes: 480, updates: 5000, text: 0.3, perception: 3.0, lights: Some(6.0) },
];
/// The rounds from a model that drives already: fewer, at a lower rate, and it drives from the first one on.
pub const TUNING_ROUNDS: [Round; 3] = [
    Round { episodes: 1600, updates: 1100, text: 0.7, perception: 4.0, lights: Some(6.0) },
    Round { episodes: 480, updates: 1000, text: 0.7, perception: 4.0, lights: Some(6.0) },
    Round { episodes: 480, updates: 2000, text: 0.7, perception: 3.0, lights: Some(6.0) },
];
/// Highest learning rate from nothing and from a model.
const PEAK_RATES: [f32; 2] = [1e-3, 4e-4];

/// What is being done, told to whoever shows it.
#[derive(Clone, Debug)]
pub enum Progress {
    /// A tuning begins after the run from nothing: its number, from 1 on, and all.
    Tuning {
        /// Its number.
        number: usize,
        /// All.
        all: usize,
    },
    /// Files of samples of a round: done and all.
    Collecting {
        /// The round.
        round: usize,
        /// Files that are there.
        done: usize,
        /// Files of the round.
        all: usize,
    },
    /// An update of a round.
    Training {
        /// The round.
        round: usize,
        /// The last update.
        report: UpdateReport,
        /// Updates of all rounds.
        all_updates: u64,
        /// Samples of an update.
        batch: usize,
    },
    /// The model is being written.
    Exporting,
    /// A student drives held-out episodes: done and all.
    Selecting {
        /// The folder of its model.
        student: PathBuf,
        /// Episodes that are done.
        done: usize,
        /// Episodes of each student.
        all: usize,
    },
    /// How a student did.
    Judged(Candidate),
}

/// A training that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundsError {
    /// Samples cannot be taken.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Samples cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network cannot be trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
    /// There is a driver to start from, but the run began otherwise.
    #[error("{}: this run began from {began}; go on without naming a driver to start from, or give another folder", folder.display())]
    Began {
        /// The run's folder.
        folder: PathBuf,
        /// How it began.
        began: &'static str,
    },
    /// The run was begun with another seed or scale.
    #[error("{}: this run was begun with {was}, not with {asked}; go on with the same, or give another folder", folder.display())]
    Otherwise {
        /// The run's folder.
        folder: PathBuf,
        /// How it was begun.
        was: String,
        /// How it was to go on.
        asked: String,
    },
    /// The driver to start from cannot be taken.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The model cannot be written.
    #[error(transparent)]
    Export(#[from] export::ExportError),
    /// A student that was just written cannot be read.
    #[error("the student of this round cannot be read: {0}")]
    Student(#[from] CheckpointError),
    /// A student that was just written cannot drive.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The vocabulary cannot be learned or read.
    #[error(transparent)]
    Tokenizer(#[from] ergon_checkpoint::TokenizerError),
    /// A file of the run's folder.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: std::io::Error,
    },
    /// The run was asked to stop; everything is kept.
    #[error("stopped; go on with --resume")]
    Stopped,
}

/// A run in a folder.
pub struct Run<'a> {
    folder: &'a Path,
    seed: u64,
    /// Whether the first weights come from a driver, which lies in the folder [`START`].
    tunes: bool,
    rounds: Vec<Round>,
    /// Episodes that students are chosen by.
    held_out: usize,
    cpu: &'a Cpu,
    driver: DriverConfig,
    network: NetworkConfig,
    vocabulary: Vocabulary,
    stop: &'a AtomicBool,
}

impl<'a> Run<'a> {
    /// A run with the built-in shape: from nothing, or from the driver in the folder `from`, which is copied into the run, so
    /// that the run goes on without it. `scale` shortens all rounds. Setting `stop` makes it end at the next update or file.
    ///
    /// # Errors
    /// The folder cannot be written, holds a run with another seed or scale, or one from nothing although there is a driver to
    /// start from, or that is none of the built-in shape.
    pub fn new(
        folder: &'a Path,
        from: Option<&'a Path>,
        seed: u64,
        scale: f64,
        cpu: &'a Cpu,
        stop: &'a AtomicBool,
    ) -> Result<Run<'a>, RoundsError> {
        let driver = driver_config();
        let network = network_config(&driver);
        fs::create_dir_all(folder).map_err(io(folder))?;
        let (start, tokenizer) = (folder.join(START), folder.join("tokenizer.json"));
        if let Some(driver) = from {
            begin_from(driver, &start, folder, &network)?;
        }
        let tunes = start.exists();
        if !tokenizer.exists() {
            let partial = folder.join("tokenizer.json.partial");
            if tunes {
                fs::copy(start.join("tokenizer.json"), &partial).map_err(io(&start))?;
            } else {
                fs::write(&partial, Vocabulary::learn()?).map_err(io(&partial))?;
            }
            fs::rename(&partial, &tokenizer).map_err(io(&tokenizer))?;
        }
        hold_to(folder, format!("--seed {seed} and --scale {scale}"))?;
        let vocabulary = Vocabulary::open(&tokenizer)?;
        let scaled = |n: u64, least: u64| ((n as f64 * scale).round() as u64).max(least);
        let rounds = if tunes { &TUNING_ROUNDS[..] } else { &ROUNDS[..] };
        let rounds = rounds
            .iter()
            .map(|round| Round {
                episodes: scaled(round.episodes, EPISODES_PER_FILE.min(round.episodes)),
                updates: scaled(round.updates, 4),
                ..*round
            })
            .collect();
        let held_out = scaled(HELD_OUT, 4) as usize;
        Ok(Run { folder, seed, tunes, rounds, held_out, cpu, driver, network, vocabulary, stop })
    }

    /// Whether it starts from a driver.
    pub fn tunes(&self) -> bool {
        self.tunes
    }

    /// Does all rounds, or what is left of them, and writes the model to `model` in the folder; nothing, if that is done.
    ///
    /// # Errors
    /// Whatever keeps the run from going on; nothing that was done is lost.
    pub fn go(&self, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<PathBuf, RoundsError> {
        let all_updates: u64 = self.rounds.iter().map(|round| round.updates).sum();
        let config = TrainConfig {
            seed: self.seed,
            schedule: Schedule {
                peak: PEAK_RATES[usize::from(self.tunes)],
                warmup_updates: 200.min(all_updates / 10),
                total_updates: all_updates,
                decay_part: DECAY_PART,
                final_fraction: 0.01,
            },
            groups: GROUPS,
            ..TrainConfig::default()
        };
        let mut trainer = Trainer::new(&self.network, config, self.cpu)?;
        let saved = self.folder.join(checkpoint::FILE_NAME);
        if !trainer.resume(&saved)? && self.tunes {
            trainer.start_from(&self.folder.join(START))?;
        }
        let mut until = 0;
        for (index, round) in self.rounds.iter().enumerate() {
            until += round.updates;
            if trainer.state().updates >= until {
                continue;
            }
            self.collect(index, round, &trainer, tell)?;
            let Round { text, perception, lights, .. } = *round;
            trainer.set_losses(LossWeights { text, perception, lights, ..LossWeights::default() });
            let samples = SampleStore::open_shards(&self.files_up_to(index), &self.network)?;
            while trainer.state().updates < until {
                let report = trainer.update(self.cpu, &samples)?;
                let update = report.update;
                let batch = trainer.config().batch;
                tell(Progress::Training { round: index, report, all_updates, batch });
                let stopped = self.stop.load(Ordering::Relaxed);
                if stopped || update.is_multiple_of(CHECKPOINT_UPDATES) || update == until {
                    trainer.save(&saved)?;
                }
                if stopped {
                    return Err(RoundsError::Stopped);
                }
            }
        }
        let (model, chosen) = (self.folder.join("model"), self.folder.join(CHOSEN));
        let updates = trainer.state().updates.to_string();
        if fs::read_to_string(&chosen).is_ok_and(|after| after == updates) {
            return Ok(model);
        }
        tell(Progress::Exporting);
        self.export(&trainer, &model)?;
        if self.tunes {
            self.export_mean(&trainer, &model)?;
        }
        self.select(&model, tell)?;
        fs::write(&chosen, updates).map_err(io(&chosen))?;
        Ok(model)
    }

    /// Puts the best of the last students, or the model that the run began with, or the mean of that and the last one, in the
    /// place of the last one, if that is not the best.
    fn select(&self, model: &Path, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<(), RoundsError> {
        let tell = Mutex::new(tell);
        let rounds = self.rounds.len();
        let students = (1..rounds).rev().map(|round| self.round_folder(round).join("student"));
        let last = std::iter::once(model.to_path_buf());
        let folders: Vec<PathBuf> = if self.tunes {
            [START, MEAN].map(|name| self.folder.join(name)).into_iter().chain(last).collect()
        } else {
            last.chain(students.filter(|folder| folder.exists()).take(EARLIER)).collect()
        };
        let mut best: Option<Candidate> = None;
        for folder in folders {
            let told = |done| {
                let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
                tell(Progress::Selecting { student: folder.clone(), done, all: self.held_out });
            };
            let load = |folder: &Path| self.policy(folder);
            let judged =
                select::judge(&folder, (self.seed, self.held_out), self.cpu, self.stop, &load, &told)?;
            let Some(candidate) = judged else { return Err(RoundsError::Stopped) };
            let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
            tell(Progress::Judged(candidate.clone()));
            if best.as_ref().is_none_or(|best| candidate.successes > best.successes) {
                best = Some(candidate);
            }
        }
        let Some(Candidate { folder, .. }) = best.filter(|best| best.folder != model) else { return Ok(()) };
        copy_model(&folder, model)
    }

    fn export(&self, trainer: &Trainer, model: &Path) -> Result<(), RoundsError> {
        Ok(trainer.export(model, DRIVER_CONFIG, &self.tokenizer()?)?)
    }

    fn tokenizer(&self) -> Result<String, RoundsError> {
        let tokenizer = self.folder.join("tokenizer.json");
        fs::read_to_string(&tokenizer).map_err(io(&tokenizer))
    }

    /// Writes the model halfway between the driver that the run started from and the last student, which is in `model`. What a
    /// training learned in addition is half there, and of what each of the two has wrong by chance a half, too (Wortsman et
    /// al.: "Model soups", 2022).
    fn export_mean(&self, trainer: &Trainer, model: &Path) -> Result<(), RoundsError> {
        let mean = import::mean(trainer.network().layout(), [&self.folder.join(START), model])?;
        Ok(trainer.export_values(&mean, &self.folder.join(MEAN), DRIVER_CONFIG, &self.tokenizer()?)?)
    }

    fn round_folder(&self, round: usize) -> PathBuf {
        self.folder.join(format!("round-{round}"))
    }

    fn files_of(&self, round: usize) -> Vec<PathBuf> {
        let files = self.rounds[round].episodes.div_ceil(EPISODES_PER_FILE);
        (0..files).map(|file| self.round_folder(round).join(format!("{file:05}.samples"))).collect()
    }

    fn files_up_to(&self, round: usize) -> Vec<PathBuf> {
        (0..=round).flat_map(|round| self.files_of(round)).collect()
    }

    /// Makes the files of a round that are not there yet.
    fn collect(
        &self,
        round: usize,
        what: &Round,
        trainer: &Trainer,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RoundsError> {
        let folder = self.round_folder(round);
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let files = self.files_of(round);
        let missing: Vec<usize> = (0..files.len()).filter(|i| !files[*i].exists()).collect();
        let student = folder.join("student");
        let drives = self.tunes || round > 0;
        if drives && !missing.is_empty() {
            self.export(trainer, &student)?;
        }
        let student = drives.then_some(&*student);
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let tell = Mutex::new(tell);
        self.cpu.pool.run(self.cpu.pool.threads(), |_| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let stopped = self.stop.load(Ordering::Relaxed);
                let Some(file) = missing.get(i).filter(|_| !stopped) else { break };
                let first = *file as u64 * EPISODES_PER_FILE;
                let episodes = first..(first + EPISODES_PER_FILE).min(what.episodes);
                let made = self.collect_file(round, episodes, &files[*file], student);
                if let Err(error) = made {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    break;
                }
                let done = files.len() - missing.len() + i + 1;
                let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
                tell(Progress::Collecting { round, done, all: files.len() });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if self.stop.load(Ordering::Relaxed) { Err(RoundsError::Stopped) } else { Ok(()) }
    }

    /// Samples of some episodes, driven by the expert, or by a student from the folder of its model.
    fn collect_file(
        &self,
        round: usize,
        episodes: std::ops::Range<u64>,
        path: &Path,
        student: Option<&Path>,
    ) -> Result<(), RoundsError> {
        let partial = path.with_extension("partial");
        let _ = fs::remove_file(&partial);
        let mut writer = ShardWriter::open(&partial, &self.network)?;
        let collector = Collector { config: &self.driver, vocabulary: &self.vocabulary };
        let mut policy = student.map(|folder| self.policy(folder)).transpose()?;
        for episode in episodes {
            // Far apart, so that no seed occurs in two rounds, nor among those that people try.
            let seed = Rng::new(self.seed).split(0x7261 + round as u64).split(episode).next_u64() | 1 << 63;
            let mut predict;
            let mut pilot = match &mut policy {
                None => Pilot::Expert,
                Some(policy) => {
                    predict = |observation: &Observation| {
                        policy.see(observation)?;
                        policy.think(observation)?;
                        policy.plan(seed, 0)
                    };
                    Pilot::Student(&mut predict)
                }
            };
            for mut sample in collector.episode(seed, &EpisodeOptions::default(), &mut pilot)? {
                if student.is_some() && sample.kind == SampleKind::Expert as u8 {
                    sample.kind = SampleKind::Student as u8;
                }
                writer.push(&sample)?;
            }
        }
        writer.flush()?;
        drop(writer);
        fs::rename(&partial, path).map_err(io(path))
    }

    /// The student as the runtime drives it, on the calling thread.
    fn policy(&self, folder: &Path) -> Result<DriverPolicy, RoundsError> {
        let checkpoint = Checkpoint::open(folder)?;
        let options = PolicyOptions {
            threads: 1,
            isa: Some(self.cpu.isa),
            first_noise_scale: FIRST_NOISE_SCALE,
            ..PolicyOptions::default()
        };
        Ok(DriverPolicy::load(&checkpoint, &options)?)
    }
}

/// Whether a run has begun in a folder.
pub fn holds_run(folder: &Path) -> bool {
    [checkpoint::FILE_NAME, "round-0", START].iter().any(|name| folder.join(name).exists())
}

/// Notes how a run in a folder begins, or holds it to what was noted.
fn hold_to(folder: &Path, asked: String) -> Result<(), RoundsError> {
    let (begun, partial) = (folder.join(BEGUN), folder.join("begun.partial"));
    match fs::read_to_string(&begun) {
        Ok(was) if was == asked => Ok(()),
        Ok(was) => Err(RoundsError::Otherwise { folder: folder.to_path_buf(), was, asked }),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {
            fs::write(&partial, asked).map_err(io(&partial))?;
            fs::rename(&partial, &begun).map_err(io(&begun))
        }
        Err(reason) => Err(io(&begun)(reason)),
    }
}

/// Copies the driver that a run starts from into the run's folder, where `start` is, if it is not there yet.
fn begin_from(driver: &Path, start: &Path, run: &Path, network: &NetworkConfig) -> Result<(), RoundsError> {
    let began = |began| RoundsError::Began { folder: run.to_path_buf(), began };
    let weights = |folder: &Path| {
        let path = folder.join("model.safetensors");
        fs::read(&path).map_err(io(&path))
    };
    if start.exists() {
        return if weights(start)? == weights(driver)? { Ok(()) } else { Err(began("another driver")) };
    }
    if holds_run(run) {
        return Err(began("nothing"));
    }
    import::check(driver, Network::new(network).map_err(TrainError::from)?.layout())?;
    let partial = run.join("start.partial");
    fs::create_dir_all(&partial).map_err(io(&partial))?;
    copy_model(driver, &partial)?;
    fs::rename(&partial, start).map_err(io(start))
}

/// Copies the files of a driver, each of which appears whole; the weights last.
pub(super) fn copy_model(from: &Path, to: &Path) -> Result<(), RoundsError> {
    let partial = to.join("copy.partial");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let (from, to) = (from.join(file), to.join(file));
        fs::copy(&from, &partial).map_err(io(&from))?;
        fs::rename(&partial, &to).map_err(io(&to))?;
    }
    Ok(())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RoundsError + '_ {
    move |reason| RoundsError::Io { path: path.to_path_buf(), reason }
}
