//! Which answers to show when documents answer a question differently, and short answers read out of documents.
//!
//! Documents may differ because the question means several things, because they are copies of one another of which one was
//! changed, or because one is wrong. A vote drops the first, showing everything shows the last two. [`decide`] weighs groups of
//! copies, changed copies, and what else speaks for an answer.

mod extract;
mod measures;
mod weights;
mod wording;

pub use extract::{Answer, extract};
pub use measures::{Candidate, FEATURES, candidates, normal};

use crate::verify::model::Model;

/// What one document answers.
#[derive(Clone, Copy, Debug)]
pub struct DocumentAnswer<'a> {
    /// The document's text.
    pub text: &'a str,
    /// Its answer, where it gives one.
    pub answer: Option<&'a str>,
}

/// Probability of being right from which an answer is shown. A little under one half: the data the model was fitted on has
/// fewer answers that are right beside each other than questions with several meanings do.
pub const SHOWN_FROM: f32 = 0.45;

/// The answers of some documents, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Answers to show, in the order of their first documents, each with its probability of being right.
    pub shown: Vec<(Candidate, f32)>,
    /// Answers to leave out.
    pub dropped: Vec<(Candidate, f32)>,
}

/// The model that is shipped.
pub const SHIPPED: Model<'static> =
    Model { base: weights::BASE, trees: weights::TREES, calibration: weights::CALIBRATION };

/// Decides which of the documents' answers to show: those that are rather right than wrong, or the best where none is.
pub fn decide(question: &str, documents: &[DocumentAnswer<'_>]) -> Decision {
    let candidates = candidates(question, documents);
    let probabilities: Vec<f32> =
        candidates.iter().map(|candidate| SHIPPED.probability(&candidate.features)).collect();
    let best = probabilities.iter().copied().fold(0.0, f32::max);
    let mut decision = Decision::default();
    for (candidate, probability) in candidates.into_iter().zip(probabilities) {
        let side =
            if probability >= SHOWN_FROM.min(best) { &mut decision.shown } else { &mut decision.dropped };
        side.push((candidate, probability));
    }
    decision
}
