use super::*;

fn params(temperature: f32) -> SamplingParams {
    SamplingParams { temperature, seed: 7, ..SamplingParams::default() }
}

fn sample(params: &SamplingParams, logits: &[f32], draw: u64) -> u32 {
    Sampler::default().sample(params, &mut logits.to_vec(), &[], None, draw).unwrap()
}

/// Frequencies of `n` draws.
fn frequencies(params: &SamplingParams, logits: &[f32], n: u64) -> Vec<f64> {
    let mut sampler = Sampler::default();
    let mut counts = vec![0.0; logits.len()];
    for draw in 0..n {
        let token = sampler.sample(params, &mut logits.to_vec(), &[], None, draw).unwrap();
        counts[token as usize] += 1.0 / n as f64;
    }
    counts
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let w: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / temperature).exp()).collect();
    let total: f64 = w.iter().sum();
    w.iter().map(|x| x / total).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() < 0.012, "token {i}: frequency {f}, probability {e}");
    }
}

const LOGITS: [f32; 6] = [0.5, 2.0, -1.0, 1.0, 1.5, -3.0];

#[test]
fn greedy_takes_the_lowest_id_of_equals() {
    assert_eq!(sample(&params(0.0), &[1.0, 3.0, 3.0, 2.0], 0), 1);
    assert_eq!(sample(&params(0.0), &[f32::MIN, f32::MIN], 0), 0);
}

#[test]
fn plain_sampling_follows_the_softmax() {
    for temperature in [0.5, 1.0, 2.0] {
        let found = frequencies(&params(temperature), &LOGITS, 20_000);
        assert_close(&found, &softmax(&LOGITS, f64::from(temperature)));
    }
}

fn renormalised(keep: &[usize], temperature: f64) -> Vec<f64> {
    let p = softmax(&LOGITS, temperature);
    let total: f64 = keep.iter().map(|&i| p[i]).sum();
    (0..p.len()).map(|i| if keep.contains(&i) { p[i] / total } else { 0.0 }).collect()
}

