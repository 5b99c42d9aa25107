//! A loss network such as VGG16 — 3×3 convolutions, ReLUs and max poolings with constant weights —
//! forward, and backward to its input.
//!
//! A convolution's output is kept as it is written, without its bias: `relu(z + bias)` is made where
//! it is read, and the largest of four is taken before that, which is the same. Backward, a
//! convolution is one with its weights transposed and turned by 180°.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::direct::{Direct, add_parts};
use super::executor::{PaintError, room};
use super::gemm::{add_transposed, pack, product};
use super::norm::Statistics;
use super::simd::Simd;
use super::source::{BorderMode, ConvInput, Planes, SourceRows, places};
use super::winograd::{CompactWinograd, Winograd};
use super::{Level, Shared, at_level, each, enough};
use crate::engine::architecture::Padding;
use crate::engine::threads;

/// R, G, B.
const COLORS: usize = 3;
/// Pixels of a block whose products are added up for a Gram matrix.
const GRAM_PIXELS: usize = 128;
/// Channels of a layer at most.
const MOST_CHANNELS: usize = 512;
/// Rows that kernels compute at once, at most.
const MOST_ROWS: usize = 12;
/// Pairs of input and output from which weights are kept compact: below, they are small however they are kept,
/// and pictures of these layers have many tiles.
const COMPACT: usize = 128 * 256;

/// A convolution and its ReLU.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'a> {
    /// Outputs × inputs × 3 × 3; the first layer has three inputs.
    pub weight: &'a [f32],
    /// One for each output.
    pub bias: &'a [f32],
    /// Whether a 2×2 max pooling stands before it; never before the first.
    pub pools: bool,
}

/// A loss network in single precision.
#[derive(Debug)]
pub struct FeatureNetwork {
    first: Direct,
    layers: Vec<Layer>,
    padding: Padding,
    level: Level,
    /// Memory of passes that have ended.
    idle: Mutex<Vec<Pass>>,
}

#[derive(Debug)]
struct Layer {
    /// None: the first layer, whose convolution is not one of Winograd's.
    forward: Option<Convolution>,
    backward: Convolution,
    bias: Vec<f32>,
    /// As many.
    ones: Vec<f32>,
    pools: bool,
}

/// A 3×3 convolution.
#[derive(Debug)]
enum Convolution {
    Transformed(Winograd),
    Compact(CompactWinograd),
}

impl Convolution {
    fn new(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        border: BorderMode,
        level: Level,
    ) -> Self {
        if outputs * inputs < COMPACT {
            return Self::Transformed(Winograd::new(weight, outputs, inputs, border, false, level));
        }
        Self::Compact(CompactWinograd::new(weight, outputs, inputs, border, level))
    }

    /// As [`Winograd::with_margin`].
    fn with_margin(self) -> Self {
        match self {
            Self::Transformed(convolution) => Self::Transformed(convolution.with_margin()),
            Self::Compact(convolution) => Self::Compact(convolution.with_margin()),
        }
    }

    /// Sizes and channels.
    fn shape(&self) -> &Winograd {
        match self {
            Self::Transformed(convolution) => convolution,
            Self::Compact(convolution) => convolution.shape(),
        }
    }

    /// Numbers that a thread needs beside.
    fn scratch(&self) -> usize {
        match self {
            Self::Transformed(convolution) => convolution.scratch(),
            Self::Compact(convolution) => convolution.scratch(),
        }
    }

    fn run(
        &self,
        source: &SourceRows<'_>,
        out: &mut [f32],
        work: &mut Vec<f32>,
        scratch: &[Shared],
    ) -> Result<(), PaintError> {
        match self {
            Self::Transformed(convolution) => convolution.run(source, out, None, scratch),
            Self::Compact(convolution) => convolution.run(source, out, work, scratch)?,
        }
        Ok(())
    }
}

