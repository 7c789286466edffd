//! Gradient boosting of two-level trees on the logistic loss, monotone where the features say so; and folds by document.

use ergon_agent::verify::model::{Model, Tree};

/// Random numbers without a library: Knuth's MMIX generator.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        (1..list.len()).rev().for_each(|at| list.swap(at, self.below(at + 1)));
    }
}

/// What there is to choose.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) bags: usize,
    pub(crate) rounds: usize,
    pub(crate) rate: f64,
    pub(crate) rows: f64,
    pub(crate) features: usize,
    pub(crate) leaf: usize,
    pub(crate) ridge: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { bags: 4, rounds: 90, rate: 0.06, rows: 0.6, features: 14, leaf: 12, ridge: 1.0 }
    }
}

/// A fitted model that owns its trees.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) base: f32,
    pub(crate) trees: Vec<Tree>,
    pub(crate) calibration: [f32; 2],
}

impl Fitted {
    pub(crate) fn model(&self) -> Model<'_> {
        Model { base: self.base, trees: &self.trees, calibration: self.calibration }
    }
}

/// Gradient and curvature of the loss of some rows.
#[derive(Clone, Copy, Default)]
struct Sum {
    g: f64,
    h: f64,
    n: usize,
}

impl Sum {
    fn add(&mut self, g: f64, h: f64) {
        (self.g, self.h, self.n) = (self.g + g, self.h + h, self.n + 1);
    }

    fn minus(self, other: Sum) -> Sum {
        Sum { g: self.g - other.g, h: self.h - other.h, n: self.n - other.n }
    }

    fn value(self, ridge: f64, bounds: (f64, f64)) -> f64 {
        (-self.g / (self.h + ridge)).clamp(bounds.0, bounds.1)
    }

    /// Loss taken away by giving these rows a value.
    fn gain(self, value: f64, ridge: f64) -> f64 {
        -(self.g * value + 0.5 * (self.h + ridge) * value * value)
    }
}

struct Split {
    feature: usize,
    threshold: f32,
    left: f64,
    right: f64,
    gain: f64,
}

struct Fit<'a> {
    x: &'a [Vec<f32>],
    signs: &'a [i8],
    settings: &'a Settings,
    g: Vec<f64>,
    h: Vec<f64>,
}

impl Fit<'_> {
    /// The best split of some rows among some features, or none that leaves enough rows on both sides.
    fn split(&self, rows: &[usize], features: &[usize], bounds: (f64, f64)) -> Option<Split> {
        let mut best: Option<Split> = None;
        let ridge = self.settings.ridge;
        for &feature in features {
            let mut order = rows.to_vec();
            order.sort_by(|a, b| self.x[*a][feature].total_cmp(&self.x[*b][feature]));
            let mut total = Sum::default();
            order.iter().for_each(|row| total.add(self.g[*row], self.h[*row]));
            let mut left = Sum::default();
            for pair in order.windows(2) {
                left.add(self.g[pair[0]], self.h[pair[0]]);
                let (low, high) = (self.x[pair[0]][feature], self.x[pair[1]][feature]);
                let right = total.minus(left);
                if low == high || left.n < self.settings.leaf || right.n < self.settings.leaf {
                    continue;
                }
                let (a, b) = (left.value(ridge, bounds), right.value(ridge, bounds));
                if (self.signs[feature] > 0 && a > b) || (self.signs[feature] < 0 && a < b) {
                    continue;
                }
                let gain = left.gain(a, ridge) + right.gain(b, ridge);
                if best.as_ref().is_none_or(|best| gain > best.gain) {
                    best = Some(Split { feature, threshold: 0.5 * (low + high), left: a, right: b, gain });
                }
            }
        }
        best
    }

    fn tree(&self, rows: &[usize], features: &[usize]) -> Option<Tree> {
        let open = (f64::NEG_INFINITY, f64::INFINITY);
        let root = self.split(rows, features, open)?;
        let middle = 0.5 * (root.left + root.right);
        let (below, not_below): (Vec<usize>, Vec<usize>) =
            rows.iter().partition(|row| self.x[**row][root.feature] < root.threshold);
        let bounds = match self.signs[root.feature] {
            1 => [(open.0, middle), (middle, open.1)],
            -1 => [(middle, open.1), (open.0, middle)],
            _ => [open, open],
        };
        let child = |rows: &[usize], bounds: (f64, f64), value: f64| {
            let split = self.split(rows, features, bounds);
            split.unwrap_or(Split { feature: 0, threshold: f32::MAX, left: value, right: value, gain: 0.0 })
        };
        let left = child(&below, bounds[0], root.left);
        let right = child(&not_below, bounds[1], root.right);
        let rate = |value: f64| (value * self.settings.rate / self.settings.bags as f64) as f32;
        let index = |feature: usize| u8::try_from(feature).expect("fewer than 256 features");
        Some(Tree {
            features: [index(root.feature), index(left.feature), index(right.feature)],
            thresholds: [root.threshold, left.threshold, right.threshold],
            leaves: [rate(left.left), rate(left.right), rate(right.left), rate(right.right)],
        })
    }
}

