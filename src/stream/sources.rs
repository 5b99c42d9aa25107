//! Sources of a video's frames: a decoder, or what the program reads itself (a pipe, pictures).

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::Observer;
use super::path_kinds::{InputKind, Pictures, nothing_there, part_of};
use super::video_job::{TimedPictures, VideoJob};
use crate::core::animation::Animation;
use crate::core::picture::{self, Picture};
use crate::core::rate::FrameRate;
use crate::core::span::Span;
use crate::core::stop::StopSignal;
use crate::core::timeouts::POLL;
use crate::core::y4m::{Reader, Y4mError};
use crate::media::error::ErrorKind;
use crate::media::raw_source::{self, NextFrame, RawFormat};
use crate::media::read_report::SharedReport;
use crate::media::source::{FrameFormat, VideoSource};

/// Opens the input and waits for its first frame, in the format `wanted`. Notes that arise later are written
/// to `log`. None if `stop` was set before the first frame.
///
/// # Errors
/// When it contains no frame.
pub(super) fn open(
    job: &VideoJob,
    source: &InputKind,
    wanted: FrameFormat,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>> {
    let input = job.input.display();
    if let Some(frames) = job.frames {
        return of_timed_pictures(frames, wanted, log, stop);
    }
    let opened = match source {
        InputKind::File(path) => match VideoSource::open(path, job.span, wanted, stop) {
            Err(error) if error.kind == ErrorKind::Stopped => Ok(None),
            opened => opened.map(|source| Some(source.with_report(log))).map_err(Into::into),
        },
        InputKind::Animation(path) => of_animation(path, job.span, wanted, log, stop),
        InputKind::Pictures(pictures) => of_pictures(pictures, job, wanted, log, stop),
        InputKind::Y4m(path) => {
            let path = path.clone();
            of_y4m(move || File::open(path), job.span, wanted, log, stop)
        }
        InputKind::Stdin => {
            let stdin = || std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
            of_y4m(stdin, job.span, wanted, log, stop)
        }
    };
    opened.with_context(|| format!("cannot decode '{input}'"))
}

/// Buffer size in bytes: large enough that a frame takes few calls, small compared with a frame.
const BUFFER: usize = 256 * 1024;

fn of_y4m(
    file: impl FnOnce() -> std::io::Result<File> + Send + 'static,
    span: Span,
    wanted: FrameFormat,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>> {
    let Some(opened) = header(file, stop)? else { return Ok(None) };
    let mut reader = opened?;
    let header = *reader.header();
    let (first, count) = header.rate.frames_of(span);
    let next: NextFrame = Box::new(move |frame| {
        if count.is_some_and(|count| reader.frames() >= first.saturating_add(count)) {
            return Ok(false);
        }
        while reader.frames() < first {
            if !reader.next(frame).map_err(|error| error.to_string())? {
                return Err(nothing_there(span, header.rate.time_of(reader.frames())));
            }
        }
        let more = reader.next(frame).map_err(|error| error.to_string())?;
        if !more && reader.frames() == first && first > 0 {
            return Err(nothing_there(span, header.rate.time_of(reader.frames())));
        }
        Ok(more)
    });
    Ok(raw_source::open(&RawFormat::Y4m(header), count, wanted, next, log, stop)?)
}

type Opened = Result<Result<Reader<BufReader<File>>, Y4mError>, std::io::Error>;

/// Opens a file and reads its header on a thread of its own, so that Ctrl-C can end the wait for the writer
/// of a named pipe.
fn header(
    file: impl FnOnce() -> std::io::Result<File> + Send + 'static,
    stop: &StopSignal,
) -> Result<Option<Result<Reader<BufReader<File>>, Y4mError>>> {
    let (send, opened) = channel::<Opened>();
    let open = move || send.send(file().map(|f| Reader::open(BufReader::with_capacity(BUFFER, f))));
    thread::Builder::new().name("header".into()).spawn(open)?;
    loop {
        match opened.recv_timeout(POLL) {
            Ok(opened) => return opened.map(Some).context("it cannot be opened"),
            Err(RecvTimeoutError::Timeout) if stop.is_set() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("the thread that reads it panicked"));
            }
        }
    }
}

