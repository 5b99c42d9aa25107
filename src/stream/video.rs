//! A video → a stylized video.
//!
//! Frames flow decoder → queue → worker → queue → encoder. The end of the stream takes the same way: the
//! source closes the first queue, the worker ends and drops the second, the feeder ends the encoder's stream,
//! the muxer finishes the file. If something stops a run early (Ctrl-C, a damaged file, a failing network),
//! the corresponding part of this chain is closed, so the file is always finished. [`FileStage`] decides
//! which part; the supervisor passes it the events.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::feeder::{EndedEarly, WrittenFrames, feed};
use super::finish::{commit, finish};
use super::partial::PartialFile;
use super::path_kinds::{InputKind, OutputKind};
use super::sinks::{self, FrameReader, FrameSink, Sink};
use super::sources::{self, show_notes};
use super::supervisor::{NetworkWatch, Stage, Supervisor, join, join_network, stopped_at_once};
use super::video_job::{PartJob, VideoJob};
use super::{Observer, Progress, RunContext};
use crate::core::batch::Batcher;
use crate::core::encoding::{Codec, Container, Encoding, HwAccel};
use crate::core::frame::{Frame, FramePool};
use crate::core::queue::{QueueCloser, QueueStats, bounded};
use crate::core::span::Span;
use crate::core::stats::{Stats, Summary};
use crate::core::stop::StopSignal;
use crate::core::stylizer::{Identity, Stylizer};
use crate::core::timeouts::{
    ENCODER_STALLED, FRAME_AFTER_FAILURE, FRAME_AFTER_READING, FRAME_OF_A_FILE, WaitTimer,
};
use crate::core::truncation::is_cut_off;
use crate::core::worker::{self, WorkerEnd};
use crate::media::encoder::without_hardware_decoders;
use crate::media::frame_count::readable_frames;
use crate::media::read_report::SharedReport;
use crate::media::remux::TrackLayout;
use crate::media::sink::VideoSink;
use crate::media::source::{FrameFormat, VideoSource};
use crate::media::tracks::Tracks;
use crate::media::video::VideoStream;
use crate::media::{Event, PipelineError, PipelineRole, RunThread, ThreadEnd};

/// Stylizes a video: every frame, in order, with its own timestamp; its other tracks are copied.
///
/// The stop signal ends the run early: at level one, the frames painted so far are finished under the final
/// name.
///
/// # Errors
/// When the input cannot be decoded, the network fails or the output cannot be written. What was
/// made before that is kept under a partial name, which the error says.
pub fn stylize_video(
    job: &VideoJob,
    stylizer: Box<dyn Stylizer>,
    context: &mut RunContext,
) -> Result<Summary> {
    run_video(job, stylizer, context, None)
}

/// Passes the frames of a video to a reader, as RGB with square pixels. Nothing is written: the job's output is the
/// folder for which the frames are.
///
/// # Errors
/// When the input cannot be decoded; the reader's own.
pub fn read_frames(
    job: &VideoJob,
    context: &mut RunContext,
    reader: &mut dyn FrameReader,
) -> Result<Summary> {
    run_video(job, Box::new(Identity), context, Some(reader))
}

