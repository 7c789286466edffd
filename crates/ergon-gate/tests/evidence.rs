//! The evidence gate: each rule refuses what it is for; support only adds, copies add nothing, tightening clears nothing.

use std::collections::BTreeSet;

use ergon_gate::evidence::{EvidenceLimits, Features, Rule, Support, judge};
use ergon_types::Claim;

fn claim() -> Claim {
    Claim { id: "1".to_string(), text: "The bridge is 230 m long.".to_string() }
}

const GOOD: Support = Support {
    group: 0,
    by_model: false,
    overlap: 1.0,
    binding: 1.0,
    quantities_missing: 0,
    names_missing: 0,
    conflicts: 0,
    score: 0.9,
};

fn features(support: &[Support]) -> Features {
    Features { items: 3, support: support.to_vec(), opposing: BTreeSet::new() }
}

/// The rules that a claim with these features breaks; none when it is cleared.
fn broken(features: &Features, limits: &EvidenceLimits) -> Vec<Rule> {
    match judge(claim(), features, limits) {
        Ok(cleared) => {
            assert_eq!(cleared.get(), &claim());
            Vec::new()
        }
        Err(refused) => refused.why.iter().map(|finding| finding.rule).collect(),
    }
}

#[test]
fn each_rule_refuses_what_it_is_for() {
    let limits = EvidenceLimits::default();
    assert!(broken(&features(&[GOOD]), &limits).is_empty());
    let cases = [
        (Support { overlap: 0.1, ..GOOD }, Rule::Overlap),
        (Support { binding: 0.1, ..GOOD }, Rule::Binding),
        (Support { score: 0.1, ..GOOD }, Rule::Score),
        (Support { quantities_missing: 1, ..GOOD }, Rule::Quantities),
        (Support { names_missing: 1, ..GOOD }, Rule::Names),
        (Support { conflicts: 1, ..GOOD }, Rule::Conflicts),
        (Support { by_model: true, ..GOOD }, Rule::Source),
    ];
    for (support, rule) in cases {
        assert_eq!(broken(&features(&[support]), &limits), [rule]);
    }
    assert_eq!(broken(&features(&[]), &limits), [Rule::Source]);
    assert_eq!(broken(&Features { items: 0, ..features(&[GOOD]) }, &limits), [Rule::Content]);
    assert_eq!(
        broken(&Features { opposing: BTreeSet::from([3]), ..features(&[GOOD]) }, &limits),
        [Rule::Opposing]
    );
    let two = EvidenceLimits { groups_min: 2.0, ..limits };
    assert_eq!(broken(&features(&[GOOD, GOOD]), &two), [Rule::Groups]);
    assert!(broken(&features(&[GOOD, Support { group: 1, ..GOOD }]), &two).is_empty());
}

#[test]
fn overlap_alone_clears_nothing() {
    let limits = EvidenceLimits::default();
    let bare = Support { overlap: 1.0, binding: 0.0, score: 0.0, ..GOOD };
    assert_eq!(broken(&features(&[bare]), &limits), [Rule::Binding, Rule::Score]);
    // Whatever else is wrong, more overlap does not make it right.
    for support in [
        Support { quantities_missing: 1, ..GOOD },
        Support { names_missing: 1, ..GOOD },
        Support { conflicts: 1, ..GOOD },
        Support { score: 0.0, ..GOOD },
        Support { binding: 0.0, ..GOOD },
    ] {
        for overlap in [0.5, 0.9, 1.0] {
            assert!(!broken(&features(&[Support { overlap, ..support.clone() }]), &limits).is_empty());
        }
    }
}

/// Random numbers without a library: Knuth's MMIX generator.
struct Lcg(u64);

