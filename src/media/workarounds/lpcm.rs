//! Workarounds for the PCM of Blu-ray discs and DVDs, which dvdlpcmdec (GStreamer 1.22 to 1.26) decodes wrong.
//!
//! - Blu-ray: dvdlpcmdec assumes the sample layout of DVDs for 20 and 24 bits, ignores the padding channel that
//!   is added to an odd number of channels, and has the last four channels of 7.1 in the wrong order. To
//!   reproduce: `ffmpeg -c:a pcm_bluray -sample_fmt s32 -mpegts_m2ts_mode 1 x.m2ts` is decoded to noise. Here
//!   packets are converted to raw PCM, which needs no decoder.
//! - DVD: dvdlpcmdec assumes that each packet of 20 or 24 bits starts with a complete group of samples. In files
//!   of FFmpeg, groups continue in the next packet. To reproduce: `ffmpeg -c:a pcm_dvd -sample_fmt s32 x.vob` is
//!   decoded to noise in every second packet. Here packets are cut at group boundaries.
//! - DVD, mono: dvdlpcmdec assumes groups of four samples, but they have two. To reproduce: the same with `-ac 1`
//!   is decoded 2 dB too loud, with noise. Here two groups are joined to one.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Sample format of Blu-ray PCM, from a packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BluRay {
    /// Channel mask, as in GStreamer.
    places: u64,
    /// For each stored channel, its index in GStreamer's channel order.
    order: &'static [usize],
    rate: u32,
    /// Bytes per sample.
    bytes: usize,
}

/// Size of a packet's header, in bytes.
const HEAD: usize = 4;

impl BluRay {
    /// Reads the header of a packet; none if its format is not known.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let head = packet.get(..HEAD)?;
        let (places, order): (u64, &[usize]) = match head[2] >> 4 {
            1 => (0, &[0]),
            3 => (0x3, &[0, 1]),
            4 => (0x7, &[0, 1, 2]),
            5 => (0x103, &[0, 1, 2]),
            6 => (0x107, &[0, 1, 2, 3]),
            7 => (0xC03, &[0, 1, 2, 3]),
            8 => (0xC07, &[0, 1, 2, 3, 4]),
            9 => (0xC0F, &[0, 1, 2, 4, 5, 3]),
            10 => (0xC37, &[0, 1, 2, 5, 3, 4, 6]),
            11 => (0xC3F, &[0, 1, 2, 6, 4, 5, 7, 3]),
            _ => return None,
        };
        let rate = match head[2] & 0xF {
            1 => 48_000,
            4 => 96_000,
            5 => 192_000,
            _ => return None,
        };
        let bytes = match head[3] >> 6 {
            1 => 2,
            2 | 3 => 3,
            _ => return None,
        };
        Some(BluRay { places, order, rate, bytes })
    }

    /// Caps of the converted packets.
    pub(super) fn format(&self) -> gst::Structure {
        let format = gst::Structure::builder("audio/x-raw")
            .field("format", if self.bytes == 2 { "S16LE" } else { "S24LE" })
            .field("layout", "interleaved")
            .field("rate", i32::try_from(self.rate).unwrap_or(48_000))
            .field("channels", i32::try_from(self.order.len()).unwrap_or(2));
        match self.places {
            0 => format.build(),
            places => format.field("channel-mask", gst::Bitmask(places)).build(),
        }
    }

    /// The samples of a packet, little-endian and in GStreamer's channel order.
    fn samples(&self, packet: &[u8]) -> Vec<u8> {
        let channels = self.order.len();
        // An odd number of channels is followed by a padding channel.
        let stored = channels.next_multiple_of(2) * self.bytes;
        let mut samples = Vec::with_capacity(packet.len());
        for frame in packet.get(HEAD..).unwrap_or_default().chunks_exact(stored) {
            let begins = samples.len();
            samples.resize(begins + channels * self.bytes, 0);
            let places = self.order.iter().zip(frame.chunks_exact(self.bytes));
            for (place, sample) in places {
                let at = begins + place * self.bytes;
                if let Some(place) = samples.get_mut(at..at + self.bytes) {
                    place.copy_from_slice(sample);
                    place.reverse();
                }
            }
        }
        samples
    }
}

