//! A live source (a camera, a stream, a test picture or a file played in real time) → decoded frames.
//!
//! A source that is lost (it ends, fails, or delivers nothing for some time) is closed and opened again as a whole, by
//! one thread, whatever its protocol. Its frames keep the format of the first connection.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::LiveClock;
use super::connection::Connection;
use super::error::{ErrorKind, PipelineError};
use super::fit::Fit;
use super::frame_format::FramePlan;
use super::live_audio::LiveAudio;
use super::mode::RequestedMode;
use super::pipeline::{Event, PipelineRole};
use super::video::VideoStream;
use super::webrtc::WebRtc;
use crate::core::backoff::Backoff;
use crate::core::endpoint::InputSpec;
use crate::core::frame::{Frame, FramePool, LEAST_INTERVAL};
use crate::core::queue::{Producer, PushError};
use crate::core::signal::{LossOptions, OnLoss, SourceSignal};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{CLOSE_STOPPED, GOOD_CONNECTION, POLL, TICK, WaitTimer};

/// How a live source is opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LiveOptions {
    /// What a camera or the test picture should deliver.
    pub requested: RequestedMode,
    /// How long packets of an RTSP source are held back to put them into order.
    pub latency: Duration,
    /// RTSP over TCP only (`Some(true)`), over UDP only, or UDP first and then TCP.
    pub tcp: Option<bool>,
    /// What happens when it is lost.
    pub loss: LossOptions,
}

/// A live source that delivers.
pub struct LiveSource {
    input: InputSpec,
    options: LiveOptions,
    clock: LiveClock,
    webrtc: Option<WebRtc>,
    stream: VideoStream,
    notes: Vec<String>,
    audio: Option<LiveAudio>,
    signal: SourceSignal,
    connection: Arc<Mutex<Option<Connection>>>,
    first: (FramePlan, Fit),
    /// Ends the thread that watches the connection.
    stop: StopSignal,
    watches: Mutex<Option<JoinHandle<()>>>,
}

impl LiveSource {
    /// Opens a source and waits for its first picture, unless `stop` is set before. Frames are I420 of even size; when the
    /// source changes its size later, they keep this one, with black borders where needed. `whip:` comes by `webrtc`.
    ///
    /// # Errors
    /// [`PipelineError`]: no such device, in use, refused, unreachable, no picture in time.
    pub fn open(
        input: &InputSpec,
        options: LiveOptions,
        clock: &LiveClock,
        webrtc: Option<&WebRtc>,
        stop: &StopSignal,
    ) -> Result<Self, PipelineError> {
        let connection = open_first(input, options, clock, webrtc, stop)?;
        let (plan, fit) = (connection.plan().clone(), connection.fit().clone());
        Ok(LiveSource {
            input: input.clone(),
            options,
            clock: clock.clone(),
            webrtc: webrtc.cloned(),
            stream: plan.stream(fit.caps())?,
            notes: plan.notes.clone(),
            audio: connection.sound().map(LiveAudio::of),
            signal: SourceSignal::default(),
            connection: Arc::new(Mutex::new(Some(connection))),
            first: (plan, fit),
            stop: StopSignal::default(),
            watches: Mutex::default(),
        })
    }

    /// Notes for the user on what of the picture is lost or changed.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Format of the frames.
    pub fn stream(&self) -> &VideoStream {
        &self.stream
    }

    /// Its sound, if it has any.
    pub fn audio(&self) -> Option<&LiveAudio> {
        self.audio.as_ref()
    }

    /// Whether it delivers.
    pub fn signal(&self) -> &SourceSignal {
        &self.signal
    }

    /// Whether it is opened again when it is lost.
    pub fn is_reopened(&self) -> bool {
        let loss = self.options.loss;
        match &self.input {
            InputSpec::File(_) => loss.looped,
            InputSpec::Test { .. } => false,
            _ => loss.on_loss != OnLoss::End && loss.retries != Some(0),
        }
    }

