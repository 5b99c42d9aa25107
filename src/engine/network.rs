//! The image transformation network of Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for
//! Real-Time Style Transfer and Super-Resolution", with instance normalization (Ulyanov et al.
//! 2016), reflection padding, and nearest-neighbour upsampling before convolutions: laid out as
//! PyTorch's fast_neural_style example publishes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
use rayon::prelude::*;
use tch::{Kind, TchError, Tensor};

use super::architecture::{Architecture, NetworkKind, OutputLayer};
use super::architecture::{Epilogue, Layer, Source, layers};
use super::device::Device;
use super::device::gpu::Gpu;
#[cfg(target_arch = "x86_64")]
use super::device::tensor::{UniqueTensor, copied};
use super::gpu::Fused;
#[cfg(target_arch = "x86_64")]
use super::kernels::{executor::PaintError, select::Kernels};
use super::layers::{Conv, InstanceNorm, channels_last, mirrored, pad_reflect};
use super::model_file::{Description, ModelFile, RawTensor};
use super::noise::{self, KeptNoise};
use super::precision::Precision;
#[cfg(target_arch = "x86_64")]
use super::threads;
use super::{failed, failed_on, memory};
use crate::core::stylizer::StylizeError;

/// Subtracted from the last bias in half precisions, and added again in single precision: numbers around 0
/// have one more bit of precision than those around 128.
pub(crate) const MIDDLE: f64 = 127.5;

/// Levels that tanh reaches to either side of the middle.
pub(crate) const TANH_SCALE: f64 = 150.0;

/// Weights of R, G and B in brightness (BT.601, as in colour preservation).
pub(super) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Batch size at which it is fastest: pictures painted in parallel by CPU kernels, and on a GPU.
#[cfg(target_arch = "x86_64")]
const AT_ONCE: usize = 2;
const GPU_AT_ONCE: usize = 4;

/// A network on a device.
#[derive(Debug)]
pub struct Network {
    name: String,
    styles: Vec<String>,
    architecture: Architecture,
    device: Device,
    precision: Precision,
    execution: Execution,
    passes: AtomicU64,
}

/// How layers are computed.
#[derive(Debug)]
enum Execution {
    /// In kernels of our own.
    #[cfg(target_arch = "x86_64")]
    Kernels(Kernels),
    /// libtorch's convolutions on a GPU with our own kernels between them, and the libtorch network that
    /// takes over if the kernels fail.
    Gpu(Box<Fused>, Option<Layers>),
    /// libtorch.
    Torch(Layers),
}

/// The layers in libtorch.
#[derive(Debug)]
struct Layers {
    list: Vec<WeightedLayer>,
    kind: Kind,
    /// Of a texture network: how many scales it has, and whether it reads photos.
    scales: usize,
    photo: bool,
    noise: KeptNoise,
}

/// A layer with its weights.
#[derive(Debug)]
struct WeightedLayer {
    layer: Layer,
    conv: Conv,
    norm: Option<InstanceNorm>,
    /// Of this scale and of those before, where it joins them.
    joined: Option<[InstanceNorm; 2]>,
}

impl WeightedLayer {
    fn norms(&mut self) -> impl Iterator<Item = &mut InstanceNorm> {
        self.joined.iter_mut().flatten().chain(self.norm.as_mut())
    }
}

impl Network {
    /// Builds the network of a model, whose tensors have been [checked](ModelFile::check): on a CPU in kernels of
    /// our own where they can paint it, else in libtorch.
    ///
    /// # Errors
    /// When a tensor is missing or has the wrong number of values, or the device lacks memory.
    pub fn new(model: &ModelFile, device: Device, precision: Precision) -> Result<Self, TchError> {
        #[cfg(target_arch = "x86_64")]
        if let (false, Some(kernels)) = (device.is_cuda(), Kernels::new(model, precision)) {
            return Ok(Self::on(model, device, precision, Execution::Kernels(kernels)));
        }
        Self::in_torch(model, device, precision)
    }

    /// The network in these GPU kernels; none if they do not support the model.
    pub(super) fn in_gpu_kernels(
        model: &ModelFile,
        gpu: Arc<Gpu>,
        device: Device,
        precision: Precision,
    ) -> Result<Option<Self>, TchError> {
        let fused = Fused::new(model, gpu, device, precision)?;
        let way = |fused| Execution::Gpu(Box::new(fused), None);
        Ok(fused.map(|fused| Self::on(model, device, precision, way(fused))))
    }

