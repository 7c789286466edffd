//! Ctrl-C as a request that the running work looks at between two steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context;

/// Exit status of a program that Ctrl-C ended, as shells give it: 128 + SIGINT.
pub(crate) const INTERRUPTED_STATUS: u8 = 130;

/// Set by Ctrl-C, taken by whoever acts on it.
#[derive(Clone)]
pub(crate) struct Interrupt {
    pending: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler (once per process). A second Ctrl-C before the first was taken ends the process with status
    /// 130 at once: the way out when one step takes long.
    pub(crate) fn install() -> anyhow::Result<Interrupt> {
        let interrupt = Interrupt { pending: Arc::new(AtomicBool::new(false)) };
        let pending = Arc::clone(&interrupt.pending);
        ctrlc::set_handler(move || {
            if pending.swap(true, Ordering::SeqCst) {
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
}
