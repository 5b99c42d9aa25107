//! A page, an API and metrics of a live run, over HTTP: `--control ADDRESS:PORT`.
//!
//! - [`ControlServer`]: serves them on a thread of its own; the frame path never waits for it
//! - `options`: where and for whom; `access`: who may ask; `answer`: refusals, and headers of every answer
//! - `routes`: what can be asked; `state`: the state of a run and its settings; `preview`: the picture; `metrics`
//! - `page`: the page itself, plain files in `page/`

mod access;
mod answer;
mod metrics;
mod options;
mod page;
mod preview;
mod routes;
mod server;
mod shared;
mod state;

pub use options::{ControlAddress, ControlOptions, Token};
pub use server::{ControlObserver, ControlServer};
