//! One connection, without its sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::{Codec, CodecExtra, PayloadParams};
use str0m::media::{Frequency, KeyframeRequestKind, MediaData, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::Extension;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use super::view::{Unit, UnitKind};
use super::{PeerRole, Refused};

/// A peer whose connection does not open within this time is let go.
const OPENS: Duration = Duration::from_secs(15);
/// A peer that sends nothing for so long has vanished: browsers send every few seconds.
const SILENT: Duration = Duration::from_secs(12);
/// A connection that is being closed says so for so long.
const CLOSES: Duration = Duration::from_millis(500);
/// Between two requests for a key frame.
const KEY_AGAIN: Duration = Duration::from_millis(500);
/// How long frames wait for a packet that is missing.
const REORDERS: Duration = Duration::from_millis(200);
/// Media of an offer that are looked at.
const MOST_MEDIA: usize = 16;
/// Packets that a frame may be cut into.
const LARGEST_FRAME: usize = 300;

/// What a connection does.
pub(super) enum PeerOutput {
    /// Packets for its socket.
    Send(Transmit),
    /// It is open from now on.
    Opened,
    /// The viewer needs a key frame.
    WantsKey,
    /// A frame of the publisher's picture, or a packet of its sound.
    Data(Box<MediaData>),
}

pub(super) struct Peer {
    pub id: String,
    pub role: PeerRole,
    /// Where its packets come to.
    pub local: SocketAddr,
    rtc: Rtc,
    began: Instant,
    heard: Instant,
    opened: bool,
    /// It is being closed since then.
    closing: Option<Instant>,
    gone: bool,
    /// When it must be turned next.
    pub due: Instant,
    picture: Option<(Mid, Pt)>,
    sound: Option<(Mid, Pt)>,
    /// A viewer's next picture must be a key frame.
    needs_key: bool,
    key_asked: Option<Instant>,
}

impl Peer {
    /// Answers an offer; packets are expected at `local`.
    ///
    /// # Errors
    /// Why it cannot be answered.
    pub fn accept(
        id: String,
        role: PeerRole,
        offer: &str,
        local: SocketAddr,
        certificate: &DtlsCert,
    ) -> Result<(Self, String), Refused> {
        let bad = |why: &dyn std::fmt::Display| {
            Refused::Offer(format!("this is no offer that can be answered: {why}"))
        };
        // Of the media, str0m itself tells only once the connection is open.
        let mids = offer.lines().filter_map(|line| line.trim().strip_prefix("a=mid:"));
        let mids: Vec<_> = mids.take(MOST_MEDIA).map(Mid::from).collect();
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| bad(&error))?;
        let now = Instant::now();
        let mut rtc = config(role, certificate).build(now);
        let candidate = Candidate::host(local, "udp").map_err(|error| bad(&error))?;
        rtc.add_local_candidate(candidate);
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| bad(&error))?;
        let mut peer = Peer {
            id,
            role,
            local,
            rtc,
            began: now,
            heard: now,
            opened: false,
            closing: None,
            gone: false,
            due: now,
            picture: None,
            sound: None,
            needs_key: true,
            key_asked: None,
        };
        mids.into_iter().for_each(|mid| peer.add(mid));
        match (peer.picture, role) {
            (Some(_), _) => Ok((peer, answer.to_sdp_string())),
            (None, PeerRole::Viewer) => Err(Refused::Format(
                "the offer must ask for a picture (recvonly) in H.264, packetization mode 1"
                    .to_owned(),
            )),
            (None, PeerRole::Publisher) => Err(Refused::Format(
                "the offer must have a picture (sendonly) in H.264 or VP8".to_owned(),
            )),
        }
    }

    pub fn is_open(&self) -> bool {
        self.opened && self.closing.is_none() && !self.gone
    }

    /// It waits for its first packets, since then.
    pub fn pending_since(&self) -> Option<Instant> {
        (!self.opened && self.closing.is_none() && !self.gone).then_some(self.began)
    }

    /// Nothing has been heard of it for so long.
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    pub fn has_sound(&self) -> bool {
        self.sound.is_some()
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self, now: Instant) -> bool {
        let late = |since: Instant, most: Duration| now.duration_since(since) > most;
        self.gone
            || !self.rtc.is_alive()
            || self.closing.is_some_and(|since| late(since, CLOSES))
            || late(self.heard, if self.opened { SILENT } else { OPENS })
    }

    /// Whether a packet is for this connection.
    pub fn accepts(&self, input: &Input) -> bool {
        self.closing.is_none() && self.rtc.accepts(input)
    }

    /// Takes a packet.
    pub fn take(&mut self, input: Input) {
        let now = Instant::now();
        self.heard = now;
        self.due = now;
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!("a WebRTC connection ends: {error}");
            self.gone = true;
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        if self.closing.is_none() {
            let now = Instant::now();
            self.closing = Some(now);
            self.due = now;
            self.gone |= self.rtc.close().is_err();
        }
    }

    /// It has broken down.
    pub fn fail(&mut self) {
        self.gone = true;
    }

    /// Does what is due, and tells of it.
    pub fn turn(&mut self, now: Instant, told: &mut dyn FnMut(&Peer, PeerOutput)) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            tracing::debug!("a WebRTC connection ends: {error}");
            self.gone = true;
        }
        while !self.gone {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    // Not so far away that it cannot be waited for.
                    self.due = due.min(now + Duration::from_secs(1));
                    return;
                }
                Ok(Output::Transmit(packet)) => told(self, PeerOutput::Send(packet)),
                Ok(Output::Event(event)) => self.hear(event, told),
                Err(error) => {
                    tracing::debug!("a WebRTC connection ends: {error}");
                    self.gone = true;
                }
            }
        }
    }

    fn hear(&mut self, event: Event, told: &mut dyn FnMut(&Peer, PeerOutput)) {
        match event {
            Event::Connected => {
                self.opened = true;
                told(self, PeerOutput::Opened);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.opened => {
                self.gone = true;
            }
            Event::Closed => self.closing = self.closing.or(Some(Instant::now())),
            Event::KeyframeRequest(_) if self.role == PeerRole::Viewer => {
                told(self, PeerOutput::WantsKey);
            }
            Event::MediaData(data) if self.role == PeerRole::Publisher => {
                let complete = data.contiguous;
                let is_picture = self.picture.is_some_and(|(mid, _)| mid == data.mid);
                told(self, PeerOutput::Data(Box::new(data)));
                if is_picture && !complete {
                    self.ask_for_key();
                }
            }
            _ => {}
        }
    }

    /// Takes the first medium of each kind.
    fn add(&mut self, mid: Mid) {
        let Some(medium) = self.rtc.media(mid) else { return };
        let kind = medium.kind();
        let fits = match self.role {
            PeerRole::Viewer => medium.direction().is_sending(),
            PeerRole::Publisher => medium.direction().is_receiving(),
        };
        let place = match kind {
            MediaKind::Video => &self.picture,
            MediaKind::Audio => &self.sound,
        };
        if !fits || place.is_some() {
            return;
        }
        let Some(writer) = self.rtc.writer(mid) else { return };
        let Some(pt) = best(writer.payload_params(), kind) else { return };
        match kind {
            MediaKind::Video => self.picture = Some((mid, pt)),
            MediaKind::Audio => self.sound = Some((mid, pt)),
        }
    }

    /// Sends a picture or sound to a viewer.
    pub fn send(&mut self, unit: &Unit) {
        let (medium, rate, frequency) = match unit.kind {
            UnitKind::Sound => (self.sound, 48_000_u32, Frequency::FORTY_EIGHT_KHZ),
            _ => (self.picture, 90_000, Frequency::NINETY_KHZ),
        };
        let Some((mid, pt)) = medium.filter(|_| self.is_open()) else { return };
        match unit.kind {
            UnitKind::KeyPicture => self.needs_key = false,
            UnitKind::Picture if self.needs_key => return,
            _ => {}
        }
        let ticks = unit.pts.as_nanos() * u128::from(rate) / 1_000_000_000;
        let time = MediaTime::new(u64::try_from(ticks).unwrap_or_default(), frequency);
        let Some(writer) = self.rtc.writer(mid) else { return };
        let writer = match unit.kind {
            UnitKind::Sound => writer,
            // Shown when it comes.
            _ => writer.playout_delay(MediaTime::ZERO, MediaTime::ZERO),
        };
        if let Err(error) = writer.write(pt, unit.at, time, unit.data.clone()) {
            tracing::debug!("nothing is sent to a viewer: {error}");
            self.needs_key = true;
        }
        self.due = Instant::now();
    }

    /// Asks a publisher for a key frame, now and then.
    pub fn ask_for_key(&mut self) {
        if self.key_asked.is_some_and(|at| at.elapsed() < KEY_AGAIN) {
            return;
        }
        let Some((mid, _)) = self.picture else { return };
        let Some(mut writer) = self.rtc.writer(mid) else { return };
        if writer.request_keyframe(None, KeyframeRequestKind::Pli).is_ok() {
            self.key_asked = Some(Instant::now());
            self.due = Instant::now();
        }
    }
}

