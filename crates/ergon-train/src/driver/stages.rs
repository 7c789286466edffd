//! From nothing to the built-in driver: a run from nothing, then tunings of what came of it, each in a folder of the first.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ergon_kernels::Cpu;

use super::rounds::{copy_model, holds_run};
use super::{Progress, RoundsError, Run};

/// Tunings after the run from nothing.
pub const TUNINGS: usize = 3;

/// Trains a driver in `folder` and gives back the folder of its model: from nothing with all [`TUNINGS`], or, with `from`, by one
/// tuning of the driver there. What has been done in `folder` already is not done again. `scale` shortens all rounds; setting
/// `stop` makes it end at the next update or file.
///
/// # Errors
/// As [`Run::new`] and [`Run::go`].
pub fn train(
    folder: &Path,
    from: Option<&Path>,
    (seed, scale): (u64, f64),
    cpu: &Cpu,
    stop: &AtomicBool,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<PathBuf, RoundsError> {
    let run = Run::new(folder, from, seed, scale, cpu, stop)?;
    let tuning = |number: usize| folder.join(format!("tuning-{number}"));
    if run.tunes() {
        return run.go(tell);
    }
    // Whoever has been followed by another is done.
    let mut last = folder.join("model");
    if !holds_run(&tuning(1)) {
        last = run.go(tell)?;
    }
    for number in 1..=TUNINGS {
        let here = tuning(number);
        if number == TUNINGS || !holds_run(&tuning(number + 1)) {
            tell(Progress::Tuning { number, all: TUNINGS });
            let from = (!holds_run(&here)).then_some(&*last);
            let seed = seed.wrapping_add(number as u64);
            Run::new(&here, from, seed, scale, cpu, stop)?.go(tell)?;
        }
        last = here.join("model");
    }
    let model = folder.join("model");
    copy_model(&last, &model)?;
    Ok(model)
}
