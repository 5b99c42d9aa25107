//! A model on a device: our own network, or a TorchScript program.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tch::{CModule, Kind, TchError, Tensor};

use super::architecture::Padding;
use super::blend::Blend;
use super::checked_network::checked_network;
use super::device::Device;
use super::device::gpu::Gpu;
use super::layers::{MULTIPLE, pad_reflect};
use super::model_file::{ModelError, ModelFile};
use super::network::{Network, any_size, inner};
use super::precision::Precision;
use super::{failed, memory, shipped, words};
use crate::core::stylizer::StylizeError;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is no sound model, or a TorchScript program that is not trusted.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch cannot load a TorchScript program.
    #[error("cannot load the TorchScript program '{file}': {reason}")]
    Script {
        /// The file.
        file: String,
        /// What libtorch said.
        reason: String,
    },
    /// A style was asked for that the model does not have.
    #[error("'{model}' has no style '{style}': it paints {known}")]
    NoStyle {
        /// The model's name.
        model: String,
        /// The style.
        style: String,
        /// The styles it has.
        known: String,
    },
    /// The network cannot be built on the device, as for want of memory.
    #[error("cannot put the network onto {device}: {reason}")]
    Build {
        /// The device.
        device: Device,
        /// What libtorch said.
        reason: String,
    },
}

/// Pixels of the mirrored picture that are painted beyond each border, and cut off. Every layer of a network mirrors
/// what it sees at the border, so that the same is there twice: without this, the outer 16 pixels have 7 to 14 % less
/// texture than the rest (docs/paper.md, "Borders").
pub const MARGIN: i64 = 8;

/// A network or program: pictures in, pictures of the same size out.
#[derive(Debug)]
pub enum Model {
    /// A network of ours, of any [`NetworkKind`](super::architecture::NetworkKind).
    Network(Box<Network>),
    /// A TorchScript program by another author.
    Script(Script),
}

