//! Workarounds: times in AVI files (GStreamer 1.22 to 1.26).
//!
//! avidemux says when frames are shown of key frames alone, since of codecs whose frames are not stored in the
//! order in which they are shown it does not know more. Of the others it does, but decoders count on by the frame
//! rate, and what the file leaves out (an empty chunk repeats a frame) is lost. To see it: `ffmpeg -c:v zmbv` with
//! a frame that is missing, through `avidemux ! avdec_zmbv`.
//!
//! For ADPCM, gst-plugins-base computes the bytes of a second anew, as if each block held the samples
//! of two channels: mono comes out in half its time, stereo in 99.8 % of it
//! (`ffmpeg -f lavfi -i sine -c:a adpcm_ms -ac 1 x.avi`). Told that the sizes of blocks vary, avidemux
//! counts the blocks instead, by what its header says of their length.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;

use super::patch::Patch;
use crate::core::truncation::regular;

/// Headers are shorter, but for the index that OpenDML puts into them.
const HEAD: u64 = 256 * 1024;
const MICROSOFT: u16 = 0x02;
const IMA: u16 = 0x11;

/// What the header of an AVI says of a stream.
struct Stream {
    /// Where its header begins.
    header: usize,
    /// Where its format lies.
    format: Range<usize>,
}

/// A stream of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    /// A BITMAPINFOHEADER, and what its decoder must know beside.
    pub format: Vec<u8>,
    /// Frames a second, as a fraction.
    pub rate: Option<(i32, i32)>,
}

/// How the header of an AVI file is to be read; nothing of a file that is none.
pub(super) fn patches(path: &Path) -> Vec<Patch> {
    let head = head(path).unwrap_or_default();
    let streams = streams(&head).into_iter().filter(|stream| is(&head, stream, b"auds"));
    let patches = streams.filter_map(|stream| of_sound(&head, stream.header, stream.format.start));
    patches.flatten().collect()
}

/// The streams of pictures of an AVI file; none of a file that is none.
pub(super) fn pictures(path: &Path) -> Vec<Picture> {
    let head = head(path).unwrap_or_default();
    let streams = streams(&head).into_iter().filter(|stream| is(&head, stream, b"vids"));
    let pictures = streams.filter_map(|stream| {
        let part = |at| i32::try_from(word(&head, stream.header + at)?).ok().filter(|n| *n > 0);
        let rate = part(24).zip(part(20));
        Some(Picture { format: head.get(stream.format)?.to_vec(), rate })
    });
    pictures.collect()
}

/// Whether frames of this format may be shown in another order than the one they are stored in.
pub(in super::super) fn may_reorder(format: &str) -> bool {
    let names = [
        "video/mpeg",
        "video/x-h264",
        "video/x-h265",
        "video/x-wmv",
        "video/x-divx",
        "video/x-av1",
    ];
    names.contains(&format)
}

