//! The cache over files of our own and disks that misbehave.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use ergon_checkpoint::writer::{TensorSpec, Writer};
use ergon_checkpoint::{Checkpoint, CheckpointError, Extent, PageBuffer, ReadFrom};
use ergon_model::{ExpertPart, GuessedExpert, PartPlace};

use super::*;

const LAYERS: usize = 3;
const EXPERTS: usize = 8;
const PART_BYTES: usize = 1000;

/// A byte that tells where it is from.
fn mark(layer: usize, expert: usize, part: usize) -> u8 {
    (layer * 64 + expert * 8 + part) as u8
}

/// Experts whose matrices are `PART_BYTES` times their mark.
struct Files {
    _folder: tempfile::TempDir,
    places: Vec<ExpertPlace>,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let name = |layer, expert, part| format!("{layer}.{expert}.{part}");
    let mut specs = Vec::new();
    let each = |act: &mut dyn FnMut(usize, usize, usize)| {
        for layer in 0..LAYERS {
            for expert in 0..EXPERTS {
                (0..3).for_each(|part| act(layer, expert, part));
            }
        }
    };
    each(&mut |layer, expert, part| {
        let name = name(layer, expert, part);
        specs.push(TensorSpec::of_dtype(&name, "U8", &[PART_BYTES]).unwrap().read_alone());
    });
    let path = folder.path().join("model.safetensors");
    let mut writer = Writer::create(&path, &specs, &[], false).unwrap();
    each(&mut |layer, expert, part| {
        writer.write(&name(layer, expert, part), &[mark(layer, expert, part); PART_BYTES]).unwrap();
    });
    writer.finish().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let place = |layer, expert, part| {
        let tensor = checkpoint.tensor(&name(layer, expert, part)).unwrap();
        let extent = tensor.data.extent().unwrap();
        PartPlace { tensor: tensor.name.as_str().into(), extent, checksum: tensor.checksum }
    };
    let places = (0..LAYERS * EXPERTS)
        .map(|index| (index / EXPERTS, index % EXPERTS))
        .map(|(layer, expert)| ExpertPlace {
            layer,
            expert,
            parts: [0, 1, 2].map(|part| place(layer, expert, part)),
        })
        .collect();
    Files { _folder: folder, places }
}

/// Visits a layer and checks what comes; the experts in the order in which they came.
fn visit(cache: &ExpertCache, layer: usize, experts: &[usize]) -> Result<Vec<usize>, ExpertFailure> {
    visit_with(cache, layer, experts, None)
}

