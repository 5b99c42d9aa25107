//! A live source → any number of live outputs, with bounded delay.
//!
//! The newest frame wins: a thread drains the ring all the time (`queue::Newest`), so what the
//! network takes is never older than the frame that came last, whatever a step takes. After the
//! network nothing waits either: each output drops what it cannot take.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::adapt::Adapter;
use super::look::{Adjustable, Look, Looks, Wanted};
use super::outputs::Outputs;
use super::pace::Pace;
use super::{LiveStatus, Observer};
use crate::batch::Batcher;
use crate::encoding::Encoding;
use crate::endpoint::{Input, Output};
use crate::frame::{Frame, FramePool};
use crate::media::clock::LiveClock;
use crate::media::live::{LiveOptions, LiveSource};
use crate::media::video::VideoStream;
use crate::media::{Event, PipelineError, Role};
use crate::queue::{Consumer, Newest, bounded};
use crate::stats::{Delays, Stats, Summary};
use crate::stylizer::{StylizeError, Stylizer};
use crate::worker;

/// How a live run is to go.
#[derive(Debug, Clone)]
pub struct LiveJob {
    /// Where frames come from.
    pub input: Input,
    /// Where they go; one at least.
    pub outputs: Vec<Output>,
    /// How the source is opened.
    pub options: LiveOptions,
    /// Lower the scale when the network cannot keep up, raise it when it can.
    pub adapt: bool,
    /// Replace existing files.
    pub overwrite: bool,
    /// How files are encoded.
    pub encoding: Encoding,
    /// Folder for pipeline graphs.
    pub dump_dot: Option<PathBuf>,
}

/// What the user asks for while it runs (the look is changed through [`Wanted`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Save the next stylized frame as a picture.
    Snapshot,
    /// End.
    Quit,
    /// End, as Ctrl-C does.
    Interrupt,
}

/// Between two status lines.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How long a file may take to be finished at the end.
const FINISH: Duration = Duration::from_secs(60);

