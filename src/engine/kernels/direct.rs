//! Convolutions as they are written: those with strides, and the first one with its three inputs.

use super::executor::{PaintError, room};
use super::gemm::{accumulate, add_transposed, pack};
use super::norm::{Statistics, Sums};
use super::simd::Simd;
use super::source::{BorderMode, ConvInput, Planes, places};
use super::{Level, Shared, at_level, each, enough};

/// Rows of outputs of a task: rows of inputs that two tasks share are prepared by both.
const LINES: usize = 4;
/// Parts of a picture whose gradients for the weights are added up apart.
pub(super) const PARTS: usize = 16;

/// A convolution of any size and stride.
#[derive(Debug)]
pub(super) struct Direct {
    inputs: usize,
    outputs: usize,
    size: usize,
    stride: usize,
    border: BorderMode,
    level: Level,
    /// Panels of outputs, in each the kernel's rows, its columns, the inputs.
    weights: Vec<f32>,
}

impl Direct {
    /// `weight`: outputs × inputs × size × size.
    pub(super) fn new(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        stride: usize,
        border: BorderMode,
        level: Level,
    ) -> Self {
        let size = (weight.len() / (outputs * inputs)).isqrt();
        let weights = pack(outputs, size * size * inputs, level.panel(), |output, n| {
            let (tap, input) = (n / inputs, n % inputs);
            weight[(output * inputs + input) * size * size + tap]
        });
        Direct { inputs, outputs, size, stride, border, level, weights }
    }

    /// Side of the kernel.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Numbers that a thread needs beside, for a source of this width.
    pub(super) fn scratch(&self, width: usize) -> usize {
        let lines = self.stride * (LINES - 1) + self.size;
        lines * (width + self.size) * self.inputs
    }

