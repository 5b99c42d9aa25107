//! When a packet is presented in the new file.

use std::time::Duration;

use gstreamer as gst;

use super::text::TextConversion;
use super::track_list::{TimeCorrection, TrackInfo, TrackKind};
use super::track_options::TrackOptions;
use crate::core::span::Span;

/// Rounding of times in containers, in nanoseconds: no packet is as short.
const ROUNDING: i64 = 60_000;

/// How long a packet of TTA is, unless it is the last one.
const TTA_PACKET: gst::ClockTime = gst::ClockTime::from_nseconds(256 * 1_000_000_000 / 245);

/// To what Matroska rounds times, in nanoseconds.
const MATROSKA_TICK: i64 = 1_000_000;

/// The origin of a track's timestamps, chosen so that they agree with those of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeOrigin {
    /// As running time.
    Running,
    /// As stream time.
    Stream,
}

/// Computes the timestamps of a track's packets in the new file.
pub(super) struct Retiming {
    kind: TrackKind,
    words: TextConversion,
    part: Span,
    /// The container asks how long each packet is.
    lengths: bool,
    /// It comes out of an encoder.
    encoded: bool,
    counting: TimeOrigin,
    /// By how much an encoder's packets hold sound of before their times, in nanoseconds.
    delay: i64,
    /// Its packets are of Opus, as they lie in the file: they say how long they are.
    opus: bool,
    times: TimeCorrection,
    /// When TTA ends, in nanoseconds; its packets do not say how long they are.
    whole: Option<i64>,
    /// The packet that begins before the beginning, if the next one says that it reaches into it.
    held: Option<(gst::Buffer, i64)>,
    /// By how much all packets are late, for no time is negative (nor, in Matroska, one of Opus that is
    /// not heard); the container or the other tracks make up for it.
    lead: i64,
    /// Of Opus in Matroska: how much of its beginning is not heard.
    opus_delay: Option<i64>,
    /// It begins by just that much before the beginning.
    begins_unheard: bool,
    /// A packet has gone out.
    begun: bool,
    /// The part is over.
    ended: bool,
    /// When the packet before this one began, and when it ended.
    before: i64,
    ends: i64,
    /// Where packets' edit begins: an MP4 may be put together of several.
    edit: Option<Option<gst::ClockTime>>,
}

impl Retiming {
    /// `delay`: the sound in a packet begins as many nanoseconds before its time.
    pub fn new(
        stream: &TrackInfo,
        order: &TrackOptions,
        counting: TimeOrigin,
        opus_delay: Option<i64>,
        delay: u64,
    ) -> Self {
        let TrackOptions { words, span, lengths, encoded, .. } = *order;
        let TrackInfo { kind, mut times, ends, .. } = *stream;
        // What comes out of an encoder has times of its own, and none that was clamped.
        times.clamped &= !encoded;
        // But opusenc clamps.
        times.clamped |= opus_delay.is_some();
        // Sound is sought: its time begins with the span.
        let start = span.start.filter(|_| kind != TrackKind::Audio);
        let part = Span { start, ..span };
        Retiming {
            kind,
            words,
            part,
            lengths,
            encoded,
            counting,
            delay: i64::try_from(delay).unwrap_or(0),
            opus: !encoded && stream.caps.structure(0).is_some_and(|s| s.name() == "audio/x-opus"),
            times,
            whole: ends.filter(|_| !encoded).map(length_of),
            held: None,
            lead: 0,
            opus_delay,
            begins_unheard: false,
            begun: false,
            ended: false,
            before: 0,
            ends: 0,
            edit: None,
        }
    }