fn of_animation(
    path: &Path,
    span: Span,
    wanted: FrameFormat,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>> {
    let animation = Animation::open(path)?;
    let Some(part) = animation.part(span) else {
        return Err(anyhow!(nothing_there(span, animation.duration())));
    };
    let (count, rate, first) = (part.ends.len(), part.rate(), part.first);
    let frames = animation.frames(first).context("cannot start a thread")?;
    let mut left = count;
    let next: NextFrame = Box::new(move |bytes| {
        let Some(fewer) = left.checked_sub(1) else { return Ok(false) };
        left = fewer;
        match frames.recv() {
            Ok(Ok(picture)) => {
                bytes.extend_from_slice(picture.frame.planes.bytes());
                Ok(true)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Ok(false),
        }
    });
    let Animation { width, height, .. } = animation;
    let shape =
        RawFormat::Animation { width, height, rate, start: Duration::ZERO, ends: part.ends };
    Ok(raw_source::open(&shape, Some(count as u64), wanted, next, log, stop)?)
}

/// Pictures as the frames of a video. All have the size of the first; one that cannot be read is
/// replaced by the one before it, so that all others keep their times.
fn of_pictures(
    pictures: &Pictures,
    job: &VideoJob,
    wanted: FrameFormat,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>> {
    let rate = job.rate.unwrap_or(FrameRate::USUAL);
    let (files, note) = pictures.files()?;
    log.lock().notes.extend(note);
    let mut files = part_of(files, rate, job.span)?.into_iter();
    let (name, first) = loop {
        let Some(file) = files.next() else {
            return Err(anyhow!("none of its pictures can be read"));
        };
        match Picture::open(&file) {
            Ok(picture) => break (file, picture.on_white()),
            Err(error) => skipped(log, &format!("{error}; skipped")),
        }
    };
    let (width, height) = (first.frame.info.width, first.frame.info.height);
    let count = files.len() as u64 + 1;
    let mut last: Vec<u8> = first.frame.planes.bytes().to_vec();
    let mut begun = false;
    let said = log.clone();
    let next: NextFrame = Box::new(move |frame| {
        if std::mem::replace(&mut begun, true) {
            let Some(file) = files.next() else { return Ok(false) };
            match Picture::open(&file).map(Picture::on_white) {
                Ok(picture) => {
                    let info = picture.frame.info;
                    if (info.width, info.height) != (width, height) {
                        return Err(format!(
                            "'{}' is {}×{} and '{}' {width}×{height}: pictures of a video must have the same size",
                            file.display(),
                            info.width,
                            info.height,
                            name.display()
                        ));
                    }
                    last.copy_from_slice(picture.frame.planes.bytes());
                }
                Err(error) => {
                    skipped(&said, &format!("{error}; the picture before it is repeated"))
                }
            }
        }
        frame.extend_from_slice(&last);
        Ok(true)
    });
    let shape = RawFormat::Rgb { width, height, rate };
    Ok(raw_source::open(&shape, Some(count), wanted, next, log, stop)?)
}

/// Pictures that are shown each at its time.
fn of_timed_pictures(
    frames: &TimedPictures,
    wanted: FrameFormat,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>> {
    let first = frames.files.first().context("there are no frames")?;
    let (width, height) = picture::size(first)?;
    let count = frames.files.len();
    let mut files = frames.files.clone().into_iter();
    let next: NextFrame = Box::new(move |bytes| {
        let Some(file) = files.next() else { return Ok(false) };
        let picture = Picture::open(&file).map_err(|error| error.to_string())?.on_white();
        let info = picture.frame.info;
        if (info.width, info.height) != (width, height) {
            return Err(format!("'{}' has another size than the first frame", file.display()));
        }
        bytes.extend_from_slice(picture.frame.planes.bytes());
        Ok(true)
    });
    let ends = frames.ends.iter().take(count).copied().collect();
    let shape =
        RawFormat::Animation { width, height, rate: frames.rate, start: frames.start, ends };
    Ok(raw_source::open(&shape, Some(count as u64), wanted, next, log, stop)?)
}

fn skipped(log: &SharedReport, text: &str) {
    let mut said = log.lock();
    said.notes.push(text.to_owned());
    said.damaged += 1;
}

/// Shows the notes that the reading thread has added to `log` since the last call.
pub(super) fn show_notes(log: &SharedReport, observer: &mut dyn Observer) {
    let notes = std::mem::take(&mut log.lock().notes);
    notes.iter().for_each(|text| observer.note(text));
}

/// The file from which further tracks can be copied; none for pipes and pictures.
pub(super) fn tracks_of(source: &InputKind) -> Option<&Path> {
    match source {
        InputKind::File(path) => Some(path),
        _ => None,
    }
}
