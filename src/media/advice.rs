//! Turns GStreamer's errors into messages for the user: what is wrong and what to do.

use super::tls_peer::UNTRUSTED;

const REFUSED: &str =
    "refused: user or password is missing or wrong (rtsp://USER:PASSWORD@HOST/PATH)";

/// Substring of the element's error text, substring of the debug details, and the message for the user. The
/// first match counts.
const WORDS: &[(&str, &str, &str)] = &[
    // v4l2src and v4l2sink
    ("Cannot identify device", "", "there is no such device"),
    ("This isn't a device", "", "it is not a device"),
    ("Error getting capabilities for device", "", "it is not a video device"),
    (
        "is not a capture device",
        "",
        "it captures no video; a camera often has several /dev/videoN, and only one of them does",
    ),
    (
        "is not a output device",
        "",
        "it accepts no video; `sudo modprobe v4l2loopback` creates a virtual camera",
    ),
    (
        "Could not open device",
        "Permission denied",
        "no permission; run `sudo usermod -aG video $USER` and log in again",
    ),
    ("Could not open device", "busy", "it is in use by another program"),
    ("Could not open device", "No such", "there is no such device"),
    ("is busy", "", "it is in use by another program"),
    ("", "Device or resource busy", "it is in use by another program"),
    ("cannot capture at", "", "it has no such mode; choose another --size or --fps"),
    ("cannot capture in the specified format", "", "it has no such mode; choose another --size"),
    ("has no supported format", "", "it delivers no format that can be decoded"),
    ("", "No such device", "it was unplugged"),
    // rtspsrc and rtspclientsink
    ("Unauthorized", "", REFUSED),
    ("Not authorized", "", REFUSED),
    ("Not found", "", "the server has no stream at this path"),
    ("Not Found", "", "the server has no stream at this path"),
    (
        "",
        "Method Not Allowed",
        "the server does not allow it; does it accept published streams (RECORD)?",
    ),
    ("", "Failed to connect", "the server does not answer as an RTSP server does"),
    ("", "Could not receive message", "the server does not answer as an RTSP server does"),
    ("", "Could not connect", "the connection to the server was lost"),
    ("Unhandled error", "(503)", "the server has no room for it now, or its camera is off (503)"),
    // srtsink and rtmp2sink
    ("", "gstsrtsink", "nothing answers there by SRT, or the passphrase is another one"),
    ("Unacceptable TLS certificate", "", UNTRUSTED),
    ("", "Unacceptable TLS certificate", UNTRUSTED),
    ("Connection refused", "gstrtmp2", "nothing listens at this port"),
    ("", "gstrtmp2sink", "the RTMP server does not take the stream, or the connection was lost"),
    // any
    (
        "contains no playable streams",
        "",
        "its index is missing, or nothing in it can be played; is it whole?",
    ),
    (
        "installation is missing a plug-in",
        "",
        "there is no decoder for its contents; `nst-stream probe` lists what is missing",
    ),
    ("Internal data stream error", "not-negotiated", "its elements cannot agree on a format"),
];

/// The message for the user: `text` is the element's error text, `details` GStreamer's debug text.
pub(super) fn in_words(text: &str, details: &str) -> String {
    let fits = |part: &str, of: &str| of.contains(part);
    if let ("Resource not found.", Some((_, why))) = (text, details.rsplit_once('\n')) {
        return why.to_owned(); // "No such file …"
    }
    if let ("Unhandled error", Some(answer)) = (text.trim_end_matches('.'), details.lines().last())
        && !answer.contains("(503)")
    {
        return format!("the server answers: {answer}");
    }
    let found = WORDS.iter().find(|(said, more, _)| fits(said, text) && fits(more, details));
    found.map_or_else(|| text.trim_end_matches('.').to_owned(), |(.., words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts and details as the elements of GStreamer 1.22 give them.
    #[test]
    fn what_cameras_say_is_put_into_words() {
        for (text, details, words) in [
            (
                "Cannot identify device '/dev/video9'.",
                "system error: No such file or directory",
                "no such device",
            ),
            ("This isn't a device '/etc/passwd'.", "system error: Success", "not a device"),
            (
                "Error getting capabilities for device '/dev/null': It isn't a v4l2 driver. Check if it is a v4l1 driver.",
                "system error: Inappropriate ioctl for device",
                "not a video device",
            ),
            (
                "Device '/dev/video1' is not a capture device.",
                "Capabilities: 0x84a00000",
                "several /dev/videoN",
            ),
            (
                "Device '/dev/video0' is not a output device.",
                "Capabilities: 0x84a00001",
                "v4l2loopback",
            ),
            (
                "Could not open device '/dev/video0' for reading and writing.",
                "v4l2_calls.c(629): gst_v4l2_open (): /GstV4l2Src:src:\nsystem error: Permission denied",
                "usermod -aG video",
            ),
            (
                "Could not open device '/dev/video0' for reading and writing.",
                "system error: Device or resource busy",
                "in use by another program",
            ),
            (
                "Device '/dev/video0' is busy",
                "Call to S_FMT failed for YUYV @ 640x480: Device or resource busy",
                "in use",
            ),
            (
                "Failed to allocate required memory.",
                "gstv4l2src.c(759): Buffer pool activation failed: Device or resource busy",
                "in use",
            ),
            ("Device '/dev/video0' cannot capture at 800x600", "Call to S_FMT failed", "--size"),
            ("Device '/dev/video0' cannot capture in the specified format", "", "--size"),
            ("Could not read from resource.", "system error: No such device", "unplugged"),
            ("Unhandled error", "rtspsrc.c(1):\nService Unavailable (503)", "no room for it now"),
        ] {
            let said = in_words(text, details);
            assert!(said.contains(words), "{text}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn what_nobody_knows_stays_as_it_is() {
        assert_eq!(in_words("Disk on fire.", "somewhere"), "Disk on fire");
    }
}
