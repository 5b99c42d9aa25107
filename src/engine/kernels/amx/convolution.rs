//! A convolution of any size with the statistics of what it makes: of stride 1 or 2, or of the picture
//! with each pixel repeated 2×2.
//!
//! The latter is four convolutions of the picture as it is, one for each of the four pixels, whose
//! kernels are smaller: several of their taps meet the same pixel.

use std::marker::PhantomData;

use super::matrix::{Matrix, Sums, Tile, TileSink};
use super::tiles::{SIDE, Tiles, Unit};
use super::tiling::{InputWindow, TilingPart, Window};
use super::vector::Halves;
use super::{CacheLine, Shared, beside};
use crate::engine::kernels::norm::{self, Statistics};
use crate::engine::kernels::source::{BorderMode, ConvInput};
use crate::engine::kernels::{each, enough};

/// A convolution.
#[derive(Debug)]
pub(in crate::engine::kernels) struct Convolution {
    window: Window,
    outputs: usize,
    /// Pixels, each way, that a place of the window becomes.
    scale: usize,
    unit: Unit,
    /// One for each of these pixels.
    phases: Vec<Matrix>,
}

impl Convolution {
    /// `weight`: outputs × inputs × size × size, an odd size; with `upsample` each pixel counts for
    /// 2×2 of them. None where kernels lack it: outputs must fill tiles, and beyond the border an
    /// upsampled picture's mirror image must be one of the small picture, too.
    pub(super) fn new(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        stride: usize,
        upsample: bool,
        border: BorderMode,
        unit: Unit,
    ) -> Option<Self> {
        let size = (weight.len() / (outputs * inputs)).isqrt();
        let mirrored_twice = upsample && size > 3 && border == BorderMode::Reflect;
        if !outputs.is_multiple_of(SIDE) || size.is_multiple_of(2) || mirrored_twice {
            return None;
        }
        let phase = |n: usize| {
            let (down, across) = if upsample { (n / 2, n % 2) } else { (0, 0) };
            let (lines, columns) = (taps(size, upsample, down), taps(size, upsample, across));
            Matrix::new(outputs, inputs, range(&lines), range(&columns), |o, i, line, column| {
                let from = &weight[(o * inputs + i) * size * size..][..size * size];
                combined(from, &lines, &columns, line, column)
            })
        };
        let phases = (0..if upsample { 4 } else { 1 }).map(phase).collect();
        let (before, seen) = span(size, upsample);
        let stride = (stride, stride);
        let border =
            if upsample && border == BorderMode::Reflect { BorderMode::Replicate } else { border };
        let window = Window { inputs, before, size: (seen, seen), stride, border };
        let scale = if upsample { 2 } else { 1 };
        Some(Convolution { window, outputs, scale, unit, phases })
    }

    /// Lines and columns of places for an input of this size.
    fn places(&self, (height, width): (usize, usize)) -> (usize, usize) {
        (height.div_ceil(self.window.stride.0), width.div_ceil(self.window.stride.1))
    }

    /// Height and width of the result.
    pub(super) fn size(&self, input: (usize, usize)) -> (usize, usize) {
        let (height, width) = self.places(input);
        (height * self.scale, width * self.scale)
    }

    /// What a thread needs beside, for an input of this size.
    pub(super) fn scratch(&self, input: (usize, usize)) -> usize {
        self.window.scratch(self.places(input))
    }

