//! Where the trainer gets its samples from.

use super::batch::Sample;
use super::store::{SampleStore, StoreError};

/// Samples that can be read in any order, from several threads.
pub trait Samples: Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads sample `index` into `sample`; `record` is a buffer.
    ///
    /// # Errors
    /// The sample cannot be read.
    fn read(&self, index: u64, record: &mut Vec<u8>, sample: &mut Sample) -> Result<(), StoreError>;
}

impl Samples for SampleStore {
    fn len(&self) -> u64 {
        SampleStore::len(self)
    }

    fn read(&self, index: u64, record: &mut Vec<u8>, sample: &mut Sample) -> Result<(), StoreError> {
        SampleStore::read(self, index, record, sample)
    }
}

impl Samples for [Sample] {
    fn len(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, index: u64, _: &mut Vec<u8>, sample: &mut Sample) -> Result<(), StoreError> {
        sample.clone_from(&self[index as usize]);
        Ok(())
    }
}
