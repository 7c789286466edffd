//! The inner loops of attention: a few queries against a block of keys, in registers.
//!
//! Numbers of any format become singles as they are read, and so do blocks of integers where few heads share a key: it takes
//! part as what its block reads as (`attention_blocks` is for where many do).
//!
//! Per query the order of operations is fixed: a score adds its products in one accumulator of sixteen lanes,
//! chunk by chunk, then the lanes in the tree of `reduce_add`; an element of the result adds `weight * value`
//! key by key. Tiles of `H` queries by `K` keys (or `C` chunks of a value) interleave such sequences and
//! never mix them.

#![allow(clippy::needless_range_loop)] // One index runs over several small arrays at once.

use super::{
    attention_query::{BLOCK, Cache, Query, finish, hull, many_registers, weigh},
    q8_block::Q8Block,
};
use crate::{
    float::bf16_to_f32,
    simd::{Simd, dispatch},
};
use std::ops::Range;

/// Queries that go through a block together; their scores live on the stack. With AVX-512 eight need half as many
/// conversions of keys and values for a product as four do (latent attention, 16 heads, depth 16384: 13 % faster).
const TILE: usize = 8;

/// What a cache consists of: numbers, or blocks of them.
pub(super) trait Element: Copy + Sync + 'static {
    /// Numbers in one of them. Strides, lengths and places are in numbers, and multiples of this.
    const VALUES: usize;
    /// Chunks of sixteen numbers.
    type Chunks<'a>: Copy;
    /// `n` chunks from number `at` on, a multiple of sixteen.
    fn chunks(x: &[Self], at: usize, n: usize) -> Self::Chunks<'_>;
    /// One of them as singles.
    fn load<S: Simd>(s: S, chunks: Self::Chunks<'_>, i: usize) -> S::F32;
    /// Fewer than sixteen numbers; the other lanes are zero.
    fn load_tail<S: Simd>(s: S, x: &[Self]) -> S::F32;
}

/// Formats of one number per element.
macro_rules! numbers {
    ($number:ty, $load:ident) => {
        impl Element for $number {
            const VALUES: usize = 1;
            type Chunks<'a> = &'a [[$number; 16]];
            #[inline(always)]
            fn chunks(x: &[$number], at: usize, n: usize) -> &[[$number; 16]] {
                // Chunks of equal number let the compiler drop the bounds checks of loops over them.
                &x[at..][..16 * n].as_chunks().0[..n]
            }
            #[inline(always)]
            fn load<S: Simd>(s: S, chunks: &[[$number; 16]], i: usize) -> S::F32 {
                s.$load(&chunks[i])
            }
            #[inline(always)]
            fn load_tail<S: Simd>(s: S, x: &[$number]) -> S::F32 {
                let mut lanes = [<$number>::default(); 16];
                lanes[..x.len()].copy_from_slice(x);
                s.$load(&lanes)
            }
        }
    };
}
numbers!(f32, load);
numbers!(u16, load_f16);

impl Element for Q8Block {
    const VALUES: usize = Q8Block::VALUES;
    /// Blocks, and the number of the first chunk in the first of them.
    type Chunks<'a> = (&'a [Q8Block], usize);
    #[inline(always)]
    fn chunks(x: &[Q8Block], at: usize, n: usize) -> (&[Q8Block], usize) {
        let first = at / 16 % 2;
        (&x[at / Q8Block::VALUES..][..(first + n).div_ceil(2)], first)
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, (blocks, first): (&[Q8Block], usize), i: usize) -> S::F32 {
        let block = &blocks[(first + i) / 2];
        let values = &block.values.as_chunks().0[(first + i) % 2];
        s.mul(s.to_f32(s.widen_i8(values)), s.splat(bf16_to_f32(block.scale)))
    }
    #[inline(always)]
    fn load_tail<S: Simd>(s: S, _: &[Q8Block]) -> S::F32 {
        // Lengths are multiples of a block.
        s.zero()
    }
}

