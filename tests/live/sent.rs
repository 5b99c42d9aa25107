//! Streams that are sent: SRT and UDP (MPEG-TS), RTMP.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::camera::Camera;
use crate::common::*;
use crate::program::Live;

const PASSPHRASE: &str = "pass-of-srt-w0rd";
const KEY: &str = "live_k3y-of-rtmp";

/// A port of this machine that nothing uses.
pub fn free_port() -> u16 {
    // A UDP port may be used by others meanwhile; nothing else here asks for many.
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that is killed when dropped.
struct Peer(Child);

impl Peer {
    fn start(program: &str, args: &[&str], out: impl Into<Stdio>) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        Peer(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// Takes an SRT stream at this port into a file.
    fn listen(port: u16, path: &Path) -> Self {
        let from = format!("srt://127.0.0.1:{port}?mode=listener&passphrase={PASSPHRASE}");
        let out = std::fs::File::create(path).unwrap();
        Peer::start("srt-live-transmit", &["-q", &from, "file://con"], out)
    }

    fn kill(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// ffmpeg takes three seconds of a stream into a file.
fn record(url: &str, path: &Path) {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "90", "ffmpeg", "-v", "error", "-nostdin", "-y", "-i", url]);
    command.args(["-t", "3", "-c", "copy"]).arg(path);
    let out = output(&mut command);
    assert!(out.status.success(), "{url}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The file holds H.264 and AAC, both of about the same times, with a key frame every two seconds.
fn is_a_stream(path: &Path) {
    assert_eq!(stream_field(path, "v:0", "codec_name"), "h264", "{path:?}");
    assert_eq!(stream_field(path, "a:0", "codec_name"), "aac", "{path:?}");
    let times = |stream: &str| packet_times(path, stream);
    let (pictures, sound) = (times("v:0"), times("a:0"));
    let ends = |times: &[(f64, bool)]| (times[0].0, times[times.len() - 1].0);
    let (v, a) = (ends(&pictures), ends(&sound));
    // Who joins between two key frames hears before it sees.
    assert!((v.0 - a.0).abs() < 2.5 && (v.1 - a.1).abs() < 0.5, "{path:?}: {v:?}, sound {a:?}");
    let keys: Vec<f64> = pictures.iter().filter(|(_, key)| *key).map(|(time, _)| *time).collect();
    let steps = || keys.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps().all(|step| step < 2.5), "{path:?}: {keys:?}");
}

/// Time of each packet, and whether it is a key frame.
fn packet_times(path: &Path, stream: &str) -> Vec<(f64, bool)> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"]);
    command.args(["-show_entries", "packet=pts_time,flags"]).arg(path);
    let text = String::from_utf8(output(&mut command).stdout).unwrap();
    let packets = text.lines().filter_map(|line| {
        let (time, flags) = line.split_once(',')?;
        Some((time.parse().ok()?, flags.starts_with('K')))
    });
    packets.collect()
}

/// Waits until a file has so many bytes.
fn wait_for_bytes(path: &Path, bytes: u64, live: &Live) {
    let started = Instant::now();
    while std::fs::metadata(path).map_or(0, |file| file.len()) < bytes {
        assert!(started.elapsed() < Duration::from_secs(60), "{path:?}: {}", live.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn srt_and_udp_clients_get_picture_and_sound_from_one_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::with_sound();
    let [srt, udp] = [free_port(), free_port()];
    let listener = format!("srt://:{srt}?latency=200&passphrase=${{NST_TEST_PASSPHRASE}}");
    let live = Live::with_environment(
        &[("NST_TEST_PASSPHRASE", PASSPHRASE)],
        &[
            "-vv",
            "-i",
            &camera.url(),
            "-o",
            &listener,
            "-o",
            &format!("udp://127.0.0.1:{udp}"),
            "--strength",
            "0",
            "--dump-dot",
            folder.path().to_str().unwrap(),
        ],
    );
    let client = format!("srt://127.0.0.1:{srt}?passphrase={PASSPHRASE}");
    let (a, b) = (folder.path().join("srt.mkv"), folder.path().join("udp.mkv"));
    live.until_said("fps, out", 60);
    record(&client, &a);
    record(&format!("udp://127.0.0.1:{udp}"), &b);
    // One client has gone; the next one gets the stream too.
    record(&client, &a);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    is_a_stream(&a);
    is_a_stream(&b);
    let dots = [1, 2].map(|n| folder.path().join(format!("output-{n}.dot")));
    let dots = dots.map(|path| std::fs::read_to_string(path).unwrap());
    let first = dots[0].to_lowercase();
    assert!(first.contains("srtsink") && !first.contains("x264enc"), "one encoder for both");
    for text in dots.iter().chain([&ended.stderr, &ended.stdout]) {
        assert!(!text.contains(PASSPHRASE));
    }
}

#[test]
fn an_srt_listener_that_goes_and_comes_back_gets_the_stream_again() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let received = |name: &str| folder.path().join(name);
    let (first, second) = (received("first.ts"), received("second.ts"));
    let (file, to) = (received("whole.mkv"), format!("srt://127.0.0.1:{port}"));
    let peer = Peer::listen(port, &first);
    let address = format!("{to}?passphrase={PASSPHRASE}");
    let args = ["-i", "test:320x240@25", "--strength", "0", "-o", &address];
    let live = Live::start(&[&args[..], &["-o", file.to_str().unwrap()]].concat());
    wait_for_bytes(&first, 50_000, &live);
    peer.kill();
    live.until_said(&format!("'{to}' is lost"), 60);
    live.until_said(&format!("'{to}' cannot be opened yet"), 60);
    let peer = Peer::listen(port, &second);
    live.until_said(&format!("'{to}' is back"), 60);
    wait_for_bytes(&second, 50_000, &live);
    let ended = live.interrupt();
    peer.kill();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSPHRASE), "{}", ended.stderr);
    for path in [&first, &second] {
        assert!(frame_times(path).len() > 20, "{path:?}");
    }
    let times = frame_times(&file);
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(times.len() > 50 && gap < 1.0, "{} frames, {gap} s without one", times.len());
}

#[test]
fn a_stream_that_cannot_be_sent_from_the_beginning_is_refused() {
    let port = free_port();
    let address = format!("srt://127.0.0.1:{port}");
    let args = ["-i", "test:320x240@25", "--strength", "0", "-o"];
    let refused = |output: &str, what: &str| {
        let ended = Live::start(&[&args[..], &[output]].concat()).wait();
        ended.is_refused(what);
        assert!(
            !ended.stderr.contains("w0rd") && !ended.stderr.contains("k3y"),
            "{}",
            ended.stderr
        );
        ended.stderr
    };
    refused(&address, &address);
    refused("udp://:5000", "names no host");
    let short = refused(&format!("{address}?passphrase=w0rd"), &address);
    assert!(short.contains("10 to 79"), "{short}");
    // A listener with another passphrase.
    let folder = tempfile::tempdir().unwrap();
    let _peer = Peer::listen(port, &folder.path().join("nothing.ts"));
    refused(&format!("{address}?passphrase=another-w0rd"), &address);
    let nothing = format!("rtmp://127.0.0.1:{port}/live");
    refused(&format!("{nothing}/{KEY}"), &nothing);
}

/// Unpacked there by scripts/setup.sh.
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers");

/// nginx with this configuration, once it listens at the port.
fn nginx(port: u16, folder: &Path, config: &str) -> Peer {
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let args = ["-e", "stderr", "-c", path.to_str().unwrap()];
    let nginx = Peer::start(&format!("{SERVERS}/usr/sbin/nginx"), &args, Stdio::null());
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "nginx does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    nginx
}

/// nginx as an RTMP server that records each stream into an FLV.
pub struct Ingest {
    _nginx: Peer,
    folder: PathBuf,
}

impl Ingest {
    pub fn start(port: u16, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let here = folder.display();
        let config = format!(
            "load_module {SERVERS}/usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off; master_process off; pid {here}/pid; error_log {here}/log;\n\
             events {{}}\n\
             rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{\n\
             live on; record all; record_path {here}; record_unique on; }} }} }}\n"
        );
        let nginx = nginx(port, folder, &config);
        Ingest { _nginx: nginx, folder: folder.to_owned() }
    }

    /// The newest recording.
    fn recording(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(&self.folder).unwrap().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|end| end == "flv")).max()
    }

    fn wait_for_bytes(&self, bytes: u64, live: &Live) -> PathBuf {
        let started = Instant::now();
        loop {
            if let Some(path) = self.recording() {
                wait_for_bytes(&path, bytes, live);
                return path;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no stream: {}", live.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn an_rtmp_server_gets_h264_and_aac_and_again_after_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::with_sound();
    let port = free_port();
    let secret = folder.path().join("key");
    std::fs::write(&secret, format!("{KEY}\n")).unwrap();
    let shown = format!("rtmp://127.0.0.1:{port}/live/…");
    let address = format!("rtmp://127.0.0.1:{port}/live/${{file:{}}}", secret.display());
    let ingest = Ingest::start(port, &folder.path().join("first"));
    let graphs = folder.path().to_str().unwrap();
    let live = Live::start(&[
        "-vv",
        "-i",
        &camera.url(),
        "-o",
        &address,
        "--strength",
        "0",
        "--dump-dot",
        graphs,
    ]);
    let first = ingest.wait_for_bytes(150_000, &live);
    drop(ingest);
    live.until_said(&format!("'{shown}' is lost"), 60);
    let ingest = Ingest::start(port, &folder.path().join("second"));
    live.until_said(&format!("'{shown}' is back"), 60);
    let second = ingest.wait_for_bytes(150_000, &live);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    for path in [&first, &second] {
        is_a_stream(path);
        let first = packet_times(path, "v:0")[0];
        assert!(first.1 && first.0 < 1.0, "{path:?} begins with {first:?}");
    }
    let dot = std::fs::read_to_string(folder.path().join("output-1.dot")).unwrap();
    for text in [&dot, &ended.stderr, &ended.stdout] {
        let at = text.find(KEY);
        assert!(at.is_none(), "…{}", &text[at.unwrap().saturating_sub(200)..]);
    }
}

/// A self-signed certificate for this machine, and its key.
fn certificate(folder: &Path) -> [PathBuf; 2] {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    succeed(&mut command);
    [certificate, key]
}

/// nginx takes TLS connections at one port and passes on what they carry to another.
fn tls_front(port: u16, to: u16, folder: &Path) -> Peer {
    std::fs::create_dir_all(folder).unwrap();
    let [certificate, key] = certificate(folder).map(|path| path.display().to_string());
    let here = folder.display();
    let config = format!(
        "load_module {SERVERS}/usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; master_process off; pid {here}/pid; error_log {here}/log;\n\
         events {{}}\n\
         stream {{ server {{ listen 127.0.0.1:{port} ssl; proxy_pass 127.0.0.1:{to};\n\
         ssl_certificate {certificate}; ssl_certificate_key {key}; }} }}\n"
    );
    nginx(port, folder, &config)
}

#[test]
fn rtmps_is_sent_to_a_server_whose_certificate_is_trusted_and_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, tls] = [free_port(), free_port()];
    let ingest = Ingest::start(plain, &folder.path().join("rtmp"));
    let _front = tls_front(tls, plain, &folder.path().join("tls"));
    let address = format!("rtmps://localhost:{tls}/live/{KEY}");
    let args = ["-i", "test:160x96@15", "--strength", "0", "-o", &address];
    let ended = Live::start(&args).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("certificate is not trusted"), "{}", ended.stderr);
    assert!(ended.stderr.contains("update-ca-certificates"), "{}", ended.stderr);
    let camera = format!("rtsps://localhost:{tls}/cam");
    for source in [&camera, &format!("https://localhost:{tls}/live.m3u8")] {
        let ended = Live::start(&["-i", source, "-o", "rtsp://127.0.0.1:0/art"]).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("certificate is not trusted"), "{}", ended.stderr);
    }
    // Where this process may have a view of its own of the files, the certificate is trusted in it.
    let trust = "mount --bind \"$0\" /etc/ssl/certs/ca-certificates.crt && exec \"$@\"";
    let own = |command: &mut Command| {
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", trust]);
        command.arg(folder.path().join("tls/cert.pem"));
    };
    let mut tried = Command::new("unshare");
    own(&mut tried);
    if !output(tried.arg("true")).status.success() {
        eprintln!("no namespaces here: a trusted certificate is not tried");
        return;
    }
    let mut trusting = Command::new("unshare");
    own(&mut trusting);
    trusting.arg(nst().get_program()).args(["-m", "mosaic"]).args(args);
    let live = Live::spawn(&mut trusting);
    ingest.wait_for_bytes(20_000, &live);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

