//! A live source → any number of live outputs, with bounded delay.
//!
//! The newest frame wins: a thread drains the ring all the time (`queue::LatestConsumer`), so the network
//! always takes the latest frame, however long the previous step took. Behind the network nothing blocks
//! either: each output drops the frames that it cannot take.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::adapt::Adapter;
use super::live_controls::LiveControls;
use super::live_job::LiveJob;
use super::live_monitor::{LiveMonitor, LiveRequest};
use super::live_settings::{Adjustable, CrossFade, Faded, LiveSettings, SharedSettings};
use super::model_fallback::SourceRate;
use super::no_signal::NoSignal;
use super::outputs::Outputs;
use super::regions::RegionSettings;
use super::snapshot::Snapshots;
use super::supervisor::{NetworkWatch, Stage, Supervisor, join, join_network, stopped_at_once};
use super::{LiveStatus, RunContext};
use crate::core::batch::Batcher;
use crate::core::endpoint::OutputSpec;
use crate::core::frame::{Frame, FramePool};
use crate::core::queue::{Consumer, LatestConsumer, Popped, bounded};
use crate::core::regions::Mask;
use crate::core::stats::{Delays, Stats, Summary};
use crate::core::stylizer::{StylizeError, Stylizer};
use crate::core::worker;
use crate::engine::blend::LiveBlend;
use crate::engine::stylizer::StyleMix;
use crate::media::clock::LiveClock;
use crate::media::live::LiveSource;
use crate::media::video::VideoStream;
use crate::media::{Buffer, Event, PipelineError, PipelineRole, RunThread};
use crate::steady::Steady;

