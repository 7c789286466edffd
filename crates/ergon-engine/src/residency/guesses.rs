//! How often guesses about the next layer's visits are right, and so which of them are worth a read.
//!
//! Only experts that are not in memory matter: those that are there are mostly the popular ones, which are easy to guess. So
//! the share of right guesses is kept over absent experts, as a mean that forgets, and it is kept whether or not they were
//! read: what gets better begins to be read again. Guesses of a rank are about equally good, and those about some layers are
//! better than those about others; since a layer makes few of them, it begins with what is known of the rank.

use ergon_model::GuessedExpert;

/// Weight of the newest guess in the mean of its rank over all layers, and in that of its layer and rank.
const RANK_RATE: f32 = 1.0 / 32.0;
const LAYER_RATE: f32 = 1.0 / 16.0;

/// Guesses of which fewer are right are not read: a wrong read costs the disk as much as a right one saves.
const WORTH_READING: f32 = 0.5;

/// What is known of guesses.
#[derive(Default)]
pub(super) struct Guesses {
    /// Share of right ones by rank, over all layers.
    by_rank: Vec<f32>,
    layers: Vec<LayerGuesses>,
}

#[derive(Clone, Default)]
struct LayerGuesses {
    /// Share of right ones by rank; `None` before the first.
    by_rank: Vec<Option<f32>>,
    /// Those of the guess at hand that were not in memory.
    absent: Vec<GuessedExpert>,
}

impl Guesses {
    pub(super) fn of_layers(layers: usize) -> Guesses {
        Guesses { by_rank: Vec::new(), layers: vec![LayerGuesses::default(); layers] }
    }

    /// Takes a guess down: those of its experts that are not in memory.
    pub(super) fn note(&mut self, layer: usize, absent: Vec<GuessedExpert>) {
        let ranks = absent.iter().map(|guessed| guessed.rank + 1).max().unwrap_or(0);
        let of_layer = &mut self.layers[layer];
        self.by_rank.resize(self.by_rank.len().max(ranks), 0.0);
        of_layer.by_rank.resize(of_layer.by_rank.len().max(ranks), None);
        of_layer.absent = absent;
    }

    /// Holds the guess at hand against what the layer visits; `experts` are rising.
    pub(super) fn judge(&mut self, layer: usize, experts: &[usize]) {
        let LayerGuesses { by_rank, absent } = &mut self.layers[layer];
        for guessed in absent.drain(..) {
            let hit = f32::from(u8::from(experts.binary_search(&guessed.expert).is_ok()));
            let over_all = &mut self.by_rank[guessed.rank];
            let own = by_rank[guessed.rank].get_or_insert(*over_all);
            *own += LAYER_RATE * (hit - *own);
            *over_all += RANK_RATE * (hit - *over_all);
        }
    }

    /// Whether enough guesses of this rank about the layer were right.
    pub(super) fn worth_reading(&self, layer: usize, rank: usize) -> bool {
        let own = self.layers[layer].by_rank.get(rank).copied().flatten();
        own.or(self.by_rank.get(rank).copied()).is_some_and(|right| right >= WORTH_READING)
    }
}
