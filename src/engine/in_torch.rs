//! The network in libtorch's [layers](super::layers): on GPUs, and where there are no kernels of our
//! own.

use tch::{Kind, TchError, Tensor};

use super::device::Device;
use super::layers::{Conv, InstanceNorm, channels_last};
use super::model_file::{ModelFile, OutputLayer, RawTensor};
use super::network::MIDDLE;
use super::plan::{After, Layer, layers};
use super::precision::Precision;

/// The layers in libtorch.
#[derive(Debug)]
pub(super) struct Layers {
    list: Vec<Computed>,
    kind: Kind,
    /// Shares of the styles at each place, 1 × styles × height × width; none where they are the same
    /// everywhere.
    places: Option<Tensor>,
}

/// A layer with its weights.
#[derive(Debug)]
struct Computed {
    layer: Layer,
    conv: Conv,
    norm: Option<InstanceNorm>,
}

impl Layers {
    /// The layers of a model, whose tensors have been [checked](ModelFile::check).
    pub(super) fn new(
        model: &ModelFile,
        device: Device,
        precision: Precision,
    ) -> Result<Self, TchError> {
        let architecture = &model.description.architecture;
        let weights = Weights { model, device, precision };
        let list = layers(architecture).into_iter().map(|layer| weights.layer(layer));
        let list = list.collect::<Result<_, _>>()?;
        Ok(Layers { list, kind: precision.kind(), places: None })
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub(super) fn blend(&mut self, shares: &Tensor) -> Result<(), TchError> {
        self.places = None;
        let mut norms = self.list.iter_mut().filter_map(|layer| layer.norm.as_mut());
        norms.try_for_each(|norm| norm.blend(shares))
    }

    /// Paints styles each in its place from now on: their shares, 1 × styles × height × width.
    pub(super) fn place(&mut self, places: Tensor) -> Result<(), TchError> {
        let mut norms = self.list.iter_mut().filter_map(|layer| layer.norm.as_mut());
        norms.try_for_each(InstanceNorm::plain)?;
        self.places = Some(places);
        Ok(())
    }

    /// What the last convolution makes of pictures.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mut x = channels_last(&x.f_to_kind(self.kind)?)?;
        let mut block = x.shallow_clone();
        // The shares at the size of the layer.
        let mut here: Option<Tensor> = None;
        for Computed { layer, conv, norm } in &self.list {
            if layer.begins_block {
                block = x.shallow_clone();
            }
            x = conv.forward(&x)?;
            if let Some(norm) = norm {
                x = norm.forward(x)?;
                if let Some(places) = &self.places {
                    let (_, _, height, width) = x.size4()?;
                    let kept = here.take().filter(|here| here.size()[2..] == [height, width]);
                    let shares = kept.map_or_else(|| sized(places, height, width), Ok)?;
                    x = norm.place(x, &shares)?;
                    here = Some(shares);
                }
            }
            x = match layer.after {
                After::Relu => x.f_relu_()?,
                After::Add => x.f_add_(&block)?,
                After::Nothing => x,
            };
        }
        x.f_to_kind(Kind::Float)
    }
}

/// A map of shares at another size: means where that is smaller, interpolated where it is larger.
fn sized(places: &Tensor, height: i64, width: i64) -> Result<Tensor, TchError> {
    let (_, _, h, w) = places.size4()?;
    match height <= h && width <= w {
        true => places.f_adaptive_avg_pool2d([height, width]),
        false => places.f_upsample_bilinear2d([height, width], false, None, None),
    }
}

/// The tensors of a model on their way into layers.
struct Weights<'a> {
    model: &'a ModelFile,
    device: Device,
    precision: Precision,
}

impl Weights<'_> {
    fn tensor(&self, name: &str) -> Result<Tensor, TchError> {
        let raw = self.model.tensors.get(name);
        let raw = raw.ok_or_else(|| TchError::FileFormat(format!("'{name}' is missing")))?;
        to_tensor(raw)
    }

    fn layer(&self, layer: Layer) -> Result<Computed, TchError> {
        let part = |part| self.tensor(&format!("{}.conv2d.{part}", layer.conv));
        let (weight, mut bias) = (part("weight")?, part("bias")?);
        let architecture = &self.model.description.architecture;
        if layer.after == After::Nothing
            && architecture.output == OutputLayer::Direct
            && self.precision != Precision::Fp32
        {
            bias = bias.f_sub_scalar(MIDDLE)?;
        }
        let conv = Conv::new(&weight, &bias, &layer, self.device, self.precision)?;
        let norm = layer.norm.as_ref().map(|name| {
            let part = |part| self.tensor(&format!("{name}.{part}"));
            InstanceNorm::new(&part("weight")?, &part("bias")?, self.device)
        });
        Ok(Computed { conv: conv.padded(architecture.padding), norm: norm.transpose()?, layer })
    }
}

/// The values of a stored tensor in single precision, on the CPU.
fn to_tensor(raw: &RawTensor) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(&raw.to_f32())?.f_reshape(raw.shape.as_slice())
}