/// One head of a block of keys: its key `j` begins at `j * k_stride`.
#[derive(Clone, Copy)]
struct Block<'a, E> {
    cache: &'a Cache<'a, E>,
    k: &'a [E],
    v: &'a [E],
    /// Position of key 0.
    first: usize,
    /// Ask for the same head of the next block meanwhile: a head's rows are short and far apart, which is
    /// more than hardware prefetchers follow.
    fetch_k: bool,
    fetch_v: bool,
}

impl<'a, E: Element> Block<'a, E> {
    #[inline(always)]
    fn new(cache: &'a Cache<'a, E>, first: usize, kv_head: usize, fetch: bool) -> Block<'a, E> {
        let from = |x: &'a [E], at: usize| x.get(at / E::VALUES..).unwrap_or_default();
        Block {
            cache,
            k: from(cache.k, first * cache.k_stride + kv_head * cache.k_dim),
            v: from(cache.v, first * cache.v_stride + kv_head * cache.v_dim),
            first,
            fetch_k: fetch,
            // Latent values are part of the keys.
            fetch_v: fetch && !std::ptr::eq(cache.k, cache.v),
        }
    }
}

/// Scores, later weights, of the queries of a tile for the keys of a block.
#[repr(align(64))]
struct Scores([[f32; BLOCK]; TILE]);

dispatch! {
    /// Computes the results of `queries`, ordered by key head, over the keys they see.
    pub(super) fn attend<E: Element>(cache: &Cache<'_, E>, queries: &mut [Query<'_>]) = attend_simd;
}

#[inline(always)]
fn attend_simd<S: Simd, E: Element>(s: S, cache: &Cache<'_, E>, queries: &mut [Query<'_>]) {
    for query in queries.iter_mut() {
        query.out.fill(0.0);
    }
    let Range { start, end } = hull(queries.iter().map(|query| query.visible.clone()));
    let mut first = start - start % BLOCK;
    while first < end {
        for group in queries.chunk_by_mut(|a, b| a.kv_head == b.kv_head) {
            let mut block = Block::new(cache, first, group[0].kv_head, first + BLOCK < end);
            for tile in group.chunks_mut(TILE) {
                attend_block(s, &block, tile);
                (block.fetch_k, block.fetch_v) = (false, false);
            }
        }
        first += BLOCK;
    }
    for query in queries {
        finish(s, query);
    }
}

/// One head of a block of keys for up to [`TILE`] queries.
#[inline(always)]
fn attend_block<S: Simd, E: Element>(s: S, block: &Block<'_, E>, tile: &mut [Query<'_>]) {
    // What any query of the tile sees, and what all of them see.
    let mut any = Range { start: BLOCK, end: 0 };
    let mut all = 0..BLOCK;
    for query in tile.iter() {
        let part = query.part_of(block.first);
        all = all.start.max(part.start)..all.end.min(part.end);
        if !part.is_empty() {
            any = any.start.min(part.start)..any.end.max(part.end);
        }
    }
    if any.is_empty() {
        return;
    }
    let mut scores = Scores([[f32::NEG_INFINITY; BLOCK]; TILE]);
    score_tile(s, block, any, tile, &mut scores.0);
    for (query, scores) in tile.iter_mut().zip(&mut scores.0) {
        let part = query.part_of(block.first);
        if !part.is_empty() {
            weigh(s, query, &part, scores);
        }
    }
    add_values(s, block, all, tile, &scores.0);
}

/// Asks for the cache lines of `n` numbers from number `at` on, which may lie outside of `x`.
#[inline(always)]
fn fetch<S: Simd, E: Element>(s: S, x: &[E], at: usize, n: usize) {
    let first = x.as_ptr().wrapping_add(at / E::VALUES).cast::<u8>();
    let bytes = n.div_ceil(E::VALUES) * size_of::<E>();
    let mut i = 0;
    while i < bytes {
        s.prefetch(first.wrapping_add(i));
        i += 64;
    }
}

