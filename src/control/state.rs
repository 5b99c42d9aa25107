//! The state of a run, as the API shows it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::settings::{Settings, rounded};
use super::shared::Shared;
use crate::core::histogram::HistogramCounts;
use crate::media::webrtc::WebRtc;
use crate::stream::{LiveStatus, OutputState};

/// What the main thread has told.
#[derive(Default)]
pub(super) struct Known {
    pub status: Option<LiveStatus>,
    pub newest: Option<Rates>,
    pub rates: VecDeque<Rates>,
    /// When the last frame went out.
    pub flowed: Option<Instant>,
}

/// Counters at a time.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    pub at: Instant,
    pub captured: u64,
    pub sent: u64,
    pub painted: u64,
}

/// All there is to know of a run.
#[derive(Serialize, ToSchema)]
pub(super) struct State {
    /// Version of the program.
    version: &'static str,
    /// Whether frames flow.
    ready: bool,
    settings: Settings,
    /// Names of the models, as in `/api/v1/models`; pictures that are sent add some.
    models: Vec<String>,
    source: Option<Source>,
    network: Network,
    delay: Delay,
    outputs: Vec<Output>,
    recording: Option<Recording>,
    /// Browsers that watch by WebRTC.
    viewers: usize,
    /// The browser whose camera is painted; none where the input is another one.
    publisher: Option<Publisher>,
}

/// A browser whose camera is painted.
#[derive(Serialize, ToSchema)]
struct Publisher {
    /// Whether there is one now.
    connected: bool,
    /// Width that its camera should have (`--size`).
    width: Option<u32>,
    /// Height that its camera should have.
    height: Option<u32>,
    /// Frames a second that its camera should give (`--fps`).
    fps: Option<u32>,
}

/// Where frames come from.
#[derive(Serialize, ToSchema)]
struct Source {
    /// As on the command line, without user and password.
    name: String,
    width: usize,
    height: usize,
    /// Frames a second that it announces.
    nominal_fps: Option<f64>,
    /// Frames a second that come.
    fps: f64,
    /// Frames that have come.
    frames: u64,
    /// Whether it delivers.
    #[schema(value_type = String, example = "open")]
    state: &'static str,
    /// How often it was lost.
    losses: u64,
    /// Seconds without it in all.
    lost_s: f64,
    /// Seconds since it was lost, if it is.
    lost_for_s: Option<f64>,
}

/// The network's work.
#[derive(Serialize, ToSchema)]
struct Network {
    /// Frames painted.
    frames: u64,
    /// Frames painted a second.
    fps: f64,
    /// Frames of the source that were not painted: the newest wins.
    dropped: u64,
}

/// How late frames are, in milliseconds.
#[derive(Serialize, ToSchema)]
struct Delay {
    /// From capture to an output's encoder, median of the last frames.
    p50_ms: Option<f64>,
    /// The same, 99th percentile.
    p99_ms: Option<f64>,
    /// Mean time of all frames from capture until the network takes them.
    capture_ms: Option<f64>,
    /// Mean time of all frames in the network.
    network_ms: Option<f64>,
    /// Mean time of all frames from there to an output's encoder.
    output_ms: Option<f64>,
    /// Sums behind these means, so that means of any time can be computed.
    sums: Sums,
}

/// Seconds and frames since the run began.
#[derive(Serialize, ToSchema)]
struct Sums {
    capture_s: f64,
    capture_frames: u64,
    network_s: f64,
    network_frames: u64,
    output_s: f64,
    output_frames: u64,
}

/// Where frames go.
#[derive(Serialize, ToSchema)]
struct Output {
    /// As on the command line, without user, password and keys.
    name: String,
    /// `open`, `lost` (it is opened again), `failed` or `finished`.
    #[schema(value_type = String, example = "open")]
    state: &'static str,
    /// Why it failed.
    error: Option<String>,
    /// Frames that it got.
    frames: u64,
    /// Frames that it did not take in time.
    dropped: u64,
    /// Clients of a server.
    clients: Option<usize>,
}

