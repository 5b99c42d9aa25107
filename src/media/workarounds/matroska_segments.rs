//! The segments in which a Matroska file's tracks come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::super::older_than;

/// Passes a Matroska track in a single segment, which begins with the file's earliest packet, and then sets
/// `counted`. For tracks that are not seeked; segments of other demuxers pass unchanged.
///
/// Workaround for matroskademux (GStreamer 1.22 to 1.26): its first segment starts at the first packet
/// it meets, and another follows when a packet of another track turns out to be earlier, be it between
/// two packets of this one (an E-AC-3 track that begins before the picture). Running time would jump
/// there, and an encoder would end and begin again, with what it puts before the sound. To reproduce: `ffmpeg
/// -c:v libx264 -c:a libvorbis x.mkv` (FFmpeg 7), whose sound begins 3 ms before the picture.
pub fn count_from(
    parse: &gst::Element,
    pad: &gst::Pad,
    counted: &Arc<AtomicBool>,
    begins: gst::ClockTime,
) {
    let Some(bin) = parse.downcast_ref::<gst::Bin>() else { return };
    if bin.iterate_recurse().into_iter().flatten().any(|element| is_matroskademux(&element)) {
        pass_one_segment(pad, counted, begins);
    }
}

/// The same for the picture that `decode`, a decodebin, decodes, until it is seeked. Not with GStreamer before
/// 1.26: there it is seeked anyway (see `Pipeline::restarts_timestamps`).
pub fn count_picture_from(decode: &gst::Element, begins: gst::ClockTime) {
    if older_than(1, 26) {
        return;
    }
    decode.connect("element-added", false, move |args| {
        let element = args.get(1)?.get::<gst::Element>().ok()?;
        if is_matroskademux(&element) {
            element.connect_pad_added(move |_, pad| pass_one_segment(pad, &Arc::default(), begins));
        }
        None
    });
}

fn is_matroskademux(element: &gst::Element) -> bool {
    element.factory().is_some_and(|factory| factory.name() == "matroskademux")
}

fn pass_one_segment(pad: &gst::Pad, counted: &Arc<AtomicBool>, begins: gst::ClockTime) {
    let counted = Arc::clone(counted);
    let state = Mutex::new(State::Beginning);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
    pad.add_probe(kinds, move |pad, info| {
        let Some(gst::PadProbeData::Event(event)) = &mut info.data else {
            return gst::PadProbeReturn::Ok;
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match (event.type_(), *state) {
            (gst::EventType::Segment, State::Beginning) => {
                // In a file that cannot be seeked, the picture's times are not corrected either.
                let mut query = gst::query::Seeking::new(gst::Format::Time);
                if !pad.query(&mut query) || !query.result().0 {
                    *state = State::Passing;
                    return gst::PadProbeReturn::Ok;
                }
                *state = State::Counted;
                counted.store(true, Ordering::Release);
                let mut plain = gst::FormattedSegment::<gst::ClockTime>::new();
                plain.set_start(begins);
                plain.set_position(begins);
                *event = gst::event::Segment::builder(&plain).seqnum(event.seqnum()).build();
            }
            // The segments after a seek are right.
            (gst::EventType::FlushStop, _) => *state = State::Passing,
            (gst::EventType::Segment, State::Counted) => return gst::PadProbeReturn::Handled,
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

#[derive(Clone, Copy)]
enum State {
    /// No segment has come.
    Beginning,
    /// One has gone through, and is the only one.
    Counted,
    /// Segments pass as they are.
    Passing,
}
