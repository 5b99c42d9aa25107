//! The network on a GPU: libtorch's convolutions (cuDNN, channels last), with our own kernels
//! ([`device::gpu`](super::device::gpu)) between them.
//!
//! After a convolution, its output is read twice and written once: once for the norm's statistics, once to
//! produce the next convolution's input: normalized, added, enlarged and padded. The first and the last
//! convolution and those of an upsampled picture are computed in forms that suit tensor cores (`weights`).

#[cfg(test)]
mod tests;
mod weights;

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use super::EPSILON;
use super::architecture::{self, Change, Epilogue};
use super::architecture::{NetworkKind, Padding};
use super::device::Device;
use super::device::gpu::{Activation, BLOCK, BorderMode, Form, Gpu, TILE};
use super::layers::{InstanceNorm, MULTIPLE, channels_last};
use super::model_file::{ModelFile, RawTensor};
use super::precision::Precision;
use weights::Kernel;

/// Subtracted from R, G and B: half precision is finer near 0, and integers stay exact.
const MIDDLE: f32 = 128.0;

/// A network that runs entirely on a GPU.
#[derive(Debug)]
pub(super) struct Fused {
    gpu: Arc<Gpu>,
    /// How the first convolution reads the picture.
    stem: Form,
    layers: Vec<Layer>,
    last: Tensor,
    bias: [f32; 3],
}

/// A convolution, its norm, and the form in which the next convolution reads the result.
#[derive(Debug)]
struct Layer {
    convolution: Convolution,
    norm: Norm,
    after: Epilogue,
    begins_block: bool,
    next: Form,
}

#[derive(Debug)]
enum Convolution {
    /// The first convolution at stride 1: outputs of four pixels in each position.
    Within(Tensor),
    Stride(Tensor, i64),
    /// A convolution of an upsampled picture, as four phases.
    Apart([Tensor; 4]),
    Transposed(Tensor),
}

#[derive(Debug)]
enum Norm {
    Instance(InstanceNorm),
    /// No norm: scale and shift that are the same for all pictures.
    Bias(Tensor, Tensor),
}

impl Fused {
    /// The network of a model whose tensors have been [checked](ModelFile::check). None if the kernels do not
    /// support it.
    ///
    /// # Errors
    /// When a tensor is missing, or the device lacks memory.
    pub(super) fn new(
        model: &ModelFile,
        gpu: Arc<Gpu>,
        device: Device,
        precision: Precision,
    ) -> Result<Option<Self>, TchError> {
        let architecture = &model.description.architecture;
        let list = architecture::layers(architecture);
        let border = match architecture.padding {
            Padding::Reflect => BorderMode::Mirror,
            Padding::Zero => BorderMode::Zero,
            Padding::Circular => return Ok(None),
        };
        if architecture.kind == NetworkKind::Texture {
            return Ok(None);
        }
        let (Some((last, body)), Some(first)) = (list.split_last(), list.first()) else {
            return Ok(None);
        };
        let small = body.iter().skip(1).all(|layer| layer.size == 3);
        if !small || (first.size / 2) % 2 != 0 || body.iter().any(|l| !gpu.takes(l.channels.1)) {
            return Ok(None);
        }
        let place = Upload { model, device, precision };
        let layer = |(n, layer): (usize, &architecture::Layer)| -> Result<Layer, TchError> {
            Ok(Layer {
                convolution: place.convolution(n, layer)?,
                norm: place.norm(n, layer)?,
                after: layer.after,
                begins_block: layer.begins_block,
                next: form(&list[n + 1], border, n + 2 == list.len()),
            })
        };
        let layers = body.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
        let weight = place.raw(&last.conv, "weight")?;
        let (inputs, size) = (last.channels.0 as usize, last.size as usize);
        let bias = place.raw(&last.conv, "bias")?.try_into();
        let bias = bias.map_err(|_| TchError::Shape("a bias of three channels".to_owned()))?;
        Ok(Some(Fused {
            gpu,
            stem: Form { pad: first.size / 2, border, enlarge: 1 },
            layers,
            last: place.kernel(&weights::last(&weight, inputs, size, TILE as usize))?,
            bias,
        }))
    }

    /// Paints a mixture of styles from now on.
    pub(super) fn blend(&mut self, shares: &Tensor) -> Result<(), TchError> {
        self.layers.iter_mut().try_for_each(|layer| match &mut layer.norm {
            Norm::Instance(norm) => norm.blend(shares),
            Norm::Bias(..) => Ok(()),
        })
    }

    /// What the last convolution makes of pictures, N × 3 × H × W of any size and type: the same shape,
    /// in single precision.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (_, _, height, width) = x.size4()?;
        let planes = x.f_to_kind(Kind::Float)?;
        let mut seen = self.gpu.stem(&planes, MULTIPLE, self.stem, MIDDLE)?;
        let mut skip = None;
        for layer in &self.layers {
            if layer.begins_block {
                skip = Some(seen.shallow_clone());
            }
            let made = layer.convolution.forward(&seen)?;
            let norm = match &layer.norm {
                Norm::Instance(norm) => self.gpu.norm(&made, norm.affine(), EPSILON)?,
                Norm::Bias(scale, shift) => (scale.shallow_clone(), shift.shallow_clone()),
            };
            let skips = if layer.after == Epilogue::Add { skip.take() } else { None };
            seen = self.gpu.apply(&made, (&norm.0, &norm.1), skips.as_ref(), layer.next)?;
        }
        let made = convolve(&seen, &self.last, TILE)?;
        self.gpu.finish(&made, (height, width), self.bias)
    }

    /// The kernels.
    pub(super) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }
}