/// As [`visit`], with a guess about the next layer.
fn visit_with(
    cache: &ExpertCache,
    layer: usize,
    experts: &[usize],
    guess: Option<&[usize]>,
) -> Result<Vec<usize>, ExpertFailure> {
    let guess = guess.map(|experts| Guess {
        layer: layer + 1,
        experts: experts.iter().enumerate().map(|(rank, &expert)| GuessedExpert { expert, rank }).collect(),
    });
    let mut visit = cache.visit(layer, experts, guess);
    let mut seen = Vec::new();
    loop {
        let ready = visit.ready()?;
        if ready.is_empty() {
            break;
        }
        for (expert, bytes) in ready {
            for (part, number) in [(ExpertPart::Gate, 0), (ExpertPart::Up, 1), (ExpertPart::Down, 2)] {
                assert_eq!(bytes.part(part), [mark(layer, expert, number); PART_BYTES]);
            }
            seen.push(expert);
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, experts);
    Ok(seen)
}

fn cache(files: &Files, reader: impl ReadExpert + 'static, capacity: usize) -> ExpertCache {
    let cache = ExpertCache::new(&files.places, Box::new(reader)).unwrap();
    cache.set_capacity(capacity);
    cache
}

#[test]
fn one_read_brings_an_expert() {
    let files = files();
    let layout = Layout::of(&files.places[5]);
    assert_eq!(layout.reads.len(), 1);
    assert!(layout.buffer_bytes() <= 2 * 4096);
    assert!(files.places.iter().all(|place| place.parts.iter().all(|part| part.checksum.is_some())));
}

#[test]
fn any_capacity_serves_any_visit() {
    let files = files();
    for capacity in [1, 2, 3, 8, 24, 1000] {
        let cache = cache(&files, FileReader, capacity);
        for step in 0..20 {
            for layer in 0..LAYERS {
                let wanted: Vec<usize> =
                    (0..EXPERTS).filter(|e| (e * 7 + step * 3 + layer) % 5 < 2 + step % 4).collect();
                visit(&cache, layer, &wanted).unwrap();
            }
        }
        assert!(cache.shared.lock().buffers <= capacity.min(LAYERS * EXPERTS));
    }
}

#[test]
fn what_is_visited_often_stays() {
    let files = files();
    let cache = cache(&files, FileReader, 4);
    for step in 0..40 {
        visit(&cache, 0, &[0, 1 + step % 7]).unwrap();
        visit(&cache, 1, &[3]).unwrap();
    }
    let before = cache.stats().hits;
    visit(&cache, 0, &[0]).unwrap();
    visit(&cache, 1, &[3]).unwrap();
    assert_eq!(cache.stats().hits - before, 2);
}

#[test]
fn passes_over_everything_find_what_there_is_room_for() {
    let files = files();
    let all: Vec<usize> = (0..EXPERTS).collect();
    let cache = cache(&files, FileReader, 12);
    let pass = || (0..LAYERS).for_each(|layer| drop(visit(&cache, layer, &all).unwrap()));
    pass();
    let before = cache.stats();
    (0..10).for_each(|_| pass());
    let after = cache.stats();
    let visits = after.visits - before.visits;
    assert_eq!(visits, 240);
    // Least recently used would read all of them; half of them fit, less what is read while its place is still in use.
    let read = (after.disk_bytes + after.page_cache_bytes - before.disk_bytes - before.page_cache_bytes)
        / (3 * PART_BYTES as u64);
    assert!(read <= 200, "{read} of {visits} were read");
    assert!(after.ahead > 0, "nothing was read ahead");
}

/// Steps in which layer 1 visits two experts that come in turn, so that they are never in memory; layer 0 guesses the
/// second of them, and a third as well.
fn guessing_steps(cache: &ExpertCache, steps: std::ops::Range<usize>) {
    for step in steps {
        let (a, b, never) = (step % 3, 3 + step % 3, 6 + step % 2);
        visit_with(cache, 0, &[step % EXPERTS], Some(&[b, never])).unwrap();
        // The guess may be read while layer 0 computes.
        drop(cache.shared.done.wait_while(cache.shared.lock(), |cache| !cache.nothing_to_read()).unwrap());
        visit(cache, 1, &[a, b]).unwrap();
        visit(cache, 2, &[step % EXPERTS]).unwrap();
    }
}

#[test]
fn guesses_are_read_ahead_once_they_have_been_right() {
    let files = files();
    let cache = cache(&files, FileReader, 5);
    guessing_steps(&cache, 0..8);
    assert_eq!(cache.stats().ahead, 0, "nobody knew whether the guesses are any good");
    guessing_steps(&cache, 8..80);
    let before = cache.stats();
    guessing_steps(&cache, 80..110);
    let after = cache.stats();
    assert_eq!(after.ahead - before.ahead, 30, "the right guess of each step, and no wrong one");
    assert!(after.ahead_unused - before.ahead_unused == 0, "{after:?}");
    assert!(after.hits - before.hits >= 30, "{before:?} {after:?}");
}

#[test]
fn guesses_keep_to_the_room_there_is() {
    let files = files();
    let cache = cache(&files, FileReader, 2);
    guessing_steps(&cache, 0..100);
    assert!(cache.stats().ahead > 0);
    assert!(cache.shared.lock().buffers <= 2);
}

#[test]
fn a_guess_whose_turn_has_not_come_is_given_up_or_goes_first() {
    let files = files();
    let mut cache = Cache::new(&files.places, PART_BYTES * 3);
    cache.set_capacity(4);
    let guess = |expert| Some(Guess { layer: 1, experts: vec![GuessedExpert { expert, rank: 0 }] });
    // Nobody reads: the guessed expert stays absent, and each visit says that the guess was right.
    let queue_guess = |cache: &mut Cache| {
        let queued = (0..100).any(|_| {
            cache.begin_visit(1, &[5]);
            cache.begin_visit(0, &[0]);
            cache.request(0, &[], false, &mut guess(5))
        });
        assert!(queued, "the guess was never worth a read");
    };
    queue_guess(&mut cache);
    assert_eq!(cache.stats.ahead, 1);
    cache.begin_visit(1, &[6]);
    assert_eq!((cache.stats.ahead, cache.next_job().map(|job| job.0)), (0, None));
    assert!(!cache.request(1, &[], false, &mut None));
    // Wanted after all, it is read before what another layer may want.
    queue_guess(&mut cache);
    cache.begin_visit(1, &[5, 6]);
    assert!(cache.request(1, &[5, 6], false, &mut None));
    let mut jobs = std::iter::from_fn(|| cache.next_job().map(|job| job.0));
    assert_eq!(jobs.by_ref().collect::<Vec<_>>(), [EXPERTS + 5, EXPERTS + 6]);
}

#[test]
fn shrinking_gives_memory_back() {
    let files = files();
    let cache = cache(&files, FileReader, 24);
    for layer in 0..LAYERS {
        visit(&cache, layer, &[0, 1, 2, 3]).unwrap();
    }
    assert_eq!(cache.shared.lock().buffers, 12);
    cache.set_capacity(5);
    assert_eq!(cache.shared.lock().buffers, 5);
    cache.set_capacity(0);
    assert_eq!(cache.capacity(), 1);
    visit(&cache, 2, &[1, 5, 7]).unwrap();
}

#[test]
fn shrinking_waits_for_reads_on_their_way() {
    let files = files();
    let slow = BadDisk { slow: Duration::from_millis(50), ..BadDisk::good() };
    let cache = cache(&files, slow, 24);
    // Wide: the next layer is read ahead, and still is when the visit is over.
    visit(&cache, 0, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    cache.set_capacity(2);
    let start = Instant::now();
    while cache.shared.lock().buffers > 2 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(cache.shared.lock().buffers, 2);
    visit(&cache, 1, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
}

/// A disk that takes its time with every fifth read, cannot read one place, or returns other bytes from some read on.
struct BadDisk {
    reads: AtomicUsize,
    slow: Duration,
    lost: Option<Extent>,
    torn_from: usize,
}

impl BadDisk {
    fn good() -> BadDisk {
        BadDisk { reads: AtomicUsize::new(0), slow: Duration::ZERO, lost: None, torn_from: usize::MAX }
    }
}

impl ReadExpert for BadDisk {
    fn read(
        &self,
        extent: &Extent,
        buffer: &mut PageBuffer,
        at: usize,
    ) -> Result<(Range<usize>, ReadFrom), CheckpointError> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(5) {
            std::thread::sleep(self.slow);
        }
        if self.lost.as_ref().is_some_and(|lost| extent.contains(lost)) {
            return Err(CheckpointError::Io {
                path: extent.file().path().to_path_buf(),
                reason: std::io::Error::other("the disk cannot read this"),
            });
        }
        let read = extent.read(buffer, at)?;
        if number >= self.torn_from {
            buffer[read.0.start + 10] ^= 1;
        }
        Ok(read)
    }
}

#[test]
fn a_slow_disk_is_waited_for() {
    let files = files();
    let slow = BadDisk { slow: Duration::from_millis(100), ..BadDisk::good() };
    let cache = cache(&files, slow, 4);
    visit(&cache, 0, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    assert!(cache.stats().stall >= Duration::from_millis(90), "{:?}", cache.stats().stall);
}

#[test]
fn a_lost_expert_is_named_and_the_others_go_on() {
    let files = files();
    let lost = Some(files.places[EXPERTS + 4].parts[1].extent.clone());
    let cache = cache(&files, BadDisk { lost, ..BadDisk::good() }, 4);
    for _ in 0..3 {
        let failure = visit(&cache, 1, &[1, 4, 6]).unwrap_err();
        assert_eq!(failure.expert, 4);
        for part in ["model.safetensors", "cannot read this", "expert 4", "1.4."] {
            assert!(failure.reason.contains(part), "{part} in {}", failure.reason);
        }
        visit(&cache, 1, &[1, 6]).unwrap();
        visit(&cache, 2, &[0, 4]).unwrap();
    }
}

#[test]
fn torn_reads_are_never_computed_with() {
    let mut files = files();
    let torn = BadDisk { torn_from: 3, ..BadDisk::good() };
    let cached = cache(&files, torn, 2);
    visit(&cached, 0, &[0]).unwrap();
    visit(&cached, 0, &[1, 2]).unwrap();
    let failure = visit(&cached, 0, &[0]).unwrap_err();
    assert!(failure.reason.contains("checksum"), "{}", failure.reason);
    // Without checksums in the file, a second read is held against the first.
    files.places.iter_mut().for_each(|place| place.parts.iter_mut().for_each(|part| part.checksum = None));
    let torn = BadDisk { torn_from: 3, ..BadDisk::good() };
    let cached = cache(&files, torn, 2);
    visit(&cached, 0, &[0]).unwrap();
    visit(&cached, 0, &[1, 2]).unwrap();
    let failure = visit(&cached, 0, &[0]).unwrap_err();
    assert!(failure.reason.contains("read before"), "{}", failure.reason);
}

#[test]
fn visits_of_several_threads_share_the_room() {
    let files = files();
    let cache = cache(&files, BadDisk { slow: Duration::from_millis(1), ..BadDisk::good() }, 3);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for step in 0..50 {
                    visit(cache, step % LAYERS, &[thread, 4 + (step + thread) % 4]).unwrap();
                }
            });
        }
    });
    assert!(cache.shared.lock().buffers <= 3);
}
