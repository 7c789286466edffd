//! The state of a training on disk, so that it can be killed at any time and goes on as if it had not been.
//!
//! One file: a header that says of which network and settings it is, the counters, four arrays, a checksum. It is written
//! beside the old one and renamed over it.

use super::optimizer::OptimizerState;
use super::params::Layout;
use super::trainer::{Position, Trainer};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// The file's name in the folder of a run.
pub const FILE_NAME: &str = "training.state";

const MAGIC: [u8; 8] = *b"ERGNTRN1";
/// Values converted at once.
const PIECE: usize = 1 << 14;

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: io::Error,
    },
    /// The file is no checkpoint of this training.
    #[error("{}: {what}; delete it to start afresh, or take another folder", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// Passes bytes on and sums them up.
struct Summed<T> {
    inner: T,
    sum: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Summed<T> {
        Summed { inner, sum: 0xcbf2_9ce4_8422_2325 }
    }

    fn add(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        for word in words.chain(tail.iter().map(|byte| u64::from(*byte))) {
            self.sum = (self.sum ^ word).wrapping_mul(0x0100_0000_01b3);
            self.sum ^= self.sum >> 29;
        }
    }
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.add(bytes);
        self.inner.write_all(bytes)
    }

    fn put_singles(&mut self, values: &[f32], buffer: &mut Vec<u8>) -> io::Result<()> {
        for piece in values.chunks(PIECE) {
            buffer.clear();
            buffer.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
            self.put(buffer)?;
        }
        Ok(())
    }
}

impl<R: Read> Summed<R> {
    fn word(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.inner.read_exact(&mut bytes)?;
        self.add(&bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn singles(&mut self, n: usize, buffer: &mut Vec<u8>) -> io::Result<Vec<f32>> {
        let mut values = Vec::with_capacity(n);
        while values.len() < n {
            buffer.resize(4 * PIECE.min(n - values.len()), 0);
            self.inner.read_exact(buffer)?;
            self.add(buffer);
            let (words, _) = buffer.as_chunks::<4>();
            values.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        }
        Ok(values)
    }
}

/// Names, shapes, kinds and what is for learning only of all tensors in one number.
fn fingerprint(layout: &Layout) -> u64 {
    let mut sum = Summed::new(());
    for tensor in layout.tensors() {
        sum.add(tensor.name.as_bytes());
        for extent in &tensor.shape {
            sum.add(&(*extent as u64).to_le_bytes());
        }
        sum.add(&(tensor.learning_only as u64).to_le_bytes());
        sum.add(&[tensor.kind as u8]);
    }
    sum.sum
}

/// Where the new file is written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

impl Trainer {
    /// Writes the state of the training to `path`; whatever was there stays until the new file is complete.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let part = temporary(path);
        let write = || -> io::Result<()> {
            let mut file = Summed::new(BufWriter::with_capacity(1 << 20, File::create(&part)?));
            let (state, position) = (self.state(), self.position());
            file.put(&MAGIC)?;
            let layout = self.network().layout();
            let words = [
                fingerprint(layout),
                self.config().seed,
                self.config().batch as u64,
                self.config().parts as u64,
                state.updates,
                position.epoch,
                position.next,
                position.samples,
            ];
            for word in words {
                file.put(&word.to_le_bytes())?;
            }
            let mut buffer = Vec::new();
            for values in [&state.values, &state.average, &state.first, &state.second] {
                file.put_singles(values, &mut buffer)?;
            }
            let sum = file.sum;
            file.put(&sum.to_le_bytes())?;
            let inner = file.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
            inner.sync_all()?;
            fs::rename(&part, path)
        };
        write().map_err(|reason| CheckpointError::Io { path: path.to_path_buf(), reason })
    }

    /// Goes on from the state at `path`; `false` if there is no file.
    ///
    /// # Errors
    /// The file is damaged, or of another network, seed or cut of the updates; or the operating system refuses.
    pub fn resume(&mut self, path: &Path) -> Result<bool, CheckpointError> {
        let io_error = |reason: io::Error| match reason.kind() {
            io::ErrorKind::UnexpectedEof => {
                CheckpointError::Content { path: path.to_path_buf(), what: "shorter than a checkpoint" }
            }
            _ => CheckpointError::Io { path: path.to_path_buf(), reason },
        };
        let content = |what| CheckpointError::Content { path: path.to_path_buf(), what };
        let file = match File::open(path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(io_error)?,
        };
        let mut file = Summed::new(BufReader::with_capacity(1 << 20, file));
        if file.word().map_err(io_error)? != u64::from_le_bytes(MAGIC) {
            return Err(content("no checkpoint of a training"));
        }
        let mut words = [0; 8];
        for word in &mut words {
            *word = file.word().map_err(io_error)?;
        }
        let [print, seed, batch, parts, updates, epoch, next, samples] = words;
        let config = self.config();
        if print != fingerprint(self.network().layout()) {
            return Err(content("a checkpoint of a network of other sizes"));
        }
        if (seed, batch, parts) != (config.seed, config.batch as u64, config.parts as u64) {
            return Err(content("a checkpoint with another seed, batch or number of parts"));
        }
        let n = self.network().layout().len();
        let mut buffer = Vec::new();
        let mut array = || file.singles(n, &mut buffer).map_err(io_error);
        let (values, average, first, second) = (array()?, array()?, array()?, array()?);
        let sum = file.sum;
        if file.word().map_err(io_error)? != sum {
            return Err(content("a damaged checkpoint"));
        }
        let state = OptimizerState { updates, values, average, first, second };
        self.restore(state, Position { epoch, next, samples });
        Ok(true)
    }
}
