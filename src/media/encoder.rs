//! Which element compresses the picture, and its settings.

use gst::prelude::*;
use gstreamer as gst;

use super::encoder_settings::configure;
use super::error::{ErrorKind, PipelineError};
use super::packages;
use super::pipeline::{Pipeline, PipelineRole};
use super::video::VideoStream;
use super::workarounds::change_caps;
use crate::core::encoding::{Codec, EncoderPreset, Encoding, HwAccel, RateControl};
use crate::core::timeouts::TRY_ENCODER;

/// An encoder and the parser behind it, not yet in a pipeline.
pub struct Encoder {
    /// The encoder.
    pub element: gst::Element,
    /// Brings its output into the form that containers take.
    pub parser: gst::Element,
    /// It is a hardware encoder (of a graphics processor).
    pub hardware: bool,
    /// Requested settings that have no effect with this encoder.
    pub notes: Vec<String>,
}

/// An encoder for frames like those of `stream`.
///
/// # Errors
/// When an element is missing; the error names its package.
pub fn encoder(
    codec: Codec,
    encoding: &Encoding,
    stream: &VideoStream,
) -> Result<Encoder, PipelineError> {
    let (_, _, software) = elements(codec);
    let parser = parser(codec)?;
    fits(codec, stream)?;
    if encoding.hwaccel == HwAccel::Auto
        && let Some((element, notes)) = hardware(codec, encoding, stream)
    {
        return Ok(Encoder { element, parser, hardware: true, notes });
    }
    let element = make(software, "encode")?;
    for (name, value) in settings(codec, encoding, stream) {
        set(&element, name, &value);
    }
    Ok(Encoder { element, parser, hardware: false, notes: Vec::new() })
}

/// The parser of a codec, not yet in a pipeline.
///
/// # Errors
/// When it is missing; the error names its package.
pub(super) fn parser(codec: Codec) -> Result<gst::Element, PipelineError> {
    let parser = make(elements(codec).1, "parse")?;
    if codec == Codec::Vp9
        && let Some(pad) = parser.static_pad("src")
    {
        with_chroma_site(&pad);
    }
    Ok(parser)
}

/// Refuses sizes that muxers (16 pixels, GStreamer 1.22 to 1.26) or encoders do not support. libx265 (3.5)
/// even writes outside its memory if a side is shorter than its largest block.
fn fits(codec: Codec, stream: &VideoStream) -> Result<(), PipelineError> {
    let (width, height) = (stream.frame.width, stream.frame.height);
    let (shorter, longer) = (width.min(height), width.max(height));
    let refused = |why: &str| {
        let text = format!("{codec} cannot encode {width}×{height}: {why}");
        Err(PipelineError::new("encode", text))
    };
    match codec {
        _ if shorter < 16 => refused("a video needs 16 pixels a side; write pictures (out/)"),
        Codec::H265 if shorter < 64 => refused("it needs 64 pixels a side; choose --codec vp9"),
        _ if longer > 16_384 => refused("it takes 16384 pixels a side; write pictures (out/)"),
        _ => Ok(()),
    }
}

/// Adds a chroma siting to VP9 caps that pass this pad without one: mp4mux (GStreamer 1.22 to 1.26) fails on
/// VP9 without it, and vp9parse and qtdemux drop it.
pub(super) fn with_chroma_site(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        change_caps(info, |format| {
            let missing = format.name() == "video/x-vp9" && !format.has_field("chroma-site");
            if missing {
                format.set("chroma-site", "mpeg2");
            }
            missing
        })
    });
}

/// Caps, parser and encoder in software of a codec.
fn elements(codec: Codec) -> (&'static str, &'static str, &'static str) {
    match codec {
        Codec::H264 => ("video/x-h264", "h264parse", "x264enc"),
        Codec::H265 => ("video/x-h265", "h265parse", "x265enc"),
        Codec::Vp9 => ("video/x-vp9", "vp9parse", "vp9enc"),
        Codec::Av1 => ("video/x-av1", "av1parse", "av1enc"),
    }
}

/// The software encoder of a codec.
pub(super) fn software_encoder(codec: Codec) -> &'static str {
    elements(codec).2
}

