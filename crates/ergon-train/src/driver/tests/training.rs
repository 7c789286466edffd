//! Updates: learning, balance of the experts, independence of threads and pauses.

use super::*;
use crate::driver::checkpoint::CheckpointError;
use ergon_kernels::Cpu;

fn config() -> TrainConfig {
    TrainConfig {
        batch: 16,
        micro_batch: 4,
        schedule: Schedule {
            peak: 5e-3,
            warmup_updates: 10,
            total_updates: 600,
            decay_part: 1.0,
            final_fraction: 0.1,
        },
        augmentation: Augmentation::NONE,
        ..TrainConfig::default()
    }
}

#[test]
fn a_few_samples_are_learnt_by_heart() {
    let cpu = Cpu::new(2);
    let samples = samples(&tiny(), 32);
    let mut trainer = Trainer::new(&tiny(), config(), &cpu).unwrap();
    let mut reports = Vec::new();
    for _ in 0..600 {
        reports.push(trainer.update(&cpu, &samples[..]).unwrap());
    }
    let mean = |of: &[UpdateReport], part: fn(&Losses) -> f64| {
        of.iter().map(|report| part(&report.losses)).sum::<f64>() / of.len() as f64
    };
    let (first, last) = (&reports[..10], &reports[590..]);
    println!("first {:?}\nlast {:?}", first[0], last[9]);
    assert!(mean(last, |l| l.text) < 0.3 * mean(first, |l| l.text));
    assert!(mean(last, |l| l.perception) < 0.2 * mean(first, |l| l.perception));
    assert!(mean(last, |l| l.action) < 0.6 * mean(first, |l| l.action));
}

fn losses_of(trainer: &mut Trainer, cpu: &Cpu, samples: &[Sample], updates: usize) -> Vec<u64> {
    (0..updates).map(|_| trainer.update(cpu, samples).unwrap().total.to_bits()).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let samples = samples(&tiny(), 24);
    let run = |threads| {
        let cpu = Cpu::new(threads);
        let mut trainer = Trainer::new(&tiny(), config(), &cpu).unwrap();
        (losses_of(&mut trainer, &cpu, &samples, 20), trainer.state().clone())
    };
    assert!(run(1) == run(2));
}

#[test]
fn a_killed_training_goes_on_with_the_same_bits() {
    let (cpu, folder) = (Cpu::new(2), tempfile::tempdir().unwrap());
    let path = folder.path().join("state");
    let samples = samples(&tiny(), 24);
    let mut whole = Trainer::new(&tiny(), config(), &cpu).unwrap();
    let all = losses_of(&mut whole, &cpu, &samples, 20);

    let mut first = Trainer::new(&tiny(), config(), &cpu).unwrap();
    assert!(!first.resume(&path).unwrap());
    // Not at the end of a pass over the samples.
    assert_eq!(losses_of(&mut first, &cpu, &samples, 7), all[..7]);
    first.save(&path).unwrap();
    losses_of(&mut first, &cpu, &samples, 2);
    drop(first);
    let mut second = Trainer::new(&tiny(), config(), &cpu).unwrap();
    assert!(second.resume(&path).unwrap());
    assert_eq!(losses_of(&mut second, &cpu, &samples, 13), all[7..]);
    assert!(second.state() == whole.state());
}

#[test]
fn damaged_and_foreign_checkpoints_are_named() {
    let (cpu, folder) = (Cpu::new(1), tempfile::tempdir().unwrap());
    let path = folder.path().join("state");
    let mut trainer = Trainer::new(&tiny(), config(), &cpu).unwrap();
    trainer.save(&path).unwrap();
    let mut other = Trainer::new(&tiny(), TrainConfig { seed: 2, ..config() }, &cpu).unwrap();
    assert!(matches!(other.resume(&path), Err(CheckpointError::Content { .. })));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(trainer.resume(&path), Err(CheckpointError::Content { .. })));
    std::fs::write(&path, &bytes[..middle]).unwrap();
    assert!(matches!(trainer.resume(&path), Err(CheckpointError::Content { .. })));
}

#[test]
fn the_bias_evens_out_the_experts() {
    let cpu = Cpu::new(1);
    let samples = samples(&tiny(), 32);
    let run = |router_bias_step| {
        let optimizer = AdamW { router_bias_step, ..AdamW::default() };
        let config = TrainConfig { optimizer, ..config() };
        let mut trainer = Trainer::new(&tiny(), config, &cpu).unwrap();
        // All tokens to the first experts.
        let mut state = trainer.state().clone();
        let bias = trainer.network().layout().tensors().iter().find(|t| t.kind == TensorKind::RouterBias);
        state.values[bias.unwrap().range()].copy_from_slice(&[0.5, 0.3, 0.0, 0.0]);
        trainer.restore(state, Position::default());
        (0..60).map(|_| trainer.update(&cpu, &samples[..]).unwrap().imbalance[0]).last().unwrap()
    };
    let (with, without) = (run(2e-2), run(0.0));
    assert!(with < 1.3 && without > with + 0.2, "fullest expert: {with} with balancing, {without} without");
}

#[test]
fn samples_come_back_from_the_disk_and_a_torn_record_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples");
    let samples = samples(&tiny(), 5);
    let mut writer = ShardWriter::open(&path, &tiny()).unwrap();
    samples[..4].iter().for_each(|sample| writer.push(sample).unwrap());
    drop(writer);
    let whole = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole - 3).unwrap();

    let mut writer = ShardWriter::open(&path, &tiny()).unwrap();
    assert_eq!(writer.len(), 3);
    writer.push(&samples[4]).unwrap();
    writer.flush().unwrap();
    let store = SampleStore::open(folder.path(), &tiny()).unwrap();
    assert_eq!(store.len(), 4);
    let (mut record, mut sample) = (Vec::new(), Sample::default());
    for (index, right) in [0, 1, 2, 4].into_iter().enumerate() {
        store.read(index as u64, &mut record, &mut sample).unwrap();
        // A NaN among the targets is not equal to itself.
        assert_eq!(format!("{sample:?}"), format!("{:?}", samples[right]));
    }
    let wider = NetworkConfig { state_dim: 4, ..tiny() };
    assert!(matches!(SampleStore::open(folder.path(), &wider), Err(StoreError::Header { .. })));
}

#[test]
fn own_words_take_the_place_of_the_right_ones_and_are_no_target() {
    let config = tiny();
    let (mut batch, own) = (Batch::default(), Augmentation { own_words: 1.0, ..Augmentation::NONE });
    batch.clear(1);
    let spoken = |reasoning: &[u32]| {
        let mut rng = Rng::new(4);
        Sample { reasoning: reasoning.to_vec(), ..sample(&config, &mut rng) }
    };
    batch.push(&config, &spoken(&[5, 6, 7]), Augmentation::NONE, &Rng::new(1), 0.5);
    batch.push(&config, &spoken(&[8, 9, 10]), own, &Rng::new(1), 0.5);
    let (before, targets) = (batch.tokens.clone(), batch.targets.clone());
    // The second sample says 11, then would stop, then says 13; the closing tag is not said in its place.
    batch.say(&[11, 11, 11, 11, 11, config.special.end_think, 13, 14], config.special.end_think);
    let changed: Vec<_> = before.iter().zip(&batch.tokens).filter(|(a, b)| a != b).collect();
    let words: Vec<(u32, u32)> = changed
        .iter()
        .map(|((row, a), (same, b))| {
            assert_eq!(row, same);
            (*a, *b)
        })
        .collect();
    assert_eq!(words, [(8, 11), (10, 13)]);
    assert_eq!(batch.targets, targets);
}
