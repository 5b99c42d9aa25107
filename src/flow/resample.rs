//! Samples of a plane between its pixels, by Lanczos' kernel.

use std::sync::LazyLock;

use multiversion::multiversion;

/// Samples that make up one between them, on each axis.
const TAPS: usize = 8;
/// Places between two samples for which the weights are known.
const PLACES: usize = 64;

/// Weights of the samples about a place: Lanczos' kernel of four lobes. Shorter kernels blur: pictures are resampled
/// again and again as they move.
static WEIGHTS: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(|| {
    let sinc = |x: f64| {
        let x = std::f64::consts::PI * x;
        if x == 0.0 { 1.0 } else { x.sin() / x }
    };
    let weights = |place: usize| {
        let part = place as f64 / PLACES as f64;
        let taps: [f64; TAPS] = std::array::from_fn(|n| {
            let x = n as f64 - 3.0 - part;
            sinc(x) * sinc(x / 4.0)
        });
        let sum: f64 = taps.iter().sum();
        taps.map(|tap| (tap / sum) as f32)
    };
    (0..=PLACES).map(weights).collect()
});

/// A plane.
pub struct Plane<'a, T> {
    /// Begins with the plane's first sample.
    pub samples: &'a [T],
    /// Width and height, samples.
    pub size: (usize, usize),
    /// From one sample to the next.
    pub step: usize,
}

/// A line of a plane of bytes, each sample taken from `u` to the right of its place and `v` below; exact where both
/// are 0. What lies outside repeats the border.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
pub fn bytes(from: &Plane<u8>, y: usize, u: &[f32], v: &[f32], out: &mut [f32]) {
    line(from, y, u, v, out);
}

/// The same of a plane of floats.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
pub fn floats(from: &Plane<f32>, y: usize, u: &[f32], v: &[f32], out: &mut [f32]) {
    line(from, y, u, v, out);
}

#[inline(always)]
fn line<T: Copy + Into<f32>>(from: &Plane<T>, y: usize, u: &[f32], v: &[f32], out: &mut [f32]) {
    let (width, height) = from.size;
    let table: &[[f32; TAPS]] = &WEIGHTS;
    for (x, ((out, u), v)) in out.iter_mut().zip(u).zip(v).enumerate() {
        if *u == 0.0 && *v == 0.0 {
            *out = from.samples[(y * width + x) * from.step].into();
            continue;
        }
        let px = (x as f32 + u).clamp(0.0, (width - 1) as f32);
        let py = (y as f32 + v).clamp(0.0, (height - 1) as f32);
        let (left, top) = (px as usize, py as usize); // rounds down
        let weights = |part: f32| &table[((part * PLACES as f32 + 0.5) as usize).min(PLACES)];
        let (across, down) = (weights(px - left as f32), weights(py - top as f32));
        let mut sums = [0.0f32; TAPS];
        if from.step == 1 && left >= 3 && top >= 3 && left + 5 <= width && top + 5 <= height {
            let mut at = (top - 3) * width + left - 3;
            for weight in down {
                let Some(samples) = from.samples[at..].first_chunk::<TAPS>() else { break };
                for (sum, sample) in sums.iter_mut().zip(samples) {
                    *sum += weight * (*sample).into();
                }
                at += width;
            }
        } else {
            for (n, weight) in down.iter().enumerate() {
                let y = (top + n).saturating_sub(3).min(height - 1);
                for (m, sum) in sums.iter_mut().enumerate() {
                    let x = (left + m).saturating_sub(3).min(width - 1);
                    *sum += weight * from.samples[(y * width + x) * from.step].into();
                }
            }
        }
        *out = sums.iter().zip(across).map(|(sum, weight)| sum * weight).sum();
    }
}