/// A recording that was begun here and goes on.
#[derive(Serialize, ToSchema)]
struct Recording {
    /// The file, in the program's working folder.
    name: String,
    /// How long it has gone on.
    seconds: f64,
}

impl Shared {
    /// The state now.
    pub(super) fn state(&self) -> State {
        let ready = self.unready().is_none();
        let settings = Settings::of(&self.controls);
        let stream = self.controls.monitor.stream();
        let stages = self.controls.monitor.stages();
        let (capture, network, output) =
            (stages.capture.counts(), stages.network.counts(), stages.output.counts());
        let webrtc = self.controls.webrtc.as_ref();
        let known = self.known();
        let status = known.status.as_ref();
        let rate = |of: fn(&Rates) -> u64| {
            let ends = known.rates.front().zip(known.rates.back());
            ends.map_or(0.0, |(first, last)| {
                let seconds = (last.at - first.at).as_secs_f64();
                let count = of(last).saturating_sub(of(first)) as f64;
                if seconds > 0.0 { rounded(count / seconds, 10.0) } else { 0.0 }
            })
        };
        let losses = status.map(|status| status.losses).unwrap_or_default();
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1000.0, 10.0);
        State {
            version: env!("CARGO_PKG_VERSION"),
            ready,
            settings,
            models: self.controls.monitor.models(),
            source: stream.map(|(name, stream)| Source {
                name,
                width: stream.frame.width,
                height: stream.frame.height,
                nominal_fps: stream
                    .framerate
                    .map(|(n, d)| rounded(f64::from(n) / f64::from(d.max(1)), 1000.0)),
                fps: rate(|rates| rates.captured),
                frames: status.map_or(0, |status| status.captured),
                state: if losses.now.is_some() { "lost" } else { "open" },
                losses: losses.count,
                lost_s: rounded(losses.total.as_secs_f64(), 10.0),
                lost_for_s: losses.now.map(|now| rounded(now.as_secs_f64(), 10.0)),
            }),
            network: Network {
                frames: self.controls.monitor.painted(),
                fps: rate(|rates| rates.painted),
                dropped: status.map_or(0, |status| status.dropped),
            },
            delay: Delay {
                p50_ms: status.and_then(|status| status.delay).map(|(half, _)| ms(half)),
                p99_ms: status.and_then(|status| status.delay).map(|(_, most)| ms(most)),
                capture_ms: mean_ms(&capture),
                network_ms: mean_ms(&network),
                output_ms: mean_ms(&output),
                sums: Sums {
                    capture_s: rounded(capture.sum, 1e6),
                    capture_frames: capture.count,
                    network_s: rounded(network.sum, 1e6),
                    network_frames: network.count,
                    output_s: rounded(output.sum, 1e6),
                    output_frames: output.count,
                },
            },
            viewers: webrtc.map_or(0, WebRtc::viewers),
            publisher: webrtc.and_then(WebRtc::publisher).map(|(connected, wanted)| Publisher {
                connected,
                width: wanted.size.map(|(width, _)| width),
                height: wanted.size.map(|(_, height)| height),
                fps: wanted.fps,
            }),
            outputs: status
                .map_or_else(Vec::new, |status| status.outputs.iter().map(Output::from).collect()),
            recording: status.and_then(|status| status.recording.as_ref()).map(|recording| {
                let seconds = rounded(recording.since.elapsed().as_secs_f64(), 10.0);
                Recording { name: recording.name.clone(), seconds }
            }),
        }
    }
}

impl From<&crate::stream::OutputStatus> for Output {
    fn from(output: &crate::stream::OutputStatus) -> Self {
        let (state, error) = match &output.state {
            OutputState::Open => ("open", None),
            OutputState::Lost => ("lost", None),
            OutputState::Failed(why) => ("failed", Some(why.clone())),
            OutputState::Finished => ("finished", None),
        };
        Output {
            name: output.name.clone(),
            state,
            error,
            frames: output.frames,
            dropped: output.dropped,
            clients: output.clients,
        }
    }
}

fn mean_ms(counts: &HistogramCounts) -> Option<f64> {
    (counts.count > 0).then(|| rounded(1000.0 * counts.sum / counts.count as f64, 10.0))
}
