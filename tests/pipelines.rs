//! Every description in pipelines/ is understood by GStreamer and has the elements that the program
//! asks for by name.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use nst_stream::core::endpoint::{InputSpec, OutputSpec};
use nst_stream::core::stop::StopSignal;
use nst_stream::media::PipelineRole;
use nst_stream::media::clock::LiveClock;
use nst_stream::media::live::{LiveOptions, LiveSource};
use nst_stream::media::live_sink::LiveSink;
use nst_stream::media::mode::RequestedMode;
use nst_stream::media::pipeline::Pipeline;
use nst_stream::media::video::VideoStream;

#[test]
fn every_description_parses_and_has_its_ends() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{name} says what it is");
        assert!(text.lines().all(|l| !l.contains("://")), "{name}: topology only");
        if name.starts_with("source-") || name.starts_with("sink-") {
            let decoded = ["file", "v4l2", "rtsp", "test", "stream", "whip"];
            let rest = match name.strip_prefix("source-") {
                Some(kind) if decoded.contains(&kind) => {
                    std::fs::read_to_string(path.with_file_name("decoded.pipeline")).unwrap()
                }
                _ => String::new(),
            };
            let pipeline = Pipeline::parse(PipelineRole::Source, &format!("{text}\n{rest}"))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let end = match name.as_str() {
                "source-track" | "source-contents" => "packets",
                "source-packets" => "parse",
                "sink-mpegts" | "sink-rtmp" | "sink-push" | "sink-hls" => "units",
                _ => "frames",
            };
            pipeline.element(end).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        if name.starts_with("mux-") {
            let frames =
                std::fs::read_to_string(path.with_file_name("encode-file.pipeline")).unwrap();
            Pipeline::parse(PipelineRole::Source, &format!("{frames}\n{text}"))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        seen.push(name);
    }
    for kind in
        ["source-file", "source-v4l2", "source-rtsp", "source-test", "sink-window", "mux-webm"]
    {
        assert!(seen.iter().any(|name| name == kind), "{kind} of {seen:?}");
    }
}

#[test]
fn a_missing_element_is_named() {
    let error = Pipeline::parse(PipelineRole::Source, "nosuchelement ! fakesink").err().unwrap();
    assert!(error.to_string().contains("nosuchelement"), "{error}");
}

/// As far as it goes without a camera: v4l2src opens what it is given and says what that is.
#[test]
fn what_is_no_camera_is_told_what_it_is() {
    let clock = LiveClock::start().unwrap();
    let wish = RequestedMode { size: Some((640, 480)), fps: Some(30) };
    let options = LiveOptions { requested: wish, ..LiveOptions::default() };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for (path, why) in [
        (Path::new("/dev/null"), "it is not a video device"),
        (Path::new("/dev/no-such-camera"), "there is no such device"),
        (&file, "it is not a device"),
        (Path::new("/tmp"), "it is not a device"),
    ] {
        let refused = LiveSource::open(
            &InputSpec::Device(path.into()),
            options,
            &clock,
            None,
            &StopSignal::default(),
        )
        .err()
        .unwrap();
        assert_eq!(refused.error, why, "{}", path.display());
        let output = OutputSpec::Device(path.into());
        let caps = "video/x-raw,format=I420,width=64,height=64,framerate=25/1";
        let stream = VideoStream::from_caps(&caps.parse::<gstreamer::Caps>().unwrap()).unwrap();
        let (events, _said) = std::sync::mpsc::channel();
        let on_delay = Box::new(|_| ());
        let refused = LiveSink::open(&output, 0, &stream, &clock, &events, on_delay);
        assert_eq!(refused.err().unwrap().error, why, "{}", path.display());
    }
}
