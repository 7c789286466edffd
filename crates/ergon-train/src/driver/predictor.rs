//! Plans of a network in training, for many situations at once: what drives when the student is to drive.

use super::batch::{Augmentation, Batch, Sample};
use super::context::Weights;
use super::network::{Network, Workspace};
use ergon_world::Rng;

/// A network with weights and the memory of one thread.
pub struct Predictor<'a> {
    network: &'a Network,
    weights: &'a Weights,
    work: Workspace,
    batch: Batch,
}

impl<'a> Predictor<'a> {
    /// Takes the weights of [`Trainer::averaged_weights`](super::Trainer::averaged_weights). Any number of predictors may
    /// share them, one for each thread.
    pub fn new(network: &'a Network, weights: &'a Weights) -> Predictor<'a> {
        Predictor { network, weights, work: network.workspace(), batch: Batch::default() }
    }

    /// Normalised waypoints `[samples, horizon, action_dim]` from pictures, state, hint, instruction and reasoning of the
    /// samples; what is right in them is not looked at. All plans start from the noise of `seed`, so that a plan does not
    /// depend on the samples beside it.
    ///
    /// # Panics
    /// When a sample does not fit the network.
    pub fn predict(&mut self, samples: &[Sample], seed: u64) -> Vec<f32> {
        self.batch.clear(0);
        for sample in samples {
            self.batch.push(self.network.config(), sample, Augmentation::NONE, &Rng::new(seed), 0.0);
        }
        self.network.predict(self.weights, &self.batch, &mut self.work, (seed, true))
    }
}
