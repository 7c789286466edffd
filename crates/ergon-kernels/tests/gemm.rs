//! The training products against plain sums in f64 of the rounded factors, on every arithmetic this machine has.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use ergon_kernels::Isa;
use ergon_kernels::cases::Random;
use ergon_kernels::float::{bf16_to_f32, f32_to_bf16};
use ergon_kernels::gemm::{
    Gemm, PackedColumns, PackedRows, PackedWeight, Write, forward, input_gradient, weight_gradient,
};

/// `(m, n, k)`: sizes of the driver, and sizes around tiles (8 rows, 16 columns), lines (16, 32), pairs,
/// and depths that tiles turn in one go (512).
const SHAPES: [(usize, usize, usize); 16] = [
    (1, 1, 1),
    (1, 2, 3),
    (2, 16, 2),
    (3, 17, 5),
    (7, 15, 31),
    (8, 48, 32),
    (9, 33, 33),
    (13, 64, 18),
    (16, 80, 64),
    (33, 112, 47),
    (100, 128, 128),
    (65, 96, 130),
    (25, 128, 512),
    (41, 7, 300),
    (517, 20, 40),
    (1040, 33, 17),
];

fn arithmetics() -> Vec<Gemm> {
    Isa::available().into_iter().flat_map(Gemm::available).collect()
}

fn rounded(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(bf16_to_f32(f32_to_bf16(x)))).collect()
}

/// A sum of products in f64, and the sum of their magnitudes.
fn sum(products: impl Iterator<Item = f64>) -> (f64, f64) {
    products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()))
}

/// Half of the bound between instruction sets that the module states: `(depth + 2) 2^-24` of the magnitudes.
fn check(what: &str, gemm: Gemm, got: &[f32], right: &[(f64, f64)], depth: usize) {
    assert_eq!(got.len(), right.len(), "{what}");
    for (i, (&got, &(right, size))) in got.iter().zip(right).enumerate() {
        let bound = (depth + 2) as f64 * 2f64.powi(-24) * size + 1e-37;
        let error = (f64::from(got) - right).abs();
        assert!(error <= bound, "{what}, {gemm:?}: [{i}] is {got}, not {right}: {error:.2e} > {bound:.2e}");
    }
}

struct Case {
    shape: (usize, usize, usize),
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(shape: (usize, usize, usize)) -> Case {
        let (m, n, k) = shape;
        let mut random = Random::new((m * 10_000 + n * 100 + k) as u64);
        let (x, w) = (random.normals(m * k), random.normals(n * k));
        Case { shape, x, w, dy: random.normals(m * n), bias: random.normals(n) }
    }

    fn forward(&self, bias: bool) -> Vec<(f64, f64)> {
        let (m, n, k) = self.shape;
        let (x, w) = (rounded(&self.x), rounded(&self.w));
        let element = |i: usize| {
            let (row, col) = (i / n, i % n);
            let bias = if bias { f64::from(self.bias[col]) } else { 0.0 };
            sum((0..k).map(|p| x[row * k + p] * w[col * k + p]).chain([bias]))
        };
        (0..m * n).map(element).collect()
    }

    fn input_gradient(&self) -> Vec<(f64, f64)> {
        let (m, n, k) = self.shape;
        let (dy, w) = (rounded(&self.dy), rounded(&self.w));
        let element = |i: usize| sum((0..n).map(|p| dy[i / k * n + p] * w[p * k + i % k]));
        (0..m * k).map(element).collect()
    }

    fn weight_gradient(&self) -> Vec<(f64, f64)> {
        let (m, n, k) = self.shape;
        let (dy, x) = (rounded(&self.dy), rounded(&self.x));
        let element = |i: usize| sum((0..m).map(|p| dy[p * n + i / k] * x[p * k + i % k]));
        (0..n * k).map(element).collect()
    }
}

/// What a product adds to: numbers that the right result gets too.
fn onto(mut right: Vec<(f64, f64)>, start: &[f32]) -> Vec<(f64, f64)> {
    for ((sum, size), &start) in right.iter_mut().zip(start) {
        *sum += f64::from(start);
        *size += f64::from(start).abs();
    }
    right
}

