//! Samples and micro-batches.

use super::config::NetworkConfig;
use ergon_world::Rng;
use std::ops::Range;

/// One moment of driving: what was seen and told, and what was right to say and do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// `[patches, patch_values]`, in the order of the patches.
    pub pixels: Vec<u8>,
    /// `[state_dim]`
    pub state: Vec<f32>,
    /// `[hint_dim]`
    pub hint: Vec<f32>,
    /// Token ids of the instruction, without the framing ones.
    pub instruction: Vec<u32>,
    /// Token ids of the reasoning, without the framing ones.
    pub reasoning: Vec<u32>,
    /// Normalised waypoints, `[horizon, action_dim]`; anything where they are not valid.
    pub waypoints: Vec<f32>,
    /// Which waypoints are known, `[horizon]`.
    pub valid: Vec<bool>,
    /// `[perception_dim]`, NaN where unknown.
    pub perception: Vec<f32>,
    /// Factor on the sample's loss.
    pub weight: f32,
    /// What kind of sample it is, for the caller.
    pub kind: u8,
}

/// Small random changes of what is seen, and of what has been said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Largest shift, as a part of the range from black to white.
    pub brightness: f32,
    /// Largest relative change.
    pub contrast: f32,
    /// Standard deviation of the noise on each value, as a part of the range from black to white.
    pub noise: f32,
    /// Part of the samples whose reasoning is read as the network itself would say it, token by token after the right
    /// ones, while the right ones stay what it is to say (scheduled sampling; Bengio and others 2015, arXiv 1506.03099).
    /// Otherwise plans would come to trust words that are always true in training and often wrong on the road.
    pub own_words: f32,
}

impl Augmentation {
    /// No change.
    pub const NONE: Augmentation =
        Augmentation { brightness: 0.0, contrast: 0.0, noise: 0.0, own_words: 0.0 };
}

impl Default for Augmentation {
    fn default() -> Augmentation {
        Augmentation { brightness: 0.08, contrast: 0.1, noise: 0.01, own_words: 0.6 }
    }
}

/// Samples side by side, without padding.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// `[samples, patches, patch_values]`, from -1 to 1.
    pub(crate) pixels: Vec<f32>,
    pub(crate) states: Vec<f32>,
    pub(crate) hints: Vec<f32>,
    /// Rows of each sample in the decoder's stream.
    pub(crate) spans: Vec<Range<usize>>,
    /// Text tokens: row in the stream and id.
    pub(crate) tokens: Vec<(usize, u32)>,
    /// Rows that predict a token: row, the token, and its share of the loss.
    pub(crate) targets: Vec<(usize, u32, f32)>,
    /// Samples that will read their own words.
    pub(crate) own_words: Vec<bool>,
    /// `[samples, horizon, action_dim]`
    pub(crate) waypoints: Vec<f32>,
    /// Share of each waypoint in the loss, `[samples, horizon]`.
    pub(crate) waypoint_shares: Vec<f32>,
    /// `[samples, perception_dim]`, NaN where unknown.
    pub(crate) perception: Vec<f32>,
    /// Share of each known target in the loss, per sample.
    pub(crate) perception_shares: Vec<f32>,
    /// `[samples * groups]`
    pub(crate) times: Vec<f32>,
    /// `[samples * groups, horizon, action_dim]`
    pub(crate) noise: Vec<f32>,
    groups: usize,
    rows: usize,
}

