//! Formats of encoded sound: which are alike, what encodes to one, and what its silence is.

use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::pipeline::{Pipeline, PipelineRole};
use super::video::at_time;
use crate::core::timeouts::{TRY_SOUND_ENCODER, WaitTimer};

/// Packets of silence that are encoded; the first ones hold an encoder's delay.
const TRIED: usize = 24;

/// Fields in which packets of one stream must agree.
const FIELDS: [&str; 8] =
    ["mpegversion", "layer", "stream-format", "format", "layout", "bitrate", "rate", "channels"];

/// Whether packets of both formats can follow one another in one stream.
pub(super) fn is_alike(a: &gst::Caps, b: &gst::Caps) -> bool {
    let (Some(a), Some(b)) = (a.structure(0), b.structure(0)) else { return false };
    let same = |field: &str| match (a.value(field), b.value(field)) {
        (Ok(a), Ok(b)) => a.compare(b) == Some(std::cmp::Ordering::Equal),
        _ => true,
    };
    // Of AAC, the object type, rate and channels; encoders append what decoders can do without.
    let data = |s: &gst::StructureRef| {
        let data = s.get::<gst::Buffer>("codec_data").ok()?;
        data.map_readable().ok()?.get(..2).map(<[u8]>::to_vec)
    };
    let data = match (data(a), data(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    a.name() == b.name() && FIELDS.iter().all(|field| same(field)) && data
}

/// Elements that encode raw sound into a format, with its rate and channels before them; none for formats that are
/// only decoded.
pub(super) fn encoder_of(caps: &gst::Caps) -> Option<String> {
    let format = caps.structure(0)?;
    let number = |field: &str| format.get::<i32>(field).ok();
    let encoder = match (format.name().as_str(), number("mpegversion"), number("layer")) {
        ("audio/mpeg", Some(2 | 4), _) => {
            "avenc_aac ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw".to_owned()
        }
        ("audio/mpeg", Some(1), Some(3)) => "lamemp3enc ! mpegaudioparse".to_owned(),
        ("audio/mpeg", Some(1), Some(2)) => "avenc_mp2 ! mpegaudioparse".to_owned(),
        ("audio/x-alaw", ..) => "alawenc".to_owned(),
        ("audio/x-mulaw", ..) => "mulawenc".to_owned(),
        ("audio/x-opus", ..) => "opusenc".to_owned(),
        ("audio/x-ac3", ..) => "avenc_ac3 ! ac3parse".to_owned(),
        ("audio/G722", ..) => "avenc_g722".to_owned(),
        ("audio/x-adpcm", ..) if format.get::<&str>("layout") == Ok("g726") => {
            format!("avenc_g726 bitrate={}", number("bitrate")?)
        }
        ("audio/x-raw", ..) => {
            format!("audioconvert ! audio/x-raw,format={}", format.get::<&str>("format").ok()?)
        }
        _ => return None,
    };
    let (rate, channels) = (number("rate").unwrap_or(48_000), number("channels").unwrap_or(1));
    Some(format!("audio/x-raw,rate={rate},channels={channels} ! {encoder}"))
}

/// A packet of silence.
#[derive(Clone)]
pub(super) struct Silence {
    packet: gst::Buffer,
    duration: Duration,
}

impl Silence {
    /// Silence in a format; none if nothing encodes to it.
    pub fn of(caps: &gst::Caps) -> Option<Self> {
        let encoder = encoder_of(caps)?;
        let rate = caps.structure(0)?.get::<i32>("rate").unwrap_or(48_000);
        let description = format!(
            "audiotestsrc wave=silence num-buffers={} samplesperbuffer={} ! audioconvert \
             ! {encoder} ! appsink name=encoded sync=false",
            4 * TRIED,
            (rate / 50).max(1)
        );
        let pipeline = Pipeline::parse(PipelineRole::Track(0), &description).ok()?;
        let encoded: gst_app::AppSink = pipeline.element_as("encoded").ok()?;
        pipeline.set_state(gst::State::Playing).ok()?;
        let (mut timer, mut last) = (WaitTimer::new(), None);
        let mut count = 0;
        while count < TRIED && !encoded.is_eos() && !timer.is_over(TRY_SOUND_ENCODER) {
            if let Some(sample) = encoded.try_pull_sample(gst::ClockTime::from_mseconds(50)) {
                (last, count) = (Some(sample), count + 1);
            } else if pipeline.pending_error().is_some() {
                return None;
            }
        }
        let sample =
            last.filter(|sample| sample.caps_owned().is_some_and(|c| is_alike(&c, caps)))?;
        let packet = sample.buffer()?.copy();
        let duration = Duration::from(packet.duration()?);
        (!duration.is_zero()).then_some(Silence { packet, duration })
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The packet at this time.
    pub fn at(&self, time: Duration) -> gst::Buffer {
        let mut packet = at_time(&self.packet, time);
        let dts = packet.pts();
        packet.make_mut().set_dts(dts);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_of_cameras_has_its_silence() {
        crate::media::init().unwrap();
        for caps in [
            "audio/mpeg,mpegversion=4,stream-format=raw,rate=44100,channels=1,codec_data=(buffer)1208",
            "audio/mpeg,mpegversion=4,stream-format=raw,rate=16000,channels=2,codec_data=(buffer)1410",
            "audio/x-alaw,rate=8000,channels=1",
            "audio/x-mulaw,rate=8000,channels=1",
            "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0",
            "audio/G722,rate=16000,channels=1",
            "audio/x-adpcm,layout=g726,bitrate=32000,rate=8000,channels=1",
            "audio/x-raw,format=S16BE,layout=interleaved,rate=44100,channels=2",
            "audio/mpeg,mpegversion=1,layer=2,rate=48000,channels=1",
        ] {
            let format = caps.parse().unwrap();
            let silence = Silence::of(&format).unwrap_or_else(|| panic!("{caps}"));
            let ms = silence.duration().as_millis();
            assert!((5..200).contains(&ms), "{caps}: {ms} ms");
            // A sink may read as many at once as it likes.
            let packets = (0..300).map(|n| silence.at(n * silence.duration())).collect::<Vec<_>>();
            let read: Vec<_> =
                packets.iter().map(|packet| packet.map_readable().unwrap()).collect();
            let places: std::collections::BTreeSet<_> =
                read.iter().map(|map| map.as_ptr()).collect();
            assert_eq!(places.len(), packets.len(), "{caps}");
        }
        let unknown = "audio/x-wma,wmaversion=2,rate=44100,channels=2".parse().unwrap();
        assert!(Silence::of(&unknown).is_none());
    }

    #[test]
    fn formats_are_alike_where_a_decoder_needs_not_be_told() {
        gst::init().unwrap();
        let alike = |a: &str, b: &str| is_alike(&a.parse().unwrap(), &b.parse().unwrap());
        let aac = "audio/mpeg,mpegversion=4,rate=48000,channels=2,codec_data=(buffer)";
        assert!(alike(&format!("{aac}1190"), &format!("{aac}119056e500")));
        assert!(!alike(&format!("{aac}1190"), &format!("{aac}1188")));
        assert!(!alike("audio/x-alaw,rate=8000", "audio/x-mulaw,rate=8000"));
        assert!(!alike("audio/x-alaw,rate=8000", "audio/x-alaw,rate=16000"));
        assert!(alike("audio/x-opus,rate=48000", "audio/x-opus"));
    }
}
