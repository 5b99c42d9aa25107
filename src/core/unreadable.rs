//! Kinds of files that are recognized but not read, so that messages can name them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The kind of a file that nst-stream does not read, and what to do; none for any other file.
pub fn what_it_is(path: &Path) -> Option<&'static str> {
    let mut head = [0; 32];
    let mut read = 0;
    let mut file = path.is_file().then(|| File::open(path).ok())??;
    while let Ok(more @ 1..) = file.read(&mut head[read..]) {
        read += more;
    }
    let head = head.get(..read)?;
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => {
            Some("it is an AVIF picture: make a PNG of it (`ffmpeg -i IN.avif OUT.png`)")
        }
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', b'i' | b'v', b'c' | b'x' | b's', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i' | b's', b'f', b'1', ..] => {
            Some("it is a HEIC picture: make a PNG of it (`heif-convert IN.heic OUT.png`)")
        }
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => {
            Some("it is a JPEG 2000 picture: make a PNG of it (`ffmpeg -i IN.jp2 OUT.png`)")
        }
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xFF, 0x0A, ..] => {
            Some("it is a JPEG XL picture: make a PNG of it (`djxl IN.jxl OUT.png`)")
        }
        [b'8', b'B', b'P', b'S', ..] => Some("it is a Photoshop file: save it as a PNG"),
        [b'%', b'P', b'D', b'F', ..] => Some("it is a PDF file: make a PNG of a page"),
        _ if head.starts_with(b"#EXTM3U") || head.starts_with(b"\xEF\xBB\xBF#EXTM3U") => Some(
            "it is a playlist (HLS), not a video: make one file of it (`ffmpeg -i IN.m3u8 -c copy \
             OUT.mkv`)",
        ),
        // The demuxer of gst-libav (1.22) never ends on any of them.
        _ if head.starts_with(b"nut/multimedia container") => Some(
            "it is a NUT file, which GStreamer cannot read: make another one of it \
             (`ffmpeg -i IN.nut -c copy OUT.mkv`)",
        ),
        // No picture but by its name: kind of colour map, kind of picture.
        [_, 0 | 1, 1 | 2 | 3 | 9 | 10 | 11, ..]
            if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tga")) =>
        {
            Some("it is a TGA picture: make a PNG of it (`ffmpeg -i IN.tga OUT.png`)")
        }
        _ => None,
    }
}

/// Whether a JPEG ends before its end marker; the rest of the picture is then grey.
pub fn is_cut_off_jpeg(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    if !bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return false;
    }
    // Segments with their lengths (a thumbnail lies in one), up to the compressed picture.
    let mut at = 2;
    while let Some([0xFF, kind, high, low]) = bytes.get(at..at + 4) {
        match kind {
            0xFF => at += 1,
            0xDA => {
                let rest = bytes.get(at..).unwrap_or_default();
                return !rest.windows(2).any(|mark| mark == [0xFF, 0xD9]);
            }
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            what_it_is(&path)
        };
        for (bytes, word) in [
            (&b"\0\0\0\x1cftypavif\0\0\0\0"[..], "AVIF"),
            (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"nut/multimedia container\0", "NUT"),
            (b"#EXTM3U\n#EXT-X-VERSION:3\n", "playlist"),
        ] {
            assert!(of("x", bytes).is_some_and(|text| text.contains(word)), "{word}");
        }
        let tga = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 24, 0];
        assert!(of("x.TGA", &tga).is_some_and(|text| text.contains("TGA")));
        assert_eq!(of("x.mp4", &tga), None);
        assert_eq!(of("x.mp4", b"\0\0\0\x1cftypisom\0\0\0\0"), None);
        assert_eq!(of("x.mp4", b""), None);
        assert_eq!(what_it_is(folder.path()), None);
    }

    #[test]
    fn a_jpeg_without_its_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jpg");
        let cut_off = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            is_cut_off_jpeg(&path)
        };
        // A thumbnail with an end of its own, then a picture.
        let head = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9, 0xFF, 0xDA, 0, 2, 1, 2];
        assert!(cut_off(&head));
        assert!(!cut_off(&[&head[..], &[0xFF, 0xD9, 0, 0]].concat()));
        assert!(!cut_off(b"text"));
    }
}
