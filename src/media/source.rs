//! A file → decoded frames.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::{ErrorKind, PipelineError};
use super::fit::Fit;
pub use super::frame_format::FrameFormat;
use super::frame_format::FramePlan;
use super::pipeline::{Event, Pipeline, PipelineRole, skip_decoders};
use super::read_report::SharedReport;
use super::span_start::{Counted, begin_at, keep_what_comes_before};
use super::stills::stills;
use super::video::VideoStream;
use super::workarounds::{
    ContainerFacts, complete, complete_on, complete_picture_times, count_picture_from, is_unnamed,
    one_frame_for_each, open_file, prefer_colorimetry, repair_demuxers,
};
use crate::core::frame::{Frame, FramePool};
use crate::core::queue::{Producer, PushError};
use crate::core::span::Span;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{DECODE_UP_TO, PREROLL};
use crate::core::truncation::has_no_index;

/// From a decoded picture to planes, for every source.
pub(super) const DECODED: &str = include_str!("../../pipelines/decoded.pipeline");
const FILE: &str = include_str!("../../pipelines/source-file.pipeline");

/// Working time of a pipeline's thread, without its waits.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<AtomicU64>);

impl Busy {
    /// Adds what a piece of work took.
    pub fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The time so far.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// An open file whose first frame is decoded.
pub struct VideoSource {
    pub(super) pipeline: Pipeline,
    pub(super) frames: gst_app::AppSink,
    pub(super) stream: VideoStream,
    pub(super) plan: FramePlan,
    pub(super) fit: Fit,
    pub(super) busy: Busy,
    /// Frames that begin at this time or later are dropped.
    pub(super) end: Option<Duration>,
    /// Whether all frames before the end have come.
    pub(super) complete: Arc<AtomicBool>,
    /// Notes that arise while it runs.
    pub(super) log: SharedReport,
}

impl VideoSource {
    /// Opens a file and decodes its first frame (of `span`), unless `stop` is set before.
    ///
    /// # Errors
    /// [`PipelineError`]: no such file, no video in it, no decoder, nothing that can be decoded.
    pub fn open(
        path: &Path,
        span: Span,
        wanted: FrameFormat,
        stop: &StopSignal,
    ) -> Result<Self, PipelineError> {
        let (mut decoder, sought) = FileDecoder::open(path, wanted, stop, |decoder| {
            decoder.pipeline.set_state(gst::State::Paused)?;
            decoder.pipeline.wait_prerolled(PREROLL)?;
            decoder.seek(span.start)
        })?;
        if let (Some(start), false) = (span.start, sought) {
            drop(decoder);
            (decoder, ()) =
                FileDecoder::open(path, wanted, stop, |decoder| decoder.read_up_to(start))?;
        }
        let FileDecoder { pipeline, frames, length, seen } = decoder;
        let whole = length.or_else(|| pipeline.duration());
        let beyond = |start: Duration| {
            let ends = whole.filter(|whole| start >= *whole);
            let ends = ends.map(|whole| format!(": it ends at {:.3} s", whole.as_secs_f64()));
            let at = start.as_secs_f64();
            let text = format!("there is nothing at {at:.3} s{}", ends.unwrap_or_default());
            PipelineError::new("seek", text)
        };
        // How long what cannot be sought is, its demuxer only estimates.
        if let Some(start) = span.start.filter(|_| sought)
            && whole.is_some_and(|whole| start >= whole)
        {
            return Err(beyond(start));
        }
        if let Some(start) = span.start.filter(|_| frames.is_eos()) {
            return Err(beyond(start));
        }
        let caps = frames.static_pad("sink").and_then(|pad| pad.current_caps());
        let caps = caps.ok_or_else(|| {
            PipelineError::new("appsink", "it has no frames").of_kind(ErrorKind::Damaged)
        })?;
        let plan = seen.plan(&caps, wanted);
        let fit = plan.fit(&caps)?;
        let mut stream = plan.stream(fit.caps())?;
        stream.duration = span.of(whole);
        let (busy, end, log) = (Busy::default(), span.duration, SharedReport::default());
        let complete = Arc::default();
        Ok(VideoSource { pipeline, frames, stream, plan, fit, busy, end, complete, log })
    }

    /// Sets the report for notes that arise while the source runs.
    pub fn with_report(mut self, log: &SharedReport) -> Self {
        self.log = log.clone();
        self
    }

    /// What its frames are like.
    pub fn stream(&self) -> &VideoStream {
        &self.stream
    }