#[inline(always)]
fn score_tile<S: Simd, E: Element>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    tile: &[Query<'_>],
    scores: &mut [[f32; BLOCK]; TILE],
) {
    if many_registers(S::ISA)
        && let Some(tile) = tile.first_chunk::<8>()
    {
        return score_range::<S, E, 8, 2>(s, block, range, tile.each_ref().map(|query| query.q), scores);
    }
    let mut block = *block;
    for (tile, scores) in tile.chunks(4).zip(scores.chunks_mut(4)) {
        score_four(s, &block, range.clone(), tile, scores);
        block.fetch_k = false;
    }
}

/// As [`score_tile`], for up to four queries.
#[inline(always)]
fn score_four<S: Simd, E: Element>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    tile: &[Query<'_>],
    scores: &mut [[f32; BLOCK]],
) {
    if !many_registers(S::ISA) {
        // Four queries to one key: turning halves into singles costs as much as multiplying, and is shared.
        if let [a, b, c, d] = tile {
            return score_range::<S, E, 4, 1>(s, block, range, [a.q, b.q, c.q, d.q], scores);
        }
        for (pair, scores) in tile.chunks(2).zip(scores.chunks_mut(2)) {
            match pair {
                [a, b] => score_range::<S, E, 2, 2>(s, block, range.clone(), [a.q, b.q], scores),
                [a] => score_range::<S, E, 1, 4>(s, block, range.clone(), [a.q], scores),
                _ => {}
            }
        }
        return;
    }
    match tile {
        [a, b, c, d] => score_range::<S, E, 4, 4>(s, block, range, [a.q, b.q, c.q, d.q], scores),
        [a, b, c] => score_range::<S, E, 3, 4>(s, block, range, [a.q, b.q, c.q], scores),
        [a, b] => score_range::<S, E, 2, 4>(s, block, range, [a.q, b.q], scores),
        [a] => score_range::<S, E, 1, 8>(s, block, range, [a.q], scores),
        _ => {}
    }
}

/// Scores of `H` queries for a range of keys of a block, `K` at a time.
#[inline(always)]
fn score_range<S: Simd, E: Element, const H: usize, const K: usize>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    q: [&[f32]; H],
    scores: &mut [[f32; BLOCK]],
) {
    let mut key = range.start;
    while key + K <= range.end {
        if block.fetch_k {
            for k in 0..K {
                fetch(s, block.k, (BLOCK + key + k) * block.cache.k_stride, block.cache.k_dim);
            }
        }
        score::<S, E, H, K>(s, block, key, q, scores);
        key += K;
    }
    while key < range.end {
        score::<S, E, H, 1>(s, block, key, q, scores);
        key += 1;
    }
}

