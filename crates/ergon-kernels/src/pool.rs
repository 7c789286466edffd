//! A pool of threads for parallel regions that last microseconds.
//!
//! A decode step of a language model is some hundreds of regions of 10 to 500 microseconds each. A thread
//! that sleeps between them would cost more to wake than the region lasts, so a worker first *spins* on one
//! word; a server that has nothing to do must not burn a core, so a worker that has spun for [`SPIN`] in vain
//! *parks*.
//!
//! One atomic word, `state`, holds the whole protocol (see [`Shared`]): the number of the region, whether it
//! is open, and how many workers are inside. A worker enters by a compare-and-swap that only succeeds while
//! the region is open; the caller works too, closes the region when no task is left, and then waits only for
//! the workers that did enter. A worker the operating system has not scheduled yet therefore never delays
//! anybody.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread watches the state word before it gives its core away. Longer than the serial work
/// between two regions of a decode step (routing, sampling), short beside a scheduler's time slice.
const SPIN: Duration = Duration::from_micros(60);
/// The same when there are more threads than cores: whoever spins then keeps somebody else from working.
const SPIN_OVERSUBSCRIBED: Duration = Duration::from_micros(2);
/// Yields to the scheduler between spinning and parking.
const YIELDS: u32 = 4;
/// A yield that takes this long has let another thread run: the machine is busy, so park at once.
const BUSY_YIELD: Duration = Duration::from_micros(20);
/// More threads than any machine we know has cores; also keeps the count of workers inside its 16 bits.
const MAX_THREADS: usize = 4096;

/// `state`: bit 63 shutdown, bits 17..63 number of the region, bit 16 open, bits 0..16 workers inside.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const REGION: u64 = 1 << 17;
const SHUTDOWN: u64 = 1 << 63;

thread_local! {
    /// Whether this thread is inside a region, of whatever pool. A region started from there runs inline: its
    /// caller would otherwise wait for a pool that waits for the caller.
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

/// The closure of the running region with its type and lifetime erased.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    /// Calls the closure behind `data` with a task number.
    call: unsafe fn(*const (), usize),
    n_tasks: usize,
}

/// Keeps what one side writes often out of the cache line (or pair of lines) the other side polls.
#[repr(align(128))]
struct Padded<T>(T);

/// What workers and callers share. Atomics are sequentially consistent throughout: the two "announce, then
/// look again" hand-overs (parking a worker, waiting for the last worker) need it, the rest is too rare to
/// matter.
struct Shared {
    state: Padded<AtomicU64>,
    next_task: Padded<AtomicUsize>,
    /// Written only by the thread that holds `callers`, while the region is closed and empty; read only by
    /// workers that have entered an open region.
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// One region at a time.
    callers: Mutex<()>,
    caller_waits: AtomicBool,
    region_empty: Condvar,
    region_empty_lock: Mutex<()>,
    /// Per worker: it is parked, or about to be and will look at `state` once more first.
    parked: Vec<Padded<AtomicBool>>,
    spin: Duration,
}

// SAFETY: `job` is the only part that is not Sync (raw pointer in an UnsafeCell). Its accesses are ordered by
// `state`: see the comments at the field, in `open_region` and in `enter`. The closure it points at is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only used while the caller that owns the closure waits in `run`.
unsafe impl Send for Shared {}

