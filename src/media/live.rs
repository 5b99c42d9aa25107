//! A live source (a camera, an RTSP stream, a test picture or a file played in real time) → decoded frames.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::{ErrorKind, PipelineError};
use super::fit::Fit;
use super::frame_format::{FrameFormat, FramePlan};
use super::live_audio::LiveAudio;
use super::mode::{RequestedMode, best_mode};
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::rtsp_peer;
use super::source::{DECODED, DecodeAttempt, FileDecoder, SourceFindings, link_video};
use super::video::VideoStream;
use super::workarounds::ContainerFacts;
use crate::core::endpoint::InputSpec;
use crate::core::frame::{Frame, FramePool};
use crate::core::queue::{Producer, PushError};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{FIRST_LIVE_FRAME, WaitTimer};

/// How a live source is opened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveOptions {
    /// What a camera or the test picture should deliver.
    pub requested: RequestedMode,
    /// How long packets of an RTSP source are held back to put them into order.
    pub latency: Duration,
    /// RTSP over TCP only (`Some(true)`), over UDP only, or UDP first and then TCP.
    pub tcp: Option<bool>,
}

/// A live source that delivers.
pub struct LiveSource {
    pipeline: Pipeline,
    frames: gst_app::AppSink,
    stream: VideoStream,
    plan: FramePlan,
    fit: Fit,
    audio: Option<LiveAudio>,
    captured: Arc<AtomicU64>,
    /// Of a file, which waits until it is started.
    waits: Option<LiveClock>,
}

impl LiveSource {
    /// Opens a source and waits for its first picture, unless `stop` is set before. Frames are I420 of even size; when the
    /// source changes its size later, they keep this one, with black borders where needed.
    ///
    /// # Errors
    /// [`PipelineError`]: no such device, in use, refused, unreachable, no picture in time.
    pub fn open(
        input: &InputSpec,
        options: LiveOptions,
        clock: &LiveClock,
        stop: &StopSignal,
    ) -> Result<Self, PipelineError> {
        if let InputSpec::Rtsp(url) = input {
            rtsp_peer::reach(url, stop)?;
        }
        let (pipeline, frames, plan, fit) = match input {
            InputSpec::File(path) => open_file(path, clock, stop)?,
            _ => open_device(input, options, clock, stop)?,
        };
        let stream = plan.stream(fit.caps())?;
        let audio = LiveAudio::of(&pipeline);
        let waits = matches!(input, InputSpec::File(_)).then(|| clock.clone());
        let captured = Arc::default();
        Ok(LiveSource { pipeline, frames, stream, plan, fit, audio, captured, waits })
    }

    /// Notes for the user on what of the picture is lost or changed.
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// Format of the frames.
    pub fn stream(&self) -> &VideoStream {
        &self.stream
    }

    /// Its sound, if it has any.
    pub fn audio(&self) -> Option<&LiveAudio> {
        self.audio.as_ref()
    }

    /// Number of frames delivered since [`start`](Self::start).
    pub fn captured(&self) -> u64 {
        self.captured.load(Ordering::Relaxed)
    }

    /// Passes every frame to `queue` without waiting; frames that find the queue full are dropped and counted
    /// by the queue.
    pub fn start(&self, mut queue: Producer<Frame>, pool: FramePool, events: Sender<Event>) {
        let closer = queue.closer();
        let captured = Arc::clone(&self.captured);
        // A file begins now.
        let late = self.waits.as_ref().map(LiveClock::now).unwrap_or_default();
        let (mut fit, plan, mut rising) =
            (self.fit.clone(), self.plan.clone(), IncreasingTimes::default());
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                // The appsink keeps only the newest sample, which an earlier call may already have taken.
                let Some(sample) = sink.try_pull_sample(gst::ClockTime::ZERO) else {
                    return Ok(gst::FlowSuccess::Ok);
                };
                let frame = fit.apply(sample).and_then(|fits| plan.frame(&fits, &pool));
                fit.take_note().iter().for_each(|note| tracing::warn!("{note}"));
                let mut frame = frame.map_err(|error| {
                    gst::element_error!(sink, gst::StreamError::Failed, ["{error}"]);
                    gst::FlowError::Error
                })?;
                frame.pts = frame.pts.map(|pts| rising.time(pts + late));
                captured.fetch_add(1, Ordering::Relaxed);
                match queue.offer(frame) {
                    Ok(()) | Err(PushError::Full(_)) => Ok(gst::FlowSuccess::Ok),
                    Err(PushError::Closed(_)) => Err(gst::FlowError::Eos),
                }
            })
            .eos(move |_| closer.close())
            .build();
        self.frames.set_callbacks(callbacks);
        self.pipeline.forward(events.clone());
        if self.waits.is_some() {
            let late = i64::try_from(late.as_nanos()).unwrap_or(0);
            self.frames.set_property("ts-offset", late);
            if let Err(error) = self.pipeline.set_state(gst::State::Playing) {
                // Nobody listens any more once the run is over.
                let _ = events.send(Event::Failed(PipelineRole::Source, error));
            }
        }
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// Makes frame times strictly increasing. rtspsrc gives the same time to all frames that arrive late in one
/// burst; parsers then remove the second one's timestamp, and muxers end with an error.
#[derive(Default)]
struct IncreasingTimes(Option<Duration>);

