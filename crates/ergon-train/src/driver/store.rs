//! Samples on disk: files of records of one size, appended to and read at random.
//!
//! A shard is a header of 64 bytes and records. A record ends in the checksum of its bytes, so that one that was being
//! written when the process was killed is recognised, and cut off when the shard is opened again.

use super::batch::{Sample, SampleError, check};
use super::config::NetworkConfig;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MAGIC: [u8; 8] = *b"ERGNSMPL";
const VERSION: u32 = 3;
const HEADER_BYTES: u64 = 64;
/// Most tokens of an instruction.
pub const MAX_INSTRUCTION: usize = 24;
/// Most tokens of a reasoning.
pub const MAX_REASONING: usize = 24;

/// Samples that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: io::Error,
    },
    /// The file is no shard of samples for this network.
    #[error("{}: {what}; delete it or take another folder", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A record's bytes are not those that were written.
    #[error("{}: record {record} is damaged; delete the file and collect again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The record, from 0.
        record: u64,
    },
    /// The sample does not fit the network.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Too many tokens.
    #[error("a sample's {field} has {found} tokens, at most {most} are stored")]
    Tokens {
        /// Instruction or reasoning.
        field: &'static str,
        /// How many.
        found: usize,
        /// The limit.
        most: usize,
    },
}

/// The sizes that make a record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordSizes {
    pixels: usize,
    /// Values of a cell, which tells in what order a patch's pixels stand.
    cell: usize,
    state: usize,
    hint: usize,
    horizon: usize,
    action_dim: usize,
    perception: usize,
}

impl RecordSizes {
    fn of(config: &NetworkConfig) -> RecordSizes {
        RecordSizes {
            pixels: config.vision.patches() * config.vision.patch_values,
            cell: config.vision.cell_values,
            state: config.state_dim,
            hint: config.hint_dim,
            horizon: config.action.horizon,
            action_dim: config.action.action_dim,
            perception: config.perception_dim,
        }
    }

    fn bytes(&self) -> usize {
        let singles = self.state + self.hint + self.horizon * self.action_dim + self.perception + 1;
        let tokens = MAX_INSTRUCTION + MAX_REASONING;
        // The lengths of both texts and the kind, four bytes each; the checksum, eight.
        self.pixels + 4 * (singles + tokens + 3) + self.horizon + 8
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(&MAGIC);
        let RecordSizes { pixels, cell, state, hint, horizon, action_dim, perception } = *self;
        let sizes = [pixels, cell, state, hint, horizon, action_dim, perception];
        let words = std::iter::once(VERSION).chain(sizes.map(|size| size as u32));
        for (word, place) in words.zip(header[8..].chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&header[..56]).to_le_bytes();
        header[56..].copy_from_slice(&sum);
        header
    }
}

/// FNV-1a over words of eight bytes, then over the rest.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3);
        sum ^= sum >> 29;
    }
    for byte in tail {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    sum
}

fn encode(sizes: RecordSizes, sample: &Sample, record: &mut Vec<u8>) -> Result<(), StoreError> {
    let texts = [
        ("instruction", &sample.instruction, MAX_INSTRUCTION),
        ("reasoning", &sample.reasoning, MAX_REASONING),
    ];
    record.clear();
    record.extend_from_slice(&sample.pixels);
    let parts = [&sample.state, &sample.hint, &sample.waypoints, &sample.perception];
    for value in parts.into_iter().flatten().chain([&sample.weight]) {
        record.extend_from_slice(&value.to_le_bytes());
    }
    for (field, tokens, most) in texts {
        if tokens.len() > most {
            return Err(StoreError::Tokens { field, found: tokens.len(), most });
        }
        record.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
        for i in 0..most {
            let token = tokens.get(i).copied().unwrap_or_default();
            record.extend_from_slice(&token.to_le_bytes());
        }
    }
    record.extend_from_slice(&u32::from(sample.kind).to_le_bytes());
    record.extend(sample.valid.iter().map(|valid| u8::from(*valid)));
    record.extend_from_slice(&checksum(record).to_le_bytes());
    debug_assert_eq!(record.len(), sizes.bytes());
    Ok(())
}

