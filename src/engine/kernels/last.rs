//! The last convolution, many inputs to three outputs. Three outputs would fill no vector, so a
//! vector holds inputs here, and its numbers are added up at the end.

use super::direct::{PARTS, add_parts};
use super::executor::{PaintError, room};
use super::simd::Simd;
use super::source::{BorderMode, SourceRows, places};
use super::{Level, Shared, at_level, each, enough};

/// R, G, B.
const OUTPUTS: usize = 3;
/// Lines and columns of a task: its inputs stay in the second-level cache.
const LINES: usize = 16;
const COLUMNS: usize = 64;
/// Lines whose inputs are prepared at a time for the gradient of the weights.
const GRADIENT_LINES: usize = 8;

/// A convolution to three outputs.
#[derive(Debug)]
pub(super) struct Last {
    inputs: usize,
    size: usize,
    /// Whether each pixel counts for 2×2.
    doubles: bool,
    border: BorderMode,
    level: Level,
    bias: [f32; OUTPUTS],
    /// Rows, columns, vectors of inputs, outputs.
    weights: Vec<f32>,
}

impl Last {
    /// `weight`: 3 × inputs × size × size; `bias`: 3. With `doubles` each pixel counts for 2×2 of
    /// them.
    pub(super) fn new(
        weight: &[f32],
        bias: &[f32],
        inputs: usize,
        doubles: bool,
        border: BorderMode,
        level: Level,
    ) -> Self {
        let taps = weight.len() / OUTPUTS / inputs;
        let lanes = level.lanes();
        let mut weights = Vec::with_capacity(weight.len());
        for tap in 0..taps {
            for c in (0..inputs).step_by(lanes) {
                for o in 0..OUTPUTS {
                    weights.extend((c..c + lanes).map(|c| weight[(o * inputs + c) * taps + tap]));
                }
            }
        }
        let bias = [bias[0], bias[1], bias[2]];
        Last { inputs, size: taps.isqrt(), doubles, border, level, bias, weights }
    }

    /// Numbers that a thread needs beside.
    pub(super) fn scratch(&self) -> usize {
        (LINES + self.size) * (COLUMNS + self.size) * self.inputs
    }