/// Fits on these rows: `y` is whether they are supported.
pub(crate) fn fit(x: &[Vec<f32>], y: &[bool], rows: &[usize], signs: &[i8], settings: &Settings) -> Fitted {
    let positive = rows.iter().filter(|row| y[**row]).count() as f64;
    let base = (positive / (rows.len() as f64 - positive)).ln();
    let mut fitted = Fitted { base: base as f32, trees: Vec::new(), calibration: [1.0, 0.0] };
    for bag in 0..settings.bags {
        let mut rng = Lcg(1 + bag as u64);
        let mut margin = vec![base; x.len()];
        for _ in 0..settings.rounds {
            let mut fit = Fit { x, signs, settings, g: vec![0.0; x.len()], h: vec![0.0; x.len()] };
            for row in rows {
                let p = 1.0 / (1.0 + (-margin[*row]).exp());
                (fit.g[*row], fit.h[*row]) = (p - f64::from(u8::from(y[*row])), (p * (1.0 - p)).max(1e-6));
            }
            let sample: Vec<usize> = rows.iter().copied().filter(|_| rng.unit() < settings.rows).collect();
            let mut features: Vec<usize> = (0..signs.len()).collect();
            rng.shuffle(&mut features);
            features.truncate(settings.features);
            let Some(tree) = fit.tree(&sample, &features) else { continue };
            for row in rows {
                margin[*row] += f64::from(tree.value(&x[*row])) * settings.bags as f64;
            }
            fitted.trees.push(tree);
        }
    }
    fitted
}

/// Slope and offset that make margins probabilities: Newton's method on the logistic loss (Platt), a little shrunk.
pub(crate) fn calibrate(margins: &[f64], y: &[bool]) -> [f32; 2] {
    let (mut a, mut b) = (1.0_f64, 0.0_f64);
    for _ in 0..50 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-3, 0.0, 1e-3);
        for (m, y) in margins.iter().zip(y) {
            let p = 1.0 / (1.0 + (-(a * m + b)).exp());
            let (g, h) = (p - f64::from(u8::from(*y)), p * (1.0 - p));
            (ga, gb) = (ga + g * m, gb + g);
            (haa, hab, hbb) = (haa + h * m * m, hab + h * m, hbb + h);
        }
        let determinant = haa * hbb - hab * hab;
        a -= (hbb * ga - hab * gb) / determinant;
        b -= (haa * gb - hab * ga) / determinant;
    }
    [a as f32, b as f32]
}

/// A fold for every row: groups stay together, folds hold about equally many rows and positives.
pub(crate) fn folds(groups: &[usize], y: &[bool], count: usize, seed: u64) -> Vec<usize> {
    let mut members: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    groups.iter().enumerate().for_each(|(row, group)| members.entry(*group).or_default().push(row));
    let mut list: Vec<Vec<usize>> = members.into_values().collect();
    Lcg(seed).shuffle(&mut list);
    list.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
    let mut sizes = vec![[0_usize; 2]; count];
    let mut fold_of = vec![0; groups.len()];
    for rows in list {
        let class = usize::from(rows.iter().filter(|row| y[**row]).count() * 2 > rows.len());
        let fold = (0..count)
            .min_by_key(|fold| (sizes[*fold][class], sizes[*fold][0] + sizes[*fold][1]))
            .unwrap_or(0);
        rows.iter().for_each(|row| {
            sizes[fold][usize::from(y[*row])] += 1;
            fold_of[*row] = fold;
        });
    }
    fold_of
}
