//! nst-stream: live neural style transfer for video.
//!
//! The layers, lowest first. A module may use those of lower layers, never of higher ones; `media` and `engine`
//! never use each other. `tests/layers.rs` enforces this; `ARCHITECTURE.md` describes it.
//!
//! - core, without GStreamer and libtorch: [`frame`] (planes, colorimetry, memory pool), [`queue`] (the ring
//!   between threads), [`batch`], [`worker`] (the loop around the network), [`stylizer`] (the trait of what repaints
//!   frames), [`stats`], [`stop`] (the stop signal), [`timeouts`], [`span`] and [`rate`] (times), [`endpoint`] (what
//!   `--input` and `--output` name), [`encoding`] (codecs and containers), [`picture`] and [`animation`] (picture
//!   files), [`sequence`] (numbered pictures, folders), [`regions`] (masks), [`truncation`] (truncated files),
//!   [`unreadable`] (kinds of files that are recognized but not read), [`y4m`] (raw video in a pipe), [`flow`]
//!   (optical flow)
//! - [`media`]: GStreamer: decoding, encoding, live sources and outputs
//! - [`engine`]: the network at inference: libtorch, own kernels, model files, exports
//! - [`train`]: training, evaluation and optimization of single pictures
//! - [`stream`]: runs that join media and engine
//! - [`cli`]: the command line

#[macro_use]
mod named_values;

pub mod animation;
pub mod batch;
pub mod cli;
pub mod encoding;
pub mod endpoint;
pub mod engine;
pub mod flow;
pub mod frame;
#[cfg(feature = "media")]
pub mod media;
pub mod picture;
pub mod queue;
pub mod rate;
pub mod regions;
pub mod sequence;
pub mod span;
pub mod stats;
pub mod stop;
pub mod stream;
pub mod stylizer;
pub mod timeouts;
pub mod train;
pub mod truncation;
pub mod unreadable;
pub mod worker;
pub mod y4m;
