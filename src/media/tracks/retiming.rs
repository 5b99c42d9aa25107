//! When a packet is presented in the new file.

use std::time::Duration;

use gstreamer as gst;

use super::text::TextConversion;
use super::track_list::{TimeCorrection, TrackInfo, TrackKind};
use super::track_options::TrackOptions;
use crate::core::span::Span;

/// Tolerance for timestamps that containers round, in nanoseconds. Every packet is longer than this.
const ROUNDING: i64 = 60_000;

/// Duration of a TTA packet other than the last one of its track.
const TTA_PACKET: gst::ClockTime = gst::ClockTime::from_nseconds(256 * 1_000_000_000 / 245);

/// Resolution of Matroska timestamps, in nanoseconds.
const MATROSKA_TICK: i64 = 1_000_000;

/// Which GStreamer time of a packet its new timestamp is computed from. It is chosen so that the track agrees
/// with the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeOrigin {
    /// The packet's running time.
    Running,
    /// The packet's stream time.
    Stream,
}

/// Computes the timestamps of a track's packets in the new file.
pub(super) struct Retiming {
    kind: TrackKind,
    words: TextConversion,
    part: Span,
    /// The muxer needs a duration on every packet.
    lengths: bool,
    /// The track is re-encoded: its packets come from our encoder, not from the file.
    encoded: bool,
    counting: TimeOrigin,
    /// Encoder delay, in nanoseconds: the sound in a packet starts this much before the packet's timestamp.
    delay: i64,
    /// The packets are Opus, copied from the file: their duration can be read from the packet itself.
    opus: bool,
    times: TimeCorrection,
    /// End time of a TTA track, in nanoseconds; TTA packets do not state their duration.
    whole: Option<i64>,
    /// A packet that begins before time 0 (and its time). It is sent only if the next packet's time shows
    /// that it extends past 0.
    held: Option<(gst::Buffer, i64)>,
    /// Offset in nanoseconds added to all timestamps of the track, so that none is negative (and, in
    /// Matroska, no Opus packet lies within the pre-skip). An edit list hides the offset, or the other tracks
    /// are delayed by as much.
    lead: i64,
    /// Opus in Matroska: the pre-skip, the part of the beginning that is decoded but not heard, in
    /// nanoseconds.
    opus_delay: Option<i64>,
    /// The track begins exactly the pre-skip before time 0.
    begins_unheard: bool,
    /// A packet has gone out.
    begun: bool,
    /// The end of the span was reached; no further packets are sent.
    ended: bool,
    /// Begin and end time of the previous packet (`before`, `ends`), in nanoseconds.
    before: i64,
    ends: i64,
    /// Start of the edit that the packets belong to. An MP4 may have an edit list of several edits.
    edit: Option<Option<gst::ClockTime>>,
}

impl Retiming {
    /// `delay`: encoder delay in nanoseconds; the sound in a packet starts this much before the packet's
    /// timestamp.
    pub fn new(
        stream: &TrackInfo,
        order: &TrackOptions,
        counting: TimeOrigin,
        opus_delay: Option<i64>,
        delay: u64,
    ) -> Self {
        let TrackOptions {
            text_conversion: words, span, needs_durations: lengths, encoded, ..
        } = *order;
        let TrackInfo { kind, mut times, ends, .. } = *stream;
        // Encoder output has new timestamps; a clamped first timestamp of the input does not matter.
        times.clamped &= !encoded;
        // Except for opusenc, which clamps negative timestamps to 0 itself.
        times.clamped |= opus_delay.is_some();
        // For audio, the pipeline has been seeked to the start of the span, so its times already count from
        // there.
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

    /// The packets to send now that this one has arrived: none, this one, or the held one and this one.
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
            // A header packet; the caps of the track contain the same data.
            return Vec::new();
        };
        // Packets beyond the segment's end are dropped. Not those of an encoder: its delay makes the last
        // packets late, and the demuxer has already cut the end.
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

    /// The held packet, if it is still to be sent when the track ends.
    pub fn last(&mut self) -> Option<gst::Buffer> {
        let (packet, at) = self.held.take()?;
        let reaches = packet.duration().is_some_and(|d| at + signed(d) > ROUNDING);
        reaches.then(|| self.first(packet, at))
    }

    /// How much of the track's beginning must be hidden from playback.
    pub fn lead(&self) -> Duration {
        Duration::from_nanos(self.lead.unsigned_abs())
    }

    /// Whether this is Opus in Matroska that begins exactly the pre-skip before time 0. The first packet may
    /// then have the timestamp 0, whatever the timestamps of the others.
    pub fn begins_unheard(&self) -> bool {
        self.begins_unheard
    }

    /// Whether the end of the span was reached.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether more than half of this packet, the first of a further edit, lies before the edit's start. Such
    /// a packet is dropped, since only the first packet of a track can be presented in part.
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
                // Its timestamp was clamped to 0; its true begin follows from where the next packet begins.
                began = length.map_or(began, |length| began.min(at - length));
            }
            let ends = length.map_or(at, |length| began + length);
            if ends > ROUNDING {
                packets.push(self.first(unclipped(held), began));
            }
        }
        // Matroska rarely states packet durations. Without this, the last packet of an MP4 track would have
        // duration 0.
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

    /// Timestamps the packet with which the track begins; `at` may be negative.
    fn first(&mut self, packet: gst::Buffer, at: i64) -> gst::Buffer {
        self.begin(at, packet.duration());
        timed(packet, at + self.lead, None)
    }

    /// Sets the offset of the track, whose first packet is presented at `at`.
    ///
    /// matroskamux (1.22 to 1.26) subtracts the pre-skip from the timestamp of every Opus packet that lies
    /// within the pre-skip. So no packet may lie there, except the first packet of a track that begins
    /// exactly the pre-skip before 0.
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

/// Duration of an Opus packet (RFC 6716, section 3.1): the packet states the number and the length of its
/// frames.
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

/// Removes the clipping metadata (how many samples are not heard) from the packet. With it, matroskamux (1.22
/// to 1.26) takes the packet's timestamp for that of the first audible sample.
fn unclipped(packet: gst::Buffer) -> gst::Buffer {
    use gst::BufferCopyFlags as Copy;
    packet.copy_region(Copy::FLAGS | Copy::TIMESTAMPS | Copy::MEMORY, ..).unwrap_or(packet)
}

/// Sets the timestamp of a packet, and its duration if one is given.
fn timed(mut packet: gst::Buffer, at: i64, length: Option<i64>) -> gst::Buffer {
    let writable = packet.make_mut();
    let clock = |time: i64| gst::ClockTime::from_nseconds(u64::try_from(time).unwrap_or(0));
    writable.set_pts(clock(at));
    // In audio and subtitle tracks, decoding order is presentation order.
    writable.set_dts(clock(at));
    if let Some(length) = length {
        writable.set_duration(clock(length));
    }
    packet
}