/// Runs a job; `reader` replaces its sink.
fn run_video(
    job: &VideoJob,
    stylizer: Box<dyn Stylizer>,
    context: &mut RunContext,
    reader: Option<&mut dyn FrameReader>,
) -> Result<Summary> {
    let (input, output) = (job.input.display(), job.output.display());
    let (source_kind, target) = (InputKind::of(job.input), OutputKind::of(job.output));
    let container = job.part.map(|part| part.container);
    let container = container.or_else(|| Container::from_path(job.output));
    if matches!(target, OutputKind::File(_)) && container.is_none() {
        bail!("cannot write '{output}': its name must end in {}", Container::ENDINGS);
    }
    let wanted = wanted(job, &target, container)?;
    if job.encoding.hwaccel == HwAccel::Off {
        without_hardware_decoders()?;
    }

    let log = SharedReport::default();
    let source = sources::open(job, &source_kind, wanted, &log, &context.stop)?;
    show_notes(&log, context.observer);
    let Some(source) = source else {
        context.observer.note("stopped before the first frame arrived");
        return Ok(summary(job, &RunTotals::default(), context, 0));
    };
    let (width, height) = (source.stream().frame.width, source.stream().frame.height);
    stylizer.check(width, height).with_context(|| format!("cannot stylize '{input}'"))?;
    let job = &VideoJob {
        batch: batch_in_memory(job.batch, source.stream(), &*stylizer, context.observer),
        ..*job
    };
    for note in source.notes() {
        context.observer.note(&format!("'{input}': {note}"));
    }
    let tracks = open_tracks(job, &source_kind, &target, context);
    if context.stop.is_set() {
        context.observer.note("stopped before the first frame was painted");
        return Ok(summary(job, &RunTotals::default(), context, 0));
    }
    tracks.notes().iter().for_each(|note| context.observer.note(note));

    let partial = match target {
        OutputKind::File(_) | OutputKind::Y4m(_) => Some(PartialFile::beside(job.output)),
        OutputKind::Stdout | OutputKind::Pictures(_) => None,
    };
    let partial = partial.transpose().with_context(|| format!("cannot write '{output}'"))?;
    let supervisor = Supervisor::new(&context.stop);
    let file = container.map(|container| (container, &job.encoding, job.part.is_some()));
    let ends = RunIo {
        source: &source,
        is_file: matches!(source_kind, InputKind::File(_)),
        log: &log,
        partial: partial.as_ref(),
    };
    let opened = match reader {
        Some(reader) => Ok(sinks::to_reader(reader, source.stream(), &supervisor.events())),
        None => sinks::open(
            &target,
            file,
            partial.as_ref(),
            source.stream(),
            tracks,
            &supervisor.events(),
            &context.stop,
        ),
    };
    let made = opened.and_then(|sink| run_frames(job, &ends, sink, stylizer, &supervisor, context));
    let made = made.with_context(|| format!("cannot write '{output}'"))?;
    drop(source);

    if made.frames == 0 {
        if context.stop.is_set() {
            context.observer.note("stopped before the first frame was painted");
            return Ok(summary(job, &made.totals, context, 0));
        }
        let why = made.failure.unwrap_or_else(|| anyhow!("it gave no frames"));
        return Err(why.context(format!("cannot stylize '{input}'")));
    }
    if let Some(why) = made.failure {
        return Err(stopped_after(made.frames, why, partial, job));
    }
    if let Some(part) = &job.part {
        if context.stop.is_set() {
            // Half of a part is worth nothing.
            return Ok(summary(job, &made.totals, context, made.frames));
        }
        check_part(part, &made).with_context(|| format!("cannot stylize '{input}'"))?;
    }
    let finished = match (partial, container) {
        (Some(partial), Some(_)) if job.part.is_some() => commit(partial, None, &context.stop),
        (Some(partial), Some(container)) => {
            finish(partial, container, &made.layout, &supervisor, context.observer)
        }
        (Some(partial), None) => commit(partial, None, &context.stop),
        (None, _) => Ok(()),
    };
    finished.with_context(|| format!("cannot write '{output}'"))?;
    Ok(summary(job, &made.totals, context, made.frames))
}

/// The largest batch size that fits in memory, at most the requested one; adds a note if it is smaller.
fn batch_in_memory(
    wanted: usize,
    stream: &VideoStream,
    stylizer: &dyn Stylizer,
    observer: &mut dyn Observer,
) -> usize {
    let (width, height) = (stream.frame.width, stream.frame.height);
    let most = stylizer.max_batch(&stream.frame, stream.layout.bytes(width, height));
    match most.filter(|most| *most < wanted) {
        Some(most) => {
            observer.note(&format!(
                "not enough memory for batches of {wanted} frames of {width}×{height}: they are \
                 of {most}"
            ));
            most
        }
        None => wanted,
    }
}

