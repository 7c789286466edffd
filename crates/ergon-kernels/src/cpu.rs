//! The machine as a value: which instruction set to use and the threads to use it with.

use crate::{
    isa::{Isa, IsaError},
    pool::ThreadPool,
};

/// What every kernel needs to know about the machine it runs on.
pub struct Cpu {
    /// The instruction set kernels run with; the CPU has it.
    pub isa: Isa,
    /// The threads kernels run on.
    pub pool: ThreadPool,
}

impl Cpu {
    /// The fastest instruction set of this CPU and `threads` threads, the caller's included (at least one).
    pub fn new(threads: usize) -> Cpu {
        Cpu { isa: Isa::detect(), pool: ThreadPool::new(threads) }
    }

    /// A chosen instruction set; fails if this CPU does not have it.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Cpu, IsaError> {
        Ok(Cpu { isa: isa.require()?, pool: ThreadPool::new(threads) })
    }
}
