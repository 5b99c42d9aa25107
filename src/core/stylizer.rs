//! The trait of what repaints frames.

use std::time::Duration;

use crate::core::frame::{Frame, FrameInfo};
use crate::core::regions::MaskError;

/// Why a batch could not be stylized.
#[derive(Debug, thiserror::Error)]
pub enum StylizeError {
    /// The frames of one batch differ in size, layout or colorimetry.
    #[error("a batch of frames of different sizes or formats")]
    MixedBatch,
    /// The device ran out of memory.
    #[error(
        "not enough memory for {width}×{height} frames, {batch} at a time: \
         try --scale 0.5{}",
        if *batch > 1 { " or --batch 1" } else { "" }
    )]
    OutOfMemory {
        /// Width of a frame.
        width: usize,
        /// Height of a frame.
        height: usize,
        /// Frames in the batch.
        batch: usize,
    },
    /// The device failed for good; every later call fails too.
    #[error(
        "the GPU stopped working: {0}; try again, with --gpu-kernels off where they were on, or with \
         --device cpu; `sudo dmesg | grep -i xid` may say more"
    )]
    DeviceLost(String),
    /// A pass does not end, and cannot be stopped.
    #[error(
        "the network hangs: it has finished no pass for {} s; try again, or with --device cpu where it ran on a GPU",
        .0.as_secs()
    )]
    Hangs(Duration),
    /// The mask does not fit the frames.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// Any other failure of the engine.
    #[error("the network failed: {0}")]
    Failed(String),
}

/// A batch in flight, as [`Stylizer::begin`] returns it.
pub enum PendingBatch {
    /// Already stylized.
    Done(Vec<Frame>),
    /// Being computed on a device; the function waits for it and returns the frames.
    InFlight(Box<dyn FnOnce() -> Result<Vec<Frame>, StylizeError> + Send>),
}

impl PendingBatch {
    /// Waits for the stylized frames.
    ///
    /// # Errors
    /// [`StylizeError`], if the computation failed.
    pub fn finish(self) -> Result<Vec<Frame>, StylizeError> {
        match self {
            PendingBatch::Done(batch) => Ok(batch),
            PendingBatch::InFlight(finish) => finish(),
        }
    }
}

/// Repaints frames in place.
///
/// All frames of a batch have one size, layout and colorimetry; their timestamps are not touched.
pub trait Stylizer: Send {
    /// Repaints every frame of `batch`.
    ///
    /// # Errors
    /// [`StylizeError`]; the contents of the frames are then arbitrary.
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError>;

    /// Starts to stylize a batch and returns before a device has finished it, so that the next batch can be prepared
    /// meanwhile. Batches must be finished in the order in which they were begun.
    ///
    /// # Errors
    /// As [`stylize`](Self::stylize).
    fn begin(&mut self, mut batch: Vec<Frame>) -> Result<PendingBatch, StylizeError> {
        self.stylize(&mut batch)?;
        Ok(PendingBatch::Done(batch))
    }

    /// Does the one-time work for frames of this size and format in advance, before a live run. The contents
    /// of the frames do not matter.
    ///
    /// # Errors
    /// As [`stylize`](Self::stylize).
    fn warm_up(&mut self, _like: &[Frame]) -> Result<(), StylizeError> {
        Ok(())
    }

    /// Preferred batch size where latency does not matter.
    fn preferred_batch(&self) -> usize {
        1
    }

    /// Largest batch of frames of this size (`frame_bytes` each) that fits into memory, beside the batches that wait in
    /// queues; none if unknown.
    fn max_batch(&self, _info: &FrameInfo, _frame_bytes: usize) -> Option<usize> {
        None
    }

    /// Checks in advance whether frames of this size can be painted.
    ///
    /// # Errors
    /// [`StylizeError::Mask`].
    fn check(&self, _width: usize, _height: usize) -> Result<(), StylizeError> {
        Ok(())
    }
}

/// What points to a stylizer is one.
macro_rules! pointer {
    ($pointer:ty) => {
        impl<S: Stylizer + ?Sized> Stylizer for $pointer {
            fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
                (**self).stylize(batch)
            }

            fn begin(&mut self, batch: Vec<Frame>) -> Result<PendingBatch, StylizeError> {
                (**self).begin(batch)
            }

            fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
                (**self).warm_up(like)
            }

            fn preferred_batch(&self) -> usize {
                (**self).preferred_batch()
            }

            fn max_batch(&self, info: &FrameInfo, frame_bytes: usize) -> Option<usize> {
                (**self).max_batch(info, frame_bytes)
            }

            fn check(&self, width: usize, height: usize) -> Result<(), StylizeError> {
                (**self).check(width, height)
            }
        }
    };
}
pointer!(&mut S);
pointer!(Box<S>);

/// Leaves frames unchanged: for tests and benchmarks of the frame path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Stylizer for Identity {
    fn stylize(&mut self, _batch: &mut [Frame]) -> Result<(), StylizeError> {
        Ok(())
    }
}
