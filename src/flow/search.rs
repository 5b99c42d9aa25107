//! Inverse search of patches (Kroeger et al. 2016, section 2.1), and the dense field that they give.

use multiversion::multiversion;
use rayon::prelude::*;

use super::field::FlowField;
use super::options::{FlowOptions, PATCH};
use super::pyramid::{Level, MARGIN};

/// Pixels of a patch, as a number.
const AREA: f32 = (PATCH * PATCH) as f32;
/// Rows of patches that one thread goes through; a patch learns from its neighbours within them alone, so
/// that the result doesn't depend on the number of threads.
const ROWS: usize = 12;
/// Steps smaller than this many pixels end the descent.
const SMALL: f32 = 0.01;

/// Displacements of the patches of a level.
pub(super) struct Patches {
    /// Patches of a row, rows.
    columns: usize,
    rows: usize,
    stride: usize,
    u: Vec<f32>,
    v: Vec<f32>,
}

/// A line of a patch.
type Line = [f32; PATCH];

/// What of a patch of the first picture stays the same while it is searched in the second.
#[derive(Clone, Copy)]
struct Template {
    luma: [Line; PATCH],
    dx: [Line; PATCH],
    dy: [Line; PATCH],
    /// Sums of the derivatives over the patch.
    sum_dx: f32,
    sum_dy: f32,
    /// The inverse of the structure tensor about the mean derivatives.
    inverse: [f32; 3],
}

impl Patches {
    /// Searches every patch of `first` in `second`, from the displacements of `start` on.
    pub(super) fn search(
        first: &Level,
        second: &Level,
        start: &FlowField,
        options: &FlowOptions,
    ) -> Self {
        let stride = options.stride.clamp(1, PATCH);
        let count = |side: usize| {
            if side <= PATCH { 1 } else { 1 + (side - PATCH).div_ceil(stride) }
        };
        let (columns, rows) = (count(first.width), count(first.height));
        let mut u = vec![0.0; columns * rows];
        let mut v = vec![0.0; columns * rows];
        let parts = u.par_chunks_mut(columns * ROWS).zip(v.par_chunks_mut(columns * ROWS));
        parts.enumerate().for_each(|(part, (u, v))| {
            let search = Search {
                first,
                second,
                start,
                columns,
                stride,
                row: part * ROWS,
                descent: options.descent,
            };
            search_rows(&search, u, v);
        });
        Patches { columns, rows, stride, u, v }
    }

    /// The field in which each pixel moves as the patches around it do, each by how well it fits there.
    /// `field` gives its memory.
    pub(super) fn densify(&self, first: &Level, second: &Level, mut field: FlowField) -> FlowField {
        let width = first.width;
        const LINES: usize = 32;
        let lines =
            field.u.par_chunks_mut(width * LINES).zip(field.v.par_chunks_mut(width * LINES));
        lines.enumerate().for_each_init(Vec::new, |weights, (part, (u, v))| {
            weights.clear();
            weights.resize(u.len(), 0.0);
            densify_lines(self, first, second, part * LINES, u, v, weights);
        });
        field
    }

    /// Where the patch of this number begins in a picture of this side.
    #[inline(always)]
    fn origin(number: usize, stride: usize, side: usize) -> usize {
        (number * stride).min(side.saturating_sub(PATCH))
    }
}

struct Search<'a> {
    first: &'a Level,
    second: &'a Level,
    start: &'a FlowField,
    columns: usize,
    stride: usize,
    /// The first row of patches.
    row: usize,
    descent: usize,
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn search_rows(search: &Search, u: &mut [f32], v: &mut [f32]) {
    let columns = search.columns;
    let rows = u.len() / columns;
    for n in 0..rows * columns {
        let (row, column) = (n / columns, n % columns);
        let y = Patches::origin(search.row + row, search.stride, search.first.height);
        let x = Patches::origin(column, search.stride, search.first.width);
        let centre = (y + PATCH / 2).min(search.first.height - 1) * search.start.width
            + (x + PATCH / 2).min(search.first.width - 1);
        let start = (search.start.u[centre], search.start.v[centre]);
        let template = template(search.first, x, y);
        (u[n], v[n]) = descend(&template, search.second, (x, y), start, search.descent);
    }
}

