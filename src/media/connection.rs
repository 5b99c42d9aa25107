//! One connection to a live source (a camera, a stream, a test picture or a file played in real time), from opening
//! to loss.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::{ErrorKind, PipelineError};
use super::fit::Fit;
use super::frame_format::{FrameFormat, FramePlan};
use super::live::{LiveOptions, LiveTarget};
use super::live_audio::{LiveAudio, Packets};
use super::live_times::{LiveTimes, Track};
use super::mode::best_mode;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::rtsp_peer;
use super::source::{DECODED, DecodeAttempt, FileDecoder, SourceFindings, link_video};
use super::stream_source;
use super::tls_peer;
use super::webrtc::WebRtc;
use super::workarounds::ContainerFacts;
use crate::core::endpoint::InputSpec;
use crate::core::queue::PushError;
use crate::core::stop::StopSignal;
use crate::core::stream_url::{StreamScheme, StreamUrl};
use crate::core::timeouts::{CLOSE_LOST, FIRST_LIVE_FRAME, WaitTimer};

/// A connection that delivers.
pub(super) struct Connection {
    pipeline: Pipeline,
    frames: gst_app::AppSink,
    plan: FramePlan,
    fit: Fit,
    sound: Option<Packets>,
    times: LiveTimes,
    /// It waits, paused, until it is started, and is then played by the clock.
    waits: bool,
    has_an_end: bool,
    /// The end of the picture is the end: when a server closes the connection, the sound may never end.
    ends_with_picture: bool,
}

impl Connection {
    /// Opens a source and waits for its first picture, unless `stop` is set before. A publisher comes by `webrtc`.
    ///
    /// # Errors
    /// [`PipelineError`]: no such device, in use, refused, unreachable, no picture in time.
    pub fn open(
        input: &InputSpec,
        options: LiveOptions,
        clock: &LiveClock,
        webrtc: Option<&WebRtc>,
        stop: &StopSignal,
    ) -> Result<Self, PipelineError> {
        if let InputSpec::Rtsp(url) = input {
            rtsp_peer::reach(url, stop)?;
        }
        let (pipeline, frames, plan, fit) = match input {
            InputSpec::File(path) => open_file(path, clock, stop)?,
            InputSpec::Whip => open_publisher(webrtc, clock, stop)?,
            _ => open_device(input, options, clock, stop)
                .map_err(|error| tls_peer::explain(&input.to_string(), error))?,
        };
        let sound = Packets::of(&pipeline, stop);
        let waits = match input {
            InputSpec::File(_) => true,
            InputSpec::Stream(url) => url.scheme() == StreamScheme::Http,
            _ => false,
        };
        let times = match input {
            InputSpec::File(_) | InputSpec::Test { .. } | InputSpec::Pipeline(_) => {
                LiveTimes::of_a_file(clock)
            }
            _ => LiveTimes::of_a_stream(clock, options.latency),
        };
        // Of a stream that is live, nobody knows how long it is.
        let known = pipeline.duration().is_some_and(|length| !length.is_zero());
        let has_an_end = matches!(input, InputSpec::File(_)) || waits && known;
        let ends_with_picture =
            !waits && matches!(input, InputSpec::Rtsp(_) | InputSpec::Stream(_));
        Ok(Connection {
            pipeline,
            frames,
            plan,
            fit,
            sound,
            times,
            waits,
            has_an_end,
            ends_with_picture,
        })
    }

    /// Layout of its frames.
    pub fn plan(&self) -> &FramePlan {
        &self.plan
    }

    /// The converter of its frames.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// Its sound, if it has any.
    pub fn sound(&self) -> Option<&Packets> {
        self.sound.as_ref()
    }

    /// Whether it has an end: a file, or a stream of known length.
    pub fn has_an_end(&self) -> bool {
        self.has_an_end
    }

