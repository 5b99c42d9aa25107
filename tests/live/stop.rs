//! Several outputs at once, how they end, and which of them failed.

use std::time::{Duration, Instant};

use crate::common::*;
use crate::program::{self, Live};

/// Noise, of which few frames fill a file.
const NOISE: &str = "videotestsrc is-live=true pattern=snow \
                     ! video/x-raw,width=320,height=240,framerate=25/1 ! appsink name=frames";

#[test]
fn files_and_a_server_end_together_when_it_is_asked_to_terminate() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.mp4", "b.mkv", "c.mp4"].map(|name| folder.path().join(name));
    let [a, b, c] = [0, 1, 2].map(|n: usize| files[n].to_str().unwrap());
    let live =
        Live::serve(&["-i", "test:320x240@25", "-o", a, "-o", b, "-o", c, "--strength", "0"]);
    let mut client = program::ffmpeg_client(&live.served(), 100_000);
    std::thread::sleep(Duration::from_secs(4));
    assert!(client.try_wait().unwrap().is_none(), "the client watches");
    live.signal("TERM");
    let asked = Instant::now();
    let ended = live.wait();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    while client.try_wait().unwrap().is_none() {
        assert!(asked.elapsed() < Duration::from_secs(30), "the client was not told");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(program::frames_of(client) > 25);
    let counts = files.each_ref().map(|path| frame_times(path).len());
    assert!(counts.iter().all(|n| *n > 50 && n.abs_diff(counts[0]) < 5), "{counts:?}");
    assert!(index_in_front(&files[0]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no partial file is left");
}

#[test]
fn an_output_that_fails_is_named_and_the_others_go_on_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (file, own) = (folder.path().join("a.mp4"), folder.path().join("own.pipeline"));
    // Fails after 60 frames.
    std::fs::write(&own, "appsrc name=frames ! identity error-after=60 ! fakesink").unwrap();
    let args = ["-i", "test:320x240@25", "-o", file.to_str().unwrap(), "--strength", "0", "--json"];
    let live = Live::serve(&[&args[..], &["--pipeline-sink", own.to_str().unwrap()]].concat());
    let failed = format!("'{}' failed", own.display());
    live.until_said(&failed, 60);
    let mut client = program::ffmpeg_client(&live.served(), 50);
    assert!(client.wait().unwrap().success(), "the server goes on");
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.trim().lines().last().unwrap().contains(&failed), "{}", ended.stderr);
    assert!(ended.stderr.contains("the other outputs go on"), "{}", ended.stderr);
    assert!(frame_times(&file).len() > 60 + 40, "{}", ended.stderr);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(summary["failed_outputs"].as_array().unwrap().len(), 1, "{summary}");
}

#[test]
fn a_disk_that_fills_ends_its_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, own) = (folder.path().join("bad.mkv"), folder.path().join("noise.pipeline"));
    std::fs::write(&own, NOISE).unwrap();
    let args = ["--pipeline-source", own.to_str().unwrap(), "-o", bad.to_str().unwrap()];
    let served = ["-o", "rtsp://127.0.0.1:0/art", "--strength", "0"];
    let live = Live::with_file_limit(1000, &[&args[..], &served].concat());
    let failed = format!("'{}' failed", bad.display());
    live.until_said(&failed, 60);
    let mut client = program::ffmpeg_client(&live.served(), 50);
    assert!(client.wait().unwrap().success(), "the server goes on");
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.trim().lines().last().unwrap().contains(&failed), "{}", ended.stderr);
    assert!(!bad.exists());
    let count = frame_times(&folder.path().join("bad.partial.mkv")).len();
    assert!(count > 5, "{count}: {}", ended.stderr);
    let kept = format!("what was recorded ({count} frames) is in '");
    assert!(ended.stderr.contains(&kept), "{count}: {}", ended.stderr);
}

#[test]
fn a_file_that_fails_on_the_way_is_named_and_what_there_is_of_it() {
    // As on a full disk, but without being root: a file may not grow beyond its limit.
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.mkv");
    // Noise soon fills half a megabyte.
    let own = folder.path().join("noise.pipeline");
    std::fs::write(&own, NOISE).unwrap();
    let live = Live::with_file_limit(
        1000,
        &[
            "--pipeline-source",
            own.to_str().unwrap(),
            "-o",
            bad.to_str().unwrap(),
            "--strength",
            "0",
        ],
    );
    let ended = live.wait();
    ended.is_refused(&format!("'{}' failed", bad.display()));
    assert!(ended.stderr.contains("bad.partial.mkv"), "{}", ended.stderr);
    assert!(!bad.exists());
    assert!(frame_times(&folder.path().join("bad.partial.mkv")).len() > 5);
}

#[test]
fn a_network_that_is_too_slow_paints_smaller_with_adapt() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let base = ["-i", "test:640x480@30", "--device", "cpu", "-o", out.to_str().unwrap()];
    let live = Live::with_model("mosaic.pt", &[&base[..], &["--adapt", "--json"]].concat());
    live.until_said(", scale 0.", 90);
    let ended = live.interrupt();
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let scale = summary["scale"].as_f64().unwrap_or_else(|| panic!("{summary}"));
    assert!((0.2..1.0).contains(&scale), "{summary}");
    assert_eq!(size(&out), (640, 480), "the output keeps its size");
}

#[test]
fn a_camera_that_says_nothing_can_be_given_up() {
    // It accepts connections and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://{}/cam", mute.local_addr().unwrap());
    let live = Live::serve(&["-i", &url, "--strength", "0"]);
    std::thread::sleep(Duration::from_secs(3));
    let asked = Instant::now();
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    // By itself it would wait for fifteen seconds.
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}
