//! What has passed the gate.

/// A value that the gate has cleared. There is no other way to make one:
///
/// ```compile_fail
/// let _ = ergon_gate::Cleared(1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared<T>(T);

impl<T> Cleared<T> {
    pub(crate) fn new(value: T) -> Cleared<T> {
        Cleared(value)
    }

    /// What was cleared.
    pub fn get(&self) -> &T {
        &self.0
    }
}
