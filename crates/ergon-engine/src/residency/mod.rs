//! Routed experts under a memory budget: a cache of some of them, and threads that read the others.
//!
//! ```text
//! visit(layer, experts):  hits are computed with at once; each miss gets a buffer and goes to the readers, and after them
//!                         what the next layer will probably miss
//! buffer for a miss:      unused, or of the expert in memory that is least likely to be visited again soon
//! readers:                file -> buffer, checksum, ready
//! ```
//!
//! The readers are threads and not the kernel's asynchronous interface: reads are some hundred kilobytes and their number
//! is bounded by the buffers, so that as many threads as the disk likes requests at a time keep its queue as deep, on every
//! system. They wait nearly always, and the computing threads never fault on a page of the file.

mod cache;
mod guesses;
mod layout;
mod reader;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ergon_model::{ExpertBytes, ExpertFailure, ExpertPlace, ExpertStore, ExpertVisit, Guess};

use cache::{Cache, Fill};
use layout::Layout;
pub(crate) use reader::{FileReader, ReadExpert};

/// Reads that wait for the disk at the same time. Network disks gain up to here, local ones have enough with fewer.
const READERS: usize = 16;

/// What the expert cache has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpertStats {
    /// Experts that layers asked for.
    pub visits: u64,
    /// Of these, the ones that were in memory when they were asked for.
    pub hits: u64,
    /// Of these, the ones that the step before had visited too: how much routing repeats itself.
    pub repeated: u64,
    /// Bytes that came from the disk.
    pub disk_bytes: u64,
    /// Bytes that the page cache had, from another process or from before.
    pub page_cache_bytes: u64,
    /// Experts read ahead for the next layer, known or guessed to be visited there.
    pub ahead: u64,
    /// Of these, the ones that were overwritten before anyone asked for them.
    pub ahead_unused: u64,
    /// Time in which layers waited for reads.
    pub stall: Duration,
}

/// The expert cache of an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertCacheReport {
    /// What it has done.
    pub stats: ExpertStats,
    /// Experts that it has room for now.
    pub in_memory: usize,
    /// Experts in all layers together.
    pub total: usize,
    /// Memory that one takes.
    pub expert_bytes: u64,
    /// The share of all visits that went to the most visited tenth of each layer's experts (at least one of them).
    pub top_tenth_share: f64,
}

/// Keeps some routed experts in memory and reads the others as they are visited.
pub(crate) struct ExpertCache {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
}

struct Shared {
    cache: Mutex<Cache>,
    /// A job is in the queue, or it is time to stop.
    work: Condvar,
    /// A read has ended.
    done: Condvar,
    layouts: Vec<Layout>,
    reader: Box<dyn ReadExpert>,
    stop: AtomicBool,
}

impl ExpertCache {
    /// A cache for these experts, with no room yet ([`ExpertCache::set_capacity`]).
    ///
    /// # Errors
    /// Not a single thread can be started.
    pub(crate) fn new(places: &[ExpertPlace], reader: Box<dyn ReadExpert>) -> io::Result<ExpertCache> {
        let layouts: Vec<Layout> = places.iter().map(Layout::of).collect();
        let buffer_bytes = largest_buffer(&layouts);
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::new(places, buffer_bytes)),
            work: Condvar::new(),
            done: Condvar::new(),
            layouts,
            reader,
            stop: AtomicBool::new(false),
        });
        let mut cache = ExpertCache { shared, readers: Vec::new() };
        for _ in 0..READERS {
            let shared = Arc::clone(&cache.shared);
            let name = "expert reader".to_string();
            match std::thread::Builder::new().name(name).spawn(move || shared.read_until_stopped()) {
                Ok(reader) => cache.readers.push(reader),
                Err(reason) if cache.readers.is_empty() => return Err(reason),
                Err(_) => break,
            }
        }
        Ok(cache)
    }

    /// Bytes of memory that one expert takes.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.shared.lock().buffer_bytes() as u64
    }

    /// Makes room for so many experts. What was in memory and no longer has room is given back.
    pub(crate) fn set_capacity(&self, experts: usize) {
        self.shared.lock().set_capacity(experts);
    }

    /// Experts that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.shared.lock().capacity()
    }

    pub(crate) fn stats(&self) -> ExpertStats {
        self.shared.lock().stats
    }

    /// The share of all visits that went to the most visited tenth of each layer's experts: how skewed routing is.
    pub(crate) fn top_tenth_share(&self) -> f64 {
        self.shared.lock().top_tenth_share()
    }

    /// Experts in all layers together.
    pub(crate) fn len(&self) -> usize {
        self.shared.layouts.len()
    }
}

