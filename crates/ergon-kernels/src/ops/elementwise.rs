//! Operations on each element by itself.

use super::{exp::exp, for_each_piece};
use crate::{
    Cpu,
    simd::{Simd, dispatch},
};

/// `x[i] += y[i]`.
///
/// # Panics
/// When the lengths differ.
pub fn add_in_place(cpu: &Cpu, x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "add_in_place: {} and {} elements", x.len(), y.len());
    for_each_piece(cpu, x, 1, |first, x| add(cpu.isa, &y[first..first + x.len()], x));
}

/// `y[i] += a * x[i]`, rounded twice on every instruction set.
///
/// # Panics
/// When the lengths differ.
pub fn axpy(cpu: &Cpu, a: f32, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "axpy: {} and {} elements", x.len(), y.len());
    for_each_piece(cpu, y, 1, |first, y| add_multiple(cpu.isa, a, &x[first..first + y.len()], y));
}

/// `out[i] = silu(gate[i]) * up[i]` with `silu(g) = g / (1 + e^-g)` (Shazeer 2020, arXiv 2002.05202).
///
/// # Panics
/// When the lengths differ.
pub fn swiglu(cpu: &Cpu, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = out.len();
    assert!(gate.len() == n && up.len() == n, "swiglu: {} and {} to {n} elements", gate.len(), up.len());
    for_each_piece(cpu, out, 1, |first, out| {
        let range = first..first + out.len();
        gated(cpu.isa, &gate[range.clone()], &up[range], out);
    });
}

/// `x[i] = 1 / (1 + e^-x[i])`.
pub fn sigmoid_in_place(cpu: &Cpu, x: &mut [f32]) {
    for_each_piece(cpu, x, 1, |_, x| sigmoid(cpu.isa, x));
}

dispatch! {
    fn add(y: &[f32], x: &mut [f32]) = add_simd;
}
dispatch! {
    fn add_multiple(a: f32, x: &[f32], y: &mut [f32]) = add_multiple_simd;
}
dispatch! {
    fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) = gated_simd;
}
dispatch! {
    fn sigmoid(x: &mut [f32]) = sigmoid_simd;
}

#[inline(always)]
fn add_simd<S: Simd>(s: S, y: &[f32], x: &mut [f32]) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks_mut::<16>(), y.as_chunks::<16>());
    for (x, y) in x.iter_mut().zip(y) {
        s.store(s.add(s.load(x), s.load(y)), x);
    }
    s.store_partial(s.add(s.load_partial(x_tail), s.load_partial(y_tail)), x_tail);
}

#[inline(always)]
fn add_multiple_simd<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) {
    let a = s.splat(a);
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<16>(), y.as_chunks_mut::<16>());
    for (x, y) in x.iter().zip(y) {
        s.store(s.add(s.load(y), s.mul(a, s.load(x))), y);
    }
    s.store_partial(s.add(s.load_partial(y_tail), s.mul(a, s.load_partial(x_tail))), y_tail);
}

#[inline(always)]
fn gated_simd<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let ((gate, gate_tail), (up, up_tail)) = (gate.as_chunks::<16>(), up.as_chunks::<16>());
    let (out, out_tail) = out.as_chunks_mut::<16>();
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        s.store(silu_times(s, s.load(gate), s.load(up)), out);
    }
    s.store_partial(silu_times(s, s.load_partial(gate_tail), s.load_partial(up_tail)), out_tail);
}

#[inline(always)]
fn silu_times<S: Simd>(s: S, gate: S::F32, up: S::F32) -> S::F32 {
    s.mul(s.div(gate, one_plus_exp_neg(s, gate)), up)
}

#[inline(always)]
fn sigmoid_simd<S: Simd>(s: S, x: &mut [f32]) {
    let (x, tail) = x.as_chunks_mut::<16>();
    for x in x {
        s.store(s.div(s.splat(1.0), one_plus_exp_neg(s, s.load(x))), x);
    }
    s.store_partial(s.div(s.splat(1.0), one_plus_exp_neg(s, s.load_partial(tail))), tail);
}

/// 1 + e^-x.
#[inline(always)]
fn one_plus_exp_neg<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.add(s.splat(1.0), exp(s, s.sub(s.zero(), x)))
}
