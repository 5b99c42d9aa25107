//! Samples of a frame ↔ R, G, B planes on a CPU, in one pass over the memory.
//!
//! The colours, and where chroma lies, are those of [`color`](super::color), which does the same in
//! libtorch for GPUs.

use multiversion::multiversion;
use rayon::prelude::*;

use super::color::ColorMatrix;
use crate::core::frame::Layout;

/// Rows of a matrix, each with its constant.
type Rows = [([f32; 3], f32); 3];
/// A row of each of R, G and B.
type Rgb<'a> = [&'a [f32]; 3];

/// Least number of line pairs per thread.
const PAIRS: usize = 4;

/// Converts frames of one size, layout and colorimetry.
#[derive(Debug)]
pub struct CpuConverter {
    layout: Layout,
    width: usize,
    height: usize,
    to_rgb: Rows,
    from_rgb: Rows,
}

impl CpuConverter {
    /// `to_rgb` and `from_rgb` are those of the frames' colorimetry; RGB has no use for them.
    pub fn new(
        layout: Layout,
        (width, height): (usize, usize),
        to_rgb: ColorMatrix,
        from_rgb: ColorMatrix,
    ) -> Self {
        let rows = |affine: ColorMatrix| {
            let row = |n: usize| (affine.rows[n].map(|x| x as f32), affine.constants[n] as f32);
            [0, 1, 2].map(row)
        };
        CpuConverter { layout, width, height, to_rgb: rows(to_rgb), from_rgb: rows(from_rgb) }
    }

    /// Samples become R, G and B, each a plane of height × width on the scale 0–255, clamped to it.
    ///
    /// # Panics
    /// When there are more or fewer samples than a frame has, or numbers than 3 × height × width.
    pub fn to_rgb(&self, samples: &[u8], rgb: &mut [f32]) {
        let pixels = self.check(samples.len(), rgb.len());
        let (red, rest) = rgb.split_at_mut(pixels);
        let (green, blue) = rest.split_at_mut(pixels);
        let lines = 2 * self.width;
        let out = red.par_chunks_mut(lines).zip(green.par_chunks_mut(lines));
        let out = out.zip(blue.par_chunks_mut(lines)).with_min_len(PAIRS).enumerate();
        match self.layout {
            Layout::Rgb => out.for_each(|(n, ((r, g), b))| {
                from_interleaved(&samples[3 * n * lines..][..3 * r.len()], [r, g, b]);
            }),
            Layout::Y444 => out.for_each(|(n, ((r, g), b))| {
                let part = |plane: usize| &samples[plane * pixels + n * lines..][..r.len()];
                let planes = [part(0), part(1), part(2)];
                mix_all(&self.to_rgb, planes, [r, g, b]);
            }),
            Layout::I420 => {
                let (luma, chroma) = samples.split_at(pixels);
                let (columns, rows) = (self.width.div_ceil(2), self.height.div_ceil(2));
                let line =
                    |plane: usize, row: usize| &chroma[(plane * rows + row) * columns..][..columns];
                let both = |row: usize| [line(0, row), line(1, row)];
                // One more column to the right: the last one repeats.
                let room =
                    || [vec![0.0; columns + 1], vec![0.0; columns + 1], vec![0.0; columns + 1]];
                out.for_each_init(room, |share, (n, ((r, g), b))| {
                    let out = r.chunks_mut(self.width).zip(g.chunks_mut(self.width));
                    let out = out.zip(b.chunks_mut(self.width));
                    // Down, a line of luma is a quarter of the way from its chroma line to the
                    // last or next one.
                    let others = [n.saturating_sub(1), (n + 1).min(rows - 1)];
                    for (half, (((r, g), b), other)) in out.zip(others).enumerate() {
                        shares(&self.to_rgb, both(n), both(other), share);
                        let luma = &luma[(2 * n + half) * self.width..][..self.width];
                        for ((out, share), (row, _)) in
                            [r, g, b].into_iter().zip(share.iter()).zip(self.to_rgb)
                        {
                            with_luma(luma, row[0], share, out);
                        }
                    }
                });
            }
        }
    }

