//! The inner loops of attention over a cache of blocks in integers, for heads that share their keys.
//!
//! ```text
//! for each block of 64 keys
//!     scores[q][key]  = scale * sum over groups of 32: d_q d_key (q . key)   8 bits times 8 bits
//!     weights[q][key] = e^(score - max), as in `attention_tile`
//!     for each group of 32 numbers of the values
//!         w[key]   = round(32767 weights[key] d_key / the largest of them)  16 bits
//!         out[q]  += largest / 32767 * sum over keys of w[key] value[key]   16 bits times 8 bits
//! ```
//!
//! Where sixteen heads use each latent 32 times, attention waits for arithmetic and not for memory, and a product of
//! integers takes a quarter (8 bits) or half (16 bits) of the time of one of singles. What that costs in accuracy is the
//! rounding of the query, as coarse as that of the keys; weights keep 16 bits, since with eight the many small ones of a
//! long context would all but vanish beside one that is large.
//!
//! A weight's step depends on what its own query weighs in the block, a block's place on the position alone: so here, too, a
//! result depends on its query and the keys that it sees, whoever else is computed beside it.

#![allow(clippy::needless_range_loop)] // One index runs over several small arrays at once.

use super::{
    attention_query::{BLOCK, Cache, MAX_QUERIES, Query, finish, hull, many_registers, weigh},
    exp::exp,
    q8_block::Q8Block,
};
use crate::{
    float::bf16_to_f32,
    simd::{Simd, Step, dispatch},
};
use std::ops::Range;

/// Numbers of a block of the cache: a group that shares a scale.
const GROUP: usize = Q8Block::VALUES;
/// Largest weight as an integer. 64 of them times 127 fit in 32 bits.
const LARGEST_WEIGHT: f32 = 32767.0;

/// Scores, then weights, of all queries of a call for a block of keys.
#[repr(align(64))]
struct Scores([[f32; BLOCK]; MAX_QUERIES]);

/// Keys or values of one head for a block of positions.
struct Rows<'a> {
    /// Row `i` begins at `i` strides.
    blocks: &'a [Q8Block],
    /// Blocks from a row to the next.
    stride: usize,
    /// Groups of a row.
    groups: usize,
    /// From the first row to the last that any query sees. Others may lie outside of the cache and are not read.
    seen: Range<usize>,
}

impl<'a> Rows<'a> {
    /// Head `head` from position `first` on, `dim` numbers of each row.
    #[inline(always)]
    fn new(
        cache: &'a [Q8Block],
        stride: usize,
        dim: usize,
        (first, head): (usize, usize),
        seen: Range<usize>,
    ) -> Rows<'a> {
        let (stride, groups) = (stride / GROUP, dim / GROUP);
        Rows { blocks: &cache[first * stride + head * groups..], stride, groups, seen }
    }

    /// Whether it is the first groups of the same rows, as latent values are of the keys.
    #[inline(always)]
    fn is_part_of(&self, other: &Rows<'_>) -> bool {
        std::ptr::eq(self.blocks, other.blocks) && self.stride == other.stride && self.groups <= other.groups
    }

    /// Whether all `n` rows from `first` on are seen.
    #[inline(always)]
    fn sees_all(&self, first: usize, n: usize) -> bool {
        self.seen.start <= first && first + n <= self.seen.end
    }

    /// The numbers of a row in a group.
    #[inline(always)]
    fn numbers(&self, row: usize, group: usize) -> &'a [i8; GROUP] {
        &self.blocks[row * self.stride + group].values
    }

    /// Reads the scales by group and row; 0 where nobody sees a row.
    #[inline(always)]
    fn read_scales(&self, scales: &mut [[f32; BLOCK]]) {
        scales.as_flattened_mut().fill(0.0);
        for row in self.seen.clone() {
            let blocks = &self.blocks[row * self.stride..][..self.groups];
            for (block, scales) in blocks.iter().zip(scales.iter_mut()) {
                scales[row] = bf16_to_f32(block.scale);
            }
        }
    }
}

/// Positions whose part of a result is computed by itself. A result is the sum of its segments' parts in the order of the
/// positions, whether one thread did them all or each another.
pub(super) const SEGMENT: usize = 2048;