    /// Whether all frames of a span with an end have come: what fails after that does not matter.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// What the user should know: what of the picture is lost or changed.
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// Whether reading has ended; frames that were read may still be on their way.
    pub fn reading_ended(&self) -> bool {
        self.pipeline.reading_ended()
    }

    /// How long the decoder has worked.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// The first frame alone.
    ///
    /// # Errors
    /// When there is none.
    pub fn first_frame(&self) -> Result<Frame, PipelineError> {
        let sample = self.frames.pull_preroll().map_err(|_| {
            PipelineError::new("appsink", "no frame at this time").of_kind(ErrorKind::Damaged)
        })?;
        let sample = self.fit.clone().apply(sample)?;
        self.plan.frame(&sample, &FramePool::new(0))
    }

    /// Sends every frame into `queue`, waiting while it is full; drops the queue's producer after the last
    /// one.
    ///
    /// # Errors
    /// When the pipeline does not start.
    pub fn start(
        &self,
        queue: Producer<Frame>,
        pool: FramePool,
        events: Sender<Event>,
    ) -> Result<(), PipelineError> {
        let closer = queue.closer();
        let (busy, plan, log) = (self.busy.clone(), self.plan.clone(), self.log.clone());
        let mut fit = self.fit.clone();
        let mut returned = Instant::now();
        let step = self.stream.framerate.map_or(Duration::from_millis(40), |(n, d)| {
            Duration::from_secs_f64(f64::from(d) / f64::from(n))
        });
        let (mut next_pts, mut last) = (Duration::ZERO, None);
        let (end, complete) = (self.end, Arc::clone(&self.complete));
        // Of a span with an end each frame lasts until the next one comes, or the span ends: it waits here until
        // that is known.
        let latest = Arc::new(Mutex::new(None::<Frame>));
        let (waiting, queue) = (Arc::clone(&latest), Arc::new(Mutex::new(queue)));
        let target = Arc::clone(&queue);
        let push = move |frame: Frame| match queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(frame)
        {
            Ok(()) => Ok(gst::FlowSuccess::Ok),
            Err(PushError::Closed(_) | PushError::Full(_)) => Err(gst::FlowError::Eos),
        };
        let at_end = closer.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                busy.add(returned.elapsed());
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let since = Instant::now();
                // The decoder's buffer is released before waiting for room in the queue.
                let frame = fit.apply(sample).and_then(|sample| plan.frame(&sample, &pool));
                log.lock().notes.extend(fit.take_note());
                let frame = frame.map_err(|error| {
                    gst::element_error!(sink, gst::StreamError::Failed, ["{error}"]);
                    gst::FlowError::Error
                });
                busy.add(since.elapsed());
                let mut frame = frame?;
                // Some streams have no timestamps (raw H.264): the frame rate is used. Others have decoding
                // times only (H.264 in AVI): a timestamp that does not increase is replaced.
                let pts = frame.pts.filter(|pts| last.is_none_or(|last| *pts > last));
                let pts = pts.unwrap_or(next_pts);
                (frame.pts, last) = (Some(pts), Some(pts));
                // Muxers take the last frame's duration from here; without it, the last frame of an MP4 would
                // be lost.
                let duration = frame.duration.filter(|d| !d.is_zero()).unwrap_or(step);
                next_pts = pts + duration;
                frame.duration =
                    Some(end.map_or(duration, |end| duration.min(end.saturating_sub(pts))));
                let next = match end {
                    None => Some(frame),
                    Some(end) => {
                        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        let before =
                            waiting.take().map(|before| lasting_until(before, pts.min(end)));
                        *waiting = (pts < end).then_some(frame);
                        before
                    }
                };
                let pushed = next.map_or(Ok(gst::FlowSuccess::Ok), &push);
                if end.is_some_and(|end| pts >= end) {
                    complete.store(true, Ordering::Release);
                    closer.close();
                    return Err(gst::FlowError::Eos);
                }
                returned = Instant::now();
                pushed
            })
            .eos(move |_| {
                let last = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(last) = last {
                    // Nobody takes it any more when it fails.
                    let _ = target.lock().unwrap_or_else(PoisonError::into_inner).push(last);
                }
                at_end.close();
            })
            .build();
        self.frames.set_callbacks(callbacks);
        self.pipeline.forward(events);
        self.pipeline.set_state(gst::State::Playing)
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// The frame, over at `end`.
fn lasting_until(mut frame: Frame, end: Duration) -> Frame {
    frame.duration = frame.pts.map(|pts| end.saturating_sub(pts));
    frame
}

/// A pipeline that decodes a file's picture to planes, whether it is read or played live.
pub(super) struct FileDecoder {
    pub pipeline: Pipeline,
    pub frames: gst_app::AppSink,
    /// Duration stated by the container, for containers whose demuxer must not see it (MP4).
    pub length: Option<Duration>,
    pub seen: SourceFindings,
}

impl FileDecoder {
    /// Opens a file; `start` brings it to its first frame. If that fails and the error suggests another way
    /// of decoding, that one is tried.
    ///
    /// # Errors
    /// That the file is cut off, or the failure of `start`.
    pub fn open<T>(
        path: &Path,
        wanted: FrameFormat,
        stop: &StopSignal,
        start: impl Fn(&FileDecoder) -> Result<T, PipelineError>,
    ) -> Result<(Self, T), PipelineError> {
        // decodebin (1.22) sometimes drops qtdemux's error about this and waits for ever.
        if has_no_index(path) {
            let text = "its index is missing (moov): the file is cut off";
            return Err(PipelineError::new("qtdemux", text).of_kind(ErrorKind::Damaged));
        }
        let (mut trial, mut refused) = (DecodeAttempt::default(), None);
        loop {
            let decoder = Self::build(path, wanted, &trial, stop)?;
            let error = match start(&decoder) {
                Ok(started) => match decoder.seen.stills_taken(path, &trial, stop)? {
                    Some(stills) => {
                        trial.stills = Some(stills);
                        continue;
                    }
                    None => return Ok((decoder, started)),
                },
                Err(error) => error,
            };
            let next = trial.after(&error, &decoder.seen);
            let error = decoder.seen.explain(error);
            match next {
                Some(next) => {
                    // What the first decoder says counts, should the next one know no better.
                    if next.refused.is_some() {
                        refused.get_or_insert(error);
                    }
                    trial = next;
                }
                None => return Err(refused.unwrap_or(error)),
            }
        }
    }

