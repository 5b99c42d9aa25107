//! A video file → a stylized video file: owns the threads, the queues and the order of shutting
//! down.
//!
//! Frames flow decoder → queue → worker → queue → encoder. The end travels the same way: the
//! source closes the first queue, the worker ends and drops the second, the feeder ends the
//! encoder's stream, the muxer finishes the file. Whatever stops a run early (Ctrl-C, a damaged
//! file, a failing network) enters that chain at its place, so the file is always finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::partial::PartialFile;
use super::{Observer, Progress};
use crate::batch::Batcher;
use crate::frame::{Frame, FramePool};
use crate::media::finalise::{Layout, Track, index_to_front};
use crate::media::sink::{Container, FrameInput, VideoSink};
use crate::media::source::VideoSource;
use crate::media::tracks::{TrackLimit, Tracks};
use crate::media::{Event, PipelineError, Role, matroska};
use crate::queue::{Closer, Consumer, bounded};
use crate::span::Span;
use crate::stats::{Stats, Summary};
use crate::stylizer::Stylizer;
use crate::worker::{self, Ended};

/// How a video is to be made.
#[derive(Debug, Clone, Copy)]
pub struct VideoJob<'a> {
    /// The file to read.
    pub input: &'a Path,
    /// The file to write; its ending says the container.
    pub output: &'a Path,
    /// Which part of the input.
    pub span: Span,
    /// Take the sound along.
    pub audio: bool,
    /// Frames in one network pass.
    pub batch: usize,
    /// Write the pipelines as Graphviz graphs into this folder.
    pub dump_dot: Option<&'a Path>,
}

/// Stylizes a file, every frame, in order, with its own time; its other tracks are copied.
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
    let container = Container::from_path(job.output).with_context(|| {
        format!("cannot write '{output}': its name must end in .mp4, .mov, .mkv or .webm")
    })?;
    let source = VideoSource::open(job.input, job.span, false)
        .with_context(|| format!("cannot decode '{input}'"))?;
    let tracks = Tracks::open(job.input, job.span, container, job.audio);
    tracks.notes().iter().for_each(|note| observer.note(note));
    let partial =
        PartialFile::beside(job.output).with_context(|| format!("cannot write '{output}'"))?;

    let made = make(job, container, &source, tracks, &partial, stylizer, stop, stats, observer);
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
            let kept = partial.keep();
            return Err(why.context(format!(
                "stopped after {frames} frames, which are in '{}'",
                kept.display()
            )));
        }
        Ok(made) => made,
        Err(why) => return Err(why.context(format!("cannot write '{output}'"))),
    };
    drop(source);
    finish(partial, container, &made.layout, &mut |note| observer.note(note))
        .with_context(|| format!("cannot write '{output}'"))?;
    let interrupted = stop.load(Ordering::Acquire);
    Ok(Summary { interrupted, ..summary(job, &made.totals, stats, made.frames) })
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

/// Why the stream ends before its source does; the copied tracks then end with the picture.
#[derive(Default)]
struct Early(AtomicBool);

