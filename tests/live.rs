//! Live runs of the real program between real ends: RTSP servers and clients, files, a window.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "live/camera.rs"]
mod camera;
#[path = "live/changes.rs"]
mod changes;
mod common;
#[path = "rtsp_server/garbage.rs"]
mod garbage;
#[path = "live/hangs.rs"]
mod hangs;
#[path = "live/keys.rs"]
mod keys;
#[path = "live/lost.rs"]
mod lost;
#[path = "live/masks.rs"]
mod masks;
#[path = "live/media_server.rs"]
mod media_server;
#[path = "live/own.rs"]
mod own;
#[path = "live/pace.rs"]
mod pace;
#[path = "live/pieces.rs"]
mod pieces;
#[path = "live/played.rs"]
mod played;
#[path = "live/players.rs"]
mod players;
#[path = "live/program.rs"]
mod program;
#[path = "live/push.rs"]
mod push;
#[path = "live/secrets.rs"]
mod secrets;
#[path = "live/sent.rs"]
mod sent;
#[path = "live/service.rs"]
mod service;
#[path = "live/shapes.rs"]
mod shapes;
#[path = "common/shim.rs"]
mod shim;
#[path = "live/sound.rs"]
mod sound;
#[path = "live/stop.rs"]
mod stop;
#[path = "live/streams.rs"]
mod streams;
#[path = "live/timecode.rs"]
mod timecode;
#[path = "live/wild.rs"]
mod wild;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use camera::Camera;
use common::*;
use program::Live;
use timecode::Reader;

const PASSWORD: &str = "s3cr3t-word";

#[test]
fn a_test_picture_becomes_a_file_until_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.mp4", "out.mkv"] {
        let path = folder.path().join(name);
        let args = ["-i", "test:320x240@25", "-o", path.to_str().unwrap(), "--strength", "0"];
        let live = Live::start(&args);
        std::thread::sleep(Duration::from_secs(4));
        let ended = live.interrupt();
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        let times = frame_times(&path);
        assert!(times.len() > 25, "{name}: {} frames", times.len());
        assert!(times[0].abs() < 0.001, "{name} begins at {}", times[0]);
        assert!(times.windows(2).all(|t| t[1] > t[0]), "{name}: times increase: {times:?}");
        assert_eq!(size(&path), (320, 240));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no partial file is left");
}

#[test]
fn a_slow_network_drops_frames_and_the_delay_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.mkv");
    // As a path it is the big model, which no CPU runs at this rate.
    let args = ["-i", "test:640x480@30", "--device", "cpu", "-o", path.to_str().unwrap(), "--json"];
    let live = Live::with_model("mosaic.pt", &args);
    std::thread::sleep(Duration::from_secs(12));
    let ended = live.interrupt();
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key}: {summary}"));
    assert!(number("dropped") > 20.0, "{summary}");
    // A step, plus the step that may just have begun, plus the encoder's.
    let step = number("network_s") / number("frames");
    assert!(number("delay_p50_s") < 2.0 * step + 0.5, "a step takes {step} s: {summary}");
}

