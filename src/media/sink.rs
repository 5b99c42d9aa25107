//! Frames and copied tracks → a file.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::encoder::{Encoder, encoder, parser};
use super::error::PipelineError;
use super::muxer::timescale;
use super::packets::{PacketCaps, PacketInput};
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::remux::{Track, TrackLayout};
use super::source::Busy;
use super::tracks::{Reader, TrackLimit, Tracks, name_of, write_about};
use super::video::{VideoStream, buffer_from_frame};
use super::workarounds::keep_lengths;
use crate::core::encoding::{Codec, Container, Encoding};
use crate::core::frame::{Frame, Range};

/// Planes to what the encoder takes.
const FRAMES: &str = include_str!("../../pipelines/encode-file.pipeline");

/// From the encoder into a part of a longer video.
const PACKETS: &str = include_str!("../../pipelines/write-packets.pipeline");

/// Pictures that are encoded already.
const COPIES: &str = include_str!("../../pipelines/copy-packets.pipeline");

/// From the encoder into the file.
fn description(container: Container) -> &'static str {
    match container {
        Container::Mp4 => include_str!("../../pipelines/mux-mp4.pipeline"),
        Container::Mov => include_str!("../../pipelines/mux-mov.pipeline"),
        Container::Mkv => include_str!("../../pipelines/mux-mkv.pipeline"),
        Container::WebM => include_str!("../../pipelines/mux-webm.pipeline"),
    }
}

/// A track that is being written.
struct OutputTrack {
    pads: &'static str,
    /// Where its packets go in.
    target: gst_app::AppSrc,
    /// Number of the reader that feeds it ([`PipelineRole::Track`]). Not its index in the file: a track that
    /// the muxer refuses also has a number.
    number: usize,
    /// The reader of the track, for a file; none for live sound, whose packets are pushed.
    reader: Option<Reader>,
}

impl OutputTrack {
    /// How much of the track's beginning must be hidden from playback.
    fn lead(&self) -> Duration {
        self.reader.as_ref().map(|reader| reader.lead).unwrap_or_default()
    }

    fn begins_unheard(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.begins_unheard)
    }
}

const AUDIO: &str = "audio_%u";
const SUBTITLE: &str = "subtitle_%u";

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
    /// Write the packets of the picture alone, as a part of a longer video.
    pub packets: bool,
}

/// A file that is to be written of pictures that are encoded already.
#[derive(Debug, Clone, Copy)]
pub struct NewCopy<'a> {
    /// Where.
    pub path: &'a Path,
    /// What kind of file.
    pub container: Container,
    /// The codec of the pictures.
    pub codec: Codec,
    /// Their format.
    pub caps: &'a PacketCaps,
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

/// The input of a [`VideoSink`] for frames; can be used on another thread.
pub struct FrameInput {
    frames: gst_app::AppSrc,
    stream: VideoStream,
}

impl FrameInput {
    /// Passes a frame to the encoder, waiting while the encoder is busy. Returns false if the pipeline no
    /// longer takes frames.
    ///
    /// # Errors
    /// If the frame differs in size or layout from the first ones.
    pub fn push(&self, frame: Frame) -> Result<bool, PipelineError> {
        self.stream.check(&frame)?;
        Ok(self.frames.push_buffer(buffer_from_frame(frame)?).is_ok())
    }