/// The frame format that the output needs.
fn wanted(
    job: &VideoJob,
    target: &OutputKind,
    container: Option<Container>,
) -> Result<FrameFormat> {
    let codec = container.map(|container| job.encoding.codec_in(container)).transpose();
    let codec = codec.map_err(anyhow::Error::msg)?;
    Ok(match target {
        OutputKind::Pictures(_) => FrameFormat::Rgb,
        _ => frame_format(&job.encoding, codec),
    })
}

/// The frame format that a codec needs; none: raw video.
pub(super) fn frame_format(encoding: &Encoding, codec: Option<Codec>) -> FrameFormat {
    match codec {
        _ if encoding.even => FrameFormat::Even,
        Some(Codec::H264 | Codec::H265) => FrameFormat::Exact,
        Some(Codec::Vp9 | Codec::Av1) => FrameFormat::Subsampled,
        None => FrameFormat::Raw,
    }
}

/// Whether a part holds the frames that its plan says.
fn check_part(part: &PartJob, made: &FileOutcome) -> Result<()> {
    if (made.frames, made.times) != (part.frames, part.times) {
        let (frames, wanted) = (made.frames, part.frames);
        let why = match frames == wanted {
            true => "their times are others".to_owned(),
            false => format!("{frames} frames were read, {wanted} should be"),
        };
        bail!(
            "what was read is not what the plan says: {why}; this video cannot be painted in parts"
        );
    }
    Ok(())
}

/// Opens the tracks that are copied.
fn open_tracks(
    job: &VideoJob,
    source: &InputKind,
    target: &OutputKind,
    context: &mut RunContext,
) -> Tracks {
    if job.part.is_some() {
        return Tracks::default();
    }
    let Some(path) = sources::tracks_of(source) else { return Tracks::default() };
    if let Some(container) = Container::from_path(job.output) {
        return Tracks::open(path, job.span, container, job.audio, &context.stop);
    }
    if job.audio && Tracks::has_sound(path, &context.stop) {
        let holds = match target {
            OutputKind::Pictures(_) => "pictures have no sound",
            _ => "YUV4MPEG2 has no sound",
        };
        let input = job.input.display();
        context.observer.note(&format!("the sound of '{input}' is left out: {holds}"));
    }
    Tracks::default()
}

/// The error of a run that failed midway; it says where the frames painted so far are.
fn stopped_after(
    frames: u64,
    why: anyhow::Error,
    partial: Option<PartialFile>,
    job: &VideoJob,
) -> anyhow::Error {
    let kept = match (partial, OutputKind::of(job.output)) {
        (Some(partial), _) => match partial.keep() {
            Some(kept) => {
                let name = kept.display();
                // What was on its way is lost where the disk is full.
                match readable_frames(&kept) {
                    Some(count) if count >= frames => format!(" frames, which are in '{name}'"),
                    Some(0) => format!(" frames; none can be read of the unfinished '{name}'"),
                    Some(count) => format!(" frames, of which {count} are in '{name}'"),
                    None => format!(" frames; '{name}' holds what was written of them"),
                }
            }
            None => return why.context(format!("cannot write '{}'", job.output.display())),
        },
        (None, OutputKind::Pictures(_)) => " pictures, which are kept".to_owned(),
        (None, _) => " frames".to_owned(),
    };
    why.context(format!("stopped after {frames}{kept}"))
}

/// Input and output of a run.
struct RunIo<'a> {
    source: &'a VideoSource,
    /// GStreamer reads the input from a file; false if the program itself reads a pipe or pictures.
    is_file: bool,
    /// Reports of the reading thread, if the program reads the input itself.
    log: &'a SharedReport,
    partial: Option<&'a PartialFile>,
}

/// What a run made, complete or not.
struct FileOutcome {
    frames: u64,
    /// CRC-32 of their times, of a part.
    times: u32,
    layout: TrackLayout,
    totals: RunTotals,
    /// Why the run ended before the end of the input; none if it was stopped by the user.
    failure: Option<anyhow::Error>,
}

#[derive(Default)]
struct RunTotals {
    end: Duration,
    decode: Duration,
    encode: Duration,
    queue_full: u64,
}

