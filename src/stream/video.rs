//! A video → a stylized video: owns the threads, the queues and the order of shutting down.
//!
//! Frames flow decoder → queue → worker → queue → encoder. The end travels the same way: the
//! source closes the first queue, the worker ends and drops the second, the feeder ends the
//! encoder's stream, the muxer finishes the file. Whatever stops a run early (Ctrl-C, a damaged
//! file, a failing network) enters that chain at its place, so the file is always finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::ends::{Source, Target};
use super::feed::{Early, Written, feed};
use super::partial::PartialFile;
use super::sinks::{self, Sink};
use super::sources::{self, tell};
use super::watch::{Queues, watch};
use super::{Observer, Progress};
use crate::batch::Batcher;
use crate::cut_off::is_cut_off;
use crate::encoding::{Codec, Container, Encoding, HwAccel};
use crate::frame::{Frame, FramePool};
use crate::media::encoder::without_hardware_decoders;
use crate::media::fed::Log;
use crate::media::finalise::{Layout, Track, index_to_front};
use crate::media::sink::VideoSink;
use crate::media::source::{VideoSource, Wanted};
use crate::media::tracks::Tracks;
use crate::media::video::VideoStream;
use crate::media::{PipelineError, matroska};
use crate::queue::bounded;
use crate::rate::Rate;
use crate::span::Span;
use crate::stats::{Stats, Summary};
use crate::stylizer::Stylizer;
use crate::worker::{self, Ended};

/// How a video is to be made.
#[derive(Debug, Clone, Copy)]
pub struct VideoJob<'a> {
    /// What to read: a file, `-`, a folder of pictures or a pattern of their names.
    pub input: &'a Path,
    /// What to write: a file whose ending says the container, `-`, or pictures.
    pub output: &'a Path,
    /// Which part of the input.
    pub span: Span,
    /// The rate of pictures.
    pub rate: Option<Rate>,
    /// Take the sound along.
    pub audio: bool,
    /// Frames in one network pass.
    pub batch: usize,
    /// How the output is encoded.
    pub encoding: Encoding,
    /// Write the pipelines as Graphviz graphs into this folder.
    pub dump_dot: Option<&'a Path>,
}

impl<'a> VideoJob<'a> {
    /// All of a video, one frame at a time, with everything as it is usual.
    pub fn new(input: &'a Path, output: &'a Path) -> Self {
        VideoJob {
            input,
            output,
            span: Span::default(),
            rate: None,
            audio: true,
            batch: 1,
            encoding: Encoding::default(),
            dump_dot: None,
        }
    }
}

