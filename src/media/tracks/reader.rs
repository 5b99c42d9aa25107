//! One track of a file on its way from the input to the output.
//!
//! Each has a pipeline and a demuxer of its own, so that nothing it waits for can hold up the
//! picture, and the other way round. Decoding and encoding, where a track needs it, also happen
//! here: what goes wrong with a track ends that track, not the file.

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
use super::super::pipeline::{Event, Pipeline, PipelineRole};
use super::super::workarounds::{ContainerFacts, count_from, open_file, repair_demuxers};
use super::channels;
use super::metadata;
use super::retiming::{Retiming, TimeOrigin};
use super::track_list::{TrackInfo, TrackKind, leave_packets, tags_on};
use super::track_options::TrackOptions;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{PREROLL, WaitTimer};

const DESCRIPTION: &str = include_str!("../../../pipelines/source-track.pipeline");
/// What containers round times by is no gap in the sound.
const NO_GAP: gst::ClockTime = gst::ClockTime::from_mseconds(2);

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
    /// The muxer hides that beginning when the first packet has the time 0 ([`Retiming::begins_unheard`]).
    pub begins_unheard: bool,
    /// What sends the packets: its beginning, until it starts, and then its thread.
    beginning: Option<Beginning>,
    sending: Option<JoinHandle<()>>,
    counts: Arc<TrackCounts>,
}

/// The first packets of a track, and where the others go.
struct Beginning {
    retiming: Retiming,
    packets: Vec<gst::Buffer>,
}

/// What is known of a track while it goes through.
#[derive(Debug)]
struct TrackCounts {
    /// Packets from here on (nanoseconds of running time) are not wanted any more.
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
        let description = format!("{DESCRIPTION}track. ! {} ! packets.", order.through);
        let pipeline =
            Pipeline::parse(PipelineRole::Track(order.number), &description)?.until(order.stop);
        open_file(&pipeline.element("src")?, path);
        let packets: gst_app::AppSink = pipeline.element_as("packets")?;
        packets.set_caps(order.form.as_ref());
        if order.encoded {
            without_false_gaps(&pipeline);
        }
        let track = pipeline.element("track")?;
        let parse = pipeline.element("parse")?;
        leave_packets(&parse, path);
        if let (Ok(mix), Ok(layout)) = (pipeline.element("mix"), pipeline.element("layout")) {
            channels::arrange(&mix, &layout, order.through.contains("opusenc"));
        }
        let facts = ContainerFacts::of(path);
        repair_demuxers(&parse, &facts);
        // A subtitle that is shown when the span begins may come long before it: all are read.
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
            swallow(parse, pad);
        });

        match start {
            Some(_) if order.encoded => seek_unheard(&pipeline, &track, start)?,
            _ => {
                pipeline.set_state(gst::State::Paused)?;
                pipeline.wait_prerolled(PREROLL)?;
                // Without a need none is sought: matroskademux (1.22) would leave out what comes
                // before the first picture.
                match start {
                    Some(start) if pipeline.seeks_by_bitrate() => {
                        pipeline.read_up_to(&track, start)?;
                        pipeline.wait_prerolled(PREROLL)?;
                    }
                    Some(start) => pipeline.seek(Some(start))?,
                    None => {}
                }
            }
        }
        let pad = packets.static_pad("sink");
        let Some(caps) = pad.as_ref().and_then(gst::Pad::current_caps) else { return Ok(None) };
        if packets.is_eos() {
            return Ok(None);
        }
        let anew =
            start.is_none() && pipeline.restarts_timestamps() && !counted.load(Ordering::Acquire);
        let counting = if anew { TimeOrigin::Stream } else { TimeOrigin::Running };
        // matroskamux alone takes it into account.
        let opus_delay = opus_delay(&caps).filter(|_| !order.lengths);
        let rate = caps.structure(0).and_then(|s| s.get::<i32>("rate").ok());
        let rate = rate.and_then(|rate| u64::try_from(rate).ok()).filter(|rate| *rate > 0);
        let delay = u64::from(order.delay) * 1_000_000_000 / rate.unwrap_or(48_000);
        let mut retiming = Retiming::new(stream, &order, counting, opus_delay, delay);
        let mut first = Vec::new();
        if stream.kind == TrackKind::Audio {
            // How the track begins, the muxer and the other tracks must know before they do.
            pipeline.set_state(gst::State::Playing)?;
            first = beginning(&pipeline, &packets, &mut retiming, order.stop)?;
            if first.is_empty() {
                return Ok(None);
            }
        }
        let tags = pad.and_then(|pad| tags_on(&pad, gst::TagScope::Stream));
        let caps = if stream.kind == TrackKind::Text { order.words.caps(&caps) } else { caps };
        Ok(Some(Reader {
            pipeline,
            packets,
            caps,
            kind: stream.kind,
            tags: metadata::of_track(tags.as_deref(), order.room),
            flags: stream.flags.clone(),
            lead: retiming.lead() + Duration::from_nanos(delay),
            begins_unheard: retiming.begins_unheard(),
            beginning: Some(Beginning { retiming, packets: first }),
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
        &mut self,
        target: &gst_app::AppSrc,
        events: Sender<Event>,
    ) -> Result<(), PipelineError> {
        let Some(beginning) = self.beginning.take() else { return Ok(()) };
        if let Some(pad) = target.static_pad("src") {
            // What already waits in the appsrc when the limit is set must not go out either.
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
            // However the thread ends: the muxer waits for the end of every track.
            let target = AppSrcCloser(target);
            // It fails when the muxer is gone: then there is nobody to tell.
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

/// Lets an FLV's other tracks go nowhere: flvdemux finds a track when it begins, and ends with an error
/// when by then nobody has taken the ones before it.
fn swallow(parse: &gst::Element, pad: &gst::Pad) {
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
        // A sink waits at its first packet until the pipeline plays, and the demuxer with it; but a parser
        // such as that of MP3 may need more packets of the wanted track before that has its format.
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kinds, |_, _| gst::PadProbeReturn::Handled);
        let _ = pad.link(&input);
    }
}

/// Sound that follows what came before it is no new beginning, though it may be marked so: an encoder
/// would end there and begin again, with what it puts before the sound. (avdec_eac3 of GStreamer 1.22
/// to 1.26 marks the second frame of every track.)
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

/// Goes to `start` before anything is heard: an encoder would keep of what it heard before, and put
/// that in front of the sound.
fn seek_unheard(
    pipeline: &Pipeline,
    track: &gst::Element,
    start: Option<Duration>,
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
        Some(start) if pipeline.seeks_by_bitrate() => pipeline.read_up_to(track, start),
        start => pipeline.seek_at(track, start),
    };
    if let Some(waiting) = waiting {
        pad.remove_probe(waiting);
    }
    sought?;
    pipeline.wait_prerolled(PREROLL)
}

/// The first packets of sound that are presented; none when there is none.
fn beginning(
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

/// Sends what the track begins with, and then what comes.
fn send(
    beginning: Beginning,
    packets: &gst_app::AppSink,
    target: &gst_app::AppSrc,
    counts: &TrackCounts,
) -> Result<(), gst::FlowError> {
    let Beginning { mut retiming, packets: mut next } = beginning;
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
    /// No packet that begins at `end` or later goes out.
    pub fn set(&self, end: Duration) {
        self.0.limit.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }
}