    /// Goes to the frame that is on the screen at `start` (to the beginning when none); running time begins at zero
    /// there. False when this file cannot be sought so.
    fn seek(&self, start: Option<Duration>) -> Result<bool, PipelineError> {
        let pipeline = &self.pipeline;
        let Some(start) = start else { return pipeline.seek(None).map(|()| true) };
        if !pipeline.seeks_frames() {
            return Ok(false);
        }
        let element = pipeline.gst().upcast_ref();
        let at = pipeline.origin(element) + clock_time(start)?;
        let missed = begin_at(&self.decoded()?, at, Counted::Stream);
        keep_what_comes_before(pipeline.gst());
        if pipeline.seek_at(element, Some(start)).is_err() {
            return Ok(false);
        }
        pipeline.wait_prerolled(PREROLL)?;
        // How long a transport stream is, its demuxer only estimates.
        let beyond = |end| end <= start && !pipeline.has("tsdemux");
        let nothing = self.frames.is_eos() && !pipeline.duration().is_some_and(beyond);
        Ok(!nothing && !missed.load(Ordering::Acquire))
    }

    /// The same by reading from the beginning, to be called before anything is read.
    fn read_up_to(&self, start: Duration) -> Result<(), PipelineError> {
        begin_at(&self.decoded()?, clock_time(start)?, Counted::Running);
        self.pipeline.set_state(gst::State::Paused)?;
        self.pipeline.wait_prerolled(DECODE_UP_TO)
    }

    /// Where decoded pictures come in.
    fn decoded(&self) -> Result<gst::Pad, PipelineError> {
        let convert = self.pipeline.element("convert")?;
        let pad = convert.static_pad("sink");
        pad.ok_or_else(|| PipelineError::new("convert", "it has no input"))
    }

