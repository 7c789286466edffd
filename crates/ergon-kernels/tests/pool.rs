//! The thread pool: every task once, no lost wake-up, no deadlock, no core burnt when idle.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use ergon_kernels::ThreadPool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn count_each(pool: &ThreadPool, n_tasks: usize) -> Vec<usize> {
    let counts: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(n_tasks, |task| {
        counts[task].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn runs_every_task_once() {
    for threads in [0, 1, 2, 3, 8] {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for n_tasks in [0, 1, 2, 3, 7, 64, 1000] {
            assert!(count_each(&pool, n_tasks).iter().all(|&n| n == 1), "{threads} threads, {n_tasks} tasks");
        }
    }
}

#[test]
fn a_hundred_thousand_small_regions() {
    for (threads, regions) in [(2, 100_000), (5, 5_000)] {
        let pool = ThreadPool::new(threads);
        let sum = AtomicUsize::new(0);
        for region in 0..regions {
            let before = sum.load(Ordering::Relaxed);
            pool.run(1 + region % 4, |task| {
                sum.fetch_add(task + 1, Ordering::Relaxed);
            });
            let n = 1 + region % 4;
            assert_eq!(sum.load(Ordering::Relaxed) - before, n * (n + 1) / 2);
        }
    }
}

#[test]
fn pauses_longer_and_shorter_than_the_spin_lose_no_wake_up() {
    let pool = ThreadPool::new(3);
    for pause_us in (0..300).step_by(3).chain([1000, 5000]) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(pause_us) {
            std::hint::spin_loop();
        }
        // Two tasks that wait for one another: only passes when a worker does come.
        let met = AtomicUsize::new(0);
        pool.run(2, |_| {
            met.fetch_add(1, Ordering::SeqCst);
            let start = Instant::now();
            while met.load(Ordering::SeqCst) < 2 {
                assert!(start.elapsed() < Duration::from_secs(20), "no worker came after {pause_us} us");
                thread::yield_now();
            }
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_after_all_tasks_stopped() {
    for threads in [1, 2, 4] {
        let pool = ThreadPool::new(threads);
        for bad in [0, 5, 63] {
            let running = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, |task| {
                    struct Leaving<'a>(&'a AtomicUsize);
                    impl Drop for Leaving<'_> {
                        fn drop(&mut self) {
                            self.0.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                    running.fetch_add(1, Ordering::SeqCst);
                    let _leaving = Leaving(&running);
                    assert!(task != bad, "task {task} fails");
                    thread::sleep(Duration::from_micros(20));
                });
            }));
            assert_eq!(running.load(Ordering::SeqCst), 0, "a task still runs");
            let payload = result.expect_err("the panic was swallowed");
            assert_eq!(payload.downcast_ref::<String>(), Some(&format!("task {bad} fails")));
            assert!(count_each(&pool, 100).iter().all(|&n| n == 1), "the pool is broken after a panic");
        }
    }
}

#[test]
fn a_nested_region_runs_inline() {
    let pool = ThreadPool::new(3);
    let other = ThreadPool::new(2);
    let total = AtomicUsize::new(0);
    pool.run(8, |_| {
        pool.run(5, |_| {
            other.run(3, |_| {
                pool.run(2, |_| {
                    total.fetch_add(1, Ordering::Relaxed);
                });
            });
        });
    });
    assert_eq!(total.into_inner(), 8 * 5 * 3 * 2);
    // Afterwards regions are parallel again.
    assert!(count_each(&pool, 100).iter().all(|&n| n == 1));
}

#[test]
fn callers_on_several_threads_take_turns() {
    let pool = ThreadPool::new(3);
    let inside = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let first = AtomicBool::new(true);
                    let n = AtomicUsize::new(0);
                    pool.run(16, |_| {
                        if first.swap(false, Ordering::SeqCst) {
                            assert!(!inside.swap(true, Ordering::SeqCst), "two regions at once");
                        }
                        if n.fetch_add(1, Ordering::SeqCst) == 15 {
                            inside.store(false, Ordering::SeqCst);
                        }
                    });
                    assert_eq!(n.into_inner(), 16);
                }
            });
        }
    });
}

#[test]
fn dropping_joins_the_workers() {
    for round in 0..200 {
        let pool = ThreadPool::new(1 + round % 5);
        if round % 3 != 0 {
            pool.run(4, |_| {});
        }
        if round % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    #[cfg(target_os = "linux")]
    {
        // Other tests of this binary have pools too, so only what cannot be theirs counts.
        let names = std::fs::read_dir("/proc/self/task").unwrap().count();
        assert!(names < 100, "{names} threads are left");
    }
}

/// CPU time of this process's threads called `ergon-…`, in clock ticks (10 ms on every Linux we know).
#[cfg(target_os = "linux")]
fn worker_ticks(name: &str) -> u64 {
    let ticks = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // Fields 14 and 15 of proc(5), counted from the one after the name.
        head.contains(name).then(|| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
    };
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(|entry| ticks(entry.unwrap())).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_pool_uses_no_cpu() {
    // Worker 6 and up: no other test of this binary has a pool that large besides `runs_every_task_once`,
    // which is over long before the measurement starts.
    let pool = ThreadPool::new(12);
    for _ in 0..100 {
        pool.run(64, |_| {});
    }
    thread::sleep(Duration::from_millis(500));
    let names: Vec<String> = (8..11).map(|index| format!("ergon-{index}")).collect();
    let ticks = || names.iter().map(|name| worker_ticks(name)).sum::<u64>();
    let before = ticks();
    thread::sleep(Duration::from_millis(300));
    let used = ticks() - before;
    assert!(used <= 1, "idle workers used {used} ticks of 10 ms in 0.3 s");
}

#[test]
fn latency_of_an_empty_region() {
    let pool = ThreadPool::new(2);
    let mut micros: Vec<f64> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            pool.run(2, |_| {});
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!("empty region: median {:.2} us, p99 {:.2} us", micros[1000], micros[1980]);
}
