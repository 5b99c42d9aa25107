//! The last step of a video: frames from the second queue into the sink.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::sinks::FrameSink;
use super::video_job::PartJob;
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
        let (pts, length) = (frame.pts.unwrap_or_default(), frame.duration.unwrap_or_default());
        let end = pts + length;
        if out.is_lead() {
            continue;
        }
        match sink.take(frame) {
            Ok(true) => {
                stats.first_frame_out();
                out.one_more(pts, end);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Count and end time of the frames given to the sink.
#[derive(Default)]
pub(super) struct WrittenFrames {
    frames: AtomicU64,
    end_ns: AtomicU64,
    /// Frames that are still left out.
    lead: AtomicU64,
    /// Of a part: what is subtracted from times, and the sum of times.
    times: Option<(u64, Mutex<crc32fast::Hasher>)>,
}

impl WrittenFrames {
    /// Of a part, where it is one.
    pub(super) fn of(part: Option<&PartJob>) -> Self {
        WrittenFrames {
            lead: AtomicU64::new(part.map_or(0, |part| part.lead)),
            times: part.map(|part| (part.origin, Mutex::default())),
            ..Self::default()
        }
    }

    /// Whether the next frame is left out.
    fn is_lead(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.lead.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    /// CRC-32 of the times of a part's frames.
    pub(super) fn times(&self) -> u32 {
        let sum = |(_, hash): &(u64, Mutex<crc32fast::Hasher>)| lock(hash).clone().finalize();
        self.times.as_ref().map(sum).unwrap_or_default()
    }

    fn one_more(&self, pts: Duration, end: Duration) {
        if let Some((origin, hash)) = &self.times {
            let pts = u64::try_from(pts.as_nanos()).unwrap_or(u64::MAX);
            lock(hash).update(&pts.wrapping_sub(*origin).to_le_bytes());
        }
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