/// Memory that one of these experts takes: all buffers are as large as the largest needs.
pub(crate) fn buffer_bytes(places: &[ExpertPlace]) -> u64 {
    largest_buffer(&places.iter().map(Layout::of).collect::<Vec<_>>()) as u64
}

fn largest_buffer(layouts: &[Layout]) -> usize {
    layouts.iter().map(Layout::buffer_bytes).max().unwrap_or(0)
}

impl Drop for ExpertCache {
    fn drop(&mut self) {
        {
            // Under the lock, so that no reader is between its look at the flag and its wait.
            let _cache = self.shared.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.work.notify_all();
        for reader in self.readers.drain(..) {
            // A reader that panicked has nothing left to give back.
            let _ = reader.join();
        }
    }
}

impl fmt::Debug for ExpertCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExpertCache({} experts)", self.shared.layouts.len())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a reader.
    fn read_until_stopped(&self) {
        let mut cache = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let Some((index, buffer)) = cache.next_job() else {
                cache = self.work.wait(cache).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(cache);
            let read = reader::read(&*self.reader, &self.layouts[index], buffer);
            cache = self.lock();
            cache.finish(index, read, || self.layouts[index].changed());
            self.done.notify_all();
        }
    }
}

impl ExpertStore for ExpertCache {
    fn visit<'a>(
        &'a self,
        layer: usize,
        experts: &[usize],
        guess: Option<Guess>,
    ) -> Box<dyn ExpertVisit + 'a> {
        let mut cache = self.shared.lock();
        let wide = cache.begin_visit(layer, experts);
        let pending = experts.to_vec();
        let mut visit =
            Visit { shared: &self.shared, layer, wide, guess, pending, first: None, given: false };
        visit.first = Some(visit.advance(&mut cache));
        Box::new(visit)
    }

    fn wants_guess(&self, layer: usize) -> bool {
        self.shared.lock().wants_guess(layer)
    }
}

/// Experts that can be computed with.
type Ready = Vec<(usize, Arc<ExpertBytes>)>;

/// A visit of one layer.
struct Visit<'a> {
    shared: &'a Shared,
    layer: usize,
    /// Whether the layer wants so many of its experts that the following layers will too.
    wide: bool,
    /// What the next layer will probably visit, until it has been asked for.
    guess: Option<Guess>,
    /// Experts that have not been given yet, rising.
    pending: Vec<usize>,
    /// What there was when the visit began, until it is given.
    first: Option<Result<Ready, ExpertFailure>>,
    /// Whether some were given last time, which whoever had them has dropped since.
    given: bool,
}

impl Visit<'_> {
    /// Another visit may wait for the memory of what was given last.
    fn tell_others(&mut self) {
        if std::mem::take(&mut self.given) {
            self.shared.done.notify_all();
        }
    }

    /// Takes what can be computed with, and has the rest read.
    fn advance(&mut self, cache: &mut Cache) -> Result<Ready, ExpertFailure> {
        let mut ready = Vec::new();
        let mut failure = None;
        self.pending.retain(|&expert| match cache.take(self.layer, expert) {
            Fill::Present(bytes) => {
                ready.push((expert, bytes));
                false
            }
            Fill::Failed(reason) => {
                failure.get_or_insert(ExpertFailure { expert, reason });
                true
            }
            Fill::Coming => true,
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        if cache.request(self.layer, &self.pending, self.wide, &mut self.guess) {
            self.shared.work.notify_all();
        }
        self.given = !ready.is_empty();
        Ok(ready)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // Under the lock, so that nobody is between a look at the buffers and the wait for them.
        let _cache = self.shared.cache.lock();
        // Given or not, it is not held any more.
        self.first = None;
        self.tell_others();
    }
}

impl ExpertVisit for Visit<'_> {
    fn ready(&mut self) -> Result<Ready, ExpertFailure> {
        if let Some(first) = self.first.take()
            && first.as_ref().map_or(true, |ready| !ready.is_empty())
        {
            return first;
        }
        let shared = self.shared;
        let mut cache = shared.lock();
        self.tell_others();
        loop {
            let ready = self.advance(&mut cache)?;
            if !ready.is_empty() || self.pending.is_empty() {
                return Ok(ready);
            }
            let start = Instant::now();
            cache = shared.done.wait(cache).unwrap_or_else(PoisonError::into_inner);
            cache.stats.stall += start.elapsed();
        }
    }
}

#[cfg(test)]
mod tests;
