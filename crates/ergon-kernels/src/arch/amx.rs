//! Matrix tiles (AMX): eight registers of up to sixteen rows of 64 bytes. The instructions that multiply are with those who
//! multiply; here is what they share.
//!
//! Instructions are written as assembly because the compiler's intrinsics for them are not stable. No tile is used by
//! compiled code, so they keep their contents from one `asm!` to the next.
//!
//! Formats: Intel, "Architecture Instruction Set Extensions Programming Reference", chapter on AMX.

use core::arch::asm;
#[cfg(target_os = "linux")]
use core::arch::x86_64::{__cpuid_count, _xgetbv};
use core::marker::PhantomData;
use std::sync::LazyLock;

use super::Avx512;

/// Rows of a whole tile.
pub(crate) const SIDE: usize = 16;

/// Proof that the CPU has AVX-512 as [`Avx512`] wants it and tiles of bytes and of bfloat16, and that the operating system
/// lets this process use them.
#[derive(Clone, Copy)]
pub(crate) struct Amx(());

impl Amx {
    /// The token, if there are tiles. Linux is asked for them once.
    pub(crate) fn new() -> Option<Amx> {
        static AVAILABLE: LazyLock<bool> =
            LazyLock::new(|| Avx512::new().is_some() && (available() || emulated()));
        AVAILABLE.then_some(Amx(()))
    }
}

/// Tests of this crate do without the CPU's.
fn emulated() -> bool {
    #[cfg(all(test, target_os = "linux"))]
    {
        super::amx_emulated::install()
    }
    #[cfg(not(all(test, target_os = "linux")))]
    {
        false
    }
}

/// Whether the CPU has the tiles and the operating system lets this process use them, which it is asked for here.
fn available() -> bool {
    #[cfg(target_os = "linux")]
    {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        const AMX_INT8: u32 = 1 << 25;
        const OSXSAVE: u32 = 1 << 27;
        const TILE_STATE: u64 = 3 << 17;
        let wanted = AMX_BF16 | AMX_TILE | AMX_INT8;
        if __cpuid_count(0, 0).eax < 7
            || __cpuid_count(7, 0).edx & wanted != wanted
            || __cpuid_count(1, 0).ecx & OSXSAVE == 0
        {
            return false;
        }
        // SAFETY: `OSXSAVE` says that the instruction exists.
        let enabled = unsafe { xcr0() };
        enabled & TILE_STATE == TILE_STATE && permitted()
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// # Safety
/// The CPU must have `xgetbv`.
#[cfg(target_os = "linux")]
#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

/// Asks Linux for the state of the tiles, which is large and not everyone's: `arch_prctl(ARCH_REQ_XCOMP_PERM,
/// XFEATURE_XTILEDATA)`. It holds for the process and may be asked for again.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that reads and writes no memory of this process; `syscall` overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// The shapes of the eight tiles.
#[repr(C, align(64))]
pub(crate) struct Configuration([u8; 64]);

impl Configuration {
    /// Rows, and bytes of a row, of each tile.
    pub(crate) const fn new(shapes: [[u8; 2]; 8]) -> Configuration {
        let mut bytes = [0; 64];
        bytes[0] = 1; // The palette.
        let mut tile = 0;
        while tile < 8 {
            let [rows, row_bytes] = shapes[tile];
            assert!(
                rows as usize <= SIDE && row_bytes <= 64 && row_bytes.is_multiple_of(4),
                "no shape of a tile"
            );
            bytes[16 + 2 * tile] = row_bytes;
            bytes[48 + tile] = rows;
            tile += 1;
        }
        Configuration(bytes)
    }
}

/// Eight whole tiles.
pub(crate) static WHOLE: Configuration = Configuration::new([[SIDE as u8, 64]; 8]);

/// The tiles of this thread, configured for as long as the value lives.
pub(crate) struct Tiles {
    /// They are this thread's.
    _here: PhantomData<*const ()>,
}

impl Tiles {
    /// Configures them.
    ///
    /// # Safety
    /// No other value of this type may live on this thread: its tiles would no longer have the shapes it was made for.
    pub(crate) unsafe fn new(_: Amx, configuration: &Configuration) -> Tiles {
        // SAFETY: the token proves that the CPU has the instruction, and the configuration is 64 bytes of a known palette.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) configuration.0.as_ptr(), options(nostack, readonly));
        }
        Tiles { _here: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the value proves that the CPU has the instruction.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// Loads a tile from rows `$stride` bytes apart.
macro_rules! load {
    ($tile:literal, $at:expr, $stride:expr) => {
        asm!(
            concat!("tileloadd tmm", $tile, ", [{at} + {stride}*1]"),
            at = in(reg) $at,
            stride = in(reg) $stride,
            options(nostack, readonly, preserves_flags),
        )
    };
}

/// Writes a tile to rows `$stride` bytes apart.
macro_rules! store {
    ($tile:literal, $at:expr, $stride:expr) => {
        asm!(
            concat!("tilestored [{at} + {stride}*1], tmm", $tile),
            at = in(reg) $at,
            stride = in(reg) $stride,
            options(nostack, preserves_flags),
        )
    };
}

/// Makes a tile zero.
macro_rules! zero {
    ($tile:literal,) => {
        asm!(concat!("tilezero tmm", $tile), options(nostack, nomem, preserves_flags))
    };
}

pub(crate) use {load, store, zero};