    /// Convolves into `out`, whose norm's sums become `statistics`. `scratch`: one for each thread
    /// of the pool.
    pub(super) fn run(
        &self,
        input: &ConvInput<'_, u16>,
        out: &mut [u16],
        statistics: &mut Statistics,
        scratch: &[Shared<CacheLine>],
    ) {
        let places = self.places(input.size());
        let (height, width) = self.size(input.size());
        assert!(out.len() >= height * width * self.outputs);
        assert!(input.channels() == self.window.inputs && input.is_whole());
        assert!(enough(scratch, self.scratch(input.size())));
        let strips = self.window.strips(places);
        let seen = self.window.seen(input, places);
        statistics.reset(strips.count(), self.outputs);
        let (out, statistics) = (Shared::of(out), statistics.parts());
        each(strips.count(), scratch, |n, scratch| {
            let strip = strips.strip(n);
            let sums = statistics.part(n);
            let task =
                ConvTask { conv: self, input, seen: &seen, strip, width, scratch, out, sums };
            // SAFETY: the processor has the unit; `out` and `scratch` are as large as they must be;
            // tasks write to strips of their own.
            unsafe { beside!(self.unit, convolve, &task, ConvTask<'_>) }
        });
    }
}

/// A strip.
struct ConvTask<'a> {
    conv: &'a Convolution,
    input: &'a ConvInput<'a, u16>,
    seen: &'a InputWindow,
    strip: TilingPart,
    /// Of the result.
    width: usize,
    scratch: Shared<CacheLine>,
    out: Shared<u16>,
    sums: Shared,
}

#[inline(always)]
unsafe fn convolve<S: Halves>(task: &ConvTask<'_>) {
    let Convolution { window, outputs, scale, unit, phases } = task.conv;
    let (outputs, scale, strip) = (*outputs, *scale, task.strip);
    let ready: *mut u16 = task.scratch.at(0).cast();
    window.prepare::<S>(task.input, task.seen, &strip, ready);
    let length = window.length(strip.columns);
    let stride = window.stride.1 * window.inputs;
    let part = task.sums.at(0);
    *part = (strip.lines * strip.columns * phases.len()) as f32;
    let tiles = Tiles::new(*unit);
    let mut sums = [Sums::ZERO; 2];
    for (phase, matrix) in phases.iter().enumerate() {
        let offsets = matrix.offsets(length);
        let (down, across) = (phase / 2, phase % 2);
        for line in 0..strip.lines {
            let from = ready.add(line * window.stride.0 * length);
            let row = ((strip.y + line) * scale + down) * task.width + strip.x * scale + across;
            let to = task.out.at(row * outputs);
            let step = scale * outputs;
            let begins = phase == 0 && line == 0;
            let writer =
                Writer::<S> { to, step, part, channels: outputs, begins, vector: PhantomData };
            matrix.line(&tiles, &offsets, (from, stride), strip.columns, &mut sums, &writer);
        }
    }
}

/// Writes places of a line, and adds them to a part's sums.
struct Writer<S> {
    to: *mut u16,
    /// Numbers from one place to the next.
    step: usize,
    part: *mut f32,
    channels: usize,
    /// Whether the line's first place is the part's.
    begins: bool,
    vector: PhantomData<S>,
}

impl<S: Halves> TileSink for Writer<S> {
    #[inline(always)]
    unsafe fn take(&self, tile: Tile) {
        let to = self.to.add(tile.place * self.step + tile.output);
        let mut sums = match self.begins && tile.place == 0 {
            true => norm::Sums::around(S::load(tile.sums)),
            false => norm::Sums::load(self.part, tile.output, self.channels),
        };
        if tile.places == SIDE {
            // So many that the compiler need not ask after each whether there is another.
            for n in 0..SIDE {
                let value = S::load(tile.sums.add(n * SIDE));
                sums.add(value);
                value.store_halves(to.add(n * self.step));
            }
        } else {
            for n in 0..tile.places {
                let value = S::load(tile.sums.add(n * SIDE));
                sums.add(value);
                value.store_halves(to.add(n * self.step));
            }
        }
        sums.store(self.part, tile.output, self.channels);
    }
}

/// For each tap of a line of a kernel the place in the window that it meets, for the `phase`th pixel of
/// the two that a pixel becomes where it is upsampled.
pub(super) fn taps(size: usize, upsample: bool, phase: usize) -> Vec<usize> {
    if !upsample {
        return (0..size).collect();
    }
    let (before, _) = span(size, true);
    // A tap n meets the upsampled picture's pixel phase + n - size / 2.
    (0..size).map(|n| (2 * before + phase + n - size / 2) / 2).collect()
}

/// How far the window reaches before its place, and all of it.
pub(super) fn span(size: usize, upsample: bool) -> (usize, usize) {
    let half = size / 2;
    match upsample {
        true => (half.div_ceil(2), half.div_ceil(2) + 1 + half.div_ceil(2)),
        false => (half, size),
    }
}

/// Places that taps meet.
pub(super) fn range(taps: &[usize]) -> std::ops::Range<usize> {
    taps.first().copied().unwrap_or(0)..taps.last().map_or(0, |last| last + 1)
}

/// All of a kernel's weights that meet one place.
pub(super) fn combined(
    kernel: &[f32],
    lines: &[usize],
    columns: &[usize],
    line: usize,
    column: usize,
) -> f32 {
    let mut sum = 0.0;
    for (y, _) in lines.iter().enumerate().filter(|(_, place)| **place == line) {
        for (x, _) in columns.iter().enumerate().filter(|(_, place)| **place == column) {
            sum += f64::from(kernel[y * columns.len() + x]);
        }
    }
    sum as f32
}
