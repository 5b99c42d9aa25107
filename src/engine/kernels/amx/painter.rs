//! A whole network, layer by layer, in buffers that stay.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::convolution::Convolution;
use super::last::Last;
use super::lines::{Input, MIDDLE, Source};
use super::tiles::Unit;
use super::{Line, Shared, half, wide};
use crate::engine::kernels::direct::Planes;
use crate::engine::kernels::norm::Statistics;
use crate::engine::kernels::painter::{PaintError, padded, room};
use crate::engine::kernels::parts::{Affine, Norm, Parts};
use crate::engine::model_file::ModelFile;
use crate::engine::plan::{self, After, Change};

/// Paints as [`Network`](crate::engine::network::Network) does, in bfloat16.
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
    /// What becomes of its result: whether what went into the block is added, once it is normalized.
    ends_block: bool,
    begins_block: bool,
}

/// What stays from one picture to the next.
#[derive(Debug, Default)]
struct State {
    pool: Option<ThreadPool>,
    /// What convolutions make, by turns.
    made: [Vec<u16>; 2],
    /// What blocks begin with, by turns.
    kept: [Vec<u16>; 2],
    statistics: Statistics,
    affine: [Affine; 2],
    scratch: Vec<Vec<Line>>,
}

impl Painter {
    /// Of a model whose tensors have been [checked](ModelFile::check); none where kernels lack
    /// something that it needs: its widths must fill tiles, its decoder repeat pixels.
    pub fn new(model: &ModelFile, unit: Unit) -> Option<Self> {
        let parts = Parts::of(model);
        let plan = plan::layers(&model.description.architecture);
        let (last, plan) = plan.split_last()?;
        let layers = plan.iter().enumerate().map(|(n, layer)| {
            let (stride, upsample) = change(layer.change)?;
            if layer.begins_block && (n == 0 || layer.change != Change::Same) {
                return None;
            }
            let (weight, outputs, inputs) = parts.weight(&layer.conv)?;
            let border = parts.border();
            let mut norm =
                parts.norm(&layer.conv, layer.norm.as_deref().unwrap_or_default(), outputs)?;
            if let (0, Norm::Bias(bias)) = (n, &mut norm) {
                // The picture is read as numbers about 0.
                let sums = weight
                    .chunks(weight.len() / outputs)
                    .map(|taps| taps.iter().map(|w| wide(half(*w))).sum::<f32>());
                bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias += MIDDLE * sum);
            }
            let convolution =
                Convolution::new(&weight, outputs, inputs, stride, upsample, border, unit)?;
            let ends_block = layer.after == After::Add;
            Some(Layer { convolution, norm, ends_block, begins_block: layer.begins_block })
        });
        let layers = layers.collect::<Option<Vec<_>>>()?;
        let (1, upsample) = change(last.change)? else { return None };
        let (weight, _, inputs) = parts.weight(&last.conv)?;
        let bias = parts.bias(&last.conv)?;
        let last = Last::new(&weight, &bias, inputs, upsample, parts.border(), unit)?;
        Some(Painter { layers, last, state: Mutex::default() })
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub fn blend(&mut self, shares: &[f32]) {
        for layer in &mut self.layers {
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
        let State { made, kept, scratch, .. } = state;
        let mut size = padded(height, width);
        let (mut blocks, mut lines) = (0, 0);
        for (n, layer) in self.layers.iter().enumerate() {
            let convolution = &layer.convolution;
            if layer.begins_block {
                blocks += 1;
                room(&mut kept[blocks % 2], size.0 * size.1 * convolution.inputs(), 0)?;
            }
            lines = lines.max(convolution.scratch(size));
            size = convolution.size(size);
            room(&mut made[n % 2], size.0 * size.1 * convolution.outputs(), 0)?;
        }
        lines = lines.max(self.last.scratch(size));
        scratch.resize_with(threads, Vec::new);
        scratch.iter_mut().try_for_each(|numbers| room(numbers, lines, Line::ZERO))
    }

    fn layers(
        &self,
        state: &mut State,
        picture: &[f32],
        (height, width): (usize, usize),
        out: &mut [f32],
    ) {
        let State { made, kept, statistics, affine, scratch, .. } = state;
        let scratch: Vec<_> = scratch.iter_mut().map(|lines| Shared::of(lines)).collect();
        // What the layer before left, and what is to come; how the former is to be read.
        let ([left, next], [before, after]) = (made, affine);
        let ((mut left, mut next), (mut before, mut after)) = ((next, left), (before, after));
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
            layer.convolution.run(&input, next, statistics, &scratch);
            match &layer.norm {
                Norm::Instance { weight, bias, .. } => statistics.affine(weight, bias, after),
                Norm::Bias(bias) => *after = (vec![1.0; bias.len()], bias.clone()),
            }
            size = layer.convolution.size(size);
            skips = layer.ends_block;
            if layer.begins_block {
                std::mem::swap(&mut values, &mut keep);
            }
            std::mem::swap(&mut left, &mut next);
            std::mem::swap(&mut before, &mut after);
        }
        let skip = skips.then_some(values.as_slice());
        let input = Input::Layer(Source { skip, ..read(left, size, before) });
        self.last.run(&input, out, (height, width), &scratch);
    }
}

/// A layer as the next one reads it.
fn read<'a>(
    numbers: &'a [u16],
    (height, width): (usize, usize),
    (scale, shift): &'a Affine,
) -> Source<'a> {
    let channels = scale.len();
    Source { numbers, height, width, channels, scale, shift, skip: None, keep: None }
}

/// Stride, and whether pixels are repeated first.
fn change(change: Change) -> Option<(usize, bool)> {
    match change {
        Change::Same => Some((1, false)),
        Change::Halve => Some((2, false)),
        Change::Nearest => Some((1, true)),
        Change::Transposed => None,
    }
}
