//! The shape of the built-in driver: one file in the vocabulary of published configurations, read as the runtime reads it.

use ergon_checkpoint::parse_config;
use ergon_model::{AttentionConfig, DriverConfig};

use super::config::{ActionSizes, CameraSizes, DecoderSizes, NetworkConfig, VisionSizes};
use super::turning::TURNING_DIM;
use super::vocabulary::Vocabulary;

/// `config.json` of the built-in driver.
pub const DRIVER_CONFIG: &str = include_str!("driver_config.json");

/// The configuration of the built-in driver.
///
/// # Panics
/// If the file in the source tree is none, which a test rules out.
pub fn driver_config() -> DriverConfig {
    let metadata = parse_config(DRIVER_CONFIG.as_bytes()).expect("the driver's configuration is JSON");
    DriverConfig::from_metadata(&metadata).expect("the driver's configuration holds together")
}

/// The network that a configuration describes.
///
/// # Panics
/// If the decoder has no latent attention or no experts, which [`DriverConfig`] rules out.
pub fn network_config(driver: &DriverConfig) -> NetworkConfig {
    let (text, vision, action) = (&driver.text, &driver.vision, &driver.action);
    let AttentionConfig::Mla(mla) = &text.attention else { panic!("a driver has latent attention") };
    let moe = text.moe.as_ref().expect("a driver has experts");
    let cameras = vision.cameras.iter().map(|camera| {
        let (columns, rows) = camera.patch_grid(vision.patch_size);
        CameraSizes { columns, rows }
    });
    NetworkConfig {
        vision: VisionSizes {
            cameras: cameras.collect(),
            patch_values: vision.patch_len(),
            cell_values: vision.cell_len(),
            cell_channels: vision.stem_channels,
            stem: vision.stem_size,
            hidden: vision.hidden_size,
            layers: vision.num_hidden_layers,
            heads: vision.num_attention_heads,
            intermediate: vision.intermediate_size,
            merge: vision.spatial_merge_size,
        },
        decoder: DecoderSizes {
            vocab: text.vocab_size,
            hidden: text.hidden_size,
            layers: text.num_hidden_layers,
            heads: text.num_attention_heads,
            kv_lora_rank: mla.kv_lora_rank,
            nope: mla.qk_nope_head_dim,
            rope: mla.qk_rope_head_dim,
            v_head: mla.v_head_dim,
            intermediate: text.intermediate_size,
            dense_layers: (0..text.num_hidden_layers).take_while(|index| !text.is_moe_layer(*index)).count(),
            experts: moe.n_routed_experts,
            experts_per_token: moe.num_experts_per_tok,
            shared_experts: moe.n_shared_experts,
            moe_intermediate: moe.moe_intermediate_size,
            routed_scaling: moe.routed_scaling_factor,
            rope_theta: text.rope.theta as f32,
        },
        action: ActionSizes {
            horizon: action.horizon,
            action_dim: action.action_dim,
            hidden: action.hidden_size,
            layers: action.num_hidden_layers,
            heads: action.num_attention_heads,
            intermediate: action.intermediate_size,
            inference_steps: action.num_inference_steps,
        },
        state_dim: driver.state_dim + TURNING_DIM,
        state_learning_only: TURNING_DIM,
        hint_dim: driver.hint_dim,
        perception_dim: driver.perception_dim,
        rms_norm_eps: text.rms_norm_eps,
        special: Vocabulary::special(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_shape_holds_together() {
        let driver = driver_config();
        assert_eq!(driver.text.vocab_size, Vocabulary::size());
        assert_eq!(driver.perception_dim, ergon_world::task::PERCEPTION_DIM);
        assert_eq!(driver.state_dim, ergon_model::STATE_DIM);
        assert_eq!(driver.hint_dim, ergon_model::HINT_DIM);
        let network = network_config(&driver);
        network.check().expect("sizes fit");
        assert_eq!((network.vision.patches(), network.vision.tokens()), (132, 33));
        let cameras = ergon_world::camera::Rig::standard().cameras;
        for (camera, spec) in driver.vision.cameras.iter().zip(&cameras) {
            assert_eq!((&camera.name, camera.width, camera.height), (&spec.name, spec.width, spec.height));
        }
    }
}