/// Stylizes a video, every frame, in order, with its own time; its other tracks are copied.
///
/// `stop` ends the run early: what is made so far is finished under the final name. `stats` counts,
/// from when the run began.
///
/// # Errors
/// When the input cannot be decoded, the network fails or the output cannot be written. What was
/// made before that is kept under a partial name, which the error says.
pub fn stylize_video(
    job: &VideoJob,
    stylizer: &mut dyn Stylizer,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let (input, output) = (job.input.display(), job.output.display());
    let (source_kind, target) = (Source::of(job.input), Target::of(job.output));
    let container = Container::from_path(job.output);
    if matches!(target, Target::File(_)) && container.is_none() {
        bail!("cannot write '{output}': its name must end in {}", Container::ENDINGS);
    }
    let codec = container.map(|container| job.encoding.codec_in(container)).transpose();
    let codec = codec.map_err(anyhow::Error::msg)?;
    if job.encoding.hwaccel == HwAccel::Off {
        without_hardware_decoders()?;
    }
    let (log, rgb) = (Log::default(), matches!(target, Target::Pictures(_)));
    let wanted = match codec {
        _ if rgb => Wanted::Rgb,
        _ if job.encoding.even => Wanted::Even,
        Some(Codec::H264 | Codec::H265) => Wanted::Exact,
        Some(Codec::Vp9 | Codec::Av1) => Wanted::Subsampled,
        None => Wanted::Raw,
    };
    let source = sources::open(job, &source_kind, wanted, &log, stop)?;
    tell(&log, &mut |note| observer.note(note));
    let Some(source) = source else {
        observer.note("stopped before the first frame came");
        return Ok(Summary { interrupted: true, ..summary(job, &Totals::default(), stats, 0) });
    };
    let (width, height) = (source.stream().frame.width, source.stream().frame.height);
    stylizer.check(width, height).with_context(|| format!("cannot stylize '{input}'"))?;
    let job = &VideoJob {
        batch: batch_in_memory(job.batch, source.stream(), stylizer, observer),
        ..*job
    };
    source.notes().iter().for_each(|note| observer.note(&format!("'{input}': {note}")));
    let tracks = match (sources::tracks_of(&source_kind), container) {
        (Some(path), Some(container)) => Tracks::open(path, job.span, container, job.audio),
        (Some(path), None) => {
            if job.audio && Tracks::has_sound(path) {
                let holds =
                    if rgb { "pictures have none" } else { "YUV4MPEG2 holds pictures only" };
                observer.note(&format!("the sound of '{input}' is left out: {holds}"));
            }
            Tracks::default()
        }
        (None, _) => Tracks::default(),
    };
    tracks.notes().iter().for_each(|note| observer.note(note));
    let partial = match target {
        Target::File(_) | Target::Y4m(_) => Some(PartialFile::beside(job.output)),
        Target::Stdout | Target::Pictures(_) => None,
    };
    let partial = partial.transpose().with_context(|| format!("cannot write '{output}'"))?;

    let ends = Ends { source: &source, log: &log, target: &target, container };
    let made = make(job, &ends, tracks, partial.as_ref(), stylizer, stop, stats, observer);
    let made = match made {
        Ok(made) if made.frames == 0 => {
            let why = made.failure.unwrap_or_else(|| anyhow!("no frame came out of it"));
            if stop.load(Ordering::Acquire) {
                observer.note("stopped before the first frame was made");
                return Ok(Summary { interrupted: true, ..summary(job, &made.totals, stats, 0) });
            }
            return Err(why.context(format!("cannot stylize '{input}'")));
        }
        Ok(Made { failure: Some(why), frames, .. }) => {
            let kept = match partial {
                Some(partial) => match partial.keep() {
                    Some(kept) => format!(" frames, which are in '{}'", kept.display()),
                    None => return Err(why.context(format!("cannot write '{output}'"))),
                },
                None if rgb => " pictures, which are kept".to_owned(),
                None => " frames".to_owned(),
            };
            return Err(why.context(format!("stopped after {frames}{kept}")));
        }
        Ok(made) => made,
        Err(why) => return Err(why.context(format!("cannot write '{output}'"))),
    };
    drop(source);
    let finished = match (partial, container) {
        (Some(partial), Some(container)) => {
            finish(partial, container, &made.layout, &mut |note| observer.note(note))
        }
        (Some(partial), None) => partial.commit().map_err(Into::into),
        (None, _) => Ok(()),
    };
    finished.with_context(|| format!("cannot write '{output}'"))?;
    let interrupted = stop.load(Ordering::Acquire);
    Ok(Summary { interrupted, ..summary(job, &made.totals, stats, made.frames) })
}

/// How many frames of those wanted in a batch there is memory for; says so where it is less.
fn batch_in_memory(
    wanted: usize,
    stream: &VideoStream,
    stylizer: &dyn Stylizer,
    observer: &mut dyn Observer,
) -> usize {
    let (width, height) = (stream.frame.width, stream.frame.height);
    let most = stylizer.most_at_once(&stream.frame, stream.layout.bytes(width, height));
    match most.filter(|most| *most < wanted) {
        Some(most) => {
            observer.note(&format!(
                "there is not enough memory for batches of {wanted} frames of {width}×{height}: they are \
                 of {most}"
            ));
            most
        }
        None => wanted,
    }
}

