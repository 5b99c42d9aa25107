//! Workaround: video codecs of which a demuxer passes on only the FourCC, although a decoder is installed.
//!
//! avidemux and matroskademux (GStreamer 1.22 to 1.26) have caps for codecs of twenty years ago. Of others they
//! pass on the FourCC alone, without size and frame rate. To see it: `ffmpeg -c:v ffvhuff x.avi` through
//! `decodebin`: "video/x-avi-unknown decoder". qtdemux before 1.26 does so with DNxHR (`AVdh`). Size, rate and
//! codec data are read from the file.
//!
//! This does not help UT Video, MagicYUV and others, whose decoders in gst-libav 1.22 only take `unknown/unknown`,
//! which their own base class refuses ("Failed to parse caps"); UT Video's would also need the FourCC.

use gstreamer as gst;

/// Caps for this FourCC; none if demuxers know it already, or nothing decodes it.
fn known(letters: [u8; 4]) -> Option<&'static str> {
    Some(match &letters {
        b"FFVH" => "video/x-gst-av-ffvhuff",
        b"LAGS" => "video/x-lagarith",
        b"QPEG" | b"Q1.0" | b"Q1.1" => "video/x-gst-av-qpeg",
        b"WNV1" => "video/x-gst-av-wnv1",
        b"8BPS" => "video/x-gst-av-8bps",
        b"HEVC" | b"hevc" | b"hev1" | b"hvc1" => "video/x-h265, stream-format=byte-stream",
        b"DAVC" | b"SMV2" => "video/x-h264, stream-format=byte-stream",
        b"AV01" => "video/x-av1, stream-format=obu-stream, alignment=tu",
        b"VP90" => "video/x-vp9",
        b"DVX1" | b"XVIX" => "video/mpeg, mpegversion=4, systemstream=false",
        b"AVdh" | b"AVdn" => "video/x-dnxhd",
        b"apch" => "video/x-prores, variant=hq",
        b"apcn" => "video/x-prores, variant=standard",
        b"apcs" => "video/x-prores, variant=lt",
        b"apco" => "video/x-prores, variant=proxy",
        b"ap4h" => "video/x-prores, variant=4444",
        b"ap4x" => "video/x-prores, variant=4444xq",
        b"SVQ1" | b"svq1" => "video/x-svq, svqversion=1",
        b"FSV1" => "video/x-flash-screen",
        b"AIC1" | b"icod" => "video/x-apple-intermediate-codec",
        b"MJ2C" | b"mjp2" => "image/x-j2c",
        b"ADJV" => "image/jpeg",
        b"PNG1" => "image/png",
        _ => return None,
    })
}

/// The FourCC in caps that name no codec.
fn letters(format: &gst::StructureRef) -> Option<[u8; 4]> {
    match format.name().as_str() {
        "video/x-avi-unknown" => format.get::<i32>("fourcc").ok().map(i32::to_le_bytes),
        "video/x-unknown" => format.get::<String>("fourcc").ok()?.as_bytes().try_into().ok(),
        name => name.strip_prefix("video/x-gst-fourcc-")?.as_bytes().try_into().ok(),
    }
}

/// Whether these caps give only a FourCC.
pub(in super::super) fn is_unnamed(format: &gst::StructureRef) -> bool {
    letters(format).is_some()
}

/// Replaces caps that give only a FourCC by those of the codec; false if it is not in the table. `header`: the
/// track's BITMAPINFOHEADER, followed by the codec data.
pub(super) fn name(
    format: &mut gst::StructureRef,
    header: Option<&[u8]>,
    rate: Option<(i32, i32)>,
) -> bool {
    let Some(caps) = letters(format).and_then(known) else { return false };
    let Ok(named) = caps.parse::<gst::Structure>() else { return false };
    format.remove_field("fourcc");
    format.remove_field("codec-id");
    format.set_name(named.name());
    for (field, value) in named.iter() {
        format.set_value(field, value.clone());
    }
    let side = |at: usize| {
        let bytes: [u8; 4] = header?.get(at..at + 4)?.try_into().ok()?;
        i32::try_from(i32::from_le_bytes(bytes).unsigned_abs()).ok().filter(|side| *side > 0)
    };
    for (field, value) in [("width", side(4)), ("height", side(8))] {
        if let (Some(value), false) = (value, format.has_field(field)) {
            format.set(field, value);
        }
    }
    if let (Some((frames, seconds)), false) = (rate, format.has_field("framerate")) {
        format.set("framerate", gst::Fraction::new(frames, seconds));
    }
    let settings = header.and_then(|header| header.get(40..)).filter(|data| !data.is_empty());
    if let (Some(settings), false) = (settings, format.has_field("codec_data"))
        && format.get::<&str>("stream-format").is_err()
    {
        format.set("codec_data", gst::Buffer::from_slice(settings.to_vec()));
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn four_letters_get_the_caps_of_their_decoder_with_what_the_file_says() {
        super::super::super::init().unwrap();
        let mut header = vec![0; 40];
        header[4..8].copy_from_slice(&176_i32.to_le_bytes());
        // Stored from the top to the bottom.
        header[8..12].copy_from_slice(&(-144_i32).to_le_bytes());
        let with_settings = [&header[..], &[1, 2, 3]].concat();
        let unknown = gst::Structure::builder("video/x-avi-unknown")
            .field("fourcc", i32::from_le_bytes(*b"FFVH"));
        let mut format = unknown.build();
        assert!(is_unnamed(&format));
        assert!(name(&mut format, Some(&with_settings), Some((25, 1))));
        assert_eq!(format.name(), "video/x-gst-av-ffvhuff");
        assert_eq!((format.get("width"), format.get("height")), (Ok(176), Ok(144)));
        assert_eq!(format.get("framerate"), Ok(gst::Fraction::new(25, 1)));
        let data = format.get::<gst::Buffer>("codec_data").unwrap();
        assert_eq!(data.map_readable().unwrap()[..], [1, 2, 3]);

        let matroska = gst::Structure::builder("video/x-unknown").field("fourcc", "HEVC");
        let mut format = matroska.build();
        assert!(name(&mut format, Some(&header), None));
        assert_eq!((format.name().as_str(), format.has_field("fourcc")), ("video/x-h265", false));
        assert!(!format.has_field("codec_data") && !format.has_field("framerate"));

        let mut format = gst::Structure::builder("video/x-gst-fourcc-AVdh").build();
        assert!(name(&mut format, None, None));
        assert_eq!(format.name(), "video/x-dnxhd");
        let mut format = gst::Structure::builder("video/x-unknown").field("fourcc", "ULY0").build();
        assert!(!name(&mut format, Some(&header), None) && is_unnamed(&format));
    }
}