/// `scores[h][key + k] = scale * q[h] . K[key + k]` for `H` by `K` of them.
#[inline(always)]
fn score<S: Simd, E: Element, const H: usize, const K: usize>(
    s: S,
    block: &Block<'_, E>,
    key: usize,
    q: [&[f32]; H],
    scores: &mut [[f32; BLOCK]],
) {
    let n_chunks = block.cache.k_dim / 16;
    let k_at = |k: usize| (key + k) * block.cache.k_stride;
    let mut k_rows = [E::chunks(block.k, k_at(0), n_chunks); K];
    for k in 1..K {
        k_rows[k] = E::chunks(block.k, k_at(k), n_chunks);
    }
    let mut q_rows: [(&[[f32; 16]], &[f32]); H] = [(&[], &[]); H];
    for (q, row) in q.iter().zip(&mut q_rows) {
        let (chunks, tail) = q[..block.cache.k_dim].as_chunks();
        *row = (&chunks[..n_chunks], tail);
    }
    let mut sums = [[s.zero(); K]; H];
    for i in 0..n_chunks {
        let mut k_chunk = [s.zero(); K];
        for k in 0..K {
            k_chunk[k] = E::load(s, k_rows[k], i);
        }
        for h in 0..H {
            let q_chunk = s.load(&q_rows[h].0[i]);
            for k in 0..K {
                sums[h][k] = s.mul_add(q_chunk, k_chunk[k], sums[h][k]);
            }
        }
    }
    if 16 * n_chunks < block.cache.k_dim {
        for h in 0..H {
            let q_chunk = s.load_partial(q_rows[h].1);
            for k in 0..K {
                let tail = &block.k[(k_at(k) + 16 * n_chunks) / E::VALUES..];
                let tail = E::load_tail(s, &tail[..block.cache.k_dim - 16 * n_chunks]);
                sums[h][k] = s.mul_add(q_chunk, tail, sums[h][k]);
            }
        }
    }
    // Four at a time where the tile allows it; the bits are the same.
    let mut i = 0;
    while i + 4 <= H * K {
        let mut four = [s.zero(); 4];
        for j in 0..4 {
            four[j] = sums[(i + j) / K][(i + j) % K];
        }
        let four = s.reduce_add_4(four);
        for j in 0..4 {
            scores[(i + j) / K][key + (i + j) % K] = block.cache.scale * four[j];
        }
        i += 4;
    }
    while i < H * K {
        scores[i / K][key + i % K] = block.cache.scale * s.reduce_add(sums[i / K][i % K]);
        i += 1;
    }
}

/// `out += weight * value` for the keys each query sees. `all` are those that all queries of the tile see.
///
/// Keys a query does not see are left out rather than weighed with 0, which would let a NaN through.
#[inline(always)]
fn add_values<S: Simd, E: Element>(
    s: S,
    block: &Block<'_, E>,
    all: Range<usize>,
    tile: &mut [Query<'_>],
    weights: &[[f32; BLOCK]; TILE],
) {
    if all.is_empty() {
        for (query, weights) in tile.iter_mut().zip(weights) {
            let part = query.part_of(block.first);
            add_range::<S, E, 1, 4>(s, block, part, [&mut *query.out], std::slice::from_ref(weights));
        }
        return;
    }
    for (query, weights) in tile.iter_mut().zip(weights) {
        let before = query.part_of(block.first).start..all.start;
        add_range::<S, E, 1, 4>(s, block, before, [&mut *query.out], std::slice::from_ref(weights));
    }
    add_values_of_all(s, block, all.clone(), tile, weights);
    for (query, weights) in tile.iter_mut().zip(weights) {
        let after = all.end..query.part_of(block.first).end;
        add_range::<S, E, 1, 4>(s, block, after, [&mut *query.out], std::slice::from_ref(weights));
    }
}

#[inline(always)]
fn add_values_of_all<S: Simd, E: Element>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    tile: &mut [Query<'_>],
    weights: &[[f32; BLOCK]; TILE],
) {
    if many_registers(S::ISA)
        && let Some(tile) = tile.first_chunk_mut::<8>()
    {
        let out = tile.each_mut().map(|query| &mut *query.out);
        return add_range::<S, E, 8, 2>(s, block, range, out, weights);
    }
    let mut block = *block;
    for (tile, weights) in tile.chunks_mut(4).zip(weights.chunks(4)) {
        add_values_of_four(s, &block, range.clone(), tile, weights);
        block.fetch_v = false;
    }
}

/// As [`add_values_of_all`], for up to four queries.
#[inline(always)]
fn add_values_of_four<S: Simd, E: Element>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    tile: &mut [Query<'_>],
    weights: &[[f32; BLOCK]],
) {
    if !many_registers(S::ISA) {
        if let [a, b, c, d] = tile {
            let out = [&mut *a.out, &mut *b.out, &mut *c.out, &mut *d.out];
            return add_range::<S, E, 4, 1>(s, block, range, out, weights);
        }
        for (pair, weights) in tile.chunks_mut(2).zip(weights.chunks(2)) {
            match pair {
                [a, b] => {
                    add_range::<S, E, 2, 2>(s, block, range.clone(), [&mut *a.out, &mut *b.out], weights);
                }
                [a] => add_range::<S, E, 1, 4>(s, block, range.clone(), [&mut *a.out], weights),
                _ => {}
            }
        }
        return;
    }
    match tile {
        [a, b, c, d] => {
            let out = [&mut *a.out, &mut *b.out, &mut *c.out, &mut *d.out];
            add_range::<S, E, 4, 4>(s, block, range, out, weights);
        }
        [a, b, c] => {
            add_range::<S, E, 3, 4>(s, block, range, [&mut *a.out, &mut *b.out, &mut *c.out], weights);
        }
        [a, b] => add_range::<S, E, 2, 8>(s, block, range, [&mut *a.out, &mut *b.out], weights),
        [a] => add_range::<S, E, 1, 8>(s, block, range, [&mut *a.out], weights),
        _ => {}
    }
}

/// Adds a range of keys of a block to `H` results, `C` chunks of the value at a time.
#[inline(always)]
fn add_range<S: Simd, E: Element, const H: usize, const C: usize>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    mut out: [&mut [f32]; H],
    weights: &[[f32; BLOCK]],
) {
    if range.is_empty() {
        return;
    }
    let mut at = 0;
    while at + 16 * C <= block.cache.v_dim {
        add_chunks::<S, E, H, C>(s, block, range.clone(), at, &mut out, weights);
        at += 16 * C;
    }
    while at + 16 <= block.cache.v_dim {
        add_chunks::<S, E, H, 1>(s, block, range.clone(), at, &mut out, weights);
        at += 16;
    }
    if at < block.cache.v_dim {
        for h in 0..H {
            let mut sum = s.load_partial(&out[h][at..]);
            for key in range.clone() {
                let tail = &block.v[key * block.cache.v_stride / E::VALUES..][at..block.cache.v_dim];
                sum = s.mul_add(s.splat(weights[h][key]), E::load_tail(s, tail), sum);
            }
            s.store_partial(sum, &mut out[h][at..]);
        }
    }
}

