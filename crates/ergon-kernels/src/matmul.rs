//! Matrix products: who computes what, on which thread.
//!
//! Plain form: for every job, `y[i, j] = dot(weight row j, x row x_rows[i])`. Departures, and what they buy:
//!
//! - All jobs are one parallel region. A decoder's step is many small products (an expert's matrix is read in some tens
//!   of microseconds), and each region costs a wake-up and a wait.
//! - Work is cut along weight rows only, into tasks that threads take as they become free. A task reads one contiguous
//!   stretch of weights, which is what memory likes; and no result depends on how the cut was made.
//! - Within a task the activation rows are taken a few (mostly four) at a time in the outer loop: they stay in the
//!   first-level cache while the task's weights pass, and each unpacked weight is used for all of them (see `quant`).
//!   With many activation rows under a block format it is the other way round: sixteen weight rows are unpacked into a
//!   panel, and all activation rows pass over it (see `quant/panel.rs`).
//!
//! Each result is computed by the same operations in the same order whatever the tile, the thread or the company.

use std::ops::Range;

use ergon_types::WeightFormat;

use crate::{
    Activations, Cpu, Isa, MatrixRef,
    activations::ActRow,
    quant::{
        ActivationKind, RowFormat, WeightRow, activation_kind,
        panel::{PANEL_ROWS, Panel, PanelFor},
        panel_tiles::{PanelTiles, TILE_ROWS},
        with_format,
    },
    shared::SharedSlice,
    simd::{Simd, dispatch},
};

/// Which activation rows a job uses.
#[derive(Clone, Copy, Debug)]
pub enum RowSet<'a> {
    /// All of them, in order.
    All,
    /// These, in this order; a row may occur more than once.
    List(&'a [u32]),
}

/// One product of a parallel region.
pub struct MatmulJob<'a> {
    /// `[out, in]`.
    pub weight: MatrixRef<'a>,
    /// `[rows, in]`, prepared for the weight's format.
    pub x: Activations<'a>,
    /// The rows of `x` to use.
    pub x_rows: RowSet<'a>,
    /// `[selected rows, out]`, written.
    pub y: &'a mut [f32],
}

/// A job as the threads see it.
#[derive(Clone, Copy)]
struct Work<'a> {
    weight: MatrixRef<'a>,
    x: Activations<'a>,
    x_rows: RowSet<'a>,
    /// Number of selected rows.
    n: usize,
    y: SharedSlice<'a, f32>,
    /// Weight rows of a task of this job.
    rows_per_task: usize,
    /// Number of tasks of this and all earlier jobs.
    tasks_end: usize,
}

/// `y[i, j] = sum over k of weight[j, k] * x[x_rows[i], k]` for every job, in one parallel region, split over weight
/// rows.
///
/// # Panics
///
/// If shapes do not fit each other, a row is selected that does not exist, or `x` was not prepared for the weight's
/// format.
pub fn matmul_jobs(cpu: &Cpu, jobs: &mut [MatmulJob]) {
    /// Jobs of one region; so many fit on the stack, and more only come with so much work that a second region costs
    /// nothing.
    const MOST: usize = 128;
    for jobs in jobs.chunks_mut(MOST) {
        let count = jobs.len();
        let mut work: [Option<Work>; MOST] = [None; MOST];
        let target = task_cost(cpu, jobs);
        let mut tasks = 0;
        for (job, slot) in jobs.iter_mut().zip(&mut work) {
            let planned = plan(cpu.isa, job, target, tasks);
            tasks = planned.tasks_end;
            *slot = Some(planned);
        }
        let work = &work[..count];
        cpu.pool.run(tasks, |task| run_task(cpu, work, task));
    }
}

/// One product with all rows of `x`: `y[i, j] = sum over k of w[j, k] * x[i, k]`. Panics as [`matmul_jobs`] does.
pub fn matmul(cpu: &Cpu, w: MatrixRef, x: Activations, y: &mut [f32]) {
    matmul_jobs(cpu, &mut [MatmulJob { weight: w, x, x_rows: RowSet::All, y }]);
}

/// Number of activation rows a job uses.
fn selected(job: &MatmulJob) -> usize {
    match job.x_rows {
        RowSet::All => job.x.rows(),
        RowSet::List(rows) => rows.len(),
    }
}