/// The segments that have some of these positions.
pub(super) fn segments(positions: &Range<usize>) -> Range<usize> {
    positions.start / SEGMENT..positions.end.div_ceil(SEGMENT)
}

dispatch! {
    /// Computes the results of `queries`, ordered by key head, over the keys they see, segment by segment.
    pub(super) fn attend(cache: &Cache<'_, Q8Block>, queries: &mut [Query<'_>]) = attend_simd;
}

dispatch! {
    /// Computes the part of a segment of the results of `queries`, ordered by key head, to be joined with others.
    pub(super) fn attend_segment(cache: &Cache<'_, Q8Block>, segment: usize, queries: &mut [Query<'_>]) =
        attend_segment_simd;
}

dispatch! {
    /// Joins the parts of a result, in the order of the positions; `query` has none yet.
    pub(super) fn join(query: &mut Query<'_>, parts: &[Query<'_>]) = join_simd;
}

#[inline(always)]
fn attend_simd<S: Simd>(s: S, cache: &Cache<'_, Q8Block>, queries: &mut [Query<'_>]) {
    let seen = hull(queries.iter().map(|query| query.visible.clone()));
    let mut memory = vec![0.0; queries.len() * cache.v_dim];
    for query in queries.iter_mut() {
        query.out.fill(0.0);
    }
    for segment in segments(&seen) {
        let mut parts: [Query<'_>; MAX_QUERIES] = std::array::from_fn(|_| Query::default());
        let parts = &mut parts[..queries.len()];
        for ((part, query), out) in parts.iter_mut().zip(queries.iter()).zip(memory.chunks_mut(cache.v_dim)) {
            *part = query.with_out(out);
        }
        attend_segment_simd(s, cache, segment, parts);
        for (query, part) in queries.iter_mut().zip(parts.iter()) {
            add_part(s, query, part);
        }
    }
    for query in queries {
        finish(s, query);
    }
}

#[inline(always)]
fn join_simd<S: Simd>(s: S, query: &mut Query<'_>, parts: &[Query<'_>]) {
    query.out.fill(0.0);
    for part in parts {
        add_part(s, query, part);
    }
    finish(s, query);
}

/// Adds what a segment gives to what those before gave.
#[inline(always)]
fn add_part<S: Simd>(s: S, query: &mut Query<'_>, part: &Query<'_>) {
    // Of no key.
    if part.sum == 0.0 {
        return;
    }
    let max = part.max.max(query.max);
    let mut factors = [0.0; 16];
    (factors[0], factors[1]) = (query.max - max, part.max - max);
    let of_both = exp(s, s.load(&factors));
    s.store(of_both, &mut factors);
    let (old, new) = (factors[0], factors[1]);
    for (out, part) in query.out.as_chunks_mut::<16>().0.iter_mut().zip(part.out.as_chunks().0) {
        s.store(s.mul_add(s.load(part), s.splat(new), s.mul(s.load(out), s.splat(old))), out);
    }
    query.sum = query.sum * old + part.sum * new;
    query.max = max;
}

#[inline(always)]
fn attend_segment_simd<S: Simd>(s: S, cache: &Cache<'_, Q8Block>, segment: usize, queries: &mut [Query<'_>]) {
    for query in queries.iter_mut() {
        query.out.fill(0.0);
    }
    let seen = hull(queries.iter().map(|query| query.visible.clone()));
    let begin = seen.start.max(segment * SEGMENT);
    let end = seen.end.min((segment + 1) * SEGMENT);
    let mut scales = vec![[0.0; BLOCK]; cache.k_dim.max(cache.v_dim) / GROUP];
    let mut first = begin - begin % BLOCK;
    while first < end {
        for group in queries.chunk_by_mut(|a, b| a.kv_head == b.kv_head) {
            attend_block(s, cache, first, group, &mut scales);
        }
        first += BLOCK;
    }
}

