//! The instruction sets. Each file wraps one of them in [`crate::simd::Simd`] and does nothing else, but for matrix tiles, which
//! are no vectors; a new one is a new file here, a line below, a name in `isa.rs` and an arm in the dispatch macro.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod amx_emulated;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use generic::Generic;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