/// Takes bytes from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(n);
        self.0 = rest;
        front
    }

    fn word(&mut self) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4));
        u32::from_le_bytes(word)
    }

    fn singles(&mut self, n: usize, into: &mut Vec<f32>) {
        into.clear();
        into.extend((0..n).map(|_| f32::from_bits(self.word())));
    }

    fn tokens(&mut self, most: usize, into: &mut Vec<u32>) {
        let n = self.word() as usize;
        into.clear();
        into.extend((0..most).map(|_| self.word()));
        into.truncate(n);
    }
}

/// Reads a record whose checksum holds.
fn decode(sizes: RecordSizes, record: &[u8], sample: &mut Sample) {
    let mut from = Cursor(record);
    sample.pixels.clear();
    sample.pixels.extend_from_slice(from.take(sizes.pixels));
    from.singles(sizes.state, &mut sample.state);
    from.singles(sizes.hint, &mut sample.hint);
    from.singles(sizes.horizon * sizes.action_dim, &mut sample.waypoints);
    from.singles(sizes.perception, &mut sample.perception);
    sample.weight = f32::from_bits(from.word());
    from.tokens(MAX_INSTRUCTION, &mut sample.instruction);
    from.tokens(MAX_REASONING, &mut sample.reasoning);
    sample.kind = from.word() as u8;
    sample.valid.clear();
    sample.valid.extend(from.take(sizes.horizon).iter().map(|byte| *byte != 0));
}

/// Checks the sum in the last eight bytes.
fn is_whole(record: &[u8]) -> bool {
    record.split_last_chunk::<8>().is_some_and(|(bytes, sum)| u64::from_le_bytes(*sum) == checksum(bytes))
}

/// Appends samples to one shard.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    file: io::BufWriter<File>,
    config: NetworkConfig,
    sizes: RecordSizes,
    record: Vec<u8>,
    count: u64,
}

impl ShardWriter {
    /// Opens a shard, or starts one. What a killed writer left of a record is cut off.
    ///
    /// # Errors
    /// The file is something else or of other sizes, or the operating system refuses.
    pub fn open(path: &Path, config: &NetworkConfig) -> Result<ShardWriter, StoreError> {
        let sizes = RecordSizes::of(config);
        let io_error = |reason| StoreError::Io { path: path.to_path_buf(), reason };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error)?;
        if file.metadata().map_err(io_error)?.len() < HEADER_BYTES {
            file.set_len(0).map_err(io_error)?;
            file.write_all(&sizes.header()).map_err(io_error)?;
        }
        let count = whole_records(path, &file, sizes)?;
        let end = HEADER_BYTES + count * sizes.bytes() as u64;
        file.set_len(end).map_err(io_error)?;
        file.seek(SeekFrom::Start(end)).map_err(io_error)?;
        let file = io::BufWriter::with_capacity(1 << 20, file);
        let record = Vec::with_capacity(sizes.bytes());
        Ok(ShardWriter { path: path.to_path_buf(), file, config: config.clone(), sizes, record, count })
    }

    /// Samples in the shard.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether the shard has no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// The sample does not fit the network, or the operating system refuses.
    pub fn push(&mut self, sample: &Sample) -> Result<(), StoreError> {
        check(&self.config, sample)?;
        encode(self.sizes, sample, &mut self.record)?;
        let io_error = |reason| StoreError::Io { path: self.path.clone(), reason };
        self.file.write_all(&self.record).map_err(io_error)?;
        self.count += 1;
        Ok(())
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// It refuses.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.file.flush().map_err(|reason| StoreError::Io { path: self.path.clone(), reason })
    }
}

