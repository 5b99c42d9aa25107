//! An RTSP server: frames → any number of clients.
//!
//! There is **one** encoder ([`SharedEncoder`]), in a pipeline of its own, and one RTSP media that all clients share: a client
//! costs a socket and the data it has not yet read. The media is prepared once, at the start, and stays
//! prepared: no request waits for a frame, and clients that connect, leave, stall or are killed do not affect
//! the others.
//!
//! Threads: the encoder's, "rtsp" (connections and requests), "rtsp-media" (the media's messages),
//! and gst-rtsp-server's own for sending.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;

mod factory;
mod listener;
mod sound;

pub(super) use sound::can_carry as rtp_sound;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::shared_encoder::SharedEncoder;
use crate::core::watchdog::Heartbeat;
use factory::{ClientOutput, InitialData, MediaDescription, SharedFactory};
use listener::{Listener, Media};

const DESCRIPTION: &str = include_str!("../../pipelines/serve-rtsp.pipeline");

/// How long clients have to receive the end of stream.
const FAREWELL: Duration = Duration::from_millis(100);

/// Where an RTSP server listens, and who may watch.
#[derive(Clone, PartialEq, Eq)]
pub struct ServeAddress {
    /// The IP address to listen at; `0.0.0.0` or `::` for all of this machine.
    pub host: String,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// The path of the stream, with its leading slash: `/art`.
    pub path: String,
    /// User and password; none: everybody who reaches the port may watch.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for ServeAddress {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let guarded = if self.user.is_some() { " (with a password)" } else { "" };
        write!(f, "{}{guarded}", self.url(self.port))
    }
}

impl ServeAddress {
    fn url(&self, port: u16) -> String {
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("rtsp://{host}:{port}{}", self.path)
    }

    fn checked(&self) -> Result<SocketAddr, PipelineError> {
        let ip: IpAddr = self.host.parse().map_err(|_| {
            failed(format!("cannot serve at '{}': not an IP address of this machine", self.host))
        })?;
        let plain = |c: char| c.is_ascii_graphic() && !"?#%*\\\"".contains(c);
        let path = self.path.strip_prefix('/').filter(|path| {
            path.chars().all(plain) && (path.is_empty() || path.split('/').all(|p| !p.is_empty()))
        });
        if path.is_none() {
            return Err(failed(format!(
                "cannot serve at path '{}': write /NAME, plain letters",
                self.path
            )));
        }
        Ok(SocketAddr::new(ip, self.port))
    }
}

fn failed(error: impl Into<String>) -> PipelineError {
    PipelineError::new("rtsp server", error)
}

/// The sessions that are watching.
#[derive(Default)]
struct ClientSessions(Mutex<HashSet<String>>);

impl ClientSessions {
    /// Notes that a session starts or stops watching; the client output is open while there is any.
    fn change(&self, client_output: &ClientOutput, session: String, watches: bool) {
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watches {
            watchers.insert(session);
        } else {
            watchers.remove(&session);
        }
        client_output.open(!watchers.is_empty());
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A running RTSP server. Dropping it ends the clients' streams and stops all threads.
pub struct RtspServer {
    encoder: Arc<SharedEncoder>,
    client_output: Arc<ClientOutput>,
    watchers: Arc<ClientSessions>,
    listener: Listener,
    // Dropped after the listener, when no client uses it any more.
    _media: Media,
    url: String,
    notes: Vec<String>,
}

impl RtspServer {
    /// Listens at `address` for clients of what `encoder` encodes and, if RTP can carry them, of packets like `audio`.
    /// Timestamps of frames and packets refer to `clock`. Events are reported to `events` with the output
    /// number `number`.
    ///
    /// # Errors
    /// [`PipelineError`]: the port is taken, the address is not of this machine, an element is
    /// missing.
    pub fn start(
        address: &ServeAddress,
        number: usize,
        encoder: &Arc<SharedEncoder>,
        audio: Option<&gst::Caps>,
        clock: &LiveClock,
        events: Sender<Event>,
    ) -> Result<Self, PipelineError> {
        super::init()?;
        let role = PipelineRole::Sink(number);
        let listener = Listener::build(address)?;
        let client_output = Arc::new(ClientOutput::default());

        let mut description = DESCRIPTION.to_owned();
        let mut notes = Vec::new();
        let audio = audio.and_then(|caps| match sound::payloader(caps) {
            Ok((elements, initial)) => {
                description.push_str(&elements);
                Some(initial)
            }
            Err(note) => {
                notes.push(note);
                None
            }
        });
        // Parsed only to name a missing element in the error; the factory builds its own.
        drop(Pipeline::parse(role, &description)?);
        let video = InitialData::new(encoder.caps().clone(), encoder.first().clone());
        let (clock, kept) = (clock.clone(), Arc::clone(&client_output));
        let factory = SharedFactory::new(MediaDescription {
            description,
            clock,
            client_output: kept,
            video,
            audio,
        });

        let url = listener.mount(address, &factory);
        let watchers = Arc::new(ClientSessions::default());
        listener.watch(&watchers, &client_output, encoder.want_key());
        let media = Media::prepare(&factory, &url)?;
        let listener = listener.open(&media.media, role, events)?;
        encoder.send_to(&client_output);
        let encoder = Arc::clone(encoder);
        Ok(RtspServer { encoder, client_output, watchers, listener, _media: media, url, notes })
    }

    /// The address for clients, without user and password.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// What the user should know: sound that cannot be sent.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Passes on a frame whose PTS is its running time on the clock. Never blocks: a frame that still waits
    /// for the encoder is replaced by this one and dropped.
    pub fn push_frame(&self, buffer: &gst::Buffer) {
        self.encoder.push(buffer);
    }

    /// Passes on an encoded sound packet whose PTS is its running time on the clock. Never blocks.
    pub fn push_audio(&self, packet: &gst::Buffer) {
        self.client_output.packet(packet);
    }

    /// How many clients watch at this moment.
    pub fn clients(&self) -> usize {
        self.watchers.count()
    }

    /// Number of frames not encoded, since newer ones replaced them or their timestamps did not increase.
    pub fn dropped(&self) -> u64 {
        self.encoder.dropped()
    }

    /// Whether a frame waits to be encoded, and how many have been.
    pub fn heartbeat(&self) -> Heartbeat {
        self.encoder.heartbeat()
    }

    /// The encoder's pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.encoder.dot()
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.listener.listening.destroy();
        self.client_output.end();
        if self.clients() > 0 {
            std::thread::sleep(FAREWELL);
        }
    }
}
