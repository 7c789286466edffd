//! Softmax of one row.

use super::exp::exp;
use crate::{
    Cpu,
    simd::{Simd, dispatch},
};

/// `x[i] = e^(x[i] - max x) / sum of those`, f32. Minus infinity becomes 0; a row with nothing else becomes
/// NaN.
pub fn softmax_in_place(cpu: &Cpu, x: &mut [f32]) {
    softmax(cpu.isa, x);
}

dispatch! {
    fn softmax(x: &mut [f32]) = softmax_simd;
}

#[inline(always)]
fn softmax_simd<S: Simd>(s: S, x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks_mut::<16>();
    // Lanes without an element weigh nothing.
    let mut last = [f32::NEG_INFINITY; 16];
    last[..tail.len()].copy_from_slice(tail);

    let mut max = s.load(&last);
    for chunk in chunks.iter() {
        max = s.max(s.load(chunk), max);
    }
    let max = s.splat(s.reduce_max(max));

    let mut sum = s.zero();
    for chunk in chunks.iter_mut() {
        let e = exp(s, s.sub(s.load(chunk), max));
        s.store(e, chunk);
        sum = s.add(sum, e);
    }
    let last = exp(s, s.sub(s.load(&last), max));
    let sum = s.splat(s.reduce_add(s.add(sum, last)));

    for chunk in chunks {
        s.store(s.div(s.load(chunk), sum), chunk);
    }
    s.store_partial(s.div(last, sum), tail);
}
