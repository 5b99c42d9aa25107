//! Workarounds for small pictures in a program stream (.mpg, .vob), several of which share a packet.
//!
//! A packet states the time of the first picture that starts in it. mpegvideoparse (GStreamer 1.22 to 1.26) computes the decoding times of the others, but not when they are
//! presented, and decoders guess that wrong by up to three frames. To reproduce: `ffmpeg -c:v mpeg2video -bf 2
//! -s 352x288 x.mpg` of a test picture, then compare the timestamps of the decoded frames. The missing presentation
//! times follow from the type of a picture and its place in its group of pictures.
//!
//! If a packet of pictures is followed by more than 0.7 s of sound, mpegpsdemux (1.22 to 1.26) sends a gap event, at
//! which mpegvideoparse cuts the picture that continues in the next packet. To reproduce: the same with `-f lavfi -i
//! color=s=64x48 -f lavfi -i sine`: frames are missing. So these events are dropped.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Completes the presentation times of the MPEG-1 and MPEG-2 pictures that `decode`, a decodebin, finds in a program
/// stream, and keeps those whole that continue in a later packet.
pub fn complete_picture_times(decode: &gst::Element) {
    decode.connect("element-added", false, |args| {
        let bin = args.first()?.get::<gst::Bin>().ok()?;
        let parser = args.get(1)?.get::<gst::Element>().ok()?;
        let is = |element: &gst::Element, name| element.factory().is_some_and(|f| f.name() == name);
        let mut inside = bin.iterate_elements().into_iter().flatten();
        if is(&parser, "mpegvideoparse") && inside.any(|element| is(&element, "mpegpsdemux")) {
            parser.static_pad("sink")?.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
                match info.event().map(|event| event.type_()) {
                    Some(gst::EventType::Gap) => gst::PadProbeReturn::Handled,
                    _ => gst::PadProbeReturn::Ok,
                }
            });
            let times = Mutex::new(PictureTimes::default());
            parser.static_pad("src")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer_mut() {
                    times.lock().unwrap_or_else(PoisonError::into_inner).complete(buffer);
                }
                gst::PadProbeReturn::Ok
            });
        }
        None
    });
}

/// What is known of the pictures so far, in decoding order.
#[derive(Default)]
struct PictureTimes {
    /// Number of the current picture in its group of pictures.
    index: i64,
    /// How much later than its decoding time a picture is presented whose places in decoding and presentation order
    /// are the same, in nanoseconds; none before a packet has stated it.
    delay: Option<i64>,
}

impl PictureTimes {
    /// Sets the presentation time of a picture that has none, if it is known.
    fn complete(&mut self, buffer: &mut gst::Buffer) {
        let picture = buffer.map_readable().ok().and_then(|bytes| Picture::read(&bytes));
        let Some(picture) = picture else {
            *self = PictureTimes::default();
            return;
        };
        self.index = if picture.begins_group { 0 } else { self.index + 1 };
        let (Some(dts), Some(length)) = (buffer.dts(), buffer.duration()) else { return };
        let nanos = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
        let ahead = (picture.reference - self.index).saturating_mul(nanos(length));
        if let Some(pts) = buffer.pts() {
            self.delay = Some(nanos(pts) - nanos(dts) - ahead);
            return;
        }
        let late = if picture.bidirectional { Some(0) } else { self.delay.map(|d| d + ahead) };
        // Far away it is only after damage.
        let late = late.and_then(|late| u64::try_from(late).ok());
        if let Some(late) = late.filter(|late| *late <= length.nseconds().saturating_mul(8)) {
            buffer.make_mut().set_pts(dts + gst::ClockTime::from_nseconds(late));
        }
    }
}

/// The headers of a picture (ISO/IEC 13818-2, 6.2).
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    begins_group: bool,
    /// Its place in its group in presentation order (temporal_reference).
    reference: i64,
    /// A B-picture: it is presented when it is decoded.
    bidirectional: bool,
}

