//! Tests of the whole network and of the training.

mod golden;
mod gradients;
mod rounds;
mod runtime;
mod training;

use super::*;
use ergon_world::Rng;

/// A network small enough for plain arithmetic; every part is there.
pub(super) fn tiny() -> NetworkConfig {
    NetworkConfig {
        vision: VisionSizes {
            cameras: vec![CameraSizes { columns: 4, rows: 2 }, CameraSizes { columns: 2, rows: 2 }],
            patch_values: 12,
            cell_values: 4,
            cell_channels: 5,
            stem: 10,
            hidden: 8,
            layers: 2,
            heads: 2,
            intermediate: 12,
            merge: 2,
        },
        decoder: DecoderSizes {
            vocab: 20,
            hidden: 16,
            layers: 2,
            heads: 2,
            kv_lora_rank: 6,
            nope: 4,
            rope: 4,
            v_head: 6,
            intermediate: 20,
            dense_layers: 1,
            experts: 4,
            experts_per_token: 2,
            shared_experts: 1,
            moe_intermediate: 8,
            routed_scaling: 1.5,
            rope_theta: 10_000.0,
        },
        action: ActionSizes {
            horizon: 4,
            action_dim: 2,
            hidden: 8,
            layers: 2,
            heads: 2,
            intermediate: 12,
            inference_steps: 5,
        },
        state_dim: 3,
        state_learning_only: 1,
        hint_dim: 5,
        perception_dim: 4,
        rms_norm_eps: 1e-6,
        special: SpecialTokens { bos: 0, think: 1, end_think: 2 },
    }
}

/// A random sample whose right answers depend on its inputs.
pub(super) fn sample(config: &NetworkConfig, rng: &mut Rng) -> Sample {
    let pixels = config.vision.patches() * config.vision.patch_values;
    let mut normals = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>();
    let (state, hint) = (normals(config.state_dim), normals(config.hint_dim));
    let mut perception = normals(config.perception_dim);
    perception[1] = f32::NAN;
    let waypoints = normals(config.action.horizon * config.action.action_dim);
    let token = |rng: &mut Rng| 3 + rng.below(config.decoder.vocab - 3) as u32;
    let (n_instruction, n_reasoning) = (rng.below(4), rng.below(5));
    Sample {
        pixels: (0..pixels).map(|_| rng.below(256) as u8).collect(),
        state,
        hint,
        instruction: (0..n_instruction).map(|_| token(rng)).collect(),
        reasoning: (0..n_reasoning).map(|_| token(rng)).collect(),
        waypoints,
        valid: (0..config.action.horizon).map(|i| i == 0 || rng.chance(0.8)).collect(),
        perception,
        weight: 1.0,
        kind: 0,
    }
}

pub(super) fn samples(config: &NetworkConfig, n: usize) -> Vec<Sample> {
    let mut rng = Rng::new(7);
    (0..n).map(|_| sample(config, &mut rng)).collect()
}