impl Batch {
    /// Forgets the samples; `groups` noisy copies of the waypoints will be drawn for each new one.
    pub fn clear(&mut self, groups: usize) {
        let Batch { pixels, states, hints, spans, tokens, targets, .. } = self;
        pixels.clear();
        states.clear();
        hints.clear();
        spans.clear();
        tokens.clear();
        targets.clear();
        self.own_words.clear();
        self.waypoints.clear();
        self.waypoint_shares.clear();
        self.perception.clear();
        self.perception_shares.clear();
        self.times.clear();
        self.noise.clear();
        (self.groups, self.rows) = (groups, 0);
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Rows of the decoder's stream.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Noisy copies of each sample's waypoints.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Adds a sample whose loss counts `share` (its weight over the number of samples of the update), with randomness
    /// of its own.
    ///
    /// # Panics
    /// When the sample does not fit the network; [`check`] tells.
    pub fn push(
        &mut self,
        config: &NetworkConfig,
        sample: &Sample,
        augmentation: Augmentation,
        rng: &Rng,
        share: f32,
    ) {
        assert!(check(config, sample).is_ok(), "a sample of other sizes");
        self.push_pixels(sample, augmentation, &mut rng.split(0));
        self.states.extend_from_slice(&sample.state);
        self.hints.extend_from_slice(&sample.hint);
        self.push_text(config, sample, share);
        self.waypoints.extend(
            sample
                .waypoints
                .iter()
                .zip(
                    sample
                        .valid
                        .iter()
                        .flat_map(|valid| std::iter::repeat_n(*valid, config.action.action_dim)),
                )
                .map(|(value, valid)| if valid { *value } else { 0.0 }),
        );
        let known = sample.valid.iter().filter(|valid| **valid).count() * config.action.action_dim;
        let each = share / (known * self.groups).max(1) as f32;
        self.waypoint_shares.extend(sample.valid.iter().map(|valid| if *valid { each } else { 0.0 }));
        let known = sample.perception.iter().filter(|target| !target.is_nan()).count();
        self.perception.extend_from_slice(&sample.perception);
        self.perception_shares.push(share / known.max(1) as f32);
        self.push_noise(sample.waypoints.len(), &mut rng.split(1));
        self.own_words.push(rng.split(2).chance(f64::from(augmentation.own_words)));
    }

    /// Puts other tokens in the place of the right ones: `said` is what follows each target's row. The closing tag stays
    /// where it is.
    pub(crate) fn say(&mut self, said: &[u32], end_think: u32) {
        for ((row, ..), said) in self.targets.iter().zip(said) {
            let sample = self.spans.partition_point(|span| span.end <= *row);
            if !self.own_words[sample] || row + 2 >= self.spans[sample].end || *said == end_think {
                continue;
            }
            let place = self.tokens.partition_point(|(at, _)| at <= row);
            self.tokens[place].1 = *said;
        }
    }

    fn push_pixels(&mut self, sample: &Sample, augmentation: Augmentation, rng: &mut Rng) {
        let Augmentation { brightness, contrast, noise, .. } = augmentation;
        // From 0 to 255 to -1 to 1.
        let shift = 2.0 * brightness * rng.range(-1.0, 1.0) as f32;
        let factor = 1.0 + contrast * rng.range(-1.0, 1.0) as f32;
        let (scale, offset) = (factor / 127.5, shift - factor);
        let first = self.pixels.len();
        self.pixels.extend(sample.pixels.iter().map(|pixel| f32::from(*pixel) * scale + offset));
        if noise > 0.0 {
            // Eight values from one draw: each byte uniform, of the wanted deviation.
            let unit = 2.0 * noise * 12f32.sqrt() / 256.0;
            for values in self.pixels[first..].chunks_mut(8) {
                let bytes = rng.next_u64().to_le_bytes();
                for (value, byte) in values.iter_mut().zip(bytes) {
                    *value += (f32::from(byte) - 127.5) * unit;
                }
            }
        }
    }

    fn push_text(&mut self, config: &NetworkConfig, sample: &Sample, share: f32) {
        let special = config.special;
        let start = self.rows;
        let mut row = start + config.vision.tokens() + 2;
        let text = std::iter::once(special.bos)
            .chain(sample.instruction.iter().copied())
            .chain([special.think])
            .chain(sample.reasoning.iter().copied())
            .chain([special.end_think]);
        for token in text {
            self.tokens.push((row, token));
            row += 1;
        }
        let n_targets = sample.reasoning.len() + 1;
        let each = share / n_targets as f32;
        let right = sample.reasoning.iter().copied().chain([special.end_think]);
        let first = row - 1 - n_targets;
        self.targets.extend(right.enumerate().map(|(i, token)| (first + i, token, each)));
        self.spans.push(start..row);
        self.rows = row;
    }

    /// Times as in pi0 and SmolVLA, Beta(1.5, 1) scaled to [0.001, 1], one from each of `groups` equally likely strata.
    fn push_noise(&mut self, values: usize, rng: &mut Rng) {
        for group in 0..self.groups {
            let u = (group as f64 + rng.unit()) / self.groups as f64;
            self.times.push((u.powf(1.0 / 1.5) * 0.999 + 0.001) as f32);
            self.noise.extend((0..values).map(|_| rng.normal() as f32));
        }
    }
}

/// A sample that does not fit the network.
#[derive(Debug, thiserror::Error)]
#[error("a sample's {field} has {found} values, the network takes {expected}")]
pub struct SampleError {
    /// The part.
    pub field: &'static str,
    /// Its length, or the token that is not in the vocabulary.
    pub found: usize,
    /// What the network takes.
    pub expected: usize,
}

/// Checks that a sample fits the network.
///
/// # Errors
/// The first part that does not fit.
pub fn check(config: &NetworkConfig, sample: &Sample) -> Result<(), SampleError> {
    let waypoints = config.action.horizon * config.action.action_dim;
    let lengths = [
        ("pixels", sample.pixels.len(), config.vision.patches() * config.vision.patch_values),
        ("state", sample.state.len(), config.state_dim),
        ("hint", sample.hint.len(), config.hint_dim),
        ("waypoints", sample.waypoints.len(), waypoints),
        ("validity", sample.valid.len(), config.action.horizon),
        ("perception", sample.perception.len(), config.perception_dim),
    ];
    for (field, found, expected) in lengths {
        if found != expected {
            return Err(SampleError { field, found, expected });
        }
    }
    let tokens = sample.instruction.iter().chain(&sample.reasoning);
    match tokens.map(|token| *token as usize).find(|token| *token >= config.decoder.vocab) {
        Some(found) => Err(SampleError { field: "token", found, expected: config.decoder.vocab }),
        None => Ok(()),
    }
}
