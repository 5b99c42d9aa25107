//! mpv as a client: it finds nothing wrong with the times of what it plays.

use std::process::Command;

use crate::camera::Camera;
use crate::common::output;
use crate::program::Live;

/// What mpv says while it plays some seconds.
fn played(address: &str) -> String {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "90", "mpv", "--no-config", "--vo=null", "--ao=null", "--quiet"]);
    let out = output(command.args(["--length=6", address]));
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{address}: {said}");
    assert!(said.contains("Video --vid=1") && said.contains("Audio --aid=1"), "{said}");
    said.into_owned()
}

#[test]
fn a_player_has_nothing_to_say_about_times_over_rtsp_and_of_hls() {
    let (folder, camera) = (tempfile::tempdir().unwrap(), Camera::with_sound());
    let playlist = folder.path().join("live.m3u8");
    let playlist = playlist.to_str().unwrap();
    let live = Live::serve(&["-i", &camera.url(), "-o", playlist, "--strength", "0"]);
    let over_rtsp = played(&live.served());
    // The first picture comes before ffmpeg knows a time.
    let complaints = over_rtsp.matches("Invalid video timestamp").count();
    assert!(complaints <= 1, "{over_rtsp}");
    let of_hls = played(playlist);
    assert!(!of_hls.contains("Invalid video timestamp"), "{of_hls}");
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}
