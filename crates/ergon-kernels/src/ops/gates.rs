//! SiLU, SwiGLU and GELU (its tanh form), forward and backward, on the calling thread.
//!
//! With `sigma(u) = 1 / (1 + e^-u)`:
//!
//! ```text
//! silu(x)   = x sigma(x)                       silu'(x) = sigma (1 + x (1 - sigma))
//! swiglu    = silu(gate) up                    dgate = dout up silu'(gate),  dup = dout silu(gate)
//! gelu(x)   = x/2 (1 + tanh(u/2)) = x sigma(u) with u = 2 sqrt(2/pi) (x + 0.044715 x^3)
//! gelu'(x)  = sigma(u) + x sigma(u) (1 - sigma(u)) u'(x)
//! ```
//!
//! (Hendrycks and Gimpel 2016, arXiv 1606.08415; Shazeer 2020, arXiv 2002.05202.) The sigmoid spares a tanh of its own
//! and, unlike `1 + tanh`, loses no digits far below zero.

use super::exp::exp_fused;
use super::slices::{load_at, store_at};
use crate::{
    Isa,
    simd::{Simd, dispatch},
};

/// 2 sqrt(2 / pi).
const TWO_ROOT_2_OVER_PI: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

/// `y[i] = silu(x[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn silu_forward(isa: Isa, x: &[f32], y: &mut [f32]) {
    check("silu_forward", y.len(), &[x]);
    silu(isa, x, y);
}

/// `dx[i] = dy[i] silu'(x[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn silu_backward(isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    check("silu_backward", dx.len(), &[x, dy]);
    silu_gradient(isa, x, dy, dx);
}

/// `y[i] = gelu(x[i])`, the tanh form.
///
/// # Panics
/// When the lengths differ.
pub fn gelu_forward(isa: Isa, x: &[f32], y: &mut [f32]) {
    check("gelu_forward", y.len(), &[x]);
    gelu(isa, x, y);
}

/// `dx[i] = dy[i] gelu'(x[i])`, the tanh form.
///
/// # Panics
/// When the lengths differ.
pub fn gelu_backward(isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    check("gelu_backward", dx.len(), &[x, dy]);
    gelu_gradient(isa, x, dy, dx);
}

/// `out[i] = silu(gate[i]) * up[i]`, as [`swiglu`](super::swiglu) on one thread.
///
/// # Panics
/// When the lengths differ.
pub fn swiglu_forward(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    check("swiglu_forward", out.len(), &[gate, up]);
    gated(isa, gate, up, out);
}

/// `dgate[i] = dout[i] up[i] silu'(gate[i])` and `dup[i] = dout[i] silu(gate[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn swiglu_backward(isa: Isa, gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    check("swiglu_backward", dgate.len(), &[gate, up, dout, dup]);
    gated_gradient(isa, gate, up, dout, dgate, dup);
}

fn check(name: &str, len: usize, others: &[&[f32]]) {
    assert!(others.iter().all(|x| x.len() == len), "{name}: lengths differ from {len}");
}

dispatch! {
    fn silu(x: &[f32], y: &mut [f32]) = silu_simd;
}
dispatch! {
    fn silu_gradient(x: &[f32], dy: &[f32], dx: &mut [f32]) = silu_gradient_simd;
}
dispatch! {
    fn gelu(x: &[f32], y: &mut [f32]) = gelu_simd;
}
dispatch! {
    fn gelu_gradient(x: &[f32], dy: &[f32], dx: &mut [f32]) = gelu_gradient_simd;
}
dispatch! {
    fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) = gated_simd;
}
dispatch! {
    fn gated_gradient(
        gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32],
    ) = gated_gradient_simd;
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.div(s.splat(1.0), s.add(s.splat(1.0), exp_fused(s, s.sub(s.zero(), x))))
}

/// silu'(x), given sigma(x).
#[inline(always)]
fn silu_slope<S: Simd>(s: S, x: S::F32, sigma: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.mul(sigma, s.add(one, s.mul(x, s.sub(one, sigma))))
}

/// u of the head of this file, and its derivative.
#[inline(always)]
fn gelu_argument<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let (one, factor) = (s.splat(1.0), s.splat(TWO_ROOT_2_OVER_PI));
    let square = s.mul(x, x);
    let u = s.mul(s.mul(factor, x), s.add(one, s.mul(s.splat(CUBIC), square)));
    let slope = s.mul(factor, s.add(one, s.mul(s.splat(3.0 * CUBIC), square)));
    (u, slope)
}

#[inline(always)]
fn silu_simd<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    for at in (0..x.len()).step_by(16) {
        let x = load_at(s, x, at);
        store_at(s, s.mul(x, sigmoid(s, x)), y, at);
    }
}

#[inline(always)]
fn silu_gradient_simd<S: Simd>(s: S, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for at in (0..x.len()).step_by(16) {
        let x = load_at(s, x, at);
        store_at(s, s.mul(load_at(s, dy, at), silu_slope(s, x, sigmoid(s, x))), dx, at);
    }
}

#[inline(always)]
fn gelu_simd<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    for at in (0..x.len()).step_by(16) {
        let x = load_at(s, x, at);
        let (u, _) = gelu_argument(s, x);
        store_at(s, s.mul(x, sigmoid(s, u)), y, at);
    }
}

#[inline(always)]
fn gelu_gradient_simd<S: Simd>(s: S, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let one = s.splat(1.0);
    for at in (0..x.len()).step_by(16) {
        let x = load_at(s, x, at);
        let (u, slope) = gelu_argument(s, x);
        let sigma = sigmoid(s, u);
        let bent = s.mul(s.mul(x, slope), s.sub(one, sigma));
        let derivative = s.mul(sigma, s.add(one, bent));
        store_at(s, s.mul(load_at(s, dy, at), derivative), dx, at);
    }
}

#[inline(always)]
fn gated_simd<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for at in (0..out.len()).step_by(16) {
        let gate = load_at(s, gate, at);
        store_at(s, s.mul(s.mul(gate, sigmoid(s, gate)), load_at(s, up, at)), out, at);
    }
}

#[inline(always)]
fn gated_gradient_simd<S: Simd>(
    s: S,
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    for at in (0..dout.len()).step_by(16) {
        let (gate, dout) = (load_at(s, gate, at), load_at(s, dout, at));
        let sigma = sigmoid(s, gate);
        let slope = silu_slope(s, gate, sigma);
        store_at(s, s.mul(s.mul(dout, load_at(s, up, at)), slope), dgate, at);
        store_at(s, s.mul(dout, s.mul(gate, sigma)), dup, at);
    }
}
