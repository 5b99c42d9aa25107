//! The last convolution, many inputs to three outputs. Three outputs would leave most of a tile
//! empty: a place is several pixels here, whose kernels are parts of one that is wider.

use super::border::BorderConv;
use super::convolution::{combined, range, span, taps};
use super::matrix::{Matrix, Sums, Tile, TileSink};
use super::tiles::{SIDE, Tiles, Unit};
use super::tiling::{InputWindow, TilingPart, Window};
use super::vector::Halves;
use super::{CacheLine, OUTPUTS, Shared, beside};
use crate::engine::kernels::source::{BorderMode, ConvInput};
use crate::engine::kernels::{each, enough};

/// A convolution to three outputs, of the picture or of one with each pixel repeated 2×2.
#[derive(Debug)]
pub(in crate::engine::kernels) struct Last {
    window: Window,
    unit: Unit,
    bias: [f32; OUTPUTS],
    /// Lines and columns of pixels that a place is.
    pixels: (usize, usize),
    /// Outputs, lines and columns are its outputs.
    matrix: Matrix,
    border: Option<BorderConv>,
}

impl Last {
    /// `weight`: 3 × inputs × size × size, an odd size; `bias`: 3. None where kernels lack it.
    pub(super) fn new(
        weight: &[f32],
        bias: &[f32],
        inputs: usize,
        upsample: bool,
        border: BorderMode,
        unit: Unit,
    ) -> Option<Self> {
        let size = (weight.len() / (OUTPUTS * inputs)).isqrt();
        let bias = bias.try_into().ok()?;
        if size.is_multiple_of(2) || !inputs.is_multiple_of(SIDE) {
            return None;
        }
        let pixels = if upsample { (2, 2) } else { (1, SIDE / OUTPUTS) };
        // What the taps of a place's pixels meet: lines, columns.
        let line = |down: usize| taps(size, upsample, down);
        let column = |across: usize| match upsample {
            true => taps(size, true, across),
            false => (across..across + size).collect(),
        };
        let (before, seen) = span(size, upsample);
        let seen = (seen, if upsample { seen } else { seen + pixels.1 - 1 });
        let matrix = Matrix::new(
            OUTPUTS * pixels.0 * pixels.1,
            inputs,
            0..seen.0,
            0..seen.1,
            |output, input, y, x| {
                let (o, pixel) = (output / (pixels.0 * pixels.1), output % (pixels.0 * pixels.1));
                let (lines, columns) = (line(pixel / pixels.1), column(pixel % pixels.1));
                if !range(&lines).contains(&y) || !range(&columns).contains(&x) {
                    return 0.0;
                }
                let kernel = &weight[(o * inputs + input) * size * size..][..size * size];
                combined(kernel, &lines, &columns, y, x)
            },
        );
        let rim = (upsample && border == BorderMode::Reflect)
            .then(|| BorderConv::new(weight, bias, inputs, size, unit))
            .flatten();
        let border =
            if upsample && border == BorderMode::Reflect { BorderMode::Replicate } else { border };
        let stride = (1, if upsample { 1 } else { pixels.1 });
        let window = Window { inputs, before, size: seen, stride, border };
        Some(Last { window, unit, bias, pixels, matrix, border: rim })
    }

    /// Lines and columns of places for a picture of this size.
    fn places(&self, (height, width): (usize, usize)) -> (usize, usize) {
        (height.div_ceil(self.pixels.0), width.div_ceil(self.pixels.1))
    }

