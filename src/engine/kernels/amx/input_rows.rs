//! What a layer reads, made ready for the tiles: some lines of values in bfloat16, the channels of a
//! pixel side by side, with what lies beyond the borders.

use super::half;
use super::vector::Halves;
use crate::engine::kernels::source::{ConvInput, Planes, SourceRows};

/// Subtracted from R, G and B: numbers about 0 keep more of what comes after the first convolution,
/// and whole ones are still exact.
pub(super) const MIDDLE: f32 = 128.0;

impl ConvInput<'_, u16> {
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
            (ConvInput::Layer(source), Some(row)) => source.line::<S>(row, columns, own, to),
            (ConvInput::Layer(source), None) => {
                std::ptr::write_bytes(to, 0, columns.len() * source.channels);
            }
            (ConvInput::Planes(planes), row) => interleave(planes, row, columns, to),
        }
    }
}

impl SourceRows<'_, u16> {
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
                Some(skip) => self.pixels::<S>(end - n, at, Some(skip), to),
                None => self.pixels::<S>(end - n, at, None, to),
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

    /// One vector of values: `at` counts numbers, from the source's first; of channels from `c` on.
    ///
    /// # Safety
    /// There is a vector of numbers at that place, of scales and shifts at that channel.
    #[inline(always)]
    pub(super) unsafe fn value<S: Halves>(&self, at: usize, c: usize, skip: Option<&[u16]>) -> S {
        let (scale, shift) = (self.scale.as_ptr().add(c), self.shift.as_ptr().add(c));
        let x = S::load_halves(self.numbers.as_ptr().add(at));
        let x = x.mul_add(S::load(scale), S::load(shift));
        match skip {
            Some(skip) => x.add(S::load_halves(skip.as_ptr().add(at))),
            None => x.max(S::zero()),
        }
    }

    /// So many pixels from the `at`th number on.
    #[inline(always)]
    unsafe fn pixels<S: Halves>(
        &self,
        count: usize,
        at: usize,
        skip: Option<&[u16]>,
        to: *mut u16,
    ) {
        for pixel in 0..count {
            let here = pixel * self.channels;
            for c in (0..self.channels).step_by(S::LANES) {
                self.value::<S>(at + here + c, c, skip).store_halves(to.add(here + c));
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
