//! Sound formats that RTP can carry without re-encoding.

use gstreamer as gst;

use super::factory::InitialData;
use crate::media::packages;

/// Codec, payloader, what joins it to the description.
const CODECS: &[(&str, &str, &str)] = &[
    ("audio/mpeg", "rtpmp4gpay", "rtpmp4gpay name=pay1 pt=97"),
    ("audio/x-opus", "rtpopuspay", "rtpopuspay name=pay1 pt=97"),
    ("audio/x-mulaw", "rtppcmupay", "rtppcmupay name=pay1 pt=0"),
    ("audio/x-alaw", "rtppcmapay", "rtppcmapay name=pay1 pt=8"),
];

/// Whether packets of this format can go out over RTP; else, in a line for the user, why there
/// will be no sound.
pub(in crate::media) fn can_carry(caps: &gst::Caps) -> Result<(), String> {
    joined(caps).map(drop)
}

/// The elements for packets of this format, and a first packet; or, in a line for the user, why
/// there will be no sound.
pub(super) fn payloader(caps: &gst::Caps) -> Result<(String, InitialData), String> {
    let joined = joined(caps)?;
    // A queue of more than half a second before the payloader would be a lasting delay.
    let description = format!(
        "\nappsrc name=packets format=time is-live=true leaky-type=downstream max-bytes=0 \
         max-time=500000000 ! {joined}\n"
    );
    // Its contents are never sent.
    let packet = gst::Buffer::from_slice([0xffu8; 160]);
    Ok((description, InitialData::new(caps.clone(), packet)))
}

/// The payloader, in `gst-launch` syntax.
fn joined(caps: &gst::Caps) -> Result<&'static str, String> {
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    let no = |why: String| Err(format!("the sound is not sent: {why}"));
    let Some((_, element, joined)) = CODECS.iter().find(|(codec, ..)| *codec == name) else {
        return no(format!("RTP carries AAC, Opus and G.711, not {name}"));
    };
    let Some(found) = gst::ElementFactory::find(element) else {
        let package = packages::for_element(element).unwrap_or("gstreamer1.0-plugins-good");
        return no(format!("no GStreamer element '{element}'; install {package}"));
    };
    // AAC must be raw with its configuration in the caps (not ADTS), G.711 mono.
    let aac_unset = *element == "rtpmp4gpay" && !has(caps, "codec_data");
    if !found.can_sink_any_caps(caps) || aac_unset {
        return no(format!("RTP cannot carry this kind of {name}"));
    }
    Ok(joined)
}

fn has(caps: &gst::Caps, field: &str) -> bool {
    caps.structure(0).is_some_and(|s| s.has_field(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_that_rtp_cannot_carry_is_refused_in_a_line() {
        gst::init().unwrap();
        let caps = |text: &str| text.parse::<gst::Caps>().unwrap();
        let good = "audio/mpeg,mpegversion=4,stream-format=raw,codec_data=(buffer)1190";
        assert!(payloader(&caps(good)).is_ok());
        assert!(payloader(&caps("audio/x-alaw,rate=8000,channels=1")).is_ok());
        for bad in [
            "audio/mpeg,mpegversion=1,layer=3",
            "audio/mpeg,mpegversion=4,stream-format=adts",
            "audio/mpeg,mpegversion=4,stream-format=raw",
            "audio/x-mulaw,rate=8000,channels=2",
            "audio/x-vorbis",
        ] {
            let note = payloader(&caps(bad)).map(drop).unwrap_err();
            assert!(note.starts_with("the sound is not sent: ") && !note.contains('\n'), "{note}");
        }
    }
}
