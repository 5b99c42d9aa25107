//! The only room that knows GStreamer: files in, files out, and what can go wrong there.
//!
//! - [`source`]: a file → decoded frames
//! - [`audio`]: encoded audio tracks, copied
//! - [`sink`]: frames and tracks → a file
//! - [`finalise`]: the index of a finished MP4 goes to the front
//! - [`pipeline`]: what all of them share: states, bus, errors, the way to Null
//! - [`video`]: GStreamer's caps and buffers ↔ [`Frame`](crate::frame::Frame)
//! - [`packages`]: which Debian package brings a missing element
//! - [`probe`]: what this installation can do

pub mod audio;
pub mod error;
pub mod finalise;
pub mod packages;
pub mod pipeline;
pub mod probe;
pub mod sink;
pub mod source;
pub mod video;

pub use error::PipelineError;
pub use pipeline::{Event, Role};

/// Starts GStreamer; may be called again.
///
/// # Errors
/// [`PipelineError`] when GStreamer cannot start.
pub fn init() -> Result<(), PipelineError> {
    gstreamer::init().map_err(|e| PipelineError::new("GStreamer", e.to_string()))
}