/// Between what a run goes.
struct Ends<'a> {
    source: &'a VideoSource,
    /// What the source has to say, when we read it ourselves.
    log: &'a Log,
    target: &'a Target,
    container: Option<Container>,
}

/// What a run made, complete or not.
struct Made {
    frames: u64,
    layout: Layout,
    totals: Totals,
    /// Why it ended before the end of the input (not: because it was told to stop).
    failure: Option<anyhow::Error>,
}

#[derive(Default)]
struct Totals {
    end: Duration,
    decode: Duration,
    encode: Duration,
    queue_full: u64,
}

#[allow(clippy::too_many_arguments)]
fn make(
    job: &VideoJob,
    ends: &Ends,
    tracks: Tracks,
    partial: Option<&PartialFile>,
    stylizer: &mut dyn Stylizer,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
    observer: &mut dyn Observer,
) -> Result<Made> {
    let (events, said) = channel();
    let source = ends.source;
    let file = ends.container.map(|container| (container, &job.encoding));
    let (sink, mut taker) =
        sinks::open(ends.target, file, partial, source.stream(), tracks, &events, stop)?;
    sink.file().iter().flat_map(|sink| sink.notes()).for_each(|note| observer.note(note));

    // Two batches in each ring: one being filled while one is worked on.
    let depth = 2 * job.batch.max(1) + 1;
    let (decoded_in, decoded_out) = bounded::<Frame>(depth);
    let (styled_in, styled_out) = bounded::<Frame>(depth);
    let pool = FramePool::new(3 * depth);
    let decoded = decoded_in.stats();
    let close_decoded = decoded_in.closer();
    let close_styled = styled_in.closer();
    let batcher = Batcher::every_frame(decoded_out, job.batch);
    let early = Early::default();
    let out = Written::default();

    let total = source.stream().frames();

    let (watched, worked, fed) = thread::scope(|scope| {
        let feeder = thread::Builder::new().name("encode".into()).spawn_scoped(scope, || {
            feed(styled_out, taker.as_mut(), &sink.limits(), &early, &out, stats)
        });
        let worker = thread::Builder::new().name("network".into()).spawn_scoped(scope, || {
            let mut output = styled_in;
            let result = worker::run(batcher, stylizer, &mut output, stop, stats);
            if !matches!(result, Ok(Ended::EndOfQueue)) {
                early.set();
            }
            // Only now does the feeder see the end, and by then it knows what kind of end it is.
            drop(output);
            result
        });
        let watched =
            source.start(decoded_in, pool, events).map_err(anyhow::Error::from).and_then(|()| {
                dump_dot(job.dump_dot, source, &sink)?;
                // Decoded and not yet painted, but for a part of a batch that waits for the rest.
                let waiting = || {
                    decoded.pushed.load(Ordering::Relaxed) > stats.frames() && !stats.is_resting()
                };
                let queues = Queues {
                    decoded: &close_decoded,
                    styled: &close_styled,
                    waiting: &waiting,
                    read: &|| source.reading_ended(),
                };
                watch(&said, &queues, sink.file(), &early, stop, &mut || {
                    tell(ends.log, &mut |note| observer.note(note));
                    if !stop.load(Ordering::Acquire) {
                        observer.progress(&Progress { stats, total });
                    }
                })
            });
        if watched.is_err() {
            // Nobody will take frames any more: let everyone go.
            early.set();
            sink.file().into_iter().for_each(VideoSink::abandon);
            close_decoded.close();
            close_styled.close();
        }
        (watched, worker.map(|w| w.join()), feeder.map(|f| f.join()))
    });

    let totals = Totals {
        end: out.end(),
        decode: source.busy().time(),
        encode: sink.busy().time(),
        queue_full: decoded.full.load(Ordering::Relaxed),
    };
    let frames = out.frames();
    let mut failure = match worked? {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(anyhow::Error::from(error)),
        Err(_) => bail!("the network thread broke down"),
    };
    match fed? {
        Ok(Ok(())) => {}
        Ok(Err(error)) => failure = failure.or(Some(error)),
        Err(_) => bail!("the encoder thread broke down"),
    }
    match watched {
        Ok(end) => {
            failure = failure.or(source_failure(job, source, &out, end.failure, observer));
            if end.warnings > 0 {
                let of = total.map_or_else(String::new, |total| format!(" of about {total}"));
                observer.note(&format!(
                    "'{}' is damaged: {} errors while decoding, {frames}{of} frames came out",
                    job.input.display(),
                    end.warnings
                ));
            }
        }
        Err(error) => failure = Some(error),
    }
    tell(ends.log, &mut |note| observer.note(note));
    let mut said = ends.log.lock();
    if said.damaged > 0 {
        let count = said.damaged;
        observer.note(&format!("{count} pictures of '{}' could not be read", job.input.display()));
    }
    // After Ctrl-C the program that writes into our pipe has been stopped, too.
    let cut_off = said.failure.take().filter(|_| !stop.load(Ordering::Acquire));
    failure = failure.or(cut_off.map(|why| anyhow!("'{}': {why}", job.input.display())));
    let layout = sink.file().map(VideoSink::layout).unwrap_or_default();
    Ok(Made { frames, layout, totals, failure })
}

