//! Sources that are lost and come back, and what the outputs get meanwhile.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::PASSWORD;
use crate::camera::Camera;
use crate::common::*;
use crate::program::{self, Ended, Live};

/// Luma of the card's grey.
const CARD: std::ops::RangeInclusive<u8> = 46..=54;

/// For each picture of a file, whether it is the card.
fn cards(path: &Path) -> Vec<bool> {
    let width = size(path).0;
    let corners = |y: &[u8]| [y[0], y[width - 1], y[y.len() - 1]];
    yuv_frames(path).iter().map(|f| corners(&f.y).iter().all(|y| CARD.contains(y))).collect()
}

/// Times of the packets of a track.
fn packets(path: &Path, track: &str) -> Vec<f64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", track, "-of", "csv=p=0"]);
    let lines = succeed(command.args(["-show_entries", "packet=pts_time"]).arg(path));
    lines.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

fn widest_gap(times: &[f64]) -> f64 {
    times.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max)
}

fn summary(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr))
}

#[test]
fn a_camera_that_is_restarted_comes_back_and_outputs_go_on_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let [mkv, mp4] = ["out.mkv", "out.mp4"].map(|name| folder.path().join(name));
    let camera = Camera::at(0, None);
    let (port, url) = (camera.port(), camera.url());
    let args = ["-i", &url, "-o", mkv.to_str().unwrap(), "-o", mp4.to_str().unwrap()];
    let live = Live::serve(&[&args[..], &["--strength", "0", "--json"]].concat());
    let served = live.served();
    camera.wait_for_frames(60, || live.said());
    let client = program::ffmpeg_client(&served, 100_000);
    camera.wait_for_frames(120, || live.said());
    drop(camera);
    live.until_said(&format!("'{url}' is lost: "), 60);
    live.until_said(&format!("'{url}' cannot be opened yet: "), 60);
    std::thread::sleep(Duration::from_secs(3));
    let camera = Camera::at(port, None);
    live.until_said(&format!("'{url}' is back after "), 60);
    camera.wait_for_more_frames(60, || live.said());
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let summary = summary(&ended);
    assert_eq!(summary["losses"], 1, "{summary}");
    assert!(summary["lost_s"].as_f64().unwrap() > 1.0, "{summary}");
    assert!(program::frames_of(client) > 100, "the client has watched all the time");

    let (shown, times) = (cards(&mkv), frame_times(&mkv));
    assert!(times.windows(2).all(|t| t[1] > t[0]), "times increase: {times:?}");
    let (first, last) = (shown.iter().position(|c| *c), shown.iter().rposition(|c| *c));
    let (first, last) = (first.unwrap(), last.unwrap());
    assert!(last - first > 20, "the card is shown from {first} to {last} of {}", shown.len());
    assert!(shown[first..=last].iter().all(|card| *card), "one loss, one card");
    assert!(first > 25 && shown.len() - last > 10, "{first} to {last} of {}", shown.len());
    for file in [&mkv, &mp4] {
        let (pictures, sounds) = (packets(file, "v:0"), packets(file, "a:0"));
        let name = file.display();
        assert!(widest_gap(&pictures) < 2.0, "{name}: {} s", widest_gap(&pictures));
        assert_eq!(stream_field(file, "a:0", "codec_name"), "aac", "{name}");
        // Silence fills the loss.
        assert!(widest_gap(&sounds) < 1.5, "{name}: {} s without sound", widest_gap(&sounds));
        let behind = pictures.last().unwrap() - sounds.last().unwrap();
        assert!(behind.abs() < 1.5, "{name}: the sound ends {behind} s before the picture");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "one file each");
}

#[test]
fn a_camera_that_falls_silent_is_opened_again_though_its_connection_stands() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let camera = Camera::with_sound();
    let args = ["-i", &camera.url(), "-o", out.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&[&args[..], &["--stall", "1", "--on-loss", "hold"]].concat());
    camera.wait_for_frames(100, || live.said());
    camera.freeze(true);
    live.until_said("is lost: no picture for 1 s", 60);
    std::thread::sleep(Duration::from_secs(2));
    camera.freeze(false);
    live.until_said("is back after", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(cards(&out).iter().all(|card| !card), "the last picture is held");
    assert!(widest_gap(&frame_times(&out)) < 2.0, "{}", widest_gap(&frame_times(&out)));
}

