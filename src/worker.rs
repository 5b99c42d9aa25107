//! The thread in the middle: takes batches, has them stylized, hands the frames on in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::batch::Batcher;
use crate::frame::Frame;
use crate::queue::Producer;
use crate::stats::Stats;
use crate::stylizer::{StylizeError, Stylizer};

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every frame of the queue was handed on.
    EndOfQueue,
    /// It was told to stop: frames still in the queue were not stylized.
    Stopped,
    /// Nobody took its frames any more.
    OutputClosed,
}

/// Runs until the queue ends, `stop` is set, or nobody takes the frames.
///
/// `stop` is looked at between batches: the batch in hand is finished and handed on. The output
/// queue stays open, so that the caller can note how the run ended before its reader sees the end.
///
/// # Errors
/// The stylizer's; the frames handed on so far stay good.
pub fn run(
    mut input: Batcher,
    stylizer: &mut dyn Stylizer,
    output: &mut Producer<Frame>,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
) -> Result<Ended, StylizeError> {
    let mut batch = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if !input.next(&mut batch) {
            // A queue that was closed because of a stop is not the end of the stream.
            let stopped = stop.load(Ordering::Acquire);
            return Ok(if stopped { Ended::Stopped } else { Ended::EndOfQueue });
        }
        let since = Instant::now();
        stylizer.stylize(&mut batch)?;
        stats.stylized(batch.len(), since.elapsed());
        for frame in batch.drain(..) {
            if output.push(frame).is_err() {
                return Ok(Ended::OutputClosed);
            }
        }
    }
    Ok(Ended::Stopped)
}
