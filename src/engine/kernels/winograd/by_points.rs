//! The same convolutions for constant weights of many channels, in a quarter of the memory.
//!
//! Transformed weights are four times as large as the weights themselves, and a pass reads each of them for a
//! few tiles only. Here the weights are kept as they are. A task computes the transformed weights of six
//! points, for as many outputs as a kernel computes at once, and multiplies all tiles of a band by them while
//! they are in the second-level cache. That takes some percent more arithmetic, and less memory traffic.

use rayon::prelude::*;

use super::{
    BAND, FEWEST, GAP, IN, LINEAR, PaintError, RELU, Shared, Simd, SourceRows, Winograd,
    WinogradTask, at_level, each, enough, read, room, rows_of, write,
};
use crate::engine::kernels::Level;
use crate::engine::kernels::source::BorderMode;

/// Weights of a pair of output and input.
const TAPS: usize = 9;
/// G of the paper.
const WEIGHT_TRANSFORM: [[f32; 3]; IN] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A 3×3 convolution whose weights are transformed as they are used.
#[derive(Debug)]
pub(in crate::engine::kernels) struct CompactWinograd {
    /// Without weights.
    shape: Winograd,
    /// Panels × inputs × taps × outputs of the panel.
    taps: Vec<f32>,
}

impl CompactWinograd {
    /// `weight`: outputs × inputs × 3 × 3.
    pub(in crate::engine::kernels) fn new(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        border: BorderMode,
        level: Level,
    ) -> Self {
        assert!(weight.len() == outputs * inputs * TAPS);
        let mut taps = Vec::with_capacity(weight.len());
        for first in (0..outputs).step_by(level.panel()) {
            let panel = first..outputs.min(first + level.panel());
            for (input, tap) in (0..inputs).flat_map(|i| (0..TAPS).map(move |tap| (i, tap))) {
                let at = |output: usize| weight[(output * inputs + input) * TAPS + tap];
                taps.extend(panel.clone().map(at));
            }
        }
        let (upsample, margin, weights) = (false, 0, Vec::new());
        let shape = Winograd { inputs, outputs, border, upsample, margin, level, weights };
        CompactWinograd { shape, taps }
    }

    /// As [`Winograd::with_margin`].
    pub(in crate::engine::kernels) fn with_margin(self) -> Self {
        CompactWinograd { shape: self.shape.with_margin(), ..self }
    }

    /// The convolution as [`Winograd`] describes it, for its sizes.
    pub(in crate::engine::kernels) fn shape(&self) -> &Winograd {
        &self.shape
    }

    /// Numbers that a thread needs beside.
    pub(in crate::engine::kernels) fn scratch(&self) -> usize {
        IN * (self.shape.inputs * self.shape.level.panel() + GAP)
    }

