//! The network in training: the layers of [`engine::network`](crate::engine::network), with gradients.
//!
//! With random weights, a network's output is around 0, and it would take hundreds of steps to reach the
//! range of RGB. So the trained function is `f` in `y = 64·f(x/255) + 127.5`. When a model is made, both
//! scales are folded into the first and the last convolution.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, TchError, Tensor};

use super::random::generator;
use crate::engine::architecture::{Architecture, Normalization, OutputLayer};
use crate::engine::architecture::{Change, Epilogue, Layer, Source, last, layers};
use crate::engine::model_file::{DType, Description, ModelFile, RawTensor};
use crate::engine::network::{MIDDLE, TANH_SCALE, doubled, luma};
use crate::engine::noise::{self, beside, noise, reduced};
use crate::engine::{EPSILON, channels_last, padded};

/// Change of RGB, in levels, when the last convolution's output changes by 1.
const OUTPUT_SCALE: f64 = 64.0;
const WHITE: f64 = 255.0;
/// How fast running statistics of batch norms follow, as PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A network being trained.
#[derive(Debug)]
pub struct TrainNetwork {
    architecture: Architecture,
    layers: Vec<Layer>,
    index: BTreeMap<String, usize>,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    /// Running mean and variance of batch norms, by the norm's name.
    statistics: BTreeMap<String, [Tensor; 2]>,
    kind: Kind,
    /// Seed of the noise of a batch's first picture, and each has the one after; none: noise as in painting.
    noise: Mutex<Option<u64>>,
}

impl TrainNetwork {
    /// Random weights, as PyTorch gives its convolutions: uniform in ±1/√(inputs · size²), norms 1
    /// and 0. `kind` is the type in which convolutions compute; weights are in single precision.
    ///
    /// # Errors
    /// When memory is short.
    pub fn random(
        architecture: Architecture,
        seed: u64,
        device: Device,
        kind: Kind,
    ) -> Result<Self, TchError> {
        let mut values = Vec::new();
        let mut bound = 0.0;
        for (n, (name, shape)) in architecture.parameters().into_iter().enumerate() {
            let count = shape.iter().product::<i64>() as usize;
            if name.ends_with("conv2d.weight") {
                bound = 1.0 / (shape[1..].iter().product::<i64>() as f32).sqrt();
            }
            let mut random = generator(seed, "weights", n as u64);
            let data: Vec<f32> = match name.contains("conv2d") {
                true => (0..count).map(|_| (random.f32() * 2.0 - 1.0) * bound).collect(),
                false => vec![f32::from(name.ends_with("weight")); count],
            };
            values.push((name, Tensor::f_from_slice(&data)?.f_reshape(shape.as_slice())?));
        }
        Self::from_values(architecture, values, device, kind)
    }

    /// Weights of a model that was made by [`to_model`](Self::to_model) or published.
    ///
    /// # Errors
    /// When memory is short, or a tensor is missing.
    pub fn from_model(model: &ModelFile, device: Device, kind: Kind) -> Result<Self, TchError> {
        let architecture = model.description.architecture.clone();
        Self::with_convolutions_of(model, architecture, device, kind)
    }

    /// The same for norms of another number of styles: all get the values of the model's first style, if it has
    /// any, else 1 and 0.
    ///
    /// # Errors
    /// When memory is short, or a tensor is missing.
    pub fn with_convolutions_of(
        model: &ModelFile,
        architecture: Architecture,
        device: Device,
        kind: Kind,
    ) -> Result<Self, TchError> {
        let has = model.description.architecture.styles;
        let mut values = Vec::new();
        for (name, shape) in architecture.parameters() {
            let raw = model.tensors.get(&name);
            let value = match raw {
                Some(raw) if raw.shape == shape => {
                    Tensor::f_from_slice(&raw.to_f32())?.f_reshape(shape.as_slice())?
                }
                Some(raw) if !name.contains(".conv2d.") => {
                    let rows = Tensor::f_from_slice(&raw.to_f32())?.f_reshape([has as i64, -1])?;
                    let row = rows.f_select(0, 0)?;
                    row.f_expand(shape.as_slice(), false)?.f_contiguous()?
                }
                None if !name.contains(".conv2d.") => {
                    let value = f64::from(u8::from(name.ends_with("weight")));
                    Tensor::f_full(shape.as_slice(), value, (Kind::Float, Device::Cpu))?
                }
                _ => {
                    let text = format!("'{name}' is missing or of another shape");
                    return Err(TchError::FileFormat(text));
                }
            };
            let value = scaled(&name, &value, &architecture, true)?;
            values.push((name, value));
        }
        Self::from_values(architecture, values, device, kind)
    }