/// Threads that run parallel regions: the calling thread and `threads() - 1` workers.
///
/// Sharing is by reference: regions started from several threads at once take turns.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller of [`ThreadPool::run`] included; 0 counts as 1.
    ///
    /// When the system refuses a thread (a limit on processes, no memory) the pool goes on with those it has:
    /// [`ThreadPool::threads`] tells how many.
    pub fn new(threads: usize) -> ThreadPool {
        let wanted = threads.clamp(1, MAX_THREADS) - 1;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            state: Padded(AtomicU64::new(0)),
            next_task: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            callers: Mutex::new(()),
            caller_waits: AtomicBool::new(false),
            region_empty: Condvar::new(),
            region_empty_lock: Mutex::new(()),
            parked: (0..wanted).map(|_| Padded(AtomicBool::new(false))).collect(),
            spin: if wanted < cores { SPIN } else { SPIN_OVERSUBSCRIBED },
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("ergon-{index}")).spawn(move || shared.worker(index)).ok()
        };
        let workers = (0..wanted).map_while(spawn).collect();
        ThreadPool { shared, workers }
    }

    /// How many threads take part in a region, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)`, ..., `task(n_tasks - 1)`, each once, and returns when all are done. Idle threads take
    /// the next number, so tasks may differ in length; which thread runs which task is not defined.
    ///
    /// A region started from inside a task runs inline on that thread. Without workers, tasks run in order.
    ///
    /// # Panics
    /// When a task panics, no further task is started, and the first panic goes on in the caller once all
    /// running tasks have ended. The pool stays usable.
    pub fn run<F: Fn(usize) + Sync>(&self, n_tasks: usize, task: F) {
        if self.workers.is_empty() || n_tasks < 2 || IN_REGION.get() {
            (0..n_tasks).for_each(task);
            return;
        }
        let turn = lock(&self.shared.callers);
        self.open_region(Job { data: (&raw const task).cast(), call: call_erased::<F>, n_tasks });
        self.shared.work(n_tasks, &task);
        self.shared.close_region();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Publishes `job` and wakes as many parked workers as it has use for. The caller holds `callers`.
    fn open_region(&self, job: Job) {
        let shared = &*self.shared;
        // SAFETY: we hold `callers`, and the last region was closed and seen empty by `close_region`, so no
        // worker reads `job`; none will until the store to `state` below, which orders this write before
        // their reads.
        unsafe { *shared.job.get() = Some(job) };
        shared.next_task.0.store(0, SeqCst);
        let region = (shared.state.0.load(SeqCst) & !(REGION - 1)).wrapping_add(REGION) & !SHUTDOWN;
        shared.state.0.store(region | OPEN, SeqCst);

        let wanted = self.workers.len().min(job.n_tasks - 1);
        let parked = |index: usize| shared.parked[index].0.load(SeqCst);
        let awake = (0..self.workers.len()).filter(|&index| !parked(index)).count();
        let sleepers = (0..self.workers.len()).filter(|&index| parked(index));
        for index in sleepers.take(wanted.saturating_sub(awake)) {
            shared.parked[index].0.store(false, SeqCst);
            self.workers[index].thread().unpark();
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // Nobody is inside a region: `run` borrows the pool.
        self.shared.state.0.fetch_or(SHUTDOWN, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker cannot panic: tasks run under catch_unwind.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn worker(&self, index: usize) {
        let mut done = 0;
        while let Some(region) = self.await_region(index, done) {
            done = region;
            if let Some(job) = self.enter(region) {
                // SAFETY: we are counted as inside the region, and `run` keeps the closure alive until nobody
                // is.
                self.work(job.n_tasks, &|task| unsafe { (job.call)(job.data, task) });
                self.leave();
            }
        }
    }

    /// Waits for an open region other than `done`; None at shutdown.
    fn await_region(&self, index: usize, done: u64) -> Option<u64> {
        let mut patience = Patience::new(self.spin);
        loop {
            let state = self.state.0.load(SeqCst);
            let region = state & !(REGION - 1);
            if state & SHUTDOWN != 0 {
                return None;
            }
            if state & OPEN != 0 && region != done {
                return Some(region);
            }
            if patience.wait() {
                continue;
            }
            // Announce first, look again, then sleep: a caller that opens a region after our look sees the
            // announcement, and its unpark makes this or the next `park` return.
            self.parked[index].0.store(true, SeqCst);
            if self.state.0.load(SeqCst) == state {
                thread::park();
            }
            self.parked[index].0.store(false, SeqCst);
            patience = Patience::new(self.spin);
        }
    }

    /// Enters the region if it is still open; the job is then valid until `leave`.
    fn enter(&self, region: u64) -> Option<Job> {
        let mut state = self.state.0.load(SeqCst);
        while state & !INSIDE == region | OPEN {
            match self.state.0.compare_exchange_weak(state, state + 1, SeqCst, SeqCst) {
                // SAFETY: the region was open when we were counted in, so `job` is this region's, and it is
                // not written again before the count of workers inside is back at zero.
                Ok(_) => return unsafe { *self.job.get() },
                Err(now) => state = now,
            }
        }
        None
    }

    fn leave(&self) {
        let before = self.state.0.fetch_sub(1, SeqCst);
        let last_of_closed = before & (OPEN | INSIDE) == 1;
        if last_of_closed && self.caller_waits.load(SeqCst) {
            // Taking the lock orders us after the caller's decision to sleep.
            drop(lock(&self.region_empty_lock));
            self.region_empty.notify_one();
        }
    }

    /// Takes tasks until none is left; a panic is kept for the caller and ends the region early.
    fn work(&self, n_tasks: usize, task: &impl Fn(usize)) {
        IN_REGION.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next_task.0.fetch_add(1, SeqCst);
                if index >= n_tasks {
                    return;
                }
                task(index);
            }
        }));
        IN_REGION.set(false);
        if let Err(payload) = result {
            self.next_task.0.store(n_tasks, SeqCst);
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// Lets nobody in any more and waits until nobody is inside.
    fn close_region(&self) {
        let empty = |state: u64| state & INSIDE == 0;
        if empty(self.state.0.fetch_and(!OPEN, SeqCst)) {
            return;
        }
        let mut patience = Patience::new(self.spin);
        while !empty(self.state.0.load(SeqCst)) {
            if patience.wait() {
                continue;
            }
            // Announce, look again under the lock, sleep: the last worker reads the announcement after it has
            // left.
            self.caller_waits.store(true, SeqCst);
            let mut guard = lock(&self.region_empty_lock);
            while !empty(self.state.0.load(SeqCst)) {
                guard = self.region_empty.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            drop(guard);
            self.caller_waits.store(false, SeqCst);
        }
    }
}

/// Spinning, then a few yields, then no more.
struct Patience {
    until: Instant,
    yields_left: u32,
}

impl Patience {
    fn new(spin: Duration) -> Patience {
        Patience { until: Instant::now() + spin, yields_left: YIELDS }
    }

    /// Waits a little; false when it is time to sleep instead.
    fn wait(&mut self) -> bool {
        for _ in 0..8 {
            spin_loop();
        }
        let now = Instant::now();
        if now < self.until {
            return true;
        }
        if self.yields_left == 0 {
            return false;
        }
        self.yields_left -= 1;
        thread::yield_now();
        if now.elapsed() > BUSY_YIELD {
            self.yields_left = 0;
        }
        true
    }
}

/// Locks a mutex whose data no panic can leave half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
/// `data` points to a live `F`.
unsafe fn call_erased<F: Fn(usize)>(data: *const (), task: usize) {
    // SAFETY: by contract.
    let task_fn = unsafe { &*data.cast::<F>() };
    task_fn(task);
}
