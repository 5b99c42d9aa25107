//! Decides how a track is written to a container: copied, re-encoded or left out.

use gstreamer as gst;

use super::super::muxer::muxer;
use super::super::packages;
use super::track_list::WEBVTT;
use crate::core::encoding::Container;

/// How a track comes into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Treatment {
    /// Copied, through elements (a parser) that bring it into the form that the muxer accepts.
    Passthrough(&'static str),
    /// Re-encoded: the elements, and the name of the new codec.
    Transcode(String, &'static str),
    /// Left out; the reason, for the user.
    Drop(String),
}

/// The caps of the muxer's pads of this kind ("audio_%u").
pub(in super::super) fn template(container: Container, pads: &str) -> Option<gst::Caps> {
    let factory = gst::ElementFactory::find(muxer(container))?;
    let templates = factory.static_pad_templates();
    templates.iter().find(|t| t.name_template() == pads).map(|t| t.caps())
}

/// The treatment of an audio track.
pub(in super::super) fn audio_treatment(caps: &gst::Caps, container: Container) -> Treatment {
    let Some(format) = caps.structure(0) else {
        return Treatment::Drop("its format is unknown".to_owned());
    };
    let text = |field| format.get::<&str>(field).unwrap_or_default();
    let raw = format.name() == "audio/x-raw";
    // Not copied: LATM, since no parser turns it into the form that files need; PCM, which qtmux (1.22 to
    // 1.26) loses when it writes fragments; Speex in Matroska, since only GStreamer knows A_SPEEX; mono
    // ADPCM, since FFmpeg 7 does not play what matroskamux writes.
    let unfit = text("stream-format") == "loas"
        || raw && container == Container::Mov
        || ["audio/x-speex", "audio/x-adpcm"].contains(&format.name().as_str());
    if !unfit && fits(format, template(container, "audio_%u").as_ref()) {
        return Treatment::Passthrough(
            match (format.name().as_str(), format.get::<i32>("mpegversion")) {
                ("audio/mpeg", Ok(1)) => "mpegaudioparse",
                ("audio/mpeg", Ok(_)) => "aacparse",
                ("audio/x-ac3" | "audio/x-eac3", _) => "ac3parse",
                ("audio/x-flac", _) => "flacparse",
                ("audio/x-dts", _) => "dcaparse",
                _ => "identity",
            },
        );
    }
    transcode_audio(caps, container)
}

/// The treatment of an audio track that cannot be copied.
pub(in super::super) fn transcode_audio(caps: &gst::Caps, container: Container) -> Treatment {
    let Some(format) = caps.structure(0) else {
        return Treatment::Drop("its format is unknown".to_owned());
    };
    let channels = format.get::<i32>("channels").unwrap_or(2);
    let raw = format.name() == "audio/x-raw";
    if !raw && !has_decoder(caps) {
        let package = packages::for_format(format.name());
        let remedy = package.map_or_else(String::new, |package| format!("; install {package}"));
        return Treatment::Drop(format!("there is no decoder for it{remedy}"));
    }
    // decodebin would put opusparse before it (see `leave_packets`).
    let decode = match format.name().as_str() {
        "audio/x-raw" => "",
        "audio/x-opus" => "opusdec ! ",
        _ => "decodebin name=decode ! ",
    };
    let (encode, element, codec) = encoder(container, channels);
    if gst::ElementFactory::find(element).is_none() {
        let package = packages::for_element(element);
        let remedy = package.map_or_else(String::new, |package| format!("; install {package}"));
        return Treatment::Drop(format!("there is no encoder ({element}){remedy}"));
    }
    let convert = "audioconvert name=mix ! capsfilter name=layout ! audioresample";
    Treatment::Transcode(format!("{decode}{convert} ! {encode}"), codec)
}

/// The note for the user about sound that is encoded: `what` names the track, `mixed` says what becomes of its channels.
pub(in super::super) fn transcode_note(
    what: &str,
    caps: &gst::CapsRef,
    container: Container,
    codec: &str,
    mixed: &str,
) -> String {
    if container == Container::Mov && name(caps) == "PCM" {
        return format!(
            "{what} is encoded as {codec}{mixed}: GStreamer writes no PCM into such files"
        );
    }
    format!("{what} does not fit into {}: it is encoded as {codec}{mixed}", container.name())
}

/// What encodes sound for a container: the elements, the encoder among them, and its codec.
pub(in super::super) fn encoder(
    container: Container,
    channels: i32,
) -> (String, &'static str, &'static str) {
    let bitrate = 64_000 * channels.clamp(2, 8);
    match container {
        Container::Mp4 | Container::Mov => {
            // Its usual search ("twoloop", FFmpeg 5.1) lets the level of plain tones swing by 2 dB and
            // more; the fast one is true to 0.2 dB, with enough bits.
            let bitrate = 96_000 * channels.clamp(1, 8);
            // aac-ms: a boolean before GStreamer 1.26, then one of three. Both take 0 for "off".
            let encoder = format!("avenc_aac bitrate={bitrate} aac-coder=fast aac-ms=0 ! aacparse");
            (encoder, "avenc_aac", "AAC")
        }
        Container::Mkv | Container::WebM => {
            (format!("opusenc bitrate={bitrate} ! opusparse"), "opusenc", "Opus")
        }
    }
}

/// The muxer's template also lists details that a parser can change (stream-format), so only the fields that
/// identify the codec are compared.
fn fits(format: &gst::StructureRef, template: Option<&gst::Caps>) -> bool {
    let mut codec = gst::Structure::new_empty(format.name());
    for field in ["mpegversion", "format"] {
        if let Ok(value) = format.value(field) {
            codec.set_value(field, value.clone());
        }
    }
    let codec = gst::Caps::from(codec);
    template.is_some_and(|template| template.can_intersect(&codec))
}

fn has_decoder(caps: &gst::Caps) -> bool {
    let kind = gst::ElementFactoryType::DECODER;
    let decoders = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL);
    decoders.iter().any(|decoder| decoder.can_sink_any_caps(caps))
}

/// What users call a format.
pub(in super::super) fn name(caps: &gst::CapsRef) -> String {
    let Some(format) = caps.structure(0) else { return "of an unknown format".to_owned() };
    let name = match (format.name().as_str(), format.get::<i32>("mpegversion")) {
        ("audio/mpeg", Ok(1)) => match format.get::<i32>("layer") {
            Ok(3) => "MP3",
            _ => "MPEG audio",
        },
        ("audio/mpeg", _) => "AAC",
        ("audio/x-raw", _) => "PCM",
        ("audio/x-ac3", _) => "AC-3",
        ("audio/x-eac3", _) => "E-AC-3",
        ("audio/x-dts", _) => "DTS",
        ("audio/x-flac", _) => "FLAC",
        ("audio/x-vorbis", _) => "Vorbis",
        ("audio/x-opus", _) => "Opus",
        ("audio/x-alac", _) => "ALAC",
        ("audio/x-alaw" | "audio/x-mulaw", _) => "G.711",
        ("text/x-raw", _) => "text",
        ("application/x-ass" | "application/x-ssa", _) => "ASS",
        (WEBVTT, _) => "WebVTT",
        ("application/x-subtitle-unknown", _) => "of an unknown kind",
        ("subpicture/x-pgs", _) => "PGS",
        ("subpicture/x-dvd", _) => "VobSub",
        ("subpicture/x-dvb", _) => "DVB",
        (other, _) => other.rsplit('/').next().unwrap_or(other).trim_start_matches("x-"),
    };
    name.to_owned()
}
