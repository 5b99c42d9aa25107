//! Which of a model and its lite sibling paints a live source.

use crate::program::{Ended, Live};

/// A run that is interrupted once it has painted.
fn painted(model: &str, input: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let args = ["-i", input, "--device", "cpu", "-o", out.to_str().unwrap()];
    let live = Live::with_model(model, &args);
    live.until_said(" fps, out ", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    ended
}

#[test]
fn a_bare_name_gives_way_to_its_lite_sibling_where_the_source_is_too_fast_for_it() {
    let said = painted("mosaic", "test:1280x720@60").stderr;
    assert!(said.contains("painting with mosaic-lite: mosaic takes "), "{said}");
    assert!(said.contains("--model mosaic.pt keeps mosaic"), "{said}");
}

#[test]
fn a_bare_name_stays_where_it_keeps_pace() {
    let said = painted("mosaic", "test:64x48@1").stderr;
    assert!(said.contains("painting with mosaic: it takes "), "{said}");
}

#[test]
fn a_path_and_a_full_name_decide_themselves() {
    for model in ["mosaic.pt", "mosaic-lite"] {
        let said = painted(model, "test:640x480@60").stderr;
        assert!(!said.contains("painting with"), "{model}: {said}");
    }
}
