//! What can be wrong with a model file, in words for its user.

use std::io;

use super::DType;

/// Why a model could not be read or written.
///
/// Each message is one line: which file, what is wrong with it, what to do. `file` is the label
/// given by the caller, most often the path. Text that comes from the file itself is escaped, so
/// a message never spreads over several lines or drives a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// It paints in the style of a picture, and none was given.
    #[error(
        "'{file}' paints in the style of any picture: name one with --style, or save its style as a model \
         (nst-stream styles save PICTURE --output MODEL.pt)"
    )]
    NoPicture {
        /// The model.
        file: String,
    },
    /// It makes textures of noise.
    #[error("'{file}' makes textures and paints no pictures: it is for the command `texture`")]
    MakesTextures {
        /// The model.
        file: String,
    },
    /// The bytes are no PyTorch file, or a PyTorch file that holds no network.
    #[error("'{file}' is not a model: {reason}")]
    NotAModel {
        /// The file read.
        file: String,
        /// What it is instead, as far as known.
        reason: String,
    },
    /// A PyTorch file, but cut short or changed.
    #[error("'{file}' is damaged: {reason}; fetch or save it again")]
    Damaged {
        /// The file read.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// The pickle names a function or class that a state dict never needs. Nothing was run.
    #[error(
        "'{file}' asks to run {global}: refused, nothing was run; save the network's state_dict() \
         alone"
    )]
    UnsafeGlobal {
        /// The file read.
        file: String,
        /// The Python name asked for, `module.name`.
        global: String,
    },
    /// A TorchScript archive: code together with weights.
    #[error(
        "'{file}' is a TorchScript program, not a plain model; `--trust` runs it, if you trust \
         its author"
    )]
    TorchScript {
        /// The file read.
        file: String,
    },
    /// Saved on a big-endian machine.
    #[error("'{file}' was saved on a big-endian machine; load and save it on a common computer")]
    BigEndian {
        /// The file read.
        file: String,
    },
    /// The zip was packed anew, with compression. PyTorch stores its records as they are.
    #[error(
        "'{file}' has the compressed record '{record}', PyTorch compresses none; zip it again \
         with `zip -0`"
    )]
    Compressed {
        /// The file read.
        file: String,
        /// The first compressed record.
        record: String,
    },
    /// Written by a later release, in a format this one does not know.
    #[error("'{file}' was made by a newer nst-stream (model format {format}); update nst-stream")]
    Newer {
        /// The file read.
        file: String,
        /// The format it says it has.
        format: u64,
    },
    /// The description inside the file cannot be understood.
    #[error("'{file}' has a bad description: {reason}; import its weights from the original file")]
    Description {
        /// The file read.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor the architecture needs is not there.
    #[error("'{file}' lacks '{tensor}' {expected}; is it a fast_neural_style network?")]
    Missing {
        /// The file read.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Its shape as the architecture wants it, in words.
        expected: String,
    },
    /// A tensor the architecture has no place for.
    #[error("'{file}' has '{tensor}', which {architecture} has no place for")]
    Unexpected {
        /// The file read.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// The architecture, in words.
        architecture: String,
    },
    /// A tensor of the wrong shape.
    #[error("'{file}': '{tensor}' has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file read, or to be written.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        found: Vec<i64>,
        /// The shape the architecture wants.
        expected: Vec<i64>,
    },
    /// A weight stored as whole numbers or truth values.
    #[error("'{file}': '{tensor}' holds {found} numbers, expected floating point")]
    NotFloat {
        /// The file read, or to be written.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Type of its elements.
        found: DType,
    },
    /// A weight that is NaN or infinite: training diverged, or the file is damaged.
    #[error("'{file}': '{tensor}' holds NaN or infinite values")]
    NotFinite {
        /// The file read, or to be written.
        file: String,
        /// Name of the tensor.
        tensor: String,
    },
    /// Neither a file nor the name of a shipped model.
    #[error("no model '{name}': no such file, and the shipped models are {shipped}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// Names of the shipped models, comma between.
        shipped: String,
    },
    /// The file could not be read.
    #[error("cannot read the model '{file}': {error}")]
    Read {
        /// The file asked for.
        file: String,
        /// What the system said.
        error: io::Error,
    },
    /// The file could not be written. What stood there before is untouched.
    #[error("cannot write the model '{file}': {error}")]
    Write {
        /// The file asked for.
        file: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A [`ModelError`] without the file's name, as used inside the readers.
#[derive(Debug)]
pub(super) enum Fault {
    NotAModel(String),
    Damaged(String),
    UnsafeGlobal(String),
    TorchScript,
    BigEndian,
    Compressed(String),
}

impl Fault {
    pub(super) fn not_a_model(reason: impl Into<String>) -> Self {
        Self::NotAModel(reason.into())
    }

    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }

    /// The error for the user; `file` is the file's name.
    pub(super) fn of(self, file: &str) -> ModelError {
        let file = file.to_owned();
        match self {
            Self::NotAModel(reason) => ModelError::NotAModel { file, reason },
            Self::Damaged(reason) => ModelError::Damaged { file, reason },
            Self::UnsafeGlobal(global) => ModelError::UnsafeGlobal { file, global },
            Self::TorchScript => ModelError::TorchScript { file },
            Self::BigEndian => ModelError::BigEndian { file },
            Self::Compressed(record) => ModelError::Compressed { file, record },
        }
    }
}

/// Text from a file made fit for a one-line message: control characters escaped, long ones cut.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