/// Lets the pictures of avidemux say when they are shown, where that is when they are decoded.
pub(super) fn complete_times(pad: &gst::Pad) {
    let demuxer = pad.parent_element().and_then(|element| element.factory());
    if demuxer.is_none_or(|factory| factory.name() != "avidemux")
        || !pad.name().starts_with("video")
    {
        return;
    }
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        let Some(buffer) = info.buffer_mut().filter(|buffer| buffer.pts().is_none()) else {
            return gst::PadProbeReturn::Ok;
        };
        let caps = pad.current_caps();
        let in_order =
            caps.and_then(|caps| Some(!may_reorder(caps.structure(0)?.name()))).unwrap_or(false);
        if in_order {
            let decoded = buffer.dts();
            buffer.make_mut().set_pts(decoded);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Whether a stream is of this type.
fn is(head: &[u8], stream: &Stream, kind: &[u8; 4]) -> bool {
    head.get(stream.header..stream.header + 4) == Some(kind)
}

/// The beginning of an AVI file, with its header.
fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    regular(path)?.take(HEAD).read_to_end(&mut head).ok()?;
    (head.get(..4) == Some(b"RIFF") && head.get(8..12) == Some(b"AVI ")).then_some(head)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

/// The streams that are described in this header.
fn streams(head: &[u8]) -> Vec<Stream> {
    let mut found = Vec::new();
    lists(head, 12, head.len(), &mut found);
    found
}

/// Searches the lists `hdrl` and `strl` of this part of the file.
fn lists(head: &[u8], from: usize, to: usize, found: &mut Vec<Stream>) {
    let (mut at, mut header) = (from, None);
    while let (Some(name), Some(size)) = (head.get(at..at + 4), word(head, at + 4)) {
        let inside = at + 8;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let end = inside.saturating_add(size).min(to);
        match name {
            b"LIST" if matches!(head.get(inside..inside + 4), Some(b"hdrl" | b"strl")) => {
                lists(head, inside + 4, end, found);
            }
            b"strh" => header = Some(inside),
            b"strf" => {
                let stream = header.take().map(|header| Stream { header, format: inside..end });
                found.extend(stream);
            }
            _ => {}
        }
        // Chunks begin at even places.
        at = end.saturating_add(size & 1);
        if at >= to {
            break;
        }
    }
}

/// The changes to the header of a sound track, whose format lies at `format`.
fn of_sound(head: &[u8], header: usize, format: usize) -> Option<[Patch; 2]> {
    let tag = half(head, format)?;
    let channels = u32::from(half(head, format + 2)?);
    let rate = word(head, format + 4)?;
    let block = u32::from(half(head, format + 12)?);
    // A block begins with a head for each channel; the samples after it have four bits.
    let samples = match (tag, channels) {
        (MICROSOFT, 1..=8) => (block.checked_sub(7 * channels)? * 2) / channels + 2,
        (IMA, 1..=8) => (block.checked_sub(4 * channels)? * 2) / channels + 1,
        _ => return None,
    };
    if rate == 0 || samples < 4 {
        return None;
    }
    let scale = [samples.to_le_bytes(), rate.to_le_bytes()].concat();
    Some([
        Patch { at: header as u64 + 20, bytes: scale },
        Patch { at: header as u64 + 44, bytes: vec![0; 4] },
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let size = u32::try_from(contents.len()).unwrap();
        [&name[..], &size.to_le_bytes(), contents].concat()
    }

    fn file(tag: u16, channels: u16, block: u16) -> Vec<u8> {
        let header = [&b"auds"[..], &[0; 44]].concat();
        let rate = 44_100_u32.to_le_bytes();
        let parts = [&tag.to_le_bytes()[..], &channels.to_le_bytes(), &rate, &[0; 4]];
        let format = [&parts.concat()[..], &block.to_le_bytes(), &[4, 0]].concat();
        let stream = [&b"strl"[..], &chunk(b"strh", &header), &chunk(b"strf", &format)].concat();
        let list = [&b"hdrl"[..], &chunk(b"LIST", &stream)].concat();
        [&b"RIFF\0\0\0\0AVI "[..], &chunk(b"LIST", &list)].concat()
    }

    fn of(bytes: &[u8]) -> Vec<Patch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.avi");
        std::fs::write(&path, bytes).unwrap();
        patches(&path)
    }

    #[test]
    fn a_block_of_adpcm_is_as_long_as_its_samples() {
        for (tag, channels, block, samples) in [
            (MICROSOFT, 1, 1024, 2036_u32),
            (MICROSOFT, 2, 1024, 1012),
            (IMA, 1, 1024, 2041),
            (IMA, 2, 2048, 2041),
        ] {
            let found = of(&file(tag, channels, block));
            assert_eq!(found[0].bytes[..4], samples.to_le_bytes(), "{tag} {channels}");
            assert_eq!(found[0].bytes[4..], 44_100_u32.to_le_bytes());
            assert_eq!((found[1].at, &found[1].bytes[..]), (found[0].at + 24, &[0; 4][..]));
        }
        assert!(of(&file(1, 2, 4)).is_empty());
        assert!(of(&file(MICROSOFT, 0, 1024)).is_empty());
        assert!(of(&file(MICROSOFT, 2, 3)).is_empty());
    }

    #[test]
    fn what_is_cut_off_has_no_patches_or_those_it_should_have() {
        let whole = file(MICROSOFT, 1, 1024);
        for cut in 0..whole.len() {
            assert!([0, 2].contains(&of(&whole[..cut]).len()), "of {cut} bytes");
        }
    }
}
