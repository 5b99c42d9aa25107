//! A whole network, layer by layer, in buffers that stay: the same in any arithmetic.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use super::Shared;
use super::norm::Statistics;
use super::source::{ConvInput, Planes, SourceRows};
use super::weights::{LayerWeights, Norm, ScaleShift};
use crate::engine::architecture::{self, Change, Epilogue};
use crate::engine::model_file::ModelFile;
use crate::engine::threads;

/// What layers are computed in, and by which instructions.
pub(super) trait Arithmetic: Copy + Debug {
    /// Values between layers.
    type Number: Copy + Default + Debug + Send + Sync;
    /// What a thread needs beside.
    type Scratch: Copy + Debug + Send + Sync;
    const NOTHING: Self::Scratch;
    type Convolution: Debug + Send + Sync;
    type Last: Debug + Send + Sync;

    /// None where kernels lack it.
    fn convolution(
        self,
        parts: &LayerWeights<'_>,
        layer: &architecture::Layer,
    ) -> Option<Self::Convolution>;
    /// The last one; none where kernels lack it.
    fn last(self, parts: &LayerWeights<'_>, layer: &architecture::Layer) -> Option<Self::Last>;
    /// How much a thread needs beside, for an input of this height and width.
    fn scratch(convolution: &Self::Convolution, input: (usize, usize)) -> usize;
    /// The same for the last one.
    fn last_scratch(last: &Self::Last, input: (usize, usize)) -> usize;
    /// Convolves into `out`, whose norm's sums become `statistics`.
    fn convolve(
        convolution: &Self::Convolution,
        input: &ConvInput<'_, Self::Number>,
        out: &mut [Self::Number],
        statistics: &mut Statistics,
        scratch: &[Shared<Self::Scratch>],
    );
    /// Convolves into three planes of this height and width, the upper left of the result.
    fn finish(
        last: &Self::Last,
        source: SourceRows<'_, Self::Number>,
        out: &mut [f32],
        size: (usize, usize),
        scratch: &[Shared<Self::Scratch>],
    );
    /// What an output of the first convolution, with these weights, is lower by, because less is read
    /// of the picture than its R, G and B.
    fn offset(weights: &[f32]) -> f32;
}

/// Paints as [`Network`](crate::engine::network::Network) does.
#[derive(Debug)]
pub(super) struct Executor<A: Arithmetic> {
    layers: Vec<Layer<A::Convolution>>,
    last: A::Last,
    /// Those that no picture is being painted with.
    idle: Mutex<Vec<State<A>>>,
}

/// A convolution and the norm behind it.
#[derive(Debug)]
struct Layer<C> {
    convolution: C,
    norm: Norm,
    change: Change,
    channels: (usize, usize),
    begins_block: bool,
    /// Whether what went into the block is added, once the result is normalized.
    ends_block: bool,
}

/// What stays from one picture to the next.
#[derive(Debug)]
struct State<A: Arithmetic> {
    /// What convolutions make, by turns.
    made: [Vec<A::Number>; 2],
    /// What blocks begin with, by turns.
    kept: [Vec<A::Number>; 2],
    statistics: Statistics,
    affine: [ScaleShift; 2],
    scratch: Vec<Vec<A::Scratch>>,
}

impl<A: Arithmetic> State<A> {
    fn new() -> Self {
        State {
            made: Default::default(),
            kept: Default::default(),
            statistics: Statistics::default(),
            affine: Default::default(),
            scratch: Vec::new(),
        }
    }
}

impl<A: Arithmetic> Executor<A> {
    /// Of a model whose tensors have been [checked](ModelFile::check); none where kernels lack
    /// something that it needs.
    pub(super) fn new(model: &ModelFile, arithmetic: A) -> Option<Self> {
        let parts = LayerWeights::of(model);
        let plan = architecture::layers(&model.description.architecture);
        let (last, plan) = plan.split_last()?;
        let layer = |(n, layer): (usize, &architecture::Layer)| {
            let mut norm = parts.norm(layer)?;
            if let (0, Norm::Bias(bias)) = (n, &mut norm) {
                let (weight, outputs, _) = parts.weight(&layer.conv)?;
                let weights = weight.chunks(weight.len() / outputs);
                bias.iter_mut().zip(weights).for_each(|(bias, w)| *bias += A::offset(w));
            }
            let (inputs, outputs) = layer.channels;
            Some(Layer {
                convolution: arithmetic.convolution(&parts, layer)?,
                norm,
                change: layer.change,
                // Lossless: widths are not negative.
                channels: (inputs as usize, outputs as usize),
                begins_block: layer.begins_block,
                ends_block: layer.after == Epilogue::Add,
            })
        };
        let layers = plan.iter().enumerate().map(layer).collect::<Option<_>>()?;
        Some(Executor { layers, last: arithmetic.last(&parts, last)?, idle: Mutex::default() })
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub(super) fn blend(&mut self, shares: &[f32]) {
        self.layers.iter_mut().for_each(|layer| layer.norm.blend(shares));
    }

    /// Paints a picture with so many threads; several may be painted at a time.
    ///
    /// `picture`: three planes of height × width, R, G, B in 0–255. `out`, of the same size, is
    /// overwritten with what the last convolution makes of it.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    pub(super) fn paint(
        &self,
        picture: &[f32],
        size: (usize, usize),
        out: &mut [f32],
        count: usize,
    ) -> Result<(), PaintError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        let mut state = idle().pop().unwrap_or_else(State::new);
        self.set_up(&mut state, size, count)?;
        pool.install(|| self.layers(&mut state, picture, size, out));
        idle().push(state);
        Ok(())
    }