/// What a weight row costs, in bytes of memory read or the same time spent computing: on current cores about four
/// products take as long as one byte from memory.
fn row_cost(job: &MatmulJob) -> usize {
    job.weight.row_bytes() + job.weight.cols() * selected(job) / 4
}

/// How much a task should cost: a small share of what each thread has to do, so that the last tasks even out, but enough
/// that taking it (about 100 ns) does not matter.
fn task_cost(cpu: &Cpu, jobs: &[MatmulJob]) -> usize {
    let total: usize = jobs.iter().map(|job| job.weight.rows() * row_cost(job)).sum();
    (total / (cpu.pool.threads() * 16)).max(16 << 10)
}

/// Checks a job and cuts it into tasks.
fn plan<'a>(isa: Isa, job: &'a mut MatmulJob, target: usize, tasks_before: usize) -> Work<'a> {
    /// A task's weights should stay in the second-level cache while tiles of activations pass over them.
    const MOST_WEIGHT_BYTES: usize = 256 << 10;
    let (weight, x, n) = (job.weight, job.x, selected(job));
    assert_eq!(weight.cols(), x.cols(), "weight and activations must agree in the inner dimension");
    assert_eq!(job.y.len(), n * weight.rows(), "the output is [selected rows, weight rows]");
    let kind = activation_kind(weight.format());
    assert!(x.holds(kind), "activations were not prepared for {}", weight.format());
    if let RowSet::List(rows) = job.x_rows {
        assert!(
            rows.iter().all(|row| (*row as usize) < x.rows()),
            "a selected row is beyond {} rows",
            x.rows()
        );
    }
    let most = (MOST_WEIGHT_BYTES / weight.row_bytes().max(1)).max(1);
    let mut rows_per_task = (target / row_cost(job).max(1)).clamp(1, most);
    if through_panels(isa, kind, n) {
        rows_per_task = rows_per_task.next_multiple_of(panels_at_once(isa) * PANEL_ROWS);
    }
    let tasks = if n == 0 { 0 } else { weight.rows().div_ceil(rows_per_task) };
    let y = SharedSlice::new(job.y);
    Work { weight, x, x_rows: job.x_rows, n, y, rows_per_task, tasks_end: tasks_before + tasks }
}

/// Whether products of rounded activations, `n` rows of them, go through panels of sixteen weight rows.
fn through_panels(isa: Isa, kind: ActivationKind, n: usize) -> bool {
    // From so many on unpacking sixteen rows at once pays; without AVX-512 that is a compromise between formats
    // (`quant/panel.rs`).
    let least = if isa.has_avx512() { 5 } else { 8 };
    !matches!(kind, ActivationKind::Float) && n >= least
}

/// Rows from which on a tile of sixteen that they fill in part takes less than vectors do (by the count of instructions).
const LEAST_ON_TILES: usize = 8;

/// How many panels share an activation while it is in a register, as registers allow.
const fn panels_at_once(isa: Isa) -> usize {
    if isa.has_avx512() { 2 } else { 1 }
}

/// Finds the job and the weight rows of a task and runs it.
fn run_task(cpu: &Cpu, work: &[Option<Work>], task: usize) {
    let ends_by_then = |work: &Option<Work>| work.as_ref().is_some_and(|work| work.tasks_end <= task);
    let index = work.partition_point(ends_by_then);
    let Some(Some(job)) = work.get(index) else { return };
    let before = index.checked_sub(1).and_then(|i| work[i].as_ref()).map_or(0, |work| work.tasks_end);
    let start = (task - before) * job.rows_per_task;
    let rows = start..job.weight.rows().min(start + job.rows_per_task);
    with_format!(job.weight.format(), f => weight_rows(cpu.isa, f, cpu, job, rows));
}

dispatch! {
    /// The products of some weight rows with all selected activation rows.
    fn weight_rows<F: RowFormat>(format: F, cpu: &Cpu, job: &Work, rows: Range<usize>) = weight_rows_simd;
}

