//! Attention over a key and value cache: multi-head, grouped-query, and absorbed multi-head latent attention.
//!
//! One pass over the keys with a running maximum and sum ("online softmax", Milakov and Gimelshein 2018,
//! arXiv 1805.02867), so no scores as long as the context are stored. Keys are taken in blocks of 64 that begin
//! at multiples of 64 of the absolute position. A query's result is the same sequence of operations on its
//! own keys whoever else is computed beside it: the tiles of `attention_tile` and `attention_blocks` only decide what is done
//! at the same time.

use super::attention_blocks;
use super::attention_query::{Cache, MAX_QUERIES, Query, hull};
use super::attention_tile::{self as tile, Element};
use super::q8_block::Q8Block;
use crate::{
    Cpu,
    activations::{Act32, round_row},
    shared::SharedSlice,
};
use std::ops::Range;

/// Keys or values as the cache stores them.
#[derive(Clone, Copy, Debug)]
pub enum KvSlice<'a> {
    /// Singles.
    F32(&'a [f32]),
    /// IEEE 754 halves, as bits.
    F16(&'a [u16]),
    /// Blocks of 32 integers with a scale. Lengths of heads and strides must be multiples of 32.
    Q8(&'a [Q8Block]),
}

impl KvSlice<'_> {
    /// Numbers in it.
    fn len(self) -> usize {
        match self {
            KvSlice::F32(x) => x.len(),
            KvSlice::F16(x) => x.len(),
            KvSlice::Q8(x) => x.len() * Q8Block::VALUES,
        }
    }

    /// Numbers that are stored together.
    fn together(self) -> usize {
        match self {
            KvSlice::F32(_) | KvSlice::F16(_) => 1,
            KvSlice::Q8(_) => Q8Block::VALUES,
        }
    }
}

/// The cache of one sequence. Element `i` of head `h` at position `p` is at `p * row_stride + h * dim + i`,
/// with `dim` the `k_dim` or `v_dim` of the [`AttentionShape`]. `v` may be the same memory as `k`: the values
/// of absorbed latent attention are the first `v_dim` elements of its keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a> {
    /// Keys.
    pub k: KvSlice<'a>,
    /// Values, in the same format as the keys.
    pub v: KvSlice<'a>,
    /// Elements from one position's keys to the next's.
    pub k_row_stride: usize,
    /// Elements from one position's values to the next's.
    pub v_row_stride: usize,
}

/// What all rows of one call have in common.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads; query head `h` uses `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Length of a query or key.
    pub k_dim: usize,
    /// Length of a value and of a result.
    pub v_dim: usize,
    /// Factor of the scores, usually `k_dim^-0.5`.
    pub scale: f32,
}

/// One token: which cache it looks at, and which positions of it.
#[derive(Clone, Debug)]
pub struct AttentionRow<'a> {
    /// The cache of the token's sequence.
    pub kv: KeyValues<'a>,
    /// The positions it may see. With none the result is 0.
    pub visible: Range<usize>,
}

