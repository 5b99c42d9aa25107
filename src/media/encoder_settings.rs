//! Sets quality, bit rate and preset on an encoder of any vendor, through the properties that it has.

use std::cmp::Ordering;

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;

use super::video::VideoStream;
use crate::core::encoding::{EncoderPreset, Encoding, RateControl};

/// Properties that take a bit rate.
const BIT_RATES: [&str; 4] = ["bitrate", "target-bitrate", "bps", "average-bitrate"];

/// Names of rate control properties; [`CONSTANT`] lists their values for constant quantizer.
const CONTROLS: [&str; 4] = ["rate-control", "rc-mode", "rate-control-mode", "control-rate"];
const CONSTANT: [&str; 5] = ["cqp", "constqp", "fixqp", "constant-qp", "disable"];

/// Names of quantizer properties; a group holds those for all frame types. Smallest value: lossless.
const QUANTIZERS: [&[&str]; 9] = [
    &["qp"],
    &["qpi", "qpp", "qpb"],
    &["qp-i", "qp-p", "qp-b"],
    &["qp-const-i", "qp-const-p", "qp-const-b"],
    &["qp-const"],
    &["cqp"],
    &["quantizer"],
    &["qp-init"],
    &["init-qp"],
];

/// Names of quality properties, whose smallest value is the worst.
const QUALITIES: [&str; 2] = ["quality", "image-quality"];

/// Names of numeric speed properties: in the first list the smallest value is the slowest and best, in the
/// second the fastest.
const SLOW_FIRST: [&str; 6] =
    ["target-usage", "quality-level", "cpu-used", "speed", "speed-level", "preset"];
const FAST_FIRST: [&str; 2] = ["quality-vs-speed", "complexity"];

/// Names of speed properties that are enumerations.
const PRESETS: [&str; 3] = ["preset", "speed-preset", "usage-preset"];

/// Applies `encoding` through whatever properties an encoder has. Returns notes for the user: what the
/// encoder has no property for, and what else they should know.
pub fn configure(element: &gst::Element, encoding: &Encoding, stream: &VideoStream) -> Vec<String> {
    let mut notes = Vec::new();
    let (bits, quality) = match encoding.rate {
        RateControl::Bitrate(bits) => (f64::from(bits), quality_of(bits, stream)),
        RateControl::Quality(quality) => (usual_bits(quality, stream), quality),
    };
    // What all makers understand alike comes first.
    if !set_bit_rate(element, bits) {
        match (set_quality(element, quality), encoding.rate) {
            (true, RateControl::Quality(_)) => {}
            (true, RateControl::Bitrate(_)) => {
                notes.push(format!(
                    "it has no setting for the bit rate: --quality {quality} is used instead of --bitrate"
                ));
            }
            (false, _) => notes.push(
                "it has no settings for bit rate or quality: --bitrate and --quality have no effect"
                    .to_owned(),
            ),
        }
    }
    if let Some(preset) = encoding.preset
        && !set_preset(element, preset)
    {
        notes.push("it has no presets: --preset has no effect".to_owned());
    }
    notes
}

/// Typical bits per second for a quality: 0.1 bit per pixel at the default quality, twice as many for each 15
/// more.
fn usual_bits(quality: u32, stream: &VideoStream) -> f64 {
    let (n, d) = stream.framerate.unwrap_or((30, 1));
    let pixels = stream.frame.width as f64 * stream.frame.height as f64;
    let a_pixel = 0.1 * ((f64::from(quality) - 60.0) / 15.0).exp2();
    (pixels * f64::from(n) / f64::from(d) * a_pixel).clamp(1e5, 2e8)
}

/// The quality that typically needs this many bits per second.
fn quality_of(bits: u32, stream: &VideoStream) -> u32 {
    let distance = |quality: &u32| (usual_bits(*quality, stream).ln() - f64::from(bits).ln()).abs();
    let nearer =
        |a: &u32, b: &u32| distance(a).partial_cmp(&distance(b)).unwrap_or(Ordering::Equal);
    (0..=100).min_by(nearer).unwrap_or(60)
}

fn set_bit_rate(element: &gst::Element, bits: f64) -> bool {
    for name in BIT_RATES {
        let Some(property) = writable(element, name) else { continue };
        let Some(range) = Range::of(&property) else { continue };
        let unit = if in_kilobits(&property, &range) { 1000.0 } else { 1.0 };
        return set_number(element, &property, (bits / unit).max(1.0), &range);
    }
    // Encoders of the Linux kernel (a Raspberry Pi's).
    match writable(element, "extra-controls") {
        Some(controls) => {
            set_text(element, &controls, &format!("controls,video_bitrate={bits:.0}"))
        }
        None => false,
    }
}

