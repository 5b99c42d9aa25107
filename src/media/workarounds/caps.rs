//! Workarounds: what demuxers and decoders say of a track, completed or corrected.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::super::matroska::TrackEntry;
use super::super::older_than;
use super::colorimetry::change_caps;
use super::container_facts::ContainerFacts;
use super::transport::SoundCodec;
use super::{avi, flv, fourcc, latm, lpcm};

/// Completes what a decoder says of its pictures, on their way through `pad`; see [`complete`].
pub fn complete_on(pad: &gst::Pad, facts: &ContainerFacts, centred: bool) {
    let facts = facts.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        let aspect = facts.pixel_aspect(pad.stream_id().as_deref());
        change_caps(info, |format| complete(format, aspect, centred))
    });
}

/// Completes the description of decoded pictures; true when it was changed.
///
/// - GStreamer (1.22 to 1.26) refuses colours of which only the range is said (`1:0:0:0`) and takes the
///   usual ones, of limited range, in their place. To see it: an H.264 file with
///   `-color_range pc` and nothing else through `videoconvert`: 8 becomes 0. Likewise of greys (FFV1).
/// - Of pictures of up to 576 lines that do not say their colours it takes the chroma for centred, whatever
///   they say of it; only MPEG-1, H.261 and JPEG have that (`centred`). To see it: `ffprobe` on what
///   x264enc makes of `video/x-raw,height=576,chroma-site=mpeg2`.
/// - avidemux (1.22 to 1.26) calls the pixels of RGB stored from the top to the bottom −1/1.
/// - decoders of MJPEG, PNG, Cinepak, DNxHD and others (1.22; that of PNG until 1.26) lose the pixel aspect
///   that a MOV has said (`aspect`); those of H.263 and MPEG-4 let that of the stream count before it.
pub fn complete(format: &mut gst::StructureRef, aspect: Option<(i32, i32)>, centred: bool) -> bool {
    if format.name() != "video/x-raw" {
        return false;
    }
    let mut changed = false;
    let said = format.get::<gst::Fraction>("pixel-aspect-ratio").ok();
    let wrong = said.is_some_and(|par| par.numer() <= 0 || par.denom() <= 0);
    match aspect {
        Some((n, d)) if said != Some(gst::Fraction::new(n, d)) => {
            format.set("pixel-aspect-ratio", gst::Fraction::new(n, d));
            changed = true;
        }
        _ if wrong => {
            format.set("pixel-aspect-ratio", gst::Fraction::new(1, 1));
            changed = true;
        }
        _ => {}
    }
    let layout = format.get::<&str>("format").ok().map(gst_video::VideoFormat::from_string);
    let Some(layout) = layout.filter(|f| *f != gst_video::VideoFormat::Unknown) else {
        return changed;
    };
    let layout = gst_video::VideoFormatInfo::from_format(layout);
    if !layout.is_yuv() && !layout.is_gray() {
        return changed;
    }
    let large = format.get::<i32>("height").is_ok_and(|height| height > 576);
    let colours = format.get::<String>("colorimetry").unwrap_or_else(|_| "0:0:0:0".to_owned());
    if let Some(complete) = completed(&colours, large) {
        format.set("colorimetry", complete);
        changed = true;
    }
    let subsampled = layout.h_sub().get(1) == Some(&1) && layout.w_sub().get(1) == Some(&1);
    if subsampled && !format.has_field("chroma-site") {
        format.set("chroma-site", if centred { "jpeg" } else { "mpeg2" });
        changed = true;
    }
    changed
}

/// Colours of which a part is not said, with the usual ones in its place; none when all are, or none is.
fn completed(colours: &str, large: bool) -> Option<String> {
    let numbers: Option<Vec<u32>> = colours.split(':').map(|part| part.parse().ok()).collect();
    let [range, matrix, transfer, primaries] = numbers?[..] else { return None };
    let usual = if large { [2, 3, 5, 1] } else { [2, 4, 16, 4] };
    let or = |said, usual| if said == 0 { usual } else { said };
    // A matrix of 1 is RGB's: no picture in YUV has it.
    let matrix = if matrix == 1 { usual[1] } else { or(matrix, usual[1]) };
    let complete = [or(range, usual[0]), matrix, or(transfer, usual[2]), or(primaries, usual[3])];
    let text = complete.map(|number| number.to_string()).join(":");
    (text != colours).then_some(text)
}

