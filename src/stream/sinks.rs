//! Sinks for the frames of a video: a file, through GStreamer, or a pipe or pictures, written by the program
//! itself.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::partial::PartialFile;
use super::path_kinds::OutputKind;
use super::pictures::write_into_folder;
use crate::core::encoding::{Container, Encoding};
use crate::core::frame::Frame;
use crate::core::picture::Picture;
use crate::core::rate::FrameRate;
use crate::core::sequence::Pattern;
use crate::core::stop::StopSignal;
use crate::core::y4m::Writer;
use crate::media::sink::{FrameInput, NewFile, VideoSink};
use crate::media::source::Busy;
use crate::media::tracks::{TrackLimit, Tracks};
use crate::media::video::VideoStream;
use crate::media::{Event, PipelineRole};

/// Takes the frames of a video, on the feeder's thread.
pub(super) trait FrameSink: Send {
    /// Takes a frame, waiting while there is no room; false if the sink takes no more frames.
    fn take(&mut self, frame: Frame) -> Result<bool>;
    /// Ends the stream of frames: the sink finishes its output, then sends [`Event::End`].
    fn end(&mut self);
}

impl FrameSink for FrameInput {
    fn take(&mut self, frame: Frame) -> Result<bool> {
        Ok(self.push(frame)?)
    }

    fn end(&mut self) {
        FrameInput::end(self);
    }
}

/// The main thread's part of a sink.
pub(super) enum Sink {
    /// A file, with copied tracks.
    File(Box<VideoSink>),
    /// A pipe or pictures; the [`FrameSink`] does all the work.
    Direct(Busy),
}

/// Opens the sink for `target`; `file` is the path to write to, if it is a file. With the container comes whether only
/// the packets that it would hold are written.
///
/// # Errors
/// When it cannot be made, or cannot hold frames like those of `stream`.
pub(super) fn open(
    target: &OutputKind,
    container: Option<(Container, &Encoding, bool)>,
    file: Option<&PartialFile>,
    stream: &VideoStream,
    tracks: Tracks,
    events: &Sender<Event>,
    stop: &StopSignal,
) -> Result<(Sink, Box<dyn FrameSink>)> {
    let (busy, events) = (Busy::default(), events.clone());
    let output: Box<dyn Write + Send> = match (target, file, container) {
        (OutputKind::File(_), Some(file), Some((container, encoding, packets))) => {
            let file = NewFile { path: file.path(), container, encoding, stream, packets };
            let sink = VideoSink::create(file, tracks, &events)?;
            let input = sink.input();
            return Ok((Sink::File(Box::new(sink)), Box::new(input)));
        }
        (OutputKind::Pictures(pictures), ..) => {
            let (pattern, number) = (pictures.pattern(), 1);
            let taker = PictureTaker { pattern, number, busy: busy.clone(), events };
            return Ok((Sink::Direct(busy), Box::new(taker)));
        }
        (OutputKind::Y4m(_), Some(file), _) => Box::new(File::create(file.path())?),
        // Not std's stdout, which searches every frame for line ends.
        (OutputKind::Stdout, ..) => {
            Box::new(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
        }
        _ => bail!("no file to write to"),
    };
    let header = stream.y4m_header().ok_or_else(|| {
        anyhow!(
            "YUV4MPEG2 has one constant rate, and the input says none: write to a .mkv or .mp4, \
             or give it a rate (`ffmpeg -i IN -r 25 …`)"
        )
    })?;
    let taker = Y4mSink {
        writer: Writer::new(output, header),
        rate: header.rate,
        stream: stream.clone(),
        first: None,
        number: 0,
        busy: busy.clone(),
        events,
        stop: stop.clone(),
    };
    Ok((Sink::Direct(busy), Box::new(taker)))
}

impl Sink {
    /// Time the sink has worked.
    pub(super) fn busy(&self) -> Busy {
        match self {
            Sink::File(sink) => sink.busy(),
            Sink::Direct(busy) => busy.clone(),
        }
    }

    /// Handles that end copied tracks early.
    pub(super) fn limits(&self) -> Vec<TrackLimit> {
        self.file().map(VideoSink::limits).unwrap_or_default()
    }

    /// The GStreamer sink, if it is one.
    pub(super) fn file(&self) -> Option<&VideoSink> {
        match self {
            Sink::File(sink) => Some(sink),
            Sink::Direct(_) => None,
        }
    }
}

/// Takes the frames of a video that is only read.
pub trait FrameReader: Send {
    /// Called before the first frame, with the rate if it is constant.
    fn begin(&mut self, rate: Option<FrameRate>);
    /// Takes the next frame.
    ///
    /// # Errors
    /// One line for the user; then no more frames come.
    fn take(&mut self, frame: Frame) -> Result<()>;
}

/// Passes frames to a reader.
struct ReaderSink<'a> {
    reader: &'a mut dyn FrameReader,
    events: Sender<Event>,
}