/// Whether a bit rate is in thousands of bits a second: as its description says, or else by what is
/// usual with it.
fn in_kilobits(property: &glib::ParamSpec, range: &Range) -> bool {
    let blurb = property.blurb().unwrap_or_default().to_lowercase();
    if ["kbit", "kbps", "kilobit", "kb/s", "1000 bit"].iter().any(|unit| blurb.contains(unit)) {
        return true;
    }
    let bits = ["bits per second", "bits/s", "bit/s", "bits per sec"];
    let plain = property.name() == "bps" || bits.iter().any(|unit| blurb.contains(unit));
    !plain && range.usual < 20_000.0
}

fn set_quality(element: &gst::Element, quality: u32) -> bool {
    let share = f64::from(quality.min(100)) / 100.0;
    for names in QUANTIZERS {
        let mut done = false;
        for property in names.iter().filter_map(|name| writable(element, name)) {
            let Some(range) = Range::of(&property) else { continue };
            // Some ranges begin at −1, which means "encoder default".
            let best = range.least.max(0.0);
            let value = range.most - share * (range.most - best);
            done |= set_number(element, &property, value.round(), &range);
        }
        if done {
            let constant = |name: &str| {
                let property = writable(element, name)?;
                CONSTANT.iter().find(|value| set_text(element, &property, value))
            };
            let _ = CONTROLS.iter().find_map(|name| constant(name));
            return true;
        }
    }
    for name in QUALITIES {
        let Some(property) = writable(element, name) else { continue };
        let Some(range) = Range::of(&property) else { continue };
        let best = range.least.max(0.0);
        return set_number(element, &property, best + share * (range.most - best), &range);
    }
    false
}

fn set_preset(element: &gst::Element, preset: EncoderPreset) -> bool {
    // 0 for the fastest, 1 for the slowest.
    let slowness = preset.index() as f64 / EncoderPreset::Veryslow.index() as f64;
    for name in PRESETS {
        let Some(property) = writable(element, name) else { continue };
        let (own, numbered) = (preset.to_string(), format!("p{:.0}", 1.0 + slowness * 6.0));
        let alike = match preset {
            EncoderPreset::Ultrafast
            | EncoderPreset::Superfast
            | EncoderPreset::Veryfast
            | EncoderPreset::Faster => ["speed", "hp", "fast"],
            EncoderPreset::Fast | EncoderPreset::Medium => ["balanced", "medium", "default"],
            EncoderPreset::Slow | EncoderPreset::Slower | EncoderPreset::Veryslow => {
                ["quality", "hq", "slow"]
            }
        };
        let mut known = [own.as_str(), numbered.as_str()].into_iter().chain(alike);
        if known.any(|value| set_text(element, &property, value)) {
            return true;
        }
    }
    let numbers = SLOW_FIRST.iter().map(|name| (name, 1.0 - slowness));
    let numbers = numbers.chain(FAST_FIRST.iter().map(|name| (name, slowness)));
    for (name, share) in numbers {
        let Some(property) = writable(element, name) else { continue };
        let Some(range) = Range::of(&property) else { continue };
        let least = range.least.max(0.0);
        return set_number(
            element,
            &property,
            (least + share * (range.most - least)).round(),
            &range,
        );
    }
    false
}

/// A property that can be set.
fn writable(element: &gst::Element, name: &str) -> Option<glib::ParamSpec> {
    let property = element.find_property(name)?;
    property.flags().contains(glib::ParamFlags::WRITABLE).then_some(property)
}

/// What a number may be.
struct Range {
    least: f64,
    most: f64,
    usual: f64,
}

impl Range {
    /// None if the property is not numeric.
    fn of(property: &glib::ParamSpec) -> Option<Self> {
        macro_rules! of {
            ($($kind:ty),*) => {$(
                if let Some(p) = property.downcast_ref::<$kind>() {
                    let (least, most) = (p.minimum() as f64, p.maximum() as f64);
                    return Some(Range { least, most, usual: p.default_value() as f64 });
                }
            )*};
        }
        of!(
            glib::ParamSpecInt,
            glib::ParamSpecUInt,
            glib::ParamSpecInt64,
            glib::ParamSpecUInt64,
            glib::ParamSpecFloat,
            glib::ParamSpecDouble
        );
        None
    }
}

