//! Routed experts that are not all in memory: where a layer gets the ones it needs.
//!
//! The forward pass asks for the experts that a step visits at a layer and computes with them in the order in which they
//! become readable; the result does not depend on that order. Who keeps which expert in memory, and who reads the others,
//! is the store's business: nothing here opens a file.

use std::ops::Range;
use std::sync::Arc;

use ergon_checkpoint::{Extent, PageBuffer};

/// A matrix of a routed expert, in the order in which they are stored and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertPart {
    /// `[moe_intermediate_size, hidden_size]`
    Gate,
    /// `[moe_intermediate_size, hidden_size]`
    Up,
    /// `[hidden_size, moe_intermediate_size]`
    Down,
}

/// The bytes of one expert's matrices, in memory.
#[derive(Debug)]
pub struct ExpertBytes {
    buffer: PageBuffer,
    parts: [Range<usize>; 3],
}

impl ExpertBytes {
    /// The parts of `buffer` that hold gate, up and down.
    ///
    /// # Panics
    /// If a range does not lie inside the buffer.
    pub fn new(buffer: PageBuffer, parts: [Range<usize>; 3]) -> ExpertBytes {
        assert!(parts.iter().all(|part| part.start <= part.end && part.end <= buffer.len()));
        ExpertBytes { buffer, parts }
    }

    /// The stored bytes of one matrix.
    pub fn part(&self, part: ExpertPart) -> &[u8] {
        &self.buffer[self.parts[part as usize].clone()]
    }

    /// The buffer, to be filled with another expert.
    pub fn into_buffer(self) -> PageBuffer {
        self.buffer
    }
}

/// An expert that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertFailure {
    /// Its number in the layer.
    pub expert: usize,
    /// File, tensor and reason.
    pub reason: String,
}

/// An expert that a layer still to come will probably visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessedExpert {
    /// Its number in the layer.
    pub expert: usize,
    /// Its place in the router's order, 0 being the most probable: guesses of one rank are right about equally often.
    pub rank: usize,
}

/// What a layer still to come will probably visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The layer.
    pub layer: usize,
    /// Its experts, each once, the most probable first.
    pub experts: Vec<GuessedExpert>,
}

/// Keeps some routed experts in memory and reads the others when a layer asks for them.
pub trait ExpertStore: Send + Sync {
    /// Begins the visit of a layer (multi-token-prediction layers count on after the decoder's) to `experts`, in rising
    /// order, and starts reads of what is not in memory; what `guess` names may be read after it.
    fn visit<'a>(
        &'a self,
        layer: usize,
        experts: &[usize],
        guess: Option<Guess>,
    ) -> Box<dyn ExpertVisit + 'a>;

    /// Whether a guess about a layer's visits is of use.
    fn wants_guess(&self, layer: usize) -> bool;
}

/// Experts of one layer as they become readable.
pub trait ExpertVisit {
    /// Experts that can be computed with now, in rising order, each given once; waits until there is at least one. Empty
    /// when all have been given. What was given before must have been dropped, or there may be no memory to read into.
    ///
    /// # Errors
    /// One of them cannot be read. The visit is over then.
    fn ready(&mut self) -> Result<Vec<(usize, Arc<ExpertBytes>)>, ExpertFailure>;
}

/// Where a routed expert is stored.
#[derive(Clone, Debug)]
pub struct ExpertPlace {
    /// Its layer; multi-token-prediction layers count on after the decoder's.
    pub layer: usize,
    /// Its number in the layer.
    pub expert: usize,
    /// Gate, up and down.
    pub parts: [PartPlace; 3],
}

/// Where one matrix of a routed expert is stored.
#[derive(Clone, Debug)]
pub struct PartPlace {
    /// The tensor that it is, or is a part of.
    pub tensor: Arc<str>,
    /// Its bytes in the file.
    pub extent: Extent,
    /// CRC-32 of these bytes, if the file names one.
    pub checksum: Option<u32>,
}
