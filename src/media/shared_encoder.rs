//! One H.264 encoder for all outputs that send the same stream.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gstreamer as gst;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::pipeline::{Event, PipelineRole};
use super::rtsp_server::Encoder;
use super::stream_feed::StreamFeed;
use super::video::VideoStream;
use crate::core::encoding::StreamEncoding;
use crate::core::watchdog::Heartbeat;

/// Encodes each frame once, and gives the access units to any number of outputs.
pub struct SharedEncoder {
    encoder: Encoder,
    feeds: Arc<Mutex<Vec<Weak<StreamFeed>>>>,
    caps: gst::Caps,
    /// Time of the newest frame: every output passes on the same frames.
    newest: Mutex<Option<gst::ClockTime>>,
}

impl SharedEncoder {
    /// Starts the encoder. `on_delay` is called for every frame with the time
    /// from its capture until it is encoded.
    ///
    /// # Errors
    /// When an element is missing, or the encoder cannot handle such frames.
    pub fn start(
        role: PipelineRole,
        stream: &VideoStream,
        clock: &LiveClock,
        events: &Sender<Event>,
        encoding: StreamEncoding,
        on_delay: Box<dyn Fn(Duration) + Send + Sync>,
    ) -> Result<Self, PipelineError> {
        let feeds: Arc<Mutex<Vec<Weak<StreamFeed>>>> = Arc::default();
        let to = Arc::clone(&feeds);
        let deliver = move |unit: gst::Buffer| {
            let mut feeds = to.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.retain(|feed| feed.upgrade().inspect(|feed| feed.unit(&unit)).is_some());
        };
        let (encoder, first) = Encoder::start(role, stream, clock, events, encoding, deliver)?;
        encoder.on_encoded(on_delay);
        let caps = first.caps_owned();
        let caps = caps.ok_or_else(|| PipelineError::new("encode", "it produced nothing"))?;
        Ok(SharedEncoder { encoder, feeds, caps, newest: Mutex::default() })
    }

    /// The format of the access units.
    pub(super) fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Gives all further access units to `feed` too, soon beginning with a key frame.
    pub(super) fn send_to(&self, feed: &Arc<StreamFeed>) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.push(Arc::downgrade(feed));
        drop(feeds);
        self.want_key();
    }

    /// Asks for a key frame.
    pub(super) fn want_key(&self) {
        self.encoder.want_key()();
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
}
