//! nst-stream: live neural style transfer for video.
//!
//! The map of the house, from the ground up. A room may use what lies below it, never above;
//! `media` and `engine` do not know each other. `tests/layers.rs` keeps it so.
//!
//! - pure, without GStreamer or torch: [`frame`] (planes, colorimetry, memory that is used again),
//!   [`queue`] (the ring between threads), [`batch`], [`worker`], [`stylizer`] (what is done to
//!   frames), [`stats`], [`stop`] (the request to end), [`timeouts`], [`span`] and [`rate`] (times),
//!   [`picture`] (still picture files), [`animation`] (animated ones), [`sequence`] (numbered
//!   pictures, folders), [`regions`] (masks), [`unreadable`] (kinds of files that are named and not
//!   read), [`y4m`] (raw video in a pipe), [`flow`] (where each pixel of a picture lies in the next)
//! - [`media`]: GStreamer: files → frames, frames → files
//! - [`engine`]: libtorch: models, the network, YUV ↔ RGB on the device
//! - [`train`]: libtorch in training: the loss network, losses, and what makes a model of them
//! - [`stream`]: joins the two
//! - [`cli`]: arguments → a configuration

#[macro_use]
mod choice;

pub mod animation;
pub mod batch;
pub mod cli;
pub mod cut_off;
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
pub mod unreadable;
pub mod worker;
pub mod y4m;
