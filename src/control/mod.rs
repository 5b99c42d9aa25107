//! What sees and steers a live run from outside: a page, an API and metrics over HTTP (`--control ADDRESS:PORT`), and OSC.
//!
//! - [`ControlServer`]: serves them on a thread of its own; the frame path never waits for it
//! - `options`: where and for whom; `access`: who may ask; `answer`: refusals, and headers of every answer
//! - `routes`: what can be asked; `state`: the state of a run and its settings; `preview`: the picture; `metrics`
//! - `settings`: what can be changed, whoever asks; [`OscServer`]: by messages over UDP (`--osc ADDRESS:PORT`)
//! - `webrtc`: offers of browsers that watch (WHEP), and of one whose camera is painted (WHIP)
//! - `pictures`: styles of pictures that are sent while the run goes on
//! - `page`: the page itself, plain files in `page/`

mod access;
mod answer;
mod metrics;
mod options;
mod osc;
mod page;
mod pictures;
mod preview;
mod routes;
mod server;
mod settings;
mod shared;
mod state;
mod webrtc;

pub use options::{ControlAddress, ControlOptions, OscAddress, Token};
pub use osc::OscServer;
pub use server::{ControlObserver, ControlServer};
