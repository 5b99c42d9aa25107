//! The event loop of a run, for files and live alike.
//!
//! Pipelines, threads, the remux and the stop signal send [`Event`]s to one channel. A run is a sequence of
//! [`Stage`]s (frames are processed, outputs end, a file is remuxed). The supervisor passes each event to the
//! current stage, which decides what it means, and calls the stage regularly, so that no wait is without a
//! limit.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Error, anyhow};

use crate::core::frame::FrameInfo;
use crate::core::stats::Stats;
use crate::core::stop::{StopSignal, Subscription};
use crate::core::stylizer::StylizeError;
use crate::core::timeouts::{FIRST_PASS, FIRST_PASS_PER_MEGAPIXEL, TICK};
use crate::core::watchdog::Watchdog;
use crate::media::{Event, RunThread, ThreadEnd};

/// A phase of a run; it ends with a result.
pub(super) trait Stage {
    /// The result of the stage.
    type End;

    /// Handles an event; `Break` ends the stage.
    fn handle(&mut self, event: Event) -> ControlFlow<Self::End>;

    /// Handles a stop at level one (in order). Called once, also if the stop was requested before the stage
    /// began.
    fn stop(&mut self) -> ControlFlow<Self::End> {
        ControlFlow::Continue(())
    }

    /// Handles a stop at level two (at once); ends the stage.
    fn stop_at_once(&mut self) -> Self::End;

    /// Called about every [`TICK`], to check time limits and to show progress.
    fn tick(&mut self) -> ControlFlow<Self::End>;
}

/// Receives the events of one run and runs its stages.
pub(super) struct Supervisor {
    events: Sender<Event>,
    heard: Receiver<Event>,
    stop: StopSignal,
    _subscription: Subscription,
}

impl Supervisor {
    /// A supervisor for a run that `stop` can end.
    pub fn new(stop: &StopSignal) -> Self {
        let (events, heard) = channel();
        let raised = events.clone();
        let subscription = stop.on_change(move || drop(raised.send(Event::StopRaised)));
        Supervisor { events, heard, stop: stop.clone(), _subscription: subscription }
    }

    /// A sender for events of the run.
    pub fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// The stop signal of the run.
    pub fn signal(&self) -> &StopSignal {
        &self.stop
    }

    /// Runs `work` on a thread, and sends an event when it ends, whether it returns or panics.
    ///
    /// # Errors
    /// When no thread can be started; what `work` owns is dropped then.
    pub fn spawn<'scope, 'env, T: Send + 'scope>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        thread: RunThread,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> std::io::Result<ScopedJoinHandle<'scope, T>> {
        let report = ReportsEnd { thread, events: self.events() };
        thread::Builder::new().name(name_of(thread).into()).spawn_scoped(scope, move || {
            let _report = report;
            work()
        })
    }

    /// The same, on a thread that a run can leave behind when it hangs.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_alone<T: Send + 'static>(
        &self,
        thread: RunThread,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<JoinHandle<T>> {
        let report = ReportsEnd { thread, events: self.events() };
        thread::Builder::new().name(name_of(thread).into()).spawn(move || {
            let _report = report;
            work()
        })
    }

    /// Runs a stage until it ends.
    pub fn supervise<S: Stage>(&self, mut stage: S) -> S::End {
        let mut told = false;
        let mut step = || -> ControlFlow<S::End> {
            if self.stop.is_at_once() {
                return ControlFlow::Break(stage.stop_at_once());
            }
            if self.stop.is_set() && !told {
                told = true;
                stage.stop()?;
            }
            if let Ok(event) = self.heard.recv_timeout(TICK) {
                stage.handle(event)?;
            }
            stage.tick()
        };
        loop {
            if let ControlFlow::Break(end) = step() {
                return end;
            }
        }
    }
}

fn name_of(thread: RunThread) -> &'static str {
    match thread {
        RunThread::Worker => "network",
        RunThread::Feeder => "encode",
    }
}

/// Sends an event when the thread that owns it ends.
struct ReportsEnd {
    thread: RunThread,
    events: Sender<Event>,
}

impl Drop for ReportsEnd {
    fn drop(&mut self) {
        let end = if thread::panicking() { ThreadEnd::Panicked } else { ThreadEnd::Returned };
        let _ = self.events.send(Event::ThreadEnded(self.thread, end));
    }
}

/// Joins a thread; a panic becomes an error.
pub(super) fn join<T>(
    handle: std::io::Result<ScopedJoinHandle<'_, T>>,
    name: &str,
) -> Result<T, Error> {
    started(handle, name)?.join().map_err(|panic| panicked(&*panic, name))
}