    /// R, G and B become samples, rounded; values beyond 0–255 count as the nearer of the two.
    ///
    /// # Panics
    /// R, G and B, as [`to_rgb`](Self::to_rgb) gives them, become samples again, rounded.
    ///
    /// # Panics
    /// When there are more or fewer samples than a frame has, or numbers than 3 × height × width.
    pub fn from_rgb(&self, rgb: &[f32], samples: &mut [u8]) {
        let pixels = self.check(samples.len(), rgb.len());
        let part = |from: usize, count: usize| -> Rgb<'_> {
            [0, 1, 2].map(|plane| &rgb[plane * pixels + from..][..count])
        };
        let lines = 2 * self.width;
        match self.layout {
            Layout::Rgb => {
                let out = samples.par_chunks_mut(3 * lines).with_min_len(PAIRS).enumerate();
                out.for_each(|(n, out)| to_interleaved(part(n * lines, out.len() / 3), out));
            }
            Layout::Y444 => {
                let (luma, chroma) = samples.split_at_mut(pixels);
                let (cb, cr) = chroma.split_at_mut(pixels);
                let out = luma.par_chunks_mut(lines).zip(cb.par_chunks_mut(lines));
                let out = out.zip(cr.par_chunks_mut(lines)).with_min_len(PAIRS).enumerate();
                out.for_each(|(n, ((y, cb), cr))| {
                    let rgb = part(n * lines, y.len());
                    for (out, row) in [y, cb, cr].into_iter().zip(&self.from_rgb) {
                        code(row, rgb, out);
                    }
                });
            }
            Layout::I420 => {
                let columns = self.width.div_ceil(2);
                let (luma, chroma) = samples.split_at_mut(pixels);
                let (cb, cr) = chroma.split_at_mut(chroma.len() / 2);
                let out = luma.par_chunks_mut(lines).zip(cb.par_chunks_mut(columns));
                let out = out.zip(cr.par_chunks_mut(columns)).with_min_len(PAIRS).enumerate();
                let room = || [0, 1, 2].map(|_| (vec![0.0; 2 * columns + 1], vec![0.0; columns]));
                out.for_each_init(room, |room, (n, ((y, cb), cr))| {
                    let [luma_row, cb_row, cr_row] = &self.from_rgb;
                    code(luma_row, part(n * lines, y.len()), y);
                    let upper = part(n * lines, self.width);
                    // Beyond the border the outermost sample repeats.
                    let lower = part(n * lines + y.len() - self.width, self.width);
                    for ((sums, reduced), (upper, lower)) in
                        room.iter_mut().zip(upper.into_iter().zip(lower))
                    {
                        reduce(upper, lower, sums, reduced);
                    }
                    let [(_, r), (_, g), (_, b)] = room;
                    code(cb_row, [r, g, b], cb);
                    code(cr_row, [r, g, b], cr);
                });
            }
        }
    }

    fn check(&self, samples: usize, numbers: usize) -> usize {
        let pixels = self.width * self.height;
        assert_eq!(samples, self.layout.bytes(self.width, self.height), "samples of a frame");
        assert_eq!(numbers, 3 * pixels, "R, G and B of a frame");
        pixels
    }
}

#[inline(always)]
fn clamped(x: f32) -> f32 {
    // Not `clamp`: NaN becomes 0.
    let x = if x > 0.0 { x } else { 0.0 };
    if x < 255.0 { x } else { 255.0 }
}

/// Rounded to the nearest, halves to the even one, as libtorch does.
#[inline(always)]
fn byte(x: f32) -> u8 {
    // 1.5 · 2²³: the sum's last bits are the integer. Unlike `round` that is a plain addition on
    // every processor.
    (clamped(x) + 12_582_912.0).to_bits() as u8
}

