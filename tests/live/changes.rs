//! Sources that change in mid-stream: their size, their sound.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::camera::Camera;
use crate::common::*;
use crate::program::Live;
use crate::shapes;

#[test]
fn a_camera_that_changes_its_size_is_letterboxed_into_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let camera = Camera::drawn_by(shapes::draw_into);
    let args = ["-i", &camera.url(), "-o", out.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&args);
    std::thread::sleep(Duration::from_secs(10));
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    shapes::check(&out);
}

/// Times of the packets of a stream.
fn packet_times(path: &Path, stream: &str) -> Vec<f64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"]);
    let lines = succeed(command.args(["-show_entries", "packet=pts_time"]).arg(path));
    lines.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// Records 14 s of a camera whose sound stops after four.
fn record(name: &str, pausing: bool) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(name);
    let camera = Camera::whose_sound_stops(pausing);
    let args = ["-i", &camera.url(), "-o", out.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&args);
    std::thread::sleep(Duration::from_secs(16));
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{name}: {}", ended.stderr);
    let (pictures, sounds) = (packet_times(&out, "v:0"), packet_times(&out, "a:0"));
    let length = *pictures.last().unwrap();
    assert!(length > 10.0, "{name}: the picture ends at {length} s");
    // 25 a second, and no hole where the sound stopped.
    assert!(pictures.len() as f64 > length * 20.0, "{name}: {} pictures", pictures.len());
    let hole = pictures.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max);
    assert!(hole < 1.0, "{name}: {hole} s without a picture");
    let last = *sounds.last().unwrap();
    assert!(sounds.len() > 60, "{name}: {} packets of sound", sounds.len());
    if pausing {
        assert!(last > length - 2.0, "{name}: the sound came back, {last} of {length} s");
        let pause = sounds.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max);
        assert!((2.0..6.0).contains(&pause), "{name}: a pause of {pause} s");
    } else {
        assert!(last < length - 3.0, "{name}: sound until {last} of {length} s");
    }
}

#[test]
fn sound_that_stops_does_not_stop_the_picture() {
    let names = [("ends.mp4", false), ("ends.mkv", false)];
    let runs = names.map(|(name, pausing)| std::thread::spawn(move || record(name, pausing)));
    runs.into_iter().for_each(|run| run.join().unwrap());
}

#[test]
fn sound_that_pauses_comes_back() {
    let names = [("pauses.mp4", true), ("pauses.mkv", true)];
    let runs = names.map(|(name, pausing)| std::thread::spawn(move || record(name, pausing)));
    runs.into_iter().for_each(|run| run.join().unwrap());
}
