//! The fitted model: features of a source to the probability that it supports a claim.

use super::weights;

/// A tree of two levels: the first question, one for each answer to it, four leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tree {
    /// Features asked: first, then below the threshold of the first, then not below.
    pub features: [u8; 3],
    /// Their thresholds.
    pub thresholds: [f32; 3],
    /// What is added: below and below, below and not, not and below, not and not.
    pub leaves: [f32; 4],
}

impl Tree {
    /// What the tree adds for these features.
    pub fn value(&self, features: &[f32]) -> f32 {
        let not_below = |question: usize| {
            let value = features.get(usize::from(self.features[question])).copied().unwrap_or(0.0);
            usize::from(value >= self.thresholds[question])
        };
        let first = not_below(0);
        self.leaves[2 * first + not_below(1 + first)]
    }
}

/// Sum of trees, then a logistic curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Model<'a> {
    /// Sum for no tree.
    pub base: f32,
    /// The trees.
    pub trees: &'a [Tree],
    /// Slope and offset of the curve that makes the sum a probability.
    pub calibration: [f32; 2],
}

impl Model<'_> {
    /// The sum.
    pub fn margin(&self, features: &[f32]) -> f32 {
        self.base + self.trees.iter().map(|tree| tree.value(features)).sum::<f32>()
    }

    /// The probability, from 0 to 1.
    pub fn probability(&self, features: &[f32]) -> f32 {
        let [slope, offset] = self.calibration;
        1.0 / (1.0 + (-(slope * self.margin(features) + offset)).exp())
    }
}

/// The model that is shipped.
pub const SHIPPED: Model<'static> =
    Model { base: weights::BASE, trees: weights::TREES, calibration: weights::CALIBRATION };
