//! The driver against PyTorch: `vectors/driver` holds a tiny checkpoint and what `vectors/make_driver.py` computed with it.

#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::path::{Path, PathBuf};

use ergon_checkpoint::Checkpoint;
use ergon_kernels::{Cpu, Isa};
use ergon_model::{
    Driver, DriverConfig, DriverStep, HINT_DIM, Input, KvFormat, LogitsWanted, Phase, STATE_DIM, Scratch,
    Segment, patch_bytes, scale_pixels,
};
use ergon_types::Frame;
use safetensors::SafeTensors;

/// Largest difference from the reference, over the largest magnitude of the result.
const BOUND: f32 = 2e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/driver")
}

fn open() -> (Checkpoint, Driver) {
    let checkpoint = Checkpoint::open(&folder()).unwrap();
    let driver = Driver::load(&checkpoint).unwrap();
    (checkpoint, driver)
}

/// Inputs and expected results of one control step.
struct Expected(Vec<u8>);

impl Expected {
    fn read() -> Expected {
        Expected(std::fs::read(folder().join("step.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    fn frames(&self, config: &DriverConfig, name: &str) -> Vec<Frame> {
        let cameras = config.vision.cameras.iter().enumerate();
        let frame = |(index, camera): (usize, &ergon_model::CameraConfig)| Frame {
            width: camera.width,
            height: camera.height,
            rgb: self.bytes(&format!("{name}.{index}")),
        };
        cameras.map(frame).collect()
    }

    fn patches(&self, config: &DriverConfig) -> Vec<f32> {
        let (mut bytes, mut patches) = (Vec::new(), Vec::new());
        let (now, earlier) = (self.frames(config, "picture"), self.frames(config, "earlier"));
        patch_bytes(&config.vision, &now, &earlier, &mut bytes).unwrap();
        scale_pixels(&bytes, &mut patches);
        patches
    }
}

/// What a control step computes.
#[derive(Debug, PartialEq)]
struct Results {
    image_tokens: Vec<f32>,
    logits: Vec<f32>,
    perception: Vec<f32>,
    reasoning: Vec<u32>,
    states: Vec<f32>,
    velocity: Vec<f32>,
    actions: Vec<f32>,
}

fn run(driver: &Driver, cpu: &Cpu, expected: &Expected, step: &mut DriverStep) -> Results {
    const END_THINK: u32 = 258;
    let config = driver.config();
    let state: [f32; STATE_DIM] = expected.floats("state").try_into().unwrap();
    let hint: [f32; HINT_DIM] = expected.floats("hint").try_into().unwrap();
    let noise = expected.floats("noise");

    driver.see(cpu, &expected.patches(config), step);
    let image_tokens = step.image_tokens(config).to_vec();
    driver.read(cpu, &state, &hint, &expected.ids("tokens"), step).unwrap();
    let logits = step.logits().to_vec();
    let mut perception = Vec::new();
    driver.perceive(cpu, step, &mut perception).unwrap();
    let mut reasoning = Vec::new();
    loop {
        let best = (0..step.logits().len()).max_by(|a, b| step.logits()[*a].total_cmp(&step.logits()[*b]));
        let token = best.unwrap() as u32;
        driver.append(cpu, &[token], LogitsWanted::Last, step).unwrap();
        if token == END_THINK {
            break;
        }
        reasoning.push(token);
        assert!(reasoning.len() < 30, "{reasoning:?}");
    }
    let states = step.states().to_vec();
    driver.prepare_plans(cpu, step).unwrap();
    let mut velocity = vec![0.0; noise.len()];
    driver.velocity(cpu, &noise, 0.35, step, &mut velocity).unwrap();
    let mut actions = noise;
    driver.plan(cpu, &mut actions, step).unwrap();
    Results { image_tokens, logits, perception, reasoning, states, velocity, actions }
}

#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let worst = found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest;
    println!("{what}: {worst:.1e} of {largest:.2} (bound {bound:.0e})");
    assert!(worst <= bound, "{what}: {worst:.1e} of {largest} (bound {bound:.0e})");
}

#[test]
fn a_control_step_is_the_one_of_the_reference() {
    let (_checkpoint, driver) = open();
    let expected = Expected::read();
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 1).unwrap();
        let results = run(&driver, &cpu, &expected, &mut DriverStep::default());
        println!("{isa}");
        close("image tokens", &results.image_tokens, &expected.floats("image_tokens"), BOUND);
        close("logits", &results.logits, &expected.floats("logits"), BOUND);
        close("perception", &results.perception, &expected.floats("perception"), BOUND);
        assert_eq!(results.reasoning, expected.ids("reasoning"));
        close("states", &results.states, &expected.floats("states"), BOUND);
        close("velocity", &results.velocity, &expected.floats("velocity"), BOUND);
        close("actions", &results.actions, &expected.floats("actions"), BOUND);
    }
}