impl Model {
    /// Opens a model by path or by the name of a shipped one. A TorchScript program is run only
    /// when `trust` is given; it computes in the precision it was saved in.
    ///
    /// # Errors
    /// [`OpenError`]; [`ModelError::TorchScript`] inside it for a program without `trust`.
    pub fn open(
        name_or_path: &str,
        trust: bool,
        device: Device,
        precision: Precision,
    ) -> Result<Self, OpenError> {
        match shipped::open(name_or_path) {
            Ok(file) => Self::from_file(&file, device, precision),
            Err(ModelError::TorchScript { file }) if trust => {
                Script::load(Path::new(&file), device).map(Self::Script)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Builds a network from a model file in memory.
    ///
    /// # Errors
    /// [`OpenError::Model`] when it is unsound, [`OpenError::Build`] when the device lacks memory.
    pub fn from_file(
        file: &ModelFile,
        device: Device,
        precision: Precision,
    ) -> Result<Self, OpenError> {
        file.check(&file.description.name)?;
        file.check_style(&file.description.name)?;
        match checked_network(file, device, precision) {
            Ok(network) => Ok(Self::Network(Box::new(network))),
            Err(error) => Err(OpenError::Build { device, reason: words(&error) }),
        }
    }

    /// Paints a batch in one pass; see [`Network::forward`], which says shapes and scale.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, StylizeError> {
        match self {
            Self::Network(network) => network.forward(x),
            Self::Script(script) => script.forward(x),
        }
    }

    /// Paints a batch as [`forward`](Self::forward) does, but with [`MARGIN`] pixels beyond each border, which are cut
    /// off. A network with circular padding paints tiles, which have no borders, and gets none.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn paint(&self, x: &Tensor) -> Result<Tensor, StylizeError> {
        match self {
            Self::Network(network) if network.architecture().padding == Padding::Circular => {
                network.forward(x)
            }
            Self::Network(network) => network.forward_with_margin(x, MARGIN),
            Self::Script(script) => {
                let failed = |error: TchError| failed(&error, x);
                let larger = pad_reflect(x, [MARGIN; 4]).map_err(failed)?;
                inner(&script.forward(&larger)?, MARGIN).map_err(failed)
            }
        }
    }

    /// Paints this blend of its styles from the next pass on.
    ///
    /// # Errors
    /// [`OpenError::NoStyle`].
    pub fn blend(&mut self, blend: &Blend) -> Result<(), OpenError> {
        let Self::Network(network) = self else {
            let (model, known) = ("the TorchScript program".to_owned(), "one style".to_owned());
            return Err(OpenError::NoStyle { model, style: blend.to_string(), known });
        };
        let shares = blend.shares(network.styles()).map_err(|style| OpenError::NoStyle {
            model: network.name().to_owned(),
            style,
            known: network.styles().join(", "),
        })?;
        self.mix(&shares)
    }

    /// Paints these shares of its styles, in their order, from the next pass on.
    ///
    /// # Errors
    /// When there are not as many shares as styles, or libtorch fails.
    pub fn mix(&mut self, shares: &[f32]) -> Result<(), OpenError> {
        // A network of one style has nothing to mix.
        let Self::Network(network) = self else { return Ok(()) };
        if network.styles().len() < 2 {
            return Ok(());
        }
        let device = network.device();
        network.blend(shares).map_err(|e| OpenError::Build { device, reason: words(&e) })
    }

    /// What computes it: where two machines say the same, they paint the same.
    pub fn arithmetic(&self) -> String {
        match self {
            Self::Network(network) => network.arithmetic(),
            Self::Script(_) => "a TorchScript program".to_owned(),
        }
    }

    /// Names of its styles; empty for a program, which does not list them.
    pub fn styles(&self) -> &[String] {
        match self {
            Self::Network(network) => network.styles(),
            Self::Script(_) => &[],
        }
    }

    /// Whether it paints brightness only, so that the frame's own colours are kept.
    pub fn is_luminance(&self) -> bool {
        matches!(self, Self::Network(network) if network.architecture().luminance)
    }

    /// Whether there is memory to paint this many pixels in one pass; otherwise the system would kill the
    /// process without a message. True where it is not known: for a program, and on a GPU, which reports an
    /// error itself.
    pub fn fits(&self, pixels: usize) -> bool {
        let Some(pixel) = self.memory_a_pixel() else { return true };
        memory::free().is_none_or(|free| pixel * pixels as f64 <= free)
    }

    /// CPU memory that painting takes, in bytes per pixel; none where it is not known, or on a GPU.
    pub(super) fn memory_a_pixel(&self) -> Option<f64> {
        match self {
            Self::Network(network) if !network.device().is_cuda() => Some(network.memory_a_pixel()),
            _ => None,
        }
    }

    /// Batch size at which it is fastest.
    pub fn preferred_batch(&self) -> usize {
        match self {
            Self::Network(network) => network.preferred_batch(),
            Self::Script(_) => 1,
        }
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        match self {
            Self::Network(network) => network.device(),
            Self::Script(script) => script.device,
        }
    }

    /// The GPU kernels, if it uses them.
    pub(super) fn gpu(&self) -> Option<&Arc<Gpu>> {
        match self {
            Self::Network(network) => network.gpu(),
            Self::Script(_) => None,
        }
    }

    /// Whether it uses our own GPU kernels.
    pub fn in_gpu_kernels(&self) -> bool {
        self.gpu().is_some()
    }

    /// Switches from GPU kernels to libtorch from the next pass on, with a warning that says why; false if it
    /// does not use any or has no libtorch network.
    pub(super) fn leave_gpu_kernels(&mut self, why: &str) -> bool {
        let Self::Network(network) = self else { return false };
        let left = network.leave_gpu_kernels();
        if left {
            let name = network.name();
            tracing::warn!(
                "'{name}' is painted without nst-stream's own kernels from now on: {why}"
            );
        }
        left
    }

    /// Its precision; none for a program, where only its author knows.
    pub fn precision(&self) -> Option<Precision> {
        match self {
            Self::Network(network) => Some(network.precision()),
            Self::Script(_) => None,
        }
    }

    /// How many forward passes were made: a batch counts once.
    pub fn passes(&self) -> u64 {
        match self {
            Self::Network(network) => network.passes(),
            Self::Script(script) => script.passes.load(Ordering::Relaxed),
        }
    }
}

/// A TorchScript program whose `forward` takes and returns one tensor as [`Network::forward`] does,
/// in single precision, for sizes that are multiples of 4.
#[derive(Debug)]
pub struct Script {
    module: CModule,
    device: Device,
    passes: AtomicU64,
}

impl Script {
    /// Loads the program, which may already run its author's code.
    fn load(path: &Path, device: Device) -> Result<Self, OpenError> {
        let refuse =
            |e: TchError| OpenError::Script { file: path.display().to_string(), reason: words(&e) };
        let mut module = CModule::load_on_device(path, device.torch()).map_err(refuse)?;
        module.f_set_eval().map_err(refuse)?;
        Ok(Script { module, device, passes: AtomicU64::new(0) })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, StylizeError> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        let run = |x: &Tensor| {
            let x = x.f_to_kind(Kind::Float)?.f_contiguous()?;
            let y = self.module.forward_ts(&[&x])?;
            if y.size() != x.size() {
                let (found, expected) = (y.size(), x.size());
                let what =
                    format!("the program returned the shape {found:?}, expected {expected:?}");
                return Err(TchError::Shape(what));
            }
            y.f_to_kind(Kind::Float)?.f_to_device(self.device.torch())
        };
        // Grad mode belongs to the thread, and the caller may not have switched it off.
        tch::no_grad(|| any_size(x, MULTIPLE, run)).map_err(|e| failed(&e, x))
    }
}
