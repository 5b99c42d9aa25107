//! Values on a grid of squares, and the pixels under it.

/// A grid of squares, and the pixels under it.
#[derive(Clone, Copy)]
pub(super) struct Squares {
    /// Columns and rows.
    pub size: (usize, usize),
    /// Pixels on a side of a square.
    pub side: usize,
}

impl Squares {
    /// So many as cover a plane.
    pub(super) fn over((width, height): (usize, usize), side: usize) -> Self {
        Squares { size: (width.div_ceil(side), height.div_ceil(side)), side }
    }

    /// A line of pixels, interpolated between the centres of squares; beyond the outer ones repeated.
    pub(super) fn line(&self, values: &[f32], y: usize, out: &mut [f32]) {
        let (columns, rows) = self.size;
        let step = 1.0 / self.side as f32;
        let near = |n: usize, last: usize| {
            let at = ((n as f32 + 0.5) * step - 0.5).clamp(0.0, last as f32);
            (at as usize, at - at.floor())
        };
        let (top, down) = near(y, rows - 1);
        let below = (top + 1).min(rows - 1);
        let (a, b) = (&values[top * columns..][..columns], &values[below * columns..][..columns]);
        let value = |column: usize| a[column] + down * (b[column] - a[column]);
        if self.side == 1 {
            out.iter_mut().enumerate().for_each(|(x, out)| *out = a[x.min(columns - 1)]);
            return;
        }
        // Pixels between two centres lie on a straight line.
        let (mut x, mut left) = (0, value(0));
        for column in 0..columns {
            let right = value((column + 1).min(columns - 1));
            let slope = (right - left) * step;
            // Up to the centre of the next square; the last ones are repeated.
            let centre = ((column as f32 + 0.5) * self.side as f32) - 0.5;
            let end = if column + 1 == columns {
                out.len()
            } else {
                ((centre + self.side as f32).ceil() as usize).min(out.len())
            };
            while x < end {
                out[x] = left + slope * (x as f32 - centre).max(0.0);
                x += 1;
            }
            left = right;
        }
    }
}
