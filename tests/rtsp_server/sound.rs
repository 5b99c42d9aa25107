//! Sound beside the picture.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use nst_stream::media::video::buffer_from_frame;

use crate::anywhere;
use crate::feed::{self, Feed, WIDTH, aac_of_bunny, beside_others, within};
use crate::peers::decode_with_ffmpeg;

#[test]
fn sound_goes_along() {
    let _lock = beside_others();
    within(60, || {
        let (caps, packets) = aac_of_bunny();
        let mut feed = Feed::silent(&anywhere(), Some(&caps)).unwrap();
        assert!(feed.server.notes().is_empty());
        feed.begin();
        let (server, clock) = (Arc::clone(&feed.server), feed.clock.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // 1024 samples at 44.1 or 48 kHz: about 21 ms each.
        let sound = std::thread::spawn(move || {
            for packet in packets.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
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
            let mut probe = Command::new("ffprobe");
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
        stop.store(true, Ordering::Relaxed);
        sound.join().unwrap();
    });
}

#[test]
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

/// A picture that took 300 ms to make, beside sound that was passed on at once: over the network
/// they must be as they were at the source.
#[test]
fn sound_and_picture_fit_together() {
    let _lock = beside_others();
    within(60, || {
        let (caps, _) = aac_of_bunny();
        for transport in ["tcp", "udp"] {
            let feed = Feed::silent(&anywhere(), Some(&caps)).unwrap();
            let stop = AtomicBool::new(false);
            let (pictures, sounds) = (Times::default(), Times::default());
            let live = || !stop.load(Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    for number in (1..).take_while(|_| live()) {
                        let mut frame = feed::numbered(number);
                        let pts = feed.clock.now() - Duration::from_millis(300);
                        frame.pts = Some(pts);
                        pictures.0.lock().unwrap().insert(number, pts);
                        feed.server.push_frame(&buffer_from_frame(frame).unwrap());
                        std::thread::sleep(Duration::from_millis(33));
                    }
                });
                scope.spawn(|| {
                    for number in (1usize..).take_while(|_| live()) {
                        // No client here decodes it, so a packet can hold its number.
                        let mut packet = gst::Buffer::from_slice(number.to_be_bytes());
                        let pts = feed.clock.now();
                        let time = gst::ClockTime::try_from(pts).ok();
                        packet.get_mut().unwrap().set_pts(time);
                        sounds.0.lock().unwrap().insert(number, pts);
                        feed.server.push_audio(&packet);
                        std::thread::sleep(Duration::from_millis(21));
                    }
                });
                let apart = watch_both(&feed.url(), transport, &pictures, &sounds);
                stop.store(true, Ordering::Relaxed);
                println!("{transport}: apart by {:.1} ms", apart * 1e3);
                assert!(apart.abs() < 0.040, "{transport}: apart by {apart} s");
            });
        }
    });
}

/// When what was pushed had its place at the source, by number.
#[derive(Default)]
struct Times(Mutex<HashMap<usize, Duration>>);

impl Times {
    /// How many seconds later it has its place at the client.
    fn offset(&self, number: usize, sample: &gst::Sample) -> f64 {
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap();
        let there = segment.to_running_time(sample.buffer().unwrap().pts().unwrap()).unwrap();
        let here = self.0.lock().unwrap()[&number];
        Duration::from(there).as_secs_f64() - here.as_secs_f64()
    }
}

/// By how many seconds the picture comes later than the sound, once RTCP has told the client how
/// the two fit together.
fn watch_both(url: &str, transport: &str, pictures: &Times, sounds: &Times) -> f64 {
    let text = "rtspsrc name=src latency=500 ! rtph264depay ! h264parse ! avdec_h264 \
        ! videoconvert ! video/x-raw,format=I420 ! appsink name=pictures sync=false \
        src. ! rtpmp4gdepay ! appsink name=sounds sync=false";
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("src").unwrap();
    source.set_property("location", url);
    source.set_property_from_str("protocols", transport);
    let sink = |name| pipeline.by_name(name).and_downcast::<gst_app::AppSink>().unwrap();
    let (picture, sound) = (sink("pictures"), sink("sounds"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let began = Instant::now();
    let (mut seen, mut heard) = (f64::NAN, f64::NAN);
    while began.elapsed() < Duration::from_secs(8) {
        if let Some(sample) = picture.try_pull_sample(gst::ClockTime::from_mseconds(10)) {
            let map = sample.buffer().unwrap().map_readable().unwrap();
            let number = feed::number_in(&map, WIDTH).expect("a readable frame");
            seen = pictures.offset(number, &sample);
        }
        while let Some(sample) = sound.try_pull_sample(gst::ClockTime::ZERO) {
            let map = sample.buffer().unwrap().map_readable().unwrap();
            heard = sounds.offset(usize::from_be_bytes(map[..].try_into().unwrap()), &sample);
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    seen - heard
}
