//! Dense optical flow: where each pixel of one picture lies in another.
//!
//! The method is dense inverse search (Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using
//! Dense Inverse Search", ECCV 2016): on each level of a pyramid, square patches are matched by inverse
//! compositional gradient descent (`search`), the displacements of overlapping patches are averaged by
//! how well they match, and the field is refined by variational minimization (`refine`; Brox et al.,
//! ECCV 2004). No libtorch, no GStreamer.

mod consistency;
mod field;
mod motion;
mod options;
mod pyramid;
mod refine;
pub(crate) mod resample;
mod search;

pub use consistency::{motion_boundaries, occluded, warp};
pub use field::FlowField;
pub use motion::{MotionGrid, mean_of_nine};
pub use options::FlowOptions;
pub use pyramid::Pyramid;

use refine::Refinement;
use search::Patches;

/// The flow from one picture to another of the same size.
///
/// It computes on the rayon pool of the caller; the result doesn't depend on how many threads that has.
///
/// # Panics
/// When the pyramids differ in size, or were made for other options.
pub fn flow(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> FlowField {
    let mut field = flow_on_grid(from, to, options);
    for number in (0..from.finest()).rev() {
        let (w, h) = from.size_of(number);
        field = field.upsampled(w, h);
    }
    debug_assert_eq!((field.width, field.height), from.size());
    field
}

/// The flow on the finest level that is searched, in pixels of that level.
fn flow_on_grid(from: &Pyramid, to: &Pyramid, options: &FlowOptions) -> FlowField {
    assert_eq!(from.size(), to.size(), "flow between pictures of different sizes");
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
    field.unwrap_or_default()
}

/// Flow in both directions, computed at the same time: first → second, second → first.
pub fn flow_both(
    first: &Pyramid,
    second: &Pyramid,
    options: &FlowOptions,
) -> (FlowField, FlowField) {
    rayon::join(|| flow(first, second, options), || flow(second, first, options))
}
