//! The configuration of the driver: a DeepSeek-V3 decoder (`text_config`), a vision encoder, and an action expert.
//!
//! The words are those of Hugging Face's configurations of vision-language models; `action_config` follows LeRobot's
//! names for flow-matching policies where it has one. Everything that the passes rely on is checked here.

use ergon_checkpoint::{Checkpoint, CheckpointKind, Metadata};

use super::checks::{positive, value};
use super::{Architecture, AttentionConfig, Config, ConfigError, hf};
use crate::processor::{HINT_DIM, STATE_DIM};

/// `model_type` of the driver.
pub const DRIVER_MODEL_TYPE: &str = "ergon_driver";
/// Tokens of an instruction that are read; what follows is cut off.
pub const MAX_INSTRUCTION_TOKENS: usize = 16;
/// Tokens of reasoning before the closing tag.
pub const MAX_REASONING_TOKENS: usize = 24;

/// Far above any picture that a driver can look at in a control interval, far below where products overflow.
const MAX_SIDE: usize = 8192;
const MAX_CAMERAS: usize = 16;
const MAX_PATCHES: usize = 1 << 14;
const MAX_WIDTH: usize = 1 << 14;
const MAX_LAYERS: usize = 256;
const MAX_HORIZON: usize = 1024;
const MAX_FLOW_STEPS: usize = 1000;

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraConfig {
    /// What it is called, e.g. `front`.
    pub name: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows of pixels.
    pub height: usize,
}

/// The vision encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// In the order in which their patches stand.
    pub cameras: Vec<CameraConfig>,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Values of a pixel: red, green and blue, and the luminance of an earlier frame.
    pub num_channels: usize,
    /// Width of the encoder.
    pub hidden_size: usize,
    /// Side in pixels of the cells that a patch is read in first: a convolution as wide as its stride.
    pub stem_cell_size: usize,
    /// Values of a cell after that.
    pub stem_channels: usize,
    /// Width between the two matrices that make a patch of its cells.
    pub stem_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f32,
    /// Patches along a side that become one token.
    pub spatial_merge_size: usize,
    /// Age of the earlier frame.
    pub frame_gap_s: f64,
}

/// The action expert.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionConfig {
    /// Waypoints of a plan.
    pub horizon: usize,
    /// Values of a waypoint: forward and left.
    pub action_dim: usize,
    /// Time from one waypoint to the next.
    pub step_s: f64,
    /// Width of the expert.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f32,
    /// Euler steps from noise to a plan.
    pub num_inference_steps: usize,
    /// For each waypoint, metres forward (beyond going on at the present speed) that count as 1.
    pub scale_x: Vec<f64>,
    /// For each waypoint, metres to the left that count as 1.
    pub scale_y: Vec<f64>,
}

/// The shape of a driver.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverConfig {
    /// The decoder.
    pub text: Config,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// The action expert.
    pub action: ActionConfig,
    /// Numbers that describe the vehicle's state ([`STATE_DIM`]).
    pub state_dim: usize,
    /// Numbers that describe the goal ([`HINT_DIM`]).
    pub hint_dim: usize,
    /// Numbers that the perception head reads off the scene.
    pub perception_dim: usize,
}

impl CameraConfig {
    /// Columns and rows of patches.
    pub fn patch_grid(&self, patch_size: usize) -> (usize, usize) {
        (self.width / patch_size, self.height / patch_size)
    }
}

impl VisionConfig {
    /// Patches of all cameras together.
    pub fn num_patches(&self) -> usize {
        let patches = |camera: &CameraConfig| {
            let (columns, rows) = camera.patch_grid(self.patch_size);
            columns * rows
        };
        self.cameras.iter().map(patches).sum()
    }

    /// Values of a patch.
    pub fn patch_len(&self) -> usize {
        self.patch_size * self.patch_size * self.num_channels
    }

    /// Values of a cell of a patch.
    pub fn cell_len(&self) -> usize {
        self.stem_cell_size * self.stem_cell_size * self.num_channels
    }

    /// Cells of a patch.
    pub fn cells_of_patch(&self) -> usize {
        (self.patch_size / self.stem_cell_size).pow(2)
    }

    /// Values of all cells of a patch after the first product.
    pub fn stem_len(&self) -> usize {
        self.cells_of_patch() * self.stem_channels
    }

    /// Patches that are merged into one token.
    pub fn merged_patches(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Tokens that the pictures become.
    pub fn num_tokens(&self) -> usize {
        self.num_patches() / self.merged_patches()
    }
}

impl DriverConfig {
    /// Whether a checkpoint is a driver.
    pub fn is_driver(checkpoint: &Checkpoint) -> bool {
        checkpoint.kind() == CheckpointKind::HuggingFace
            && checkpoint.metadata().str("model_type") == Ok(Some(DRIVER_MODEL_TYPE))
    }

