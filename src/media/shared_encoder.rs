//! One H.264 encoder for all outputs that send the same stream.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gstreamer as gst;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::pipeline::{Event, PipelineRole};
use super::stream_encoder::{Encoder, OnEncoded, Profile};
use super::video::VideoStream;
use crate::core::encoding::StreamEncoding;
use crate::core::watchdog::Heartbeat;

/// Where access units go.
pub(super) trait UnitConsumer: Send + Sync {
    /// Takes an access unit: its PTS is its running time, it has no DTS. Called on the encoder's thread.
    fn unit(&self, unit: &gst::Buffer);

    /// Whether [`unit`](Self::unit) may wait for a moment; others get each unit before.
    fn may_wait(&self) -> bool {
        false
    }
}

type Consumers = Arc<Mutex<Vec<Weak<dyn UnitConsumer>>>>;

/// Encodes each frame once, and gives the access units to any number of outputs.
pub struct SharedEncoder {
    encoder: Encoder,
    consumers: Consumers,
    caps: gst::Caps,
    /// A black picture at running time zero, with the parameters of the stream.
    first: gst::Buffer,
    /// Time of the newest frame: every output passes on the same frames.
    newest: Mutex<Option<gst::ClockTime>>,
}

impl SharedEncoder {
    /// Starts the encoder. `on_encoded` is called for every frame with the time from its capture until it is encoded.
    ///
    /// # Errors
    /// When an element is missing, or the encoder cannot handle such frames.
    pub fn start(
        role: PipelineRole,
        stream: &VideoStream,
        clock: &LiveClock,
        events: &Sender<Event>,
        encoding: StreamEncoding,
        on_encoded: OnEncoded,
    ) -> Result<Self, PipelineError> {
        let consumers = Consumers::default();
        let to = Arc::clone(&consumers);
        let deliver = move |unit: gst::Buffer| {
            let mut consumers = to.lock().unwrap_or_else(PoisonError::into_inner);
            consumers.retain(|consumer| consumer.strong_count() > 0);
            let consumers: Vec<_> = consumers.iter().filter_map(Weak::upgrade).collect();
            // Without the lock, since some wait.
            consumers.iter().for_each(|consumer| consumer.unit(&unit));
        };
        let settings = (encoding, Profile::Any);
        let (encoder, first) =
            Encoder::start(role, stream, clock, events, settings, on_encoded, deliver)?;
        let parts = first.caps_owned().zip(first.buffer_owned());
        let (caps, first) =
            parts.ok_or_else(|| PipelineError::new("encode", "it produced nothing"))?;
        Ok(SharedEncoder { encoder, consumers, caps, first, newest: Mutex::default() })
    }

    /// The format of the access units.
    pub(super) fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// A black picture at running time zero, with the parameters of the stream.
    pub(super) fn first(&self) -> &gst::Buffer {
        &self.first
    }

    /// Gives all further access units to `consumer` too, soon beginning with a key frame.
    pub(super) fn send_to(&self, consumer: &Arc<impl UnitConsumer + 'static>) {
        let added: Weak<dyn UnitConsumer> = Arc::downgrade(consumer) as _;
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = if consumer.may_wait() { consumers.len() } else { 0 };
        consumers.insert(at, added);
        drop(consumers);
        self.want_key()();
    }

    /// Requests a key frame when it is called.
    pub(super) fn want_key(&self) -> impl Fn() + Send + Sync + 'static {
        self.encoder.want_key()
    }

    /// Takes a frame, unless another output has passed it on already.
    pub fn push(&self, frame: &gst::Buffer) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.pts().is_some() && *newest == frame.pts() {
            return;
        }
        *newest = frame.pts();
        self.encoder.push(frame);
    }

    /// Whether a frame waits to be encoded, and how many have been.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        self.encoder.heartbeat()
    }

    /// Frames that were not encoded.
    pub fn dropped(&self) -> u64 {
        self.encoder.dropped()
    }

    /// The pipeline, as a Graphviz graph.
    pub(super) fn dot(&self) -> String {
        self.encoder.dot()
    }
}
