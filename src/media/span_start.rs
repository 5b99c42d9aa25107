//! Begins a span (`--start`) with the frame that is on the screen at its start.
//!
//! After a seek, decoders drop frames that end before the start, by the duration of each buffer. But a frame
//! is on the screen until the next one comes, however long that takes (screen recordings), and Matroska, FLV and
//! ASF store no durations: the frame would be missing, or come twice. So decoders output all frames from the key frame
//! on, and those that have left the screen before the start are dropped here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::pipeline::demuxers;

/// Which time of a frame is compared with the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Running time: the file is read from its beginning, without a seek.
    Running,
    /// Stream time: the file's own timestamps, after a seek.
    Stream,
}

/// Duration of a frame without timestamp and duration.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// Tolerance for timestamps that containers round.
const ROUNDING: gst::ClockTime = gst::ClockTime::from_useconds(1);

/// State of the probe of [`begin_at`].
#[derive(Default)]
struct Passed {
    segment: gst::FormattedSegment<gst::ClockTime>,
    /// Start and end of the last frame.
    last: Option<(gst::ClockTime, gst::ClockTime)>,
    /// The last frame that began before the start.
    shown: Option<gst::Buffer>,
    /// The span has begun.
    begun: bool,
}

impl Passed {
    /// Presentation time of a frame. Where a stream has no timestamps (raw H.264) or only decoding times (MPEG-4 in
    /// AVI), a frame begins where the one before it ends.
    fn time_of(&mut self, buffer: &gst::BufferRef, counted: Counted) -> gst::ClockTime {
        let said = buffer.pts().and_then(|pts| match counted {
            Counted::Running => self.segment.to_running_time(pts),
            Counted::Stream => self.segment.to_stream_time(pts),
        });
        let at = match (said, self.last) {
            (Some(said), Some((last, _))) if said > last => said,
            (Some(said), None) => said,
            (_, Some((_, over))) => over,
            (None, None) => gst::ClockTime::ZERO,
        };
        let length = buffer.duration().filter(|length| !length.is_zero()).unwrap_or(STEP);
        self.last = Some((at, at + length));
        at
    }
}

/// Lets raw video through `pad`, which is an element's input, from the frame on that is on the screen at `start`;
/// there is time zero. What it returns becomes true when no frame came that began by then: the file begins later, or a
/// seek went too far (tsdemux, 1.22 to 1.26, guesses positions).
pub(super) fn begin_at(pad: &gst::Pad, start: gst::ClockTime, counted: Counted) -> Arc<AtomicBool> {
    let (passed, pushing) = (Mutex::new(Passed::default()), AtomicBool::new(false));
    let missed = Arc::new(AtomicBool::new(false));
    let misses = Arc::clone(&missed);
    let kinds = gst::PadProbeType::BUFFER
        | gst::PadProbeType::EVENT_DOWNSTREAM
        | gst::PadProbeType::EVENT_FLUSH;
    pad.add_probe(kinds, move |pad, info| {
        let mut state = passed.lock().unwrap_or_else(PoisonError::into_inner);
        // The frame that is shown at the start goes its way through here again.
        let push = |mut frame: gst::Buffer, length: Option<gst::ClockTime>| {
            let writable = frame.make_mut();
            writable.set_pts(gst::ClockTime::ZERO);
            writable.set_duration(length);
            pushing.store(true, Ordering::Release);
            let result = pad.chain(frame);
            pushing.store(false, Ordering::Release);
            result
        };
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Segment(segment) => {
                    if let Some(times) = segment.segment().downcast_ref::<gst::ClockTime>() {
                        state.segment = times.clone();
                        let plain = gst::FormattedSegment::<gst::ClockTime>::new();
                        *event =
                            gst::event::Segment::builder(&plain).seqnum(event.seqnum()).build();
                    }
                }
                gst::EventView::FlushStop(_) => *state = Passed::default(),
                gst::EventView::Eos(_) => {
                    // The last frame is on the screen until the file ends; where that is not known, it is
                    // over when it says.
                    let over = state.last.map_or(start, |(_, over)| over);
                    let left = over.checked_sub(start).filter(|left| !left.is_zero());
                    let shown = state.shown.take();
                    if let Some(frame) =
                        shown.filter(|_| left.is_some() || counted == Counted::Stream)
                    {
                        drop(state);
                        let _ = push(frame, left);
                    }
                }
                _ => {}
            },
            Some(gst::PadProbeData::Buffer(_)) if pushing.load(Ordering::Acquire) => {}
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let at = state.time_of(buffer, counted);
                if !state.begun && at <= start + ROUNDING {
                    state.shown = Some(buffer.clone());
                    return gst::PadProbeReturn::Handled;
                }
                let shown = state.shown.take();
                if !state.begun && shown.is_none() {
                    misses.store(true, Ordering::Release);
                }
                state.begun = true;
                drop(state);
                let at = at.saturating_sub(start);
                if let Some(frame) = shown
                    && push(frame, Some(at)).is_err()
                {
                    return gst::PadProbeReturn::Handled;
                }
                buffer.make_mut().set_pts(at);
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    missed
}

/// Lets decoders of the pipeline take what comes before the place that is sought next as well: the segment of each
/// track that then comes starts at the beginning of the file.
pub(super) fn keep_what_comes_before(pipeline: &gst::Pipeline) {
    for pad in demuxers(pipeline).flat_map(|demuxer| demuxer.src_pads()) {
        let sought = AtomicBool::new(false);
        let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(kinds, move |_, info| {
            let Some(gst::PadProbeData::Event(event)) = &mut info.data else {
                return gst::PadProbeReturn::Ok;
            };
            if event.type_() == gst::EventType::FlushStop {
                sought.store(true, Ordering::Release);
            }
            // Another segment after it is an edit of its own.
            if let gst::EventView::Segment(segment) = event.view()
                && let Some(times) = segment.segment().downcast_ref::<gst::ClockTime>()
                && sought.swap(false, Ordering::AcqRel)
                && let (Some(start), Some(time)) = (times.start(), times.time())
            {
                let mut open = times.clone();
                let earlier = start.min(time);
                open.set_start(start - earlier);
                open.set_time(time - earlier);
                open.set_position(start - earlier);
                *event = gst::event::Segment::builder(&open).seqnum(event.seqnum()).build();
            }
            gst::PadProbeReturn::Ok
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(at: Option<u64>, length: u64) -> gst::Buffer {
        let mut buffer = gst::Buffer::new();
        let writable = buffer.make_mut();
        writable.set_pts(at.map(gst::ClockTime::from_mseconds));
        writable.set_duration(gst::ClockTime::from_mseconds(length));
        buffer
    }

    #[test]
    fn time_goes_forward_where_a_stream_says_none_or_goes_back() {
        super::super::init().unwrap();
        let mut passed = Passed::default();
        let said = [Some(0), None, Some(80), Some(80), Some(120), Some(200)];
        let mut times = said.map(|at| passed.time_of(&frame(at, 40), Counted::Stream).mseconds());
        assert_eq!(times, [0, 40, 80, 120, 160, 200]);
        let mut passed = Passed::default();
        passed.segment.set_start(gst::ClockTime::from_seconds(1));
        passed.segment.set_time(gst::ClockTime::from_seconds(5));
        for (counted, expected) in [(Counted::Stream, 5500), (Counted::Running, 500)] {
            passed.last = None;
            times[0] = passed.time_of(&frame(Some(1500), 0), counted).mseconds();
            assert_eq!(times[0], expected);
        }
    }
}
