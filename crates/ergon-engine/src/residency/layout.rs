//! Which reads bring an expert into its buffer.

use std::ops::Range;

use ergon_checkpoint::Extent;
use ergon_model::{ExpertPlace, PartPlace};

/// Bytes between two matrices that are read along rather than by a second read: a few pages cost less than a request.
const JOIN_GAP_BYTES: u64 = 64 << 10;

/// An expert's matrices and the reads that bring them.
pub(crate) struct Layout {
    /// Each read and the place in the buffer where it goes, a whole page.
    pub(crate) reads: Vec<(Extent, usize)>,
    /// Gate, up, down: the read that brings it, and its place relative to the first byte of that read.
    pub(crate) parts: [(usize, Range<usize>); 3],
    /// What the matrices are called, and their checksums.
    pub(crate) places: [PartPlace; 3],
    pub(crate) expert: usize,
}

impl Layout {
    /// One read if the matrices follow one another in the file, as `ergon convert` writes them; else two or three.
    pub(crate) fn of(place: &ExpertPlace) -> Layout {
        let mut joined: Vec<Extent> = Vec::with_capacity(3);
        let mut parts = [(0, 0..0), (0, 0..0), (0, 0..0)];
        let mut by_offset = [0, 1, 2];
        by_offset.sort_by_key(|&part| place.parts[part].extent.start());
        for part in by_offset {
            let own = &place.parts[part].extent;
            match joined.last_mut() {
                Some(last) if last.is_followed_by(own, JOIN_GAP_BYTES) => *last = last.joined(own),
                _ => joined.push(own.clone()),
            }
            let read = joined.len() - 1;
            let start = joined[read].offset_of(own);
            parts[part] = (read, start..start + own.len());
        }
        let mut at = 0;
        let reads = joined
            .into_iter()
            .map(|extent| {
                let place = at;
                at += extent.page_bytes();
                (extent, place)
            })
            .collect();
        Layout { reads, parts, places: place.parts.clone(), expert: place.expert }
    }

    /// Bytes of the buffer it needs.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.reads.iter().map(|(extent, _)| extent.page_bytes()).sum()
    }
}
