//! To a media server.

use std::fs::DirEntry;
use std::time::{Duration, Instant};

use crate::camera::Camera;
use crate::common::frame_times;
use crate::media_server::MediaServer;
use crate::program::{Live, ffmpeg_frames};
use crate::sent::free_port;

const PASSWORD: &str = "w0rd-of-push";

#[test]
fn a_media_server_gets_the_picture_until_it_is_interrupted() {
    let server = MediaServer::start(false, None);
    let live =
        Live::start(&["-i", "test:320x240@25", "--rtsp-push", &server.url(""), "--strength", "0"]);
    server.wait_for(50, 0);
    assert_eq!(server.clients(), 1);
    let asked = Instant::now();
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert!(!ended.stderr.contains("CRITICAL"), "{}", ended.stderr);
    let gone = Instant::now();
    while server.clients() > 0 {
        assert!(gone.elapsed() < Duration::from_secs(10), "the server was not told");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_a_push_and_a_stream_share_one_encoder() {
    // An encoder, and its own threads, have the name of the thread that brings its frames.
    let encoders = |live: &Live| {
        let threads = std::fs::read_dir(format!("/proc/{}/task", live.id())).unwrap();
        let name = |thread: &DirEntry| std::fs::read_to_string(thread.path().join("comm"));
        threads.filter(|thread| name(thread.as_ref().unwrap()).unwrap() == "frames:src\n").count()
    };
    let served = ["-i", "test:320x240@25", "--strength", "0", "-o", "rtsp://127.0.0.1:0/art"];
    let alone = Live::start(&served);
    assert_eq!(ffmpeg_frames(&alone.served(), 25), 25);
    let one = encoders(&alone);
    assert!(one > 0);
    drop(alone);
    let server = MediaServer::start(false, None);
    let (udp, push) = (format!("udp://127.0.0.1:{}", free_port()), server.url(""));
    let live = Live::start(&[&served[..], &["--rtsp-push", &push, "-o", &udp]].concat());
    server.wait_for(50, 0);
    assert_eq!(ffmpeg_frames(&live.served(), 25), 25);
    assert_eq!(encoders(&live), one);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn a_media_server_gets_the_sound_of_the_camera_too() {
    let camera = Camera::with_sound();
    let server = MediaServer::start(true, None);
    let live =
        Live::start(&["-i", &camera.url(), "--rtsp-push", &server.url(""), "--strength", "0"]);
    server.wait_for(50, 50);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn a_media_server_may_ask_for_a_password() {
    let server = MediaServer::start(false, Some(("me", PASSWORD)));
    let right = server.url(&format!("me:{PASSWORD}@"));
    let live =
        Live::start(&["-vv", "-i", "test:320x240@25", "--rtsp-push", &right, "--strength", "0"]);
    server.wait_for(25, 0);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!(ended.stdout + &ended.stderr).contains(PASSWORD));
    for user in ["me:wr0ng-word@", ""] {
        let url = server.url(user);
        let ended = Live::start(&["-i", "test:", "--rtsp-push", &url, "--strength", "0"]).wait();
        ended.is_refused(&server.url(""));
        assert!(ended.stderr.contains("password"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("wr0ng-word"), "{}", ended.stderr);
    }
}

#[test]
fn a_media_server_that_is_not_there_or_takes_nothing_is_named() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("rtsp://me:{PASSWORD}@127.0.0.1:{closed}/art");
    let ended = Live::start(&["-i", "test:", "--rtsp-push", &url]).wait();
    ended.is_refused(&format!("rtsp://127.0.0.1:{closed}/art"));
    assert!(ended.stderr.contains("nothing listens"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);

    let ended =
        Live::start(&["-i", "test:", "--rtsp-push", "rtsp://no-such-host.invalid/art"]).wait();
    ended.is_refused("rtsp://no-such-host.invalid/art");

    // A camera sends and takes nothing.
    let camera = Camera::with_timecode();
    let ended =
        Live::start(&["-i", "test:", "--rtsp-push", &camera.url(), "--strength", "0"]).wait();
    ended.is_refused(&camera.url());
}

#[test]
fn a_media_server_that_goes_and_comes_back_gets_the_picture_again_and_the_file_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whole.mkv");
    let server = MediaServer::start(false, Some(("me", PASSWORD)));
    let (port, url) = (server.port(), server.url(&format!("me:{PASSWORD}@")));
    let args = ["-i", "test:320x240@25", "--strength", "0", "-o", file.to_str().unwrap()];
    let live = Live::start(&[&args[..], &["--rtsp-push", &url]].concat());
    server.wait_for(50, 0);
    let lost = server.url("");
    drop(server);
    live.until_said(&format!("'{lost}' is lost"), 30);
    live.until_said(&format!("'{lost}' cannot be opened yet"), 30);
    let server = MediaServer::start_at(port, false, Some(("me", PASSWORD)));
    live.until_said(&format!("'{lost}' is back after"), 60);
    server.wait_for(50, 0);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    let times = frame_times(&file);
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(times.len() > 100 && gap < 1.0, "{} frames, {gap} s without one", times.len());
}
