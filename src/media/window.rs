//! Chooses the element that shows a window.

use gst::prelude::*;
use gstreamer as gst;

use super::error::PipelineError;

/// Elements for each kind of display, best first. autovideosink is not used: it also tries consoles and frame
/// buffers, some of which crash the program if there is no display.
const WAYLAND: [&str; 2] = ["waylandsink", "glimagesink"];
const X: [&str; 3] = ["xvimagesink", "glimagesink", "ximagesink"];

/// The first element that can open the display.
///
/// # Errors
/// When there is no display, or no element for it.
pub(super) fn find() -> Result<&'static str, PipelineError> {
    super::init()?;
    let display = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (wayland, x) = (display("WAYLAND_DISPLAY"), display("DISPLAY"));
    let mut candidates = Vec::new();
    if wayland.is_some() {
        candidates.extend(WAYLAND);
    }
    if x.is_some() {
        candidates.extend(X);
    }
    let there: Vec<&str> = candidates.iter().copied().filter(|name| is_there(name)).collect();
    if let Some(name) = there.iter().copied().find(|name| opens(name)) {
        return Ok(name);
    }
    let text = match wayland.or(x) {
        None => "there is no display (DISPLAY and WAYLAND_DISPLAY are not set); \
                 --output rtsp://127.0.0.1:8554/art serves the picture instead"
            .to_owned(),
        Some(_) if there.is_empty() => {
            "no GStreamer element shows windows; install gstreamer1.0-x".to_owned()
        }
        Some(display) => format!("the display '{display}' cannot be opened; is it running?"),
    };
    Err(PipelineError::new("window", text))
}

fn is_there(name: &str) -> bool {
    gst::ElementFactory::find(name).is_some()
}

/// In state Ready an element has opened its connection to the display.
fn opens(name: &str) -> bool {
    let Ok(element) = gst::ElementFactory::make(name).build() else { return false };
    let opened = element.set_state(gst::State::Ready).is_ok();
    let _ = element.set_state(gst::State::Null);
    opened
}
