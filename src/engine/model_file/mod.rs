//! The model file: one self-describing `.pt`, read and written without libtorch.
//!
//! **Layout.** A zip as `torch.save` writes it, its records stored and 64-byte aligned. The top
//! object is the plain state dict under the names PyTorch's fast_neural_style example publishes,
//! so `torch.load(weights_only=True)` and that example's own code take it as it is. One record
//! more, `nst-stream.json`, holds the [`Description`]; PyTorch passes over it.
//!
//! **Reading never runs code.** PyTorch files are pickles, and a pickle may ask for any function
//! to be called. The reader here interprets opcodes itself and knows a handful of names; a file
//! that asks for another is refused ([`ModelError::UnsafeGlobal`]). No bytes make it panic, recurse
//! or allocate without bound: tensors take at most a few times the file's size, its pickle at most
//! some tens of megabytes. TorchScript archives are programs and are refused too.
//!
//! **Imports.** Published networks without a description load as well: zips, pickles from before
//! PyTorch 1.6, safetensors, state dicts inside larger checkpoints (`state_dict`, `params_ema`,
//! `generator`, whatever they are called), names with `module.`, `model.` or other words before them or
//! `_orig_mod.` in them, running statistics of instance norms (dropped).
//!
//! Inside: `archive` (zip), `cursor` → `pickle` → `value`, `rebuild` (the unpickler) → `gather`
//! (strides) → `read` (both formats); `write`; `average`.

mod archive;
mod average;
mod cursor;
mod description;
mod error;
mod gather;
mod pickle;
mod read;
mod rebuild;
mod tensor;
mod value;
pub(in crate::engine) mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

pub use description::Description;
pub use error::ModelError;
pub use tensor::{DType, RawTensor};

use error::printable;

use crate::engine::architecture::Architecture;

/// Largest file read, in bytes: 1 GiB, some 300 times a usual model. It keeps a mistaken argument
/// (a film, a disk image) from filling the memory.
pub const MAX_FILE_SIZE: u64 = 1 << 30;

/// The tensors of a state dict that need not be a model of ours, as of a loss network: a PyTorch
/// file's bytes → names and values, running no code. `label` names the file in errors.
///
/// # Errors
/// When the bytes are no sound PyTorch file.
pub fn read_state_dict(
    label: &str,
    bytes: &[u8],
) -> Result<BTreeMap<String, RawTensor>, ModelError> {
    Ok(read::read(bytes).map_err(|fault| fault.of(label))?.tensors)
}

/// Writes a file beside `path` and moves it there when it is whole: no reader sees half of it, and
/// a failure leaves what stood there before.
///
/// # Errors
/// The system's.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write::atomically(path, bytes)
}

/// A model: what it is and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// What it is.
    pub description: Description,
    /// The weights under their published names, those of
    /// [`parameters`](Architecture::parameters) exactly.
    pub tensors: BTreeMap<String, RawTensor>,
}

