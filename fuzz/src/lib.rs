//! What the fuzz targets share.

use ergon_checkpoint::{MetaValue, Metadata};

/// Asks every getter for every key: each answers with a value or a short error, and none panics.
pub fn ask_everything(metadata: &Metadata) {
    for (key, value) in metadata.iter() {
        assert!(metadata.get(key).is_some());
        assert!(metadata.has_prefix(key));
        let errors = [
            metadata.bool(key).err(),
            metadata.usize(key).err(),
            metadata.f64(key).err(),
            metadata.str(key).err(),
            metadata.list_usize(key).err(),
            metadata.list_i64(key).err(),
            metadata.list_f64(key).err(),
            metadata.list_bool(key).err(),
            metadata.list_str(key).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(error.to_string().len() <= key.len() + 1000);
        }
        if let MetaValue::List(list) = value {
            assert_eq!(list.iter().count(), list.len());
            assert!(list.get(list.len()).is_none());
        }
    }
}
