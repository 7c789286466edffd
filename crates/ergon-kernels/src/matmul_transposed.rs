//! Products with the transpose of a weight matrix, as absorbed attention needs them: `y = x W` for weights stored as
//! `W [r, c]`, so that no second copy of the matrix is kept.
//!
//! Plain form: `for r: for c: y[i, c] += x[i, r] * w[r, c]`, in singles, product and sum each rounded, in order of `r`:
//! so every instruction set gives the same bits. Departures: columns are cut into stretches of 256, one task each, whose
//! sums stay in the first-level cache; a stretch of eight weight rows is turned into singles once for up to 16 rows of
//! `x`, and a vector of sums stays in its register while it passes those eight.

use std::ops::Range;

use crate::{
    Cpu, MatrixRef,
    quant::dequantize_rows,
    shared::SharedSlice,
    simd::{Simd, dispatch},
};

/// Columns of a task: a super-block of every format.
const STRETCH: usize = 256;
/// Weight rows that are turned into singles before they are used: 8 KiB of them.
const READING: usize = 8;
/// Rows of `x` that share a reading of the weights: 16 KiB of sums.
const SHARING: usize = 16;

/// One transposed product: one head of absorbed attention.
pub struct TransposedJob<'a> {
    /// `[r, c]`.
    pub weight: MatrixRef<'a>,
    /// Row `i`, `r` long, starts at `i * x_stride`.
    pub x: &'a [f32],
    /// Distance between rows of `x`.
    pub x_stride: usize,
    /// Row `i`, `c` long, starts at `i * y_stride`; written.
    pub y: &'a mut [f32],
    /// Distance between rows of `y`.
    pub y_stride: usize,
    /// Number of rows of `x` and `y`.
    pub n: usize,
}

/// A job as the threads see it.
#[derive(Clone, Copy)]
struct Work<'a> {
    weight: MatrixRef<'a>,
    x: &'a [f32],
    x_stride: usize,
    y: SharedSlice<'a, f32>,
    y_stride: usize,
    n: usize,
    /// Number of tasks of this and all earlier jobs.
    tasks_end: usize,
}

/// `y[i, c] = sum over r of x[i, r] * weight[r, c]` for every job, in one parallel region, split over columns.
///
/// # Panics
///
/// If `x` or `y` is too short for its stride and shape.
pub fn matmul_transposed(cpu: &Cpu, jobs: &mut [TransposedJob]) {
    /// Jobs of one region, see `matmul_jobs`.
    const MOST: usize = 128;
    for jobs in jobs.chunks_mut(MOST) {
        let count = jobs.len();
        let mut work: [Option<Work>; MOST] = [None; MOST];
        let mut tasks = 0;
        for (job, slot) in jobs.iter_mut().zip(&mut work) {
            let planned = plan(job, tasks);
            tasks = planned.tasks_end;
            *slot = Some(planned);
        }
        let work = &work[..count];
        cpu.pool.run(tasks, |task| run_task(cpu, work, task));
    }
}

fn plan<'a>(job: &'a mut TransposedJob, tasks_before: usize) -> Work<'a> {
    let TransposedJob { weight, x, x_stride, y_stride, n, .. } = *job;
    if n > 0 {
        let last = n - 1;
        assert!(x.len() >= last * x_stride + weight.rows(), "x must hold {n} rows of {}", weight.rows());
        assert!(job.y.len() >= last * y_stride + weight.cols(), "y must hold {n} rows of {}", weight.cols());
        assert!(n == 1 || y_stride >= weight.cols(), "rows of y must not overlap");
    }
    let tasks = if n == 0 { 0 } else { weight.cols().div_ceil(STRETCH) };
    let y = SharedSlice::new(job.y);
    Work { weight, x, x_stride, y, y_stride, n, tasks_end: tasks_before + tasks }
}

fn run_task(cpu: &Cpu, work: &[Option<Work>], task: usize) {
    let ends_by_then = |work: &Option<Work>| work.as_ref().is_some_and(|work| work.tasks_end <= task);
    let index = work.partition_point(ends_by_then);
    let Some(Some(job)) = work.get(index) else { return };
    let before = index.checked_sub(1).and_then(|i| work[i].as_ref()).map_or(0, |work| work.tasks_end);
    let start = (task - before) * STRETCH;
    let cols = start..job.weight.cols().min(start + STRETCH);
    for first in (0..job.n).step_by(SHARING) {
        stretch(cpu, job, first..job.n.min(first + SHARING), cols.clone());
    }
}

/// Columns `cols` of rows `rows` of y.
fn stretch(cpu: &Cpu, job: &Work, rows: Range<usize>, cols: Range<usize>) {
    let mut buffer = [0.0; READING * STRETCH];
    for i in rows.clone() {
        output(job, i, &cols).fill(0.0);
    }
    for start in (0..job.weight.rows()).step_by(READING) {
        let read = start..job.weight.rows().min(start + READING);
        let weights = &mut buffer[..read.len() * cols.len()];
        dequantize_rows(cpu.isa, &job.weight, read.clone(), cols.clone(), weights);
        for i in rows.clone() {
            let x = &job.x[i * job.x_stride..][read.clone()];
            add_scaled(cpu.isa, x, weights, output(job, i, &cols));
        }
    }
}

/// Columns `cols` of row `i` of y.
#[inline(always)]
fn output<'a>(job: &Work<'a>, i: usize, cols: &Range<usize>) -> &'a mut [f32] {
    let start = i * job.y_stride;
    // SAFETY: a stretch of columns belongs to one task, rows do not overlap (checked in `plan`), and the task lets go of
    // one row before it takes the next.
    unsafe { job.y.range_mut(start + cols.start..start + cols.end) }
}

dispatch! {
    /// `y[c] += x[r] * w[r, c]` in order of `r`, product and sum each rounded; `w` is `[x.len(), y.len()]`.
    fn add_scaled(x: &[f32], w: &[f32], y: &mut [f32]) = add_scaled_simd;
}

#[inline(always)]
fn add_scaled_simd<S: Simd>(s: S, x: &[f32], w: &[f32], y: &mut [f32]) {
    let cols = y.len();
    let (y, y_tail) = y.as_chunks_mut::<16>();
    for (at, y) in y.iter_mut().enumerate() {
        let mut sum = s.load(y);
        for (r, x) in x.iter().enumerate() {
            let w = w[r * cols + 16 * at..].first_chunk().expect("the lanes lie inside row r");
            sum = s.add(sum, s.mul(s.splat(*x), s.load(w)));
        }
        s.store(sum, y);
    }
    if !y_tail.is_empty() {
        let mut sum = s.load_partial(y_tail);
        for (r, x) in x.iter().enumerate() {
            sum = s.add(
                sum,
                s.mul(s.splat(*x), s.load_partial(&w[(r + 1) * cols - y_tail.len()..(r + 1) * cols])),
            );
        }
        s.store_partial(sum, y_tail);
    }
}
