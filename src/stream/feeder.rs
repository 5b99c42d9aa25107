//! The last step of a video: frames from the second queue into the sink.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::sinks::FrameSink;
use crate::core::frame::Frame;
use crate::core::queue::Consumer;
use crate::core::stats::Stats;
use crate::media::tracks::TrackLimit;

/// Whether the stream ended before its source did; the copied tracks then end with the picture.
#[derive(Default)]
pub(super) struct EndedEarly(AtomicBool);

impl EndedEarly {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Returns a guard that sets the flag when dropped, unless its `whole` is true by then.
    pub(super) fn end_guard(&self) -> EndGuard<'_> {
        EndGuard { early: self, whole: false }
    }
}

/// See [`EndedEarly::end_guard`].
pub(super) struct EndGuard<'a> {
    early: &'a EndedEarly,
    pub(super) whole: bool,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.early.set();
        }
    }
}

/// Moves frames from the second queue to the sink, and ends its stream.
pub(super) fn feed(
    mut frames: Consumer<Frame>,
    sink: &mut dyn FrameSink,
    limits: &[TrackLimit],
    early: &EndedEarly,
    out: &WrittenFrames,
    stats: &Stats,
) -> Result<()> {
    let mut result = Ok(());
    while let Some(frame) = frames.pop() {
        let end = frame.pts.unwrap_or_default() + frame.duration.unwrap_or_default();
        match sink.take(frame) {
            Ok(true) => {
                stats.first_frame_out();
                out.one_more(end);
            }
            Ok(false) => break,
            Err(error) => {
                result = Err(error);
                early.set();
                break;
            }
        }
    }
    if early.get() {
        limits.iter().for_each(|limit| limit.set(out.end()));
    }
    sink.end();
    result
}

/// Count and end time of the frames given to the sink.
#[derive(Default)]
pub(super) struct WrittenFrames {
    frames: AtomicU64,
    end_ns: AtomicU64,
}

impl WrittenFrames {
    fn one_more(&self, end: Duration) {
        self.frames.fetch_add(1, Ordering::AcqRel);
        self.end_ns.fetch_max(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// How many frames.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// When the last frame ends.
    pub(super) fn end(&self) -> Duration {
        Duration::from_nanos(self.end_ns.load(Ordering::Acquire))
    }
}
