//! A picture at half, a quarter… of its size, with the gradients that the search needs.

use multiversion::multiversion;
use rayon::prelude::*;

use super::options::{FlowOptions, PATCH};

/// Samples around a level's picture, which repeat its border, so that patches may leave it.
pub(super) const MARGIN: usize = 16;

/// One level: luma in 0–255, with a margin, and its gradients.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Samples from one line of `luma` to the next: `width` + 2 × [`MARGIN`].
    pub(super) stride: usize,
    /// Luma with its margin.
    pub(super) luma: Vec<f32>,
    /// Derivatives of luma by x and by y, without a margin.
    pub(super) dx: Vec<f32>,
    pub(super) dy: Vec<f32>,
}

impl Level {
    /// A line of luma, without its margin.
    pub(super) fn line(&self, y: usize) -> &[f32] {
        &self.luma[(y + MARGIN) * self.stride + MARGIN..][..self.width]
    }

    fn of(width: usize, height: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let stride = width + 2 * MARGIN;
        let mut luma = vec![0.0; stride * (height + 2 * MARGIN)];
        let inner = &mut luma[MARGIN * stride..][..height * stride];
        inner.par_chunks_mut(stride).with_min_len(16).enumerate().for_each(|(y, line)| {
            fill(y, &mut line[MARGIN..][..width]);
            let (first, last) = (line[MARGIN], line[MARGIN + width - 1]);
            line[..MARGIN].fill(first);
            line[MARGIN + width..].fill(last);
        });
        let (top, bottom) = (MARGIN * stride, (MARGIN + height - 1) * stride);
        for margin in 0..MARGIN {
            luma.copy_within(top..top + stride, margin * stride);
            luma.copy_within(bottom..bottom + stride, (MARGIN + height + margin) * stride);
        }
        Level { width, height, stride, luma, dx: Vec::new(), dy: Vec::new() }
    }

    fn add_gradients(&mut self) {
        let mut dx = vec![0.0; self.width * self.height];
        let mut dy = vec![0.0; self.width * self.height];
        let lines = dx.par_chunks_mut(self.width).zip(dy.par_chunks_mut(self.width));
        lines.with_min_len(16).enumerate().for_each(|(y, (dx, dy))| {
            let line = |n: usize| {
                &self.luma[(y + n + MARGIN - 1) * self.stride + MARGIN - 1..][..self.width + 2]
            };
            gradients(line(0), line(1), line(2), dx, dy);
        });
        (self.dx, self.dy) = (dx, dy);
    }
}

/// A picture at all of its sizes. Level n is 2⁻ⁿ of the picture, each pixel the mean of four.
#[derive(Debug, Clone)]
pub struct Pyramid {
    size: (usize, usize),
    /// From `first` on.
    levels: Vec<Level>,
    first: usize,
}

impl Pyramid {
    /// The pyramid of a plane of luma, one byte a pixel, `stride` bytes from one line to the next. Levels finer
    /// than [`FlowOptions::finest`] are left out.
    ///
    /// # Panics
    /// When `luma` is shorter than its lines need, or the picture is empty.
    pub fn new(
        luma: &[u8],
        width: usize,
        height: usize,
        stride: usize,
        options: &FlowOptions,
    ) -> Self {
        assert!(width > 0 && height > 0, "an empty picture has no flow");
        assert!(luma.len() >= (height - 1) * stride + width, "luma is shorter than its lines");
        let number = options.finest.min(deepest(width, height));
        let (w, h) = ((width >> number).max(1), (height >> number).max(1));
        let finest = Level::of(w, h, |y, out| match number {
            0 => out
                .iter_mut()
                .zip(&luma[y * stride..])
                .for_each(|(out, luma)| *out = f32::from(*luma)),
            1 => {
                let (y, next) = (2 * y, (2 * y + 1).min(height - 1));
                halve_bytes(&luma[y * stride..][..width], &luma[next * stride..][..width], out);
            }
            _ => shrink_bytes(luma, stride, number, y, out),
        });
        Self::on(finest, (width, height), number)
    }

    /// A pyramid like this one, of another picture, whose finest level is given.
    ///
    /// # Panics
    /// When `luma` has another size than [`finest_luma`](Self::finest_luma) gives.
    pub fn like(&self, luma: &[f32]) -> Self {
        let (w, h) = self.size_of(self.first);
        assert_eq!(luma.len(), w * h, "a level of another size");
        let finest = Level::of(w, h, |y, out| out.copy_from_slice(&luma[y * w..][..w]));
        Self::on(finest, self.size, self.first)
    }

    /// The luma of the finest level, line by line.
    pub fn finest_luma(&self) -> Vec<f32> {
        let finest = self.level(self.first);
        (0..finest.height).flat_map(|y| finest.line(y)).copied().collect()
    }