/// `out[row, h, :] = softmax(scale * q[row, h, :] K^T) V` over the visible positions of the row's cache, with
/// `q` `[rows, n_heads, k_dim]` and `out` `[rows, n_heads, v_dim]`. In general f32 arithmetic, one parallel region, no
/// allocation.
///
/// But a cache of blocks in which four query heads or more share a key head is multiplied in integers, for which the query is
/// rounded as activations are for weights in blocks of 32. It costs as much accuracy again as the rounding of the cache, it
/// allocates a little (4 MiB at most for parts of results), and it takes a second region if threads share out positions.
///
/// Each result depends on its query and its visible keys and values alone, bit for bit. Rows that follow one
/// another and share a cache (a prompt) are computed together, as are the query heads of one key head, so
/// that a key is read once for several of them.
///
/// # Panics
/// When lengths do not fit the shape, a visible position is outside its cache, `k` and `v` differ in format, or
/// lengths of heads or strides of a cache of blocks are no multiples of a block.
pub fn attention(cpu: &Cpu, shape: &AttentionShape, q: &[f32], rows: &[AttentionRow<'_>], out: &mut [f32]) {
    check(shape, q, rows, out);
    let mut rows_together = 0;
    let mut rest = 0..rows.len();
    while !rest.is_empty() {
        let together = shared_cache(rows, rest.clone());
        rows_together = rows_together.max(together.len());
        rest.start = together.end;
    }
    let threads = cpu.pool.threads();
    let call = Call { cpu, shape, q, rows, out: SharedSlice::new(out) };
    let segments = call.segments();
    if threads > 1 && segments.len() > 1 {
        // Heads that share keys are better left together, if there are segments enough to share out.
        let together = Tiling::new(shape, rows.len(), rows_together, 1);
        if together.n_tasks() * segments.len() >= 2 * threads {
            return call.run_segments(&together, segments);
        }
    }
    let tiling = Tiling::new(shape, rows.len(), rows_together, threads);
    cpu.pool.run(tiling.n_tasks(), |task| call.run(tiling.task(task)));
}

fn check(shape: &AttentionShape, q: &[f32], rows: &[AttentionRow<'_>], out: &[f32]) {
    let &AttentionShape { n_heads, n_kv_heads, k_dim, v_dim, .. } = shape;
    assert!(
        n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
        "{n_heads} query heads over {n_kv_heads} key heads"
    );
    assert!(k_dim > 0 && v_dim > 0, "attention with heads of length 0: {shape:?}");
    assert!(
        q.len() == rows.len() * n_heads * k_dim,
        "{} query elements for {} rows, {shape:?}",
        q.len(),
        rows.len()
    );
    assert!(
        out.len() == rows.len() * n_heads * v_dim,
        "{} results for {} rows, {shape:?}",
        out.len(),
        rows.len()
    );
    for AttentionRow { kv, visible } in rows {
        let same_format = std::mem::discriminant(&kv.k) == std::mem::discriminant(&kv.v);
        assert!(same_format, "keys and values in different formats");
        let together = kv.k.together();
        assert!(
            [k_dim, v_dim, kv.k_row_stride, kv.v_row_stride].iter().all(|n| n.is_multiple_of(together)),
            "{shape:?}, strides of {} and {}: no multiples of {together}",
            kv.k_row_stride,
            kv.v_row_stride
        );
        if let Some(last) = visible.end.checked_sub(1).filter(|_| !visible.is_empty()) {
            let fits = |slice: KvSlice<'_>, stride: usize, dim: usize| {
                last * stride + n_kv_heads * dim <= slice.len()
            };
            assert!(fits(kv.k, kv.k_row_stride, k_dim), "keys end before position {last}");
            assert!(fits(kv.v, kv.v_row_stride, v_dim), "values end before position {last}");
        }
    }
}

/// Whether products with a cache of blocks are done in integers: where heads that share a key make up for turning it. Nothing
/// but the shape may decide, or a row would have other bits in company.
fn in_integers(shape: &AttentionShape) -> bool {
    shape.n_heads / shape.n_kv_heads >= 4
}

/// The longest start of `range` whose rows look at the same memory.
fn shared_cache(rows: &[AttentionRow<'_>], range: Range<usize>) -> Range<usize> {
    let place = |slice: KvSlice<'_>| match slice {
        KvSlice::F32(x) => (x.as_ptr() as usize, x.len(), 4),
        KvSlice::F16(x) => (x.as_ptr() as usize, x.len(), 2),
        KvSlice::Q8(x) => (x.as_ptr() as usize, x.len(), 1),
    };
    let key = |row: usize| {
        let kv = &rows[row].kv;
        (place(kv.k), place(kv.v), kv.k_row_stride, kv.v_row_stride)
    };
    let first = key(range.start);
    let end = range.clone().find(|&row| key(row) != first).unwrap_or(range.end);
    range.start..end
}

/// How rows and heads are cut into tasks. A task is some rows times some key heads times some of the query
/// heads of each, at most [`MAX_QUERIES`] queries together.
struct Tiling {
    n_rows: usize,
    rows_per_task: usize,
    n_kv_heads: usize,
    kv_heads_per_task: usize,
    heads_per_kv: usize,
    heads_per_task: usize,
}

/// The part of the work that one task does; `heads` counts from 0 within each key head.
struct Task {
    rows: Range<usize>,
    kv_heads: Range<usize>,
    heads: Range<usize>,
}

impl Tiling {
    /// The larger a task, the more queries use a key once it is read: first the heads that share it, then
    /// rows (up to `rows_together`, which share a cache). Key heads together make reads from memory longer.
    /// Tasks are then made smaller until there are several per thread; below four queries or two key heads
    /// only for threads that would have nothing to do. Heads that share a key head are not cut where every thread has as
    /// much to do already: each task of theirs reads the keys anew, which of a long latent context come from memory (two
    /// tasks instead of four for 16 heads and two threads are 15 % faster at depth 16384).
    fn new(shape: &AttentionShape, n_rows: usize, rows_together: usize, threads: usize) -> Tiling {
        let n_kv_heads = shape.n_kv_heads;
        let heads_per_kv = shape.n_heads / n_kv_heads;
        let heads_per_task = heads_per_kv.clamp(1, MAX_QUERIES);
        let rows_per_task = (MAX_QUERIES / heads_per_task).min(rows_together).max(1);
        let kv_heads_per_task = (MAX_QUERIES / (heads_per_task * rows_per_task)).clamp(1, n_kv_heads);
        let mut tiling =
            Tiling { n_rows, rows_per_task, n_kv_heads, kv_heads_per_task, heads_per_kv, heads_per_task };
        while threads > 1 && tiling.n_tasks() < 4 * threads {
            let idle = tiling.n_tasks() < threads;
            let equal = rows_together == n_rows && tiling.n_tasks().is_multiple_of(threads);
            let Tiling { rows_per_task, kv_heads_per_task, heads_per_task, .. } = &mut tiling;
            let part = if *rows_per_task > 1 && (idle || *rows_per_task * *heads_per_task > 4) {
                rows_per_task
            } else if *kv_heads_per_task > if idle { 1 } else { 2 } {
                kv_heads_per_task
            } else if *heads_per_task > if idle { 1 } else { 4 } && !equal {
                heads_per_task
            } else {
                break;
            };
            *part = part.div_ceil(2);
        }
        tiling
    }

    /// Tasks along rows, key heads, and query heads of a key head.
    fn counts(&self) -> (usize, usize, usize) {
        let rows = self.n_rows.div_ceil(self.rows_per_task);
        (
            rows,
            self.n_kv_heads.div_ceil(self.kv_heads_per_task),
            self.heads_per_kv.div_ceil(self.heads_per_task),
        )
    }

    fn n_tasks(&self) -> usize {
        let (rows, kv_heads, heads) = self.counts();
        rows * kv_heads * heads
    }

    /// The last rows come first: in a prompt they see the most keys, and the longest tasks should not start
    /// last.
    fn task(&self, task: usize) -> Task {
        let (rows, kv_heads, heads) = self.counts();
        let part = |index: usize, size: usize, of: usize| index * size..of.min((index + 1) * size);
        Task {
            rows: part(rows - 1 - task / heads / kv_heads, self.rows_per_task, self.n_rows),
            kv_heads: part(task / heads % kv_heads, self.kv_heads_per_task, self.n_kv_heads),
            heads: part(task % heads, self.heads_per_task, self.heads_per_kv),
        }
    }
}

/// The arguments of a call, as its tasks see them.
struct Call<'a> {
    cpu: &'a Cpu,
    shape: &'a AttentionShape,
    q: &'a [f32],
    rows: &'a [AttentionRow<'a>],
    out: SharedSlice<'a, f32>,
}

