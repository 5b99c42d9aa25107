//! How flow is estimated, and the size of patches.

/// Pixels on a side of a patch.
pub(super) const PATCH: usize = 8;

/// How flow is estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowOptions {
    /// The finest level of the pyramid on which is searched: 0 the picture itself, 1 half its size…
    pub finest: usize,
    /// Pixels from one patch to the next. Patches are 8 × 8 pixels.
    pub stride: usize,
    /// Steps of gradient descent for a patch, at most.
    pub descent: usize,
    /// Rounds of variational refinement on each level; 0 leaves it out.
    pub rounds: usize,
    /// Sweeps of successive over-relaxation in each round.
    pub sweeps: usize,
}

impl FlowOptions {
    /// For live video.
    pub const LIVE: FlowOptions =
        FlowOptions { finest: 2, stride: 5, descent: 6, rounds: 5, sweeps: 3 };
    /// For training, measuring and files: about four times the work of [`LIVE`](Self::LIVE).
    pub const ACCURATE: FlowOptions =
        FlowOptions { finest: 1, stride: 3, descent: 8, rounds: 5, sweeps: 3 };
}
