//! Checkpoints of the driver that are not what they should be are refused before the first step.

#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ergon_checkpoint::{Checkpoint, parse_config};
use ergon_model::{Driver, DriverConfig, Model, ModelError, ModelSummary};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/driver")
}

fn config() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("config.json")).unwrap()).unwrap()
}

fn tensors() -> Tensors {
    let bytes = std::fs::read(folder().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let owned = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    file.tensors().into_iter().map(|(name, view)| (name, owned(view))).collect()
}

fn load(config: &Value, tensors: &Tensors) -> Result<Driver, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    Driver::load(&Checkpoint::open(folder.path()).unwrap())
}

/// The message of a refusal.
#[track_caller]
fn refused(config: &Value, tensors: &Tensors) -> String {
    match load(config, tensors) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_list_of_tensors_is_the_file() {
    let checkpoint = Checkpoint::open(&folder()).unwrap();
    let config = DriverConfig::from_checkpoint(&checkpoint).unwrap();
    let mut listed = config.tensors();
    listed.sort();
    let mut stored: Vec<_> = checkpoint.tensors().map(|t| (t.name.clone(), t.shape.clone())).collect();
    stored.sort();
    assert_eq!(listed, stored);
    assert!(DriverConfig::is_driver(&checkpoint));
}

#[test]
fn tensors_that_are_missing_misshapen_or_left_over_are_named() {
    let (config, whole) = (config(), tensors());
    load(&config, &whole).unwrap();
    for name in whole.keys() {
        let mut part = whole.clone();
        part.remove(name);
        let message = refused(&config, &part);
        assert!(message.contains(name.as_str()) && message.contains("missing"), "{message}");
    }
    let mut turned = whole.clone();
    let (_, shape, _) = turned.get_mut("action_expert.layers.1.self_attn.k_ctx_proj.weight").unwrap();
    shape.reverse();
    assert!(refused(&config, &turned).contains("k_ctx_proj"));
    let mut more = whole.clone();
    more.insert("vision_model.encoder.layers.2.extra".into(), (Dtype::F32, vec![1], vec![0; 4]));
    assert!(refused(&config, &more).contains("extra"));
    let mut damaged = whole.clone();
    let (dtype, shape, data) = damaged.get_mut("vision_model.post_layernorm.weight").unwrap();
    (*dtype, *data) = (Dtype::F32, f32::NAN.to_le_bytes().repeat(shape[0]));
    assert!(refused(&config, &damaged).contains("post_layernorm"));
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let whole = config();
    let cases = [
        ("/text_config/model_type", json!("llama")),
        ("/text_config/hidden_size", json!(0)),
        ("/text_config/max_position_embeddings", json!(40)),
        ("/vision_config/cameras", json!([])),
        ("/vision_config/cameras/1/width", json!(20)),
        ("/vision_config/cameras/0/height", json!(1_000_000)),
        ("/vision_config/patch_size", json!(0)),
        ("/vision_config/patch_size", json!(7)),
        ("/vision_config/spatial_merge_size", json!(3)),
        ("/vision_config/stem_cell_size", json!(0)),
        ("/vision_config/stem_cell_size", json!(3)),
        ("/vision_config/stem_channels", json!(0)),
        ("/vision_config/stem_channels", json!(16_000)),
        ("/vision_config/num_channels", json!(3)),
        ("/vision_config/num_attention_heads", json!(5)),
        ("/vision_config/num_hidden_layers", json!(1_000_000_000)),
        ("/vision_config/rms_norm_eps", json!(-1.0)),
        ("/vision_config/frame_gap_s", json!(0)),
        ("/action_config/horizon", json!(15)),
        ("/action_config/action_dim", json!(3)),
        ("/action_config/num_inference_steps", json!(0)),
        ("/action_config/num_attention_heads", json!(0)),
        ("/action_config/scale_x/3", json!(0)),
        ("/action_config/scale_y/15", json!(-0.5)),
        ("/action_config/scale_y", json!([1.0])),
        ("/action_config/step_s", json!("fast")),
        ("/state_dim", json!(7)),
        ("/hint_dim", json!(10_000)),
        ("/perception_dim", json!(0)),
        ("/model_type", json!("deepseek_v3")),
    ];
    for (place, value) in cases {
        let mut broken = whole.clone();
        *broken.pointer_mut(place).unwrap() = value.clone();
        let parsed = parse_config(broken.to_string().as_bytes()).unwrap();
        let error = DriverConfig::from_metadata(&parsed).expect_err(place);
        println!("{place} = {value}: {error}");
    }
}

#[test]
fn keys_that_are_not_there_are_named() {
    let whole = config();
    for (object, key) in [
        ("/vision_config", "stem_size"),
        ("/vision_config", "stem_cell_size"),
        ("/vision_config", "cameras"),
        ("/vision_config/cameras/0", "height"),
        ("/action_config", "scale_x"),
        ("/text_config", "kv_lora_rank"),
        ("", "state_dim"),
    ] {
        let mut broken = whole.clone();
        broken.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(key);
        let parsed = parse_config(broken.to_string().as_bytes()).unwrap();
        let message = DriverConfig::from_metadata(&parsed).expect_err(key).to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn a_driver_can_be_summed_up() {
    let summary = ModelSummary::from_checkpoint(&Checkpoint::open(&folder()).unwrap());
    assert_eq!((summary.architecture.as_str(), summary.unsupported), ("ergon_driver", None));
    let all: usize = tensors().values().map(|(_, shape, _)| shape.iter().product::<usize>()).sum();
    assert_eq!(summary.parameters_total, all as u64);
    assert!(summary.parameters_active < summary.parameters_total && summary.bytes_routed_experts > 0);
}

#[test]
fn a_driver_is_no_language_model() {
    let checkpoint = Checkpoint::open(&folder()).unwrap();
    let Err(error) = Model::load(&checkpoint) else { panic!("it was accepted") };
    let message = error.to_string();
    assert!(message.contains("ergon_driver") && message.contains("ergon drive"), "{message}");
}