/// `out[h][at..at + 16 C] += weights[h][key] * V[key][at..at + 16 C]`, key by key.
#[inline(always)]
fn add_chunks<S: Simd, E: Element, const H: usize, const C: usize>(
    s: S,
    block: &Block<'_, E>,
    range: Range<usize>,
    at: usize,
    out: &mut [&mut [f32]; H],
    weights: &[[f32; BLOCK]],
) {
    let mut sums = [[s.zero(); C]; H];
    for h in 0..H {
        for c in 0..C {
            sums[h][c] = s.load(chunk_at(out[h], at + 16 * c));
        }
    }
    for key in range {
        if block.fetch_v {
            fetch(s, block.v, (BLOCK + key) * block.cache.v_stride + at, 16 * C);
        }
        let chunks = E::chunks(block.v, key * block.cache.v_stride + at, C);
        let mut value = [s.zero(); C];
        for c in 0..C {
            value[c] = E::load(s, chunks, c);
        }
        for h in 0..H {
            let weight = s.splat(weights[h][key]);
            for c in 0..C {
                sums[h][c] = s.mul_add(weight, value[c], sums[h][c]);
            }
        }
    }
    for h in 0..H {
        for c in 0..C {
            let (chunk, _) =
                out[h][at + 16 * c..].split_first_chunk_mut().expect("the caller stays below v_dim");
            s.store(sums[h][c], chunk);
        }
    }
}

#[inline(always)]
fn chunk_at<T>(x: &[T], at: usize) -> &[T; 16] {
    x[at..].first_chunk().expect("the caller stays sixteen below the end")
}
