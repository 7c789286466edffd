//! The rounds of `ergon train driver` without the command around them, for profiling: `cargo run --release -p ergon-train
//! --example train_driver -- FOLDER SEED SCALE`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use ergon_kernels::Cpu;
use ergon_train::driver::{Progress, Run};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(args.first().expect("a folder"));
    let seed = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let scale = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(1.0);
    let (cpu, stop) = (Cpu::new(2), AtomicBool::new(false));
    let run = Run::new(&folder, None, seed, scale, &cpu, &stop).expect("a run");
    let mut since = (Instant::now(), 0);
    let result = run.go(&mut |progress| match progress {
        Progress::Collecting { round, done, all } => println!("round {round}: file {done} of {all}"),
        Progress::Training { round, report, all_updates, batch } if report.update % 50 == 0 => {
            let rate = (report.update - since.1) as f64 * batch as f64 / since.0.elapsed().as_secs_f64();
            since = (Instant::now(), report.update);
            println!(
                "round {round}: update {} of {all_updates}, text {:.3} action {:.4} perception {:.4} norm {:.2} {rate:.0} samples/s",
                report.update, report.losses.text, report.losses.action, report.losses.perception, report.gradient_norm
            );
        }
        Progress::Training { .. } => {}
        Progress::Exporting => println!("exporting"),
        Progress::Selecting { .. } => {}
        Progress::Judged(candidate) => println!("{candidate:?}"),
    });
    println!("{result:?}");
}
