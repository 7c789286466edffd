//! The exported folder in the runtime: it computes what the network in training computes.

use super::*;
use crate::driver::context::Weights;
use ergon_checkpoint::Checkpoint;
use ergon_kernels::{Cpu, Isa, dequantize_reference};
use ergon_model::{Driver, DriverStep, LogitsWanted};

/// Root mean square of the difference, in parts of that of `right`.
fn difference(found: &[f32], right: &[f32]) -> f32 {
    assert_eq!(found.len(), right.len());
    let errors: f32 = found.iter().zip(right).map(|(a, b)| (a - b) * (a - b)).sum();
    (errors / right.iter().map(|b| b * b).sum::<f32>()).sqrt()
}

#[test]
fn an_exported_driver_computes_the_same_in_the_runtime() {
    let (cpu, folder) = (Cpu::new(2), tempfile::tempdir().unwrap());
    let config = network_config(&driver_config());
    let mut samples = samples(&config, 8);
    samples.iter_mut().for_each(|sample| sample.pixels.iter_mut().for_each(|pixel| *pixel /= 2));
    let training = TrainConfig { batch: 8, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&config, training, &cpu).unwrap();
    for _ in 0..3 {
        trainer.update(&cpu, &samples[..]).unwrap();
    }
    trainer.export(folder.path(), DRIVER_CONFIG, &Vocabulary::learn().unwrap()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let driver = Driver::load(&checkpoint).unwrap();

    // The weights as they are stored, in plain arithmetic.
    let mut values = vec![0.0; trainer.network().layout().len()];
    for tensor in trainer.network().layout().tensors() {
        let stored = checkpoint.tensor(&tensor.name).unwrap();
        dequantize_reference(stored.format.unwrap(), &stored.data, &mut values[tensor.range()]);
    }
    let mut weights = Weights::new(Arithmetic::Singles(Isa::detect()));
    weights.set(&values, &trainer.network().matrices);
    let (mut batch, mut work, mut step) =
        (Batch::default(), trainer.network().workspace(), DriverStep::default());
    for sample in &samples {
        batch.clear(0);
        batch.push(&config, sample, Augmentation::NONE, &Rng::new(0), 1.0);
        let plan = trainer.network().predict(&weights, &batch, &mut work, (5, true));

        driver.see(&cpu, &batch.pixels, &mut step);
        let special = config.special;
        let prompt = [&[special.bos][..], &sample.instruction, &[special.think]].concat();
        let (state, hint) = (sample.state[..].try_into().unwrap(), sample.hint[..].try_into().unwrap());
        driver.read(&cpu, state, hint, &prompt, &mut step).unwrap();
        for token in sample.reasoning.iter().chain([&special.end_think]) {
            driver.append(&cpu, &[*token], LogitsWanted::Last, &mut step).unwrap();
        }
        let mut rng = Rng::new(5).split(0);
        let mut found: Vec<f32> = plan.iter().map(|_| rng.normal() as f32).collect();
        driver.prepare_plans(&cpu, &mut step).unwrap();
        driver.plan(&cpu, &mut found, &mut step).unwrap();

        let states = difference(step.states(), &work.hidden[..step.states().len()]);
        let plans = difference(&found, &plan);
        println!("states differ by {states:.1e}, plans by {plans:.1e}");
        assert!(states < 0.02 && plans < 0.02, "states differ by {states}, plans by {plans}");
    }
}
