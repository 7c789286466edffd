//! Writes the model of a run that is still going on, from its last checkpoint: `cargo run --release -p ergon-train --example
//! export_checkpoint -- RUN_FOLDER MODEL_FOLDER SEED`.

use std::path::Path;

use ergon_kernels::Cpu;
use ergon_train::driver::{DRIVER_CONFIG, TrainConfig, Trainer, checkpoint, driver_config, network_config};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, model, seed] = &args[..] else {
        panic!("a run's folder, a folder for the model, the run's seed")
    };
    let run = Path::new(run);
    let config = TrainConfig { seed: seed.parse().expect("a seed"), ..TrainConfig::default() };
    let mut trainer =
        Trainer::new(&network_config(&driver_config()), config, &Cpu::new(1)).expect("a trainer");
    assert!(
        trainer.resume(&run.join(checkpoint::FILE_NAME)).expect("a checkpoint"),
        "the run has no checkpoint yet"
    );
    let tokenizer = std::fs::read_to_string(run.join("tokenizer.json")).expect("a tokenizer");
    trainer.export(Path::new(model), DRIVER_CONFIG, &tokenizer).expect("written");
    println!("update {}", trainer.state().updates);
}
