//! The result: a displacement for each pixel.

use super::pyramid::upsample;

/// A displacement for each pixel of a picture: pixel (x, y) of the first picture lies at
/// (x + u, y + v) of the second. In pixels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowField {
    /// Pixels of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Horizontal displacements, line by line; positive to the right.
    pub u: Vec<f32>,
    /// Vertical displacements, line by line; positive downwards.
    pub v: Vec<f32>,
}

impl FlowField {
    /// No motion.
    pub fn zero(width: usize, height: usize) -> Self {
        let zeros = || vec![0.0; width * height];
        FlowField { width, height, u: zeros(), v: zeros() }
    }

    /// The field on a grid of twice the resolution, `width` × `height`, by bilinear interpolation.
    pub(super) fn upsampled(&self, width: usize, height: usize) -> Self {
        let mut result = FlowField::zero(width, height);
        upsample(&self.u, (self.width, self.height), &mut result.u, (width, height), 2.0);
        upsample(&self.v, (self.width, self.height), &mut result.v, (width, height), 2.0);
        result
    }
}
