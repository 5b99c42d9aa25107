//! Which Debian/Ubuntu package brings an element or a decoder.

/// Elements that the program uses by name: name, package, purpose. Decoders are not among them: they are
/// found by what they decode ([`for_format`]).
pub const ELEMENTS: &[(&str, &str, &str)] = &[
    ("decodebin", "gstreamer1.0-plugins-base", "opens files of any kind"),
    ("parsebin", "gstreamer1.0-plugins-base", "reads audio tracks to be copied"),
    ("videoconvert", "gstreamer1.0-plugins-base", "converts pixel formats"),
    ("appsink", "gstreamer1.0-plugins-base", "hands frames to the program"),
    ("appsrc", "gstreamer1.0-plugins-base", "takes frames from the program"),
    ("videoflip", "gstreamer1.0-plugins-good", "applies rotation tags"),
    ("qtdemux", "gstreamer1.0-plugins-good", "reads MP4 and MOV"),
    ("matroskademux", "gstreamer1.0-plugins-good", "reads MKV and WebM"),
    ("mp4mux", "gstreamer1.0-plugins-good", "writes MP4"),
    ("matroskamux", "gstreamer1.0-plugins-good", "writes MKV"),
    ("tsdemux", "gstreamer1.0-plugins-bad", "reads MPEG transport streams"),
    ("h264parse", "gstreamer1.0-plugins-bad", "parses H.264"),
    ("aacparse", "gstreamer1.0-plugins-good", "parses AAC"),
    ("x264enc", "gstreamer1.0-plugins-ugly", "encodes H.264"),
    ("h265parse", "gstreamer1.0-plugins-bad", "parses H.265"),
    ("x265enc", "gstreamer1.0-plugins-bad", "encodes H.265"),
    ("vp9parse", "gstreamer1.0-plugins-bad", "parses VP9"),
    ("vp9enc", "gstreamer1.0-plugins-good", "encodes VP9"),
    ("av1parse", "gstreamer1.0-plugins-bad", "parses AV1"),
    ("av1enc", "gstreamer1.0-plugins-bad", "encodes AV1"),
    ("qtmux", "gstreamer1.0-plugins-good", "writes MOV"),
    ("webmmux", "gstreamer1.0-plugins-good", "writes WebM"),
    ("deinterlace", "gstreamer1.0-plugins-good", "makes interlaced video progressive"),
    ("videocrop", "gstreamer1.0-plugins-good", "makes odd sizes even"),
    ("opusenc", "gstreamer1.0-plugins-base", "encodes Opus where a track cannot be copied"),
    ("opusparse", "gstreamer1.0-plugins-bad", "parses Opus"),
    ("v4l2src", "gstreamer1.0-plugins-good", "reads cameras"),
    ("v4l2sink", "gstreamer1.0-plugins-good", "writes virtual cameras"),
    ("rtspsrc", "gstreamer1.0-plugins-good", "reads RTSP"),
    ("rtspclientsink", "gstreamer1.0-rtsp", "sends to media servers"),
    ("mpegtsmux", "gstreamer1.0-plugins-bad", "sends by SRT and UDP"),
    ("srtsink", "gstreamer1.0-plugins-bad", "sends by SRT"),
    ("splitmuxsink", "gstreamer1.0-plugins-good", "writes HLS"),
    ("udpsink", "gstreamer1.0-plugins-good", "sends by UDP"),
    ("flvmux", "gstreamer1.0-plugins-good", "sends by RTMP"),
    ("rtmp2sink", "gstreamer1.0-plugins-bad", "sends by RTMP"),
    ("rtpbin", "gstreamer1.0-plugins-good", "serves RTSP and reads it"),
    ("rtph264pay", "gstreamer1.0-plugins-good", "serves RTSP"),
    ("rtpmp4gpay", "gstreamer1.0-plugins-good", "serves AAC over RTSP"),
    ("rtpopuspay", "gstreamer1.0-plugins-good", "serves Opus over RTSP"),
    ("rtppcmupay", "gstreamer1.0-plugins-good", "serves G.711 µ-law over RTSP"),
    ("rtppcmapay", "gstreamer1.0-plugins-good", "serves G.711 A-law over RTSP"),
    ("videoscale", "gstreamer1.0-plugins-base", "fits pictures of other sizes"),
    ("videotestsrc", "gstreamer1.0-plugins-base", "makes the test picture"),
    ("ximagesink", "gstreamer1.0-x", "shows a window"),
    ("avenc_aac", "gstreamer1.0-libav", "encodes AAC where a track cannot be copied"),
];