    /// Convolves `source`, which has no skip, into `out`, as [`Winograd::run`]. `work` is used beside.
    ///
    /// # Errors
    /// When memory is short.
    pub(in crate::engine::kernels) fn run(
        &self,
        source: &SourceRows<'_>,
        out: &mut [f32],
        work: &mut Vec<f32>,
        scratch: &[Shared],
    ) -> Result<(), PaintError> {
        let conv = &self.shape;
        let (inputs, outputs, level) = (conv.inputs, conv.outputs, conv.level);
        assert!(out.len() >= conv.size(source.height, source.width));
        assert!(source.channels == inputs && source.is_whole() && source.skip.is_none());
        assert!(enough(scratch, self.scratch()));
        let tiling = conv.tiling(source);
        let most = tiling.tiles.min(BAND);
        room(work, super::POINTS * (most * (inputs + outputs) + 2 * GAP), 0.0)?;
        let (work, out) = (Shared::of(work), Shared::of(out));
        let panels = outputs.div_ceil(level.panel());
        for first in (0..tiling.tiles).step_by(BAND) {
            let range = first..tiling.tiles.min(first + BAND);
            let tiles = range.len();
            let task = tiling.task(conv, source, range, work, out);
            let groups = tiles.div_ceil(FEWEST);
            let group = |n: usize| FEWEST * n..tiles.min(FEWEST * (n + 1));
            (0..groups).into_par_iter().for_each(|n| {
                let task = TilesTask { task: &task, tiles: group(n) };
                // SAFETY: the processor has the level's instructions; `work` has room for the
                // numbers of all tiles, each of which is of one task.
                unsafe { at_level!(level, read_tiles, &task, TilesTask<'_>) }
            });
            each(IN * panels, scratch, |n, scratch| {
                let (panel, row) = (n / IN, n % IN);
                let output = panel * level.panel();
                let task = PointsTask { task: &task, taps: &self.taps, row, output, scratch };
                // SAFETY: as above; each task writes to points and outputs of its own; the scratch is
                // as large as `scratch` says.
                unsafe { at_level!(level, multiply_points, &task, PointsTask<'_>) }
            });
            (0..groups).into_par_iter().for_each(|n| {
                let task = TilesTask { task: &task, tiles: group(n) };
                // SAFETY: as above; `out` is as large as `size` says, and each tile is of one task.
                unsafe { at_level!(level, write_tiles, &task, TilesTask<'_>) }
            });
        }
        Ok(())
    }
}

/// Some of a band's tiles.
struct TilesTask<'a> {
    task: &'a WinogradTask<'a>,
    tiles: std::ops::Range<usize>,
}

/// Where a band's transformed inputs and its products lie, each with the distance of two points.
///
/// # Safety
/// The task's scratch has room for the band.
#[inline(always)]
unsafe fn places(task: &WinogradTask<'_>) -> ((*mut f32, usize), (*mut f32, usize)) {
    let read_stride = task.tiles * task.conv.inputs + GAP;
    let written_stride = task.tiles * task.conv.outputs + GAP;
    let read = task.scratch.at(0);
    ((read, read_stride), (task.scratch.at(super::POINTS * read_stride), written_stride))
}

/// Transforms the inputs of tiles.
#[inline(always)]
unsafe fn read_tiles<S: Simd, const ROWS: usize>(TilesTask { task, tiles }: &TilesTask<'_>) {
    let ((to, stride), _) = places(task);
    for tile in tiles.clone() {
        let to = to.add(tile * task.conv.inputs);
        match task.source.linear {
            true => read::<S, LINEAR>(task, tile, to, stride),
            false => read::<S, RELU>(task, tile, to, stride),
        }
    }
}

/// Transforms the products of tiles back, and writes them.
#[inline(always)]
unsafe fn write_tiles<S: Simd, const ROWS: usize>(TilesTask { task, tiles }: &TilesTask<'_>) {
    let (_, (from, stride)) = places(task);
    for tile in tiles.clone() {
        write::<S>(task, tile, from.add(tile * task.conv.outputs), stride);
    }
}

/// The points of a row, for a panel of outputs.
struct PointsTask<'a> {
    task: &'a WinogradTask<'a>,
    taps: &'a [f32],
    row: usize,
    /// The panel's first output.
    output: usize,
    scratch: Shared,
}

/// Transforms the weights for these points, and multiplies all tiles of the band by them.
#[inline(always)]
unsafe fn multiply_points<S: Simd, const ROWS: usize>(points: &PointsTask<'_>) {
    if points.output + S::LANES < points.task.conv.outputs {
        multiply_panel::<S, ROWS, 2>(points);
    } else {
        multiply_panel::<S, ROWS, 1>(points);
    }
}

/// The same for a panel of V vectors.
#[inline(always)]
unsafe fn multiply_panel<S: Simd, const ROWS: usize, const V: usize>(points: &PointsTask<'_>) {
    let PointsTask { task, taps, row, output, scratch } = *points;
    let Winograd { inputs, outputs, .. } = *task.conv;
    let width = V * S::LANES;
    let panel_stride = inputs * width + GAP;
    let panels = scratch.at(0);
    let taps = taps.as_ptr().add(TAPS * output * inputs);
    let factors = WEIGHT_TRANSFORM[row].map(|factor| S::splat(factor));
    for n in 0..inputs * V {
        let (input, v) = (n / V, n % V);
        let from = taps.add(TAPS * input * width + v * S::LANES);
        let mut line = [S::zero(); 3];
        for (x, value) in line.iter_mut().enumerate() {
            for (y, factor) in factors.into_iter().enumerate() {
                *value = S::load(from.add((3 * y + x) * width)).mul_add(factor, *value);
            }
        }
        for (k, value) in weights_of_row(line).into_iter().enumerate() {
            value.store(panels.add(k * panel_stride + input * width + v * S::LANES));
        }
    }
    let ((read, read_stride), (written, written_stride)) = places(task);
    // As many tiles at a time as registers hold, or a few less, so that all groups are alike.
    let (tiles, groups) = (task.tiles, task.tiles.div_ceil(ROWS));
    for k in 0..IN {
        let point = row * IN + k;
        let (from, to) = (read.add(point * read_stride), written.add(point * written_stride));
        for n in 0..groups {
            let (tile, end) = (n * tiles / groups, (n + 1) * tiles / groups);
            let (from, to) = (from.add(tile * inputs), to.add(tile * outputs + output));
            let panel = panels.add(k * panel_stride);
            rows_of::<S, ROWS, V>(end - tile, from, inputs, panel, to, outputs);
        }
    }
}

/// G of the paper times a column.
#[inline(always)]
unsafe fn weights_of_row<S: Simd>([a, b, c]: [S; 3]) -> [S; IN] {
    let sixth = S::splat(-1.0 / 6.0);
    let even = a.add(c).mul_add(sixth, S::zero());
    let more = a.mul_add(S::splat(1.0 / 24.0), c.mul_add(S::splat(1.0 / 6.0), S::zero()));
    [
        a.mul_add(S::splat(0.25), S::zero()),
        b.mul_add(sixth, even),
        b.mul_add(S::splat(1.0 / 6.0), even),
        b.mul_add(S::splat(1.0 / 12.0), more),
        b.mul_add(S::splat(-1.0 / 12.0), more),
        c,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::threads;

    /// Values between −1 and 1 that do not repeat.
    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|n| ((n * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0).collect()
    }

    #[test]
    fn compact_weights_give_the_same_convolution() {
        let available = Level::available();
        let twice = available.first().map(|_| Level::Twice);
        for level in available.into_iter().chain(twice) {
            // More tiles than a band has, and few; a vector left over; read through a ReLU and as it is.
            for (inputs, outputs, (height, width), linear, margin, threads) in [
                (16, 48, (70, 77), false, false, 2),
                (32, 16, (65, 68), true, true, 3),
                (48, 32, (5, 2), true, false, 1),
            ] {
                let case = format!("{level:?} {inputs}→{outputs} {height}×{width}");
                let weight = values(outputs * inputs * 9, 1);
                let (scale, shift) = (vec![1.0; inputs], values(inputs, 2));
                let numbers = values(height * width * inputs, 3);
                let source = SourceRows {
                    numbers: &numbers,
                    height,
                    width,
                    channels: inputs,
                    scale: &scale,
                    shift: &shift,
                    skip: None,
                    linear,
                    keep: None,
                };
                let border = if margin { BorderMode::Zero } else { BorderMode::Reflect };
                let compact = CompactWinograd::new(&weight, outputs, inputs, border, level);
                let usual = Winograd::new(&weight, outputs, inputs, border, false, level);
                let (compact, usual) = match margin {
                    true => (compact.with_margin(), usual.with_margin()),
                    false => (compact, usual),
                };
                let count = compact.scratch().max(usual.scratch());
                let mut scratch = vec![vec![0.0; count]; threads];
                let scratch: Vec<_> = scratch.iter_mut().map(|one| Shared::of(one)).collect();
                let mut all = [0, 1].map(|_| vec![f32::NAN; usual.size(height, width)]);
                let [ours, expected] = &mut all;
                threads::pool(threads).unwrap().install(|| {
                    compact.run(&source, ours, &mut Vec::new(), &scratch).unwrap();
                    usual.run(&source, expected, None, &scratch);
                });
                let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                for (a, b) in ours.iter().zip(expected.iter()) {
                    assert!((a - b).abs() < 1e-5 * largest, "{case}: {a} {b}");
                }
            }
        }
    }
}