/// The outputs of a pass, which going back takes; where they are not kept, the last two.
#[derive(Debug, Default)]
pub struct Pass {
    made: Vec<Vec<f32>>,
    pooled: Vec<f32>,
    /// What stands before and behind a convolution on the way back.
    back: [Vec<f32>; 2],
    /// Of a Gram matrix, for its features; parts of a Gram matrix.
    of_gram: Vec<f32>,
    statistics: Statistics,
    scratch: Vec<Vec<f32>>,
    /// What compact convolutions use beside.
    work: Vec<f32>,
    size: (usize, usize),
    depth: usize,
    kept: bool,
}

impl FeatureNetwork {
    /// Of these layers; none where kernels lack their widths.
    pub fn new(layers: &[LayerWeights<'_>], padding: Padding, level: Level) -> Option<Self> {
        let border = match padding {
            Padding::Reflect => BorderMode::Reflect,
            Padding::Zero => BorderMode::Zero,
            Padding::Circular => return None,
        };
        let (first, mut inputs) = (layers.first()?, COLORS);
        let outputs = first.bias.len();
        let direct = Direct::new(first.weight, outputs, inputs, 1, border, level);
        let mut all = Vec::with_capacity(layers.len());
        for (n, LayerWeights { weight, bias, pools }) in layers.iter().enumerate() {
            let outputs = bias.len();
            let whole = outputs.is_multiple_of(level.lanes()) && outputs <= MOST_CHANNELS;
            if !whole || weight.len() != outputs * inputs * 9 || (n == 0 && *pools) {
                return None;
            }
            let forward = |weight| Convolution::new(weight, outputs, inputs, border, level);
            // Three inputs fill no vector: those that are missing are of no weight.
            let back = inputs.next_multiple_of(level.lanes());
            let mut turned = vec![0.0; back * outputs * 9];
            for (o, weight) in weight.chunks_exact(inputs * 9).enumerate() {
                for (i, taps) in weight.chunks_exact(9).enumerate() {
                    let to = &mut turned[(i * outputs + o) * 9..][..9];
                    to.copy_from_slice(taps);
                    to.reverse();
                }
            }
            let backward = Convolution::new(&turned, back, outputs, BorderMode::Zero, level);
            all.push(Layer {
                forward: (n > 0).then(|| forward(weight)),
                // What lies beyond the border in a mirrored picture goes back to where it came from.
                backward: match padding {
                    Padding::Reflect => backward.with_margin(),
                    Padding::Zero | Padding::Circular => backward,
                },
                bias: bias.to_vec(),
                ones: vec![1.0; outputs],
                pools: *pools,
            });
            inputs = outputs;
        }
        Some(FeatureNetwork { first: direct, layers: all, padding, level, idle: Mutex::default() })
    }

    /// Height and width at a layer, for a picture of this size.
    pub fn sides(&self, layer: usize, size: (usize, usize)) -> (usize, usize) {
        let halvings = self.layers[..=layer].iter().filter(|layer| layer.pools).count();
        (size.0 >> halvings, size.1 >> halvings)
    }

    /// Channels at a layer.
    pub fn channels(&self, layer: usize) -> usize {
        self.layers[layer].bias.len()
    }

    /// Runs the layers up to the last of `wanted` and `grams`. `picture`: three planes of height × width. `wanted`:
    /// layers, by number from 0, each with room for its features, height × width × channels of that
    /// layer, which are written into it. `grams`: layers, each with room for the sums over all pixels of
    /// the products of its features with each other, channels × channels. A pass that is `kept` can go [back](Self::backward). `count`:
    /// threads.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    ///
    /// # Panics
    /// When the picture is not of the size, or a layer comes out empty.
    pub fn forward(
        &self,
        picture: &[f32],
        size: (usize, usize),
        wanted: &mut [(usize, &mut [f32])],
        grams: &mut [(usize, &mut [f32])],
        kept: bool,
        count: usize,
    ) -> Result<Pass, PaintError> {
        assert!(picture.len() == COLORS * size.0 * size.1);
        let of_grams = grams.iter().map(|(layer, _)| *layer);
        let depth = wanted.iter().map(|(layer, _)| *layer).chain(of_grams);
        let depth = depth.max().map_or(0, |layer| layer + 1);
        assert!(depth <= self.layers.len());
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut pass = idle.filter(|pass| pass.size == size).unwrap_or_default();
        (pass.size, pass.depth, pass.kept) = (size, depth, kept);
        self.set_up(&mut pass, count)?;
        for (layer, gram) in grams.iter() {
            let channels = self.channels(*layer);
            assert!(gram.len() == channels * channels);
            room(&mut pass.of_gram, gram_parts(channels) * channels * channels, 0.0)?;
        }
        let Pass { made, pooled, statistics, scratch, of_gram, work, .. } = &mut pass;
        let scratch: Vec<_> = scratch.iter_mut().map(|one| Shared::of(one)).collect();
        pool.install(|| {
            for (n, layer) in self.layers[..depth].iter().enumerate() {
                let (height, width) = self.sides(n, size);
                assert!(height > 0 && width > 0, "a picture that is too small");
                match &layer.forward {
                    Some(forward) => {
                        let (out, source) = two(made, place(n, kept), place(n - 1, kept));
                        let source = if layer.pools {
                            let channels = self.channels(n - 1);
                            let above = self.sides(n - 1, size);
                            largest(source, above, channels, pooled, (height, width));
                            &*pooled
                        } else {
                            source
                        };
                        let before = &self.layers[n - 1];
                        let source = SourceRows {
                            numbers: source,
                            height,
                            width,
                            channels: before.bias.len(),
                            scale: &before.ones,
                            shift: &before.bias,
                            skip: None,
                            linear: false,
                            keep: None,
                        };
                        forward.run(&source, out, work, &scratch)?;
                    }
                    None => {
                        let planes = Planes { numbers: picture, height, width, padded: size };
                        self.first.run(
                            &ConvInput::Planes(planes),
                            &mut made[0],
                            statistics,
                            &scratch,
                        );
                    }
                }
                for (_, to) in wanted.iter_mut().filter(|(layer, _)| *layer == n) {
                    assert!(to.len() == height * width * layer.bias.len());
                    rectified(&made[place(n, kept)], &layer.bias, to);
                }
                for (_, to) in grams.iter_mut().filter(|(layer, _)| *layer == n) {
                    let z = &made[place(n, kept)][..height * width * layer.bias.len()];
                    self.gram(z, &layer.bias, of_gram, &scratch, to);
                }
            }
            Ok(())
        })?;
        Ok(pass)
    }

    /// Writes into `out` the gradient for the picture of a kept pass, three planes of height × width.
    /// `gradients`: of the loss for features, each with its layer and in the shape in which
    /// [`forward`](Self::forward) wrote them. `grams`: of the loss for Gram matrices, each with its layer,
    /// and added to itself transposed.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    ///
    /// # Panics
    /// When the pass was not kept, or a gradient is not of its layer's size.
    pub fn backward(
        &self,
        pass: &mut Pass,
        gradients: &[(usize, &[f32])],
        grams: &[(usize, &[f32])],
        out: &mut [f32],
        count: usize,
    ) -> Result<(), PaintError> {
        assert!(pass.kept && out.len() == COLORS * pass.size.0 * pass.size.1);
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        let size = pass.size;
        let Some(deepest) = gradients.iter().chain(grams).map(|(layer, _)| *layer).max() else {
            out.fill(0.0);
            return Ok(());
        };
        assert!(deepest < pass.depth);
        let scratch = self.layers.iter().map(|layer| layer.backward.scratch()).max().unwrap_or(0);
        pass.scratch.resize_with(count, Vec::new);
        pass.scratch.iter_mut().try_for_each(|one| room(one, scratch, 0.0))?;
        for (n, gram) in grams {
            let ((height, width), channels) = (self.sides(*n, size), self.channels(*n));
            assert!(gram.len() == channels * channels);
            room(&mut pass.of_gram, height * width * channels, 0.0)?;
        }
        let (of_gram, work) = (&mut pass.of_gram, &mut pass.work);
        let [own, beyond] = &mut pass.back;
        for (n, layer) in self.layers[..=deepest].iter().enumerate() {
            let (height, width) = self.sides(n, size);
            room(own, height * width * self.channels(n), 0.0)?;
            room(beyond, layer.backward.shape().size(height, width), 0.0)?;
        }
        let scratch: Vec<_> = pass.scratch.iter_mut().map(|one| Shared::of(one)).collect();
        let given = |n: usize| {
            let all = gradients.iter().filter(|(layer, _)| *layer == n);
            all.map(|(_, gradient)| *gradient).collect::<Vec<_>>()
        };
        pool.install(|| {
            for n in (0..=deepest).rev() {
                let layer = &self.layers[n];
                let sides = self.sides(n, size);
                let channels = layer.bias.len();
                let mut there = given(n);
                if let Some((_, gram)) = grams.iter().find(|(layer, _)| *layer == n) {
                    let to = &mut of_gram[..sides.0 * sides.1 * channels];
                    self.through_gram(&pass.made[n], &layer.bias, gram, to);
                    there.push(to);
                }
                assert!(there.iter().all(|g| g.len() == sides.0 * sides.1 * channels));
                // Of what the layer makes: from the layers behind it, and what is given for itself.
                let (own, beyond) = (&mut own[..sides.0 * sides.1 * channels], &mut *beyond);
                let behind = (n < deepest).then(|| GradientBehind {
                    numbers: beyond,
                    sides: self.sides(n + 1, size),
                    width: self.layers[n + 1]
                        .backward
                        .shape()
                        .sides(0, self.sides(n + 1, size).1)
                        .1,
                    pooled: self.layers[n + 1].pools,
                    rows: FoldedInputs::of(self.padding, self.sides(n + 1, size).0),
                    columns: FoldedInputs::of(self.padding, self.sides(n + 1, size).1),
                });
                gather(behind.as_ref(), &there, &pass.made[n], &layer.bias, sides, own);
                let source = SourceRows {
                    numbers: own,
                    height: sides.0,
                    width: sides.1,
                    channels,
                    scale: &layer.ones,
                    shift: &layer.bias,
                    skip: None,
                    linear: true,
                    keep: None,
                };
                layer.backward.run(&source, beyond, work, &scratch)?;
            }
            // The picture's own: of the padded channels the first three.
            let (rows, columns) =
                (FoldedInputs::of(self.padding, size.0), FoldedInputs::of(self.padding, size.1));
            let width = self.layers[0].backward.shape().sides(0, size.1).1;
            let channels = self.layers[0].backward.shape().outputs();
            out.par_chunks_mut(size.1).enumerate().for_each(|(line, out)| {
                let (color, y) = (line / size.0, line % size.0);
                for (x, out) in out.iter_mut().enumerate() {
                    *out = 0.0;
                    for &row in rows.to(y) {
                        for &column in columns.to(x) {
                            *out += beyond[(row * width + column) * channels + color];
                        }
                    }
                }
            });
            Ok(())
        })
    }

    /// The sums over all pixels of products of features `relu(z + bias)`. They do not depend on the number of
    /// threads.
    fn gram(&self, z: &[f32], bias: &[f32], parts: &mut [f32], scratch: &[Shared], to: &mut [f32]) {
        let channels = bias.len();
        let (count, pixels) = (gram_parts(channels), z.len() / channels);
        let parts = &mut parts[..count * channels * channels];
        let sums = Shared::of(parts);
        assert!(enough(scratch, GRAM_PIXELS * channels));
        // Panels as wide as kernels compute at once, of all that lies on or above the diagonal.
        each(count, scratch, |n, scratch| {
            let task = GramTask {
                z,
                bias,
                pixels: n * pixels / count..(n + 1) * pixels / count,
                scratch,
                // SAFETY: there is room for all parts.
                sums: unsafe { sums.part(n * channels * channels, channels * channels) },
            };
            // SAFETY: the processor has the level's instructions; the scratch has room for a block of
            // pixels, `z` has them all; each task adds to sums of its own.
            unsafe { at_level!(self.level, add_products, &task, GramTask<'_>) }
        });
        to.fill(0.0);
        add_parts(parts, to);
        for row in 1..channels {
            for column in 0..row {
                to[row * channels + column] = to[column * channels + row];
            }
        }
    }

    /// The gradient for features `relu(z + bias)` of one for their Gram matrix.
    fn through_gram(&self, z: &[f32], bias: &[f32], gram: &[f32], to: &mut [f32]) {
        let channels = bias.len();
        let panels = pack(channels, channels, self.level.panel(), |o, i| gram[o * channels + i]);
        let pixels = to.len() / channels;
        assert!(z.len() >= to.len());
        let to = Shared::of(to);
        (0..pixels.div_ceil(GRAM_PIXELS)).into_par_iter().for_each(|n| {
            let first = n * GRAM_PIXELS;
            let pixels = first..pixels.min(first + GRAM_PIXELS);
            let task = ThroughGramTask { z, bias, panels: &panels, pixels, to };
            // SAFETY: the processor has the level's instructions; both have these pixels; each task
            // writes to pixels of its own.
            unsafe { at_level!(self.level, multiply, &task, ThroughGramTask<'_>) }
        });
    }

    /// Takes back the memory of a pass that has ended, for the next one of pictures of that size.
    pub fn recycle(&self, pass: Pass) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|other| other.size == pass.size);
        idle.push(pass);
    }

    /// Buffers for a pass.
    fn set_up(&self, pass: &mut Pass, threads: usize) -> Result<(), PaintError> {
        let Pass { made, pooled, scratch, size, depth, kept, .. } = pass;
        made.resize_with(made.len().max(if *kept { *depth } else { 2 }), Vec::new);
        let mut count = self.first.scratch(size.1);
        for (n, layer) in self.layers[..*depth].iter().enumerate() {
            let (height, width) = self.sides(n, *size);
            room(&mut made[place(n, *kept)], height * width * layer.bias.len(), 0.0)?;
            if layer.pools {
                room(pooled, height * width * self.channels(n - 1), 0.0)?;
            }
            count = count.max(layer.forward.as_ref().map_or(0, Convolution::scratch));
            count = count.max(GRAM_PIXELS * layer.bias.len());
        }
        scratch.resize_with(threads, Vec::new);
        scratch.iter_mut().try_for_each(|one| room(one, count, 0.0))
    }
}

/// Parts of a picture whose Gram matrices are added up apart: fewer of larger ones.
fn gram_parts(channels: usize) -> usize {
    (1024 / channels).clamp(2, 16)
}

/// Some pixels, for a Gram matrix.
struct GramTask<'a> {
    z: &'a [f32],
    bias: &'a [f32],
    pixels: std::ops::Range<usize>,
    scratch: Shared,
    sums: Shared,
}

#[inline(always)]
unsafe fn add_products<S: Simd, const ROWS: usize>(task: &GramTask<'_>) {
    let channels = task.bias.len();
    let sums = task.sums.at(0);
    std::ptr::write_bytes(sums, 0, channels * channels);
    let block = task.scratch.at(0);
    for first in task.pixels.clone().step_by(GRAM_PIXELS) {
        let count = GRAM_PIXELS.min(task.pixels.end - first);
        for c in (0..channels).step_by(S::LANES) {
            let bias = S::load(task.bias.as_ptr().add(c));
            for n in 0..count {
                let z = S::load(task.z.as_ptr().add((first + n) * channels + c));
                z.add(bias).max(S::zero()).store(block.add(n * channels + c));
            }
        }
        for column in (0..channels).step_by(2 * S::LANES) {
            let width = (2 * S::LANES).min(channels - column);
            add_transposed::<S, ROWS>(
                (block, channels),
                (block.add(column), channels),
                (column + width, width, count),
                (sums.add(column), channels),
            );
        }
    }
}

/// Some pixels, for the gradient that goes back through a Gram matrix.
struct ThroughGramTask<'a> {
    z: &'a [f32],
    bias: &'a [f32],
    panels: &'a [f32],
    pixels: std::ops::Range<usize>,
    to: Shared,
}

#[inline(always)]
unsafe fn multiply<S: Simd, const ROWS: usize>(task: &ThroughGramTask<'_>) {
    let channels = task.bias.len();
    // No more pixels than that at a time, so that their features fit the stack.
    let mut features = [[0.0_f32; MOST_CHANNELS]; MOST_ROWS];
    let mut first = task.pixels.start;
    while first < task.pixels.end {
        let count = ROWS.min(task.pixels.end - first);
        for (n, features) in features.iter_mut().enumerate().take(count) {
            for c in (0..channels).step_by(S::LANES) {
                let bias = S::load(task.bias.as_ptr().add(c));
                let z = S::load(task.z.as_ptr().add((first + n) * channels + c));
                z.add(bias).max(S::zero()).store(features.as_mut_ptr().add(c));
            }
        }
        for o in (0..channels).step_by(2 * S::LANES) {
            let panel = task.panels.as_ptr().add(o * channels);
            let (from, to) = (features.as_ptr().cast(), task.to.at(first * channels + o));
            let wide = o + S::LANES < channels;
            match (count == ROWS, wide) {
                (true, true) => {
                    product::<S, ROWS, 2>(from, MOST_CHANNELS, panel, channels, to, channels);
                }
                (true, false) => {
                    product::<S, ROWS, 1>(from, MOST_CHANNELS, panel, channels, to, channels);
                }
                (false, _) => {
                    for n in 0..count {
                        let (from, to) = (from.add(n * MOST_CHANNELS), to.add(n * channels));
                        if wide {
                            product::<S, 1, 2>(from, 0, panel, channels, to, channels);
                        } else {
                            product::<S, 1, 1>(from, 0, panel, channels, to, channels);
                        }
                    }
                }
            }
        }
        first += count;
    }
}

/// Where a layer's output lies.
fn place(layer: usize, kept: bool) -> usize {
    if kept { layer } else { layer % 2 }
}

/// One of them to write to, and another to read.
fn two(all: &mut [Vec<f32>], write: usize, read: usize) -> (&mut [f32], &[f32]) {
    if write > read {
        let (before, behind) = all.split_at_mut(write);
        (&mut behind[0], &before[read])
    } else {
        let (before, behind) = all.split_at_mut(read);
        (&mut before[write], &behind[0])
    }
}

/// Writes `relu(z + bias)`, channels innermost.
fn rectified(z: &[f32], bias: &[f32], to: &mut [f32]) {
    let channels = bias.len();
    // Lines of some kB.
    let pixels = 4096_usize.div_ceil(channels);
    to.par_chunks_mut(pixels * channels).zip(z.par_chunks(pixels * channels)).for_each(
        |(to, from)| {
            for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels)) {
                for ((to, from), bias) in to.iter_mut().zip(from).zip(bias) {
                    *to = (from + bias).max(0.0);
                }
            }
        },
    );
}

