//! Dense optical flow: where each pixel of one picture lies in another.
//!
//! The method is dense inverse search (Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using
//! Dense Inverse Search", ECCV 2016): on each level of a pyramid, square patches are matched by inverse
//! compositional gradient descent ([`search`]), the displacements of overlapping patches are averaged by
//! how well they match, and the field is refined by variational minimization ([`refine`]; Brox et al.,
//! ECCV 2004). No libtorch, no GStreamer.

mod consistency;
mod pyramid;
mod refine;
mod search;

pub use consistency::{motion_boundaries, occluded, warp};
pub use pyramid::Pyramid;

use refine::Refinement;
use search::Patches;

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
    fn upsampled(&self, width: usize, height: usize) -> Self {
        let mut result = FlowField::zero(width, height);
        pyramid::upsample(&self.u, (self.width, self.height), &mut result.u, (width, height), 2.0);
        pyramid::upsample(&self.v, (self.width, self.height), &mut result.v, (width, height), 2.0);
        result
    }
}

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

/// The flow from one picture to another of the same size.
///
/// It computes on the rayon pool of the caller; the result doesn't depend on how many threads that has.
///
/// # Panics
/// When the pyramids differ in size, or were made for other options.
pub fn flow(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> FlowField {
    assert_eq!(from.size(), to.size(), "flow between pictures of different sizes");
    let (width, height) = from.size();
    let coarsest = from.coarsest();
    let finest = options.finest.min(coarsest);
    assert!(from.finest() == finest && to.finest() == finest, "pyramids of other options");
    let mut field: Option<FlowField> = None;
    for number in (finest..=coarsest).rev() {
        let (first, second) = (from.level(number), to.level(number));
        let start = match field {
            Some(coarser) => coarser.upsampled(first.width, first.height),
            None => FlowField::zero(first.width, first.height),
        };
        let patches = Patches::search(first, second, &start, options);
        let mut found = patches.densify(first, second, start);
        if options.rounds > 0 {
            Refinement { rounds: options.rounds, sweeps: options.sweeps }
                .apply(first, second, &mut found);
        }
        field = Some(found);
    }
    let mut field = field.unwrap_or_default();
    for number in (0..finest).rev() {
        let (w, h) = from.size_of(number);
        field = field.upsampled(w, h);
    }
    debug_assert_eq!((field.width, field.height), (width, height));
    field
}

/// Flow in both directions, computed at the same time: first → second, second → first.
pub fn flow_both(
    first: &Pyramid,
    second: &Pyramid,
    options: &FlowOptions,
) -> (FlowField, FlowField) {
    rayon::join(|| flow(first, second, options), || flow(second, first, options))
}
