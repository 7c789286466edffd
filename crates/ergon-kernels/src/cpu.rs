//! The machine as a value: which instruction set to use and the threads to use it with.

use std::sync::{Mutex, PoisonError};

use crate::{
    isa::{Isa, IsaError},
    pool::ThreadPool,
    quant::panel::Panel,
};

/// What every kernel needs to know about the machine it runs on.
pub struct Cpu {
    /// The instruction set kernels run with; the CPU has it.
    pub isa: Isa,
    /// The threads kernels run on.
    pub pool: ThreadPool,
    /// Panels that no thread uses at the moment; each has grown to the widest product it has met.
    panels: Mutex<Vec<[Panel; 2]>>,
}

impl Cpu {
    /// The fastest instruction set of this CPU and `threads` threads, the caller's included (at least one).
    pub fn new(threads: usize) -> Cpu {
        Cpu { isa: Isa::detect(), pool: ThreadPool::new(threads), panels: Mutex::default() }
    }

    /// A chosen instruction set; fails if this CPU does not have it.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Cpu, IsaError> {
        Ok(Cpu { isa: isa.require()?, ..Cpu::new(threads) })
    }

    /// Panels for the calling thread, until it gives them back.
    pub(crate) fn take_panels(&self) -> [Panel; 2] {
        self.panels.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps panels for the next who needs some.
    pub(crate) fn give_panels(&self, panels: [Panel; 2]) {
        self.panels.lock().unwrap_or_else(PoisonError::into_inner).push(panels);
    }
}
