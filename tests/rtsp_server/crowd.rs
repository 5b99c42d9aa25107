//! Many clients, and what is left of them.

use std::time::{Duration, Instant};

use crate::anywhere;
use crate::feed::{Feed, Holding, alone, beside_others, settled, until, within};
use crate::peers::{Client, Dialog, Viewer, decode_with_ffmpeg};

#[test]
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
        let before = settled();
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
fn an_idle_session_is_forgotten() {
    let _lock = beside_others();
    within(90, || {
        let feed = Feed::start(&anywhere());
        let mut client = Dialog::open(&feed.url());
        let transport = "Transport: RTP/AVP;unicast;client_port=40002-40003\r\n";
        assert_eq!(client.ask("SETUP", "/stream=0", transport).status, 200);
        assert_eq!(client.ask("PLAY", "", "").status, 200);
        until(10, "it watches", || feed.server.clients() == 1);
        until(60, "it is forgotten", || feed.server.clients() == 0);
    });
}

#[test]
#[ignore = "counts threads and seconds: alone, on a quiet machine"]
fn clients_end_and_nothing_stays_when_the_server_goes() {
    let _lock = alone();
    within(180, || {
        let serve = || {
            let feed = Feed::start(&anywhere());
            let url = feed.url();
            let mut clients = ["tcp", "udp"].map(|transport| Client::start(&url, transport));
            let viewers = ["tcp", "udp"].map(|transport| Viewer::start(&url, transport));
            until(20, "four watch", || feed.server.clients() == 4);
            assert!(viewers.iter().all(|viewer| viewer.next().is_some()), "pictures come");
            let began = Instant::now();
            feed.end();
            println!("the server ended in {:?}", began.elapsed());
            for viewer in viewers {
                assert!(viewer.ends(), "rtspsrc goes on");
            }
            for client in &mut clients {
                until(30, "ffmpeg ends by itself", || client.0.try_wait().unwrap().is_some());
            }
        };
        serve(); // some things GStreamer and GLib keep for ever
        let before = settled();
        serve();
        until(60, "threads and descriptors are back", || {
            let now = Holding::count();
            now.threads <= before.threads && now.descriptors <= before.descriptors
        });
        println!("before {before:?}, after {:?}", Holding::count());
    });
}