/// The block of keys at position `first` for all queries of one key head. `scales` is memory for those of all groups.
#[inline(always)]
fn attend_block<S: Simd>(
    s: S,
    cache: &Cache<'_, Q8Block>,
    first: usize,
    queries: &mut [Query<'_>],
    scales: &mut [[f32; BLOCK]],
) {
    // What each query sees, and what any does.
    let mut parts = [const { 0..0 }; MAX_QUERIES];
    for (query, part) in queries.iter().zip(&mut parts) {
        *part = query.part_of(first);
    }
    let seen = hull(parts.iter().cloned());
    if seen.is_empty() {
        return;
    }
    let place = (first, queries[0].kv_head);
    let keys = Rows::new(cache.k, cache.k_stride, cache.k_dim, place, seen.clone());
    let values = Rows::new(cache.v, cache.v_stride, cache.v_dim, place, seen);
    let mut scores = Scores([[0.0; BLOCK]; MAX_QUERIES]);
    let scores = &mut scores.0[..queries.len()];
    keys.read_scales(scales);
    score(s, &keys, scales, queries, scores);
    for (n, (query, scores)) in queries.iter_mut().zip(scores.iter_mut()).enumerate() {
        let part = &parts[n];
        for chunk in scores.as_chunks_mut::<16>().0 {
            s.store(s.mul(s.load(chunk), s.splat(cache.scale)), chunk);
        }
        if part.start < part.end {
            weigh(s, query, part, scores);
        } else {
            scores.fill(0.0);
        }
    }
    if !values.is_part_of(&keys) {
        values.read_scales(scales);
    }
    add_values(s, &values, scales, &parts, queries, scores);
}

/// Keys of a piece: they fill a vector.
const PIECE: usize = 16;
/// Keys turned: steps of four numbers, eight for each of two groups, of each piece.
type Panels = [[[Step; 8]; 2]; BLOCK / PIECE];

/// `scores[q][key] += q . K[key]`, two groups of numbers at a time.
#[inline(always)]
fn score<S: Simd>(
    s: S,
    keys: &Rows<'_>,
    scales: &[[f32; BLOCK]],
    queries: &[Query<'_>],
    scores: &mut [[f32; BLOCK]],
) {
    let mut panels: Panels = [[[const { Step([0; 64]) }; 8]; 2]; BLOCK / PIECE];
    for low in (0..keys.groups).step_by(2) {
        let high = (low + 1).min(keys.groups - 1);
        for (piece, panel) in panels.iter_mut().enumerate() {
            turn_keys(s, keys, PIECE * piece, (low, high), panel);
        }
        for group in low..=high {
            let mut at = 0;
            while at < queries.len() {
                let (queries, scores) = (&queries[at..], &mut scores[at..]);
                let panels = (&panels, group - low);
                at += match queries.len() {
                    8.. if many_registers(S::ISA) => {
                        score_queries::<S, 8>(s, group, panels, &scales[group], queries, scores)
                    }
                    4.. => score_queries::<S, 4>(s, group, panels, &scales[group], queries, scores),
                    _ => score_queries::<S, 1>(s, group, panels, &scales[group], queries, scores),
                };
            }
        }
    }
}

/// Two groups of sixteen keys from key `first` on, turned: step `t` of a group has numbers `4 t .. 4 t + 4` of all of them.
/// Keys that nobody sees are zeros.
#[inline(always)]
fn turn_keys<S: Simd>(
    s: S,
    keys: &Rows<'_>,
    first: usize,
    (low, high): (usize, usize),
    panel: &mut [[Step; 8]; 2],
) {
    let mut rows = [s.signed_for_rows(s.splat_i8(0)); PIECE];
    if keys.sees_all(first, PIECE) {
        for i in 0..PIECE {
            rows[i] = key(s, keys, first + i, (low, high));
        }
    } else {
        for i in 0..PIECE {
            if keys.sees_all(first + i, 1) {
                rows[i] = key(s, keys, first + i, (low, high));
            }
        }
    }
    let panel = panel.as_flattened_mut().first_chunk_mut().expect("twice 8 steps");
    s.transpose_16(rows, panel);
}

/// Two groups of a key as [`Simd::rows`] takes them.
#[inline(always)]
fn key<S: Simd>(s: S, keys: &Rows<'_>, row: usize, (low, high): (usize, usize)) -> S::I8 {
    let (low, high) = (keys.numbers(row, low), keys.numbers(row, high));
    // The same of the next block: a key's two groups are short and far from the next key's, which is more than hardware
    // prefetchers follow.
    s.prefetch(low.as_ptr().cast::<Q8Block>().wrapping_add(BLOCK * keys.stride).cast());
    // SAFETY: both are 32 bytes, of which any is valid.
    let (low, high) = unsafe { (&*low.as_ptr().cast(), &*high.as_ptr().cast()) };
    s.signed_for_rows(s.join_32(low, high))
}

/// Adds a group's part to the scores of the first `N` queries. Returns `N`.
#[inline(always)]
fn score_queries<S: Simd, const N: usize>(
    s: S,
    group: usize,
    (panels, half): (&Panels, usize),
    scales: &[f32; BLOCK],
    queries: &[Query<'_>],
    scores: &mut [[f32; BLOCK]],
) -> usize {
    let (eight, rest) = (group / 8, group % 8);
    let mut a: [&[[i8; 4]; 8]; N] = [&[[0; 4]; 8]; N];
    let mut offsets = [0; N];
    let mut query_scales = [0.0; N];
    for n in 0..N {
        let rounded = &queries[n].rounded[eight];
        let numbers = rounded.q.as_flattened().as_chunks::<4>().0;
        a[n] = numbers[8 * rest..].first_chunk().expect("256 numbers are 8 groups");
        offsets[n] = rounded.offsets[rest];
        query_scales[n] = rounded.scales[rest];
    }
    for piece in (0..BLOCK / PIECE).step_by(2) {
        let sums = s.rows::<2, N, 8>(true, [&panels[piece][half], &panels[piece + 1][half]], a, offsets);
        for (sums, piece) in sums.into_iter().zip(piece..) {
            let scale = s.load(&scales.as_chunks().0[piece]);
            for n in 0..N {
                let chunk = &mut scores[n].as_chunks_mut::<16>().0[piece];
                let scale = s.mul(scale, s.splat(query_scales[n]));
                s.store(s.mul_add(s.to_f32(sums[n]), scale, s.load(chunk)), chunk);
            }
        }
    }
    N
}

/// The values of two keys in one group, side by side as [`Simd::pairs`] puts them, for all pairs of keys of a block.
#[repr(align(64))]
struct Pairs([[[i32; 16]; 2]; BLOCK / 2]);

/// `out += weight * value` for the keys each query sees, a group of numbers at a time.
#[inline(always)]
fn add_values<S: Simd>(
    s: S,
    values: &Rows<'_>,
    scales: &[[f32; BLOCK]],
    parts: &[Range<usize>; MAX_QUERIES],
    queries: &mut [Query<'_>],
    weights: &[[f32; BLOCK]],
) {
    let mut pairs = Pairs([[[0; 16]; 2]; BLOCK / 2]);
    let mut rounded = [[[0i16; 16]; BLOCK / 16]; MAX_QUERIES];
    let mut factors = [0.0; MAX_QUERIES];
    for group in 0..values.groups {
        pair_values(s, values, group, &mut pairs);
        let mut part = &parts[0];
        let mut of_part = only(&scales[group], part);
        for n in 0..queries.len() {
            if parts[n] != *part {
                part = &parts[n];
                of_part = only(&scales[group], part);
            }
            factors[n] = round_weights(s, &weights[n], &of_part, &mut rounded[n]);
        }
        let mut at = 0;
        while at < queries.len() {
            let (queries, weights, factors) = (&mut queries[at..], &rounded[at..], &factors[at..]);
            at += match queries.len() {
                8.. if many_registers(S::ISA) => {
                    add_to_queries::<S, 8>(s, group, &pairs, queries, weights, factors)
                }
                2.. => add_to_queries::<S, 2>(s, group, &pairs, queries, weights, factors),
                _ => add_to_queries::<S, 1>(s, group, &pairs, queries, weights, factors),
            };
        }
    }
}

/// The scales of some keys, and 0 for the others, whose values may be no numbers.
#[inline(always)]
fn only(scales: &[f32; BLOCK], part: &Range<usize>) -> [f32; BLOCK] {
    let mut scales = *scales;
    scales[..part.start].fill(0.0);
    scales[part.end..].fill(0.0);
    scales
}

/// Weights times scales as integers, of which the largest is [`LARGEST_WEIGHT`]. Returns what they are to be multiplied by: NaN,
/// which the result then becomes, where a scale is none.
#[inline(always)]
fn round_weights<S: Simd>(
    s: S,
    weights: &[f32; BLOCK],
    scales: &[f32; BLOCK],
    rounded: &mut [[i16; 16]; BLOCK / 16],
) -> f32 {
    let mut products = [s.zero(); BLOCK / 16];
    let mut largest = s.splat_i32(0);
    for (i, product) in products.iter_mut().enumerate() {
        *product = s.mul(s.load(&weights.as_chunks().0[i]), s.load(&scales.as_chunks().0[i]));
        // Among numbers without a sign the order of the bits is the order of the numbers, NaN above all.
        largest = s.max_i32(largest, s.as_i32(s.abs(*product)));
    }
    let largest = f32::from_bits(s.reduce_max_i32(largest) as u32);
    // Too small to divide by counts as 0. In two steps, since 32767 over the smallest would be infinite.
    let inverse = s.splat(if largest >= f32::MIN_POSITIVE { 1.0 / largest } else { 0.0 });
    for (product, rounded) in products.into_iter().zip(rounded) {
        let weights = s.mul(s.mul(product, inverse), s.splat(LARGEST_WEIGHT));
        s.store_i16(s.round_to_i32(weights), rounded);
    }
    largest / LARGEST_WEIGHT
}

/// Puts the values of neighbouring keys in one group side by side. Those that nobody sees are zeros.
#[inline(always)]
fn pair_values<S: Simd>(s: S, values: &Rows<'_>, group: usize, pairs: &mut Pairs) {
    if values.sees_all(0, BLOCK) {
        for (pair, out) in pairs.0.iter_mut().enumerate() {
            let (a, b) = (values.numbers(2 * pair, group), values.numbers(2 * pair + 1, group));
            let [low, high] = s.pairs(a, b);
            s.store_i32(low, &mut out[0]);
            s.store_i32(high, &mut out[1]);
        }
        return;
    }
    for (pair, out) in pairs.0.iter_mut().enumerate() {
        let mut two = [&[0; GROUP]; 2];
        for i in 0..2 {
            if values.sees_all(2 * pair + i, 1) {
                two[i] = values.numbers(2 * pair + i, group);
            }
        }
        let [low, high] = s.pairs(two[0], two[1]);
        s.store_i32(low, &mut out[0]);
        s.store_i32(high, &mut out[1]);
    }
}

/// Adds a group's values to the results of the first `N` queries. Returns `N`.
#[inline(always)]
fn add_to_queries<S: Simd, const N: usize>(
    s: S,
    group: usize,
    pairs: &Pairs,
    queries: &mut [Query<'_>],
    weights: &[[[i16; 16]; BLOCK / 16]],
    factors: &[f32],
) -> usize {
    let mut of_pairs: [&[[i16; 2]; BLOCK / 2]; N] = [&[[0; 2]; BLOCK / 2]; N];
    for n in 0..N {
        of_pairs[n] = weights[n].as_flattened().as_chunks().0.first_chunk().expect("64 weights are 32 pairs");
    }
    let mut sums = [[s.splat_i32(0); 2]; N];
    for (pair, values) in pairs.0.iter().enumerate() {
        let values = [s.load_i32(&values[0]), s.load_i32(&values[1])];
        for n in 0..N {
            let [low, high] = of_pairs[n][pair];
            let weights = s.splat_i32(i32::from(low) & 0xffff | i32::from(high) << 16);
            for half in 0..2 {
                sums[n][half] = s.dot_pairs(sums[n][half], values[half], weights);
            }
        }
    }
    for n in 0..N {
        let factor = s.splat(factors[n]);
        let sums = s.in_order([s.to_f32(sums[n][0]), s.to_f32(sums[n][1])]);
        let out = queries[n].out[group * GROUP..].as_chunks_mut::<16>().0;
        for (sum, out) in sums.into_iter().zip(out) {
            s.store(s.mul_add(factor, sum, s.load(out)), out);
        }
    }
    N
}