/// Converts the Blu-ray PCM that passes through a pad to raw PCM; `about` is its format.
pub(super) fn become_plain(pad: &gst::Pad, about: BluRay) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let Ok(bytes) = buffer.map_readable().map(|bytes| bytes.to_vec()) else {
            return gst::PadProbeReturn::Handled;
        };
        // Packets of another format are dropped: a change of format within a stream is not supported.
        if BluRay::read(&bytes) != Some(about) {
            return gst::PadProbeReturn::Handled;
        }
        let samples = about.samples(&bytes);
        let count = samples.len() / (about.order.len() * about.bytes);
        let mut plain = gst::Buffer::from_mut_slice(samples);
        {
            let plain = plain.make_mut();
            let copied = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
            let _ = buffer.copy_into(plain, copied, ..);
            let nanos = count as u64 * 1_000_000_000 / u64::from(about.rate);
            plain.set_duration(gst::ClockTime::from_nseconds(nanos));
        }
        *buffer = plain;
        gst::PadProbeReturn::Ok
    });
}

/// Cuts the DVD PCM that passes through a pad so that every packet starts with a complete group of samples.
pub(super) fn join_groups(pad: &gst::Pad) {
    let rest = Mutex::new(Vec::new());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = info.buffer_mut()
            && let Some(whole) = whole_groups(buffer, &mut rest)
        {
            *buffer = whole;
        }
        gst::PadProbeReturn::Ok
    });
}

/// Size of a packet's header on a DVD: the position of the access unit to which the timestamp applies (2 bytes)
/// and the sample format (3 bytes).
const DVD_HEAD: usize = 5;
/// The position field if that access unit is at the beginning of the samples.
const AT_ONCE: u16 = 4;

/// The packet, preceded by the incomplete group of the previous one (`rest`) and without its own incomplete
/// group, which is moved to `rest`. None if the packet can stay as it is.
fn whole_groups(buffer: &gst::Buffer, rest: &mut Vec<u8>) -> Option<gst::Buffer> {
    let bytes = buffer.map_readable().ok()?;
    let head = bytes.get(..DVD_HEAD)?;
    let channels = usize::from(head[3] & 7) + 1;
    let bits = match head[3] >> 6 {
        1 => 20,
        2 => 24,
        _ => return None,
    };
    // A group contains the upper 16 bits of its samples, then the lower bits of all of them.
    let group = bits / 2
        * match channels {
            1 | 2 | 4 => 1,
            8 => 2,
            channels => channels,
        };
    if buffer.flags().contains(gst::BufferFlags::DISCONT) {
        rest.clear();
    }
    let begins = u16::from_be_bytes([head[0], head[1]]);
    let late = rest.len() + usize::from(begins.saturating_sub(AT_ONCE));
    let contents = [rest, bytes.get(DVD_HEAD..)?].concat();
    let (whole, left) = contents.split_at(contents.len() / group * group);
    let whole = if channels == 1 { four_sample_groups(whole, group) } else { whole.to_vec() };
    *rest = left.to_vec();
    let begins = if begins == 0 { 0 } else { AT_ONCE };
    let packet = [&begins.to_be_bytes(), &head[2..], &whole].concat();
    let mut packet = gst::Buffer::from_mut_slice(packet);
    {
        let packet = packet.make_mut();
        let copied = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
        let _ = buffer.copy_into(packet, copied, ..);
        let rate = [48_000, 96_000, 44_100, 32_000][usize::from(head[3] >> 4 & 3)];
        let nanos = late as u64 * 8 * 1_000_000_000 / ((bits * channels) as u64 * rate);
        let earlier = gst::ClockTime::from_nseconds(nanos);
        packet.set_pts(buffer.pts().map(|pts| pts.saturating_sub(earlier)));
        packet.set_dts(buffer.dts().map(|dts| dts.saturating_sub(earlier)));
    }
    Some(packet)
}

