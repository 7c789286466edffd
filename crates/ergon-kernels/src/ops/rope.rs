//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864): each pair of values is turned by an angle
//! that grows with the position.

/// Which values of a head form a pair. Publishers differ, and the wrong one gives fluent nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// `(x[2i], x[2i + 1])`: DeepSeek's attention, GPT-J.
    Interleaved,
    /// `(x[i], x[i + d/2])`: Llama and Qwen as published in the `transformers` layout, GPT-NeoX.
    Half,
}

/// Turns pair `i` of `x` (the rotary part of one head, f32, length d) by the angle whose cosine and sine are
/// `cos[i]` and `sin[i]` (length d/2; a YaRN attention factor, if any, already multiplied in): `(a, b)`
/// becomes `(a cos - b sin, a sin + b cos)`. Plain multiplications and additions: the same bits everywhere.
///
/// # Panics
/// When `cos` or `sin` is not half as long as `x`.
pub fn rope_in_place(layout: RopeLayout, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = x.len() / 2;
    assert!(
        x.len().is_multiple_of(2) && cos.len() == half && sin.len() == half,
        "rope: {} values, {half} angles",
        x.len()
    );
    let angles = cos.iter().zip(sin);
    match layout {
        RopeLayout::Interleaved => {
            for (pair, (&cos, &sin)) in x.chunks_exact_mut(2).zip(angles) {
                (pair[0], pair[1]) = turn(pair[0], pair[1], cos, sin);
            }
        }
        RopeLayout::Half => {
            let (first, second) = x.split_at_mut(half);
            for ((a, b), (&cos, &sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = turn(*a, *b, cos, sin);
            }
        }
    }
}

/// The gradient of [`rope_in_place`]: turns `dx` back, by the transpose of the same matrix.
///
/// # Panics
/// When `cos` or `sin` is not half as long as `dx`.
pub fn rope_backward_in_place(layout: RopeLayout, dx: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = dx.len() / 2;
    assert!(
        dx.len().is_multiple_of(2) && cos.len() == half && sin.len() == half,
        "rope: {} values, {half} angles",
        dx.len()
    );
    for (i, (&cos, &sin)) in cos.iter().zip(sin).enumerate() {
        let (a, b) = match layout {
            RopeLayout::Interleaved => (2 * i, 2 * i + 1),
            RopeLayout::Half => (i, i + half),
        };
        (dx[a], dx[b]) = turn(dx[a], dx[b], cos, -sin);
    }
}

#[inline(always)]
fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}
