//! A model as other programs read it, written without libtorch: [ONNX](Format::Onnx),
//! [TorchScript](Format::TorchScript), [safetensors](Format::Safetensors).
//!
//! The first two are the network itself, padding and cropping included: `input` is batch × 3 ×
//! height × width, RGB 0–255, single precision, every length free; `output` has the same shape and
//! range, clamped. The last holds the weights alone. A network with a style predictor (ONNX) has a second input, `style`,
//! the values of its norms, which [`predictor()`] makes of a picture.
//!
//! Inside: `messages` (the part of ONNX's protobuf that is used) → `onnx`; `code` (the program) →
//! `torchscript`; `weights`.

mod code;
mod contents;
mod messages;
mod onnx;
mod predictor;
mod torchscript;
mod weights;

use super::model_file::ModelFile;
pub use contents::{ExportError, blended};
pub use predictor::to_bytes as predictor;

choice! {
    /// For which programs.
    Format {
        /// ONNX, operator set 17: ONNX Runtime, OpenVINO, TensorRT. Sides of 5 pixels and more, for a
        /// texture network of five scales 17: its reflection padding cannot mirror a picture more than once.
        Onnx = "onnx",
        /// A TorchScript archive: `torch.jit.load` in Python, `torch::jit::load` in C++. Any size.
        TorchScript = "torchscript",
        /// The state dict alone, under its published names: `safetensors.torch.load_file`.
        Safetensors = "safetensors",
    }
}

/// The bytes of the exported file: the same network whatever the format, in single precision but
/// for safetensors, where weights stay as they are. The model has been [checked](ModelFile::check).
///
/// # Errors
/// [`ExportError::TooLarge`] for ONNX, [`ExportError::Write`].
pub fn to_bytes(model: &ModelFile, format: Format) -> Result<Vec<u8>, ExportError> {
    match format {
        Format::Onnx => onnx::to_bytes(model),
        Format::TorchScript => Ok(torchscript::to_bytes(model)?),
        Format::Safetensors => Ok(weights::to_bytes(model)?),
    }
}
