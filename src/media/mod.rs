//! Everything that uses GStreamer: decoding, encoding, live sources and outputs, and their errors.
//!
//! - [`source`]: a file → decoded frames (`frame_format`: their layout for the network, `span_start`: where `--start`
//!   begins); [`raw_source`]: frames from a pipe or pictures → the same ([`read_report`]: what its thread reports)
//! - [`tracks`]: sound, subtitles, tags and chapters of a file, copied
//! - [`live`]: a camera, a stream or a test picture → frames as they happen, opened again when it is lost (`connection`:
//!   one connection, `stream_source`: one over HTTP, UDP, SRT or RTMP, `live_times`: its timestamps); [`live_audio`]
//!   their sound (`sound_format`: its silence), [`mode`] which of a camera's modes to use, `fit` what a change of size becomes (also in a file),
//!   [`clock`] one clock for all pipelines of a live run
//! - [`stream_sink`]: the stream that is sent by SRT, RTMP, UDP or to an RTSP server ([`hls_sink`]: as HLS, `hls_playlist`; `stream_feed`: pictures and sound in order);
//!   [`shared_encoder`]: one for all outputs that send (`stream_encoder`: the encoder); `stills`: stills among the video tracks of a file
//! - [`sink`]: frames and tracks → a file; [`encoder`]: what compresses the picture
//!   (`encoder_settings`: one of any maker, by the properties that it has), `muxer`: each container's element
//! - `leaky`: where frames go into an output that is never waited for; [`live_sink`]: frames → a window, a virtual camera, a media server (`window`: how to show one);
//!   [`live_file`] → a file while live (`live_encode`: its sound in another codec), [`rtsp_server`] → RTSP clients;
//!   `rtsp_peer`: why an RTSP server cannot be reached, `tls_peer`: whether its certificate is trusted
//! - [`webrtc`]: browsers that watch, and one whose camera is the source
//! - [`remux`]: the index of a finished MP4 goes to the front, `edit_list`: tracks that begin
//!   within a packet
//! - [`packets`]: encoded pictures of a part of a longer video
//! - [`frame_count`]: how many frames of an unfinished file can be read
//! - [`matroska`]: corrects tags and track names of a finished Matroska file; `capture_metadata`: where, when and with
//!   which camera a film was recorded
//! - [`pipeline`]: what all of them share: states, bus, errors, the way to Null; `graph` draws one
//! - [`video`]: GStreamer's caps and buffers ↔ [`Frame`](crate::core::frame::Frame)
//! - [`preview`]: live frames as small pictures
//! - [`error`]: the error type, `advice`: messages for GStreamer's errors, [`packages`]: which Debian package brings a missing element
//! - `workarounds`: repairs of what GStreamer's elements get wrong, with the versions that need them
//! - [`probe`]: what this installation can do

mod advice;
mod capture_metadata;
pub mod clock;
mod connection;
mod edit_list;
pub mod encoder;
mod encoder_settings;
pub mod error;
mod fit;
pub mod frame_count;
mod frame_format;
mod graph;
mod hls_playlist;
pub mod hls_sink;
mod leaky;
pub mod live;
pub mod live_audio;
mod live_encode;
pub mod live_file;
pub mod live_sink;
mod live_times;
pub mod matroska;
pub mod mode;
mod muxer;
pub mod packages;
pub mod packets;
pub mod pipeline;
pub mod preview;
pub mod probe;
pub mod raw_source;
pub mod read_report;
pub mod remux;
mod rtsp_peer;
pub mod rtsp_server;
pub mod shared_encoder;
pub mod sink;
mod sound_format;
pub mod source;
mod span_start;
mod stills;
mod stream_encoder;
mod stream_feed;
pub mod stream_sink;
mod stream_source;
mod tls_peer;
pub mod tracks;
pub mod video;
pub mod webrtc;
mod window;
mod workarounds;

pub use error::PipelineError;
/// A frame on its way to outputs.
pub use gstreamer::Buffer;
pub use pipeline::{Event, PipelineRole, RunThread, ThreadEnd};

/// Starts GStreamer; may be called again.
///
/// # Errors
/// [`PipelineError`] when GStreamer cannot start.
pub fn init() -> Result<(), PipelineError> {
    gstreamer::init().map_err(|e| PipelineError::new("GStreamer", e.to_string()))
}

/// Whether a GStreamer older than this runs. Asked by workarounds for what newer ones do right.
fn older_than(major: u32, minor: u32) -> bool {
    let (found_major, found_minor, ..) = gstreamer::version();
    (found_major, found_minor) < (major, minor)
}
