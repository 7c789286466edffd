//! What the measured sequences are made of.

/// Parts of the vocabulary that stand for subjects.
const SUBJECTS: usize = 64;

/// Tokens without pattern, the same in every run of the program and never the same twice within one: a cache of experts
/// would otherwise know them from the round before. Each sequence has its own.
pub(super) struct RandomTokens {
    vocab: usize,
    locality: f64,
    last: Vec<usize>,
    drawn: u64,
}

impl RandomTokens {
    pub(super) fn new(vocab: usize, locality: f64, sequences: usize) -> RandomTokens {
        RandomTokens { vocab: vocab.max(1), locality, last: vec![0; sequences], drawn: 0 }
    }

    pub(super) fn next(&mut self, sequence: usize) -> u32 {
        let stays = (self.draw() >> 11) as f64 / (1u64 << 53) as f64 <= self.locality && self.locality > 0.0;
        let any = self.draw() as usize;
        let subject = self.vocab.div_ceil(SUBJECTS);
        let first = self.last[sequence] / subject * subject;
        let token = if stays { first + any % subject.min(self.vocab - first) } else { any % self.vocab };
        self.last[sequence] = token;
        token as u32
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut x = self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locality_keeps_to_a_subject() {
        let stays = |locality: f64| {
            let mut tokens = RandomTokens::new(6400, locality, 2);
            let drawn: Vec<u32> = (0..4000).map(|_| tokens.next(0)).collect();
            assert!(drawn.iter().all(|&token| token < 6400));
            drawn.windows(2).filter(|pair| pair[0] / 100 == pair[1] / 100).count() as f64 / 4000.0
        };
        assert!(stays(0.0) < 0.05 && (0.85..0.95).contains(&stays(0.9)) && stays(1.0) > 0.99);
        let mut small = RandomTokens::new(3, 0.5, 1);
        assert!((0..100).all(|_| small.next(0) < 3));
    }
}
