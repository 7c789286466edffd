//! Runs a template where it can do no harm: on a stack of its own, and not for ever.

use std::{
    io, panic,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// Stack for any template: the parser's and the compiler's recursion is limited, by them and by `lexical`.
const BASE_STACK_BYTES: usize = 64 << 20;
/// The values that a template builds can be nested as deep as its steps allow, and printing, comparing and dropping them
/// recurses: about five units of fuel make a level, and a level was measured to take less than 500 bytes.
const STACK_BYTES_PER_FUEL: usize = 160;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The system refused a thread.
    NoThread(io::Error),
    /// The time was over.
    TimedOut,
}

/// Runs `work`, which may use that much fuel, on a large stack (address space: the system backs only what is used) and
/// waits for it, but no longer than `limit`. The engine's budget counts every step and
/// every byte made, but not what it takes to compare two values, and a list that holds another twice, sixty levels deep,
/// takes 2^60 comparisons. Nothing can end such a thread from outside; it is left behind, and the caller must not start
/// a second one.
pub(super) fn run<T: Send + 'static>(
    limit: Duration,
    fuel: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    let (send, receive) = mpsc::sync_channel(1);
    let deepest = usize::try_from(fuel).unwrap_or(usize::MAX).saturating_mul(STACK_BYTES_PER_FUEL);
    let stack_bytes = BASE_STACK_BYTES.saturating_add(deepest);
    let builder = thread::Builder::new().name("chat template".to_string()).stack_size(stack_bytes);
    let spawned = builder.spawn(move || {
        // The receiver is gone when the time was over.
        let _ = send.send(work());
    });
    let thread = spawned.map_err(Stopped::NoThread)?;
    match receive.recv_timeout(limit) {
        Ok(value) => Ok(value),
        Err(RecvTimeoutError::Timeout) => Err(Stopped::TimedOut),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => panic::resume_unwind(payload),
            // It sent nothing and did not panic: it was ended by the system.
            Ok(()) => Err(Stopped::TimedOut),
        },
    }
}
