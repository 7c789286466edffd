//! How far a driver's numbers are from the truth, on samples: `cargo run --release -p ergon-train --example driver_errors --
//! MODEL SAMPLES [COUNT]`, with files of samples as `ergon train driver` leaves them in its round folders.
//!
//! For each number of perception: which part of its variance is explained. For plans: mean distance to the expert's
//! places after 1, 2 and 4 s, by kind of sample, with the right words behind the picture and with the model's own.

use std::path::PathBuf;

use ergon_checkpoint::{Checkpoint, Tokenizer};
use ergon_kernels::Cpu;
use ergon_model::{Driver, DriverStep, LogitsWanted, STATE_DIM, scale_pixels};
use ergon_train::driver::{Sample, SampleStore, driver_config, network_config};
use ergon_world::task::PERCEPTION;

/// Sums over the samples of a kind: count, distances with right words, with own words.
type Sums = [(f64, [f64; 3], [f64; 3]); 4];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let checkpoint = Checkpoint::open(&PathBuf::from(&args[0])).expect("a model");
    let count = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(400u64);
    let (config, driver) = (driver_config(), Driver::load(&checkpoint).expect("a driver"));
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).expect("a tokenizer");
    let tag = |token| tokenizer.token_to_id(token).expect("a tag");
    let tags = [tag("<bos>"), tag("<think>"), tag("</think>")];
    let network = network_config(&config);
    let store = SampleStore::open_shards(&[PathBuf::from(&args[1])], &network).expect("samples");
    let (cpu, mut step) = (Cpu::new(1), DriverStep::default());
    let (mut record, mut sample, mut patches) = (Vec::new(), Sample::default(), Vec::new());
    let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); PERCEPTION.len()];
    let (mut sums, mut words): (Sums, [u64; 2]) = (Default::default(), [0; 2]);
    let stride = (store.len() / count).max(1);
    for index in (0..store.len()).step_by(stride as usize) {
        store.read(index, &mut record, &mut sample).expect("a sample");
        scale_pixels(&sample.pixels, &mut patches);
        driver.see(&cpu, &patches, &mut step);
        let prompt = [&[tags[0]][..], &sample.instruction, &[tags[1]]].concat();
        let (state, hint) = (
            sample.state[..STATE_DIM].try_into().expect("a state"),
            sample.hint[..].try_into().expect("a hint"),
        );
        let mut planned = |own: bool, step: &mut DriverStep| {
            driver.read(&cpu, state, hint, &prompt, step).expect("read");
            let mut seen = Vec::new();
            driver.perceive(&cpu, step, &mut seen).expect("seen");
            let best = |logits: &[f32]| {
                let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                best.map_or(0, |(token, _)| token as u32)
            };
            let mut said = Vec::new();
            if own {
                let mut next = best(step.logits());
                while next != tags[2] && said.len() < 24 {
                    said.push(next);
                    driver.append(&cpu, &[next], LogitsWanted::Last, step).expect("read");
                    next = best(step.logits());
                }
                words[0] += 1;
                words[1] += u64::from(said == sample.reasoning);
            } else {
                driver.append(&cpu, &sample.reasoning, LogitsWanted::Last, step).expect("read");
            }
            driver.append(&cpu, &[tags[2]], LogitsWanted::None, step).expect("read");
            driver.prepare_plans(&cpu, step).expect("prepared");
            let mut x = vec![0.0; sample.waypoints.len()];
            driver.plan(&cpu, &mut x, step).expect("planned");
            (seen, x)
        };
        let (seen, right) = planned(false, &mut step);
        let (_, own) = planned(true, &mut step);
        for (pairs, (seen, truth)) in pairs.iter_mut().zip(seen.iter().zip(&sample.perception)) {
            if !truth.is_nan() {
                pairs.push((f64::from(*seen), f64::from(*truth)));
            }
        }
        let sum = &mut sums[usize::from(sample.kind).min(3)];
        sum.0 += 1.0;
        for (at, k) in [3, 7, 15].into_iter().enumerate().filter(|(_, k)| sample.valid[*k]) {
            let off = |x: &[f32]| {
                let along = f64::from(x[2 * k] - sample.waypoints[2 * k]) * config.action.scale_x[k];
                let across = f64::from(x[2 * k + 1] - sample.waypoints[2 * k + 1]) * config.action.scale_y[k];
                along.hypot(across)
            };
            sum.1[at] += off(&right);
            sum.2[at] += off(&own);
        }
    }
    for (pairs, (name, scale)) in pairs.iter().zip(PERCEPTION) {
        let n = pairs.len().max(1) as f64;
        let mean = pairs.iter().map(|p| p.1).sum::<f64>() / n;
        let variance = pairs.iter().map(|p| (p.1 - mean).powi(2)).sum::<f64>() / n;
        let error = pairs.iter().map(|p| (p.0 - p.1).powi(2)).sum::<f64>() / n;
        let rms = error.sqrt() * f64::from(scale);
        println!("{name}: explained {:5.1} %, error {rms:.3}", 100.0 * (1.0 - error / variance.max(1e-9)));
    }
    for (kind, (n, right, own)) in ["expert", "student", "goal", "words"].iter().zip(sums) {
        let mean = |of: [f64; 3]| of.map(|sum| format!("{:.2}", sum / n.max(1.0))).join(" ");
        println!(
            "{kind}: {n} samples, off by {} m with the right words, {} m with its own",
            mean(right),
            mean(own)
        );
    }
    println!("words all right: {} of {}", words[1], words[0]);
}
