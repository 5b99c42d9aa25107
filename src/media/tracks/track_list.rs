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
    /// The same whenever the file is opened.
    pub id: String,
    pub caps: gst::Caps,
    pub kind: TrackKind,
    pub times: TimeCorrection,
    /// When it is over, where its packets do not say how long they are.
    pub ends: Option<Duration>,
    pub flags: Flags,
}

/// What a demuxer does to the times of a track's packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeCorrection {
    /// They are later by this than the packets are presented. matroskademux (1.22 to 1.26, at
    /// least) takes a track's CodecDelay into account for Opus alone; FFmpeg writes it for AAC and
    /// others, too, from version 6 on.
    pub delay: Duration,
    /// What begins before 0 is given the time 0 (Opus with matroskademux, as above).
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
            // Of those that matroskademux (1.22 to 1.26) does not know, it gives the bytes: no text for us.
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
        if pipeline.has("flvdemux") {
            // Its list grows as tracks begin: the sound often comes after the first frames.
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
                // Where nothing is said, the first of its kind.
                default: !seen.contains(&kind),
                ..Flags::default()
            });
            seen.push(kind);
            // matroskamux (1.22 to 1.26) takes every packet of TTA for as long as a full one, and by the end
            // of the last one players count the samples.
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

/// The format of a track, of whose codec Matroska says `codec`; matroskademux (1.22 to 1.26) does not know
/// WebVTT, as which bytes it gives.
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

/// parsebin would turn SSA and ASS into text with markup; it leaves them as they are. So it does with
/// Opus, but in a transport stream, where each packet has a head that opusparse takes away.
///
/// Workaround: opusparse (GStreamer 1.22 to 1.26) takes the first bytes of some packets of other files for
/// such a head and cuts them off: 5.1 of libopus, decoded, is noise from there on (`ffmpeg -ac 6 -c:a
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
