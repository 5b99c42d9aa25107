//! A whole network, layer by layer, in buffers that stay.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::direct::{Direct, Input, Planes};
use super::last::Last;
use super::norm::Statistics;
use super::parts::{Affine, Norm, Parts};
use super::source::Source;
use super::winograd::Winograd;
use super::{Level, Shared};
use crate::engine::model_file::{ModelFile, Upsampling};

/// Paints as [`Network`](crate::engine::network::Network) does, in single precision.
#[derive(Debug)]
pub struct Painter {
    encoder: [Layer; 3],
    residual: Vec<[Layer; 2]>,
    decoder: [Layer; 2],
    last: Last,
    widths: [usize; 3],
    state: Mutex<State>,
}

/// A convolution and the norm behind it.
#[derive(Debug)]
struct Layer {
    convolution: Convolution,
    norm: Norm,
}

#[derive(Debug)]
enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

/// What stays from one picture to the next.
#[derive(Debug, Default)]
struct State {
    pool: Option<ThreadPool>,
    full: Vec<f32>,
    half: Vec<f32>,
    quarter: [Vec<f32>; 4],
    statistics: Statistics,
    affine: [Affine; 2],
    scratch: Vec<Vec<f32>>,
}

impl Painter {
    /// Of a model whose tensors have been [checked](ModelFile::check); none where kernels lack
    /// something that it needs: its widths must fill vectors, its decoder repeat pixels.
    pub fn new(model: &ModelFile, level: Level) -> Option<Self> {
        let architecture = &model.description.architecture;
        let fits = |width: &i64| (*width as usize).is_multiple_of(level.panel());
        if !architecture.widths.iter().all(fits) || architecture.upsample != Upsampling::Nearest {
            return None;
        }
        let parts = Parts::of(model);
        let direct = |conv, norm, stride| direct(&parts, conv, norm, stride, level);
        let fast = |conv: &str, norm: &str, up| fast(&parts, conv, norm, up, level);
        let block = |n: usize| {
            let half = |m: usize| fast(&format!("res{n}.conv{m}"), &format!("res{n}.in{m}"), false);
            Some([half(1)?, half(2)?])
        };
        let (last, _, inputs) = parts.weight("deconv3")?;
        let bias = parts.bias("deconv3")?;
        Some(Painter {
            encoder: [
                direct("conv1", "in1", 1)?,
                direct("conv2", "in2", 2)?,
                direct("conv3", "in3", 2)?,
            ],
            residual: (1..=architecture.residual_blocks).map(block).collect::<Option<_>>()?,
            decoder: [fast("deconv1", "in4", true)?, fast("deconv2", "in5", true)?],
            last: Last::new(&last, &bias, inputs, parts.border(), level),
            widths: architecture.widths.map(|width| width as usize),
            state: Mutex::default(),
        })
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub fn blend(&mut self, shares: &[f32]) {
        let layers = self.encoder.iter_mut().chain(self.residual.iter_mut().flatten());
        for layer in layers.chain(&mut self.decoder) {
            layer.norm.blend(shares);
        }
    }

    /// Paints a picture with so many threads.
    ///
    /// `picture`: three planes of height × width, R, G, B in 0–255. `out`, of the same size, is
    /// overwritten with what the last convolution makes of it.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    pub fn paint(
        &self,
        picture: &[f32],
        size: (usize, usize),
        out: &mut [f32],
        threads: usize,
    ) -> Result<(), PaintError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match state.pool.take().filter(|pool| pool.current_num_threads() == threads) {
            Some(pool) => pool,
            None => ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|n| format!("paint-{n}"))
                .build()
                .map_err(|error| PaintError::Threads(error.to_string()))?,
        };
        let done = self.set_up(&mut state, size, threads);
        let buffers = &mut *state;
        let done = done.map(|()| pool.install(|| self.layers(buffers, picture, size, out)));
        state.pool = Some(pool);
        done
    }

    /// Buffers for pictures of this size.
    fn set_up(
        &self,
        state: &mut State,
        (height, width): (usize, usize),
        threads: usize,
    ) -> Result<(), PaintError> {
        let (h, w) = padded(height, width);
        let [c1, c2, c3] = self.widths;
        room(&mut state.full, h * w * c1, 0.0)?;
        room(&mut state.half, h * w / 4 * c2, 0.0)?;
        state.quarter.iter_mut().try_for_each(|layer| room(layer, h * w / 16 * c3, 0.0))?;
        let all = self.encoder.iter().chain(self.residual.iter().flatten()).chain(&self.decoder);
        let scratch = all.map(|layer| match &layer.convolution {
            Convolution::Direct(convolution) => convolution.scratch(w),
            Convolution::Winograd(convolution) => convolution.scratch(),
        });
        let scratch = scratch.fold(self.last.scratch(), usize::max);
        state.scratch.resize_with(threads, Vec::new);
        state.scratch.iter_mut().try_for_each(|numbers| room(numbers, scratch, 0.0))
    }

    fn layers(
        &self,
        state: &mut State,
        picture: &[f32],
        (height, width): (usize, usize),
        out: &mut [f32],
    ) {
        let State { full, half, quarter, statistics, affine: [affine, other], scratch, .. } = state;
        let scratch: Vec<Shared> = scratch.iter_mut().map(|numbers| Shared::of(numbers)).collect();
        let scratch = scratch.as_slice();
        let (h, w) = padded(height, width);
        let (halved, quartered) = ((h / 2, w / 2), (h / 4, w / 4));
        let [conv1, conv2, conv3] = &self.encoder;
        let planes = Planes { numbers: picture, height, width, padded: (h, w) };
        conv1.run(&Input::Planes(planes), full, statistics, affine, scratch);
        conv2.run(&source(full, (h, w), affine), half, statistics, other, scratch);
        // What the last convolution left; the values of two blocks, which later ones skip to; what
        // is inside a block.
        let [left, even, odd, inside] = quarter;
        conv3.run(&source(half, halved, other), left, statistics, affine, scratch);
        let (mut values, mut next) = (even, odd);
        for (n, [first, second]) in self.residual.iter().enumerate() {
            let keep = Some(Shared::of(next));
            let skip = (n > 0).then_some(values.as_slice());
            let read = Input::Layer(Source { skip, keep, ..layer(left, quartered, affine) });
            first.run(&read, inside, statistics, other, scratch);
            second.run(&source(inside, quartered, other), left, statistics, affine, scratch);
            std::mem::swap(&mut values, &mut next);
        }
        let skip = (!self.residual.is_empty()).then_some(values.as_slice());
        let read = Input::Layer(Source { skip, ..layer(left, quartered, affine) });
        let [deconv1, deconv2] = &self.decoder;
        deconv1.run(&read, half, statistics, other, scratch);
        deconv2.run(&source(half, halved, other), full, statistics, affine, scratch);
        self.last.run(&layer(full, (h, w), affine), out, (height, width), scratch);
    }
}

