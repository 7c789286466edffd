//! Losses and gradients against torch's, in double precision: `vectors/make_driver_gradients.py`.

use super::*;
use crate::driver::context::Weights;
use ergon_kernels::Isa;
use safetensors::SafeTensors;

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    fn bytes(&self, name: &str) -> &[u8] {
        self.0.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data()
    }

    fn singles(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    fn tokens(&self, name: &str) -> Vec<u32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    fn batch(&self, config: &NetworkConfig) -> Batch {
        const SAMPLES: usize = 3;
        let (bytes, valid) = (self.bytes("batch.bytes"), self.bytes("batch.valid"));
        let part = |name: &str, index: usize| {
            let all = self.singles(name);
            let width = all.len() / SAMPLES;
            all[index * width..(index + 1) * width].to_vec()
        };
        let mut batch = Batch::default();
        batch.clear(2);
        for index in 0..SAMPLES {
            let (pixels, horizon) = (bytes.len() / SAMPLES, config.action.horizon);
            let sample = Sample {
                pixels: bytes[index * pixels..(index + 1) * pixels].to_vec(),
                state: part("batch.state", index),
                hint: part("batch.hint", index),
                instruction: self.tokens(&format!("batch.instructions.{index}")),
                reasoning: self.tokens(&format!("batch.reasonings.{index}")),
                waypoints: part("batch.waypoints", index),
                valid: valid[index * horizon..(index + 1) * horizon].iter().map(|v| *v != 0).collect(),
                perception: part("batch.perception", index),
                weight: 1.0,
                kind: 0,
            };
            batch.push(config, &sample, Augmentation::NONE, &Rng::new(0), 1.0 / SAMPLES as f32);
        }
        batch.times = self.singles("batch.times");
        batch.noise = self.singles("batch.noise");
        batch
    }
}

/// How far a tensor's gradient is from torch's.
struct Difference {
    name: String,
    /// The largest difference, in parts of the largest value.
    worst: f32,
    /// Sums of squares: of the differences, and of torch's values.
    squares: [f64; 2],
}

fn differences(arithmetic: Arithmetic, loss_tolerance: f64) -> Vec<Difference> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/driver-gradients.safetensors");
    let file = std::fs::read(path).unwrap();
    let golden = Golden(SafeTensors::deserialize(&file).unwrap());
    let network = Network::new(&tiny()).unwrap();
    let mut values = vec![0.0; network.layout().len()];
    for tensor in network.layout().tensors() {
        values[tensor.range()].copy_from_slice(&golden.singles(&format!("value.{}", tensor.name)));
    }
    let mut weights = Weights::new(arithmetic);
    weights.set(&values, &network.matrices);
    let mut gradients = vec![0.0; values.len()];
    let factors = LossWeights { text: 0.7, action: 1.0, perception: 0.5, lights: None };
    let (mut batch, mut work) = (golden.batch(network.config()), network.workspace());
    let found = network.losses_and_gradients(&weights, factors, &mut batch, &mut work, &mut gradients);
    let right = golden.singles("losses");
    for (found, right) in [found.text, found.action, found.perception].into_iter().zip(&right) {
        assert!((found / f64::from(*right) - 1.0).abs() < loss_tolerance, "{found} but {right}");
    }
    let trained = network.layout().tensors().iter().filter(|t| t.kind != TensorKind::RouterBias);
    trained
        .map(|tensor| {
            let right = golden.singles(&format!("gradient.{}", tensor.name));
            let errors: Vec<f32> = gradients[tensor.range()].iter().zip(&right).map(|(a, b)| a - b).collect();
            let largest = |of: &[f32]| of.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let squares = |of: &[f32]| of.iter().map(|value| f64::from(value * value)).sum();
            Difference {
                name: tensor.name.clone(),
                worst: largest(&errors) / largest(&right),
                squares: [squares(&errors), squares(&right)],
            }
        })
        .collect()
}

#[test]
fn gradients_in_singles_are_those_of_torch() {
    for difference in differences(Arithmetic::Singles(Isa::detect()), 2e-5) {
        assert!(difference.worst < 1e-4, "{}: {}", difference.name, difference.worst);
    }
}

#[test]
fn gradients_in_bfloat16_are_close_to_those_of_torch() {
    for isa in Isa::available() {
        let all = differences(Arithmetic::Bf16(ergon_kernels::gemm::Gemm::new(isa)), 2e-2);
        let [errors, right] =
            all.iter().fold([0.0; 2], |sum, d| [sum[0] + d.squares[0], sum[1] + d.squares[1]]);
        let relative = (errors / right).sqrt();
        println!("{isa}: {relative:.4} of the gradient's length");
        // Heads of 4 and streams of 8 values average little of the rounding out.
        assert!(relative < 0.08, "{isa}: {relative} of the gradient's length");
        for difference in &all {
            let relative = (difference.squares[0] / difference.squares[1]).sqrt();
            assert!(relative < 0.3, "{isa}, {}: {relative}", difference.name);
        }
    }
}