/// The largest of each 2×2, of a source of these sides.
fn largest(
    from: &[f32],
    (_, width): (usize, usize),
    channels: usize,
    to: &mut [f32],
    (height, halved): (usize, usize),
) {
    let line = width * channels;
    to[..height * halved * channels].par_chunks_exact_mut(halved * channels).enumerate().for_each(
        |(y, to)| {
            let above = &from[2 * y * line..][..line];
            let below = &from[(2 * y + 1) * line..][..line];
            let pairs = above.chunks_exact(2 * channels).zip(below.chunks_exact(2 * channels));
            for (to, (above, below)) in to.chunks_exact_mut(channels).zip(pairs) {
                let ((a, b), (c, d)) = (above.split_at(channels), below.split_at(channels));
                for ((((to, a), b), c), d) in to.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *to = a.max(*b).max(c.max(*d));
                }
            }
        },
    );
}

/// Which rows (or columns) of a padded picture show each one of the picture itself.
#[derive(Debug)]
pub(super) struct FoldedInputs {
    first: Vec<usize>,
    shown: Vec<usize>,
}

impl FoldedInputs {
    fn of(padding: Padding, length: usize) -> Self {
        match padding {
            Padding::Zero => Self::shown(places(BorderMode::Zero, 0, length, length), length),
            // Circular is none of the kernels'.
            Padding::Reflect | Padding::Circular => {
                Self::shown(places(BorderMode::Reflect, 1, length + 2, length), length)
            }
        }
    }

