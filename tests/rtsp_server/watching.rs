//! One client: what it gets, and when.

use std::time::{Duration, Instant};

use crate::anywhere;
use crate::feed::{Feed, beside_others, until, within};
use crate::peers::{Dialog, Viewer, decode_with_ffmpeg, packets_of_ffprobe};

#[test]
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

/// A client that takes two pieces for one picture each complains ("Invalid video timestamp"), and key
/// frames at scene cuts are bursts that a network has to carry.
#[test]
fn times_rise_strictly_and_key_frames_come_once_a_second_whatever_is_shown() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        for transport in ["tcp", "udp"] {
            let packets = packets_of_ffprobe(&feed.url(), transport, 100);
            for pair in packets.windows(2) {
                assert!(pair[1].at > pair[0].at, "{transport}: {pair:?}");
            }
            let keys: Vec<_> = packets.iter().filter(|packet| packet.key).collect();
            assert!(keys.len() >= 2, "{transport}: {packets:?}");
            for pair in keys.windows(2) {
                assert!(pair[1].at - pair[0].at > 0.99, "{transport}: {keys:?}");
            }
        }
    });
}

#[test]
fn a_client_may_pause_and_goes_on_with_a_key_frame() {
    let _lock = beside_others();
    within(60, || {
        let feed = Feed::start(&anywhere());
        let mut client = Dialog::open(&feed.url());
        client.play();
        let before = (0..30).map(|_| client.rtp().unwrap()).next_back().unwrap();
        assert_eq!(client.ask("PAUSE", "", "").status, 200);
        until(10, "nobody watches", || feed.server.clients() == 0);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(client.ask("PLAY", "", "").status, 200);
        let packets: Vec<_> = (0..30).map(|_| client.rtp().unwrap()).collect();
        assert!(packets[0].time.wrapping_sub(before.time) > 45_000, "{before:?} {:?}", packets[0]);
        let first = packets.iter().take_while(|p| p.time == packets[0].time);
        assert!(first.clone().any(|p| p.unit == Some(5)), "{:?}", first.collect::<Vec<_>>());
    });
}

#[test]
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
