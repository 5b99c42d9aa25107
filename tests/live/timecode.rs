//! The time, drawn as black and white blocks, and read back from a decoded picture.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 360;
pub const FPS: i32 = 25;
/// Milliseconds in 20 bits: 17 minutes.
const BITS: usize = 20;
pub const COLUMNS: usize = 5;
pub const BLOCK_W: usize = WIDTH / COLUMNS;
pub const BLOCK_H: usize = HEIGHT / (BITS / COLUMNS);

/// When the time code was zero.
#[derive(Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    pub fn now() -> Self {
        Epoch(Instant::now())
    }
}

/// Pushes a picture of the time into `frames` at the frame rate, until nobody takes it.
pub fn draw_into(frames: &gst_app::AppSrc, epoch: Epoch) {
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", WIDTH as i32)
        .field("height", HEIGHT as i32)
        .field("framerate", gst::Fraction::new(FPS, 1))
        .build();
    frames.set_caps(Some(&caps));
    let frames = frames.downgrade();
    std::thread::spawn(move || {
        let mut next = Instant::now();
        while let Some(frames) = frames.upgrade() {
            let code = epoch.0.elapsed().as_millis() as u32;
            if frames.push_buffer(gst::Buffer::from_mut_slice(picture(code))).is_err() {
                break;
            }
            next += Duration::from_millis(1000 / FPS as u64);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

/// The planes (I420) of a picture of this time.
pub fn picture(code: u32) -> Vec<u8> {
    let mut planes = vec![128u8; WIDTH * HEIGHT * 3 / 2];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let bit = (y / BLOCK_H) * COLUMNS + x / BLOCK_W;
            let value = if code >> bit & 1 == 1 { 190 } else { 30 };
            // Something moving, that an encoder has to work for.
            planes[y * WIDTH + x] = value + ((x + code as usize / 10) ^ y) as u8 % 32;
        }
    }
    planes
}

fn read(luma: &[u8], stride: usize) -> u32 {
    (0..BITS).fold(0, |code, bit| {
        let x = (bit % COLUMNS) * BLOCK_W + BLOCK_W / 2;
        let y = (bit / COLUMNS) * BLOCK_H + BLOCK_H / 2;
        code | u32::from(luma[y * stride + x] > 125) << bit
    })
}

/// A client with rtspsrc, without a jitter buffer.
pub struct Reader;

impl Reader {
    /// How old the pictures of the next `count` frames are when they are decoded.
    pub fn watch(url: &str, epoch: Epoch, count: usize) -> Vec<Duration> {
        let pipeline = gst::parse::launch(
            "rtspsrc name=src latency=0 ! rtph264depay ! avdec_h264 max-threads=1 ! videoconvert \
             ! video/x-raw,format=I420 ! appsink name=sink sync=false",
        );
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.by_name("src").unwrap().set_property("location", url);
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let (mut delays, mut torn) = (Vec::new(), 0);
        let started = Instant::now();
        while delays.len() < count {
            assert!(
                started.elapsed() < Duration::from_secs(60 + count as u64 / 5),
                "{} frames",
                delays.len()
            );
            let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(1)) else {
                continue;
            };
            let now = epoch.0.elapsed().as_millis() as u32;
            let map = sample.buffer().unwrap().map_readable().unwrap();
            let code = read(&map, WIDTH);
            // A lost packet tears a picture.
            if code > now || now - code > 10_000 {
                torn += 1;
                assert!(torn <= 2 + count / 50, "{torn} torn pictures, {} whole", delays.len());
                continue;
            }
            delays.push(Duration::from_millis(u64::from(now - code)));
        }
        pipeline.set_state(gst::State::Null).unwrap();
        // The first pictures come from before the client was there.
        delays.split_off(count / 10)
    }
}