/// Properties and values for the software encoder of a codec.
fn settings(
    codec: Codec,
    encoding: &Encoding,
    stream: &VideoStream,
) -> Vec<(&'static str, String)> {
    let place = encoding.preset().index();
    let kbits = match encoding.rate {
        RateControl::Bitrate(bits) => (bits / 1000).to_string(),
        RateControl::Quality(_) => String::new(),
    };
    let quantizer = |worst| encoding.rate.quantizer(worst).map(|q| q.to_string());
    let mut set = Vec::new();
    match codec {
        Codec::H264 => {
            // The first value of speed-preset is "none", so presets start at 1.
            set.push(("speed-preset", (place + 1).to_string()));
            if encoding.live {
                set.push(("tune", "zerolatency".into()));
            }
            match quantizer(50) {
                Some(quantizer) => set.extend([
                    ("pass", "qual".into()),
                    ("quantizer", quantizer),
                    ("bitrate", most_kbits(encoding, stream).into()),
                ]),
                // A file needs no constant rate: the bit rate is an average over ten seconds.
                None => set.extend([("bitrate", kbits), ("vbv-buf-capacity", "10000".into())]),
            }
        }
        Codec::H265 => {
            set.push(("speed-preset", (place + 1).to_string()));
            if encoding.live {
                set.push(("tune", "zerolatency".into()));
            }
            match quantizer(51) {
                Some(quantizer) => set.push(("option-string", format!("crf={quantizer}"))),
                None => set.push(("bitrate", kbits)),
            }
        }
        Codec::Vp9 => {
            // libvpx: a cpu-used above 5 takes effect only with the realtime deadline.
            let realtime = encoding.live || encoding.preset() < EncoderPreset::Veryfast;
            let deadline = if realtime { "1" } else { "1000000" };
            let speed = ["8", "6", "5", "5", "4", "4", "2", "1", "0"][place];
            set.extend([("deadline", deadline.into()), ("cpu-used", speed.into())]);
            set.extend([("row-mt", "true".into()), ("keyframe-max-dist", "250".into())]);
            // With a larger lag-in-frames, vp9enc (1.22 to 1.26) loses frames at the end at high qualities.
            set.push(("lag-in-frames", "0".into()));
            match encoding.rate.quantizer(63) {
                // In constrained-quality mode the quality counts as long as the bit rate is not exceeded;
                // this bit rate never is. With the realtime deadline, libvpx only respects the quantizer
                // bounds.
                Some(quantizer) => set.extend([
                    ("end-usage", "cq".into()),
                    ("cq-level", quantizer.to_string()),
                    ("min-quantizer", quantizer.saturating_sub(8).to_string()),
                    ("max-quantizer", (quantizer + 8).min(63).to_string()),
                    ("target-bitrate", "200000000".into()),
                ]),
                None => set.push(("target-bitrate", format!("{kbits}000"))),
            }
        }
        Codec::Av1 => {
            let speed = ["10", "9", "8", "7", "6", "6", "4", "2", "1"][place];
            set.extend([("cpu-used", speed.into()), ("keyframe-max-dist", "250".into())]);
            if encoding.live || encoding.preset() < EncoderPreset::Fast {
                set.push(("usage-profile", "realtime".into()));
            } else {
                set.push(("lag-in-frames", "25".into()));
            }
            match quantizer(63) {
                // The encoder has no constant-quality setting; equal bounds have the same effect.
                Some(q) => set.extend([("min-quantizer", q.clone()), ("max-quantizer", q)]),
                None => set.extend([("max-quantizer", "63".into()), ("target-bitrate", kbits)]),
            }
        }
    }
    set
}

/// The most that H.264 of a constant quality may take, in thousands of bits a second. x264enc (1.22 to 1.26) has a
/// limit, of 2048 unless told another, and the level that it states, by which players see whether they can
/// play a file, follows from it: these are what every player of such sizes takes (4.1; 5.1 of larger ones).
/// Of a live stream, what networks carry.
fn most_kbits(encoding: &Encoding, stream: &VideoStream) -> &'static str {
    let blocks = stream.frame.width.div_ceil(16) * stream.frame.height.div_ceil(16);
    let (n, d) = stream.framerate.unwrap_or((30, 1));
    let a_second = blocks as f64 * f64::from(n) / f64::from(d);
    match blocks > 8192 || a_second > 245_760.0 {
        _ if encoding.live => "20000",
        true => "240000",
        false => "50000",
    }
}

/// Sets a property by its text, if there is one of this name.
fn set(element: &gst::Element, name: &str, value: &str) {
    if element.has_property(name) {
        element.set_property_from_str(name, value);
    }
}

