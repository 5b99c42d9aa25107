//! Workaround: the tracks of an FLV begin at different times.
//!
//! flvdemux (GStreamer 1.22) counts each track from its own first packet, so that one that begins later than
//! the other comes too early; that of 1.26 counts both from the first packet it meets and changes its mind,
//! between two pictures, when that of the other track turns out to be earlier. To see it: an FLV of
//! `ffmpeg -c:v libx264 -c:a aac` (FFmpeg 7), whose sound begins 21 ms before the picture, through
//! `flvdemux`. So all of a file are counted from the earliest packet.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use crate::core::truncation::regular;

/// Number of tags that are searched.
const SEARCHED: usize = 1000;

const SOUND: u8 = 8;
const PICTURE: u8 = 9;
const AAC: u8 = 10;
const AVC: u8 = 7;

/// When the first packet of an FLV is presented; none of other files, and of those that hold nothing.
pub(super) fn begins(path: &Path) -> Option<gst::ClockTime> {
    let mut file = BufReader::new(regular(path)?);
    let mut header = [0; 9];
    file.read_exact(&mut header).ok()?;
    let [b'F', b'L', b'V', .., a, b, c, d] = header else { return None };
    file.seek(SeekFrom::Start(u32::from_be_bytes([a, b, c, d]).into())).ok()?;
    let mut first: [Option<i64>; 2] = [None; 2];
    for _ in 0..SEARCHED {
        // The size of the tag before, the tag's header, and the beginning of what it holds.
        let mut tag = [0; 20];
        if file.read_exact(&mut tag).is_err() || first.iter().all(Option::is_some) {
            break;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0i64, |n, byte| n << 8 | i64::from(*byte));
        let at = i64::from(tag[11]) << 24 | number(&tag[8..11]);
        let (codec, packet) = (tag[15], tag[16]);
        match tag[4] {
            // The first ones of AAC and AVC are headers.
            SOUND if codec >> 4 == AAC && packet == 0 => {}
            PICTURE if codec & 0xF == AVC && packet != 1 => {}
            PICTURE if codec & 0xF == AVC => {
                let later = number(&tag[17..20]) << 40 >> 40;
                first[0].get_or_insert(at + later);
            }
            PICTURE => {
                first[0].get_or_insert(at);
            }
            SOUND => {
                first[1].get_or_insert(at);
            }
            _ => {}
        }
        let rest = number(&tag[5..8]) - 5;
        file.seek_relative(rest).ok()?;
    }
    let earliest = first.into_iter().flatten().min()?;
    u64::try_from(earliest).ok().map(gst::ClockTime::from_mseconds)
}

/// Makes a track's times count from `begins`, until the track is seeked.
pub(super) fn count_from(pad: &gst::Pad, begins: gst::ClockTime) {
    let sought = Mutex::new(false);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
    pad.add_probe(kinds, move |_, info| {
        let Some(gst::PadProbeData::Event(event)) = &mut info.data else {
            return gst::PadProbeReturn::Ok;
        };
        let mut sought = sought.lock().unwrap_or_else(PoisonError::into_inner);
        *sought |= event.type_() == gst::EventType::FlushStop;
        if let gst::EventView::Segment(segment) = event.view()
            && !*sought
            && let Some(times) = segment.segment().downcast_ref::<gst::ClockTime>()
        {
            let mut times = times.clone();
            times.set_start(begins);
            times.set_time(begins);
            times.set_position(begins);
            *event = gst::event::Segment::builder(&times).seqnum(event.seqnum()).build();
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tag(kind: u8, at: u32, data: &[u8]) -> Vec<u8> {
        let [extended, at @ ..] = at.to_be_bytes();
        let size = (data.len() as u32).to_be_bytes();
        [&[0, 0, 0, 0, kind], &size[1..], &at, &[extended, 0, 0, 0], data].concat()
    }

    #[test]
    fn an_flv_begins_with_its_earliest_packet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.flv");
        let of = |tags: &[Vec<u8>]| {
            let header = b"FLV\x01\x05\0\0\0\x09".to_vec();
            std::fs::write(&path, [header, tags.concat()].concat()).unwrap();
            begins(&path).map(gst::ClockTime::mseconds)
        };
        let headers = [
            tag(18, 0, &[2; 40]),
            tag(PICTURE, 0, &[0x17, 0, 0, 0, 0, 1, 2]),
            tag(SOUND, 0, &[0xAF, 0, 0x12, 0x10, 0]),
        ];
        let picture = tag(PICTURE, 0, &[0x17, 1, 0, 0, 80, 1, 2, 3]);
        let sound = tag(SOUND, 59, &[0xAF, 1, 1, 2, 3, 4]);
        let of_headers = |more: &[Vec<u8>]| of(&[&headers[..], more, &[vec![0; 4]]].concat());
        assert_eq!(of_headers(&[picture.clone(), sound.clone()]), Some(59));
        assert_eq!(of_headers(std::slice::from_ref(&picture)), Some(80));
        // Shown before it is decoded: a time that some programs write.
        let early = tag(PICTURE, 100, &[0x17, 1, 0xFF, 0xFF, 0xF6, 1, 2, 3]);
        assert_eq!(of_headers(&[early, sound]), Some(59));
        let late = tag(SOUND, 0x0100_0000, &[0x2F, 1, 1, 2, 3, 4]);
        assert_eq!(of(&[late]), Some(0x0100_0000));
        assert_eq!(of_headers(&[]), None);
        std::fs::write(&path, b"RIFF, and more than that").unwrap();
        assert_eq!(begins(&path), None);
        assert_eq!(begins(folder.path()), None);
    }
}