impl IncreasingTimes {
    /// The time of the next frame, whose timestamp is `pts`.
    fn time(&mut self, pts: Duration) -> Duration {
        // One Matroska tick.
        let earliest = self.0.map(|newest| newest + Duration::from_millis(1));
        let time = earliest.map_or(pts, |earliest| pts.max(earliest));
        self.0 = Some(time);
        time
    }
}

/// Parts of an opened source: pipeline, appsink, layout of its frames, converter.
type Opened = (Pipeline, gst_app::AppSink, FramePlan, Fit);

/// Opens a file that is played in real time; it is decoded like a file that is not live.
fn open_file(path: &Path, clock: &LiveClock, stop: &StopSignal) -> Result<Opened, PipelineError> {
    let (decoder, caps) = FileDecoder::open(path, FrameFormat::Even, stop, |decoder| {
        let FileDecoder { pipeline, frames, .. } = decoder;
        clock.apply_to(pipeline.gst());
        frames.set_property("sync", true);
        newest_only(frames);
        pipeline.set_state(gst::State::Paused)?;
        first_caps(pipeline, frames, stop)
    })?;
    let FileDecoder { pipeline, frames, seen, .. } = decoder;
    let plan = seen.plan(&caps, FrameFormat::Even);
    let fit = plan.fit(&caps)?;
    Ok((pipeline, frames, plan, fit))
}

/// Opens a source that delivers frames in real time by itself: a camera, an RTSP stream or the test picture.
fn open_device(
    input: &InputSpec,
    options: LiveOptions,
    clock: &LiveClock,
    stop: &StopSignal,
) -> Result<Opened, PipelineError> {
    let head = match input {
        InputSpec::Device(_) => include_str!("../../pipelines/source-v4l2.pipeline"),
        InputSpec::Rtsp(_) => include_str!("../../pipelines/source-rtsp.pipeline"),
        InputSpec::Test { .. } => include_str!("../../pipelines/source-test.pipeline"),
        InputSpec::Pipeline(path) | InputSpec::File(path) => {
            return open_description(path, clock, stop);
        }
    };
    let pipeline = Pipeline::parse(PipelineRole::Source, &format!("{head}\n{DECODED}"))?;
    clock.apply_to(pipeline.gst());
    set_up(&pipeline, input, options)?;
    let seen = SourceFindings::default();
    link_video(
        &pipeline,
        FrameFormat::Even,
        &seen,
        &ContainerFacts::default(),
        &DecodeAttempt::default(),
    )?;
    link_streams(&pipeline)?;
    let frames: gst_app::AppSink = pipeline.element_as("frames")?;
    newest_only(&frames);
    pipeline.set_state(gst::State::Playing)?;
    let caps = first_caps(&pipeline, &frames, stop)?;
    let plan = seen.plan(&caps, FrameFormat::Even);
    let fit = plan.fit(&caps)?;
    Ok((pipeline, frames, plan, fit))
}

/// Opens the user's own description. Only frames that are not I420 are converted; everything else is up to
/// its author.
fn open_description(
    path: &Path,
    clock: &LiveClock,
    stop: &StopSignal,
) -> Result<Opened, PipelineError> {
    let description =
        std::fs::read_to_string(path).map_err(|e| PipelineError::new("pipeline", e.to_string()))?;
    let pipeline = Pipeline::parse(PipelineRole::Source, &description)?;
    clock.apply_to(pipeline.gst());
    let caps = gst::Caps::builder_full()
        .structure(gst::Structure::builder("video/x-raw").field("format", "I420").build())
        .structure(gst::Structure::new_empty("video/x-raw"))
        .build();
    let frames: gst_app::AppSink = pipeline.element_as("frames")?;
    frames.set_caps(Some(&caps));
    newest_only(&frames);
    pipeline.set_state(gst::State::Playing)?;
    let caps = first_caps(&pipeline, &frames, stop)?;
    let fit = Fit::to(&caps)?;
    let mut plan = FramePlan::new(fit.caps(), FrameFormat::Even);
    plan.notes.clear();
    Ok((pipeline, frames, plan, fit))
}

/// Keeps only the newest frame: frames queued before the run begins would add a lasting delay.
fn newest_only(frames: &gst_app::AppSink) {
    frames.set_max_buffers(1);
    frames.set_drop(true);
}

