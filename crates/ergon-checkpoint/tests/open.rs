//! Files as published open, and their tensors are what was stored.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Gguf, LIST, TEXT, folder, list, safetensors, text};
use ergon_checkpoint::writer::{TensorSpec, WriteError, Writer};
use ergon_checkpoint::{Checkpoint, CheckpointKind, MetaValue};
use ergon_types::WeightFormat;
use std::path::Path;

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_single_safetensors_file() {
    let header = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[3],"data_offsets":[20,26]},
        "a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
        "scalar":{"dtype":"I32","shape":[],"data_offsets":[16,20]},
        "none":{"dtype":"F8_E4M3","shape":[0,7],"data_offsets":[26,26]}}   "#;
    let mut data = floats(&[1.0, 2.0, 3.0, 4.0]);
    data.extend([9, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    let folder = folder(&[("model.safetensors", &safetensors(header, &data)), ("tokenizer.json", b"{}")]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.kind(), CheckpointKind::HuggingFace);
    assert_eq!(checkpoint.metadata().str("model_type"), Ok(Some("llama")));
    let a = checkpoint.tensor("a").unwrap();
    assert_eq!(
        (a.format, a.shape.as_slice(), &a.data[..]),
        (Some(WeightFormat::F32), [2, 2].as_slice(), &data[..16])
    );
    let b = checkpoint.tensor("b").unwrap();
    assert_eq!((b.format, &b.data[..]), (Some(WeightFormat::Bf16), [1u8, 2, 3, 4, 5, 6].as_slice()));
    let scalar = checkpoint.tensor("scalar").unwrap();
    assert_eq!((scalar.format, scalar.elements(), scalar.dtype_name), (None, 1, "I32"));
    assert_eq!(checkpoint.tensor("none").unwrap().elements(), 0);
    assert_eq!(checkpoint.tensors().count(), 4);
    assert_eq!(checkpoint.side_file("tokenizer.json", 10).unwrap().as_deref(), Some(b"{}".as_slice()));
    assert!(checkpoint.side_file("tokenizer.json", 1).is_err());
    assert_eq!(checkpoint.side_file("absent", 1).unwrap(), None);
}

#[test]
fn shards_by_their_index() {
    let index = br#"{"metadata":{"total_size":32},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    let (first, second) =
        (safetensors(&common::one_tensor("a"), &[1; 16]), safetensors(&common::one_tensor("b"), &[2; 16]));
    let folder = folder(&[
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &first),
        ("model-2.safetensors", &second),
        ("consolidated.safetensors", b"not looked at"),
    ]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(&checkpoint.tensor("a").unwrap().data[..], [1; 16]);
    assert_eq!(&checkpoint.tensor("b").unwrap().data[..], [2; 16]);
}

#[test]
fn a_gguf_file_and_a_folder_with_one() {
    let words: Vec<u8> = ["<s>", "ü", ""].iter().flat_map(|word| text(word)).collect();
    let gguf = Gguf::new()
        .key("general.architecture", TEXT, &text("llama"))
        .u32("llama.block_count", 2)
        .key("llama.rope.freq_base", common::F32, &5e5f32.to_le_bytes())
        .key("signed", common::I32, &(-3i32).to_le_bytes())
        .key("flag", common::BOOL, &[1])
        .key("tokenizer.ggml.tokens", LIST, &list(TEXT, 3, &words))
        .key("tokenizer.ggml.scores", LIST, &list(common::F32, 2, &floats(&[0.5, -1.0])))
        .key("empty", LIST, &list(common::U8, 0, &[]))
        .tensor("q8", &[64, 2], 8, &[7; 136])
        .tensor("f", &[3], 0, &floats(&[1.0, 2.0, 3.0]))
        .tensor("odd", &[256], 16, &[1; 66])
        .tensor("scalar", &[], 0, &floats(&[1.0]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    // Without a config beside it, this is no model of its own.
    std::fs::write(folder.path().join("expected.safetensors"), "not looked at").unwrap();
    for version in [2, 3] {
        std::fs::write(&path, Gguf { version, ..gguf.clone() }.build()).unwrap();
        for opened in [path.as_path(), folder.path()] {
            let checkpoint = Checkpoint::open(opened).unwrap();
            assert_eq!(checkpoint.kind(), CheckpointKind::Gguf);
            let metadata = checkpoint.metadata();
            assert_eq!(metadata.usize("llama.block_count"), Ok(Some(2)));
            assert_eq!(metadata.f64("llama.rope.freq_base"), Ok(Some(5e5)));
            assert_eq!(metadata.get("signed"), Some(&MetaValue::Int(-3)));
            assert_eq!(metadata.bool("flag"), Ok(Some(true)));
            assert_eq!(metadata.list_str("tokenizer.ggml.tokens"), Ok(Some(vec!["<s>", "ü", ""])));
            assert_eq!(metadata.list_f64("tokenizer.ggml.scores"), Ok(Some(vec![0.5, -1.0])));
            assert_eq!(metadata.list_usize("empty"), Ok(Some(vec![])));
            let q8 = checkpoint.tensor("q8").unwrap();
            assert_eq!((q8.format, q8.shape.as_slice()), (Some(WeightFormat::Q8_0), [2, 64].as_slice()));
            assert_eq!(&q8.data[..], [7; 136]);
            assert_eq!(&checkpoint.tensor("f").unwrap().data[..], floats(&[1.0, 2.0, 3.0]));
            let odd = checkpoint.tensor("odd").unwrap();
            assert_eq!((odd.format, odd.dtype_name), (None, "IQ2_XXS"));
            assert!(checkpoint.tensor("scalar").unwrap().shape.is_empty());
        }
    }
}

fn part(number: u16, count: u16, name: &str) -> Vec<u8> {
    Gguf::new()
        .key("split.no", common::U16, &number.to_le_bytes())
        .key("split.count", common::U16, &count.to_le_bytes())
        .key("split.tensors.count", common::I32, &2i32.to_le_bytes())
        .tensor(name, &[4], 0, &floats(&[f32::from(number); 4]))
        .build()
}

#[test]
fn a_split_gguf_opens_by_any_part() {
    let folder = tempfile::tempdir().unwrap();
    common::write_all(
        folder.path(),
        &[("m-00001-of-00002.gguf", &part(0, 2, "a")), ("m-00002-of-00002.gguf", &part(1, 2, "b"))],
    );
    for name in ["", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"] {
        let checkpoint = Checkpoint::open(&folder.path().join(name)).unwrap();
        assert_eq!(checkpoint.tensors().count(), 2);
        assert_eq!(&checkpoint.tensor("b").unwrap().data[..], floats(&[1.0; 4]));
    }
    let wrong: [(&str, Vec<u8>, &str); 4] = [
        ("m-00002-of-00002.gguf", part(0, 2, "b"), "says it is part 1 of 2, its name says 2 of 2"),
        ("m-00002-of-00002.gguf", part(1, 2, "a"), "two of the model's files"),
        ("m-00001-of-00002.gguf", part(0, 3, "a"), "says it is part 1 of 3"),
        ("x.gguf", part(1, 2, "a"), "-00002-of-00002.gguf"),
    ];
    for (name, bytes, says) in wrong {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let message = Checkpoint::open(&folder.path().join(name)).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        std::fs::write(folder.path().join("m-00001-of-00002.gguf"), part(0, 2, "a")).unwrap();
        std::fs::write(folder.path().join("m-00002-of-00002.gguf"), part(1, 2, "b")).unwrap();
    }
    std::fs::remove_file(folder.path().join("m-00002-of-00002.gguf")).unwrap();
    let message = Checkpoint::open(&folder.path().join("m-00001-of-00002.gguf")).unwrap_err().to_string();
    assert!(message.contains("m-00002-of-00002.gguf: is missing: it is part 2 of 2"), "{message}");
}

/// A mixture of lengths, written out of order and in pieces.
#[test]
fn the_writer_and_both_readers_agree() {
    let folder = folder(&[]);
    let path = folder.path().join("model.safetensors");
    let specs = [
        TensorSpec::of_dtype("odd", "U8", &[3]).unwrap(),
        TensorSpec::of_format("packed", WeightFormat::Q4K, &[2, 3, 512]).unwrap(),
        TensorSpec::of_format("norm", WeightFormat::F32, &[5]).unwrap(),
        TensorSpec::of_format("float", WeightFormat::Bf16, &[32, 2]).unwrap(),
        TensorSpec::of_dtype("ids", "I64", &[]).unwrap(),
    ];
    let packed: Vec<u8> = (0..2 * 3 * 288).map(|i| i as u8).collect();
    let mut writer = Writer::create(&path, &specs, &[("origin".into(), "test \"x\"".into())], false).unwrap();
    writer.write("norm", &floats(&[1.0, 2.0])).unwrap();
    writer.write("packed", &packed[..100]).unwrap();
    writer.write("norm", &floats(&[3.0, 4.0, 5.0])).unwrap();
    writer.write("packed", &packed[100..]).unwrap();
    writer.write("odd", b"abc").unwrap();
    writer.write("ids", &[1; 8]).unwrap();
    assert!(!path.exists());
    writer.write("float", &[2; 128]).unwrap();
    writer.finish().unwrap();
    assert_eq!(file_names(folder.path()), ["config.json", "model.safetensors"]);

    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensor = checkpoint.tensor("packed").unwrap();
    assert_eq!((tensor.format, tensor.shape.as_slice()), (Some(WeightFormat::Q4K), [2, 3, 512].as_slice()));
    assert_eq!(&tensor.data[..], packed);
    assert_eq!(&checkpoint.tensor("norm").unwrap().data[..], floats(&[1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(&checkpoint.tensor("odd").unwrap().data[..], b"abc");

    let bytes = std::fs::read(&path).unwrap();
    let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(reference.tensor("packed").unwrap().shape(), [2, 3, 288]);
    assert_eq!(reference.tensor("ids").unwrap().data(), [1; 8]);
    // A map of a file starts on a page, so alignment in the file is alignment in memory.
    for (name, alignment) in [("packed", 64), ("float", 64), ("ids", 8), ("norm", 4)] {
        let at = reference.tensor(name).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(at.is_multiple_of(alignment), "{name} starts at {at}");
    }
}

#[test]
fn the_writer_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let specs = [TensorSpec::of_format("a", WeightFormat::F32, &[2]).unwrap()];
    let mut writer = Writer::create(&path, &specs, &[], false).unwrap();
    assert!(matches!(writer.write("b", &[1]), Err(WriteError::Length { declared: 0, .. })));
    assert!(matches!(writer.write("a", &[1; 9]), Err(WriteError::Length { given: 9, declared: 8, .. })));
    writer.write("a", &[1; 7]).unwrap();
    assert!(matches!(writer.finish(), Err(WriteError::Length { given: 7, .. })));
    drop(Writer::create(&path, &specs, &[], false).unwrap());
    assert!(file_names(folder.path()).is_empty());

    let late = Writer::create(&path, &[], &[], false).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(late.finish(), Err(WriteError::Exists { .. })));
    assert!(matches!(Writer::create(&path, &specs, &[], false), Err(WriteError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let mut writer = Writer::create(&path, &specs, &[], true).unwrap();
    writer.write("a", &[1; 8]).unwrap();
    writer.finish().unwrap();
    assert!(std::fs::read(&path).unwrap().ends_with(&[1; 8]));
    assert_eq!(file_names(folder.path()), ["out.safetensors"]);

    let inside = folder.path().join("folder");
    std::fs::create_dir(&inside).unwrap();
    assert!(matches!(Writer::create(&inside, &specs, &[], true), Err(WriteError::Io { .. })));

    let twice = [specs[0].clone(), specs[0].clone()];
    assert!(matches!(Writer::create(&path, &twice, &[], true), Err(WriteError::Name { .. })));
    assert!(TensorSpec::of_format("a", WeightFormat::Q4K, &[2, 100]).is_none());
    assert!(TensorSpec::of_dtype("a", "F32", &[usize::MAX, 2]).is_none());
    assert!(TensorSpec::of_dtype("a", "F31", &[1]).is_none());
}

/// A rename onto a device would put a plain file in its place. A socket stands in for one here.
#[cfg(unix)]
#[test]
fn the_writer_replaces_regular_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let specs = [TensorSpec::of_format("a", WeightFormat::F32, &[2]).unwrap()];
    let device = folder.path().join("device");
    let _socket = std::os::unix::net::UnixListener::bind(&device).unwrap();
    let refused = Writer::create(&device, &specs, &[], true).unwrap_err();
    assert!(refused.to_string().contains("no regular file"), "{refused}");

    let (link, file) = (folder.path().join("link"), folder.path().join("file"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(Writer::create(&link, &specs, &[], true), Err(WriteError::Io { .. })));
    std::fs::write(&file, "old").unwrap();
    let mut writer = Writer::create(&link, &specs, &[], true).unwrap();
    writer.write("a", &[1; 8]).unwrap();
    writer.finish().unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(std::fs::read(&file).unwrap().ends_with(&[1; 8]));
    assert_eq!(file_names(folder.path()), ["device", "file", "link"]);
}
