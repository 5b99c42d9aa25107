//! Frames and copied tracks → a file.

mod tracks;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use self::tracks::Written;
use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, Role};
use super::source::Busy;
use super::tracks::Tracks;
use super::video::{VideoStream, buffer_from_frame};
use crate::frame::Frame;

/// The containers that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MPEG-4 part 14.
    Mp4,
    /// Matroska.
    Mkv,
    /// QuickTime.
    Mov,
    /// WebM.
    WebM,
}

impl Container {
    /// By the file name's ending, in any case.
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Some(Container::Mp4),
            "mkv" => Some(Container::Mkv),
            "mov" => Some(Container::Mov),
            "webm" => Some(Container::WebM),
            _ => None,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Container::Mp4 => include_str!("../../pipelines/sink-mp4.pipeline"),
            Container::Mkv => include_str!("../../pipelines/sink-mkv.pipeline"),
            Container::Mov => include_str!("../../pipelines/sink-mov.pipeline"),
            Container::WebM => include_str!("../../pipelines/sink-webm.pipeline"),
        }
    }

    /// The element that writes it.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Container::Mp4 => "mp4mux",
            Container::Mkv => "matroskamux",
            Container::Mov => "qtmux",
            Container::WebM => "webmmux",
        }
    }

    /// What users call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Container::Mp4 => "MP4",
            Container::Mkv => "Matroska",
            Container::Mov => "QuickTime",
            Container::WebM => "WebM",
        }
    }

    /// Whether it is written playable and then finished with its index in front, as MP4 is; such a
    /// file has edit lists, which say that a track begins within a packet.
    pub fn is_mp4(self) -> bool {
        matches!(self, Container::Mp4 | Container::Mov)
    }
}

/// A file being written.
pub struct VideoSink {
    pub(super) pipeline: Pipeline,
    pub(super) frames: gst_app::AppSrc,
    /// Where packets of the other tracks go in.
    pub(super) targets: Vec<gst_app::AppSrc>,
    /// What they are, and who reads them from the input file.
    tracks: Vec<Written>,
    busy: Busy,
    /// What the user should know: a track that had to be encoded anew.
    notes: Vec<String>,
}

/// The end of a [`VideoSink`] that frames go into; may live on another thread.
pub struct FrameInput(gst_app::AppSrc);

impl FrameInput {
    /// Hands a frame to the encoder, waiting while it is busy. False when the pipeline is gone.
    ///
    /// # Errors
    /// When the frame cannot be described to GStreamer.
    pub fn push(&self, frame: Frame) -> Result<bool, PipelineError> {
        Ok(self.0.push_buffer(buffer_from_frame(frame)?).is_ok())
    }

    /// No more frames.
    pub fn end(&self) {
        let _ = self.0.end_of_stream();
    }
}

impl VideoSink {
    /// Starts a file for frames like `stream` and for copies of `tracks`.
    ///
    /// # Errors
    /// When an element is missing, or the file cannot be created.
    pub fn create(
        path: &Path,
        container: Container,
        stream: &VideoStream,
        tracks: Tracks,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let mut sink = VideoSink::build(path, container, stream, &[], 0)?;
        sink.take_tracks(tracks)?;
        sink.pipeline.forward(events.clone());
        sink.pipeline.set_state(gst::State::Playing)?;
        sink.start_tracks(events);
        Ok(sink)
    }

    /// The elements, not yet running; events are of the output `number`.
    pub(super) fn build(
        path: &Path,
        container: Container,
        stream: &VideoStream,
        audio: &[gst::Caps],
        number: usize,
    ) -> Result<Self, PipelineError> {
        let pipeline = Pipeline::parse(Role::Sink(number), container.description())?;
        pipeline.element("file")?.set_property("location", path);
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        frames.set_caps(Some(&stream.caps()?));
        if stream.framerate.is_none()
            && let Some(pad) = pipeline.element("mux")?.static_pad("video_0")
            && pad.has_property("trak-timescale")
        {
            // Without a rate mp4mux counts in coarse steps; 90 kHz is what cameras and players use.
            pad.set_property("trak-timescale", 90_000u32);
        }
        let busy = Busy::default();
        watch(&frames, &busy);
        let mut sink = VideoSink {
            pipeline,
            frames,
            targets: Vec::new(),
            tracks: Vec::new(),
            busy,
            notes: Vec::new(),
        };
        for caps in audio {
            sink.add_sound(caps, container)?;
        }
        Ok(sink)
    }

    /// Ends all tracks and the picture.
    pub fn end(&self) {
        for input in self.targets.iter().chain([&self.frames]) {
            let _ = input.end_of_stream();
        }
    }

    /// Where frames go in.
    pub fn input(&self) -> FrameInput {
        FrameInput(self.frames.clone())
    }

    /// How long the encoder has worked.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Stops at once: whoever waits to push is let go, the file stays as it is.
    pub fn abandon(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// What the user should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// Counts as work the time from a frame leaving the appsrc until the appsrc's thread is back and
/// finds nothing to do ("need-data" is emitted on that thread).
fn watch(frames: &gst_app::AppSrc, busy: &Busy) {
    let since: Arc<Mutex<Option<Instant>>> = Arc::default();
    let began = Arc::clone(&since);
    if let Some(pad) = frames.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let mut began = began.lock().unwrap_or_else(PoisonError::into_inner);
            began.get_or_insert_with(Instant::now);
            gst::PadProbeReturn::Ok
        });
    }
    let busy = busy.clone();
    let callbacks = gst_app::AppSrcCallbacks::builder()
        .need_data(move |_, _| {
            let began = since.lock().unwrap_or_else(PoisonError::into_inner).take();
            busy.add(began.map_or(Duration::ZERO, |began| began.elapsed()));
        })
        .build();
    frames.set_callbacks(callbacks);
}