    fn from_values(
        architecture: Architecture,
        values: Vec<(String, Tensor)>,
        device: Device,
        kind: Kind,
    ) -> Result<Self, TchError> {
        let (mut names, mut parameters) = (Vec::new(), Vec::new());
        let mut statistics = BTreeMap::new();
        for (name, value) in values {
            let value = value.f_to_device(device)?;
            if let Some(norm) = name.strip_suffix(".weight")
                && architecture.norm == Normalization::Batch
                && !name.contains("conv2d")
            {
                let pair = [value.f_zeros_like()?, value.f_ones_like()?];
                statistics.insert(norm.to_owned(), pair);
            }
            // Convolutions want their weights' channels innermost, as the pictures'.
            let value = if value.dim() == 4 { channels_last(&value)? } else { value };
            parameters.push(value.f_set_requires_grad(true)?);
            names.push(name);
        }
        let index = names.iter().cloned().enumerate().map(|(n, name)| (name, n)).collect();
        let layers = layers(&architecture);
        let noise = Mutex::new(None);
        Ok(TrainNetwork { architecture, layers, index, names, parameters, statistics, kind, noise })
    }

    /// Takes the noise of these seeds from the next pass on, for each picture of a batch its own: of a texture
    /// network, whose noise is that of painting otherwise.
    pub fn set_noise(&self, first: Option<u64>) {
        *self.noise.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }

    /// A copy with weights of its own.
    ///
    /// # Errors
    /// When memory is short.
    pub fn copied(&self) -> Result<Self, TchError> {
        let mut parameters = Vec::new();
        for parameter in &self.parameters {
            let parameter = parameter.f_detach()?;
            let mut copied = parameter.f_zeros_like()?;
            copied.f_copy_(&parameter)?;
            parameters.push(copied);
        }
        Ok(TrainNetwork {
            architecture: self.architecture.clone(),
            layers: self.layers.clone(),
            index: self.index.clone(),
            names: self.names.clone(),
            parameters,
            statistics: BTreeMap::new(),
            kind: self.kind,
            noise: Mutex::new(None),
        })
    }

    /// Widths, depth and kinds of layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// What is trained, in the order of [`names`](Self::names).
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Names of the parameters.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Running statistics of batch norms: name and value.
    pub fn statistics(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.statistics.iter().flat_map(|(norm, [mean, variance])| {
            [(format!("{norm}.running_mean"), mean), (format!("{norm}.running_var"), variance)]
        })
    }

    /// Clears all gradients before the next step.
    pub fn zero_grad(&mut self) {
        self.parameters.iter_mut().for_each(Tensor::zero_grad);
    }

