//! Which Debian/Ubuntu package brings an element or a decoder.

/// Elements that the program uses by name, and the package of each.
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
    ("v4l2src", "gstreamer1.0-plugins-good", "reads cameras"),
    ("v4l2sink", "gstreamer1.0-plugins-good", "writes virtual cameras"),
    ("rtspsrc", "gstreamer1.0-plugins-good", "reads RTSP"),
    ("rtspclientsink", "gstreamer1.0-rtsp", "sends to media servers"),
    ("rtph264pay", "gstreamer1.0-plugins-good", "serves RTSP"),
    ("autovideosink", "gstreamer1.0-plugins-good", "finds a way to show a window"),
    ("ximagesink", "gstreamer1.0-x", "shows a window"),
    ("avenc_aac", "gstreamer1.0-libav", "encodes AAC where a track cannot be copied"),
    ("avdec_h264", "gstreamer1.0-libav", "decodes H.264"),
    ("avdec_h265", "gstreamer1.0-libav", "decodes H.265"),
    ("avdec_mpeg4", "gstreamer1.0-libav", "decodes MPEG-4 Part 2"),
    ("avdec_mpeg2video", "gstreamer1.0-libav", "decodes MPEG-2"),
    ("avdec_mjpeg", "gstreamer1.0-libav", "decodes Motion JPEG"),
    ("avdec_prores", "gstreamer1.0-libav", "decodes ProRes"),
    ("vp9dec", "gstreamer1.0-plugins-good", "decodes VP9"),
    ("vp8dec", "gstreamer1.0-plugins-good", "decodes VP8"),
    ("dav1ddec", "gstreamer1.0-plugins-bad", "decodes AV1"),
    ("av1dec", "gstreamer1.0-plugins-bad", "decodes AV1"),
];

/// The package of an element.
pub fn for_element(element: &str) -> Option<&'static str> {
    ELEMENTS.iter().find(|(name, _, _)| *name == element).map(|(_, package, _)| *package)
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
