//! Workaround: `deinterlace` (GStreamer 1.22 to 1.26) gives one frame for each that it takes, but with the
//! time of its neighbour, and sometimes one more at an end.
//!
//! To see it: `gst-launch-1.0 -v filesrc location=ntsc.dv ! decodebin ! videoconvert ! deinterlace
//! fields=top method=yadif ! fakesink silent=false`: the first two frames have one time, and of video whose
//! bottom field comes first there is one frame too many. Also `method=greedyh` misreads pictures whose
//! lines are padded (any width but a multiple of 64): it is not used. This can go when frames keep their
//! times.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

#[derive(Debug, Clone, Copy)]
struct FrameTimes {
    pts: Option<gst::ClockTime>,
    duration: Option<gst::ClockTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldOrder {
    Top,
    Bottom,
    Unsaid,
}

/// Lets a `deinterlace` give one frame for each that it takes, of its first field, with its times.
pub fn one_frame_for_each(deinterlace: &gst::Element) {
    let (Some(sink), Some(src)) = (deinterlace.static_pad("sink"), deinterlace.static_pad("src"))
    else {
        return;
    };
    let taken: Arc<Mutex<VecDeque<FrameTimes>>> = Arc::default();
    let kinds = gst::PadProbeType::BUFFER
        | gst::PadProbeType::EVENT_DOWNSTREAM
        | gst::PadProbeType::EVENT_FLUSH;
    let (kept, element) = (Arc::clone(&taken), deinterlace.downgrade());
    // Which field is first: what new caps say, or else the first interlaced frame. The element must have
    // taken the caps before it is told; a choice made while it takes them is lost.
    let order: Mutex<Option<FieldOrder>> = Mutex::new(None);
    sink.add_probe(kinds, move |_, info| {
        let choose = |bottom: bool| {
            if let Some(element) = element.upgrade() {
                element.set_property_from_str("fields", if bottom { "bottom" } else { "top" });
            }
        };
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Caps(caps) => {
                    let said = caps.structure().and_then(|s| s.get::<String>("field-order").ok());
                    let new = match said.as_deref() {
                        Some("bottom-field-first") => FieldOrder::Bottom,
                        Some("top-field-first") => FieldOrder::Top,
                        _ => FieldOrder::Unsaid,
                    };
                    *order.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
                }
                gst::EventView::FlushStop(_) => {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                _ => {}
            },
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let flags = buffer.video_flags();
                let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
                match *order {
                    Some(FieldOrder::Unsaid)
                        if !flags.contains(gst_video::VideoBufferFlags::INTERLACED) => {}
                    Some(FieldOrder::Unsaid) => {
                        choose(!flags.contains(gst_video::VideoBufferFlags::TFF));
                        *order = None;
                    }
                    Some(said) => {
                        choose(said == FieldOrder::Bottom);
                        *order = None;
                    }
                    None => {}
                }
                let times = FrameTimes { pts: buffer.pts(), duration: buffer.duration() };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_back(times);
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        // With telecine the element drops frames; their timestamps are dropped too.
        while taken.len() > 1 && taken.front().is_some_and(|times| is_long_past(times, buffer)) {
            taken.pop_front();
        }
        let Some(times) = taken.pop_front() else { return gst::PadProbeReturn::Handled };
        let writable = buffer.make_mut();
        writable.set_pts(times.pts);
        writable.set_duration(times.duration);
        gst::PadProbeReturn::Ok
    });
}

/// Whether a frame that comes out begins more than two frames later.
fn is_long_past(times: &FrameTimes, buffer: &gst::BufferRef) -> bool {
    let (Some(from), Some(now), Some(step)) = (times.pts, buffer.pts(), times.duration) else {
        return false;
    };
    now > from + step + step + step / 2
}
