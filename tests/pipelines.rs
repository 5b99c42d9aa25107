//! Every description in pipelines/ is understood by GStreamer and has the elements that the program
//! asks for by name.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use nst_stream::media::Role;
use nst_stream::media::pipeline::Pipeline;

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
            let pipeline = Pipeline::parse(Role::Source, &text)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let end = if name == "source-audio" { "packets" } else { "frames" };
            pipeline.element(end).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        seen.push(name);
    }
    for kind in ["source-file", "source-v4l2", "source-rtsp", "source-test", "sink-window"] {
        assert!(seen.iter().any(|name| name == kind), "{kind} of {seen:?}");
    }
}

#[test]
fn a_missing_element_is_named() {
    let error = Pipeline::parse(Role::Source, "nosuchelement ! fakesink").err().unwrap();
    assert!(error.to_string().contains("nosuchelement"), "{error}");
}
