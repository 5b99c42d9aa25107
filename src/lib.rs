//! nst-stream: live neural style transfer for video.
//!
//! The layers, lowest first. A module may use those of lower layers, never of higher ones; `media` and `engine`
//! never use each other. `tests/layers.rs` enforces this; `ARCHITECTURE.md` describes it.
//!
//! - [`core`]: frames, queues, the worker loop, statistics, file formats; without GStreamer and libtorch
//! - [`flow`]: optical flow
//! - [`steady`]: holds painted video steady
//! - [`media`]: GStreamer: decoding, encoding, live sources and outputs
//! - [`engine`]: the network at inference: libtorch, own kernels, model files, exports
//! - [`train`]: training, evaluation and optimization of single pictures
//! - [`stream`]: runs that join media and engine
//! - [`control`]: a page, an API and metrics of a live run
//! - [`cli`]: the command line

#[macro_use]
pub mod core;

pub mod cli;
#[cfg(feature = "media")]
pub mod control;
pub mod engine;
pub mod flow;
#[cfg(feature = "media")]
pub mod media;
pub mod steady;
pub mod stream;
pub mod train;