#[test]
fn products_match() {
    for shape in SHAPES {
        let (m, n, k) = shape;
        let case = Case::new(shape);
        let start = |len: usize| Random::new(9).normals(len);
        for gemm in arithmetics() {
            let (mut x, mut dy, mut w) =
                (PackedRows::default(), PackedRows::default(), PackedWeight::default());
            x.pack(gemm, &case.x, k);
            dy.pack(gemm, &case.dy, n);
            w.pack(gemm, &case.w, n, k);

            let mut y = vec![f32::NAN; m * n];
            forward(gemm, &x, &w, None, &mut y, Write::Set);
            check("forward", gemm, &y, &case.forward(false), k);
            forward(gemm, &x, &w, Some(&case.bias), &mut y, Write::Set);
            check("forward with bias", gemm, &y, &case.forward(true), k + 1);
            let mut y = start(m * n);
            forward(gemm, &x, &w, Some(&case.bias), &mut y, Write::Add);
            check("forward added", gemm, &y, &onto(case.forward(true), &start(m * n)), k + 2);

            let mut dx = vec![f32::NAN; m * k];
            input_gradient(gemm, &dy, &w, &mut dx, Write::Set);
            check("input gradient", gemm, &dx, &case.input_gradient(), n);
            let mut dx = start(m * k);
            input_gradient(gemm, &dy, &w, &mut dx, Write::Add);
            check("input gradient added", gemm, &dx, &onto(case.input_gradient(), &start(m * k)), n + 1);

            let (mut x, mut dy) = (PackedColumns::default(), PackedColumns::default());
            x.pack(gemm, &case.x, k);
            dy.pack(gemm, &case.dy, n);
            let mut dw = start(n * k);
            weight_gradient(gemm, &dy, &x, &mut dw);
            check("weight gradient", gemm, &dw, &onto(case.weight_gradient(), &start(n * k)), m + 1);
        }
    }
}

/// Buffers are reused from larger to smaller shapes and back; nothing of the earlier contents may show.
#[test]
fn buffers_are_reused() {
    for gemm in arithmetics() {
        let (mut x, mut w) = (PackedRows::default(), PackedWeight::default());
        let (mut x_cols, mut dy_cols) = (PackedColumns::default(), PackedColumns::default());
        for shape in [(33, 112, 47), (3, 17, 5), (40, 16, 130), (1, 1, 1)] {
            let (case, (m, n, k)) = (Case::new(shape), shape);
            x.pack(gemm, &case.x, k);
            w.pack(gemm, &case.w, n, k);
            let mut y = vec![f32::NAN; m * n];
            forward(gemm, &x, &w, None, &mut y, Write::Set);
            check("forward", gemm, &y, &case.forward(false), k);
            x_cols.pack(gemm, &case.x, k);
            dy_cols.pack(gemm, &case.dy, n);
            let mut dw = vec![0.0; n * k];
            weight_gradient(gemm, &dy_cols, &x_cols, &mut dw);
            check("weight gradient", gemm, &dw, &case.weight_gradient(), m);
        }
    }
}

#[test]
fn gathered_rows_are_the_rows_listed() {
    let (m, n, k) = (12, 20, 37);
    let case = Case::new((m, n, k));
    let list = [7, 0, 7, 11, 3];
    let picked = |x: &[f32], cols: usize| -> Vec<f32> {
        list.iter().flat_map(|&row| x[row * cols..(row + 1) * cols].to_vec()).collect()
    };
    for gemm in arithmetics() {
        let mut w = PackedWeight::default();
        w.pack(gemm, &case.w, n, k);
        let (mut gathered, mut dense) = (PackedRows::default(), PackedRows::default());
        gathered.gather(gemm, &case.x, k, &list);
        dense.pack(gemm, &picked(&case.x, k), k);
        let (mut a, mut b) = (vec![0.0; list.len() * n], vec![0.0; list.len() * n]);
        forward(gemm, &gathered, &w, None, &mut a, Write::Set);
        forward(gemm, &dense, &w, None, &mut b, Write::Set);
        assert_eq!(a, b);

        let mut columns = [(); 4].map(|()| PackedColumns::default());
        columns[0].gather(gemm, &case.dy, n, &list);
        columns[1].gather(gemm, &case.x, k, &list);
        columns[2].pack(gemm, &picked(&case.dy, n), n);
        columns[3].pack(gemm, &picked(&case.x, k), k);
        let (mut a, mut b) = (vec![0.0; n * k], vec![0.0; n * k]);
        weight_gradient(gemm, &columns[0], &columns[1], &mut a);
        weight_gradient(gemm, &columns[2], &columns[3], &mut b);
        assert_eq!(a, b);

        // An expert that no token chose: nothing is written, nothing fails.
        gathered.gather(gemm, &case.x, k, &[]);
        forward(gemm, &gathered, &w, None, &mut [], Write::Set);
        columns[0].gather(gemm, &case.dy, n, &[]);
        columns[1].gather(gemm, &case.x, k, &[]);
        weight_gradient(gemm, &columns[0], &columns[1], &mut a);
        assert_eq!(a, b);
    }
}

