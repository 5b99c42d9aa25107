//! Workaround for AAC in LATM, the format of AAC in broadcast transport streams: converts it to ADTS.
//!
//! Until aacparse (GStreamer 1.22 to 1.26) has seen two frames with a StreamMuxConfig (the decoder's
//! configuration), it drops all frames without one: the first half second of sound is lost. To reproduce:
//! `ffmpeg -c:a aac -mpegts_flags +latm x.ts`. Besides, no GStreamer element converts LATM to raw AAC, which MP4
//! and Matroska need. aacparse handles ADTS correctly, so the converted frames can be copied into any container.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Samples per frame.
const FRAME: u64 = 1024;
/// Sample rates, in hertz, by their index in MPEG-4 Audio (samplingFrequencyIndex).
const RATES: [u64; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// Whether these bytes contain the start of a LATM frame whose StreamMuxConfig ADTS can express.
pub(super) fn is_known(bytes: &[u8]) -> bool {
    let begins = |at: &usize| size_at(bytes, *at).is_some();
    (0..bytes.len()).filter(begins).any(|at| {
        let mut bits = Bits { bytes, at: (at + 3) * 8 };
        bits.take(1) == Some(0) && Settings::read(&mut bits).is_some()
    })
}

/// Converts the LATM packets that pass through a pad to ADTS.
pub(super) fn become_adts(pad: &gst::Pad) {
    let rewriter = Mutex::new(Rewriter::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut rewriter = rewriter.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        match rewriter.packet(buffer) {
            Some(packet) => {
                *buffer = packet;
                gst::PadProbeReturn::Ok
            }
            None => gst::PadProbeReturn::Handled,
        }
    });
}

/// Converts LATM to ADTS, packet by packet.
#[derive(Default)]
struct Rewriter {
    /// From the last StreamMuxConfig; none before the first one.
    settings: Option<Settings>,
    /// Start of a frame that ends in the next packet.
    rest: Vec<u8>,
}

impl Rewriter {
    /// The frames that end in this packet, as one buffer; none if there are none.
    fn packet(&mut self, buffer: &gst::Buffer) -> Option<gst::Buffer> {
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            self.rest.clear();
        }
        let carried = !self.rest.is_empty();
        self.rest.extend_from_slice(&buffer.map_readable().ok()?);
        let frames = self.frames();
        let settings = self.settings.filter(|_| !frames.is_empty())?;
        let mut packet = gst::Buffer::from_mut_slice(frames);
        {
            let packet = packet.make_mut();
            let flags = gst::BufferCopyFlags::FLAGS;
            let _ = buffer.copy_into(packet, flags, ..);
            // A PES packet's timestamp is that of the first frame that starts in it. The output starts one
            // frame earlier if that frame's first part came with the previous packet.
            let nanos = FRAME * 1_000_000_000 / RATES.get(settings.rate).copied().unwrap_or(48000);
            let earlier = gst::ClockTime::from_nseconds(if carried { nanos } else { 0 });
            packet.set_pts(buffer.pts().map(|pts| pts.saturating_sub(earlier)));
            packet.set_dts(buffer.dts().map(|dts| dts.saturating_sub(earlier)));
        }
        Some(packet)
    }

    /// Removes all complete frames from `rest` and returns them as ADTS.
    fn frames(&mut self) -> Vec<u8> {
        let (mut frames, mut at) = (Vec::new(), 0);
        while at + 3 <= self.rest.len() {
            let Some(size) = size_at(&self.rest, at) else {
                at += 1;
                continue;
            };
            let Some(element) = self.rest.get(at + 3..at + 3 + size) else { break };
            // Elements that cannot be parsed are skipped, as a decoder would do.
            let _ = read_element(element, &mut self.settings, &mut frames);
            at += 3 + size;
        }
        self.rest.drain(..at.min(self.rest.len()));
        frames
    }
}

/// Size of the AudioMuxElement whose sync header (AudioSyncStream) is at `at`; none if there is no such header.
fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + 3)?;
    let begins = head[0] == 0x56 && head[1] & 0xE0 == 0xE0;
    begins.then(|| usize::from(head[1] & 0x1F) << 8 | usize::from(head[2]))
}

