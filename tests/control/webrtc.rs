//! Viewers by WHEP, offers that mean no good, and the sockets that are open. The viewers are str0m's own.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::http::{Answer, get, request};
use crate::run::Run;

const SDP: &str = "Content-Type: application/sdp";

/// Sends an offer, or whatever it is.
fn offer(run: &Run, path: &str, sdp: &str) -> Answer {
    let length = format!("Content-Length: {}", sdp.len());
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{SDP}\r\n{length}\r\n\r\n{sdp}",
        run.host
    );
    crate::http::exchange(&run.host, text.as_bytes()).expect("an answer")
}

fn viewers(run: &Run) -> u64 {
    run.state()["viewers"].as_u64().unwrap()
}

/// Somebody who watches.
struct Viewer {
    rtc: Rtc,
    socket: UdpSocket,
    picture: Mid,
    /// Where the connection is ended.
    address: String,
    /// Every twentieth packet is lost on the way to it.
    loses: bool,
    got: Vec<MediaData>,
}

/// An offer of a viewer, and who has made it.
fn begin() -> (Rtc, UdpSocket, Mid, String, SdpPendingOffer) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut rtc = RtcConfig::new()
        .clear_codecs()
        .enable_h264(true)
        .enable_opus(true, false)
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
    let mut changes = rtc.sdp_api();
    let picture = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    let (offer, pending) = changes.apply().unwrap();
    (rtc, socket, picture, offer.to_sdp_string(), pending)
}

impl Viewer {
    fn join(run: &Run) -> Self {
        let (mut rtc, socket, picture, sdp, pending) = begin();
        let answer = offer(run, "/whep", &sdp);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/sdp");
        let parsed = SdpAnswer::from_sdp_string(&answer.text()).unwrap();
        rtc.sdp_api().accept_answer(pending, parsed).unwrap();
        Viewer {
            rtc,
            socket,
            picture,
            address: answer.header("location"),
            loses: false,
            got: Vec::new(),
        }
    }

    /// Watches until it has got what is wanted.
    fn until(&mut self, what: &str, is: impl Fn(&[MediaData]) -> bool) {
        let started = Instant::now();
        let mut bytes = [0; 2048];
        while !is(&self.got) {
            assert!(started.elapsed() < Duration::from_secs(60), "not in time: {what}");
            match self.rtc.poll_output().unwrap() {
                Output::Transmit(packet) => {
                    let _ = self.socket.send_to(&packet.contents, packet.destination);
                    continue;
                }
                Output::Event(Event::MediaData(data)) => {
                    self.got.push(data);
                    continue;
                }
                Output::Event(_) => continue,
                Output::Timeout(_) => {}
            }
            let come = self.socket.recv_from(&mut bytes);
            let now = Instant::now();
            if let Ok((length, source)) = come
                && !(self.loses && fastrand::u8(..20) == 0)
            {
                let contents = bytes[..length].try_into().unwrap();
                let destination = self.socket.local_addr().unwrap();
                let receive = Receive { proto: Protocol::Udp, source, destination, contents };
                self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            }
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
        }
    }

    fn wants_key(&mut self) {
        let mut writer = self.rtc.writer(self.picture).unwrap();
        writer.request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
    }
}

fn of(got: &[MediaData], codec: Codec) -> impl Iterator<Item = &MediaData> {
    got.iter().filter(move |data| data.params.spec().codec == codec)
}

/// Types of the units in a frame of H.264, and the profile where there is one.
fn units(data: &[u8]) -> (Vec<u8>, Option<[u8; 2]>) {
    let starts = data.windows(4).enumerate().filter(|(_, w)| w[..3] == [0, 0, 1]);
    let starts: Vec<_> = starts.map(|(n, _)| n + 3).collect();
    let sps = starts.iter().find(|n| data[**n] & 31 == 7);
    (starts.iter().map(|n| data[*n] & 31).collect(), sps.map(|n| [data[n + 1], data[n + 2]]))
}

fn keys(got: &[MediaData]) -> usize {
    of(got, Codec::H264).filter(|data| units(&data.data).0.contains(&5)).count()
}

