//! The sound of a live source, for any number of outputs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::live_encode::SoundEncoder;
use super::pipeline::Pipeline;
use super::sound_format::{Silence, is_alike};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{LIVE_SOUND, LIVE_SOUND_ANNOUNCED, POLL, WaitTimer};

/// How much silence is sent at once where sound has been missing: more than a source takes to be given up.
const MOST_SILENCE: Duration = Duration::from_secs(10);

/// The sound of a live source, still encoded; any number of outputs may take it. Its format stays that of the first
/// connection to the source. Clones share it.
#[derive(Clone)]
pub struct LiveAudio(Arc<Shared>);

struct Shared {
    caps: gst::Caps,
    state: Mutex<State>,
    /// Converts the sound of a connection whose format is another one.
    converter: Mutex<Option<Arc<SoundEncoder>>>,
    /// The present connection has no sound, or none that fits.
    absent: AtomicBool,
}

type PacketCallback = Box<dyn Fn(&gst::Buffer) + Send>;

#[derive(Default)]
struct State {
    takers: Vec<PacketCallback>,
    /// The end of the newest packet.
    end: Duration,
    /// The newest packet is silence of ours.
    filled: bool,
    silence: Option<Silence>,
}

impl LiveAudio {
    /// The sound of a source in the format of its first connection.
    pub(super) fn of(packets: &Packets) -> Self {
        LiveAudio::with_format(packets.caps.clone())
    }

    fn with_format(caps: gst::Caps) -> Self {
        LiveAudio(Arc::new(Shared {
            caps,
            state: Mutex::default(),
            converter: Mutex::default(),
            absent: AtomicBool::new(false),
        }))
    }

    /// Sound of the same format that is passed on by hand, for a part of the time.
    pub fn part(&self) -> Self {
        LiveAudio::with_format(self.0.caps.clone())
    }

    /// Passes on a packet of [`part`](Self::part) of another sound.
    pub fn pass(&self, packet: &gst::Buffer) {
        self.0.packet(packet);
    }

    /// The format of its packets.
    pub fn caps(&self) -> &gst::Caps {
        &self.0.caps
    }

    /// Calls `take` with every further packet, timestamped in running time; `take` must not block.
    pub fn send_to(&self, take: impl Fn(&gst::Buffer) + Send + 'static) {
        self.0.state().takers.push(Box::new(take));
    }

    /// Takes the sound of a connection from now on; `place` puts its timestamps onto the run's clock. Sound of another
    /// format is converted.
    pub(super) fn take_from(
        &self,
        packets: Option<&Packets>,
        place: impl Fn(Option<Duration>) -> Duration + Send + 'static,
    ) {
        let shared = &self.0;
        let earlier = shared.converter().take();
        drop(earlier);
        shared.absent.store(packets.is_none(), Ordering::Relaxed);
        let Some(packets) = packets else { return };
        if is_alike(&packets.caps, &shared.caps) {
            let shared = Arc::clone(shared);
            return packets.send_to(place, move |packet| shared.packet(packet));
        }
        match self.convert(&packets.caps) {
            Ok(converter) => {
                tracing::warn!("its sound has changed its format: the outputs keep the first one");
                *shared.converter() = Some(Arc::clone(&converter));
                packets.send_to(place, move |packet| converter.push(packet));
            }
            Err(error) => {
                shared.absent.store(true, Ordering::Relaxed);
                tracing::warn!("its sound has changed its format and is left out: {error}");
            }
        }
    }

    /// A running converter from `caps` to the format of the first connection.
    fn convert(&self, caps: &gst::Caps) -> Result<Arc<SoundEncoder>, super::PipelineError> {
        let converter = SoundEncoder::into_format(caps, &self.0.caps)?;
        let (taker, failing) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        converter.start(
            move |packet| {
                if let Some(taker) = taker.upgrade() {
                    taker.packet(packet);
                }
            },
            move |error| {
                if let (Some(error), Some(shared)) = (error, failing.upgrade()) {
                    shared.absent.store(true, Ordering::Relaxed);
                    tracing::warn!("its sound cannot be converted: {error}");
                }
            },
        )?;
        Ok(Arc::new(converter))
    }

