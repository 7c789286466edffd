//! The whole network: forward, losses, gradients, and waypoints by integrating the velocity.

use super::action::{ActionExpert, ActionTape, Groups};
use super::batch::Batch;
use super::config::{ConfigError, NetworkConfig};
use super::context::{MatrixPlace, Scratch, Weights, sized, zeroed};
use super::decoder::{Decoder, DecoderTape};
use super::layers::{
    linear::{Builder, Input, Linear},
    mla::{Positions, Rotary},
    mlp::{Activation, TwoLayers, TwoLayersTape},
};
use super::loss::{LossWeights, Losses, smooth_absolute};
use super::params::{Layout, TensorKind};
use super::vision::{Vision, VisionTape};
use ergon_kernels::{gemm::Write, ops};
use ergon_world::task::LIGHTS;

/// Longest sequence of the decoder.
const MAX_POSITIONS: usize = 256;

/// The layers and where their parameters lie.
pub struct Network {
    config: NetworkConfig,
    layout: Layout,
    pub(crate) matrices: Vec<MatrixPlace>,
    vision: Vision,
    state: TwoLayers,
    hint: TwoLayers,
    /// Offset of `[vocab, hidden]`.
    embedding: usize,
    pub(crate) decoder: Decoder,
    lm_head: Linear,
    perception: Linear,
    action: ActionExpert,
    rotary: Rotary,
}

/// Everything a pass over one micro-batch needs; reused from one to the next.
#[derive(Default)]
pub struct Workspace {
    vision: VisionTape,
    state: TwoLayersTape,
    hint: TwoLayersTape,
    decoder: DecoderTape,
    heads: HeadsTape,
    action: ActionTape,
    scratch: Scratch,
    /// Image tokens, `[samples, tokens, hidden]`.
    image: Vec<f32>,
    stream: Vec<f32>,
    /// The decoder's normalised output, `[rows, hidden]`.
    pub(crate) hidden: Vec<f32>,
    small: Vec<f32>,
    /// Tokens per layer with experts and expert, since the last update.
    pub(crate) loads: Vec<Vec<u64>>,
}

#[derive(Default)]
struct HeadsTape {
    text: RowsTape,
    perception: RowsTape,
    noisy: Vec<f32>,
    /// The velocity, then its gradient.
    velocity: Vec<f32>,
    d_hidden: Vec<f32>,
    d_rows: Vec<f32>,
}

/// A head that reads some rows of the decoder's output.
#[derive(Default)]
struct RowsTape {
    input: Input,
    rows: Vec<usize>,
    /// The outputs, then their gradient.
    out: Vec<f32>,
}