    /// Of rows each of which shows one of `length`, or none.
    pub(super) fn shown(rows: Vec<Option<usize>>, length: usize) -> Self {
        let mut of_each = vec![Vec::new(); length];
        for (row, place) in rows.into_iter().enumerate() {
            if let Some(place) = place {
                of_each[place].push(row);
            }
        }
        let mut first = vec![0];
        for rows in &of_each {
            first.push(first[first.len() - 1] + rows.len());
        }
        FoldedInputs { first, shown: of_each.concat() }
    }

    pub(super) fn to(&self, n: usize) -> &[usize] {
        &self.shown[self.first[n]..self.first[n + 1]]
    }
}

/// The gradient for what the layer behind reads.
struct GradientBehind<'a> {
    numbers: &'a [f32],
    /// Of what is read.
    sides: (usize, usize),
    /// With what lies beyond.
    width: usize,
    /// Whether it reads the largest of each 2×2.
    pooled: bool,
    rows: FoldedInputs,
    columns: FoldedInputs,
}

impl GradientBehind<'_> {
    /// Adds the gradient for the pixel that is read at a place.
    fn add(&self, y: usize, x: usize, to: &mut [f32]) {
        let channels = to.len();
        for &row in self.rows.to(y) {
            for &column in self.columns.to(x) {
                let from = &self.numbers[(row * self.width + column) * channels..][..channels];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}

/// The gradient for a convolution's output `z`: of the layers behind, back through the pooling, and
/// `given` ones, where `z + bias` is positive.
fn gather(
    behind: Option<&GradientBehind<'_>>,
    given: &[&[f32]],
    z: &[f32],
    bias: &[f32],
    (height, width): (usize, usize),
    to: &mut [f32],
) {
    let channels = bias.len();
    let line = width * channels;
    let pooled = behind.is_some_and(|behind| behind.pooled);
    let lines = if pooled { 2 } else { 1 };
    to.par_chunks_mut(lines * line).enumerate().for_each(|(n, to)| {
        to.fill(0.0);
        let first = n * lines * line;
        match behind {
            Some(behind) if behind.pooled => {
                let mut g = vec![0.0; channels];
                // What is left over of an odd side was not read.
                let whole = if 2 * n + 1 < height { behind.sides.1 } else { 0 };
                for x in 0..whole {
                    g.fill(0.0);
                    behind.add(n, x, &mut g);
                    let at = 2 * x * channels;
                    let from = &z[first..];
                    let (above, below) = to.split_at_mut(line);
                    let [a, b] = halves(&from[at..][..2 * channels], channels);
                    let [c, d] = halves(&from[line + at..][..2 * channels], channels);
                    let (to_a, to_b) = above[at..][..2 * channels].split_at_mut(channels);
                    let (to_c, to_d) = below[at..][..2 * channels].split_at_mut(channels);
                    for i in 0..channels {
                        let largest = a[i].max(b[i]).max(c[i].max(d[i]));
                        // The first of equal ones, as in libtorch.
                        let mut left = g[i];
                        for (z, to) in [
                            (a[i], &mut to_a[i]),
                            (b[i], &mut to_b[i]),
                            (c[i], &mut to_c[i]),
                            (d[i], &mut to_d[i]),
                        ] {
                            let here = if z >= largest { left } else { 0.0 };
                            *to = here;
                            left -= here;
                        }
                    }
                }
            }
            Some(behind) => {
                for (x, to) in to.chunks_exact_mut(channels).enumerate() {
                    behind.add(n, x, to);
                }
            }
            None => {}
        }
        for given in given {
            to.iter_mut().zip(&given[first..]).for_each(|(to, given)| *to += given);
        }
        for (to, z) in to.chunks_exact_mut(channels).zip(z[first..].chunks_exact(channels)) {
            for ((to, z), bias) in to.iter_mut().zip(z).zip(bias) {
                *to = if z + bias > 0.0 { *to } else { 0.0 };
            }
        }
    });
}

fn halves(both: &[f32], channels: usize) -> [&[f32]; 2] {
    let (a, b) = both.split_at(channels);
    [a, b]
}
