//! What the cache of routed experts did while decoding was measured.

use std::time::Duration;

use ergon_engine::ExpertCacheReport;
use serde::Serialize;

/// The cache of routed experts while one sequence decoded, warm-up included. If all weights stay in memory, every expert is
/// found there and nothing is read.
#[derive(Serialize)]
pub(super) struct Cache {
    hit_rate: f64,
    /// From the disk and from the page cache.
    pub(super) bytes_read: u64,
    bytes_read_per_token: f64,
    /// Share of the bytes that the page cache had: 0 if it was cold, 1 if it held all.
    page_cache_share: f64,
    /// 1e9 bytes per second from the disk over the whole time, and what the disk gave when nothing else was done; null if
    /// the page cache held all.
    disk_gb_s: f64,
    pub(super) disk_limit_gb_s: Option<f64>,
    /// Rate that reading from memory and missed bytes from the disk would allow at most, and the share of it reached.
    limit_tokens_per_s: Option<f64>,
    fraction_of_limit: Option<f64>,
    /// Share of the time in which layers waited for experts.
    stall_share: f64,
    /// Experts read ahead for the next layer, and those that were overwritten unused.
    read_ahead: u64,
    read_ahead_unused: u64,
    /// Share of visits that went to the most visited tenth of each layer's experts, over the whole run, and of visits
    /// that the token before made too: how skewed and how local routing was.
    top_tenth_share: f64,
    repeated_share: f64,
}

impl Cache {
    pub(super) fn of(
        reports: Option<(ExpertCacheReport, ExpertCacheReport)>,
        elapsed: Duration,
        tokens: usize,
    ) -> Cache {
        let (before, after) =
            reports.map_or_else(Default::default, |(before, after)| (before.stats, after.stats));
        let visits = (after.visits - before.visits) as f64;
        let share = |part: u64| if visits > 0.0 { part as f64 / visits } else { 0.0 };
        let disk_bytes = after.disk_bytes - before.disk_bytes;
        let page_cache_bytes = after.page_cache_bytes - before.page_cache_bytes;
        let bytes_read = disk_bytes + page_cache_bytes;
        Cache {
            hit_rate: if visits > 0.0 { share(after.hits - before.hits) } else { 1.0 },
            bytes_read,
            bytes_read_per_token: bytes_read as f64 / tokens.max(1) as f64,
            page_cache_share: page_cache_bytes as f64 / (bytes_read as f64).max(1.0),
            disk_gb_s: disk_bytes as f64 / 1e9 / elapsed.as_secs_f64(),
            disk_limit_gb_s: None,
            limit_tokens_per_s: None,
            fraction_of_limit: None,
            stall_share: (after.stall - before.stall).as_secs_f64() / elapsed.as_secs_f64(),
            read_ahead: after.ahead - before.ahead,
            read_ahead_unused: after.ahead_unused - before.ahead_unused,
            top_tenth_share: reports.map_or(0.0, |(_, after)| after.top_tenth_share),
            repeated_share: share(after.repeated - before.repeated),
        }
    }

    /// Sets the limit: the slower of memory and disk.
    pub(super) fn compare(&mut self, tokens_per_s: f64, memory_limit_tokens_per_s: f64) {
        let Some(disk) = self.disk_limit_gb_s else { return };
        let from_disk = self.bytes_read_per_token * (1.0 - self.page_cache_share);
        let limit = memory_limit_tokens_per_s.min(disk * 1e9 / from_disk.max(1.0));
        self.limit_tokens_per_s = Some(limit);
        self.fraction_of_limit = Some(tokens_per_s / limit);
    }

    /// For people; nothing if no expert was read.
    pub(super) fn lines(&self) -> String {
        if self.bytes_read == 0 {
            return String::new();
        }
        let percent = |fraction: f64| format!("{:.1} %", fraction * 100.0);
        let known = |value: Option<f64>| value.map_or("unknown".to_string(), |value| format!("{value:.2}"));
        format!(
            "expert cache          {} found, {:.1} MB read per token, {} of it from the page cache, {} of the time waiting\n\
         read ahead            {} experts, {} of them in vain\n\
         disk                  {:.2} GB/s of {} GB/s\n\
         limit                 {} tokens/s from memory and disk, {} of it reached\n\
         routing               {} of visits to a tenth of the experts, {} as the token before\n",
            percent(self.hit_rate),
            self.bytes_read_per_token / 1e6,
            percent(self.page_cache_share),
            percent(self.stall_share),
            self.read_ahead,
            self.read_ahead_unused,
            self.disk_gb_s,
            known(self.disk_limit_gb_s),
            known(self.limit_tokens_per_s),
            self.fraction_of_limit.map_or("unknown".to_string(), percent),
            percent(self.top_tenth_share),
            percent(self.repeated_share),
        )
    }
}