/// Processes all frames.
///
/// # Errors
/// When nothing could be started; a later failure is in the [`FileOutcome`].
fn run_frames(
    job: &VideoJob,
    ends: &RunIo,
    (sink, mut taker): (Sink, Box<dyn FrameSink + '_>),
    mut stylizer: Box<dyn Stylizer>,
    supervisor: &Supervisor,
    context: &mut RunContext,
) -> Result<FileOutcome> {
    let RunContext { stop, stats, observer } = context;
    let (stop, stats, observer) = (&*stop, &*stats, &mut **observer);
    let (source, events) = (ends.source, supervisor.events());
    let stream = source.stream();
    sink.file().iter().flat_map(|sink| sink.notes()).for_each(|note| observer.note(note));

    // Each ring holds two batches and one frame: one batch is filled while the other is painted.
    let depth = 2 * job.batch.max(1) + 1;
    let (decoded_in, decoded_out) = bounded::<Frame>(depth);
    let (styled_in, styled_out) = bounded::<Frame>(depth);
    let pool = FramePool::new(3 * depth);
    let decoded = Queue { stats: decoded_in.stats(), closer: decoded_in.closer() };
    let styled = Queue { stats: styled_in.stats(), closer: styled_in.closer() };
    let batcher = Batcher::every_frame(decoded_out, job.batch);
    let early = Arc::new(EndedEarly::default());
    let mut network = NetworkWatch::new(stats, &stream.frame, job.batch);
    let written = WrittenFrames::of(job.part.as_ref());
    let total = stream.frames();

    let (watched, worked, fed) = thread::scope(|scope| {
        let feeder = supervisor.spawn(scope, RunThread::Feeder, || {
            feed(styled_out, taker.as_mut(), &sink.limits(), &early, &written, stats)
        });
        let (ends_early, until, counted) = (Arc::clone(&early), stop.clone(), Arc::clone(stats));
        let worker = supervisor.spawn_alone(RunThread::Worker, move || {
            // Dropped last (declared first): `end` is set before the feeder sees the end of the queue.
            let mut output = styled_in;
            let mut end = ends_early.end_guard();
            let result = worker::run(batcher, stylizer.as_mut(), &mut output, &until, &counted);
            end.whole = matches!(result, Ok(WorkerEnd::EndOfQueue));
            result
        });
        let started = source.start(decoded_in, pool, events).map_err(anyhow::Error::from);
        let started = started.and_then(|()| dump_dot(job.dump_dot, source, &sink));
        let watched = started.and_then(|()| {
            supervisor.supervise(FileStage {
                ends,
                sink: sink.file(),
                decoded: &decoded,
                styled: &styled,
                early: &early,
                written: &written,
                network: &mut network,
                stop,
                stats,
                observer: &mut *observer,
                total,
                end: SourceEnd::default(),
                source_silent: (0, WaitTimer::new()),
                encoder_silent: (0, 0, WaitTimer::new()),
            })
        });
        if watched.is_err() {
            // No more frames will be taken; unblock every thread.
            early.set();
            sink.file().into_iter().for_each(VideoSink::abandon);
            decoded.closer.close();
            styled.closer.close();
        }
        (watched, join_network(worker, &mut network), join(feeder, "encoder"))
    });

    let totals = RunTotals {
        end: written.end(),
        decode: source.busy().time(),
        encode: sink.busy().time(),
        queue_full: decoded.stats.full.load(Ordering::Relaxed),
    };
    let frames = written.frames();
    let mut failure = worked.map(drop).and(fed.and_then(|fed| fed)).err();
    match watched {
        Ok(end) => {
            failure = failure.or(source_failure(job, source, &written, end.failure, observer));
            if end.warnings > 0 {
                let of = total.map_or_else(String::new, |total| format!(" of about {total}"));
                observer.note(&format!(
                    "'{}' is damaged: {} errors while decoding, {frames}{of} frames were decoded",
                    job.input.display(),
                    end.warnings
                ));
            }
        }
        Err(error) => failure = Some(failure.unwrap_or(error)),
    }
    show_notes(ends.log, observer);
    let mut said = ends.log.lock();
    if said.damaged > 0 {
        let count = said.damaged;
        observer.note(&format!("{count} pictures of '{}' could not be read", job.input.display()));
    }
    // Ctrl-C also stopped the program that writes into our input pipe; its end is no failure.
    let cut_off = said.failure.take().filter(|_| !stop.is_set());
    failure = failure.or(cut_off.map(|why| anyhow!("'{}': {why}", job.input.display())));
    let layout = sink.file().map(VideoSink::layout).unwrap_or_default();
    Ok(FileOutcome { frames, times: written.times(), layout, totals, failure })
}

/// Counters and closer of a queue whose ends belong to other threads.
struct Queue {
    stats: Arc<QueueStats>,
    closer: QueueCloser,
}

impl Queue {
    fn pushed(&self) -> u64 {
        self.stats.pushed.load(Ordering::Relaxed)
    }
}

/// How the source ended.
#[derive(Default)]
struct SourceEnd {
    /// The error that ended it early.
    failure: Option<PipelineError>,
    /// Number of the decoder's warnings (recoverable errors).
    warnings: u64,
}

/// The main stage of a file run: it lasts until the muxer has finished.
struct FileStage<'a> {
    ends: &'a RunIo<'a>,
    sink: Option<&'a VideoSink>,
    decoded: &'a Queue,
    styled: &'a Queue,
    early: &'a EndedEarly,
    written: &'a WrittenFrames,
    network: &'a mut NetworkWatch,
    stop: &'a StopSignal,
    stats: &'a Stats,
    observer: &'a mut dyn Observer,
    total: Option<u64>,
    end: SourceEnd,
    /// Number of decoded frames at the last progress, and the time since.
    source_silent: (u64, WaitTimer),
    /// Numbers of frames and bytes written at the last progress, and the time since.
    encoder_silent: (u64, u64, WaitTimer),
}

