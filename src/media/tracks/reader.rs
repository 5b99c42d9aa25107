//! One track of a file on its way from the input to the output.
//!
//! Each track has a pipeline and a demuxer of its own, so that a track never blocks the picture, nor the
//! picture a track. Where a track must be re-encoded, decoding and encoding happen here too: an error in a
//! track ends that track, not the file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::error::PipelineError;
use super::super::matroska::Flags;
use super::super::pipeline::{Event, Pipeline, PipelineRole, skip_decoders};
use super::super::workarounds::{ContainerFacts, count_from, open_file, repair_demuxers};
use super::channels;
use super::metadata;
use super::retiming::{Retiming, TimeOrigin};
use super::track_list::{TrackInfo, TrackKind, leave_packets, tags_on};
use super::track_options::TrackOptions;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{PREROLL, WaitTimer};

const DESCRIPTION: &str = include_str!("../../../pipelines/source-track.pipeline");
/// Differences between timestamps up to this are rounding by containers, not a gap in the sound.
const NO_GAP: gst::ClockTime = gst::ClockTime::from_mseconds(2);
/// Sound that begins later than this after the start of a span may have been missed by a seek.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// One track of a file.
pub(in super::super) struct Reader {
    pipeline: Pipeline,
    packets: gst_app::AppSink,
    pub caps: gst::Caps,
    kind: TrackKind,
    pub tags: Option<gst::TagList>,
    /// When it is played.
    pub flags: Flags,
    /// How much of the track's beginning must not be presented.
    pub lead: Duration,
    /// The muxer hides the beginning if the first packet has timestamp 0 (see [`Retiming::begins_unheard`]).
    pub begins_unheard: bool,
    /// The packets read ahead, until [`start`](Self::start) moves them to its thread.
    beginning: Option<ReadAhead>,
    sending: Option<JoinHandle<()>>,
    counts: Arc<TrackCounts>,
}

/// The first packets of a track, read before the track starts, and what computes the timestamps of all
/// further ones.
struct ReadAhead {
    retiming: Retiming,
    packets: Vec<gst::Buffer>,
}

/// State of a running track, shared with its [`TrackLimit`]s.
#[derive(Debug)]
struct TrackCounts {
    /// Packets that begin at this running time (nanoseconds) or later are dropped.
    limit: AtomicU64,
    packets: AtomicU64,
}

impl Reader {
    /// Opens a track; none when it is empty.
    pub(super) fn open(
        path: &Path,
        stream: &TrackInfo,
        order: TrackOptions,
    ) -> Result<Option<Self>, PipelineError> {
        let mut guessed = false;
        let sought = Self::open_by(path, stream, &order, true, &mut guessed)?;
        // Where the place was guessed and the sound is late or missing, the seek may have gone too far.
        let begins = |reader: &Self| reader.beginning.as_ref()?.packets.first()?.pts();
        if guessed && sought.as_ref().is_none_or(|reader| begins(reader) > Some(LATE)) {
            drop(sought);
            return Self::open_by(path, stream, &order, false, &mut guessed);
        }
        Ok(sought)
    }

