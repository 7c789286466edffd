//! Updates: samples to gradients on several threads, gradients to weights.
//!
//! The samples of an update are cut into a fixed number of parts. Each part's gradient is summed by one thread, the parts'
//! gradients in a fixed order; the random numbers of a sample depend on the seed and on its place in the training. So
//! neither the number of threads nor a pause changes a bit of the result.

use super::batch::{Augmentation, Batch, Sample};
use super::config::{ConfigError, NetworkConfig};
use super::context::{Arithmetic, Weights};
use super::loss::{LossWeights, Losses};
use super::network::{Network, Workspace};
use super::optimizer::{AdamW, OptimizerState, Schedule, Step, Stretch, norm};
use super::params::TensorKind;
use super::samples::Samples;
use super::store::StoreError;
use ergon_kernels::{Cpu, gemm::Gemm};
use ergon_world::Rng;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Everything that decides the result of a training, beside the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Of first values, order, augmentation and noise.
    pub seed: u64,
    /// Samples of an update.
    pub batch: usize,
    /// Samples that go through the network side by side.
    pub micro_batch: usize,
    /// Parts of an update whose gradients are summed apart; at least as many as threads.
    pub parts: usize,
    /// Noisy copies of each sample's waypoints.
    pub groups: usize,
    /// How much each loss counts.
    pub losses: LossWeights,
    /// The optimiser.
    pub optimizer: AdamW,
    /// Its learning rate.
    pub schedule: Schedule,
    /// Changes of the pictures.
    pub augmentation: Augmentation,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            seed: 1,
            batch: 64,
            micro_batch: 8,
            parts: 2,
            groups: 2,
            losses: LossWeights::default(),
            optimizer: AdamW::default(),
            schedule: Schedule {
                peak: 1e-3,
                warmup_updates: 200,
                total_updates: 10_000,
                decay_part: 1.0,
                final_fraction: 0.05,
            },
            augmentation: Augmentation::default(),
        }
    }
}

/// Where a training is in its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Passes over the samples that were begun before this one.
    pub epoch: u64,
    /// Samples of this pass that were used.
    pub next: u64,
    /// Samples of this pass.
    pub samples: u64,
}

/// What one update did.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateReport {
    /// The update's number, from 1.
    pub update: u64,
    /// Its losses.
    pub losses: Losses,
    /// Their weighted sum.
    pub total: f64,
    /// The learning rate.
    pub rate: f32,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// For each layer with experts, the share of its tokens that the fullest expert got, times the experts: 1 is even.
    pub imbalance: Vec<f32>,
    /// Where the samples came from.
    pub position: Position,
}

/// A training that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The network cannot be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A sample cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to train on.
    #[error("there are no samples to train on; collect some first")]
    NoSamples,
    /// The losses are no numbers any more.
    #[error("update {update}: the loss is {loss}; lower the learning rate or look at the samples")]
    Diverged {
        /// The update.
        update: u64,
        /// The loss.
        loss: f64,
    },
}

/// What one part of an update works with.
struct Part {
    work: Workspace,
    batch: Batch,
    gradients: Vec<f32>,
    sample: Sample,
    record: Vec<u8>,
    outcome: Result<Losses, StoreError>,
}

/// A training in memory.
pub struct Trainer {
    network: Network,
    config: TrainConfig,
    state: OptimizerState,
    position: Position,
    order: Vec<u32>,
    /// The epoch that `order` is of.
    ordered: Option<Position>,
    weights: Weights,
    parts: Vec<Mutex<Part>>,
}

impl Trainer {
    /// A training from first values.
    ///
    /// # Errors
    /// Sizes that do not fit each other.
    pub fn new(network: &NetworkConfig, config: TrainConfig, cpu: &Cpu) -> Result<Trainer, TrainError> {
        Trainer::with_arithmetic(network, config, Arithmetic::Bf16(Gemm::new(cpu.isa)))
    }

