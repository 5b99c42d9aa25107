//! From the bytes of a PyTorch file to named tensors, in either of its two formats.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use safetensors::{Dtype, SafeTensors};

use super::archive::{Archive, is_zip};
use super::cursor::Cursor;
use super::error::{Fault, printable};
use super::gather::TensorGatherer;
use super::pickle::{self, Pickle};
use super::value::{Node, Storage, Value};
use super::write::DESCRIPTION;
use super::{DType, RawTensor};

/// First object of a file in the old format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Second object: version of the old format.
const PROTOCOL: i64 = 1001;
/// Names under which training scripts store the state dict in a larger checkpoint, in order of preference; if
/// there is none of them, any other dict that fits is taken.
const NESTED: [&str; 6] =
    ["params_ema", "state_dict", "model_state_dict", "model", "params", "generator"];
/// Largest nesting depth of checkpoints.
const DEPTH: usize = 3;
/// The first weight of every network; what precedes this name is the prefix of all names.
const FIRST: &str = "conv1.conv2d.weight";
/// The first weight of the third convolution.
const THIRD: &str = "conv3.conv2d.weight";
/// What torch.compile puts into names, wherever the compiled module is.
const COMPILED: &str = "_orig_mod.";

/// What a file holds.
#[derive(Debug)]
pub(super) struct FileContents<'a> {
    pub(super) tensors: BTreeMap<String, RawTensor>,
    /// The description as it stands in the file, if there is one.
    pub(super) description: Option<Cow<'a, [u8]>>,
}

pub(super) fn read(bytes: &[u8]) -> Result<FileContents<'_>, Fault> {
    if is_zip(bytes) {
        read_zip(bytes)
    } else if is_safetensors(bytes) {
        read_safetensors(bytes)
    } else if is_pickle(bytes)? {
        let tensors = read_legacy(bytes)?;
        Ok(FileContents { tensors, description: None })
    } else {
        Err(Fault::not_a_model(what_else(bytes)))
    }
}

/// The format since PyTorch 1.6: a zip of the pickled object and one record for each storage.
fn read_zip(bytes: &[u8]) -> Result<FileContents<'_>, Fault> {
    let archive = Archive::open(bytes)?;
    let mut prefixes = archive.names().filter_map(|name| {
        let (prefix, rest) = name.split_once('/')?;
        (rest == "data.pkl").then_some(prefix)
    });
    let (Some(prefix), None) = (prefixes.next(), prefixes.next()) else {
        return Err(Fault::not_a_model("it is a zip, but none that torch.save writes"));
    };
    let record = |name: &str| archive.get(&format!("{prefix}/{name}"));
    if record("byteorder").is_some_and(|order| order.starts_with(b"big")) {
        return Err(Fault::BigEndian);
    }
    let pickle = pickle::read(&mut Cursor::new(record("data.pkl").unwrap_or_default()))?;
    let fetch = |storage: &Storage<'_>| record(&format!("data/{}", storage.key));
    let tensors = tensors(&pickle, fetch, bytes.len())?;
    Ok(FileContents { tensors, description: record(DESCRIPTION).map(Cow::Borrowed) })
}

/// Whether the bytes begin with the length of a JSON object, and that object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    bytes.get(8) == Some(&b'{') && length.is_some_and(|length| length < bytes.len() as u64)
}

/// Weights as safetensors, those of `models export --to safetensors` with their description.
fn read_safetensors(bytes: &[u8]) -> Result<FileContents<'_>, Fault> {
    let damaged = |error: &dyn std::fmt::Display| Fault::damaged(error.to_string());
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
    let about = head.metadata().as_ref().and_then(|about| about.get("nst-stream.json"));
    let description = about.map(|json| Cow::Owned(json.as_bytes().to_vec()));
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
    let all = file.tensors();
    let mut names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let prefix = prefix(names.into_iter());
    let mut tensors = BTreeMap::new();
    for (name, view) in &all {
        let Some(known) = plain(name, &prefix).filter(|name| !is_statistic(name)) else { continue };
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            other => {
                let name = printable(name);
                return Err(Fault::not_a_model(format!("its '{name}' is of the type {other:?}")));
            }
        };
        let shape = view.shape().iter().map(|length| i64::try_from(*length).unwrap_or(i64::MAX));
        let tensor = RawTensor { shape: shape.collect(), dtype, data: view.data().to_vec() };
        if tensors.insert(known.clone(), tensor).is_some() {
            let name = printable(&known);
            return Err(Fault::damaged(format!("it has two tensors called '{name}'")));
        }
    }
    Ok(FileContents { tensors, description })
}

