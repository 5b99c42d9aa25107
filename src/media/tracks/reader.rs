//! One track of a file on its way from the input to the output.
//!
//! Each has a pipeline and a demuxer of its own, so that nothing it waits for can hold up the
//! picture, and the other way round. Decoding and encoding, where a track needs it, also happen
//! here: what goes wrong with a track ends that track, not the file.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::error::PipelineError;
use super::super::pipeline::{Event, Pipeline, Role};
use super::about;
use super::contents::{Kind, Stream, leave_styled_text, tags_on};
use super::place::{Place, Words};
use crate::span::Span;

const DESCRIPTION: &str = include_str!("../../../pipelines/source-track.pipeline");
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any packet of sound.
const MORE: Duration = Duration::from_millis(500);

/// How a track is to be read.
pub(super) struct Order<'a> {
    /// Its place among the tracks of the output.
    pub number: usize,
    pub span: Span,
    /// Elements that packets go through on their way.
    pub through: &'a str,
    /// What the muxer takes; anything when none.
    pub form: Option<gst::Caps>,
    /// What becomes of the words of a subtitle.
    pub words: Words,
    /// It goes through an encoder.
    pub encoded: bool,
    /// Samples that the encoder puts before the sound.
    pub delay: u32,
    /// Whether the container can say that a track begins within a packet.
    pub trims: bool,
}

/// One track of a file.
pub(in super::super) struct Reader {
    pipeline: Pipeline,
    packets: gst_app::AppSink,
    pub caps: gst::Caps,
    kind: Kind,
    pub tags: Option<gst::TagList>,
    place: Arc<Mutex<Place>>,
    counts: Arc<Counts>,
}

/// What is known of a track while it goes through.
#[derive(Debug)]
struct Counts {
    /// Packets from here on (nanoseconds of running time) are not wanted any more.
    limit: AtomicU64,
    /// How much of the track's beginning is not to be presented, in nanoseconds.
    lead: AtomicU64,
    packets: AtomicU64,
}

impl Reader {
    /// Opens a track; none when it is empty.
    pub(super) fn open(
        path: &Path,
        stream: &Stream,
        order: Order,
    ) -> Result<Option<Self>, PipelineError> {
        let description = format!("{DESCRIPTION}track. ! {} ! packets.", order.through);
        let pipeline = Pipeline::parse(Role::Track(order.number), &description)?;
        pipeline.element("src")?.set_property("location", path);
        let packets: gst_app::AppSink = pipeline.element_as("packets")?;
        packets.set_caps(order.form.as_ref());
        let track = pipeline.element("track")?;
        let parse = pipeline.element("parse")?;
        leave_styled_text(&parse);
        let (wanted, track) = (stream.id.clone(), track.downgrade());
        parse.connect_pad_added(move |parse, pad| {
            if pad.stream_id().is_some_and(|id| id == wanted)
                && let Some(input) = track.upgrade().and_then(|t| t.static_pad("sink"))
                && let Err(error) = pad.link(&input)
            {
                gst::element_error!(parse, gst::CoreError::Pad, ["{error}"]);
            }
        });

        pipeline.set_state(gst::State::Paused)?;
        pipeline.wait_prerolled(PATIENCE)?;
        // A subtitle that is shown when the span begins may come long before it: all are read.
        let sought = match stream.kind {
            Kind::Audio => {
                // qtdemux (1.22) leaves out the packet in which the end lies: we cut ourselves.
                let duration = order.span.duration.map(|duration| duration + MORE);
                Span { duration, ..order.span }
            }
            _ => Span::default(),
        };
        // An encoder keeps a frame from before a seek, which then is in front of the sound.
        let encoded = order.encoded;
        if !encoded || sought != Span::default() {
            pipeline.seek_span(sought)?;
        }
        let frames = if encoded && sought != Span::default() { 2 } else { 1 };
        let pad = packets.static_pad("sink");
        let Some(caps) = pad.as_ref().and_then(gst::Pad::current_caps) else { return Ok(None) };
        if packets.is_eos() {
            return Ok(None);
        }
        let rate = caps.structure(0).and_then(|s| s.get::<i32>("rate").ok());
        let rate = rate.and_then(|rate| u64::try_from(rate).ok()).filter(|rate| *rate > 0);
        let delay = frames * u64::from(order.delay) * 1_000_000_000 / rate.unwrap_or(48_000);
        let counts =
            Counts { limit: u64::MAX.into(), lead: delay.into(), packets: AtomicU64::new(0) };
        let tags = pad.and_then(|pad| tags_on(&pad, gst::TagScope::Stream));
        let caps = if stream.kind == Kind::Text { order.words.caps(&caps) } else { caps };
        Ok(Some(Reader {
            pipeline,
            packets,
            caps,
            kind: stream.kind,
            tags: about::of_track(tags.as_deref()),
            place: Arc::new(Mutex::new(Place::new(
                stream.kind,
                order.words,
                order.span,
                order.trims,
                encoded,
            ))),
            counts: Arc::new(counts),
        }))
    }

