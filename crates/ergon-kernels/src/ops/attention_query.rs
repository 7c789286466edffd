//! What the inner loops of attention work on: a cache, and queries on their way through it.

use super::exp::exp;
use crate::{activations::Act32, isa::Isa, simd::Simd};
use std::ops::Range;

/// Keys per block. Blocks begin at multiples of it.
pub(super) const BLOCK: usize = 64;
/// Queries per call of the inner loops.
pub(super) const MAX_QUERIES: usize = 32;

/// The keys and values of one sequence: number `i` of head `h` at position `p` is at `p * stride + h * dim +
/// i`.
pub(super) struct Cache<'a, E> {
    pub(super) k: &'a [E],
    pub(super) v: &'a [E],
    pub(super) k_stride: usize,
    pub(super) v_stride: usize,
    pub(super) k_dim: usize,
    pub(super) v_dim: usize,
    pub(super) scale: f32,
}

/// One query on its way through the keys. `out` holds the sum of `weight * value` so far, `sum` that of the
/// weights, both relative to e^`max`.
#[derive(Default)]
pub(super) struct Query<'a> {
    pub(super) q: &'a [f32],
    /// The same rounded to eight bits, where that is what is multiplied.
    pub(super) rounded: &'a [Act32],
    pub(super) out: &'a mut [f32],
    pub(super) kv_head: usize,
    pub(super) visible: Range<usize>,
    pub(super) max: f32,
    pub(super) sum: f32,
}

impl<'a> Query<'a> {
    pub(super) fn new(
        q: &'a [f32],
        rounded: &'a [Act32],
        out: &'a mut [f32],
        kv_head: usize,
        visible: Range<usize>,
    ) -> Query<'a> {
        Query { q, rounded, out, kv_head, visible, max: f32::NEG_INFINITY, sum: 0.0 }
    }

    /// What a query has of some keys: a sum of values with the maximum and the sum of weights that it is relative to.
    pub(super) fn part(out: &'a mut [f32], (max, sum): (f32, f32)) -> Query<'a> {
        Query { out, max, sum, ..Query::default() }
    }

    /// The same query with nothing seen yet, and another place for its result.
    #[inline(always)]
    pub(super) fn with_out<'b>(&self, out: &'b mut [f32]) -> Query<'b>
    where
        'a: 'b,
    {
        Query::new(self.q, self.rounded, out, self.kv_head, self.visible.clone())
    }

    /// The keys it sees of the block at position `first`, relative to that.
    #[inline(always)]
    pub(super) fn part_of(&self, first: usize) -> Range<usize> {
        let end = self.visible.end.clamp(first, first + BLOCK) - first;
        (self.visible.start.max(first) - first).min(end)..end
    }
}

/// From the first to the last position of any of these ranges; empty if all are.
pub(super) fn hull(ranges: impl Iterator<Item = Range<usize>>) -> Range<usize> {
    let some = ranges.filter(|range| !range.is_empty());
    some.reduce(|hull, range| hull.start.min(range.start)..hull.end.max(range.end)).unwrap_or(0..0)
}

/// Whether sixteen accumulators and their operands fit in registers; elsewhere tiles have fewer queries.
pub(super) const fn many_registers(isa: Isa) -> bool {
    isa.has_avx512()
}

/// Scores to weights e^(score - max); rescales what the query has so far if the maximum grew. Keys outside of `part`, of which
/// the query sees some, weigh 0.
#[inline(always)]
pub(super) fn weigh<S: Simd>(s: S, query: &mut Query<'_>, part: &Range<usize>, scores: &mut [f32; BLOCK]) {
    // Another query's keys may lie outside.
    scores[..part.start].fill(f32::NEG_INFINITY);
    scores[part.end..].fill(f32::NEG_INFINITY);
    let (chunks, _) = scores.as_chunks_mut::<16>();
    let mut max = s.load(&chunks[0]);
    for chunk in &chunks[1..] {
        max = s.max(s.load(chunk), max);
    }
    let max = s.reduce_max(max);
    if max > query.max {
        let mut factor = [0.0; 16];
        s.store(exp(s, s.splat(query.max - max)), &mut factor);
        // The first block finds zeros, which need no factor.
        if query.max > f32::NEG_INFINITY {
            scale_in_place(s, factor[0], query.out);
        }
        query.sum *= factor[0];
        query.max = max;
    }
    let max = s.splat(query.max);
    let mut sums = [s.zero(); 4];
    for (sum, chunk) in sums.iter_mut().zip(chunks) {
        *sum = exp(s, s.sub(s.load(chunk), max));
        s.store(*sum, chunk);
    }
    query.sum += s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])));
}

/// Makes a result of what a query has of all its keys.
#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, query: &mut Query<'_>) {
    if !query.visible.is_empty() {
        scale_in_place(s, 1.0 / query.sum, query.out);
    }
}

#[inline(always)]
fn scale_in_place<S: Simd>(s: S, factor: f32, x: &mut [f32]) {
    let factor = s.splat(factor);
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for chunk in chunks {
        s.store(s.mul(s.load(chunk), factor), chunk);
    }
    s.store_partial(s.mul(s.load_partial(tail), factor), tail);
}
