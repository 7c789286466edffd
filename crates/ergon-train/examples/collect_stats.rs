//! Collects samples from some episodes and prints their statistics and the rate: `cargo run --release -p ergon-train --example
//! collect_stats -- EPISODES`.

use std::time::Instant;

use ergon_train::driver::{Collector, Pilot, Vocabulary, driver_config};
use ergon_world::episode::EpisodeOptions;

fn main() {
    let episodes = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(40u64);
    let folder = std::env::temp_dir().join("ergon-collect-stats");
    std::fs::create_dir_all(&folder).expect("folder");
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, Vocabulary::learn().expect("learned")).expect("written");
    let vocabulary = Vocabulary::open(&path).expect("opened");
    let config = driver_config();
    let collector = Collector { config: &config, vocabulary: &vocabulary };
    let start = Instant::now();
    let mut samples = Vec::new();
    for seed in 0..episodes {
        let mut own =
            collector.episode(seed, &EpisodeOptions::default(), &mut Pilot::Expert).expect("collected");
        own.iter_mut().for_each(|sample| sample.pixels = Vec::new());
        samples.extend(own);
    }
    let rate = samples.len() as f64 / start.elapsed().as_secs_f64();
    println!("{} samples of {episodes} episodes, {rate:.0} samples/s", samples.len());
    let longest = |of: &dyn Fn(&ergon_train::driver::Sample) -> usize| samples.iter().map(of).max();
    println!(
        "longest instruction {:?}, reasoning {:?}",
        longest(&|s| s.instruction.len()),
        longest(&|s| s.reasoning.len())
    );
    for k in 0..config.action.horizon {
        let column = |c: usize| {
            let known = samples.iter().filter(|s| s.valid[k]).map(|s| f64::from(s.waypoints[2 * k + c]));
            let scale = if c == 0 { config.action.scale_x[k] } else { config.action.scale_y[k] };
            let values: Vec<f64> = known.map(|value| value * scale).collect();
            let mut sizes: Vec<f64> = values.iter().map(|v| v.abs()).collect();
            sizes.sort_by(f64::total_cmp);
            let at = |part: f64| sizes[((sizes.len() - 1) as f64 * part) as usize];
            let rms = (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
            format!("rms {rms:.3} p50 {:.3} p90 {:.3} p99 {:.3}", at(0.5), at(0.9), at(0.99))
        };
        println!("waypoint {k}: x {} | y {}", column(0), column(1));
    }
    for (index, (name, _)) in ergon_world::task::PERCEPTION.iter().enumerate() {
        let known: Vec<f64> =
            samples.iter().map(|s| f64::from(s.perception[index])).filter(|v| v.is_finite()).collect();
        let n = known.len().max(1) as f64;
        let mean = known.iter().sum::<f64>() / n;
        let rms = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        println!("{index:2} {name}: known {:.2} mean {mean:.2} deviation {rms:.2}", n / samples.len() as f64);
    }
}