    /// Adds to `to` the gradient for the weights: size × size × inputs × outputs. `gradient`: for what
    /// [`run`](Self::run) writes. `work` is used beside. Sums do not depend on the number of threads.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn weight_gradient(
        &self,
        input: &ConvInput<'_>,
        gradient: &[f32],
        work: &mut Vec<f32>,
        to: &mut [f32],
        scratch: &[Shared],
    ) -> Result<(), PaintError> {
        let (height, width) = input.size();
        let (lines, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let parts = PARTS.min(lines);
        let count = self.size * self.size * self.inputs * self.outputs;
        room(work, parts * count, 0.0)?;
        assert!(gradient.len() >= lines * columns * self.outputs && to.len() >= count);
        assert!(input.channels() == self.inputs && input.is_whole());
        assert!(enough(scratch, self.scratch(width)));
        let (rows, places) = self.places(input);
        let sums = Shared::of(work);
        each(parts, scratch, |n, scratch| {
            let task = GradientTask {
                conv: self,
                input,
                rows: &rows,
                columns: &places,
                lines: n * lines / parts..(n + 1) * lines / parts,
                width: columns,
                gradient,
                scratch,
                // SAFETY: `work` has room for all parts.
                sums: unsafe { sums.part(n * count, count) },
            };
            // SAFETY: the processor has the level's instructions; the scratch is as large as it must be;
            // the gradient has a number for each output; each task adds to sums of its own.
            unsafe { at_level!(self.level, add_gradient, &task, GradientTask<'_>) }
        });
        add_parts(&work[..parts * count], &mut to[..count]);
        Ok(())
    }

    /// Which of the source's rows and columns the inputs are.
    fn places(&self, input: &ConvInput<'_>) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
        let (height, width) = input.size();
        let before = self.size / 2;
        let mut rows = places(self.border, before, height + self.size, height);
        let mut columns = places(self.border, before, width + self.size - 1, width);
        if let ConvInput::Planes(planes) = input {
            let inner = places(BorderMode::Reflect, 0, height, planes.height);
            rows.iter_mut().for_each(|row| *row = row.and_then(|row| inner[row]));
            let inner = places(BorderMode::Reflect, 0, width, planes.width);
            columns.iter_mut().for_each(|column| *column = column.and_then(|c| inner[c]));
        }
        (rows, columns)
    }

    /// Convolves into `out`: height and width are the source's over the stride, rounded up.
    pub(super) fn run(
        &self,
        input: &ConvInput<'_>,
        out: &mut [f32],
        statistics: &mut Statistics,
        scratch: &[Shared],
    ) {
        let (height, width) = input.size();
        let lines = height.div_ceil(self.stride);
        let parts = lines.div_ceil(LINES);
        assert!(out.len() >= lines * width.div_ceil(self.stride) * self.outputs);
        assert!(input.channels() == self.inputs && input.is_whole());
        assert!(enough(scratch, self.scratch(width)));
        statistics.reset(parts, self.outputs);
        let (rows, columns) = self.places(input);
        let (out, statistics) = (Shared::of(out), statistics.parts());
        each(parts, scratch, |n, scratch| {
            let task = DirectTask {
                conv: self,
                input,
                rows: &rows[LINES * self.stride * n..],
                columns: &columns,
                y: LINES * n,
                lines: LINES.min(lines - LINES * n),
                width: width.div_ceil(self.stride),
                scratch,
                out,
                sums: statistics.part(n),
            };
            // SAFETY: the processor has the level's instructions; `out` and `scratch` are as large
            // as they must be; tasks write to lines of their own.
            unsafe { at_level!(self.level, convolve, &task, DirectTask<'_>) }
        });
    }
}

/// Adds parts, one behind the other, to `to`.
pub(super) fn add_parts(parts: &[f32], to: &mut [f32]) {
    for part in parts.chunks_exact(to.len()) {
        to.iter_mut().zip(part).for_each(|(to, part)| *to += part);
    }
}

/// Some lines, for the gradient of the weights.
struct GradientTask<'a> {
    conv: &'a Direct,
    input: &'a ConvInput<'a>,
    rows: &'a [Option<usize>],
    columns: &'a [Option<usize>],
    lines: std::ops::Range<usize>,
    /// Of the outputs.
    width: usize,
    gradient: &'a [f32],
    scratch: Shared,
    sums: Shared,
}

#[inline(always)]
unsafe fn add_gradient<S: Simd, const ROWS: usize>(task: &GradientTask<'_>) {
    let Direct { inputs, outputs, size, stride, .. } = *task.conv;
    let length = task.columns.len() * inputs;
    // The columns of a kernel's row lie one behind the other, as their inputs do.
    let row = size * inputs;
    std::ptr::write_bytes(task.sums.at(0), 0, size * row * outputs);
    let ready = task.scratch.at(0);
    for y in task.lines.clone().step_by(LINES) {
        let lines = LINES.min(task.lines.end - y);
        for n in 0..stride * (lines - 1) + size {
            let (place, to) = (task.rows[y * stride + n], ready.add(n * length));
            match task.input {
                ConvInput::Layer(source) => source.line::<S>(place, task.columns, to),
                ConvInput::Planes(planes) => interleave(planes, place, task.columns, to),
            }
        }
        for line in 0..lines {
            let gradient = task.gradient.as_ptr().add((y + line) * task.width * outputs);
            for tap in 0..size {
                let from = ready.add((line * stride + tap) * length);
                add_transposed::<S, ROWS>(
                    (from, stride * inputs),
                    (gradient, outputs),
                    (row, outputs, task.width),
                    (task.sums.at(tap * row * outputs), outputs),
                );
            }
        }
    }
}

/// Some lines.
struct DirectTask<'a> {
    conv: &'a Direct,
    input: &'a ConvInput<'a>,
    /// Which of the source's rows and columns the inputs are.
    rows: &'a [Option<usize>],
    columns: &'a [Option<usize>],
    /// The first line of outputs.
    y: usize,
    lines: usize,
    /// Of the outputs.
    width: usize,
    scratch: Shared,
    out: Shared,
    sums: Shared,
}

#[inline(always)]
unsafe fn convolve<S: Simd, const ROWS: usize>(task: &DirectTask<'_>) {
    let Direct { inputs, outputs, size, stride, .. } = *task.conv;
    let length = task.columns.len() * inputs;
    let ready = task.scratch.at(0);
    for n in 0..stride * (task.lines - 1) + size {
        let to = ready.add(n * length);
        match task.input {
            ConvInput::Layer(source) => source.line::<S>(task.rows[n], task.columns, to),
            ConvInput::Planes(planes) => interleave(planes, task.rows[n], task.columns, to),
        }
    }
    for line in 0..task.lines {
        let from = ready.add(line * stride * length);
        let to = task.out.at((task.y + line) * task.width * outputs);
        for o in (0..outputs).step_by(2 * S::LANES) {
            if o + S::LANES < outputs {
                outputs_of::<S, ROWS, 2>(task, from, length, o, to);
            } else {
                outputs_of::<S, ROWS, 1>(task, from, length, o, to);
            }
        }
    }
    let part = task.sums.at(0);
    let pixels = task.lines * task.width;
    *part = pixels as f32;
    for o in (0..outputs).step_by(S::LANES) {
        let first = task.out.at(task.y * task.width * outputs + o);
        let mut sums = Sums::around(S::load(first));
        for n in 0..pixels {
            sums.add(S::load(first.add(n * outputs)));
        }
        sums.store(part, o, outputs);
    }
}

/// A panel of V vectors of outputs, of a whole line.
#[inline(always)]
unsafe fn outputs_of<S: Simd, const ROWS: usize, const V: usize>(
    task: &DirectTask<'_>,
    from: *const f32,
    length: usize,
    o: usize,
    to: *mut f32,
) {
    let mut x = 0;
    while x < task.width {
        // The last pixels of a line are made with some of those before them again.
        if task.width >= ROWS {
            x = x.min(task.width - ROWS);
            pixels::<S, ROWS, V>(task, from, length, x, o, to);
            x += ROWS;
        } else {
            pixels::<S, 1, V>(task, from, length, x, o, to);
            x += 1;
        }
    }
}

/// The same of R pixels side by side.
#[inline(always)]
unsafe fn pixels<S: Simd, const R: usize, const V: usize>(
    task: &DirectTask<'_>,
    from: *const f32,
    length: usize,
    x: usize,
    o: usize,
    to: *mut f32,
) {
    let Direct { inputs, outputs, size, stride, ref weights, .. } = *task.conv;
    let weights = weights.as_ptr().add(o * size * size * inputs);
    let mut acc = [[S::zero(); V]; R];
    for row in 0..size {
        acc = accumulate::<S, R, V>(
            acc,
            from.add(row * length + x * stride * inputs),
            stride * inputs,
            weights.add(row * size * inputs * V * S::LANES),
            size * inputs,
        );
    }
    for (r, row) in acc.into_iter().enumerate() {
        let to = to.add((x + r) * outputs + o);
        for (v, value) in row.into_iter().enumerate() {
            value.store(to.add(v * S::LANES));
        }
    }
}

/// A line of a picture's pixels side by side.
#[inline(always)]
unsafe fn interleave(
    planes: &Planes<'_>,
    row: Option<usize>,
    columns: &[Option<usize>],
    to: *mut f32,
) {
    let channels = planes.channels();
    for (n, column) in columns.iter().enumerate() {
        for c in 0..channels {
            let value = match (row, column) {
                (Some(row), Some(column)) => {
                    planes.numbers[(c * planes.height + row) * planes.width + column]
                }
                _ => 0.0,
            };
            *to.add(n * channels + c) = value;
        }
    }
}