/// A packet, as a connection takes it.
pub(super) fn packet(bytes: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Input<'_>> {
    let contents = bytes.try_into().ok()?;
    let receive = Receive { proto: Protocol::Udp, source: from, destination: to, contents };
    Some(Input::Receive(Instant::now(), receive))
}

/// Whether a frame of a publisher can be decoded without those before it.
pub(super) fn is_key(data: &MediaData) -> bool {
    match &data.codec_extra {
        CodecExtra::H264(extra) => extra.is_keyframe,
        CodecExtra::Vp8(extra) => extra.is_keyframe,
        _ => false,
    }
}

fn config(role: PeerRole, certificate: &DtlsCert) -> RtcConfig {
    let config = RtcConfig::new()
        .set_ice_lite(true)
        .set_dtls_cert(certificate.clone())
        .clear_codecs()
        .enable_opus(true, false)
        .enable_h264(true)
        .enable_vp8(role == PeerRole::Publisher)
        .set_reordering_size_video(LARGEST_FRAME)
        .set_reordering_timeout_video(Some(REORDERS))
        .set_reordering_timeout_audio(Some(REORDERS));
    // Without that for orientation a browser turns its pictures upright by itself.
    let config = config
        .clear_extension_map()
        .set_extension(2, Extension::AbsoluteSendTime)
        .set_extension(3, Extension::TransportSequenceNumber)
        .set_extension(4, Extension::RtpMid);
    match role {
        PeerRole::Viewer => config.set_extension(5, Extension::PlayoutDelay),
        PeerRole::Publisher => config,
    }
}

/// The payload type that is sent.
fn best<'a>(of: impl Iterator<Item = &'a PayloadParams>, kind: MediaKind) -> Option<Pt> {
    let rank = |params: &PayloadParams| {
        let spec = params.spec();
        match (kind, spec.codec) {
            (MediaKind::Audio, Codec::Opus) => Some(0),
            (MediaKind::Video, Codec::H264) if spec.format.packetization_mode == Some(1) => {
                // Constrained baseline is what is encoded; any other decodes it as well.
                let profile = spec.format.profile_level_id.map(|level| level >> 8);
                Some(if profile == Some(0x42e0) { 0 } else { 1 })
            }
            (MediaKind::Video, Codec::Vp8) => Some(2),
            _ => None,
        }
    };
    of.filter_map(|params| Some((rank(params)?, params.pt())))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, pt)| pt)
}
