//! Ctrl-C as a request that the running work looks at between two steps. SIGTERM and SIGHUP are the same request.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context;

use crate::unfinished;

/// Exit status of a program that Ctrl-C ended, as shells give it: 128 + SIGINT.
pub(crate) const INTERRUPTED_STATUS: u8 = 130;

/// Set by Ctrl-C, taken by whoever acts on it.
#[derive(Clone)]
pub(crate) struct Interrupt {
    pending: Arc<AtomicBool>,
    /// Whether nothing runs that could act on it.
    idle: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler (once per process). A second Ctrl-C before the first was taken ends the process with status
    /// 130 at once: the way out when one step takes long.
    pub(crate) fn install() -> anyhow::Result<Interrupt> {
        let interrupt = Interrupt { pending: Arc::default(), idle: Arc::default() };
        let Interrupt { pending, idle } = interrupt.clone();
        ctrlc::set_handler(move || {
            if pending.swap(true, Ordering::SeqCst) || idle.load(Ordering::SeqCst) {
                unfinished::remove_all();
                std::process::exit(i32::from(INTERRUPTED_STATUS));
            }
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// True once Ctrl-C was pressed, for work that is to end then and never goes on.
    pub(crate) fn pending(&self) -> &AtomicBool {
        &self.pending
    }

    /// The same flag for work that keeps it.
    pub(crate) fn pending_shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// Whether Ctrl-C was pressed since the last call.
    pub(crate) fn take(&self) -> bool {
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// Waits for something that no flag can end: the first Ctrl-C ends the process.
    pub(crate) fn while_idle<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.idle.store(true, Ordering::SeqCst);
        let result = wait();
        self.idle.store(false, Ordering::SeqCst);
        result
    }
}

/// Lets hangups pass by a process that was started to outlive its terminal (`nohup`): the handler would take them for
/// Ctrl-C. To be called before the first thread starts, since threads inherit what is blocked.
#[cfg(target_os = "linux")]
pub(crate) fn outlive_terminal_if_asked() {
    use nix::sys::signal::{SigSet, Signal};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if ignores_hangup(&status) {
        let mut hangup = SigSet::empty();
        hangup.add(Signal::SIGHUP);
        // The only failure is a wrong argument.
        let _ = hangup.thread_block();
    }
}

/// Whether the SIGHUP bit, the lowest, of the ignored signals is set in a `/proc/PID/status`.
#[cfg(target_os = "linux")]
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen_in_the_mask() {
        assert!(ignores_hangup("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001006\n"));
        assert!(!ignores_hangup("") && !ignores_hangup("SigIgn:\tx"));
    }
}
