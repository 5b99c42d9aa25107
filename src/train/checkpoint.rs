//! Checkpoints: weights, optimizer state, step and recipe in one safetensors file, written completely or not
//! at all.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{TchError, Tensor};

use super::recipe::Recipe;
use crate::engine::model_file::write_atomically;

/// Identifies a file as a checkpoint of this program, and its layout.
const FORMAT: &str = "nst-stream checkpoint 1";
/// Number of checkpoints kept: the last one, and the one before it in case the last is damaged.
const KEPT: usize = 2;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read.
    #[error("cannot read '{}': {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the checkpoint '{}': {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// Its bytes are not what was written.
    #[error("'{}' is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds none.
    #[error("'{}' holds no checkpoint: nothing to resume", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// libtorch failed, as for want of memory.
    #[error(transparent)]
    Torch(#[from] TchError),
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The recipe of the run.
    pub recipe: Recipe,
    /// Values by name, in single precision, row-major.
    values: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Checkpoint {
    /// Everything that a run needs to continue after `step` steps; `state` is that of the
    /// [trainer](super::trainer::Trainer::state).
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn of(step: u64, recipe: &Recipe, state: Vec<(String, Tensor)>) -> Result<Self, TchError> {
        let mut values = BTreeMap::new();
        for (name, tensor) in state {
            let shape = tensor.size().into_iter().map(|length| length as usize).collect();
            let flat = tensor.f_detach()?.f_contiguous()?.f_reshape([-1])?;
            let numbers = Vec::<f32>::try_from(flat)?;
            let bytes = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
            values.insert(name, (shape, bytes));
        }
        Ok(Checkpoint { step, recipe: recipe.clone(), values })
    }

    /// Puts the values into the state of a trainer of the same recipe.
    ///
    /// # Errors
    /// When a value is missing or of another shape.
    pub fn restore(&self, state: Vec<(String, Tensor)>) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        for (name, tensor) in state {
            let stored = self.values.get(&name);
            let shape: Vec<usize> = tensor.size().into_iter().map(|n| n as usize).collect();
            let Some((_, bytes)) = stored.filter(|(stored, _)| *stored == shape) else {
                let what = format!("the checkpoint's '{name}' is missing or of another shape");
                return Err(TchError::Shape(what));
            };
            let numbers: Vec<f32> =
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let value = Tensor::f_from_slice(&numbers)?.f_reshape(tensor.size())?;
            tensor.shallow_clone().f_copy_(&value)?;
        }
        Ok(())
    }

    /// Writes it as the folder's newest and removes those no longer needed.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn save(&self, folder: &Path) -> Result<PathBuf, CheckpointError> {
        let path = folder.join(format!("step-{:08}.safetensors", self.step));
        let write = |error| CheckpointError::Write { path: path.clone(), error };
        let other = |e: String| write(std::io::Error::other(e));
        let recipe = toml::to_string(&self.recipe).map_err(|e| other(e.to_string()))?;
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("step".to_owned(), self.step.to_string()),
            ("crc32".to_owned(), self.checksum(&recipe).to_string()),
            ("recipe".to_owned(), recipe),
        ]);
        let mut views = Vec::new();
        for (name, (shape, bytes)) in &self.values {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.push((name, view.map_err(|e| other(format!("{e:?}")))?));
        }
        let bytes = safetensors::serialize(views, &Some(metadata));
        let bytes = bytes.map_err(|e| other(format!("{e:?}")))?;
        write_atomically(&path, &bytes).map_err(write)?;
        let all = Self::list(folder)?;
        // What cannot be removed only takes room.
        all.iter().skip(KEPT).for_each(|old| drop(std::fs::remove_file(old)));
        Ok(path)
    }

    /// Checksum over all contents, so that a flipped bit is detected.
    fn checksum(&self, recipe: &str) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(recipe.as_bytes());
        crc.update(&self.step.to_le_bytes());
        for (name, (_, bytes)) in &self.values {
            crc.update(name.as_bytes());
            crc.update(bytes);
        }
        crc.finalize()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] or [`CheckpointError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path)
            .map_err(|error| CheckpointError::Read { path: path.to_owned(), error })?;
        let damaged = |reason: &str| CheckpointError::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let cut = |_| damaged("it is cut off or not a checkpoint");
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(cut)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(cut)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        if get("format") != FORMAT {
            return Err(damaged("it is not a checkpoint of this release"));
        }
        let recipe =
            toml::from_str(get("recipe")).map_err(|_| damaged("its recipe cannot be read"))?;
        let step = get("step").parse().map_err(|_| damaged("it does not name its step"))?;
        let values = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())));
        let checkpoint = Checkpoint { step, recipe, values: values.collect() };
        if get("crc32") != checkpoint.checksum(get("recipe")).to_string() {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(checkpoint)
    }

    /// The folder's newest sound checkpoint, and what was wrong with newer ones.
    ///
    /// # Errors
    /// [`CheckpointError::None`], or what is wrong with the only ones there are.
    pub fn newest(folder: &Path) -> Result<(Self, Vec<CheckpointError>), CheckpointError> {
        let mut faults = Vec::new();
        for path in Self::list(folder)? {
            match Self::open(&path) {
                Ok(checkpoint) => return Ok((checkpoint, faults)),
                Err(error) => faults.push(error),
            }
        }
        let none = CheckpointError::None { folder: folder.to_owned() };
        Err(faults.into_iter().next().unwrap_or(none))
    }

    /// The folder's checkpoints, the newest first.
    fn list(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        let read = |error| CheckpointError::Read { path: folder.to_owned(), error };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("step-") && name.ends_with(".safetensors") {
                found.push(path);
            }
        }
        // Numbers in names have one width.
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::RecipePreset;

    fn recipe() -> Recipe {
        Recipe::preset(RecipePreset::Default, vec!["a.jpg".parse().unwrap()])
    }

    fn state(seed: u64) -> Vec<(String, Tensor)> {
        let value = |n: i64| Tensor::arange(n * 6, tch::kind::FLOAT_CPU) / (seed as f64 + 0.3);
        let weight = value(4).reshape([2, 3, 2, 2]).set_requires_grad(true);
        vec![("weight/a".to_owned(), weight), ("optimizer/first/a".to_owned(), value(1))]
    }

    fn save(folder: &Path, step: u64, seed: u64) -> PathBuf {
        Checkpoint::of(step, &recipe(), state(seed)).unwrap().save(folder).unwrap()
    }

    #[test]
    fn what_is_saved_comes_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), 500, 1);
        let (checkpoint, faults) = Checkpoint::newest(folder.path()).unwrap();
        assert_eq!((checkpoint.step, faults.len()), (500, 0));
        assert_eq!(checkpoint.recipe, recipe());
        let other = state(2);
        let shared = || other.iter().map(|(name, value)| (name.clone(), value.shallow_clone()));
        checkpoint.restore(shared().collect()).unwrap();
        for ((_, ours), (_, theirs)) in other.iter().zip(&state(1)) {
            assert_eq!(ours, theirs);
        }
        let wrong = shared().map(|(name, value)| (name, value.reshape([-1, 2]))).collect();
        assert!(checkpoint.restore(wrong).unwrap_err().to_string().contains("another shape"));
    }

    #[test]
    fn two_are_kept_and_a_damaged_one_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (1..=3).map(|n| save(folder.path(), n * 100, n)).collect();
        assert_eq!(paths.iter().map(|p| p.exists()).collect::<Vec<_>>(), [false, true, true]);
        let mut bytes = std::fs::read(&paths[2]).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        std::fs::write(&paths[2], &bytes).unwrap();
        let (checkpoint, faults) = Checkpoint::newest(folder.path()).unwrap();
        assert_eq!(checkpoint.step, 200);
        assert!(faults[0].to_string().contains("00000300.safetensors' is damaged: its checksum"));
        std::fs::write(&paths[1], &bytes[..bytes.len() / 2]).unwrap();
        std::fs::write(&paths[2], b"").unwrap();
        assert!(matches!(Checkpoint::newest(folder.path()), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn a_folder_without_checkpoints_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = Checkpoint::newest(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("holds no checkpoint: nothing to resume"), "{error}");
    }
}
