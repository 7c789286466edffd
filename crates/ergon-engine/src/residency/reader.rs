//! Reading one expert and checking what was read.

use std::ops::Range;

use ergon_checkpoint::{CheckpointError, Extent, PageBuffer, ReadFrom};
use ergon_model::ExpertBytes;

use super::layout::Layout;

/// How bytes get from a file into a buffer; tests put a broken disk in its place.
pub(crate) trait ReadExpert: Send + Sync {
    /// As [`Extent::read`].
    fn read(
        &self,
        extent: &Extent,
        buffer: &mut PageBuffer,
        at: usize,
    ) -> Result<(Range<usize>, ReadFrom), CheckpointError>;
}

/// The files themselves.
pub(crate) struct FileReader;

impl ReadExpert for FileReader {
    fn read(
        &self,
        extent: &Extent,
        buffer: &mut PageBuffer,
        at: usize,
    ) -> Result<(Range<usize>, ReadFrom), CheckpointError> {
        extent.read(buffer, at)
    }
}

/// What a reader brings back.
pub(crate) enum Read {
    /// The expert.
    Done {
        bytes: ExpertBytes,
        /// CRC-32 over the three checksums of its matrices.
        checksum: u32,
        disk_bytes: u64,
        page_cache_bytes: u64,
    },
    /// Why there is none, and the buffer.
    Failed { reason: String, buffer: PageBuffer },
}

/// Reads an expert into a buffer that has room for it, and holds it against the checksums that its file names.
pub(crate) fn read(reader: &dyn ReadExpert, layout: &Layout, mut buffer: PageBuffer) -> Read {
    let (mut disk_bytes, mut page_cache_bytes) = (0, 0);
    let mut starts = [0; 3];
    for (index, (extent, at)) in layout.reads.iter().enumerate() {
        match reader.read(extent, &mut buffer, *at) {
            Ok((range, from)) => {
                starts[index] = range.start;
                match from {
                    ReadFrom::Disk => disk_bytes += extent.len() as u64,
                    ReadFrom::PageCache => page_cache_bytes += extent.len() as u64,
                }
            }
            Err(error) => {
                let tensor = layout.parts.iter().position(|(read, _)| *read == index).unwrap_or(0);
                let reason =
                    format!("{error} (tensor '{}', expert {})", layout.places[tensor].tensor, layout.expert);
                return Read::Failed { reason, buffer };
            }
        }
    }
    let range = |part: usize| {
        let (read, own) = &layout.parts[part];
        starts[*read] + own.start..starts[*read] + own.end
    };
    let parts = [range(0), range(1), range(2)];
    let mut all = crc32fast::Hasher::new();
    for (part, place) in parts.iter().zip(&layout.places) {
        let checksum = crc32fast::hash(&buffer[part.clone()]);
        all.update(&checksum.to_le_bytes());
        if let Some(expected) = place.checksum.filter(|&expected| expected != checksum) {
            let path = place.extent.file().path().display();
            let reason = format!(
                "{path}: tensor '{}' has the checksum {checksum:08x}, the file says {expected:08x}: it is damaged or is \
                 being written; get it again",
                place.tensor
            );
            return Read::Failed { reason, buffer };
        }
    }
    let bytes = ExpertBytes::new(buffer, parts);
    Read::Done { bytes, checksum: all.finalize(), disk_bytes, page_cache_bytes }
}

impl Layout {
    /// The error for an expert whose bytes are not those of an earlier read.
    pub(crate) fn changed(&self) -> String {
        let [gate, ..] = &self.places;
        format!(
            "{}: expert {} of tensor '{}' is not what it was when it was read before: the file was changed; load the model \
             again",
            gate.extent.file().path().display(),
            self.expert,
            gate.tensor
        )
    }
}
