//! Sends the stylized stream, H.264 with sound, over the network: MPEG-TS by SRT or UDP, FLV by RTMP, RTP to an RTSP
//! server.

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
use super::rtsp_peer;
use super::rtsp_server::rtp_sound;
use super::shared_encoder::SharedEncoder;
use super::stream_feed::StreamFeed;
use crate::core::encoding::Container;
use crate::core::endpoint::RtspUrl;
use crate::core::stop::StopSignal;
use crate::core::stream_url::{StreamScheme, StreamUrl};
use crate::core::timeouts::LEAVE_MEDIA_SERVER;
use crate::core::watchdog::Heartbeat;

const MPEG_TS: &str = include_str!("../../pipelines/sink-mpegts.pipeline");
const RTMP: &str = include_str!("../../pipelines/sink-rtmp.pipeline");
const PUSH: &str = include_str!("../../pipelines/sink-push.pipeline");

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

/// Where a stream is sent.
#[derive(Clone, Copy)]
pub enum StreamTarget<'a> {
    /// By SRT, RTMP or UDP.
    Url(&'a StreamUrl),
    /// To an RTSP server (RECORD); the signal ends the wait for its answer.
    Push(&'a RtspUrl, &'a StopSignal),
}

impl StreamSink {
    /// Begins to send what `encoder` encodes, with the sound if there is any. Later events are reported to `events`
    /// with the output number `number`.
    ///
    /// # Errors
    /// When an element is missing, the address cannot be used, or the RTSP server does not answer.
    pub fn open(
        target: StreamTarget,
        number: usize,
        encoder: &Arc<SharedEncoder>,
        audio: Option<&LiveAudio>,
        clock: &LiveClock,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let description = match target {
            StreamTarget::Push(..) => PUSH.to_owned(),
            StreamTarget::Url(url) => match url.scheme() {
                StreamScheme::Rtmp => RTMP.to_owned(),
                StreamScheme::Srt => MPEG_TS.replace("udpsink name", "srtsink name"),
                StreamScheme::Udp => MPEG_TS.to_owned(),
                StreamScheme::Http => {
                    return Err(PipelineError::new("http", "a stream is not sent over HTTP"));
                }
            },
        };
        let (mut notes, mut sound) = (Vec::new(), None);
        let track = |audio: &LiveAudio| match target {
            StreamTarget::Url(_) => {
                sound_of(audio.caps()).map_err(|error| format!("the sound is not sent: {error}"))
            }
            StreamTarget::Push(..) => rtp_sound(audio.caps()).map(|()| SoundTrack {
                caps: audio.caps().clone(),
                parser: None,
                encoder: None,
            }),
        };
        let tracks = audio.and_then(|audio| track(audio).map_err(|note| notes.push(note)).ok());
        let more = tracks.as_ref().map_or_else(String::new, |track| {
            let into =
                track.parser.map_or("server.".to_owned(), |parser| format!("{parser} ! mux."));
            format!("\nappsrc name=packets format=time is-live=true ! {into}\n")
        });
        if let StreamTarget::Push(url, stop) = target {
            rtsp_peer::reach(url, stop)?;
        }
        let pipeline = Pipeline::parse(PipelineRole::Sink(number), &(description + &more))?;
        clock.apply_to(pipeline.gst());
        let server = pipeline.element("server")?;
        match target {
            StreamTarget::Url(url) => set_up(&server, url)?,
            StreamTarget::Push(url, _) => set_up_push(&server, url),
        }
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
        // rtspclientsink has a pad for each track, behind its payloader.
        let pad = server.static_pad("sink").or_else(|| units.static_pad("src"));
        if let Some(pad) = pad {
            let count = Arc::clone(&passed);
            let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
            pad.add_probe(types, move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        if let StreamTarget::Url(url) = target
            && url.scheme() == StreamScheme::Srt
        {
            // A client that joins need not wait for a picture.
            let want_key = encoder.want_key();
            server.connect("caller-added", false, move |_| {
                want_key();
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
    /// The element between the packets and a muxer; none where there is no muxer.
    pub parser: Option<&'static str>,
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
    if parser.is_some() && !latm {
        return Ok(SoundTrack { caps: caps.clone(), parser, encoder: None });
    }
    let encoder = SoundEncoder::open(caps, Container::Mp4, "AAC")?;
    Ok(SoundTrack {
        caps: encoder.caps().clone(),
        parser: Some("aacparse"),
        encoder: Some(encoder),
    })
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

fn set_up_push(server: &gst::Element, url: &RtspUrl) {
    server.set_property("location", url.location());
    if let Some((user, password)) = url.credentials() {
        server.set_property("user-id", user);
        server.set_property("user-pw", password);
    }
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
