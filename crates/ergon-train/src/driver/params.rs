//! The parameters as one flat array, and where each tensor lies in it.
//!
//! Gradients, moments and averages have the same layout, so that the optimiser, the checkpoint and the export each are
//! one loop.

use ergon_world::Rng;

/// What a tensor is, which decides how it is trained and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// A factor of a matrix product: weight decay applies; stored in bfloat16.
    Matrix,
    /// Rows that are looked up: no decay; stored in bfloat16.
    Table,
    /// A norm's weight or a bias: no decay; stored in single precision.
    Vector,
    /// The router's balancing bias: follows the load of the experts, not the gradient; stored in single precision.
    RouterBias,
}

/// One tensor's name, shape and place.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name in the published file.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
    /// Index of the first value in the flat array.
    pub offset: usize,
    /// Standard deviation of the first values; for vectors, the value itself.
    pub initial: f32,
    /// So many columns at the end of each row are there while learning only: they are not stored.
    pub learning_only: usize,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Extents of what is stored.
    pub fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(columns) = shape.last_mut() {
            *columns = self.row().1;
        }
        shape
    }

    /// Values of a row, and how many of them are stored.
    pub fn row(&self) -> (usize, usize) {
        let columns = self.shape.last().copied().unwrap_or_default();
        (columns, columns - self.learning_only)
    }

    /// The place in the flat array.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// All tensors, in the order of the flat array.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    tensors: Vec<TensorInfo>,
    len: usize,
}

impl Layout {
    /// The tensors.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Values of all tensors together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn add(&mut self, name: String, shape: &[usize], kind: TensorKind, initial: f32) -> usize {
        let offset = self.len;
        let tensor = TensorInfo { name, shape: shape.to_vec(), kind, offset, initial, learning_only: 0 };
        self.len += tensor.len();
        self.tensors.push(tensor);
        offset
    }

    /// Leaves out the last `columns` of the rows of a tensor when it is stored.
    pub(crate) fn set_learning_only(&mut self, name: &str, columns: usize) {
        let tensor =
            self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of the layout");
        tensor.learning_only = columns;
    }

    /// First values from a seed: normal for matrices and tables, constant for vectors. Each tensor has a stream of its
    /// own, so that a change of one does not change the others.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for (index, tensor) in self.tensors.iter().enumerate() {
            let own = &mut values[tensor.range()];
            match tensor.kind {
                TensorKind::Matrix | TensorKind::Table => {
                    let mut rng = Rng::new(seed).split(index as u64);
                    own.fill_with(|| rng.normal() as f32 * tensor.initial);
                }
                TensorKind::Vector | TensorKind::RouterBias => own.fill(tensor.initial),
            }
        }
        values
    }
}
