//! The sizes of the network, as the trainer needs them.

/// One camera's share of the patches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraSizes {
    /// Patches in a row.
    pub columns: usize,
    /// Rows of patches.
    pub rows: usize,
}

/// The vision encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisionSizes {
    /// In the order of the patches.
    pub cameras: Vec<CameraSizes>,
    /// Values of a patch: rows times columns times channels.
    pub patch_values: usize,
    /// Values of a cell of a patch.
    pub cell_values: usize,
    /// Values of a cell after the first product.
    pub cell_channels: usize,
    /// Width between the two products of the stem.
    pub stem: usize,
    /// Width of the encoder.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads; their width is `hidden / heads`.
    pub heads: usize,
    /// Width inside the MLPs.
    pub intermediate: usize,
    /// Patches merged along each side.
    pub merge: usize,
}

impl VisionSizes {
    /// Patches of all cameras.
    pub fn patches(&self) -> usize {
        self.cameras.iter().map(|camera| camera.columns * camera.rows).sum()
    }

    /// Cells of a patch.
    pub fn cells(&self) -> usize {
        self.patch_values / self.cell_values
    }

    /// Image tokens of all cameras.
    pub fn tokens(&self) -> usize {
        self.patches() / (self.merge * self.merge)
    }
}

/// The language decoder, a DeepSeek-V3.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSizes {
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Width of the latent of keys and values.
    pub kv_lora_rank: usize,
    /// Part of a head's key that carries no position.
    pub nope: usize,
    /// Part of a head's key that is rotated.
    pub rope: usize,
    /// Width of a head's values.
    pub v_head: usize,
    /// Width inside the dense MLPs.
    pub intermediate: usize,
    /// Layers with a dense MLP, before those with experts.
    pub dense_layers: usize,
    /// Routed experts.
    pub experts: usize,
    /// Routed experts a token visits.
    pub experts_per_token: usize,
    /// Experts every token visits, as one MLP of that many times the width.
    pub shared_experts: usize,
    /// Width inside an expert.
    pub moe_intermediate: usize,
    /// Factor on the routed experts' sum.
    pub routed_scaling: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
}

/// The action expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSizes {
    /// Waypoints.
    pub horizon: usize,
    /// Values of a waypoint.
    pub action_dim: usize,
    /// Width of the expert.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads; their width is `hidden / heads`.
    pub heads: usize,
    /// Width inside the MLPs.
    pub intermediate: usize,
    /// Euler steps at inference.
    pub inference_steps: usize,
}

/// Ids of the tokens that frame the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Stands before the instruction.
    pub bos: u32,
    /// Stands before the reasoning.
    pub think: u32,
    /// Stands after the reasoning.
    pub end_think: u32,
}

/// The whole network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The vision encoder.
    pub vision: VisionSizes,
    /// The language decoder.
    pub decoder: DecoderSizes,
    /// The action expert.
    pub action: ActionSizes,
    /// Values of the vehicle's own state.
    pub state_dim: usize,
    /// So many at the end of them are there while learning only; the exported network has no place for them.
    pub state_learning_only: usize,
    /// Values of the goal hint.
    pub hint_dim: usize,
    /// Scalars that the perception head predicts.
    pub perception_dim: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Framing tokens.
    pub special: SpecialTokens,
}

/// A network that cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("driver network: {field} is {value}, but {rule}")]
pub struct ConfigError {
    /// The size.
    pub field: &'static str,
    /// What it is.
    pub value: usize,
    /// What it must be.
    pub rule: &'static str,
}

impl NetworkConfig {
    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// The first size that does not fit, and why.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (v, d, a) = (&self.vision, &self.decoder, &self.action);
        let whole = |n: usize, of: usize| n > 0 && of > 0 && of.is_multiple_of(n);
        let vocab = self.special.bos.max(self.special.think).max(self.special.end_think) as usize;
        let rules = [
            (
                "cell values",
                v.cell_values,
                whole(v.cell_values, v.patch_values),
                "must divide those of a patch",
            ),
            ("vision heads", v.heads, whole(v.heads, v.hidden), "must divide the hidden size"),
            ("action heads", a.heads, whole(a.heads, a.hidden), "must divide the hidden size"),
            (
                "state values",
                self.state_dim,
                self.state_learning_only < self.state_dim,
                "must be more than those for learning only",
            ),
            ("hint values", self.hint_dim, self.hint_dim > 0, "must not be none"),
            ("action hidden size", a.hidden, a.hidden.is_multiple_of(2), "must be even"),
            ("rotary width", d.rope, d.rope.is_multiple_of(2), "must be even"),
            ("experts per token", d.experts_per_token, d.experts_per_token <= d.experts, "are too many"),
            ("largest special token", vocab, vocab < d.vocab, "must be in the vocabulary"),
            (
                "spatial merge",
                v.merge,
                v.cameras.iter().all(|c| whole(v.merge, c.columns) && whole(v.merge, c.rows)),
                "must divide rows and columns of patches of every camera",
            ),
        ];
        for (field, value, holds, rule) in rules {
            if !holds {
                return Err(ConfigError { field, value, rule });
            }
        }
        Ok(())
    }
}