    /// What is to be sent after this packet has come.
    pub fn packets(&mut self, sample: &gst::SampleRef) -> Vec<gst::Buffer> {
        let Some(mut packet) = sample.buffer_owned() else { return Vec::new() };
        if self.opus && packet.duration().is_none() {
            let length = packet.map_readable().ok().and_then(|bytes| length_of_opus(&bytes));
            packet.make_mut().set_duration(length);
        }
        let Some(segment) = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>())
        else {
            return Vec::new();
        };
        let Some(pts) = packet.pts().or(packet.dts()) else {
            // Headers, which the format of the track also holds.
            return Vec::new();
        };
        // What an encoder puts before the sound makes the last packets late; its demuxer has cut them.
        if !self.encoded && segment.stop().is_some_and(|stop| pts >= stop) {
            return Vec::new();
        }
        let at = match (self.counting, self.part.start) {
            (TimeOrigin::Running, None) => segment.to_running_time_full(pts),
            _ => segment.to_stream_time_full(pts),
        };
        let Some(at) = at.map(nanos) else { return Vec::new() };
        let at = at - length_of(self.times.delay);
        if let Some(left) = self.whole.and_then(|whole| u64::try_from(whole - at).ok()) {
            let length = TTA_PACKET.min(gst::ClockTime::from_nseconds(left));
            packet.make_mut().set_duration(length);
        }
        let edit = self.edit.replace(segment.base());
        if edit.is_some_and(|edit| edit != segment.base()) && self.is_over(&packet, at) {
            return Vec::new();
        }
        match self.kind {
            TrackKind::Audio => self.sound(packet, at),
            _ => self.subtitle(packet, at).into_iter().collect(),
        }
    }

    /// What waits when the track ends.
    pub fn last(&mut self) -> Option<gst::Buffer> {
        let (packet, at) = self.held.take()?;
        let reaches = packet.duration().is_some_and(|d| at + signed(d) > ROUNDING);
        reaches.then(|| self.first(packet, at))
    }

    /// How much of the track's beginning is not to be presented.
    pub fn lead(&self) -> Duration {
        Duration::from_nanos(self.lead.unsigned_abs())
    }

    /// Whether it is Opus in Matroska that begins with just as much as is not heard: then the first
    /// packet may also have the time 0, whatever the others have.
    pub fn begins_unheard(&self) -> bool {
        self.begins_unheard
    }

    /// Whether nothing more is wanted.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a packet in which a further edit begins is mostly of before it: only the first packet
    /// of a track can be presented in part.
    fn is_over(&self, packet: &gst::BufferRef, at: i64) -> bool {
        let half = packet.duration().map_or(0, signed) / 2;
        self.kind == TrackKind::Audio && self.ends - at > half.max(ROUNDING)
    }

    fn sound(&mut self, packet: gst::Buffer, at: i64) -> Vec<gst::Buffer> {
        let ends = |length| length_of(length).saturating_add(self.delay);
        if self.part.duration.is_some_and(|length| at + ROUNDING >= ends(length)) {
            self.ended = true;
            return self.last().into_iter().collect();
        }
        if at < -ROUNDING || (self.times.clamped && at <= ROUNDING) {
            self.times.clamped = false;
            self.held = Some((packet, at));
            return Vec::new();
        }
        let mut packets = Vec::with_capacity(2);
        if let Some((held, mut began)) = self.held.take() {
            let length = held.duration().map(signed);
            if began >= -ROUNDING {
                // It was clamped: it ends where this one begins.
                began = length.map_or(began, |length| began.min(at - length));
            }
            let ends = length.map_or(at, |length| began + length);
            if ends > ROUNDING {
                packets.push(self.first(unclipped(held), began));
            }
        }
        // Matroska seldom tells how long a packet is; the last one of an MP4 would have no length.
        let step = at.saturating_sub(self.before);
        let length = (self.lengths && packet.duration().is_none() && step > 0).then_some(step);
        (self.before, self.ends) = (at, at + packet.duration().map_or(0, signed));
        let at = at.max(0);
        if !self.begun {
            self.begin(at, packet.duration());
        }
        packets.push(timed(packet, at + self.lead, length));
        packets
    }

    /// The packet in which the track begins, `at` (it may be negative).
    fn first(&mut self, packet: gst::Buffer, at: i64) -> gst::Buffer {
        self.begin(at, packet.duration());
        timed(packet, at + self.lead, None)
    }

    /// The track begins with a packet that is presented `at`.
    ///
    /// matroskamux (1.22 to 1.26) presents every packet of Opus too early that comes within what is not
    /// heard of the track's beginning: all of them by as much before 0. So none may come there, but
    /// for the first of a track that is to begin just then.
    fn begin(&mut self, at: i64, length: Option<gst::ClockTime>) {
        self.begun = true;
        self.lead = match self.opus_delay {
            Some(delay) if at <= delay => delay - at + 1000,
            _ => (-at).max(0),
        };
        let ends = at + length.map_or(0, signed);
        let in_time = |delay: i64| (at + delay).abs() <= MATROSKA_TICK && ends > delay;
        self.begins_unheard = self.opus_delay.is_some_and(in_time);
    }

    fn subtitle(&self, packet: gst::Buffer, at: i64) -> Option<gst::Buffer> {
        let begins = at - self.part.start.map_or(0, length_of);
        let part_ends = self.part.duration.map_or(i64::MAX, length_of);
        let ends = packet.duration().map(|duration| begins.saturating_add(signed(duration)));
        if begins >= part_ends || ends.unwrap_or(begins + 1) <= 0 {
            return None;
        }
        let begins = begins.max(0);
        let shown = ends.map(|ends| ends.min(part_ends) - begins);
        let packet = match self.words {
            TextConversion::Same => packet,
            words => words.of(&packet)?,
        };
        Some(timed(packet, begins, shown))
    }
}

/// How long a packet of Opus is (RFC 6716, 3.1): frames of one length, whose number it says.
fn length_of_opus(packet: &[u8]) -> Option<gst::ClockTime> {
    let head = *packet.first()?;
    let micros = match head >> 3 {
        mode @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(mode & 3)],
        mode @ 12..=15 => [10_000, 20_000][usize::from(mode & 1)],
        mode => [2_500, 5_000, 10_000, 20_000][usize::from(mode & 3)],
    };
    let frames = match head & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3F),
    };
    Some(gst::ClockTime::from_useconds(micros * frames))
}

fn length_of(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn nanos(time: gst::format::Signed<gst::ClockTime>) -> i64 {
    match time {
        gst::format::Signed::Positive(time) => signed(time),
        gst::format::Signed::Negative(time) => -signed(time),
    }
}

fn signed(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

/// The packet without the note on how much of it is not heard: with it matroskamux (1.22 to 1.26) takes
/// the packet's time for that of the first sample that is.
fn unclipped(packet: gst::Buffer) -> gst::Buffer {
    use gst::BufferCopyFlags as Copy;
    packet.copy_region(Copy::FLAGS | Copy::TIMESTAMPS | Copy::MEMORY, ..).unwrap_or(packet)
}

/// The packet at this time; of this length, if given.
fn timed(mut packet: gst::Buffer, at: i64, length: Option<i64>) -> gst::Buffer {
    let writable = packet.make_mut();
    let clock = |time: i64| gst::ClockTime::from_nseconds(u64::try_from(time).unwrap_or(0));
    writable.set_pts(clock(at));
    // Sound and subtitles are stored in the order in which they are presented.
    writable.set_dts(clock(at));
    if let Some(length) = length {
        writable.set_duration(clock(length));
    }
    packet
}