/// Appends the frames of an AudioMuxElement (ISO/IEC 14496-3, 1.7.3) to `frames`, each with an ADTS header.
/// Updates `settings` if the element contains a StreamMuxConfig.
fn read_element(
    element: &[u8],
    settings: &mut Option<Settings>,
    frames: &mut Vec<u8>,
) -> Option<()> {
    let mut bits = Bits { bytes: element, at: 0 };
    if bits.take(1)? == 0 {
        *settings = Settings::read(&mut bits);
    }
    let settings = (*settings)?;
    for _ in 0..settings.frames {
        let mut length = 0;
        loop {
            let more = bits.take(8)?;
            length += more;
            if more < 255 {
                break;
            }
        }
        let payload: Vec<u8> =
            (0..length).map(|_| bits.take(8).map(|byte| byte as u8)).collect::<Option<_>>()?;
        frames.extend(settings.head(payload.len())?);
        frames.extend(payload);
    }
    Some(())
}

/// The part of a StreamMuxConfig that is needed to write ADTS headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    /// Audio object type: 2 is AAC-LC.
    object: usize,
    /// Index into [`RATES`].
    rate: usize,
    channels: usize,
    /// Frames per AudioMuxElement.
    frames: usize,
}

impl Settings {
    /// Reads a StreamMuxConfig; none if it has several programmes or layers, is not AAC, or cannot be expressed
    /// in ADTS.
    fn read(bits: &mut Bits) -> Option<Self> {
        let version = bits.take(1)?;
        if version == 1 {
            // audioMuxVersionA: 1 is reserved.
            (bits.take(1)? == 0).then_some(())?;
            bits.value()?;
        }
        let same_framing = bits.take(1)? == 1;
        let frames = bits.take(6)? + 1;
        let (programmes, layers) = (bits.take(4)?, bits.take(3)?);
        (same_framing && programmes == 0 && layers == 0).then_some(())?;
        let ends = match version {
            1 => Some(bits.value()?).map(|length| bits.at + length),
            _ => None,
        };
        let mut object = bits.take(5)?;
        let rate = bits.take(4)?;
        let channels = bits.take(4)?;
        if [5, 29].contains(&object) {
            // SBR, with its sample rate: ADTS does not signal it, decoders detect it.
            if bits.take(4)? == 15 {
                bits.take(24)?;
            }
            object = bits.take(5)?;
        }
        // GASpecificConfig: 960-sample frames, a core coder and extensions are impossible in ADTS.
        let plain = bits.take(3)? == 0;
        let fits = (1..=4).contains(&object) && rate < RATES.len() && (1..=7).contains(&channels);
        (plain && fits).then_some(())?;
        bits.at = ends.unwrap_or(bits.at).max(bits.at);
        // frameLengthType must be 0 (variable length); latmBufferFullness is ignored.
        (bits.take(3)? == 0).then_some(())?;
        bits.take(8)?;
        if bits.take(1)? == 1 {
            match version {
                1 => {
                    bits.value()?;
                }
                _ => while bits.take(9)? >> 8 == 1 {},
            }
        }
        if bits.take(1)? == 1 {
            bits.take(8)?;
        }
        Some(Settings { object, rate, channels, frames })
    }

    /// The ADTS header of a frame of `contents` bytes; none if the frame is too long for ADTS.
    fn head(&self, contents: usize) -> Option<[u8; 7]> {
        let length = contents + 7;
        (length < 1 << 13).then_some(())?;
        let profile = self.object - 1;
        let fixed = [(0xFFF1, 16), (profile, 2), (self.rate, 4), (0, 1), (self.channels, 3)];
        let varying = [(0, 4), (length, 13), (0x7FF, 11), (0, 2)];
        let head = fixed
            .iter()
            .chain(&varying)
            .fold(0u64, |head, (value, count)| head << count | *value as u64);
        head.to_be_bytes()[1..].try_into().ok()
    }
}

