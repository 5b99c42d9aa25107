//! 3×3 convolutions with a quarter of the multiplications: F(4×4, 3×3) of Lavin and Gray 2016,
//! "Fast Algorithms for Convolutional Neural Networks".
//!
//! Tiles of 4×4 outputs are made of 6×6 inputs. Both are transformed so that the convolution becomes
//! 36 products of matrices, tiles × inputs · inputs × outputs. A task does this for a few tiles,
//! whose numbers stay in the second-level cache.

mod by_points;

use std::ops::Range;

use rayon::prelude::*;

pub(super) use by_points::CompactWinograd;

use super::executor::{PaintError, room};
use super::gemm::{add_transposed, pack, product};
use super::norm::{Statistics, Sums};
use super::simd::Simd;
use super::source::{BorderMode, LINEAR, RELU, SKIP, SourceRows, places};
use super::{Level, Shared, at_level, each, enough};

/// Outputs of a tile, each way.
const OUT: usize = 4;
/// Inputs of a tile, each way.
const IN: usize = 6;
/// Products of matrices.
const POINTS: usize = IN * IN;
/// Tiles of a task at most: measured.
const TILES: usize = 40;
/// Tiles of a task at least, where that keeps more threads busy: the weights are read once a task.
const FEWEST: usize = 8;
/// Tiles whose transformed numbers are held at a time for the gradient of the weights.
const BAND: usize = 256;
/// Numbers between the matrices of two points beside the matrix itself: matrices a multiple of 4 kB
/// apart would share the same few lines of the first-level cache.
const GAP: usize = 16;

/// A 3×3 convolution, or one of the upsampled picture.
#[derive(Debug)]
pub(super) struct Winograd {
    inputs: usize,
    /// Of the convolution as it is computed: four times those of an upsampled picture.
    outputs: usize,
    border: BorderMode,
    upsample: bool,
    /// Rows and columns that the result has beyond the source's, on each side.
    margin: usize,
    level: Level,
    /// Points × panels.
    weights: Vec<f32>,
}

impl Winograd {
    /// `weight`: outputs × inputs × 3 × 3. With `upsample` each pixel counts for 2×2 of them, and
    /// height and width of the result are twice the source's.
    pub(super) fn new(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        border: BorderMode,
        upsample: bool,
        level: Level,
    ) -> Self {
        let taps = |o: usize, i: usize| taps(weight, o * inputs + i);
        if !upsample {
            return Self::of(outputs, inputs, border, false, level, taps);
        }
        // Mirrored beyond the border of the upsampled picture is repeated beyond the small one's.
        let border = match border {
            BorderMode::Reflect => BorderMode::Replicate,
            border => border,
        };
        Self::of(4 * outputs, inputs, border, true, level, |o, i| {
            phase(&taps(o % outputs, i), o / outputs)
        })
    }

    /// The gradient that goes back through a convolution of this weight (outputs × inputs × 3 × 3), from
    /// that for its outputs to that for its inputs. With `upsample` it is of an upsampled picture, and
    /// reads the four phases of a pixel side by side.
    pub(super) fn back(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        upsample: bool,
        level: Level,
    ) -> Self {
        let all = if upsample { 4 * outputs } else { outputs };
        Self::of(inputs, all, BorderMode::Zero, false, level, |i, o| {
            let mut taps = taps(weight, o % outputs * inputs + i);
            if upsample {
                taps = phase(&taps, o / outputs);
            }
            taps.reverse();
            taps
        })
    }

    /// The same of a convolution with a stride of 2: the result is twice as high and wide as what is read.
    pub(super) fn back_from_half(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        level: Level,
    ) -> Self {
        let line = |[a, b, c]: [f64; 3], later: bool| match later {
            false => [0.0, b, 0.0],
            true => [0.0, c, a],
        };
        Self::of(4 * inputs, outputs, BorderMode::Zero, true, level, |i, o| {
            let taps = taps(weight, o * inputs + i % inputs);
            let phase = i / inputs;
            each_way(&taps, |taps| line(taps, phase % 2 == 1), |taps| line(taps, phase / 2 == 1))
        })
    }