    /// Opens a track by a seek to the start of the span, if it `seeks`, or by reading the file up to there. `guessed`
    /// becomes whether the demuxer guesses positions.
    fn open_by(
        path: &Path,
        stream: &TrackInfo,
        order: &TrackOptions,
        seeks: bool,
        guessed: &mut bool,
    ) -> Result<Option<Self>, PipelineError> {
        let description = format!("{DESCRIPTION}track. ! {} ! packets.", order.elements);
        let pipeline =
            Pipeline::parse(PipelineRole::Track(order.number), &description)?.until(order.stop);
        open_file(&pipeline.element("src")?, path);
        let packets: gst_app::AppSink = pipeline.element_as("packets")?;
        packets.set_caps(order.accepted_caps.as_ref());
        if order.encoded {
            without_false_gaps(&pipeline);
        }
        if let (Some(refused), Ok(decode)) = (&order.refused, pipeline.element("decode")) {
            let refused = refused.clone();
            skip_decoders(&decode, move |name| name == refused);
        }
        let track = pipeline.element("track")?;
        let parse = pipeline.element("parse")?;
        leave_packets(&parse, path);
        if let (Ok(mix), Ok(layout)) = (pipeline.element("mix"), pipeline.element("layout")) {
            channels::arrange(&mix, &layout, order.elements.contains("opusenc"));
        }
        let facts = ContainerFacts::of(path);
        repair_demuxers(&parse, &facts);
        // Subtitles are read from the file's beginning: one that is still shown when the span begins may
        // start long before it.
        let start = order.span.start.filter(|_| stream.kind == TrackKind::Audio);
        let (wanted, input) = (stream.id.clone(), track.downgrade());
        let counted = Arc::new(AtomicBool::new(false));
        let count = start.is_none().then(|| (Arc::clone(&counted), facts.matroska_begins(path)));
        parse.connect_pad_added(move |parse, pad| {
            let is_wanted = pad.stream_id().is_some_and(|id| id == wanted);
            if let (true, Some((counted, begins))) = (is_wanted, &count) {
                count_from(parse, pad, counted, *begins);
            }
            if is_wanted
                && let Some(input) = input.upgrade().and_then(|t| t.static_pad("sink"))
                && let Err(error) = pad.link(&input)
            {
                gst::element_error!(parse, gst::CoreError::Pad, ["{error}"]);
            }
            discard_other_flv_tracks(parse, pad);
        });

        match start {
            Some(_) if order.encoded => seek_unheard(&pipeline, &track, start, seeks)?,
            _ => {
                pipeline.set_state(gst::State::Paused)?;
                pipeline.wait_prerolled(PREROLL)?;
                // Seek only if a span asks for it: after a seek, matroskademux (1.22) leaves out what comes
                // before the first picture.
                match start {
                    Some(start) if !seeks || pipeline.seeks_by_bitrate() => {
                        pipeline.read_up_to(&track, start)?;
                        pipeline.wait_prerolled(PREROLL)?;
                    }
                    Some(start) => pipeline.seek(Some(start))?,
                    None => {}
                }
            }
        }
        *guessed = start.is_some() && pipeline.guesses_positions();
        let pad = packets.static_pad("sink");
        let Some(caps) = pad.as_ref().and_then(gst::Pad::current_caps) else { return Ok(None) };
        if packets.is_eos() {
            return Ok(None);
        }
        let anew =
            start.is_none() && pipeline.restarts_timestamps() && !counted.load(Ordering::Acquire);
        let counting = if anew { TimeOrigin::Stream } else { TimeOrigin::Running };
        // Only matroskamux applies the pre-skip to timestamps.
        let opus_delay = opus_delay(&caps).filter(|_| !order.needs_durations);
        let rate = caps.structure(0).and_then(|s| s.get::<i32>("rate").ok());
        let rate = rate.and_then(|rate| u64::try_from(rate).ok()).filter(|rate| *rate > 0);
        let delay = u64::from(order.delay) * 1_000_000_000 / rate.unwrap_or(48_000);
        let mut retiming = Retiming::new(stream, order, counting, opus_delay, delay);
        let mut first = Vec::new();
        if stream.kind == TrackKind::Audio {
            // The muxer and the other tracks must know how this track begins before any of them starts.
            pipeline.set_state(gst::State::Playing)?;
            first = read_ahead(&pipeline, &packets, &mut retiming, order.stop)?;
            if first.is_empty() {
                return Ok(None);
            }
        }
        let tags = pad.and_then(|pad| tags_on(&pad, gst::TagScope::Stream));
        let caps =
            if stream.kind == TrackKind::Text { order.text_conversion.caps(&caps) } else { caps };
        Ok(Some(Reader {
            pipeline,
            packets,
            caps,
            kind: stream.kind,
            tags: metadata::of_track(tags.as_deref(), order.pad_name),
            flags: stream.flags.clone(),
            lead: retiming.lead() + Duration::from_nanos(delay),
            begins_unheard: retiming.begins_unheard(),
            beginning: Some(ReadAhead { retiming, packets: first }),
            sending: None,
            counts: Arc::new(TrackCounts { limit: u64::MAX.into(), packets: AtomicU64::new(0) }),
        }))
    }

    /// Whether it is sound; if not, subtitles.
    pub fn is_sound(&self) -> bool {
        self.kind == TrackKind::Audio
    }

    /// A handle that ends the track early.
    pub fn limit(&self) -> TrackLimit {
        TrackLimit(Arc::clone(&self.counts))
    }