/// Joins the network thread, as soon as it ends; if its pass hangs it is left behind.
pub(super) fn join_network<T>(
    handle: std::io::Result<JoinHandle<Result<T, StylizeError>>>,
    network: &mut NetworkWatch,
) -> Result<T, Error> {
    let handle = started(handle, "network")?;
    while !handle.is_finished() {
        if let Some(hangs) = network.hangs() {
            return Err(hangs.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(handle.join().map_err(|panic| panicked(&*panic, "network"))??)
}

fn started<H>(handle: std::io::Result<H>, name: &str) -> Result<H, Error> {
    handle.map_err(|error| anyhow!("cannot start the {name} thread: {error}"))
}

fn panicked(panic: &(dyn std::any::Any + Send), name: &str) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let why = text.map_or_else(String::new, |text| format!(": {text}"));
    anyhow!("the {name} thread panicked{why}")
}

/// Watches the network's passes.
pub(super) struct NetworkWatch {
    stats: Arc<Stats>,
    watchdog: Watchdog,
    /// For how long a pass has hung, once one does.
    hung: Option<Duration>,
}

impl NetworkWatch {
    /// Watches passes of `frames` frames of this size.
    pub fn new(stats: &Arc<Stats>, frame: &FrameInfo, frames: usize) -> Self {
        let megapixels = (frame.width * frame.height * frames.max(1)) as f64 / 1e6;
        let first = FIRST_PASS.max(FIRST_PASS_PER_MEGAPIXEL.mul_f64(megapixels));
        NetworkWatch { stats: Arc::clone(stats), watchdog: Watchdog::new(first), hung: None }
    }

    /// A pass may take another time from now on.
    pub fn forget(&mut self) {
        self.watchdog.forget();
    }

    /// The error of a pass that hangs. Must be called about every [`TICK`].
    pub fn hangs(&mut self) -> Option<StylizeError> {
        if self.hung.is_none() {
            self.hung = self.watchdog.hangs(self.stats.network_heartbeat());
        }
        self.hung.map(StylizeError::Hangs)
    }
}

/// The error of a run that was stopped at level two.
pub(super) fn stopped_at_once() -> Error {
    anyhow!("it was stopped at once")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PipelineRole;

    /// Notes what it is told, and ends with the source.
    #[derive(Default)]
    struct Notes {
        stopped: usize,
        threads: Vec<ThreadEnd>,
    }

    impl Stage for &mut Notes {
        type End = &'static str;

        fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
            match event {
                Event::End(PipelineRole::Source) => return ControlFlow::Break("source"),
                Event::ThreadEnded(_, end) => self.threads.push(end),
                _ => {}
            }
            match self.threads.len() {
                2 => ControlFlow::Break("threads"),
                _ => ControlFlow::Continue(()),
            }
        }

        fn stop(&mut self) -> ControlFlow<Self::End> {
            self.stopped += 1;
            ControlFlow::Continue(())
        }

        fn stop_at_once(&mut self) -> Self::End {
            "at once"
        }

        fn tick(&mut self) -> ControlFlow<Self::End> {
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn the_end_of_a_thread_is_heard_whether_it_returns_or_panics() {
        let supervisor = Supervisor::new(&StopSignal::default());
        let mut notes = Notes::default();
        let (ended, returned, panicked) = thread::scope(|scope| {
            let returns = supervisor.spawn(scope, RunThread::Feeder, || 7);
            let panics = supervisor.spawn(scope, RunThread::Worker, || -> u8 { panic!("no luck") });
            (supervisor.supervise(&mut notes), join(returns, "feeder"), join(panics, "network"))
        });
        assert_eq!(ended, "threads");
        assert!(notes.threads.contains(&ThreadEnd::Returned));
        assert!(notes.threads.contains(&ThreadEnd::Panicked));
        assert_eq!(returned.unwrap(), 7);
        let text = panicked.unwrap_err().to_string();
        assert_eq!(text, "the network thread panicked: no luck");
    }

    #[test]
    fn a_stage_is_told_of_each_level_of_the_stop_signal() {
        let stop = StopSignal::default();
        let supervisor = Supervisor::new(&stop);
        stop.interrupt();
        let mut notes = Notes::default();
        supervisor.events().send(Event::End(PipelineRole::Source)).unwrap();
        // The signal has woken the channel first.
        assert_eq!(supervisor.supervise(&mut notes), "source");
        assert_eq!(notes.stopped, 1);
        stop.interrupt();
        assert_eq!(supervisor.supervise(&mut notes), "at once");
    }
}