/// Stylizes a live source until it ends, `stop` is set or the user quits.
///
/// `models` says what paints, when it is known what the source gives.
///
/// # Errors
/// When the source or an output cannot be opened or fails; files are finished first.
pub fn stylize_live<S: Adjustable>(
    job: &LiveJob,
    models: impl FnOnce(Pace, &mut dyn Observer) -> Result<Vec<S>>,
    wanted: &Wanted,
    commands: &Receiver<Command>,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let clock = LiveClock::start()?;
    let given_up = AtomicBool::new(false);
    let gives_up = || {
        match commands.try_recv() {
            Ok(Command::Quit) => given_up.store(true, Ordering::Release),
            Ok(Command::Interrupt) => stop.store(true, Ordering::Release),
            Ok(Command::Snapshot) | Err(_) => {}
        }
        given_up.load(Ordering::Acquire) || stop.load(Ordering::Acquire)
    };
    let source = match LiveSource::open(&job.input, job.options, &clock, &gives_up) {
        // It may have failed since it was asked to end: that is no failure.
        Err(_) if gives_up() => return Ok(nothing_made(job, stop, stats)),
        opened => opened.with_context(|| format!("cannot open '{}'", job.input))?,
    };
    source.notes().iter().for_each(|note| observer.note(&format!("'{}': {note}", job.input)));
    let stream = source.stream().clone();
    let (width, height) = (stream.frame.width, stream.frame.height);
    let models = models(Pace { width, height, interval: interval_of(&stream) }, observer)?;
    let delays = Arc::new(Delays::default());
    let (events, said) = channel();
    let outputs = Outputs::open(job, &source, &clock, &events, &delays)?;
    outputs.notes().iter().for_each(|note| observer.note(note));

    let (captured_in, captured_out) = bounded::<Frame>(4);
    let (styled_in, styled_out) = bounded::<Frame>(2);
    let queue = captured_in.stats();
    let (close_captured, close_styled) = (captured_in.closer(), styled_in.closer());
    let batcher = Batcher::newest(Newest::of(captured_out).context("cannot start a thread")?);
    let interval = Arc::new(AtomicU64::new(nanos(interval_of(&stream))));
    let mut stylizer = Adapting {
        looks: Looks::new(models, wanted.clone()),
        wanted: wanted.clone(),
        adapter: job.adapt.then(|| Adapter::new(wanted.get().scale)),
        interval: Arc::clone(&interval),
    };
    let snapshot = Snapshot::default();
    let sent = AtomicU64::new(0);

    let (ended, worked) = thread::scope(|scope| {
        let feeder = thread::Builder::new().name("outputs".into()).spawn_scoped(scope, || {
            feed(styled_out, &outputs, &snapshot, &stream, stats, &sent);
        });
        let worker = thread::Builder::new().name("network".into()).spawn_scoped(scope, || {
            let mut output = styled_in;
            worker::run(batcher, &mut stylizer, &mut output, stop, stats)
        });
        source.start(captured_in, FramePool::new(12), events.clone());
        let ended = watch(&said, commands, stop, &snapshot, &mut || {
            observer.live(&LiveStatus {
                captured: source.captured(),
                sent: sent.load(Ordering::Relaxed),
                dropped: queue.dropped.load(Ordering::Relaxed),
                dropped_by_outputs: outputs.dropped(),
                delay: delays.percentile(0.5).zip(delays.percentile(0.99)),
                clients: outputs.clients(),
                look: wanted.get(),
            });
        });
        close_captured.close();
        // The worker ends after its step; what it still hands over goes out.
        let worked = worker.map(|w| w.join());
        close_styled.close();
        let _ = feeder.map(|f| f.join());
        (ended, worked)
    });

    let dumped = job.dump_dot.as_deref().map(|folder| dump_dot(folder, &source, &outputs));
    drop(source);
    let failed = match &ended {
        Some((Role::Sink(number), _)) => Some(*number),
        _ => None,
    };
    let dropped_by_outputs = outputs.dropped();
    let finished = outputs.finish(&said, failed, FINISH);
    let interrupted = stop.load(Ordering::Acquire);
    let frames = sent.load(Ordering::Relaxed);
    match worked.context("cannot start a thread")? {
        Ok(result) => result.map(drop).context("cannot stylize")?,
        Err(_) => bail!("the network thread broke down"),
    }
    for note in finished? {
        observer.note(&note);
    }
    if let Some((role, error)) = ended {
        let what = match role {
            Role::Source | Role::Track(_) => format!("'{}' failed", job.input),
            Role::Sink(number) => match job.outputs.get(number) {
                Some(output) => format!("'{output}' failed"),
                None => "an output failed".to_owned(),
            },
        };
        return Err(anyhow::Error::from(error).context(what));
    }
    dumped.transpose()?;
    let wall = stats.elapsed().as_secs_f64();
    Ok(Summary {
        input: job.input.to_string(),
        output: names(&job.outputs),
        frames,
        fps: frames as f64 / wall,
        wall_s: wall,
        network_s: stats.network().as_secs_f64(),
        first_frame_s: stats.first_out().map(|t| t.as_secs_f64()),
        dropped: queue.dropped.load(Ordering::Relaxed),
        dropped_by_outputs,
        queue_full: queue.full.load(Ordering::Relaxed),
        interrupted,
        scale: Some(wanted.get().scale),
        delay_p50_s: delays.percentile(0.5).map(|d| d.as_secs_f64()),
        delay_p99_s: delays.percentile(0.99).map(|d| d.as_secs_f64()),
        ..Summary::default()
    })
}