impl Lcg {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.unit() * f64::from(bound)) as u32
    }

    fn support(&mut self) -> Support {
        Support {
            group: self.below(4) as usize,
            by_model: self.below(6) == 0,
            overlap: 1.0 - 0.6 * self.unit(),
            binding: 1.0 - 0.6 * self.unit(),
            quantities_missing: self.below(8) / 7,
            names_missing: self.below(8) / 7,
            conflicts: self.below(8) / 7,
            score: 1.0 - 0.5 * self.unit(),
        }
    }

    fn features(&mut self) -> Features {
        let support = (0..self.below(4)).map(|_| self.support()).collect();
        let opposing =
            if self.below(8) == 0 { BTreeSet::from([self.below(4) as usize]) } else { BTreeSet::new() };
        Features { items: 1 + self.below(9), support, opposing }
    }
}

#[test]
fn removing_support_never_clears_and_copies_add_nothing() {
    let mut rng = Lcg(1);
    let mut cleared = [0, 0];
    for case in 0..20_000 {
        let features = rng.features();
        let limits = EvidenceLimits { groups_min: f64::from(1 + rng.below(2)), ..EvidenceLimits::default() };
        let before = broken(&features, &limits).is_empty();
        cleared[usize::from(before)] += 1;
        for at in 0..features.support.len() {
            let mut fewer = features.clone();
            let removed = fewer.support.remove(at);
            let after = broken(&fewer, &limits).is_empty();
            assert!(before || !after, "case {case}: cleared by taking {removed:?} away");
            let mut copied = features.clone();
            copied.support.push(removed);
            assert_eq!(
                broken(&copied, &limits).is_empty(),
                before,
                "case {case}: a copy changes the verdict"
            );
        }
        let mut opposed = features.clone();
        opposed.opposing.insert(9);
        assert!(
            !broken(&opposed, &limits).is_empty(),
            "case {case}: cleared although a group says otherwise"
        );
    }
    assert!(cleared.iter().all(|count| *count > 1000), "both outcomes must occur: {cleared:?}");
}

#[test]
fn what_a_model_wrote_is_never_evidence() {
    let mut rng = Lcg(2);
    for _ in 0..5000 {
        let mut features = rng.features();
        features.support.iter_mut().for_each(|support| support.by_model = true);
        assert_eq!(broken(&features, &EvidenceLimits::default()), [Rule::Source]);
    }
}

#[test]
fn tightening_a_limit_never_clears_more() {
    let mut rng = Lcg(3);
    let base = EvidenceLimits { quantities_missing_max: 1.0, opposing_max: 1.0, ..EvidenceLimits::default() };
    for case in 0..5000 {
        let features = rng.features();
        let before = broken(&features, &base).is_empty();
        let tighter = [
            EvidenceLimits { score_min: base.score_min + 0.3 * rng.unit(), ..base.clone() },
            EvidenceLimits { overlap_min: base.overlap_min + 0.4 * rng.unit(), ..base.clone() },
            EvidenceLimits { binding_min: base.binding_min + 0.4 * rng.unit(), ..base.clone() },
            EvidenceLimits { quantities_missing_max: 0.0, ..base.clone() },
            EvidenceLimits { opposing_max: 0.0, ..base.clone() },
            EvidenceLimits { groups_min: 2.0, ..base.clone() },
        ];
        for limits in tighter {
            assert!(before || !broken(&features, &limits).is_empty(), "case {case}: {limits:?}");
        }
    }
}

#[test]
fn nothing_that_is_no_number_passes() {
    for value in [f64::NAN, f64::INFINITY, -0.1, 1.5] {
        for support in [
            Support { overlap: value, ..GOOD },
            Support { binding: value, ..GOOD },
            Support { score: value, ..GOOD },
        ] {
            assert!(broken(&features(&[support]), &EvidenceLimits::default()).contains(&Rule::Finite));
        }
    }
    let limits = EvidenceLimits { score_min: f64::NAN, ..EvidenceLimits::default() };
    assert_eq!(limits.validate().expect_err("refused").name, "score_min");
    assert!(EvidenceLimits { groups_min: 0.0, ..EvidenceLimits::default() }.validate().is_err());
    assert!(EvidenceLimits::default().validate().is_ok());
    // Even limits that nobody validated clear nothing when they are no numbers.
    assert!(!broken(&features(&[GOOD]), &limits).is_empty());
}
