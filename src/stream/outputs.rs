//! The outputs of a live run. Each lives alone: where one fails, the others go on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::closing_outputs::ClosingOutputs;
use super::live_job::LiveJob;
use super::output_end::OutputEnd;
use super::output_opener::OutputOpener;
use super::output_status::{OutputState, OutputStatus, RecordingStatus};
use super::pieces::Pieces;
use super::recording::Recording;
use super::supervisor::Supervisor;
use super::{Observer, Progress};
use crate::core::backoff::Backoff;
use crate::core::encoding::Container;
use crate::core::endpoint::OutputSpec;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{CLOSE_OUTPUT, FINISH_LIVE_FILE, GOOD_CONNECTION, WaitTimer};
use crate::core::watchdog::{Heartbeat, Watchdog};
use crate::media::clock::LiveClock;
use crate::media::hls_sink::HlsSink;
use crate::media::live::LiveSource;
use crate::media::live_sink::LiveSink;
use crate::media::rtsp_server::RtspServer;
use crate::media::stream_sink::StreamSink;
use crate::media::{Buffer, PipelineError};

/// All outputs of a live run; a frame goes to each of them.
pub struct Outputs {
    /// Those of the job, then recordings that were begun meanwhile; their places are their numbers.
    slots: RwLock<Vec<Arc<OutputSlot>>>,
    opener: OutputOpener,
    stop: StopSignal,
    notes: Vec<String>,
}

/// An opened output.
pub(super) enum Sink {
    Shown(LiveSink),
    Served(Arc<RtspServer>),
    File(Box<Recording>),
    Pieces(Box<Pieces>),
    Stream(StreamSink),
    Hls(HlsSink),
}

impl Sink {
    /// Whether the connection to another machine has been one: it has taken frames.
    fn has_delivered(&self) -> bool {
        match self {
            Sink::Stream(stream) => stream.has_delivered(),
            Sink::Shown(_) | Sink::Served(_) | Sink::File(_) | Sink::Pieces(_) | Sink::Hls(_) => {
                false
            }
        }
    }

    /// Whether frames wait for it, and how many it has taken.
    fn heartbeat(&self) -> Heartbeat {
        match self {
            Sink::Shown(sink) => sink.heartbeat(),
            Sink::Served(server) => server.heartbeat(),
            Sink::File(file) => file.heartbeat(),
            Sink::Pieces(pieces) => pieces.heartbeat(),
            Sink::Stream(stream) => stream.heartbeat(),
            Sink::Hls(stream) => stream.heartbeat(),
        }
    }

    /// Whether the encoder that it shares with others is what it waits for.
    fn waits_for_encoder(&self) -> bool {
        match self {
            Sink::Stream(stream) => stream.waits_for_encoder(),
            Sink::Hls(stream) => stream.waits_for_encoder(),
            Sink::Served(server) => server.heartbeat().works,
            Sink::Shown(_) | Sink::File(_) | Sink::Pieces(_) => false,
        }
    }

    fn dropped(&self) -> u64 {
        match self {
            Sink::Shown(sink) => sink.dropped(),
            Sink::Served(server) => server.dropped(),
            Sink::File(file) => file.dropped(),
            Sink::Pieces(pieces) => pieces.dropped(),
            Sink::Stream(stream) => stream.dropped(),
            Sink::Hls(stream) => stream.dropped(),
        }
    }
}

/// One output, with what has become of it.
struct OutputSlot {
    spec: OutputSpec,
    state: Mutex<State>,
    /// Frames that it did not take: those that came while it was lost, and those that earlier connections dropped.
    missed: AtomicU64,
    /// Frames that were passed to it.
    frames: AtomicU64,
    losses: AtomicU64,
    /// When it was begun, if that was while the run went on.
    begun: Option<Instant>,
}