/// The samples of mono, of which two form a group, in groups of four (of `size` bytes).
fn four_sample_groups(samples: &[u8], size: usize) -> Vec<u8> {
    let group = |four: &[u8]| {
        let (one, two) = four.split_at(size / 2);
        // The upper 16 bits of two samples.
        let ((upper, lower), (upper2, lower2)) = (one.split_at(4), two.split_at(4));
        [upper, upper2, lower, lower2].concat()
    };
    samples.chunks_exact(size).flat_map(group).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_a_blu_ray_disc_come_to_their_places() {
        gst::init().unwrap();
        for (head, stored, wanted) in [
            ([0, 0, 0x11, 0x40], &b"abxx"[..], &b"ba"[..]),
            ([0, 0, 0x31, 0xC0], b"abcdef", b"cbafed"),
            ([0, 0, 0x91, 0x40], b"aAbBcCdDeEfF", b"AaBbCcFfDdEe"),
            ([0, 0, 0xB1, 0x40], b"aAbBcCdDeEfFgGhH", b"AaBbCcHhEeFfDdGg"),
        ] {
            let about = BluRay::read(&head).unwrap();
            assert_eq!(about.samples(&[&head, stored].concat()), wanted, "{head:x?}");
        }
        let format = BluRay::read(&[0, 0, 0x94, 0xC0]).unwrap().format().to_string();
        assert!(format.contains("S24LE") && format.contains("96000"), "{format}");
        for head in [[0, 0, 0x01, 0x40], [0, 0, 0x32, 0x40], [0, 0, 0x31, 0x00]] {
            assert_eq!(BluRay::read(&head), None);
        }
        assert_eq!(BluRay::read(&[0, 0, 0x31]), None);
    }

    #[test]
    fn groups_of_samples_of_a_dvd_are_put_together_again() {
        gst::init().unwrap();
        let packet = |begins: u8, contents: &[u8]| {
            let mut packet =
                gst::Buffer::from_slice([&[0, begins, 0, 0x81, 0x80][..], contents].concat());
            packet.make_mut().set_pts(gst::ClockTime::from_seconds(1));
            packet
        };
        let mut rest = Vec::new();
        let first = whole_groups(&packet(4, b"abcdefghijklmno"), &mut rest).unwrap();
        assert_eq!(first.map_readable().unwrap()[..], *b"\0\x04\0\x81\x80abcdefghijkl");
        assert_eq!(first.pts(), Some(gst::ClockTime::from_seconds(1)));
        let second = whole_groups(&packet(13, b"pqrstuvwxyz"), &mut rest).unwrap();
        assert_eq!(second.map_readable().unwrap()[..], *b"\0\x04\0\x81\x80mnopqrstuvwx");
        // The access unit with this timestamp starts 12 bytes (two stereo samples) into the output: 3 bytes from
        // the previous packet, and 9.
        assert_eq!(second.pts(), Some(gst::ClockTime::from_nseconds(1_000_000_000 - 41_666)));
        assert_eq!(rest, b"yz");
        // Of mono two groups become one: 24 bits, then 20.
        let mut rest = Vec::new();
        for (form, stored, joined) in [
            (0x80, &b"AABBabCCDDcd"[..], &b"AABBCCDDabcd"[..]),
            (0x40, b"AABBaCCDDc", b"AABBCCDDac"),
        ] {
            let mono = [&[0, 4, 0, form, 0x80], stored].concat();
            let mono = whole_groups(&gst::Buffer::from_slice(mono), &mut rest).unwrap();
            assert_eq!(mono.map_readable().unwrap()[DVD_HEAD..], *joined);
        }
        // 16-bit samples are not grouped.
        let plain = gst::Buffer::from_slice(b"\0\x04\0\x01\x80abc".to_vec());
        assert!(whole_groups(&plain, &mut rest).is_none());
        assert!(whole_groups(&gst::Buffer::from_slice(b"\0\x04".to_vec()), &mut rest).is_none());
    }
}
