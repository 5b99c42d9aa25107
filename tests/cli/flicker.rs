//! `evaluate --video`: how much a model's video flickers.

use std::fs;

use super::common::{bikes, ffmpeg};
use super::{assert_says, folder, refusal, run};

#[test]
fn a_video_is_measured_beside_its_source_and_drawn_over_time() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // A picture that stands still, and then one whose light changes from frame to frame.
    let still = ["-loop", "1", "-i", &path("cat.png"), "-frames:v", "5", "-vf", "scale=96:80"];
    ffmpeg(&[&still[..], &["-c:v", "ffv1", &path("still.mkv")]].concat());
    let lit = "scale=96:80,eq=brightness='0.1*mod(n,2)':eval=frame";
    let lit = ["-loop", "1", "-i", &path("cat.png"), "-frames:v", "5", "-vf", lit];
    ffmpeg(&[&lit[..], &["-c:v", "ffv1", &path("lit.mkv")]].concat());

    let args = ["evaluate", "--model", "mosaic-lite", "--video", "still.mkv", "--video", "lit.mkv"];
    let more = ["--json", "--plot", "time.svg", "--sheet", "slices.png", "--threads", "1"];
    let out = run(folder.path(), &[&args[..], &more].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
    let [still, lit] = [&all["clips"][0], &all["clips"][1]];
    assert_eq!((&still["clip"], &still["frames"]), (&"still.mkv".into(), &5.into()));
    // The same frames are painted alike.
    assert!(number(&still["warping_error"]) < 1e-3, "{still}");
    assert!(number(&still["still_flicker"]) < 0.1, "{still}");
    assert!(number(&still["source"]["warping_error"]) < 1e-6, "{still}");
    assert!(number(&still["sharpness"]) > number(&still["source"]["sharpness"]), "{still}");
    // A tenth of the range, where it is not clipped.
    let source = number(&lit["source"]["warping_error"]);
    assert!((0.05..0.12).contains(&source), "{lit}");
    assert!(number(&lit["warping_error"]) > number(&still["warping_error"]), "{lit}");
    let mean = (number(&still["warping_error"]) + number(&lit["warping_error"])) / 2.0;
    assert!((number(&all["mean"]["warping_error"]) - mean).abs() < 1e-9, "{all}");

    assert!(fs::read_to_string(path("time.svg")).unwrap().contains("still.mkv"));
    let slices = image::open(path("slices.png")).unwrap();
    // Two clips of 80 lines, source and painted of 5 frames each, with 4 pixels between them.
    assert_eq!((slices.width(), slices.height()), (14, 168));
}

#[test]
fn a_video_that_is_held_steady_flickers_less() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bikes = bikes().display().to_string();
    let few = ["-frames:v", "8", "-vf", "scale=256:-2", "-c:v", "ffv1", "-an"];
    ffmpeg(&[&["-i", &bikes][..], &few, &[&path("bikes.mkv")]].concat());
    let flicker = |steady: &str| {
        let args = ["evaluate", "--model", "mosaic-lite", "--video", "bikes.mkv", "--json"];
        let out = run(folder.path(), &[&args[..], &["--steady", steady]].concat());
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        all["mean"]["warping_error"].as_f64().unwrap()
    };
    let (painted, held) = (flicker("0"), flicker("1"));
    assert!(held < 0.7 * painted, "{held} of {painted}");

    let args =
        ["-m", "mosaic-lite", "-i", "bikes.mkv", "-o", "held.mkv", "--steady", "0.9", "--json"];
    let out = run(folder.path(), &args);
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((summary["frames"].as_u64(), summary["steady"].as_f64()), (Some(8), Some(0.9)));
    let out = run(
        folder.path(),
        &["-m", "mosaic-lite", "-i", "bikes.mkv", "-o", "x.mkv", "--steady", "2"],
    );
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    ffmpeg(&["-i", &path("clip.mp4"), "-frames:v", "1", &path("one.mkv")]);
    let of = |more: &[&str], code| {
        let args = ["evaluate", "--model", "mosaic-lite", "--threads", "1", "--video"];
        refusal(folder.path(), code, &[&args[..], more].concat())
    };
    assert_says(&of(&["one.mkv"], 1), &["'one.mkv'", "fewer than two frames"]);
    assert_says(&of(&["none.mkv"], 1), &["'none.mkv'", "no such file"]);
    assert_says(&of(&["clip.mp4", "--plot", "x.gif"], 1), &["--plot", "'x.gif'", ".png or .svg"]);
    let out = run(folder.path(), &["evaluate", "--video", "clip.mp4", "--images", "."]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_painted_video_is_measured_as_far_as_it_and_its_clip_go() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bikes = bikes().display().to_string();
    for (name, frames, size) in
        [("clip.mkv", "40", "96:-2"), ("short.mkv", "3", "80:-2"), ("one.mkv", "1", "80:-2")]
    {
        let few = ["-i", &bikes, "-frames:v", frames, "-vf", &format!("scale={size}")];
        ffmpeg(&[&few[..], &["-c:v", "ffv1", "-an", &path(name)]].concat());
    }
    let measure = |clip: &str, painted: &str| {
        run(folder.path(), &["evaluate", "--video", clip, "--painted", painted, "--json"])
    };
    for (clip, painted) in [("clip.mkv", "short.mkv"), ("short.mkv", "clip.mkv")] {
        let out = measure(clip, painted);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(all["clips"][0]["frames"], 3, "{clip} painted in {painted}: {all}");
    }
    let out = measure("clip.mkv", "one.mkv");
    assert_eq!(out.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&out.stderr), &["fewer than two frames"]);
}