enum State {
    /// It takes frames.
    Open(Sink, Connection),
    /// It has failed and is opened again.
    Lost(Box<Lost>),
    /// It has failed for good: why, and what may have to be finished.
    Failed(String, Sink),
    /// A recording whose last frames are being written.
    Ending(Box<Recording>, WaitTimer),
    /// A recording that is made ready to get its name.
    Completing(JoinHandle<Vec<String>>),
    /// A recording that has its name.
    Finished,
    /// It is being changed.
    Between,
}

impl State {
    /// Whether no frame will go there any more.
    fn is_over(&self) -> bool {
        !matches!(self, State::Open(..) | State::Lost(_) | State::Between)
    }
}

/// The present connection of an output.
struct Connection {
    opened: Instant,
    /// The loss before it, until it has delivered something.
    after: Option<Box<Lost>>,
    watchdog: Watchdog,
    /// The user knows that it takes nothing.
    told: bool,
}

impl Connection {
    fn first() -> Self {
        Connection::after(None)
    }

    fn after(after: Option<Box<Lost>>) -> Self {
        // What an encoder takes to begin is less than the limit for any step.
        let watchdog = Watchdog::new(Duration::ZERO);
        Connection { opened: Instant::now(), after, watchdog, told: false }
    }
}

/// An output that is opened again.
struct Lost {
    since: Instant,
    /// When the next attempt begins.
    next: Instant,
    /// The sink that has failed, until the first attempt.
    failed: Option<Sink>,
    attempt: Option<JoinHandle<Result<Sink>>>,
    /// Whether the user knows that an attempt has failed.
    told: bool,
    backoff: Backoff,
}

impl Outputs {
    /// Opens every output of `job`.
    ///
    /// # Errors
    /// The first that cannot be opened; the others are closed again.
    pub fn open(
        job: &LiveJob,
        source: &LiveSource,
        clock: &LiveClock,
        supervisor: &Supervisor,
        on_delay: &Arc<dyn Fn(Duration) + Send + Sync>,
    ) -> Result<Self> {
        let opener = OutputOpener::of(job, source, clock, supervisor, on_delay);
        let (mut slots, mut notes) = (Vec::new(), Vec::new());
        for (number, spec) in job.outputs.iter().enumerate() {
            let sink = opener.open(spec, number, job, &mut notes)?;
            slots.push(Arc::new(OutputSlot::new(spec.clone(), sink, None)));
        }
        let (slots, stop) = (RwLock::new(slots), supervisor.signal().clone());
        Ok(Outputs { slots, opener, stop, notes })
    }

    fn slots(&self) -> Vec<Arc<OutputSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to record to a new file in the working folder. Returns its name.
    ///
    /// # Errors
    /// When there is such a recording already, or the file cannot be written.
    pub fn start_recording(&self, job: &LiveJob) -> Result<String> {
        if let Some(recording) = self.recording() {
            bail!("'{}' is being recorded already", recording.name);
        }
        let containers =
            [(Container::Mp4, "mp4"), (Container::Mkv, "mkv"), (Container::WebM, "webm")];
        let fits = |(of, _): &(Container, &str)| job.encoding.codec_in(*of).is_ok();
        let (_, end) = containers.into_iter().find(fits).context("no container for --codec")?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("nst-stream-{}.{end}", since.as_millis());
        let path = PathBuf::from(&name);
        // Only the main thread adds outputs: the number stays free meanwhile.
        let number = self.slots().len();
        let recording = self.opener.record(Path::new(&path), number, job)?;
        let (spec, sink) = (OutputSpec::File(path), Sink::File(Box::new(recording)));
        let slot = Arc::new(OutputSlot::new(spec, sink, Some(Instant::now())));
        self.slots.write().unwrap_or_else(PoisonError::into_inner).push(slot);
        Ok(name)
    }

