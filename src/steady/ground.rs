//! The source that paint was made for, carried along with the paint, and what of the paint can be kept. All on the
//! grid on which flow is searched.

use rayon::prelude::*;

use super::squares::Squares;
use crate::flow::resample::{Plane, floats};
use crate::flow::{MotionGrid, Pyramid, mean_of_nine};

/// The carried source may differ from the new one by this much, levels of 255, and…
const SAME: f32 = 4.0;
/// …from here on the paint lies on something else.
const OTHER: f32 = 16.0;
/// More is allowed by this much for each level that luma changes from cell to cell: texture that is off by a part of
/// a cell.
const TEXTURE: f32 = 0.5;
/// Paint is kept in full where it is this sure, and…
const KEPT: f32 = 0.5;
/// …not at all where it is less sure than this.
const LOST: f32 = 0.4;
/// Deformation up to which paint is whole: the change of displacement from pixel to pixel, in pixels, summed up since
/// it was made…
const WHOLE: f32 = 0.4;
/// …and from which on it is painted anew.
const TORN: f32 = 0.5;
/// Cells on a side of the blocks that are painted anew together: strokes are larger than cells.
const BLOCK: usize = 5;
/// Lines that are worth a thread.
const LINES: usize = 16;

/// What lies under the paint.
pub(super) struct Ground {
    /// Luma of the source that the paint of each cell was made for.
    luma: Vec<f32>,
    /// How the paint of each cell has been deformed since it was made: the sums of the derivatives of its displacements by
    /// x, and by y.
    deformation: Vec<[f32; 4]>,
    /// What the next flow leads back to: the last source, but the carried one where nothing moved, so that motion that is
    /// too slow for one frame is seen as it adds up.
    pub(super) reference: Pyramid,
}

impl Ground {
    /// Of a frame that is shown as it is painted.
    pub(super) fn new(source: Pyramid) -> Self {
        let luma = source.finest_luma();
        Ground { deformation: vec![[0.0; 4]; luma.len()], luma, reference: source }
    }

    /// Carries it along `motion` to a new source. Gives the share of carried paint that is kept in each cell.
    pub(super) fn step(&mut self, motion: &MotionGrid, source: &Pyramid) -> Vec<f32> {
        let size @ (width, _) = motion.size();
        let new = source.finest_luma();
        let (u, v) = (&motion.field.u, &motion.field.v);
        let mut carried = vec![0.0; new.len()];
        let from = Plane { samples: &self.luma, size, step: 1 };
        carried.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each(|(y, out)| {
            let line = y * width..(y + 1) * width;
            floats(&from, y, &u[line.clone()], &v[line], out);
        });
        let mut kept = like_the_source(&new, &carried, size);
        kept.iter_mut().zip(&motion.sure).for_each(|(kept, sure)| *kept *= sure);
        // A cell alone is no reason.
        kept = mean_of_nine(&kept, size);
        self.deform(motion);
        self.keep_what_is_whole(&mut kept, size);
        let mut reference = new;
        for (n, kept) in kept.iter_mut().enumerate() {
            *kept = ((*kept - LOST) / (KEPT - LOST)).clamp(0.0, 1.0);
            let luma = reference[n] + *kept * (carried[n] - reference[n]);
            self.luma[n] = luma;
            if u[n] == 0.0 && v[n] == 0.0 {
                reference[n] = luma;
            }
            if *kept < 0.5 {
                self.deformation[n] = [0.0; 4];
            }
        }
        self.reference = source.like(&reference);
        kept
    }

    fn deform(&mut self, motion: &MotionGrid) {
        let (width, height) = motion.size();
        let (u, v) = (&motion.field.u, &motion.field.v);
        let before = &self.deformation;
        let mut now = vec![[0.0; 4]; before.len()];
        now.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each(|(y, now)| {
            let lines = [y, y.saturating_sub(1), (y + 1).min(height - 1)];
            let [u, u_above, u_below] = lines.map(|y| &u[y * width..][..width]);
            let [v, v_above, v_below] = lines.map(|y| &v[y * width..][..width]);
            for (x, now) in now.iter_mut().enumerate() {
                let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
                let nearest = |n: usize, d: f32, last: usize| {
                    (n as f32 + d + 0.5).clamp(0.0, last as f32) as usize
                };
                let (from_x, from_y) = (nearest(x, u[x], width - 1), nearest(y, v[x], height - 1));
                let change = [
                    u[right] - u[left],
                    v[right] - v[left],
                    u_below[x] - u_above[x],
                    v_below[x] - v_above[x],
                ];
                let from = before[from_y * width + from_x];
                *now = std::array::from_fn(|k| from[k] + 0.5 * change[k]);
            }
        });
        self.deformation = now;
    }

    /// Lowers the shares of blocks in which paint is stretched or torn.
    fn keep_what_is_whole(&self, kept: &mut [f32], size: (usize, usize)) {
        let (width, height) = size;
        let blocks = Squares::over(size, BLOCK);
        let (columns, _) = blocks.size;
        let whole = |n: usize| {
            let (left, top) = (n % columns * BLOCK, n / columns * BLOCK);
            let (right, bottom) = ((left + BLOCK).min(width), (top + BLOCK).min(height));
            let cells = (top..bottom).flat_map(|y| &self.deformation[y * width..][left..right]);
            let most = |sums: &[f32; 4]| sums.iter().fold(0.0f32, |most, sum| most.max(sum.abs()));
            let sum: f32 = cells.map(|sums| most(sums).min(1.0)).sum();
            let mean = sum / ((right - left) * (bottom - top)) as f32;
            ((TORN - mean) / (TORN - WHOLE)).clamp(0.0, 1.0)
        };
        let whole: Vec<f32> = (0..columns * blocks.size.1).into_par_iter().map(whole).collect();
        kept.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each_init(
            || vec![0.0; width],
            |line, (y, kept)| {
                blocks.line(&whole, y, line);
                kept.iter_mut().zip(line).for_each(|(kept, whole)| *kept *= *whole);
            },
        );
    }
}

/// How like the carried source is to the new one about each cell, 0–1.
fn like_the_source(new: &[f32], carried: &[f32], size: (usize, usize)) -> Vec<f32> {
    let (width, height) = size;
    let (mut difference, mut change) = (vec![0.0; new.len()], vec![0.0; new.len()]);
    let lines = difference.par_chunks_mut(width).zip(change.par_chunks_mut(width));
    lines.with_min_len(LINES).enumerate().for_each(|(y, (difference, change))| {
        let line = |y: usize| &new[y * width..][..width];
        let (own, old) = (line(y), &carried[y * width..][..width]);
        let (above, below) = (line(y.saturating_sub(1)), line((y + 1).min(height - 1)));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
            difference[x] = own[x] - old[x];
            change[x] = 0.5 * ((own[left] - own[right]).abs() + (above[x] - below[x]).abs());
        }
    });
    // Means of nine: noise cancels out, and so does what is off by a part of a cell.
    let (difference, change) = (mean_of_nine(&difference, size), mean_of_nine(&change, size));
    let like = |(difference, change): (&f32, &f32)| {
        let allowed = OTHER + TEXTURE * change - difference.abs();
        (allowed / (OTHER - SAME)).clamp(0.0, 1.0)
    };
    difference.iter().zip(&change).map(like).collect()
}
