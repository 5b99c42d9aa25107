//! Colorimetry from the compressed stream, where it is said.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::super::older_than;

/// Makes the colorimetry in an H.264 or H.265 stream take precedence over that of the container.
///
/// Workaround for qtdemux before GStreamer 1.26 (seen in 1.22): it leaves out whether an MP4's samples
/// have the full range, and its word goes before the stream's own: full range, as some phones and
/// cameras record, came out too contrasty. From 1.26 on, which says the range, nothing is changed.
pub fn prefer_colorimetry(decodebin: &gst::Element) {
    if !older_than(1, 26) {
        return;
    }
    decodebin.connect("element-added", false, |args| {
        let element = args.get(1)?.get::<gst::Element>().ok()?;
        let factory = element.factory()?;
        if !["h264parse", "h265parse"].contains(&factory.name().as_str()) {
            return None;
        }
        let (sink, src) = (element.static_pad("sink")?, element.static_pad("src")?);
        let container: Arc<Mutex<Option<String>>> = Arc::default();
        let kept = Arc::clone(&container);
        sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            change_caps(info, |format| {
                let said = format.get::<String>("colorimetry").ok();
                format.remove_field("colorimetry");
                let changed = said.is_some();
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = said;
                changed
            })
        });
        src.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            change_caps(info, |format| {
                let said = container.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let missing = !format.has_field("colorimetry");
                if let (Some(said), true) = (&said, missing) {
                    format.set("colorimetry", said);
                }
                said.is_some() && missing
            })
        });
        None
    });
}

/// Calls `change` on all caps that pass a pad; it returns whether it changed them.
pub fn change_caps(
    info: &mut gst::PadProbeInfo,
    change: impl Fn(&mut gst::StructureRef) -> bool,
) -> gst::PadProbeReturn {
    if let Some(gst::PadProbeData::Event(event)) = &mut info.data
        && let gst::EventView::Caps(caps) = event.view()
    {
        let mut caps = caps.caps_owned();
        let changed = caps.make_mut().structure_mut(0).is_some_and(change);
        if changed {
            *event = gst::event::Caps::builder(&caps).seqnum(event.seqnum()).build();
        }
    }
    gst::PadProbeReturn::Ok
}