    /// Ends the recording that was begun meanwhile. Returns its name; the file gets it a little later.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop_recording(&self) -> Result<String> {
        for (number, slot) in self.slots().iter().enumerate() {
            let mut state = slot.lock();
            if slot.begun.is_none() || !matches!(*state, State::Open(Sink::File(_), _)) {
                continue;
            }
            if let State::Open(Sink::File(file), _) = std::mem::replace(&mut *state, State::Between)
            {
                let ends = file.end();
                *state = State::Ending(file, WaitTimer::new());
                drop(state);
                if !ends {
                    self.complete(number, OutputEnd::Finished);
                }
                return Ok(slot.spec.to_string());
            }
        }
        bail!("nothing is being recorded")
    }

    /// The recording that was begun meanwhile and goes on.
    pub fn recording(&self) -> Option<RecordingStatus> {
        self.slots().iter().find_map(|slot| {
            let since = slot.begun?;
            let goes_on = matches!(&*slot.lock(), State::Open(..));
            goes_on.then(|| RecordingStatus { name: slot.spec.to_string(), since })
        })
    }

    /// Takes note that the stream of an output has been written to its end.
    pub fn ended(&self, number: usize) {
        self.complete(number, OutputEnd::Finished);
    }

    /// Gives recordings that were ended meanwhile their names, on threads of their own: moving the index of a long
    /// one to its front takes a while. Returns what to tell the user.
    pub fn finish_recordings(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (number, slot) in self.slots().iter().enumerate() {
            let mut state = slot.lock();
            let over = match &mut *state {
                State::Ending(_, patience) => patience.is_over(FINISH_LIVE_FILE),
                State::Completing(thread) => thread.is_finished(),
                _ => false,
            };
            if !over {
                continue;
            }
            if let State::Ending(..) = *state {
                drop(state);
                self.complete(number, OutputEnd::OutOfTime);
            } else if let State::Completing(thread) =
                std::mem::replace(&mut *state, State::Finished)
            {
                notes.extend(thread.join().unwrap_or_default());
            }
        }
        notes
    }

    /// Completes a recording that is ending.
    fn complete(&self, number: usize, end: OutputEnd) {
        let slots = self.slots();
        let Some(slot) = slots.get(number) else { return };
        let mut state = slot.lock();
        if !matches!(*state, State::Ending(..)) {
            return;
        }
        let State::Ending(file, _) = std::mem::replace(&mut *state, State::Finished) else {
            return;
        };
        let (name, stop) = (slot.spec.to_string(), self.stop.clone());
        let complete = move || {
            let mut said = Said(Vec::new());
            let finished = file.finish(end, &Supervisor::new(&stop), &mut said);
            said.0.push(match finished {
                Ok(()) => format!("recorded '{name}'"),
                Err(error) => format!("{error:#}"),
            });
            said.0
        };
        if let Ok(thread) = std::thread::Builder::new().name("complete".into()).spawn(complete) {
            *state = State::Completing(thread);
        }
    }

    /// What has become of each output.
    pub fn status(&self) -> Vec<OutputStatus> {
        let dropped = self.dropped();
        let status = |(slot, dropped): (&Arc<OutputSlot>, u64)| {
            let (state, clients) = match &*slot.lock() {
                State::Open(Sink::Served(server), _) => (OutputState::Open, Some(server.clients())),
                State::Open(..) => (OutputState::Open, None),
                State::Lost(_) | State::Between => (OutputState::Lost, None),
                State::Failed(why, _) => (OutputState::Failed(why.clone()), None),
                State::Ending(..) | State::Completing(_) | State::Finished => {
                    (OutputState::Finished, None)
                }
            };
            let frames = slot.frames.load(Ordering::Relaxed).saturating_sub(dropped);
            let losses = slot.losses.load(Ordering::Relaxed);
            OutputStatus { name: slot.spec.to_string(), state, frames, dropped, losses, clients }
        };
        self.slots().iter().zip(dropped).map(status).collect()
    }

    /// What the user should know: the addresses that are served.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Clients of all servers.
    pub fn clients(&self) -> Option<usize> {
        let slots = self.slots();
        let counts = slots.iter().filter_map(|slot| match &*slot.lock() {
            State::Open(Sink::Served(server), _) => Some(server.clients()),
            _ => None,
        });
        counts.reduce(|a, b| a + b)
    }

    /// How many frames the present outputs have taken in all; of one that may wait, how many it was given.
    pub fn delivered(&self) -> u64 {
        let taken = |slot: &Arc<OutputSlot>| match &*slot.lock() {
            State::Open(Sink::Shown(sink), _) if sink.may_wait() => sink.pushed(),
            State::Open(sink, _) => sink.heartbeat().steps,
            _ => 0,
        };
        self.slots().iter().map(taken).sum()
    }

    /// How many frames each output did not take in time.
    pub fn dropped(&self) -> Vec<u64> {
        let dropped = |slot: &Arc<OutputSlot>| {
            let now = match &*slot.lock() {
                State::Open(sink, _) | State::Failed(_, sink) => sink.dropped(),
                _ => 0,
            };
            now + slot.missed.load(Ordering::Relaxed)
        };
        self.slots().iter().map(dropped).collect()
    }

    /// Passes a frame, whose time is `pts`, to every output without waiting.
    pub fn push(&self, frame: &Buffer, pts: Duration) {
        for slot in self.slots.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut state = slot.lock();
            if !state.is_over() {
                slot.frames.fetch_add(1, Ordering::Relaxed);
            }
            match &mut *state {
                State::Open(Sink::Shown(sink), _) => drop(sink.push(frame)),
                State::Open(Sink::Served(server), _) => server.push_frame(frame),
                State::Open(Sink::File(file), _) => file.push(frame, pts),
                State::Open(Sink::Pieces(pieces), _) => pieces.push(frame, pts),
                State::Open(Sink::Stream(stream), _) => stream.push(frame),
                State::Open(Sink::Hls(stream), _) => stream.push(frame),
                State::Lost(_) => drop(slot.missed.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
        }
    }

    /// Takes note that an output has failed: it will be opened again where that makes sense. What to tell the user, if
    /// that is new.
    ///
    /// # Errors
    /// The error, if no output is left.
    pub fn fail(
        &self,
        number: usize,
        error: PipelineError,
    ) -> Result<Option<String>, PipelineError> {
        let slots = self.slots();
        let Some(slot) = slots.get(number) else { return Err(error) };
        let mut state = slot.lock();
        let (sink, connection) = match std::mem::replace(&mut *state, State::Between) {
            State::Open(sink, connection) => (sink, connection),
            State::Ending(file, patience) => {
                *state = State::Ending(file, patience);
                drop(state);
                self.complete(number, OutputEnd::Failed(error));
                return Ok(None);
            }
            // A consequence of its first error.
            other => {
                *state = other;
                return Ok(None);
            }
        };
        if slot.spec.is_opened_again() && (sink.has_delivered() || connection.after.is_some()) {
            slot.missed.fetch_add(sink.dropped(), Ordering::Relaxed);
            slot.losses.fetch_add(1, Ordering::Relaxed);
            let (lost, note) = match connection.after {
                Some(mut lost) => {
                    let note = lost.tell(&slot.spec, &error);
                    lost.failed = Some(sink);
                    lost.next = Instant::now() + lost.backoff.pause();
                    (lost, note)
                }
                None => {
                    let note = format!("'{}' is lost: {error}; opening it again", slot.spec);
                    (Box::new(Lost::since(connection.opened, sink)), Some(note))
                }
            };
            *state = State::Lost(lost);
            return Ok(note);
        }
        let why = format!("'{}' failed: {error}", slot.spec);
        *state = State::Failed(why.clone(), sink);
        drop(state);
        if slots.iter().all(|slot| slot.lock().is_over()) {
            return Err(error);
        }
        Ok(Some(format!("{why}; the other outputs go on")))
    }

    /// Outputs that have frames and take none of them, each with an error; one that may wait is only named.
    pub fn hanging(&self) -> Vec<(usize, PipelineError)> {
        let mut hanging = Vec::new();
        for (number, slot) in self.slots().iter().enumerate() {
            let State::Open(sink, connection) = &mut *slot.lock() else { continue };
            let hangs = connection.watchdog.hangs(sink.heartbeat());
            let Some(hangs) = hangs.filter(|_| !connection.told) else { continue };
            connection.told = true;
            let seconds = hangs.as_secs();
            match sink {
                Sink::Shown(sink) if sink.may_wait() => {
                    tracing::warn!("'{}' has taken no picture for {seconds} s", slot.spec);
                }
                _ => {
                    if sink.waits_for_encoder() {
                        self.opener.leave_encoder();
                    }
                    let text = format!("it hangs: it has taken no picture for {seconds} s");
                    hanging.push((number, PipelineError::new("output", text)));
                }
            }
        }
        hanging
    }

    /// Opens lost outputs again, each when its time has come. Returns what to tell the user.
    pub fn reopen(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (number, slot) in self.slots().iter().enumerate() {
            let mut state = slot.lock();
            match &mut *state {
                State::Open(sink, connection) if sink.has_delivered() => {
                    if let Some(lost) = connection.after.take() {
                        let after = lost.since.elapsed().as_secs_f64();
                        notes.push(format!("'{}' is back after {after:.1} s", slot.spec));
                    }
                }
                State::Lost(lost) => match lost.step(number, &slot.spec, &self.opener) {
                    Some(Ok(sink)) => {
                        if let State::Lost(lost) = std::mem::replace(&mut *state, State::Between) {
                            *state = State::Open(sink, Connection::after(Some(lost)));
                        }
                    }
                    Some(Err(why)) => notes.extend(lost.tell(&slot.spec, &why)),
                    None => {}
                },
                _ => {}
            }
        }
        notes
    }

    /// Which outputs have failed for good, and why.
    pub fn failures(&self) -> Vec<String> {
        let slots = self.slots();
        let failures = slots.iter().filter_map(|slot| match &*slot.lock() {
            State::Failed(why, _) => Some(why.clone()),
            _ => None,
        });
        failures.collect()
    }

    /// Ends all outputs: files are finished and renamed, clients and media servers get an end of stream.
    ///
    /// # Errors
    /// The error of the first file that cannot be finished; those of others are noted.
    pub fn finish(self, supervisor: &Supervisor, observer: &mut dyn Observer) -> Result<()> {
        let (mut ending, mut files, mut others) =
            (ClosingOutputs::default(), Vec::new(), Vec::new());
        let (mut servers, mut streams, mut playlists) = (Vec::new(), Vec::new(), Vec::new());
        let mut pieces = Vec::new();
        let mut completing = Vec::new();
        let slots = self.slots.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, slot) in slots.iter().enumerate() {
            let (sink, failed) = match std::mem::replace(&mut *slot.lock(), State::Finished) {
                State::Open(sink, _) => (sink, false),
                State::Failed(_, sink) => (sink, true),
                State::Ending(file, _) => (Sink::File(file), false),
                State::Completing(thread) => {
                    completing.push(thread);
                    continue;
                }
                State::Lost(_) | State::Finished | State::Between => continue,
            };
            match sink {
                Sink::File(file) => {
                    if file.end() && !failed {
                        ending.wait_for(number, FINISH_LIVE_FILE);
                    }
                    files.push((number, file, failed));
                }
                Sink::Pieces(mut recording) => {
                    recording.end(failed);
                    pieces.push((recording, failed));
                }
                Sink::Shown(sink) => {
                    if let Some(limit) = sink.end().filter(|_| !failed) {
                        ending.wait_for(number, limit);
                    }
                    others.push(sink);
                }
                Sink::Stream(stream) => {
                    let limit = stream.end();
                    if !failed {
                        ending.wait_for(number, limit);
                    }
                    streams.push(stream);
                }
                Sink::Hls(stream) => {
                    let limit = stream.end();
                    if !failed {
                        ending.wait_for(number, limit);
                    }
                    playlists.push(stream);
                }
                Sink::Served(server) => servers.push(server),
            }
        }
        // Ends clients' streams before files are finished, which may take long.
        close(servers);
        let mut ended = supervisor.supervise(ending);
        close((others, streams, playlists));
        for thread in completing {
            thread.join().unwrap_or_default().iter().for_each(|note| observer.note(note));
        }
        let mut results = Vec::new();
        for (number, file, failed) in files {
            let end = match failed {
                true => OutputEnd::FailedBefore,
                false => ended.remove(&number).unwrap_or(OutputEnd::OutOfTime),
            };
            results.push(file.finish(end, supervisor, observer));
        }
        for (pieces, failed) in pieces {
            results.push(pieces.finish(failed, observer));
        }
        let mut result = Ok(());
        for finished in results {
            match (&result, finished) {
                (Ok(()), finished) => result = finished,
                (Err(_), Err(error)) => observer.note(&format!("{error:#}")),
                (Err(_), Ok(())) => {}
            }
        }
        result
    }

    /// The pipelines as Graphviz graphs, by number of the output.
    pub fn graphs(&self) -> Vec<(usize, String)> {
        let slots = self.slots();
        let dot = |slot: &Arc<OutputSlot>| match &*slot.lock() {
            State::Open(sink, _) | State::Failed(_, sink) => match sink {
                Sink::Shown(sink) => Some(sink.dot()),
                Sink::Served(server) => Some(server.dot()),
                Sink::File(file) => file.dot(),
                Sink::Pieces(pieces) => pieces.dot(),
                Sink::Stream(stream) => Some(stream.dot()),
                Sink::Hls(stream) => Some(stream.dot()),
            },
            _ => None,
        };
        slots.iter().enumerate().filter_map(|(n, slot)| Some((n, dot(slot)?))).collect()
    }
}