/// Interval of status lines.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Stylizes a live source until it ends, the stop signal is set, or no output is left.
///
/// `models` opens the models; it is called once, with the size and rate of the source.
///
/// # Errors
/// When the source or an output cannot be opened, or the source or all outputs fail; files are finished first. Where
/// some outputs fail, the summary names them.
pub fn stylize_live<S: Adjustable + 'static>(
    job: &LiveJob,
    models: impl FnOnce(SourceRate, &mut RunContext) -> Result<Vec<S>>,
    controls: &LiveControls,
    context: &mut RunContext,
) -> Result<Summary> {
    let LiveControls { wanted, snapshot, monitor, models: arriving, webrtc } = controls;
    let webrtc = webrtc.as_ref();
    let clock = LiveClock::start()?;
    let stop = context.stop.clone();
    let source = match LiveSource::open(&job.input, job.options, &clock, webrtc, &stop) {
        // An error after the stop signal was set is a consequence of it, not a failure.
        Err(_) if stop.is_set() => return Ok(nothing_made(job, context)),
        opened => opened.with_context(|| format!("cannot open '{}'", job.input))?,
    };
    for note in source.notes() {
        context.observer.note(&format!("'{}': {note}", job.input));
    }
    let stream = source.stream().clone();
    monitor.began(job.input.to_string(), &stream);
    let (width, height) = (stream.frame.width, stream.frame.height);
    let models = models(SourceRate { width, height, interval: interval_of(&stream) }, context)?;
    if stop.is_set() {
        return Ok(nothing_made(job, context));
    }
    let delays = Arc::new(Delays::default());
    let on_delay = delay_report(&delays, monitor, &clock);
    let supervisor = Supervisor::new(&stop);
    let outputs = match Outputs::open(job, &source, &clock, &supervisor, &on_delay) {
        Err(_) if stop.is_set() => return Ok(nothing_made(job, context)),
        opened => opened?,
    };
    outputs.notes().iter().for_each(|note| context.observer.note(note));
    if let Some(webrtc) = webrtc {
        webrtc.begin(&stream, &clock, source.audio());
    }

    let (captured_in, captured_out) = bounded::<Frame>(4);
    let (styled_in, styled_out) = bounded::<Frame>(2);
    let queue = captured_in.stats();
    let (close_captured, close_styled) = (captured_in.closer(), styled_in.closer());
    let batcher =
        Batcher::newest(LatestConsumer::of(captured_out).context("cannot start a thread")?);
    monitor.set_styles(models.iter().map(Adjustable::own_shares).collect());
    let mut network = NetworkWatch::new(&context.stats, &stream.frame, models.len());
    let looks = CrossFade::new(models, wanted.clone()).with_arriving(arriving.clone());
    let mut stylizer = Adapting {
        looks: LiveSteady {
            steady: Steady::new(looks, 0.0, None),
            wanted: wanted.clone(),
            mask: job.mask.clone(),
            last: None,
        },
        wanted: wanted.clone(),
        adapter: job.adapt.then(|| Adapter::new(wanted.get().scale)),
        interval: interval_of(&stream),
        monitor: monitor.clone(),
        clock: clock.clone(),
    };
    let snapshots = Snapshots::start(snapshot, &stream, &stop).context("cannot start a thread")?;
    let no_signal = NoSignal::of(
        &source,
        job.input.to_string(),
        job.options.loss.on_loss,
        interval_of(&stream),
        &clock,
    );
    let sent = AtomicU64::new(0);
    let stats = Arc::clone(&context.stats);

    let (ended, worked, fed) = thread::scope(|scope| {
        let feeder = supervisor.spawn(scope, RunThread::Feeder, || {
            let shows = |picture: &Buffer, pts: Duration, filled: bool| {
                let age = clock.now().saturating_sub(pts);
                monitor.outputs_get(picture, pts, age, filled);
                if let Some(webrtc) = webrtc {
                    webrtc.push(picture);
                }
                // With the page alone, that is all the delay there is.
                if job.outputs.is_empty() && !filled {
                    on_delay(age);
                }
            };
            feed(styled_out, &outputs, &snapshots, no_signal, &stats, &sent, &shows);
        });
        let (until, counted) = (stop.clone(), Arc::clone(&stats));
        let worker = supervisor.spawn_alone(RunThread::Worker, move || {
            let mut output = styled_in;
            worker::run(batcher, &mut stylizer, &mut output, &until, &counted)
        });
        source.start(captured_in, FramePool::new(12), supervisor.events());
        let ended = supervisor.supervise(LiveStage {
            shown: Instant::now(),
            outputs: &outputs,
            job,
            monitor,
            network: &mut network,
            painted: Faded::of(&wanted.get()),
            wanted,
            show: &mut |shown| match shown {
                Shown::Note(text) => context.observer.note(&text),
                Shown::Status => context.observer.live(&LiveStatus {
                    captured: source.signal().frames(),
                    sent: sent.load(Ordering::Relaxed),
                    // With the page alone, what is handed to it.
                    delivered: match job.outputs.is_empty() {
                        true => sent.load(Ordering::Relaxed),
                        false => outputs.delivered(),
                    },
                    dropped: queue.dropped.load(Ordering::Relaxed),
                    waiting: {
                        let gone = queue.dropped.load(Ordering::Relaxed) + monitor.painted();
                        queue.pushed.load(Ordering::Relaxed).saturating_sub(gone)
                    },
                    dropped_by_outputs: outputs.dropped(),
                    delay: delays.percentile(0.5).zip(delays.percentile(0.99)),
                    clients: outputs.clients(),
                    outputs: outputs.status(),
                    recording: outputs.recording(),
                    losses: source.signal().losses(),
                    settings: wanted.get(),
                    painting: wanted.get().painting(&monitor.models()),
                }),
            },
        });
        context.observer.stopping();
        close_captured.close();
        // The worker ends after its current step; frames that it still passes on are written.
        let worked = join_network(worker, &mut network);
        close_styled.close();
        (ended, worked, join(feeder, "output"))
    });

    let dumped = job.dump_dot.as_deref().map(|folder| dump_dot(folder, &source, &outputs));
    let losses = source.signal().losses();
    drop(source);
    let (dropped_by_outputs, failed_outputs) = (outputs.dropped(), outputs.failures());
    let finished = outputs.finish(&supervisor, context.observer);
    // Waits until the last snapshot is saved.
    drop(snapshots);
    worked.context("cannot stylize")?;
    fed?;
    finished?;
    match ended {
        LiveEnd::Ended => {}
        LiveEnd::AtOnce => return Err(stopped_at_once()),
        LiveEnd::Failed(role, error) => {
            return Err(anyhow::Error::from(error).context(job.failure_context(role)));
        }
    }
    dumped.transpose()?;
    let wall = stats.elapsed().as_secs_f64();
    let frames = sent.load(Ordering::Relaxed);
    Ok(Summary {
        frames,
        fps: frames as f64 / wall,
        network_s: stats.network().as_secs_f64(),
        first_frame_s: stats.first_out().map(|t| t.as_secs_f64()),
        dropped: queue.dropped.load(Ordering::Relaxed),
        dropped_by_outputs,
        failed_outputs,
        losses: losses.count,
        lost_s: losses.total.as_secs_f64(),
        queue_full: queue.full.load(Ordering::Relaxed),
        scale: Some(wanted.get().scale),
        steady: Some(wanted.get().steady),
        delay_p50_s: delays.percentile(0.5).map(|d| d.as_secs_f64()),
        delay_p99_s: delays.percentile(0.99).map(|d| d.as_secs_f64()),
        ..nothing_made(job, context)
    })
}

