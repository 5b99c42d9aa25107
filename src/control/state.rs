//! The state of a run, as the API shows it. Words are those of the command line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Refusal;
use super::shared::Shared;
use crate::core::histogram::HistogramCounts;
use crate::stream::{LiveSettings, LiveStatus, OutputState};

/// What the main thread has told.
#[derive(Default)]
pub(super) struct Known {
    pub models: Vec<String>,
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
    source: Option<Source>,
    network: Network,
    delay: Delay,
    outputs: Vec<Output>,
    recording: Option<Recording>,
}

/// What can be changed while the run goes on.
#[derive(Serialize, ToSchema, Clone, PartialEq, Debug)]
pub(super) struct Settings {
    /// Name of the model that paints, as in `/api/v1/models`.
    pub model: String,
    /// How much of the style to apply, 0–1.
    pub strength: f64,
    /// Fraction of the frame size at which the network paints, 0.01–1.
    pub scale: f64,
    /// Factor for the size of brush strokes, 0.25–4.
    stroke: f64,
    /// How steady video is held, 0–1.
    steady: f64,
    /// Keep the colours of the source.
    preserve_color: bool,
}

/// Settings to change; what is left out stays.
#[derive(Deserialize, ToSchema, Default, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    /// Name of the model that paints, as in `/api/v1/models`.
    model: Option<String>,
    /// How much of the style to apply, 0–1.
    #[schema(minimum = 0, maximum = 1)]
    strength: Option<f64>,
    /// Fraction of the frame size at which the network paints, 0.01–1.
    #[schema(minimum = 0.01, maximum = 1)]
    scale: Option<f64>,
    /// Factor for the size of brush strokes, 0.25–4.
    #[schema(minimum = 0.25, maximum = 4)]
    stroke: Option<f64>,
    /// How steady video is held, 0–1.
    #[schema(minimum = 0, maximum = 1)]
    steady: Option<f64>,
    /// Keep the colours of the source.
    preserve_color: Option<bool>,
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
        let settings = self.settings();
        let stream = self.controls.monitor.stream();
        let stages = self.controls.monitor.stages();
        let (capture, network, output) =
            (stages.capture.counts(), stages.network.counts(), stages.output.counts());
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
            outputs: status
                .map_or_else(Vec::new, |status| status.outputs.iter().map(Output::from).collect()),
            recording: status.and_then(|status| status.recording.as_ref()).map(|recording| {
                let seconds = rounded(recording.since.elapsed().as_secs_f64(), 10.0);
                Recording { name: recording.name.clone(), seconds }
            }),
        }
    }

    /// The settings now.
    pub(super) fn settings(&self) -> Settings {
        let settings = self.controls.wanted.get();
        let models = self.known().models.clone();
        let LiveSettings { model, scale, stroke, mix, steady } = settings;
        Settings {
            model: models.get(model).cloned().unwrap_or_default(),
            strength: rounded(f64::from(mix.strength), 1000.0),
            scale: rounded(scale, 1000.0),
            stroke: rounded(stroke, 1000.0),
            steady: rounded(f64::from(steady), 1000.0),
            preserve_color: mix.preserve_color,
        }
    }

    /// Changes settings: all that are given, or none.
    ///
    /// # Errors
    /// When a value is out of its range, or there is no such model.
    pub(super) fn change(&self, change: &SettingsChange) -> Result<Settings, Refusal> {
        let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..=high).contains(&value) => {
                Err(Refusal::bad(format!("{name}: expected a number from {low} to {high}")))
            }
            value => Ok(value),
        };
        let strength = within("strength", change.strength, 0.0, 1.0)?;
        let scale = within("scale", change.scale, 0.01, 1.0)?;
        let stroke = within("stroke", change.stroke, 0.25, 4.0)?;
        let steady = within("steady", change.steady, 0.0, 1.0)?;
        let model = change.model.as_ref().map(|name| self.model(name)).transpose()?;
        self.controls.wanted.change(|settings| {
            settings.model = model.unwrap_or(settings.model);
            settings.scale = scale.unwrap_or(settings.scale);
            settings.stroke = stroke.unwrap_or(settings.stroke);
            settings.steady = steady.map_or(settings.steady, |steady| steady as f32);
            let mix = &mut settings.mix;
            mix.strength = strength.map_or(mix.strength, |strength| strength as f32);
            mix.preserve_color = change.preserve_color.unwrap_or(mix.preserve_color);
        });
        Ok(self.settings())
    }

    fn model(&self, name: &str) -> Result<usize, Refusal> {
        let models = self.known().models.clone();
        models.iter().position(|known| known == name).ok_or_else(|| {
            Refusal::bad(format!(
                "model: there is no such model; those of this run are {} (--model gives more)",
                models.join(", ")
            ))
        })
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

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn mean_ms(counts: &HistogramCounts) -> Option<f64> {
    (counts.count > 0).then(|| rounded(1000.0 * counts.sum / counts.count as f64, 10.0))
}