    /// Adds a libtorch network of the same model, which takes over if the kernels fail.
    pub(super) fn with_fallback(mut self, torchs: Network) -> Self {
        if let (Execution::Gpu(_, backing), Execution::Torch(layers)) =
            (&mut self.execution, torchs.execution)
        {
            *backing = Some(layers);
        }
        self
    }

    /// Switches from the GPU kernels to libtorch from the next pass on; false if it does not use kernels or
    /// has no libtorch network.
    pub(super) fn leave_gpu_kernels(&mut self) -> bool {
        let Execution::Gpu(_, backing) = &mut self.execution else { return false };
        let Some(layers) = backing.take() else { return false };
        self.execution = Execution::Torch(layers);
        true
    }

    /// What computes it: where two machines say the same, they paint the same.
    pub fn arithmetic(&self) -> String {
        let device = if self.device.is_cuda() { "CUDA" } else { "the CPU" };
        match &self.execution {
            #[cfg(target_arch = "x86_64")]
            Execution::Kernels(kernels) => kernels.arithmetic().to_owned(),
            Execution::Gpu(..) => format!("GPU kernels in {}", self.precision),
            Execution::Torch(_) => format!("libtorch on {device} in {}", self.precision),
        }
    }

    /// The GPU's kernels, where it paints in them.
    pub(super) fn gpu(&self) -> Option<&Arc<Gpu>> {
        match &self.execution {
            Execution::Gpu(fused, _) => Some(fused.gpu()),
            _ => None,
        }
    }

    /// As [`new`](Self::new), but computed by libtorch even where there are kernels of our own: to compare
    /// with.
    ///
    /// # Errors
    /// As [`new`](Self::new)'s.
    pub fn in_torch(
        model: &ModelFile,
        device: Device,
        precision: Precision,
    ) -> Result<Self, TchError> {
        let layers = Layers::new(model, device, precision)?;
        Ok(Self::on(model, device, precision, Execution::Torch(layers)))
    }

    fn on(model: &ModelFile, device: Device, precision: Precision, way: Execution) -> Self {
        let Description { name, styles, architecture, .. } = model.description.clone();
        let passes = AtomicU64::new(0);
        Network { name, styles, architecture, device, precision, execution: way, passes }
    }

