//! The gradient of every tensor against finite differences.

use super::*;
use crate::driver::context::Weights;
use ergon_kernels::Isa;
use ergon_world::task::LIGHTS;

fn batch_of(config: &NetworkConfig, n: usize) -> Batch {
    let mut batch = Batch::default();
    batch.clear(2);
    for (index, sample) in samples(config, n).iter().enumerate() {
        let rng = Rng::new(3).split(index as u64);
        batch.push(config, sample, Augmentation::NONE, &rng, 1.0 / n as f32);
    }
    batch
}

/// Values other than the first ones, so that biases and norms count too.
fn values_of(network: &Network) -> Vec<f32> {
    let mut values = network.layout().initial_values(5);
    let mut rng = Rng::new(11);
    for tensor in network.layout().tensors() {
        if tensor.kind == TensorKind::Vector {
            values[tensor.range()].iter_mut().for_each(|value| *value += 0.3 * rng.normal() as f32);
        }
    }
    values
}

fn loss_of(
    network: &Network,
    lights: Option<f32>,
    values: &[f32],
    batch: &Batch,
    work: &mut Workspace,
) -> (f64, Vec<f32>) {
    let mut weights = Weights::new(Arithmetic::Singles(Isa::detect()));
    weights.set(values, &network.matrices);
    let mut gradients = vec![0.0; values.len()];
    let losses = LossWeights { text: 0.7, action: 1.0, perception: 0.5, lights };
    let loss = network.losses_and_gradients(&weights, losses, &mut batch.clone(), work, &mut gradients);
    (loss.total(losses), gradients)
}

#[test]
fn every_tensor_has_the_gradient_of_finite_differences() {
    gradients_are_differences(tiny(), None);
}

#[test]
fn so_it_is_when_lights_count_by_themselves() {
    gradients_are_differences(NetworkConfig { perception_dim: LIGHTS.end + 1, ..tiny() }, Some(3.0));
}

fn gradients_are_differences(mut config: NetworkConfig, lights: Option<f32>) {
    // All experts: a choice that flips would be a step, which has no difference quotient.
    config.decoder.experts_per_token = config.decoder.experts;
    let network = Network::new(&config).unwrap();
    let batch = batch_of(network.config(), 3);
    let mut work = network.workspace();
    let values = values_of(&network);
    let (_, gradients) = loss_of(&network, lights, &values, &batch, &mut work);
    let mut rng = Rng::new(2);
    for tensor in network.layout().tensors() {
        if tensor.kind == TensorKind::RouterBias {
            continue;
        }
        // Along a random direction of the tensor: one difference checks all its values.
        let direction: Vec<f32> = (0..tensor.len()).map(|_| rng.normal() as f32).collect();
        let length = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
        let slope: f64 =
            gradients[tensor.range()].iter().zip(&direction).map(|(g, d)| f64::from(g * d / length)).sum();
        let norm = gradients[tensor.range()].iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        let step = 4e-3f32;
        let mut at = |sign: f32| {
            let mut moved = values.clone();
            for (value, d) in moved[tensor.range()].iter_mut().zip(&direction) {
                *value += sign * step * d / length;
            }
            loss_of(&network, lights, &moved, &batch, &mut work).0
        };
        let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
        let error = (difference - slope).abs() / norm.max(1e-3);
        assert!(error < 2e-2, "{}: {slope} but {difference}, norm {norm}", tensor.name);
        assert!(norm > 0.0, "{}: no gradient", tensor.name);
    }
}
