//! Sends stylized frames to a window, a virtual camera, or to the user's own description.
//!
//! All outputs share the same buffer (GStreamer counts its references) and never block the run: an output
//! that lags loses frames, without effect on the others.

use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::leaky::LeakyInput;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::video::VideoStream;
use super::window;
use crate::core::endpoint::OutputSpec;
use crate::core::timeouts::FINISH_OWN_OUTPUT;
use crate::core::watchdog::Heartbeat;

/// Number of frames that may wait for an output, unless the user's description sets it.
const FRAMES: u64 = 2;

/// An output that shows or sends frames as they come.
pub struct LiveSink {
    pipeline: Pipeline,
    frames: LeakyInput,
    /// How long the end of the output may take, if it has something to finish.
    patience: Option<Duration>,
    may_wait: bool,
}

/// Callback with the time from a frame's capture until it left the program.
pub type OnDelay = Box<dyn Fn(Duration) + Send + Sync>;

impl LiveSink {
    /// Opens a window, a virtual camera, or the user's own description (with an appsrc named `frames`). Files, RTSP
    /// servers and streams have sinks of their own. Later events are reported to `events` with the output number
    /// `number`.
    ///
    /// # Errors
    /// [`PipelineError`]: no display, no such device, no such element.
    pub fn open(
        output: &OutputSpec,
        number: usize,
        stream: &VideoStream,
        clock: &LiveClock,
        events: &Sender<Event>,
        on_delay: OnDelay,
    ) -> Result<Self, PipelineError> {
        let description = match output {
            OutputSpec::Device(_) => include_str!("../../pipelines/sink-v4l2.pipeline").into(),
            OutputSpec::Pipeline(path) => std::fs::read_to_string(path)
                .map_err(|e| PipelineError::new("pipeline", e.to_string()))?,
            OutputSpec::Window
            | OutputSpec::Push(_)
            | OutputSpec::File(_)
            | OutputSpec::Serve(_)
            | OutputSpec::Hls(_)
            | OutputSpec::Stream(_) => {
                let window = include_str!("../../pipelines/sink-window.pipeline");
                window.replace("autovideosink", window::find()?)
            }
        };
        let pipeline = Pipeline::parse(PipelineRole::Sink(number), &description)?;
        clock.apply_to(pipeline.gst());
        if let OutputSpec::Device(path) = output {
            pipeline.element("camera")?.set_property("device", path.display().to_string());
        }
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        frames.set_format(gst::Format::Time);
        frames.set_is_live(true);
        frames.set_caps(Some(&stream.caps()?));
        // The author of a description may not know that its appsrc must not block, so the number of frames is
        // limited here.
        let most = Some(frames.max_buffers()).filter(|most| *most > 0).unwrap_or(FRAMES);
        let frames = LeakyInput::over(frames, most);
        // Delay is measured behind the encoder if there is one, otherwise at the window's input.
        let at = pipeline.gst().by_name("encode").and_then(|e| e.static_pad("src"));
        if let Some(pad) = at.or_else(|| frames.source().static_pad("src")) {
            report_delay(&pad, clock.clone(), Duration::ZERO, on_delay);
        }
        pipeline.set_state(gst::State::Playing)?;
        pipeline.forward(events.clone());
        let patience = match output {
            OutputSpec::Pipeline(_) => Some(FINISH_OWN_OUTPUT),
            _ => None,
        };
        let may_wait = matches!(output, OutputSpec::Window) || waits_for_connection(&pipeline);
        Ok(LiveSink { pipeline, frames, patience, may_wait })
    }

    /// Passes on a frame; if the output lags, the oldest waiting frame is dropped. False if the output no
    /// longer takes frames.
    pub fn push(&self, frame: &gst::Buffer) -> bool {
        self.frames.push(frame)
    }

    /// How many frames the output did not take.
    pub fn dropped(&self) -> u64 {
        self.frames.dropped()
    }

    /// Whether frames wait for the output, and how many it has taken.
    pub fn heartbeat(&self) -> Heartbeat {
        self.frames.heartbeat()
    }

    /// Whether it may take no frames for any time though nothing is wrong: a window that is not shown, elements of the
    /// user's own that wait for somebody to connect.
    pub fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// Frames that it was given.
    pub fn pushed(&self) -> u64 {
        self.frames.pushed()
    }

    /// Ends the stream of frames. Returns how long the end may take, if the output has something to finish:
    /// what the user's own description writes.
    pub fn end(&self) -> Option<Duration> {
        let _ = self.frames.source().end_of_stream();
        self.patience
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// Whether an element waits for somebody to connect.
fn waits_for_connection(pipeline: &Pipeline) -> bool {
    let waits = |element: gst::Element| {
        element.has_property("wait-for-connection")
            && element.property_value("wait-for-connection").get() == Ok(true)
    };
    pipeline.gst().iterate_recurse().into_iter().flatten().any(waits)
}

/// Calls `on_delay` with now − PTS for every buffer that passes `pad`. Running time zero of the pad is
/// `start` on the run's clock.
pub(crate) fn report_delay(pad: &gst::Pad, clock: LiveClock, start: Duration, on_delay: OnDelay) {
    // An encoder may shift timestamps (x264enc: by 1000 hours); the segment holds the shift.
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let pts = info.buffer().and_then(|b| b.pts());
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let running = segment.as_ref().zip(pts).and_then(|(event, pts)| {
            let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
            segment.to_running_time(pts)
        });
        if let Some(running) = running {
            on_delay(clock.now().saturating_sub(start + Duration::from(running)));
        }
        gst::PadProbeReturn::Ok
    });
}
