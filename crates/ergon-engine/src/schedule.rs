//! Who gets how many tokens of the next step.
//!
//! Sequences that are generating always get theirs, so that a long prompt next door does not stop them; what is left
//! of the chunk goes to prompts in equal shares. No result depends on these numbers, only waiting times do.

/// What a sequence would feed if it could.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Tokens that are not in the KV cache yet; at least 1.
    pub(crate) pending: usize,
    /// Whether they belong to the prompt.
    pub(crate) in_prompt: bool,
}

/// Tokens to feed for each demand, at most `chunk` of prompts in all (at least 1, so that work always goes on).
/// `turn` grows by one each step and decides who is served first when shares do not come out even.
pub(crate) fn share(demands: &[Demand], chunk: usize, turn: usize) -> Vec<usize> {
    let mut grants: Vec<usize> =
        demands.iter().map(|d| if d.in_prompt { 0 } else { d.pending.min(chunk.max(1)) }).collect();
    let decoding: usize = grants.iter().sum();
    // Prompts keep a quarter of the chunk even beside very many generating sequences.
    let mut left = chunk.saturating_sub(decoding).max(chunk / 4).max(1);
    let mut prompts: Vec<usize> = (0..demands.len()).filter(|&i| demands[i].in_prompt).collect();
    if prompts.is_empty() {
        return grants;
    }
    let first = turn % prompts.len();
    prompts.rotate_left(first);
    // Shortest first (the sort is stable): what a short prompt does not need goes to the longer ones.
    prompts.sort_by_key(|&i| demands[i].pending);
    let n = prompts.len();
    for (done, &i) in prompts.iter().enumerate() {
        let waiting = n - done;
        let fair = left.div_ceil(waiting);
        grants[i] = demands[i].pending.min(fair);
        left -= grants[i];
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(pending: usize) -> Demand {
        Demand { pending, in_prompt: true }
    }

    fn decode(pending: usize) -> Demand {
        Demand { pending, in_prompt: false }
    }

    #[test]
    fn generating_sequences_always_go_on() {
        assert_eq!(share(&[prompt(1000), decode(1), decode(3)], 100, 0), [96, 1, 3]);
        let crowd = vec![decode(1); 500];
        assert_eq!(share(&crowd, 64, 3), vec![1; 500]);
        let beside: Vec<Demand> = crowd.into_iter().chain([prompt(900)]).collect();
        assert_eq!(share(&beside, 64, 3)[500], 16);
    }

    #[test]
    fn prompts_share_equally_and_leave_nothing_over() {
        assert_eq!(share(&[prompt(300), prompt(300)], 100, 0), [50, 50]);
        assert_eq!(share(&[prompt(300), prompt(10), prompt(300)], 100, 0), [45, 10, 45]);
        assert_eq!(share(&[prompt(5)], 100, 0), [5]);
        assert_eq!(share(&[], 100, 0), [0; 0]);
    }

    #[test]
    fn everybody_is_served_in_turn_when_there_is_too_little() {
        let crowd = vec![prompt(9); 5];
        let mut fed = [0; 5];
        for turn in 0..5 {
            for (total, grant) in fed.iter_mut().zip(share(&crowd, 2, turn)) {
                *total += grant;
            }
        }
        assert!(fed.iter().all(|&f| f == 2), "{fed:?}");
    }

    #[test]
    fn the_bound_holds_and_work_always_goes_on() {
        for chunk in 0..20 {
            for n in 1..8 {
                let demands: Vec<Demand> = (1..=n).map(prompt).collect();
                let fed: usize = share(&demands, chunk, n).iter().sum();
                assert!(fed >= 1 && fed <= chunk.max(1));
            }
        }
    }
}
