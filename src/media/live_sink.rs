//! Stylized frames → a window, a virtual camera, a media server, or a file while live.
//!
//! All of them take the same buffer (GStreamer counts its users) and never wait: an output that
//! falls behind loses frames, the others do not notice.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, Role};
use super::video::VideoStream;
use crate::endpoint::{Output, RtspUrl};

/// An output that shows or sends frames as they come.
pub struct LiveSink {
    pipeline: Pipeline,
    frames: gst_app::AppSrc,
}

/// Told how long after its capture a frame left the program.
pub type OnDelay = Box<dyn Fn(Duration) + Send + Sync>;

impl LiveSink {
    /// Opens a window, a virtual camera, a connection to a media server, or the user's own
    /// description (with an appsrc named `frames`); files and RTSP servers have sinks of their own.
    ///
    /// # Errors
    /// [`PipelineError`]: no display, no such device, server unreachable.
    pub fn open(
        output: &Output,
        stream: &VideoStream,
        clock: &LiveClock,
        events: &Sender<Event>,
        on_delay: OnDelay,
    ) -> Result<Self, PipelineError> {
        let description = match output {
            Output::Device(_) => include_str!("../../pipelines/sink-v4l2.pipeline").into(),
            Output::Push(_) => include_str!("../../pipelines/sink-push.pipeline").into(),
            Output::Pipeline(path) => std::fs::read_to_string(path)
                .map_err(|e| PipelineError::new("pipeline", e.to_string()))?,
            _ => String::from(include_str!("../../pipelines/sink-window.pipeline")),
        };
        let pipeline = Pipeline::parse(Role::Sink, &description)?;
        clock.govern(pipeline.gst());
        match output {
            Output::Device(path) => set_device(&pipeline, path)?,
            Output::Push(url) => set_server(&pipeline, url)?,
            _ => {}
        }
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        frames.set_format(gst::Format::Time);
        frames.set_is_live(true);
        frames.set_caps(Some(&stream.caps()?));
        // The encoder's output where there is one, else what the window gets.
        let at = pipeline.gst().by_name("encode").and_then(|e| e.static_pad("src"));
        if let Some(pad) = at.or_else(|| frames.static_pad("src")) {
            measure(&pad, clock.clone(), Duration::ZERO, on_delay);
        }
        pipeline.set_state(gst::State::Playing)?;
        pipeline.forward(events.clone());
        Ok(LiveSink { pipeline, frames })
    }

    /// Hands a frame over; the oldest waiting one is dropped when the output lags. False when the
    /// output is gone.
    pub fn push(&self, frame: &gst::Buffer) -> bool {
        self.frames.push_buffer(frame.clone()).is_ok()
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// Reports now − PTS for every buffer that passes `pad`, whose running time is zero at `start` of
/// the run.
pub(crate) fn measure(pad: &gst::Pad, clock: LiveClock, start: Duration, on_delay: OnDelay) {
    // An encoder may shift its times (x264enc does, by 1000 hours); the segment knows.
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

fn set_device(pipeline: &Pipeline, path: &Path) -> Result<(), PipelineError> {
    pipeline.element("camera")?.set_property("device", path.display().to_string());
    Ok(())
}

fn set_server(pipeline: &Pipeline, url: &RtspUrl) -> Result<(), PipelineError> {
    let server = pipeline.element("server")?;
    server.set_property("location", url.location());
    if let Some((user, password)) = url.credentials() {
        server.set_property("user-id", user);
        server.set_property("user-pw", password);
    }
    Ok(())
}
