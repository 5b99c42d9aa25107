//! Sends the stylized stream, H.264 with AAC, over the network: MPEG-TS by SRT or UDP, FLV by RTMP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::live_audio::LiveAudio;
use super::live_encode::SoundEncoder;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::shared_encoder::SharedEncoder;
use super::stream_feed::StreamFeed;
use crate::core::encoding::Container;
use crate::core::stream_url::{StreamScheme, StreamUrl};
use crate::core::timeouts::LEAVE_MEDIA_SERVER;
use crate::core::watchdog::Heartbeat;

const MPEG_TS: &str = include_str!("../../pipelines/sink-mpegts.pipeline");
const RTMP: &str = include_str!("../../pipelines/sink-rtmp.pipeline");

/// A connection that has taken this many buffers is one: before that, what waits for its first answer holds them up.
const DELIVERED: u64 = 10;

/// A stream that is sent.
pub struct StreamSink {
    pipeline: Pipeline,
    feed: Arc<StreamFeed>,
    encoder: Arc<SharedEncoder>,
    /// Encodes the sound, unless it is sent as it is.
    sound: Option<Arc<SoundEncoder>>,
    passed: Arc<AtomicU64>,
    notes: Vec<String>,
}

impl StreamSink {
    /// Begins to send what `encoder` encodes, with the sound if there is any. Later events are reported to `events`
    /// with the output number `number`.
    ///
    /// # Errors
    /// When an element is missing, or the address cannot be used.
    pub fn open(
        url: &StreamUrl,
        number: usize,
        encoder: &Arc<SharedEncoder>,
        audio: Option<&LiveAudio>,
        clock: &LiveClock,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let description = match url.scheme() {
            StreamScheme::Rtmp => RTMP.to_owned(),
            StreamScheme::Srt => MPEG_TS.replace("udpsink name", "srtsink name"),
            StreamScheme::Udp => MPEG_TS.to_owned(),
            StreamScheme::Http => {
                return Err(PipelineError::new("http", "a stream is not sent over HTTP"));
            }
        };
        let (mut notes, mut sound) = (Vec::new(), None);
        let tracks = audio.and_then(|audio| match sound_of(audio.caps()) {
            Ok(track) => Some(track),
            Err(error) => {
                notes.push(format!("the sound is not sent: {error}"));
                None
            }
        });
        let more = tracks.as_ref().map_or_else(String::new, |track| {
            let parser = track.parser;
            format!("\nappsrc name=packets format=time is-live=true ! {parser} ! mux.\n")
        });
        let pipeline = Pipeline::parse(PipelineRole::Sink(number), &(description + &more))?;
        clock.apply_to(pipeline.gst());
        let server = pipeline.element("server")?;
        set_up(&server, url)?;
        let units: gst_app::AppSrc = pipeline.element_as("units")?;
        units.set_caps(Some(encoder.caps()));
        let packets = match &tracks {
            Some(track) => {
                let packets: gst_app::AppSrc = pipeline.element_as("packets")?;
                packets.set_caps(Some(&track.caps));
                Some(packets)
            }
            None => None,
        };
        let passed = Arc::new(AtomicU64::new(0));
        if let Some(pad) = server.static_pad("sink") {
            let count = Arc::clone(&passed);
            let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
            pad.add_probe(types, move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        if url.scheme() == StreamScheme::Srt {
            // A client that joins need not wait for a picture.
            let encoder = Arc::downgrade(encoder);
            server.connect("caller-added", false, move |_| {
                if let Some(encoder) = encoder.upgrade() {
                    encoder.want_key();
                }
                None
            });
        }
        let feed = Arc::new(StreamFeed::into(units, packets));
        pipeline.set_state(gst::State::Playing)?;
        pipeline.forward(events.clone());
        if let (Some(track), Some(audio)) = (tracks, audio) {
            sound = track.encoder.map(Arc::new);
            send_sound(audio, sound.as_ref(), &feed)?;
        }
        encoder.send_to(&feed);
        Ok(StreamSink { pipeline, feed, encoder: Arc::clone(encoder), sound, passed, notes })
    }

    /// Takes a frame. Never blocks.
    pub fn push(&self, frame: &gst::Buffer) {
        self.encoder.push(frame);
    }

    /// Whether a frame waits for the encoder.
    pub fn waits_for_encoder(&self) -> bool {
        self.encoder.heartbeat().works
    }

    /// Whether frames wait for the encoder, or what it has encoded for the output; and how many have been taken.
    pub fn heartbeat(&self) -> Heartbeat {
        let (encoder, feed) = (self.encoder.heartbeat(), self.feed.heartbeat());
        if encoder.works && !feed.works { encoder } else { feed }
    }

    /// How many frames were not sent.
    pub fn dropped(&self) -> u64 {
        self.encoder.dropped() + self.feed.dropped()
    }

    /// Whether something has been sent to the other end.
    pub fn has_delivered(&self) -> bool {
        self.passed.load(Ordering::Relaxed) > DELIVERED
    }

    /// Ends the stream. Returns how long that may take.
    pub fn end(&self) -> Duration {
        if let Some(sound) = &self.sound {
            sound.end();
        }
        self.feed.end();
        LEAVE_MEDIA_SERVER
    }

    /// What the user should know: sound that cannot be sent.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

/// The track of sound of a stream.
pub(super) struct SoundTrack {
    pub caps: gst::Caps,
    pub parser: &'static str,
    pub encoder: Option<SoundEncoder>,
}

/// Sound of this format in a stream: AAC and MP3 as they are, anything else encoded as AAC.
pub(super) fn sound_of(caps: &gst::Caps) -> Result<SoundTrack, PipelineError> {
    let format = caps.structure(0);
    let mpeg = format.filter(|format| format.name() == "audio/mpeg");
    let parser = match mpeg.and_then(|format| format.get::<i32>("mpegversion").ok()) {
        Some(1) => Some("mpegaudioparse"),
        Some(_) => Some("aacparse"),
        None => None,
    };
    let latm = mpeg.is_some_and(|format| format.get::<&str>("stream-format") == Ok("loas"));
    if let Some(parser) = parser.filter(|_| !latm) {
        return Ok(SoundTrack { caps: caps.clone(), parser, encoder: None });
    }
    let encoder = SoundEncoder::open(caps, Container::Mp4, "AAC")?;
    Ok(SoundTrack { caps: encoder.caps().clone(), parser: "aacparse", encoder: Some(encoder) })
}

/// Sends the packets of a live source into a stream.
pub(super) fn send_sound(
    audio: &LiveAudio,
    encoder: Option<&Arc<SoundEncoder>>,
    feed: &Arc<StreamFeed>,
) -> Result<(), PipelineError> {
    // Weak references: the source outlives the stream.
    let to = Arc::downgrade(feed);
    let take = move |packet: &gst::Buffer| {
        if let Some(feed) = to.upgrade() {
            feed.packet(packet);
        }
    };
    let Some(encoder) = encoder else {
        audio.send_to(take);
        return Ok(());
    };
    encoder.start(take, |why| {
        if let Some(error) = why {
            tracing::warn!("the sound cannot be encoded; the stream continues without it: {error}");
        }
    })?;
    let encoder = Arc::downgrade(encoder);
    audio.send_to(move |packet| {
        if let Some(encoder) = encoder.upgrade() {
            encoder.push(packet);
        }
    });
    Ok(())
}

/// Sets the element that sends. Secrets are properties that graphs leave out.
fn set_up(server: &gst::Element, url: &StreamUrl) -> Result<(), PipelineError> {
    let (host, port) = url.host_and_port();
    if url.listens() && url.scheme() != StreamScheme::Srt {
        return Err(PipelineError::new("stream", "its address names no host to send to"));
    }
    match url.scheme() {
        StreamScheme::Udp => {
            server.set_property("host", host);
            server.set_property("port", i32::from(port.unwrap_or_default()));
            // Room for the burst of a key frame.
            server.set_property("buffer-size", 4_194_304i32);
        }
        StreamScheme::Srt => set_up_srt(server, url)?,
        StreamScheme::Rtmp => {
            server.set_property("location", url.location());
            if let Some((user, password)) = url.credentials() {
                server.set_property("username", user);
                server.set_property("password", password);
            }
        }
        StreamScheme::Http => {}
    }
    Ok(())
}

fn set_up_srt(server: &gst::Element, url: &StreamUrl) -> Result<(), PipelineError> {
    let bad = |text: String| PipelineError::new("srt", text);
    let (host, port) = url.host_and_port();
    let listens = match url.query("mode").as_deref() {
        None => url.listens(),
        Some("listener") => true,
        Some("caller") => false,
        Some(other) => return Err(bad(format!("mode={other}: expected caller or listener"))),
    };
    server.set_property("uri", format!("srt://{host}:{}", port.unwrap_or_default()));
    server.set_property_from_str("mode", if listens { "listener" } else { "caller" });
    if listens {
        server.set_property("localaddress", host);
        server.set_property("localport", u32::from(port.unwrap_or_default()));
        // Without a client nothing waits.
        server.set_property("wait-for-connection", false);
    }
    // Opened again by the program, which says so. Since GStreamer 1.22.
    if server.has_property("auto-reconnect") {
        server.set_property("auto-reconnect", false);
    }
    if let Some(latency) = url.query("latency") {
        let ms = latency.parse::<i32>().ok().filter(|ms| (0..=60_000).contains(ms));
        let ms = ms.ok_or_else(|| bad("latency: expected milliseconds, up to 60000".to_owned()))?;
        server.set_property("latency", ms);
    }
    if let Some(passphrase) = url.query("passphrase") {
        if !(10..=79).contains(&passphrase.len()) {
            return Err(bad("passphrase: SRT takes 10 to 79 characters".to_owned()));
        }
        server.set_property("passphrase", passphrase);
        let length = url.query("pbkeylen").unwrap_or_else(|| "16".to_owned());
        if !["16", "24", "32"].contains(&length.as_str()) {
            return Err(bad("pbkeylen: expected 16, 24 or 32".to_owned()));
        }
        server.set_property_from_str("pbkeylen", &length);
    }
    if let Some(id) = url.query("streamid") {
        server.set_property("streamid", id);
    }
    Ok(())
}
