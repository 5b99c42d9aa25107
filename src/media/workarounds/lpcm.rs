//! Workarounds: PCM of discs.
//!
//! dvdlpcmdec (GStreamer 1.22 to 1.26), which decodes both, takes
//!
//! - 20 and 24 bits of a Blu-ray disc for stored as on a DVD, an odd number of channels for stored without the
//!   one that is added to it, and the last four channels of 7.1 for in another order. To see it:
//!   `ffmpeg -c:a pcm_bluray -sample_fmt s32 -mpegts_m2ts_mode 1 x.m2ts`: noise. So its packets become plain
//!   PCM, which needs no decoder;
//! - packets of a DVD, of 20 or 24 bits, for beginning with a whole group of samples. Those of FFmpeg do not. To
//!   see it: `ffmpeg -c:a pcm_dvd -sample_fmt s32 x.vob`: noise in every second packet. So groups are put
//!   together again.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// What the head of a packet of a Blu-ray disc says of its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BluRay {
    /// Channel positions, as GStreamer's bits.
    places: u64,
    /// Which channel, in the order of these bits, each stored one is.
    order: &'static [usize],
    rate: u32,
    /// Bytes of a sample.
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

    fn samples(&self, packet: &[u8]) -> Vec<u8> {
        let channels = self.order.len();
        // An odd number is made even.
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

/// Turns the packets of a Blu-ray disc that go through a pad into plain PCM.
pub(super) fn become_plain(pad: &gst::Pad, about: BluRay) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let Ok(bytes) = buffer.map_readable().map(|bytes| bytes.to_vec()) else {
            return gst::PadProbeReturn::Handled;
        };
        // A format that changes within the stream is not supported.
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

/// Lets every packet of a DVD that goes through a pad begin with a whole group of samples.
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

/// The head of a packet of a DVD: where in it the first frame begins whose time is known (2 bytes), and
/// 3 bytes on its samples.
const DVD_HEAD: usize = 5;
/// Value of that field if the first frame is at the beginning.
const AT_ONCE: u16 = 4;

/// The packet with the rest of the previous one in front and without its own rest, which is stored in `rest`;
/// none if nothing needs to change.
fn whole_groups(buffer: &gst::Buffer, rest: &mut Vec<u8>) -> Option<gst::Buffer> {
    let bytes = buffer.map_readable().ok()?;
    let head = bytes.get(..DVD_HEAD)?;
    let channels = usize::from(head[3] & 7) + 1;
    let bits = match head[3] >> 6 {
        1 => 20,
        2 => 24,
        _ => return None,
    };
    // Four samples stand together, first all upper parts and then all lower ones.
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
    *rest = left.to_vec();
    let begins = if begins == 0 { 0 } else { AT_ONCE };
    let packet = [&begins.to_be_bytes(), &head[2..], whole].concat();
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
        // What has that time begins 9 bytes later, behind the 3 of the packet before: two samples.
        assert_eq!(second.pts(), Some(gst::ClockTime::from_nseconds(1_000_000_000 - 41_666)));
        assert_eq!(rest, b"yz");
        // 16 bits need no groups.
        let plain = gst::Buffer::from_slice(b"\0\x04\0\x01\x80abc".to_vec());
        assert!(whole_groups(&plain, &mut rest).is_none());
        assert!(whole_groups(&gst::Buffer::from_slice(b"\0\x04".to_vec()), &mut rest).is_none());
    }
}