    /// Reads the configuration of a checkpoint and checks it.
    ///
    /// # Errors
    /// It is no driver, or a key is missing, has the wrong type or an impossible value.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<DriverConfig, ConfigError> {
        DriverConfig::from_metadata(checkpoint.metadata())
    }

    /// The same from the keys of a config.json.
    ///
    /// # Errors
    /// As [`DriverConfig::from_checkpoint`].
    pub fn from_metadata(metadata: &Metadata) -> Result<DriverConfig, ConfigError> {
        let model_type = metadata.str("model_type")?.unwrap_or("unknown");
        if model_type != DRIVER_MODEL_TYPE {
            let (found, supported) = (model_type.to_string(), DRIVER_MODEL_TYPE.to_string());
            return Err(ConfigError::Architecture { found, supported });
        }
        let text = hf::read(&metadata.nested("text_config"))?;
        text.check()?;
        let config = DriverConfig {
            text,
            vision: vision(metadata)?,
            action: action(metadata)?,
            state_dim: required(metadata, "state_dim")?,
            hint_dim: required(metadata, "hint_dim")?,
            perception_dim: required(metadata, "perception_dim")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Rows before the first word: the image tokens, the state and the hint.
    pub fn prefix_rows(&self) -> usize {
        self.vision.num_tokens() + 2
    }

    /// The most rows that a control step can have: prefix, start token, instruction, the two tags, reasoning.
    pub fn max_rows(&self) -> usize {
        self.prefix_rows() + MAX_INSTRUCTION_TOKENS + MAX_REASONING_TOKENS + 3
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.text.architecture != Architecture::DeepseekV3
            || !matches!(self.text.attention, AttentionConfig::Mla(_))
        {
            let what = format!("a driver with a text_config of {}", self.text.architecture.model_type());
            return Err(ConfigError::Unsupported { what });
        }
        self.vision.check()?;
        self.action.check()?;
        exactly("state_dim", self.state_dim, STATE_DIM)?;
        exactly("hint_dim", self.hint_dim, HINT_DIM)?;
        within("perception_dim", self.perception_dim, MAX_WIDTH)?;
        within("text_config.hidden_size", self.text.hidden_size, MAX_WIDTH)?;
        if self.text.max_position_embeddings < self.max_rows() {
            let expected = format!("expected at least the {} rows of a control step", self.max_rows());
            let found = self.text.max_position_embeddings;
            return Err(value("text_config.max_position_embeddings", found, expected));
        }
        Ok(())
    }
}

impl VisionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("vision_config.cameras", self.cameras.len(), MAX_CAMERAS)?;
        within("vision_config.patch_size", self.patch_size, MAX_SIDE)?;
        within("vision_config.spatial_merge_size", self.spatial_merge_size, MAX_SIDE / self.patch_size)?;
        exactly("vision_config.num_channels", self.num_channels, 4)?;
        let group = self.patch_size * self.spatial_merge_size;
        for camera in &self.cameras {
            multiple("vision_config.cameras.width", camera.width, group)?;
            multiple("vision_config.cameras.height", camera.height, group)?;
        }
        within("number of patches of all cameras", self.num_patches(), MAX_PATCHES)?;
        divides("vision_config.stem_cell_size", self.stem_cell_size, "patch_size", self.patch_size)?;
        within("vision_config.stem_channels", self.stem_channels, MAX_WIDTH)?;
        within("values of all cells of a patch", self.stem_len(), MAX_WIDTH)?;
        within("vision_config.stem_size", self.stem_size, MAX_WIDTH)?;
        within("vision_config.num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        within("vision_config.hidden_size", self.hidden_size, MAX_WIDTH)?;
        within("vision_config.intermediate_size", self.intermediate_size, MAX_WIDTH)?;
        divides(
            "vision_config.num_attention_heads",
            self.num_attention_heads,
            "hidden_size",
            self.hidden_size,
        )?;
        positive("vision_config.rms_norm_eps", f64::from(self.rms_norm_eps))?;
        positive("vision_config.frame_gap_s", self.frame_gap_s)
    }
}

impl ActionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("action_config.horizon", self.horizon, MAX_HORIZON)?;
        exactly("action_config.action_dim", self.action_dim, 2)?;
        positive("action_config.step_s", self.step_s)?;
        within("action_config.num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        within("action_config.hidden_size", self.hidden_size, MAX_WIDTH)?;
        multiple("action_config.hidden_size", self.hidden_size, 2)?;
        within("action_config.intermediate_size", self.intermediate_size, MAX_WIDTH)?;
        divides(
            "action_config.num_attention_heads",
            self.num_attention_heads,
            "hidden_size",
            self.hidden_size,
        )?;
        positive("action_config.rms_norm_eps", f64::from(self.rms_norm_eps))?;
        within("action_config.num_inference_steps", self.num_inference_steps, MAX_FLOW_STEPS)?;
        exactly("length of action_config.scale_x", self.scale_x.len(), self.horizon)?;
        exactly("length of action_config.scale_y", self.scale_y.len(), self.horizon)?;
        self.scale_x.iter().try_for_each(|scale| positive("action_config.scale_x", *scale))?;
        self.scale_y.iter().try_for_each(|scale| positive("action_config.scale_y", *scale))
    }
}