/// Notes of a recording that is finished on a thread of its own.
struct Said(Vec<String>);

impl Observer for Said {
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn progress(&mut self, _progress: &Progress) {}
}

impl OutputSlot {
    fn new(spec: OutputSpec, sink: Sink, begun: Option<Instant>) -> Self {
        OutputSlot {
            spec,
            state: Mutex::new(State::Open(sink, Connection::first())),
            missed: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            begun,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what an element that hangs may keep open, on a thread that is left to itself if that takes long.
pub(super) fn close(sinks: impl Send + 'static) {
    let (closing, closed) = channel::<()>();
    let close = move || {
        drop(sinks);
        drop(closing);
    };
    if std::thread::Builder::new().name("close".into()).spawn(close).is_ok() {
        let _ = closed.recv_timeout(CLOSE_OUTPUT);
    }
}

impl Lost {
    /// Just now, by the failure of a sink that had been open since then.
    fn since(opened: Instant, failed: Sink) -> Self {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        if now - opened < GOOD_CONNECTION {
            // It may fail again at once.
            backoff.pause();
        }
        let next = now + backoff.pause();
        Lost { since: now, next, failed: Some(failed), attempt: None, told: false, backoff }
    }

    /// What to tell the user of the first attempt that has failed.
    fn tell(&mut self, spec: &OutputSpec, why: &dyn std::fmt::Display) -> Option<String> {
        let new = !std::mem::replace(&mut self.told, true);
        new.then(|| format!("'{spec}' cannot be opened yet: {why:#}"))
    }

    /// Begins an attempt when its time has come, or takes its result.
    fn step(
        &mut self,
        number: usize,
        spec: &OutputSpec,
        opener: &OutputOpener,
    ) -> Option<Result<Sink>> {
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.is_finished()) {
            let result = attempt
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that opens it panicked")));
            if result.is_err() {
                self.next = Instant::now() + self.backoff.pause();
            }
            return Some(result);
        }
        if self.attempt.is_none() && Instant::now() >= self.next {
            let (spec, opener, failed) = (spec.clone(), opener.clone(), self.failed.take());
            let open = move || {
                // A connection that is broken may close slowly.
                close(failed);
                opener.connection(&spec, number)
            };
            match std::thread::Builder::new().name("reopen".into()).spawn(open) {
                Ok(attempt) => self.attempt = Some(attempt),
                Err(_) => self.next = Instant::now() + self.backoff.pause(),
            }
        }
        None
    }
}