/// Gradient descent from `start` on; the best displacement.
#[inline(always)]
fn descend(
    template: &Template,
    second: &Level,
    (x, y): (usize, usize),
    start: (f32, f32),
    steps: usize,
) -> (f32, f32) {
    let mut best = start;
    let mut at = start;
    let mut lowest = f32::INFINITY;
    for _ in 0..steps {
        let seen = measure(template, second, x, y, at);
        if seen.cost >= lowest {
            break;
        }
        (best, lowest) = (at, seen.cost);
        let [a, b, c] = template.inverse;
        let (du, dv) = (a * seen.by_dx + b * seen.by_dy, b * seen.by_dx + c * seen.by_dy);
        at = (at.0 - du, at.1 - dv);
        if du * du + dv * dv < SMALL * SMALL {
            break;
        }
        // Farther than a patch from where it began, it is another place that looks alike.
        if (at.0 - start.0).abs().max((at.1 - start.1).abs()) > PATCH as f32 {
            break;
        }
    }
    best
}

#[inline(always)]
fn line(from: &[f32]) -> Line {
    let mut line = [0.0; PATCH];
    line.copy_from_slice(&from[..PATCH]);
    line
}

#[inline(always)]
fn template(level: &Level, x: usize, y: usize) -> Template {
    let mut template = Template {
        luma: [[0.0; PATCH]; PATCH],
        dx: [[0.0; PATCH]; PATCH],
        dy: [[0.0; PATCH]; PATCH],
        sum_dx: 0.0,
        sum_dy: 0.0,
        inverse: [0.0; 3],
    };
    let (mut xx, mut xy, mut yy) = ([0.0; PATCH], [0.0; PATCH], [0.0; PATCH]);
    let (mut sx, mut sy) = ([0.0; PATCH], [0.0; PATCH]);
    let whole = x + PATCH <= level.width;
    for n in 0..PATCH {
        template.luma[n] = line(&level.luma[(y + n + MARGIN) * level.stride + x + MARGIN..]);
        // Pictures smaller than a patch: nothing beyond their border counts.
        if y + n < level.height {
            let (dx, dy) = (&level.dx[(y + n) * level.width..], &level.dy[(y + n) * level.width..]);
            if whole {
                (template.dx[n], template.dy[n]) = (line(&dx[x..]), line(&dy[x..]));
            } else {
                let count = level.width - x;
                template.dx[n][..count].copy_from_slice(&dx[x..][..count]);
                template.dy[n][..count].copy_from_slice(&dy[x..][..count]);
            }
        }
        for i in 0..PATCH {
            let (dx, dy) = (template.dx[n][i], template.dy[n][i]);
            xx[i] += dx * dx;
            xy[i] += dx * dy;
            yy[i] += dy * dy;
            sx[i] += dx;
            sy[i] += dy;
        }
    }
    let (sx, sy) = (sum(sx), sum(sy));
    let xx = sum(xx) - sx * sx / AREA;
    let xy = sum(xy) - sx * sy / AREA;
    let yy = sum(yy) - sy * sy / AREA;
    let determinant = (xx * yy - xy * xy).max(1e-3);
    template.inverse = [yy / determinant, -xy / determinant, xx / determinant];
    (template.sum_dx, template.sum_dy) = (sx, sy);
    template
}

#[inline(always)]
fn sum(line: Line) -> f32 {
    ((line[0] + line[4]) + (line[1] + line[5])) + ((line[2] + line[6]) + (line[3] + line[7]))
}

/// How a patch differs from the second picture at a displacement, each about its mean.
struct PatchDifference {
    /// Sum of squared differences.
    cost: f32,
    /// Sums of differences times derivatives.
    by_dx: f32,
    by_dy: f32,
}