    /// As [`Trainer::new`], with a chosen arithmetic.
    ///
    /// # Errors
    /// Sizes that do not fit each other.
    pub fn with_arithmetic(
        network: &NetworkConfig,
        config: TrainConfig,
        arithmetic: Arithmetic,
    ) -> Result<Trainer, TrainError> {
        let network = Network::new(network)?;
        let state = OptimizerState::new(network.layout().initial_values(config.seed));
        let parts = (0..config.parts.max(1))
            .map(|_| {
                Mutex::new(Part {
                    work: network.workspace(),
                    batch: Batch::default(),
                    gradients: vec![0.0; network.layout().len()],
                    sample: Sample::default(),
                    record: Vec::new(),
                    outcome: Ok(Losses::default()),
                })
            })
            .collect();
        let mut weights = Weights::new(arithmetic);
        weights.set(&state.values, &network.matrices);
        let position = Position::default();
        Ok(Trainer { network, config, state, position, order: Vec::new(), ordered: None, weights, parts })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What decides the result.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Changes how much each loss counts from the next update on.
    pub fn set_losses(&mut self, losses: LossWeights) {
        self.config.losses = losses;
    }

    /// Parameters, their average and the optimiser's moments.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// Where the training is in its samples.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from a saved state.
    ///
    /// # Panics
    /// When the state is of another network.
    pub fn restore(&mut self, state: OptimizerState, position: Position) {
        assert!(state.values.len() == self.network.layout().len(), "a state of another network");
        self.weights.set(&state.values, &self.network.matrices);
        (self.state, self.position, self.ordered) = (state, position, None);
    }

    /// The averaged weights, ready for [`Network::losses`].
    pub fn averaged_weights(&self) -> Weights {
        let mut weights = Weights::new(self.weights.arithmetic);
        weights.set(&self.state.average, &self.network.matrices);
        weights
    }

    /// The mean losses of samples with the averaged weights, without changes to the pictures and with the noise of the
    /// training's seed: comparable from one call to the next.
    ///
    /// # Errors
    /// A sample cannot be read.
    pub fn evaluate<S: Samples + ?Sized>(&self, cpu: &Cpu, samples: &S) -> Result<Losses, TrainError> {
        let weights = self.averaged_weights();
        let (n, step) = (samples.len(), self.config.micro_batch.max(1) as u64);
        let noise = Rng::new(self.config.seed).split(3 << 32);
        let found: Vec<Mutex<Result<Losses, StoreError>>> =
            (0..n.div_ceil(step)).map(|_| Mutex::new(Ok(Losses::default()))).collect();
        cpu.pool.run(found.len(), |index| {
            let (mut batch, mut work) = (Batch::default(), self.network.workspace());
            let (mut record, mut sample) = (Vec::new(), Sample::default());
            batch.clear(self.config.groups);
            let first = index as u64 * step;
            for number in first..n.min(first + step) {
                if let Err(error) = samples.read(number, &mut record, &mut sample) {
                    *locked(&found[index]) = Err(error);
                    return;
                }
                let (rng, share) = (noise.split(number), sample.weight / n as f32);
                batch.push(self.network.config(), &sample, Augmentation::NONE, &rng, share);
            }
            *locked(&found[index]) =
                Ok(self.network.losses(&weights, self.config.losses, &mut batch, &mut work));
        });
        let mut losses = Losses::default();
        for own in found {
            losses.add(own.into_inner().unwrap_or_else(PoisonError::into_inner)?);
        }
        Ok(losses)
    }

    /// Does one update. When the number of samples has changed since the last one, a new pass over them begins.
    ///
    /// # Errors
    /// There is no sample or one cannot be read, or the losses are no numbers; the weights are then as before.
    pub fn update<S: Samples + ?Sized>(
        &mut self,
        cpu: &Cpu,
        samples: &S,
    ) -> Result<UpdateReport, TrainError> {
        let picked = self.pick(samples.len())?;
        let first = self.state.updates * self.config.batch as u64;
        let per_part = self.config.batch.div_ceil(self.parts.len());
        let this = &*self;
        cpu.pool.run(this.parts.len(), |index| {
            let mut part = locked(&this.parts[index]);
            let from = (index * per_part).min(picked.len());
            let own = &picked[from..(from + per_part).min(picked.len())];
            part.outcome = this.part(samples, own, first + from as u64, &mut part);
        });
        let losses = self.gather()?;
        let total = losses.total(self.config.losses);
        let update = self.state.updates + 1;
        if !total.is_finite() {
            return Err(TrainError::Diverged { update, loss: total });
        }
        let rate = self.config.schedule.rate(self.state.updates);
        let (gradient_norm, imbalance) = self.apply(cpu, rate);
        if !gradient_norm.is_finite() {
            return Err(TrainError::Diverged { update, loss: f64::from(gradient_norm) });
        }
        self.state.updates = update;
        let position = self.position;
        Ok(UpdateReport { update, losses, total, rate, gradient_norm, imbalance, position })
    }

    /// The samples of the next update.
    fn pick(&mut self, samples: u64) -> Result<Vec<u32>, TrainError> {
        if samples == 0 {
            return Err(TrainError::NoSamples);
        }
        if self.position.samples != samples {
            let epoch = self.position.epoch + u64::from(self.position.next > 0);
            self.position = Position { epoch, next: 0, samples };
        }
        let mut picked = Vec::with_capacity(self.config.batch);
        while picked.len() < self.config.batch {
            if self.position.next == samples {
                self.position = Position { epoch: self.position.epoch + 1, next: 0, samples };
            }
            self.set_order();
            let wanted = (self.config.batch - picked.len()) as u64;
            let end = samples.min(self.position.next + wanted);
            picked.extend_from_slice(&self.order[self.position.next as usize..end as usize]);
            self.position.next = end;
        }
        Ok(picked)
    }

    fn set_order(&mut self) {
        let wanted = Position { next: 0, ..self.position };
        if self.ordered == Some(wanted) {
            return;
        }
        let mut rng = Rng::new(self.config.seed).split(1 << 32 | wanted.epoch);
        self.order.clear();
        self.order.extend(0..wanted.samples as u32);
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, rng.below(i + 1));
        }
        self.ordered = Some(wanted);
    }

    /// Sums the gradient of some samples of an update.
    fn part<S: Samples + ?Sized>(
        &self,
        samples: &S,
        picked: &[u32],
        first: u64,
        part: &mut Part,
    ) -> Result<Losses, StoreError> {
        let Part { work, batch, gradients, sample, record, .. } = part;
        let config = &self.config;
        gradients.fill(0.0);
        work.loads.iter_mut().for_each(|load| load.fill(0));
        let noise = Rng::new(config.seed).split(2 << 32);
        let mut losses = Losses::default();
        let micro_batches = picked.chunks(config.micro_batch.max(1));
        for (index, micro) in micro_batches.enumerate() {
            batch.clear(config.groups);
            for (inside, &place) in micro.iter().enumerate() {
                samples.read(u64::from(place), record, sample)?;
                let number = first + (index * config.micro_batch.max(1) + inside) as u64;
                let share = sample.weight / config.batch as f32;
                batch.push(self.network.config(), sample, config.augmentation, &noise.split(number), share);
            }
            losses.add(self.network.losses_and_gradients(
                &self.weights,
                config.losses,
                batch,
                work,
                gradients,
            ));
        }
        Ok(losses)
    }

    /// The parts' losses, in order.
    fn gather(&mut self) -> Result<Losses, TrainError> {
        let mut losses = Losses::default();
        for part in &mut self.parts {
            let part = part.get_mut().unwrap_or_else(PoisonError::into_inner);
            losses.add(std::mem::replace(&mut part.outcome, Ok(Losses::default()))?);
        }
        Ok(losses)
    }

    /// Sums the parts' gradients and changes the weights by them. The weights stay when the gradient is not finite.
    fn apply(&mut self, cpu: &Cpu, rate: f32) -> (f32, Vec<f32>) {
        let mut parts: Vec<&mut Part> = self
            .parts
            .iter_mut()
            .map(|part| part.get_mut().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let (first, others) = parts.split_at_mut(1);
        let sums = &mut first[0].gradients;
        let blocks: Vec<Mutex<(&mut [f32], f32)>> =
            sums.chunks_mut(BLOCK).map(|block| Mutex::new((block, 0.0))).collect();
        cpu.pool.run(blocks.len(), |index| {
            let mut block = locked(&blocks[index]);
            let (sum, block_norm) = &mut *block;
            for other in &*others {
                let own = &other.gradients[index * BLOCK..];
                sum.iter_mut().zip(own).for_each(|(sum, g)| *sum += g);
            }
            *block_norm = norm(sum);
        });
        let squares = blocks.iter().map(|block| f64::from(locked(block).1).powi(2));
        let gradient_norm = squares.sum::<f64>().sqrt() as f32;
        drop(blocks);
        if !gradient_norm.is_finite() {
            return (gradient_norm, Vec::new());
        }
        let mut loads = std::mem::take(&mut first[0].work.loads);
        for other in others.iter() {
            for (load, more) in loads.iter_mut().flatten().zip(other.work.loads.iter().flatten()) {
                *load += more;
            }
        }
        let step = self.config.optimizer.step(self.state.updates, rate, gradient_norm);
        self.step_all(cpu, step);
        self.balance(step, &loads);
        let imbalance = loads.iter().map(|load| imbalance(load)).collect();
        self.part_mut(0).work.loads = loads;
        self.weights.set_on(cpu, &self.state.values, &self.network.matrices);
        (gradient_norm, imbalance)
    }

    fn part_mut(&mut self, index: usize) -> &mut Part {
        self.parts[index].get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The optimiser's step on every tensor, from the first part's gradient.
    fn step_all(&mut self, cpu: &Cpu, step: Step) {
        let optimizer = self.config.optimizer;
        let gradients = &self.parts[0].get_mut().unwrap_or_else(PoisonError::into_inner).gradients;
        let OptimizerState { values, average, first, second, .. } = &mut self.state;
        let (mut values, mut average) = (&mut values[..], &mut average[..]);
        let (mut first, mut second) = (&mut first[..], &mut second[..]);
        let mut tasks = Vec::new();
        for tensor in self.network.layout().tensors() {
            let n = tensor.len();
            let own = Stretch {
                values: values.split_off_mut(..n).unwrap_or_default(),
                average: average.split_off_mut(..n).unwrap_or_default(),
                first: first.split_off_mut(..n).unwrap_or_default(),
                second: second.split_off_mut(..n).unwrap_or_default(),
            };
            if tensor.kind != TensorKind::RouterBias {
                let decay = tensor.kind == TensorKind::Matrix;
                tasks.push(Mutex::new((decay, &gradients[tensor.range()], own)));
            }
        }
        cpu.pool.run(tasks.len(), |index| {
            let mut task = locked(&tasks[index]);
            let (decay, gradient, Stretch { values, average, first, second }) = &mut *task;
            optimizer.update(step, *decay, gradient, Stretch { values, average, first, second });
        });
    }

    fn balance(&mut self, step: Step, loads: &[Vec<u64>]) {
        for (experts, load) in self.network.decoder.experts().zip(loads) {
            let own = experts.bias..experts.bias + load.len();
            let (bias, average) = (&mut self.state.values[own.clone()], &mut self.state.average[own]);
            self.config.optimizer.balance(step, load, bias, average);
        }
    }
}

/// Values whose gradients one task sums.
const BLOCK: usize = 1 << 16;

/// The lock cannot be contended: each is taken by one task.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn imbalance(load: &[u64]) -> f32 {
    let total: u64 = load.iter().sum();
    let most = load.iter().copied().max().unwrap_or_default();
    most as f32 * load.len() as f32 / total.max(1) as f32
}
