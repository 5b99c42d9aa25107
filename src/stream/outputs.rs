//! The outputs of a live run. Each lives alone: where one fails, the others go on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Observer;
use super::closing_outputs::ClosingOutputs;
use super::live_job::LiveJob;
use super::output_end::OutputEnd;
use super::output_opener::OutputOpener;
use super::pieces::Pieces;
use super::recording::Recording;
use super::supervisor::Supervisor;
use crate::core::backoff::Backoff;
use crate::core::endpoint::OutputSpec;
use crate::core::stats::Delays;
use crate::core::timeouts::{CLOSE_OUTPUT, FINISH_LIVE_FILE, GOOD_CONNECTION};
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
    slots: Vec<OutputSlot>,
    opener: OutputOpener,
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
            Sink::Shown(sink) => sink.has_delivered(),
            Sink::Stream(stream) => stream.has_delivered(),
            Sink::Served(_) | Sink::File(_) | Sink::Pieces(_) | Sink::Hls(_) => false,
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
            Sink::Shown(_) | Sink::Served(_) | Sink::File(_) | Sink::Pieces(_) => false,
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
}

enum State {
    /// It takes frames.
    Open(Sink, Connection),
    /// It has failed and is opened again.
    Lost(Box<Lost>),
    /// It has failed for good: why, and what may have to be finished.
    Failed(String, Sink),
    /// It is being changed.
    Between,
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
        delays: &Arc<Delays>,
    ) -> Result<Self> {
        let opener = OutputOpener::of(job, source, clock, supervisor, delays);
        let mut outputs = Outputs { slots: Vec::new(), opener, notes: Vec::new() };
        for (number, spec) in job.outputs.iter().enumerate() {
            let sink = outputs.opener.open(spec, number, job, &mut outputs.notes)?;
            outputs.slots.push(OutputSlot {
                spec: spec.clone(),
                state: Mutex::new(State::Open(sink, Connection::first())),
                missed: AtomicU64::new(0),
            });
        }
        Ok(outputs)
    }

    /// What the user should know: the addresses that are served.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Clients of all servers.
    pub fn clients(&self) -> Option<usize> {
        let counts = self.slots.iter().filter_map(|slot| match &*slot.lock() {
            State::Open(Sink::Served(server), _) => Some(server.clients()),
            _ => None,
        });
        counts.reduce(|a, b| a + b)
    }

    /// How many frames the present outputs have taken in all; of one that may wait, how many it was given.
    pub fn delivered(&self) -> u64 {
        let taken = |slot: &OutputSlot| match &*slot.lock() {
            State::Open(Sink::Shown(sink), _) if sink.may_wait() => sink.pushed(),
            State::Open(sink, _) => sink.heartbeat().steps,
            State::Lost(_) | State::Failed(..) | State::Between => 0,
        };
        self.slots.iter().map(taken).sum()
    }

    /// How many frames each output did not take in time.
    pub fn dropped(&self) -> Vec<u64> {
        let dropped = |slot: &OutputSlot| {
            let now = match &*slot.lock() {
                State::Open(sink, _) | State::Failed(_, sink) => sink.dropped(),
                State::Lost(_) | State::Between => 0,
            };
            now + slot.missed.load(Ordering::Relaxed)
        };
        self.slots.iter().map(dropped).collect()
    }

    /// Passes a frame, whose time is `pts`, to every output without waiting.
    pub fn push(&self, frame: &Buffer, pts: Duration) {
        for slot in &self.slots {
            match &mut *slot.lock() {
                State::Open(Sink::Shown(sink), _) => drop(sink.push(frame)),
                State::Open(Sink::Served(server), _) => server.push_frame(frame),
                State::Open(Sink::File(file), _) => file.push(frame, pts),
                State::Open(Sink::Pieces(pieces), _) => pieces.push(frame, pts),
                State::Open(Sink::Stream(stream), _) => stream.push(frame),
                State::Open(Sink::Hls(stream), _) => stream.push(frame),
                State::Lost(_) => drop(slot.missed.fetch_add(1, Ordering::Relaxed)),
                State::Failed(..) | State::Between => {}
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
        let Some(slot) = self.slots.get(number) else { return Err(error) };
        let mut state = slot.lock();
        let (sink, connection) = match std::mem::replace(&mut *state, State::Between) {
            State::Open(sink, connection) => (sink, connection),
            // A consequence of its first error.
            other => {
                *state = other;
                return Ok(None);
            }
        };
        if slot.spec.is_opened_again() && (sink.has_delivered() || connection.after.is_some()) {
            slot.missed.fetch_add(sink.dropped(), Ordering::Relaxed);
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
        let failed = |slot: &OutputSlot| matches!(&*slot.lock(), State::Failed(..));
        if self.slots.iter().all(failed) {
            return Err(error);
        }
        Ok(Some(format!("{why}; the other outputs go on")))
    }

    /// Outputs that have frames and take none of them, each with an error; one that may wait is only named.
    pub fn hanging(&self) -> Vec<(usize, PipelineError)> {
        let mut hanging = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
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
        for (number, slot) in self.slots.iter().enumerate() {
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
        let failures = self.slots.iter().filter_map(|slot| match &*slot.lock() {
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
        for (number, slot) in self.slots.into_iter().enumerate() {
            let (sink, failed) =
                match slot.state.into_inner().unwrap_or_else(PoisonError::into_inner) {
                    State::Open(sink, _) => (sink, false),
                    State::Failed(_, sink) => (sink, true),
                    State::Lost(_) | State::Between => continue,
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
        let dot = |slot: &OutputSlot| match &*slot.lock() {
            State::Open(sink, _) | State::Failed(_, sink) => match sink {
                Sink::Shown(sink) => Some(sink.dot()),
                Sink::Served(server) => Some(server.dot()),
                Sink::File(file) => file.dot(),
                Sink::Pieces(pieces) => pieces.dot(),
                Sink::Stream(stream) => Some(stream.dot()),
                Sink::Hls(stream) => Some(stream.dot()),
            },
            State::Lost(_) | State::Between => None,
        };
        self.slots.iter().enumerate().filter_map(|(n, slot)| Some((n, dot(slot)?))).collect()
    }
}

impl OutputSlot {
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
