//! Who is not let in, and what does no harm.

use std::io::Write;
use std::time::Duration;

use nst_stream::media::rtsp_server::ServeAddress;

use crate::anywhere;
use crate::feed::{Feed, alone, beside_others, within};
use crate::garbage;
use crate::peers::{Dialog, decode_with_ffmpeg, ffmpeg};

#[test]
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
        let mut noise = garbage::noise();
        for i in 0..30 {
            say(&noise(1 << (i % 17)), i % 2 == 0);
        }
        let half = garbage::half_requests(&url);
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