#[inline(always)]
fn weight_rows_simd<S: Simd, F: RowFormat>(s: S, format: F, cpu: &Cpu, job: &Work, rows: Range<usize>) {
    if through_panels(S::ISA, F::ACTIVATIONS, job.n) {
        let mut panels = cpu.take_panels();
        let isa = if job.n < LEAST_ON_TILES { S::ISA } else { cpu.isa };
        let mut tiles = PanelTiles::new(isa, F::GROUP_STEPS);
        panel_rows(s, format, job, rows, &mut panels, tiles.as_mut());
        return cpu.give_panels(panels);
    }
    let most = const {
        match F::ACTIVATIONS {
            ActivationKind::Float => S::FLOAT_TILE,
            ActivationKind::By32 | ActivationKind::By256 => S::BLOCK_TILE,
        }
    };
    let mut i = 0;
    if most == 4 {
        while i + 4 <= job.n {
            tile::<S, F, 4>(s, format, job, i, rows.clone());
            i += 4;
        }
    }
    if most >= 2 {
        while i + 2 <= job.n {
            tile::<S, F, 2>(s, format, job, i, rows.clone());
            i += 2;
        }
    }
    while i < job.n {
        tile::<S, F, 1>(s, format, job, i, rows.clone());
        i += 1;
    }
}

/// `rows` of the weight through panels, with all selected activation rows.
#[inline(always)]
fn panel_rows<S: Simd, F: RowFormat>(
    s: S,
    format: F,
    job: &Work,
    rows: Range<usize>,
    panels: &mut [Panel; 2],
    mut tiles: Option<&mut PanelTiles>,
) {
    let purpose = if tiles.is_some() { PanelFor::Tiles } else { PanelFor::Vectors };
    let mut first = rows.start;
    while first < rows.end {
        let [a, b] = &mut *panels;
        pack(s, format, job, first..rows.end, purpose, a);
        let second = first + PANEL_ROWS;
        if const { panels_at_once(S::ISA) == 2 } && second < rows.end {
            pack(s, format, job, second..rows.end, purpose, b);
            panel_tiles::<S, F, 2>(s, format, job, first..rows.end, [&*a, &*b], tiles.as_deref_mut());
            first = second + PANEL_ROWS;
        } else {
            panel_tiles::<S, F, 1>(s, format, job, first..rows.end, [&*a], tiles.as_deref_mut());
            first = second;
        }
    }
}

/// Unpacks the first of `rows` of the weight, at most sixteen; fewer are filled up with copies of the first.
#[inline(always)]
fn pack<S: Simd, F: RowFormat>(
    s: S,
    format: F,
    job: &Work,
    rows: Range<usize>,
    purpose: PanelFor,
    panel: &mut Panel,
) {
    let mut own = [WeightRow::of(&job.weight, rows.start); PANEL_ROWS];
    for (own, row) in own.iter_mut().zip(rows) {
        *own = WeightRow::of(&job.weight, row);
    }
    format.pack(s, &own, purpose, panel);
}

/// All selected activation rows with panels of the first of `rows` of the weight.
#[inline(always)]
fn panel_tiles<S: Simd, F: RowFormat, const P: usize>(
    s: S,
    format: F,
    job: &Work,
    rows: Range<usize>,
    panels: [&Panel; P],
    tiles: Option<&mut PanelTiles>,
) {
    if const { S::ISA.has_avx512() }
        && let Some(tiles) = tiles
    {
        for i in (0..job.n).step_by(TILE_ROWS) {
            matrix_tile::<S, F, P>(s, format, job, i, rows.clone(), (panels, tiles));
        }
        return;
    }
    let mut i = 0;
    if S::PANEL_TILE == 8 {
        while i + 8 <= job.n {
            panel_tile::<S, F, P, 8>(s, format, job, i, rows.clone(), panels);
            i += 8;
        }
    }
    while i + 4 <= job.n {
        panel_tile::<S, F, P, 4>(s, format, job, i, rows.clone(), panels);
        i += 4;
    }
    while i < job.n {
        panel_tile::<S, F, P, 1>(s, format, job, i, rows.clone(), panels);
        i += 1;
    }
}

