//! The three losses and their gradients.

/// How much each loss counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossWeights {
    /// Cross entropy of the reasoning.
    pub text: f32,
    /// Squared error of the velocity of the waypoints.
    pub action: f32,
    /// Smooth absolute error of the perceived scalars (but see [`LossWeights::lights`]).
    pub perception: f32,
    /// How much what a light shows ([`ergon_world::task::LIGHTS`]) counts among them, by its squared error; `None`: as all others.
    /// These numbers are mostly 0, and the absolute error of what is rare is least for one who always says 0.
    pub lights: Option<f32>,
}

impl Default for LossWeights {
    fn default() -> LossWeights {
        LossWeights { text: 0.3, action: 1.0, perception: 0.5, lights: None }
    }
}

/// Losses of one or more samples, each a sum of shares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Cross entropy of the reasoning, in nats.
    pub text: f64,
    /// Mean squared error of the velocity.
    pub action: f64,
    /// Mean smooth absolute error, with what [`LossWeights::lights`] makes of those of lights.
    pub perception: f64,
}

impl Losses {
    /// The weighted sum.
    pub fn total(&self, weights: LossWeights) -> f64 {
        f64::from(weights.text) * self.text
            + f64::from(weights.action) * self.action
            + f64::from(weights.perception) * self.perception
    }

    pub(crate) fn add(&mut self, other: Losses) {
        self.text += other.text;
        self.action += other.action;
        self.perception += other.perception;
    }
}

/// `d^2 / 2` for `|d| < 1`, else `|d| - 1/2`, and its slope.
pub(crate) fn smooth_absolute(d: f32) -> (f32, f32) {
    if d.abs() < 1.0 { (0.5 * d * d, d) } else { (d.abs() - 0.5, d.signum()) }
}
