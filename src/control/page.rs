//! The page: files of this folder, embedded into the program.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::core::frame::Frame;
use crate::core::picture::rgb_frame;

/// A file of the page: its path, its type, what it holds.
type Part = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const PARTS: [Part; 12] = [
    ("/", HTML, include_bytes!("page/index.html")),
    ("/style.css", CSS, include_bytes!("page/style.css")),
    ("/main.js", JS, include_bytes!("page/main.js")),
    ("/api.js", JS, include_bytes!("page/api.js")),
    ("/picture.js", JS, include_bytes!("page/picture.js")),
    ("/webrtc.js", JS, include_bytes!("page/webrtc.js")),
    ("/controls.js", JS, include_bytes!("page/controls.js")),
    ("/pictures.js", JS, include_bytes!("page/pictures.js")),
    ("/regions.js", JS, include_bytes!("page/regions.js")),
    ("/health.js", JS, include_bytes!("page/health.js")),
    ("/icon.svg", SVG, include_bytes!("page/icon.svg")),
    ("/favicon.ico", SVG, include_bytes!("page/icon.svg")),
];

/// Scikit-image's cat (CC0).
const SAMPLE: &[u8] = include_bytes!("page/sample.jpg");

/// The photo that each model paints for its thumbnail.
pub(super) fn sample() -> Option<Frame> {
    let picture = turbojpeg::decompress(SAMPLE, turbojpeg::PixelFormat::RGB).ok()?;
    Some(rgb_frame(picture.width, picture.height, picture.pixels))
}

/// Whether this is a file of the page.
pub(super) fn is_part(path: &str) -> bool {
    PARTS.iter().any(|(of, ..)| *of == path)
}

/// The paths of all files.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(path, ..)| *path)
}

/// A file of the page.
pub(super) fn part(path: &str) -> Option<Response> {
    let (_, kind, bytes) = PARTS.iter().find(|(of, ..)| *of == path)?;
    Some(([(CONTENT_TYPE, *kind)], *bytes).into_response())
}