    /// Makes the packet of silence that [`fill`](Self::fill) repeats, if this format has one.
    pub(super) fn prepare_silence(&self) {
        if self.0.state().silence.is_none() {
            let silence = Silence::of(&self.0.caps);
            self.0.state().silence = silence;
        }
    }

    /// Whether the present connection has no sound that can be used.
    pub fn is_absent(&self) -> bool {
        self.0.absent.load(Ordering::Relaxed)
    }

    /// Sends silence up to this time.
    pub fn fill(&self, until: Duration) {
        let mut state = self.0.state();
        let Some(silence) = state.silence.clone() else { return };
        let mut at = state.end.max(until.saturating_sub(MOST_SILENCE));
        while at + silence.duration() <= until {
            let packet = silence.at(at);
            state.takers.iter().for_each(|take| take(&packet));
            at += silence.duration();
            (state.end, state.filled) = (at, true);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn converter(&self) -> MutexGuard<'_, Option<Arc<SoundEncoder>>> {
        self.converter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn packet(&self, packet: &gst::Buffer) {
        let mut state = self.state();
        if let Some(pts) = packet.pts().map(Duration::from) {
            // Its time has been filled with silence already.
            if state.filled && pts < state.end {
                return;
            }
            state.filled = false;
            state.end = pts + packet.duration().map(Duration::from).unwrap_or_default();
        }
        state.takers.iter().for_each(|take| take(packet));
    }
}

/// The packets of one connection; they are dropped while nobody takes them.
pub(super) struct Packets {
    sink: gst_app::AppSink,
    caps: gst::Caps,
    taker: Arc<Mutex<Option<Taker>>>,
}

type Taker = Box<dyn Fn(gst::Buffer) + Send>;

impl Packets {
    /// The sound delivered by the appsink `packets`, once its first packet has arrived; none if there is none, or if
    /// `stop` is set before.
    pub fn of(pipeline: &Pipeline, stop: &StopSignal) -> Option<Self> {
        let sink = pipeline.gst().by_name("packets").and_downcast::<gst_app::AppSink>()?;
        let pad = sink.static_pad("sink")?;
        // Sound often comes a little after the first picture.
        let mut timer = WaitTimer::new();
        let linked = || pipeline.gst().by_name("track")?.static_pad("sink")?.peer();
        let caps = loop {
            match pad.current_caps() {
                Some(caps) => break caps,
                None if stop.is_set() => return None,
                None if linked().is_none() && timer.is_over(LIVE_SOUND_ANNOUNCED) => return None,
                None if timer.is_over(LIVE_SOUND_ANNOUNCED + LIVE_SOUND) => return None,
                None => std::thread::sleep(POLL),
            }
        };
        let taker: Arc<Mutex<Option<Taker>>> = Arc::default();
        let to = Arc::clone(&taker);
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let taker = to.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(take), Some(packet)) = (&*taker, packet_in_running_time(&sample)) {
                    take(packet);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        sink.set_callbacks(callbacks);
        Some(Packets { sink, caps, taker })
    }

    /// Where they come out of the pipeline.
    pub fn sink(&self) -> &gst_app::AppSink {
        &self.sink
    }

    /// Calls `take` with every further packet, at the time that `place` gives it.
    fn send_to(
        &self,
        place: impl Fn(Option<Duration>) -> Duration + Send + 'static,
        take: impl Fn(&gst::Buffer) + Send + 'static,
    ) {
        let take: Taker = Box::new(move |mut packet| {
            let at = gst::ClockTime::try_from(place(packet.pts().map(Duration::from))).ok();
            let decoded = packet.dts().and(at);
            let writable = packet.make_mut();
            writable.set_pts(at);
            writable.set_dts(decoded);
            take(&packet);
        });
        *self.taker.lock().unwrap_or_else(PoisonError::into_inner) = Some(take);
    }
}

/// The packet with its timestamp in running time; none if it lies before the segment.
pub(super) fn packet_in_running_time(sample: &gst::SampleRef) -> Option<gst::Buffer> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut packet = sample.buffer_owned()?;
    let pts = match packet.pts().or(packet.dts()) {
        Some(pts) => Some(segment.to_running_time(pts)?),
        None => None,
    };
    let dts = packet.dts().and_then(|dts| segment.to_running_time(dts));
    let writable = packet.make_mut();
    writable.set_pts(pts);
    writable.set_dts(dts);
    Some(packet)
}