/// The rows of the panels, which are the first of `rows` of the weight, with activation rows `i .. i + N`.
#[inline(always)]
fn panel_tile<S: Simd, F: RowFormat, const P: usize, const N: usize>(
    s: S,
    format: F,
    job: &Work,
    i: usize,
    rows: Range<usize>,
    panels: [&Panel; P],
) {
    // The stores at the end would wait for their cache lines, and all stores after them for them.
    expect(s, job, i..i + N, rows.start..rows.end.min(rows.start + P * PANEL_ROWS));
    let sums = format.panel_dot::<S, P, N>(s, panels, act_rows::<F, N>(job, i));
    for (p, sums) in sums.into_iter().enumerate() {
        let first = rows.start + p * PANEL_ROWS;
        for (n, sum) in sums.into_iter().enumerate() {
            write(s, job, i + n, first..rows.end.min(first + PANEL_ROWS), sum);
        }
    }
}

/// The rows of the panels, which are the first of `rows` of the weight, with at most sixteen activation rows from `i` on.
#[inline(always)]
fn matrix_tile<S: Simd, F: RowFormat, const P: usize>(
    s: S,
    format: F,
    job: &Work,
    i: usize,
    rows: Range<usize>,
    (panels, tiles): ([&Panel; P], &mut PanelTiles),
) {
    let n = TILE_ROWS.min(job.n - i);
    expect(s, job, i..i + n, rows.start..rows.end.min(rows.start + P * PANEL_ROWS));
    // A tile is sixteen rows; what comes of those that fill it up is left there.
    let mut x = [job.x.row(F::ACTIVATIONS, x_row(job, i)); TILE_ROWS];
    for (n, x) in x.iter_mut().enumerate().take(n) {
        *x = job.x.row(F::ACTIVATIONS, x_row(job, i + n));
    }
    for (p, panel) in panels.into_iter().enumerate() {
        let first = rows.start + p * PANEL_ROWS;
        let sums = format.tile_dot(s, tiles, panel, &x);
        for (n, sum) in sums.into_iter().enumerate().take(n) {
            write(s, job, i + n, first..rows.end.min(first + PANEL_ROWS), sum);
        }
    }
}

/// Asks for the cache lines of results of some activation rows and weight rows.
#[inline(always)]
fn expect<S: Simd>(s: S, job: &Work, x: Range<usize>, rows: Range<usize>) {
    for i in x {
        let row = i * job.weight.rows();
        for first in rows.clone().step_by(PANEL_ROWS) {
            s.prefetch(job.y.address(row + first).cast());
        }
        // Results need not begin at the beginning of a line.
        s.prefetch(job.y.address(row + rows.end - 1).cast());
    }
}

/// Writes the results of selected activation row `i` with some weight rows, at most sixteen.
#[inline(always)]
fn write<S: Simd>(s: S, job: &Work, i: usize, rows: Range<usize>, sums: S::F32) {
    let start = i * job.weight.rows();
    // SAFETY: tasks own disjoint weight rows, hence disjoint columns of y.
    s.store_partial(sums, unsafe { job.y.range_mut(start + rows.start..start + rows.end) });
}

/// `rows` of the weight with the selected activation rows `i .. i + N`.
#[inline(always)]
fn tile<S: Simd, F: RowFormat, const N: usize>(s: S, format: F, job: &Work, i: usize, rows: Range<usize>) {
    let x = act_rows::<F, N>(job, i);
    for row in rows {
        let sums = format.dot::<S, N>(s, WeightRow::of(&job.weight, row), x);
        for (n, sum) in sums.into_iter().enumerate() {
            // SAFETY: tasks own disjoint weight rows, hence disjoint columns of y.
            unsafe { job.y.write((i + n) * job.weight.rows() + row, sum) };
        }
    }
}

/// The selected activation rows `i .. i + N`.
#[inline(always)]
fn act_rows<'a, F: RowFormat, const N: usize>(job: &Work<'a>, i: usize) -> [ActRow<'a>; N] {
    let mut x = [job.x.row(F::ACTIVATIONS, x_row(job, i)); N];
    for (n, x) in x.iter_mut().enumerate() {
        *x = job.x.row(F::ACTIVATIONS, x_row(job, i + n));
    }
    x
}

/// The activation row behind selected row `i`.
#[inline(always)]
fn x_row(job: &Work, i: usize) -> usize {
    match job.x_rows {
        RowSet::All => i,
        RowSet::List(rows) => rows[i] as usize,
    }
}
