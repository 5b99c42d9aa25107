//! What a file holds: which tracks, tags and chapters.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::error::PipelineError;
use super::super::matroska::Flags;
use super::super::pipeline::{Pipeline, PipelineRole};
use super::super::workarounds::{ContainerFacts, is_transport_stream, open_file, repair_demuxers};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{LIST_TRACKS, WaitTimer};

const DESCRIPTION: &str = include_str!("../../../pipelines/source-contents.pipeline");

/// What a file holds.
pub(super) struct TrackList {
    pub streams: Vec<TrackInfo>,
    pub tags: Option<gst::TagList>,
    pub toc: Option<gst::Toc>,
    pub duration: Option<Duration>,
}

/// One track of a file.
pub(super) struct TrackInfo {
    /// Stream id; it is the same each time the file is opened.
    pub id: String,
    pub caps: gst::Caps,
    pub kind: TrackKind,
    pub times: TimeCorrection,
    /// End time of the track, for formats whose packets do not state their duration.
    pub ends: Option<Duration>,
    pub flags: Flags,
}

/// How a demuxer's timestamps of a track differ from the true ones.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeCorrection {
    /// The timestamps are later than the true presentation times by this much. matroskademux (1.22 to 1.26,
    /// at least) applies a track's CodecDelay for Opus only; FFmpeg from version 6 on also writes it for AAC
    /// and other codecs.
    pub delay: Duration,
    /// Timestamps before 0 are clamped to 0 (Opus with matroskademux, as above).
    pub clamped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrackKind {
    Video,
    Audio,
    Text,
    /// Subtitles as pictures.
    Bitmap,
    Other,
}

impl TrackKind {
    fn of(caps: &gst::Caps) -> Self {
        let name = caps.structure(0).map_or("", |s| s.name().as_str());
        match name {
            "application/x-ssa" | "application/x-ass" | "application/x-usf" | WEBVTT
            | "subtitle/x-kate" => TrackKind::Text,
            name if name.starts_with("text/") => TrackKind::Text,
            name if name.starts_with("audio/") => TrackKind::Audio,
            name if name.starts_with("video/") || name.starts_with("image/") => TrackKind::Video,
            // matroskademux (1.22 to 1.26) passes subtitle formats it does not know as bytes; they are not
            // handled as text.
            "application/x-subtitle-unknown" => TrackKind::Bitmap,
            name if name.starts_with("subpicture/") => TrackKind::Bitmap,
            _ => TrackKind::Other,
        }
    }
}

