//! Inference: a network paints frames, on a CPU or a GPU.
//!
//! * [`architecture`], [`model_file`], [`shipped`]: what a model is, without libtorch.
//! * [`device`], [`precision`]: CPU or GPU, and in which arithmetic; [`report`]: what `probe` shows of both.
//! * `kernels`: the network on x86-64 processors.
//! * `gpu`: the network on GPUs, between libtorch's convolutions.
//! * `layers` → [`network`] → [`checked_network`] (GPU kernels compared with libtorch) → [`model`]: the network, or
//!   a TorchScript program in its place.
//! * `noise`: what the scales of texture networks read.
//! * [`blend`]: which of a network's styles; [`predictor`]: a style from a picture's statistics.
//! * [`export`]: the network for other programs, without libtorch; [`mod@bench`]: its speed.
//! * [`color`]: Y'CbCr planes ↔ RGB tensors; [`yuv_cpu`]: on a CPU, in one pass.
//! * [`stylizer`] (through `staging` to a GPU): all of it as a [`Stylizer`](crate::core::stylizer::Stylizer).
//!
//! `memory`: how much memory is available; `threads`: the thread pool of the CPU.
//!
//! Calls into libtorch are the fallible ones (`f_…`), so that a C++ exception, as for want of
//! memory, is an error and no panic; `guard` sees to those that tch forgot.

pub mod architecture;
pub mod bench;
pub mod blend;
pub mod checked_network;
pub mod color;
pub mod device;
pub mod export;
mod gpu;
mod guard;
#[cfg(target_arch = "x86_64")]
pub mod kernels;
mod layers;
pub(crate) mod memory;
pub mod model;
pub mod model_file;
pub mod network;
pub(crate) mod noise;
pub mod precision;
pub mod predictor;
pub mod report;
pub mod shipped;
mod staging;
pub mod stylizer;
pub(crate) mod threads;
pub mod yuv_cpu;

use tch::{TchError, Tensor};

use crate::core::stylizer::StylizeError;

pub(crate) use guard::guarded;
pub(crate) use layers::EPSILON;
pub use layers::{channels_last, pad_reflect, padded};

/// libtorch's error message in one line, without its C++ stack and source lines.
pub(crate) fn words(error: &TchError) -> String {
    // Usually an error of our own, which needs no prefix for its kind.
    if let TchError::Shape(text) | TchError::FileFormat(text) = error {
        return text.clone();
    }
    let text = error.to_string();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
    // A failing TorchScript program first gives its own stack.
    let last = text.lines().rev().find(|line| line.contains("Error: "));
    let line = last.filter(|_| text.contains("TorchScript interpreter"));
    line.or(text.lines().next()).unwrap_or_default().trim().to_owned()
}

/// The error of a batch of pictures `x`, batch × channels × height × width.
fn failed(error: &TchError, x: &Tensor) -> StylizeError {
    let (batch, _, height, width) = x.size4().unwrap_or_default();
    // Lossless: lengths of a tensor are not negative.
    failed_on(error, width as usize, height as usize, batch as usize)
}

/// The error of `batch` frames.
fn failed_on(error: &TchError, width: usize, height: usize, batch: usize) -> StylizeError {
    if is_out_of_memory(error) {
        StylizeError::OutOfMemory { width, height, batch }
    } else if is_lost(error) {
        StylizeError::DeviceLost(words(error))
    } else {
        StylizeError::Failed(words(error))
    }
}

/// Whether a GPU has failed permanently: CUDA then answers every call with the same error, worded by its
/// runtime or named as by its driver.
fn is_lost(error: &TchError) -> bool {
    const LOST: [(&str, &str); 12] = [
        ("illegal memory access", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("unspecified launch failure", "CUDA_ERROR_LAUNCH_FAILED"),
        ("launch timed out", "CUDA_ERROR_LAUNCH_TIMEOUT"),
        ("misaligned address", "CUDA_ERROR_MISALIGNED_ADDRESS"),
        ("illegal instruction", "CUDA_ERROR_ILLEGAL_INSTRUCTION"),
        ("invalid program counter", "CUDA_ERROR_INVALID_PC"),
        ("hardware stack error", "CUDA_ERROR_HARDWARE_STACK_ERROR"),
        ("device-side assert", "CUDA_ERROR_ASSERT"),
        ("uncorrectable ECC", "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("context is destroyed", "CUDA_ERROR_CONTEXT_IS_DESTROYED"),
        ("driver shutting down", "CUDA_ERROR_DEINITIALIZED"),
        ("CUDA error: unknown error", "CUDA_ERROR_UNKNOWN"),
    ];
    let text = error.to_string();
    LOST.iter().any(|(words, name)| text.contains(words) || text.contains(name))
}

/// Whether libtorch failed for want of memory.
pub(crate) fn is_out_of_memory(error: &TchError) -> bool {
    const FULL: [&str; 5] = [
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "ALLOC_FAILED",
        "bad_alloc",
    ];
    let text = error.to_string();
    FULL.iter().any(|words| text.contains(words))
}

#[cfg(test)]
/// A model of random weights.
pub(crate) fn random_model(architecture: architecture::Architecture) -> model_file::ModelFile {
    use model_file::{DType, Description, ModelFile, RawTensor};
    let mut random = fastrand::Rng::with_seed(7);
    let mut tensors = std::collections::BTreeMap::new();
    for (name, shape) in architecture.parameters() {
        let count = shape.iter().product::<i64>();
        let inputs = shape[1..].iter().product::<i64>().max(1) as f32;
        let (middle, bound) = match name.as_str() {
            conv if conv.ends_with("conv2d.weight") => (0.0, 2.0 / inputs.sqrt()),
            // As far from zero as those of trained networks.
            norm if norm.contains("in") && norm.ends_with("weight") => (1.0, 0.5),
            _ => (0.0, 0.5),
        };
        let value = |_| middle + (random.f32() * 2.0 - 1.0) * bound;
        let values: Vec<f32> = (0..count).map(value).collect();
        tensors.insert(name, RawTensor::from_f32(shape, &values, DType::F32));
    }
    ModelFile { description: Description::new("random", architecture), tensors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_failed_for_good_is_said_in_one_line_with_what_to_try() {
        for text in [
            "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress'",
            "the GPU failed: DriverError(CUDA_ERROR_LAUNCH_FAILED, \"unspecified launch failure\")",
            "CUDA error: uncorrectable ECC error encountered",
        ] {
            let error = failed_on(&TchError::Torch(text.to_owned()), 640, 360, 2);
            assert!(matches!(error, StylizeError::DeviceLost(_)), "{error}");
            let said = error.to_string();
            assert!(said.contains("--device cpu") && said.contains("--gpu-kernels off"), "{said}");
            assert!(!said.contains('\n') && said.contains(text.lines().next().unwrap()), "{said}");
        }
        let other = TchError::Torch("kernel 'stem': CUDA_ERROR_INVALID_VALUE".to_owned());
        assert!(matches!(failed_on(&other, 1, 1, 1), StylizeError::Failed(_)));
        let full = TchError::Torch("CUDA out of memory. Tried to allocate 2 GiB".to_owned());
        assert!(matches!(failed_on(&full, 1, 1, 1), StylizeError::OutOfMemory { .. }));
    }
}
