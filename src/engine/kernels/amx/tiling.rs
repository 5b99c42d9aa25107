//! Parts of a picture: what a task makes, and what it reads for it.

use super::CacheLine;
use super::vector::Halves;
use crate::engine::kernels::source::{BorderMode, ConvInput, places};

/// Bytes of a line that is ready, at most: a task's lines stay in the second-level cache.
const LINE_BYTES: usize = 48 << 10;
/// Columns of a strip are a multiple of it, as far as there are so many.
const COLUMNS: usize = 32;
/// Lines of a strip at least, as far as there are so many: lines that two strips share are made ready
/// by both.
const LINES: usize = 8;

/// What a place of the result is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Channels.
    pub inputs: usize,
    /// Lines above the place, and columns to its left.
    pub before: usize,
    /// Lines and columns.
    pub size: (usize, usize),
    /// From one place to the next.
    pub stride: (usize, usize),
    pub border: BorderMode,
}

/// A result in parts, which only its size decides: statistics are the same for any number of threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    size: (usize, usize),
    parts: (usize, usize),
}

/// A part of the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct TilingPart {
    pub y: usize,
    pub lines: usize,
    pub x: usize,
    pub columns: usize,
}

impl Tiling {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.parts.0 * self.parts.1
    }

    /// One of them: all are about alike.
    pub(super) fn strip(&self, n: usize) -> TilingPart {
        let ((height, width), (down, across)) = (self.size, self.parts);
        let (row, column) = (n / across, n % across);
        let (y, below) = (row * height / down, (row + 1) * height / down);
        let blocks = width.div_ceil(COLUMNS);
        let x = column * blocks / across * COLUMNS;
        let end = ((column + 1) * blocks / across * COLUMNS).min(width);
        TilingPart { y, lines: below - y, x, columns: end - x }
    }
}

impl Window {
    /// Parts of a result of this height and width.
    pub(super) fn strips(&self, (height, width): (usize, usize)) -> Tiling {
        let blocks = width.div_ceil(COLUMNS);
        let most = (LINE_BYTES / (2 * self.inputs * self.stride.1 * COLUMNS)).max(1);
        let lines = LINES.max(2 * self.size.0);
        // For two or four threads to end together.
        let down = height.div_ceil(lines).next_multiple_of(4).min(height);
        Tiling { size: (height, width), parts: (down, blocks.div_ceil(most)) }
    }

    /// Numbers from one line of so many places to the next: places in whole tiles, though what is made
    /// of the last ones is not wanted, and a tile's inputs behind.
    pub(super) fn length(&self, columns: usize) -> usize {
        let seen = (columns.next_multiple_of(COLUMNS) - 1) * self.stride.1 + self.size.1;
        (seen * self.inputs).next_multiple_of(CacheLine::NUMBERS) + CacheLine::NUMBERS
    }

    /// What a thread needs beside for a result of this size.
    pub(super) fn scratch(&self, size: (usize, usize)) -> usize {
        let Tiling { size: (height, width), parts: (down, across) } = self.strips(size);
        let columns = width.div_ceil(COLUMNS).div_ceil(across) * COLUMNS;
        self.lines(height.div_ceil(down)) * self.length(columns) / CacheLine::NUMBERS
    }

    fn lines(&self, places: usize) -> usize {
        (places - 1) * self.stride.0 + self.size.0
    }

    /// Which of the input's rows and columns lie around places of so many lines and columns.
    pub(super) fn seen(
        &self,
        input: &ConvInput<'_, u16>,
        (height, width): (usize, usize),
    ) -> InputWindow {
        let (rows, columns) = input.size();
        let down = (height - 1) * self.stride.0 + self.size.0;
        let across = (width - 1) * self.stride.1 + self.size.1;
        let mut seen = InputWindow {
            rows: places(self.border, self.before, down.max(rows), rows),
            columns: places(self.border, self.before, across.max(columns), columns),
        };
        if let ConvInput::Planes(planes) = input {
            let inner = places(BorderMode::Reflect, 0, rows, planes.height);
            seen.rows.iter_mut().for_each(|row| *row = row.and_then(|row| inner[row]));
            let inner = places(BorderMode::Reflect, 0, columns, planes.width);
            seen.columns.iter_mut().for_each(|column| *column = column.and_then(|c| inner[c]));
        }
        seen
    }

    /// Makes ready what a strip is made of, [`length`](Self::length) numbers a line.
    ///
    /// # Safety
    /// As [`ConvInput::line`]'s; `to` has room for all.
    #[inline(always)]
    pub(super) unsafe fn prepare<S: Halves>(
        &self,
        input: &ConvInput<'_, u16>,
        seen: &InputWindow,
        strip: &TilingPart,
        to: *mut u16,
    ) {
        let length = self.length(strip.columns);
        let columns = (strip.columns - 1) * self.stride.1 + self.size.1;
        let seen_columns = &seen.columns[strip.x * self.stride.1..][..columns];
        for n in 0..self.lines(strip.lines) {
            let to = to.add(n * length);
            // A place's own pixel is in one strip only.
            let own = (self.before..self.before + strip.lines)
                .contains(&n)
                .then_some((self.before, strip.columns));
            input.line::<S>(seen.rows[strip.y * self.stride.0 + n], seen_columns, own, to);
            // The weights of what is read beyond the window are 0, so it must be a number.
            std::ptr::write_bytes(to.add(columns * self.inputs), 0, CacheLine::NUMBERS);
        }
    }
}

/// Rows and columns of an input, from the first place's first on.
pub(super) struct InputWindow {
    rows: Vec<Option<usize>>,
    columns: Vec<Option<usize>>,
}