/// Corrects what the demuxers within a `decodebin` or `parsebin` say of their tracks, before anything is
/// chosen by it.
///
/// - qtdemux (before 1.26) takes PCM in `fl32`, `fl64`, `in32` for big-endian whatever its `enda` says, so
///   that most of it is noise. To see it: `ffmpeg -c:a pcm_f32le x.mov`.
/// - demuxers know many pictures by four letters alone: see `fourcc`.
/// - tsdemux (1.22 to 1.26) takes AC-3 of AVCHD for E-AC-3; for AAC in LATM see `latm`, for PCM of discs `lpcm`.
/// - PCM of several channels of which no place is known (mask 0) cannot be converted: it gets the usual
///   places. To see it: `ffmpeg -ac 6 -c:a pcm_s24le x.mov`, "negotiation problem".
/// - matroskademux (1.22 to 1.26) does not know ALAC and MLP. To see it: `ffmpeg -c:a alac x.mkv`.
pub fn repair_demuxers(bin: &gst::Element, facts: &ContainerFacts) {
    let facts = facts.clone();
    bin.connect("element-added", false, move |args| {
        let element = args.get(1)?.get::<gst::Element>().ok()?;
        let kind = element.factory()?.metadata("klass")?.to_owned();
        if !kind.contains("Demux") {
            return None;
        }
        let facts = facts.clone();
        element.connect_pad_added(move |_, pad| {
            repair(pad, &facts);
            avi::complete_times(pad);
            if let Some(begins) = facts.begins {
                flv::count_from(pad, begins);
            }
        });
        None
    });
}

fn repair(pad: &gst::Pad, facts: &ContainerFacts) {
    let kept = facts.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        change_caps(info, |format| corrected(format, &kept, pad))
    });
    // What was said before the pad appeared waits on it.
    if let Some(mut caps) = pad.current_caps() {
        if let Some(format) = caps.structure(0) {
            match (format.name().as_str(), facts.sound(&pad.name())) {
                ("audio/mpeg", _) if is_latm(format, facts, pad) => latm::become_adts(pad),
                ("audio/x-private-ts-lpcm", Some(SoundCodec::BluRay(about))) => {
                    lpcm::become_plain(pad, about);
                }
                ("audio/x-private1-lpcm", _) => lpcm::join_groups(pad),
                _ => {}
            }
        }
        let changed =
            caps.make_mut().structure_mut(0).is_some_and(|format| corrected(format, facts, pad));
        if changed {
            let _ = pad.store_sticky_event(&gst::event::Caps::new(&caps));
            // The stream's caps decide how a track is treated, so they are corrected too.
            if let Some(stream) = pad.stream() {
                stream.set_caps(Some(&caps));
            }
        }
    }
}

fn replace(format: &mut gst::StructureRef, by: &gst::Structure) {
    format.set_name(by.name());
    format.remove_all_fields();
    for (field, value) in by.iter() {
        format.set_value(field, value.clone());
    }
}

fn is_latm(format: &gst::StructureRef, facts: &ContainerFacts, pad: &gst::Pad) -> bool {
    format.get::<&str>("stream-format") == Ok("loas")
        && facts.sound(&pad.name()) == Some(SoundCodec::Latm)
}