    /// Passes every frame to `queue` without waiting; frames that find the queue full are dropped and counted
    /// by the queue. What happens to the source is sent to `events`: its end, when it is not opened again.
    pub fn start(&self, queue: Producer<Frame>, pool: FramePool, events: Sender<Event>) {
        let (plan, fit) = self.first.clone();
        let target = LiveTarget(Arc::new(Target {
            plan,
            fit,
            pool,
            signal: self.signal.clone(),
            queue: Mutex::new((queue, IncreasingTimes::default())),
        }));
        let watcher = Watcher {
            input: self.input.clone(),
            options: self.options,
            reopens: self.is_reopened(),
            clock: self.clock.clone(),
            webrtc: self.webrtc.clone(),
            target,
            audio: self.audio.clone(),
            signal: self.signal.clone(),
            connection: Arc::clone(&self.connection),
            stop: self.stop.clone(),
            events: events.clone(),
        };
        match std::thread::Builder::new().name("source".into()).spawn(move || watcher.run()) {
            Ok(thread) => {
                *self.watches.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread)
            }
            Err(error) => {
                let error = PipelineError::new("source", format!("cannot start a thread: {error}"));
                // Nobody listens any more once the run is over.
                let _ = events.send(Event::Failed(PipelineRole::Source, error));
            }
        }
    }

    /// The pipeline of its present connection, as a Graphviz graph; none while it is lost.
    pub fn dot(&self) -> Option<String> {
        lock(&self.connection).as_ref().map(Connection::dot)
    }
}

impl Drop for LiveSource {
    fn drop(&mut self) {
        self.stop.end();
        let thread = self.watches.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut timer = WaitTimer::new();
        // It polls the signal; only an element that hangs keeps it longer.
        while thread.as_ref().is_some_and(|thread| !thread.is_finished())
            && !timer.is_over(CLOSE_STOPPED)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let connection = lock(&self.connection).take();
        if let Some(connection) = connection {
            connection.close();
        }
    }
}

fn lock(connection: &Mutex<Option<Connection>>) -> MutexGuard<'_, Option<Connection>> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the first connection. A failure is final, unless the user has asked for further attempts; then one that can
/// pass by itself is tried again.
fn open_first(
    input: &InputSpec,
    options: LiveOptions,
    clock: &LiveClock,
    webrtc: Option<&WebRtc>,
    stop: &StopSignal,
) -> Result<Connection, PipelineError> {
    let mut backoff = Backoff::default();
    let mut left = options.loss.retries.unwrap_or(0);
    let listens = match input {
        InputSpec::Stream(url) => url.listens(),
        InputSpec::Whip => true,
        _ => false,
    };
    loop {
        let error = match Connection::open(input, options, clock, webrtc, stop) {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let passes = !matches!(
            error.kind,
            ErrorKind::Refused | ErrorKind::MissingPlugin | ErrorKind::Stopped
        );
        // A sender that has left again leaves the place to another one.
        let left_again = listens && error.kind == ErrorKind::NoVideo;
        if !left_again && left == 0 || !passes || matches!(input, InputSpec::File(_)) {
            return Err(error);
        }
        left = left.saturating_sub(1);
        tracing::warn!("'{input}' cannot be opened: {error}; trying again");
        if pause(backoff.pause(), stop).is_break() {
            return Err(PipelineError::stopped());
        }
    }
}

/// Waits; breaks when `stop` is set before.
fn pause(length: Duration, stop: &StopSignal) -> ControlFlow<()> {
    let mut timer = WaitTimer::new();
    while !timer.is_over(length) {
        if stop.is_set() {
            return ControlFlow::Break(());
        }
        std::thread::sleep(POLL);
    }
    ControlFlow::Continue(())
}

/// Where the frames of all connections go. Clones share it.
#[derive(Clone)]
pub(super) struct LiveTarget(Arc<Target>);

struct Target {
    plan: FramePlan,
    fit: Fit,
    pool: FramePool,
    signal: SourceSignal,
    queue: Mutex<(Producer<Frame>, IncreasingTimes)>,
}

impl LiveTarget {
    /// The converter to the format of the first connection.
    pub fn fit(&self) -> Fit {
        self.0.fit.clone()
    }

    /// The frame in a converted sample.
    pub fn frame(&self, sample: &gstreamer::SampleRef) -> Result<Frame, PipelineError> {
        self.0.plan.frame(sample, &self.0.pool)
    }

    /// Passes on a frame, if there is room.
    pub fn offer(&self, mut frame: Frame) -> Result<(), PushError<Frame>> {
        let mut guard = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, times) = &mut *guard;
        frame.pts = frame.pts.map(|pts| times.time(pts));
        self.0.signal.frame();
        queue.offer(frame)
    }
}

