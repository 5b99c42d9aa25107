//! What a worker does to frames, whoever does it.

use crate::frame::{Frame, FrameInfo};
use crate::regions::MaskError;

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
    /// The device does not answer any more: what was computed on it is lost, and nothing else will be.
    #[error(
        "the GPU stopped working: {0}; try again, with --gpu-kernels off where they were on, or with \
         --device cpu; `sudo dmesg | grep -i xid` may say more"
    )]
    DeviceLost(String),
    /// A mask that does not fit.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// Anything else, in the words of the engine.
    #[error("the network failed: {0}")]
    Failed(String),
}

/// A batch that was [begun](Stylizer::begin).
pub enum Begun {
    /// It is stylized already.
    Done(Vec<Frame>),
    /// A device is at work on it: waits for that, and gives the frames back.
    UnderWay(Box<dyn FnOnce() -> Result<Vec<Frame>, StylizeError> + Send>),
}

impl Begun {
    /// The stylized frames.
    ///
    /// # Errors
    /// [`StylizeError`], which may show only now.
    pub fn finish(self) -> Result<Vec<Frame>, StylizeError> {
        match self {
            Begun::Done(batch) => Ok(batch),
            Begun::UnderWay(finish) => finish(),
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

    /// Begins a batch, so that the next one can be made ready while a device is at work on it. Batches
    /// are to be finished in the order in which they were begun.
    ///
    /// # Errors
    /// As [`stylize`](Self::stylize)'s.
    fn begin(&mut self, mut batch: Vec<Frame>) -> Result<Begun, StylizeError> {
        self.stylize(&mut batch)?;
        Ok(Begun::Done(batch))
    }

    /// Does what only the first frames of a size cost, before frames like these come live. What they show
    /// does not matter.
    ///
    /// # Errors
    /// As [`stylize`](Self::stylize)'s.
    fn warm_up(&mut self, _like: &[Frame]) -> Result<(), StylizeError> {
        Ok(())
    }

    /// How many frames it would best have at a time, where there is no hurry.
    fn at_once(&self) -> usize {
        1
    }

    /// How many frames of this size, so many bytes each, there is memory for in one batch, where some batches
    /// more are on their way; none when nobody knows.
    fn most_at_once(&self, _info: &FrameInfo, _frame_bytes: usize) -> Option<usize> {
        None
    }

    /// Asks, before anything is painted, whether frames of this size can be.
    ///
    /// # Errors
    /// [`StylizeError::Mask`].
    fn check(&self, _width: usize, _height: usize) -> Result<(), StylizeError> {
        Ok(())
    }
}

/// Leaves frames as they are: the frame path is tested and timed with it, without a network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Stylizer for Identity {
    fn stylize(&mut self, _batch: &mut [Frame]) -> Result<(), StylizeError> {
        Ok(())
    }
}
