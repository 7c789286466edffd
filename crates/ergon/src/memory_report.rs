//! Where the memory goes, for `--json` and for people: the account of a plan or of a run.

use ergon_engine::{Engine, ExpertCacheReport, MemoryNeed};
use serde::Serialize;

use crate::machine;

/// Memory by kind. All kinds together are `needed_bytes`; where routed experts are read, what the budget has beyond them goes
/// to those.
#[derive(Serialize)]
pub(crate) struct MemoryReport {
    /// Null if none was given and the system does not tell what is free.
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) needed_bytes: u64,
    /// The program, its tokenizer and threads, and slack.
    pub(crate) process_bytes: u64,
    /// Weights that stay in memory.
    pub(crate) weights_bytes: u64,
    /// The least that a step can be computed with; 0 if all routed experts stay in memory.
    pub(crate) smallest_expert_cache_bytes: u64,
    pub(crate) kv_cache_bytes: u64,
    pub(crate) kv_tokens: usize,
    pub(crate) working_bytes: u64,
}

impl MemoryReport {
    pub(crate) fn of(need: &MemoryNeed) -> MemoryReport {
        MemoryReport {
            budget_bytes: Some(need.budget).filter(|&budget| budget < u64::MAX),
            needed_bytes: need.total(),
            process_bytes: need.process,
            weights_bytes: need.weights,
            smallest_expert_cache_bytes: need.expert_cache,
            kv_cache_bytes: need.kv_cache,
            kv_tokens: need.kv_tokens,
            working_bytes: need.working,
        }
    }
}

/// The account of a run.
#[derive(Serialize)]
pub(crate) struct RunMemory {
    /// The largest resident size of the process so far; mapped weights count once they are read.
    peak_bytes: Option<u64>,
    #[serde(flatten)]
    account: MemoryReport,
    /// Null if all weights stay in memory.
    experts: Option<Experts>,
}

impl RunMemory {
    /// Of an engine that has run a sequence of `tokens` tokens, prompt and output.
    pub(crate) fn of(engine: &Engine, tokens: usize) -> RunMemory {
        RunMemory {
            peak_bytes: machine::peak_resident_bytes(),
            account: MemoryReport::of(&engine.memory_need(tokens.min(engine.context_length()))),
            experts: engine.expert_cache().map(|cache| Experts::of(&cache)),
        }
    }
}

/// How routed experts were kept and read.
#[derive(Serialize)]
pub(crate) struct Experts {
    /// Experts that the cache has room for, and all there are.
    in_memory: usize,
    total: usize,
    /// Memory that one takes.
    expert_bytes: u64,
    visits: u64,
    /// Share of visits that found their expert in memory; null before the first.
    hit_rate: Option<f64>,
    disk_bytes: u64,
    /// What did not come from the disk because the page cache had it.
    page_cache_bytes: u64,
    read_ahead: u64,
    read_ahead_unused: u64,
    stall_s: f64,
}

impl Experts {
    fn of(cache: &ExpertCacheReport) -> Experts {
        let stats = &cache.stats;
        Experts {
            in_memory: cache.in_memory,
            total: cache.total,
            expert_bytes: cache.expert_bytes,
            visits: stats.visits,
            hit_rate: (stats.visits > 0).then(|| stats.hits as f64 / stats.visits as f64),
            disk_bytes: stats.disk_bytes,
            page_cache_bytes: stats.page_cache_bytes,
            read_ahead: stats.ahead,
            read_ahead_unused: stats.ahead_unused,
            stall_s: stats.stall.as_secs_f64(),
        }
    }
}
