//! A model as a [`Stylizer`]: planes → RGB → network → planes.

use std::thread::{self, ThreadId};

use tch::{Kind, TchError, Tensor};

use super::blend::{Blend, LiveBlend};
use super::color::{Converter, fill, rounded};
use super::device::gpu::Mark;
use super::device::{set_threads, while_trying_algorithms};
use super::model::{MARGIN, Model, OpenError};
use super::staging::Staging;
use super::{failed, failed_on, guarded, memory};
use crate::core::frame::{Frame, FrameInfo};
use crate::core::stylizer::{PendingBatch, StylizeError, Stylizer};

/// Frames held in memory for each frame of a batch: in the run's queues and in the network.
const IN_FLIGHT: usize = 7;
/// Pixels that are painted beyond two borders.
const MARGINS: usize = 2 * MARGIN as usize;
/// Largest share of the free memory that batches may take.
const MAX_SHARE_OF_MEMORY: f64 = 0.5;

/// How the painted picture is mixed with the original. May change between two batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StyleMix {
    /// How much of the painted picture there is in the result: 0 leaves the frame as it is, 1
    /// replaces it. Values outside 0–1 count as the nearer of the two, NaN as 1.
    pub strength: f32,
    /// Keeps the frame's colours: luma is painted, chroma stays, bit for bit where frames have
    /// chroma planes.
    pub preserve_color: bool,
}

impl Default for StyleMix {
    /// The painted picture alone, with its own colours.
    fn default() -> Self {
        StyleMix { strength: 1.0, preserve_color: false }
    }
}

impl StyleMix {
    fn strength(self) -> f64 {
        if self.strength.is_nan() { 1.0 } else { f64::from(self.strength.clamp(0.0, 1.0)) }
    }
}

/// Paints frames with a model.
#[derive(Debug)]
pub struct NetworkStylizer {
    model: Model,
    mix: StyleMix,
    /// Shares of its styles, unless others are asked for.
    own_shares: Vec<f32>,
    /// Other shares of its styles.
    blend: Option<LiveBlend>,
    scale: f64,
    /// Factor for the size of brush strokes.
    stroke: f64,
    threads: Option<usize>,
    /// Page-locked memory; only with our own GPU kernels.
    staging: Option<Staging>,
    /// Converter for the current frame format; kept while it does not change.
    converter: Option<Converter>,
    /// The thread on which the number of threads has been set.
    ready: Option<ThreadId>,
    /// Whether the first result has been checked for NaN and infinity.
    checked_finite: bool,
    /// Pixels of the largest batch painted so far.
    largest_batch_pixels: usize,
}

impl NetworkStylizer {
    /// Paints at full size and full strength, with as many threads as the process may use.
    pub fn new(model: Model) -> Self {
        NetworkStylizer {
            staging: model.gpu().cloned().map(Staging::new),
            own_shares: (0..model.styles().len()).map(|n| if n == 0 { 1.0 } else { 0.0 }).collect(),
            blend: None,
            model,
            mix: StyleMix::default(),
            scale: 1.0,
            stroke: 1.0,
            threads: None,
            converter: None,
            ready: None,
            checked_finite: false,
            largest_batch_pixels: 0,
        }
    }

