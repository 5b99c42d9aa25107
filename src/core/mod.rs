//! What needs neither GStreamer nor libtorch.
//!
//! - [`frame`]: planes, colorimetry, memory pool; [`queue`]: the ring between threads; [`batch`]
//! - [`worker`]: the loop around the network; [`stylizer`]: the trait of what repaints frames
//! - [`stats`], [`histogram`], [`stop`] (the stop signal), [`timeouts`], [`watchdog`], [`backoff`]; [`signal`]: whether a
//!   live source delivers
//! - [`span`] and [`rate`]: times; [`endpoint`]: what `--input` and `--output` name ([`stream_url`]: a stream's
//!   address, [`secrets`] in it); [`encoding`]: codecs and
//!   containers; `named_values`: enumerations of the command line
//! - [`picture`] and [`animation`]: picture files; [`sequence`]: numbered pictures, folders; [`regions`]: masks;
//!   [`truncation`]: files that are cut off; [`unreadable`]: kinds of files that are recognized but not read;
//!   [`y4m`]: raw video in a pipe

#[macro_use]
pub(crate) mod named_values;

pub mod animation;
pub mod backoff;
pub mod batch;
pub mod encoding;
pub mod endpoint;
pub mod frame;
pub mod histogram;
pub mod picture;
pub mod queue;
pub mod rate;
pub mod regions;
pub mod secrets;
pub mod sequence;
pub mod signal;
pub mod span;
pub mod stats;
pub mod stop;
pub mod stream_url;
pub mod stylizer;
pub mod timeouts;
pub mod truncation;
pub mod unreadable;
pub mod watchdog;
pub mod worker;
pub mod y4m;
