//! The page's server of a live run: the API, metrics, and who may ask.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "control/api.rs"]
mod api;
mod common;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/http.rs"]
mod http;
#[path = "model_file/make.rs"]
#[allow(dead_code)]
mod make;
#[path = "control/monitoring.rs"]
mod monitoring;
#[path = "control/osc.rs"]
mod osc;
#[path = "control/pictures.rs"]
mod pictures;
#[path = "live/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "control/regions.rs"]
mod regions;
#[path = "control/run.rs"]
mod run;
#[path = "control/secured.rs"]
mod secured;
#[path = "control/webrtc.rs"]
mod webrtc;
