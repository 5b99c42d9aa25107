//! The last convolution, many inputs to three outputs. Three outputs would fill no vector, so a
//! vector holds inputs here, and its numbers are added up at the end.

use super::simd::Simd;
use super::source::{BorderMode, SourceRows, places};
use super::{Level, Shared, at_level, each, enough};

/// R, G, B.
const OUTPUTS: usize = 3;
/// Lines and columns of a task: its inputs stay in the second-level cache.
const LINES: usize = 16;
const COLUMNS: usize = 64;

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
        let before = self.size / 2;
        let scale = if self.doubles { 2 } else { 1 };
        let seen = |length: usize| {
            let mut seen = places(self.border, before, scale * length + self.size, scale * length);
            seen.iter_mut().flatten().for_each(|place| *place /= scale);
            seen
        };
        let (rows, columns) = (seen(source.height), seen(source.width));
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
