//! CPU mathematics: products with quantised weights, attention, normalisation, and the threads they run on.
//!
//! The caller owns every buffer and passes a [`Cpu`]: which instruction set to use, and the threads. A product takes a
//! [`MatrixRef`] (weights as they lie in a file) and [`Activations`] (rounded once for all products that read them):
//!
//! ```
//! use ergon_kernels::{ActivationBuffer, Cpu, MatrixRef, matmul, quantize};
//! use ergon_types::WeightFormat;
//!
//! let (rows, cols) = (2, 64);
//! let weights: Vec<f32> = (0..rows * cols).map(|i| i as f32 / 64.0).collect();
//! let mut stored = vec![0; rows * WeightFormat::Q8_0.row_bytes(cols).unwrap()];
//! quantize(WeightFormat::Q8_0, cols, &weights, &mut stored)?;
//!
//! let cpu = Cpu::new(2);
//! let w = MatrixRef::new(WeightFormat::Q8_0, rows, cols, &stored)?;
//! let x = vec![1.0; cols];
//! let mut buffer = ActivationBuffer::default();
//! let x = buffer.prepare(&cpu, &x, cols, [w.format()]);
//! let mut y = vec![0.0; rows];
//! matmul(&cpu, w, x, &mut y);
//! assert!((y[0] - 31.5).abs() < 0.3);
//! # Ok::<(), ergon_kernels::MatrixError>(())
//! ```
//!
//! # Map
//!
//! | where | what |
//! |---|---|
//! | `quant/` | weight formats, one file each, over three families of arithmetic; the canonical order of every sum |
//! | [`gemm`] | bfloat16 products for training, forward and backward |
//! | `activations` | rounding activations to eight bits |
//! | `matmul`, `matmul_transposed` | cutting products into tasks for threads |
//! | `matrix` | the checked door: bytes and a shape become a matrix or an error |
//! | [`ops`] | everything that is no product with weights: norms, rotary positions, softmax, attention |
//! | `simd` | the one abstraction over instruction sets and the dispatch macro |
//! | `arch/` | the instruction sets: portable Rust, AVX2, AVX-512, matrix tiles (AMX), NEON |
//! | `pool` | threads that spin briefly, then sleep |
//! | `peak` | what the arithmetic units do with bytes that are there already |
//! | [`cases`] | inputs shared by tests and benchmarks |
//!
//! # Promises
//!
//! - An element of a product depends on its weight row and its activation row alone, not on batch, tiling or threads.
//! - Products with block-quantised weights are the same bits on every instruction set; products with float weights on
//!   all but portable Rust, which cannot fuse multiplication and addition.
//! - Reading a format is exact; `dequantize_reference` is the plain statement of it, and tests hold everything to it.
//! - No call allocates, except where an [`ActivationBuffer`] or a panel of weights meets its largest product yet.
//! - Panics are for shapes that do not fit each other, our own mistake; bytes from outside only enter through
//!   [`MatrixRef::new`], which returns errors, and then no bit pattern makes a kernel panic or overflow.
//!
//! `unsafe` is for intrinsics (`arch/`), for matrix tiles (`gemm/tiles.rs`, `quant/panel_tiles.rs`), for calling code
//! compiled for an instruction set (`simd`), for sleeping threads that run a borrowed closure (`pool`), and for tasks that
//! write disjoint parts of one output (`shared` and its users).
#![allow(unsafe_code)]

mod activations;
mod arch;
pub mod cases;
mod cpu;
pub mod float;
pub mod gemm;
mod isa;
mod matmul;
mod matmul_transposed;
mod matrix;
pub mod ops;
mod peak;
mod pool;
mod quant;
mod shared;
mod simd;

pub use activations::{ActivationBuffer, Activations};
pub use cpu::Cpu;
pub use isa::{Isa, IsaError};
pub use matmul::{MatmulJob, RowSet, matmul, matmul_jobs};
pub use matmul_transposed::{TransposedJob, matmul_transposed};
pub use matrix::{MatrixError, MatrixRef};
pub use peak::measure_byte_peak;
pub use pool::ThreadPool;
pub use quant::{can_quantize, dequantize_reference, dequantize_row, quantize};
