//! Which of a camera's modes to use.

use std::fmt;

use gstreamer as gst;

/// What the user would like a camera to deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedMode {
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<u32>,
}

impl fmt::Display for RequestedMode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.size {
            Some((width, height)) => write!(f, "{width}×{height}")?,
            None => f.write_str("any size")?,
        }
        self.fps.map_or(Ok(()), |fps| write!(f, " at {fps} fps"))
    }
}

/// Without a request: large enough to look good, small enough for a network to keep up.
const DEFAULT_SIZE: (u32, u32) = (640, 480);
const DEFAULT_FPS: u32 = 30;

/// One mode of a camera, with all ranges fixed to one value.
struct Mode {
    caps: gst::Caps,
    width: i32,
    height: i32,
    fps: f64,
    raw: bool,
}

/// The best of a camera's modes (raw or MJPEG): nearest in size, then at least as fast as requested, then raw
/// before MJPEG, which needs a decoder. None if no mode has the requested size, or none can be decoded.
pub fn best_mode(can: &gst::CapsRef, requested: RequestedMode) -> Option<gst::Caps> {
    let size = requested.size.unwrap_or(DEFAULT_SIZE);
    let fps = requested.fps.unwrap_or(DEFAULT_FPS);
    if can.is_any() {
        return Some(gst::Caps::new_any());
    }
    let mut modes: Vec<Mode> = can.iter().filter_map(|s| fixed(s, size, fps)).collect();
    if let Some((width, height)) = requested.size {
        modes.retain(|m| (m.width, m.height) == (width as i32, height as i32));
    }
    let area = |w: i32, h: i32| (f64::from(w) * f64::from(h)).ln();
    let wanted = area(size.0 as i32, size.1 as i32);
    let score = |m: &Mode| {
        let off = (area(m.width, m.height) - wanted).abs();
        let slow = (f64::from(fps) - m.fps).max(0.0);
        let fast = (m.fps - f64::from(fps)).max(0.0);
        (off, slow, fast, !m.raw)
    };
    let better =
        |a: &Mode, b: &Mode| score(a).partial_cmp(&score(b)).unwrap_or(std::cmp::Ordering::Equal);
    modes.into_iter().min_by(better).map(|m| m.caps)
}

fn fixed(can: &gst::StructureRef, size: (u32, u32), fps: u32) -> Option<Mode> {
    let raw = match can.name().as_str() {
        "video/x-raw" => true,
        "image/jpeg" => false,
        _ => return None,
    };
    let mut mode = can.to_owned();
    mode.fixate_field_nearest_int("width", size.0 as i32);
    mode.fixate_field_nearest_int("height", size.1 as i32);
    if mode.has_field("framerate") {
        mode.fixate_field_nearest_fraction("framerate", gst::Fraction::new(fps as i32, 1));
    }
    mode.fixate();
    let rate = mode.get::<gst::Fraction>("framerate").ok();
    let rate = rate.map_or(0.0, |r| f64::from(r.numer()) / f64::from(r.denom().max(1)));
    let (width, height) = (mode.get("width").ok()?, mode.get("height").ok()?);
    Some(Mode { caps: gst::Caps::from(mode), width, height, fps: rate, raw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    /// As a common webcam says it.
    const WEBCAM: &str = "video/x-raw, format=YUY2, width=640, height=480, \
        framerate={ (fraction)30/1, (fraction)15/1 }; \
        video/x-raw, format=YUY2, width=1280, height=720, framerate=10/1; \
        image/jpeg, width=640, height=480, framerate=30/1; \
        image/jpeg, width=1280, height=720, framerate=30/1; \
        video/x-h264, width=1920, height=1080, framerate=30/1";

    fn choose(size: Option<(u32, u32)>, fps: Option<u32>) -> Option<String> {
        gst::init().unwrap();
        let can = gst::Caps::from_str(WEBCAM).unwrap();
        best_mode(&can, RequestedMode { size, fps }).map(|caps| caps.to_string())
    }

    #[test]
    fn raw_is_chosen_where_it_is_fast_enough_and_mjpeg_where_it_is_not() {
        let small = choose(None, None).unwrap();
        assert!(small.contains("video/x-raw") && small.contains("width=(int)640"), "{small}");
        let large = choose(Some((1280, 720)), None).unwrap();
        assert!(large.contains("image/jpeg") && large.contains("30/1"), "{large}");
        let slow = choose(Some((1280, 720)), Some(10)).unwrap();
        assert!(slow.contains("video/x-raw"), "{slow}");
    }

    #[test]
    fn a_size_the_camera_does_not_have_is_refused() {
        assert_eq!(choose(Some((800, 600)), None), None);
        let requested = RequestedMode { size: Some((800, 600)), fps: Some(25) };
        assert_eq!(requested.to_string(), "800×600 at 25 fps");
    }
}
