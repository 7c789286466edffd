//! Any bytes as a GGUF file: an error, or tensors that lie inside the file, apart from each other, with bytes for their
//! shape; and keys that every getter can be asked for.
#![no_main]

use ergon_checkpoint::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = gguf::parse(data) else { return };
    let mut ranges = Vec::new();
    for tensor in &header.tensors {
        assert!(tensor.shape.len() <= 4 && tensor.range.end <= data.len());
        let (cols, outer) = tensor.shape.split_last().map_or((1, &[][..]), |(cols, outer)| (*cols, outer));
        let rows: usize = outer.iter().product();
        assert_eq!(tensor.ggml_type.row_bytes(cols).map(|row| row * rows), Some(tensor.range.len()));
        ranges.push((tensor.range.start, tensor.range.end));
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    ergon_fuzz::ask_everything(&header.metadata);
});