    fn build(
        path: &Path,
        wanted: FrameFormat,
        trial: &DecodeAttempt,
        stop: &StopSignal,
    ) -> Result<Self, PipelineError> {
        let pipeline =
            Pipeline::parse(PipelineRole::Source, &format!("{FILE}\n{DECODED}"))?.until(stop);
        let length = open_file(&pipeline.element("src")?, path);
        let frames: gst_app::AppSink = pipeline.element_as("frames")?;
        let decode = pipeline.element("decode")?;
        decode.set_property("expose-all-streams", trial.all);
        leave_out(&decode, trial);
        let (seen, mut facts) = (SourceFindings::default(), ContainerFacts::of(path));
        if let Some(stills) = &trial.stills {
            facts = facts.with_stills(stills.clone());
        }
        repair_demuxers(&decode, &facts);
        count_picture_from(&decode, facts.matroska_begins(path));
        complete_picture_times(&decode);
        link_video(&pipeline, wanted, &seen, &facts, trial)?;
        Ok(FileDecoder { pipeline, frames, length, seen })
    }
}

/// A way to decode the picture.
#[derive(Clone, Default)]
pub(super) struct DecodeAttempt {
    /// decodebin exposes all tracks, and leaves those without pictures undecoded.
    all: bool,
    /// Pictures marked as transparent are decoded as if they were opaque.
    opaque: bool,
    /// A decoder that refused the picture: openjpegdec (1.22 to 1.26) that of a MOV whose chroma is subsampled
    /// (`-c:v jpeg2000 -pix_fmt yuv420p`), which that of libav takes.
    refused: Option<String>,
    /// Stream ids of video tracks that are stills; none until the first attempt took one of several tracks.
    stills: Option<BTreeSet<String>>,
}

impl DecodeAttempt {
    /// The next way to try after a failure; none if there is no other.
    fn after(&self, error: &PipelineError, seen: &SourceFindings) -> Option<Self> {
        if !seen.alpha.load(Ordering::Relaxed) || self.opaque {
            let refused = error.decoder().filter(|_| self.refused.is_none());
            return refused.map(|name| DecodeAttempt { refused: Some(name), ..self.clone() });
        }
        match error.kind {
            ErrorKind::NoSpace => None,
            // decodebin (1.22 to 1.26) does not find the decoder of transparent VP8 and VP9 if it is told to
            // ignore the other tracks.
            ErrorKind::MissingPlugin if !self.all => {
                Some(DecodeAttempt { all: true, ..self.clone() })
            }
            // Chrome's MediaRecorder marks every WebM as transparent, whether it is or not, and
            // codecalphademux refuses what comes without alpha.
            _ => Some(DecodeAttempt { all: true, opaque: true, ..self.clone() }),
        }
    }
}

/// What was learned while opening a source: the kinds of tracks it has, and how its pictures are converted.
#[derive(Clone, Default)]
pub(super) struct SourceFindings {
    alpha: Arc<AtomicBool>,
    /// The codec defines unmarked chroma as centred.
    centred: Arc<AtomicBool>,
    plan: Arc<Mutex<Option<FramePlan>>>,
    tracks: Arc<Mutex<VideoTracks>>,
    video: Arc<AtomicBool>,
    audio: Arc<AtomicBool>,
}

/// The video tracks that were decoded.
#[derive(Default)]
struct VideoTracks {
    count: usize,
    /// Stream id of the one whose pictures are used.
    taken: Option<String>,
}

impl SourceFindings {
    /// The stills of the file, where this attempt took one of them instead of a film, not knowing that.
    fn stills_taken(
        &self,
        path: &Path,
        trial: &DecodeAttempt,
        stop: &StopSignal,
    ) -> Result<Option<BTreeSet<String>>, PipelineError> {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        match &tracks.taken {
            Some(taken) if tracks.count > 1 && trial.stills.is_none() => {
                Ok(Some(stills(path, stop)?).filter(|stills| stills.contains(taken)))
            }
            _ => Ok(None),
        }
    }

    /// The plan for converting frames, from the caps of the first one.
    pub fn plan(&self, caps: &gst::CapsRef, wanted: FrameFormat) -> FramePlan {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        plan.unwrap_or_else(|| FramePlan::new(caps, wanted))
    }