    /// Paints pictures, with gradients to the parameters.
    ///
    /// `x`: batch × 3 × height × width, RGB 0–255, height and width [multiples](Architecture::multiple). `style`: index of the
    /// style in a multi-style network, otherwise 0. The result has the same shape and scale, in single
    /// precision, not clamped.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn forward(&self, x: &Tensor, style: usize) -> Result<Tensor, TchError> {
        Ok(self.forward_with_middle(x, style)?.0)
    }

    /// As [`forward`](Self::forward), with the input of the first residual block, if there is one.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub(super) fn forward_with_middle(
        &self,
        x: &Tensor,
        style: usize,
    ) -> Result<(Tensor, Option<Tensor>), TchError> {
        let mut middle = None;
        let mut x = channels_last(&self.seen(x)?.f_to_kind(self.kind)?)?;
        let (pictures, mut block) = (x.shallow_clone(), x.shallow_clone());
        let mut coarser = x.shallow_clone();
        for layer in &self.layers {
            if layer.begins_block {
                block = x.shallow_clone();
                middle.get_or_insert_with(|| block.shallow_clone());
            }
            match &layer.source {
                Source::Previous => {}
                Source::Scale(scale) => {
                    let read = self.at_scale(&pictures, *scale)?;
                    coarser = std::mem::replace(&mut x, read);
                }
                Source::Join { norms, .. } => {
                    let mut parts = [x, doubled(&coarser)?];
                    if let Some([fine, coarse]) = norms {
                        let [x, before] = parts;
                        parts = [self.norm(fine, x, style)?, self.norm(coarse, before, style)?];
                    }
                    x = Tensor::f_cat(&parts, 1)?;
                }
            }
            x = self.convolved(layer, &x)?;
            if let Some(norm) = &layer.norm {
                x = self.norm(norm, x, style)?;
            }
            x = match layer.after {
                Epilogue::Relu => x.f_relu_()?,
                Epilogue::LeakyRelu => x.f_leaky_relu_()?,
                Epilogue::Add => x.f_add(&block)?,
                Epilogue::Nothing => x,
            };
        }
        let middle = middle.map(|middle| middle.f_to_kind(Kind::Float)).transpose()?;
        Ok((self.shown(&x.f_to_kind(Kind::Float)?)?, middle))
    }

    /// What a scale of a texture network reads of pictures, RGB 0–1, with noise of the same range.
    fn at_scale(&self, pictures: &Tensor, scale: usize) -> Result<Tensor, TchError> {
        let (batch, _, height, width) = pictures.size4()?;
        let first = *self.noise.lock().unwrap_or_else(PoisonError::into_inner);
        let seeds: Vec<u64> = match first {
            Some(first) => (0..batch as u64).map(|n| first.wrapping_add(n)).collect(),
            None => vec![noise::SEED],
        };
        let noise = noise(&seeds, scale, reduced((height, width), scale), pictures.device())?;
        let noise = noise.f_mul_scalar(1.0 / WHITE)?;
        beside(pictures, self.architecture.photo, &noise, scale)
    }

    /// What the first convolution reads of pictures.
    pub(super) fn seen(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let x = if self.architecture.luminance { luma(x)? } else { x.shallow_clone() };
        x.f_mul_scalar(1.0 / WHITE)
    }

    /// The pictures that are seen of what the last convolution makes.
    pub(super) fn shown(&self, made: &Tensor) -> Result<Tensor, TchError> {
        let y = match self.architecture.output {
            OutputLayer::Direct => made.f_mul_scalar(OUTPUT_SCALE)?,
            OutputLayer::Tanh => made.f_tanh()?.f_mul_scalar(TANH_SCALE)?,
        };
        let y = y.f_add_scalar(MIDDLE)?;
        if self.architecture.luminance { luma(&y) } else { Ok(y) }
    }

    /// The layers in the order in which they run.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The type in which convolutions compute.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Weight and bias of a layer's convolution.
    pub(super) fn convolution(&self, layer: &Layer) -> Result<[&Tensor; 2], TchError> {
        let get = |part| self.parameter(&format!("{}.conv2d.{part}", layer.conv));
        Ok([get("weight")?, get("bias")?])
    }

    /// Weight and bias of the norm behind it, where there is one.
    pub(super) fn norm_of(&self, layer: &Layer) -> Result<Option<[&Tensor; 2]>, TchError> {
        let Some(norm) = &layer.norm else { return Ok(None) };
        let get = |part| self.parameter(&format!("{norm}.{part}"));
        Ok(Some([get("weight")?, get("bias")?]))
    }

    /// The trained parameters beside those of norms, with their names.
    pub fn convolutions(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let all = self.names.iter().map(String::as_str).zip(&self.parameters);
        all.filter(|(name, _)| name.contains(".conv2d."))
    }

    /// The values of all norms of one style in a row: of each norm in the layers' order, weights, then biases.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn norm_row(&self, style: usize) -> Result<Tensor, TchError> {
        let style = style as i64;
        let rows = self.norm_parameters()?.into_iter().map(|p| match p.dim() {
            2 => p.f_select(0, style),
            _ => Ok(p.shallow_clone()),
        });
        Tensor::f_cat(&rows.collect::<Result<Vec<_>, _>>()?, 0)?.f_detach()
    }

    /// Sets the norms of all styles: styles × values, as [`norm_row`](Self::norm_row) has them.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn set_norms(&self, rows: &Tensor) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        let mut place = 0;
        for parameter in self.norm_parameters()? {
            let channels = *parameter.size().last().unwrap_or(&0);
            let values = rows.f_narrow(1, place, channels)?.f_reshape(parameter.size())?;
            parameter.shallow_clone().f_copy_(&values)?;
            place += channels;
        }
        Ok(())
    }

    /// The gradients of the norms of all styles: styles × values.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn norm_gradients(&self) -> Result<Tensor, TchError> {
        let mut rows = Vec::new();
        for parameter in self.norm_parameters()? {
            let gradient = parameter.f_grad()?;
            let gradient = if gradient.defined() { gradient } else { parameter.f_zeros_like()? };
            let channels = *parameter.size().last().unwrap_or(&0);
            rows.push(gradient.f_detach()?.f_reshape([-1, channels])?);
        }
        Tensor::f_cat(&rows, 1)
    }

    fn norm_parameters(&self) -> Result<Vec<&Tensor>, TchError> {
        let mut all = Vec::new();
        for layer in &self.layers {
            all.extend(self.norm_of(layer)?.into_iter().flatten());
        }
        Ok(all)
    }

    fn parameter(&self, name: &str) -> Result<&Tensor, TchError> {
        let missing = || TchError::FileFormat(format!("'{name}' is missing"));
        self.index.get(name).map(|&n| &self.parameters[n]).ok_or_else(missing)
    }

    fn weights(&self, conv: &str) -> Result<(Tensor, Tensor), TchError> {
        let get = |part| self.parameter(&format!("{conv}.conv2d.{part}"))?.f_to_kind(self.kind);
        Ok((get("weight")?, get("bias")?))
    }

    fn convolved(&self, layer: &Layer, x: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = self.weights(&layer.conv)?;
        if layer.change == Change::Transposed {
            return x.f_conv_transpose2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], 1, [1, 1]);
        }
        let (_, _, height, width) = x.size4()?;
        let x = match layer.change {
            Change::Nearest => x.f_upsample_nearest2d([2 * height, 2 * width], None, None)?,
            _ => x.shallow_clone(),
        };
        let pad = layer.size / 2;
        let (x, zeros) = padded(&x, self.architecture.padding, pad)?;
        let stride = if layer.change == Change::Halve { 2 } else { 1 };
        x.f_conv2d(&weight, Some(&bias), [stride; 2], [zeros; 2], [1, 1], 1)
    }

    fn norm(&self, name: &str, x: Tensor, style: usize) -> Result<Tensor, TchError> {
        if self.architecture.norm == Normalization::None {
            return Ok(x);
        }
        let get = |part: &str| {
            let value = self.parameter(&format!("{name}.{part}"))?;
            if value.dim() == 2 {
                value.f_select(0, style as i64)
            } else {
                Ok(value.shallow_clone())
            }
        };
        let (weight, bias) = (get("weight")?, get("bias")?);
        let statistics = self.statistics.get(name);
        // Instance norm of one picture is batch norm over it alone, which is several times faster
        // than libtorch's instance norm with the channels innermost.
        if statistics.is_some() || x.size4()?.0 == 1 {
            // Without gradients, such as in a preview, the running statistics are used and not changed: the
            // result is what the model would paint now.
            let learns = statistics.is_none() || x.requires_grad();
            let (mean, variance) = statistics.map(|[mean, variance]| (mean, variance)).unzip();
            let w = Some(&weight);
            let normed =
                x.f_native_batch_norm(w, Some(&bias), mean, variance, learns, MOMENTUM, EPSILON)?;
            return Ok(normed.0);
        }
        let none = None::<&Tensor>;
        x.f_instance_norm(Some(&weight), Some(&bias), none, none, true, 0.0, EPSILON, false)
    }

    /// A model of the weights as they are: input and output scale folded in, batch norms folded
    /// into the convolutions before them, half precision.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn to_model(&self, mut description: Description) -> Result<ModelFile, TchError> {
        let _guard = tch::no_grad_guard();
        description.architecture = self.architecture.clone();
        if !self.statistics.is_empty() {
            description.architecture.norm = Normalization::None;
        }
        let mut tensors = BTreeMap::new();
        for (name, shape) in description.architecture.parameters() {
            let mut value = self.parameter(&name)?.f_to_device(Device::Cpu)?;
            if let Some((conv, part)) = name.split_once(".conv2d.") {
                value = self.with_norm_folded(conv, part, value)?;
            }
            let value = scaled(&name, &value, &self.architecture, false)?;
            let values = Vec::<f32>::try_from(value.f_contiguous()?.f_reshape([-1])?)?;
            tensors.insert(name, RawTensor::from_f32(shape, &values, DType::F16));
        }
        Ok(ModelFile { description, tensors })
    }

    /// Weight or bias of a convolution with the batch norm behind it folded in.
    fn with_norm_folded(&self, conv: &str, part: &str, value: Tensor) -> Result<Tensor, TchError> {
        let layer = self.layers.iter().find(|layer| layer.conv == conv);
        let Some(layer) = layer else { return Ok(value) };
        let value = match &layer.source {
            Source::Join { norms: Some(norms), .. } => {
                self.with_joined_folded(conv, part, value, norms)?
            }
            _ => value,
        };
        let affine = layer.norm.as_ref().map(|norm| self.affine_of(norm)).transpose()?.flatten();
        let Some([factor, mean, shift]) = affine else { return Ok(value) };
        if part == "bias" {
            return value.f_sub(&mean)?.f_mul(&factor)?.f_add(&shift);
        }
        let transposed = layer.change == Change::Transposed;
        let shape = if transposed { [1, -1, 1, 1] } else { [-1, 1, 1, 1] };
        value.f_mul(&factor.f_reshape(shape)?)
    }

    /// Weight or bias of a convolution with the batch norms before it folded in, those of the parts that are joined
    /// there. A border that repeats pixels is shifted as they are, so this is exact.
    fn with_joined_folded(
        &self,
        conv: &str,
        part: &str,
        value: Tensor,
        norms: &[String; 2],
    ) -> Result<Tensor, TchError> {
        let (mut factors, mut shifts) = (Vec::new(), Vec::new());
        for norm in norms {
            let Some([factor, mean, shift]) = self.affine_of(norm)? else { return Ok(value) };
            shifts.push(shift.f_sub(&mean.f_mul(&factor)?)?);
            factors.push(factor);
        }
        if part == "weight" {
            return value.f_mul(&Tensor::f_cat(&factors, 0)?.f_reshape([1, -1, 1, 1])?);
        }
        let weight = self.parameter(&format!("{conv}.conv2d.weight"))?.f_to_device(Device::Cpu)?;
        let sums = weight.f_sum_dim_intlist([2_i64, 3].as_slice(), false, Kind::Float)?;
        value.f_add(&sums.f_mv(&Tensor::f_cat(&shifts, 0)?)?)
    }

    /// Of a batch norm, which makes `(x - mean) · factor + shift` by its running statistics: factor, mean and shift,
    /// on the CPU; none of an instance norm.
    fn affine_of(&self, norm: &str) -> Result<Option<[Tensor; 3]>, TchError> {
        let Some([mean, variance]) = self.statistics.get(norm) else { return Ok(None) };
        let cpu = |t: &Tensor| t.f_to_device(Device::Cpu);
        let deviation = cpu(variance)?.f_add_scalar(EPSILON)?.f_sqrt()?;
        let factor = cpu(self.parameter(&format!("{norm}.weight"))?)?.f_div(&deviation)?;
        let shift = cpu(self.parameter(&format!("{norm}.bias"))?)?;
        Ok(Some([factor, cpu(mean)?, shift]))
    }
}

