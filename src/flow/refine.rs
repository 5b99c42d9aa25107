//! Variational refinement of a flow field.
//!
//! Minimized is the energy of Brox, Bruhn, Papenberg and Weickert (ECCV 2004) as dense inverse search uses it:
//! differences of brightness and of its gradient, and the field's own variation, each under a robust
//! penalty. The penalties' weights are fixed for a round, in which the linear equations are solved by
//! red-black successive over-relaxation.

use multiversion::multiversion;
use rayon::prelude::*;

use super::field::FlowField;
use super::pyramid::{Level, MARGIN};

/// Weights of smoothness, brightness and gradient (Kroeger et al. 2016, section 3.1).
const SMOOTHNESS: f32 = 20.0;
const BRIGHTNESS: f32 = 5.0;
const GRADIENT: f32 = 10.0;
/// Where the robust penalty |x| becomes x².
const SMALL: f32 = 0.001;
/// Keeps weights finite where there is no gradient.
const FLAT: f32 = 0.1;
/// Over-relaxation.
const RELAXATION: f32 = 1.6;
/// Lines that one thread solves by itself in a round. The result doesn't depend on the number of threads.
const LINES: usize = 64;

/// How much is refined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refinement {
    pub(super) rounds: usize,
    pub(super) sweeps: usize,
}

/// A plane with one sample more on each side of a line.
struct Plane {
    stride: usize,
    samples: Vec<f32>,
}

impl Plane {
    fn new(width: usize, height: usize) -> Self {
        Plane { stride: width + 2, samples: vec![0.0; (width + 2) * height] }
    }

    fn line(&self, y: usize) -> &[f32] {
        &self.samples[y * self.stride..][..self.stride]
    }
}

/// The linear equations of a round: for each pixel
/// `u · (a11 + Σw) + v · a12 = cu + Σ w u'`, and the same for v; `du`, `dv` are 1 / (a + Σw).
struct LinearSystem {
    a12: Plane,
    cu: Plane,
    cv: Plane,
    du: Plane,
    dv: Plane,
    /// Weight between a pixel and the next of its line; between a pixel and the one below.
    across: Plane,
    down: Plane,
}

/// What is constant over all rounds.
struct Derivatives {
    x: Plane,
    y: Plane,
    t: Plane,
    xx: Plane,
    xy: Plane,
    yy: Plane,
    xt: Plane,
    yt: Plane,
}

impl Refinement {
    /// Refines `field`, the flow from `first` to `second`.
    pub(super) fn apply(self, first: &Level, second: &Level, field: &mut FlowField) {
        let (width, height) = (first.width, first.height);
        if width < 4 || height < 4 {
            return;
        }
        let start = [padded(&field.u, width), padded(&field.v, width)];
        let mut u = padded(&field.u, width);
        let mut v = padded(&field.v, width);
        let derivatives = Derivatives::new(first, second, field);
        let plane = || Plane::new(width, height);
        let mut equations = LinearSystem {
            a12: plane(),
            cu: plane(),
            cv: plane(),
            du: plane(),
            dv: plane(),
            across: plane(),
            down: plane(),
        };
        for _ in 0..self.rounds {
            equations.weigh(&u, &v, height);
            equations.set(&derivatives, &start, &u, &v);
            solve(&equations, &mut u, &mut v, self.sweeps);
        }
        for (field, refined) in [(&mut field.u, &u), (&mut field.v, &v)] {
            for (out, line) in field.chunks_mut(width).zip(refined.samples.chunks(width + 2)) {
                out.copy_from_slice(&line[1..=width]);
            }
        }
    }
}

fn padded(samples: &[f32], width: usize) -> Plane {
    let mut plane = Plane::new(width, samples.len() / width);
    for (line, samples) in plane.samples.chunks_mut(width + 2).zip(samples.chunks(width)) {
        line[1..=width].copy_from_slice(samples);
        pad(line);
    }
    plane
}

/// Repeats the first and last sample of a line outside of it.
#[inline(always)]
fn pad(line: &mut [f32]) {
    let last = line.len() - 1;
    line[0] = line[1];
    line[last] = line[last - 1];
}

