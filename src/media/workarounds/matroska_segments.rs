//! The segments in which a Matroska file's tracks come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Passes a Matroska track in a single segment, which begins with the file's earliest packet, and then sets
/// `counted`. For tracks that are not seeked; segments of other demuxers pass unchanged.
///
/// Workaround for matroskademux (GStreamer 1.22 to 1.26): its first segment starts at the first packet
/// it meets, and another follows when a packet of another track turns out to be earlier, be it between
/// two packets of this one (an E-AC-3 track that begins before the picture). Running time would jump
/// there, and an encoder would end and begin again, with what it puts before the sound.
pub fn count_from(
    parse: &gst::Element,
    pad: &gst::Pad,
    counted: &Arc<AtomicBool>,
    begins: gst::ClockTime,
) {
    let Some(bin) = parse.downcast_ref::<gst::Bin>() else { return };
    let elements = bin.iterate_recurse().into_iter().flatten();
    let mut factories = elements.filter_map(|element| element.factory());
    if !factories.any(|factory| factory.name() == "matroskademux") {
        return;
    }
    let counted = Arc::clone(counted);
    let state = Mutex::new(State::Beginning);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
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