    /// Ends the stream of frames.
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
        sink.start(container, tracks, events)?;
        Ok(sink)
    }

    /// Starts a file for pictures that are encoded already, and for copies of `tracks`.
    ///
    /// # Errors
    /// When an element is missing, the container does not hold the codec, or the file cannot be created.
    pub fn of_packets(
        file: NewCopy,
        tracks: Tracks,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let NewCopy { path, container, codec, caps } = file;
        if !container.codecs().contains(&codec) {
            let text = format!("{container} cannot hold {codec}");
            return Err(PipelineError::new("mux", text));
        }
        let pipeline = Pipeline::parse(
            PipelineRole::Sink(0),
            &format!("{COPIES}\n{}", description(container)),
        )?;
        let parser = parser(codec)?;
        keep_lengths(&parser);
        let failed = |_| PipelineError::new("mux", "the parts do not fit into the container");
        pipeline.gst().add(&parser).map_err(failed)?;
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        let waiting = pipeline.element("waiting")?;
        gst::Element::link_many([frames.upcast_ref(), &parser, &waiting]).map_err(failed)?;
        pipeline.element("file")?.set_property("location", path);
        let stream = caps.stream()?;
        if let Some(pad) = pipeline.element("mux")?.static_pad("video_0")
            && pad.has_property("trak-timescale")
        {
            pad.set_property("trak-timescale", timescale(stream.framerate));
        }
        let (tracks_of, notes, busy) = (Vec::new(), Vec::new(), Busy::default());
        let mut sink = VideoSink { pipeline, frames, stream, tracks: tracks_of, busy, notes };
        sink.start(container, tracks, events)?;
        Ok(sink)
    }

    /// Adds copies of `tracks`, and starts.
    fn start(
        &mut self,
        container: Container,
        tracks: Tracks,
        events: &Sender<Event>,
    ) -> Result<(), PipelineError> {
        self.take_tracks(tracks)?;
        if !container.is_mp4() {
            self.align_tracks();
        }
        self.pipeline.forward(events.clone());
        self.pipeline.set_state(gst::State::Playing)?;
        self.start_tracks(events);
        Ok(())
    }

    /// The input for pictures that are encoded already.
    pub fn packet_input(&self) -> PacketInput {
        PacketInput::of(&self.frames)
    }

    /// The elements, not yet running; events are of the output `number`.
    pub(super) fn build(file: NewFile, number: usize) -> Result<Self, PipelineError> {
        let NewFile { path, container, encoding, stream, packets } = file;
        let codec = encoding.codec_in(container).map_err(|e| PipelineError::new("mux", e))?;
        let text = match packets {
            true => format!("{}\n{PACKETS}", FRAMES.replace("mux.video_0", "mux.sink")),
            false => format!("{FRAMES}\n{}", description(container)),
        };
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

    /// Aborts at once: a blocked push returns, and the file stays unfinished.
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

    /// Adds the tracks of a file. A track that the muxer refuses is reported in the notes.
    pub(super) fn take_tracks(&mut self, tracks: Tracks) -> Result<(), PipelineError> {
        let mux = self.pipeline.element("mux")?;
        write_about(&mux, tracks.tags.as_ref(), tracks.toc.as_ref());
        for (number, reader) in tracks.readers.into_iter().enumerate() {
            let pads = if reader.is_sound() { AUDIO } else { SUBTITLE };
            match self.add_track(&reader.caps, "identity", pads, reader.tags.as_ref()) {
                Ok(target) => {
                    self.tracks.push(OutputTrack { pads, target, number, reader: Some(reader) });
                }
                Err(error) => {
                    let name = name_of(&reader.caps);
                    self.notes.push(format!("a track ({name}) is left out: {error}"));
                }
            }
        }
        Ok(())
    }

    /// If the container cannot hide the beginning of a track (Matroska has no edit lists), shifts all other
    /// tracks later by as much, a fraction of a packet, so that everything stays in sync.
    pub(super) fn align_tracks(&self) {
        let hidden =
            self.tracks.iter().all(|track| track.lead().is_zero() || track.begins_unheard());
        let most = self.tracks.iter().map(OutputTrack::lead).filter(|_| !hidden).max();
        let most = signed(most.unwrap_or_default());
        let others = self.tracks.iter().map(|track| (&track.target, track.lead()));
        for (input, lead) in others.chain([(&self.frames, Duration::ZERO)]) {
            let Some(pad) = input.static_pad("src") else { continue };
            pad.set_offset(most - signed(lead));
            if hidden && !lead.is_zero() {
                begin_at(&pad, gst::ClockTime::try_from(lead).unwrap_or_default());
            }
        }
    }

    /// Starts the readers of all tracks.
    pub(super) fn start_tracks(&mut self, events: &Sender<Event>) {
        for track in &mut self.tracks {
            if let Some(reader) = &mut track.reader
                && let Err(error) = reader.start(&track.target, events.clone())
            {
                self.notes.push(format!("a track is left out: {error}"));
                let _ = track.target.end_of_stream();
            }
        }
    }

    /// Adds a track for live sound that passes through these elements; returns the appsrc for its packets.
    pub(super) fn add_sound(
        &mut self,
        caps: &gst::Caps,
        through: &str,
    ) -> Result<gst_app::AppSrc, PipelineError> {
        let target = self.add_track(caps, through, AUDIO, None)?;
        let track = target.parent().and_downcast::<gst::Bin>();
        if let Some(pad) = track.and_then(|track| track.static_pad("src")) {
            only_with_time(&pad);
        }
        let number = self.tracks.len();
        self.tracks.push(OutputTrack { pads: AUDIO, target: target.clone(), number, reader: None });
        Ok(target)
    }

    fn add_track(
        &mut self,
        caps: &gst::Caps,
        through: &str,
        pads: &'static str,
        tags: Option<&gst::TagList>,
    ) -> Result<gst_app::AppSrc, PipelineError> {
        let mux = self.pipeline.element("mux")?;
        // A packet is a few hundred bytes: 64 KiB are seconds of sound.
        let description =
            format!("appsrc name=packets format=time block=true max-bytes=65536 ! {through}");
        let bin = gst::parse::bin_from_description(&description, true)
            .map_err(|e| PipelineError::new("track", e.message()))?;
        let target = bin.by_name("packets").and_downcast::<gst_app::AppSrc>();
        let target = target.ok_or_else(|| PipelineError::new("track", "no packets element"))?;
        target.set_caps(Some(caps));
        self.pipeline
            .gst()
            .add(&bin)
            .map_err(|_| PipelineError::new("mux", "cannot add the track"))?;
        let pad = mux.request_pad_simple(pads);
        let linked = match (bin.static_pad("src"), &pad) {
            // A format that the muxer refuses only when the first packet arrives would end the whole file, so
            // its acceptance is asked for now.
            (Some(_), Some(to)) if through == "identity" && !to.query_accept_caps(caps) => {
                Err(PipelineError::new("mux", "the container does not support this format"))
            }
            (Some(from), Some(to)) => {
                if let Some(tags) = tags {
                    tag(&from, tags.clone());
                }
                from.link(to).map(drop).map_err(|e| PipelineError::new("mux", e.to_string()))
            }
            _ => Err(PipelineError::new("mux", "the container does not support this track")),
        };
        if linked.is_err() {
            let _ = self.pipeline.gst().remove(&bin);
            if let Some(pad) = pad {
                mux.release_request_pad(&pad);
            }
        }
        linked.map(|()| target)
    }

    /// Handles that end the tracks early.
    pub fn limits(&self) -> Vec<TrackLimit> {
        self.tracks.iter().filter_map(|track| track.reader.as_ref()).map(Reader::limit).collect()
    }

    /// Ends the track of a reader that failed; the others go on.
    pub fn end_track(&self, number: usize) {
        if let Some(track) = self.tracks.iter().find(|track| track.number == number) {
            let _ = track.target.end_of_stream();
        }
    }

    /// Which tracks there are beside the picture.
    pub fn layout(&self) -> TrackLayout {
        let track = |track: &OutputTrack| Track {
            pad: if track.pads == AUDIO { "audio" } else { "subtitle" },
            lead: track.lead(),
            flags: track.reader.as_ref().map(|reader| reader.flags.clone()),
            end: track.reader.as_ref().and_then(Reader::end),
            empty: track.reader.as_ref().is_some_and(Reader::is_empty),
        };
        self.tracks.iter().map(track).collect()
    }
}