#[test]
fn threads_and_earlier_steps_leave_no_trace() {
    let (_checkpoint, driver) = open();
    let expected = Expected::read();
    let mut step = DriverStep::default();
    let alone = run(&driver, &Cpu::new(1), &expected, &mut step);
    for threads in [1, 2, 5] {
        // The same buffers, which still hold the last step.
        assert_eq!(run(&driver, &Cpu::new(threads), &expected, &mut step), alone, "{threads} threads");
    }
}

#[test]
fn embeddings_of_tokens_are_the_tokens() {
    let (_checkpoint, driver) = open();
    let (language, cpu) = (driver.language(), Cpu::new(1));
    let tokens = [256, 7, 99, 257];
    let mut embedded = vec![0.0; tokens.len() * language.config().hidden_size];
    language.embed_tokens(&cpu, &tokens, &mut embedded).unwrap();
    let logits = |input: Input| {
        let mut state = language.new_state(KvFormat::F32, 8, false).unwrap();
        let segment = Segment { input, state: &mut state, phase: Phase::Prefill, logits: LogitsWanted::All };
        let (mut logits, mut scratch) = (Vec::new(), Scratch::default());
        language.forward(&cpu, &mut [segment], &mut scratch, &mut logits).map(|()| (logits, state.len()))
    };
    let by_tokens = logits(Input::Tokens(&tokens)).unwrap();
    assert_eq!(logits(Input::Embeddings(&embedded)).unwrap(), by_tokens);
    assert!(logits(Input::Embeddings(&embedded[1..])).is_err());
    assert!(language.embed_tokens(&cpu, &[260], &mut embedded[..32]).is_err());
}

#[test]
fn stages_out_of_order_are_errors() {
    let (_checkpoint, driver) = open();
    let (cpu, expected) = (Cpu::new(1), Expected::read());
    let mut step = DriverStep::default();
    let mut plan = expected.floats("noise");
    assert!(driver.append(&cpu, &[1], LogitsWanted::Last, &mut step).is_err());
    assert!(driver.prepare_plans(&cpu, &mut step).is_err());
    assert!(driver.plan(&cpu, &mut plan, &mut step).is_err());
    assert!(driver.perceive(&cpu, &mut step, &mut Vec::new()).is_err());
    run(&driver, &cpu, &expected, &mut step);
    // A new step has no plan before it has thought.
    driver.see(&cpu, &expected.patches(driver.config()), &mut step);
    driver.read(&cpu, &[0.0; STATE_DIM], &[0.0; HINT_DIM], &[256, 257], &mut step).unwrap();
    assert!(driver.plan(&cpu, &mut plan, &mut step).is_err());
    assert!(driver.read(&cpu, &[0.0; STATE_DIM], &[0.0; HINT_DIM], &[9999], &mut step).is_err());
    let long = vec![1; 200];
    assert!(driver.read(&cpu, &[0.0; STATE_DIM], &[0.0; HINT_DIM], &long, &mut step).is_err());
}