fn names(outputs: &[OutputSpec]) -> String {
    let names: Vec<_> = outputs.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The summary of a run that the user ended before the first frame was written.
fn nothing_made(job: &LiveJob, context: &RunContext) -> Summary {
    Summary {
        input: job.input.to_string(),
        output: if job.outputs.is_empty() { "the page".to_owned() } else { names(&job.outputs) },
        wall_s: context.stats.elapsed().as_secs_f64(),
        interrupted: context.stop.is_interrupted(),
        ..Summary::default()
    }
}

/// The time between two frames; 1/30 s where the source does not say.
fn interval_of(stream: &VideoStream) -> Duration {
    let (n, d) = stream.framerate.unwrap_or((30, 1));
    Duration::from_secs_f64(f64::from(d) / f64::from(n.max(1)))
}

/// A [`CrossFade`], held steady, whose scale is adapted to what each step takes.
struct Adapting<S> {
    looks: LiveSteady<S>,
    wanted: SharedSettings,
    adapter: Option<Adapter>,
    /// Between two frames of the source.
    interval: Duration,
    monitor: LiveMonitor,
    clock: LiveClock,
}

impl<S: Adjustable> Stylizer for Adapting<S> {
    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        self.looks.warm_up(like)?;
        if let Some(of) = self.monitor.take_sample() {
            let samples = self.looks.steady.inner().samples(&of);
            self.monitor.set_samples(samples);
        }
        Ok(())
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        for frame in batch.iter() {
            let age = self.clock.now().saturating_sub(frame.pts.unwrap_or_default());
            self.monitor.network_takes(frame, age);
        }
        let since = Instant::now();
        let fading = self.looks.steady.inner().fading();
        self.looks.stylize(batch)?;
        self.monitor.network_took(since.elapsed());
        // During a cross-fade, both looks are painted, so the time says nothing about either.
        if let Some(adapter) = self.adapter.as_mut().filter(|_| !fading)
            && let Some(scale) = adapter.step(since.elapsed(), self.interval, Instant::now())
        {
            self.wanted.change(|settings: &mut LiveSettings| settings.scale = scale);
        }
        Ok(())
    }
}

/// Holds what is painted as steady as the settings say; after a change of strength, colours or regions, and during a
/// cross-fade, all is painted anew.
struct LiveSteady<S> {
    steady: Steady<CrossFade<S>>,
    wanted: SharedSettings,
    mask: Option<Mask>,
    /// Of the frame before.
    last: Option<(StyleMix, Option<LiveBlend>, RegionSettings)>,
}