impl Convolution {
    fn forward(&self, x: &Tensor) -> Result<Activation, TchError> {
        match self {
            Self::Within(weight) => Activation::from_channel_phases(&convolve(x, weight, 1)?),
            Self::Stride(weight, stride) => Activation::from_tensor(&convolve(x, weight, *stride)?),
            Self::Apart([a, b, c, d]) => {
                let one = |weight| convolve(x, weight, 1);
                Activation::from_separate_phases(&[one(a)?, one(b)?, one(c)?, one(d)?])
            }
            Self::Transposed(weight) => {
                let none = None::<&Tensor>;
                let y = x.f_conv_transpose2d(weight, none, [2, 2], [1, 1], [1, 1], 1, [1, 1])?;
                Activation::from_tensor(&y)
            }
        }
    }
}

fn convolve(x: &Tensor, weight: &Tensor, stride: i64) -> Result<Tensor, TchError> {
    x.f_conv2d(weight, None::<&Tensor>, [stride; 2], [0; 2], [1; 2], 1)
}

/// How a layer reads the one before it.
fn form(layer: &architecture::Layer, border: BorderMode, last: bool) -> Form {
    let pad = layer.size / 2;
    match layer.change {
        Change::Transposed => Form { pad: 0, border, enlarge: 1 },
        // The last convolution's larger kernel reads the upsampled picture itself.
        Change::Nearest if last => Form { pad, border, enlarge: 2 },
        Change::Nearest => {
            // Mirroring the upsampled picture at its border repeats its outermost pixel.
            let border = if border == BorderMode::Mirror { BorderMode::Repeat } else { border };
            Form { pad, border, enlarge: 1 }
        }
        Change::Same | Change::Halve => Form { pad, border, enlarge: 1 },
    }
}

/// A model's tensors on their way to the device.
struct Upload<'a> {
    model: &'a ModelFile,
    device: Device,
    precision: Precision,
}

impl Upload<'_> {
    fn raw(&self, conv: &str, part: &str) -> Result<Vec<f32>, TchError> {
        self.named(&format!("{conv}.conv2d.{part}")).map(RawTensor::to_f32)
    }

    fn named(&self, name: &str) -> Result<&RawTensor, TchError> {
        let raw = self.model.tensors.get(name);
        raw.ok_or_else(|| TchError::FileFormat(format!("'{name}' is missing")))
    }

    fn kernel(&self, (numbers, shape): &Kernel) -> Result<Tensor, TchError> {
        let weight = Tensor::f_from_slice(numbers)?.f_reshape(shape)?;
        let weight = weight.f_to_device(self.device.torch())?;
        channels_last(&weight.f_to_kind(self.precision.kind())?)
    }

    fn convolution(&self, n: usize, layer: &architecture::Layer) -> Result<Convolution, TchError> {
        let weight = self.raw(&layer.conv, "weight")?;
        // Lossless: widths and sizes are not negative.
        let (inputs, outputs) = (layer.channels.0 as usize, layer.channels.1 as usize);
        let size = layer.size as usize;
        let first =
            |stride| self.kernel(&weights::stem(&weight, outputs, size, stride, BLOCK as usize));
        let (wide, side) = ([layer.channels.1, layer.channels.0], layer.size);
        let whole = |[a, b]: [i64; 2]| self.kernel(&(weight.clone(), [a, b, side, side]));
        Ok(match (n, layer.change) {
            (0, Change::Same) => Convolution::Within(first(1)?),
            (0, _) => Convolution::Stride(first(2)?, 1),
            (_, Change::Same) => Convolution::Stride(whole(wide)?, 1),
            (_, Change::Halve) => Convolution::Stride(whole(wide)?, 2),
            (_, Change::Transposed) => Convolution::Transposed(whole([wide[1], wide[0]])?),
            (_, Change::Nearest) => {
                let [a, b, c, d] = weights::phases(&weight, outputs, inputs);
                let part = |kernel| self.kernel(kernel);
                Convolution::Apart([part(&a)?, part(&b)?, part(&c)?, part(&d)?])
            }
        })
    }

    fn norm(&self, n: usize, layer: &architecture::Layer) -> Result<Norm, TchError> {
        let to_tensor =
            |numbers: &[f32]| Tensor::f_from_slice(numbers)?.f_to_device(self.device.torch());
        if let Some(norm) = &layer.norm {
            let part = |part: &str| {
                let raw = self.named(&format!("{norm}.{part}"))?;
                Tensor::f_from_slice(&raw.to_f32())?.f_reshape(raw.shape.as_slice())
            };
            // A convolution's bias does not outlive a norm.
            return InstanceNorm::new(&part("weight")?, &part("bias")?, self.device)
                .map(Norm::Instance);
        }
        let mut bias = self.raw(&layer.conv, "bias")?;
        if n == 0 {
            // What the first convolution has not seen, with the weights as it has them.
            let weight = self.raw(&layer.conv, "weight")?;
            let each = weight.len() / bias.len();
            let rounded = Tensor::f_from_slice(&weight)?.f_to_kind(self.precision.kind())?;
            let sums =
                rounded.f_to_kind(Kind::Float)?.f_reshape([bias.len() as i64, each as i64])?;
            let sums = Vec::<f32>::try_from(sums.f_sum_dim_intlist(1, false, Kind::Float)?)?;
            bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias += MIDDLE * sum);
        }
        Ok(Norm::Bias(to_tensor(&vec![1.0; bias.len()])?, to_tensor(&bias)?))
    }
}