    fn on(mut finest: Level, size: (usize, usize), first: usize) -> Self {
        finest.add_gradients();
        let mut levels = vec![finest];
        for number in first + 1..=deepest(size.0, size.1) {
            let (w, h) = ((size.0 >> number).max(1), (size.1 >> number).max(1));
            let Some(finer) = levels.last() else { break };
            let mut level = Level::of(w, h, |y, out| {
                halve(finer.line(2 * y), finer.line((2 * y + 1).min(finer.height - 1)), out);
            });
            level.add_gradients();
            levels.push(level);
        }
        Pyramid { size, levels, first }
    }

    /// Width and height of the picture.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    pub(super) fn size_of(&self, number: usize) -> (usize, usize) {
        ((self.size.0 >> number).max(1), (self.size.1 >> number).max(1))
    }

    pub(super) fn finest(&self) -> usize {
        self.first
    }

    pub(super) fn coarsest(&self) -> usize {
        self.first + self.levels.len() - 1
    }

    pub(super) fn level(&self, number: usize) -> &Level {
        &self.levels[number - self.first]
    }
}

/// The coarsest level that is of use: its shorter side still holds a patch, its longer one some.
fn deepest(width: usize, height: usize) -> usize {
    let longer = (width.max(height) as f64 / (4.0 * PATCH as f64)).log2() + 0.5;
    let shorter = (width.min(height) as f64 / PATCH as f64).log2();
    longer.min(shorter).max(0.0) as usize
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn halve(upper: &[f32], lower: &[f32], out: &mut [f32]) {
    if upper.len() < 2 {
        out.fill((upper[0] + lower[0]) / 2.0);
        return;
    }
    for (out, (a, b)) in out.iter_mut().zip(upper.chunks_exact(2).zip(lower.chunks_exact(2))) {
        *out = ((a[0] + a[1]) + (b[0] + b[1])) * 0.25;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn halve_bytes(upper: &[u8], lower: &[u8], out: &mut [f32]) {
    for (out, (a, b)) in out.iter_mut().zip(upper.chunks_exact(2).zip(lower.chunks_exact(2))) {
        let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
        *out = f32::from(sum) * 0.25;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn shrink_bytes(luma: &[u8], stride: usize, number: usize, y: usize, out: &mut [f32]) {
    let side = 1 << number;
    let scale = 1.0 / (side * side) as f32;
    out.fill(0.0);
    for line in 0..side {
        let line = &luma[(y * side + line) * stride..];
        for (out, pixels) in out.iter_mut().zip(line.chunks_exact(side)) {
            let sum: u32 = pixels.iter().map(|p| u32::from(*p)).sum();
            *out += sum as f32 * scale;
        }
    }
}

/// Sobel's derivatives, in luma a pixel. Lines have one sample more on each side than the result.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn gradients(above: &[f32], line: &[f32], below: &[f32], dx: &mut [f32], dy: &mut [f32]) {
    let width = dx.len();
    let (above, line, below) = (&above[..width + 2], &line[..width + 2], &below[..width + 2]);
    let dy = &mut dy[..width];
    for x in 0..width {
        let right = above[x + 2] + 2.0 * line[x + 2] + below[x + 2];
        let left = above[x] + 2.0 * line[x] + below[x];
        dx[x] = (right - left) * 0.125;
        let down = below[x] + 2.0 * below[x + 1] + below[x + 2];
        let up = above[x] + 2.0 * above[x + 1] + above[x + 2];
        dy[x] = (down - up) * 0.125;
    }
}

/// Bilinear enlargement to about twice the size, times `gain`: sample i of the source covers samples 2i and
/// 2i + 1 of the result.
pub(super) fn upsample(
    source: &[f32],
    (w, h): (usize, usize),
    out: &mut [f32],
    (width, height): (usize, usize),
    gain: f32,
) {
    debug_assert!(source.len() == w * h && out.len() == width * height);
    out.par_chunks_mut(width).with_min_len(16).enumerate().for_each_init(
        || vec![0.0; w + 2],
        |mixed, (y, out)| {
            // Centre of the line on the source's grid: (y - 0.5) / 2.
            let near = (y / 2).min(h - 1);
            let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(h - 1) };
            mix(&source[near * w..][..w], &source[far * w..][..w], gain, mixed);
            spread(mixed, out);
        },
    );
}

/// ¾ near + ¼ far, with one sample repeated on each side.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn mix(near: &[f32], far: &[f32], gain: f32, out: &mut [f32]) {
    let width = near.len();
    let (a, b) = (0.75 * gain, 0.25 * gain);
    for ((out, near), far) in out[1..=width].iter_mut().zip(near).zip(far) {
        *out = a * near + b * far;
    }
    out[0] = out[1];
    out[width + 1] = out[width];
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn spread(line: &[f32], out: &mut [f32]) {
    let width = line.len() - 2;
    for (x, pair) in out.chunks_mut(2).enumerate() {
        let x = x.min(width - 1);
        pair[0] = 0.75 * line[x + 1] + 0.25 * line[x];
        if let Some(second) = pair.get_mut(1) {
            *second = 0.75 * line[x + 1] + 0.25 * line[x + 2];
        }
    }
}
