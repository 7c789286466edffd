//! Forward and backward passes of training against torch's autograd in double precision (`vectors/backward/make.py`),
//! on every instruction set this machine has.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use ergon_kernels::Isa;
use ergon_kernels::gemm::{
    Gemm, PackedColumns, PackedRows, PackedWeight, Write, forward, input_gradient, weight_gradient,
};
use ergon_kernels::ops::{
    AdamW, RopeLayout, SequenceAttention, SequenceMask, SequenceScratch, adamw_step, add_column_sums,
    cross_entropy, gather_rows, gelu_backward, gelu_forward, rms_norm_backward, rms_norm_forward,
    rope_backward_in_place, rope_in_place, scatter_add_rows, scatter_add_weighted,
    scatter_add_weighted_backward, sequence_attention, sequence_attention_backward, silu_backward,
    silu_forward, swiglu_backward, swiglu_forward,
};
use safetensors::{Dtype, SafeTensors};

/// Error of single precision, relative to the largest number of the tensor.
const BOUND: f64 = 2e-6;
/// The same where factors are rounded to bfloat16 (2^-9 each) and summed with random signs.
const BF16_BOUND: f64 = 1e-2;

const GOLDEN: &[u8] = include_bytes!("../../../vectors/backward/golden.safetensors");

struct Golden(SafeTensors<'static>);

impl Golden {
    fn open() -> Golden {
        Golden(SafeTensors::deserialize(GOLDEN).unwrap())
    }

    fn singles(&self, name: &str) -> Vec<f32> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F64, "{name}");
        tensor.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        tensor.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn indices(&self, name: &str) -> Vec<usize> {
        self.integers(name).into_iter().map(|index| index.try_into().unwrap()).collect()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.0.tensor(name).unwrap().shape().to_vec()
    }

    #[track_caller]
    fn expect(&self, isa: Isa, name: &str, got: &[f32], bound: f64) {
        let right = self.doubles(name);
        assert_eq!(got.len(), right.len(), "{name}");
        let largest = right.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
        for (i, (&got, &right)) in got.iter().zip(&right).enumerate() {
            let error = (f64::from(got) - right).abs() / largest;
            assert!(error <= bound, "{name} on {isa}: [{i}] is {got}, not {right}: {error:.2e}");
        }
    }
}

fn arithmetics() -> Vec<Gemm> {
    Isa::available().into_iter().flat_map(Gemm::available).collect()
}

/// A check that starts from numbers which the gradient is added to.
fn less(x: &[f32], start: f32) -> Vec<f32> {
    x.iter().map(|x| x - start).collect()
}

#[test]
fn rms_norm() {
    let golden = Golden::open();
    let (x, w, dout) =
        (golden.singles("rms_norm.x"), golden.singles("rms_norm.w"), golden.singles("rms_norm.dout"));
    for isa in Isa::available() {
        let (mut y, mut factors) = (vec![0.0; x.len()], vec![0.0; 5]);
        rms_norm_forward(isa, &x, &w, 1e-6, &mut y, &mut factors);
        golden.expect(isa, "rms_norm.out", &y, BOUND);
        for (write, start) in [(Write::Set, 0.0), (Write::Add, 1.0)] {
            let (mut dx, mut dw) = (vec![1.0; x.len()], vec![0.0; w.len()]);
            rms_norm_backward(isa, &x, &w, &factors, &dout, &mut dx, write, &mut dw);
            golden.expect(isa, "rms_norm.dx", &less(&dx, start), BOUND);
            golden.expect(isa, "rms_norm.dw", &dw, BOUND);
        }
    }
}