impl Call<'_> {
    fn run(&self, task: Task) {
        self.for_each_cache(task.rows.clone(), |rows| {
            let kv = &self.rows[rows.start].kv;
            // SAFETY: every task has rows and heads of its own.
            let out = |index: usize| unsafe { self.out.range_mut(self.result(index)) };
            match (kv.k, kv.v) {
                (KvSlice::F32(k), KvSlice::F32(v)) => self.run_rows(k, v, rows, &task, out),
                (KvSlice::F16(k), KvSlice::F16(v)) => self.run_rows(k, v, rows, &task, out),
                (KvSlice::Q8(k), KvSlice::Q8(v)) if in_integers(self.shape) => {
                    let cache = self.cache(k, v, rows.start);
                    let rounded = self.round(&rows, &task);
                    let (n, mut queries) = self.queries(&rows, &task, &rounded, out);
                    attention_blocks::attend(self.cpu.isa, &cache, &mut queries[..n]);
                }
                (KvSlice::Q8(k), KvSlice::Q8(v)) => self.run_rows(k, v, rows, &task, out),
                _ => unreachable!("check() refuses keys and values of different formats"),
            }
        });
    }

    /// The ranges of rows that share a cache.
    fn for_each_cache(&self, mut rows: Range<usize>, mut run: impl FnMut(Range<usize>)) {
        while !rows.is_empty() {
            let together = shared_cache(self.rows, rows.clone());
            rows.start = together.end;
            run(together);
        }
    }

    /// The heads of the task for rows that share the cache of `k` and `v`, in singles.
    fn run_rows<'o, E: Element>(
        &'o self,
        k: &[E],
        v: &[E],
        rows: Range<usize>,
        task: &Task,
        out: impl Fn(usize) -> &'o mut [f32],
    ) {
        let cache = self.cache(k, v, rows.start);
        let (n, mut queries) = self.queries(&rows, task, &[], out);
        tile::attend(self.cpu.isa, &cache, &mut queries[..n]);
    }

    /// Where the result of query `index` is among all results.
    fn result(&self, index: usize) -> Range<usize> {
        index * self.shape.v_dim..(index + 1) * self.shape.v_dim
    }

    fn cache<'k, E>(&self, k: &'k [E], v: &'k [E], row: usize) -> Cache<'k, E> {
        let &AttentionShape { k_dim, v_dim, scale, .. } = self.shape;
        let KeyValues { k_row_stride, v_row_stride, .. } = self.rows[row].kv;
        Cache { k, v, k_stride: k_row_stride, v_stride: v_row_stride, k_dim, v_dim, scale }
    }

    /// Key head, row and number in the call of the queries of a task for some of its rows, ordered by key head.
    fn places<'t>(
        &'t self,
        rows: &'t Range<usize>,
        task: &'t Task,
    ) -> impl Iterator<Item = (usize, usize, usize)> + 't {
        let &AttentionShape { n_heads, n_kv_heads, .. } = self.shape;
        let rows_of = move |kv_head: usize| rows.clone().map(move |row| (kv_head, row));
        task.kv_heads.clone().flat_map(rows_of).flat_map(move |(kv_head, row)| {
            let first = row * n_heads + kv_head * (n_heads / n_kv_heads);
            task.heads.clone().map(move |head| (kv_head, row, first + head))
        })
    }

    /// The queries of [`Call::places`] rounded to eight bits.
    fn round(&self, rows: &Range<usize>, task: &Task) -> Vec<Act32> {
        let k_dim = self.shape.k_dim;
        let mut rounded = Vec::new();
        for (_, _, index) in self.places(rows, task) {
            round_row(self.cpu.isa, &self.q[index * k_dim..(index + 1) * k_dim], &mut rounded);
        }
        rounded
    }

    /// The queries of [`Call::places`] and how many they are. `rounded` is of all of them, or empty; `out` gives the place for
    /// the result of each.
    fn queries<'o>(
        &'o self,
        rows: &Range<usize>,
        task: &Task,
        rounded: &'o [Act32],
        out: impl Fn(usize) -> &'o mut [f32],
    ) -> (usize, [Query<'o>; MAX_QUERIES]) {
        let k_dim = self.shape.k_dim;
        let mut queries = std::array::from_fn(|_| Query::default());
        let mut rounded = rounded.chunks(k_dim.div_ceil(256));
        let mut n = 0;
        for (kv_head, row, index) in self.places(rows, task) {
            let q = &self.q[index * k_dim..(index + 1) * k_dim];
            let rounded = rounded.next().unwrap_or_default();
            queries[n] = Query::new(q, rounded, out(index), kv_head, self.rows[row].visible.clone());
            n += 1;
        }
        (n, queries)
    }

    /// Segments that the rows see, where all products are of integers and the parts of results need little memory; else none.
    fn segments(&self) -> Range<usize> {
        /// Numbers.
        const LITTLE: usize = 1 << 20;
        if !in_integers(self.shape) || self.rows.iter().any(|row| !matches!(row.kv.k, KvSlice::Q8(_))) {
            return 0..0;
        }
        let segments = attention_blocks::segments(&hull(self.rows.iter().map(|row| row.visible.clone())));
        let results = self.rows.len() * self.shape.n_heads * self.shape.v_dim;
        if segments.len() * results <= LITTLE { segments } else { 0..0 }
    }

    /// As [`Call::run`] for all tasks, but each of them in a part for each segment, which are joined afterwards.
    fn run_segments(&self, tiling: &Tiling, all: Range<usize>) {
        let &AttentionShape { n_heads, v_dim, .. } = self.shape;
        let segments = all.len();
        let n = self.rows.len() * n_heads * segments;
        // The result, maximum and sum of each query's segments.
        let (mut parts, mut sums) = (vec![0.0; n * v_dim], vec![(f32::NEG_INFINITY, 0.0); n]);
        let (parts, sums) = (SharedSlice::new(&mut parts), SharedSlice::new(&mut sums));
        // SAFETY: each part belongs to one task, and parts are joined after all have been computed.
        let part = |index: usize| unsafe { parts.range_mut(self.result(index)) };
        // SAFETY: as above.
        let sum = |index: usize| unsafe { &mut sums.range_mut(index..index + 1)[0] };
        self.cpu.pool.run(tiling.n_tasks() * segments, |number| {
            let (task, segment) = (tiling.task(number / segments), number % segments);
            self.for_each_cache(task.rows.clone(), |rows| {
                let kv = &self.rows[rows.start].kv;
                let (KvSlice::Q8(k), KvSlice::Q8(v)) = (kv.k, kv.v) else {
                    unreachable!("segments() looks for other caches")
                };
                let cache = self.cache(k, v, rows.start);
                let rounded = self.round(&rows, &task);
                let (n, mut queries) =
                    self.queries(&rows, &task, &rounded, |index| part(index * segments + segment));
                attention_blocks::attend_segment(
                    self.cpu.isa,
                    &cache,
                    all.start + segment,
                    &mut queries[..n],
                );
                for (query, (_, _, index)) in queries.iter().zip(self.places(&rows, &task)) {
                    *sum(index * segments + segment) = (query.max, query.sum);
                }
            });
        });
        self.cpu.pool.run(self.rows.len() * n_heads, |index| {
            // SAFETY: each result belongs to one task.
            let out = unsafe { self.out.range_mut(self.result(index)) };
            let visible = self.rows[index / n_heads].visible.clone();
            let of_segments: Vec<Query<'_>> = (index * segments..(index + 1) * segments)
                .map(|index| Query::part(part(index), *sum(index)))
                .collect();
            let mut query = Query::new(&[], &[], out, 0, visible);
            attention_blocks::join(self.cpu.isa, &mut query, &of_segments);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `unsafe` above rests on this.
    #[test]
    fn every_query_belongs_to_one_task() {
        for (n_heads, n_kv_heads) in
            [(1, 1), (4, 4), (6, 2), (7, 1), (28, 4), (32, 8), (40, 1), (128, 1), (96, 96)]
        {
            let shape = AttentionShape { n_heads, n_kv_heads, k_dim: 1, v_dim: 1, scale: 1.0 };
            for (n_rows, together) in [(0, 0), (1, 1), (2, 1), (5, 5), (33, 20), (100, 100)] {
                for threads in [1, 2, 3, 8, 64] {
                    let tiling = Tiling::new(&shape, n_rows, together, threads);
                    let mut times = vec![0; n_rows * n_heads];
                    for task in (0..tiling.n_tasks()).map(|task| tiling.task(task)) {
                        assert!(task.rows.len() * task.kv_heads.len() * task.heads.len() <= MAX_QUERIES);
                        for (row, kv_head) in
                            task.rows.flat_map(|row| task.kv_heads.clone().map(move |h| (row, h)))
                        {
                            let first = row * n_heads + kv_head * (n_heads / n_kv_heads);
                            task.heads.clone().for_each(|head| times[first + head] += 1);
                        }
                    }
                    assert!(times.iter().all(|&n| n == 1), "{shape:?}, {n_rows} rows, {threads} threads");
                }
            }
        }
    }
}