    /// For a file without video, decodebin reports a missing plug-in; this replaces that error.
    fn explain(&self, error: PipelineError) -> PipelineError {
        let seen = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if seen(&self.audio) && !seen(&self.video) && error.kind != ErrorKind::NoSpace {
            return PipelineError::new("decodebin", "it has sound but no video track")
                .of_kind(ErrorKind::NoVideo);
        }
        error
    }
}

fn clock_time(time: Duration) -> Result<gst::ClockTime, PipelineError> {
    let error = |_| PipelineError::new("seek", "the time is out of range");
    gst::ClockTime::try_from(time).map_err(error)
}

/// Lets decodebin leave out the decoders that this attempt is to do without.
fn leave_out(decode: &gst::Element, trial: &DecodeAttempt) {
    let DecodeAttempt { opaque, refused, .. } = trial.clone();
    if opaque || refused.is_some() {
        skip_decoders(decode, move |name| {
            opaque && name.ends_with("alphadecodebin") || refused.as_deref() == Some(name)
        });
    }
}

/// Links the first video pad of `decode` to `convert`, and requests the wanted format.
pub(super) fn link_video(
    pipeline: &Pipeline,
    wanted: FrameFormat,
    seen: &SourceFindings,
    facts: &ContainerFacts,
    trial: &DecodeAttempt,
) -> Result<(), PipelineError> {
    let (all, opaque) = (trial.all, trial.opaque);
    let decode = pipeline.element("decode")?;
    prefer_colorimetry(&decode);
    one_frame_for_each(&pipeline.element("deinterlace")?);
    if wanted == FrameFormat::Even {
        crop_to_even(&pipeline.element("crop")?);
    }
    let convert = pipeline.element("convert")?.downgrade();
    let format = pipeline.element("format")?.downgrade();
    let watch = seen.clone();
    // Called for every pad on the way; true leaves the decision to decodebin.
    decode.connect("autoplug-continue", false, move |args| {
        let caps = args.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        if let Some(name) = caps.as_ref().and_then(|c| c.structure(0)).map(|s| s.name()) {
            // Some containers have video/… caps too; only caps with a picture size are video.
            let picture = caps.as_ref().and_then(|c| c.structure(0)).is_some_and(|s| {
                s.has_field("width")
                    || name.starts_with("image/")
                    || name == "video/x-raw"
                    || is_unnamed(s)
            });
            watch.video.fetch_or(picture, Ordering::Relaxed);
            watch.audio.fetch_or(name.starts_with("audio/"), Ordering::Relaxed);
            let alpha = caps
                .as_ref()
                .and_then(|c| c.structure(0))
                .is_some_and(|s| s.get("codec-alpha").is_ok_and(|alpha: bool| alpha));
            watch.alpha.fetch_or(alpha, Ordering::Relaxed);
            let mpeg = caps.as_ref().and_then(|c| c.structure(0)?.get::<i32>("mpegversion").ok());
            let centred = name == "video/mpeg" && mpeg == Some(1) || name == "image/jpeg";
            watch.centred.fetch_or(centred, Ordering::Relaxed);
            if all && (name == "video/x-raw" || !picture && !is_container(name)) {
                return Some(false.to_value());
            }
        }
        Some(true.to_value())
    });

    let (bus, planned) = (pipeline.gst().bus(), Arc::clone(&seen.plan));
    let tracks = Arc::clone(&seen.tracks);
    let (facts, centred) = (facts.clone(), Arc::clone(&seen.centred));
    decode.connect_pad_added(move |decode, pad| {
        let (Some(convert), Some(format)) = (convert.upgrade(), format.upgrade()) else { return };
        let Some(mut caps) = pad.current_caps() else { return };
        if caps.structure(0).is_none_or(|s| s.name() != "video/x-raw") {
            return;
        }
        let mut tracks = tracks.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.count += 1;
        let Some(input) = convert.static_pad("sink").filter(|p| !p.is_linked()) else { return };
        let id = pad.stream_id();
        if facts.is_beside_the_film(id.as_deref()) {
            return;
        }
        tracks.taken = id.as_ref().map(ToString::to_string);
        drop(tracks);
        let centred = centred.load(Ordering::Relaxed);
        if let Some(format) = caps.make_mut().structure_mut(0) {
            complete(format, facts.pixel_aspect(id.as_deref()), centred);
        }
        complete_on(pad, &facts, centred);
        let mut plan = FramePlan::new(&caps, wanted);
        if opaque {
            let note = "it is marked as transparent but is not: decoded as opaque";
            plan.notes.push(note.to_owned());
        }
        format.set_property("caps", plan.caps());
        *planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
        if let Err(error) = pad.link(&input)
            && let Some(bus) = &bus
        {
            let text = format!("cannot link decoded video: {error}");
            let message = gst::message::Error::builder(gst::CoreError::Pad, &text).src(decode);
            let _ = bus.post(message.build());
        }
    });
    Ok(())
}

/// Whether caps of this name are those of a container.
fn is_container(name: &str) -> bool {
    name.starts_with("video/") || name.starts_with("application/x-id3") || name == "application/ogg"
}

/// Configures `crop` to remove the last column and line of frames with odd sides.
pub(super) fn crop_to_even(crop: &gst::Element) {
    let Some(pad) = crop.static_pad("sink") else { return };
    let crop = crop.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Caps(caps) = event.view()
            && let (Some(crop), Some(video)) = (crop.upgrade(), caps.caps().structure(0))
        {
            // A picture of one line stays: there would be nothing left.
            let excess = |side| video.get::<i32>(side).map_or(0, |v| if v > 1 { v % 2 } else { 0 });
            crop.set_property("right", excess("width"));
            crop.set_property("bottom", excess("height"));
        }
        gst::PadProbeReturn::Ok
    });
}
