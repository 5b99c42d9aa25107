//! Streams over HTTP, UDP, SRT and RTMP, from real senders that stop and start again as others.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::PASSWORD;
use crate::common::*;
use crate::program::Live;
use crate::sent::Ingest;

/// A sender; killed when dropped.
struct Sender(Child);

impl Sender {
    /// An ffmpeg that sends a moving picture of this size and rate, and a tone, in real time.
    fn of(size: &str, rate: u32, codecs: &[&str], target: &[&str]) -> Self {
        let picture = format!("testsrc=s={size}:r={rate}");
        let gop = rate.to_string();
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", &picture])
            .args(["-re", "-f", "lavfi", "-i", "sine=r=48000"])
            .args(["-pix_fmt", "yuv420p", "-g", &gop])
            .args(codecs)
            .args(target)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Sender(child)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const H264: [&str; 8] =
    ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-c:a", "aac"];
const MPEG2: [&str; 4] = ["-c:v", "mpeg2video", "-c:a", "mp2"];
const H265: [&str; 10] = [
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-tune",
    "zerolatency",
    "-x265-params",
    "log-level=none",
    "-c:a",
    "libopus",
];

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn packet_times(path: &Path, track: &str) -> Vec<f64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", track, "-of", "csv=p=0"]);
    let lines = succeed(command.args(["-show_entries", "packet=pts_time"]).arg(path));
    lines.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// The file has one picture track of this size and one of sound in this codec, without a long gap.
fn is_whole(path: &Path, wanted: (usize, usize), sound: &str, said: &str) {
    assert_eq!(size(path), wanted, "{said}");
    assert_eq!(stream_field(path, "a:0", "codec_name"), sound, "{said}");
    for track in ["v:0", "a:0"] {
        let times = packet_times(path, track);
        let gap = times.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max);
        assert!(times.len() > 50 && gap < 2.5, "{track}: {} packets, {gap} s: {said}", times.len());
    }
    let end = |track| packet_times(path, track).last().copied().unwrap();
    let apart = end("v:0") - end("a:0");
    assert!(apart.abs() < 1.5, "the sound ends {apart} s before the picture: {said}");
}

/// Waits until a run has taken pictures for some time: its status says so.
fn runs(live: &Live, times: usize) {
    live.until_said_times(" dropped", times);
}

#[test]
fn a_transport_stream_that_comes_back_with_other_codecs_is_fitted_and_its_sound_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mp4");
    let port = free_udp_port();
    let target = format!("udp://127.0.0.1:{port}?pkt_size=1316");
    let to = ["-f", "mpegts", target.as_str()];
    let sender = Sender::of("320x240", 25, &H264, &to);
    let url = format!("udp://127.0.0.1:{port}");
    let args = ["-i", &url, "-o", out.to_str().unwrap(), "--strength", "0", "--stall", "1"];
    let live = Live::start(&args);
    runs(&live, 1);
    drop(sender);
    live.until_said(&format!("'{url}' is lost: no picture for 1 s"), 60);
    let sender = Sender::of("160x240", 15, &MPEG2, &to);
    live.until_said("is back after", 60);
    live.until_said("its picture changes from 320×240 to 160×240", 60);
    live.until_said("its sound has changed its format", 60);
    runs(&live, 2);
    drop(sender);
    live.until_said_times("is lost", 2);
    let _sender = Sender::of("320x240", 30, &H265, &to);
    live.until_said_times("is back after", 2);
    runs(&live, 3);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    is_whole(&out, (320, 240), "aac", &ended.stderr);
}

#[test]
fn an_rtmp_stream_whose_publisher_goes_and_comes_back_in_another_size_is_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let port = free_tcp_port();
    let _server = Ingest::start(port, &folder.path().join("server"));
    let url = format!("rtmp://127.0.0.1:{port}/live/art");
    let to = ["-f", "flv", url.as_str()];
    let sender = Sender::of("320x240", 25, &H264, &to);
    let args = ["-i", &url, "-o", out.to_str().unwrap(), "--strength", "0", "--stall", "1"];
    let live = Live::start(&args);
    runs(&live, 1);
    drop(sender);
    live.until_said(&format!("'{url}' is lost"), 60);
    let _sender = Sender::of("160x240", 15, &H264, &to);
    live.until_said("is back after", 60);
    live.until_said("its picture changes from 320×240 to 160×240", 60);
    runs(&live, 2);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    is_whole(&out, (320, 240), "aac", &ended.stderr);
}