/// Why a picture could not be painted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaintError {
    /// The system has no more memory.
    #[error("out of memory")]
    Memory,
    /// The system gives no more threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// As which a picture counts: sides of multiples of 4.
pub(super) fn padded(height: usize, width: usize) -> (usize, usize) {
    (height.next_multiple_of(4), width.next_multiple_of(4))
}

/// Makes a buffer large enough; what is new in it is `empty`.
pub(super) fn room<T: Copy>(
    numbers: &mut Vec<T>,
    count: usize,
    empty: T,
) -> Result<(), PaintError> {
    if numbers.len() < count {
        // Not to be copied: what was in it is not wanted.
        *numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| PaintError::Memory)?;
        numbers.resize(count, empty);
    }
    Ok(())
}

/// A layer as the next one reads it.
fn layer<'a>(
    numbers: &'a [f32],
    (height, width): (usize, usize),
    (scale, shift): &'a Affine,
) -> Source<'a> {
    let channels = scale.len();
    Source { numbers, height, width, channels, scale, shift, skip: None, keep: None }
}

fn source<'a>(numbers: &'a [f32], size: (usize, usize), affine: &'a Affine) -> Input<'a> {
    Input::Layer(layer(numbers, size, affine))
}

impl Layer {
    /// Convolves; how the result is to be read goes to `affine`.
    fn run(
        &self,
        input: &Input<'_>,
        out: &mut [f32],
        statistics: &mut Statistics,
        affine: &mut Affine,
        scratch: &[Shared],
    ) {
        match (&self.convolution, input) {
            (Convolution::Winograd(convolution), Input::Layer(source)) => {
                convolution.run(source, out, statistics, scratch);
            }
            (Convolution::Direct(convolution), input) => {
                convolution.run(input, out, statistics, scratch);
            }
            // The first layer is direct.
            (Convolution::Winograd(_), Input::Planes(_)) => {}
        }
        match &self.norm {
            Norm::Instance { weight, bias, .. } => statistics.affine(weight, bias, affine),
            Norm::Bias(bias) => *affine = (vec![1.0; bias.len()], bias.clone()),
        }
    }
}

fn direct(parts: &Parts<'_>, conv: &str, norm: &str, stride: usize, level: Level) -> Option<Layer> {
    let (weight, outputs, inputs) = parts.weight(conv)?;
    let direct = Direct::new(&weight, outputs, inputs, stride, parts.border(), level);
    let norm = parts.norm(conv, norm, outputs)?;
    Some(Layer { convolution: Convolution::Direct(direct), norm })
}

fn fast(parts: &Parts<'_>, conv: &str, norm: &str, upsample: bool, level: Level) -> Option<Layer> {
    let (weight, outputs, inputs) = parts.weight(conv)?;
    let fast = Winograd::new(&weight, outputs, inputs, parts.border(), upsample, level);
    let norm = parts.norm(conv, norm, outputs)?;
    Some(Layer { convolution: Convolution::Winograd(fast), norm })
}