impl Picture {
    /// Reads the headers of a picture; none if they are missing, or if it is one field of a frame.
    fn read(bytes: &[u8]) -> Option<Self> {
        let starts = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default().windows(4).enumerate();
            rest.filter(|(_, code)| code[..3] == [0, 0, 1])
                .map(move |(at, code)| (from + at, code[3]))
        };
        let (at, _) = starts(0).find(|(_, code)| *code == PICTURE)?;
        let head = bytes.get(at + 4..at + 6)?;
        // A coding extension, which MPEG-1 does not have, follows immediately.
        let extension = starts(at + 4).next().filter(|(_, code)| *code == EXTENSION);
        if let Some((at, _)) = extension {
            let coding = bytes.get(at + 4..at + 7)?;
            (coding[0] >> 4 != CODING || coding[2] & 3 == WHOLE_FRAME).then_some(())?;
        }
        Some(Picture {
            begins_group: starts(0)
                .take_while(|(found, _)| *found < at)
                .any(|(_, code)| code == GROUP),
            reference: i64::from(head[0]) << 2 | i64::from(head[1] >> 6),
            bidirectional: head[1] >> 3 & 7 == 3,
        })
    }
}

/// Start codes.
const PICTURE: u8 = 0x00;
const EXTENSION: u8 = 0xB5;
const GROUP: u8 = 0xB8;
/// Id of the picture coding extension, and its picture_structure of a frame.
const CODING: u8 = 8;
const WHOLE_FRAME: u8 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FRAME: u64 = 40;

    /// A picture: whether a group begins with it, its place in that, and its type (1 to 3: I, P, B).
    fn picture(group: bool, reference: u16, kind: u8) -> Vec<u8> {
        let head = reference << 6 | u16::from(kind) << 3;
        let group: &[u8] = if group { &[0, 0, 1, GROUP, 0, 8, 0, 0x40] } else { &[] };
        let coding = [0, 0, 1, EXTENSION, 0x8F, 0xFF, 0xF3, 0x80];
        [group, &[0, 0, 1, PICTURE], &head.to_be_bytes(), &[0xFF, 0xF8], &coding].concat()
    }

    #[test]
    fn pictures_that_share_a_packet_get_their_times() {
        gst::init().unwrap();
        // Two groups in decoding order, the second one open, with the time in frames at which each is shown.
        let stream = [
            (picture(true, 0, 1), 1),
            (picture(false, 3, 2), 4),
            (picture(false, 1, 3), 2),
            (picture(false, 2, 3), 3),
            (picture(true, 2, 1), 7),
            (picture(false, 0, 3), 5),
            (picture(false, 1, 3), 6),
            (picture(false, 3, 2), 8),
        ];
        for stated in [&[0][..], &[0, 2], &[0, 3, 4], &[0, 5]] {
            let mut times = PictureTimes::default();
            for (n, (bytes, shown)) in stream.iter().enumerate() {
                let mut buffer = gst::Buffer::from_slice(bytes.clone());
                let at = |frames: u64| Some(gst::ClockTime::from_mseconds(frames * FRAME));
                let writable = buffer.make_mut();
                writable.set_dts(at(n as u64));
                writable.set_duration(at(1));
                writable.set_pts(at(*shown).filter(|_| stated.contains(&n)));
                times.complete(&mut buffer);
                assert_eq!(buffer.pts(), at(*shown), "picture {n}, {stated:?}");
            }
        }
    }

    #[test]
    fn fields_and_what_is_no_picture_are_left_alone() {
        let frame = picture(false, 5, 3);
        let expected = Picture { begins_group: false, reference: 5, bidirectional: true };
        assert_eq!(Picture::read(&frame), Some(expected));
        let mut field = frame.clone();
        let structure = field.len() - 2;
        field[structure] = 0xF1;
        assert_eq!(Picture::read(&field), None);
        for cut in 0..frame.len() {
            Picture::read(&frame[..cut]);
        }
    }
}