/// What ended the source before its time, as an error; of a file that is cut off it is none, but said.
fn source_failure(
    job: &VideoJob,
    source: &VideoSource,
    out: &Written,
    failure: Option<PipelineError>,
    observer: &mut dyn Observer,
) -> Option<anyhow::Error> {
    let whole = source.stream().duration.filter(|whole| *whole > out.end());
    // The part that was asked for may be there, whatever is missing behind it.
    let complete = failure.is_none() && whole.is_none() && job.span != Span::default();
    if out.frames() == 0 || complete || !is_cut_off(job.input) {
        return failure.map(anyhow::Error::from);
    }
    let of = whole.map_or_else(String::new, |d| format!(" of {:.2} s", d.as_secs_f64()));
    observer.note(&format!(
        "'{}' is cut off: its picture ends at {:.2} s{of}",
        job.input.display(),
        out.end().as_secs_f64()
    ));
    None
}

/// Brings the index of an MP4 to the front and gives the file its name.
pub(super) fn finish(
    partial: PartialFile,
    container: Container,
    layout: &[Track],
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    if !container.is_mp4() {
        if let Err(error) = matroska::put_right(partial.path()) {
            tracing::warn!("the tags of the file stay as they are: {error}");
        }
        return Ok(partial.commit()?);
    }
    let front = partial.sibling()?;
    match index_to_front(partial.path(), front.path(), container, layout) {
        Ok(()) => {
            front.commit()?;
        }
        Err(error) => {
            note(&format!("the index stays at the end of the file: {error}"));
            partial.commit()?;
        }
    }
    Ok(())
}

fn dump_dot(folder: Option<&Path>, source: &VideoSource, sink: &Sink) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let sink = sink.file().map(|sink| ("sink.dot", sink.dot()));
    for (name, dot) in [("source.dot", source.dot())].into_iter().chain(sink) {
        let path = folder.join(name);
        std::fs::write(&path, dot).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    Ok(())
}

fn summary(job: &VideoJob, totals: &Totals, stats: &Stats, frames: u64) -> Summary {
    let wall = stats.elapsed().as_secs_f64();
    Summary {
        input: job.input.display().to_string(),
        output: job.output.display().to_string(),
        frames,
        fps: frames as f64 / wall,
        speed: Some(totals.end.as_secs_f64() / wall),
        wall_s: wall,
        decode_s: totals.decode.as_secs_f64(),
        network_s: stats.network().as_secs_f64(),
        encode_s: totals.encode.as_secs_f64(),
        first_frame_s: stats.first_out().map(|t| t.as_secs_f64()),
        queue_full: totals.queue_full,
        ..Summary::default()
    }
}
