//! What `probe` shows of the engine.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::device::{
    LIBTORCH_VERSION, cpu_field, cpu_has_bf16, default_threads, gpu_count, loaded_library,
};
use super::precision::Precision;

/// What `probe` shows of the engine.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of libtorch.
    pub libtorch: &'static str,
    /// Folder it was loaded from.
    pub libtorch_folder: Option<PathBuf>,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Threads that compute when nothing else is asked for.
    pub threads: usize,
    /// Precision on the CPU when nothing else is asked for.
    pub cpu_precision: String,
    /// GPUs, or why there are none.
    pub cuda: String,
}

/// Inspects devices and libraries.
pub fn report() -> Report {
    let cuda = match gpu_count() {
        Ok(count) => {
            let s = if count == 1 { "" } else { "s" };
            format!("{count} GPU{s}: {}", gpu_names().join(", "))
        }
        Err(why) => format!("none: {why}"),
    };
    let library = loaded_library("libtorch_cpu.so").and_then(|path| path.canonicalize().ok());
    Report {
        libtorch: LIBTORCH_VERSION,
        libtorch_folder: library.and_then(|path| path.parent().map(Path::to_owned)),
        cpu: cpu_field("model name"),
        threads: default_threads(),
        cpu_precision: if cpu_has_bf16() { Precision::Bf16 } else { Precision::Fp32 }.to_string(),
        cuda,
    }
}

/// Names of the GPUs as the driver gives them, in no order that means anything.
fn gpu_names() -> Vec<String> {
    let folders = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let information =
        folders.filter_map(|f| std::fs::read_to_string(f.path().join("information")).ok());
    information
        .filter_map(|text| {
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_owned())
        })
        .collect()
}