/// The prefix of the network's names (of DataParallel, Lightning and others): everything before its first
/// weight's name.
fn prefix<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: BTreeSet<String> = names.map(|name| name.replace(COMPILED, "")).collect();
    let found = names.iter().filter_map(|name| {
        let prefix = name.strip_suffix(FIRST)?;
        // A residual block also has a weight of this name, but lacks the third convolution.
        let whole = names.contains(&format!("{prefix}{THIRD}"));
        (whole && (prefix.is_empty() || prefix.ends_with('.'))).then(|| prefix.to_owned())
    });
    let prefix = found.min_by_key(String::len).unwrap_or_default();
    if !prefix.is_empty() {
        tracing::warn!("the weights are those under '{}'", printable(&prefix));
    }
    prefix
}

/// The published name of a tensor; none if it does not belong to the network.
fn plain(name: &str, prefix: &str) -> Option<String> {
    let name = name.replace(COMPILED, "");
    name.strip_prefix(prefix).map(str::to_owned)
}

/// Whether the bytes begin with the pickled magic number of the old format.
fn is_pickle(bytes: &[u8]) -> Result<bool, Fault> {
    if bytes.first() != Some(&0x80) {
        return Ok(false);
    }
    match pickle::read(&mut Cursor::new(bytes)) {
        Ok(Pickle { root: Value::Long(number), .. }) => Ok(number == MAGIC),
        // A pickle that asks to run code: more important to report than the file's format.
        Err(Fault::UnsafeGlobal(global)) => Err(Fault::UnsafeGlobal(global)),
        _ => Ok(false),
    }
}

/// The format before PyTorch 1.6: magic number, protocol, system, object and list of storages, all
/// pickled, then the storages themselves, each after its number of elements.
fn read_legacy(bytes: &[u8]) -> Result<BTreeMap<String, RawTensor>, Fault> {
    let mut cursor = Cursor::new(bytes);
    pickle::read(&mut cursor)?; // the magic number, seen before
    if !matches!(pickle::read(&mut cursor)?.root, Value::Int(PROTOCOL)) {
        return Err(Fault::damaged("its format has an unknown version"));
    }
    let system = pickle::read(&mut cursor)?;
    if let Some(Value::Bool(false)) = system.heap.lookup(system.root, "little_endian") {
        return Err(Fault::BigEndian);
    }
    let model = pickle::read(&mut cursor)?;
    let mut sizes = HashMap::new();
    for storage in model.heap.storages() {
        let size = storage.dtype.map_or(1, DType::size);
        if *sizes.entry(storage.key).or_insert(size) != size {
            return Err(Fault::damaged("it has a storage of two types"));
        }
    }
    let keys = pickle::read(&mut cursor)?;
    let keys = keys.heap.items(keys.root).ok_or_else(|| Fault::damaged("it lists no storages"))?;
    let mut storages = HashMap::new();
    for key in keys {
        let Value::Str(key) = key else {
            return Err(Fault::damaged("it has a storage without a name"));
        };
        let Some(&size) = sizes.get(key) else {
            return Err(Fault::damaged("it has a storage that belongs to nothing"));
        };
        let length = cursor.u64()?.checked_mul(size as u64);
        let data = cursor.take(length.unwrap_or(u64::MAX))?;
        if storages.insert(*key, data).is_some() {
            return Err(Fault::damaged("it has one storage twice"));
        }
    }
    let fetch = |storage: &Storage<'_>| storages.get(storage.key).copied();
    tensors(&model, fetch, bytes.len())
}

