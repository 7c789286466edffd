//! Speed of a training on random samples of the built-in driver's shape.
//!
//! ```text
//! cargo run --release -p ergon-train --example train_bench [UPDATES] [BATCH] [MICRO_BATCH] [THREADS]
//! ```

use ergon_kernels::Cpu;
use ergon_train::driver::{
    Augmentation, NetworkConfig, Sample, TrainConfig, Trainer, driver_config, network_config,
};
use ergon_world::Rng;
use std::time::Instant;

/// Tokens of an instruction and of a reasoning, about as many as collected samples have.
const INSTRUCTION: usize = 6;
const REASONING: usize = 16;

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let argument = |index: usize, default| arguments.get(index).copied().unwrap_or(default);
    let (updates, batch) = (argument(0, 20), argument(1, 64));
    let (micro_batch, threads) = (argument(2, 8), argument(3, 2));
    let network = network_config(&driver_config());
    let mut rng = Rng::new(1);
    let samples: Vec<Sample> = (0..512).map(|_| sample(&network, &mut rng)).collect();
    let cpu = Cpu::new(threads);
    // The network that others can be compared with: without its own words, which cost a second pass of the decoder.
    let augmentation = Augmentation { own_words: 0.0, ..Augmentation::default() };
    let config = TrainConfig { batch, micro_batch, augmentation, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&network, config, &cpu).expect("the built-in shape fits");
    let parameters = trainer.network().layout().len();
    println!(
        "{parameters} parameters, {batch} samples per update, {micro_batch} side by side, {threads} threads"
    );
    for _ in 0..2 {
        trainer.update(&cpu, &samples[..]).expect("random samples fit");
    }
    let start = Instant::now();
    for _ in 0..updates {
        let began = Instant::now();
        let report = trainer.update(&cpu, &samples[..]).expect("random samples fit");
        let losses = report.losses;
        println!(
            "update {:3}: {:6.1} ms, text {:.4}, action {:.4}, perception {:.4}, norm {:.3}, imbalance {:.2?}",
            report.update,
            began.elapsed().as_secs_f64() * 1e3,
            losses.text,
            losses.action,
            losses.perception,
            report.gradient_norm,
            report.imbalance
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = (updates * batch) as f64 / seconds;
    let operations = 3.0 * 2.0 * multiplications(&network, 2.0);
    println!("{rate:.1} samples/s, {:.1} GFLOP/s of products with weights", rate * operations / 1e9);
}

fn sample(config: &NetworkConfig, rng: &mut Rng) -> Sample {
    let pixels = config.vision.patches() * config.vision.patch_values;
    let mut normals = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>();
    let (state, hint) = (normals(config.state_dim), normals(config.hint_dim));
    let (perception, waypoints) =
        (normals(config.perception_dim), normals(config.action.horizon * config.action.action_dim));
    let mut tokens =
        |n: usize| -> Vec<u32> { (0..n).map(|_| 3 + rng.below(config.decoder.vocab - 3) as u32).collect() };
    let (instruction, reasoning) = (tokens(INSTRUCTION), tokens(REASONING));
    Sample {
        pixels: (0..pixels).map(|_| rng.below(256) as u8).collect(),
        state,
        hint,
        instruction,
        reasoning,
        waypoints,
        valid: vec![true; config.action.horizon],
        perception,
        weight: 1.0,
        kind: 0,
    }
}

/// Multiplications of the products with weights in one forward pass of one sample.
fn multiplications(config: &NetworkConfig, groups: f64) -> f64 {
    let (v, d, a) = (&config.vision, &config.decoder, &config.action);
    let attention_and_mlp = |hidden: usize, width: usize| (4 * hidden * hidden + 3 * hidden * width) as f64;
    let patches = v.patches() as f64;
    let cells = v.patch_values * v.cell_channels + v.cells() * v.cell_channels * v.stem;
    let stem = (cells + v.stem * v.hidden) as f64;
    let vision = patches * (stem + v.layers as f64 * attention_and_mlp(v.hidden, v.intermediate))
        + (v.patches() * v.hidden * d.hidden) as f64;
    let rows = (v.tokens() + 2 + INSTRUCTION + REASONING + 3) as f64;
    let latent = d.hidden * d.heads * (d.nope + d.rope)
        + d.hidden * (d.kv_lora_rank + d.rope)
        + d.kv_lora_rank * d.heads * (d.nope + d.v_head)
        + d.hidden * d.heads * d.v_head;
    let experts = (d.experts_per_token + d.shared_experts) * 3 * d.hidden * d.moe_intermediate;
    let mlps = d.dense_layers * 3 * d.hidden * d.intermediate + (d.layers - d.dense_layers) * experts;
    let decoder = rows * (d.layers * latent + mlps) as f64;
    let head = ((REASONING + 1) * d.hidden * d.vocab) as f64;
    let waypoints = groups * a.horizon as f64;
    let action = waypoints * (a.layers as f64 * attention_and_mlp(a.hidden, a.intermediate))
        + waypoints * (3 * a.hidden * a.hidden) as f64
        + rows * (2 * a.layers * a.hidden * d.hidden) as f64;
    vision + decoder + head + action
}