/// Makes frame times strictly increasing. rtspsrc gives the same time to all frames that arrive late in one
/// burst; parsers then remove the second one's timestamp, and muxers end with an error.
#[derive(Default)]
struct IncreasingTimes(Option<Duration>);

impl IncreasingTimes {
    /// The time of the next frame, whose timestamp is `pts`.
    fn time(&mut self, pts: Duration) -> Duration {
        let earliest = self.0.map(|newest| newest + LEAST_INTERVAL);
        let time = earliest.map_or(pts, |earliest| pts.max(earliest));
        self.0 = Some(time);
        time
    }
}

/// Why a connection is over.
enum Loss {
    /// The source ended its stream.
    Ended,
    Failed(PipelineError),
    /// No frame came for so long.
    Silent(Duration),
}

impl Loss {
    fn error(self) -> PipelineError {
        match self {
            Loss::Ended => PipelineError::new("source", "it ended the stream"),
            Loss::Failed(error) => error,
            Loss::Silent(limit) => {
                let text = format!("no picture for {} s", limit.as_secs_f64());
                PipelineError::new("source", text).of_kind(ErrorKind::NoVideo)
            }
        }
    }
}

/// The thread that watches the connection, and opens another one when it is lost.
struct Watcher {
    input: InputSpec,
    options: LiveOptions,
    reopens: bool,
    clock: LiveClock,
    webrtc: Option<WebRtc>,
    target: LiveTarget,
    audio: Option<LiveAudio>,
    signal: SourceSignal,
    connection: Arc<Mutex<Option<Connection>>>,
    stop: StopSignal,
    events: Sender<Event>,
}

impl Watcher {
    fn run(self) {
        let (mut backoff, mut began) = (Backoff::default(), Instant::now());
        let mut heard = match self.deliver() {
            Ok(heard) => heard,
            Err(error) => return self.say(Event::Failed(PipelineRole::Source, error)),
        };
        while let Some(loss) = self.watch(&heard) {
            let has_an_end = lock(&self.connection).as_ref().is_some_and(Connection::has_an_end);
            let plays_again = has_an_end && matches!(loss, Loss::Ended);
            if !self.is_followed(&loss, has_an_end) {
                return self.say(match loss {
                    Loss::Ended => Event::End(PipelineRole::Source),
                    loss => Event::Failed(PipelineRole::Source, loss.error()),
                });
            }
            if began.elapsed() > GOOD_CONNECTION {
                backoff.reset();
            }
            if !plays_again {
                self.signal.lose();
                self.say(Event::SourceLost(loss.error()));
            }
            if let Some(audio) = &self.audio {
                audio.prepare_silence();
            }
            let lost = lock(&self.connection).take();
            if let Some(lost) = lost {
                lost.close();
            }
            match self.reopen(&mut backoff, plays_again) {
                Ok(again) => (heard, began) = (again, Instant::now()),
                Err(error) if error.kind == ErrorKind::Stopped => return,
                Err(error) => return self.say(Event::Failed(PipelineRole::Source, error)),
            }
        }
    }