    /// Paints pictures: one pass for the whole batch.
    ///
    /// `x`: batch × 3 × height × width, any size but an empty one, RGB 0–255 of any type, on the
    /// network's device. The result has the same shape and scale in single precision; it is not
    /// clamped, values below 0 and above 255 occur. Sizes that are no [multiple](Architecture::multiple)
    /// of what it takes are padded right and bottom by reflection and cropped again.
    ///
    /// The noise of a texture network is the same for every picture and in every pass. One that reads no
    /// photo takes nothing of `x` but its shape.
    ///
    /// # Errors
    /// [`StylizeError::OutOfMemory`], or [`StylizeError::Failed`] with libtorch's words.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, StylizeError> {
        self.forward_with_noise(x, noise::SEED)
    }

    /// The same with the noise of a seed, where the network has noise.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_noise(&self, x: &Tensor, seed: u64) -> Result<Tensor, StylizeError> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        // Grad mode belongs to the thread; whoever calls may not have switched it off.
        tch::no_grad(|| self.paint_with_noise(x, seed, 0))
    }

    /// The same as [`forward`](Self::forward), painted with `margin` pixels of the mirrored picture beyond each border,
    /// which are cut off.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_margin(&self, x: &Tensor, margin: i64) -> Result<Tensor, StylizeError> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        tch::no_grad(|| self.paint_with_noise(x, noise::SEED, margin))
    }

    /// Makes a texture of noise, 1 × 3 × height × width: scale and errors as [`forward`](Self::forward). With
    /// circular padding, one whose sides are [multiples](Architecture::multiple) continues at its opposite sides.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`StylizeError::OutOfMemory`] before it begins, on a CPU.
    pub fn texture(
        &self,
        (width, height): (usize, usize),
        seed: u64,
    ) -> Result<Tensor, StylizeError> {
        let needed = self.memory_a_pixel() * (width * height) as f64;
        if !self.device.is_cuda() && memory::free().is_some_and(|free| needed > free) {
            return Err(StylizeError::OutOfMemory { width, height, batch: 1 });
        }
        // Only its shape counts.
        let shape = [1, 3, height as i64, width as i64];
        let none = Tensor::f_zeros(shape, (Kind::Float, self.device.torch()));
        let none = none.map_err(|error| failed_on(&error, width, height, 1))?;
        self.forward_with_noise(&none, seed)
    }

    /// Paints a mixture of the network's styles from the next pass on: a share for each, in their
    /// order. A network of one style has nothing to mix.
    ///
    /// # Errors
    /// When there are not as many shares as styles, or libtorch fails.
    pub fn blend(&mut self, shares: &[f32]) -> Result<(), TchError> {
        let styles = self.architecture.styles;
        if shares.len() != styles {
            let found = shares.len();
            return Err(TchError::Shape(format!("{found} shares for {styles} styles")));
        }
        match &mut self.execution {
            #[cfg(target_arch = "x86_64")]
            Execution::Kernels(kernels) => kernels.blend(shares),
            Execution::Gpu(fused, backing) => {
                let shares = Tensor::f_from_slice(shares)?;
                fused.blend(&shares)?;
                backing.as_mut().map_or(Ok(()), |layers| layers.blend(&shares))?;
            }
            Execution::Torch(layers) => layers.blend(&Tensor::f_from_slice(shares)?)?,
        }
        Ok(())
    }

    /// The same as [`forward`](Self::forward), of a pass that is not counted.
    pub(super) fn forward_uncounted(&self, x: &Tensor) -> Result<Tensor, StylizeError> {
        self.paint_with_noise(x, noise::SEED, 0)
    }

    fn paint_with_noise(&self, x: &Tensor, seed: u64, margin: i64) -> Result<Tensor, StylizeError> {
        let failed = |e: TchError| failed(&e, x);
        let grey = self.architecture.luminance;
        let seen = if grey { luma(x).map_err(failed)? } else { x.shallow_clone() };
        let larger = || pad_reflect(&seen, [margin; 4]).map_err(failed);
        let y = match &self.execution {
            #[cfg(target_arch = "x86_64")]
            Execution::Kernels(kernels) => in_kernels(kernels, &seen, margin)?,
            Execution::Gpu(fused, _) => {
                fused.forward(&larger()?).and_then(|y| inner(&y, margin)).map_err(failed)?
            }
            Execution::Torch(layers) => {
                let multiple = self.architecture.multiple();
                any_size(&larger()?, multiple, |x| layers.forward(x, seed))
                    .and_then(|y| inner(&y, margin))
                    .map_err(failed)?
            }
        };
        self.finish(y).and_then(|y| if grey { luma(&y) } else { Ok(y) }).map_err(failed)
    }

    /// Converts the output of the last convolution to RGB 0–255.
    fn finish(&self, mut y: Tensor) -> Result<Tensor, TchError> {
        match self.architecture.output {
            OutputLayer::Tanh => y.f_tanh_()?.f_mul_scalar_(TANH_SCALE)?.f_add_scalar_(MIDDLE),
            OutputLayer::Direct if self.shifted() => y.f_add_scalar_(MIDDLE),
            OutputLayer::Direct => Ok(y),
        }
    }

    /// Whether [`MIDDLE`] has been subtracted from the last bias.
    fn shifted(&self) -> bool {
        matches!(self.execution, Execution::Torch(_)) && self.precision != Precision::Fp32
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of its styles.
    pub fn styles(&self) -> &[String] {
        &self.styles
    }

    /// Widths and depth.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Arithmetic of its convolutions.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Batch size at which it is fastest.
    pub fn preferred_batch(&self) -> usize {
        match &self.execution {
            #[cfg(target_arch = "x86_64")]
            Execution::Kernels(_) => AT_ONCE,
            _ if self.device.is_cuda() => GPU_AT_ONCE,
            // One picture keeps all cores busy; more would only take memory.
            _ => 1,
        }
    }

    /// What painting takes on the CPU, bytes a pixel.
    pub fn memory_a_pixel(&self) -> f64 {
        // Measured from 500² to 2000², with 32 channels in the first layer; a texture network with as many
        // channels in all.
        let measured = match &self.execution {
            #[cfg(target_arch = "x86_64")]
            Execution::Kernels(kernels) => kernels.memory_a_pixel(),
            Execution::Gpu(..) | Execution::Torch(_) => 1_000.0,
        };
        let channels = match self.architecture.kind {
            NetworkKind::Johnson | NetworkKind::Lite => self.architecture.widths[0],
            NetworkKind::Texture => self.architecture.widths.iter().sum(),
        };
        measured * channels as f64 / 32.0
    }

    /// How many forward passes were made: a batch counts once.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }
}

/// A picture without `margin` pixels at each border.
pub(super) fn inner(y: &Tensor, margin: i64) -> Result<Tensor, TchError> {
    let (_, _, height, width) = y.size4()?;
    y.f_narrow(2, margin, height - 2 * margin)?.f_narrow(3, margin, width - 2 * margin)
}

