//! Frames and copied tracks → a file.

mod tracks;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use self::tracks::OutputTrack;
use super::encoder::{Encoder, encoder};
use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::source::Busy;
use super::tracks::Tracks;
use super::video::{VideoStream, buffer_from_frame};
use crate::core::encoding::{Codec, Container, Encoding};
use crate::core::frame::{Frame, Range};

/// Planes to what the encoder takes.
const FRAMES: &str = include_str!("../../pipelines/encode-file.pipeline");

/// From the encoder into the file.
fn description(container: Container) -> &'static str {
    match container {
        Container::Mp4 => include_str!("../../pipelines/mux-mp4.pipeline"),
        Container::Mov => include_str!("../../pipelines/mux-mov.pipeline"),
        Container::Mkv => include_str!("../../pipelines/mux-mkv.pipeline"),
        Container::WebM => include_str!("../../pipelines/mux-webm.pipeline"),
    }
}

/// The element that writes a container.
pub(super) fn muxer(container: Container) -> &'static str {
    match container {
        Container::Mp4 => "mp4mux",
        Container::Mkv => "matroskamux",
        Container::Mov => "qtmux",
        Container::WebM => "webmmux",
    }
}

/// A file that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Where.
    pub path: &'a Path,
    /// What kind of file.
    pub container: Container,
    /// How its picture is compressed.
    pub encoding: &'a Encoding,
    /// What its frames are like.
    pub stream: &'a VideoStream,
}

/// A file being written.
pub struct VideoSink {
    pub(super) pipeline: Pipeline,
    pub(super) frames: gst_app::AppSrc,
    stream: VideoStream,
    /// The tracks beside the picture.
    tracks: Vec<OutputTrack>,
    busy: Busy,
    /// What the user should know: a track that had to be encoded anew.
    pub(super) notes: Vec<String>,
}

/// The end of a [`VideoSink`] that frames go into; may live on another thread.
pub struct FrameInput {
    frames: gst_app::AppSrc,
    stream: VideoStream,
}

impl FrameInput {
    /// Hands a frame to the encoder, waiting while it is busy. False when the pipeline is gone.
    ///
    /// # Errors
    /// When the frame is not like those that the file was begun with.
    pub fn push(&self, frame: Frame) -> Result<bool, PipelineError> {
        self.stream.check(&frame)?;
        Ok(self.frames.push_buffer(buffer_from_frame(frame)?).is_ok())
    }

    /// No more frames.
    pub fn end(&self) {
        let _ = self.frames.end_of_stream();
    }
}

impl VideoSink {
    /// Starts a file for frames, and for copies of `tracks`.
    ///
    /// # Errors
    /// When an element is missing, or the file cannot be created.
    pub fn create(
        file: NewFile,
        tracks: Tracks,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let container = file.container;
        let mut sink = VideoSink::build(file, 0)?;
        sink.take_tracks(tracks)?;
        if !container.is_mp4() {
            sink.make_room();
        }
        sink.pipeline.forward(events.clone());
        sink.pipeline.set_state(gst::State::Playing)?;
        sink.start_tracks(events);
        Ok(sink)
    }

    /// The elements, not yet running; events are of the output `number`.
    pub(super) fn build(file: NewFile, number: usize) -> Result<Self, PipelineError> {
        let NewFile { path, container, encoding, stream } = file;
        let codec = encoding.codec_in(container).map_err(|e| PipelineError::new("mux", e))?;
        let text = format!("{FRAMES}\n{}", description(container));
        let pipeline = Pipeline::parse(PipelineRole::Sink(number), &text)?;
        let encoder = encoder(codec, encoding, stream)?;
        insert(&pipeline, &encoder, limited(codec, stream))?;
        pipeline.element("file")?.set_property("location", path);
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        frames.set_caps(Some(&stream.caps()?));
        if let Some(pad) = pipeline.element("mux")?.static_pad("video_0")
            && pad.has_property("trak-timescale")
        {
            pad.set_property("trak-timescale", timescale(stream.framerate));
        }
        let busy = Busy::default();
        watch(&frames, &busy);
        let (stream, tracks, notes) = (stream.clone(), Vec::new(), Vec::new());
        let mut sink = VideoSink { pipeline, frames, stream, tracks, busy, notes };
        if let Some(factory) = encoder.element.factory() {
            tracing::info!("encoding with {}", factory.name());
            if encoder.hardware {
                sink.notes.push(format!("encoding with {} (--hwaccel off: not)", factory.name()));
            }
            sink.notes.extend(encoder.notes);
        }
        Ok(sink)
    }

    /// The input for frames, for the feeder's thread.
    pub fn input(&self) -> FrameInput {
        FrameInput { frames: self.frames.clone(), stream: self.stream.clone() }
    }

    /// Time spent in the encoder.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Stops at once: a blocked push returns, and the file is left unfinished.
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

/// Puts the encoder and its parser between `convert` and `waiting`.
fn insert(
    pipeline: &Pipeline,
    encoder: &Encoder,
    form: Option<gst::Caps>,
) -> Result<(), PipelineError> {
    let (element, parser) = (&encoder.element, &encoder.parser);
    let failed = |_| PipelineError::new("encode", "the encoder does not fit into the pipeline");
    pipeline.gst().add_many([element, parser]).map_err(failed)?;
    let (convert, waiting) = (pipeline.element("convert")?, pipeline.element("waiting")?);
    let linked = match form {
        Some(form) => convert.link_filtered(element, &form),
        None => convert.link(element),
    };
    linked.and_then(|()| gst::Element::link_many([element, parser, &waiting])).map_err(failed)
}

/// The colours that an encoder is given, where it cannot say what they are: av1enc (1.22 to 1.26) marks all
/// video as of limited range.
fn limited(codec: Codec, stream: &VideoStream) -> Option<gst::Caps> {
    let full = stream.frame.colorimetry.range == Range::Full;
    (codec == Codec::Av1 && full).then(|| stream.limited_range())
}

/// Ticks a second of an MP4's video track: every frame of a constant rate falls on a tick, and no
/// tick is longer than 1/90,000 s, so that variable rates keep their times. mp4mux itself would
/// take hundredths of a frame.
pub(super) fn timescale(rate: Option<(i32, i32)>) -> u32 {
    let n = rate.map_or(1, |(n, _)| n.unsigned_abs().max(1));
    n.saturating_mul(90_000_u32.div_ceil(n))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_usual_rate_fall_on_a_tick() {
        for (n, d) in [(25, 1), (30, 1), (60, 1), (30_000, 1001), (24_000, 1001), (60_000, 1001)] {
            let ticks = u64::from(timescale(Some((n, d))));
            assert!(ticks >= 90_000 && (ticks * d as u64).is_multiple_of(n as u64), "{n}/{d}");
        }
        assert_eq!(timescale(None), 90_000);
    }
}