fn set_up(
    pipeline: &Pipeline,
    input: &InputSpec,
    options: LiveOptions,
) -> Result<(), PipelineError> {
    let src = pipeline.element("src")?;
    match input {
        InputSpec::Pipeline(_) | InputSpec::File(_) => {}
        InputSpec::Device(path) => {
            src.set_property("device", path.display().to_string());
            // In state Ready the device is open and its capabilities can be queried.
            src.set_state(gst::State::Ready).map_err(|_| pipeline.failure())?;
            let can = src.static_pad("src").map(|pad| pad.query_caps(None));
            let mode = best_mode(&can.unwrap_or_else(gst::Caps::new_any), options.requested);
            let mode = mode.ok_or_else(|| {
                let text = format!("the camera has no mode for {}", options.requested);
                PipelineError::new("src", text)
            })?;
            pipeline.element("mode")?.set_property("caps", &mode);
        }
        InputSpec::Rtsp(url) => {
            src.set_property("location", url.location());
            if let Some((user, password)) = url.credentials() {
                src.set_property("user-id", user);
                src.set_property("user-pw", password);
            }
            let latency = u32::try_from(options.latency.as_millis()).unwrap_or(u32::MAX);
            src.set_property("latency", latency);
            match options.tcp {
                Some(true) => src.set_property_from_str("protocols", "tcp"),
                Some(false) => src.set_property_from_str("protocols", "udp+udp-mcast"),
                None => {}
            }
        }
        InputSpec::Test { size, fps } => {
            let (width, height) = size.or(options.requested.size).unwrap_or((640, 360));
            let fps = fps.or(options.requested.fps).unwrap_or(30);
            let mode = gst::Caps::builder("video/x-raw")
                .field("width", width as i32)
                .field("height", height as i32)
                .field("framerate", gst::Fraction::new(fps as i32, 1))
                .build();
            pipeline.element("mode")?.set_property("caps", &mode);
        }
    }
    Ok(())
}

/// Links the streams of an RTSP source when they appear: the picture to `decode`, the sound to `parse`,
/// and the parsed sound to `track`.
fn link_streams(pipeline: &Pipeline) -> Result<(), PipelineError> {
    let find = |name: &str| pipeline.gst().by_name(name).map(|e| e.downgrade());
    let Some(parse) = pipeline.gst().by_name("parse") else { return Ok(()) };
    let (decode, parser) = (find("decode"), parse.downgrade());
    pipeline.element("src")?.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let media = caps.structure(0).and_then(|s| s.get::<String>("media").ok());
        let target = match media.as_deref() {
            Some("video") => decode.as_ref().and_then(|e| e.upgrade()),
            Some("audio") => parser.upgrade(),
            _ => None,
        };
        // The first of each kind; further ones are left alone.
        if let Some(input) = target.and_then(|e| e.static_pad("sink")).filter(|p| !p.is_linked()) {
            let _ = pad.link(&input);
        }
    });
    let track = find("track");
    parse.connect_pad_added(move |_, pad| {
        let track = track.as_ref().and_then(|t| t.upgrade());
        if let Some(input) = track.and_then(|t| t.static_pad("sink")) {
            let _ = pad.link(&input);
        }
    });
    Ok(())
}

fn first_caps(
    pipeline: &Pipeline,
    frames: &gst_app::AppSink,
    stop: &StopSignal,
) -> Result<gst::Caps, PipelineError> {
    let mut timer = WaitTimer::new();
    while !timer.is_over(FIRST_LIVE_FRAME) {
        let wait = gst::ClockTime::from_mseconds(50);
        // What is paused keeps its first picture.
        let first = match pipeline.gst().state(gst::ClockTime::ZERO) {
            (_, gst::State::Playing, _) | (_, _, gst::State::Playing) => {
                frames.try_pull_sample(wait)
            }
            _ => frames.try_pull_preroll(wait),
        };
        if let Some(sample) = first
            && let Some(caps) = sample.caps_owned()
        {
            return Ok(caps);
        }
        if let Some(error) = pipeline.pending_error() {
            return Err(error);
        }
        if stop.is_set() {
            return Err(PipelineError::stopped());
        }
        if frames.is_eos() {
            let text = "it ended before its first picture";
            return Err(PipelineError::new("src", text).of_kind(ErrorKind::NoVideo));
        }
    }
    let text = format!("no picture arrived within {} s", FIRST_LIVE_FRAME.as_secs());
    Err(PipelineError::new("src", text).of_kind(ErrorKind::NoVideo))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_with_one_time_follow_one_another() {
        let mut rising = IncreasingTimes::default();
        let times = [0, 40, 40, 40, 41, 120, 100, 160];
        let times = times.map(|ms| rising.time(Duration::from_millis(ms)).as_millis());
        assert_eq!(times, [0, 40, 41, 42, 43, 120, 121, 160]);
    }
}