#[test]
fn an_rtsp_camera_goes_out_over_rtsp_with_its_sound() {
    let camera = Camera::with_sound();
    let live = Live::serve(&["-i", &camera.url(), "--strength", "0"]);
    let url = live.served();
    for transport in ["tcp", "udp"] {
        let streams = program::ffprobe_streams(&url, transport);
        assert!(streams.contains("h264,video") && streams.contains("aac,audio"), "{streams}");
    }
    assert!(program::ffmpeg_frames(&url, 20) >= 20);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn ten_clients_watch_and_one_that_is_killed_does_not_disturb_the_others() {
    let live = Live::serve(&["-i", "test:320x240@25", "--strength", "0"]);
    let url = live.served();
    let mut killed = program::ffmpeg_client(&url, 100_000);
    let others: Vec<_> = (0..9).map(|_| program::ffmpeg_client(&url, 60)).collect();
    std::thread::sleep(Duration::from_secs(2));
    killed.kill().unwrap();
    killed.wait().unwrap();
    for (n, client) in others.into_iter().enumerate() {
        assert_eq!(program::frames_of(client), 60, "client {n}");
    }
    live.interrupt();
}

#[test]
fn passwords_are_asked_for_and_never_shown() {
    let camera = Camera::guarded("me", PASSWORD);
    let wrong = camera.url().replace("rtsp://", "rtsp://me:0ther-word@");
    let refused = Live::start(&["-i", &wrong, "-o", "rtsp://127.0.0.1:0/art"]).wait();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(!refused.stderr.contains("0ther-word"), "{}", refused.stderr);

    let right = camera.url().replace("rtsp://", &format!("rtsp://me:{PASSWORD}@"));
    let output = format!("rtsp://you:{PASSWORD}@127.0.0.1:0/art");
    let live = Live::start(&["-vv", "-i", &right, "-o", &output, "--strength", "0"]);
    let url = live.served();
    assert!(!program::can_watch(&url), "without a password");
    let with = |password: &str| url.replace("rtsp://", &format!("rtsp://you:{password}@"));
    assert!(!program::can_watch(&with("wrong")));
    assert!(program::can_watch(&with(PASSWORD)));
    let ended = live.interrupt();
    let said = ended.stdout + &ended.stderr;
    assert!(!said.contains(PASSWORD), "{said}");
}

#[test]
fn the_delay_through_rtsp_is_that_of_a_few_frames() {
    let camera = Camera::with_timecode();
    let args = ["-i", &camera.url(), "--latency", "0", "--strength", "0"];
    let live = Live::serve(&args);
    let mut delays = Reader::watch(&live.served(), camera.epoch(), 100);
    delays.sort_unstable();
    let (half, most) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    eprintln!("glass to glass, identity: p50 {half:?}, p99 {most:?}");
    // The goal of 100 ms is for a bench on a quiet machine; here it must only not pile up.
    assert!(half < Duration::from_secs(1), "p50 {half:?}");
    let late = Reader::watch(&live.served(), camera.epoch(), 30);
    let late = late.iter().min().unwrap();
    assert!(*late < half + Duration::from_millis(500), "it grew: {late:?}");
    live.interrupt();
}

/// For ten seconds: noise of 1 byte to 64 KiB, requests that are wrong, too large or half, closed at
/// once or left open, and connections that say nothing, more than are served at a time.
#[test]
fn garbage_on_its_port_does_the_program_no_harm() {
    let live = Live::serve(&["-i", "test:320x240@25", "--strength", "0"]);
    let url = live.served();
    let address = url["rtsp://".len()..].trim_end_matches("/art").to_owned();
    let client = program::ffmpeg_client(&url, 250);
    let (mut noise, half) = (garbage::noise(), garbage::half_requests(&url));
    let mut open = std::collections::VecDeque::new();
    let (until, mut round) = (Instant::now() + Duration::from_secs(10), 0);
    while Instant::now() < until {
        let bytes = match round % 3 {
            0 => noise(1 << (round % 17)),
            1 => half[round / 3 % half.len()].clone().into_bytes(),
            _ => Vec::new(),
        };
        let mut connection = TcpStream::connect(&address).unwrap();
        // The server may hang up in the middle, and need not read.
        connection.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = connection.write_all(&bytes);
        if round % 2 == 0 {
            open.push_back(connection);
        }
        if open.len() > 150 {
            open.pop_front();
        }
        round += 1;
    }
    drop(open);
    println!("{round} connections");
    assert_eq!(program::frames_of(client), 250, "who watched goes on");
    assert!(program::ffmpeg_frames(&url, 20) >= 20, "who comes later is served");
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_opened_gives_one_line_and_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let serve = format!("rtsp://127.0.0.1:{port}/art");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let unreachable = format!("rtsp://127.0.0.1:{closed}/cam");
    // Something that listens and says nothing that RTSP knows.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("rtsp://{}/cam", mute.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut peer in mute.incoming().flatten() {
            let _ = peer.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    let camera = Camera::guarded("me", PASSWORD);
    let elsewhere = camera.url().replace("/cam", "/other");
    let to = ["-o", "rtsp://127.0.0.1:0/art"];
    let cases: [(&[&str], &str, &str); 11] = [
        (&["-i", "/dev/video99", to[0], to[1]], "/dev/video99", "there is no such file"),
        (&["-i", &unreachable, to[0], to[1]], &unreachable, "nothing listens at port"),
        (
            &["-i", "rtsp://no-such-host.invalid/1", to[0], to[1]],
            "rtsp://no-such-host.invalid/1",
            "no host",
        ),
        (&["-i", &other, to[0], to[1]], &other, "does not answer as an RTSP server"),
        (&["-i", &camera.url(), to[0], to[1]], &camera.url(), "password is missing or wrong"),
        (&["-i", &elsewhere, to[0], to[1]], &elsewhere, "the server has no stream at this path"),
        (&["-i", "test:", "-o", &serve], &serve, "is taken"),
        (
            &["-i", "test:", "-o", "rtsp://192.0.2.1:8554/art"],
            "192.0.2.1",
            "not an address of this machine",
        ),
        (&["-i", "test:", "-o", "/dev/video98"], "/dev/video98", "there is no such device"),
        (
            &["-i", "test:", "-o", "/no/such/folder/out.mp4"],
            "/no/such/folder/out.mp4",
            "cannot write",
        ),
        (&["-i", "test:", "-o", "window:"], "window:", "there is no display"),
    ];
    for (args, named, why) in cases {
        let ended = Live::start(args).wait();
        ended.is_refused(named);
        assert!(ended.stderr.contains(why), "{args:?}: {}", ended.stderr);
    }
    let usage = Live::start(&["-i", "ftp://cam/1"]).wait();
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}

#[test]
fn without_a_display_it_serves_on_this_machine_and_says_where() {
    let live = Live::start(&["-i", "test:160x120@25", "--strength", "0"]);
    let url = live.served();
    assert!(url.starts_with("rtsp://127.0.0.1:"), "{url}");
    assert!(program::ffmpeg_frames(&url, 5) >= 5);
    live.interrupt();
}

#[test]
fn when_the_camera_ends_the_run_can_end_too_and_the_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.mp4");
    let camera = Camera::with_sound();
    let base = ["-i", &camera.url(), "-o", path.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&[&base[..], &["--on-loss", "end"]].concat());
    std::thread::sleep(Duration::from_secs(5));
    let ended_at = Instant::now();
    drop(camera);
    let ended = live.wait();
    assert!(ended_at.elapsed() < Duration::from_secs(60));
    assert!(ended.code == Some(0) || ended.code == Some(1), "{:?} {}", ended.code, ended.stderr);
    assert!(frame_times(&path).len() > 10, "{}", ended.stderr);
    assert_eq!(stream_field(&path, "a:0", "codec_name"), "aac");
}

#[test]
fn a_window_shows_the_picture() {
    let have = |program: &str| {
        std::process::Command::new("which").arg(program).output().unwrap().status.success()
    };
    if !have("Xvfb") || !have("import") {
        eprintln!("SKIPPED: Xvfb or ImageMagick is not installed");
        return;
    }
    let screen = program::Screen::start();
    let live = Live::on(&screen, &["-i", "test:320x240@25", "--strength", "0"]);
    let shown = screen.wait_for_picture(Duration::from_secs(30));
    assert!(shown, "the screen stayed black");
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}