/// Records before the end or the first torn one. Only the last can be torn: they are written in order.
fn whole_records(path: &Path, file: &File, sizes: RecordSizes) -> Result<u64, StoreError> {
    let io_error = |reason| StoreError::Io { path: path.to_path_buf(), reason };
    let mut header = [0; HEADER_BYTES as usize];
    let header_error = |what: &str| StoreError::Header { path: path.to_path_buf(), what: what.to_string() };
    read_exact_at(file, &mut header, 0).map_err(|_| header_error("shorter than a header"))?;
    if header[..8] != MAGIC {
        return Err(header_error("no file of training samples"));
    }
    if header != sizes.header() {
        return Err(header_error("made by another version or for a network of other sizes"));
    }
    let bytes = sizes.bytes() as u64;
    let mut count = (file.metadata().map_err(io_error)?.len() - HEADER_BYTES) / bytes;
    let mut record = vec![0; sizes.bytes()];
    while count > 0 {
        read_exact_at(file, &mut record, HEADER_BYTES + (count - 1) * bytes).map_err(io_error)?;
        if is_whole(&record) {
            break;
        }
        count -= 1;
    }
    Ok(count)
}

/// All samples of a folder, for reading at random.
#[derive(Debug)]
pub struct SampleStore {
    shards: Vec<Shard>,
    sizes: RecordSizes,
    len: u64,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
    first: u64,
}

impl SampleStore {
    /// Opens the shards of a folder, files that end in `.samples`, in the order of their names.
    ///
    /// # Errors
    /// A shard is damaged or of other sizes, or the operating system refuses.
    pub fn open(folder: &Path, config: &NetworkConfig) -> Result<SampleStore, StoreError> {
        let io_error = |reason| StoreError::Io { path: folder.to_path_buf(), reason };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(io_error)? {
            let path = entry.map_err(io_error)?.path();
            if path.extension().is_some_and(|extension| extension == "samples") {
                paths.push(path);
            }
        }
        paths.sort();
        SampleStore::open_shards(&paths, config)
    }

    /// Opens these shards, in this order.
    ///
    /// # Errors
    /// As [`SampleStore::open`].
    pub fn open_shards(paths: &[PathBuf], config: &NetworkConfig) -> Result<SampleStore, StoreError> {
        let sizes = RecordSizes::of(config);
        let mut store = SampleStore { shards: Vec::new(), sizes, len: 0 };
        for path in paths {
            let file = File::open(path).map_err(|reason| StoreError::Io { path: path.clone(), reason })?;
            let count = whole_records(path, &file, sizes)?;
            store.shards.push(Shard { path: path.clone(), file, first: store.len });
            store.len += count;
        }
        Ok(store)
    }

    /// Samples of all shards.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads sample `index` into `sample`, with `record` as buffer.
    ///
    /// # Errors
    /// The record is damaged, or the operating system refuses.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn read(&self, index: u64, record: &mut Vec<u8>, sample: &mut Sample) -> Result<(), StoreError> {
        assert!(index < self.len, "sample {index} of {}", self.len);
        let shard = self.shards.partition_point(|shard| shard.first <= index) - 1;
        let shard = &self.shards[shard];
        let own = index - shard.first;
        record.resize(self.sizes.bytes(), 0);
        let at = HEADER_BYTES + own * self.sizes.bytes() as u64;
        let io_error = |reason| StoreError::Io { path: shard.path.clone(), reason };
        read_exact_at(&shard.file, record, at).map_err(io_error)?;
        if !is_whole(record) {
            return Err(StoreError::Damaged { path: shard.path.clone(), record: own });
        }
        decode(self.sizes, record, sample);
        Ok(())
    }
}

/// Reads at a place without a seek, so that threads can share the file.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Reads at a place: every call names its own, so that threads can share the file.
#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, at) = (&mut bytes[read..], at + read as u64);
    }
    Ok(())
}
