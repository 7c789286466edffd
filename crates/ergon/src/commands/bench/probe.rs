//! What the machine can do at most, measured in the same run as the model: the denominators of `bench`.

use std::{
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use ergon_checkpoint::{Checkpoint, PAGE_BYTES, PageBuffer, ReadFrom, Tensor};
use ergon_kernels::{
    Cpu,
    gemm::{Gemm, measure_peak},
    measure_byte_peak,
};
use ergon_model::is_routed_expert;

/// The buffer that is read: well past the last-level cache of the machines we know.
const BANDWIDTH_BYTES: u64 = 512 << 20;
/// Passes over the buffer; the fastest counts, since everything that interferes only slows one down.
const BANDWIDTH_PASSES: usize = 6;
/// Values of one task of the read: 4 MiB.
const TASK_VALUES: usize = (4 << 20) / size_of::<u64>();

/// Reads of the disk probe: as many at a time as the expert cache has readers.
const DISK_READERS: usize = 16;
const DISK_SECONDS: f64 = 2.0;
/// Fewer bytes than this from the disk say nothing about it.
const DISK_LEAST_BYTES: u64 = 32 << 20;

/// How long each peak is looked for.
const PEAK_SECONDS: f64 = 0.3;
/// The fastest window of this length counts: others who use the machine only slow us down.
const PEAK_WINDOW_SECONDS: f64 = 0.02;

/// Bytes per second that all threads together can read from memory. `most_bytes` bounds the buffer.
pub(super) fn memory_bandwidth(cpu: &Cpu, most_bytes: u64) -> anyhow::Result<f64> {
    let values = (BANDWIDTH_BYTES.min(most_bytes) as usize / size_of::<u64>()).max(TASK_VALUES);
    let mut buffer: Vec<u64> = Vec::new();
    buffer.try_reserve_exact(values).context("no memory for the bandwidth probe; give --memory more")?;
    // Each page is written once, or all of them would be the same page of zeros.
    buffer.extend((0..values as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let tasks = values.div_ceil(TASK_VALUES);
    let mut fastest = f64::INFINITY;
    for _ in 0..BANDWIDTH_PASSES {
        let start = Instant::now();
        cpu.pool.run(tasks, |task| {
            let first = task * TASK_VALUES;
            black_box(sum(&buffer[first..values.min(first + TASK_VALUES)]));
        });
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok((values * size_of::<u64>()) as f64 / fastest)
}

/// Bytes per second that the disk gives when pieces of routed experts, each of `most_bytes` or a whole tensor, are read from all
/// over the model's files, many at a time; `None` if the page cache holds so much of them that the disk is hardly asked.
pub(super) fn disk_bandwidth(checkpoint: &Checkpoint, most_bytes: usize) -> anyhow::Result<Option<f64>> {
    let experts: Vec<&Tensor> = checkpoint
        .tensors()
        .filter(|tensor| is_routed_expert(&tensor.name) && !tensor.data.is_empty())
        .collect();
    if experts.is_empty() {
        return Ok(None);
    }
    let from_disk = AtomicU64::new(0);
    let start = Instant::now();
    let read = |reader: usize| -> anyhow::Result<()> {
        let mut buffer = PageBuffer::new(most_bytes + 2 * PAGE_BYTES)?;
        let mut draw = reader;
        while start.elapsed().as_secs_f64() < DISK_SECONDS {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let tensor = experts[(draw >> 33) % experts.len()];
            let len = tensor.data.len().min(most_bytes);
            let first = (draw >> 13) % (tensor.data.len() - len + 1);
            let piece = tensor.data.slice(first..first + len).and_then(|piece| piece.extent());
            let (_, from) = piece.context("a mapped tensor lies in a file")?.read(&mut buffer, 0)?;
            if from == ReadFrom::Disk {
                from_disk.fetch_add(len as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..DISK_READERS).map(|reader| scope.spawn(move || read(reader))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or(Ok(())))
    })?;
    let bytes = from_disk.into_inner();
    Ok((bytes >= DISK_LEAST_BYTES).then(|| bytes as f64 / start.elapsed().as_secs_f64()))
}

/// A sum in 16 independent lanes: the compiler turns it into vector loads, and no addition waits for the last.
fn sum(values: &[u64]) -> u64 {
    let mut lanes = [0u64; 16];
    for chunk in values.chunks_exact(16) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*value);
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

/// Operations per second (a multiply and an add are two) that the arithmetic units of all threads do with numbers that
/// are there already, and which numbers: bytes, as block formats are multiplied, or the floats of training (matrix tiles
/// where there are some, which inference does not use yet), whichever are faster. Not the data sheet's peak.
pub(super) fn peak_compute(cpu: &Cpu) -> (f64, String) {
    const ROUNDS: usize = 1 << 14;
    let bytes = rate(cpu, || measure_byte_peak(cpu.isa, ROUNDS));
    let gemm = Gemm::new(cpu.isa);
    let floats = rate(cpu, || measure_peak(gemm, ROUNDS));
    let numbers = if bytes >= floats { "bytes with 32-bit sums" } else { gemm.name() };
    (bytes.max(floats), format!("products of {numbers} in the first-level cache, {}, all threads", cpu.isa))
}

/// Operations per second of all threads, each of which repeats `work`, which says how many it did.
fn rate(cpu: &Cpu, work: impl Fn() -> u64 + Sync) -> f64 {
    let rates = Mutex::new(0.0f64);
    cpu.pool.run(cpu.pool.threads(), |_| {
        let start = Instant::now();
        let mut fastest = 0.0f64;
        while start.elapsed().as_secs_f64() < PEAK_SECONDS || fastest == 0.0 {
            let window = Instant::now();
            let mut operations = 0;
            while operations == 0 || window.elapsed().as_secs_f64() < PEAK_WINDOW_SECONDS {
                operations += work();
            }
            fastest = fastest.max(operations as f64 / window.elapsed().as_secs_f64());
        }
        *rates.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += fastest;
    });
    rates.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_give_plausible_rates() {
        let cpu = Cpu::new(2);
        let bandwidth = memory_bandwidth(&cpu, 64 << 20).unwrap();
        assert!(bandwidth > 1e8 && bandwidth < 1e13, "{bandwidth}");
        let (peak, basis) = peak_compute(&cpu);
        assert!(basis.contains(cpu.isa.name()), "{basis}");
        assert!(peak > 1e8 && peak < 1e15, "{peak}");
    }
}