    fn of(
        outputs: usize,
        inputs: usize,
        border: BorderMode,
        upsample: bool,
        level: Level,
        taps: impl Fn(usize, usize) -> [f64; 9],
    ) -> Self {
        let transformed: Vec<[f32; POINTS]> = (0..outputs * inputs)
            .map(|n| transformed(&taps(n / inputs, n % inputs)).map(|value| value as f32))
            .collect();
        let point =
            |k: usize| pack(outputs, inputs, level.panel(), |o, i| transformed[o * inputs + i][k]);
        let weights = (0..POINTS).flat_map(point).collect();
        Winograd { inputs, outputs, border, upsample, margin: 0, level, weights }
    }

    /// Gives also the outputs one pixel beyond the source's borders, on every side: with zeros
    /// about the source, all that its pixels reach.
    pub(super) fn with_margin(self) -> Self {
        Winograd { margin: 1, ..self }
    }

    /// Height and width of the result, before each of its pixels becomes four where it upsamples.
    pub(super) fn sides(&self, height: usize, width: usize) -> (usize, usize) {
        (height + 2 * self.margin, width + 2 * self.margin)
    }

    /// Channels of the result.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers of the result for a source of this size.
    pub(super) fn size(&self, height: usize, width: usize) -> usize {
        let (height, width) = self.sides(height, width);
        height * width * self.outputs
    }