#[test]
fn an_srt_sender_that_connects_again_goes_on_in_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let port = free_udp_port();
    let query = format!("?passphrase={PASSWORD}&pbkeylen=16");
    let (url, target) = (format!("srt://:{port}{query}"), format!("srt://127.0.0.1:{port}{query}"));
    let base = ["-vv", "-i", &url, "-o", out.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&[&base[..], &["--stall", "1"]].concat());
    let to = ["-f", "mpegts", target.as_str()];
    // It gives up when nobody listens yet.
    let send_until = |words: &str, times: usize| {
        let mut sender = Sender::of("320x240", 25, &H264, &to);
        let started = Instant::now();
        while live.said().matches(words).count() < times {
            assert!(started.elapsed() < Duration::from_secs(60), "no '{words}': {}", live.said());
            if sender.0.try_wait().unwrap().is_some() {
                sender = Sender::of("320x240", 25, &H264, &to);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        sender
    };
    drop(send_until(" dropped", 2));
    live.until_said("is lost: ", 60);
    let _sender = send_until("is back after", 1);
    runs(&live, 3);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    is_whole(&out, (320, 240), "aac", &ended.stderr);
}

/// A web server for the files of a folder.
struct WebServer {
    url: String,
    /// It answers 404.
    empty: Arc<AtomicBool>,
}

impl WebServer {
    fn of(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (folder, empty) = (folder.to_owned(), Arc::new(AtomicBool::new(false)));
        let gone = Arc::clone(&empty);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (folder, gone) = (folder.clone(), Arc::clone(&gone));
                std::thread::spawn(move || answer(&client, &folder, &gone));
            }
        });
        WebServer { url, empty }
    }
}

fn answer(client: &TcpStream, folder: &Path, gone: &AtomicBool) {
    let mut lines = BufReader::new(client).lines();
    while let Some(Ok(request)) = lines.next() {
        // The header ends with an empty line.
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let name = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        let name = name.split('?').next().unwrap_or_default();
        let found = std::fs::read(folder.join(name)).ok().filter(|_| !gone.load(Ordering::Relaxed));
        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
        let body = found.unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut to = client;
        if to.write_all(head.as_bytes()).and_then(|()| to.write_all(&body)).is_err() {
            return;
        }
    }
}

#[test]
fn an_hls_stream_whose_server_loses_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (web, out) = (folder.path().join("web"), folder.path().join("out.mkv"));
    std::fs::create_dir(&web).unwrap();
    let server = WebServer::of(&web);
    let list = web.join("live.m3u8");
    let to = [
        "-f",
        "hls",
        "-hls_time",
        "1",
        "-hls_list_size",
        "6",
        "-hls_flags",
        "delete_segments",
        list.to_str().unwrap(),
    ];
    let _sender = Sender::of("320x240", 25, &H264, &to);
    let url = format!("{}/live.m3u8", server.url);
    let missing = Live::serve(&["-i", &format!("{}/other.m3u8", server.url)]).wait();
    missing.is_refused("/other.m3u8");
    assert!(missing.stderr.contains("no stream at this path"), "{}", missing.stderr);
    // A player begins some segments before the newest.
    let started = Instant::now();
    while std::fs::read_to_string(&list).map_or(0, |list| list.matches("EXTINF").count()) < 4 {
        assert!(started.elapsed() < Duration::from_secs(60), "no segments");
        std::thread::sleep(Duration::from_millis(100));
    }
    let args = ["-i", &url, "-o", out.to_str().unwrap(), "--strength", "0", "--stall", "2"];
    let live = Live::start(&args);
    runs(&live, 1);
    server.empty.store(true, Ordering::Relaxed);
    live.until_said(&format!("'{url}' is lost: "), 60);
    live.until_said("cannot be opened yet: the server has no stream at this path", 60);
    server.empty.store(false, Ordering::Relaxed);
    live.until_said("is back after", 60);
    runs(&live, 3);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    is_whole(&out, (320, 240), "aac", &ended.stderr);
}

#[test]
fn an_mjpeg_camera_is_read_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mkv");
    let port = free_tcp_port();
    let target = format!("http://127.0.0.1:{port}/video");
    let to = ["-an", "-f", "mpjpeg", "-listen", "1", target.as_str()];
    let sender = Sender::of("320x240", 10, &["-c:v", "mjpeg"], &to);
    // It may not listen yet.
    let args = ["-i", &target, "-o", out.to_str().unwrap(), "--strength", "0", "--retries", "50"];
    let live = Live::start(&args);
    runs(&live, 1);
    drop(sender);
    live.until_said("is lost: ", 60);
    let _sender = Sender::of("320x240", 10, &["-c:v", "mjpeg"], &to);
    live.until_said("is back after", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let times = frame_times(&out);
    let rate = times.len() as f64 / times.last().unwrap();
    assert!((6.0..32.0).contains(&rate), "{rate} a second: {}", ended.stderr);
}
