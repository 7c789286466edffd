//! Any bytes as a safetensors file: an error, or tensors that tile the data exactly and that the reference reader sees the
//! same way.
#![no_main]

use ergon_checkpoint::{TensorBytes, safetensors as ours};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = ours::parse(data) else { return };
    let mut next = header.tensors.first().map_or(data.len(), |first| first.range.start);
    for tensor in &header.tensors {
        assert_eq!(tensor.range.start, next);
        next = tensor.range.end;
    }
    assert_eq!(next, data.len());

    let reference =
        safetensors::SafeTensors::deserialize(data).expect("the reference reader accepts what we accept");
    assert_eq!(reference.len(), header.tensors.len());
    for tensor in &header.tensors {
        let view = reference.tensor(&tensor.name).expect("the reference reader knows the name");
        assert_eq!(view.shape(), tensor.shape);
        assert_eq!(view.data(), &data[tensor.range.clone()]);
    }

    // The packed form on top of it: whatever the descriptions say, the bytes fit the shape.
    let Ok(tensors) = ours::read(&TensorBytes::from_vec(data.to_vec())) else { return };
    for tensor in tensors {
        let Some(format) = tensor.format else { continue };
        let (cols, outer) = tensor.shape.split_last().map_or((1, &[][..]), |(cols, outer)| (*cols, outer));
        let rows: usize = outer.iter().product();
        assert_eq!(format.row_bytes(cols).map(|row| row * rows), Some(tensor.data.len()));
    }
});