/// A parameter with the input and output scales folded in or, with `back`, removed again.
fn scaled(
    name: &str,
    value: &Tensor,
    architecture: &Architecture,
    back: bool,
) -> Result<Tensor, TchError> {
    let last = last(architecture);
    let part = name.strip_prefix(&last).and_then(|rest| rest.strip_prefix(".conv2d."));
    let (factor, shift) = match (part, architecture.output) {
        (Some("weight"), OutputLayer::Direct) => (OUTPUT_SCALE, 0.0),
        (Some("bias"), OutputLayer::Direct) => (OUTPUT_SCALE, MIDDLE),
        _ if reads_pictures(name, architecture) => (1.0 / WHITE, 0.0),
        _ => return Ok(value.shallow_clone()),
    };
    match back {
        false => value.f_mul_scalar(factor)?.f_add_scalar(shift),
        true => value.f_sub_scalar(shift)?.f_mul_scalar(1.0 / factor),
    }
}

/// Whether a parameter is the weight of a convolution that reads pictures (or noise of their range).
fn reads_pictures(name: &str, architecture: &Architecture) -> bool {
    let layers = layers(architecture);
    let mut first = layers.iter().enumerate();
    name.strip_suffix(".conv2d.weight").is_some_and(|conv| {
        first.any(|(n, l)| l.conv == conv && (n == 0 || matches!(l.source, Source::Scale(_))))
    })
}

#[cfg(test)]
mod tests;
