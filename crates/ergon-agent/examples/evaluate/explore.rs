//! One line per setting, to choose settings by hand.

use super::boost::Settings;
use super::wice::{Table, features_of, nested, signs};
use super::{data, measure};

/// Prints cross-validated figures for some settings.
pub(crate) fn explore(folder: &str) {
    let rows = data::claims(folder);
    let base = Settings::default();
    let table = features_of(&rows, super::wice::PASSAGES);
    for settings in [base.clone(), Settings { leaf: 20, ..base }] {
        report(&table, &signs(), &settings);
    }
}

fn report(table: &Table, signs: &[i8], settings: &Settings) {
    let all: Vec<usize> = (0..table.y.len()).collect();
    let (mut aucs, mut accuracies) = (Vec::new(), Vec::new());
    let mut sum = vec![0.0; all.len()];
    for seed in 1..=4 {
        let scored = nested(table, signs, settings, seed);
        aucs.push(measure::auc(&scored.margins, &table.y));
        accuracies.push(measure::balanced(&scored.said, &table.y, &all));
        sum.iter_mut().zip(&scored.margins).for_each(|(sum, margin)| *sum += margin);
    }
    let mut order = all.clone();
    order.sort_by(|a, b| sum[*b].total_cmp(&sum[*a]));
    let precision =
        |count: usize| order[..count].iter().filter(|row| table.y[**row]).count() as f64 / count as f64;
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len() as f64;
    println!(
        "{settings:?}: auc {:.4} balanced {:.4} {accuracies:.3?} precision {:.2?}",
        mean(&aucs),
        mean(&accuracies),
        [20, 30, 40, 50, 60].map(precision)
    );
}
