//! Which experts are in memory, and which of them must go.
//!
//! A buffer for a miss is taken from the expert with the smallest *score*: visits so far, each counting half as much every
//! [`HALF_LIFE_STEPS`] steps. The half-life spans the policies in use: at 0 it is least-recently-used, without end it is a
//! hot set that stays; `docs/memory.md` has what was measured between.
//!
//! A visit is *wide* when a layer wants most of its experts, as for a long piece of a prompt. Then every layer will, again and
//! again, and what is needed last goes first: experts of the layer just computed, then of those before it. So each step
//! finds as many experts as there is room for (least-recently-used would find none), and the next layer is read while this
//! one computes. In other visits what the next layer is guessed to visit is read ahead, as far as guesses have been right
//! (`guesses.rs`), and after everything that is known to be needed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ergon_checkpoint::PageBuffer;
use ergon_model::{ExpertBytes, ExpertPlace, Guess};
use ergon_types::ByteSize;

use super::ExpertStats;
use super::guesses::Guesses;
use super::reader::Read;

/// Steps in which a visit comes to count half.
const HALF_LIFE_STEPS: f64 = 16.0;

/// What there is of an expert.
#[derive(Default)]
enum State {
    #[default]
    Absent,
    /// A reader has its buffer, or will have it.
    Reading,
    Present(Arc<ExpertBytes>),
    Failed(String),
}

struct Entry {
    layer: usize,
    state: State,
    /// Binary logarithm of the visits, each weighing twice as much as one [`HALF_LIFE_STEPS`] earlier: this orders experts as
    /// the halving of old visits would, and needs no update as time goes on.
    score: f64,
    /// The step of the last visit.
    step: u64,
    visits: u64,
    /// Read for the next layer, and not visited since.
    ahead: bool,
    /// The step in which it was last guessed to be visited.
    guessed: u64,
    /// Checksum of what was read first.
    checksum: Option<u32>,
}

/// What a buffer is wanted for.
#[derive(Clone, Copy)]
enum Purpose {
    /// An expert that a layer waits for, as few do.
    Decode,
    /// An expert that a layer waits for which visits most of its experts.
    Prefill,
    /// An expert of the layer after that one, in the place of one just computed with.
    Ahead,
    /// An expert that the next layer may wait for.
    Guess,
}

/// What a visit gets of an expert.
pub(super) enum Fill {
    Present(Arc<ExpertBytes>),
    Coming,
    Failed(String),
}

/// Every expert, and the buffers.
pub(super) struct Cache {
    entries: Vec<Entry>,
    /// Index of each layer's experts; empty for layers without.
    layers: Vec<Range<usize>>,
    /// Experts in memory.
    present: Vec<usize>,
    free: Vec<PageBuffer>,
    /// All that exist: free, being read into, or in use.
    pub(super) buffers: usize,
    buffer_bytes: usize,
    capacity: usize,
    /// What layers wait for, and what they may wait for, which is read when there is nothing else.
    queue: VecDeque<(usize, PageBuffer)>,
    ahead: VecDeque<(usize, PageBuffer)>,
    guesses: Guesses,
    /// Passes over the layers so far, and the layer where this one is.
    step: u64,
    layer: usize,
    pub(super) stats: ExpertStats,
}