    /// Height and width of the result before it is cropped.
    pub(super) fn size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let scale = self.pixels.0;
        (height * scale, width * scale)
    }

    /// What a thread needs beside, for a picture of this size.
    pub(super) fn scratch(&self, size: (usize, usize)) -> usize {
        self.window.scratch(self.places(self.size(size)))
    }

    /// Convolves into three planes of `size`, the upper left of the result.
    pub(super) fn run(
        &self,
        input: &ConvInput<'_, u16>,
        out: &mut [f32],
        size: (usize, usize),
        scratch: &[Shared<CacheLine>],
    ) {
        let whole = self.size(input.size());
        assert!(out.len() >= OUTPUTS * size.0 * size.1);
        assert!(size.0 <= whole.0 && size.1 <= whole.1);
        assert!(input.channels() == self.window.inputs && input.is_whole());
        assert!(enough(scratch, self.scratch(input.size())));
        let places = self.places(size);
        let strips = self.window.strips(places);
        let seen = self.window.seen(input, places);
        let out = Shared::of(out);
        each(strips.count(), scratch, |n, scratch| {
            let strip = strips.strip(n);
            let task = LastConvTask { conv: self, input, seen: &seen, strip, size, scratch, out };
            // SAFETY: the processor has the unit; `out` and `scratch` are as large as they must be;
            // tasks write to strips of their own.
            unsafe { beside!(self.unit, convolve, &task, LastConvTask<'_>) }
        });
        if let (Some(rim), ConvInput::Layer(source)) = (&self.border, input) {
            rim.run(source, out, size, scratch);
        }
    }
}

/// A strip.
struct LastConvTask<'a> {
    conv: &'a Last,
    input: &'a ConvInput<'a, u16>,
    seen: &'a InputWindow,
    strip: TilingPart,
    /// Of the planes.
    size: (usize, usize),
    scratch: Shared<CacheLine>,
    out: Shared,
}

#[inline(always)]
unsafe fn convolve<S: Halves>(task: &LastConvTask<'_>) {
    let Last { window, unit, pixels, matrix, .. } = task.conv;
    let strip = task.strip;
    let ready: *mut u16 = task.scratch.at(0).cast();
    window.prepare::<S>(task.input, task.seen, &strip, ready);
    let length = window.length(strip.columns);
    let offsets = matrix.offsets(length);
    let stride = window.stride.1 * window.inputs;
    let tiles = Tiles::new(*unit);
    let mut sums = [Sums::ZERO; 2];
    for line in 0..strip.lines {
        let from = ready.add(line * length);
        let y = (strip.y + line) * pixels.0;
        let writer = Writer { task, y };
        matrix.line(&tiles, &offsets, (from, stride), strip.columns, &mut sums, &writer);
    }
}

/// Writes places of a line, from the pixels' line `y` on.
struct Writer<'a> {
    task: &'a LastConvTask<'a>,
    y: usize,
}

impl TileSink for Writer<'_> {
    #[inline(always)]
    unsafe fn take(&self, tile: Tile) {
        let LastConvTask { conv, strip, .. } = self.task;
        let x = (strip.x + tile.place) * conv.pixels.1;
        match conv.pixels {
            (2, 2) => write::<2, 2>(self.task, tile, self.y, x),
            _ => write::<1, { SIDE / OUTPUTS }>(self.task, tile, self.y, x),
        }
    }
}

/// Writes a tile's places from the pixel x, y on: DOWN × ACROSS pixels each.
#[inline(always)]
unsafe fn write<const DOWN: usize, const ACROSS: usize>(
    task: &LastConvTask<'_>,
    tile: Tile,
    y: usize,
    x: usize,
) {
    let (height, width) = task.size;
    let whole = tile.places == SIDE && x + SIDE * ACROSS <= width;
    for (o, bias) in task.conv.bias.iter().enumerate() {
        for down in 0..DOWN.min(height - y) {
            let from = tile.sums.add((o * DOWN + down) * ACROSS);
            let to = task.out.at((o * height + y + down) * width + x);
            if whole {
                for n in 0..SIDE {
                    for across in 0..ACROSS {
                        *to.add(n * ACROSS + across) = *from.add(n * SIDE + across) + bias;
                    }
                }
                continue;
            }
            for n in 0..tile.places {
                for across in 0..ACROSS.min((width - x).saturating_sub(n * ACROSS)) {
                    *to.add(n * ACROSS + across) = *from.add(n * SIDE + across) + bias;
                }
            }
        }
    }
}
