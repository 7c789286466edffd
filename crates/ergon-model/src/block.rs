//! A transformer layer without positions or a cache: the vision encoder's over its patches, and the action expert's over
//! its waypoints and a context.
//!
//! ```text
//! x += out(softmax(q(n) [context, k(n)]^T / sqrt(head)) [context, v(n)])    n = norm1(x)
//! x += down(silu(gate(n)) * up(n))                                          n = norm2(x)
//! ```

use ergon_kernels::ops::{self, AttentionRow, AttentionShape, KeyValues, KvSlice};
use ergon_kernels::{ActivationBuffer, Cpu, matmul_jobs};

use crate::binder::Binder;
use crate::error::ModelError;
use crate::mlp::{job, linear};
use crate::scratch::{MlpScratch, sized};
use crate::weights::{Linear, MlpWeights};

/// What all layers of an encoder have in common.
#[derive(Clone, Copy)]
pub(crate) struct BlockShape {
    /// Width of a row.
    pub(crate) hidden: usize,
    /// Width of the feed-forward part.
    pub(crate) inner: usize,
    /// Heads; each is `hidden / heads` wide.
    pub(crate) heads: usize,
    /// Epsilon of the norms.
    pub(crate) eps: f32,
}

/// How a family names the parts that are called differently.
pub(crate) struct BlockNames {
    /// Norm before attention.
    pub(crate) norm1: &'static str,
    /// Matrix behind the heads.
    pub(crate) out: &'static str,
    /// Norm before the feed-forward part.
    pub(crate) norm2: &'static str,
}

/// The weights of one layer.
pub(crate) struct BlockWeights {
    /// `[hidden]`
    norm1: Vec<f32>,
    /// `[hidden, hidden]` each
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    /// `[hidden]`
    norm2: Vec<f32>,
    mlp: MlpWeights,
}

/// Keys and values `[context + rows, hidden]` of one layer; the rows of the context stand first and are the caller's.
#[derive(Default)]
pub(crate) struct BlockKv {
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

/// Buffers of a layer.
#[derive(Default)]
pub(crate) struct BlockScratch {
    /// `[rows, hidden]`
    normed: Vec<f32>,
    /// `[rows, hidden]`
    q: Vec<f32>,
    /// `[rows, hidden]`
    mixed: Vec<f32>,
    /// `[rows, hidden]`
    output: Vec<f32>,
    activations: ActivationBuffer,
    inner: ActivationBuffer,
    mlp: MlpScratch,
}

/// A matrix by its full name, without a bias.
pub(crate) fn bare(binder: &Binder, name: &str, rows: usize, cols: usize) -> Result<Linear, ModelError> {
    let weight = binder.whole_matrix(&format!("{name}.weight"), rows, cols)?;
    Ok(Linear { weight, bias: None })
}

/// A matrix and its bias by their full names.
pub(crate) fn biased(binder: &Binder, name: &str, rows: usize, cols: usize) -> Result<Linear, ModelError> {
    let bias = binder.whole_floats(&format!("{name}.bias"), &[rows])?;
    Ok(Linear { bias: Some(bias), ..bare(binder, name, rows, cols)? })
}

/// A norm's weights by their full name.
pub(crate) fn norm(binder: &Binder, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
    binder.whole_floats(&format!("{name}.weight"), &[len])
}

impl BlockWeights {
    pub(crate) fn bind(
        binder: &Binder,
        stem: &str,
        shape: BlockShape,
        names: &BlockNames,
    ) -> Result<BlockWeights, ModelError> {
        let BlockShape { hidden, inner, .. } = shape;
        let square = |part: &str| bare(binder, &format!("{stem}.self_attn.{part}"), hidden, hidden);
        let wide = |part: &str, rows, cols| bare(binder, &format!("{stem}.mlp.{part}"), rows, cols);
        Ok(BlockWeights {
            norm1: norm(binder, &format!("{stem}.{}", names.norm1), hidden)?,
            q_proj: square("q_proj")?,
            k_proj: square("k_proj")?,
            v_proj: square("v_proj")?,
            out_proj: square(names.out)?,
            norm2: norm(binder, &format!("{stem}.{}", names.norm2), hidden)?,
            mlp: MlpWeights {
                gate_proj: wide("gate_proj", inner, hidden)?,
                up_proj: wide("up_proj", inner, hidden)?,
                down_proj: wide("down_proj", hidden, inner)?,
            },
        })
    }

    /// Advances `x` `[rows, hidden]` through the layer. `kv` holds `context` rows already.
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        shape: BlockShape,
        context: usize,
        x: &mut [f32],
        kv: &mut BlockKv,
        scratch: &mut BlockScratch,
    ) {
        let BlockScratch { normed, q, mixed, output, activations, inner, mlp } = scratch;
        let width = shape.hidden;
        let normed = sized(normed, x.len());
        let output = sized(output, x.len());
        let mixed = sized(mixed, x.len());

        ops::rms_norm(cpu, x, &self.norm1, shape.eps, normed);
        let formats = [&self.q_proj, &self.k_proj, &self.v_proj].map(|linear| linear.weight.format());
        let input = activations.prepare(cpu, normed, width, formats);
        let q = sized(q, x.len());
        let total = context * width + x.len();
        let (k, v) = (sized(&mut kv.k, total), sized(&mut kv.v, total));
        matmul_jobs(
            cpu,
            &mut [
                job(&self.q_proj, input, q),
                job(&self.k_proj, input, &mut k[context * width..]),
                job(&self.v_proj, input, &mut v[context * width..]),
            ],
        );
        attend(cpu, shape, q, (k, v), mixed);
        let heads = inner.prepare(cpu, mixed, width, [self.out_proj.weight.format()]);
        linear(cpu, &self.out_proj, heads, output);
        ops::add_in_place(cpu, x, output);

        ops::rms_norm(cpu, x, &self.norm2, shape.eps, normed);
        let input = activations.prepare(cpu, normed, width, self.mlp.input_formats());
        self.mlp.forward(cpu, input, mlp, output);
        ops::add_in_place(cpu, x, output);
    }
}

/// Every row of `q` `[rows, hidden]` sees all of `k` and `v` `[positions, hidden]`.
fn attend(cpu: &Cpu, shape: BlockShape, q: &[f32], (k, v): (&[f32], &[f32]), out: &mut [f32]) {
    let width = shape.hidden;
    let head_dim = width / shape.heads;
    let kv = KeyValues { k: KvSlice::F32(k), v: KvSlice::F32(v), k_row_stride: width, v_row_stride: width };
    let rows = vec![AttentionRow { kv, visible: 0..k.len() / width }; q.len() / width];
    let attention = AttentionShape {
        n_heads: shape.heads,
        n_kv_heads: shape.heads,
        k_dim: head_dim,
        v_dim: head_dim,
        scale: (head_dim as f32).powf(-0.5),
    };
    ops::attention(cpu, &attention, q, &rows, out);
}