impl Cache {
    /// `places` are sorted by layer, and each layer's experts by number, none left out.
    pub(super) fn new(places: &[ExpertPlace], buffer_bytes: usize) -> Cache {
        let mut layers = vec![0..0; places.last().map_or(0, |place| place.layer + 1)];
        for (index, place) in places.iter().enumerate() {
            let layer = &mut layers[place.layer];
            let start = if layer.start == layer.end { index } else { layer.start };
            *layer = start..index + 1;
            assert_eq!(index - start, place.expert, "experts of a layer come in order");
        }
        Cache {
            entries: places.iter().map(|place| Entry::absent(place.layer)).collect(),
            guesses: Guesses::of_layers(layers.len()),
            layers,
            present: Vec::new(),
            free: Vec::new(),
            buffers: 0,
            buffer_bytes,
            capacity: 0,
            queue: VecDeque::new(),
            ahead: VecDeque::new(),
            step: 0,
            layer: 0,
            stats: ExpertStats::default(),
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn set_capacity(&mut self, experts: usize) {
        self.capacity = experts.clamp(1, self.entries.len().max(1));
        while self.buffers > self.capacity
            && let Some((index, _)) = self.ahead.pop_back().or_else(|| self.queue.pop_back())
        {
            self.give_up(index);
            self.buffers -= 1;
        }
        self.trim();
    }

    /// Gives memory back that there is no room for; what is being read or computed with comes when it is done.
    fn trim(&mut self) {
        while self.buffers > self.capacity
            && self.free.pop().or_else(|| self.evict(Purpose::Decode)).is_some()
        {
            self.buffers -= 1;
        }
    }

    /// Counts the visit and tells whether it is wide. `experts` are rising.
    pub(super) fn begin_visit(&mut self, layer: usize, experts: &[usize]) -> bool {
        if layer <= self.layer {
            self.step += 1;
        }
        self.layer = layer;
        self.stats.visits += experts.len() as u64;
        let first = self.layers[layer].start;
        for &expert in experts {
            // A read that nobody waited for has failed some time ago: once more.
            let state = &mut self.entries[first + expert].state;
            if matches!(state, State::Failed(_)) {
                *state = State::Absent;
            }
        }
        let present = |expert: &&usize| matches!(self.entries[first + **expert].state, State::Present(_));
        self.stats.hits += experts.iter().filter(present).count() as u64;
        self.guesses.judge(layer, experts);
        self.settle_ahead(layer, experts);
        2 * experts.len() > self.layers[layer].len()
    }

    /// What was to be read ahead for a layer that is visited now: the right guesses go before all others, the wrong ones
    /// are given up.
    fn settle_ahead(&mut self, layer: usize, experts: &[usize]) {
        let own = self.layers[layer].clone();
        for (index, buffer) in std::mem::take(&mut self.ahead) {
            if !own.contains(&index) {
                self.ahead.push_back((index, buffer));
            } else if experts.binary_search(&(index - own.start)).is_ok() {
                self.queue.push_back((index, buffer));
            } else {
                self.give_up(index);
                self.free.push(buffer);
            }
        }
    }

    /// An expert that was queued is not read after all.
    fn give_up(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.state = State::Absent;
        self.stats.ahead -= u64::from(std::mem::take(&mut entry.ahead));
    }

    /// What there is of an expert that a visit waits for. Once it is given, the visit counts; a failure is told once.
    pub(super) fn take(&mut self, layer: usize, expert: usize) -> Fill {
        let step = self.step;
        let entry = &mut self.entries[self.layers[layer].start + expert];
        match &entry.state {
            State::Present(bytes) => {
                let bytes = Arc::clone(bytes);
                entry.score = log2_of_sum(entry.score, step as f64 / HALF_LIFE_STEPS);
                self.stats.repeated += u64::from(entry.visits > 0 && entry.step + 1 == step);
                entry.visits += 1;
                entry.step = step;
                entry.ahead = false;
                Fill::Present(bytes)
            }
            State::Absent | State::Reading => Fill::Coming,
            State::Failed(_) => match std::mem::take(&mut entry.state) {
                State::Failed(reason) => Fill::Failed(reason),
                _ => Fill::Coming,
            },
        }
    }

    /// Puts what is absent of `experts` into the queue, as far as buffers can be had, and then, if the visit is wide, the
    /// next layer, else what is guessed of it. Whether there is anything new to be read.
    pub(super) fn request(
        &mut self,
        layer: usize,
        experts: &[usize],
        wide: bool,
        guess: &mut Option<Guess>,
    ) -> bool {
        self.trim();
        let waiting = |cache: &Cache| cache.queue.len() + cache.ahead.len();
        let before = waiting(self);
        let first = self.layers[layer].start;
        for &expert in experts {
            let index = first + expert;
            if matches!(self.entries[index].state, State::Absent) {
                let purpose = if wide { Purpose::Prefill } else { Purpose::Decode };
                let Some(buffer) = self.buffer(purpose) else {
                    if self.buffers == 0 {
                        let bytes = ByteSize(self.buffer_bytes as u64);
                        let reason =
                            format!("the system has no {bytes} of memory for an expert; lower the budget");
                        self.entries[index].state = State::Failed(reason);
                    }
                    return waiting(self) > before;
                };
                self.entries[index].state = State::Reading;
                self.queue.push_back((index, buffer));
            }
        }
        match guess.take() {
            _ if wide => self.request_ahead(layer),
            Some(guess) => self.request_guessed(&guess),
            None => {}
        }
        waiting(self) > before
    }

    /// Whether a guess about a layer could lead to a read.
    pub(super) fn wants_guess(&self, layer: usize) -> bool {
        let absent = |index: usize| matches!(self.entries[index].state, State::Absent);
        self.layers.get(layer).is_some_and(|experts| experts.clone().any(absent))
    }

    /// Queues what is worth reading of a guess, and protects what it names.
    fn request_guessed(&mut self, guess: &Guess) {
        let first = self.layers[guess.layer].start;
        for guessed in &guess.experts {
            self.entries[first + guessed.expert].guessed = self.step;
        }
        let absent = |expert: usize| matches!(self.entries[first + expert].state, State::Absent);
        let absent: Vec<_> = guess.experts.iter().filter(|guessed| absent(guessed.expert)).copied().collect();
        for guessed in &absent {
            if self.guesses.worth_reading(guess.layer, guessed.rank) {
                let Some(buffer) = self.buffer(Purpose::Guess) else { break };
                self.enqueue_ahead(first + guessed.expert, buffer);
            }
        }
        self.guesses.note(guess.layer, absent);
    }

    /// Queues the experts of the next layer that has some.
    fn request_ahead(&mut self, layer: usize) {
        let Some(next) = self.layers[layer + 1..].iter().find(|experts| !experts.is_empty()).cloned() else {
            return;
        };
        for index in next {
            if !matches!(self.entries[index].state, State::Absent) {
                continue;
            }
            let Some(buffer) = self.buffer(Purpose::Ahead) else { return };
            self.enqueue_ahead(index, buffer);
        }
    }

    fn enqueue_ahead(&mut self, index: usize, buffer: PageBuffer) {
        let entry = &mut self.entries[index];
        (entry.state, entry.ahead) = (State::Reading, true);
        self.stats.ahead += 1;
        self.ahead.push_back((index, buffer));
    }

    /// A buffer for an expert that is to be read.
    fn buffer(&mut self, purpose: Purpose) -> Option<PageBuffer> {
        self.spare_buffer().or_else(|| self.evict(purpose))
    }

    /// A free buffer, or a new one while there is room.
    fn spare_buffer(&mut self) -> Option<PageBuffer> {
        if self.free.is_empty() && self.buffers < self.capacity {
            // Without memory, the budget was larger than the machine: go on with what there is.
            self.free.extend(PageBuffer::new(self.buffer_bytes).ok());
            self.buffers += self.free.len();
        }
        self.free.pop()
    }

    /// The buffer of the expert that is worth least among those that nobody computes with.
    fn evict(&mut self, purpose: Purpose) -> Option<PageBuffer> {
        let mut least: Option<(usize, f64)> = None;
        for (at, &index) in self.present.iter().enumerate() {
            let entry = &self.entries[index];
            let State::Present(bytes) = &entry.state else { continue };
            if Arc::strong_count(bytes) > 1 {
                continue;
            }
            let guessed = entry.guessed == self.step && entry.layer > self.layer;
            let score = match purpose {
                Purpose::Guess if guessed => continue,
                // Only if there is nothing else.
                Purpose::Decode if guessed => f64::MAX,
                Purpose::Decode | Purpose::Guess => entry.score,
                Purpose::Prefill => -(self.layers_until(entry) as f64),
                // Anything else will be needed sooner than it could be read again.
                Purpose::Ahead if self.layers_until(entry) < self.layers.len() => continue,
                Purpose::Ahead => 0.0,
            };
            if least.is_none_or(|(_, smallest)| score < smallest) {
                least = Some((at, score));
            }
        }
        let (at, _) = least?;
        let index = self.present.swap_remove(at);
        let entry = &mut self.entries[index];
        self.stats.ahead_unused += u64::from(std::mem::take(&mut entry.ahead));
        match std::mem::take(&mut entry.state) {
            State::Present(bytes) => Arc::into_inner(bytes).map(ExpertBytes::into_buffer),
            _ => None,
        }
    }

    /// Layers that come before an expert's is visited again, if all are visited in turn.
    fn layers_until(&self, entry: &Entry) -> usize {
        let cycle = self.layers.len();
        let visited = entry.step == self.step && entry.visits > 0;
        // What the layer at hand does not visit now, it visits in the next pass at the soonest.
        let own = entry.layer == self.layer;
        if visited || own {
            cycle + entry.layer - self.layer
        } else {
            (cycle + entry.layer - self.layer) % cycle
        }
    }

    /// The share of all visits that went to the most visited tenth of each layer's experts, a tenth being at least one.
    pub(super) fn top_tenth_share(&self) -> f64 {
        let (mut top, mut all) = (0, 0);
        for layer in &self.layers {
            let mut visits: Vec<u64> = self.entries[layer.clone()].iter().map(|entry| entry.visits).collect();
            visits.sort_unstable_by(|a, b| b.cmp(a));
            top += visits.iter().take(visits.len().div_ceil(10)).sum::<u64>();
            all += visits.iter().sum::<u64>();
        }
        top as f64 / (all as f64).max(1.0)
    }

    /// Whether all that was asked for has been read.
    #[cfg(test)]
    pub(super) fn nothing_to_read(&self) -> bool {
        self.entries.iter().all(|entry| !matches!(entry.state, State::Reading))
    }

    /// What a reader is to read next, and where to.
    pub(super) fn next_job(&mut self) -> Option<(usize, PageBuffer)> {
        self.queue.pop_front().or_else(|| self.ahead.pop_front())
    }

    /// Takes in what a reader has brought for an expert; `changed` words the error for bytes that differ from an earlier
    /// read's.
    pub(super) fn finish(&mut self, index: usize, read: Read, changed: impl FnOnce() -> String) {
        let entry = &mut self.entries[index];
        let buffer = match read {
            Read::Failed { reason, buffer } => {
                // If it was read ahead, whoever visits it tries again.
                let ahead = std::mem::take(&mut entry.ahead);
                entry.state = if ahead { State::Absent } else { State::Failed(reason) };
                buffer
            }
            Read::Done { bytes, checksum, disk_bytes, page_cache_bytes } => {
                self.stats.disk_bytes += disk_bytes;
                self.stats.page_cache_bytes += page_cache_bytes;
                if *entry.checksum.get_or_insert(checksum) == checksum {
                    entry.state = State::Present(Arc::new(bytes));
                    self.present.push(index);
                    self.trim();
                    return;
                }
                entry.state = State::Failed(changed());
                entry.ahead = false;
                bytes.into_buffer()
            }
        };
        self.free.push(buffer);
        self.trim();
    }
}

impl Entry {
    fn absent(layer: usize) -> Entry {
        Entry {
            layer,
            state: State::Absent,
            score: f64::NEG_INFINITY,
            step: 0,
            visits: 0,
            ahead: false,
            guessed: u64::MAX,
            checksum: None,
        }
    }
}

/// `log2(2^a + 2^b)`, whichever is larger.
fn log2_of_sum(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    large + (small - large).exp2().ln_1p() / std::f64::consts::LN_2
}