impl Network {
    /// Lays out a network.
    ///
    /// # Errors
    /// Sizes that do not fit each other.
    pub fn new(config: &NetworkConfig) -> Result<Network, ConfigError> {
        config.check()?;
        let mut builder = Builder::new();
        let b = &mut builder;
        let hidden = config.decoder.hidden;
        let vision = Vision::new(b, config);
        let mut small = |name: &str, inputs| {
            let names = [&*format!("{name}.in"), &*format!("{name}.out")];
            TwoLayers::new(b, names, [inputs, hidden, hidden], Activation::Silu)
        };
        let (state, hint) = (small("state_proj", config.state_dim), small("hint_proj", config.hint_dim));
        builder.layout.set_learning_only("state_proj.in.weight", config.state_learning_only);
        let embedding = builder.layout.add(
            "language_model.model.embed_tokens.weight".to_string(),
            &[config.decoder.vocab, hidden],
            TensorKind::Table,
            0.5,
        );
        let decoder = Decoder::new(&mut builder, config);
        let lm_head = builder.linear("language_model.lm_head", config.decoder.vocab, hidden, 0.3);
        let perception = builder.linear_with_bias("perception_head", config.perception_dim, hidden, 0.3);
        let action = ActionExpert::new(&mut builder, config);
        let rotary = Rotary::new(config.decoder.rope, config.decoder.rope_theta, MAX_POSITIONS);
        let Builder { layout, matrices } = builder;
        let config = config.clone();
        Ok(Network {
            config,
            layout,
            matrices,
            vision,
            state,
            hint,
            embedding,
            decoder,
            lm_head,
            perception,
            action,
            rotary,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The parameters' names and places.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A workspace with counters for this network's experts.
    pub fn workspace(&self) -> Workspace {
        let loads = self.decoder.experts().map(|experts| vec![0; experts.len()]).collect();
        Workspace { loads, ..Workspace::default() }
    }

    /// Pictures to image tokens, in `work.image`.
    fn see(&self, weights: &Weights, batch: &Batch, work: &mut Workspace) {
        let n = batch.len() * self.config.vision.tokens().max(1) * self.config.decoder.hidden;
        let image = sized(&mut work.image, n);
        self.vision.forward(weights, &batch.pixels, &mut work.vision, &mut work.scratch, image);
    }

    /// Image tokens, state, hint and text to the decoder's normalised output, in `work.hidden`.
    fn read(&self, weights: &Weights, batch: &Batch, work: &mut Workspace) {
        let hidden = self.config.decoder.hidden;
        let tokens = self.config.vision.tokens();
        let Workspace { state, hint, decoder, scratch, image, stream, hidden: out, small, .. } = work;
        let rows = batch.rows();
        let stream = sized(stream, rows * hidden);
        for (span, tokens) in batch.spans.iter().zip(image.chunks_exact(tokens * hidden)) {
            stream[span.start * hidden..][..tokens.len()].copy_from_slice(tokens);
        }
        let small = sized(small, batch.len() * hidden);
        let parts = [
            (&self.state, state, &batch.states, self.config.state_dim, tokens),
            (&self.hint, hint, &batch.hints, self.config.hint_dim, tokens + 1),
        ];
        for (layer, tape, values, width, place) in parts {
            tape.first.x.set(weights, values, width);
            layer.forward(weights, tape, scratch, small);
            for (span, token) in batch.spans.iter().zip(small.chunks_exact(hidden)) {
                stream[(span.start + place) * hidden..][..hidden].copy_from_slice(token);
            }
        }
        let table = weights.vector(self.embedding, self.config.decoder.vocab * hidden);
        for &(row, token) in &batch.tokens {
            let embedded = &table[token as usize * hidden..][..hidden];
            stream[row * hidden..][..hidden].copy_from_slice(embedded);
        }
        let positions = Positions { spans: &batch.spans, rotary: &self.rotary };
        let out = sized(out, rows * hidden);
        self.decoder.forward(weights, &positions, decoder, scratch, (stream, out));
    }

    /// The losses of a micro-batch; adds to `gradients` `[layout.len()]`, and to the loads of the experts. Where samples are
    /// to read their own words, they are in the batch afterwards.
    pub fn losses_and_gradients(
        &self,
        weights: &Weights,
        factors: LossWeights,
        batch: &mut Batch,
        work: &mut Workspace,
        gradients: &mut [f32],
    ) -> Losses {
        let losses = self.losses(weights, factors, batch, work);
        let mut heads = std::mem::take(&mut work.heads);
        let mut d_hidden = std::mem::take(&mut heads.d_hidden);
        let d = zeroed(&mut d_hidden, batch.rows() * self.config.decoder.hidden);
        let scratch = &mut work.scratch;
        self.rows_backward(weights, (&self.lm_head, &heads.text), gradients, (scratch, &mut heads.d_rows), d);
        let perception = (&self.perception, &heads.perception);
        self.rows_backward(weights, perception, gradients, (scratch, &mut heads.d_rows), d);
        let groups = Groups { spans: &batch.spans, per_span: batch.groups() };
        if groups.len() > 0 {
            let d_velocity = &heads.velocity[..groups.len() * self.per_group()];
            self.action.backward(weights, groups, &mut work.action, d_velocity, gradients, (scratch, d));
        }
        self.decode_backward(weights, batch, work, gradients, d);
        let Workspace { decoder, loads, .. } = work;
        self.decoder.add_loads(decoder, loads);
        heads.d_hidden = d_hidden;
        work.heads = heads;
        losses
    }

    /// The losses of a micro-batch alone. The gradients of the heads' outputs, times `factors`, stay in the workspace.
    pub fn losses(
        &self,
        weights: &Weights,
        factors: LossWeights,
        batch: &mut Batch,
        work: &mut Workspace,
    ) -> Losses {
        self.see(weights, batch, work);
        if batch.own_words.contains(&true) {
            self.read(weights, batch, work);
            let said = self.likeliest(weights, batch, work);
            batch.say(&said, self.config.special.end_think);
        }
        self.read(weights, batch, work);
        Losses {
            text: self.text_loss(weights, factors.text, batch, work),
            action: self.action_loss(weights, factors.action, batch, work),
            perception: self.perception_loss(weights, factors, batch, work),
        }
    }

    /// Values of one plan.
    fn per_group(&self) -> usize {
        self.config.action.horizon * self.config.action.action_dim
    }

    /// Through a head that reads some rows of the decoder's output.
    fn rows_backward(
        &self,
        weights: &Weights,
        (head, tape): (&Linear, &RowsTape),
        gradients: &mut [f32],
        (scratch, d_rows): (&mut Scratch, &mut Vec<f32>),
        d_hidden: &mut [f32],
    ) {
        let hidden = self.config.decoder.hidden;
        let d_rows = sized(d_rows, tape.rows.len() * hidden);
        let d_out = &tape.out[..tape.rows.len() * head.outputs()];
        let set = Some((&mut *d_rows, Write::Set));
        head.backward(weights, &tape.input, d_out, gradients, scratch, set);
        ops::scatter_add_rows(weights.arithmetic.isa(), d_rows, hidden, &tape.rows, d_hidden);
    }

    /// From the gradient of the decoder's output to all that is before it.
    fn decode_backward(
        &self,
        weights: &Weights,
        batch: &Batch,
        work: &mut Workspace,
        gradients: &mut [f32],
        d_hidden: &[f32],
    ) {
        let hidden = self.config.decoder.hidden;
        let tokens = self.config.vision.tokens();
        let Workspace { vision, state, hint, decoder, scratch, stream, small, .. } = work;
        let d_stream = zeroed(stream, batch.rows() * hidden);
        let positions = Positions { spans: &batch.spans, rotary: &self.rotary };
        self.decoder.backward(weights, &positions, decoder, gradients, scratch, (d_hidden, d_stream));
        for &(row, token) in &batch.tokens {
            let own = &mut gradients[self.embedding + token as usize * hidden..][..hidden];
            own.iter_mut().zip(&d_stream[row * hidden..][..hidden]).for_each(|(sum, d)| *sum += d);
        }
        for (layer, tape, place) in [(&self.state, state, tokens), (&self.hint, hint, tokens + 1)] {
            let small = sized(small, batch.len() * hidden);
            for (span, d) in batch.spans.iter().zip(small.chunks_exact_mut(hidden)) {
                d.copy_from_slice(&d_stream[(span.start + place) * hidden..][..hidden]);
            }
            layer.backward(weights, tape, small, gradients, scratch, None);
        }
        let d_tokens = sized(small, batch.len() * tokens * hidden);
        for (span, d) in batch.spans.iter().zip(d_tokens.chunks_exact_mut(tokens * hidden)) {
            d.copy_from_slice(&d_stream[span.start * hidden..][..d.len()]);
        }
        self.vision.backward(weights, vision, d_tokens, gradients, scratch);
    }

    /// Logits of the rows that predict a token, `[targets, vocab]`, in `work.heads.text.out`.
    fn text_logits(&self, weights: &Weights, batch: &Batch, work: &mut Workspace) {
        let (hidden, vocab) = (self.config.decoder.hidden, self.config.decoder.vocab);
        let RowsTape { input, rows, out } = &mut work.heads.text;
        rows.clear();
        rows.extend(batch.targets.iter().map(|(row, ..)| *row));
        input.gather(weights, &work.hidden[..batch.rows() * hidden], hidden, rows);
        self.lm_head.forward(weights, input, sized(out, rows.len() * vocab), Write::Set);
    }

    /// The token that each row which predicts one holds for likeliest.
    fn likeliest(&self, weights: &Weights, batch: &Batch, work: &mut Workspace) -> Vec<u32> {
        self.text_logits(weights, batch, work);
        let vocab = self.config.decoder.vocab;
        let logits = work.heads.text.out[..batch.targets.len() * vocab].chunks_exact(vocab);
        let best = |logits: &[f32]| {
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            best.map_or(0, |(token, _)| token as u32)
        };
        logits.map(best).collect()
    }

    fn text_loss(&self, weights: &Weights, factor: f32, batch: &Batch, work: &mut Workspace) -> f64 {
        self.text_logits(weights, batch, work);
        let vocab = self.config.decoder.vocab;
        let logits = &mut work.heads.text.out[..batch.targets.len() * vocab];
        let rows = batch.targets.iter().zip(logits.chunks_exact_mut(vocab));
        let losses = rows.map(|((_, token, share), logits)| {
            let target = [Some(*token as usize)];
            let found = ops::cross_entropy(weights.arithmetic.isa(), logits, vocab, &target, share * factor);
            f64::from(*share) * found.loss_sum
        });
        losses.sum()
    }

    fn perception_loss(
        &self,
        weights: &Weights,
        factors: LossWeights,
        batch: &Batch,
        work: &mut Workspace,
    ) -> f64 {
        let (hidden, width) = (self.config.decoder.hidden, self.config.perception_dim);
        let RowsTape { input, rows, out } = &mut work.heads.perception;
        rows.clear();
        rows.extend(batch.spans.iter().map(|span| span.start + self.config.vision.tokens() + 1));
        input.gather(weights, &work.hidden[..batch.rows() * hidden], hidden, rows);
        let scalars = sized(out, rows.len() * width);
        self.perception.forward(weights, input, scalars, Write::Set);
        let mut loss = 0.0;
        let samples = scalars.chunks_exact_mut(width).zip(batch.perception.chunks_exact(width));
        for ((scalars, targets), share) in samples.zip(&batch.perception_shares) {
            for (index, (scalar, target)) in scalars.iter_mut().zip(targets).enumerate() {
                if target.is_nan() {
                    *scalar = 0.0;
                    continue;
                }
                let d = *scalar - target;
                let (value, slope) = match factors.lights {
                    Some(lights) if LIGHTS.contains(&index) => (lights * 0.5 * d * d, lights * d),
                    _ => smooth_absolute(d),
                };
                loss += f64::from(value * share);
                *scalar = slope * share * factors.perception;
            }
        }
        loss
    }

    fn action_loss(&self, weights: &Weights, factor: f32, batch: &Batch, work: &mut Workspace) -> f64 {
        let hidden = self.config.decoder.hidden;
        let (horizon, dim) = (self.config.action.horizon, self.config.action.action_dim);
        let per_group = self.per_group();
        let groups = Groups { spans: &batch.spans, per_span: batch.groups() };
        if groups.len() == 0 {
            return 0.0;
        }
        let Workspace { action, scratch, hidden: context, heads, .. } = work;
        let HeadsTape { noisy, velocity, .. } = heads;
        let noisy = sized(noisy, groups.len() * per_group);
        let velocity = sized(velocity, groups.len() * per_group);
        for (index, &t) in batch.times.iter().enumerate() {
            let noise = &batch.noise[index * per_group..][..per_group];
            let right = &batch.waypoints[index / batch.groups() * per_group..][..per_group];
            let noisy = &mut noisy[index * per_group..][..per_group];
            for ((noisy, noise), right) in noisy.iter_mut().zip(noise).zip(right) {
                *noisy = t * noise + (1.0 - t) * right;
            }
        }
        self.action.set_context(weights, &context[..batch.rows() * hidden], hidden, action);
        self.action.forward(weights, (noisy, &batch.times), groups, action, scratch, velocity);
        let mut loss = 0.0;
        for (index, velocity) in velocity.chunks_exact_mut(per_group).enumerate() {
            let sample = index / batch.groups();
            let noise = &batch.noise[index * per_group..][..per_group];
            let right = &batch.waypoints[sample * per_group..][..per_group];
            let shares = &batch.waypoint_shares[sample * horizon..][..horizon];
            for (i, velocity) in velocity.iter_mut().enumerate() {
                let error = *velocity - (noise[i] - right[i]);
                let share = shares[i / dim];
                loss += f64::from(share * error * error);
                *velocity = 2.0 * share * error * factor;
            }
        }
        loss
    }

    /// Waypoints for the samples of a batch, `[samples, horizon, action_dim]`: noise of the seed, integrated in the
    /// configured number of Euler steps. All samples start from the same noise if `same_noise`. The runtime does this for
    /// use; here it is what the runtime is compared with.
    #[cfg(test)]
    pub(crate) fn predict(
        &self,
        weights: &Weights,
        batch: &Batch,
        work: &mut Workspace,
        (seed, same_noise): (u64, bool),
    ) -> Vec<f32> {
        self.see(weights, batch, work);
        self.read(weights, batch, work);
        let hidden = self.config.decoder.hidden;
        let per_group = self.per_group();
        let steps = self.config.action.inference_steps;
        let Workspace { action, scratch, hidden: context, heads, .. } = work;
        self.action.set_context(weights, &context[..batch.rows() * hidden], hidden, action);
        let groups = Groups { spans: &batch.spans, per_span: 1 };
        let mut x = Vec::with_capacity(batch.len() * per_group);
        for sample in 0..batch.len() {
            let mut rng = ergon_world::Rng::new(seed).split(if same_noise { 0 } else { sample as u64 });
            x.extend((0..per_group).map(|_| rng.normal() as f32));
        }
        let velocity = sized(&mut heads.velocity, x.len());
        let mut times = vec![0.0; batch.len()];
        for step in 0..steps {
            times.fill(1.0 - step as f32 / steps as f32);
            self.action.forward(weights, (&x, &times), groups, action, scratch, velocity);
            x.iter_mut().zip(&*velocity).for_each(|(x, v)| *x -= v / steps as f32);
        }
        x
    }
}