#[test]
fn a_password_that_is_refused_is_final_at_first_and_tried_again_later() {
    let camera = Camera::at(0, Some(("me", PASSWORD)));
    let (port, url) = (camera.port(), camera.url());
    let with = |password: &str| url.replace("rtsp://", &format!("rtsp://me:{password}@"));
    let to = ["-o", "rtsp://127.0.0.1:0/art", "--strength", "0", "--retries", "1000"];
    let other = url.replace("/cam", "/other").replace("rtsp://", &format!("rtsp://me:{PASSWORD}@"));
    for (wrong, why) in [(with("0ther-word"), "password is missing or wrong"), (other, "no stream")]
    {
        let refused = Live::start(&[&["-i", &wrong], &to[..]].concat()).wait();
        refused.is_refused(&format!("rtsp://127.0.0.1:{port}/"));
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    let live = Live::start(&[&["-i", &with(PASSWORD)], &to[..]].concat());
    live.served();
    camera.wait_for_frames(60, || live.said());
    drop(camera);
    live.until_said("is lost: ", 60);
    let camera = Camera::at(port, Some(("me", "changed")));
    live.until_said("cannot be opened yet: refused", 60);
    drop(camera);
    let _camera = Camera::at(port, Some(("me", PASSWORD)));
    live.until_said("is back after", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
}

#[test]
fn a_source_that_does_not_come_back_ends_the_run_after_the_retries() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mp4");
    let camera = Camera::with_sound();
    let url = camera.url();
    let args = ["-i", &url, "-o", out.to_str().unwrap(), "--strength", "0", "--retries", "2"];
    let live = Live::start(&args);
    camera.wait_for_frames(100, || live.said());
    drop(camera);
    let ended = live.wait();
    ended.is_refused(&url);
    assert!(ended.stderr.contains("did not come back in 2 attempts"), "{}", ended.stderr);
    assert!(frame_times(&out).len() > 25, "what came is finished: {}", ended.stderr);
}

#[test]
fn a_lost_source_can_be_given_up_at_once() {
    let camera = Camera::with_sound();
    let live = Live::serve(&["-i", &camera.url(), "--strength", "0"]);
    live.served();
    drop(camera);
    live.until_said("cannot be opened yet: ", 60);
    let asked = std::time::Instant::now();
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}

#[test]
fn a_file_that_is_played_live_begins_again_with_loop() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, out) = (folder.path().join("clip.mp4"), folder.path().join("out.mkv"));
    let source = "color=black:s=64x48:r=25,format=yuv420p,geq=lum='16+4*N':cb=128:cr=128";
    ffmpeg(&["-f", "lavfi", "-i", source, "-t", "2", "-crf", "5", clip.to_str().unwrap()]);
    let own = folder.path().join("own.pipeline");
    let text = format!(
        "appsrc name=frames ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast \
         pass=quant quantizer=5 ! matroskamux ! filesink location=\"{}\"",
        out.display()
    );
    std::fs::write(&own, text).unwrap();
    let args = ["-i", clip.to_str().unwrap(), "--loop", "--pipeline-sink", own.to_str().unwrap()];
    let live = Live::start(&[&args[..], &["--strength", "0", "--json"]].concat());
    live.until_said_times(" dropped", 3);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(summary(&ended)["losses"], 0, "a file that begins again is not lost");
    let means: Vec<u32> = yuv_frames(&out)
        .iter()
        .map(|frame| frame.y.iter().map(|y| u32::from(*y)).sum::<u32>() / frame.y.len() as u32)
        .collect();
    // It becomes brighter, and dark again at once.
    let beginnings = means.windows(2).filter(|m| m[1] + 100 < m[0]).count();
    assert!(beginnings >= 2, "it began again {beginnings} times: {means:?}");
    let refused = Live::start(&["-i", "test:", "-o", "rtsp://127.0.0.1:0/a", "--loop"]).wait();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}
