//! White pictures, wide at first and narrow later, and what a fixed size makes of them.

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::common::{size, yuv_frames};

pub const WIDE: (usize, usize) = (320, 240);
pub const NARROW: (usize, usize) = (120, 240);
const CHANGE: Duration = Duration::from_secs(5);

/// Pushes white pictures at 25 fps, which are narrower from the fifth second on.
pub fn draw_into(frames: &gst_app::AppSrc) {
    let frames = frames.downgrade();
    std::thread::spawn(move || {
        let (started, mut next) = (Instant::now(), Instant::now());
        let mut shown = None;
        while let Some(frames) = frames.upgrade() {
            let size = if started.elapsed() < CHANGE { WIDE } else { NARROW };
            if shown.replace(size) != Some(size) {
                let caps = gst::Caps::builder("video/x-raw")
                    .field("format", "I420")
                    .field("width", size.0 as i32)
                    .field("height", size.1 as i32)
                    .field("framerate", gst::Fraction::new(25, 1))
                    .build();
                frames.set_caps(Some(&caps));
            }
            let mut planes = vec![128u8; size.0 * size.1 * 3 / 2];
            planes[..size.0 * size.1].fill(230);
            if frames.push_buffer(gst::Buffer::from_mut_slice(planes)).is_err() {
                break;
            }
            next += Duration::from_millis(40);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

/// The file has the first size throughout; its first picture is white, its last one white in the
/// middle, as wide as it was, and black beside it.
pub fn check(path: &Path) {
    assert_eq!(size(path), WIDE);
    let frames = yuv_frames(path);
    let widths = |frame: &crate::common::Yuv| {
        // In the middle row: where it is bright, and whether all around is black.
        let row = &frame.y[WIDE.0 * WIDE.1 / 2..][..WIDE.0];
        let bright = row.iter().filter(|v| **v > 180).count();
        let dark = row.iter().filter(|v| **v < 40).count();
        (bright, dark, row[WIDE.0 / 2] > 180)
    };
    assert_eq!(widths(&frames[0]), (WIDE.0, 0, true), "the first picture");
    let (bright, dark, middle) = widths(frames.last().unwrap());
    assert!(middle, "the picture is in the middle");
    assert!(bright.abs_diff(NARROW.0) <= 6, "{bright} columns are bright");
    assert!(dark.abs_diff(WIDE.0 - NARROW.0) <= 10, "{dark} columns are black");
    // No row is black: the height is the same.
    let last = frames.last().unwrap();
    assert!(last.y[WIDE.0 / 2] > 180 && last.y[last.y.len() - WIDE.0 / 2] > 180);
}