/// Planes of height × width, with `margin` pixels of their mirror image around. (libtorch's own operations are threads
/// of another pool, which keeps spinning for a while: they cost the kernels more than this.)
#[cfg(target_arch = "x86_64")]
fn with_margin(planes: &[f32], (height, width): (usize, usize), margin: i64) -> Vec<f32> {
    // Lossless: places within the picture.
    let places = |length: usize| -> Vec<usize> {
        mirrored(margin, length as i64, margin).into_iter().map(|place| place as usize).collect()
    };
    let (rows, columns) = (places(height), places(width));
    let (left, right) = (&columns[..margin as usize], &columns[margin as usize + width..]);
    let mut larger =
        Vec::with_capacity(planes.len() / (height * width) * rows.len() * columns.len());
    for plane in planes.chunks_exact(height * width) {
        for row in &rows {
            let line = &plane[row * width..][..width];
            larger.extend(left.iter().map(|column| line[*column]));
            larger.extend_from_slice(line);
            larger.extend(right.iter().map(|column| line[*column]));
        }
    }
    larger
}

/// Paints batch × 3 × height × width with a margin, two pictures at a time: while the threads of one wait for each other
/// at the end of a layer, there is work on the other.
#[cfg(target_arch = "x86_64")]
fn in_kernels(kernels: &Kernels, x: &Tensor, margin: i64) -> Result<Tensor, StylizeError> {
    let failed = |e: TchError| failed(&e, x);
    let (batch, channels, height, width) = x.size4().map_err(failed)?;
    if channels != 3 || height == 0 || width == 0 {
        let what = format!("{channels} × {height} × {width}: expected R, G and B of some pixels");
        return Err(StylizeError::Failed(what));
    }
    // Lossless: lengths of a tensor are not negative.
    let (size, threads) = ((height as usize, width as usize), threads::count());
    let prepare = || {
        let x = copied::<f32>(&x.f_to_kind(Kind::Float)?.f_contiguous()?)?;
        Ok((x, UniqueTensor::<f32>::new(&[batch, channels, height, width])?))
    };
    let (x, mut y) = prepare().map_err(failed)?;
    let pictures = x.chunks_exact(3 * size.0 * size.1);
    let painted = y.numbers().chunks_exact_mut(3 * size.0 * size.1);
    let mut all: Vec<_> = pictures.zip(painted).collect();
    let paint = |(picture, painted): &mut (&[f32], &mut [f32])| {
        if margin == 0 {
            return kernels.paint(picture, size, painted, threads);
        }
        // Lossless: a few pixels.
        let at = margin as usize;
        let (height, width) = (size.0 + 2 * at, size.1 + 2 * at);
        let picture = with_margin(picture, size, margin);
        let mut larger = vec![0.0; picture.len()];
        kernels.paint(&picture, (height, width), &mut larger, threads)?;
        for (painted, larger) in
            painted.chunks_exact_mut(size.0 * size.1).zip(larger.chunks_exact(height * width))
        {
            let lines = painted.chunks_exact_mut(size.1).zip(larger.chunks_exact(width).skip(at));
            lines.for_each(|(line, larger)| line.copy_from_slice(&larger[at..at + size.1]));
        }
        Ok(())
    };
    let done = threads::pool(threads).map_err(|error| PaintError::Threads(error.to_string()));
    let done = done.and_then(|pool| {
        pool.install(|| {
            all.chunks_mut(AT_ONCE).try_for_each(|some| some.par_iter_mut().try_for_each(paint))
        })
    });
    match done {
        Ok(()) => Ok(y.into_tensor()),
        Err(PaintError::Memory) => {
            Err(StylizeError::OutOfMemory { width: size.1, height: size.0, batch: batch as usize })
        }
        Err(error @ PaintError::Threads(_)) => Err(StylizeError::Failed(error.to_string())),
    }
}

impl Layers {
    fn new(model: &ModelFile, device: Device, precision: Precision) -> Result<Self, TchError> {
        let architecture = &model.description.architecture;
        let weights = Weights { model, device, precision };
        let list = layers(architecture).into_iter().map(|layer| weights.layer(layer));
        let scales = match architecture.kind {
            NetworkKind::Johnson | NetworkKind::Lite => 0,
            NetworkKind::Texture => architecture.widths.len(),
        };
        Ok(Layers {
            list: list.collect::<Result<_, _>>()?,
            kind: precision.kind(),
            scales,
            photo: architecture.photo,
            noise: KeptNoise::default(),
        })
    }

    fn blend(&mut self, shares: &Tensor) -> Result<(), TchError> {
        let mut norms = self.list.iter_mut().flat_map(WeightedLayer::norms);
        norms.try_for_each(|norm| norm.blend(shares))
    }