    /// Whether the source is opened again after this loss.
    fn is_followed(&self, loss: &Loss, has_an_end: bool) -> bool {
        let looped = self.options.loss.looped;
        match (&self.input, loss) {
            _ if !self.reopens => false,
            (InputSpec::File(_), Loss::Ended) => looped,
            (InputSpec::File(_), _) => false,
            // What a description of the user's own reads may have an end.
            (InputSpec::Pipeline(_), Loss::Ended) => looped,
            (_, Loss::Ended) if has_an_end => looped,
            _ => true,
        }
    }

    /// Waits for the loss of the connection; none when the run has ended.
    fn watch(&self, heard: &Receiver<Event>) -> Option<Loss> {
        let (mut timer, mut frames) = (WaitTimer::new(), self.signal.frames());
        loop {
            if self.stop.is_set() {
                return None;
            }
            match heard.recv_timeout(TICK) {
                Ok(Event::End(_)) => return Some(Loss::Ended),
                Ok(Event::Failed(_, error)) => return Some(Loss::Failed(error)),
                Ok(event) => self.say(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(Loss::Ended),
            }
            let now = self.signal.frames();
            if std::mem::replace(&mut frames, now) != now {
                timer.renew();
            } else if let Some(limit) = self.options.loss.stall.filter(|_| self.is_watched())
                && timer.is_over(limit)
            {
                return Some(Loss::Silent(limit));
            }
        }
    }

    /// Whether silence of this source is a loss: not of a file, which only waits for the disk.
    fn is_watched(&self) -> bool {
        !matches!(self.input, InputSpec::File(_) | InputSpec::Test { .. })
    }

    /// Opens another connection and lets it deliver, trying until it succeeds.
    fn reopen(
        &self,
        backoff: &mut Backoff,
        plays_again: bool,
    ) -> Result<Receiver<Event>, PipelineError> {
        let (mut attempts, mut said) = (0, String::new());
        loop {
            if !(plays_again && attempts == 0) && pause(backoff.pause(), &self.stop).is_break() {
                return Err(PipelineError::stopped());
            }
            attempts += 1;
            let (clock, webrtc) = (&self.clock, self.webrtc.as_ref());
            let opened = Connection::open(&self.input, self.options, clock, webrtc, &self.stop);
            let delivers = opened.and_then(|connection| {
                *lock(&self.connection) = Some(connection);
                self.deliver()
            });
            let error = match delivers {
                Ok(heard) => {
                    if self.signal.is_lost() {
                        self.say(Event::SourceReturned(self.signal.restore()));
                    }
                    return Ok(heard);
                }
                Err(error) => error,
            };
            if error.kind == ErrorKind::Stopped {
                return Err(error);
            }
            if matches!(self.input, InputSpec::File(_)) {
                return Err(error);
            }
            if self.options.loss.retries.is_some_and(|most| attempts >= most) {
                let text = format!("it did not come back in {attempts} attempts: {error}");
                return Err(PipelineError { error: text, ..error });
            }
            // The same reason is said once.
            if std::mem::replace(&mut said, error.error.clone()) != error.error {
                self.say(Event::SourceAbsent(error));
            }
        }
    }

    /// Lets the present connection deliver; what is heard of it.
    fn deliver(&self) -> Result<Receiver<Event>, PipelineError> {
        let (send, heard) = channel();
        match &*lock(&self.connection) {
            Some(connection) => connection.deliver(&self.target, self.audio.as_ref(), send)?,
            None => return Err(PipelineError::new("source", "it is not open")),
        }
        Ok(heard)
    }

    fn say(&self, event: Event) {
        // Nobody listens any more once the run is over.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_with_one_time_follow_one_another() {
        let mut rising = IncreasingTimes::default();
        let times = [0, 40, 40, 40, 41, 120, 100, 160];
        let times = times.map(|ms| rising.time(Duration::from_millis(ms)).as_millis());
        assert_eq!(times, [0, 40, 41, 42, 43, 120, 121, 160]);
    }
}
