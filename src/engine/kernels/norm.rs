//! Instance norm (Ulyanov et al. 2016) in two halves: a convolution takes the statistics of what it
//! writes, and the layer after it applies them to what it reads.

use super::Shared;
use super::simd::Simd;
use crate::engine::EPSILON;

/// Sums over parts of a picture: for each part how many pixels, and for each channel a pivot, the
/// sum of differences to it and the sum of their squares.
///
/// The pivot is one of the channel's own values, so that the squares lose nothing to a mean far
/// from zero; parts are joined in double precision (Chan et al. 1983).
#[derive(Debug, Default)]
pub(super) struct Statistics {
    parts: usize,
    channels: usize,
    numbers: Vec<f32>,
}

impl Statistics {
    /// For so many parts, none of which is known yet.
    pub(super) fn reset(&mut self, parts: usize, channels: usize) {
        (self.parts, self.channels) = (parts, channels);
        self.numbers.resize(parts * (3 * channels + 1), 0.0);
    }

    /// Where tasks write their parts' sums.
    pub(super) fn parts(&mut self) -> PartialSums {
        PartialSums {
            first: Shared::of(&mut self.numbers),
            parts: self.parts,
            channels: self.channels,
        }
    }

    /// Mean and deviation of each of `count` channels. A convolution with several outputs for a channel
    /// (the phases of an upsampled picture) has first all channels' first outputs, then all second
    /// ones, and so on.
    pub(super) fn moments(&self, count: usize) -> impl Iterator<Item = (f64, f64)> {
        (0..count).map(move |channel| {
            let (mut pixels, mut mean, mut square) = (0.0, 0.0, 0.0);
            for part in self.numbers.chunks_exact(3 * self.channels + 1) {
                let more = f64::from(part[0]);
                let (pivots, sums) = part[1..].split_at(self.channels);
                let (sums, squares) = sums.split_at(self.channels);
                for c in (channel..self.channels).step_by(count) {
                    let sum = f64::from(sums[c]);
                    let here = f64::from(pivots[c]) + sum / more;
                    let away = here - mean;
                    let all = pixels + more;
                    square += f64::from(squares[c]) - sum * sum / more
                        + away * away * pixels * more / all;
                    mean += away * more / all;
                    pixels = all;
                }
            }
            (mean, (square.max(0.0) / pixels + EPSILON).sqrt())
        })
    }

    /// Scale and shift of the norm with this weight and bias, for each of its channels.
    pub(super) fn affine(
        &self,
        weight: &[f32],
        bias: &[f32],
        (scale, shift): &mut (Vec<f32>, Vec<f32>),
    ) {
        scale.clear();
        shift.clear();
        let affine = weight.iter().zip(bias);
        for ((&weight, &bias), (mean, deviation)) in affine.zip(self.moments(weight.len())) {
            // Of a plane of one value (a picture of a few pixels has them) the bias is left: exact, whatever the
            // root of EPSILON would make of rounding.
            let plain = deviation == EPSILON.sqrt();
            let factor = if plain { 0.0 } else { (f64::from(weight) / deviation) as f32 };
            scale.push(factor);
            // With the factor as it is rounded, for the same reason.
            shift.push((f64::from(bias) - mean * f64::from(factor)) as f32);
        }
    }
}

/// Where sums are written to.
#[derive(Clone, Copy)]
pub(super) struct PartialSums {
    first: Shared,
    parts: usize,
    channels: usize,
}

impl PartialSums {
    /// The place of a part's sums.
    pub(super) fn part(&self, part: usize) -> Shared {
        assert!(part < self.parts);
        let numbers = 3 * self.channels + 1;
        // SAFETY: there are as many parts.
        unsafe { self.first.part(part * numbers, numbers) }
    }
}

/// Sums of one channel vector on their way.
#[derive(Clone, Copy)]
pub(super) struct Sums<S> {
    pivot: S,
    sum: S,
    square: S,
}

impl<S: Simd> Sums<S> {
    /// # Safety
    /// As of all vectors.
    #[inline(always)]
    pub(super) unsafe fn around(pivot: S) -> Self {
        Sums { pivot, sum: S::zero(), square: S::zero() }
    }

    /// # Safety
    /// As of all vectors.
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, x: S) {
        let away = x.sub(self.pivot);
        self.sum = self.sum.add(away);
        self.square = away.mul_add(away, self.square);
    }

    /// What [`store`](Self::store) wrote.
    ///
    /// # Safety
    /// As `store`'s.
    #[inline(always)]
    pub(super) unsafe fn load(part: *const f32, channel: usize, channels: usize) -> Self {
        let at = part.add(1 + channel);
        let sum = S::load(at.add(channels));
        Sums { pivot: S::load(at), sum, square: S::load(at.add(2 * channels)) }
    }

    /// Writes the sums of channels from `channel` on.
    ///
    /// # Safety
    /// `part` is a part's place with so many channels.
    #[inline(always)]
    pub(super) unsafe fn store(self, part: *mut f32, channel: usize, channels: usize) {
        let at = part.add(1 + channel);
        self.pivot.store(at);
        self.sum.store(at.add(channels));
        self.square.store(at.add(2 * channels));
    }
}
