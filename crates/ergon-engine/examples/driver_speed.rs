//! How long the stages of a control step take: median (and the least total) over a number of steps, for each instruction set and one or two
//! threads, with reasoning of the full 24 tokens decoded one by one and with the last step's words as a draft.
//!
//! `cargo run --release -p ergon-engine --example driver_speed FOLDER [STEPS] [--on-core]`, FOLDER being a driver (random
//! weights of the trained shape: `vectors/make_driver.py --shape true --out FOLDER`). `--on-core` counts only the time that
//! the calling thread spent on a core (Linux), which on a busy machine is what one thread alone would take.

#![allow(clippy::unwrap_used)] // A measurement, no product.

use std::path::Path;
use std::time::{Duration, Instant};

use ergon_checkpoint::Checkpoint;
use ergon_engine::{DriverPolicy, PolicyOptions};
use ergon_kernels::Isa;
use ergon_types::{Frame, Observation};

/// What time is counted.
#[derive(Clone, Copy)]
enum Clock {
    Wall(Instant),
    OnCore,
}

impl Clock {
    fn now(self) -> Duration {
        match self {
            Clock::Wall(start) => start.elapsed(),
            Clock::OnCore => {
                let found = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
                Duration::from_nanos(found.split(' ').next().unwrap().parse().unwrap())
            }
        }
    }
}

fn main() {
    let (flags, plain): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let folder = plain.first().expect("name the folder of a driver");
    let steps: usize = plain.get(1).map_or(50, |steps| steps.parse().unwrap());
    let on_core = flags.iter().any(|flag| flag == "--on-core");
    let clock = if on_core { Clock::OnCore } else { Clock::Wall(Instant::now()) };
    let checkpoint = Checkpoint::open(Path::new(folder)).unwrap();
    println!(
        "{:8} {:>7} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} ms",
        "isa", "threads", "tokens", "draft", "vision", "language", "action", "total", "least"
    );
    for isa in Isa::available().into_iter().rev().filter(|isa| *isa != Isa::Generic) {
        for threads in if on_core { 1..=1 } else { 1..=2 } {
            for draft in [false, true] {
                let options = PolicyOptions { threads, isa: Some(isa), ..PolicyOptions::default() };
                measure(&checkpoint, &options, clock, steps, draft);
            }
        }
    }
}

fn measure(checkpoint: &Checkpoint, options: &PolicyOptions, clock: Clock, steps: usize, draft: bool) {
    let mut policy = DriverPolicy::load(checkpoint, options).unwrap();
    let mut observations: Vec<Observation> = (0..2).map(|salt| observation(&policy, salt)).collect();
    // Other pictures and another instruction lead to other words, which are no draft of the next step's.
    observations[1].instruction = "go on to the end of the road".to_string();
    let mut timings: [Vec<Duration>; 4] = Default::default();
    let mut tokens = 0;
    for step in 0..steps + 3 {
        let observation = &observations[if draft { 0 } else { step % 2 }];
        let start = clock.now();
        policy.see(observation).unwrap();
        let seen = clock.now();
        tokens = policy.think(observation).unwrap().reasoning_tokens.len();
        let thought = clock.now();
        policy.plan(1, 0).unwrap();
        let end = clock.now();
        if step >= 3 {
            let all = [seen - start, thought - seen, end - thought, end - start];
            timings.iter_mut().zip(all).for_each(|(list, one)| list.push(one));
        }
    }
    let least = timings[3].iter().min().unwrap().as_secs_f64() * 1e3;
    let [vision, language, action, total] = timings.map(|mut list| {
        list.sort();
        list[list.len() / 2].as_secs_f64() * 1e3
    });
    let isa = options.isa.map_or_else(String::new, |isa| isa.to_string());
    println!(
        "{isa:8} {:>7} {tokens:>6} {draft:>8} {vision:>8.2} {language:>8.2} {action:>8.2} {total:>8.2} {least:>8.2}",
        options.threads
    );
}

fn observation(policy: &DriverPolicy, salt: usize) -> Observation {
    let frame = |camera: &ergon_model::CameraConfig| {
        let (width, height) = (camera.width, camera.height);
        let rgb = (0..width * height * 3).map(|i| (i * (7 + salt) / 3) as u8).collect();
        Frame { width, height, rgb }
    };
    let frames: Vec<Frame> = policy.config().vision.cameras.iter().map(frame).collect();
    let instruction = "take the left lane".to_string();
    Observation { earlier_frames: frames.clone(), frames, instruction, ..Observation::default() }
}
