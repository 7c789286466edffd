//! Randomness as a function: the n-th draw of a seed, without any state.
//!
//! A generator with state would have to be rewound whenever speculative decoding throws drafts away, and would tie a
//! token to everything drawn before it. Here draw `index` depends on `(seed, index)` alone, so the token at a position
//! is the same however the engine got there.

/// Increment of the SplitMix64 sequence (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// OOPSLA 2014): 2^64 divided by the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The SplitMix64 finaliser ("Mix13" of Stafford's variants of the MurmurHash3 finaliser).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draw number `index` of `seed`: 64 uniform bits.
///
/// The seed goes through the finaliser first, so that seeds 0, 1, 2, … do not give shifted copies of one sequence.
pub(crate) fn bits(seed: u64, index: u64) -> u64 {
    let start = mix(seed.wrapping_add(GOLDEN_GAMMA));
    mix(start.wrapping_add(GOLDEN_GAMMA.wrapping_mul(index.wrapping_add(1))))
}

/// Draw number `index` of `seed`: uniform in `[0, 1)` with 53 random bits.
pub(crate) fn uniform(seed: u64, index: u64) -> f64 {
    (bits(seed, index) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finaliser_matches_the_published_sequence() {
        // SplitMix64 seeded with 0: first outputs of the reference implementation (prng.di.unimi.it/splitmix64.c).
        let reference = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        for (i, expected) in reference.into_iter().enumerate() {
            assert_eq!(mix(GOLDEN_GAMMA.wrapping_mul(i as u64 + 1)), expected);
        }
    }

    #[test]
    fn draws_are_uniform_and_differ_between_neighbouring_seeds() {
        let n = 20_000u64;
        for seed in 0..4 {
            let mut bins = [0u32; 16];
            let mut sum = 0.0;
            for i in 0..n {
                let x = uniform(seed, i);
                assert!((0.0..1.0).contains(&x));
                bins[(x * 16.0) as usize] += 1;
                sum += x;
                assert_ne!(bits(seed, i), bits(seed + 1, i));
                assert_ne!(bits(seed, i + 1), bits(seed + 1, i));
            }
            assert!((sum / n as f64 - 0.5).abs() < 0.01);
            let expected = n as f64 / 16.0;
            let chi2: f64 = bins.iter().map(|&b| (f64::from(b) - expected).powi(2) / expected).sum();
            // 15 degrees of freedom: 99.99 % quantile is 44.3.
            assert!(chi2 < 44.3, "seed {seed}: chi2 {chi2}");
        }
    }
}
