//! The RTSP server, with real clients: ffmpeg, ffprobe, GStreamer's rtspsrc, and hand-written RTSP.
//!
//! These look at the whole process (threads, descriptors, memory) and at time, so they are run by
//! themselves: `cargo test --release --test rtsp_server -- --ignored --test-threads 1`. What must hold
//! everywhere is in tests/live.rs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "rtsp_server/feed.rs"]
mod feed;
#[path = "rtsp_server/peers.rs"]
mod peers;

use std::io::Write;
use std::time::{Duration, Instant};

use gstreamer as gst;

use feed::{Feed, Holding, aac_of_bunny, alone, beside_others, until, within};
use nst_stream::media::rtsp_server::ServeAddress;
use peers::{Client, Dialog, Viewer, decode_with_ffmpeg, ffmpeg};

fn anywhere() -> ServeAddress {
    ServeAddress { host: "127.0.0.1".into(), port: 0, path: "/art".into(), user: None }
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn ffmpeg_decodes_over_tcp_and_over_udp() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        for transport in ["tcp", "udp"] {
            assert_eq!(decode_with_ffmpeg(&feed.url(), transport, 45), 45, "{transport}");
        }
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn a_client_reads_the_frame_numbers_in_order() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        for transport in ["tcp", "udp"] {
            let seen = Viewer::watch(&feed.url(), transport, 60);
            assert!(seen.windows(2).all(|w| w[0] < w[1]), "{transport}: {seen:?}");
        }
        let mut delays = feed.delays.lock().unwrap().clone();
        delays.sort();
        let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
        println!("{} frames, from PTS to encoded: p50 {p50:?}, p99 {p99:?}", delays.len());
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn a_client_may_ask_before_the_first_frame_and_gets_frames_when_they_come() {
    let _lock = beside_others();
    within(60, || {
        let mut feed = Feed::silent(&anywhere(), None).unwrap();
        let described = Dialog::open(&feed.url()).ask("DESCRIBE", "", "");
        assert_eq!(described.status, 200);
        assert!(described.body.contains("sprop-parameter-sets="), "{}", described.body);
        let url = feed.url();
        let client = std::thread::spawn(move || Viewer::watch(&url, "tcp", 30));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!client.is_finished(), "no frames yet");
        feed.begin();
        let seen = client.join().unwrap();
        assert!(seen[0] < 10, "the first frames are not lost: {seen:?}");
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn the_first_packet_is_a_new_key_frame_and_rtp_times_grow_with_the_frames() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        // Long enough for what the server was prepared with to be old.
        std::thread::sleep(Duration::from_secs(2));
        let mut client = Dialog::open(&feed.url());
        client.play();
        let packets: Vec<_> = (0..200).map(|_| client.rtp().unwrap()).collect();
        let first: Vec<_> = packets.iter().take_while(|p| p.time == packets[0].time).collect();
        let has = |unit| first.iter().any(|p| p.unit == Some(unit));
        assert!(has(7) && has(8) && has(5), "SPS, PPS and a key frame come first: {first:?}");
        for pair in packets.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            let step = pair[1].time.wrapping_sub(pair[0].time);
            // A frame each 1/30 s is 3000 ticks; frames may be dropped on a busy machine.
            assert!(step < 90_000, "a step of {step} ticks: {pair:?}");
            assert_eq!(step > 0, pair[0].marker, "a new time for a new picture: {pair:?}");
        }
        let keys = packets.iter().filter(|p| p.unit == Some(5)).map(|p| p.time);
        let mut times: Vec<_> = keys.collect();
        times.dedup();
        for pair in times.windows(2) {
            let gap = pair[1].wrapping_sub(pair[0]);
            assert!(gap <= 90_000 + 6_000, "no key frame for {gap} ticks of 1/90000 s");
        }
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn one_who_joins_late_sees_a_picture_soon() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        let _others = Viewer::start(&feed.url(), "tcp");
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(400));
            let asked = Instant::now();
            assert!(Viewer::start(&feed.url(), "tcp").next().is_some());
            let took = asked.elapsed();
            println!("first picture after {took:?}");
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn ten_clients_at_once_all_get_frames() {
    let _lock = alone();
    within(120, || {
        let feed = Feed::start(&anywhere());
        let clients: Vec<_> = (0..10)
            .map(|i| {
                let (url, transport) = (feed.url(), ["tcp", "udp"][i % 2]);
                std::thread::spawn(move || decode_with_ffmpeg(&url, transport, 60))
            })
            .collect();
        let mut most = 0;
        while !clients.iter().all(|client| client.is_finished()) {
            most = most.max(feed.server.clients());
            std::thread::sleep(Duration::from_millis(10));
        }
        for client in clients {
            assert_eq!(client.join().unwrap(), 60);
        }
        println!("at most {most} watched at the same time");
        assert!(most > 1);
        until(10, "all are gone", || feed.server.clients() == 0);
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn the_others_go_on_when_one_is_killed_and_one_stops_reading() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        let mut killed = Client::start(&feed.url(), "tcp");
        let mut killed_too = Client::start(&feed.url(), "udp");
        let mut stalled = Dialog::open(&feed.url());
        stalled.play();
        let viewer = Viewer::start(&feed.url(), "tcp");
        let mut last = 0;
        let mut watch = |frames| {
            for _ in 0..frames {
                let number = viewer.next().expect("a readable frame");
                assert!(number > last, "{number} after {last}");
                last = number;
            }
        };
        watch(30);
        until(10, "all four watch", || feed.server.clients() == 4);
        killed.0.kill().unwrap();
        watch(30);
        killed_too.0.kill().unwrap();
        // By then the stalled one has been sent more than its socket holds.
        watch(240);
        until(10, "the killed are forgotten", || feed.server.clients() <= 2);
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn without_the_right_password_nobody_gets_in() {
    let _lock = beside_others();
    within(60, || {
        let user = Some(("ann".to_owned(), "s3cret/word".to_owned()));
        let address = ServeAddress { user, ..anywhere() };
        let debug = format!("{address:?}");
        assert!(!debug.contains("s3cret") && !debug.contains("ann"), "{debug}");
        let feed = Feed::start(&address);
        let url = feed.url();
        assert!(!url.contains("ann"), "{url}");
        assert!(!feed.server.dot().contains("s3cret"));

        let refused = Dialog::open(&url).ask("DESCRIBE", "", "");
        assert_eq!(refused.status, 401);
        let ways = refused.header("WWW-Authenticate");
        assert!(ways.iter().any(|w| w.starts_with("Basic")), "{ways:?}");
        assert!(ways.iter().any(|w| w.starts_with("Digest")), "{ways:?}");
        // ann:wrong, ann:s3cret/word
        let basic = |text| format!("Authorization: Basic {text}\r\n");
        let wrong = Dialog::open(&url).ask("DESCRIBE", "", &basic("YW5uOndyb25n"));
        assert_eq!(wrong.status, 401);
        let right = Dialog::open(&url).ask("DESCRIBE", "", &basic("YW5uOnMzY3JldC93b3Jk"));
        assert_eq!(right.status, 200);
        for method in ["SETUP", "PLAY", "TEARDOWN"] {
            let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
            let refused = Dialog::open(&url).ask(method, "/stream=0", transport);
            assert!(refused.status >= 400, "{method}: {refused:?}");
        }

        // ffmpeg answers with a digest, as the server offers one.
        let with = |who: &str| url.replace("rtsp://", &format!("rtsp://{who}@"));
        assert_eq!(decode_with_ffmpeg(&with("ann:s3cret%2Fword"), "tcp", 10), 10);
        let wrong = ffmpeg(&with("ann:wrong"), "tcp").args(["-f", "null", "-"]).output().unwrap();
        assert!(!wrong.status.success());
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("401"));
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn what_is_not_there_or_not_offered_is_refused() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        for path in ["/other", "/art2", ""] {
            let url = feed.url().replace("/art", path);
            assert_eq!(Dialog::open(&url).ask("DESCRIBE", "", "").status, 404, "{path}");
        }
        for transport in [
            "RTP/AVP;multicast",
            "RTP/AVP;unicast;client_port=0-0;destination=192.0.2.1;mode=record",
            "nonsense",
        ] {
            let header = format!("Transport: {transport}\r\n");
            let answer = Dialog::open(&feed.url()).ask("SETUP", "/stream=0", &header);
            assert!(answer.status >= 400, "{transport}: {answer:?}");
        }
        // Packets go to who asked for them and to nobody else.
        let header = "Transport: RTP/AVP;unicast;client_port=40000-40001;destination=192.0.2.1\r\n";
        let answer = Dialog::open(&feed.url()).ask("SETUP", "/stream=0", header);
        assert!(!answer.head.contains("192.0.2.1"), "{answer:?}");
        assert!(Dialog::open(&feed.url()).ask("RECORD", "", "").status >= 400);
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn two_hundred_who_come_and_go_leave_nothing_behind() {
    let _lock = alone();
    within(180, || {
        let feed = Feed::start(&anywhere());
        let url = feed.url();
        let _viewer = Client::start(&url, "tcp");
        let come_and_go = |count: usize| {
            for i in 0..count {
                let mut client = Dialog::open(&url);
                match i % 5 {
                    0 | 1 => {
                        client.play();
                        assert!(client.rtp().is_some());
                        if i % 5 == 0 {
                            assert_eq!(client.ask("TEARDOWN", "", "").status, 200);
                        }
                    }
                    2 => {
                        let transport = "Transport: RTP/AVP;unicast;client_port=40000-40001\r\n";
                        client.ask("DESCRIBE", "", "");
                        assert_eq!(client.ask("SETUP", "/stream=0", transport).status, 200);
                        assert_eq!(client.ask("PLAY", "", "").status, 200);
                    }
                    3 => assert_eq!(client.ask("DESCRIBE", "", "").status, 200),
                    _ => {}
                }
            }
        };
        // The first ones warm up pools and caches.
        come_and_go(50);
        let settle = |before: Holding| {
            until(60, "threads and descriptors are back", || {
                let now = Holding::count();
                now.threads <= before.threads && now.descriptors <= before.descriptors
            });
        };
        until(10, "one watches", || feed.server.clients() == 1);
        std::thread::sleep(Duration::from_secs(20)); // GLib keeps idle threads for 15 s
        let before = Holding::count();
        come_and_go(200);
        until(10, "one watches", || feed.server.clients() == 1);
        settle(before);
        let after = Holding::count();
        println!("before {before:?}, after 200 connects {after:?}");
        assert!(after.resident_kib < before.resident_kib + 4 * 1024, "{before:?} {after:?}");
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn garbage_and_half_open_requests_do_no_harm() {
    let _lock = alone();
    within(180, || {
        let feed = Feed::start(&anywhere());
        let url = feed.url();
        let mut open = Vec::new();
        let mut say = |bytes: &[u8], keep: bool| {
            let mut client = Dialog::open(&url);
            // The server may hang up in the middle.
            let _ = client.stream.write_all(bytes);
            if keep {
                open.push(client);
            }
        };
        let mut state = 1u32;
        let mut noise = |length: usize| -> Vec<u8> {
            let next = |_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            };
            (0..length).map(next).collect()
        };
        for i in 0..30 {
            say(&noise(1 << (i % 17)), i % 2 == 0);
        }
        let art = url.as_str();
        let long = "x".repeat(100_000);
        let half = [
            "DESC".to_owned(),
            format!("DESCRIBE {art} RTSP/1.0\r\nCSeq: 1\r\n"),
            format!("DESCRIBE {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100\r\n\r\nabc"),
            format!(
                "SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n"
            ),
            format!("SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n"),
            format!("SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 60000\r\n\r\n"),
            format!("DESCRIBE {art}/{long} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
            format!("DESCRIBE {art} RTSP/1.0\r\n{long}: 1\r\n\r\n"),
            format!("PLAY {art} RTSP/1.0\r\nCSeq: 1\r\nSession: 1234\r\n\r\n"),
            format!("TEARDOWN {art} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
            format!(
                "SETUP {art}/stream=9 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=1-2\r\n\r\n"
            ),
            format!(
                "SETUP {art}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=99999-1\r\n\r\n"
            ),
            format!(
                "SETUP {art}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=300-301\r\n\r\n"
            ),
            "PLAY * RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_owned(),
            "GET /art HTTP/1.0\r\nx-sessioncookie: 1\r\n\r\n".to_owned(),
            "POST /art HTTP/1.0\r\nx-sessioncookie: 2\r\n\r\n".to_owned(),
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_owned(),
            "$\0\u{7f}\u{7f}".to_owned() + &"\0".repeat(200),
            "\r\n".repeat(5000),
            "\0".repeat(5000),
            format!("OPTIONS {art} RTSP/9.9\r\nCSeq: -1\r\n\r\n"),
            format!(
                "ANNOUNCE {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
            ),
        ];
        for text in &half {
            say(text.as_bytes(), true);
            say(text.as_bytes(), false);
        }
        // RTP and RTCP that nobody asked for, in the middle of a play.
        let mut player = Dialog::open(&url);
        player.play();
        for length in [0usize, 1, 12, 500, 60_000] {
            for channel in [0u8, 1, 2, 255] {
                let mut packet = vec![b'$', channel, (length >> 8) as u8, length as u8];
                packet.extend(noise(length));
                let _ = player.stream.write_all(&packet);
            }
        }
        assert_eq!(decode_with_ffmpeg(&url, "tcp", 30), 30);
        // More connections than are served at a time.
        let crowd: Vec<_> = (0..200).map(|_| Dialog::open(&url)).collect();
        std::thread::sleep(Duration::from_millis(200));
        drop(crowd);
        drop(open);
        assert_eq!(decode_with_ffmpeg(&url, "udp", 30), 30);
        assert!(feed.events.try_iter().next().is_none(), "nothing failed");
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn an_idle_session_is_forgotten() {
    let _lock = beside_others();
    within(90, || {
        let feed = Feed::start(&anywhere());
        let mut client = Dialog::open(&feed.url());
        let transport = "Transport: RTP/AVP;unicast;client_port=40002-40003\r\n";
        assert_eq!(client.ask("SETUP", "/stream=0", transport).status, 200);
        assert_eq!(client.ask("PLAY", "", "").status, 200);
        assert_eq!(feed.server.clients(), 1);
        until(60, "it is forgotten", || feed.server.clients() == 0);
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn a_port_that_is_taken_and_an_address_that_is_not_ours_are_told() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        let port: u16 =
            feed.url().split(':').nth(2).unwrap()[..].split('/').next().unwrap().parse().unwrap();
        let refused = |address: ServeAddress| Feed::silent(&address, None).err().unwrap().error;
        let taken = refused(ServeAddress { port, ..anywhere() });
        assert_eq!(
            taken,
            format!(
                "cannot serve at 127.0.0.1:{port}: port {port} is taken; choose another, or 0 for any"
            )
        );
        let foreign = refused(ServeAddress { host: "192.0.2.1".into(), ..anywhere() });
        assert_eq!(
            foreign,
            "cannot serve at 192.0.2.1:0: 192.0.2.1 is not an address of this machine"
        );
        for host in ["example.invalid", "", "1.2.3"] {
            let wrong = refused(ServeAddress { host: host.into(), ..anywhere() });
            assert!(wrong.contains(&format!("'{host}'")), "{wrong}");
        }
        for path in ["", "art", "/a b", "/art/", "/a?b", "//"] {
            let wrong = refused(ServeAddress { path: path.into(), ..anywhere() });
            assert!(wrong.contains(&format!("'{path}'")), "{wrong}");
        }
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn clients_end_and_nothing_stays_when_the_server_goes() {
    let _lock = alone();
    within(180, || {
        drop(Feed::start(&anywhere())); // what GStreamer keeps for ever
        std::thread::sleep(Duration::from_secs(20));
        let before = Holding::count();
        let feed = Feed::start(&anywhere());
        let mut clients: Vec<_> =
            ["tcp", "udp"].iter().map(|transport| Client::start(&feed.url(), transport)).collect();
        let viewers: Vec<_> =
            ["tcp", "udp"].iter().map(|t| (t, Viewer::start(&feed.url(), t))).collect();
        until(20, "four watch", || feed.server.clients() == 4);
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        feed.end();
        println!("the server ended in {:?}", began.elapsed());
        for (transport, viewer) in viewers {
            assert!(viewer.ends(), "rtspsrc over {transport} goes on");
        }
        for client in &mut clients {
            until(30, "ffmpeg ends by itself", || client.0.try_wait().unwrap().is_some());
        }
        until(60, "threads and descriptors are back", || {
            let now = Holding::count();
            now.threads <= before.threads && now.descriptors <= before.descriptors
        });
        println!("before {before:?}, after {:?}", Holding::count());
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn sound_goes_along() {
    let _lock = beside_others();
    within(60, || {
        let (caps, packets) = aac_of_bunny();
        let mut feed = Feed::silent(&anywhere(), Some(&caps)).unwrap();
        assert!(feed.server.notes().is_empty());
        feed.begin();
        let (server, clock) = (std::sync::Arc::clone(&feed.server), feed.clock.clone());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        // 1024 samples at 44.1 or 48 kHz: about 21 ms each.
        let sound = std::thread::spawn(move || {
            for packet in packets.iter().cycle() {
                if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let mut packet = packet.copy();
                let pts = gst::ClockTime::try_from(clock.now()).ok();
                packet.get_mut().unwrap().set_pts(pts);
                server.push_audio(&packet);
                std::thread::sleep(Duration::from_millis(21));
            }
        });
        for transport in ["tcp", "udp"] {
            let mut probe = std::process::Command::new("ffprobe");
            probe.args(["-v", "error", "-rtsp_transport", transport, "-read_intervals", "%+2"]);
            probe.args(["-count_packets", "-show_entries", "stream=codec_name,nb_read_packets"]);
            let out = probe.args(["-of", "csv=p=0", &feed.url()]).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            println!("{transport}: {text}");
            let counted = |codec: &str| -> usize {
                let line = text.lines().find_map(|l| l.strip_prefix(codec));
                line.expect(codec).trim_matches(',').parse().unwrap()
            };
            assert!(counted("h264") > 20 && counted("aac") > 30, "{transport}: {text}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        sound.join().unwrap();
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn sound_that_cannot_be_sent_is_said_and_the_picture_goes_on() {
    let _lock = beside_others();
    within(60, || {
        gst::init().unwrap();
        let caps = "audio/x-vorbis".parse::<gst::Caps>().unwrap();
        let feed = Feed::try_start(&anywhere(), Some(&caps)).unwrap();
        let notes = feed.server.notes();
        assert_eq!(
            notes,
            ["the sound is not sent: RTP carries AAC, Opus and G.711, not audio/x-vorbis"]
        );
        assert_eq!(decode_with_ffmpeg(&feed.url(), "tcp", 10), 10);
    });
}
