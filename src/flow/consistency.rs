//! Where a flow field can be trusted (Ruder, Dosovitskiy and Brox 2016, section 3.2, after Sundaram, Brox and
//! Keutzer, ECCV 2010), and pictures that are carried along it.

use super::field::FlowField;
use super::resample::{Plane, floats};

/// Pixels of the first picture that the second does not show: forward and backward flow disagree there, or the
/// pixel leaves the picture. Equation (8): |w + w'|² > 0.01 (|w|² + |w'|²) + 0.5.
///
/// # Panics
/// When the fields differ in size.
pub fn occluded(forward: &FlowField, backward: &FlowField) -> Vec<bool> {
    let (width, height) = (forward.width, forward.height);
    assert_eq!((width, height), (backward.width, backward.height), "fields of different sizes");
    let mut result = vec![true; width * height];
    for y in 0..height {
        for x in 0..width {
            let n = y * width + x;
            let (u, v) = (forward.u[n], forward.v[n]);
            let (px, py) = (x as f32 + u, y as f32 + v);
            let Some(tap) = BilinearSample::at(px, py, width, height) else { continue };
            let (bu, bv) = (tap.of(&backward.u, width), tap.of(&backward.v, width));
            let apart = (u + bu).powi(2) + (v + bv).powi(2);
            let length = u * u + v * v + bu * bu + bv * bv;
            result[n] = apart > 0.01 * length + 0.5;
        }
    }
    result
}

/// Pixels at which the motion changes abruptly. Equation (9): |∇u|² + |∇v|² > 0.01 |w|² + 0.002.
pub fn motion_boundaries(field: &FlowField) -> Vec<bool> {
    let (width, height) = (field.width, field.height);
    let mut result = vec![false; width * height];
    for y in 0..height {
        for x in 0..width {
            let n = y * width + x;
            let right = y * width + (x + 1).min(width - 1);
            let below = (y + 1).min(height - 1) * width + x;
            let gradient = |f: &[f32]| (f[right] - f[n]).powi(2) + (f[below] - f[n]).powi(2);
            let length = field.u[n].powi(2) + field.v[n].powi(2);
            result[n] = gradient(&field.u) + gradient(&field.v) > 0.01 * length + 0.002;
        }
    }
    result
}

/// A plane of samples seen along the flow: sample (x, y) of the result lies at (x + u, y + v) of `plane`.
/// Between samples by Lanczos' kernel of eight, which keeps detail (two samples on each axis would blur it, and what is
/// painted sharply would seem to change wherever it moves by a part of a pixel). What lies outside repeats the border.
///
/// # Panics
/// When `plane` has another size than the field.
pub fn warp(plane: &[f32], field: &FlowField) -> Vec<f32> {
    let (width, height) = (field.width, field.height);
    assert_eq!(plane.len(), width * height, "a plane of another size than the flow");
    let plane = Plane { samples: plane, size: (width, height), step: 1 };
    let mut result = vec![0.0; width * height];
    for (y, line) in result.chunks_exact_mut(width.max(1)).enumerate() {
        let of_line = y * width..(y + 1) * width;
        floats(&plane, y, &field.u[of_line.clone()], &field.v[of_line], line);
    }
    result
}

/// Four samples about a point, and their weights.
pub(super) struct BilinearSample {
    at: [usize; 2],
    lines: [usize; 2],
    part: (f32, f32),
}

impl BilinearSample {
    /// None outside of the picture.
    pub(super) fn at(x: f32, y: f32, width: usize, height: usize) -> Option<Self> {
        if !(x >= 0.0 && y >= 0.0 && x <= (width - 1) as f32 && y <= (height - 1) as f32) {
            return None;
        }
        let (left, top) = (x as usize, y as usize);
        Some(BilinearSample {
            at: [left, (left + 1).min(width - 1)],
            lines: [top, (top + 1).min(height - 1)],
            part: (x - left as f32, y - top as f32),
        })
    }

    pub(super) fn of(&self, plane: &[f32], width: usize) -> f32 {
        self.of_lines(|line| &plane[line * width..][..width])
    }

    /// Of a plane whose lines `line` returns.
    pub(super) fn of_lines<'a>(&self, line: impl Fn(usize) -> &'a [f32]) -> f32 {
        let [upper, lower] = self.lines.map(|n| {
            let (a, b) = (line(n)[self.at[0]], line(n)[self.at[1]]);
            a + self.part.0 * (b - a)
        });
        upper + self.part.1 * (lower - upper)
    }
}