    /// Paints at this fraction of the frames' size, in 0–1, and enlarges the result. A value that
    /// is not in that range counts as 1.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.set_scale(scale);
        self
    }

    /// Changes the scale from the next batch on, as [`with_scale`](Self::with_scale) does.
    pub fn set_scale(&mut self, scale: f64) {
        self.scale = if scale > 0.0 && scale < 1.0 { scale } else { 1.0 };
    }

    /// Multiplies the size of brush strokes by `stroke`, independently of the scale: the network sees frames
    /// at 1 / `stroke` of their size, and its result is resized back. Values below 1 give finer strokes and
    /// take (1 / `stroke`)² times the work. A value that is not above 0 counts as 1.
    #[must_use]
    pub fn with_stroke(mut self, stroke: f64) -> Self {
        self.set_stroke(stroke);
        self
    }

    /// Changes the stroke from the next batch on, as [`with_stroke`](Self::with_stroke) does.
    pub fn set_stroke(&mut self, stroke: f64) {
        self.stroke = if stroke > 0.0 && stroke.is_finite() { stroke } else { 1.0 };
    }

    /// Sets the number of CPU threads.
    #[must_use]
    pub fn with_threads(mut self, threads: Option<usize>) -> Self {
        self.threads = threads;
        self
    }

    /// Starts with this mix.
    #[must_use]
    pub fn with_mix(mut self, mix: StyleMix) -> Self {
        self.mix = mix;
        self
    }

    /// Starts with this blend of the styles of its network.
    ///
    /// # Errors
    /// [`OpenError::NoStyle`].
    pub fn with_blend(mut self, blend: &Blend) -> Result<Self, OpenError> {
        self.model.blend(blend)?;
        if let Ok(shares) = blend.shares(self.model.styles()) {
            self.own_shares = shares;
        }
        Ok(self)
    }

    /// Paints these shares of the styles from the next batch on; none: those it started with.
    pub fn set_blend(&mut self, blend: Option<LiveBlend>) {
        if blend == self.blend {
            return;
        }
        self.blend = blend;
        let styles = self.own_shares.len();
        let shares = blend.as_ref().map_or(&self.own_shares[..], |blend| blend.shares(styles));
        if let Err(error) = self.model.mix(shares) {
            tracing::warn!("the styles cannot be mixed: {error}");
        }
    }

    /// Its styles, each with the share it started with; none if it has only one.
    pub fn own_shares(&self) -> Vec<(String, f32)> {
        match self.model.styles() {
            styles if styles.len() > 1 => {
                styles.iter().cloned().zip(self.own_shares.iter().copied()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Changes the mix from the next batch on.
    pub fn set_mix(&mut self, mix: StyleMix) {
        self.mix = mix;
    }

    /// The mix of the next batch.
    pub fn mix(&self) -> StyleMix {
        self.mix
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Width and height at which frames of `width` × `height` pixels are painted: at least 1 × 1.
    pub fn painted_size(&self, width: usize, height: usize) -> (usize, usize) {
        let factor = self.scale / self.stroke;
        let scaled = |length: usize| ((length as f64 * factor).round() as usize).max(1);
        (scaled(width), scaled(height))
    }

    /// Paints a batch of at least one frame, all of one format. Returns the bytes (N × L, on the device) that
    /// are still to be written into the frames; none if they have been written.
    fn paint(&mut self, batch: &mut [Frame]) -> Result<Option<Tensor>, StylizeError> {
        let info = batch[0].info;
        let frames = batch.len();
        let failed = |e: TchError| failed_on(&e, info.width, info.height, frames);
        self.enough_memory(info.width, info.height, frames)?;
        let kept = self.converter.take().filter(|converter| converter.fits(&batch[0]));
        let converter = match kept {
            Some(converter) => converter,
            None => Converter::new(info, batch[0].planes.layout(), self.model.device())
                .map_err(failed)?
                .with_kernels(self.model.gpu()),
        };
        let samples = match &mut self.staging {
            Some(staging) => {
                let memory = staging.take(converter.shape(batch)).map_err(failed)?;
                converter.upload_through(batch, memory).map_err(failed)?
            }
            None => converter.upload(batch).map_err(failed)?,
        };
        let input = self.input(&converter, &samples).map_err(failed)?;
        let painted = self.model.paint(&input).map_err(|error| match error {
            // The error names the frame size, which the user knows, not the network's input size.
            StylizeError::OutOfMemory { .. } => {
                StylizeError::OutOfMemory { width: info.width, height: info.height, batch: frames }
            }
            other => other,
        })?;
        self.check_finite(&painted)?;
        let made = self.finish(&converter, &samples, painted, batch).map_err(failed)?;
        self.converter = Some(converter);
        Ok(made)
    }

    /// Queues all work of a batch on a GPU, including the copy of the result to page-locked memory. Returns
    /// that memory and the event after which it is filled. None if the batch cannot be in flight.
    fn enqueue(&mut self, batch: &mut [Frame]) -> Result<Option<(Tensor, Mark)>, StylizeError> {
        let made = self.paint(batch)?;
        let (Some(made), Some(staging)) = (made, &mut self.staging) else { return Ok(None) };
        let (info, frames) = (batch[0].info, batch.len());
        let failed = |e: TchError| failed_on(&e, info.width, info.height, frames);
        // Copied to page-locked memory once the device has computed it.
        let bytes =
            made.f_to_device_(tch::Device::Cpu, Kind::Uint8, true, false).map_err(failed)?;
        Ok(Some((bytes, staging.mark_queued().map_err(failed)?)))
    }

    /// Checks that the frames of a batch have one format, and prepares the thread. False if there is nothing
    /// to do (strength 0).
    fn ready(&mut self, batch: &[Frame]) -> Result<bool, StylizeError> {
        let Some((first, rest)) = batch.split_first() else { return Ok(false) };
        if !rest.iter().all(|frame| frame.batches_with(first)) {
            return Err(StylizeError::MixedBatch);
        }
        if self.mix.strength() == 0.0 {
            return Ok(false);
        }
        let here = thread::current().id();
        if self.ready != Some(here) {
            set_threads(self.threads);
            self.ready = Some(here);
        }
        Ok(true)
    }

    /// Checks the memory for a batch larger than all before. A GPU reports an error itself.
    fn enough_memory(
        &mut self,
        width: usize,
        height: usize,
        batch: usize,
    ) -> Result<(), StylizeError> {
        let (w, h) = self.painted_size(width, height);
        let pixels = (w + MARGINS) * (h + MARGINS) * batch;
        if pixels <= self.largest_batch_pixels {
            return Ok(());
        }
        // The memory of earlier batches is either still held or free again, so only the difference is needed.
        if !self.model.fits(pixels - self.largest_batch_pixels) {
            return Err(StylizeError::OutOfMemory { width, height, batch });
        }
        self.largest_batch_pixels = pixels;
        Ok(())
    }

    /// Converts samples (N × S) to RGB at the network's input size.
    fn input(&self, converter: &Converter, samples: &Tensor) -> Result<Tensor, TchError> {
        let rgb = converter.to_rgb(samples)?;
        let (_, _, height, width) = rgb.size4()?;
        let (w, h) = self.painted_size(width as usize, height as usize);
        let (w, h) = (w as i64, h as i64);
        let larger = w > width || h > height;
        let input = resize(rgb, h, w)?;
        // Cubic interpolation overshoots black and white; networks are not trained with such values.
        if larger { input.f_clamp(0.0, 255.0) } else { Ok(input) }
    }

    /// Half precision may overflow; the picture is then black or noise. Only the first picture is checked,
    /// since checking every one would cost time.
    fn check_finite(&mut self, painted: &Tensor) -> Result<(), StylizeError> {
        if self.checked_finite {
            return Ok(());
        }
        let finite = painted.f_isfinite().and_then(|t| t.f_all()?.f_int64_value(&[]));
        match finite {
            Ok(0) => Err(StylizeError::Failed(
                "it produces NaN or infinite values; try --precision fp32".to_owned(),
            )),
            Ok(_) => {
                self.checked_finite = true;
                Ok(())
            }
            Err(error) => Err(failed(&error, painted)),
        }
    }

    /// Switches from GPU kernels to libtorch after an error that libtorch might not have. Returns whether it
    /// did; the batch, which is unchanged, is then painted again.
    fn leaves_gpu_kernels(&mut self, error: &StylizeError) -> bool {
        let theirs = matches!(error, StylizeError::Failed(_));
        let left = theirs && self.model.leave_gpu_kernels(&error.to_string());
        if left {
            (self.staging, self.converter) = (None, None);
        }
        left
    }

    /// Turns the painted picture (N × 3 × any height × any width) into frames. Returns the bytes still to be
    /// written into them, N × L on the device.
    fn finish(
        &self,
        converter: &Converter,
        samples: &Tensor,
        mut painted: Tensor,
        batch: &mut [Frame],
    ) -> Result<Option<Tensor>, TchError> {
        let (height, width) = converter.size();
        let (strength, luma) =
            (self.mix.strength(), self.mix.preserve_color || self.model.is_luminance());
        if strength == 1.0 && !luma {
            // `store` clamps; what is resized is to be clamped before that, too.
            let (_, _, h, w) = painted.size4()?;
            let painted =
                if (h, w) == (height, width) { painted } else { painted.f_clamp_(0.0, 255.0)? };
            let painted = resize(painted, height, width)?;
            return match converter.stores_directly() {
                true => converter.store(&painted, batch).map(|()| None),
                false => converter.bytes(&painted).map(Some),
            };
        }
        let painted = painted.f_clamp_(0.0, 255.0)?;
        let target = if luma {
            let luma = resize(converter.luma(&painted)?, height, width)?;
            converter.with_luma(samples, &luma)?
        } else {
            converter.from_rgb(&resize(painted, height, width)?.f_clamp_(0.0, 255.0)?)?
        };
        if strength == 1.0 {
            return rounded(&target).map(Some);
        }
        let original = samples.f_narrow(1, 0, target.size2()?.1)?.f_to_kind(Kind::Float)?;
        rounded(&original.f_lerp(&target, strength)?).map(Some)
    }
}

/// Waits for a batch's bytes, and writes them into its frames.
fn arrive((bytes, mark): &(Tensor, Mark), batch: &mut [Frame]) -> Result<(), TchError> {
    mark.wait()?;
    fill(bytes, batch)
}

/// Enlarges by cubic interpolation (Keys 1981, a = −½), reduces by a triangle filter as wide as two
/// pixels of the result, so that nothing shimmers.
fn resize(x: Tensor, height: i64, width: i64) -> Result<Tensor, TchError> {
    let (_, _, h, w) = x.size4()?;
    match (h, w) {
        same if same == (height, width) => Ok(x),
        (h, w) if h <= height && w <= width => {
            x.f_internal_upsample_bicubic2d_aa([height, width], false, None, None)
        }
        _ => x.f_internal_upsample_bilinear2d_aa([height, width], false, None, None),
    }
}

impl Stylizer for NetworkStylizer {
    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        if !self.model.device().is_cuda() {
            return Ok(());
        }
        let mut frames = like.to_vec();
        while_trying_algorithms(|| self.stylize(&mut frames))
    }

    fn preferred_batch(&self) -> usize {
        self.model.preferred_batch()
    }

    fn max_batch(&self, info: &FrameInfo, frame_bytes: usize) -> Option<usize> {
        let (width, height) = self.painted_size(info.width, info.height);
        let painting = self.model.memory_a_pixel().unwrap_or_default()
            * ((width + MARGINS) * (height + MARGINS)) as f64;
        let each = painting + (IN_FLIGHT * frame_bytes) as f64;
        // Lossless: a number of frames. The rest is for the decoder, the encoder and other programs.
        memory::free().map(|free| ((MAX_SHARE_OF_MEMORY * free / each) as usize).max(1))
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        if !self.ready(batch)? {
            return Ok(());
        }
        let (info, frames) = (batch[0].info, batch.len());
        let failed = |error: TchError| failed_on(&error, info.width, info.height, frames);
        if self.staging.is_some() {
            match guarded(|| tch::no_grad(|| self.enqueue(batch)), failed) {
                Ok(told) => {
                    return told.map_or(Ok(()), |told| arrive(&told, batch).map_err(failed));
                }
                Err(error) if self.leaves_gpu_kernels(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // The whole batch in one pass, or frame by frame if there is not enough memory.
        let few = frames > 1 && self.enough_memory(info.width, info.height, frames).is_err();
        let paint = || {
            for some in batch.chunks_mut(if few { 1 } else { frames }) {
                if let Some(made) = self.paint(some)? {
                    fill(&made, some).map_err(failed)?;
                }
            }
            Ok(())
        };
        guarded(|| tch::no_grad(paint), failed)
    }

    fn begin(&mut self, mut batch: Vec<Frame>) -> Result<PendingBatch, StylizeError> {
        if self.staging.is_none() {
            return self.stylize(&mut batch).map(|()| PendingBatch::Done(batch));
        }
        if !self.ready(&batch)? {
            return Ok(PendingBatch::Done(batch));
        }
        let (info, frames) = (batch[0].info, batch.len());
        let failed = move |error: TchError| failed_on(&error, info.width, info.height, frames);
        let told = match guarded(|| tch::no_grad(|| self.enqueue(&mut batch)), failed) {
            Ok(told) => told,
            Err(error) if self.leaves_gpu_kernels(&error) => return self.begin(batch),
            Err(error) => return Err(error),
        };
        let Some(told) = told else { return Ok(PendingBatch::Done(batch)) };
        Ok(PendingBatch::InFlight(Box::new(move || {
            arrive(&told, &mut batch).map_err(failed)?;
            Ok(batch)
        })))
    }
}