impl Stage for FileStage<'_> {
    type End = Result<SourceEnd>;

    fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
        match event {
            Event::End(PipelineRole::Sink(_)) => {
                // A sink may end before the source (it has all it needs); no further frames are wanted.
                self.decoded.closer.close();
                return ControlFlow::Break(Ok(std::mem::take(&mut self.end)));
            }
            Event::Failed(PipelineRole::Sink(_), error) => {
                self.styled.closer.close();
                return ControlFlow::Break(Err(error.into()));
            }
            // Some decoders (av1dec, 1.22) fail when nothing more of a span is wanted.
            Event::Failed(PipelineRole::Source, error) if self.ends.source.is_complete() => {
                tracing::debug!("after the end of the span: {error}");
            }
            Event::Failed(PipelineRole::Source, error) => {
                // The demuxer reads far ahead of the decoder: frames before the failure still arrive, and
                // then usually the end of the stream.
                self.end.failure.get_or_insert(error);
                self.early.set();
                self.source_silent.1.renew();
            }
            Event::Failed(PipelineRole::Track(number), error) => {
                tracing::warn!("track {}: {error}", number + 1);
                self.sink.into_iter().for_each(|sink| sink.end_track(number));
            }
            Event::Warning(role, warning) => {
                self.end.warnings += u64::from(role == PipelineRole::Source);
                tracing::debug!("{}: {warning} ({:?})", warning.element, warning.debug);
            }
            // Without the feeder, nothing ends the encoder's stream.
            Event::ThreadEnded(RunThread::Feeder, ThreadEnd::Panicked) => {
                return ControlFlow::Break(Err(anyhow!("the encoder thread panicked")));
            }
            // The worker's end reaches the sink through the feeder.
            Event::ThreadEnded(..) | Event::End(_) | Event::StopRaised => {}
            Event::Failed(PipelineRole::Remux, _)
            | Event::SourceLost(_)
            | Event::SourceAbsent(_)
            | Event::SourceReturned(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn stop(&mut self) -> ControlFlow<Self::End> {
        self.early.set();
        self.decoded.closer.close();
        ControlFlow::Continue(())
    }

    fn stop_at_once(&mut self) -> Self::End {
        Err(stopped_at_once())
    }

    fn tick(&mut self) -> ControlFlow<Self::End> {
        self.give_up_hanging_network();
        self.give_up_silent_source();
        self.check_encoder().map_or(ControlFlow::Continue(()), |e| ControlFlow::Break(Err(e)))?;
        show_notes(self.ends.log, self.observer);
        if !self.stop.is_set() {
            self.observer.progress(&Progress { stats: self.stats, total: self.total });
        }
        ControlFlow::Continue(())
    }
}

impl FileStage<'_> {
    /// Ends the stream behind a network that hangs; what it has painted is written. Joining its thread gives the error.
    fn give_up_hanging_network(&mut self) {
        if !self.styled.closer.is_closed() && self.network.hangs().is_some() {
            self.early.set();
            self.decoded.closer.close();
            self.styled.closer.close();
        }
    }

    /// Ends a source that delivers no more frames. After a failure, frames before it may still arrive; and a
    /// demuxer may stop without posting an error (see `Pipeline::wait`).
    fn give_up_silent_source(&mut self) {
        let decoded = self.decoded.pushed();
        // Decoded frames that are not painted yet, other than part of a batch that waits for the rest.
        let unpainted = decoded > self.stats.frames() && !self.stats.is_idle();
        let source = self.ends.source;
        let limit = match &self.end.failure {
            Some(_) => Some(FRAME_AFTER_FAILURE),
            None if source.reading_ended() => Some(FRAME_AFTER_READING),
            // There is no limit for a pipe: its writer may take any time.
            None => self.ends.is_file.then_some(FRAME_OF_A_FILE),
        };
        let (seen, patience) = &mut self.source_silent;
        let came = std::mem::replace(seen, decoded) != decoded;
        match limit {
            Some(limit) if !came && !unpainted && !self.decoded.closer.is_closed() => {
                if patience.is_over(limit) {
                    let text = "it is damaged: no more could be read";
                    self.end.failure.get_or_insert_with(|| PipelineError::new("demuxer", text));
                    self.early.set();
                    self.decoded.closer.close();
                }
            }
            _ => patience.renew(),
        }
    }

    /// The error of an encoder that has frames, or all of them, and has written nothing for too long.
    fn check_encoder(&mut self) -> Option<anyhow::Error> {
        // There is no limit for a pipe: its reader may take any time.
        let path = self.ends.partial.filter(|_| self.sink.is_some())?.path();
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        let frames = self.written.frames();
        let waits = self.styled.pushed() > frames || self.styled.closer.is_closed();
        let (seen_frames, seen_bytes, patience) = &mut self.encoder_silent;
        if !waits || (*seen_frames, *seen_bytes) != (frames, bytes) {
            (*seen_frames, *seen_bytes) = (frames, bytes);
            patience.renew();
        }
        patience
            .is_over(ENCODER_STALLED)
            .then(|| anyhow!("the encoder has written nothing for {} s", ENCODER_STALLED.as_secs()))
    }
}

/// The error that ended the source early. For a truncated file it is a note instead.
fn source_failure(
    job: &VideoJob,
    source: &VideoSource,
    out: &WrittenFrames,
    failure: Option<PipelineError>,
    observer: &mut dyn Observer,
) -> Option<anyhow::Error> {
    let whole = source.stream().duration.filter(|whole| *whole > out.end());
    // The requested span may be complete even if the file is truncated behind it.
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

fn dump_dot(folder: Option<&Path>, source: &VideoSource, sink: &Sink) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let sink = sink.file().map(|sink| ("sink.dot", sink.dot()));
    for (name, dot) in [("source.dot", source.dot())].into_iter().chain(sink) {
        let path = folder.join(name);
        std::fs::write(&path, dot).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    Ok(())
}

fn summary(job: &VideoJob, totals: &RunTotals, context: &RunContext, frames: u64) -> Summary {
    let stats = &context.stats;
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
        interrupted: context.stop.is_interrupted(),
        ..Summary::default()
    }
}
