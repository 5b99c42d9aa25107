//! A live picture in regions.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::common::*;
use crate::program::Live;

/// Left black, right white.
fn halves(folder: &Path, width: u32, height: u32) -> String {
    let path = folder.join("mask.png");
    let mask =
        RgbImage::from_fn(width, height, |x, _| Rgb([if x < width / 2 { 0 } else { 255 }; 3]));
    mask.save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_live_picture_is_painted_in_its_region_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mask, out) = (halves(folder.path(), 320, 240), folder.path().join("out.mkv"));
    let plain = folder.path().join("plain.mkv");
    let recorded = |args: &[&str], out: &Path| {
        let args = [&["-i", "test:160x120@10", "-o", out.to_str().unwrap()], args].concat();
        let live = Live::with_model("mosaic-lite@white", &args);
        live.until_said(" fps, out ", 60);
        let ended = live.interrupt();
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        (ended.stderr, yuv_frames(out))
    };
    let models = ["-m", "none@black", "--mask", &mask];
    let (said, painted) = recorded(&models, &out);
    assert!(said.contains("mosaic-lite"), "{said}");
    let (_, unpainted) = recorded(&[&models[..], &["--strength", "0"]].concat(), &plain);
    // The ball moves and frames may be dropped: what counts is how bright a side is at all.
    let side = |frames: &[Yuv], from: usize| {
        let columns = frames.iter().flat_map(|frame| frame.y.chunks(160));
        let values: Vec<f64> =
            columns.flat_map(|line| &line[from..from + 64]).map(|v| f64::from(*v)).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(painted.len() > 3 && unpainted.len() > 3);
    let (left, right) = (side(&painted, 0), side(&painted, 96));
    let (left_before, right_before) = (side(&unpainted, 0), side(&unpainted, 96));
    assert!((left - left_before).abs() < 10.0, "{left} {left_before}");
    assert!((right - right_before).abs() > 20.0, "{right} {right_before}");
}

#[test]
fn with_a_mask_the_trial_is_of_all_its_models() {
    let folder = tempfile::tempdir().unwrap();
    let (mask, out) = (halves(folder.path(), 64, 36), folder.path().join("out.mkv"));
    let args = ["-m", "starry-night@black", "--mask", &mask, "-i", "test:1280x720@60", "-o"];
    let live = Live::with_model("mosaic@white", &[&args[..], &[out.to_str().unwrap()]].concat());
    live.until_said(", mosaic-lite + starry-night-lite", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    for model in ["mosaic", "starry-night"] {
        let words = format!("painting with {model}-lite: 2 models together take ");
        assert!(ended.stderr.contains(&words), "{}", ended.stderr);
    }
}

#[test]
fn a_mask_of_another_shape_is_told_when_the_sources_size_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (mask, out) = (halves(folder.path(), 64, 64), folder.path().join("out.mkv"));
    let args = ["-m", "none@black", "--mask", &mask, "-i", "test:160x120@10", "-o"];
    let ended =
        Live::with_model("mosaic@white", &[&args[..], &[out.to_str().unwrap()]].concat()).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let words = "it is 64×64 pixels, which is not the shape of the picture (160×120)";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(!out.exists());
}
