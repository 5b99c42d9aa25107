//! What this GStreamer installation can read and write.

use gst::prelude::*;
use gstreamer as gst;

use super::encoder::{in_hardware, software_encoder};
use super::error::PipelineError;
use super::muxer::muxer;
use super::packages;
use crate::core::encoding::{Codec, Container};

/// An element the program uses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Element {
    /// Its name in GStreamer.
    pub name: &'static str,
    /// What it is used for.
    pub purpose: &'static str,
    /// The Debian package that contains it.
    pub package: &'static str,
    /// Whether it is installed.
    pub present: bool,
}

/// What kind of format it is: a row of one of the tables of `probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatKind {
    /// Of a file: demuxers and muxers.
    Container,
    /// Of a video track: decoders and encoders.
    Codec,
}

/// A format, and the elements that read and write it here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Format {
    /// What users call it.
    pub name: &'static str,
    /// Container or codec.
    pub kind: FormatKind,
    /// Its caps, as GStreamer writes them.
    pub caps: &'static str,
    /// The demuxer or decoder of the highest rank; none when it cannot be read.
    pub reader: Option<String>,
    /// The Debian package with a reader.
    pub package: &'static str,
    /// The muxer or encoder the program writes it with; none when the program never writes it.
    pub writer: Option<&'static str>,
    /// Whether that one is installed.
    pub writable: bool,
    /// Hardware encoders, tried before `writer` with `--hwaccel auto`.
    pub hardware: Vec<String>,
}

/// Name, caps, package of a demuxer, and what the program writes it as.
const CONTAINERS: [(&str, &str, &str, Option<Container>); 12] = [
    ("MP4", "video/quicktime", GOOD, Some(Container::Mp4)),
    ("MOV (QuickTime)", "video/quicktime", GOOD, Some(Container::Mov)),
    ("MKV (Matroska)", "video/x-matroska", GOOD, Some(Container::Mkv)),
    ("WebM", "video/webm", GOOD, Some(Container::WebM)),
    ("AVI", "video/x-msvideo", GOOD, None),
    ("FLV", "video/x-flv", GOOD, None),
    ("MPEG-TS", "video/mpegts", BAD, None),
    ("MPEG-PS", "video/mpeg,systemstream=true", BAD, None),
    ("MXF", "application/mxf", BAD, None),
    ("Ogg", "application/ogg", BASE, None),
    ("ASF (WMV)", "video/x-ms-asf", UGLY, None),
    ("DV", "video/x-dv,systemstream=true", GOOD, None),
];

/// Name, caps, package of a decoder, and what the program writes it as.
const CODECS: [(&str, &str, &str, Option<Codec>); 16] = [
    ("H.264", "video/x-h264", LIBAV, Some(Codec::H264)),
    ("H.265", "video/x-h265", LIBAV, Some(Codec::H265)),
    ("VP9", "video/x-vp9,codec-alpha=false", GOOD, Some(Codec::Vp9)),
    ("AV1", "video/x-av1", BAD, Some(Codec::Av1)),
    ("VP8", "video/x-vp8,codec-alpha=false", GOOD, None),
    ("MPEG-1, MPEG-2", "video/mpeg,mpegversion=2,systemstream=false", LIBAV, None),
    ("MPEG-4 Part 2", "video/mpeg,mpegversion=4,systemstream=false", LIBAV, None),
    ("Motion JPEG", "image/jpeg", GOOD, None),
    ("ProRes", "video/x-prores", LIBAV, None),
    ("DNxHD", "video/x-dnxhd", LIBAV, None),
    ("FFV1", "video/x-ffv,ffvversion=1", LIBAV, None),
    ("Theora", "video/x-theora", BASE, None),
    ("WMV 9", "video/x-wmv,wmvversion=3,format=WMV3", LIBAV, None),
    ("H.263", "video/x-h263", LIBAV, None),
    ("Sorenson Spark", "video/x-flash-video", LIBAV, None),
    ("DV video", "video/x-dv,systemstream=false", LIBAV, None),
];

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// GStreamer's version.
///
/// # Errors
/// When GStreamer cannot start.
pub fn version() -> Result<String, PipelineError> {
    super::init()?;
    let (major, minor, micro, _) = gst::version();
    Ok(format!("{major}.{minor}.{micro}"))
}

/// Every element the program uses by name.
///
/// # Errors
/// When GStreamer cannot start.
pub fn elements() -> Result<Vec<Element>, PipelineError> {
    super::init()?;
    let element = |&(name, package, purpose): &(&'static str, &'static str, &'static str)| {
        Element { name, purpose, package, present: is_installed(name) }
    };
    Ok(packages::ELEMENTS.iter().map(element).collect())
}

/// The usual containers and video codecs.
///
/// # Errors
/// When GStreamer cannot start.
pub fn formats() -> Result<Vec<Format>, PipelineError> {
    super::init()?;
    let containers = CONTAINERS.iter().map(|&(name, caps, package, written)| {
        let writer = written.map(muxer);
        format(FormatKind::Container, name, caps, package, writer)
    });
    let codecs = CODECS.iter().map(|&(name, caps, package, written)| {
        let writer = written.map(software_encoder);
        format(FormatKind::Codec, name, caps, package, writer)
    });
    Ok(containers.chain(codecs).collect())
}

fn format(
    kind: FormatKind,
    name: &'static str,
    media_type: &'static str,
    package: &'static str,
    writer: Option<&'static str>,
) -> Format {
    // The caps of the tables are checked by a test.
    let caps: gst::Caps = media_type.parse().unwrap_or_else(|_| gst::Caps::new_empty());
    let reads = match kind {
        FormatKind::Container => gst::ElementFactoryType::DEMUXER,
        FormatKind::Codec => gst::ElementFactoryType::DECODER,
    };
    let readers = gst::ElementFactory::factories_with_type(reads, gst::Rank::MARGINAL);
    let reader = readers.iter().find(|factory| factory.can_sink_any_caps(&caps));
    let hardware = match (kind, writer) {
        (FormatKind::Codec, Some(_)) => in_hardware(gst::ElementFactoryType::VIDEO_ENCODER),
        _ => Vec::new(),
    };
    let hardware = hardware.iter().filter(|factory| factory.can_src_any_caps(&caps));
    Format {
        name,
        kind,
        caps: media_type,
        reader: reader.map(|factory| factory.name().to_string()),
        package,
        writer,
        writable: writer.is_some_and(is_installed),
        hardware: hardware.map(|factory| factory.name().to_string()).collect(),
    }
}

fn is_installed(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// Names of all video decoders (`encoders` false) or encoders, best rank first.
///
/// # Errors
/// When GStreamer cannot start.
pub fn video_codecs(encoders: bool) -> Result<Vec<String>, PipelineError> {
    super::init()?;
    let kind = if encoders {
        gst::ElementFactoryType::VIDEO_ENCODER
    } else {
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO
    };
    let factories = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL);
    Ok(factories.iter().map(|f| f.name().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_caps_and_the_package_that_error_messages_name() {
        super::super::init().unwrap();
        let containers = CONTAINERS.iter().map(|row| (row.1, row.2));
        for (caps, package) in containers.chain(CODECS.iter().map(|row| (row.1, row.2))) {
            let parsed: gst::Caps = caps.parse().unwrap();
            let name = parsed.structure(0).unwrap().name().to_string();
            // One name for streams of a demuxer and of a decoder.
            if !caps.contains("systemstream") {
                assert_eq!(packages::for_format(&name), Some(package), "{caps}");
            }
        }
    }
}