    /// Whether it is sound; if not, subtitles.
    pub fn is_sound(&self) -> bool {
        self.kind == Kind::Audio
    }

    /// A handle that ends the track early.
    pub fn limit(&self) -> TrackLimit {
        TrackLimit(Arc::clone(&self.counts))
    }

    /// How much of the track's beginning must not be presented; known once it went through.
    pub fn lead(&self) -> Duration {
        Duration::from_nanos(self.counts.lead.load(Ordering::Acquire))
    }

    /// Whether anything of it went out.
    pub fn is_empty(&self) -> bool {
        self.counts.packets.load(Ordering::Acquire) == 0
    }

    /// Where it was told to end, if it was.
    pub fn end(&self) -> Option<Duration> {
        let end = self.counts.limit.load(Ordering::Acquire);
        (end < u64::MAX).then(|| Duration::from_nanos(end))
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
        if let Some(pad) = target.static_pad("src") {
            // What already waits in the appsrc when the limit is set must not go out either.
            let counts = Arc::clone(&self.counts);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let pts = info.buffer().and_then(|b| b.pts()).map_or(0, |t| t.nseconds());
                if pts >= counts.limit.load(Ordering::Acquire) {
                    return gst::PadProbeReturn::Drop;
                }
                counts.packets.fetch_add(1, Ordering::AcqRel);
                gst::PadProbeReturn::Ok
            });
        }
        let (to, end) = (target.clone(), target.clone());
        let (place, last) = (Arc::clone(&self.place), Arc::clone(&self.place));
        let (counts, last_counts) = (Arc::clone(&self.counts), Arc::clone(&self.counts));
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                let packets = place.packets(&sample);
                counts.add_lead(&mut place);
                for packet in packets {
                    let pts = packet.pts().map_or(0, |t| t.nseconds());
                    if pts >= counts.limit.load(Ordering::Acquire) {
                        let _ = to.end_of_stream();
                        return Err(gst::FlowError::Eos);
                    }
                    to.push_buffer(packet)?;
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                let mut place = last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(packet) = place.last() {
                    last_counts.add_lead(&mut place);
                    let _ = end.push_buffer(packet);
                }
                let _ = end.end_of_stream();
            })
            .build();
        self.packets.set_callbacks(callbacks);
        self.pipeline.forward(events);
        self.pipeline.set_state(gst::State::Playing)
    }
}

impl Counts {
    fn add_lead(&self, place: &mut Place) {
        self.lead.fetch_add(place.take_lead(), Ordering::AcqRel);
    }
}

/// Ends a track where the picture ended, when a run is interrupted.
#[derive(Clone)]
pub struct TrackLimit(Arc<Counts>);

impl TrackLimit {
    /// No packet that begins at `end` or later goes out.
    pub fn set(&self, end: Duration) {
        self.0.limit.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }
}