/// Reads unsigned integers of any number of bits, most significant bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Position, in bits.
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits; none at the end.
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | usize::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// A number preceded by its length in bytes (LatmGetValue).
    fn value(&mut self) -> Option<usize> {
        let bytes = self.take(2)? + 1;
        self.take(bytes * 8)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Packs (value, number of bits) pairs into bytes; the last byte is padded with zeros.
    fn packed(values: &[(usize, usize)]) -> Vec<u8> {
        let bits = values.iter().flat_map(|(value, count)| {
            (0..*count).rev().map(move |bit| (value >> bit & 1) as u8).collect::<Vec<_>>()
        });
        let bits: Vec<u8> = bits.collect();
        let byte =
            |part: &[u8]| part.iter().chain(&[0; 8]).take(8).fold(0, |byte, bit| byte << 1 | bit);
        bits.chunks(8).map(byte).collect()
    }

    /// An AudioSyncStream frame with this payload, with a StreamMuxConfig or without.
    fn element(settings: bool, object: usize, contents: &[u8]) -> Vec<u8> {
        let mut values = vec![(usize::from(!settings), 1)];
        if settings {
            values.extend([(0, 1), (1, 1), (0, 6), (0, 4), (0, 3)]);
            // Stereo, 24,000 Hz; with SBR (object type 5) 48,000 Hz.
            match object {
                5 => values.extend([(5, 5), (6, 4), (2, 4), (3, 4), (2, 5)]),
                object => values.extend([(object, 5), (6, 4), (2, 4)]),
            }
            values.extend([(0, 3), (0, 3), (0xFF, 8), (0, 1), (0, 1)]);
        }
        values.push((contents.len(), 8));
        values.extend(contents.iter().map(|byte| (usize::from(*byte), 8)));
        let element = packed(&values);
        let size = element.len();
        [&[0x56, 0xE0 | (size >> 8) as u8, size as u8][..], &element].concat()
    }

    fn adts(contents: &[u8]) -> Vec<u8> {
        let length = contents.len() + 7;
        let head = packed(&[(0xFFF1, 16), (1, 2), (6, 4), (0, 1), (2, 3), (0, 4), (length, 13)]);
        // The buffer fullness that follows the length is all ones.
        let head = [&head[..5], &[head[5] | 0x1F, 0xFC]].concat();
        [&head[..7], contents].concat()
    }

    #[test]
    fn frames_of_latm_become_adts_however_they_are_cut() {
        gst::init().unwrap();
        for object in [2, 5] {
            let frames: [&[u8]; 4] = [b"first", b"second one", b"3", b"the last"];
            let stream: Vec<u8> = frames
                .iter()
                .enumerate()
                .flat_map(|(n, frame)| element(n % 2 == 0, object, frame))
                .collect();
            assert!(
                is_known(&stream)
                    && is_known(&[b"V\xFF and more"[..].to_vec(), stream.clone()].concat())
            );
            let wanted: Vec<u8> = frames.iter().flat_map(|frame| adts(frame)).collect();
            for size in [1, 7, 16, 200] {
                let mut rewriter = Rewriter::default();
                let mut found = Vec::new();
                for part in stream.chunks(size) {
                    let packet = rewriter.packet(&gst::Buffer::from_slice(part.to_vec()));
                    found.extend(packet.iter().flat_map(|p| p.map_readable().unwrap().to_vec()));
                }
                assert_eq!(found, wanted, "in parts of {size}");
            }
        }
    }

    #[test]
    fn a_packets_time_is_that_of_the_first_frame_that_begins_in_it() {
        gst::init().unwrap();
        let stream = [element(true, 2, b"first"), element(false, 2, b"second")].concat();
        let cut = element(true, 2, b"first").len() - 2;
        let mut rewriter = Rewriter::default();
        assert!(rewriter.packet(&gst::Buffer::from_slice(stream[..cut].to_vec())).is_none());
        let mut buffer = gst::Buffer::from_slice(stream[cut..].to_vec());
        buffer.make_mut().set_pts(gst::ClockTime::from_seconds(1));
        let packet = rewriter.packet(&buffer).unwrap();
        let frame = gst::ClockTime::from_nseconds(1024 * 1_000_000_000 / 24_000);
        assert_eq!(packet.pts(), Some(gst::ClockTime::from_seconds(1) - frame));
    }

    #[test]
    fn what_adts_cannot_say_is_left_alone_and_damage_gives_nothing() {
        assert!(!is_known(&element(true, 42, b"xHE-AAC")));
        assert!(!is_known(&element(false, 2, b"no settings")));
        let whole = element(true, 5, b"frame");
        for cut in 0..whole.len() {
            is_known(&whole[..cut]);
            let mut rewriter = Rewriter { settings: None, rest: whole[..cut].to_vec() };
            assert!(rewriter.frames().is_empty());
        }
    }
}