impl Derivatives {
    fn new(first: &Level, second: &Level, field: &FlowField) -> Self {
        let (width, height) = (first.width, first.height);
        let plane = || Plane::new(width, height);
        let (mut mean, mut t) = (plane(), plane());
        let stride = width + 2;
        let lines = mean.samples.par_chunks_mut(stride).zip(t.samples.par_chunks_mut(stride));
        lines.with_min_len(8).enumerate().for_each(|(y, (mean, t))| {
            let (u, v) = (&field.u[y * width..][..width], &field.v[y * width..][..width]);
            warp_line(second, y, u, v, &mut mean[1..=width]);
            let here = first.line(y);
            for x in 0..width {
                let there = mean[x + 1];
                t[x + 1] = there - here[x];
                mean[x + 1] = 0.5 * (there + here[x]);
            }
            pad(mean);
            pad(t);
        });
        let (x, y) = differences(&mean, height);
        let (xx, xy) = differences(&x, height);
        let (_, yy) = differences(&y, height);
        let (xt, yt) = differences(&t, height);
        Derivatives { x, y, t, xx, xy, yy, xt, yt }
    }
}

/// A line of the second picture, seen where the flow says.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn warp_line(second: &Level, y: usize, u: &[f32], v: &[f32], out: &mut [f32]) {
    let least = -(MARGIN as f32) + 1.0;
    let right = (second.width + MARGIN - 2) as f32;
    let bottom = (second.height + MARGIN - 2) as f32;
    for (x, out) in out.iter_mut().enumerate() {
        let px = (x as f32 + u[x]).max(least).min(right) + MARGIN as f32;
        let py = (y as f32 + v[x]).max(least).min(bottom) + MARGIN as f32;
        let (column, row) = (px as usize, py as usize);
        let (fx, fy) = (px - column as f32, py - row as f32);
        let at = row * second.stride + column;
        let (a, b) = (second.luma[at], second.luma[at + 1]);
        let (c, d) = (second.luma[at + second.stride], second.luma[at + second.stride + 1]);
        let (upper, lower) = (a + fx * (b - a), c + fx * (d - c));
        *out = upper + fy * (lower - upper);
    }
}