#[test]
fn top_k_keeps_the_head() {
    let found = frequencies(&SamplingParams { top_k: 3, ..params(1.0) }, &LOGITS, 20_000);
    assert_close(&found, &renormalised(&[1, 4, 3], 1.0));
    let equal = frequencies(&SamplingParams { top_k: 2, ..params(1.0) }, &[1.0; 5], 20_000);
    assert_close(&equal, &[0.5, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    // Probabilities of LOGITS, sorted: 0.440, 0.267, 0.162, 0.098, 0.022, 0.003.
    for (top_p, keep) in [(0.3, &[1][..]), (0.6, &[1, 4]), (0.8, &[1, 4, 3]), (0.95, &[1, 4, 3, 0])] {
        let found = frequencies(&SamplingParams { top_p, ..params(1.0) }, &LOGITS, 20_000);
        assert_close(&found, &renormalised(keep, 1.0));
    }
}

#[test]
fn top_p_works_on_what_top_k_left() {
    // Among the three best the shares are 0.506, 0.307, 0.186.
    let found = frequencies(&SamplingParams { top_k: 3, top_p: 0.7, ..params(1.0) }, &LOGITS, 20_000);
    assert_close(&found, &renormalised(&[1, 4], 1.0));
}

#[test]
fn min_p_is_relative_to_the_most_likely() {
    // Relative to the best: 1, 0.607, 0.368, 0.223, 0.050, 0.007.
    for (min_p, keep) in [(0.5, &[1, 4][..]), (0.3, &[1, 4, 3]), (0.04, &[1, 4, 3, 0, 2])] {
        let plain = frequencies(&SamplingParams { min_p, ..params(1.0) }, &LOGITS, 20_000);
        assert_close(&plain, &renormalised(keep, 1.0));
        let with_k = frequencies(&SamplingParams { min_p, top_k: 5, ..params(1.0) }, &LOGITS, 20_000);
        assert_close(&with_k, &renormalised(keep, 1.0));
    }
}

#[test]
fn the_buckets_of_top_p_agree_with_a_full_sort() {
    let n = 5000usize;
    for spread in [0.01, 4.0, 300.0] {
        let logits: Vec<f32> = (0..n).map(|i| (rng::uniform(3, i as u64 / 2) * spread) as f32).collect();
        let scale = Scale { peak: argmax(&logits).unwrap().1, inverse_temperature: 1.0 };
        let mut sorted: Vec<Candidate> = logits.iter().enumerate().map(|(i, &x)| (x, i as u32)).collect();
        sorted.sort_by(by_likelihood);
        let total: f64 = sorted.iter().map(|c| scale.weight(c.0)).sum();
        for top_p in [0.01, 0.05, 0.5, 0.9, 0.999] {
            let mut sampler =
                Sampler { weights: logits.iter().map(|&x| scale.weight(x)).collect(), ..Sampler::default() };
            sampler.keep_top_p(top_p, &logits, &scale);
            let mut sum = 0.0;
            let expected = sorted
                .iter()
                .position(|c| {
                    sum += scale.weight(c.0);
                    sum >= total * top_p
                })
                .map_or(n, |i| i + 1);
            let kept = sampler.weights.iter().filter(|w| **w > 0.0).count();
            // The two sums are taken in different orders, so the border may move by one.
            assert!(kept.abs_diff(expected) <= 1, "{spread} {top_p}: {kept}, {expected}");
            for (rank, candidate) in sorted.iter().enumerate() {
                assert_eq!(
                    sampler.weights[candidate.1 as usize] > 0.0,
                    rank < kept,
                    "{spread} {top_p} {rank}"
                );
            }
        }
    }
}

#[test]
fn the_penalty_is_that_of_transformers() {
    let mut logits = [2.0, -2.0, 1.0, 0.5];
    let p = SamplingParams { repetition_penalty: 2.0, ..params(0.0) };
    Sampler::default().sample(&p, &mut logits, &[0, 1, 0, 1], None, 0).unwrap();
    assert_eq!(logits, [1.0, -4.0, 1.0, 0.5]);

    let mut logits = [2.0, -2.0, 1.0, 0.5];
    let p = SamplingParams { repetition_window: 1, ..p };
    Sampler::default().sample(&p, &mut logits, &[0, 1, 2], None, 0).unwrap();
    assert_eq!(logits, [2.0, -2.0, 0.5, 0.5]);
}

#[test]
fn the_mask_binds_greedy_and_sampling() {
    for p in [params(0.0), params(1.0), SamplingParams { top_k: 2, ..params(3.0) }] {
        for draw in 0..50 {
            let mask = TokenMask(&[0b10_0100]);
            let token = Sampler::default().sample(&p, &mut LOGITS.to_vec(), &[], Some(mask), draw).unwrap();
            assert!(token == 2 || token == 5);
        }
    }
    let nothing = Sampler::default().sample(&params(1.0), &mut [0.0; 3], &[], Some(TokenMask(&[])), 0);
    assert_eq!(nothing, Err(SamplingError::NothingAllowed));
}

#[test]
fn no_number_is_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Sampler::default().sample(&params(1.0), &mut [0.0, bad, 1.0], &[], None, 0);
        assert!(matches!(error, Err(SamplingError::NotFinite { token: 1, .. })));
    }
    assert_eq!(
        Sampler::default().sample(&params(1.0), &mut [], &[], None, 0),
        Err(SamplingError::NothingAllowed)
    );
}

#[test]
fn extreme_values_still_give_a_token() {
    let p = SamplingParams { repetition_penalty: 100.0, ..params(0.01) };
    let token = Sampler::default().sample(&p, &mut [f32::MAX, f32::MIN, 0.0], &[0, 1, 2], None, 0);
    assert_eq!(token, Ok(0));
}

#[test]
fn out_of_range_parameters_are_named() {
    let cases = [
        ("temperature", SamplingParams { temperature: -1.0, ..params(0.0) }),
        ("temperature", params(f32::NAN)),
        ("temperature", params(f32::INFINITY)),
        ("top_p", SamplingParams { top_p: 0.0, ..params(1.0) }),
        ("top_p", SamplingParams { top_p: 1.1, ..params(1.0) }),
        ("min_p", SamplingParams { min_p: -0.1, ..params(1.0) }),
        ("repetition_penalty", SamplingParams { repetition_penalty: 0.0, ..params(1.0) }),
        ("repetition_penalty", SamplingParams { repetition_penalty: f32::NAN, ..params(1.0) }),
    ];
    for (field, p) in cases {
        assert!(p.validate().unwrap_err().to_string().starts_with(field), "{field}");
    }
    assert_eq!(params(1.0).validate(), Ok(()));
}
