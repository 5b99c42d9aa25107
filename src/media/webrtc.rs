//! WebRTC: browsers see a live run by WHEP, and send it their camera by WHIP.
//!
//! str0m speaks the protocols (ICE, DTLS, SRTP), GStreamer encodes and decodes. One thread (`webrtc`) owns all
//! connections and their sockets; whatever is handed to it is dropped where it does not keep up, so that the frame path
//! never waits. Who may connect is decided by whoever takes the offers (HTTP).
//!
//! - [`WebRtc`]: the handle; `peers`: the thread; `peer`: one connection
//! - `view`: what viewers get: one encoder for all, which runs while somebody watches
//! - `publish`: what a publisher sends, on its way to a source

mod peer;
mod peers;
mod publish;
mod view;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gstreamer as gst;
use tokio::sync::{Notify, mpsc, oneshot};

use self::peers::{Command, Peers};
use self::publish::Publishing;
use self::view::View;
use super::clock::LiveClock;
use super::live_audio::LiveAudio;
use super::mode::RequestedMode;
use super::video::VideoStream;

/// Viewers and publishers that are connected at a time.
pub const MOST_PEERS: usize = 16;
/// Commands that wait for the thread.
const COMMANDS: usize = 64;

/// What a peer is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// It gets picture and sound (WHEP).
    Viewer,
    /// It sends picture and sound (WHIP).
    Publisher,
}

/// A connection that was accepted; it is open once the peer has sent its first packets.
#[derive(Debug)]
pub struct Accepted {
    /// Names it from now on.
    pub id: String,
    /// The answer (SDP).
    pub answer: String,
}

/// Why an offer is not accepted: a line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no offer, or one that cannot be answered.
    #[error("{0}")]
    Offer(String),
    /// It has no format that can be sent or taken.
    #[error("{0}")]
    Format(String),
    /// Another publisher is here, or this run takes none.
    #[error("{0}")]
    Publisher(String),
    /// There is no room, or no socket.
    #[error("{0}")]
    Full(String),
}

/// All WebRTC connections of a run. Clones share them.
#[derive(Clone)]
pub struct WebRtc(Arc<Shared>);

struct Shared {
    commands: mpsc::Sender<Command>,
    ends: Arc<Notify>,
    view: Arc<View>,
    publishing: Arc<Publishing>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WebRtc {
    /// Starts the thread. UDP uses the port `port`, where it is free. With `publisher`, a camera like that is taken.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(port: u16, publisher: Option<RequestedMode>) -> std::io::Result<Self> {
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (view, media) = View::new();
        let view = Arc::new(view);
        let publishing = Arc::new(Publishing::new(publisher));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (to, from) = (Arc::clone(&view), Arc::clone(&publishing));
        let ends = Arc::new(Notify::new());
        let end = Arc::clone(&ends);
        let work = move || {
            let peers = Peers::new(port, to, from);
            runtime.block_on(peers.run(taken, media, end));
        };
        let thread = std::thread::Builder::new().name("webrtc".into()).spawn(work)?;
        let thread = Mutex::new(Some(thread));
        Ok(WebRtc(Arc::new(Shared { commands, ends, view, publishing, thread })))
    }

    /// Answers an offer (SDP) that came to the address `at` of this machine, which is where packets are expected.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn accept(
        &self,
        role: PeerRole,
        offer: String,
        at: IpAddr,
    ) -> Result<Accepted, Refused> {
        let (answer, comes) = oneshot::channel();
        let ended = || Refused::Full("the run is ending".to_owned());
        let command = Command::Accept { role, offer, at, answer };
        self.0.commands.send(command).await.map_err(|_| ended())?;
        comes.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Ends a connection; false if there is no such one.
    pub async fn close(&self, role: PeerRole, id: String) -> bool {
        let (done, comes) = oneshot::channel();
        let sent = self.0.commands.send(Command::Close { role, id, done }).await;
        sent.is_ok() && comes.await.unwrap_or(false)
    }

    /// Viewers that are connected.
    pub fn viewers(&self) -> usize {
        self.0.view.viewers()
    }

    /// Whether a publisher is connected, and what its camera should give; none where this run takes none.
    pub fn publisher(&self) -> Option<(bool, RequestedMode)> {
        Some((self.0.publishing.is_connected(), self.0.publishing.wanted()?))
    }

    /// Where a publisher's picture and sound come from.
    pub(super) fn publishing(&self) -> &Arc<Publishing> {
        &self.0.publishing
    }

    /// Viewers get frames like those of `stream`, and this sound, from now on.
    pub fn begin(&self, stream: &VideoStream, clock: &LiveClock, audio: Option<&LiveAudio>) {
        self.0.view.begin(stream, clock, audio);
    }

    /// Takes a frame for the viewers, if there are any. Never waits.
    pub fn push(&self, frame: &gst::Buffer) {
        self.0.view.push(frame);
    }

    /// Ends all connections, and the thread.
    pub fn end(&self) {
        self.0.ends.notify_one();
        self.0.publishing.end();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
        self.0.view.end();
    }
}

impl std::fmt::Debug for WebRtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebRtc")
    }
}