impl<S: Adjustable> Stylizer for LiveSteady<S> {
    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        self.steady.warm_up(like)
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        let settings = self.wanted.get();
        let changes = self.steady.inner().changes(settings);
        self.steady.set_steadiness(if changes { 0.0 } else { settings.steady });
        let now = Some((settings.mix, settings.blend, settings.regions));
        if now != self.last {
            self.steady.forget();
            let models = self.last.map(|(.., regions)| regions.models());
            if let Some(mask) =
                self.mask.as_ref().filter(|_| models != Some(settings.regions.models()))
            {
                self.steady.set_unpainted(settings.regions.unpainted(mask));
            }
            self.last = now;
        }
        self.steady.stylize(batch)
    }
}

/// Adds the delays of outputs to `delays` and to what the monitor shows.
fn delay_report(
    delays: &Arc<Delays>,
    monitor: &LiveMonitor,
    clock: &LiveClock,
) -> Arc<dyn Fn(Duration) + Send + Sync> {
    let (delays, monitor, clock) = (Arc::clone(delays), monitor.clone(), clock.clone());
    Arc::new(move |delay| {
        delays.add(delay);
        monitor.output_ready(delay, clock.now());
    })
}

/// Hands every stylized frame to all outputs, and pictures of `no_signal` while the source delivers none. `shows` is
/// called with each, its time, and whether it is one of the latter.
fn feed(
    mut frames: Consumer<Frame>,
    outputs: &Outputs,
    snapshots: &Snapshots,
    mut no_signal: NoSignal,
    stats: &Stats,
    sent: &AtomicU64,
    shows: &dyn Fn(&Buffer, Duration, bool),
) {
    loop {
        let (buffer, pts, filled) = match frames.pop_within(no_signal.wait()) {
            Popped::Closed => break,
            Popped::Nothing => match no_signal.next() {
                Some((picture, pts)) => (picture, pts, true),
                None => continue,
            },
            Popped::Item(frame) => {
                let pts = frame.pts.unwrap_or_default();
                let Ok(buffer) = crate::media::video::buffer_from_frame(frame) else { continue };
                if !no_signal.passes(&buffer, pts) {
                    continue;
                }
                (buffer, pts, false)
            }
        };
        shows(&buffer, pts, filled);
        snapshots.offer(&buffer);
        outputs.push(&buffer, pts);
        stats.first_frame_out();
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the main stage shows.
enum Shown {
    Status,
    Note(String),
}

/// The main stage of a live run: frames are processed until something ends it.
struct LiveStage<'a> {
    /// When the status was last shown.
    shown: Instant,
    outputs: &'a Outputs,
    job: &'a LiveJob,
    monitor: &'a LiveMonitor,
    network: &'a mut NetworkWatch,
    wanted: &'a SharedSettings,
    /// On these it depends how long a pass takes.
    painted: Faded,
    show: &'a mut dyn FnMut(Shown),
}

impl LiveStage<'_> {
    /// Tells the user something about the source.
    fn note(&mut self, text: String) -> ControlFlow<LiveEnd> {
        (self.show)(Shown::Note(format!("'{}' {text}", self.job.input)));
        ControlFlow::Continue(())
    }
}

/// Why the main stage of a live run ended.
enum LiveEnd {
    /// The source ended, the user stopped the run, or a thread ended (joining it tells why).
    Ended,
    /// The user stopped the run at once (level two).
    AtOnce,
    /// The source or the last output failed.
    Failed(PipelineRole, PipelineError),
}