impl TrackList {
    /// Reads a file as far as its first packet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path, stop: &StopSignal) -> Result<Self, PipelineError> {
        let pipeline = Pipeline::parse(PipelineRole::Source, DESCRIPTION)?.until(stop);
        let length = open_file(&pipeline.element("src")?, path);
        let first: gst_app::AppSink = pipeline.element_as("packets")?;
        let parse = pipeline.element("parse")?;
        leave_packets(&parse, path);
        let facts = ContainerFacts::of(path);
        repair_demuxers(&parse, &facts);
        let input = pipeline.element("track")?.static_pad("sink");
        parse.connect_pad_added(move |_, pad| {
            // The next packet of a subtitle track may be an hour away.
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            if matches!(TrackKind::of(&caps), TrackKind::Video | TrackKind::Audio)
                && let Some(input) = input.as_ref().filter(|pad| !pad.is_linked())
            {
                let _ = pad.link(input);
            }
        });
        let complete = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&complete);
        parse.connect_no_more_pads(move |_| told.store(true, Ordering::Release));
        pipeline.set_state(gst::State::Paused)?;
        let mut list: Vec<gst::Stream> = pipeline.streams(LIST_TRACKS)?.iter().collect();
        pipeline.wait_prerolled(LIST_TRACKS)?;
        if pipeline.has("flvdemux") || pipeline.has("mpegpsdemux") {
            // The list grows as tracks begin, and sound often begins after the first frames, so the pipeline
            // must play. mpegpsdemux considers it complete after two seconds.
            pipeline.set_state(gst::State::Playing)?;
            let mut timer = WaitTimer::new();
            while !complete.load(Ordering::Acquire)
                && !first.is_eos()
                && !stop.is_set()
                && !timer.is_over(LIST_TRACKS)
            {
                let _ = first.try_pull_sample(gst::ClockTime::from_mseconds(20));
            }
            list = parse.src_pads().iter().filter_map(|pad| pad.stream()).collect();
        }

        let duration = length.or_else(|| pipeline.duration());
        let mut seen = Vec::new();
        let streams = list.iter().filter_map(|stream| {
            let id = stream.stream_id()?.to_string();
            let entry = facts.of_matroska(Some(&id)).cloned().unwrap_or_default();
            let caps = known(stream.caps()?, &entry.codec);
            let opus = entry.codec == "A_OPUS";
            let delay = if opus { Duration::ZERO } else { entry.delay };
            let times = TimeCorrection { delay, clamped: opus && !entry.delay.is_zero() };
            let kind = TrackKind::of(&caps);
            let flags = facts.flags(Some(&id)).unwrap_or_else(|| Flags {
                // If the file states no default track, the first of each kind is the default.
                default: !seen.contains(&kind),
                ..Flags::default()
            });
            seen.push(kind);
            // matroskamux (1.22 to 1.26) gives every TTA packet the duration of a full one, and players
            // compute the number of samples from the end of the last packet; so the track's true end is
            // needed.
            let ends = duration.filter(|_| entry.codec == "A_TTA1");
            Some(TrackInfo { id, kind, caps, times, ends, flags })
        });
        let pad = first.static_pad("sink");
        Ok(TrackList {
            streams: streams.collect(),
            tags: pad.as_ref().and_then(|pad| tags_on(pad, gst::TagScope::Global)),
            toc: pad
                .and_then(|pad| pad.sticky_event::<gst::event::Toc>(0))
                .map(|event| event.toc().0.to_owned()),
            duration,
        })
    }
}

/// The caps of a track whose codec Matroska calls `codec`. matroskademux (1.22 to 1.26) does not know WebVTT
/// and passes it as bytes; those caps are replaced.
fn known(caps: gst::Caps, codec: &str) -> gst::Caps {
    if caps.structure(0).is_none_or(|s| s.name() != "application/x-subtitle-unknown") {
        return caps;
    }
    let whole_cue = match codec {
        "S_TEXT/WEBVTT" => false,
        codec if codec.starts_with("D_WEBVTT/") => true,
        _ => return caps,
    };
    gst::Caps::builder(WEBVTT).field("whole-cue", whole_cue).build()
}

/// WebVTT out of a Matroska file: the text of a cue, or with the field `whole-cue` (WebM's way) its
/// name and its settings, a line each, and the text.
pub(super) const WEBVTT: &str = "application/x-subtitle-vtt";

/// The tags of a scope that have come to this pad.
pub(super) fn tags_on(pad: &gst::Pad, scope: gst::TagScope) -> Option<gst::TagList> {
    let events = (0..).map_while(|n| pad.sticky_event::<gst::event::Tag>(n));
    events.map(|event| event.tag_owned()).find(|tags| tags.scope() == scope)
}

/// Stops parsebin from parsing SSA/ASS (it would turn them into text with markup) and Opus. Opus in a
/// transport stream is the exception: there each packet has a header that opusparse removes.
///
/// Workaround: in other files, opusparse (GStreamer 1.22 to 1.26) takes the first bytes of some packets for
/// such a header and removes them; 5.1 sound of libopus becomes noise from there on (`ffmpeg -ac 6 -c:a
/// libopus x.mkv`, then compare the packets' hashes).
pub(super) fn leave_packets(parse: &gst::Element, path: &Path) {
    let transport = is_transport_stream(path);
    parse.connect("autoplug-continue", false, move |args| {
        let caps = args.get(2).and_then(|caps| caps.get::<gst::Caps>().ok());
        let name = caps.as_ref().and_then(|caps| caps.structure(0)).map(|s| s.name().as_str());
        let left = match name {
            Some("application/x-ssa" | "application/x-ass") => true,
            Some("audio/x-opus") => !transport,
            _ => false,
        };
        Some((!left).to_value())
    });
}