#[test]
fn gates() {
    let golden = Golden::open();
    let (gate, up, dout) =
        (golden.singles("swiglu.gate"), golden.singles("swiglu.up"), golden.singles("swiglu.dout"));
    for isa in Isa::available() {
        let (mut a, mut b) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        swiglu_forward(isa, &gate, &up, &mut a);
        golden.expect(isa, "swiglu.out", &a, BOUND);
        swiglu_backward(isa, &gate, &up, &dout, &mut a, &mut b);
        golden.expect(isa, "swiglu.dgate", &a, BOUND);
        golden.expect(isa, "swiglu.dup", &b, BOUND);

        let (x, dout) = (golden.singles("silu.x"), golden.singles("silu.dout"));
        silu_forward(isa, &x, &mut a);
        golden.expect(isa, "silu.out", &a, BOUND);
        silu_backward(isa, &x, &dout, &mut a);
        golden.expect(isa, "silu.dx", &a, BOUND);

        let (x, dout) = (golden.singles("gelu.x"), golden.singles("gelu.dout"));
        gelu_forward(isa, &x, &mut a);
        golden.expect(isa, "gelu.out", &a, BOUND);
        gelu_backward(isa, &x, &dout, &mut a);
        golden.expect(isa, "gelu.dx", &a, BOUND);
    }
}

#[test]
fn rope() {
    let golden = Golden::open();
    let (mut x, mut dx) = (golden.singles("rope.x"), golden.singles("rope.dout"));
    for (position, (x, dx)) in x.chunks_exact_mut(8).zip(dx.chunks_exact_mut(8)).enumerate() {
        let angle = |i: usize| position as f64 * 10_000f64.powf(-(i as f64) / 4.0);
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            (0..4).map(|i| (angle(i).cos() as f32, angle(i).sin() as f32)).unzip();
        rope_in_place(RopeLayout::Interleaved, x, &cos, &sin);
        rope_backward_in_place(RopeLayout::Interleaved, dx, &cos, &sin);
    }
    golden.expect(Isa::Generic, "rope.out", &x, BOUND);
    golden.expect(Isa::Generic, "rope.dx", &dx, BOUND);
}

#[test]
fn attention() {
    let golden = Golden::open();
    for (name, mask) in [
        ("attention_full", SequenceMask::Full),
        ("attention_causal", SequenceMask::Causal),
        ("attention_prefix", SequenceMask::Causal),
    ] {
        let read = |part: &str| golden.singles(&format!("{name}.{part}"));
        let (q, k, v, dout) = (read("q"), read("k"), read("v"), read("dout"));
        let (q_shape, v_shape) = (golden.shape(&format!("{name}.q")), golden.shape(&format!("{name}.v")));
        let [queries, heads, k_dim] = q_shape[..] else { panic!("{q_shape:?}") };
        let shape = SequenceAttention::dense(heads, (queries, v_shape[0]), (k_dim, v_shape[2]), mask);
        for gemm in arithmetics() {
            let isa = gemm.isa();
            let mut scratch = SequenceScratch::default();
            let mut kept = vec![f32::NAN; shape.probabilities_len()];
            let mut out = vec![f32::NAN; dout.len()];
            sequence_attention(gemm, &shape, &q, &k, &v, &mut out, &mut kept, &mut scratch);
            golden.expect(isa, &format!("{name}.out"), &out, BF16_BOUND);
            let (mut dq, mut dk, mut dv) =
                (vec![f32::NAN; q.len()], vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]);
            sequence_attention_backward(
                gemm,
                &shape,
                &q,
                &k,
                &v,
                &kept,
                &dout,
                &mut dq,
                &mut dk,
                &mut dv,
                &mut scratch,
            );
            golden.expect(isa, &format!("{name}.dq"), &dq, BF16_BOUND);
            golden.expect(isa, &format!("{name}.dk"), &dk, BF16_BOUND);
            golden.expect(isa, &format!("{name}.dv"), &dv, BF16_BOUND);
        }
    }
}

