//! Streams in containers over HTTP, UDP, SRT and RTMP.

use gst::prelude::*;
use gstreamer as gst;

use super::error::PipelineError;
use super::pipeline::{Pipeline, PipelineRole, skip_decoders};
use super::source::DECODED;
use crate::core::stream_url::{StreamScheme, StreamUrl};
use crate::core::timeouts::HTTP_ANSWER;

/// The pipeline of a stream, up to decoded frames.
///
/// # Errors
/// When an element is missing.
pub(super) fn build(url: &StreamUrl) -> Result<Pipeline, PipelineError> {
    let element = match url.scheme() {
        StreamScheme::Http => "souphttpsrc",
        StreamScheme::Udp => "udpsrc",
        StreamScheme::Srt => "srtsrc",
        StreamScheme::Rtmp => "rtmp2src",
    };
    let description = include_str!("../../pipelines/source-stream.pipeline");
    let description = description.replace("udpsrc name", &format!("{element} name"));
    let pipeline = Pipeline::parse(PipelineRole::Source, &format!("{description}\n{DECODED}"))?;
    set_up(&pipeline.element("src")?, url);
    // Closing hlsdemux2 (1.22) while it waits for a segment can end the process: "g_mutex_clear() called on uninitialised
    // or locked mutex". Of the older hlsdemux this is not known.
    if gst::ElementFactory::find("hlsdemux").is_some() {
        skip_decoders(&pipeline.element("parse")?, |name| name == "hlsdemux2");
    }
    link_tracks(&pipeline)?;
    Ok(pipeline)
}

fn set_up(src: &gst::Element, url: &StreamUrl) {
    let (host, port) = url.host_and_port();
    let port = i32::from(port.unwrap_or_default());
    let credentials = url.credentials();
    match url.scheme() {
        StreamScheme::Http => {
            src.set_property("location", url.location());
            // Opened again by the program, not by the element.
            src.set_property("retries", 0i32);
            let seconds = u32::try_from(HTTP_ANSWER.as_secs()).unwrap_or(u32::MAX);
            src.set_property("timeout", seconds);
            if let Some((user, password)) = credentials {
                src.set_property("user-id", user);
                src.set_property("user-pw", password);
            }
        }
        StreamScheme::Udp => {
            src.set_property("address", host);
            src.set_property("port", port);
            // Room for the burst of a key frame.
            src.set_property("buffer-size", 4_194_304i32);
            let caps = gst::Caps::builder("video/mpegts")
                .field("systemstream", true)
                .field("packetsize", 188i32)
                .build();
            src.set_property("caps", caps);
        }
        StreamScheme::Srt => {
            // The element itself reads mode, latency, passphrase and stream id. (1.22 does not listen where the mode is
            // set as a property.)
            let listens = url.listens() && url.query("mode").is_none();
            let more = match (listens, url.location().contains('?')) {
                (false, _) => "",
                (true, true) => "&mode=listener",
                (true, false) => "?mode=listener",
            };
            src.set_property("uri", format!("{}{more}", url.location()));
            // Since GStreamer 1.22.
            if src.has_property("auto-reconnect") {
                src.set_property("auto-reconnect", false);
            }
        }
        StreamScheme::Rtmp => {
            src.set_property("location", url.location());
            if let Some((user, password)) = credentials {
                src.set_property("username", user);
                src.set_property("password", password);
            }
        }
    }
}

/// Links the tracks of the container when they appear: the first picture to `picture`, the first sound to `track`.
fn link_tracks(pipeline: &Pipeline) -> Result<(), PipelineError> {
    let picture = pipeline.element("picture")?.downgrade();
    let track = pipeline.element("track")?.downgrade();
    let bin = pipeline.gst().downgrade();
    pipeline.element("parse")?.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(format) = caps.structure(0) else { return };
        let name = format.name();
        let target = match name.split('/').next() {
            Some("video" | "image") => picture.upgrade(),
            Some("audio") => track.upgrade(),
            _ => None,
        };
        let Some(input) = target.and_then(|e| e.static_pad("sink")).filter(|p| !p.is_linked())
        else {
            return;
        };
        // AAC in transport streams repeats its format in each packet (ADTS); files and RTP need it once. The form may
        // not be known yet.
        let repeats = name == "audio/mpeg"
            && format.has_field("stream-format")
            && format.get::<&str>("stream-format") != Ok("raw");
        match bin.upgrade().filter(|_| repeats).and_then(|bin| without_headers(&bin)) {
            Some((first, last)) => {
                let _ = last.link(&input);
                let _ = pad.link(&first);
            }
            None => drop(pad.link(&input)),
        }
    });
    Ok(())
}

/// What turns ADTS into raw AAC, running in `bin`: its input and its output.
fn without_headers(bin: &gst::Pipeline) -> Option<(gst::Pad, gst::Pad)> {
    let text = "aacparse ! capsfilter caps=audio/mpeg,mpegversion=4,stream-format=raw";
    let parser = gst::parse::bin_from_description(text, true).ok()?;
    bin.add(&parser).ok()?;
    parser.sync_state_with_parent().ok()?;
    Some((parser.static_pad("sink")?, parser.static_pad("src")?))
}
