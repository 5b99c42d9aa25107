//! Encoded audio tracks on their way from the input file to the output file, untouched.
//!
//! Each track has a pipeline and a demuxer of its own, so that nothing it waits for can hold up
//! the picture, and the other way round.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, Role};
use crate::span::Span;

const DESCRIPTION: &str = include_str!("../../pipelines/source-audio.pipeline");

/// One audio track of a file.
pub struct AudioTrack {
    pipeline: Pipeline,
    packets: gst_app::AppSink,
    caps: gst::Caps,
    /// Packets from here on (nanoseconds of running time) are not wanted any more.
    limit: Arc<AtomicU64>,
}

impl AudioTrack {
    /// All audio tracks of a file.
    ///
    /// # Errors
    /// When the file cannot be read a second time.
    pub fn open_all(path: &Path, span: Span) -> Result<Vec<Self>, PipelineError> {
        let mut tracks = Vec::new();
        loop {
            let (track, count) = Self::open(path, span, tracks.len())?;
            tracks.extend(track);
            if tracks.len() >= count {
                return Ok(tracks);
            }
        }
    }

    /// The track of this number, and how many there are.
    fn open(
        path: &Path,
        span: Span,
        wanted: usize,
    ) -> Result<(Option<Self>, usize), PipelineError> {
        let pipeline = Pipeline::parse(Role::Track(wanted), DESCRIPTION)?;
        pipeline.element("src")?.set_property("location", path);
        let packets: gst_app::AppSink = pipeline.element_as("packets")?;
        let parse = pipeline.element("parse")?;
        let track = pipeline.element("track")?.downgrade();
        let seen = AtomicUsize::new(0);
        parse.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            if caps.structure(0).is_some_and(|s| s.name().starts_with("audio/"))
                && seen.fetch_add(1, Ordering::Relaxed) == wanted
                && let Some(input) = track.upgrade().and_then(|t| t.static_pad("sink"))
            {
                // A failure shows as a track without data below.
                let _ = pad.link(&input);
            }
        });

        pipeline.set_state(gst::State::Paused)?;
        // With no audio the pipeline never prerolls, so the list of tracks is asked first.
        let count = pipeline.count_streams(gst::StreamType::AUDIO, Duration::from_secs(30))?;
        if wanted >= count {
            return Ok((None, count));
        }
        pipeline.wait_prerolled(Duration::from_secs(30))?;
        pipeline.seek_span(span)?;
        let caps = packets.static_pad("sink").and_then(|pad| pad.current_caps());
        let caps = caps.ok_or_else(|| {
            PipelineError::new("parsebin", format!("audio track {} has no data", wanted + 1))
        })?;
        let limit = Arc::new(AtomicU64::new(u64::MAX));
        Ok((Some(AudioTrack { pipeline, packets, caps, limit }), count))
    }

    /// The format of its packets.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// A handle that ends the track early.
    pub fn limit(&self) -> TrackLimit {
        TrackLimit(Arc::clone(&self.limit))
    }

    /// Sends every packet into `target`, waiting when it is full, then the end of the stream.
    ///
    /// # Errors
    /// When the pipeline does not start.
    pub fn start(
        &self,
        target: &gst_app::AppSrc,
        events: Sender<Event>,
    ) -> Result<(), PipelineError> {
        let limit = Arc::clone(&self.limit);
        if let Some(pad) = target.static_pad("src") {
            // What already waits in the appsrc when the limit is set must not go out either.
            let limit = Arc::clone(&limit);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let pts = info.buffer().and_then(|b| b.pts()).map_or(0, |t| t.nseconds());
                if pts >= limit.load(Ordering::Acquire) {
                    return gst::PadProbeReturn::Drop;
                }
                gst::PadProbeReturn::Ok
            });
        }
        let (to, end) = (target.clone(), target.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let Some(packet) = packet_in_running_time(&sample) else {
                    return Ok(gst::FlowSuccess::Ok);
                };
                let pts = packet.pts().map_or(0, |t| t.nseconds());
                if pts >= limit.load(Ordering::Acquire) {
                    let _ = to.end_of_stream();
                    return Err(gst::FlowError::Eos);
                }
                to.push_buffer(packet)
            })
            .eos(move |_| {
                let _ = end.end_of_stream();
            })
            .build();
        self.packets.set_callbacks(callbacks);
        self.pipeline.forward(events);
        self.pipeline.set_state(gst::State::Playing)
    }
}

/// Ends a track where the picture ended, when a run is interrupted.
#[derive(Clone)]
pub struct TrackLimit(Arc<AtomicU64>);

impl TrackLimit {
    /// No packet that begins at `end` or later goes out.
    pub fn set(&self, end: Duration) {
        self.0.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// The packet with times counted from the start of the stream; none when it lies before it (the
/// priming packets of an encoder, or what a seek brings along).
pub(super) fn packet_in_running_time(sample: &gst::SampleRef) -> Option<gst::Buffer> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut packet = sample.buffer_owned()?;
    let pts = match packet.pts().or(packet.dts()) {
        Some(pts) => Some(segment.to_running_time(pts)?),
        None => None,
    };
    let dts = packet.dts().and_then(|dts| segment.to_running_time(dts));
    let writable = packet.make_mut();
    writable.set_pts(pts);
    writable.set_dts(dts);
    Some(packet)
}