    /// Passes every frame to `target`, every packet of sound to `audio` and what happens to `events`, without
    /// waiting.
    ///
    /// # Errors
    /// When the pipeline does not start.
    pub fn deliver(
        &self,
        target: &LiveTarget,
        audio: Option<&LiveAudio>,
        events: Sender<Event>,
    ) -> Result<(), PipelineError> {
        let late = if self.waits { self.times.begin() } else { Duration::ZERO };
        let sinks: Vec<_> = self.sound.iter().map(Packets::sink).chain([&self.frames]).collect();
        if self.waits {
            let sinks: Vec<_> = sinks.iter().map(|sink| sink.downgrade()).collect();
            let delay = move |late: i64| {
                let open = sinks.iter().filter_map(|sink| sink.upgrade());
                open.for_each(|sink| sink.set_property("ts-offset", late));
            };
            delay(i64::try_from(late.as_nanos()).unwrap_or(0));
            self.times.on_shift(delay);
        }
        if let Some(audio) = audio {
            let times = self.times.clone();
            audio.take_from(self.sound.as_ref(), move |pts| times.place(Track::Sound, pts));
        }
        let (mut fit, times, target) = (target.fit(), self.times.clone(), target.clone());
        let ended = self.ends_with_picture.then(|| events.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .eos(move |_| {
                if let Some(ended) = &ended {
                    let _ = ended.send(Event::End(PipelineRole::Source));
                }
            })
            .new_sample(move |sink| {
                // The appsink keeps only the newest sample, which an earlier call may already have taken.
                let Some(sample) = sink.try_pull_sample(gst::ClockTime::ZERO) else {
                    return Ok(gst::FlowSuccess::Ok);
                };
                let frame = fit.apply(sample).and_then(|fits| target.frame(&fits));
                fit.take_note().iter().for_each(|note| tracing::warn!("{note}"));
                let mut frame = frame.map_err(|error| {
                    gst::element_error!(sink, gst::StreamError::Failed, ["{error}"]);
                    gst::FlowError::Error
                })?;
                frame.pts = Some(times.place(Track::Picture, frame.pts));
                match target.offer(frame) {
                    Ok(()) | Err(PushError::Full(_)) => Ok(gst::FlowSuccess::Ok),
                    Err(PushError::Closed(_)) => Err(gst::FlowError::Eos),
                }
            })
            .build();
        self.frames.set_callbacks(callbacks);
        self.pipeline.forward(events);
        match self.waits {
            true => self.pipeline.set_state(gst::State::Playing),
            false => Ok(()),
        }
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }

    /// Closes the connection; one that does not close in time is left to its thread, so that a driver or a server
    /// that hangs does not prevent the next attempt.
    pub fn close(self) {
        let (closed, heard) = channel::<()>();
        let close = move || {
            drop(self);
            drop(closed);
        };
        if std::thread::Builder::new().name("close".into()).spawn(close).is_ok() {
            let _ = heard.recv_timeout(CLOSE_LOST);
        }
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
        first_caps(pipeline, frames, Some(FIRST_LIVE_FRAME), stop)
    })?;
    let FileDecoder { pipeline, frames, seen, .. } = decoder;
    let plan = seen.plan(&caps, FrameFormat::Even);
    let fit = plan.fit(&caps)?;
    Ok((pipeline, frames, plan, fit))
}

/// Opens a source that delivers frames in real time by itself: a camera, a stream or the test picture.
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
        InputSpec::Stream(url) => return open_stream(url, clock, stop),
        InputSpec::Whip => return open_publisher(None, clock, stop),
        InputSpec::Pipeline(path) | InputSpec::File(path) => {
            return open_description(path, clock, stop);
        }
    };
    let pipeline = Pipeline::parse(PipelineRole::Source, &format!("{head}\n{DECODED}"))?;
    clock.apply_to(pipeline.gst());
    set_up(&pipeline, input, options)?;
    link_streams(&pipeline)?;
    decoded(pipeline, gst::State::Playing, Some(FIRST_LIVE_FRAME), stop)
}

