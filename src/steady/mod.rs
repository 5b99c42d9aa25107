//! Steady video: paint that stays where it lies.
//!
//! A network paints each frame anew, so that its brush strokes flicker. Here paint is carried along the optical flow of
//! the *source* and shown where the flow is sure (as Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos",
//! GCPR 2016, ask for; here in one pass, with any network). What is uncovered is painted anew at once, and so is all
//! after a cut.
//!
//! - `carried`: what is carried from frame to frame, and one step of it
//! - `ground`: the source under the paint, and what of the paint is kept
//! - `squares`: values on a grid of squares, and the pixels under it
//! - [`Steady`]: a stylizer whose frames are held steady

mod carried;
mod ground;
mod squares;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::frame::{Frame, FrameInfo};
use crate::core::regions::Mask;
use crate::core::stylizer::{PendingBatch, StylizeError, Stylizer};

use crate::flow::{MotionGrid, Pyramid};
use carried::{Carried, SourceFrame, options_for};

/// Finds the cuts of a video, as [`Steady`] sees them: the frames before which all paint is forgotten.
#[derive(Default)]
pub struct CutDetector {
    last: Option<(FrameInfo, Thumbnail, SourceFrame, Option<Pyramid>)>,
}

/// Means of blocks of the luma of a frame.
type Thumbnail = Vec<f32>;

/// Columns and rows of a thumbnail.
const THUMBNAIL: (usize, usize) = (32, 18);
/// Mean difference of thumbnails, levels of 255, below which there is no cut: the flow is not asked then.
const SAME: f32 = 4.0;

impl CutDetector {
    /// Whether another scene begins with this frame. Frames must come in order; the first begins one.
    pub fn begins_scene(&mut self, frame: &Frame) -> bool {
        let source = SourceFrame::of(frame);
        let (info, thumbnail) = (source.info(), source.thumbnail(THUMBNAIL));
        let mut pyramid = None;
        let cut = match self.last.take() {
            Some((before, earlier, last, old)) if before == info => {
                let sum: f32 = earlier.iter().zip(&thumbnail).map(|(a, b)| (a - b).abs()).sum();
                let changed = sum > SAME * thumbnail.len() as f32;
                changed && {
                    let options = options_for(info.width, info.height);
                    let old = old.unwrap_or_else(|| last.pyramid(&options));
                    let new = source.pyramid(&options);
                    let cut = MotionGrid::between(&new, &old, &options).cut;
                    pyramid = Some(new);
                    cut
                }
            }
            _ => true,
        };
        self.last = Some((info, thumbnail, source, pyramid));
        cut
    }
}

/// Holds what another stylizer paints steady. Frames must come in order.
pub struct Steady<S> {
    inner: S,
    steadiness: f32,
    /// Shared with batches in flight.
    carried: Arc<Mutex<Carried>>,
}

impl<S: Stylizer> Steady<S> {
    /// `steadiness` is the share of carried paint where the flow is sure, 0–1: 0 leaves frames as they are painted, 1
    /// keeps paint until what it lies on changes. Where a mask leaves a part unpainted, `unpainted` is that part.
    pub fn new(inner: S, steadiness: f32, unpainted: Option<Mask>) -> Self {
        let carried = Arc::new(Mutex::new(Carried::new(unpainted)));
        let mut steady = Steady { inner, steadiness: 0.0, carried };
        steady.set_steadiness(steadiness);
        steady
    }

    /// Changes the steadiness from the next batch on. Values outside 0–1 count as the nearer of the two, NaN as 0.
    pub fn set_steadiness(&mut self, steadiness: f32) {
        self.steadiness = if steadiness.is_nan() { 0.0 } else { steadiness.clamp(0.0, 1.0) };
    }

    /// Changes what stays unpainted; see [`new`](Self::new). Paint that is carried is forgotten.
    pub fn set_unpainted(&mut self, unpainted: Option<Mask>) {
        *lock(&self.carried) = Carried::new(unpainted);
    }

    /// What paints.
    pub fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Forgets the frames before: the next one is left as it is painted.
    pub fn forget(&mut self) {
        lock(&self.carried).forget();
    }

    /// The source of a batch, as the painted frames are compared with it.
    fn sources(&self, batch: &[Frame]) -> Vec<SourceFrame> {
        batch.iter().map(SourceFrame::of).collect()
    }
}

fn lock(carried: &Mutex<Carried>) -> MutexGuard<'_, Carried> {
    // A panic amid a frame leaves planes of the right size.
    carried.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold(carried: &Mutex<Carried>, sources: Vec<SourceFrame>, batch: &mut [Frame], steadiness: f32) {
    let mut carried = lock(carried);
    for (source, frame) in sources.into_iter().zip(batch) {
        carried.hold(&source, frame, steadiness);
    }
}

impl<S: Stylizer> Stylizer for Steady<S> {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        if self.steadiness == 0.0 {
            self.forget();
            return self.inner.stylize(batch);
        }
        let sources = self.sources(batch);
        self.inner.stylize(batch)?;
        hold(&self.carried, sources, batch, self.steadiness);
        Ok(())
    }

    fn begin(&mut self, batch: Vec<Frame>) -> Result<PendingBatch, StylizeError> {
        if self.steadiness == 0.0 {
            self.forget();
            return self.inner.begin(batch);
        }
        let (sources, carried, steadiness) =
            (self.sources(&batch), Arc::clone(&self.carried), self.steadiness);
        Ok(match self.inner.begin(batch)? {
            PendingBatch::Done(mut batch) => {
                hold(&carried, sources, &mut batch, steadiness);
                PendingBatch::Done(batch)
            }
            // Batches are finished in the order in which they were begun.
            PendingBatch::InFlight(finish) => PendingBatch::InFlight(Box::new(move || {
                let mut batch = finish()?;
                hold(&carried, sources, &mut batch, steadiness);
                Ok(batch)
            })),
        })
    }

    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        self.inner.warm_up(like)
    }

    fn preferred_batch(&self) -> usize {
        self.inner.preferred_batch()
    }

    fn max_batch(&self, info: &FrameInfo, frame_bytes: usize) -> Option<usize> {
        // A copy of the source beside each frame that is held.
        let copies = if self.steadiness > 0.0 { 2 } else { 1 };
        self.inner.max_batch(info, copies * frame_bytes)
    }

    fn check(&self, width: usize, height: usize) -> Result<(), StylizeError> {
        self.inner.check(width, height)
    }
}