/// A patch's place in `second`'s luma: index of the sample above and left, weights of the four samples.
#[inline(always)]
fn place(second: &Level, x: usize, y: usize, (u, v): (f32, f32)) -> (usize, [f32; 4]) {
    let most = |side: usize| (side + MARGIN - PATCH - 2) as f32;
    let least = -(MARGIN as f32) + 1.0;
    // NaN, which no picture gives, would become `least`.
    let px = (x as f32 + u).max(least).min(most(second.width).max(least));
    let py = (y as f32 + v).max(least).min(most(second.height).max(least));
    let (left, top) = (px.floor(), py.floor());
    let (fx, fy) = (px - left, py - top);
    let column = (left + MARGIN as f32) as usize;
    let row = (top + MARGIN as f32) as usize;
    let weights = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
    (row * second.stride + column, weights)
}

#[inline(always)]
fn sampled(second: &Level, at: usize, weights: [f32; 4], n: usize) -> Line {
    let upper = &second.luma[at + n * second.stride..][..PATCH + 1];
    let lower = &second.luma[at + (n + 1) * second.stride..][..PATCH + 1];
    let mut result = [0.0; PATCH];
    for i in 0..PATCH {
        result[i] = weights[0] * upper[i]
            + weights[1] * upper[i + 1]
            + weights[2] * lower[i]
            + weights[3] * lower[i + 1];
    }
    result
}

#[inline(always)]
fn measure(
    template: &Template,
    second: &Level,
    x: usize,
    y: usize,
    flow: (f32, f32),
) -> PatchDifference {
    let (at, weights) = place(second, x, y, flow);
    let (mut total, mut squares) = ([0.0; PATCH], [0.0; PATCH]);
    let (mut by_dx, mut by_dy) = ([0.0; PATCH], [0.0; PATCH]);
    for n in 0..PATCH {
        let there = sampled(second, at, weights, n);
        for i in 0..PATCH {
            let difference = there[i] - template.luma[n][i];
            total[i] += difference;
            squares[i] += difference * difference;
            by_dx[i] += difference * template.dx[n][i];
            by_dy[i] += difference * template.dy[n][i];
        }
    }
    let mean = sum(total) / AREA;
    PatchDifference {
        cost: sum(squares) - mean * mean * AREA,
        by_dx: sum(by_dx) - mean * template.sum_dx,
        by_dy: sum(by_dy) - mean * template.sum_dy,
    }
}

/// The lines from `from` on, of as many as `u` holds.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn densify_lines(
    patches: &Patches,
    first: &Level,
    second: &Level,
    from: usize,
    u: &mut [f32],
    v: &mut [f32],
    weights: &mut [f32],
) {
    let width = first.width;
    let to = from + u.len() / width;
    u.fill(0.0);
    v.fill(0.0);
    for row in 0..patches.rows {
        let y = Patches::origin(row, patches.stride, first.height);
        if y + PATCH <= from || y >= to {
            continue;
        }
        let lines = from.saturating_sub(y)..PATCH.min(to - y);
        for column in 0..patches.columns {
            let x = Patches::origin(column, patches.stride, width);
            let n = row * patches.columns + column;
            let (pu, pv) = (patches.u[n], patches.v[n]);
            let (at, taps) = place(second, x, y, (pu, pv));
            let count = PATCH.min(width - x);
            for line in lines.clone() {
                let there = sampled(second, at, taps, line);
                let here = &first.luma[(y + line + MARGIN) * first.stride + x + MARGIN..][..PATCH];
                let mut weight = [0.0; PATCH];
                for i in 0..PATCH {
                    let difference = there[i] - here[i];
                    weight[i] = 1.0 / (difference * difference).max(1.0);
                }
                let out = (y + line - from) * width + x;
                if count == PATCH {
                    let (u, v) = (&mut u[out..][..PATCH], &mut v[out..][..PATCH]);
                    let weights = &mut weights[out..][..PATCH];
                    for i in 0..PATCH {
                        u[i] += weight[i] * pu;
                        v[i] += weight[i] * pv;
                        weights[i] += weight[i];
                    }
                } else {
                    for i in 0..count {
                        u[out + i] += weight[i] * pu;
                        v[out + i] += weight[i] * pv;
                        weights[out + i] += weight[i];
                    }
                }
            }
        }
    }
    for ((u, v), weight) in u.iter_mut().zip(v).zip(weights) {
        let scale = 1.0 / *weight;
        *u *= scale;
        *v *= scale;
    }
}