/// Finds the state dict and gathers its tensors. `fetch` gives the bytes of a storage;
/// `file_length` bounds what is gathered.
fn tensors<'a>(
    pickle: &Pickle<'a>,
    fetch: impl Fn(&Storage<'a>) -> Option<&'a [u8]>,
    file_length: usize,
) -> Result<BTreeMap<String, RawTensor>, Fault> {
    let heap = &pickle.heap;
    let dict = state_dict(pickle, pickle.root, DEPTH).unwrap_or(pickle.root);
    let Some(entries) = heap.entries(dict) else {
        let kind = heap.kind(dict);
        return Err(Fault::not_a_model(format!("it holds {kind}, not a state dict")));
    };
    if entries.is_empty() {
        return Err(Fault::not_a_model("its state dict is empty"));
    }
    let names = entries.iter().filter_map(|(key, _)| match key {
        Value::Str(name) => Some(*name),
        _ => None,
    });
    let prefix = prefix(names);
    let mut gatherer = TensorGatherer::new(file_length);
    let mut tensors = BTreeMap::new();
    for &(key, value) in entries {
        let Value::Str(name) = key else {
            let kind = heap.kind(key);
            return Err(Fault::not_a_model(format!("its dict has {kind} for a name")));
        };
        let Some(name) = plain(name, &prefix).filter(|name| !is_statistic(name)) else { continue };
        let name = name.as_str();
        let Some(Node::Tensor(view)) = heap.get(value) else {
            let (name, kind) = (printable(name), heap.kind(value));
            return Err(Fault::not_a_model(format!("its '{name}' is {kind}, not a tensor")));
        };
        let Some(storage) = fetch(&view.storage) else {
            let name = printable(name);
            return Err(Fault::damaged(format!("the numbers of '{name}' are missing")));
        };
        let tensor = gatherer.gather(view, storage).map_err(|fault| {
            let name = printable(name);
            Fault::damaged(format!("'{name}' {fault}"))
        })?;
        if tensors.insert(name.to_owned(), tensor).is_some() {
            let name = printable(name);
            return Err(Fault::damaged(format!("it has two tensors called '{name}'")));
        }
    }
    Ok(tensors)
}

/// The dict of a checkpoint that holds the network: the root, or one inside it.
fn state_dict<'a>(pickle: &Pickle<'a>, root: Value<'a>, depth: usize) -> Option<Value<'a>> {
    let heap = &pickle.heap;
    let entries = heap.entries(root)?;
    // A checkpoint may hold a tensor beside its dicts, such as the best loss so far.
    let is_weight = |key: Value<'a>, value: Value<'a>| {
        matches!(key, Value::Str(name) if name.ends_with(".weight"))
            && matches!(heap.get(value), Some(Node::Tensor(_)))
    };
    if entries.iter().any(|&(key, value)| is_weight(key, value)) {
        return Some(root);
    }
    if depth == 0 {
        return None;
    }
    let usual = NESTED.iter().filter_map(|name| heap.lookup(root, name));
    let others = entries.iter().map(|(_, value)| *value);
    usual.chain(others).find_map(|value| state_dict(pickle, value, depth - 1))
}

/// Whether the tensor is a running statistic of an instance norm: PyTorch before 0.4 saved them,
/// though that layer never uses them.
fn is_statistic(name: &str) -> bool {
    let Some((layer, last)) = name.rsplit_once('.') else { return false };
    let layer = layer.rsplit('.').next().unwrap_or(layer);
    layer.starts_with("in")
        && matches!(last, "running_mean" | "running_var" | "num_batches_tracked")
}

/// Names a file that is not a PyTorch file, for kinds that users commonly give by mistake.
fn what_else(bytes: &[u8]) -> &'static str {
    let start = bytes.trim_ascii_start();
    let begins =
        |with: &[u8]| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if bytes.is_empty() {
        "it is empty"
    } else if begins(b"version https://git-lfs") {
        "it is a Git LFS pointer; `git lfs pull` fetches the file"
    } else if begins(b"<!doctype") || begins(b"<html") {
        "it is a web page, so the download went wrong"
    } else {
        "neither a PyTorch zip nor a PyTorch pickle"
    }
}