impl ModelFile {
    /// Reads and checks the model at `path`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Read`] when the system gives no bytes, any other when they are no sound
    /// model.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = path.display().to_string();
        match read_file(path) {
            Ok(bytes) => Self::from_bytes(&file, &bytes),
            Err(error) => Err(ModelError::Read { file, error }),
        }
    }

    /// Reads and checks a model that is in memory. `label` names it in errors; the name of a model
    /// without a description is the label's file stem.
    ///
    /// # Errors
    ///
    /// When the bytes are no sound model: see [`ModelError`].
    pub fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        let contents = read::read(bytes).map_err(|fault| fault.of(label))?;
        let tensors = contents.tensors;
        let description = match contents.description {
            Some(json) => Description::from_json(label, &json)?,
            None => {
                let shapes =
                    tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()));
                let shapes = shapes.collect();
                let architecture =
                    Architecture::from_shapes(&shapes).map_err(|tensor| ModelError::Missing {
                        file: label.to_owned(),
                        tensor: tensor.to_owned(),
                        expected: "of the shape [outputs, inputs, height, width]".to_owned(),
                    })?;
                let stem = Path::new(label).file_stem().unwrap_or_default().to_string_lossy();
                Description::new(stem, architecture)
            }
        };
        let model = Self { description, tensors };
        model.check(label)?;
        Ok(model)
    }

    /// Refuses a model that does not paint pictures by itself: with a style predictor, which has no style of its own,
    /// or one that makes textures. `label` names it.
    ///
    /// # Errors
    /// [`ModelError::NoPicture`] or [`ModelError::MakesTextures`].
    pub fn check_style(&self, label: &str) -> Result<(), ModelError> {
        let file = || label.to_owned();
        match (self.description.architecture.predictor, self.description.architecture.photo) {
            (Some(_), _) => Err(ModelError::NoPicture { file: file() }),
            (None, false) => Err(ModelError::MakesTextures { file: file() }),
            (None, true) => Ok(()),
        }
    }

    /// Checks the tensors against the architecture: every one there, none besides, each of the
    /// right shape, in floating point and finite. Both readers and [`save`](Self::save) do this.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong; `label` names the model in it.
    pub fn check(&self, label: &str) -> Result<(), ModelError> {
        let architecture = &self.description.architecture;
        let file = || label.to_owned();
        if let Some(reason) = architecture.fault() {
            return Err(ModelError::Description { file: file(), reason });
        }
        let named = self.description.styles.len();
        if architecture.styles > 1 && named != architecture.styles {
            let reason = format!("{named} names for {} styles", architecture.styles);
            return Err(ModelError::Description { file: file(), reason });
        }
        let parameters = architecture.parameters();
        for (tensor, expected) in &parameters {
            let tensor = tensor.clone();
            let Some(found) = self.tensors.get(&tensor) else {
                let expected = format!("of the shape {expected:?}");
                return Err(ModelError::Missing { file: file(), tensor, expected });
            };
            if found.shape != *expected {
                let (found, expected) = (found.shape.clone(), expected.clone());
                return Err(ModelError::Shape { file: file(), tensor, found, expected });
            }
            if !found.dtype.is_float() {
                return Err(ModelError::NotFloat { file: file(), tensor, found: found.dtype });
            }
            let bytes = found.elements().and_then(|n| n.checked_mul(found.dtype.size()));
            if bytes != Some(found.data.len()) {
                let reason = format!("'{tensor}' has more or fewer values than its shape");
                return Err(ModelError::Damaged { file: file(), reason });
            }
            if !found.is_finite() {
                return Err(ModelError::NotFinite { file: file(), tensor });
            }
        }
        let known: BTreeSet<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        match self.tensors.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(ModelError::Unexpected {
                file: file(),
                tensor: printable(name),
                architecture: architecture.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// The model in half precision, half as large as in single; see [`RawTensor::to_f16`].
    pub fn to_f16(&self) -> Self {
        let tensors = self.tensors.iter().map(|(name, t)| (name.clone(), t.to_f16())).collect();
        Self { description: self.description.clone(), tensors }
    }

    /// The bytes of the model file, tensors as they are: the same bytes for the same model.
    ///
    /// # Errors
    ///
    /// When [`check`](Self::check) finds fault; `label` names the model in it.
    pub fn to_bytes(&self, label: &str) -> Result<Vec<u8>, ModelError> {
        self.check(label)?;
        write::to_bytes(&self.description, &self.tensors)
            .map_err(|error| ModelError::Write { file: label.to_owned(), error })
    }

    /// Writes the model file in half precision. The file appears whole or not at all, and replaces
    /// one that was there.
    ///
    /// # Errors
    ///
    /// When [`check`](Self::check) finds fault, or [`ModelError::Write`] from the system.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let file = path.display().to_string();
        let bytes = self.to_f16().to_bytes(&file)?;
        write::atomically(path, &bytes).map_err(|error| ModelError::Write { file, error })
    }
}

/// The bytes of a regular file of at most [`MAX_FILE_SIZE`].
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before opening: to open a pipe would wait for someone to write into it.
    let metadata = fs::metadata(path)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !metadata.is_file() {
        return refuse("it is a folder or device, not a file".to_owned());
    }
    let length = metadata.len();
    if length > MAX_FILE_SIZE {
        return refuse(format!("{} MiB are too many for a model", length >> 20));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // A file that grows meanwhile is read to the length it had.
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