/// A sink that passes frames to a reader.
pub(super) fn to_reader<'a>(
    reader: &'a mut dyn FrameReader,
    stream: &VideoStream,
    events: &Sender<Event>,
) -> (Sink, Box<dyn FrameSink + 'a>) {
    reader.begin(stream.rate());
    (Sink::Direct(Busy::default()), Box::new(ReaderSink { reader, events: events.clone() }))
}

impl FrameSink for ReaderSink<'_> {
    fn take(&mut self, frame: Frame) -> Result<bool> {
        self.reader.take(frame).map(|()| true)
    }

    fn end(&mut self) {
        let _ = self.events.send(Event::End(PipelineRole::Sink(0)));
    }
}

/// Writes YUV4MPEG2.
struct Y4mSink {
    writer: Writer<Box<dyn Write + Send>>,
    rate: FrameRate,
    stream: VideoStream,
    /// When the first frame began.
    first: Option<Duration>,
    number: u64,
    busy: Busy,
    events: Sender<Event>,
    stop: StopSignal,
}

impl FrameSink for Y4mSink {
    fn take(&mut self, frame: Frame) -> Result<bool> {
        self.stream.check(&frame)?;
        let time = frame.pts.unwrap_or_default();
        let first = *self.first.get_or_insert(time);
        let expected = first + self.rate.time_of(self.number);
        if time.abs_diff(expected).as_secs_f64() > 0.5 / self.rate.per_second() {
            bail!(
                "frame {} begins at {:.3} s, at a constant rate it would at {:.3} s, and YUV4MPEG2 \
                 has no other: write to a .mkv or .mp4, or make the rate constant (`ffmpeg -i IN \
                 -r {:.4} …`)",
                self.number + 1,
                time.as_secs_f64(),
                expected.as_secs_f64(),
                self.rate.per_second()
            );
        }
        let since = Instant::now();
        let written = self.writer.write(frame.planes.bytes());
        self.busy.add(since.elapsed());
        self.number += 1;
        match written {
            Ok(()) => Ok(true),
            // Ctrl-C in a terminal also reaches the program that reads the pipe.
            Err(_) if self.stop.is_set() => Ok(false),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                bail!("the program that reads the output has gone away")
            }
            Err(error) => Err(error).context("cannot write the output"),
        }
    }

    fn end(&mut self) {
        let _ = self.events.send(Event::End(PipelineRole::Sink(0)));
    }
}

/// Writes a picture for each frame.
struct PictureTaker {
    pattern: Pattern,
    number: u64,
    busy: Busy,
    events: Sender<Event>,
}

impl FrameSink for PictureTaker {
    fn take(&mut self, frame: Frame) -> Result<bool> {
        let since = Instant::now();
        write_into_folder(&Picture::from_frame(frame), &self.pattern.path(self.number))?;
        self.number += 1;
        self.busy.add(since.elapsed());
        Ok(true)
    }

    fn end(&mut self) {
        let _ = self.events.send(Event::End(PipelineRole::Sink(0)));
    }
}
