//! The bytes of a model file: a PyTorch zip with our description as one more record.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{Description, RawTensor};

/// Name of the description's record, after the prefix.
pub(in crate::engine) const DESCRIPTION: &str = "nst-stream.json";
/// PyTorch finds the prefix by itself; a fixed one keeps the bytes independent of the file's name.
const PREFIX: &str = "archive";
/// As PyTorch aligns them, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

/// The file's bytes: the same for the same contents, whenever and wherever they are made.
///
/// Tensors come in the order of the architecture's list; those not on it are left out, so the
/// caller has checked that there are none.
pub(super) fn to_bytes(
    description: &Description,
    tensors: &BTreeMap<String, RawTensor>,
) -> io::Result<Vec<u8>> {
    let parameters = description.architecture.parameters();
    let ordered: Vec<(&str, &RawTensor)> = parameters
        .iter()
        .filter_map(|(name, _)| Some((name.as_str(), tensors.get(name)?)))
        .collect();
    let mut json = serde_json::to_vec_pretty(description)?;
    json.push(b'\n');
    let mut zip = Records::default();
    zip.add("data.pkl", &pickle(&ordered)?)?;
    zip.add(DESCRIPTION, &json)?;
    zip.add("byteorder", b"little")?;
    for (number, (_, tensor)) in ordered.iter().enumerate() {
        zip.add(&format!("data/{number}"), &tensor.data)?;
    }
    zip.add("version", b"3\n")?;
    zip.finish()
}

/// A zip as PyTorch writes it, in memory.
pub(in crate::engine) struct Records(ZipWriter<Cursor<Vec<u8>>>);

impl Default for Records {
    fn default() -> Self {
        Records(ZipWriter::new(Cursor::new(Vec::new())))
    }
}

impl Records {
    /// Adds a record; its name follows the prefix.
    pub(in crate::engine) fn add(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .with_alignment(ALIGNMENT);
        self.0.start_file(format!("{PREFIX}/{name}"), options)?;
        self.0.write_all(data)
    }

    /// The file's bytes.
    pub(in crate::engine) fn finish(self) -> io::Result<Vec<u8>> {
        Ok(self.0.finish()?.into_inner())
    }
}

/// The state dict as torch.save pickles it: `OrderedDict` of name → tensor, protocol 2.
fn pickle(tensors: &[(&str, &RawTensor)]) -> io::Result<Vec<u8>> {
    let mut out = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (number, (name, value)) in tensors.iter().enumerate() {
        text(&mut out, name)?;
        tensor(&mut out, number, value)?;
    }
    out.extend_from_slice(b"u.");
    Ok(out)
}

/// `_rebuild_tensor_v2(('storage', torch.HalfStorage, '0', 'cpu', n), 0, shape, strides, False,
/// OrderedDict())` of the tensor whose values are the record `data/0`.
pub(in crate::engine) fn tensor(
    out: &mut Vec<u8>,
    number: usize,
    tensor: &RawTensor,
) -> io::Result<()> {
    out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage")?;
    out.extend_from_slice(format!("ctorch\n{}\n", tensor.dtype.storage_class()).as_bytes());
    text(out, &number.to_string())?;
    text(out, "cpu")?;
    let elements: i64 = tensor.shape.iter().product();
    int(out, elements)?;
    out.extend_from_slice(b"tQ");
    int(out, 0)?;
    tuple(out, tensor.shape.iter().copied())?;
    let mut left = elements;
    let strides = tensor.shape.iter().map(|&length| {
        left /= length.max(1);
        left
    });
    tuple(out, strides)?;
    out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    Ok(())
}

/// A text in a pickle.
pub(in crate::engine) fn text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    out.push(b'X');
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn int(out: &mut Vec<u8>, value: i64) -> io::Result<()> {
    let value = i32::try_from(value).map_err(io::Error::other)?;
    out.push(b'J');
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn tuple(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) -> io::Result<()> {
    out.push(b'(');
    for value in values {
        int(out, value)?;
    }
    out.push(b't');
    Ok(())
}

/// Writes a file beside `path` and moves it there when it is whole, so that no reader ever sees
/// half a model and a failure leaves what stood there before.
pub(super) fn atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // The first error is the one to tell; a file left over is only clutter.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// `.mosaic.pt.1234-0.part` in the folder of `mosaic.pt`: hidden, and of this call alone.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
    };
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.{}-{call}.part", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(name))
}
