//! Clients: ffmpeg, GStreamer, and RTSP written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::feed;

/// ffmpeg reading this address, without an output yet.
pub fn ffmpeg(url: &str, transport: &str) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", url]);
    command.stdin(Stdio::null());
    command
}

/// How many frames ffmpeg decodes when asked for `count`.
pub fn decode_with_ffmpeg(url: &str, transport: &str, count: usize) -> usize {
    let mut command = ffmpeg(url, transport);
    command.args(["-frames:v", &count.to_string(), "-f", "framecrc", "-"]);
    let out = command.output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {error}");
    if !error.is_empty() {
        println!("ffmpeg over {transport}: {error}");
    }
    String::from_utf8(out.stdout).unwrap().lines().filter(|l| !l.starts_with('#')).count()
}

/// A packet as ffprobe reads it.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// In seconds.
    pub at: f64,
    pub key: bool,
}

/// The first `count` packets of the picture; one without a time, which only the first may be, is
/// left out.
pub fn packets_of_ffprobe(url: &str, transport: &str, count: usize) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", transport, "-select_streams", "v:0"]);
    command.args(["-read_intervals", &format!("%+#{count}"), "-of", "csv=p=0"]);
    command.args(["-show_entries", "packet=pts_time,flags", url]).stdin(Stdio::null());
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    let packet = |(n, line): (usize, &str)| {
        let (at, flags) = line.split_once(',').unwrap();
        assert!(n == 0 || at != "N/A", "packet {n} has no time");
        Some(Packet { at: at.parse().ok()?, key: flags.starts_with('K') })
    };
    let packets: Vec<_> = lines.enumerate().filter_map(packet).collect();
    assert!(packets.len() + 1 >= count, "{} of {count} packets", packets.len());
    packets
}

/// A child process that is killed when dropped.
pub struct Client(pub Child);

impl Client {
    /// ffmpeg that decodes until the stream ends.
    pub fn start(url: &str, transport: &str) -> Self {
        let mut command = ffmpeg(url, transport);
        command.args(["-f", "null", "-"]).stdout(Stdio::null()).stderr(Stdio::null());
        Client(command.spawn().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A GStreamer client in this process.
pub struct Viewer {
    pipeline: gst::Pipeline,
    frames: gst_app::AppSink,
}

impl Viewer {
    pub fn start(url: &str, transport: &str) -> Self {
        gst::init().unwrap();
        let text = "rtspsrc name=src latency=0 ! rtph264depay ! h264parse ! avdec_h264 \
            ! videoconvert ! video/x-raw,format=I420 ! appsink name=frames sync=false";
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("src").unwrap();
        source.set_property("location", url);
        source.set_property_from_str("protocols", transport);
        let frames = pipeline.by_name("frames").and_downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Viewer { pipeline, frames }
    }

    /// The number of the next frame.
    pub fn next(&self) -> Option<usize> {
        let sample = self.frames.try_pull_sample(gst::ClockTime::from_seconds(10))?;
        let caps = sample.caps()?.to_owned();
        let width: i32 = caps.structure(0)?.get("width").ok()?;
        let map = sample.buffer()?.map_readable().ok()?;
        feed::number_in(&map, (width as usize).next_multiple_of(4))
    }

    /// Whether the stream ends within 20 s. (Over UDP rtspsrc then tries to connect again, which is
    /// an error.)
    pub fn ends(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let _ = self.frames.try_pull_sample(gst::ClockTime::from_mseconds(100));
            let error = self.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
            if self.frames.is_eos() || error.is_some() {
                return true;
            }
        }
        false
    }

    /// The numbers of `count` frames.
    pub fn watch(url: &str, transport: &str, count: usize) -> Vec<usize> {
        let viewer = Viewer::start(url, transport);
        (0..count).map(|_| viewer.next().expect("a readable frame")).collect()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A client that speaks RTSP by hand.
pub struct Dialog {
    pub stream: TcpStream,
    url: String,
    session: Option<String>,
    requests: usize,
}

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Header lines.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }
}

/// An RTP packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtp {
    pub marker: bool,
    pub sequence: u16,
    pub time: u32,
    /// Type of the H.264 unit it holds or begins; none inside or at the end of a split one.
    pub unit: Option<u8>,
}

impl Dialog {
    pub fn open(url: &str) -> Self {
        let address = url.strip_prefix("rtsp://").unwrap().split('/').next().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(15))).unwrap();
        Dialog { stream, url: url.to_owned(), session: None, requests: 0 }
    }

    /// Sends a request for the address, `more` being added to it, and reads the answer.
    pub fn ask(&mut self, method: &str, more: &str, headers: &str) -> Answer {
        self.requests += 1;
        let session = self.session.as_ref().map_or(String::new(), |s| format!("Session: {s}\r\n"));
        let (url, number) = (&self.url, self.requests);
        let text =
            format!("{method} {url}{more} RTSP/1.0\r\nCSeq: {number}\r\n{session}{headers}\r\n");
        self.stream.write_all(text.as_bytes()).unwrap();
        let answer = self.answer().expect("an answer");
        if let Some(session) = answer.header("Session").first() {
            self.session = Some(session.split(';').next().unwrap().to_owned());
        }
        answer
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    /// The next answer; RTP packets before it are skipped. None when the server hangs up.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.byte()? {
                b'$' if head.is_empty() => drop(self.interleaved()?),
                byte => head.push(byte),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("Content-Length").first().map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    /// Channel and contents, the `$` having been read.
    fn interleaved(&mut self) -> Option<(u8, Vec<u8>)> {
        let channel = self.byte()?;
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let mut packet = vec![0; length.into()];
        self.stream.read_exact(&mut packet).ok()?;
        Some((channel, packet))
    }

    /// The next RTP packet of the picture.
    pub fn rtp(&mut self) -> Option<Rtp> {
        loop {
            if self.byte()? != b'$' {
                continue;
            }
            let (0, packet) = self.interleaved()? else { continue };
            let unit = match packet[12] & 31 {
                28 if packet[13] & 0x80 != 0 => Some(packet[13] & 31),
                28 => None,
                unit => Some(unit),
            };
            return Some(Rtp {
                marker: packet[1] & 0x80 != 0,
                sequence: u16::from_be_bytes([packet[2], packet[3]]),
                time: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
                unit,
            });
        }
    }

    /// DESCRIBE, SETUP and PLAY over this connection; the answer to PLAY.
    pub fn play(&mut self) -> Answer {
        assert_eq!(self.ask("DESCRIBE", "", "").status, 200);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        assert_eq!(self.ask("SETUP", "/stream=0", transport).status, 200);
        let answer = self.ask("PLAY", "", "Range: npt=0-\r\n");
        assert_eq!(answer.status, 200);
        answer
    }
}