impl LiveStage<'_> {
    /// Begins or finishes a recording, as it was asked from outside.
    fn carry_out(&mut self, request: LiveRequest) {
        match request {
            LiveRequest::StartRecording(answer) => {
                let begun = self.outputs.start_recording(self.job);
                if let Ok(name) = &begun {
                    (self.show)(Shown::Note(format!("recording to '{name}'")));
                }
                answer(begun.map_err(|error| format!("{error:#}")));
            }
            LiveRequest::StopRecording(answer) => {
                answer(self.outputs.stop_recording().map_err(|error| format!("{error:#}")));
            }
        }
        (self.show)(Shown::Status);
    }

    /// Lets the others go on, or ends the run if there are none.
    fn output_failed(&mut self, number: usize, error: PipelineError) -> ControlFlow<LiveEnd> {
        match self.outputs.fail(number, error) {
            Ok(note) => {
                note.into_iter().for_each(|note| (self.show)(Shown::Note(note)));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(LiveEnd::Failed(PipelineRole::Sink(number), error)),
        }
    }

    /// Ends the run if the network hangs, and an output that does; a picture that stands must not look like a live one.
    fn watch(&mut self) -> ControlFlow<LiveEnd> {
        let now = Faded::of(&self.wanted.get());
        if std::mem::replace(&mut self.painted, now) != now {
            self.network.forget();
        }
        if self.network.hangs().is_some() {
            // Joining the thread gives the error.
            return ControlFlow::Break(LiveEnd::Ended);
        }
        for (number, error) in self.outputs.hanging() {
            self.output_failed(number, error)?;
        }
        ControlFlow::Continue(())
    }
}

impl Stage for LiveStage<'_> {
    type End = LiveEnd;

    fn handle(&mut self, event: Event) -> ControlFlow<LiveEnd> {
        match event {
            Event::End(PipelineRole::Source) | Event::ThreadEnded(..) => {
                ControlFlow::Break(LiveEnd::Ended)
            }
            // Closing the window is a normal way to quit.
            Event::Failed(PipelineRole::Sink(_), error)
                if error.error.contains("window was closed") =>
            {
                ControlFlow::Break(LiveEnd::Ended)
            }
            Event::Failed(PipelineRole::Sink(number), error) => self.output_failed(number, error),
            // rtspclientsink (1.22) then connects again by itself, and sends nothing.
            Event::Warning(PipelineRole::Sink(number), warning)
                if warning.error.contains("server closed the connection") =>
            {
                self.output_failed(number, warning)
            }
            Event::Failed(role, error) => ControlFlow::Break(LiveEnd::Failed(role, error)),
            Event::Warning(_, warning) => {
                tracing::debug!("{}: {warning} ({:?})", warning.element, warning.debug);
                ControlFlow::Continue(())
            }
            Event::SourceLost(why) => self.note(format!("is lost: {why}; opening it again")),
            Event::SourceAbsent(why) => self.note(format!("cannot be opened yet: {why}")),
            Event::SourceReturned(after) => {
                self.note(format!("is back after {:.1} s", after.as_secs_f64()))
            }
            Event::End(PipelineRole::Sink(number)) => {
                self.outputs.ended(number);
                ControlFlow::Continue(())
            }
            Event::End(_) | Event::StopRaised => ControlFlow::Continue(()),
        }
    }

    fn stop(&mut self) -> ControlFlow<LiveEnd> {
        ControlFlow::Break(LiveEnd::Ended)
    }

    fn stop_at_once(&mut self) -> LiveEnd {
        LiveEnd::AtOnce
    }

    fn tick(&mut self) -> ControlFlow<LiveEnd> {
        self.monitor.requests().into_iter().for_each(|request| self.carry_out(request));
        self.outputs
            .finish_recordings()
            .into_iter()
            .for_each(|note| (self.show)(Shown::Note(note)));
        if self.shown.elapsed() >= STATUS_EVERY {
            self.shown = Instant::now();
            (self.show)(Shown::Status);
        }
        self.watch()?;
        self.outputs.reopen().into_iter().for_each(|note| (self.show)(Shown::Note(note)));
        ControlFlow::Continue(())
    }
}

/// Writes what ran as Graphviz graphs: source.dot, output-1.dot and so on.
fn dump_dot(folder: &Path, source: &LiveSource, outputs: &Outputs) -> Result<()> {
    let write = |name: String, dot: String| {
        let path = folder.join(name);
        std::fs::write(&path, dot).with_context(|| format!("cannot write '{}'", path.display()))
    };
    if let Some(dot) = source.dot() {
        write("source.dot".to_owned(), dot)?;
    }
    let mut dots = outputs.graphs().into_iter();
    dots.try_for_each(|(number, dot)| write(format!("output-{}.dot", number + 1), dot))
}
