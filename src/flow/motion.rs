//! Where each pixel of a frame was in an earlier one, and how sure that is, on the grid on which flow is searched.

use multiversion::multiversion;
use rayon::prelude::*;

use super::consistency::BilinearSample;
use super::field::FlowField;
use super::flow_on_grid;
use super::options::FlowOptions;
use super::pyramid::{Level, Pyramid};

/// Rounds of refinement of the way forth, which only checks the way back.
const FORTH: usize = 2;
/// Squared disagreement of forward and backward flow that is allowed everywhere, in pixels of the picture…
const AGREES: f32 = 0.6;
/// …and for each squared pixel of motion (Ruder, Dosovitskiy and Brox 2016, equation 8).
const AGREES_BY_LENGTH: f32 = 0.01;
/// Mean difference of a cell and its neighbours to what the way back shows, levels of 255, up to which the way is
/// sure although forward and backward flow disagree: plain areas.
const ALIKE: f32 = 2.5;
/// Motion that may be the noise of the flow, pixels…
const NOISE: f32 = 1.0;
/// …where standing still explains the picture nearly as well, levels of 255.
const STAYS: f32 = 0.5;
/// Cells whose luma changes by less than this to the next cell, in levels of 255, say little about a cut.
const TEXTURE: f32 = 3.0;
/// Luma of a cell that is another thing, in levels of 255.
const OTHER_LUMA: f32 = 24.0;
/// If fewer cells than this share are found again, the frames show different scenes.
const SAME_SCENE: f32 = 0.4;
/// Lines that are worth a thread.
const LINES: usize = 16;

/// The way back from each pixel of a frame to an earlier one, on a grid of square cells.
#[derive(Debug, Clone)]
pub struct MotionGrid {
    /// Pixels on a side of a cell.
    pub cell: usize,
    /// Displacement of the centre of each cell, cells.
    pub field: FlowField,
    /// How sure it is, 0–1.
    pub sure: Vec<f32>,
    /// Whether the frames show different scenes.
    pub cut: bool,
}

impl MotionGrid {
    /// From `now` back to `before`.
    ///
    /// # Panics
    /// When the pyramids differ in size, or were made for other options.
    pub fn between(now: &Pyramid, before: &Pyramid, options: &FlowOptions) -> Self {
        let rough = FlowOptions { rounds: options.rounds.min(FORTH), ..*options };
        let (mut field, forth) = rayon::join(
            || flow_on_grid(now, before, options),
            || flow_on_grid(before, now, &rough),
        );
        let cell = 1 << now.finest();
        let (new, old) = (now.level(now.finest()), before.level(now.finest()));
        let size @ (width, height) = (field.width, field.height);
        let mut sure = agreement(&field, &forth, cell);
        let noise = NOISE / cell as f32;
        let own = seen_differences(new, old, &field);
        let none = seen_differences(new, old, &FlowField::zero(width, height));
        let (own_mean, none_mean) = (mean_of_nine(&own, size), mean_of_nine(&none, size));
        let (mut found, mut textured, mut found_textured) = (0u32, 0u32, 0u32);
        for n in 0..width * height {
            let still = field.u[n].abs().max(field.v[n].abs()) < noise
                && none_mean[n] <= own_mean[n] + STAYS;
            let (alike, difference) =
                if still { (none_mean[n], none[n]) } else { (own_mean[n], own[n]) };
            if still {
                (field.u[n], field.v[n]) = (0.0, 0.0);
            }
            sure[n] = sure[n].max((2.0 - alike / ALIKE).clamp(0.0, 1.0));
            let same = sure[n] > 0.5 && difference < OTHER_LUMA;
            let slope = new.dx[n].abs().max(new.dy[n].abs());
            textured += u32::from(slope > TEXTURE);
            found += u32::from(same);
            found_textured += u32::from(same && slope > TEXTURE);
        }
        let cells = (width * height) as u32;
        let (found, of) = match textured > cells / 50 {
            true => (found_textured, textured),
            false => (found, cells),
        };
        let cut = (found as f32) < SAME_SCENE * of as f32;
        MotionGrid { cell, field, sure, cut }
    }

    /// Columns and rows of cells.
    pub fn size(&self) -> (usize, usize) {
        (self.field.width, self.field.height)
    }
}

/// How well the way back and the way forth agree about each cell and its neighbours, 0–1: so what is sure ends before
/// an edge of motion.
fn agreement(back: &FlowField, forth: &FlowField, cell: usize) -> Vec<f32> {
    let (width, height) = (back.width, back.height);
    let mut sure = vec![0.0; width * height];
    sure.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each(|(y, sure)| {
        for (x, sure) in sure.iter_mut().enumerate() {
            let n = y * width + x;
            let (u, v) = (back.u[n], back.v[n]);
            let at = BilinearSample::at(x as f32 + u, y as f32 + v, width, height);
            *sure = at.map_or(0.0, |at| {
                let (bu, bv) = (at.of(&forth.u, width), at.of(&forth.v, width));
                let apart = (u + bu).powi(2) + (v + bv).powi(2);
                let length = u * u + v * v + bu * bu + bv * bv;
                let limit = AGREES_BY_LENGTH * length + AGREES / (cell * cell) as f32;
                (2.0 - apart / limit).clamp(0.0, 1.0)
            });
        }
    });
    over_nine(&sure, (width, height), least_of_three)
}

/// Absolute differences of a picture to what another shows along the field; 255 beyond its border.
fn seen_differences(new: &Level, old: &Level, field: &FlowField) -> Vec<f32> {
    let (width, height) = (field.width, field.height);
    let mut result = vec![0.0; width * height];
    result.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each(|(y, out)| {
        let line = new.line(y);
        for (x, out) in out.iter_mut().enumerate() {
            let n = y * width + x;
            let (px, py) = (x as f32 + field.u[n], y as f32 + field.v[n]);
            let seen = BilinearSample::at(px, py, width, height);
            *out = seen.map_or(255.0, |at| (line[x] - at.of_lines(|y| old.line(y))).abs());
        }
    });
    result
}

/// The mean of each cell and its eight neighbours; the border is repeated.
pub fn mean_of_nine(plane: &[f32], size: (usize, usize)) -> Vec<f32> {
    over_nine(plane, size, mean_of_three)
}

/// Folds each cell and its eight neighbours, first lines, then columns; the border is repeated.
fn over_nine(
    plane: &[f32],
    (width, height): (usize, usize),
    of_three: impl Fn([&[f32]; 3], &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut result = vec![0.0; plane.len()];
    result.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each_init(
        || vec![0.0; width + 2],
        |columns, (y, out)| {
            let line = |y: usize| &plane[y * width..][..width];
            let three = [line(y.saturating_sub(1)), line(y), line((y + 1).min(height - 1))];
            of_three(three, &mut columns[1..=width]);
            (columns[0], columns[width + 1]) = (columns[1], columns[width]);
            of_three([&columns[..width], &columns[1..=width], &columns[2..]], out);
        },
    );
    result
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn mean_of_three([a, b, c]: [&[f32]; 3], out: &mut [f32]) {
    for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = (a + b + c) * (1.0 / 3.0);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn least_of_three([a, b, c]: [&[f32]; 3], out: &mut [f32]) {
    for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = a.min(*b).min(*c);
    }
}