    /// Buffers for pictures of this size.
    fn set_up(
        &self,
        state: &mut State<A>,
        (height, width): (usize, usize),
        threads: usize,
    ) -> Result<(), PaintError> {
        let State { made, kept, scratch, .. } = state;
        let mut size = padded(height, width);
        let (mut blocks, mut count) = (0, 0);
        for (n, layer) in self.layers.iter().enumerate() {
            let (inputs, outputs) = layer.channels;
            if layer.begins_block {
                blocks += 1;
                room(&mut kept[blocks % 2], size.0 * size.1 * inputs, A::Number::default())?;
            }
            count = count.max(A::scratch(&layer.convolution, size));
            size = layer.size(size);
            room(&mut made[n % 2], size.0 * size.1 * outputs, A::Number::default())?;
        }
        count = count.max(A::last_scratch(&self.last, size));
        scratch.resize_with(threads, Vec::new);
        scratch.iter_mut().try_for_each(|one| room(one, count, A::NOTHING))
    }

    fn layers(
        &self,
        state: &mut State<A>,
        picture: &[f32],
        (height, width): (usize, usize),
        out: &mut [f32],
    ) {
        let State { made, kept, statistics, affine, scratch, .. } = state;
        let scratch: Vec<_> = scratch.iter_mut().map(|one| Shared::of(one)).collect();
        // What the layer before left, and what is to come; how the former is to be read.
        let ([next, left], [before, after]) = (made, affine);
        let ((mut left, mut next), (mut before, mut after)) = ((left, next), (before, after));
        // What is added to it; what the next block begins with.
        let [values, keep] = kept;
        let (mut values, mut keep, mut skips) = (values, keep, false);
        let mut size = padded(height, width);
        for (n, layer) in self.layers.iter().enumerate() {
            let input = match n {
                0 => ConvInput::Planes(Planes { numbers: picture, height, width, padded: size }),
                _ => {
                    let skip = skips.then_some(values.as_slice());
                    let keep = layer.begins_block.then(|| Shared::of(keep));
                    ConvInput::Layer(SourceRows { skip, keep, ..read(left, size, before) })
                }
            };
            A::convolve(&layer.convolution, &input, next, statistics, &scratch);
            match &layer.norm {
                Norm::Instance { weight, bias, .. } => statistics.affine(weight, bias, after),
                Norm::Bias(bias) => *after = (vec![1.0; bias.len()], bias.clone()),
            }
            size = layer.size(size);
            skips = layer.ends_block;
            if layer.begins_block {
                std::mem::swap(&mut values, &mut keep);
            }
            std::mem::swap(&mut left, &mut next);
            std::mem::swap(&mut before, &mut after);
        }
        // The decoder lies between the last block and here: nothing is added.
        A::finish(&self.last, read(left, size, before), out, (height, width), &scratch);
    }
}

impl<C> Layer<C> {
    /// Height and width of what it makes of a layer of this size: the padded picture's and less.
    fn size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        match self.change {
            Change::Halve => (height / 2, width / 2),
            Change::Nearest | Change::Transposed => (2 * height, 2 * width),
            Change::Same => (height, width),
        }
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
fn padded(height: usize, width: usize) -> (usize, usize) {
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
fn read<'a, T>(
    numbers: &'a [T],
    (height, width): (usize, usize),
    (scale, shift): &'a ScaleShift,
) -> SourceRows<'a, T> {
    let channels = scale.len();
    SourceRows {
        numbers,
        height,
        width,
        channels,
        scale,
        shift,
        skip: None,
        linear: false,
        keep: None,
    }
}
