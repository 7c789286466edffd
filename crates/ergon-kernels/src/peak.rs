//! What the arithmetic units do with bytes that are there already: the denominator of benchmarks.

use std::hint::black_box;

use crate::{
    Isa,
    simd::{Simd, Step, dispatch},
};
#[cfg(target_arch = "x86_64")]
use crate::{arch::Amx, quant::panel_tiles};

/// Sums that are under way at a time: more than any latency needs, fewer than there are registers.
const SUMS: usize = 12;

/// Multiplies bytes that wait in the first-level cache and adds them in 32 bits, as products of rounded weights and
/// activations do, and gives back how many operations that were (a multiplication and an addition are two). On AVX2
/// weights of four bits, which are added in 16 bits at first, could do more. On matrix tiles all are zero, which takes them as long.
///
/// # Panics
///
/// If this CPU lacks the instruction set; one of another architecture runs as portable code.
pub fn measure_byte_peak(isa: Isa, rounds: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let (Isa::Amx, Some(amx)) = (isa, Amx::new()) {
        return panel_tiles::peak(amx, rounds);
    }
    byte_products(isa, rounds)
}

dispatch! {
    fn byte_products(rounds: usize) -> u64 = byte_products_simd;
}

#[inline(always)]
fn byte_products_simd<S: Simd>(s: S, rounds: usize) -> u64 {
    // Where a vector is several registers, fewer sums fill them.
    let used = if S::ISA == Isa::Avx512 { SUMS } else { SUMS / 3 };
    let weights = s.load_u8(&black_box([3; 64]));
    let activations = [Step([5; 64]); SUMS];
    let mut sums = [s.splat_i32(0); SUMS];
    for _ in 0..rounds {
        // Read anew each time, or the compiler would multiply once for all rounds.
        for (sum, a) in sums.iter_mut().zip(black_box(&activations)).take(used) {
            *sum = s.dot_u7(*sum, weights, s.load_u8(&a.0));
        }
    }
    for sum in sums {
        let mut lanes = [0; 16];
        s.store_i32(sum, &mut lanes);
        black_box(&lanes);
    }
    (rounds * used * 64 * 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted() {
        for isa in Isa::available() {
            assert_eq!(measure_byte_peak(isa, 0), 0);
            let one = measure_byte_peak(isa, 1);
            assert!(one >= 128 && measure_byte_peak(isa, 10) == 10 * one, "{isa}: {one}");
        }
    }
}