impl Early {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[allow(clippy::too_many_arguments)]
fn make(
    job: &VideoJob,
    container: Container,
    source: &VideoSource,
    tracks: Tracks,
    partial: &PartialFile,
    stylizer: &mut dyn Stylizer,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
    observer: &mut dyn Observer,
) -> Result<Made> {
    let (events, said) = channel();
    let sink = VideoSink::create(partial.path(), container, source.stream(), tracks, &events)?;
    sink.notes().iter().for_each(|note| observer.note(note));

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
            feed(styled_out, &sink.input(), &sink.limits(), &early, &out, stats)
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
                let queues = Queues { decoded: &close_decoded, styled: &close_styled };
                watch(&said, &queues, &sink, &early, stop, &mut || {
                    if !stop.load(Ordering::Acquire) {
                        observer.progress(&Progress { stats, total });
                    }
                })
            });
        if watched.is_err() {
            // Nobody will take frames any more: let everyone go.
            early.set();
            sink.abandon();
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
    let frames = out.frames.load(Ordering::Acquire);
    let mut failure = match worked? {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(anyhow::Error::from(error)),
        Err(_) => bail!("the network thread broke down"),
    };
    match fed? {
        Ok(Ok(())) => {}
        Ok(Err(error)) => failure = failure.or(Some(error.into())),
        Err(_) => bail!("the encoder thread broke down"),
    }
    match watched {
        Ok(end) => {
            failure = failure.or(end.failure.map(anyhow::Error::from));
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
    Ok(Made { frames, layout: sink.layout(), totals, failure })
}

/// Moves frames from the second queue to the encoder, and ends its stream.
fn feed(
    mut frames: Consumer<Frame>,
    encoder: &FrameInput,
    limits: &[TrackLimit],
    early: &Early,
    out: &Written,
    stats: &Stats,
) -> Result<(), PipelineError> {
    let mut result = Ok(());
    while let Some(frame) = frames.pop() {
        let end = frame.pts.unwrap_or_default() + frame.duration.unwrap_or_default();
        match encoder.push(frame) {
            Ok(true) => {
                stats.first_frame_out();
                out.one_more(end);
            }
            Ok(false) => break,
            Err(error) => {
                result = Err(error);
                early.set();
                break;
            }
        }
    }
    if early.get() {
        limits.iter().for_each(|limit| limit.set(out.end()));
    }
    encoder.end();
    result
}

/// What went to the encoder.
#[derive(Default)]
struct Written {
    frames: AtomicU64,
    end_ns: AtomicU64,
}

impl Written {
    fn one_more(&self, end: Duration) {
        self.frames.fetch_add(1, Ordering::AcqRel);
        self.end_ns.fetch_max(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// When the last frame ends.
    fn end(&self) -> Duration {
        Duration::from_nanos(self.end_ns.load(Ordering::Acquire))
    }
}

struct Queues<'a> {
    decoded: &'a Closer,
    styled: &'a Closer,
}

/// How the source came through.
#[derive(Default)]
struct SourceEnd {
    /// What ended it before its time.
    failure: Option<PipelineError>,
    /// How often the decoder complained and went on.
    warnings: u64,
}

/// Waits for the muxer to finish, and starts the end early when something asks for it.
///
///
/// # Errors
/// The sink's failure: then the file cannot be finished.
fn watch(
    said: &Receiver<Event>,
    queues: &Queues,
    sink: &VideoSink,
    early: &Early,
    stop: &AtomicBool,
    tick: &mut dyn FnMut(),
) -> Result<SourceEnd> {
    let mut end = SourceEnd::default();
    loop {
        if stop.load(Ordering::Acquire) && !early.get() {
            early.set();
            queues.decoded.close();
        }
        match said.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::End(Role::Sink(_))) => return Ok(end),
            Ok(Event::Failed(Role::Sink(_), error)) => {
                queues.styled.close();
                return Err(error.into());
            }
            Ok(Event::Failed(Role::Source, error)) => {
                end.failure.get_or_insert(error);
                early.set();
                queues.decoded.close();
            }
            Ok(Event::Failed(Role::Track(number), error)) => {
                tracing::warn!("track {} is cut short: {error}", number + 1);
                sink.end_track(number);
            }
            Ok(Event::Warning(role, warning)) => {
                end.warnings += u64::from(role == Role::Source);
                tracing::debug!("{}: {warning} ({:?})", warning.element, warning.debug);
            }
            Ok(Event::End(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the pipelines are gone"),
        }
        tick();
    }
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

fn dump_dot(folder: Option<&Path>, source: &VideoSource, sink: &VideoSink) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    for (name, dot) in [("source.dot", source.dot()), ("sink.dot", sink.dot())] {
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
