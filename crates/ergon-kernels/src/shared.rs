//! A slice that several threads write at disjoint places.

use std::{marker::PhantomData, ops::Range};

/// A mutable slice whose parts are handed to several threads. The type only makes the sharing explicit; that the parts
/// do not overlap is for the caller to see to.
#[derive(Clone, Copy)]
pub(crate) struct SharedSlice<'a, T> {
    pointer: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `unsafe` methods whose contract forbids overlapping parts, and `T: Send` lets a part be
// written from another thread.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    /// Takes the slice for as long as parts of it are handed out.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        SharedSlice { pointer: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// A part of the slice.
    ///
    /// # Safety
    ///
    /// No two parts that are alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)] // That is the purpose of the type; see the contract.
    pub(crate) unsafe fn range_mut(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        // SAFETY: the range lies inside the borrowed slice, and the caller keeps parts disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }

    /// Where an element is, or would be, if the slice were longer.
    pub(crate) fn address(&self, index: usize) -> *const T {
        self.pointer.wrapping_add(index)
    }

    /// Writes one element.
    ///
    /// # Safety
    ///
    /// No other thread may read or write the element at the same time.
    pub(crate) unsafe fn write(&self, index: usize, value: T)
    where
        T: Copy,
    {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: the index lies inside the borrowed slice, and the caller excludes a data race.
        unsafe { self.pointer.add(index).write(value) }
    }
}
