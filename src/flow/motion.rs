//! Where each pixel of a frame was in an earlier one, and how sure that is, on the grid on which flow is searched.

use rayon::prelude::*;

use super::consistency::BilinearSample;
use super::field::FlowField;
use super::flow_on_grid;
use super::options::FlowOptions;
use super::pyramid::{Level, Pyramid};

/// Squared disagreement of forward and backward flow that is allowed everywhere, in pixels of the picture…
const AGREES: f32 = 0.6;
/// …and for each squared pixel of motion (Ruder, Dosovitskiy and Brox 2016, equation 8).
const AGREES_BY_LENGTH: f32 = 0.01;
/// Mean difference of a cell and its neighbours to what the way back shows, levels of 255, up to which the way is
/// sure although forward and backward flow disagree: plain areas.
const ALIKE: f32 = 2.5;
/// Corners that are worth following, squared levels of 255 (as [`corners`] counts).
const CORNER: f32 = 4.0;
/// Weight of the camera's motion, where nothing else is known.
const CAMERA: f32 = 1e-6;
/// Cells over which motion is spread, and…
const SPREAD: f32 = 30.0;
/// …levels of luma that end an area.
const LIKE: f32 = 6.0;
const ROUNDS: i32 = 3;
/// Motion that may be the noise of the flow, pixels…
const NOISE: f32 = 1.0;
/// …where no motion explains the picture nearly as well, levels of 255.
const STAYS: f32 = 0.5;
/// Cells whose luma changes by less than this to the next cell, in levels of 255, say little about a cut.
const TEXTURE: f32 = 3.0;
/// Luma of a cell that is another thing, in levels of 255.
const OTHER_LUMA: f32 = 24.0;
/// If fewer cells than this share are found again, the frames show different scenes.
const SAME_SCENE: f32 = 0.4;

/// The way back from each pixel of a frame to an earlier one, on a grid of square cells.
#[derive(Debug, Clone)]
pub struct MotionGrid {
    /// Pixels on a side of a cell.
    cell: usize,
    /// Displacement of the centre of each cell, pixels of the frame.
    field: FlowField,
    /// How sure it is, 0–1.
    sure: Vec<f32>,
    /// Whether the frames show different scenes.
    pub cut: bool,
}

