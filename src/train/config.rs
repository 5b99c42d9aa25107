//! Parameters of a training run.

use std::path::PathBuf;

use super::run_folder::RunFile;
use crate::engine::device::Device;

/// Parameters of a training run, beside its recipe.
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// The run.
    pub run: RunFile,
    /// Its folder.
    pub folder: PathBuf,
    /// Goes on with the run that is in the folder.
    pub resume: bool,
    /// Replaces a run and a model that are there already.
    pub overwrite: bool,
    /// Where to compute.
    pub device: Device,
    /// CPU threads of libtorch.
    pub threads: Option<usize>,
    /// Steps between two previews.
    pub preview_every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
}
