//! The exported folder in the runtime: it computes what the network in training computes.

use super::*;
use crate::driver::context::Weights;
use ergon_checkpoint::Checkpoint;
use ergon_kernels::{Cpu, Isa};
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

    // The weights as they are stored, in plain arithmetic; what is for learning only is not among them.
    let mut stored = Trainer::new(&config, TrainConfig::default(), &cpu).unwrap();
    stored.start_from(folder.path()).unwrap();
    let mut weights = Weights::new(Arithmetic::Singles(Isa::detect()));
    weights.set(&stored.state().values, &trainer.network().matrices);
    let (mut batch, mut work, mut step) =
        (Batch::default(), trainer.network().workspace(), DriverStep::default());
    for sample in &samples {
        batch.clear(0);
        batch.push(&config, sample, Augmentation::NONE, &Rng::new(0), 1.0);
        let plan = trainer.network().predict(&weights, &batch, &mut work, (5, true));

        driver.see(&cpu, &batch.pixels, &mut step);
        let special = config.special;
        let prompt = [&[special.bos][..], &sample.instruction, &[special.think]].concat();
        let driven = config.state_dim - config.state_learning_only;
        let (state, hint) = (sample.state[..driven].try_into().unwrap(), sample.hint[..].try_into().unwrap());
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

#[test]
fn a_training_starts_from_the_weights_of_a_model() {
    let (cpu, folder) = (Cpu::new(1), tempfile::tempdir().unwrap());
    let config = network_config(&driver_config());
    let training = |seed| TrainConfig { seed, batch: 8, ..TrainConfig::default() };
    let first = Trainer::new(&config, training(1), &cpu).unwrap();
    first.export(folder.path(), DRIVER_CONFIG, "{}").unwrap();
    let mut second = Trainer::new(&config, training(2), &cpu).unwrap();
    second.start_from(folder.path()).unwrap();
    for tensor in first.network().layout().tensors() {
        let (columns, kept) = tensor.row();
        let rows = |trainer: &Trainer| trainer.state().values[tensor.range()].to_vec();
        for (a, b) in rows(&first).chunks_exact(columns).zip(rows(&second).chunks_exact(columns)) {
            // Matrices are stored with eight bits of precision; what is for learning only begins at zero.
            let pairs = a[..kept].iter().zip(&b[..kept]);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= a.abs() / 256.0), "{}", tensor.name);
            assert!(b[kept..].iter().all(|value| *value == 0.0), "{}", tensor.name);
        }
    }
    assert_eq!(second.state().average, second.state().values);
    assert_eq!(second.state().updates, 0);

    let wider = NetworkConfig { state_dim: config.state_dim + 3, ..config };
    let error = Trainer::new(&wider, training(1), &cpu).unwrap().start_from(folder.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("state_proj.in.weight") && text.contains("[128, 5]"), "{text}");
    let nothing = Trainer::new(&wider, training(1), &cpu).unwrap().start_from(&folder.path().join("none"));
    assert!(matches!(nothing, Err(ImportError::Checkpoint(_))));
}

#[test]
fn the_mean_of_two_models_lies_halfway() {
    let (cpu, root) = (Cpu::new(1), tempfile::tempdir().unwrap());
    let config = network_config(&driver_config());
    let [a, b, mean] = ["a", "b", "mean"].map(|name| root.path().join(name));
    let trainer = |seed| Trainer::new(&config, TrainConfig { seed, ..TrainConfig::default() }, &cpu).unwrap();
    let (first, second) = (trainer(1), trainer(2));
    first.export(&a, DRIVER_CONFIG, "{}").unwrap();
    second.export(&b, DRIVER_CONFIG, "{}").unwrap();
    let halfway = import::mean(first.network().layout(), [&a, &b]).unwrap();
    first.export_values(&halfway, &mean, DRIVER_CONFIG, "{}").unwrap();
    let stored = |folder: &std::path::Path| {
        let mut stored = trainer(3);
        stored.start_from(folder).unwrap();
        stored.state().values.clone()
    };
    let (a, b, mean) = (stored(&a), stored(&b), stored(&mean));
    let off = |i: usize| (0.5 * (a[i] + b[i]) - mean[i]).abs() > mean[i].abs() / 256.0;
    assert_eq!((0..a.len()).find(|i| off(*i)), None);
    assert!(a.iter().zip(&b).any(|(a, b)| a != b));
}

