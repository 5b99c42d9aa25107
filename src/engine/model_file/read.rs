//! From the bytes of a PyTorch file to named tensors, in either of its two formats.

use std::collections::{BTreeMap, HashMap};

use super::archive::{Archive, is_zip};
use super::cursor::Cursor;
use super::error::{Fault, printable};
use super::gather::Gatherer;
use super::pickle::{self, Pickle};
use super::value::{Node, Storage, Value};
use super::write::DESCRIPTION;
use super::{DType, RawTensor};

/// First object of a file in the old format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Second object: version of the old format.
const PROTOCOL: i64 = 1001;
/// Names under which training scripts keep the state dict in a larger checkpoint.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub(super) tensors: BTreeMap<String, RawTensor>,
    /// The description as it stands in the file, if there is one.
    pub(super) description: Option<&'a [u8]>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>, Fault> {
    if is_zip(bytes) {
        read_zip(bytes)
    } else if is_pickle(bytes)? {
        let tensors = read_legacy(bytes)?;
        Ok(Contents { tensors, description: None })
    } else {
        Err(Fault::not_a_model(what_else(bytes)))
    }
}

/// The format since PyTorch 1.6: a zip of the pickled object and one record for each storage.
fn read_zip(bytes: &[u8]) -> Result<Contents<'_>, Fault> {
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
    Ok(Contents { tensors, description: record(DESCRIPTION) })
}

/// Whether the bytes begin with the pickled magic number of the old format.
fn is_pickle(bytes: &[u8]) -> Result<bool, Fault> {
    if bytes.first() != Some(&0x80) {
        return Ok(false);
    }
    match pickle::read(&mut Cursor::new(bytes)) {
        Ok(Pickle { root: Value::Long(number), .. }) => Ok(number == MAGIC),
        // Someone's pickle, with something in it that matters more than its kind.
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
    let mut nested = NESTED.iter().filter_map(|name| heap.lookup(pickle.root, name));
    let dict = nested.find(|&value| heap.entries(value).is_some()).unwrap_or(pickle.root);
    let Some(entries) = heap.entries(dict) else {
        let kind = heap.kind(dict);
        return Err(Fault::not_a_model(format!("it holds {kind}, not a state dict")));
    };
    if entries.is_empty() {
        return Err(Fault::not_a_model("its state dict is empty"));
    }
    // torch.nn.DataParallel puts this before every name.
    let parallel =
        entries.iter().all(|(key, _)| matches!(key, Value::Str(k) if k.starts_with("module.")));
    let mut gatherer = Gatherer::new(file_length);
    let mut tensors = BTreeMap::new();
    for &(key, value) in entries {
        let Value::Str(name) = key else {
            let kind = heap.kind(key);
            return Err(Fault::not_a_model(format!("its dict has {kind} for a name")));
        };
        let name = name.strip_prefix("module.").filter(|_| parallel).unwrap_or(name);
        if is_statistic(name) {
            continue;
        }
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

/// Whether the tensor is a running statistic of an instance norm: PyTorch before 0.4 saved them,
/// though that layer never uses them.
fn is_statistic(name: &str) -> bool {
    let Some((layer, last)) = name.rsplit_once('.') else { return false };
    let layer = layer.rsplit('.').next().unwrap_or(layer);
    layer.starts_with("in")
        && matches!(last, "running_mean" | "running_var" | "num_batches_tracked")
}

/// What a file is that is no PyTorch file: the things people meet in its place.
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