    /// Convolves `source` into `out`, of [`size`](Self::size) numbers, whose norm's sums become
    /// `statistics` where they are wanted. `scratch`: one for each thread of the pool.
    pub(super) fn run(
        &self,
        source: &SourceRows<'_>,
        out: &mut [f32],
        statistics: Option<&mut Statistics>,
        scratch: &[Shared],
    ) {
        assert!(out.len() >= self.size(source.height, source.width));
        assert!(source.channels == self.inputs && source.is_whole());
        assert!(enough(scratch, self.scratch()));
        let tiling = self.tiling(source);
        let tiles = tiling.tiles;
        // Parts that are alike, for all threads to end together. Sums of other parts have other
        // rounding errors, so that where they are taken their number depends on the size alone.
        let parts = match &statistics {
            Some(_) => tiles.div_ceil(TILES),
            None => tiles.div_ceil(TILES).max(tiles.div_ceil(FEWEST).min(scratch.len())),
        };
        let statistics = statistics.map(|statistics| {
            statistics.reset(parts, self.outputs);
            statistics.parts()
        });
        let out = Shared::of(out);
        each(parts, scratch, |n, scratch| {
            let range = n * tiles / parts..(n + 1) * tiles / parts;
            let sums = statistics.as_ref().map(|statistics| statistics.part(n));
            let task = WinogradTask { sums, ..tiling.task(self, source, range, scratch, out) };
            // SAFETY: the processor has the level's instructions; `out` and `scratch` are as large
            // as `size` and `scratch` say; tasks write to tiles of their own.
            unsafe {
                match (source.skip.is_some(), source.linear) {
                    (true, _) => at_level!(self.level, with_skip, &task, WinogradTask<'_>),
                    (false, true) => at_level!(self.level, linear, &task, WinogradTask<'_>),
                    (false, false) => at_level!(self.level, rectified, &task, WinogradTask<'_>),
                }
            }
        });
    }

    /// Adds to `to` the gradient for the weights: 3 × 3 × inputs × outputs (of an upsampled picture, those of
    /// the weights as they were given). `gradient`: for what [`run`](Self::run) writes, before pixels
    /// become four: height × width × outputs. `work` is used beside.
    ///
    /// The transforms are those of the convolution itself the other way around, so that these are 36
    /// products of matrices, too. Sums do not depend on the number of threads.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn weight_gradient(
        &self,
        source: &SourceRows<'_>,
        gradient: &[f32],
        work: &mut Vec<f32>,
        to: &mut [f32],
    ) -> Result<(), PaintError> {
        let (inputs, outputs, size) = (self.inputs, self.outputs, (source.height, source.width));
        let phases = if self.upsample { 4 } else { 1 };
        let sums = POINTS * inputs * outputs;
        let bands = BAND * (inputs + outputs) + 2 * GAP;
        room(work, sums + POINTS * bands, 0.0)?;
        assert!(source.is_whole() && source.channels == inputs && source.keep.is_none());
        assert!(gradient.len() >= size.0 * size.1 * outputs && self.margin == 0);
        assert!(to.len() >= 9 * inputs * outputs / phases);
        let (sums, bands) = work.split_at_mut(sums);
        sums.fill(0.0);
        let tiling = self.tiling(source);
        let (sums, bands) = (Shared::of(sums), Shared::of(bands));
        for first in (0..tiling.tiles).step_by(BAND) {
            let range = first..tiling.tiles.min(first + BAND);
            let tiles = range.len();
            let task = tiling.task(self, source, range, bands, sums);
            (0..tiles.div_ceil(FEWEST)).into_par_iter().for_each(|n| {
                let tiles = FEWEST * n..tiles.min(FEWEST * (n + 1));
                let task = TransformTask { task: &task, tiles, gradient };
                // SAFETY: the processor has the level's instructions; the band has room for all its
                // tiles, each of which is of one task; the gradient has a number for each output.
                unsafe { at_level!(self.level, transform, &task, TransformTask<'_>) }
            });
            (0..POINTS).into_par_iter().for_each(|k| {
                let task = (&task, k);
                // SAFETY: as above, and each task adds to the sums of a point of its own.
                unsafe { at_level!(self.level, add_point, &task, (&WinogradTask<'_>, usize)) }
            });
        }
        let to = Shared::of(to);
        (0..inputs).into_par_iter().for_each(|i| {
            let task = TapsTask { conv: self, input: i, sums, to };
            // SAFETY: as above; each task writes to the weights of an input of its own.
            unsafe { at_level!(self.level, add_taps, &task, TapsTask<'_>) }
        });
        Ok(())
    }

    /// The tiles of the result.
    fn tiling(&self, source: &SourceRows<'_>) -> Tiling {
        let size = self.sides(source.height, source.width);
        let (lines, across) = (size.0.div_ceil(OUT), size.1.div_ceil(OUT));
        let before = 1 + self.margin;
        Tiling {
            rows: places(self.border, before, OUT * lines + 2, source.height),
            columns: places(self.border, before, OUT * across + 2, source.width),
            size,
            across,
            tiles: lines * across,
        }
    }

    /// Numbers that a thread needs beside.
    pub(super) fn scratch(&self) -> usize {
        POINTS * (TILES * (self.inputs + self.outputs) + 2 * GAP)
    }
}

/// How the result of a convolution is divided into tiles, row by row.
struct Tiling {
    /// Which of the source's rows and columns the tiles' inputs are.
    rows: Vec<Option<usize>>,
    columns: Vec<Option<usize>>,
    /// Height and width of the result.
    size: (usize, usize),
    /// Tiles of a whole line.
    across: usize,
    /// Tiles in all.
    tiles: usize,
}

impl Tiling {
    /// A task for a range of the tiles, which takes no sums.
    fn task<'a>(
        &'a self,
        conv: &'a Winograd,
        source: &'a SourceRows<'a>,
        tiles: Range<usize>,
        scratch: Shared,
        out: Shared,
    ) -> WinogradTask<'a> {
        let (first, tiles) = (tiles.start, tiles.len());
        WinogradTask { conv, source, tiling: self, first, tiles, scratch, out, sums: None }
    }
}

/// A range of the tiles.
struct WinogradTask<'a> {
    conv: &'a Winograd,
    source: &'a SourceRows<'a>,
    tiling: &'a Tiling,
    /// The first of the task's tiles, and how many they are.
    first: usize,
    tiles: usize,
    scratch: Shared,
    out: Shared,
    sums: Option<Shared>,
}

impl WinogradTask<'_> {
    /// Row and column of a tile's first output.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize) {
        let (tile, across) = (self.first + tile, self.tiling.across);
        (tile / across * OUT, tile % across * OUT)
    }
}

#[inline(always)]
unsafe fn with_skip<S: Simd, const ROWS: usize>(task: &WinogradTask<'_>) {
    convolve::<S, ROWS, SKIP>(task);
}

#[inline(always)]
unsafe fn linear<S: Simd, const ROWS: usize>(task: &WinogradTask<'_>) {
    convolve::<S, ROWS, LINEAR>(task);
}

#[inline(always)]
unsafe fn rectified<S: Simd, const ROWS: usize>(task: &WinogradTask<'_>) {
    convolve::<S, ROWS, RELU>(task);
}

/// # Safety
/// The processor has S's instructions; the scratch is large enough; no other task writes to the
/// same outputs.
#[inline(always)]
unsafe fn convolve<S: Simd, const ROWS: usize, const READ: u8>(task: &WinogradTask<'_>) {
    let Winograd { inputs, outputs, weights, .. } = task.conv;
    let (inputs, outputs, tiles) = (*inputs, *outputs, task.tiles);
    let seen_stride = tiles * inputs + GAP;
    let made_stride = tiles * outputs + GAP;
    let seen = task.scratch.at(0);
    let made = task.scratch.at(POINTS * seen_stride);
    for tile in 0..tiles {
        read::<S, READ>(task, tile, seen.add(tile * inputs), seen_stride);
    }
    // As many tiles at a time as registers hold, or a few less, so that all groups are alike.
    let groups = tiles.div_ceil(ROWS);
    for k in 0..POINTS {
        let rows = seen.add(k * seen_stride);
        let made = made.add(k * made_stride);
        for o in (0..outputs).step_by(2 * S::LANES) {
            let weights = weights.as_ptr().add((k * outputs + o) * inputs);
            for n in 0..groups {
                let (tile, end) = (n * tiles / groups, (n + 1) * tiles / groups);
                let (from, to) = (rows.add(tile * inputs), made.add(tile * outputs + o));
                if o + S::LANES < outputs {
                    rows_of::<S, ROWS, 2>(end - tile, from, inputs, weights, to, outputs);
                } else {
                    rows_of::<S, ROWS, 1>(end - tile, from, inputs, weights, to, outputs);
                }
            }
        }
    }
    for tile in 0..tiles {
        write::<S>(task, tile, made.add(tile * outputs), made_stride);
    }
    if let Some(sums) = task.sums {
        let pixels = (0..tiles).map(|tile| {
            let (y, x) = task.place(tile);
            OUT.min(task.tiling.size.0 - y) * OUT.min(task.tiling.size.1 - x)
        });
        *sums.at(0) = pixels.sum::<usize>() as f32;
    }
}

/// The product for `count` tiles, ROWS at most, with a panel of V vectors.
#[inline(always)]
unsafe fn rows_of<S: Simd, const ROWS: usize, const V: usize>(
    count: usize,
    from: *const f32,
    inputs: usize,
    panel: *const f32,
    to: *mut f32,
    outputs: usize,
) {
    macro_rules! one_of {
        ($($rows:literal)*) => {
            match count {
                $($rows if ROWS >= $rows => {
                    product::<S, $rows, V>(from, inputs, panel, inputs, to, outputs)
                })*
                _ => {}
            }
        };
    }
    one_of!(1 2 3 4 5 6 7 8 9 10 11 12)
}

/// Reads one tile's inputs and transforms them.
#[inline(always)]
unsafe fn read<S: Simd, const READ: u8>(
    task: &WinogradTask<'_>,
    tile: usize,
    to: *mut f32,
    stride: usize,
) {
    let SourceRows { width, channels, .. } = *task.source;
    let (y, x) = task.place(tile);
    // Where the tile's rows and columns begin.
    let (mut rows, mut columns, mut whole) = ([0; IN], [0; IN], true);
    for n in 0..IN {
        let (row, column) = (task.tiling.rows[y + n], task.tiling.columns[x + n]);
        whole &= row.is_some() && column.is_some();
        rows[n] = row.unwrap_or(0) * width * channels;
        columns[n] = column.unwrap_or(0) * channels;
    }
    // Whether a pixel is one, and no border of zeros.
    let there = |i: usize, j: usize| {
        whole || task.tiling.rows[y + i].is_some() && task.tiling.columns[x + j].is_some()
    };
    for c in (0..channels).step_by(S::LANES) {
        let scale = S::load(task.source.scale.as_ptr().add(c));
        let shift = S::load(task.source.shift.as_ptr().add(c));
        let mut half = [[S::zero(); IN]; IN];
        for j in 0..IN {
            let mut line = [S::zero(); IN];
            for i in 0..IN {
                if there(i, j) {
                    line[i] = task.source.value::<S, READ>(rows[i] + columns[j] + c, scale, shift);
                }
            }
            if let Some(keep) = task.source.keep
                && (1..=OUT).contains(&j)
            {
                task.keep::<S>(keep, &line, (y, x + j - 1), c);
            }
            let line = inward(line);
            for i in 0..IN {
                half[i][j] = line[i];
            }
        }
        for (i, line) in half.into_iter().enumerate() {
            for (j, value) in inward(line).into_iter().enumerate() {
                value.store(to.add((i * IN + j) * stride + c));
            }
        }
    }
}

impl WinogradTask<'_> {
    /// Keeps a column of a tile's own values, from row `y` of column `x` on.
    #[inline(always)]
    unsafe fn keep<S: Simd>(&self, keep: Shared, line: &[S; IN], (y, x): (usize, usize), c: usize) {
        let SourceRows { height, width, channels, .. } = *self.source;
        if x >= width {
            return;
        }
        for i in 0..OUT.min(height - y) {
            let at = ((y + i) * width + x) * channels + c;
            line[i + 1].store(keep.at(at));
        }
    }
}

/// Transforms one tile's outputs back, and writes them.
#[inline(always)]
unsafe fn write<S: Simd>(task: &WinogradTask<'_>, tile: usize, from: *const f32, stride: usize) {
    let outputs = task.conv.outputs;
    let ((height, width), (y, x)) = (task.tiling.size, task.place(tile));
    let (lines, columns) = (OUT.min(height - y), OUT.min(width - x));
    for o in (0..outputs).step_by(S::LANES) {
        // Where the channel vector of a pixel goes.
        let (first, row_step, step) = if task.conv.upsample {
            let channels = outputs / 4;
            let (phase, channel) = (o / channels, o % channels);
            let at = (phase / 2 * 2 * width + phase % 2) * channels + channel;
            (at, 4 * width * channels, 2 * channels)
        } else {
            (o, width * outputs, outputs)
        };
        let to = task.out.at(first + y * row_step + x * step);
        let mut half = [[S::zero(); IN]; OUT];
        for j in 0..IN {
            let mut line = [S::zero(); IN];
            for (i, value) in line.iter_mut().enumerate() {
                *value = S::load(from.add((i * IN + j) * stride + o));
            }
            let line = outward(line);
            for i in 0..OUT {
                half[i][j] = line[i];
            }
        }
        let lines_of = [outward(half[0]), outward(half[1]), outward(half[2]), outward(half[3])];
        let mut sums = match task.sums {
            Some(part) if tile > 0 => Sums::load(part.at(0), o, outputs),
            _ => Sums::around(lines_of[0][0]),
        };
        if (lines, columns) == (OUT, OUT) {
            for (i, line) in lines_of.into_iter().enumerate() {
                for (j, value) in line.into_iter().enumerate() {
                    sums.add(value);
                    value.store(to.add(i * row_step + j * step));
                }
            }
        } else {
            for (i, line) in lines_of.into_iter().enumerate().take(lines) {
                for (j, value) in line.into_iter().enumerate().take(columns) {
                    sums.add(value);
                    value.store(to.add(i * row_step + j * step));
                }
            }
        }
        if let Some(part) = task.sums {
            sums.store(part.at(0), o, outputs);
        }
    }
}

/// Some of a band's tiles, for the gradient of the weights.
struct TransformTask<'a> {
    task: &'a WinogradTask<'a>,
    tiles: Range<usize>,
    gradient: &'a [f32],
}

/// Transforms the inputs of tiles and the gradients for their outputs.
#[inline(always)]
unsafe fn transform<S: Simd, const ROWS: usize>(transform: &TransformTask<'_>) {
    let TransformTask { task, ref tiles, gradient } = *transform;
    let Winograd { inputs, outputs, .. } = *task.conv;
    let (seen_stride, made_stride) = (BAND * inputs + GAP, BAND * outputs + GAP);
    let (seen, made) = (task.scratch.at(0), task.scratch.at(POINTS * seen_stride));
    for tile in tiles.clone() {
        let to = seen.add(tile * inputs);
        match (task.source.skip.is_some(), task.source.linear) {
            (true, _) => read::<S, SKIP>(task, tile, to, seen_stride),
            (false, true) => read::<S, LINEAR>(task, tile, to, seen_stride),
            (false, false) => read::<S, RELU>(task, tile, to, seen_stride),
        }
        read_gradient::<S>(task, gradient, tile, made.add(tile * outputs), made_stride);
    }
}

/// Transforms the gradient for one tile's outputs.
#[inline(always)]
unsafe fn read_gradient<S: Simd>(
    task: &WinogradTask<'_>,
    gradient: &[f32],
    tile: usize,
    to: *mut f32,
    stride: usize,
) {
    let outputs = task.conv.outputs;
    let ((height, width), (y, x)) = (task.tiling.size, task.place(tile));
    let (lines, columns) = (OUT.min(height - y), OUT.min(width - x));
    for o in (0..outputs).step_by(S::LANES) {
        let from = gradient.as_ptr().add((y * width + x) * outputs + o);
        let mut half = [[S::zero(); OUT]; IN];
        for j in 0..columns {
            let mut line = [S::zero(); OUT];
            for i in 0..lines {
                line[i] = S::load(from.add((i * width + j) * outputs));
            }
            for (i, value) in outward_back(line).into_iter().enumerate() {
                half[i][j] = value;
            }
        }
        for (i, line) in half.into_iter().enumerate() {
            for (j, value) in outward_back(line).into_iter().enumerate() {
                value.store(to.add((i * IN + j) * stride + o));
            }
        }
    }
}

/// Adds the products of a band's tiles to the sums of a point.
#[inline(always)]
unsafe fn add_point<S: Simd, const ROWS: usize>(&(task, k): &(&WinogradTask<'_>, usize)) {
    let Winograd { inputs, outputs, .. } = *task.conv;
    let (seen_stride, made_stride) = (BAND * inputs + GAP, BAND * outputs + GAP);
    let seen = task.scratch.at(k * seen_stride);
    let made = task.scratch.at(POINTS * seen_stride + k * made_stride);
    let to = task.out.at(k * inputs * outputs);
    let counts = (inputs, outputs, task.tiles);
    add_transposed::<S, ROWS>((seen, inputs), (made, outputs), counts, (to, outputs));
}

/// The weights of an input.
struct TapsTask<'a> {
    conv: &'a Winograd,
    input: usize,
    sums: Shared,
    to: Shared,
}

/// Transforms sums back, and adds them to the gradient for the weights.
#[inline(always)]
unsafe fn add_taps<S: Simd, const ROWS: usize>(task: &TapsTask<'_>) {
    let Winograd { inputs, outputs, upsample, .. } = *task.conv;
    let phases = if upsample { 4 } else { 1 };
    let own = outputs / phases;
    for o in (0..own).step_by(S::LANES) {
        let mut sum = [[S::zero(); 3]; 3];
        for phase in 0..phases {
            let from = task.sums.at(task.input * outputs + phase * own + o);
            let mut half = [[S::zero(); IN]; 3];
            for j in 0..IN {
                let mut line = [S::zero(); IN];
                for (i, value) in line.iter_mut().enumerate() {
                    *value = S::load(from.add((i * IN + j) * inputs * outputs));
                }
                for (i, value) in taps_back(line).into_iter().enumerate() {
                    half[i][j] = value;
                }
            }
            let mut taps = [taps_back(half[0]), taps_back(half[1]), taps_back(half[2])];
            if upsample {
                taps = taps.map(|line| phase_back(line, phase % 2 == 1));
                for j in 0..3 {
                    let column = [taps[0][j], taps[1][j], taps[2][j]];
                    let column = phase_back(column, phase / 2 == 1);
                    for i in 0..3 {
                        taps[i][j] = column[i];
                    }
                }
            }
            for i in 0..3 {
                for j in 0..3 {
                    sum[i][j] = sum[i][j].add(taps[i][j]);
                }
            }
        }
        for (n, value) in sum.into_iter().flatten().enumerate() {
            let to = task.to.at((n * inputs + task.input) * own + o);
            value.add(S::load(to)).store(to);
        }
    }
}

/// A of the paper: [`outward`] transposed.
#[inline(always)]
unsafe fn outward_back<S: Simd>([a, b, c, d]: [S; OUT]) -> [S; IN] {
    let (even, odd) = (a.add(c), b.add(d));
    let even_2 = c.mul_add(S::splat(4.0), a);
    let odd_2 = d.mul_add(S::splat(4.0), b);
    let two = S::splat(2.0);
    [
        a,
        even.add(odd),
        even.sub(odd),
        odd_2.mul_add(two, even_2),
        odd_2.mul_add(S::splat(-2.0), even_2),
        d,
    ]
}

/// Gᵀ of the paper: [`transformed`]'s one way, transposed.
#[inline(always)]
unsafe fn taps_back<S: Simd>([a, b, c, d, e, f]: [S; IN]) -> [S; 3] {
    let (even, odd) = (b.add(c), c.sub(b));
    let (even_2, odd_2) = (d.add(e), d.sub(e));
    let minus = S::splat(-1.0 / 6.0);
    let first = even.mul_add(minus, S::zero());
    [
        even_2.mul_add(S::splat(1.0 / 24.0), a.mul_add(S::splat(0.25), first)),
        odd_2.mul_add(S::splat(1.0 / 12.0), odd.mul_add(S::splat(1.0 / 6.0), S::zero())),
        even_2.mul_add(S::splat(1.0 / 6.0), f.add(first)),
    ]
}

/// [`phase`]'s one way, transposed.
#[inline(always)]
unsafe fn phase_back<S: Simd>([a, b, c]: [S; 3], later: bool) -> [S; 3] {
    if later { [b, b, c] } else { [a, b, b] }
}

/// Bᵀ of the paper, for the points 0, ±1, ±2 and ∞.
#[inline(always)]
unsafe fn inward<S: Simd>([a, b, c, d, e, f]: [S; IN]) -> [S; IN] {
    let (two, four, five) = (S::splat(2.0), S::splat(-4.0), S::splat(-5.0));
    let plus_four = S::splat(4.0);
    let (even, odd) = (c.mul_add(four, e), b.mul_add(four, d));
    let (even_2, odd_2) = (e.sub(c), d.sub(b));
    [
        a.mul_add(plus_four, c.mul_add(five, e)),
        even.add(odd),
        even.sub(odd),
        odd_2.mul_add(two, even_2),
        odd_2.mul_add(S::splat(-2.0), even_2),
        b.mul_add(plus_four, d.mul_add(five, f)),
    ]
}

/// Aᵀ of the paper.
#[inline(always)]
unsafe fn outward<S: Simd>([a, b, c, d, e, f]: [S; IN]) -> [S; OUT] {
    let (even, odd) = (b.add(c), b.sub(c));
    let (even_2, odd_2) = (d.add(e), d.sub(e));
    [
        a.add(even).add(even_2),
        odd_2.mul_add(S::splat(2.0), odd),
        even_2.mul_add(S::splat(4.0), even),
        odd_2.mul_add(S::splat(8.0), odd).add(f),
    ]
}

/// The nine weights of the `n`th pair of output and input.
fn taps(weight: &[f32], n: usize) -> [f64; 9] {
    std::array::from_fn(|tap| f64::from(weight[9 * n + tap]))
}

/// Rows, then columns, each by its function.
fn each_way(
    taps: &[f64; 9],
    row: impl Fn([f64; 3]) -> [f64; 3],
    column: impl Fn([f64; 3]) -> [f64; 3],
) -> [f64; 9] {
    let rows: [[f64; 3]; 3] =
        std::array::from_fn(|y| row([taps[3 * y], taps[3 * y + 1], taps[3 * y + 2]]));
    let columns: [[f64; 3]; 3] =
        std::array::from_fn(|x| column([rows[0][x], rows[1][x], rows[2][x]]));
    std::array::from_fn(|n| columns[n % 3][n / 3])
}

/// The taps that a phase of the upsampled picture's pixels sees in the small picture: phases 0 to 3
/// are the upper left, upper right, lower left and lower right of each 2×2.
fn phase(taps: &[f64; 9], phase: usize) -> [f64; 9] {
    let line = |[a, b, c]: [f64; 3], later: bool| match later {
        false => [a, b + c, 0.0],
        true => [0.0, a + b, c],
    };
    each_way(taps, |taps| line(taps, phase % 2 == 1), |taps| line(taps, phase / 2 == 1))
}

/// G g Gᵀ of the paper.
fn transformed(taps: &[f64; 9]) -> [f64; POINTS] {
    let line = |[a, b, c]: [f64; 3]| {
        let (even, more) = (a + c, a / 24.0 + c / 6.0);
        [a / 4.0, -(even + b) / 6.0, (b - even) / 6.0, more + b / 12.0, more - b / 12.0, c]
    };
    let rows: [[f64; IN]; 3] =
        std::array::from_fn(|y| line([taps[3 * y], taps[3 * y + 1], taps[3 * y + 2]]));
    let columns: [[f64; IN]; IN] =
        std::array::from_fn(|x| line([rows[0][x], rows[1][x], rows[2][x]]));
    std::array::from_fn(|n| columns[n % IN][n / IN])
}
