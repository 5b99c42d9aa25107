//! What a layer reads, made ready for the tiles: some lines of values in bfloat16, the channels of a
//! pixel side by side, with what lies beyond the borders.

use super::vector::Halves;
use super::{Shared, half};
use crate::engine::kernels::direct::Planes;

/// Subtracted from R, G and B: numbers about 0 keep more of what comes after the first convolution,
/// and whole ones are still exact.
pub(super) const MIDDLE: f32 = 128.0;

/// The layer before: height × width × channels of it as its convolution left it.
///
/// A value is `x · scale + shift`; less than 0 is 0 where there is no skip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub numbers: &'a [u16],
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// One for each channel.
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    /// What is added: of the same size.
    pub skip: Option<&'a [u16]>,
    /// Where values are kept for a later skip.
    pub keep: Option<Shared<u16>>,
}

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// The layer before.
    Layer(Source<'a>),
    /// A picture.
    Planes(Planes<'a>),
}

impl Input<'_> {
    /// Height and width.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            Input::Layer(source) => (source.height, source.width),
            Input::Planes(planes) => planes.padded,
        }
    }

    /// Whether there are as many numbers as it says, of so many channels.
    pub(super) fn is_whole(&self, channels: usize) -> bool {
        match self {
            Input::Layer(source) => {
                let size = source.height * source.width * channels;
                source.channels == channels
                    && source.numbers.len() >= size
                    && source.scale.len().min(source.shift.len()) >= channels
                    && source.skip.is_none_or(|skip| skip.len() >= size)
            }
            Input::Planes(planes) => {
                planes.numbers.len() == channels * planes.height * planes.width
            }
        }
    }

    /// Makes the part of a line ready that `columns` tell, one for each pixel; `own` are those which no
    /// other task keeps.
    ///
    /// # Safety
    /// `to` has room for the columns' channels; the input [is whole](Self::is_whole) and has the rows
    /// and columns; the processor has S's instructions.
    #[inline(always)]
    pub(super) unsafe fn line<S: Halves>(
        &self,
        row: Option<usize>,
        columns: &[Option<usize>],
        own: Option<(usize, usize)>,
        to: *mut u16,
    ) {
        match (self, row) {
            (Input::Layer(source), Some(row)) => source.line::<S>(row, columns, own, to),
            (Input::Layer(source), None) => {
                std::ptr::write_bytes(to, 0, columns.len() * source.channels);
            }
            (Input::Planes(planes), row) => interleave(planes, row, columns, to),
        }
    }
}

impl Source<'_> {
    #[inline(always)]
    unsafe fn line<S: Halves>(
        &self,
        row: usize,
        columns: &[Option<usize>],
        own: Option<(usize, usize)>,
        to: *mut u16,
    ) {
        let mut n = 0;
        while n < columns.len() {
            let to = to.add(n * self.channels);
            let Some(first) = columns[n] else {
                std::ptr::write_bytes(to, 0, self.channels);
                n += 1;
                continue;
            };
            // As many pixels as follow each other.
            let mut end = n + 1;
            while end < columns.len() && columns[end] == Some(first + end - n) {
                end += 1;
            }
            let at = (row * self.width + first) * self.channels;
            match self.skip {
                Some(skip) => self.pixels::<S, true>(end - n, at, skip.as_ptr(), to),
                None => self.pixels::<S, false>(end - n, at, self.numbers.as_ptr(), to),
            }
            n = end;
        }
        if let (Some(keep), Some((first, count))) = (self.keep, own)
            && let Some(column) = columns[first]
        {
            let at = (row * self.width + column) * self.channels;
            let from = to.add(first * self.channels);
            std::ptr::copy_nonoverlapping(from, keep.at(at), count * self.channels);
        }
    }

    /// So many pixels from the `at`th number on.
    #[inline(always)]
    unsafe fn pixels<S: Halves, const SKIP: bool>(
        &self,
        count: usize,
        at: usize,
        skip: *const u16,
        to: *mut u16,
    ) {
        let (scale, shift) = (self.scale.as_ptr(), self.shift.as_ptr());
        for pixel in 0..count {
            let here = pixel * self.channels;
            for c in (0..self.channels).step_by(S::LANES) {
                let x = S::load_halves(self.numbers.as_ptr().add(at + here + c));
                let x = x.mul_add(S::load(scale.add(c)), S::load(shift.add(c)));
                let x = match SKIP {
                    true => x.add(S::load_halves(skip.add(at + here + c))),
                    false => x.max(S::zero()),
                };
                x.store_halves(to.add(here + c));
            }
        }
    }
}

/// A line of a picture, pixel by pixel.
#[inline(always)]
unsafe fn interleave(
    planes: &Planes<'_>,
    row: Option<usize>,
    columns: &[Option<usize>],
    to: *mut u16,
) {
    let channels = planes.channels();
    for c in 0..channels {
        let line = row.map(|row| &planes.numbers[(c * planes.height + row) * planes.width..]);
        for (n, column) in columns.iter().enumerate() {
            let value = match (line, column) {
                (Some(line), Some(column)) => line[*column],
                _ => 0.0,
            };
            *to.add(n * channels + c) = half(value - MIDDLE);
        }
    }
}
