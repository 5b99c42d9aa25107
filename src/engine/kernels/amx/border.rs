//! The outermost pixels of a convolution of the upsampled picture.
//!
//! Beyond its border that picture is mirrored at the middle of its border pixels, so the pair of
//! pixels that one became is torn: the convolution of the small picture cannot see that. A kernel
//! of more than 3×3 reaches so far, near the border.

use super::OUTPUTS;
use super::tiles::Unit;
use super::vector::Halves;
use super::{CacheLine, Shared, beside};
use crate::engine::kernels::each;
use crate::engine::kernels::source::{BorderMode, SourceRows, places};

/// A convolution to three outputs of the upsampled picture, pixel by pixel.
#[derive(Debug)]
pub(super) struct BorderConv {
    inputs: usize,
    size: usize,
    /// Pixels from the border on that see what is torn.
    depth: usize,
    unit: Unit,
    bias: [f32; OUTPUTS],
    /// Taps, outputs, inputs.
    weights: Vec<f32>,
}

impl BorderConv {
    /// As the convolution's; none where no pixel sees so far.
    pub(super) fn new(
        weight: &[f32],
        bias: [f32; OUTPUTS],
        inputs: usize,
        size: usize,
        unit: Unit,
    ) -> Option<Self> {
        let taps = size * size;
        let depth = (size / 2).saturating_sub(1);
        let mut weights = Vec::with_capacity(weight.len());
        for tap in 0..taps {
            for o in 0..OUTPUTS {
                weights.extend((0..inputs).map(|c| weight[(o * inputs + c) * taps + tap]));
            }
        }
        (depth > 0).then_some(BorderConv { inputs, size, depth, unit, bias, weights })
    }

    /// Writes the outermost pixels into planes of `size`, the upper left of the result.
    pub(super) fn run(
        &self,
        source: &SourceRows<'_, u16>,
        out: Shared,
        (height, width): (usize, usize),
        scratch: &[Shared<CacheLine>],
    ) {
        let whole = (2 * source.height, 2 * source.width);
        let seen =
            |length: usize| places(BorderMode::Reflect, self.size / 2, length + self.size, length);
        let (rows, columns) = (seen(whole.0), seen(whole.1));
        each(height, scratch, |y, _| {
            let task = BorderTask {
                rim: self,
                source,
                rows: &rows[y..],
                columns: &columns,
                y,
                all: y < self.depth || y + self.depth >= whole.0,
                width: (width, whole.1),
                plane: height * width,
                out,
            };
            // SAFETY: the processor has the unit; the planes have the size; tasks write to lines
            // of their own.
            unsafe { beside!(self.unit, line, &task, BorderTask<'_>) }
        });
    }
}

/// A line.
struct BorderTask<'a> {
    rim: &'a BorderConv,
    source: &'a SourceRows<'a, u16>,
    /// Which of the upsampled picture's rows and columns the taps meet.
    rows: &'a [Option<usize>],
    columns: &'a [Option<usize>],
    y: usize,
    /// Whether all of its pixels are of the rim.
    all: bool,
    /// Of the planes, and of the result before it is cropped.
    width: (usize, usize),
    plane: usize,
    out: Shared,
}

#[inline(always)]
unsafe fn line<S: Halves>(task: &BorderTask<'_>) {
    let (width, whole) = task.width;
    let depth = task.rim.depth;
    if task.all {
        (0..width).for_each(|x| pixel::<S>(task, x));
        return;
    }
    (0..depth.min(width)).for_each(|x| pixel::<S>(task, x));
    ((whole - depth).max(depth.min(width))..width).for_each(|x| pixel::<S>(task, x));
}

#[inline(always)]
unsafe fn pixel<S: Halves>(task: &BorderTask<'_>, x: usize) {
    let BorderConv { inputs, size, ref bias, ref weights, .. } = *task.rim;
    let source = task.source;
    let mut sums = [S::zero(); OUTPUTS];
    for tap in 0..size * size {
        let place = (task.rows[tap / size], task.columns[x + tap % size]);
        let (Some(row), Some(column)) = place else { continue };
        let at = (row / 2 * source.width + column / 2) * inputs;
        for c in (0..inputs).step_by(S::LANES) {
            let value = source.value::<S>(at + c, c, source.skip);
            for (o, sum) in sums.iter_mut().enumerate() {
                let weight = S::load(weights.as_ptr().add((tap * OUTPUTS + o) * inputs + c));
                *sum = value.mul_add(weight, *sum);
            }
        }
    }
    for (o, sum) in sums.into_iter().enumerate() {
        *task.out.at(o * task.plane + task.y * task.width.0 + x) = sum.sum() + bias[o];
    }
}