fn within(key: &'static str, found: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&found) { Ok(()) } else { Err(value(key, found, format!("expected 1 to {most}"))) }
}

fn exactly(key: &'static str, found: usize, expected: usize) -> Result<(), ConfigError> {
    if found == expected { Ok(()) } else { Err(value(key, found, format!("expected {expected}"))) }
}

/// A picture's side: whole groups of patches, and not absurd.
fn multiple(key: &'static str, found: usize, of: usize) -> Result<(), ConfigError> {
    if (1..=MAX_SIDE.max(MAX_WIDTH)).contains(&found) && found.is_multiple_of(of) {
        Ok(())
    } else {
        Err(value(key, found, format!("expected a multiple of {of}, at most {MAX_SIDE}")))
    }
}

fn divides(key: &'static str, found: usize, whole: &str, of: usize) -> Result<(), ConfigError> {
    if found > 0 && of.is_multiple_of(found) {
        Ok(())
    } else {
        Err(value(key, found, format!("expected a divisor of {whole} {of}")))
    }
}

fn missing(key: impl Into<String>) -> ConfigError {
    ConfigError::Missing { key: key.into() }
}

fn required(metadata: &Metadata, key: &str) -> Result<usize, ConfigError> {
    metadata.usize(key)?.ok_or_else(|| missing(key))
}

fn number(metadata: &Metadata, key: &str) -> Result<f64, ConfigError> {
    metadata.f64(key)?.ok_or_else(|| missing(key))
}

fn vision(metadata: &Metadata) -> Result<VisionConfig, ConfigError> {
    let of = |key: &str| required(metadata, &format!("vision_config.{key}"));
    Ok(VisionConfig {
        cameras: cameras(metadata)?,
        patch_size: of("patch_size")?,
        num_channels: of("num_channels")?,
        hidden_size: of("hidden_size")?,
        stem_cell_size: of("stem_cell_size")?,
        stem_channels: of("stem_channels")?,
        stem_size: of("stem_size")?,
        num_hidden_layers: of("num_hidden_layers")?,
        num_attention_heads: of("num_attention_heads")?,
        intermediate_size: of("intermediate_size")?,
        rms_norm_eps: number(metadata, "vision_config.rms_norm_eps")? as f32,
        spatial_merge_size: of("spatial_merge_size")?,
        frame_gap_s: number(metadata, "vision_config.frame_gap_s")?,
    })
}

/// The list `vision_config.cameras`; it ends at the first index without a width.
fn cameras(metadata: &Metadata) -> Result<Vec<CameraConfig>, ConfigError> {
    let mut cameras = Vec::new();
    // One more than allowed, so that the check sees a list that is too long.
    for index in 0..=MAX_CAMERAS {
        let key = |name: &str| format!("vision_config.cameras.{index}.{name}");
        let Some(width) = metadata.usize(&key("width"))? else { break };
        let name = metadata.str(&key("name"))?.unwrap_or_default().to_string();
        cameras.push(CameraConfig { name, width, height: required(metadata, &key("height"))? });
    }
    if cameras.is_empty() {
        return Err(missing("vision_config.cameras"));
    }
    Ok(cameras)
}

fn action(metadata: &Metadata) -> Result<ActionConfig, ConfigError> {
    let of = |key: &str| required(metadata, &format!("action_config.{key}"));
    let list = |key: &str| -> Result<Vec<f64>, ConfigError> {
        let key = format!("action_config.{key}");
        metadata.list_f64(&key)?.ok_or_else(|| missing(key))
    };
    Ok(ActionConfig {
        horizon: of("horizon")?,
        action_dim: of("action_dim")?,
        step_s: number(metadata, "action_config.step_s")?,
        hidden_size: of("hidden_size")?,
        num_hidden_layers: of("num_hidden_layers")?,
        num_attention_heads: of("num_attention_heads")?,
        intermediate_size: of("intermediate_size")?,
        rms_norm_eps: metadata.f64("action_config.rms_norm_eps")?.unwrap_or(1e-6) as f32,
        num_inference_steps: of("num_inference_steps")?,
        scale_x: list("scale_x")?,
        scale_y: list("scale_y")?,
    })
}