    /// Whether no packet of the track was sent.
    pub fn is_empty(&self) -> bool {
        self.counts.packets.load(Ordering::Acquire) == 0
    }

    /// The end time set by a [`TrackLimit`], if any.
    pub fn end(&self) -> Option<Duration> {
        let end = self.counts.limit.load(Ordering::Acquire);
        (end < u64::MAX).then(|| Duration::from_nanos(end))
    }

    /// Sends every packet into `target`, waiting when it is full, then the end of the stream.
    ///
    /// # Errors
    /// When the pipeline does not start.
    pub fn start(
        &mut self,
        target: &gst_app::AppSrc,
        events: Sender<Event>,
    ) -> Result<(), PipelineError> {
        let Some(beginning) = self.beginning.take() else { return Ok(()) };
        if let Some(pad) = target.static_pad("src") {
            // Packets already waiting in the appsrc when the limit is set must not be written either.
            let counts = Arc::clone(&self.counts);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let pts = info.buffer().and_then(|b| b.pts()).map_or(0, |t| t.nseconds());
                if pts >= counts.limit.load(Ordering::Acquire) {
                    return gst::PadProbeReturn::Handled;
                }
                counts.packets.fetch_add(1, Ordering::AcqRel);
                gst::PadProbeReturn::Ok
            });
        }
        self.pipeline.forward(events);
        self.pipeline.set_state(gst::State::Playing)?;
        let (packets, target) = (self.packets.clone(), target.clone());
        let counts = Arc::clone(&self.counts);
        let send = move || {
            // Ends the appsrc's stream however this thread ends: the muxer waits for the end of every track.
            let target = AppSrcCloser(target);
            // Fails only if the muxer is gone; then the error concerns nobody.
            let _ = send(beginning, &packets, &target.0, &counts);
        };
        let thread = std::thread::Builder::new().name("track".to_owned()).spawn(send);
        self.sending = Some(thread.map_err(|e| PipelineError::new("track", e.to_string()))?);
        Ok(())
    }
}

/// Ends the stream into an appsrc when dropped.
struct AppSrcCloser(gst_app::AppSrc);

impl Drop for AppSrcCloser {
    fn drop(&mut self) {
        let _ = self.0.end_of_stream();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nothing comes any more, and the muxer is gone.
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(thread) = self.sending.take() {
            let _ = thread.join();
        }
    }
}

/// Links the unwanted tracks of an FLV to fakesinks: flvdemux finds a track only when its first packet
/// arrives, and ends with an error if the tracks before it are not linked by then.
fn discard_other_flv_tracks(parse: &gst::Element, pad: &gst::Pad) {
    let pipeline = parse.parent().and_downcast::<gst::Pipeline>();
    let Some(pipeline) = pipeline.filter(|_| !pad.is_linked()) else { return };
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    let mut factories = elements.filter_map(|element| element.factory());
    if !factories.any(|factory| factory.name() == "flvdemux") {
        return;
    }
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build();
    if let Ok(sink) = sink
        && pipeline.add(&sink).is_ok()
        && sink.sync_state_with_parent().is_ok()
        && let Some(input) = sink.static_pad("sink")
    {
        // Drops their packets here. A sink would block on its first packet until the pipeline plays, and
        // block the demuxer too; but a parser such as that of MP3 may need more packets of the wanted track
        // before it knows the format.
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kinds, |_, _| gst::PadProbeReturn::Handled);
        let _ = pad.link(&input);
    }
}

/// Clears the DISCONT flag on sound that directly follows the sound before it. Otherwise an encoder would end
/// there and start again, with its priming. (avdec_eac3 of GStreamer 1.22 to 1.26 marks the second frame of
/// every track.)
fn without_false_gaps(pipeline: &Pipeline) {
    let elements = pipeline.gst().iterate_recurse().into_iter().flatten();
    let mut convert =
        elements.filter(|e| e.factory().is_some_and(|factory| factory.name() == "audioconvert"));
    let Some(pad) = convert.next().and_then(|convert| convert.static_pad("sink")) else { return };
    let ends = Mutex::new(None::<gst::ClockTime>);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |_, info| {
        let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = info.event() {
            if event.type_() == gst::EventType::Segment {
                *ends = None;
            }
        } else if let Some(buffer) = info.buffer_mut() {
            let apart = ends.zip(buffer.pts()).map(|(ends, pts)| pts.absdiff(ends));
            if buffer.flags().contains(gst::BufferFlags::DISCONT)
                && apart.is_some_and(|apart| apart <= NO_GAP)
            {
                buffer.make_mut().unset_flags(gst::BufferFlags::DISCONT);
            }
            *ends = buffer.pts().zip(buffer.duration()).map(|(pts, duration)| pts + duration);
        }
        gst::PadProbeReturn::Ok
    });
}

