//! Measures: area under the curve, balanced accuracy, precision at a recall, and intervals by the bootstrap over groups.

use super::boost::Lcg;

/// Area under the ROC curve.
pub(crate) fn auc(scores: &[f64], y: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut below, mut wins) = (0.0, 0.0);
    let mut at = 0;
    while at < order.len() {
        let end =
            (at..order.len()).find(|next| scores[order[*next]] != scores[order[at]]).unwrap_or(order.len());
        let positive = order[at..end].iter().filter(|row| y[**row]).count() as f64;
        let negative = (end - at) as f64 - positive;
        wins += positive * (below + 0.5 * negative);
        below += negative;
        at = end;
    }
    wins / (below * (y.len() as f64 - below)).max(1.0)
}

/// Mean of the two classes' accuracies.
pub(crate) fn balanced(said: &[bool], y: &[bool], rows: &[usize]) -> f64 {
    let rate = |class: bool| {
        let of: Vec<&usize> = rows.iter().filter(|row| y[**row] == class).collect();
        of.iter().filter(|row| said[***row] == class).count() as f64 / of.len().max(1) as f64
    };
    0.5 * (rate(true) + rate(false))
}

/// The 2.5 and 97.5 percentiles of a measure when groups of rows are drawn with replacement.
pub(crate) fn interval(groups: &[usize], measure: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    let mut members: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    groups.iter().enumerate().for_each(|(row, group)| members.entry(*group).or_default().push(row));
    let list: Vec<Vec<usize>> = members.into_values().collect();
    let mut rng = Lcg(7);
    let mut values: Vec<f64> = (0..1000)
        .map(|_| {
            let rows: Vec<usize> =
                (0..list.len()).flat_map(|_| list[rng.below(list.len())].clone()).collect();
            measure(&rows)
        })
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get((part * values.len() as f64) as usize).copied().unwrap_or(f64::NAN);
    (at(0.025), at(0.975))
}
