//! Samples of a plane between its pixels.

/// A plane of bytes.
pub(super) struct Sample<'a> {
    /// Begins with the plane's first sample.
    pub plane: &'a [u8],
    /// Width and height, samples.
    pub size: (usize, usize),
    /// From one sample to the next.
    pub step: usize,
}

/// The plane at a point, by cubic interpolation (Keys 1981, a = −½); exact at samples. What lies outside repeats the
/// border.
#[inline]
pub(super) fn sample(from: &Sample, x: f32, y: f32) -> f32 {
    let (width, height) = from.size;
    let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
    let (left, top) = (x as usize, y as usize);
    let (tx, ty) = (x - left as f32, y - top as f32);
    let value = |x: usize, y: usize| f32::from(from.plane[(y * width + x) * from.step]);
    if tx == 0.0 && ty == 0.0 {
        return value(left, top);
    }
    let (across, down) = (weights(tx), weights(ty));
    let mut sum = [0.0; 4];
    if left >= 1 && top >= 1 && left + 2 < width && top + 2 < height && from.step == 1 {
        for (n, weight) in down.iter().enumerate() {
            let line = &from.plane[(top - 1 + n) * width + left - 1..][..4];
            for (sum, sample) in sum.iter_mut().zip(line) {
                *sum += weight * f32::from(*sample);
            }
        }
    } else {
        for (n, weight) in down.iter().enumerate() {
            let y = (top + n).saturating_sub(1).min(height - 1);
            for (m, sum) in sum.iter_mut().enumerate() {
                *sum += weight * value((left + m).saturating_sub(1).min(width - 1), y);
            }
        }
    }
    (sum[0] * across[0] + sum[1] * across[1]) + (sum[2] * across[2] + sum[3] * across[3])
}

/// Weights of the four samples about a point, `t` behind the second.
#[inline]
fn weights(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        0.5 * (2.0 * t2 - t3 - t),
        0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
        0.5 * (4.0 * t2 - 3.0 * t3 + t),
        0.5 * (t3 - t2),
    ]
}