    /// What the last convolution makes of pictures, whose sides are multiples of what the network takes.
    fn forward(&self, x: &Tensor, seed: u64) -> Result<Tensor, TchError> {
        let mut x = channels_last(&x.f_to_kind(self.kind)?)?;
        let (_, _, height, width) = x.size4()?;
        let place = (self.kind, x.device());
        let noise = self.noise.scales(seed, (height, width), self.scales, place)?;
        let (pictures, mut block) = (x.shallow_clone(), x.shallow_clone());
        let mut coarser = x.shallow_clone();
        for WeightedLayer { layer, conv, norm, joined } in &self.list {
            if layer.begins_block {
                block = x.shallow_clone();
            }
            match layer.source {
                Source::Previous => {}
                Source::Scale(scale) => {
                    let read = noise::beside(&pictures, self.photo, &noise[scale], scale)?;
                    coarser = std::mem::replace(&mut x, read);
                }
                Source::Join { .. } => {
                    let mut parts = [x, doubled(&coarser)?];
                    if let Some([fine, coarse]) = joined {
                        let [x, before] = parts;
                        parts = [fine.forward(x)?, coarse.forward(before)?];
                    }
                    x = Tensor::f_cat(&parts, 1)?;
                }
            }
            x = conv.forward(&x)?;
            if let Some(norm) = norm {
                x = norm.forward(x)?;
            }
            x = match layer.after {
                Epilogue::Relu => x.f_relu_()?,
                Epilogue::LeakyRelu => x.f_leaky_relu_()?,
                Epilogue::Add => x.f_add_(&block)?,
                Epilogue::Nothing => x,
            };
        }
        x.f_to_kind(Kind::Float)
    }
}

/// Each pixel repeated 2×2.
pub(crate) fn doubled(x: &Tensor) -> Result<Tensor, TchError> {
    let (_, _, height, width) = x.size4()?;
    x.f_upsample_nearest2d([2 * height, 2 * width], 2.0, 2.0)
}

/// Runs `paint` on pictures padded right and bottom, by reflection, to multiples of `multiple`, and
/// crops what it returns.
pub(super) fn any_size(
    x: &Tensor,
    multiple: i64,
    paint: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let (_, channels, height, width) = x.size4()?;
    if channels != 3 {
        return Err(TchError::Shape(format!("{channels} channels, expected R, G and B")));
    }
    let missing = |length: i64| (multiple - length % multiple) % multiple;
    let padded = pad_reflect(x, [0, missing(width), 0, missing(height)])?;
    let painted = paint(&padded)?;
    painted.f_narrow(2, 0, height)?.f_narrow(3, 0, width)
}

/// Brightness in all three channels of an RGB picture.
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn luma(x: &Tensor) -> Result<Tensor, TchError> {
    let x = x.f_to_kind(Kind::Float)?;
    // Scalars, not a tensor of them, which would be copied to the device in every pass, and the pass would
    // wait for it.
    let part =
        |channel: usize| x.f_narrow(1, channel as i64, 1)?.f_mul_scalar(f64::from(LUMA[channel]));
    let luma = part(0)?.f_add_(&part(1)?)?.f_add_(&part(2)?)?;
    // Three planes of its own, so that the caller may change them in place.
    luma.f_repeat([1, 3, 1, 1])
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

    fn layer(&self, layer: Layer) -> Result<WeightedLayer, TchError> {
        let part = |part| self.tensor(&format!("{}.conv2d.{part}", layer.conv));
        let (weight, mut bias) = (part("weight")?, part("bias")?);
        let architecture = &self.model.description.architecture;
        if layer.after == Epilogue::Nothing
            && architecture.output == OutputLayer::Direct
            && self.precision != Precision::Fp32
        {
            bias = bias.f_sub_scalar(MIDDLE)?;
        }
        let conv = Conv::new(&weight, &bias, &layer, self.device, self.precision)?;
        let norm = |name: &String| {
            let part = |part| self.tensor(&format!("{name}.{part}"));
            InstanceNorm::new(&part("weight")?, &part("bias")?, self.device)
        };
        let joined = match &layer.source {
            Source::Join { norms: Some([fine, coarse]), .. } => Some([norm(fine)?, norm(coarse)?]),
            _ => None,
        };
        Ok(WeightedLayer {
            conv: conv.padded(architecture.padding),
            norm: layer.norm.as_ref().map(norm).transpose()?,
            joined,
            layer,
        })
    }
}

/// The values of a stored tensor in single precision, on the CPU.
fn to_tensor(raw: &RawTensor) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(&raw.to_f32())?.f_reshape(raw.shape.as_slice())
}
