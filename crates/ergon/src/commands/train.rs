//! `ergon train`: training on this machine.

use std::time::Instant;

use anyhow::ensure;
use ergon_kernels::Cpu;
use ergon_train::driver::{Candidate, Progress, RoundsError, holds_run, train};

use crate::args::{TrainArgs, TrainDriverArgs, TrainWhat};
use crate::failure::Interrupted;
use crate::interrupt::Interrupt;
use crate::{machine, output, progress};

/// Updates between two lines in a pipe, where there is no bar.
const LINE_UPDATES: u64 = 100;

pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    match &args.what {
        TrainWhat::Driver(args) => driver(args),
    }
}

fn driver(args: &TrainDriverArgs) -> anyhow::Result<()> {
    ensure!(
        args.resume || !holds_run(&args.out),
        "{} holds a run already; go on with --resume, or give another folder with --out",
        args.out.display()
    );
    check_folders(args)?;
    let interrupt = Interrupt::install()?;
    let cpu = Cpu::new(args.threads.unwrap_or_else(machine::physical_cores));
    let (from, scale) = (args.from.as_deref(), f64::from(args.scale));
    let mut teller = Teller::new();
    let mut tell = |progress| teller.tell(progress);
    match train(&args.out, from, (args.seed, scale), &cpu, interrupt.pending(), &mut tell) {
        Ok(model) => {
            teller.bar.finish_and_clear();
            output::write_stdout(&format!("{}\n", model.display()))
        }
        Err(RoundsError::Stopped) => {
            teller.bar.finish_and_clear();
            output::note("stopped; everything is kept: the same command with --resume goes on");
            Err(Interrupted.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Says of a wrong folder which flag named it.
fn check_folders(args: &TrainDriverArgs) -> anyhow::Result<()> {
    if let Some(from) = &args.from {
        ensure!(
            from.is_dir(),
            "--from {}: there is no such folder; give the folder of a driver, as `ergon train driver` writes it",
            from.display()
        );
    }
    ensure!(
        args.out.is_dir() || args.out.symlink_metadata().is_err(),
        "--out {} is a file; give a folder, which need not exist yet",
        args.out.display()
    );
    Ok(())
}

/// Shows progress: a bar on a terminal, a line now and then in a pipe.
struct Teller {
    bar: indicatif::ProgressBar,
    /// Update and time of the last figure.
    since: Option<(u64, Instant)>,
    rate: f64,
}

impl Teller {
    fn new() -> Teller {
        Teller { bar: progress::items("preparing", 0), since: None, rate: 0.0 }
    }

    fn tell(&mut self, progress: Progress) {
        match progress {
            Progress::Tuning { number, all } => {
                self.since = None;
                self.bar.suspend(|| output::note(&format!("tuning {number} of {all}")));
            }
            Progress::Collecting { round, done, all } => {
                self.since = None;
                self.bar.set_message(format!("round {round}: driving"));
                self.bar.set_length(all as u64);
                self.bar.set_position(done as u64);
                self.line(done.is_multiple_of(10), &format!("round {round}: file {done} of {all}"));
            }
            Progress::Training { round, report, all_updates, batch } => {
                let update = report.update;
                let (from, start) = *self.since.get_or_insert((update - 1, Instant::now()));
                if update - from >= LINE_UPDATES {
                    self.rate = ((update - from) * batch as u64) as f64 / start.elapsed().as_secs_f64();
                    self.since = Some((update, Instant::now()));
                }
                let losses = report.losses;
                self.bar.set_message(format!("round {round}: loss {:.4}", report.total));
                self.bar.set_length(all_updates);
                self.bar.set_position(update);
                let text = format!(
                    "round {round}: update {update} of {all_updates}, loss {:.4} (words {:.3}, action {:.4}, perception {:.4}), \
                     {:.0} samples/s",
                    report.total, losses.text, losses.action, losses.perception, self.rate
                );
                self.line(update.is_multiple_of(LINE_UPDATES), &text);
            }
            Progress::Exporting => self.bar.set_message("writing the model"),
            Progress::Selecting { student, done, all } => {
                self.bar.set_message(format!("held-out roads: {}", student.display()));
                self.bar.set_length(all as u64);
                self.bar.set_position(done as u64);
            }
            Progress::Judged(candidate) => {
                let Candidate { folder, successes, episodes } = candidate;
                let text = format!("{}: {successes} of {episodes} held-out tasks", folder.display());
                self.bar.suspend(|| output::note(&text));
            }
        }
    }

    fn line(&self, due: bool, text: &str) {
        if due && self.bar.is_hidden() {
            output::note(text);
        }
    }
}