/// How much of the beginning of an Opus track is not heard (the pre-skip of its header), in nanoseconds.
fn opus_delay(caps: &gst::CapsRef) -> Option<i64> {
    let format = caps.structure(0).filter(|format| format.name() == "audio/x-opus")?;
    let headers = format.get::<gst::Array>("streamheader").ok()?;
    let header = headers.first()?.get::<gst::Buffer>().ok()?;
    let bytes = header.map_readable().ok()?;
    let skip: [u8; 2] = bytes.get(10..12)?.try_into().ok()?;
    Some(i64::from(u16::from_le_bytes(skip)) * 1_000_000_000 / 48_000)
}

/// Goes to `start`, by a seek or by reading up to there, before any sound is decoded: an encoder would keep sound from before the seek and put it
/// in front of the rest.
fn seek_unheard(
    pipeline: &Pipeline,
    track: &gst::Element,
    start: Option<Duration>,
    seeks: bool,
) -> Result<(), PipelineError> {
    let Some(pad) = track.static_pad("src") else { return Ok(()) };
    let come = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&come);
    let waiting =
        pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |_, _| {
            told.store(true, Ordering::Release);
            gst::PadProbeReturn::Ok
        });
    pipeline.set_state(gst::State::Paused)?;
    pipeline.wait(PREROLL, &|| come.load(Ordering::Acquire))?;
    let sought = match start {
        Some(start) if !seeks || pipeline.seeks_by_bitrate() => pipeline.read_up_to(track, start),
        start => pipeline.seek_at(track, start),
    };
    if let Some(waiting) = waiting {
        pad.remove_probe(waiting);
    }
    sought?;
    pipeline.wait_prerolled(PREROLL)
}

/// Reads the first packets of a track up to the first that is presented; empty if the track is empty.
fn read_ahead(
    pipeline: &Pipeline,
    packets: &gst_app::AppSink,
    retiming: &mut Retiming,
    stop: &StopSignal,
) -> Result<Vec<gst::Buffer>, PipelineError> {
    let mut timer = WaitTimer::new();
    while !timer.is_over(PREROLL) {
        if stop.is_set() {
            return Err(PipelineError::stopped());
        }
        let first = match packets.try_pull_sample(gst::ClockTime::from_mseconds(100)) {
            Some(sample) => retiming.packets(&sample),
            None if packets.is_eos() => retiming.last().into_iter().collect(),
            None => match pipeline.pending_error() {
                Some(error) => return Err(error),
                None => continue,
            },
        };
        if !first.is_empty() || retiming.ended() || packets.is_eos() {
            return Ok(first);
        }
    }
    Err(PipelineError::new("track", "no packets arrived"))
}

/// Sends the packets that were read ahead, then all further ones.
fn send(
    beginning: ReadAhead,
    packets: &gst_app::AppSink,
    target: &gst_app::AppSrc,
    counts: &TrackCounts,
) -> Result<(), gst::FlowError> {
    let ReadAhead { mut retiming, packets: mut next } = beginning;
    loop {
        for packet in next {
            if packet.pts().map_or(0, |t| t.nseconds()) >= counts.limit.load(Ordering::Acquire) {
                return Ok(());
            }
            target.push_buffer(packet)?;
        }
        if retiming.ended() {
            return Ok(());
        }
        next = match packets.pull_sample() {
            Ok(sample) => retiming.packets(&sample),
            // The end, or the pipeline is stopped.
            Err(_) => match retiming.last() {
                Some(last) => vec![last],
                None => return Ok(()),
            },
        };
    }
}

/// Ends a track where the picture ended, when a run is interrupted.
#[derive(Clone)]
pub struct TrackLimit(Arc<TrackCounts>);

impl TrackLimit {
    /// Drops all packets that begin at `end` or later.
    pub fn set(&self, end: Duration) {
        self.0.limit.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }
}