/// Puts the encoder and its parser between `convert` and `waiting`.
fn insert(
    pipeline: &Pipeline,
    encoder: &Encoder,
    form: Option<gst::Caps>,
) -> Result<(), PipelineError> {
    let (element, parser) = (&encoder.element, &encoder.parser);
    keep_lengths(parser);
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

/// Measures the encoder's working time: from the moment a frame leaves the appsrc until the appsrc's thread
/// returns and finds no frame ("need-data" is emitted on that thread).
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

/// Drops packets without a timestamp, or with one outside the segment: muxers (qtmux 1.26) would end the file
/// with an error.
fn only_with_time(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) else {
            return gst::PadProbeReturn::Handled;
        };
        let event = pad.sticky_event::<gst::event::Segment>(0);
        let segment = event.as_ref().and_then(|e| e.segment().downcast_ref::<gst::ClockTime>());
        match segment {
            Some(segment) if segment.to_running_time(pts).is_none() => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Sets the timestamp of the first packet that passes `pad` to `time`.
fn begin_at(pad: &gst::Pad, time: gst::ClockTime) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(packet) = info.buffer_mut() {
            let writable = packet.make_mut();
            writable.set_pts(time);
            writable.set_dts(time);
        }
        gst::PadProbeReturn::Remove
    });
}

/// Sends the tags of a track before its first packet.
fn tag(pad: &gst::Pad, tags: gst::TagList) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        pad.push_event(gst::event::Tag::new(tags.clone()));
        gst::PadProbeReturn::Remove
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::core::span::Span;
    use crate::core::stop::StopSignal;

    #[test]
    fn a_reader_that_fails_ends_its_own_track_though_one_before_it_was_refused() {
        crate::media::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.mkv");
        let bunny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bigbuckbunny.mp4");
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(bunny);
        ffmpeg.args(["-t", "1", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c", "copy"]);
        assert!(ffmpeg.arg(&input).status().unwrap().success());
        let mut tracks =
            Tracks::open(&input, Span::default(), Container::Mkv, true, &StopSignal::default());
        assert_eq!(tracks.readers.len(), 3);
        tracks.readers[0].caps = gst::Caps::new_empty_simple("audio/x-that-no-muxer-takes");

        let caps = "video/x-raw,format=I420,width=64,height=64,framerate=25/1";
        let stream = VideoStream::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
        let encoding = Encoding::default();
        let output = folder.path().join("out.mkv");
        let (path, container) = (output.as_path(), Container::Mkv);
        let (encoding, stream) = (&encoding, &stream);
        let file = NewFile { path, container, encoding, stream, packets: false };
        let mut sink = VideoSink::build(file, 0).unwrap();
        sink.take_tracks(tracks).unwrap();
        assert!(sink.notes()[0].contains("left out"), "{:?}", sink.notes());
        let ended: Vec<_> = sink.tracks.iter().map(|track| ends(&track.target)).collect();
        assert_eq!(ended.len(), 2);
        let (events, _heard) = channel();
        sink.pipeline.forward(events);
        sink.pipeline.set_state(gst::State::Playing).unwrap();
        sink.end_track(2);
        ended[1].recv_timeout(Duration::from_secs(30)).expect("the track of reader 2 ends");
        assert!(ended[0].try_recv().is_err(), "the other goes on");
    }

    /// Hears when the end of its stream comes out of it.
    fn ends(target: &gst_app::AppSrc) -> Receiver<()> {
        let (send, ended) = channel();
        let pad = target.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                let _ = send.send(());
            }
            gst::PadProbeReturn::Ok
        });
        ended
    }
}
