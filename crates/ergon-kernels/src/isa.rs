//! The instruction sets the kernels are compiled for, and which of them this CPU has.

use std::fmt;

use crate::arch;

/// An instruction set. A value of this type is only a name; the proof that the CPU has it is the token
/// (`arch::Avx2` and so on) that the dispatch macro asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable Rust, whatever the compiler makes of it.
    Generic,
    /// x86-64 with AVX2, FMA and F16C (Haswell 2013, Zen 2017, and later).
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI (Ice Lake 2019, Zen 4 2022, and later).
    Avx512,
    /// The vectors of [`Isa::Avx512`] and matrix tiles of bytes and bfloat16 (Sapphire Rapids 2023, and later).
    Amx,
    /// 64-bit Arm; `sdot` is used where the CPU has it.
    Neon,
}

/// An instruction set was asked for that this CPU, or this build, does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine has no {isa}: choose one of {available}, or leave the choice to detection")]
pub struct IsaError {
    /// What was asked for.
    pub isa: Isa,
    /// The names that would work, separated by commas.
    pub available: String,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 5] = [Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx];

    /// The fastest instruction set of this CPU.
    pub fn detect() -> Isa {
        *Isa::available().last().unwrap_or(&Isa::Generic)
    }

    /// What this CPU can run, slowest first; `Generic` is always there.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Generic => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => arch::Avx2::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => arch::Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => arch::Amx::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => arch::Neon::<false>::new().is_some(),
            #[allow(unreachable_patterns)] // Which of the arms above exist depends on the target.
            _ => false,
        }
    }

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Generic => "generic",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
        }
    }

    /// The instruction set of that name, whether or not this CPU has it.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name().eq_ignore_ascii_case(name))
    }

    /// Whether vectors are those of AVX-512.
    pub(crate) const fn has_avx512(self) -> bool {
        matches!(self, Isa::Avx512 | Isa::Amx)
    }

    /// Fails unless this CPU has it.
    pub(crate) fn require(self) -> Result<Isa, IsaError> {
        if self.is_available() {
            return Ok(self);
        }
        let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
        Err(IsaError { isa: self, available: names.join(", ") })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