/// The values that a playlist has for this tag.
fn tagged(playlist: &str, tag: &str) -> Vec<String> {
    let values = playlist.lines().filter_map(|line| line.strip_prefix(tag));
    values.map(|value| value.trim_end_matches(',').to_owned()).collect()
}

#[test]
fn hls_is_played_while_it_is_written_and_its_segments_have_dates() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::with_sound();
    let (playlist, port) = (folder.path().join("live.m3u8"), free_port());
    let args = ["-i", &camera.url(), "-o", playlist.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&args);
    let here = folder.path().to_str().unwrap().to_owned();
    let serve = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", &here];
    let _server =
        Peer::start("python3", &[&serve[..], &[&port.to_string()]].concat(), Stdio::null());
    let started = Instant::now();
    while tagged(&std::fs::read_to_string(&playlist).unwrap_or_default(), "#EXTINF:").len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", live.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let watched = folder.path().join("watched.mkv");
    record(&format!("http://127.0.0.1:{port}/live.m3u8"), &watched);
    is_a_stream(&watched);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let text = std::fs::read_to_string(&playlist).unwrap();
    assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    let dates: Vec<f64> =
        tagged(&text, "#EXT-X-PROGRAM-DATE-TIME:").iter().map(|d| seconds_of(d)).collect();
    let lengths: Vec<f64> =
        tagged(&text, "#EXTINF:").iter().map(|length| length.parse().unwrap()).collect();
    assert_eq!(dates.len(), lengths.len(), "{text}");
    for (pair, length) in dates.windows(2).zip(&lengths) {
        assert!((pair[1] - pair[0] - length).abs() < 0.1 && *length < 2.5, "{text}");
    }
    let leftover = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().contains("partial"));
    assert!(leftover.is_none(), "{leftover:?}");
    let mut whole = Command::new("ffmpeg");
    whole.args(["-v", "error", "-nostdin", "-i"]).arg(&playlist);
    // Times finer than the frame rate, about which ffmpeg would complain.
    whole.args(["-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-f", "null", "-"]);
    let out = output(&mut whole);
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{text}");
    let again = Live::start(&args).wait();
    again.is_refused("--overwrite");
}

/// Seconds of the day of a date like `2026-11-29T10:00:00.000Z`.
fn seconds_of(date: &str) -> f64 {
    let time = date.split_once('T').unwrap().1.trim_end_matches('Z');
    time.split(':').fold(0.0, |sum, part| 60.0 * sum + part.parse::<f64>().unwrap())
}
