//! What a layer reads: the layer before it as its convolution left it, normalized while it is read,
//! with something beyond its borders.

use super::Shared;
use super::simd::Simd;
use crate::engine::layers::mirrored;

/// What lies beyond the borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BorderMode {
    /// The picture mirrored at the middle of its border pixels.
    Reflect,
    /// Its border pixels, again and again.
    Replicate,
    /// Nothing.
    Zero,
}

/// For each place from `-before` on, `count` of them, the place within `length` that is seen there.
pub(super) fn places(
    border: BorderMode,
    before: usize,
    count: usize,
    length: usize,
) -> Vec<Option<usize>> {
    // Lossless: lengths of pictures.
    let (length, first) = (length as i64, -(before as i64));
    let beyond = first + count as i64;
    match border {
        BorderMode::Reflect => {
            let seen = mirrored(before as i64, length, beyond - length);
            seen.into_iter().map(|n| Some(n as usize)).collect()
        }
        BorderMode::Replicate => {
            (first..beyond).map(|n| Some(n.clamp(0, length - 1) as usize)).collect()
        }
        BorderMode::Zero => {
            (first..beyond).map(|n| (0..length).contains(&n).then_some(n as usize)).collect()
        }
    }
}

/// How the values of a layer are read: after ReLU, with the skip added, or as they are.
pub(super) const RELU: u8 = 0;
pub(super) const SKIP: u8 = 1;
pub(super) const LINEAR: u8 = 2;

/// The layer before: height × width × channels of it as its convolution left it.
///
/// A value is `max(x · scale + shift, 0)`; `x · scale + shift + skip` where there is a skip; `x` where
/// it is linear.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceRows<'a, T = f32> {
    pub numbers: &'a [T],
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// One for each channel.
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    /// Of the same size.
    pub skip: Option<&'a [T]>,
    /// Whether the numbers are the values; there is no skip then.
    pub linear: bool,
    /// Where values are kept for a later skip; each is written once.
    pub keep: Option<Shared<T>>,
}

impl<T> SourceRows<'_, T> {
    /// Whether there are as many numbers as it says.
    pub(super) fn is_whole(&self) -> bool {
        let size = self.height * self.width * self.channels;
        let affine = self.scale.len().min(self.shift.len());
        self.numbers.len() >= size
            && affine >= self.channels
            && self.skip.is_none_or(|skip| skip.len() >= size)
            && self.keep.as_ref().is_none_or(|keep| keep.count >= size)
    }
}

impl SourceRows<'_> {
    /// One vector of values: `at` counts numbers, from the source's first.
    ///
    /// # Safety
    /// There is a vector of numbers at that place.
    #[inline(always)]
    pub(super) unsafe fn value<S: Simd, const READ: u8>(&self, at: usize, scale: S, shift: S) -> S {
        let x = S::load(self.numbers.as_ptr().add(at));
        match (READ, self.skip) {
            (LINEAR, _) => x,
            (SKIP, Some(skip)) => x.mul_add(scale, shift).add(S::load(skip.as_ptr().add(at))),
            _ => x.mul_add(scale, shift).max(S::zero()),
        }
    }

    /// A line of values with what lies beyond its ends: `columns` tells which pixel each one shows.
    ///
    /// # Safety
    /// `to` has room for all columns; the source has whole vectors of channels, and no skip.
    #[inline(always)]
    pub(super) unsafe fn line<S: Simd>(
        &self,
        row: Option<usize>,
        columns: &[Option<usize>],
        to: *mut f32,
    ) {
        for c in (0..self.channels).step_by(S::LANES) {
            let scale = S::load(self.scale.as_ptr().add(c));
            let shift = S::load(self.shift.as_ptr().add(c));
            for (n, column) in columns.iter().enumerate() {
                let value = match (row, column) {
                    (Some(row), Some(column)) => {
                        let at = (row * self.width + column) * self.channels + c;
                        self.value::<S, RELU>(at, scale, shift)
                    }
                    _ => S::zero(),
                };
                value.store(to.add(n * self.channels + c));
            }
        }
    }
}

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(super) enum ConvInput<'a, T = f32> {
    /// The layer before.
    Layer(SourceRows<'a, T>),
    /// A picture: planes of `height` × `width` each.
    Planes(Planes<'a>),
}

/// A picture, plane by plane, that counts as if it were larger: mirrored right and bottom.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    pub numbers: &'a [f32],
    pub height: usize,
    pub width: usize,
    /// As which it counts.
    pub padded: (usize, usize),
}

impl Planes<'_> {
    pub(super) fn channels(&self) -> usize {
        self.numbers.len() / (self.height * self.width)
    }
}

impl<T> ConvInput<'_, T> {
    /// Height and width.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            ConvInput::Layer(source) => (source.height, source.width),
            ConvInput::Planes(planes) => planes.padded,
        }
    }

    pub(super) fn channels(&self) -> usize {
        match self {
            ConvInput::Layer(source) => source.channels,
            ConvInput::Planes(planes) => planes.channels(),
        }
    }

    /// Whether there are as many numbers as it says.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            ConvInput::Layer(source) => source.is_whole(),
            ConvInput::Planes(planes) => planes.numbers.len() % (planes.height * planes.width) == 0,
        }
    }
}
