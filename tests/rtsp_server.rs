//! The RTSP server, with real clients: ffmpeg, ffprobe, GStreamer's rtspsrc, and hand-written RTSP.
//!
//! Those that look at the whole process (threads, descriptors, memory) for a minute are run by
//! themselves: `cargo test --release --test rtsp_server -- --ignored --test-threads 1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "rtsp_server/crowd.rs"]
mod crowd;
#[path = "rtsp_server/feed.rs"]
mod feed;
#[path = "rtsp_server/garbage.rs"]
mod garbage;
#[path = "rtsp_server/peers.rs"]
mod peers;
#[path = "rtsp_server/refused.rs"]
mod refused;
#[path = "rtsp_server/sound.rs"]
mod sound;
#[path = "rtsp_server/watching.rs"]
mod watching;

use nst_stream::media::rtsp_server::ServeAddress;

/// Any free port of this machine.
fn anywhere() -> ServeAddress {
    ServeAddress { host: "127.0.0.1".into(), port: 0, path: "/art".into(), user: None }
}