/// A run keeps the driver that it began from, and tells when it is asked to go on from something else.
#[test]
fn a_run_begins_from_nothing_or_from_one_driver() {
    let (cpu, stop) = (Cpu::new(1), std::sync::atomic::AtomicBool::new(true));
    let root = tempfile::tempdir().unwrap();
    let [driver, other, none, run] = ["driver", "other", "none", "run"].map(|name| root.path().join(name));
    let begin = |from| Run::new(&run, from, 1, 0.01, &cpu, &stop).map(drop);
    let training = |seed| TrainConfig { seed, batch: 8, ..TrainConfig::default() };
    let words = Vocabulary::learn().unwrap();
    for (folder, seed) in [(&driver, 1), (&other, 2)] {
        let trainer = Trainer::new(&network_config(&driver_config()), training(seed), &cpu).unwrap();
        trainer.export(folder, DRIVER_CONFIG, &words).unwrap();
    }
    // What is refused leaves nothing behind.
    let config = std::fs::read_to_string(driver.join("config.json")).unwrap();
    std::fs::write(
        driver.join("config.json"),
        config.replace("\"num_inference_steps\": 5", "\"num_inference_steps\": 4"),
    )
    .unwrap();
    assert!(matches!(begin(Some(&driver)), Err(RoundsError::Import(ImportError::Shape { .. }))));
    std::fs::write(driver.join("config.json"), config).unwrap();
    assert!(matches!(begin(Some(&none)), Err(RoundsError::Import(_))));
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0);

    begin(Some(&driver)).unwrap();
    begin(Some(&driver)).unwrap();
    begin(None).unwrap();
    assert_eq!(std::fs::read_to_string(run.join("tokenizer.json")).unwrap(), words);
    assert!(matches!(begin(Some(&other)), Err(RoundsError::Began { began: "another driver", .. })));
    std::fs::remove_dir_all(run.join("start")).unwrap();
    std::fs::create_dir(run.join("round-0")).unwrap();
    assert!(matches!(begin(Some(&driver)), Err(RoundsError::Began { began: "nothing", .. })));
}

/// A run from nothing is followed by its tunings, and one that was followed is not gone back to.
#[test]
fn tunings_follow_the_run_from_nothing() {
    let (cpu, stop) = (Cpu::new(1), std::sync::atomic::AtomicBool::new(true));
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let mut told = Vec::new();
    let go = |told: &mut Vec<String>| {
        let mut tell = |progress| told.push(format!("{progress:?}"));
        train(&folder, None, (1, 0.01), &cpu, &stop, &mut tell)
    };
    assert!(matches!(go(&mut told), Err(RoundsError::Stopped)));
    assert!(folder.join("round-0").exists() && !folder.join("tuning-1").exists() && told.is_empty());

    // As if the first had done its part and the second had begun.
    let trainer = Trainer::new(&network_config(&driver_config()), TrainConfig::default(), &cpu).unwrap();
    for start in ["model", "tuning-1/start"] {
        trainer.export(&folder.join(start), DRIVER_CONFIG, &Vocabulary::learn().unwrap()).unwrap();
    }
    std::fs::remove_dir_all(folder.join("round-0")).unwrap();
    assert!(matches!(go(&mut told), Err(RoundsError::Stopped)));
    assert_eq!(told.first(), Some(&format!("Tuning {{ number: 1, all: {TUNINGS} }}")));
    assert!(folder.join("tuning-1/round-0").exists() && !folder.join("round-0").exists());
}