impl MotionGrid {
    /// From `now` back to `before`.
    ///
    /// # Panics
    /// When the pyramids differ in size, or were made for other options.
    pub fn between(now: &Pyramid, before: &Pyramid, options: &FlowOptions) -> Self {
        let (mut field, forth) = rayon::join(
            || flow_on_grid(now, before, options),
            || flow_on_grid(before, now, options),
        );
        let cell = 1 << now.finest();
        let (new, old) = (now.level(now.finest()), before.level(now.finest()));
        let size @ (width, height) = (field.width, field.height);
        let mut sure = agreement(&field, &forth, cell);
        // Plain areas and straight edges say little about motion: they take that of the corners about them.
        let mut filled = field.clone();
        let corners = corners(new);
        let weights: Vec<f32> = sure
            .iter()
            .zip(&corners)
            .map(|(sure, corner)| sure * corner / (corner + CORNER))
            .collect();
        smooth(&mut filled, &weights, new);
        // The simplest motion that explains the picture nearly as well as any: none, that about it, its own.
        let still = FlowField::zero(width, height);
        let differences = [&still, &filled, &field].map(|field| seen_differences(new, old, field));
        let [none, about, own] = differences.each_ref().map(|d| mean_of_nine(d, size));
        let noise = NOISE / cell as f32;
        let mut difference = vec![0.0; width * height];
        for n in 0..width * height {
            let least = none[n].min(about[n]).min(own[n]) + STAYS;
            let shift = |u: f32, v: f32| (u - field.u[n]).abs().max((v - field.v[n]).abs());
            let (u, v) = (filled.u[n], filled.v[n]);
            let (chosen, alike, moved) = if u.abs().max(v.abs()) < noise && none[n] <= least {
                (0, none[n], shift(0.0, 0.0))
            } else if about[n] <= least || sure[n] < 0.5 {
                (1, about[n], shift(u, v))
            } else {
                (2, own[n], 0.0)
            };
            // Where another motion was chosen, only the picture says whether it is right.
            let agreed = if moved < noise { sure[n] } else { 0.0 };
            sure[n] = agreed.max((2.0 - alike / ALIKE).clamp(0.0, 1.0));
            difference[n] = differences[chosen][n];
            match chosen {
                0 => (field.u[n], field.v[n]) = (0.0, 0.0),
                1 => (field.u[n], field.v[n]) = (u, v),
                _ => {}
            }
        }
        let (mut found, mut textured, mut found_textured) = (0u32, 0u32, 0u32);
        for n in 0..width * height {
            let same = sure[n] > 0.5 && difference[n] < OTHER_LUMA;
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
        let gain = cell as f32;
        field.u.iter_mut().chain(&mut field.v).for_each(|d| *d *= gain);
        MotionGrid { cell, field, sure, cut }
    }

    /// Interpolates a line of pixels: displacements to the right, downwards, and how sure they are. All slices have
    /// the width of the frame.
    pub fn line(&self, y: usize, u: &mut [f32], v: &mut [f32], sure: &mut [f32]) {
        let (width, height) = (self.field.width, self.field.height);
        let step = 1.0 / self.cell as f32;
        let at = |n: usize, last: usize| {
            let at = ((n as f32 + 0.5) * step - 0.5).clamp(0.0, last as f32);
            (at as usize, at - at.floor())
        };
        let (top, share) = at(y, height - 1);
        let below = (top + 1).min(height - 1);
        for (plane, out) in [(&self.field.u, u), (&self.field.v, v), (&self.sure, sure)] {
            let (a, b) = (&plane[top * width..][..width], &plane[below * width..][..width]);
            let value = |x: usize| a[x] + share * (b[x] - a[x]);
            for (x, out) in out.iter_mut().enumerate() {
                let (left, part) = at(x, width - 1);
                let (l, r) = (value(left), value((left + 1).min(width - 1)));
                *out = l + part * (r - l);
            }
        }
    }
}

/// How well the way back and the way forth agree about each cell and its neighbours, 0–1: so what is sure ends before
/// an edge of motion.
fn agreement(back: &FlowField, forth: &FlowField, cell: usize) -> Vec<f32> {
    let (width, height) = (back.width, back.height);
    let mut sure = vec![0.0; width * height];
    sure.par_chunks_mut(width).with_min_len(16).enumerate().for_each(|(y, sure)| {
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
    over_nine(&sure, (width, height), 1.0, f32::min)
}

/// Makes each displacement a mean of those about it by their weights, within areas of like luma: the recursive filter
/// of Gastal and Oliveira, "Domain transform for edge-aware image and video processing", SIGGRAPH 2011.
fn smooth(field: &mut FlowField, weights: &[f32], guide: &Level) {
    let (width, height) = (field.width, field.height);
    let (u0, v0) = (middle(&field.u, weights), middle(&field.v, weights));
    // Each cell: weighted displacement, weight.
    let mut cells: Vec<[f32; 3]> = (0..width * height)
        .map(|n| {
            let weight = weights[n];
            [weight * field.u[n] + CAMERA * u0, weight * field.v[n] + CAMERA * v0, weight + CAMERA]
        })
        .collect();
    for round in 0..ROUNDS {
        let spread =
            SPREAD * 3f32.sqrt() * 2f32.powi(ROUNDS - 1 - round) / (4f32.powi(ROUNDS) - 1.0).sqrt();
        let decay = -(2f32.sqrt()) / spread;
        // By the difference of luma, in levels.
        let shares: [f32; 256] =
            std::array::from_fn(|step| (decay * (1.0 + SPREAD / LIKE * step as f32)).exp());
        let pass = |a: [f32; 3], b: &mut [f32; 3], step: f32| {
            let share = shares[(step.abs() + 0.5) as usize & 255];
            for (b, a) in b.iter_mut().zip(a) {
                *b += share * (a - *b);
            }
        };
        cells.par_chunks_mut(width).with_min_len(16).enumerate().for_each(|(y, cells)| {
            let luma = guide.line(y);
            for x in 1..width {
                pass(cells[x - 1], &mut cells[x], luma[x] - luma[x - 1]);
            }
            for x in (1..width).rev() {
                pass(cells[x], &mut cells[x - 1], luma[x] - luma[x - 1]);
            }
        });
        let mut down = |y: usize, from: usize, to: usize| {
            let (above, below) = (guide.line(y - 1), guide.line(y));
            for x in 0..width {
                let before = cells[from * width + x];
                pass(before, &mut cells[to * width + x], below[x] - above[x]);
            }
        };
        (1..height).for_each(|y| down(y, y - 1, y));
        (1..height).rev().for_each(|y| down(y, y, y - 1));
    }
    for (n, [u, v, weight]) in cells.into_iter().enumerate() {
        (field.u[n], field.v[n]) = (u / weight, v / weight);
    }
}

/// The median by weights: the motion of the camera, where most of what can be followed moves with it.
fn middle(values: &[f32], weights: &[f32]) -> f32 {
    let mut some: Vec<(f32, f32)> =
        values.iter().copied().zip(weights.iter().copied()).step_by(7).collect();
    some.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f32 = some.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    let half = some.iter().find(|(_, weight)| {
        sum += weight;
        2.0 * sum >= all
    });
    half.map_or(0.0, |(value, _)| *value)
}

/// How much of a corner each cell is: the smaller eigenvalue of the structure tensor of it and its neighbours (Shi and
/// Tomasi, "Good features to track", CVPR 1994), squared levels.
fn corners(level: &Level) -> Vec<f32> {
    let size = (level.width, level.height);
    let product = |a: &[f32], b: &[f32]| {
        let all: Vec<f32> = a.iter().zip(b).map(|(a, b)| a * b).collect();
        mean_of_nine(&all, size)
    };
    let (dx, dy) = (&level.dx[..], &level.dy[..]);
    let (a, b, c) = (product(dx, dx), product(dx, dy), product(dy, dy));
    let smaller =
        |n: usize| 0.5 * (a[n] + c[n] - ((a[n] - c[n]).powi(2) + 4.0 * b[n] * b[n]).sqrt());
    // Rounding may leave it a little below 0.
    (0..a.len()).map(|n| smaller(n).max(0.0)).collect()
}

/// Absolute differences of a picture to what another shows along the field; 255 beyond its border.
fn seen_differences(new: &Level, old: &Level, field: &FlowField) -> Vec<f32> {
    let (width, height) = (field.width, field.height);
    let mut result = vec![0.0; width * height];
    result.par_chunks_mut(width).with_min_len(16).enumerate().for_each(|(y, out)| {
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

fn mean_of_nine(plane: &[f32], size: (usize, usize)) -> Vec<f32> {
    over_nine(plane, size, 0.0, |sum, one| sum + one / 9.0)
}

/// Each cell and its eight neighbours, folded; the border is repeated.
fn over_nine(
    plane: &[f32],
    (width, height): (usize, usize),
    start: f32,
    fold: impl Fn(f32, f32) -> f32 + Sync,
) -> Vec<f32> {
    let mut result = vec![0.0; plane.len()];
    result.par_chunks_mut(width).with_min_len(16).enumerate().for_each(|(y, out)| {
        let lines = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
        for (x, out) in out.iter_mut().enumerate() {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            let all = lines.iter().flat_map(|y| columns.map(|x| plane[y * width + x]));
            *out = all.fold(start, &fold);
        }
    });
    result
}