#[inline(always)]
fn mixed((row, constant): &([f32; 3], f32), x: [f32; 3]) -> f32 {
    row[0] * x[0] + row[1] * x[1] + row[2] * x[2] + constant
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn mix_all(rows: &Rows, planes: [&[u8]; 3], out: [&mut [f32]; 3]) {
    for (out, row) in out.into_iter().zip(rows) {
        let inputs = planes[0].iter().zip(planes[1]).zip(planes[2]);
        for (out, ((&y, &cb), &cr)) in out.iter_mut().zip(inputs) {
            *out = clamped(mixed(row, [y, cb, cr].map(f32::from)));
        }
    }
}

/// What chroma adds to R, G and B, three quarters of it from the nearer line.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn shares(rows: &Rows, near: [&[u8]; 2], far: [&[u8]; 2], out: &mut [Vec<f32>; 3]) {
    for (out, (row, constant)) in out.iter_mut().zip(rows) {
        let chroma = near[0].iter().zip(far[0]).zip(near[1].iter().zip(far[1]));
        for (out, ((&cb, &other_cb), (&cr, &other_cr))) in out.iter_mut().zip(chroma) {
            let cb = 0.75 * f32::from(cb) + 0.25 * f32::from(other_cb);
            let cr = 0.75 * f32::from(cr) + 0.25 * f32::from(other_cr);
            *out = row[1] * cb + row[2] * cr + constant;
        }
        let last = near[0].len();
        out[last] = out[last - 1];
    }
}

/// A line of R, G or B: every second column lies on one of chroma, the others half way between two.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn with_luma(luma: &[u8], scale: f32, share: &[f32], out: &mut [f32]) {
    let shares = share.iter().zip(&share[1..]);
    let pairs = out.chunks_exact_mut(2).zip(luma.chunks_exact(2));
    for ((out, luma), (&here, &next)) in pairs.zip(shares) {
        out[0] = clamped(scale * f32::from(luma[0]) + here);
        out[1] = clamped(scale * f32::from(luma[1]) + 0.5 * (here + next));
    }
    if let (true, [.., out], [.., luma]) = (out.len() % 2 == 1, out, luma) {
        *out = clamped(scale * f32::from(*luma) + share[share.len() - 1]);
    }
}

/// A line of codes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn code(row: &([f32; 3], f32), rgb: Rgb<'_>, out: &mut [u8]) {
    let inputs = rgb[0].iter().zip(rgb[1]).zip(rgb[2]);
    for (out, ((&r, &g), &b)) in out.iter_mut().zip(inputs) {
        *out = byte(mixed(row, [clamped(r), clamped(g), clamped(b)]));
    }
}

/// Two lines become one of half the width: \[1 1\]/2 down, \[1 2 1\]/4 across.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn reduce(upper: &[f32], lower: &[f32], sums: &mut [f32], out: &mut [f32]) {
    let width = upper.len();
    for (sum, (&upper, &lower)) in sums[1..].iter_mut().zip(upper.iter().zip(lower)) {
        *sum = clamped(upper) + clamped(lower);
    }
    sums[0] = sums[1];
    if width % 2 == 1 {
        sums[width + 1] = sums[width];
    }
    let right = sums[2..].chunks(2);
    for (out, (pair, right)) in out.iter_mut().zip(sums.chunks_exact(2).zip(right)) {
        *out = 0.125 * (pair[0] + 2.0 * pair[1] + right[0]);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn from_interleaved(samples: &[u8], out: [&mut [f32]; 3]) {
    let [r, g, b] = out;
    let out = r.iter_mut().zip(g).zip(b);
    for (sample, ((r, g), b)) in samples.chunks_exact(3).zip(out) {
        (*r, *g, *b) = (sample[0].into(), sample[1].into(), sample[2].into());
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn to_interleaved(rgb: Rgb<'_>, out: &mut [u8]) {
    let inputs = rgb[0].iter().zip(rgb[1]).zip(rgb[2]);
    for (out, ((&r, &g), &b)) in out.chunks_exact_mut(3).zip(inputs) {
        out.copy_from_slice(&[byte(r), byte(g), byte(b)]);
    }
}
