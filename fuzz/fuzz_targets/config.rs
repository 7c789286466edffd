//! Any bytes as `config.json`, and as an index of shards: an error, or a configuration that every getter can be asked for
//! and file names that stay in their folder.
#![no_main]

use ergon_checkpoint::{parse_config, safetensors::parse_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(metadata) = parse_config(data) {
        ergon_fuzz::ask_everything(&metadata);
    }
    for name in parse_index(data).into_iter().flatten().map(|(name, _)| name) {
        let path = std::path::Path::new(&name);
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(name.as_str()));
    }
});
