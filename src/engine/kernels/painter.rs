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
use crate::engine::model_file::ModelFile;
use crate::engine::plan::{self, After, Change};

/// Paints as [`Network`](crate::engine::network::Network) does, in single precision.
#[derive(Debug)]
pub struct Painter {
    layers: Vec<Layer>,
    last: Last,
    state: Mutex<State>,
}

/// A convolution and the norm behind it.
#[derive(Debug)]
struct Layer {
    convolution: Convolution,
    norm: Norm,
    change: Change,
    channels: (usize, usize),
    begins_block: bool,
    /// Whether what went into the block is added, once the result is normalized.
    ends_block: bool,
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
    /// What convolutions make, by turns.
    made: [Vec<f32>; 2],
    /// What blocks begin with, by turns.
    kept: [Vec<f32>; 2],
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
        if !architecture.widths.iter().all(fits) {
            return None;
        }
        let parts = Parts::of(model);
        let plan = plan::layers(architecture);
        let (last, plan) = plan.split_last()?;
        let layers = plan.iter().map(|layer| Layer::new(&parts, layer, level));
        let doubles = match last.change {
            Change::Same => false,
            Change::Nearest => true,
            Change::Halve | Change::Transposed => return None,
        };
        let (weight, _, inputs) = parts.weight(&last.conv)?;
        let bias = parts.bias(&last.conv)?;
        Some(Painter {
            layers: layers.collect::<Option<_>>()?,
            last: Last::new(&weight, &bias, inputs, doubles, parts.border(), level),
            state: Mutex::default(),
        })
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub fn blend(&mut self, shares: &[f32]) {
        self.layers.iter_mut().for_each(|layer| layer.norm.blend(shares));
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
        let State { made, kept, scratch, .. } = state;
        let mut size = padded(height, width);
        let (mut blocks, mut numbers) = (0, 0);
        for (n, layer) in self.layers.iter().enumerate() {
            if layer.begins_block {
                blocks += 1;
                room(&mut kept[blocks % 2], size.0 * size.1 * layer.channels.0, 0.0)?;
            }
            numbers = numbers.max(match &layer.convolution {
                Convolution::Direct(convolution) => convolution.scratch(size.1),
                Convolution::Winograd(convolution) => convolution.scratch(),
            });
            size = layer.size(size);
            room(&mut made[n % 2], size.0 * size.1 * layer.channels.1, 0.0)?;
        }
        numbers = numbers.max(self.last.scratch());
        scratch.resize_with(threads, Vec::new);
        scratch.iter_mut().try_for_each(|one| room(one, numbers, 0.0))
    }

    fn layers(
        &self,
        state: &mut State,
        picture: &[f32],
        (height, width): (usize, usize),
        out: &mut [f32],
    ) {
        let State { made, kept, statistics, affine, scratch, .. } = state;
        let scratch: Vec<Shared> = scratch.iter_mut().map(|numbers| Shared::of(numbers)).collect();
        // What the layer before left, and what is to come; how the former is to be read.
        let ([next, left], [before, after]) = (made, affine);
        let ((mut left, mut next), (mut before, mut after)) = ((left, next), (before, after));
        // What is added to it; what the next block begins with.
        let [values, keep] = kept;
        let (mut values, mut keep, mut skips) = (values, keep, false);
        let mut size = padded(height, width);
        for (n, layer) in self.layers.iter().enumerate() {
            let kept = layer.begins_block.then(|| Shared::of(keep));
            let input = match n {
                0 => Input::Planes(Planes { numbers: picture, height, width, padded: size }),
                _ => {
                    let skip = skips.then_some(values.as_slice());
                    Input::Layer(Source { skip, keep: kept, ..read(left, size, before) })
                }
            };
            layer.run(&input, next, statistics, after, &scratch);
            size = layer.size(size);
            skips = layer.ends_block;
            if layer.begins_block {
                std::mem::swap(&mut values, &mut keep);
            }
            std::mem::swap(&mut left, &mut next);
            std::mem::swap(&mut before, &mut after);
        }
        self.last.run(&read(left, size, before), out, (height, width), &scratch);
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
fn read<'a>(
    numbers: &'a [f32],
    (height, width): (usize, usize),
    (scale, shift): &'a Affine,
) -> Source<'a> {
    let channels = scale.len();
    Source { numbers, height, width, channels, scale, shift, skip: None, keep: None }
}

impl Layer {
    /// None where kernels lack something that it needs.
    fn new(parts: &Parts<'_>, layer: &plan::Layer, level: Level) -> Option<Self> {
        let (weight, outputs, inputs) = parts.weight(&layer.conv)?;
        let border = parts.border();
        let fast = |doubles| Winograd::new(&weight, outputs, inputs, border, doubles, level);
        let direct = |stride| Direct::new(&weight, outputs, inputs, stride, border, level);
        let convolution = match (layer.change, layer.size) {
            (Change::Same, 3) => Convolution::Winograd(fast(false)),
            (Change::Nearest, 3) => Convolution::Winograd(fast(true)),
            (Change::Same, _) => Convolution::Direct(direct(1)),
            (Change::Halve, _) => Convolution::Direct(direct(2)),
            (Change::Nearest | Change::Transposed, _) => return None,
        };
        Some(Layer {
            convolution,
            norm: parts.norm(&layer.conv, layer.norm.as_deref().unwrap_or_default(), outputs)?,
            change: layer.change,
            channels: (inputs, outputs),
            begins_block: layer.begins_block,
            ends_block: layer.after == After::Add,
        })
    }

    /// Height and width of what it makes of a layer of this size.
    fn size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        match self.change {
            Change::Halve => (height / 2, width / 2),
            Change::Nearest | Change::Transposed => (2 * height, 2 * width),
            Change::Same => (height, width),
        }
    }

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
