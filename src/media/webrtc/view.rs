//! What viewers get: frames encoded once for all of them, while somebody watches, and the sound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use tokio::sync::mpsc;

use crate::core::encoding::{Container, StreamEncoding};
use crate::media::clock::LiveClock;
use crate::media::error::PipelineError;
use crate::media::live_audio::LiveAudio;
use crate::media::live_encode::SoundEncoder;
use crate::media::pipeline::{Event, PipelineRole};
use crate::media::stream_encoder::{Encoder, Profile};
use crate::media::video::VideoStream;

/// Encoded pictures and packets of sound that wait for the thread of the connections.
const WAITING: usize = 128;
/// Between two key frames that nobody has asked for: viewers ask where they need one.
const KEY_INTERVAL: Duration = Duration::from_secs(10);
/// The encoder goes on so long after the last viewer: a page that is loaded again finds it.
const LINGERS: Duration = Duration::from_secs(3);

/// An access unit of H.264 or a packet of Opus.
pub(super) struct Unit {
    pub kind: UnitKind,
    pub data: Arc<[u8]>,
    /// On the run's clock.
    pub pts: Duration,
    /// When it was captured.
    pub at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitKind {
    KeyPicture,
    Picture,
    Sound,
}

/// The way from frames to viewers.
pub(super) struct View {
    units: mpsc::Sender<Unit>,
    viewers: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is encoded; none before the source is open.
    source: Option<Source>,
    encoding: Encoding,
    /// When the last viewer left.
    left: Option<Instant>,
}

#[derive(Clone)]
struct Source {
    stream: VideoStream,
    clock: LiveClock,
    audio: Option<LiveAudio>,
}

#[derive(Default)]
enum Encoding {
    #[default]
    Off,
    /// A thread starts the encoders.
    Starting,
    On(Box<Encoders>),
    /// It has failed; viewers get nothing more.
    Failed,
}

struct Encoders {
    picture: Encoder,
    /// None where there is no sound, or it is Opus already.
    sound: Option<SoundEncoder>,
    /// Sound is passed on as it comes.
    passes_sound: bool,
    failures: Receiver<Event>,
}

impl View {
    /// With the units that are to be sent.
    pub fn new() -> (Self, mpsc::Receiver<Unit>) {
        let (units, sent) = mpsc::channel(WAITING);
        (View { units, viewers: AtomicUsize::new(0), state: Mutex::default() }, sent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Frames of this kind are to come.
    pub fn begin(
        self: &Arc<Self>,
        stream: &VideoStream,
        clock: &LiveClock,
        audio: Option<&LiveAudio>,
    ) {
        let source = Source { stream: stream.clone(), clock: clock.clone(), audio: audio.cloned() };
        self.state().source = Some(source);
        if let Some(audio) = audio {
            // The source outlives the viewers.
            let this = Arc::downgrade(self);
            audio.send_to(move |packet| {
                if let Some(view) = this.upgrade().filter(|view| view.viewers() > 0) {
                    view.sound(packet);
                }
            });
        }
    }

    /// Takes a frame.
    pub fn push(&self, frame: &gst::Buffer) {
        if self.viewers() == 0 {
            return;
        }
        if let Encoding::On(encoders) = &self.state().encoding {
            encoders.picture.push(frame);
        }
    }

    fn sound(&self, packet: &gst::Buffer) {
        let state = self.state();
        let (Encoding::On(encoders), Some(source)) = (&state.encoding, &state.source) else {
            return;
        };
        match &encoders.sound {
            Some(encoder) => encoder.push(packet),
            None if encoders.passes_sound => {
                send(&self.units, &source.clock, UnitKind::Sound, packet);
            }
            None => {}
        }
    }

    /// Asks for a key frame.
    pub fn want_key(&self) {
        if let Encoding::On(encoders) = &self.state().encoding {
            encoders.picture.want_key()();
        }
    }

    /// So many viewers are here now. False if they can get nothing.
    pub fn watched_by(self: &Arc<Self>, viewers: usize) -> bool {
        let before = self.viewers.swap(viewers, Ordering::Relaxed);
        let mut state = self.state();
        match (before, viewers) {
            (1.., 0) => state.left = Some(Instant::now()),
            (_, 0) => {}
            _ => state.left = None,
        }
        if viewers == 0
            && state.left.is_some_and(|at| at.elapsed() > LINGERS)
            && !matches!(state.encoding, Encoding::Starting)
        {
            state.left = None;
            let before = std::mem::take(&mut state.encoding);
            drop(state);
            // On a thread of its own: it may wait for the encoder.
            let _ = std::thread::Builder::new().name("close".into()).spawn(move || drop(before));
            return true;
        }
        if let Encoding::On(encoders) = &state.encoding
            && let Some(error) = encoders.failure()
        {
            tracing::warn!("viewers get no picture: {error}");
            let failed = std::mem::replace(&mut state.encoding, Encoding::Failed);
            let _ = std::thread::Builder::new().name("close".into()).spawn(move || drop(failed));
        }
        if viewers > 0 && matches!(state.encoding, Encoding::Off) && state.source.is_some() {
            state.encoding = Encoding::Starting;
            drop(state);
            let this = Arc::clone(self);
            let start = move || this.start();
            if std::thread::Builder::new().name("view".into()).spawn(start).is_err() {
                self.state().encoding = Encoding::Off;
            }
            return true;
        }
        !matches!(state.encoding, Encoding::Failed)
    }

    /// Starts the encoders, which takes a moment.
    fn start(&self) {
        let Some(source) = self.state().source.clone() else { return };
        let encoding = match Encoders::start(&source, &self.units) {
            Ok(encoders) => Encoding::On(Box::new(encoders)),
            Err(error) => {
                tracing::warn!("viewers get no picture: {error}");
                Encoding::Failed
            }
        };
        self.state().encoding = encoding;
    }

    /// Ends the encoders.
    pub fn end(&self) {
        self.viewers.store(0, Ordering::Relaxed);
        let mut state = self.state();
        state.source = None;
        let before = std::mem::take(&mut state.encoding);
        drop(state);
        drop(before);
    }
}

impl Encoders {
    fn start(source: &Source, units: &mpsc::Sender<Unit>) -> Result<Self, PipelineError> {
        let (events, failures) = channel();
        let (to, clock) = (units.clone(), source.clock.clone());
        let deliver = move |unit: gst::Buffer| {
            let delta = unit.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let kind = if delta { UnitKind::Picture } else { UnitKind::KeyPicture };
            send(&to, &clock, kind, &unit);
        };
        let encoding = StreamEncoding { key_interval: KEY_INTERVAL, bitrate: None };
        let role = PipelineRole::Sink(usize::MAX);
        let (picture, _) = Encoder::start(
            role,
            &source.stream,
            &source.clock,
            &events,
            (encoding, Profile::ConstrainedBaseline),
            Box::new(|_| {}),
            deliver,
        )?;
        let caps = source.audio.as_ref().map(LiveAudio::caps);
        let passes_sound = caps.is_some_and(is_opus);
        let sound = caps.filter(|_| !passes_sound).and_then(|caps| {
            let started = sound_encoder(caps, units, &source.clock);
            let note = |error: &PipelineError| tracing::warn!("viewers get no sound: {error}");
            started.inspect_err(note).ok()
        });
        Ok(Encoders { picture, sound, passes_sound, failures })
    }

    fn failure(&self) -> Option<PipelineError> {
        self.failures.try_iter().find_map(|event| match event {
            Event::Failed(_, error) => Some(error),
            _ => None,
        })
    }
}

fn sound_encoder(
    caps: &gst::Caps,
    units: &mpsc::Sender<Unit>,
    clock: &LiveClock,
) -> Result<SoundEncoder, PipelineError> {
    let encoder = SoundEncoder::open(caps, Container::WebM, "Opus")?;
    let (to, clock) = (units.clone(), clock.clone());
    let take = move |packet: &gst::Buffer| send(&to, &clock, UnitKind::Sound, packet);
    encoder.start(take, |why| {
        if let Some(error) = why {
            tracing::warn!("viewers get no more sound: {error}");
        }
    })?;
    Ok(encoder)
}

/// Whether it goes out as it is: WebRTC carries Opus of one or two channels.
fn is_opus(caps: &gst::Caps) -> bool {
    caps.structure(0).is_some_and(|format| {
        let channels = format.get::<i32>("channels").unwrap_or(2);
        format.name() == "audio/x-opus" && (1..=2).contains(&channels)
    })
}

/// Hands on what is encoded; what the thread does not take in time is dropped, and viewers ask for a key frame.
fn send(units: &mpsc::Sender<Unit>, clock: &LiveClock, kind: UnitKind, buffer: &gst::Buffer) {
    let Some(pts) = buffer.pts().map(Duration::from) else { return };
    let Ok(bytes) = buffer.map_readable() else { return };
    let age = clock.now().saturating_sub(pts);
    let now = Instant::now();
    let at = now.checked_sub(age).unwrap_or(now);
    let _ = units.try_send(Unit { kind, data: bytes.as_slice().into(), pts, at });
}