/// A row of the result is the same bits whatever rows stand beside it.
#[test]
fn rows_do_not_depend_on_their_company() {
    let (m, n, k) = (21, 80, 96);
    let case = Case::new((m, n, k));
    for gemm in arithmetics() {
        let (mut x, mut w) = (PackedRows::default(), PackedWeight::default());
        w.pack(gemm, &case.w, n, k);
        x.pack(gemm, &case.x, k);
        let mut all = vec![0.0; m * n];
        forward(gemm, &x, &w, None, &mut all, Write::Set);
        for row in 0..m {
            x.pack(gemm, &case.x[row * k..(row + 1) * k], k);
            let mut alone = vec![0.0; n];
            forward(gemm, &x, &w, None, &mut alone, Write::Set);
            assert_eq!(alone, all[row * n..(row + 1) * n], "row {row}, {gemm:?}");
        }
    }
}

/// Multiplying by one shows the rounding of the other factor: ties go to even, on every arithmetic alike.
#[test]
fn factors_are_rounded_to_nearest_even() {
    let mut x = vec![0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1.5e-38];
    for upper in [0x3f80_u32, 0x3f81, 0x4049, 0x0080, 0x7f7e] {
        for lower in [0x0000_u32, 0x7fff, 0x8000, 0x8001, 0xffff] {
            x.push(f32::from_bits(upper << 16 | lower));
            x.push(-f32::from_bits(upper << 16 | lower));
        }
    }
    for gemm in arithmetics() {
        let (mut rows, mut one) = (PackedRows::default(), PackedWeight::default());
        one.pack(gemm, &[1.0], 1, 1);
        rows.pack(gemm, &x, 1);
        let mut y = vec![0.0; x.len()];
        forward(gemm, &rows, &one, None, &mut y, Write::Set);
        let mut weights = PackedWeight::default();
        weights.pack(gemm, &x, x.len(), 1);
        rows.pack(gemm, &[1.0], 1);
        let mut z = vec![0.0; x.len()];
        forward(gemm, &rows, &weights, None, &mut z, Write::Set);
        for ((&x, y), z) in x.iter().zip(y).zip(z) {
            let right = bf16_to_f32(f32_to_bf16(x));
            for got in [y, z] {
                assert!(
                    got == right || got.is_nan() && right.is_nan(),
                    "{gemm:?}: {x:e} is {got:e}, not {right:e}"
                );
            }
        }
    }
}

#[test]
fn another_arithmetic_is_refused() {
    // Those of one instruction set hold their factors in different ways; older machines have but one.
    for all in Isa::available().into_iter().map(Gemm::available) {
        for pair in all.windows(2) {
            let (mut x, mut w) = (PackedRows::default(), PackedWeight::default());
            x.pack(pair[0], &[1.0; 4], 2);
            w.pack(pair[1], &[1.0; 4], 2, 2);
            let product = std::panic::AssertUnwindSafe(|| {
                forward(pair[1], &x, &w, None, &mut [0.0; 4], Write::Set);
            });
            let refused = std::panic::catch_unwind(product).expect_err("packed for another arithmetic");
            assert!(refused.downcast_ref::<String>().is_some_and(|told| told.starts_with("packed as")));
        }
    }
}