/// Creates an element and gives it the name by which other code finds it.
fn make(name: &'static str, called: &str) -> Result<gst::Element, PipelineError> {
    gst::ElementFactory::make(name).name(called).build().map_err(|_| {
        let remedy = packages::for_element(name)
            .map_or_else(String::new, |package| format!("; install {package}"));
        PipelineError::new(name, format!("no GStreamer element '{name}'{remedy}"))
            .of_kind(ErrorKind::MissingPlugin)
    })
}

/// The first hardware encoder that can encode frames of this size, configured as requested, with notes on
/// what has no effect.
fn hardware(
    codec: Codec,
    encoding: &Encoding,
    stream: &VideoStream,
) -> Option<(gst::Element, Vec<String>)> {
    let (format, _, software) = elements(codec);
    let caps = gst::Caps::new_empty_simple(format);
    let mut all = in_hardware(gst::ElementFactoryType::VIDEO_ENCODER);
    all.retain(|factory| factory.can_src_any_caps(&caps));
    // Preferred order: NVIDIA's and Intel's own plugins first, wrappers of kernel interfaces last.
    let order = ["nv", "qsv", "va", "amf", "msdk"];
    all.sort_by_key(|factory| {
        order.iter().position(|start| factory.name().starts_with(start)).unwrap_or(order.len())
    });
    all.iter().find_map(|factory| {
        let name = factory.name();
        let works = |set: &dyn Fn(&gst::Element)| {
            let tried = encodes_some(&name, stream, set);
            if let Err(error) = &tried {
                tracing::info!("{name} is here but does not work: {error}");
            }
            tried.is_ok()
        };
        let set = works(&|element| drop(configure(element, encoding, stream)));
        if !set && !works(&|_| ()) {
            return None;
        }
        let element = factory.create().name("encode").build().ok()?;
        let notes = match set {
            true => configure(&element, encoding, stream),
            false => vec!["it refuses --quality, --bitrate and --preset".to_owned()],
        };
        let notes = notes.iter().map(|note| format!("{name}: {note} (--hwaccel off: {software})"));
        let notes = notes.collect();
        Some((element, notes))
    })
}

/// The factories of a type that use the graphics processor.
pub(super) fn in_hardware(kind: gst::ElementFactoryType) -> Vec<gst::ElementFactory> {
    let mut all: Vec<_> =
        gst::ElementFactory::factories_with_type(kind, gst::Rank::NONE).into_iter().collect();
    all.retain(|factory| factory.metadata("klass").is_some_and(|k| k.contains("Hardware")));
    all
}

/// Encodes three frames with a configured encoder, to test that it works.
fn encodes_some(
    name: &str,
    stream: &VideoStream,
    set: &dyn Fn(&gst::Element),
) -> Result<(), PipelineError> {
    let (width, height) = (stream.frame.width, stream.frame.height);
    let description = format!(
        "videotestsrc num-buffers=3 ! video/x-raw,width={width},height={height},framerate=30/1 ! \
         videoconvert ! {name} name=encode ! fakesink sync=false"
    );
    let pipeline = Pipeline::parse(PipelineRole::Sink(0), &description)?;
    set(&pipeline.element("encode")?);
    pipeline.set_state(gst::State::Playing)?;
    pipeline.wait_end(TRY_ENCODER)
}

/// Disables hardware decoders for the rest of this process.
///
/// # Errors
/// When GStreamer cannot start.
pub fn without_hardware_decoders() -> Result<(), PipelineError> {
    super::init()?;
    for factory in in_hardware(gst::ElementFactoryType::DECODER) {
        factory.set_rank(gst::Rank::NONE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 4] = [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1];

    fn stream() -> VideoStream {
        crate::media::init().unwrap();
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", 640)
            .field("height", 360)
            .field("framerate", gst::Fraction::new(25, 1))
            .build();
        VideoStream::from_caps(&caps).unwrap()
    }

    #[test]
    fn every_setting_is_one_that_its_encoder_has() {
        let stream = stream();
        for codec in ALL {
            for rate in [RateControl::DEFAULT, RateControl::Bitrate(800_000)] {
                for preset in
                    [EncoderPreset::Ultrafast, EncoderPreset::Medium, EncoderPreset::Veryslow]
                {
                    let (preset, live) = (Some(preset), preset == EncoderPreset::Ultrafast);
                    let encoding = Encoding { rate, preset, live, ..Encoding::default() };
                    let made = encoder(codec, &encoding, &stream).unwrap();
                    for (name, _) in settings(codec, &encoding, &stream) {
                        assert!(made.element.has_property(name), "{codec} {name}");
                    }
                }
            }
        }
    }
}