    /// Convolves into three planes of `height` × `width`, the upper left of the result.
    pub(super) fn run(
        &self,
        source: &SourceRows<'_>,
        out: &mut [f32],
        (height, width): (usize, usize),
        scratch: &[Shared],
    ) {
        assert!(out.len() >= OUTPUTS * height * width);
        assert!(source.channels == self.inputs && source.is_whole());
        assert!(enough(scratch, self.scratch()));
        let (rows, columns) = (self.seen(source.height), self.seen(source.width));
        let (down, across) = (height.div_ceil(LINES), width.div_ceil(COLUMNS));
        let out = Shared::of(out);
        each(down * across, scratch, |n, scratch| {
            let (y, x) = (n / across * LINES, n % across * COLUMNS);
            let task = LastConvTask {
                conv: self,
                source,
                rows: &rows[y..],
                columns: &columns[x..],
                from: (y, x),
                lines: LINES.min(height - y),
                count: COLUMNS.min(width - x),
                size: (height, width),
                scratch,
                out,
            };
            // SAFETY: the processor has the level's instructions; `out` and `scratch` are as large
            // as they must be; tasks write to pixels of their own.
            unsafe { at_level!(self.level, convolve, &task, LastConvTask<'_>) }
        });
    }
}

impl Last {
    /// Adds to `to` the gradient for the weights: size × size × 3 × inputs. `gradient`: for what
    /// [`run`](Self::run) writes, of the whole result. `work` is used beside. Sums do not depend on
    /// the number of threads.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn weight_gradient(
        &self,
        source: &SourceRows<'_>,
        gradient: &[f32],
        work: &mut Vec<f32>,
        to: &mut [f32],
        scratch: &[Shared],
    ) -> Result<(), PaintError> {
        let scale = if self.doubles { 2 } else { 1 };
        let (height, width) = (scale * source.height, scale * source.width);
        let parts = PARTS.min(height);
        let count = self.size * self.size * OUTPUTS * self.inputs;
        room(work, parts * count, 0.0)?;
        assert!(gradient.len() >= OUTPUTS * height * width && to.len() >= count);
        assert!(source.channels == self.inputs && source.is_whole());
        assert!(enough(scratch, self.gradient_scratch(width)));
        let (rows, columns) = (self.seen(source.height), self.seen(source.width));
        let sums = Shared::of(work);
        each(parts, scratch, |n, scratch| {
            let task = LastGradientTask {
                conv: self,
                source,
                rows: &rows,
                columns: &columns,
                lines: n * height / parts..(n + 1) * height / parts,
                size: (height, width),
                gradient,
                scratch,
                // SAFETY: `work` has room for all parts.
                sums: unsafe { sums.part(n * count, count) },
            };
            // SAFETY: the processor has the level's instructions; the scratch is as large as it must be;
            // the gradient has a number for each output; each task adds to sums of its own.
            unsafe { at_level!(self.level, add_gradient, &task, LastGradientTask<'_>) }
        });
        add_parts(&work[..parts * count], &mut to[..count]);
        Ok(())
    }

    /// Numbers that a thread needs beside for the gradient, for a result of this width.
    pub(super) fn gradient_scratch(&self, width: usize) -> usize {
        (GRADIENT_LINES + self.size) * (width + self.size) * self.inputs
    }

    /// Which row (or column) of the source each one of the result's, and those beyond its ends, shows.
    fn seen(&self, length: usize) -> Vec<Option<usize>> {
        let scale = if self.doubles { 2 } else { 1 };
        let count = scale * length + self.size;
        let mut seen = places(self.border, self.size / 2, count, scale * length);
        seen.iter_mut().flatten().for_each(|place| *place /= scale);
        seen
    }
}

/// Some lines, for the gradient of the weights.
struct LastGradientTask<'a> {
    conv: &'a Last,
    source: &'a SourceRows<'a>,
    rows: &'a [Option<usize>],
    columns: &'a [Option<usize>],
    lines: std::ops::Range<usize>,
    size: (usize, usize),
    gradient: &'a [f32],
    scratch: Shared,
    sums: Shared,
}

#[inline(always)]
unsafe fn add_gradient<S: Simd, const ROWS: usize>(task: &LastGradientTask<'_>) {
    let Last { inputs, size, .. } = *task.conv;
    let (height, width) = task.size;
    let columns = &task.columns[..width + size - 1];
    let length = columns.len() * inputs;
    std::ptr::write_bytes(task.sums.at(0), 0, size * size * OUTPUTS * inputs);
    let ready = task.scratch.at(0);
    for y in task.lines.clone().step_by(GRADIENT_LINES) {
        let lines = GRADIENT_LINES.min(task.lines.end - y);
        for n in 0..lines + size - 1 {
            task.source.line::<S>(task.rows[y + n], columns, ready.add(n * length));
        }
        for row in 0..size {
            for c in (0..inputs).step_by(S::LANES) {
                let mut column = 0;
                while column < size {
                    let from = ready.add(row * length + column * inputs + c);
                    let to = task.sums.at((row * size + column) * OUTPUTS * inputs + c);
                    let part = (task.gradient.as_ptr().add(y * width), height * width);
                    let pixels = (lines, width);
                    // As many columns as fit the registers with three outputs each.
                    if size - column >= 3 {
                        taps::<S, 3>(part, (from, length, inputs), pixels, to);
                        column += 3;
                    } else {
                        taps::<S, 1>(part, (from, length, inputs), pixels, to);
                        column += 1;
                    }
                }
            }
        }
    }
}

/// K taps side by side, of a vector of inputs.
#[inline(always)]
unsafe fn taps<S: Simd, const K: usize>(
    (gradient, plane): (*const f32, usize),
    (from, length, inputs): (*const f32, usize, usize),
    (lines, width): (usize, usize),
    to: *mut f32,
) {
    let mut acc = [[S::zero(); OUTPUTS]; K];
    for line in 0..lines {
        let (from, gradient) = (from.add(line * length), gradient.add(line * width));
        for x in 0..width {
            let mut factor = [S::zero(); OUTPUTS];
            for (o, factor) in factor.iter_mut().enumerate() {
                *factor = S::splat(*gradient.add(o * plane + x));
            }
            for (k, acc) in acc.iter_mut().enumerate() {
                let value = S::load(from.add((x + k) * inputs));
                for o in 0..OUTPUTS {
                    acc[o] = value.mul_add(factor[o], acc[o]);
                }
            }
        }
    }
    for (n, sum) in acc.into_iter().flatten().enumerate() {
        let to = to.add(n * inputs);
        sum.add(S::load(to)).store(to);
    }
}

/// A part of the picture.
struct LastConvTask<'a> {
    conv: &'a Last,
    source: &'a SourceRows<'a>,
    rows: &'a [Option<usize>],
    columns: &'a [Option<usize>],
    from: (usize, usize),
    lines: usize,
    count: usize,
    size: (usize, usize),
    scratch: Shared,
    out: Shared,
}

#[inline(always)]
unsafe fn convolve<S: Simd, const ROWS: usize>(task: &LastConvTask<'_>) {
    let size = task.conv.size;
    let length = (task.count + size - 1) * task.conv.inputs;
    let ready = task.scratch.at(0);
    for n in 0..task.lines + size - 1 {
        let columns = &task.columns[..task.count + size - 1];
        task.source.line::<S>(task.rows[n], columns, ready.add(n * length));
    }
    for line in 0..task.lines {
        let from = ready.add(line * length);
        let y = task.from.0 + line;
        let mut x = 0;
        while x < task.count {
            // As many pixels as fit the registers with three outputs each.
            match (ROWS, task.count - x) {
                (12.., 8..) => {
                    pixels::<S, 8>(task, from, length, x, y);
                    x += 8;
                }
                (_, 4..) => {
                    pixels::<S, 4>(task, from, length, x, y);
                    x += 4;
                }
                _ => {
                    pixels::<S, 1>(task, from, length, x, y);
                    x += 1;
                }
            }
        }
    }
}

/// R pixels side by side.
#[inline(always)]
unsafe fn pixels<S: Simd, const R: usize>(
    task: &LastConvTask<'_>,
    from: *const f32,
    length: usize,
    x: usize,
    y: usize,
) {
    let Last { inputs, size, ref weights, bias, .. } = *task.conv;
    let mut acc = [[S::zero(); OUTPUTS]; R];
    let mut weights = weights.as_ptr();
    for row in 0..size {
        // The columns of a row lie one behind the other, as their inputs do.
        let from = from.add(row * length + x * inputs);
        for n in (0..size * inputs).step_by(S::LANES) {
            let mut w = [S::zero(); OUTPUTS];
            for (o, w) in w.iter_mut().enumerate() {
                *w = S::load(weights.add(o * S::LANES));
            }
            weights = weights.add(OUTPUTS * S::LANES);
            for (r, acc) in acc.iter_mut().enumerate() {
                let value = S::load(from.add(n + r * inputs));
                for o in 0..OUTPUTS {
                    acc[o] = value.mul_add(w[o], acc[o]);
                }
            }
        }
    }
    let (height, width) = task.size;
    for (r, acc) in acc.into_iter().enumerate() {
        for (o, sum) in acc.into_iter().enumerate() {
            let at = (o * height + y) * width + task.from.1 + x + r;
            *task.out.at(at) = sum.sum() + bias[o];
        }
    }
}
