//! Whether two terms are forms of one word.

use super::Term;

/// Letters that two words must share at their beginning to be forms of one word.
const SHARED: usize = 5;

impl Term {
    /// Whether `other` can stand for this word without being it: of one class, or a longer form of the same beginning.
    pub fn is_near(&self, other: &Term) -> bool {
        self.key != other.key && (self.alike.shares(other.alike) || is_form(&self.key, &other.key))
    }
}

/// `explor` and `explorat`: the shorter, but for its last letter, begins the longer, and the rest is no second word.
fn is_form(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if !short.is_ascii() || short.len() < SHARED || long.len() > short.len() + 4 {
        return false;
    }
    let shared = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    shared >= SHARED && shared + 1 >= short.len()
}
