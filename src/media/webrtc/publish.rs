//! What a publisher sends, on its way to a source.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::core::stop::StopSignal;
use crate::core::timeouts::POLL;
use crate::media::mode::RequestedMode;

/// How a publisher's picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum VideoCodec {
    H264,
    Vp8,
}

impl VideoCodec {
    /// Caps of its frames as they come.
    pub fn caps(self) -> gst::Caps {
        match self {
            VideoCodec::H264 => gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .build(),
            VideoCodec::Vp8 => gst::Caps::builder("video/x-vp8").build(),
        }
    }
}

/// What a source waits for.
pub(in crate::media) struct Publisher {
    pub codec: VideoCodec,
    /// It sends sound (Opus) as well.
    pub sound: bool,
    number: u64,
}

/// The publisher of a run, and the source that takes what it sends.
pub(in crate::media) struct Publishing {
    wanted: Option<RequestedMode>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts publishers.
    number: u64,
    connected: bool,
    codec: Option<VideoCodec>,
    sound: bool,
    target: Option<Target>,
    ended: bool,
}

/// Inputs of a source's pipeline.
struct Target {
    codec: VideoCodec,
    picture: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
    /// A key frame has come.
    flows: bool,
}

impl Publishing {
    pub fn new(wanted: Option<RequestedMode>) -> Self {
        Publishing { wanted, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a publisher should send, where this run takes pictures.
    pub fn wanted(&self) -> Option<RequestedMode> {
        self.wanted
    }

    pub fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// Waits for a publisher's first frame; none if `stop` is set before.
    pub fn wait(&self, stop: &StopSignal) -> Option<Publisher> {
        let mut state = self.state();
        loop {
            if stop.is_set() || state.ended {
                return None;
            }
            if let Some(codec) = state.codec.filter(|_| state.connected) {
                return Some(Publisher { codec, sound: state.sound, number: state.number });
            }
            let waited = self.changed.wait_timeout(state, POLL);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands to these inputs what the publisher sends from now on, beginning with a key frame. False if it has gone.
    pub fn deliver(
        &self,
        publisher: &Publisher,
        picture: gst_app::AppSrc,
        sound: Option<gst_app::AppSrc>,
    ) -> bool {
        let mut state = self.state();
        let here = state.connected && state.number == publisher.number;
        if here {
            let codec = publisher.codec;
            // A key frame is asked for with the next frame.
            state.target = Some(Target { codec, picture, sound, flows: false });
        }
        here
    }

    /// A publisher has come.
    pub fn begin(&self, sound: bool) {
        let mut state = self.state();
        state.number += 1;
        (state.connected, state.codec, state.sound) = (true, None, sound);
    }

    /// Takes a frame; false if a key frame is needed.
    pub fn picture(&self, codec: VideoCodec, data: Arc<[u8]>, pts: Duration, key: bool) -> bool {
        let mut state = self.state();
        if state.codec.replace(codec) != Some(codec) {
            self.changed.notify_all();
        }
        let Some(target) = &mut state.target else { return true };
        if target.codec != codec {
            // The source is opened again, for the other format.
            let _ = target.picture.end_of_stream();
            state.target = None;
            return true;
        }
        target.flows |= key;
        if target.flows {
            push(&target.picture, data, pts);
        }
        target.flows
    }

    /// Takes a packet of sound.
    pub fn sound(&self, data: Arc<[u8]>, pts: Duration) {
        let state = self.state();
        if let Some(input) = state.target.as_ref().and_then(|target| target.sound.as_ref()) {
            push(input, data, pts);
        }
    }

    /// The publisher has gone: the source ends.
    pub fn gone(&self) {
        let mut state = self.state();
        (state.connected, state.codec) = (false, None);
        let target = state.target.take();
        drop(state);
        if let Some(Target { picture, sound, .. }) = target {
            for input in [Some(picture), sound].into_iter().flatten() {
                let _ = input.end_of_stream();
            }
        }
    }

    /// Nobody comes any more.
    pub fn end(&self) {
        self.gone();
        self.state().ended = true;
        self.changed.notify_all();
    }
}

fn push(input: &gst_app::AppSrc, data: Arc<[u8]>, pts: Duration) {
    let mut buffer = gst::Buffer::from_slice(data);
    if let Some(writable) = buffer.get_mut() {
        writable.set_pts(gst::ClockTime::try_from(pts).ok());
    }
    // Refused only when the pipeline has failed, which its bus tells.
    let _ = input.push_buffer(buffer);
}
