//! The tensors of a model on their way into layers, for painters of any precision.

use super::source::BorderMode;
use crate::engine::architecture::Layer;
use crate::engine::architecture::Padding;
use crate::engine::blend::mixed;
use crate::engine::model_file::{ModelFile, RawTensor};

/// Scale and shift of a layer's channels.
pub(super) type ScaleShift = (Vec<f32>, Vec<f32>);

/// What comes behind a convolution.
#[derive(Debug)]
pub(super) enum Norm {
    /// Weight and bias for each style, styles × channels, and those of the mixture that is painted.
    Instance { weights: Vec<f32>, biases: Vec<f32>, weight: Vec<f32>, bias: Vec<f32> },
    /// None, but the convolution's bias.
    Bias(Vec<f32>),
}

impl Norm {
    /// Takes a mixture of styles from now on: a share for each.
    pub(super) fn blend(&mut self, shares: &[f32]) {
        if let Norm::Instance { weights, biases, weight, bias } = self {
            *weight = mixed(weights, weight.len(), shares);
            *bias = mixed(biases, bias.len(), shares);
        }
    }
}

/// The tensors of a model.
pub(super) struct LayerWeights<'a>(&'a ModelFile);

impl<'a> LayerWeights<'a> {
    pub(super) fn of(model: &'a ModelFile) -> Self {
        LayerWeights(model)
    }

    pub(super) fn border(&self) -> BorderMode {
        match self.0.description.architecture.padding {
            // Circular is of texture networks, which have no kernels.
            Padding::Reflect | Padding::Circular => BorderMode::Reflect,
            Padding::Zero => BorderMode::Zero,
        }
    }

    fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.0.tensors.get(name).map(RawTensor::to_f32)
    }

    /// Weight of a convolution, its outputs and inputs.
    pub(super) fn weight(&self, conv: &str) -> Option<(Vec<f32>, usize, usize)> {
        let weight = self.0.tensors.get(&format!("{conv}.conv2d.weight"))?;
        let [outputs, inputs, ..] = weight.shape.as_slice() else { return None };
        Some((weight.to_f32(), *outputs as usize, *inputs as usize))
    }

    /// Its bias.
    pub(super) fn bias(&self, conv: &str) -> Option<Vec<f32>> {
        self.values(&format!("{conv}.conv2d.bias"))
    }

    /// The norm behind a layer's convolution.
    pub(super) fn norm(&self, layer: &Layer) -> Option<Norm> {
        let Some(norm) = &layer.norm else { return self.bias(&layer.conv).map(Norm::Bias) };
        // A convolution's bias does not outlive a norm.
        let weights = self.values(&format!("{norm}.weight"))?;
        let biases = self.values(&format!("{norm}.bias"))?;
        // Of several styles the first is painted. Lossless: widths are not negative.
        let first = ..layer.channels.1 as usize;
        let (weight, bias) = (weights.get(first)?.to_vec(), biases.get(first)?.to_vec());
        Some(Norm::Instance { weights, biases, weight, bias })
    }
}