/// Addresses of the UDP sockets of the program.
fn udp_sockets(run: &Run) -> Vec<String> {
    let process = format!("/proc/{}", run.live.id());
    let links = std::fs::read_dir(format!("{process}/fd")).unwrap().flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let own: Vec<_> = links.map(|link| link.display().to_string()).collect();
    let mut found = Vec::new();
    for table in ["udp", "udp6"] {
        let text = std::fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if own.contains(&format!("socket:[{}]", fields[9])) {
                found.push(fields[1].split(':').next().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn viewers_get_picture_and_sound_from_one_encoder_and_leave() {
    let run = Run::with_sound();
    assert_eq!(viewers(&run), 0);
    assert_eq!(udp_sockets(&run), Vec::<String>::new(), "nobody watches");

    let mut first = Viewer::join(&run);
    first.until("picture and sound", |got| {
        of(got, Codec::H264).count() > 5 && of(got, Codec::Opus).count() > 20
    });
    let (types, profile) = units(&of(&first.got, Codec::H264).next().unwrap().data);
    assert!(types.contains(&7) && types.contains(&5), "it begins with a key frame: {types:?}");
    let [profile, constraints] = profile.unwrap();
    assert!(
        profile == 66 && constraints & 0x40 != 0,
        "constrained baseline: {profile} {constraints:x}"
    );
    assert_eq!(udp_sockets(&run), ["0100007F"], "127.0.0.1 alone");

    // A key frame comes when it is asked for: by itself only every ten seconds.
    let before = keys(&first.got);
    first.wants_key();
    first.until("a key frame", |got| keys(got) > before);
    let mut others: Vec<_> = (0..3).map(|_| Viewer::join(&run)).collect();
    for other in &mut others {
        other.until("a picture", |got| keys(got) > 0);
    }
    // What is lost is sent again.
    first.loses = true;
    let before = of(&first.got, Codec::H264).count();
    first.until("more", |got| of(got, Codec::H264).count() > before + 40);
    run.until("all are counted", |run| viewers(run) == 4);

    // One says that it goes, the others vanish.
    assert_eq!(request(&run.host, "DELETE", &first.address, &[], "").status, 200);
    run.until("it is gone", |run| viewers(run) == 3);
    assert_eq!(request(&run.host, "DELETE", &first.address, &[], "").status, 404);
    drop(others);
    run.until("the others are missed", |run| viewers(run) == 0);
    assert!(get(&run.host, "/readyz").status == 200);
    run.ends();
}

#[test]
fn garbage_and_half_open_connections_do_no_harm() {
    let run = Run::start(&["-o", "rtsp://127.0.0.1:0/art"]).ready();
    let (.., good, _) = begin();
    let no_h264 = good.replace("H264", "H263");
    let sends = good.replace("recvonly", "sendonly");
    let no_mark = good.lines().filter(|line| !line.starts_with("a=fingerprint"));
    let no_mark = no_mark.collect::<Vec<_>>().join("\r\n") + "\r\n";
    for bad in ["", "v=0\r\n", "{}", "\u{0}\u{1}", &no_h264, &sends, &no_mark, &good[..200]] {
        let answer = offer(&run, "/whep", bad);
        assert!([400, 406].contains(&answer.status), "{} {bad}", answer.status);
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
    // Lines left out, doubled, cut off, mixed up.
    fastrand::seed(3);
    let lines: Vec<&str> = good.lines().collect();
    for _ in 0..200 {
        let mut broken: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for _ in 0..fastrand::usize(1..4) {
            let at = fastrand::usize(..broken.len());
            match fastrand::u8(..4) {
                0 => drop(broken.remove(at)),
                1 => broken.insert(at, broken[at].clone()),
                2 => broken[at] = broken[at].chars().take(fastrand::usize(..12)).collect(),
                _ => broken.swap(at, fastrand::usize(..lines.len() / 2)),
            }
        }
        let answer = offer(&run, "/whep", &(broken.join("\r\n") + "\r\n"));
        assert!([201, 400, 406, 503].contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(offer(&run, "/whep", &"v=0\r\n".repeat(30_000)).status, 413);
    let form = request(&run.host, "POST", "/whep", &[], "{}");
    assert_eq!(form.status, 415, "{}", form.text());
    assert_eq!(request(&run.host, "PATCH", "/whep/x", &[], "{}").status, 405);
    assert_eq!(request(&run.host, "DELETE", "/whep/x", &[], "").status, 404);
    let camera = offer(&run, "/whip", &sends);
    assert_eq!(camera.status, 409, "{}", camera.text());
    assert!(camera.text().contains("--input whip:"), "{}", camera.text());
    // Offers whose packets never come: the number of them is limited, and they make room.
    let statuses: Vec<_> = (0..50).map(|_| offer(&run, "/whep", &begin().3).status).collect();
    assert!(statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    let frames = |run: &Run| run.state()["outputs"][0]["frames"].as_u64().unwrap();
    let before = frames(&run);
    run.until("frames flow", |run| frames(run) > before + 15);
    let mut viewer = loop {
        if offer(&run, "/whep", &begin().3).status == 201 {
            break Viewer::join(&run);
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    viewer.until("a picture", |got| keys(got) > 0);
    // More than are served.
    let mut crowd = Vec::new();
    let refused = loop {
        assert!(crowd.len() < 20, "no limit");
        let (.., sdp, _) = begin();
        let answer = offer(&run, "/whep", &sdp);
        if answer.status != 201 {
            break answer;
        }
        let mut more = Viewer::join(&run);
        more.until("a picture", |got| keys(got) > 0);
        crowd.push(more);
    };
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    let ended = run.ends();
    assert!(!ended.stderr.contains("WebRTC connection has failed"), "{}", ended.stderr);
}

#[test]
fn a_camera_by_whip_needs_the_page() {
    let out = crate::common::nst()
        .args(["-m", "mosaic-lite", "-i", "whip:", "-o", "x.mp4"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("--input whip: needs --control"), "{said}");
}
