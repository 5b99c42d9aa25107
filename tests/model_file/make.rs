//! Makes PyTorch files, byte by byte: the reader is tested against the format, not against the
//! writer beside it.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use nst_stream::engine::architecture::Architecture;
use nst_stream::engine::model_file::{DType, Description, ModelFile, RawTensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `end`, which is more than 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }
}

/// A small network of widths 2, 3, 4 with one residual block, in half precision.
pub fn small() -> ModelFile {
    random_of("small", Architecture { styles: 1, ..two_styles().description.architecture })
}

/// The same with the styles `a` and `b`.
pub fn two_styles() -> ModelFile {
    let widths = vec![2, 3, 4];
    let architecture = Architecture { widths, residual_blocks: 1, styles: 2, ..Default::default() };
    let mut model = random_of("two", architecture);
    model.description.styles = ["a", "b"].map(str::to_owned).to_vec();
    // About grey, where nothing is cut off.
    let grey = RawTensor::from_f32(vec![3], &[128.0; 3], DType::F16);
    model.tensors.insert("deconv3.conv2d.bias".to_owned(), grey);
    model
}

/// A network with weights that look random.
pub fn random_of(name: &str, architecture: Architecture) -> ModelFile {
    let mut random = Random(7);
    let tensors = architecture.parameters().into_iter().map(|(name, shape)| {
        let count = shape.iter().product::<i64>() as usize;
        let values: Vec<f32> =
            (0..count).map(|_| random.below(2000) as f32 / 1000.0 - 1.0).collect();
        (name, RawTensor::from_f32(shape, &values, DType::F16))
    });
    ModelFile { tensors: tensors.collect(), description: Description::new(name, architecture) }
}

/// A tensor to be pickled: the whole storage and how the tensor looks at it.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub key: String,
    pub dtype: DType,
    pub storage: Vec<u8>,
    pub offset: i32,
    pub shape: Vec<i32>,
    pub strides: Vec<i32>,
}

/// The tensors of a model as entries, in published order.
pub fn entries(model: &ModelFile) -> Vec<Entry> {
    let parameters = model.description.architecture.parameters();
    let ordered = parameters.iter().filter_map(|(name, _)| model.tensors.get_key_value(name));
    ordered.map(|(name, tensor)| entry(name, tensor)).collect()
}

pub fn entry(name: &str, tensor: &RawTensor) -> Entry {
    let shape: Vec<i32> = tensor.shape.iter().map(|&n| n as i32).collect();
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    Entry {
        name: name.to_owned(),
        key: format!("k{name}"),
        dtype: tensor.dtype,
        storage: tensor.data.clone(),
        offset: 0,
        shape,
        strides,
    }
}

/// A pickle under construction.
#[derive(Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(&value.to_le_bytes())
    }

    pub fn ints(self, values: &[i32]) -> Self {
        values.iter().fold(self.raw(b"("), |p, &v| p.int(v)).raw(b"t")
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// `_rebuild_tensor_v2` of the entry; old files end the storage's id with None.
    pub fn tensor(self, entry: &Entry, legacy: bool) -> Self {
        let class = match entry.dtype {
            DType::F64 => "DoubleStorage",
            DType::F32 => "FloatStorage",
            DType::F16 => "HalfStorage",
            DType::BF16 => "BFloat16Storage",
            DType::I64 => "LongStorage",
            _ => "ByteStorage",
        };
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", class)
            .text(&entry.key)
            .text("cpu")
            .int((entry.storage.len() / entry.dtype.size()) as i32)
            .raw(if legacy { b"NtQ" } else { b"tQ" })
            .int(entry.offset)
            .ints(&entry.shape)
            .ints(&entry.strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    /// An OrderedDict of the entries, with a `_metadata` attribute as old files have it.
    pub fn state_dict(self, entries: &[Entry], legacy: bool) -> Self {
        let open = self.raw(b"ccollections\nOrderedDict\n)R(");
        let filled = entries.iter().fold(open, |p, e| p.text(&e.name).tensor(e, legacy));
        filled.raw(b"u}").text("_metadata").raw(b"}sb")
    }

    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// The pickle of a state dict, whole.
pub fn pickled(entries: &[Entry], legacy: bool) -> Vec<u8> {
    Pickle::new().state_dict(entries, legacy).stop()
}

/// A zip of records, stored.
pub fn zip(records: &[(&str, &[u8])]) -> Vec<u8> {
    zip_with(records, CompressionMethod::Stored)
}

pub fn zip_with(records: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in records {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).expect("a zip in memory takes records");
        zip.write_all(data).expect("a zip in memory takes bytes");
    }
    zip.finish().expect("a zip in memory can be finished").into_inner()
}

/// A file as torch.save writes it, around any pickle.
pub fn zip_file(pickle: &[u8], entries: &[Entry]) -> Vec<u8> {
    let storages = storages(entries);
    let names: Vec<String> = storages.keys().map(|key| format!("m/data/{key}")).collect();
    let mut records: Vec<(&str, &[u8])> = vec![("m/data.pkl", pickle), ("m/byteorder", b"little")];
    records.extend(names.iter().map(String::as_str).zip(storages.values().map(|e| &*e.storage)));
    records.push(("m/version", b"3\n"));
    zip(&records)
}

/// A file as torch.save wrote it before PyTorch 1.6, around any pickle.
pub fn legacy_file(pickle: &[u8], entries: &[Entry]) -> Vec<u8> {
    legacy_file_of(pickle, entries, true)
}

pub fn legacy_file_of(pickle: &[u8], entries: &[Entry], little_endian: bool) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend_from_slice(b"\x80\x02M\xe9\x03.");
    let order = if little_endian { b"\x88" } else { b"\x89" };
    file.extend(Pickle::new().raw(b"}").text("little_endian").raw(order).raw(b"s").stop());
    file.extend_from_slice(pickle);
    let storages = storages(entries);
    let keys = storages.keys().fold(Pickle::new().raw(b"]("), |p, key| p.text(key));
    file.extend(keys.raw(b"e").stop());
    for entry in storages.values() {
        file.extend(((entry.storage.len() / entry.dtype.size()) as u64).to_le_bytes());
        file.extend(&entry.storage);
    }
    file
}

fn storages(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries.iter().map(|entry| (entry.key.as_str(), entry)).collect()
}