/// Central differences by x and by y.
fn differences(plane: &Plane, height: usize) -> (Plane, Plane) {
    let stride = plane.stride;
    let mut dx = Plane { stride, samples: vec![0.0; plane.samples.len()] };
    let mut dy = Plane { stride, samples: vec![0.0; plane.samples.len()] };
    let lines = dx.samples.par_chunks_mut(stride).zip(dy.samples.par_chunks_mut(stride));
    lines.with_min_len(16).enumerate().for_each(|(y, (dx, dy))| {
        let above = plane.line(y.saturating_sub(1));
        let below = plane.line((y + 1).min(height - 1));
        difference_line(above, plane.line(y), below, dx, dy);
        pad(dx);
        pad(dy);
    });
    (dx, dy)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn difference_line(above: &[f32], line: &[f32], below: &[f32], dx: &mut [f32], dy: &mut [f32]) {
    let width = line.len() - 2;
    let (left, right) = (&line[..width], &line[2..][..width]);
    let (above, below) = (&above[1..][..width], &below[1..][..width]);
    let (dx, dy) = (&mut dx[1..][..width], &mut dy[1..][..width]);
    for x in 0..width {
        dx[x] = 0.5 * (right[x] - left[x]);
        dy[x] = 0.5 * (below[x] - above[x]);
    }
}

impl LinearSystem {
    /// Weights of smoothness, from the field as it is.
    fn weigh(&mut self, u: &Plane, v: &Plane, height: usize) {
        let stride = u.stride;
        let lines = self.across.samples.par_chunks_mut(stride);
        let lines = lines.zip(self.down.samples.par_chunks_mut(stride));
        lines.with_min_len(16).enumerate().for_each(|(y, (across, down))| {
            let next = (y + 1).min(height - 1);
            weigh_line([u.line(y), u.line(next)], [v.line(y), v.line(next)], across, down);
            // Nothing lies beyond the borders.
            across[0] = 0.0;
            across[stride - 2] = 0.0;
            if y + 1 == height {
                down.fill(0.0);
            }
        });
    }

    fn set(&mut self, derivatives: &Derivatives, start: &[Plane; 2], u: &Plane, v: &Plane) {
        let stride = u.stride;
        let (across, down) = (&self.across, &self.down);
        let nothing = vec![0.0; stride];
        let lines = self.a12.samples.par_chunks_mut(stride);
        let lines = lines.zip(self.cu.samples.par_chunks_mut(stride));
        let lines = lines.zip(self.cv.samples.par_chunks_mut(stride));
        let lines = lines.zip(self.du.samples.par_chunks_mut(stride));
        let lines = lines.zip(self.dv.samples.par_chunks_mut(stride));
        lines.with_min_len(8).enumerate().for_each(|(y, ((((a12, cu), cv), du), dv))| {
            let d = derivatives;
            let given = EquationInputs {
                first: [&d.x, &d.y, &d.t].map(|plane| plane.line(y)),
                second: [&d.xx, &d.xy, &d.yy, &d.xt, &d.yt].map(|plane| plane.line(y)),
                start: [start[0].line(y), start[1].line(y)],
                now: [u.line(y), v.line(y)],
                across: across.line(y),
                above: if y == 0 { &nothing } else { down.line(y - 1) },
                below: down.line(y),
            };
            set_line(&given, a12, cu, cv, du, dv);
        });
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn weigh_line(u: [&[f32]; 2], v: [&[f32]; 2], across: &mut [f32], down: &mut [f32]) {
    let width = u[0].len() - 2;
    let (u0, u1, u2) = (&u[0][1..][..width], &u[0][2..][..width], &u[1][1..][..width]);
    let (v0, v1, v2) = (&v[0][1..][..width], &v[0][2..][..width], &v[1][1..][..width]);
    let (across, down) = (&mut across[1..][..width], &mut down[1..][..width]);
    for x in 0..width {
        let (ux, uy) = (u1[x] - u0[x], u2[x] - u0[x]);
        let (vx, vy) = (v1[x] - v0[x], v2[x] - v0[x]);
        let weight = SMOOTHNESS / (ux * ux + uy * uy + vx * vx + vy * vy + SMALL * SMALL).sqrt();
        across[x] = weight;
        down[x] = weight;
    }
}

/// Lines of what the equations are made from.
struct EquationInputs<'a> {
    /// x, y, t.
    first: [&'a [f32]; 3],
    /// xx, xy, yy, xt, yt.
    second: [&'a [f32]; 5],
    start: [&'a [f32]; 2],
    now: [&'a [f32]; 2],
    across: &'a [f32],
    above: &'a [f32],
    below: &'a [f32],
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn set_line(
    given: &EquationInputs,
    a12: &mut [f32],
    cu: &mut [f32],
    cv: &mut [f32],
    du: &mut [f32],
    dv: &mut [f32],
) {
    let width = a12.len() - 2;
    let [dx, dy, dt] = given.first.map(|line| &line[1..][..width]);
    let [dxx, dxy, dyy, dxt, dyt] = given.second.map(|line| &line[1..][..width]);
    let [u0, v0] = given.start.map(|line| &line[1..][..width]);
    let [u, v] = given.now.map(|line| &line[1..][..width]);
    let (left, right) = (&given.across[..width], &given.across[1..][..width]);
    let below = &given.below[1..][..width];
    let above = &given.above[1..][..width];
    let (a12, cu, cv) = (&mut a12[1..][..width], &mut cu[1..][..width], &mut cv[1..][..width]);
    let (du, dv) = (&mut du[1..][..width], &mut dv[1..][..width]);
    for x in 0..width {
        // What the round before has added to where the second picture was sampled.
        let (mu, mv) = (u[x] - u0[x], v[x] - v0[x]);
        let norm = 1.0 / (dx[x] * dx[x] + dy[x] * dy[x] + FLAT * FLAT);
        let rest = dt[x] + dx[x] * mu + dy[x] * mv;
        let weight = BRIGHTNESS * norm / (rest * rest * norm + SMALL * SMALL).sqrt();
        let mut a11 = weight * dx[x] * dx[x] + FLAT * FLAT;
        let mut both = weight * dx[x] * dy[x];
        let mut a22 = weight * dy[x] * dy[x] + FLAT * FLAT;
        let mut b1 = -weight * dt[x] * dx[x];
        let mut b2 = -weight * dt[x] * dy[x];
        let nx = 1.0 / (dxx[x] * dxx[x] + dxy[x] * dxy[x] + FLAT * FLAT);
        let ny = 1.0 / (dxy[x] * dxy[x] + dyy[x] * dyy[x] + FLAT * FLAT);
        let rx = dxt[x] + dxx[x] * mu + dxy[x] * mv;
        let ry = dyt[x] + dxy[x] * mu + dyy[x] * mv;
        let weight = GRADIENT / (rx * rx * nx + ry * ry * ny + SMALL * SMALL).sqrt();
        let (wx, wy) = (weight * nx, weight * ny);
        a11 += wx * dxx[x] * dxx[x] + wy * dxy[x] * dxy[x];
        both += wx * dxx[x] * dxy[x] + wy * dxy[x] * dyy[x];
        a22 += wx * dxy[x] * dxy[x] + wy * dyy[x] * dyy[x];
        b1 -= wx * dxx[x] * dxt[x] + wy * dxy[x] * dyt[x];
        b2 -= wx * dxy[x] * dxt[x] + wy * dyy[x] * dyt[x];
        let around = left[x] + right[x] + above[x] + below[x];
        a12[x] = both;
        cu[x] = b1 + a11 * u0[x] + both * v0[x];
        cv[x] = b2 + both * u0[x] + a22 * v0[x];
        du[x] = 1.0 / (a11 + around);
        dv[x] = 1.0 / (a22 + around);
    }
}

/// Sweeps over the equations. Each part of [`LINES`] lines sees its neighbours as the round began.
fn solve(equations: &LinearSystem, u: &mut Plane, v: &mut Plane, sweeps: usize) {
    let stride = u.stride;
    let height = u.samples.len() / stride;
    let borders: Vec<[Vec<f32>; 4]> = (0..height.div_ceil(LINES))
        .map(|part| {
            let above = (part * LINES).saturating_sub(1);
            let below = ((part + 1) * LINES).min(height - 1);
            [u.line(above), v.line(above), u.line(below), v.line(below)].map(<[f32]>::to_vec)
        })
        .collect();
    let parts = u.samples.par_chunks_mut(stride * LINES);
    let parts = parts.zip(v.samples.par_chunks_mut(stride * LINES)).zip(borders);
    parts.enumerate().for_each(|(part, ((u, v), borders))| {
        sweep(equations, part * LINES, u, v, &borders, sweeps);
    });
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn sweep(
    equations: &LinearSystem,
    from: usize,
    u: &mut [f32],
    v: &mut [f32],
    borders: &[Vec<f32>; 4],
    sweeps: usize,
) {
    let stride = equations.a12.stride;
    let width = stride - 2;
    let lines = u.len() / stride;
    let relax = [0, 1].map(|colour| -> Vec<f32> {
        (0..width).map(|x| if x % 2 == colour { RELAXATION } else { 0.0 }).collect()
    });
    let zeros = vec![0.0; stride];
    let (mut old_u, mut old_v) = (vec![0.0; stride], vec![0.0; stride]);
    for half in 0..2 * sweeps {
        for line in 0..lines {
            let y = from + line;
            let relax = &relax[(half + y) % 2][..width];
            old_u.copy_from_slice(&u[line * stride..][..stride]);
            old_v.copy_from_slice(&v[line * stride..][..stride]);
            let (before_u, now_u) = u.split_at_mut(line * stride);
            let (before_v, now_v) = v.split_at_mut(line * stride);
            let (now_u, after_u) = now_u.split_at_mut(stride);
            let (now_v, after_v) = now_v.split_at_mut(stride);
            let above = match line {
                0 => [&borders[0][..], &borders[1][..]],
                _ => [&before_u[(line - 1) * stride..], &before_v[(line - 1) * stride..]],
            };
            let below = if line + 1 == lines {
                [&borders[2][..], &borders[3][..]]
            } else {
                [&after_u[..stride], &after_v[..stride]]
            };
            let [above_u, above_v] = above.map(|line| &line[1..][..width]);
            let [below_u, below_v] = below.map(|line| &line[1..][..width]);
            let (left_u, right_u) = (&old_u[..width], &old_u[2..][..width]);
            let (left_v, right_v) = (&old_v[..width], &old_v[2..][..width]);
            let across = equations.across.line(y);
            let (left, right) = (&across[..width], &across[1..][..width]);
            let up = if y == 0 { &zeros[..] } else { equations.down.line(y - 1) };
            let (up, down) = (&up[1..][..width], &equations.down.line(y)[1..][..width]);
            let a12 = &equations.a12.line(y)[1..][..width];
            let (cu, cv) =
                (&equations.cu.line(y)[1..][..width], &equations.cv.line(y)[1..][..width]);
            let (du, dv) =
                (&equations.du.line(y)[1..][..width], &equations.dv.line(y)[1..][..width]);
            let (now_u, now_v) = (&mut now_u[1..][..width], &mut now_v[1..][..width]);
            let (was_u, was_v) = (&old_u[1..][..width], &old_v[1..][..width]);
            for x in 0..width {
                let around = left[x] * left_u[x]
                    + right[x] * right_u[x]
                    + up[x] * above_u[x]
                    + down[x] * below_u[x];
                let wanted = (cu[x] - a12[x] * was_v[x] + around) * du[x];
                let new_u = was_u[x] + relax[x] * (wanted - was_u[x]);
                let around = left[x] * left_v[x]
                    + right[x] * right_v[x]
                    + up[x] * above_v[x]
                    + down[x] * below_v[x];
                let wanted = (cv[x] - a12[x] * new_u + around) * dv[x];
                now_u[x] = new_u;
                now_v[x] = was_v[x] + relax[x] * (wanted - was_v[x]);
            }
        }
    }
    for line in u.chunks_mut(stride).chain(v.chunks_mut(stride)) {
        pad(line);
    }
}
