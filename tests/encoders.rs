//! Encoders of the graphics processor that know no bit rate.
//!
//! There is none on a machine without such a processor, so one is made here: x264 behind a single
//! quantizer, said to be hardware. It is registered for this process alone.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/route.rs"]
mod route;

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;

use common::*;
use nst_stream::core::encoding::{EncoderPreset, Encoding, RateControl};
use nst_stream::core::stylizer::Identity;
use nst_stream::stream::VideoJob;

mod fixed {
    use std::sync::LazyLock;

    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;
    use gstreamer as gst;

    /// An H.264 encoder whose one property is `qp`.
    #[derive(Default)]
    pub struct FixedQuantizer {
        inner: std::sync::OnceLock<gst::Element>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FixedQuantizer {
        const NAME: &'static str = "NstTestFixedQuantizer";
        type Type = super::FixedQuantizer;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FixedQuantizer {
        fn properties() -> &'static [glib::ParamSpec] {
            static ALL: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                let quantizer = glib::ParamSpecUInt::builder("qp").minimum(0).maximum(51);
                vec![quantizer.default_value(26).build()]
            });
            &ALL
        }

        fn set_property(&self, _id: usize, value: &glib::Value, _property: &glib::ParamSpec) {
            let quantizer = value.get::<u32>().unwrap().min(50); // x264enc ends one earlier
            self.inner.get().unwrap().set_property("quantizer", quantizer);
        }

        fn property(&self, _id: usize, _property: &glib::ParamSpec) -> glib::Value {
            self.inner.get().unwrap().property_value("quantizer")
        }

        fn constructed(&self) {
            self.parent_constructed();
            let inner = gst::ElementFactory::make("x264enc")
                .property_from_str("pass", "quant")
                .property_from_str("speed-preset", "ultrafast")
                .build()
                .unwrap();
            let bin = self.obj();
            bin.add(&inner).unwrap();
            for name in ["sink", "src"] {
                let pad = inner.static_pad(name).unwrap();
                let ghost = gst::GhostPad::builder_with_target(&pad).unwrap().name(name).build();
                bin.add_pad(&ghost).unwrap();
            }
            self.inner.set(inner).unwrap();
        }
    }

    impl GstObjectImpl for FixedQuantizer {}

    impl ElementImpl for FixedQuantizer {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static ABOUT: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                let class = "Codec/Encoder/Video/Hardware";
                gst::subclass::ElementMetadata::new("Fixed quantizer", class, "A test", "nobody")
            });
            Some(&ABOUT)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static ALL: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let template = |name, direction, caps: &str| {
                    let caps: gst::Caps = caps.parse().unwrap();
                    let presence = gst::PadPresence::Always;
                    gst::PadTemplate::new(name, direction, presence, &caps).unwrap()
                };
                let raw = "video/x-raw,format=I420";
                vec![
                    template("sink", gst::PadDirection::Sink, raw),
                    template("src", gst::PadDirection::Src, "video/x-h264"),
                ]
            });
            &ALL
        }
    }

    impl BinImpl for FixedQuantizer {}
}

glib::wrapper! {
    pub struct FixedQuantizer(ObjectSubclass<fixed::FixedQuantizer>)
        @extends gst::Bin, gst::Element, gst::Object;
}

#[test]
fn hardware_without_a_bit_rate_is_given_a_quality_and_what_has_no_effect_is_said() {
    gst::init().unwrap();
    let kind = FixedQuantizer::static_type();
    gst::Element::register(None, "nvfixedqph264enc", gst::Rank::NONE, kind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (carphone(), folder.path().join("out.mkv"));
    let made = |rate, preset| {
        let encoding = Encoding { rate, preset, ..Encoding::default() };
        let job = VideoJob { encoding, ..VideoJob::new(&input, &output) };
        let (made, said) = route::route(&job, Identity);
        assert_eq!(made.unwrap().frames, 120);
        assert!(said.has("encoding with nvfixedqph264enc"), "{:?}", said.0);
        (std::fs::metadata(&output).unwrap().len(), said)
    };
    let (poor, said) = made(RateControl::Quality(20), None);
    assert!(!said.has("no effect"), "{:?}", said.0);
    let (good, _) = made(RateControl::Quality(80), None);
    assert!(good > 3 * poor, "{good} and {poor} bytes");
    let (_, said) = made(RateControl::Bitrate(100_000), Some(EncoderPreset::Slow));
    assert!(said.has("is used instead of --bitrate"), "{:?}", said.0);
    assert!(said.has("--preset has no effect"), "{:?}", said.0);
}
