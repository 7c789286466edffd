//! A run's folder.

use super::*;
use ergon_kernels::Cpu;
use std::sync::atomic::AtomicBool;

#[test]
fn a_run_goes_on_as_it_was_begun() {
    let (cpu, stop) = (Cpu::new(1), AtomicBool::new(false));
    let folder = tempfile::tempdir().unwrap();
    let begin = |seed, scale| Run::new(folder.path(), None, seed, scale, &cpu, &stop).map(|run| run.tunes());
    assert!(!begin(7, 0.25).unwrap());
    assert!(!begin(7, 0.25).unwrap());
    for (seed, scale) in [(8, 0.25), (7, 1.0)] {
        let error = begin(seed, scale).unwrap_err();
        assert!(matches!(error, RoundsError::Otherwise { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("begun with --seed 7 and --scale 0.25"), "{text}");
        assert!(text.contains(&format!("not with --seed {seed} and --scale {scale}")), "{text}");
    }
}
