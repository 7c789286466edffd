//! Which experts a token visits, and with which weight.
//!
//! Plain arithmetic on one row of scores, in f32, written to be read beside DeepSeek's `Gate`:
//! scores = softmax or sigmoid of the logits; selection uses scores plus a learned correction, optionally only inside
//! the best groups; the weights are the scores themselves, without the correction.

use crate::config::{GroupScore, MoeConfig, ScoringFunc};

/// An expert chosen for a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) expert: u32,
    pub(crate) weight: f32,
}

/// Buffers of one routing decision.
#[derive(Default)]
pub(crate) struct RouterScratch {
    scores: Vec<f32>,
    selection: Vec<f32>,
    order: Vec<u32>,
    groups: Vec<(f32, usize)>,
}

/// Appends the `num_experts_per_tok` choices for one token, best first; ties go to the lower expert.
pub(crate) fn route(
    moe: &MoeConfig,
    correction: Option<&[f32]>,
    logits: &[f32],
    scratch: &mut RouterScratch,
    choices: &mut Vec<Choice>,
) {
    let RouterScratch { scores, selection, order, groups } = scratch;
    score(moe.scoring_func, logits, scores);
    selection.clear();
    match correction {
        None => selection.extend_from_slice(scores),
        Some(bias) => selection.extend(scores.iter().zip(bias).map(|(score, bias)| score + bias)),
    }
    if moe.topk_group < moe.n_group {
        mask_groups(moe, selection, groups);
    }
    top_k(selection, moe.num_experts_per_tok, order);
    let first = choices.len();
    choices.extend(order.iter().map(|expert| Choice { expert: *expert, weight: scores[*expert as usize] }));
    let chosen = &mut choices[first..];
    let mut factor = moe.routed_scaling_factor;
    if moe.norm_topk_prob {
        // The guard against an all-zero row is the reference's.
        factor /= chosen.iter().map(|choice| choice.weight).sum::<f32>() + 1e-20;
    }
    chosen.iter_mut().for_each(|choice| choice.weight *= factor);
}

fn score(function: ScoringFunc, logits: &[f32], scores: &mut Vec<f32>) {
    scores.clear();
    match function {
        ScoringFunc::Sigmoid => scores.extend(logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp()))),
        ScoringFunc::Softmax => {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.extend(logits.iter().map(|logit| (logit - max).exp()));
            let sum: f32 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
    }
}

/// Sets the experts outside the best groups to -inf: a zero would beat a chosen group's expert whose correction is
/// negative.
fn mask_groups(moe: &MoeConfig, selection: &mut [f32], groups: &mut Vec<(f32, usize)>) {
    let size = selection.len() / moe.n_group;
    groups.clear();
    groups.extend(selection.chunks_exact(size).enumerate().map(|(group, experts)| {
        let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for score in experts {
            if *score > best {
                (best, second) = (*score, best);
            } else if *score > second {
                second = *score;
            }
        }
        let score = match moe.group_score {
            GroupScore::Max => best,
            GroupScore::Top2Sum if size > 1 => best + second,
            GroupScore::Top2Sum => best,
        };
        (score, group)
    }));
    groups.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, group) in &groups[moe.topk_group..] {
        selection[group * size..(group + 1) * size].fill(f32::NEG_INFINITY);
    }
}

/// Indices of the `k` largest values, largest first.
fn top_k(values: &[f32], k: usize, order: &mut Vec<u32>) {
    let descending = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    order.clear();
    order.extend(0..values.len() as u32);
    if k < order.len() {
        order.select_nth_unstable_by(k, descending);
        order.truncate(k);
    }
    order.sort_unstable_by(descending);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moe(experts: usize, top_k: usize) -> MoeConfig {
        MoeConfig {
            n_routed_experts: experts,
            num_experts_per_tok: top_k,
            moe_intermediate_size: 1,
            n_shared_experts: 0,
            scoring_func: ScoringFunc::Sigmoid,
            norm_topk_prob: false,
            routed_scaling_factor: 1.0,
            n_group: 1,
            topk_group: 1,
            group_score: GroupScore::Top2Sum,
            is_moe_layer: vec![true],
        }
    }

    fn routed(moe: &MoeConfig, correction: Option<&[f32]>, logits: &[f32]) -> Vec<Choice> {
        let mut choices = Vec::new();
        route(moe, correction, logits, &mut RouterScratch::default(), &mut choices);
        choices
    }

    fn experts(choices: &[Choice]) -> Vec<u32> {
        choices.iter().map(|choice| choice.expert).collect()
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn the_correction_selects_but_does_not_weigh() {
        let choices = routed(&moe(4, 1), Some(&[0.0, 0.0, 0.9, 0.0]), &[2.0, 1.0, 0.0, -1.0]);
        assert_eq!(choices, [Choice { expert: 2, weight: sigmoid(0.0) }]);
    }

    #[test]
    fn normalisation_comes_before_the_scaling_factor() {
        let config = MoeConfig { norm_topk_prob: true, routed_scaling_factor: 2.5, ..moe(4, 2) };
        let sum: f32 = routed(&config, None, &[0.3, 0.1, -0.2, 0.7]).iter().map(|choice| choice.weight).sum();
        assert!((sum - 2.5).abs() < 1e-6);
    }

    #[test]
    fn groups_compete_by_the_sum_of_their_two_best_with_a_correction() {
        // Group 0 has the single best expert, group 1 the best pair.
        let logits = [3.0, -3.0, 1.5, 1.4];
        let config = MoeConfig { n_group: 2, topk_group: 1, ..moe(4, 1) };
        assert_eq!(experts(&routed(&config, None, &logits)), [2]);
        let by_max = MoeConfig { group_score: GroupScore::Max, ..config };
        assert_eq!(experts(&routed(&by_max, None, &logits)), [0]);
    }

    #[test]
    fn a_masked_group_never_wins_over_negative_corrected_scores() {
        let config = MoeConfig { n_group: 2, topk_group: 1, ..moe(4, 2) };
        let choices = routed(&config, Some(&[-5.0, -5.0, -6.0, -6.0]), &[0.0, 0.1, 0.2, 0.3]);
        assert_eq!(experts(&choices), [1, 0]);
    }

    #[test]
    fn softmax_scores_are_over_all_experts() {
        let config = MoeConfig { scoring_func: ScoringFunc::Softmax, ..moe(2, 1) };
        let choices = routed(&config, None, &[0.0, 1.0]);
        assert!((choices[0].weight - sigmoid(1.0)).abs() < 1e-6);
    }

    #[test]
    fn not_a_number_logits_do_not_panic() {
        let config = MoeConfig { n_group: 2, topk_group: 1, ..moe(4, 2) };
        assert_eq!(routed(&config, None, &[f32::NAN; 4]).len(), 2);
    }
}