#[test]
fn linear() {
    let golden = Golden::open();
    let (m, n, k) = (6, 11, 19);
    let (x, w) = (golden.singles("linear.x"), golden.singles("linear.w"));
    let (bias, dout) = (golden.singles("linear.b"), golden.singles("linear.dout"));
    for gemm in arithmetics() {
        let isa = gemm.isa();
        let (mut rows, mut dy) = (PackedRows::default(), PackedRows::default());
        let (mut x_cols, mut dy_cols) = (PackedColumns::default(), PackedColumns::default());
        let mut weight = PackedWeight::default();
        rows.pack(gemm, &x, k);
        dy.pack(gemm, &dout, n);
        x_cols.pack(gemm, &x, k);
        dy_cols.pack(gemm, &dout, n);
        weight.pack(gemm, &w, n, k);
        let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
        forward(gemm, &rows, &weight, Some(&bias), &mut y, Write::Set);
        input_gradient(gemm, &dy, &weight, &mut dx, Write::Set);
        weight_gradient(gemm, &dy_cols, &x_cols, &mut dw);
        let mut db = vec![0.0; n];
        add_column_sums(isa, &dout, &mut db);
        golden.expect(isa, "linear.out", &y, BF16_BOUND);
        golden.expect(isa, "linear.dx", &dx, BF16_BOUND);
        golden.expect(isa, "linear.dw", &dw, BF16_BOUND);
        golden.expect(isa, "linear.db", &db, BOUND);
    }
}

#[test]
fn losses() {
    let golden = Golden::open();
    let targets: Vec<Option<usize>> =
        golden.integers("cross_entropy.targets").into_iter().map(|target| target.try_into().ok()).collect();
    for isa in Isa::available() {
        let mut logits = golden.singles("cross_entropy.logits");
        let found = cross_entropy(isa, &mut logits, 37, &targets, 1.0);
        golden.expect(isa, "cross_entropy.out", &[found.loss_sum as f32], BOUND);
        golden.expect(isa, "cross_entropy.dlogits", &logits, BOUND);
        assert_eq!(found.counted, 4);
    }
}

#[test]
fn rows_picked_and_returned() {
    let golden = Golden::open();
    let (table, ids) = (golden.singles("embedding.table"), golden.indices("embedding.ids"));
    let (x, rows) = (golden.singles("scatter.x"), golden.indices("scatter.rows"));
    let (weights, dout) = (golden.singles("scatter.weights"), golden.singles("scatter.dout"));
    for isa in Isa::available() {
        let mut out = vec![0.0; ids.len() * 20];
        gather_rows(&table, 20, &ids, &mut out);
        golden.expect(isa, "embedding.out", &out, 0.0);
        let mut dtable = vec![0.0; table.len()];
        scatter_add_rows(isa, &golden.singles("embedding.dout"), 20, &ids, &mut dtable);
        golden.expect(isa, "embedding.dtable", &dtable, BOUND);

        let mut out = vec![0.0; 4 * 20];
        scatter_add_weighted(isa, &x, 20, &rows, &weights, &mut out);
        golden.expect(isa, "scatter.out", &out, BOUND);
        let (mut dx, mut dweights) = (vec![0.0; x.len()], vec![0.0; 3]);
        scatter_add_weighted_backward(isa, &x, 20, &rows, &weights, &dout, &mut dx, &mut dweights);
        golden.expect(isa, "scatter.dx", &dx, BOUND);
        golden.expect(isa, "scatter.dweights", &dweights, BOUND);
    }
}

#[test]
fn four_steps_of_adamw() {
    let golden = Golden::open();
    for isa in Isa::available() {
        let mut weight = golden.singles("adamw.before");
        let (mut mean, mut square) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
        for step in 1..=4 {
            let gradient = golden.singles(&format!("adamw.gradient{}", step - 1));
            // Twice the gradient at half the scale is the same step.
            let doubled: Vec<f32> = gradient.iter().map(|g| 2.0 * g).collect();
            let adam = AdamW {
                rate: 1e-2,
                beta1: 0.9,
                beta2: 0.99,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                gradient_scale: 0.5,
            };
            adamw_step(isa, &adam, &mut weight, &doubled, &mut mean, &mut square);
        }
        golden.expect(isa, "adamw.after", &weight, BOUND);
    }
}
