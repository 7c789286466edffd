//! Which files of a folder hold the weights.

use crate::config_json::json_error;
use crate::metadata::excerpt;
use crate::{CheckpointError, FormatError, files};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    path::{Path, PathBuf},
};

const SINGLE_NAME: &str = "model.safetensors";
pub(crate) const INDEX_NAME: &str = "model.safetensors.index.json";
/// The index of a 671 B model has 9 MB.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The most tensors an index may list; that model has 92 000.
const MAX_TENSORS: usize = 1 << 19;
const MAX_NAME_BYTES: usize = 1024;

/// The weight files of a folder.
pub(crate) enum Weights {
    Single(PathBuf),
    Sharded(Index),
}

/// Shard files, each with the names of the tensors that must be in it.
pub(crate) struct Index {
    shards: Vec<(PathBuf, Vec<String>)>,
}

impl Index {
    pub(crate) fn shards(&self) -> impl Iterator<Item = (&Path, &[String])> {
        self.shards.iter().map(|(path, names)| (path.as_path(), names.as_slice()))
    }
}

/// Looks as `transformers` does: `model.safetensors`, else the index, else a single file of another name; `None` if the
/// folder has no safetensors at all.
pub(crate) fn find(folder: &Path) -> Result<Option<Weights>, CheckpointError> {
    let single = folder.join(SINGLE_NAME);
    if files::exists(&single)? {
        return Ok(Some(Weights::Single(single)));
    }
    let index = folder.join(INDEX_NAME);
    if files::exists(&index)? {
        let shards =
            read_index(&index)?.into_iter().map(|(name, tensors)| (folder.join(name), tensors)).collect();
        return Ok(Some(Weights::Sharded(Index { shards })));
    }
    let mut others = files::list_with_suffix(folder, ".safetensors")?;
    match (others.pop(), others.len()) {
        (None, _) => Ok(None),
        (Some(only), 0) => Ok(Some(Weights::Single(only))),
        (Some(_), more) => {
            let what = format!("has {} .safetensors files but no {INDEX_NAME}", more + 1);
            Err(CheckpointError::not_a_model(folder, what))
        }
    }
}

/// The file names in an index file.
pub(crate) fn shard_names(index: &Path) -> Result<Vec<String>, CheckpointError> {
    Ok(read_index(index)?.into_keys().collect())
}

fn read_index(path: &Path) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    let bytes = files::read_limited(path, MAX_INDEX_BYTES)?;
    parse_index(&bytes).map_err(|reason| CheckpointError::format(path, reason))
}

/// Parses `model.safetensors.index.json`: file name to tensor names. Every file name is a plain name, which cannot lead out
/// of the folder.
///
/// # Errors
/// Not JSON, no `weight_map`, a tensor listed twice, or a file name that is no plain one.
pub fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, Vec<String>>, FormatError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    IndexSeed
        .deserialize(&mut deserializer)
        .and_then(|shards| deserializer.end().map(|()| shards))
        .map_err(json_error)
}

/// Whether a name names a file right in a folder, on any system.
fn is_plain_name(name: &str) -> bool {
    name.len() <= 255 && name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0'])
}

struct IndexSeed;

impl<'de> DeserializeSeed<'de> for IndexSeed {
    type Value = BTreeMap<String, Vec<String>>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IndexSeed {
    type Value = BTreeMap<String, Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut shards = None;
        while let Some(key) = access.next_key::<String>()? {
            if key != "weight_map" {
                access.next_value::<IgnoredAny>()?;
            } else if shards.replace(access.next_value_seed(WeightMapSeed)?).is_some() {
                return Err(de::Error::custom("two entries 'weight_map'"));
            }
        }
        match shards {
            Some(shards) if !shards.is_empty() => Ok(shards),
            Some(_) => Err(de::Error::custom("the weight_map is empty")),
            None => Err(de::Error::custom("no weight_map")),
        }
    }
}

struct WeightMapSeed;

impl<'de> DeserializeSeed<'de> for WeightMapSeed {
    type Value = BTreeMap<String, Vec<String>>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMapSeed {
    type Value = BTreeMap<String, Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("weight_map to be an object of tensor names and file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut names = HashSet::new();
        while let Some((name, file)) = access.next_entry::<String, String>()? {
            if name.len() > MAX_NAME_BYTES {
                return Err(de::Error::custom(format!("the name '{}' is too long", excerpt(&name))));
            }
            if !is_plain_name(&file) {
                let (name, file) = (excerpt(&name), excerpt(&file));
                let rule = "expected the plain name of a .safetensors file in the same folder";
                return Err(de::Error::custom(format!("tensor '{name}' is in '{file}', {rule}")));
            }
            if names.len() == MAX_TENSORS {
                return Err(de::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format!("the tensor '{}' is listed twice", excerpt(&name))));
            }
            shards.entry(file).or_default().push(name);
        }
        Ok(shards)
    }
}
