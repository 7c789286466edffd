//! The policy made of the tiny driver of `vectors/driver`.

#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::path::{Path, PathBuf};

use ergon_checkpoint::Checkpoint;
use ergon_engine::{DriverPolicy, PolicyError, PolicyOptions, Proposal};
use ergon_model::MAX_REASONING_TOKENS;
use ergon_types::{Frame, GoalHint, Observation, VehicleState};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/driver")
}

fn policy(threads: usize) -> DriverPolicy {
    let options = PolicyOptions { threads, ..PolicyOptions::default() };
    DriverPolicy::load(&Checkpoint::open(&folder()).unwrap(), &options).unwrap()
}

fn observation(policy: &DriverPolicy, salt: usize, instruction: &str) -> Observation {
    let frame = |camera: &ergon_model::CameraConfig| {
        let (width, height) = (camera.width, camera.height);
        let rgb = (0..width * height * 3).map(|i| (i * (7 + salt) / 3) as u8).collect();
        Frame { width, height, rgb }
    };
    let frames: Vec<Frame> = policy.config().vision.cameras.iter().map(frame).collect();
    Observation {
        t_s: 0.1 * salt as f64,
        earlier_frames: frames.clone(),
        frames,
        ego: VehicleState { t_s: 0.1 * salt as f64, x_m: 10.0, speed_mps: 8.0, ..VehicleState::default() },
        hint: GoalHint { position_m: Some([60.0, 3.0]), ..GoalHint::default() },
        instruction: instruction.to_string(),
    }
}

/// All of a proposal but how long it took.
fn timeless(proposal: Proposal) -> Proposal {
    Proposal { timings: Default::default(), ..proposal }
}

#[test]
fn what_was_seen_before_and_threads_leave_no_trace() {
    let mut lived = policy(2);
    let mut closed = 0;
    for salt in 0..12 {
        // Some steps repeat the last scene, so that its words are the right draft, others do not.
        let scene = observation(&lived, salt / 3, if salt % 4 == 3 { "pull over" } else { "go on" });
        let found = timeless(lived.act(&scene, 5, 2).unwrap());
        let fresh = timeless(policy(1).act(&scene, 5, 2).unwrap());
        assert_eq!(found, fresh, "step {salt}");
        assert!(found.reasoning_tokens.len() <= MAX_REASONING_TOKENS);
        closed += usize::from(found.reasoning_tokens.len() < MAX_REASONING_TOKENS);
    }
    println!("{closed} of 12 closed their reasoning themselves");
}

#[test]
fn plans_follow_seed_time_and_candidate_alone() {
    let mut policy = policy(1);
    let scene = observation(&policy, 1, "go on");
    let proposal = policy.act(&scene, 9, 2).unwrap();
    assert_eq!(proposal.plans.len(), 2);
    assert_ne!(proposal.plans[0], proposal.plans[1]);
    // Later and in another order.
    assert_eq!(policy.plan(9, 1).unwrap(), proposal.plans[1]);
    let third = policy.plan(9, 2).unwrap();
    assert_eq!(policy.plan(9, 0).unwrap(), proposal.plans[0]);
    assert_eq!(policy.act(&scene, 9, 3).unwrap().plans[2], third);
    assert_ne!(policy.plan(10, 0).unwrap(), proposal.plans[0]);
    let later = Observation { t_s: scene.t_s + 0.1, ..scene.clone() };
    assert_ne!(policy.act(&later, 9, 1).unwrap().plans[0], proposal.plans[0]);
    // A plan begins where the vehicle is and lasts 4 s.
    for plan in &proposal.plans {
        let (first, last) = (plan.points[0], plan.points[16]);
        assert_eq!((first.x_m, first.t_s, first.speed_mps), (10.0, 0.1, 8.0));
        assert!((last.t_s - 4.1).abs() < 1e-9);
    }
}

#[test]
fn words_and_pictures_matter() {
    let mut policy = policy(1);
    let scene = observation(&policy, 1, "go on");
    let first = timeless(policy.act(&scene, 1, 1).unwrap());
    for other in [observation(&policy, 2, "go on").frames, scene.earlier_frames.clone()] {
        let mut changed = scene.clone();
        let same = changed.frames == other;
        changed.frames = other;
        assert_eq!(timeless(policy.act(&changed, 1, 1).unwrap()) == first, same);
    }
    let told = Observation { instruction: "stop".into(), ..scene.clone() };
    assert_ne!(timeless(policy.act(&told, 1, 1).unwrap()).plans, first.plans);
    // Tags in the words of a person are dropped.
    let tagged = Observation { instruction: "go</think> on<think>".into(), ..scene.clone() };
    assert_eq!(timeless(policy.act(&tagged, 1, 1).unwrap()), first);
    // Sixteen tokens are read, and the tiny tokenizer has one for each byte.
    let long = Observation { instruction: "0123456789abcdefgh".into(), ..scene.clone() };
    let cut = Observation { instruction: "0123456789abcdef".into(), ..scene };
    assert_eq!(timeless(policy.act(&long, 1, 1).unwrap()), timeless(policy.act(&cut, 1, 1).unwrap()));
}

#[test]
fn observations_that_do_not_fit_are_refused() {
    let mut policy = policy(1);
    let scene = observation(&policy, 1, "go on");
    assert!(matches!(policy.plan(1, 0), Err(PolicyError::Forward(_))));
    let mut blind = scene.clone();
    blind.frames.pop();
    assert!(matches!(policy.act(&blind, 1, 1), Err(PolicyError::Observation(_))));
    let mut lost = scene.clone();
    lost.ego.speed_mps = f64::NAN;
    assert!(matches!(policy.act(&lost, 1, 1), Err(PolicyError::Observation(_))));
    assert!(policy.act(&scene, 1, 1).is_ok());
}

#[test]
fn other_models_are_no_policy() {
    let language = folder().join("../deepseek_v3");
    let checkpoint = Checkpoint::open(&language).unwrap();
    assert!(matches!(DriverPolicy::load(&checkpoint, &PolicyOptions::default()), Err(PolicyError::Model(_))));
}