/// Elements that the program can do without, and others that descriptions of the user's own often
/// name.
const OTHERS: &[(&str, &str)] = &[
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_h265", "gstreamer1.0-libav"),
    ("avdec_mpeg4", "gstreamer1.0-libav"),
    ("avdec_mpeg2video", "gstreamer1.0-libav"),
    ("avdec_mjpeg", "gstreamer1.0-libav"),
    ("avdec_prores", "gstreamer1.0-libav"),
    ("vp9dec", "gstreamer1.0-plugins-good"),
    ("vp8dec", "gstreamer1.0-plugins-good"),
    ("av1dec", "gstreamer1.0-plugins-bad"),
    ("waylandsink", "gstreamer1.0-plugins-bad"),
    ("glimagesink", "gstreamer1.0-gl"),
    ("xvimagesink", "gstreamer1.0-x"),
    ("autovideosink", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("rtph265depay", "gstreamer1.0-plugins-good"),
    ("rtph265pay", "gstreamer1.0-plugins-good"),
    ("rtpjitterbuffer", "gstreamer1.0-plugins-good"),
    ("udpsrc", "gstreamer1.0-plugins-good"),
    ("souphttpsrc", "gstreamer1.0-plugins-good"),
    ("jpegdec", "gstreamer1.0-plugins-good"),
    ("pulsesrc", "gstreamer1.0-pulseaudio"),
    ("ximagesrc", "gstreamer1.0-plugins-good"),
    ("pipewiresrc", "gstreamer1.0-pipewire"),
    ("videorate", "gstreamer1.0-plugins-base"),
    ("tcpclientsrc", "gstreamer1.0-plugins-base"),
    ("tcpserversink", "gstreamer1.0-plugins-base"),
    ("srtsrc", "gstreamer1.0-plugins-bad"),
    ("rtmp2src", "gstreamer1.0-plugins-bad"),
    ("hlssink2", "gstreamer1.0-plugins-bad"),
    ("webrtcbin", "gstreamer1.0-plugins-bad"),
    ("shmsink", "gstreamer1.0-plugins-bad"),
    ("vah264enc", "gstreamer1.0-plugins-bad"),
    ("nvh264enc", "gstreamer1.0-plugins-bad"),
    ("vaapih264enc", "gstreamer1.0-vaapi"),
];

/// The package of an element.
pub fn for_element(element: &str) -> Option<&'static str> {
    let used = ELEMENTS.iter().map(|(name, package, _)| (name, package));
    let others = OTHERS.iter().map(|(name, package)| (name, package));
    used.chain(others).find(|(name, _)| **name == element).map(|(_, package)| *package)
}

/// The package that decodes or demuxes a format, by its caps name (`video/x-h265`).
pub fn for_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "video/quicktime" | "video/x-matroska" | "video/webm" | "video/x-msvideo"
        | "video/x-flv" | "audio/x-matroska" | "audio/x-wav" | "video/x-vp8" | "video/x-vp9"
        | "image/jpeg" | "image/png" | "audio/x-flac" => "gstreamer1.0-plugins-good",
        "video/mpegts" | "video/x-av1" | "application/mxf" => "gstreamer1.0-plugins-bad",
        "application/ogg" | "video/x-theora" | "audio/x-vorbis" | "audio/x-opus" => {
            "gstreamer1.0-plugins-base"
        }
        "video/x-ms-asf" | "application/vnd.rn-realmedia" => "gstreamer1.0-plugins-ugly",
        format if format.starts_with("video/") || format.starts_with("audio/") => {
            "gstreamer1.0-libav"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_element_is_listed_twice() {
        let names = ELEMENTS.iter().map(|e| e.0).chain(OTHERS.iter().map(|e| e.0));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        let listed = names.len();
        names.dedup();
        assert_eq!(names.len(), listed);
    }

    #[test]
    fn what_live_needs_has_a_package() {
        for element in ["rtspclientsink", "rtpbin", "rtpmp4gpay", "glimagesink", "srtsink"] {
            assert!(for_element(element).is_some(), "{element}");
        }
        assert_eq!(for_element("rtspclientsink"), Some("gstreamer1.0-rtsp"));
    }
}