fn corrected(format: &mut gst::StructureRef, facts: &ContainerFacts, pad: &gst::Pad) -> bool {
    let id = pad.stream_id();
    let id = id.as_deref();
    if let Some(rate) = facts.frame_rate(id).filter(|_| format.has_field("framerate")) {
        format.set("framerate", rate);
        return true;
    }
    match format.name().as_str() {
        _ if fourcc::is_unnamed(format) => match facts.of_matroska(id) {
            Some(track) => fourcc::name(format, Some(&track.private), None),
            None => {
                let picture = facts.of_avi(&pad.name());
                let header = picture.map(|picture| &picture.format[..]);
                fourcc::name(format, header, picture.and_then(|picture| picture.rate))
            }
        },
        "audio/x-eac3" if facts.sound(&pad.name()) == Some(SoundCodec::Ac3) => {
            format.set_name("audio/x-ac3");
            true
        }
        "audio/mpeg" if is_latm(format, facts, pad) => {
            format.set("stream-format", "adts");
            true
        }
        "audio/x-private-ts-lpcm" => match facts.sound(&pad.name()) {
            Some(SoundCodec::BluRay(about)) => {
                replace(format, &about.format());
                true
            }
            _ => false,
        },
        "audio/x-unknown" => match facts.of_matroska(id).and_then(known_sound) {
            Some(known) => {
                replace(format, &known);
                true
            }
            None => false,
        },
        "audio/x-raw" => {
            let mut changed = false;
            if older_than(1, 26)
                && facts.is_little_endian(id)
                && let Ok(said) = format.get::<String>("format")
                && let Some(depth) = said.strip_suffix("BE")
            {
                format.set("format", format!("{depth}LE"));
                changed = true;
            }
            let channels = format.get::<i32>("channels").unwrap_or(0);
            let places = format.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| *mask);
            if channels > 2
                && places == 0
                && let Some(usual) = facts.positions(id, channels).or(usual_positions(channels))
            {
                format.set("channel-mask", gst::Bitmask::new(usual));
                changed = true;
            }
            changed
        }
        _ => false,
    }
}

/// The positions (GStreamer's bits, in which 9 is a second LFE) that channels of sound have where nothing is
/// said: those of FFmpeg.
pub fn usual_positions(channels: i32) -> Option<u64> {
    Some(match channels {
        3 => 0xB,
        4 => 0x107,
        5 => 0x37,
        6 => 0x3F,
        7 => 0xD0F,
        8 => 0xC3F,
        _ => return None,
    })
}

/// The format of a Matroska track of sound that matroskademux does not know.
fn known_sound(entry: &TrackEntry) -> Option<gst::Structure> {
    let sound = |name: &str| {
        let channels = i32::try_from(entry.channels).ok()?;
        let described = gst::Structure::builder(name).field("channels", channels);
        Some(described.field("rate", entry.rate.round() as i32).field("framed", true))
    };
    match entry.codec.as_str() {
        "A_MLP" => Some(sound("audio/x-mlp")?.build()),
        "A_ALAC" => {
            // In an MP4 the decoder's settings are the contents of a box.
            let size = u32::try_from(entry.private.len() + 12).ok()?;
            let data = [&size.to_be_bytes()[..], b"alac\0\0\0\0", &entry.private].concat();
            Some(sound("audio/x-alac")?.field("codec_data", gst::Buffer::from_slice(data)).build())
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str, aspect: Option<(i32, i32)>, centred: bool) -> String {
        super::super::super::init().unwrap();
        let mut caps: gst::Caps = text.parse().unwrap();
        complete(caps.make_mut().structure_mut(0).unwrap(), aspect, centred);
        caps.to_string()
    }

    #[test]
    fn colours_of_which_only_the_range_is_said_keep_it() {
        let small =
            of("video/x-raw,format=I420,width=64,height=64,colorimetry=1:0:0:0", None, false);
        assert!(small.contains("1:4:16:4") && small.contains("mpeg2"), "{small}");
        let large =
            of("video/x-raw,format=I420,width=64,height=720,colorimetry=1:0:0:0", None, false);
        assert!(large.contains("1:3:5:1"), "{large}");
        let gray =
            of("video/x-raw,format=GRAY8,width=64,height=64,colorimetry=1:0:0:0", None, false);
        assert!(gray.contains("1:4:16:4") && !gray.contains("chroma-site"), "{gray}");
        let whole = of("video/x-raw,format=I420,width=64,height=64,colorimetry=bt709", None, true);
        assert!(whole.contains("bt709") && whole.contains("jpeg"), "{whole}");
    }

    #[test]
    fn a_pixel_aspect_that_is_none_is_square_or_the_containers() {
        let rgb = "video/x-raw,format=BGR,width=64,height=64,pixel-aspect-ratio=-1/1";
        assert!(of(rgb, None, false).contains("1/1") && !of(rgb, None, false).contains("-1/1"));
        assert!(of(rgb, Some((12, 11)), false).contains("12/11"));
        let said = "video/x-raw,format=BGR,width=64,height=64,pixel-aspect-ratio=16/11";
        // The container is what an editor changes.
        assert!(of(said, Some((12, 11)), false).contains("12/11"));
        assert!(
            of(said, Some((1, 1)), false).contains("1/1")
                && of(said, None, false).contains("16/11")
        );
    }
}