fn set_number(
    element: &gst::Element,
    property: &glib::ParamSpec,
    value: f64,
    range: &Range,
) -> bool {
    let value = value.clamp(range.least, range.most);
    let fraction = [glib::Type::F32, glib::Type::F64].contains(&property.value_type());
    let text = if fraction { format!("{value}") } else { format!("{value:.0}") };
    set_text(element, property, &text)
}

/// Sets a property from text; false if the property does not accept it.
fn set_text(element: &gst::Element, property: &glib::ParamSpec, text: &str) -> bool {
    match glib::Value::deserialize_with_pspec(text, property) {
        Ok(value) => {
            element.set_property_from_value(property.name(), &value);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stream() -> VideoStream {
        crate::media::init().unwrap();
        let caps = "video/x-raw,format=I420,width=640,height=360,framerate=25/1";
        VideoStream::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap()
    }

    /// An encoder that is configured, and what is said.
    fn configured(
        name: &str,
        rate: RateControl,
        preset: Option<EncoderPreset>,
    ) -> (gst::Element, String) {
        let stream = stream();
        let element = gst::ElementFactory::make(name).build().unwrap();
        let notes = configure(&element, &Encoding { rate, preset, ..Encoding::default() }, &stream);
        (element, notes.join("; "))
    }

    #[test]
    fn more_quality_is_more_bits() {
        let stream = stream();
        assert!((usual_bits(60, &stream) - 576_000.0).abs() < 1.0);
        assert!(usual_bits(75, &stream) > 1.9 * usual_bits(60, &stream));
    }

    /// Encoders in software have as many ways to name these things as those in hardware.
    #[test]
    fn bit_rates_are_set_in_the_unit_of_the_property() {
        for (name, property, value) in [
            ("x264enc", "bitrate", 800),
            ("vp8enc", "target-bitrate", 800_000),
            ("av1enc", "target-bitrate", 800),
            ("x265enc", "bitrate", 800),
            ("avenc_mpeg4", "bitrate", 800_000),
        ] {
            let (element, notes) = configured(name, RateControl::Bitrate(800_000), None);
            let is = element.property_value(property).transform::<i64>().unwrap();
            assert_eq!(is.get::<i64>().unwrap(), value, "{name}");
            assert_eq!(notes, "", "{name}");
        }
    }

    #[test]
    fn an_encoder_without_a_bit_rate_is_given_a_quality() {
        for (quality, value) in [(0, 0), (60, 60), (100, 100)] {
            let (element, notes) = configured("jpegenc", RateControl::Quality(quality), None);
            assert_eq!((element.property::<i32>("quality"), notes.as_str()), (value, ""));
        }
        let (element, notes) = configured("jpegenc", RateControl::Bitrate(576_000), None);
        assert_eq!(element.property::<i32>("quality"), 60);
        assert!(notes.contains("--quality 60 is used instead of --bitrate"), "{notes}");
    }

    #[test]
    fn what_an_encoder_has_no_property_for_is_said() {
        let (_, notes) = configured("pngenc", RateControl::DEFAULT, Some(EncoderPreset::Slow));
        assert!(
            notes.contains("no settings for bit rate or quality") && notes.contains("--preset")
        );
        let (_, notes) = configured("jpegenc", RateControl::DEFAULT, Some(EncoderPreset::Slow));
        assert_eq!(notes, "it has no presets: --preset has no effect");
        let (_, notes) = configured("jpegenc", RateControl::DEFAULT, None);
        assert_eq!(notes, "");
    }

    #[test]
    fn presets_go_by_name_or_by_number() {
        let (element, notes) =
            configured("x264enc", RateControl::DEFAULT, Some(EncoderPreset::Slower));
        let preset = element.property_value("speed-preset").serialize().unwrap();
        assert_eq!((preset.as_str(), notes.as_str()), ("slower", ""));
        // From 0, the slowest, on.
        let speed = |preset| {
            let (element, notes) = configured("av1enc", RateControl::DEFAULT, Some(preset));
            assert_eq!(notes, "");
            element.property::<i32>("cpu-used")
        };
        assert_eq!(speed(EncoderPreset::Veryslow), 0);
        assert!(speed(EncoderPreset::Ultrafast) > speed(EncoderPreset::Medium));
    }
}
