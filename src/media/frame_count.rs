//! How many frames of an unfinished file can be read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use super::pipeline::{Pipeline, PipelineRole};
use crate::core::timeouts::COUNT_FRAMES;
use crate::core::truncation::has_no_index;

/// Counts the frames of a file's first video track, as far as it can be read, without decoding them. None when
/// that takes too long, or GStreamer cannot say.
pub fn readable_frames(path: &Path) -> Option<u64> {
    // parsebin (1.22) would wait for ever.
    if has_no_index(path) {
        return Some(0);
    }
    let pipeline = Pipeline::parse(PipelineRole::Remux, "filesrc name=src ! parsebin name=parse");
    let pipeline = pipeline.ok()?;
    pipeline.element("src").ok()?.set_property("location", path);
    let count = Arc::new(AtomicU64::new(0));
    let (counted, seen) = (Arc::clone(&count), AtomicBool::new(false));
    let weak = pipeline.gst().downgrade();
    pipeline.element("parse").ok()?.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let video = caps.structure(0).is_some_and(|format| format.name().starts_with("video/"));
        if video && !seen.swap(true, Ordering::AcqRel) {
            let counted = Arc::clone(&counted);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counted.fetch_add(1, Ordering::AcqRel);
                gst::PadProbeReturn::Ok
            });
        }
        if let Some(input) = weak.upgrade().and_then(|pipeline| discard(&pipeline)) {
            let _ = pad.link(&input);
        }
    });
    // If nothing of the file can be read, the pipeline does not start.
    if pipeline.set_state(gst::State::Playing).is_ok() {
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let limit = gst::ClockTime::try_from(COUNT_FRAMES).ok();
        // An error is the end of what can be read.
        pipeline.gst().bus()?.timed_pop_filtered(limit, &wanted)?;
    }
    Some(count.load(Ordering::Acquire))
}

/// The input of a new sink in `pipeline` that discards what it gets. It is not waited for when the pipeline starts: a
/// demuxer that fills one sink and waits there would never fill the others.
pub(super) fn discard(pipeline: &gst::Pipeline) -> Option<gst::Pad> {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()
        .ok()?;
    pipeline.add(&sink).ok()?;
    sink.sync_state_with_parent().ok()?;
    sink.static_pad("sink")
}