fn names(outputs: &[Output]) -> String {
    let names: Vec<_> = outputs.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The user ended it before the source's first picture.
fn nothing_made(job: &LiveJob, stop: &AtomicBool, stats: &Stats) -> Summary {
    Summary {
        input: job.input.to_string(),
        output: names(&job.outputs),
        wall_s: stats.elapsed().as_secs_f64(),
        interrupted: stop.load(Ordering::Acquire),
        ..Summary::default()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The time between two frames; 1/30 s where the source does not say.
fn interval_of(stream: &VideoStream) -> Duration {
    let (n, d) = stream.framerate.unwrap_or((30, 1));
    Duration::from_secs_f64(f64::from(d) / f64::from(n.max(1)))
}

/// Looks, with the scale adapted to what each step takes.
struct Adapting<S> {
    looks: Looks<S>,
    wanted: Wanted,
    adapter: Option<Adapter>,
    interval: Arc<AtomicU64>,
}

impl<S: Adjustable> Stylizer for Adapting<S> {
    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        self.looks.warm_up(like)
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        let since = Instant::now();
        let fading = self.looks.fading();
        self.looks.stylize(batch)?;
        let interval = Duration::from_nanos(self.interval.load(Ordering::Relaxed));
        // While two looks are painted a step says nothing about either.
        if let Some(adapter) = self.adapter.as_mut().filter(|_| !fading)
            && let Some(scale) = adapter.step(since.elapsed(), interval, Instant::now())
        {
            self.wanted.change(|look: &mut Look| look.scale = scale);
        }
        Ok(())
    }
}

/// Asked for by a key, made by the feeder from the next frame.
#[derive(Default)]
pub(super) struct Snapshot(Mutex<bool>);

impl Snapshot {
    fn ask(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn take(&self) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn feed(
    mut frames: Consumer<Frame>,
    outputs: &Outputs,
    snapshot: &Snapshot,
    stream: &VideoStream,
    stats: &Stats,
    sent: &AtomicU64,
) {
    while let Some(frame) = frames.pop() {
        let pts = frame.pts.unwrap_or_default();
        let Ok(buffer) = crate::media::video::buffer_from_frame(frame) else { continue };
        if snapshot.take() {
            super::recording::save_snapshot(&buffer, stream);
        }
        outputs.push(&buffer, pts);
        stats.first_frame_out();
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for the end; the failure that brought it, if it was one.
fn watch(
    said: &Receiver<Event>,
    commands: &Receiver<Command>,
    stop: &AtomicBool,
    snapshot: &Snapshot,
    tick: &mut dyn FnMut(),
) -> Option<(Role, PipelineError)> {
    let mut shown = Instant::now();
    loop {
        if stop.load(Ordering::Acquire) {
            return None;
        }
        match commands.try_recv() {
            Ok(Command::Quit) => return None,
            Ok(Command::Interrupt) => stop.store(true, Ordering::Release),
            Ok(Command::Snapshot) => snapshot.ask(),
            Err(_) => {}
        }
        match said.recv_timeout(Duration::from_millis(20)) {
            Ok(Event::End(Role::Source)) => return None,
            // The window was closed: that is how one quits.
            Ok(Event::Failed(Role::Sink(_), error))
                if error.error.contains("window was closed") =>
            {
                return None;
            }
            Ok(Event::Failed(role, error)) => return Some((role, error)),
            Ok(Event::Warning(_, warning)) => {
                tracing::debug!("{}: {warning} ({:?})", warning.element, warning.debug);
            }
            Ok(Event::End(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if shown.elapsed() >= STATUS_EVERY {
            shown = Instant::now();
            tick();
        }
    }
}

/// Writes what ran as Graphviz graphs: source.dot, output-1.dot and so on.
fn dump_dot(folder: &Path, source: &LiveSource, outputs: &Outputs) -> Result<()> {
    let write = |name: String, dot: String| {
        let path = folder.join(name);
        std::fs::write(&path, dot).with_context(|| format!("cannot write '{}'", path.display()))
    };
    write("source.dot".to_owned(), source.dot())?;
    let mut dots = outputs.dots().into_iter();
    dots.try_for_each(|(number, dot)| write(format!("output-{}.dot", number + 1), dot))
}

/// For outputs that are told of events.
pub(super) type Events = Sender<Event>;
