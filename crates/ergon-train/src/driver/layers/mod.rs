//! Layers: each computes its result and keeps what its gradient needs in a tape of its own.
//!
//! A layer reads the residual stream and adds to it; its backward pass reads the gradient of the stream behind it and
//! adds to it, which makes it the gradient before it. Gradients of weights are added to one flat array.

pub(crate) mod attention;
pub(crate) mod linear;
pub(crate) mod mla;
pub(crate) mod mlp;
pub(crate) mod moe;
pub(crate) mod norm;
pub(crate) mod self_attention;
