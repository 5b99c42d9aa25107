//! Workaround: video parsers (GStreamer 1.22 to 1.26) replace the duration of a frame by that of the frame rate.
//!
//! Muxers use only the duration of the last frame, so a still at the end of a span was as short as all other frames. To see it: a buffer of 200 ms through
//! `x264enc ! h264parse ! mp4mux`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// More frames than a parser holds at once.
const KEPT: usize = 64;

/// Restores the durations of frames behind `parser` where it shortened them.
pub fn keep_lengths(parser: &gst::Element) {
    let (Some(sink), Some(src)) = (parser.static_pad("sink"), parser.static_pad("src")) else {
        return;
    };
    let lengths: Arc<Mutex<VecDeque<(gst::ClockTime, gst::ClockTime)>>> = Arc::default();
    let known = Arc::clone(&lengths);
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(frame) = info.buffer().and_then(|buffer| buffer.pts().zip(buffer.duration())) {
            let mut lengths = lengths.lock().unwrap_or_else(PoisonError::into_inner);
            lengths.push_back(frame);
            if lengths.len() > KEPT {
                lengths.pop_front();
            }
        }
        gst::PadProbeReturn::Ok
    });
    src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let length = known.iter().rev().find(|(pts, _)| buffer.pts() == Some(*pts));
            if let Some((_, length)) = length
                && buffer.duration().is_none_or(|believed| believed < *length)
            {
                buffer.make_mut().set_duration(*length);
            }
        }
        gst::PadProbeReturn::Ok
    });
}