/// Opens a stream over HTTP, UDP, SRT or RTMP.
fn open_stream(
    url: &StreamUrl,
    clock: &LiveClock,
    stop: &StopSignal,
) -> Result<Opened, PipelineError> {
    let pipeline = stream_source::build(url)?;
    clock.apply_to(pipeline.gst());
    let paced = url.scheme() == StreamScheme::Http;
    for sink in ["frames", "packets"] {
        pipeline.element(sink)?.set_property("sync", paced);
    }
    // Others may take their time to connect to this machine.
    let limit = (!url.listens() || url.scheme() == StreamScheme::Udp).then_some(FIRST_LIVE_FRAME);
    let state = if paced { gst::State::Paused } else { gst::State::Playing };
    decoded(pipeline, state, limit, stop)
}

/// Waits for a browser that sends its camera, however long that takes, and opens what it sends.
fn open_publisher(
    webrtc: Option<&WebRtc>,
    clock: &LiveClock,
    stop: &StopSignal,
) -> Result<Opened, PipelineError> {
    let webrtc =
        webrtc.ok_or_else(|| PipelineError::new("whip", "there is no page that takes it"))?;
    let publisher = webrtc.publishing().wait(stop).ok_or_else(PipelineError::stopped)?;
    let sound = match publisher.sound {
        true => {
            "appsrc name=sound format=time is-live=true leaky-type=downstream max-bytes=0 max-buffers=100 \
             caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0 \
             ! opusparse ! queue name=track max-size-buffers=0 max-size-time=0 max-size-bytes=1048576 \
             ! appsink name=packets sync=false async=false max-buffers=200"
        }
        false => "",
    };
    let head = include_str!("../../pipelines/source-whip.pipeline");
    let description = format!("{head}\n{sound}\n{DECODED}");
    let pipeline = Pipeline::parse(PipelineRole::Source, &description)?;
    clock.apply_to(pipeline.gst());
    let picture: gst_app::AppSrc = pipeline.element_as("src")?;
    picture.set_caps(Some(&publisher.codec.caps()));
    let sound = match publisher.sound {
        true => Some(pipeline.element_as("sound")?),
        false => None,
    };
    if !webrtc.publishing().deliver(&publisher, picture, sound) {
        let left = PipelineError::new("whip", "the browser has left before its first picture");
        return Err(left.of_kind(ErrorKind::NoVideo));
    }
    decoded(pipeline, gst::State::Playing, None, stop)
}

/// Starts a pipeline whose picture comes out of `decode`.
fn decoded(
    pipeline: Pipeline,
    state: gst::State,
    limit: Option<Duration>,
    stop: &StopSignal,
) -> Result<Opened, PipelineError> {
    let seen = SourceFindings::default();
    link_video(
        &pipeline,
        FrameFormat::Even,
        &seen,
        &ContainerFacts::default(),
        &DecodeAttempt::default(),
    )?;
    let frames: gst_app::AppSink = pipeline.element_as("frames")?;
    newest_only(&frames);
    pipeline.set_state(state)?;
    let caps = first_caps(&pipeline, &frames, limit, stop)?;
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
    let caps = first_caps(&pipeline, &frames, Some(FIRST_LIVE_FRAME), stop)?;
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
        InputSpec::Pipeline(_) | InputSpec::File(_) | InputSpec::Stream(_) | InputSpec::Whip => {}
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
            // Not the first that it can, which has 16 bits and transparency.
            let even = width.is_multiple_of(2) && height.is_multiple_of(2);
            let mode = gst::Caps::builder("video/x-raw")
                .field("format", if even { "I420" } else { "Y444" })
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
    limit: Option<Duration>,
    stop: &StopSignal,
) -> Result<gst::Caps, PipelineError> {
    let mut timer = WaitTimer::new();
    while limit.is_none_or(|limit| !timer.is_over(limit)) {
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
